#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware: SeaBIOS to a boot sector and what it can do, OVMF to its shell, variables
that last. Last line: "N passed, N failed".

usage: firmware.py [--engine NAME]... [--build FOLDER] [--patience X] [TEST...]
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback

from machine import Failure, Machine, Runner, engines_offered

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = {}
SHELL = rb"Shell> "


def test(*engines):
    """For these engines; without any, for all."""
    def add(fn):
        TESTS[fn.__name__] = (fn, engines)
        return fn
    return add


def want(condition, text):
    if not condition:
        raise Failure(text)


class FirmwareRunner(Runner):
    """bothy run with options as they are."""

    def command(self, options):
        kvm = ["--kvm-anyway", "--cpu", "x86-64-v1"] if self.engine == "kvm" else []
        return [self.bothy, "run", "--engine", self.engine, *kvm, "--vga", "none", *options]


def machine(runner, *options):
    return Machine(runner, options=options)


class Disks:
    """Raw images with the boot sector, each with a name in its second sector."""

    def __init__(self, work):
        self.work = work
        obj, self.code = os.path.join(work, "sector.o"), os.path.join(work, "sector.bin")
        subprocess.run(["as", "--32", "-o", obj, os.path.join(HERE, "boot", "sector.S")],
                       check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary",
                        "-o", self.code, obj], check=True)

    def make(self, name):
        path = os.path.join(self.work, name)
        with open(self.code, "rb") as f:
            code = f.read()
        want(len(code) == 512, "the boot sector has %d bytes" % len(code))
        with open(path, "wb") as f:
            f.write(code + name.encode().ljust(512, b"\0"))
            f.truncate(1 << 20)
        return path


def in_sector(m, name, seconds=60):
    m.expect(rb"SECTOR drive 80 memory 3C0006F[0-9A-F] read %s ready" % name.encode(), seconds)


@test()
def bios_without_disks(runner, disks):
    for cpus in ("1", "2"):
        log = os.path.join(disks.work, "log-%s-%s" % (runner.engine, cpus))
        with machine(runner, "--memory", "128M", "--cpus", cpus, "--chardev",
                     "file,id=log,path=" + log, "--device", "debugcon,chardev=log") as m:
            m.expect(rb"SeaBIOS \(version", 60)
            m.expect(rb"No bootable device\.", 60)
        with open(log, encoding="utf-8", errors="replace") as f:
            text = f.read()
        want("Found %s cpu(s) max supported %s cpu(s)" % (cpus, cpus) in text, text)
        want("QEMU fw_cfg DMA interface supported" in text, text)
        want("ACPI: parse DSDT" in text and "Copying SMBIOS" in text, text)


@test()
def bios_boots(runner, disks):
    """A disk, keys, resets of both kinds, power off."""
    for cpus in ("1", "2"):
        with machine(runner, "--memory", "128M", "--cpus", cpus, "--disk",
                     disks.make("first")) as m:
            for key in ("r", "k", "o"):
                in_sector(m, "first")
                m.send(key)
            want(m.finish() == 0, "not exit code 0 after power off")


@test()
def bios_boot_order(runner, disks):
    """The lower bootindex goes first, behind a root port, too."""
    a, b = disks.make("aaa"), disks.make("bbb")
    common = ("--memory", "128M", "--drive", "id=a,file=" + a, "--drive", "id=b,file=" + b,
              "--device", "pcie-root-port,id=port", "--device", "isa-debug-exit")
    for first, options in (
            ("aaa", ("virtio-blk,drive=a,bootindex=1", "virtio-blk,drive=b,bootindex=2")),
            ("bbb", ("virtio-blk,drive=a,bootindex=2", "virtio-blk,drive=b,bootindex=1")),
            ("bbb", ("virtio-blk,drive=a", "virtio-blk,drive=b,bus=port,bootindex=0"))):
        with machine(runner, *common, "--device", options[0], "--device", options[1]) as m:
            in_sector(m, first)
            m.send("e")
            want(m.finish() == 43, "not the debug exit port's code")


@test()
def bios_file(runner, disks):
    """Firmware by its path; and files that are none."""
    with machine(runner, "--memory", "128M", "--firmware",
                 "/usr/share/seabios/bios.bin") as m:
        m.expect(rb"No bootable device\.", 60)
    for name, size, why in (("odd", 65537, rb"no multiple of 4 KiB"),
                            ("small", 4096, rb"is no firmware"),
                            ("huge", (16 << 20) + 4096, rb"bytes; 1 to"),
                            ("empty", 0, rb"0 bytes")):
        path = os.path.join(disks.work, name)
        with open(path, "wb") as f:
            f.truncate(size)
        with machine(runner, "--firmware", path) as m:
            m.expect(why, 30)
            want(m.finish() == 1, "%s: not exit code 1" % name)


def to_shell(m, seconds=240):
    m.expect(rb"Press .*ESC", seconds, "the UEFI shell's countdown")
    m.send("\x1b")
    m.expect(SHELL, 60, "the UEFI shell's prompt")


def shell(m, command, pattern, seconds=60):
    m.send(command + "\r")
    return m.expect(pattern, seconds, command)


@test()
def uefi_shell(runner, disks):
    """Its devices, its memory, a reset, and power off."""
    for cpus in ("1", "2") if runner.engine != "interp" else ("2",):
        with machine(runner, "--memory", "192M", "--cpus", cpus, "--firmware", "uefi",
                     "--device", "pcie-root-port,id=port") as m:
            to_shell(m)
            shell(m, "pci", rb"Bridge Device - PCI/PCI bridge")
            shell(m, "ver", rb"EDK II")
            if cpus == "2":
                shell(m, "reset", rb"Press .*ESC", 240)
                m.send("\x1b")
                m.expect(SHELL, 60)
            m.send("reset -s\r")
            want(m.finish(60) == 0, "not exit code 0 after power off")


@test("jit")
def uefi_variables(runner, disks):
    """A variable lasts over the machine's end; the file is this machine's alone."""
    path = os.path.join(disks.work, "vars.fd")
    options = ("--memory", "192M", "--firmware", "uefi", "--uefi-vars", path)
    guid = "11223344-5566-7788-99aa-bbccddeeff00"
    with machine(runner, *options) as m:
        to_shell(m)
        shell(m, "setvar Kept -guid %s -bs -rt -nv =0xc0ffee42" % guid, SHELL)
        with machine(runner, *options) as other:
            other.expect(rb"in use|lock", 30)
            want(other.finish() == 1, "two machines with one variable store")
        m.send("reset -s\r")
        want(m.finish(60) == 0, "not exit code 0 after power off")
    with machine(runner, *options) as m:
        to_shell(m)
        shell(m, "setvar Kept -guid %s" % guid, rb"42 EE FF C0")
        m.send("reset -s\r")
        m.finish(60)
    want(os.path.getsize(path) == os.path.getsize("/usr/share/OVMF/OVMF_VARS_4M.fd"),
         "the variable store changed its size")
    want([f for f in os.listdir(disks.work) if f.startswith("vars.fd.")] == [],
         "a half-made file is left")


@test("jit")
def wrong_use(runner, disks):
    for options, why in (
            (("--firmware", "/nowhere/x.fd"), rb"cannot be opened"),
            (("--uefi-vars", "x.fd"), rb"'uefi-vars' is for UEFI firmware"),
            (("--kernel", "/dev/null", "--firmware", "bios"), rb"boots without firmware"),
            (("--initrd", "/dev/null"), rb"are for a 'kernel'"),
            (("--firmware", "uefi", "--uefi-vars", "/nowhere/x.fd"), rb"cannot be made"),
            (("--firmware", "/usr/share/OVMF/OVMF_CODE_4M.fd", "--uefi-vars",
              os.path.join(disks.work, "none.fd")), rb"does not exist")):
        with machine(runner, *options) as m:
            m.expect(why, 30)
            want(m.finish() in (1, 2), "exit code of %s" % (options,))


def run_tests(args, runner, disks, failures):
    passed = 0
    for name, (fn, engines) in TESTS.items():
        if (args.test and name not in args.test) or (engines and runner.engine not in engines):
            continue
        start = time.monotonic()
        label = "%s, %s" % (name, runner.engine)
        try:
            fn(runner, disks)
            passed += 1
            print("ok %s: %.0f s" % (label, time.monotonic() - start))
        except Failure as e:
            failures.append(label)
            print("FAIL %s: %s" % (label, e))
        except Exception:
            failures.append(label)
            print("FAIL %s:\n%s" % (label, traceback.format_exc()))
        sys.stdout.flush()
    return passed


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--engine", action="append")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--patience", type=float, default=1, help="factor on every time limit")
    p.add_argument("test", nargs="*")
    args = p.parse_args()
    unknown = [t for t in args.test if t not in TESTS]
    if unknown:
        print("no such test: %s; there are: %s" % (" ".join(unknown), " ".join(TESTS)))
        print("0 passed, 1 failed")
        return 1
    failures, passed = [], 0
    with tempfile.TemporaryDirectory(prefix="bothy-firmware-") as work:
        disks = Disks(work)
        bothy = FirmwareRunner(build=args.build).bothy
        for engine in args.engine or engines_offered(bothy):
            runner = FirmwareRunner("bothy", engine, args.build, args.patience)
            passed += run_tests(args, runner, disks, failures)
    print("%d passed, %d failed" % (passed, len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
