#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the test guests under every engine of bothy's or under QEMU TCG.

A guest passes when it ends by itself with "PASS n", prints no "FAIL" line and
the machine ends with code 0. The last line is "N passed, N failed".

usage: run.py [--runner bothy|qemu] [--engine NAME]... [--extra OPTION]... [--cpu MODEL]
              [--irqchip user|split|kernel|auto] [--json FILE] [--verbose] [GUEST...]
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "guest"))
from machine import engines_offered  # noqa: E402

MEMORY_MIB = 256
APPEND = "hello test"
# What differs from one processor, 60 seconds and "a reset ends the run".
CPUS = {"smp": [1, 2, 4], "blocks2": [2]}
SECONDS = {"smp": 240, "blocks2": 240, "timers": 120, "reset": 120}
RESETS = {"reset"}
ONE_CPU = {"check"} # engines that run one processor only
# A sanitizer's report may leave the exit code alone.
SANITIZER = re.compile(r"runtime error:|Sanitizer")


def command(args, engine, image, cpus, serial, name):
    if args.runner == "qemu":
        cmd = [args.qemu, "-M", "q35", "-cpu", "max", "-accel", "tcg", "-m", str(MEMORY_MIB),
               "-smp", str(cpus), "-display", "none", "-kernel", image, "-append", APPEND,
               "-serial", "file:" + serial]
        return cmd if name in RESETS else cmd + ["-no-reboot"]
    cmd = [args.bothy, "run", "--kernel", image, "--append", args.append, "--memory",
           "%dM" % MEMORY_MIB, "--cpus", str(cpus), "--engine", engine, "--serial",
           "file:" + serial]
    if engine == "kvm":
        cmd += ["--kvm-anyway", "--kvm-irqchip", args.irqchip]
    if args.cpu:
        cmd += ["--cpu", args.cpu]
    cmd += args.extra
    return cmd if name in RESETS else cmd + ["--no-reboot"]


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode("ascii", "replace").replace("\r", "")
    except FileNotFoundError:
        return ""


def run(args, engine, image, cpus, name):
    """Returns a dictionary that describes how the guest did."""
    with tempfile.TemporaryDirectory(prefix="bothy-asm-") as folder:
        serial = os.path.join(folder, "serial")
        cmd = command(args, engine, image, cpus, serial, name)
        start = time.monotonic()
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, start_new_session=True)
        timed_out = False
        try:
            out, _ = p.communicate(timeout=SECONDS.get(name, 60) * args.patience)
        except subprocess.TimeoutExpired:
            timed_out = True
            os.killpg(p.pid, signal.SIGKILL)
            out, _ = p.communicate()
        text = read(serial)
    lines = text.splitlines()
    result = {
        "guest": name, "engine": engine, "cpus": cpus, "code": p.returncode,
        "seconds": round(time.monotonic() - start, 2), "timed_out": timed_out,
        "ok": sum(l.startswith("ok ") for l in lines),
        "failures": [l for l in lines if l.startswith("FAIL ") and not re.fullmatch(r"FAIL \d+", l)],
        "skipped": [l[5:] for l in lines if l.startswith("skip ")],
        "said": out.decode("utf-8", "replace").strip(), "log": text,
    }
    closing = next((l for l in reversed(lines) if re.fullmatch(r"(PASS|FAIL) \d+", l)), "")
    result["closing"] = closing
    result["passed"] = (bool(re.fullmatch(r"PASS [1-9]\d*", closing)) and not result["failures"]
                        and p.returncode == 0 and not timed_out
                        and not SANITIZER.search(result["said"]))
    return result


def report(args, r):
    what = "%s, %s%s" % (r["guest"], r["engine"], ", %d CPUs" % r["cpus"] if r["cpus"] > 1 else "")
    if r["passed"]:
        skipped = ", %d skipped" % len(r["skipped"]) if r["skipped"] else ""
        print("ok %s: %d checks%s (%.1f s)" % (what, r["ok"], skipped, r["seconds"]))
    else:
        why = ("timed out" if r["timed_out"] else "ended without a closing line"
               if not r["closing"] else "exit code %d" % r["code"] if r["code"]
               else "%d checks failed" % len(r["failures"]) if r["failures"]
               else "a sanitizer reports")
        print("FAIL %s: %s" % (what, why))
        for line in r["failures"][:40]:
            print("     " + line)
        if r["timed_out"] or not r["closing"]:
            for line in r["log"].splitlines()[-3:]:
                print("     last: " + line)
        if r["said"]:
            for line in r["said"].splitlines()[-5:]:
                print("     machine: " + line)
    if args.verbose:
        for line in r["skipped"]:
            print("     skip " + line)
    sys.stdout.flush()


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--runner", choices=["bothy", "qemu"], default="bothy")
    p.add_argument("--engine", action="append")
    p.add_argument("--extra", action="append", default=[], help="an option for bothy run")
    p.add_argument("--cpu", help="the CPU model")
    p.add_argument("--most-cpus", type=int, default=255)
    p.add_argument("--append", default=APPEND, help="the guests' command line")
    p.add_argument("--irqchip", default="user", help="where KVM has the interrupt controllers")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--bothy")
    p.add_argument("--qemu", default="qemu-system-x86_64")
    p.add_argument("--json")
    p.add_argument("--verbose", action="store_true")
    p.add_argument("--patience", type=float, default=1, help="factor on every time limit")
    p.add_argument("guest", nargs="*")
    args = p.parse_args()
    build = args.build if os.path.isabs(args.build) else os.path.join(ROOT, args.build)
    args.images = os.path.join(build, "tests", "asm")
    args.bothy = args.bothy or os.path.join(build, "cmd", "bothy")
    if not args.engine and args.runner == "qemu":
        args.engine = ["tcg"]
    elif not args.engine and os.path.exists(args.bothy):
        args.engine = engines_offered(args.bothy)
    args.engine = args.engine or ["interp"]
    return args


def main():
    args = parse()
    have = sorted(f[:-4] for f in os.listdir(args.images) if f.endswith(".elf")) \
        if os.path.isdir(args.images) else []
    unknown = [g for g in args.guest if g not in have]
    if unknown or not have:
        print("no such guest in %s: %s" % (args.images, ", ".join(unknown) or "none is built"))
        print("0 passed, 1 failed")
        return 1
    results = []
    for engine in args.engine:
        for name in args.guest or have:
            for cpus in [n for n in CPUS.get(name, [1]) if n <= args.most_cpus]:
                if engine in ONE_CPU and cpus > 1:
                    continue
                image = os.path.join(args.images, name + ".elf")
                r = run(args, engine, image, cpus, name)
                report(args, r)
                results.append(r)
    if args.json:
        with open(args.json, "w") as f:
            json.dump([{k: v for k, v in r.items() if k != "log"} for r in results], f, indent=1)
            f.write("\n")
    passed = sum(r["passed"] for r in results)
    print("%d passed, %d failed" % (passed, len(results) - passed))
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
