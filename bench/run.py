#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures the same static programs natively, under bothy's engines and under QEMU
TCG: one guest per system, results over the serial port, medians and ratios.

The interpreter is compared at the quick scale, the other engines at both.

usage: run.py [--quick] [--repeats N] [--engine NAME]... [--only NAME,...] [--json FILE]
"""
import argparse
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "guest"))
from machine import Failure, Machine, Runner, cpio, engines_offered, prepared_guest  # noqa: E402

LINE = re.compile(r"^BENCH (\w+) \d+ ([\d.]+) ([0-9a-f]{16}) (\d+)$", re.M)
SOURCES = ("main.c", "int.c", "fp.c", "os.c")
SLOW = {"interp"}
APPEND = "console=ttyS0 quiet panic=-1"
SECONDS = {"quick": 900, "full": 1800}


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def build_program(folder):
    os.makedirs(folder, exist_ok=True)
    out = os.path.join(folder, "bench")
    sources = [os.path.join(HERE, "programs", s) for s in SOURCES]
    cmd = [os.environ.get("CC", "gcc"), "-I", ROOT, "-O2", "-static", "-D_GNU_SOURCE", "-Wall", "-o", out,
           *sources, "-lm"]
    subprocess.run(cmd, check=True)
    return out


def take(text, into):
    """Adds the lines of one run to {program: {"seconds", "result", "instructions"}}."""
    for name, seconds, result, instructions in LINE.findall(text):
        r = into.setdefault(name, {"seconds": [], "result": result,
                                   "instructions": int(instructions)})
        r["seconds"].append(float(seconds))
        if r["result"] != result:
            r["result"] = "varies"


class Guest:
    """Kernel and an initramfs whose first process is the program."""

    def __init__(self, program, work):
        self.kernel = os.path.join(prepared_guest(), "vmlinuz")
        self.initrd = os.path.join(work, "initrd")
        with open(program, "rb") as f:
            data = f.read()
        files = {"dev": (0o040755, b""), "proc": (0o040755, b""), "init": (0o100755, data)}
        with open(self.initrd, "wb") as f:
            f.write(gzip.compress(cpio(files), 6))

    def start(self, runner, words, cpus):
        return Machine(runner, kernel=self.kernel, initrd=self.initrd, memory="1G", cpus=cpus,
                       append=" ".join([APPEND, *words]))


def run_native(program, scale, args):
    p = subprocess.run([program, scale, str(args.repeats), args.only or ""], check=True,
                       stdout=subprocess.PIPE)
    results = {}
    take(p.stdout.decode(), results)
    return results


def run_guest(runner, guest, scale, args):
    words = ["BENCH_SCALE=" + scale, "BENCH_REPEATS=%d" % args.repeats]
    if args.only:
        words.append("BENCH_ONLY=" + args.only)
    results = {}
    with guest.start(runner, words, 2) as m:
        m.expect(rb"INIT [\d.]+\n", 300, "the kernel's way to /init")
        m.expect(rb"BENCH-END\n", SECONDS[scale] * args.repeats, "the programs' end")
        take(m.text(), results)
        m.finish()
    return results


def run_boots(runner, guest, args):
    """Kernel to /init, by the host's clock from the process's start."""
    times = []
    for _ in range(args.repeats):
        with guest.start(runner, ["BENCH_BOOT_ONLY=1"], 1) as m:
            m.expect(rb"INIT [\d.]+\n", 300, "the kernel's way to /init")
            times.append(time.monotonic() - m.start)
            m.finish()
    return {"boot": {"seconds": times, "result": "", "instructions": 0}}


def median(r):
    return statistics.median(r["seconds"])


def figure(seconds):
    return "%.3f" % seconds if seconds < 100 else "%.0f" % seconds


def wrong(systems):
    """Programs whose answer is not the native one."""
    bad = []
    native = systems.get("native", {})
    for system, results in systems.items():
        for name, r in results.items():
            good = native.get(name)
            if r["result"] == "varies" or (good and good["result"] != r["result"]):
                bad.append("%s under %s" % (name, system))
    return bad


def table(scale, systems):
    names = list(dict.fromkeys(n for r in systems.values() for n in r))
    columns = [s for s in systems]
    ours = [s for s in columns if s not in ("native", "tcg")]
    heads = columns + ["%s/native" % s for s in ours if "native" in columns]
    heads += ["tcg/%s" % s for s in ours if "tcg" in columns]
    print("\n%s scale, medians in seconds; tcg/ENGINE above 1: faster than TCG" % scale)
    print("%-10s" % "program" + "".join("%15s" % h for h in heads))
    for n in names:
        cells = []
        med = {s: median(systems[s][n]) for s in columns if n in systems[s]}
        for s in columns:
            cells.append(figure(med[s]) if s in med else "-")
        for s in ours:
            if "native" in columns:
                both = s in med and med.get("native")
                cells.append("%.2f" % (med[s] / med["native"]) if both else "-")
        for s in ours:
            if "tcg" in columns:
                cells.append("%.2f" % (med["tcg"] / med[s]) if s in med and "tcg" in med else "-")
        print("%-10s" % n + "".join("%15s" % c for c in cells))
    speeds = ["%s %.0f" % (s, r["counted"]["instructions"] / median(r["counted"]) / 1e6)
              for s, r in systems.items() if "counted" in r]
    if speeds:
        print("million instructions a second (counted): " + ", ".join(speeds))


def measure(args, program, guest, scale, engines):
    systems = {}
    if not args.no_native:
        say("%s scale: native" % scale)
        systems["native"] = run_native(program, scale, args)
    todo = [(e, Runner("bothy", e, args.build, args.patience)) for e in engines]
    if not args.no_qemu:
        todo.append(("tcg", Runner("qemu", patience=args.patience)))
    for name, runner in todo:
        say("%s scale: %s" % (scale, name))
        try:
            systems[name] = run_guest(runner, guest, scale, args)
            if not args.only or "boot" in args.only.split(","):
                systems[name].update(run_boots(runner, guest, args))
        except Failure as e:
            say("%s: %s" % (name, e))
            args.failed.append(name)
    return systems


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--quick", action="store_true", help="the quick scale only")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--engine", action="append")
    p.add_argument("--only", help="programs, separated by commas; 'boot' too")
    p.add_argument("--json")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--no-native", action="store_true")
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--patience", type=float, default=1)
    args = p.parse_args()
    if args.repeats < 1:
        p.error("--repeats: at least 1")
    args.failed = []
    return args


def main():
    args = parse()
    bothy = os.path.join(ROOT, args.build, "cmd", "bothy")
    engines = args.engine
    if engines is None:
        engines = engines_offered(bothy) if os.path.exists(bothy) else []
    if not args.no_qemu and not shutil.which("qemu-system-x86_64"):
        say("no qemu-system-x86_64: TCG is left out (tools/setup.sh bench installs it)")
        args.no_qemu = True
    program = build_program(os.path.join(ROOT, args.build, "bench"))
    fast = [e for e in engines if e not in SLOW]
    runs = [("quick", engines)]
    if not args.quick and (fast or not engines):
        runs.append(("full", fast))
    everything, bad = {}, []
    with tempfile.TemporaryDirectory(prefix="bothy-bench-") as work:
        guest = Guest(program, work)
        for scale, which in runs:
            systems = measure(args, program, guest, scale, which)
            everything[scale] = systems
            table(scale, systems)
            bad += wrong(systems)
    for b in bad:
        print("WRONG RESULT: " + b)
    if args.json:
        for systems in everything.values():
            for results in systems.values():
                for r in results.values():
                    r["median"] = median(r)
        with open(args.json, "w", encoding="ascii") as f:
            json.dump(everything, f, indent=1)
            f.write("\n")
    return 1 if bad or args.failed else 0


if __name__ == "__main__":
    sys.exit(main())
