#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Load without end: Debian's kernel with two virtual CPUs under stress-ng, whose
--verify checks every answer; no error, no kernel complaint. Last line:
"N passed, N failed".

usage: soak.py [--seconds N] [--engine NAME] [--cpus N] [--extra OPTION]... [ROUND...]
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

from machine import ROOT, Failure, Runner, prepared_guest
from run import Guest, bad_lines, dmesg_clean, machine, normal, want

# Rounds of stressors that run at once; each round is a row.
ROUNDS = (
    ("cpu", "--cpu 2 --cpu-method all"),
    ("vm", "--vm 2 --vm-bytes 96M --vm-method all --vm-keep"),
    ("fork", "--fork 1 --vfork 1 --clone 1 --clone-max 32"),
    ("futex", "--futex 1 --mutex 1 --sem 1"),
    ("signals", "--sigfpe 1 --sigsegv 1 --sigq 1 --kill 1 --sigrt 1"),
    ("pipes", "--pipe 1 --pipe-data-size 4096 --switch 1 --poll 1"),
    ("memory", "--memcpy 1 --memthrash 1 --malloc 1 --malloc-bytes 8M --malloc-max 32 --stack 1"),
    ("maps", "--mmap 1 --mmap-bytes 8M --mmapfork 1 --mremap 1 --mremap-bytes 16M"),
    ("numbers", "--matrix 1 --vecmath 1 --fp 1 --funccall 1"),
    ("searching", "--qsort 1 --bsearch 1 --hsearch 1 --tsearch 1"),
    ("text", "--str 1 --wcs 1 --hash 1 --crypt 1"),
    ("threads", "--pthread 1 --context 1 --membarrier 1 --atomic 1"),
    ("code", "--mprotect 1 --icache 1 --nop 1 --tlb-shootdown 1"),
    ("timers", "--timer 1 --timerfd 1 --nanosleep 1 --clock 1"),
    ("zlib", "--zlib 2"),
    ("calls", "--getrandom 1 --sysinfo 1 --get 1 --eventfd 1"),
)
BAD = re.compile(r"\bfail(ed|ure)?:|stress-ng: (fail|error)|core dumped|unsuccessful")


def load(m, name, options, seconds, fast):
    command = ("cd /tmp && stress-ng %s --verify --timeout %ds --metrics-brief --oomable "
               "--temp-path /tmp --no-rand-seed 2>&1" % (options, seconds))
    code, out = m.sh(command, seconds * 4 + 300)
    bad = [l for l in out.splitlines() if BAD.search(l)]
    want(code == 0 and not bad, "%s: exit code %d:\n    %s" % (
        name, code, "\n    ".join((bad or out.splitlines())[-12:])))
    done = re.findall(r"metrc: \[\d+\] (\S+) +(\d+) ", out)
    want(done, "%s: no count of what was done:\n%s" % (name, out[-800:]))
    idle = [s for s, ops in done if int(ops) == 0]
    want(not idle or not fast, "%s: nothing was done by %s" % (name, " ".join(idle)))
    return ", ".join("%s %s" % d for d in done)


def soak(args, runner, guest):
    passed = 0
    begin = time.monotonic()
    rounds = [r for r in ROUNDS if not args.round or r[0] in args.round]
    each = max(5, min(60, args.seconds // len(rounds)))
    with machine(runner, guest, memory="2G", cpus=args.cpus, extra=tuple(args.extra)) as m:
        m.wait_prompt(300)
        # A stressor that meets its own fault on purpose is no news.
        m.sh("sysctl -w kernel.print-fatal-signals=0 debug.exception-trace=0")
        old = {normal(l) for l in bad_lines(m)}
        while passed == 0 or time.monotonic() - begin < args.seconds:
            for name, options in rounds:
                start = time.monotonic()
                said = load(m, name, options, each, args.engine == "jit")
                new = [l for l in bad_lines(m) if normal(l) not in old]
                want(not new, "%s: kernel messages:\n    %s\nthe log's end:\n%s" % (
                    name, "\n    ".join(new[:20]), m.sh("dmesg | tail -n 120", 60)[1]))
                passed += 1
                print("ok %s, %.0f s: %s" % (name, time.monotonic() - start, said), flush=True)
                if passed > len(rounds) and time.monotonic() - begin >= args.seconds:
                    break
        dmesg_clean(m)
        m.send("poweroff\n")
        code = m.finish()
        want(code == 0, "poweroff ended with exit code %d" % code)
        for line in m.text()[m.text().rfind("vCPU 0, engine"):].splitlines():
            if line.startswith(("vCPU", "  ")):
                print(line)
    return passed, time.monotonic() - begin


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=int, default=int(os.environ.get("SOAK_SECONDS", "3600")))
    p.add_argument("--engine", default="jit")
    p.add_argument("--cpus", type=int, default=2)
    p.add_argument("--extra", action="append", default=[])
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--patience", type=float, default=1, help="factor on every time limit")
    p.add_argument("round", nargs="*", help="only these rounds")
    args = p.parse_args()
    unknown = set(args.round) - {name for name, _ in ROUNDS}
    if unknown:
        p.error("there is no round '%s'" % min(unknown))
    with tempfile.TemporaryDirectory(prefix="bothy-soak-") as work:
        try:
            guest = Guest(prepared_guest(), work)
            stress = subprocess.run([os.path.join(ROOT, "tools", "guest-stress.sh")],
                                    stdout=subprocess.PIPE, check=False)
            want(stress.returncode == 0, "stress-ng cannot be prepared")
            with open(guest.initrd, "ab") as f, \
                    open(stress.stdout.decode().splitlines()[-1], "rb") as add:
                f.write(add.read())
            passed, seconds = soak(args, Runner("bothy", args.engine, args.build, args.patience),
                                   guest)
        except Failure as e:
            print("FAIL soak: %s\n0 passed, 1 failed" % e)
            return 1
    print("%d rounds in %.0f s" % (passed, seconds))
    print("%d passed, 0 failed" % passed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
