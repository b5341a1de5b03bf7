#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images side by side with qemu-img on the same files: convert, compare, check,
create, requests, chains, memory. Ratios: how many times as fast as qemu-img. CPU s: what
all threads took together, which other work on the machine changes less than the time.

A virtual host's memory may have been given back to what runs it, and costs much more when
it is touched anew: each program finds as much as it writes touched just before.

usage: disk.py [--size BYTES] [--repeats N] [--dir FOLDER] [--json FILE] [--only WORDS,...]
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from pages import in_single_pages

ROOT = pathlib.Path(__file__).resolve().parents[1]
BOTHY = ROOT / os.environ.get("BUILD", "build") / "cmd" / "bothy"
MIB = 1 << 20


def spent():
    """Processor seconds of all programs that were run."""
    t = os.times()
    return t.children_user + t.children_system


def run(cmd):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, check=False)
    if r.returncode:
        sys.exit(f"bench: {' '.join(map(str, cmd))}: {r.stdout}{r.stderr}")
    return r.stdout


def peak_kib(cmd):
    """By a small process of its own: what starts a program counts as its peak."""
    text = ("import os, subprocess, sys; "
            "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL); "
            "_, s, u = os.wait4(p.pid, 0); print(u.ru_maxrss); sys.exit(s != 0)")
    return int(run([sys.executable, "-S", "-c", text, *cmd]))


class Bench:
    def __init__(self, args, folder):
        self.a, self.d, self.rows = args, folder, []

    def wanted(self, name):
        return not self.a.only or any(w in name for w in self.a.only.split(","))

    def warm(self, size):
        """Memory for the host's cache of @size bytes that are written next."""
        scratch = self.d / "warm"
        with open(scratch, "wb", buffering=0) as f:
            for _ in range(size // MIB):
                f.write(bytes(MIB))
        scratch.unlink()

    def pair(self, name, ours, theirs, before=lambda: None, writes=0, times=1):
        """Both in turn, so that the host's moods meet both; medians."""
        if not self.wanted(name):
            return
        took, cpu = [[], []], [[], []]
        for turn in range(self.a.repeats * times):
            for i, cmd in sorted(enumerate((ours, theirs)), reverse=turn % 2 == 1):
                before()
                self.warm(writes)
                start, used = time.monotonic(), spent()
                run(cmd)
                took[i].append(time.monotonic() - start)
                cpu[i].append(spent() - used)
        mine, other = map(statistics.median, took)
        a, b = map(statistics.median, cpu)
        self.row(name, mine, other, other / mine, (a, b))

    def row(self, name, mine, other, ratio, cpu=None):
        row = {"name": name, "bothy": mine, "other": other, "ratio": ratio}
        tail = ""
        if cpu:
            row["cpu"] = cpu
            tail = f" {cpu[0]:8.3f} {cpu[1]:8.3f}"
        self.rows.append(row)
        print(f"{name:32} {mine:10.3f} {other:10.3f} {ratio:8.2f}{tail}", flush=True)

    def half_filled(self, path, size):
        rnd = random.Random(1)
        piece = [rnd.randbytes(MIB) for _ in range(16)]
        # Half of what is written can be packed.
        soft = [b"".join(rnd.randbytes(64) + bytes(64) for _ in range(MIB // 128)) for _ in range(16)]
        with open(path, "wb") as f:
            f.truncate(size)
            for i in range(size // MIB):
                if i % 4 < 2:
                    f.seek(i * MIB)
                    f.write(rnd.choice(piece if i % 4 else soft))

    def convert(self):
        d, b = self.d, [BOTHY, "disk", "convert", "--no-sync", "--force", "--quiet"]
        q = ["qemu-img", "convert"]
        raw, qc, out = d / "a.raw", d / "a.qcow2", d / "out"

        def both(name, src, sf, df, *extra):
            self.pair(f"convert {name}", [*b, src, out, "--from", sf, "--to", df,
                                          *(["--compress"] if extra else [])],
                      [*q, *(["-c"] if extra else []), "-f", sf, "-O", df, src, out],
                      lambda: out.unlink(missing_ok=True), self.a.size * 5 // 8)

        self.half_filled(raw, self.a.size)
        run([*q, "-f", "raw", "-O", "qcow2", raw, qc])
        both("raw to qcow2", raw, "raw", "qcow2")
        both("qcow2 to raw", qc, "qcow2", "raw")
        both("qcow2 to vmdk", qc, "qcow2", "vmdk")
        both("qcow2 to vdi", qc, "qcow2", "vdi")
        both("raw to compressed qcow2", raw, "raw", "qcow2", "-c")
        packed = d / "packed.qcow2"
        run([*b, raw, packed, "--from", "raw", "--to", "qcow2", "--compress"])
        both("compressed qcow2 to raw", packed, "qcow2", "raw")
        both("compressed qcow2 to the same", packed, "qcow2", "qcow2", "-c")
        packed.unlink()
        out.unlink(missing_ok=True)
        self.pair("compare raw, qcow2",
                  [BOTHY, "disk", "compare", raw, qc, "--format", "raw", "--format2", "qcow2"],
                  ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qc])
        self.pair("check qcow2", [BOTHY, "disk", "check", qc], ["qemu-img", "check", qc], times=5)
        new = d / "new.qcow2"
        self.pair("create qcow2", [BOTHY, "disk", "create", new, str(self.a.size)],
                  ["qemu-img", "create", "-f", "qcow2", new, str(self.a.size)],
                  lambda: new.unlink(missing_ok=True), times=5)
        self.pair("create qcow2, metadata",
                  [BOTHY, "disk", "create", new, str(self.a.size), "--preallocation", "metadata"],
                  ["qemu-img", "create", "-f", "qcow2", "-o", "preallocation=metadata", new,
                   str(self.a.size)], lambda: new.unlink(missing_ok=True), times=5)

    def our_rate(self, image, fmt, *extra):
        count = [] if "--count" in extra else ["--count", "50000"]
        return json.loads(run([BOTHY, "disk", "bench", image, "--format", fmt, "--json",
                               *count, *extra]))["requests-per-second"]

    def qemu_rate(self, image, *extra):
        text = run(["qemu-img", "bench", "-d", "32", "-s", "4k", "-c", "50000", *extra, image])
        count, took = re.search(r"Sending (\d+) .*in ([\d.]+) seconds", text, re.S).groups()
        return int(count) / float(took)

    def requests(self):
        if not self.wanted("requests"):
            return
        d, size = self.d, 256 * MIB
        raw, qc, new = d / "r.raw", d / "r.qcow2", d / "n.qcow2"
        run([BOTHY, "disk", "create", qc, str(size)])
        with open(raw, "wb") as f:
            f.truncate(size)
        for image, fmt in ((qc, "qcow2"), (raw, "raw")):
            run([BOTHY, "disk", "bench", image, "--format", fmt, "--write", "--block-size", "65536",
                 "--count", str(size // 65536), "--depth", "1"])
        for image in (qc, raw):
            in_single_pages(image)

        def rates(*fns):
            """Side by side in each turn: the median of the ratios says more than that of each."""
            turns = [[f() for f in fns] for _ in range(self.a.repeats * 3)]
            a, b = [statistics.median(x) for x in zip(*turns)]
            return a, b, statistics.median(x / y for x, y in turns)

        for how in ([], ["--write"]):
            count = [] if how else ["--count", "400000"]
            self.row(f"random 4K {'write' if how else 'read'}: qcow2, raw", *rates(
                lambda: self.our_rate(qc, "qcow2", "--random", *how, *count),
                lambda: self.our_rate(raw, "raw", "--random", *how, *count)))

        def fresh(fn):
            new.unlink(missing_ok=True)
            run([BOTHY, "disk", "create", new, str(size)])
            return fn()

        self.row("4K writes that allocate", *rates(
            lambda: fresh(lambda: self.our_rate(new, "qcow2", "--write")),
            lambda: fresh(lambda: self.qemu_rate(new, "-w", "-f", "qcow2"))))
        self.row("64K writes that allocate", *rates(
            lambda: fresh(lambda: self.our_rate(new, "qcow2", "--write", "--block-size", "65536",
                                                "--count", "4096")),
            lambda: fresh(lambda: self.qemu_rate(new, "-w", "-f", "qcow2", "-s", "64k", "-c",
                                                 "4096"))))
        self.row("4K reads", *rates(lambda: self.our_rate(qc, "qcow2"),
                                    lambda: self.qemu_rate(qc, "-f", "qcow2")))
        top = raw
        for i in range(8):
            over = d / f"c{i}.qcow2"
            run([BOTHY, "disk", "create", over, "--backing", top, "--backing-format",
                 "qcow2" if i else "raw"])
            one = over if not i else one
            top = over
        self.row("random 4K reads: chain of 8, of 1", *rates(
            lambda: self.our_rate(top, "qcow2", "--random", "--count", "400000"),
            lambda: self.our_rate(one, "qcow2", "--random", "--count", "400000")))

    def memory(self):
        if not self.wanted("memory"):
            return
        peaks = []
        for size in ("64T", "64G"):
            image = self.d / f"m{size}.qcow2"
            run([BOTHY, "disk", "create", image, size])
            run([BOTHY, "disk", "bench", image, "--write", "--count", "4096"])
            peaks.append(peak_kib([BOTHY, "disk", "bench", image, "--count", "4096"]))
        self.row("KiB: 64 TiB image, 64 GiB", peaks[0], peaks[1], peaks[0] / peaks[1])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--size", type=int, default=4 << 30)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--dir", default=None)
    p.add_argument("--json")
    p.add_argument("--only")
    args = p.parse_args()
    if not shutil.which("qemu-img"):
        sys.exit("bench: qemu-img is not installed")
    with tempfile.TemporaryDirectory(prefix="bothy-bench.", dir=args.dir) as folder:
        b = Bench(args, pathlib.Path(folder))
        print(f"{'seconds, or requests a second':32} {'bothy':>10} {'other':>10} {'ratio':>8} "
              f"{'CPU s':>8} {'other':>8}")
        if not args.only or set(args.only.split(",")) - {"requests", "memory"}:
            b.convert()
        b.requests()
        b.memory()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(b.rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
