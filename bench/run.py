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
import math
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
from machine import Failure, Machine, Runner, cpio, engines_offered, prepared_guest, session_members  # noqa: E402

# Who belongs together, how many times TCG's speed is wanted, how near native's time
# is aimed at.
SETS = [
    ("integer", ["fib", "sieve", "qsort", "chase", "indirect", "mixed"], 3, 1.5),
    ("vector, float", ["memcpy", "strlen", "matmul", "scalar", "x87", "aes", "sha", "avx2"], 10,
     1.15),
    ("call, pipe, switch", ["getppid", "pipe", "switch"], 3, 2),
    ("fault, fork, exec", ["pagefault", "fork", "exec"], 3, 1),
    ("rewritten function", ["rewrite"], 10, None),
    ("kernel to /init", ["boot"], 2, None),
]
PARALLEL = 1.8  # two vCPUs against one

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


def run_parallel(runner, guest, scale, args):
    """Two processes at once with one processor: "parallel" of the others has two."""
    words = ["BENCH_SCALE=" + scale, "BENCH_REPEATS=%d" % args.repeats, "BENCH_ONLY=parallel"]
    results = {}
    with guest.start(runner, words, 1) as m:
        m.expect(rb"BENCH-END\n", SECONDS[scale] * args.repeats, "the programs' end")
        take(m.text(), results)
        m.finish()
    return {"parallel1": results["parallel"]}


def resident(leader):
    """KiB that a machine's processes occupy, the guest's RAM left out. A page that one
    process maps twice counts once."""
    total = 0
    for pid in session_members(leader):
        try:
            with open("/proc/%d/smaps" % pid, encoding="ascii", errors="replace") as f:
                text = f.read()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        ram = False
        for line in text.splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                ram = "/memfd:ram" in line or "/memfd:memory-backend" in line
            elif line.startswith("Pss:") and not ram:
                total += int(line.split()[1])
    return total


def run_memory(runner, guest):
    """Resident memory beyond the guest's RAM once the kernel is at /init."""
    m = guest.start(runner, ["BENCH_BOOT_ONLY=1", "BENCH_WAIT=1"], 1)
    if runner.kind == "qemu":
        m.cmd += ["-object", "memory-backend-memfd,id=ram,size=1G", "-machine",
                  "memory-backend=ram"]
    with m:
        m.expect(rb"WAITING\n", 300, "the kernel's way to /init")
        kib = resident(m.process.pid)
        m.send("\n")
        m.finish()
    return kib


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def ratios(names, upper, lower):
    """upper's median over lower's for each of the names that both have."""
    return [median(upper[n]) / median(lower[n]) for n in names
            if n in upper and n in lower and median(lower[n]) > 0]


def verdict(figure_seen, wanted):
    return "met" if figure_seen >= wanted else "SHORT"


def summary(scale, systems, memory):
    """What each engine reaches of what is wanted, geometric means."""
    tcg, native = systems.get("tcg"), systems.get("native", {})
    for engine in (s for s in systems if s not in ("native", "tcg")):
        mine = systems[engine]
        print("\n%s, %s scale; geometric means" % (engine, scale))
        print("%-20s%10s%10s%8s%15s%8s" % ("set", "tcg/" + engine, "wanted", "", engine + "/native",
                                           "aim"))
        for title, names, wanted, aim in SETS:
            r, n = ratios(names, tcg or {}, mine), ratios(names, mine, native)
            print("%-20s%10s%10g%8s%15s%8s" % (
                title, "%.2f" % geomean(r) if r else "-", wanted,
                verdict(geomean(r), wanted) if r else "", "%.2f" % geomean(n) if n else "-",
                "%g" % aim if aim else "-"))
        if "parallel1" in mine and "parallel" in mine:
            r = median(mine["parallel1"]) / median(mine["parallel"])
            print("%-20s%10.2f%10g%8s" % ("2 vCPUs / 1", r, PARALLEL, verdict(r, PARALLEL)))
        if engine in memory:
            print("%-20s%7d MiB%10s%8s" % (
                "beyond the RAM", memory[engine] >> 10,
                "%d MiB" % (memory["tcg"] >> 10) if "tcg" in memory else "-",
                verdict(memory["tcg"], memory[engine]) if "tcg" in memory else ""))


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
            if not args.only or "parallel" in args.only.split(","):
                systems[name].update(run_parallel(runner, guest, scale, args))
            if not args.only or "memory" in args.only.split(","):
                args.memory.setdefault(name, run_memory(runner, guest))
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
    p.add_argument("--only", help="programs, separated by commas; 'boot', 'memory' too")
    p.add_argument("--json")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--no-native", action="store_true")
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--patience", type=float, default=1)
    args = p.parse_args()
    if args.repeats < 1:
        p.error("--repeats: at least 1")
    args.failed = []
    args.memory = {}
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
            summary(scale, systems, args.memory)
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
