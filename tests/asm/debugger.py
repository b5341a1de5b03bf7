#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb at a test guest, in every engine: in_gdb.py is what it does there, gdb64.c the
guest, which must pass as it does alone. The last line is "N passed, N failed, N
skipped".

usage: debugger.py [--engine NAME]... [--irqchip PLACE]... [--cases all|moves|i386|kvm]...
                   [--patience N] [--verbose]
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests", "asm")
SECONDS = 120


def read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read().replace("\r", "")
    except FileNotFoundError:
        return ""


def session(args, folder, engine, irqchip, cpus, cases):
    """One machine and one gdb: did it pass, what gdb said, why not, what the guest said."""
    image = os.path.join(args.images, "real.elf" if cases == "i386" else "gdb64.elf")
    symbols = image
    # gdb takes the machine's word for what the processor is: the file must be of its kind.
    if cases != "i386":
        symbols = os.path.join(folder, "symbols")
        subprocess.run(["objcopy", "-I", "elf32-i386", "-O", "elf64-x86-64", image, symbols],
                       check=True)
    env = {**os.environ, "DEBUG_ENGINE": engine, "DEBUG_CPUS": str(cpus),
           "DEBUG_IRQCHIP": irqchip, "DEBUG_PATIENCE": str(args.patience), "DEBUG_SYMBOLS": symbols, "DEBUG_CASES": cases,
           "DEBUG_GDB": os.path.join(folder, "gdb"), "DEBUG_BOTHY": args.bothy,
           "DEBUG_CONTROL": os.path.join(folder, "control")}
    serial = os.path.join(folder, "serial")
    cmd = [args.bothy, "run", "--kernel", image, "--append", "debugger" + " plain" * (cases == "kvm"), "--memory", "64M",
           "--cpus", str(cpus), "--engine", engine, "--gdb", "unix:" + env["DEBUG_GDB"] + ",arch=i386" * (cases == "i386"),
           "--control", env["DEBUG_CONTROL"], "--paused", "--no-reboot",
           "--serial", "file:" + serial]
    if engine == "kvm":
        cmd += ["--kvm-anyway", "--kvm-irqchip", irqchip]
    vm = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, start_new_session=True)
    said, gdb = vm.stdout.readline(), ""
    try:
        gdb = subprocess.run(["gdb", "-nx", "-batch", "-x", os.path.join(HERE, "in_gdb.py")],
                             env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False,
                             timeout=SECONDS * args.patience).stdout
        said += vm.communicate(timeout=60 * args.patience)[0]
    except subprocess.TimeoutExpired as e:
        if not gdb: # bytes, whatever was asked for
            gdb = (e.stdout or b"").decode("utf-8", "replace")
        gdb += "\n" + subprocess.run([args.bothy, "ctl", env["DEBUG_CONTROL"], "query-status"],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                     check=False).stdout
        os.killpg(vm.pid, signal.SIGKILL)
        vm.communicate()
        return False, gdb, "timed out", read(serial)
    log = read(serial)
    lines = log.splitlines()
    gdb += f"\nthe machine ended with {vm.returncode}: {said}"
    why = ("gdb: a check failed" if "FAIL " in gdb else "gdb did not come to its end"
           if "detached" not in gdb else f"the guest: {lines[-1:]}"
           if not lines or not re.fullmatch(r"PASS [1-9]\d*", lines[-1]) or "FAIL" in log
           else "the machine failed" if vm.returncode else "")
    return not why, gdb, why, log


def kvm_cases(args):
    """What KVM can do on this host; nothing where there is none."""
    host = json.loads(subprocess.run([args.bothy, "host", "--json"], stdout=subprocess.PIPE,
                                     check=True).stdout)["kvm"]
    print(f"KVM: {host['verdict']}, {host['technique']}. {host['reason']}")
    if host["verdict"] in ("absent", "forbidden", "too old"):
        return []
    return ["all"] if host["verdict"] == "good" else ["kvm"]


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--engine", action="append")
    p.add_argument("--irqchip", action="append")
    p.add_argument("--cases", action="append")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--patience", type=float, default=1, help="factor on every time limit")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    build = os.path.join(ROOT, args.build)
    args.images = os.path.join(build, "tests", "asm")
    args.bothy = os.path.join(build, "cmd", "bothy")
    args.engine = args.engine or ["interp", "jit", "check"]
    args.irqchip = args.irqchip or ["user", "split", "kernel"]
    return args


def wanted(args):
    """(engine, place of the interrupt controllers, cases, processors)"""
    for engine in args.engine:
        cases = args.cases or (kvm_cases(args) if engine == "kvm" else ["all", "i386", "moves"])
        for irqchip in args.irqchip if engine == "kvm" else [""]:
            for case in cases:
                for cpus in (1, 2):
                    # The checking engine has one processor, and stays where it is.
                    if engine == "check" and (cpus > 1 or case == "moves"):
                        continue
                    if case != "i386" or cpus == 1:
                        yield engine, irqchip, case, cpus


def main():
    args = parse()
    passed = failed = skipped = 0
    if not shutil.which("gdb"):
        print("FAIL gdb is missing; tools/setup.sh check installs it")
        print("0 passed, 1 failed")
        return 1
    for engine, irqchip, cases, cpus in wanted(args):
        with tempfile.TemporaryDirectory(prefix="bothy-gdb-") as folder:
            ok, gdb, why, log = session(args, folder, engine, irqchip, cpus, cases)
        name = f"{cases}, {engine}{' ' * bool(irqchip)}{irqchip}, {cpus} CPU{'s' * (cpus > 1)}"
        checks = len(re.findall(r"^ok ", gdb, re.M))
        print(f"ok {name}: {checks} checks" if ok else f"FAIL {name}: {why}", flush=True)
        passed += ok
        failed += not ok
        if not ok:
            bad = [l for l in gdb.splitlines() if not l.startswith("ok ")]
            print("\n".join("     " + l for l in bad[-25:] +
                            [l for l in log.splitlines() if "FAIL" in l][:10]))
        if args.verbose:
            print(gdb)
    if not passed + failed:
        skipped = 1 # there is no KVM
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
