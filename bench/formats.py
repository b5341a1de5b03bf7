#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures what an image's format costs a guest: fio in one machine with a disk of each
kind, in turns, so that what the host does meanwhile meets all of them. Prints requests a
second, and beside them the ratio to raw: medians over the turns, the ratio within each.

usage: formats.py [--engine NAME] [--turns N] [--seconds N] [--only NAME,...] [--size MIB]
                  [--format NAME]... [--chain N]... [--json FILE]
--chain 8 is an empty qcow2 image over seven more, the last of which has the data; it is
compared with --chain 1, where that is measured, too.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

from blk import JOBS, ROOT, fio, say, write_initrd
from machine import Failure, Machine, Runner, prepared_guest
from pages import in_single_pages

DEFAULT_JOBS = "randread-1,randread-32,randwrite-1,randwrite-32"


class DisksRunner(Runner):
    """With a disk for each of @disks: (name, image, format)."""

    def __init__(self, engine, build, disks):
        super().__init__("bothy", engine, build)
        self.disks = disks

    def command(self, *args, **kw):
        cmd = super().command(*args, **kw)
        for _, image, fmt in self.disks:
            cmd += ["--disk", "%s,format=%s" % (image, fmt)]
        return cmd


def measure(runner, guest, initrd, jobs, args):
    """{job: {disk: [figure of each turn]}}"""
    names = [name for name, _, _ in runner.disks]
    seen = {job: {name: [] for name in names} for job in jobs}
    with Machine(runner, kernel=guest + "/vmlinuz", initrd=initrd, memory="1G", cpus=1,
                 append="console=ttyS0 quiet") as m:
        m.wait_prompt(300)
        m.sh("export LD_LIBRARY_PATH=/usr/lib/fio")
        for turn in range(args.turns):
            say("turn %d of %d" % (turn + 1, args.turns))
            for job in jobs:
                for i in range(len(names)):
                    n = (i + turn) % len(names)
                    figure = fio(m, "/dev/vd" + chr(ord("a") + n), job, args.seconds)
                    seen[job][names[n]].append(figure)
    return seen


def ratio(one, other):
    return statistics.median(a / b for a, b in zip(one, other))


def table(seen):
    for job, disks in seen.items():
        print("%-14s" % job, end="")
        for name, figures in disks.items():
            text = "%.0f" % statistics.median(figures)
            if name != "raw":
                text += " (%.2f" % ratio(figures, disks["raw"])
                if name.startswith("chain") and name != "chain 1" and "chain 1" in disks:
                    text += ", of one %.2f" % ratio(figures, disks["chain 1"])
                text += ")"
            print("  %s %s" % (name, text), end="")
        print()


def images(work, args):
    """(name, image, format) of each disk, all with the same bytes."""
    bothy = os.path.join(ROOT, args.build, "cmd", "bothy")
    raw = work + "/disk.img"
    with open(raw, "wb") as f:
        for _ in range(args.size):
            f.write(os.urandom(1 << 20))
    disks = [("raw", raw, "raw")]
    for fmt in args.format:
        image = "%s/disk.%s" % (work, fmt)
        subprocess.run([bothy, "disk", "convert", raw, image, "--from", "raw", "--to", fmt,
                        "--quiet"], check=True)
        disks.append((fmt, image, fmt))
    for length in args.chain:
        image = "%s/chain%d-0.qcow2" % (work, length)
        subprocess.run([bothy, "disk", "convert", raw, image, "--from", "raw", "--to", "qcow2",
                        "--quiet"], check=True)
        for n in range(1, length):
            below, image = image, "%s/chain%d-%d.qcow2" % (work, length, n)
            subprocess.run([bothy, "disk", "create", image, "--backing", below,
                            "--backing-format", "qcow2"], check=True, stdout=subprocess.DEVNULL)
        disks.append(("chain %d" % length, image, "qcow2"))
    return disks


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--engine", default="jit")
    p.add_argument("--turns", type=int, default=7)
    p.add_argument("--seconds", type=int, default=2, help="of each measurement, after one more")
    p.add_argument("--only", default=DEFAULT_JOBS)
    p.add_argument("--size", type=int, default=256, help="MiB of the images")
    p.add_argument("--format", action="append", default=[])
    p.add_argument("--chain", action="append", type=int, default=[])
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--json")
    args = p.parse_args()
    unknown = [j for j in args.only.split(",") if j not in JOBS]
    if unknown or min([args.turns, args.seconds, args.size] + args.chain) < 1:
        p.error("no such job: " + ",".join(unknown) if unknown else "numbers are 1 or more")
    if any("write" in j for j in args.only.split(",")) and any(n > 1 for n in args.chain):
        p.error("a write would fill the chain's first image: --only randread-1,randread-32")
    return args


def main():
    args = parse()
    with tempfile.TemporaryDirectory(prefix="bothy-formats-") as work:
        initrd, guest = work + "/initrd", prepared_guest()
        write_initrd(initrd, guest)
        disks = images(work, args)
        for name in os.listdir(work):
            if name.startswith(("disk", "chain")):
                in_single_pages(os.path.join(work, name))
        try:
            seen = measure(DisksRunner(args.engine, args.build, disks), guest, initrd,
                           args.only.split(","), args)
        except Failure as e:
            say(str(e))
            return 1
    table(seen)
    if args.json:
        with open(args.json, "w", encoding="ascii") as f:
            json.dump(seen, f, indent=1)
            f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
