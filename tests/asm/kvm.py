#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The test guests under KVM, with each place of the interrupt controllers, and moved
between all engines. Where /dev/kvm cannot be opened everything is skipped; where it
has no hardware behind it, so is what only hardware can do. The last line is
"N passed, N failed, N skipped".

usage: kvm.py [--patience N] [--firmware] [--nested] [--irqchip PLACE]...
"""
import argparse
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What a KVM without hardware computes rightly. It has no way from ring 3 into ring 0 by
# SYSCALL or INT n, no 32-bit paging, no precise interrupt windows and little of x87. Its
# locked accesses across a page's end lose updates once there are two processors ("smp").
ANYWHERE = ["board", "count", "ladder", "mmio", "pcid", "reset", "ring3", "timers"]
ONE_CPU = ["smp"]
# Moved about as well. Not "board": where KVM cannot set the TSC, delays that are measured
# by it end early. "reset" nowhere: it ends what was saved before it.
MOVED = ["count", "ladder", "mmio", "pcid", "ring3", "timers"]
# Saved and restored fifty times.
SAVED = ["count"]
# Not there at all: when a guest comes out QEMU's AMD-V forgets the breakpoints that it has, and
# they stay, for every guest that uses the same addresses later.
NESTED_NEVER = ["debug64"]
# Not moved about there. QEMU's AMD-V wants the task register's task to be free, where a
# processor's is busy, and so one's that came from elsewhere: QEMU ends when ring 3 of a 32-bit
# kernel is left, and ring 3's I/O bitmap allows nothing (misc64). It forgets the shadow of STI
# and MOV SS that a processor came with (intwin), and that an exception that is delivered once
# more, because its delivery met a page that KVM had to bring first, can double (hostile).
NESTED_STAY = ["gates32", "hostile", "intwin", "misc64", "paging32", "seg32", "task32", "v86"]
FIRMWARE = ["bios_without_disks", "bios_boots", "bios_boot_order", "bios_file"]
# KVM has no A20 gate.
NEVER = ["a20"]
IRQCHIPS = ["user", "split", "kernel"]


def summary(out):
    m = re.findall(r"^(\d+) passed, (\d+) failed", out, re.M)
    return tuple(int(n) for n in m[-1]) if m else (0, 1)


def run(args):
    said = []
    with subprocess.Popen([sys.executable, "-B", *args], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as p:
        for line in p.stdout:
            said.append(line)
            if not re.match(r"\d+ passed, ", line):
                print(line, end="", flush=True)
    return summary("".join(said))


def largest_model(bothy, image):
    """The CPU model of a machine that may begin in any engine: "host" would have in one
    what another cannot give."""
    for model in ("x86-64-v3", "x86-64-v2"):
        out = subprocess.run([bothy, "run", "--engine", "kvm", "--kvm-anyway", "--cpu", model,
                              "--kernel", image, "--no-reboot", "--serial", "none"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False).stdout
        if "cannot give on this host" not in out:
            return model
    return "x86-64-v1"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--patience", default="4")
    p.add_argument("--firmware", action="store_true", help="SeaBIOS and GRUB too: minutes")
    p.add_argument("--nested", action="store_true", help="its hardware is emulated by QEMU: all "
                   "guests, but for what QEMU's is known to do otherwise (nested.py)")
    p.add_argument("--irqchip", action="append", choices=IRQCHIPS)
    args = p.parse_args()
    build = os.environ.get("BUILD", "build")
    build = build if os.path.isabs(build) else os.path.join(ROOT, build)
    bothy = os.path.join(build, "cmd", "bothy")
    host = json.loads(subprocess.run([bothy, "host", "--json"], stdout=subprocess.PIPE,
                                     check=True).stdout)["kvm"]
    images = sorted(f[:-4] for f in os.listdir(os.path.join(build, "tests", "asm"))
                    if f.endswith(".elf"))
    images = [g for g in images if g not in NEVER + (NESTED_NEVER if args.nested else [])]
    print(f"KVM: {host['verdict']}, {host['technique']}. {host['reason']}")
    if host["verdict"] in ("absent", "forbidden", "too old"):
        print(f"0 passed, 0 failed, {len(images) * len(IRQCHIPS)} skipped")
        return 0
    hardware = args.nested or host["verdict"] == "good"
    guests = images if hardware else [g for g in ANYWHERE + ONE_CPU if g in images]
    skipped = (len(images) - len(guests)) * len(IRQCHIPS)
    if skipped:
        print("needs hardware: " + " ".join(g for g in images if g not in guests))
    passed = failed = 0
    here = os.path.join(ROOT, "tests", "asm")
    few = [] if hardware else ["--most-cpus", "1"]
    model = largest_model(bothy, os.path.join(build, "tests", "asm", "count.elf")) \
        if hardware else "x86-64-v1"
    all_engines = ["--engines", "interp,jit,kvm", "--cpu", model]
    moved = [g for g in guests if g != "reset"] if hardware else MOVED
    moved = [g for g in moved if not (args.nested and g in NESTED_STAY)]
    runs = []
    for chip in args.irqchip or IRQCHIPS:
        common = ["--irqchip", chip, "--patience", args.patience, *few]
        common += [] if hardware else ["--cpu", "x86-64-v1"]
        # What KVM and the parts of it that are used do otherwise.
        told = "hello test kvm" + (" tcg" if args.nested else "") + \
            {"user": "", "split": " kvm-apic", "kernel": " kvm-apic kvm-chips"}[chip]
        common += ["--append", told]
        runs += [["run.py", *common, "--append", told + " avx", "--engine", "kvm", *guests],
                 ["switch.py", *common, *all_engines, *moved],
                 ["switch.py", *common, *all_engines, "--saves", "50", "--least", "50",
                  "--save-share", "0.5", "--runs", "1", *SAVED]]
    if args.firmware:
        runs += [["../guest/firmware.py", "--engine", "kvm", "--patience", args.patience,
                  *([] if hardware else FIRMWARE)],
                 ["../guest/boot.py", "--engine", "kvm", "grub_cd"]]
    for script, *words in runs:
        good, bad = run([os.path.join(here, script), *words])
        passed += good
        failed += bad
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
