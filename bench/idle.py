#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An installed Debian with 256 MiB, from power-on to idle at its login prompt, under bothy
and QEMU TCG: seconds to the boot loader (wanted: one at most) and to the login prompt (half
of TCG's), resident memory beyond the guest's RAM (under 40 MiB), host CPU (under 3 %).

usage: idle.py [--engine NAME] [--memory SIZE] [--settle SECONDS] [--no-qemu] [--build DIR]
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "guest"))
sys.path.insert(0, HERE)
from machine import Failure, Machine  # noqa: E402
from run import resident  # noqa: E402

WANTED_MIB, WANTED_CPU, WANTED_LOADER, WANTED_LOGIN = 40, 3, 1, 2
WATCH = 30


class Started:
    """What Machine wants to know: how to start it."""

    def __init__(self, command):
        self.words, self.patience = command, 1

    def command(self):
        return self.words


def commands(args, disk):
    bothy = os.path.join(ROOT, args.build, "cmd", "bothy")
    yield args.engine, [bothy, "run", "--engine", args.engine, "--memory", args.memory,
                        "--disk", disk]
    if not args.no_qemu and shutil.which("qemu-system-x86_64"):
        yield "tcg", ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max",
                      "-m", args.memory, "-display", "none", "-serial", "stdio", "-nic", "none",
                      "-drive", "file=%s,if=virtio,format=raw" % disk,
                      "-object", "memory-backend-memfd,id=ram,size=" + args.memory,
                      "-machine", "memory-backend=ram"]


def measure(command, settle):
    with Machine(Started(command)) as m:
        m.expect(rb"GNU GRUB", 600, "the boot loader")
        loader = time.monotonic() - m.start
        m.expect(rb"login: ", 600, "the login prompt")
        login = time.monotonic() - m.start
        end = time.monotonic() + settle
        while time.monotonic() < end:
            m.read_some(1)
        before, start = m.cpu_seconds(), time.monotonic()
        while time.monotonic() < start + WATCH:
            m.read_some(1)
        cpu = 100 * (m.cpu_seconds() - before) / (time.monotonic() - start)
        return loader, login, resident(m.process.pid) / 1024, cpu


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--engine", default="jit")
    p.add_argument("--memory", default="256M")
    p.add_argument("--settle", type=int, default=75, help="seconds after the login prompt")
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    args = p.parse_args()
    images = os.path.join(ROOT, "tools", "images.py")
    image = subprocess.run([sys.executable, images, "debian12.img"], check=True,
                           stdout=subprocess.PIPE).stdout.decode().split()[-1]
    status = 0
    seen = {}
    print("%-8s%12s%12s%14s%10s" % ("engine", "to loader s", "to login s", "MiB beyond", "CPU %"))
    with tempfile.TemporaryDirectory(prefix="bothy-idle-") as work:
        for name, command in commands(args, os.path.join(work, "disk.img")):
            subprocess.run(["cp", "--sparse=always", image, os.path.join(work, "disk.img")],
                           check=True)
            try:
                seen[name] = measure(command, args.settle)
            except Failure as e:
                print("idle: %s: %s" % (name, e), file=sys.stderr)
                status = 1
                continue
            loader, login, mib, cpu = seen[name]
            met = "" if name == "tcg" else "  met" if loader <= WANTED_LOADER and \
                mib < WANTED_MIB and cpu < WANTED_CPU else "  SHORT"
            print("%-8s%12.2f%12.1f%14.1f%10.2f%s" % (name, loader, login, mib, cpu, met),
                  flush=True)
    if args.engine in seen and "tcg" in seen:
        ratio = seen["tcg"][1] / seen[args.engine][1]
        print("power-on to login: %.2f times as fast as TCG  %s" %
              (ratio, "met" if ratio >= WANTED_LOGIN else "SHORT"))
    return status


if __name__ == "__main__":
    sys.exit(main())
