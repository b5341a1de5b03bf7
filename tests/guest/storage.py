#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's own drivers on SATA, IDE and floppy: file systems made, written, checked, read
back; discs mounted. Last line: "N passed, N failed".

usage: storage.py [--engine NAME]... [--build FOLDER] [--patience X] [TEST...]
"""
import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import traceback

from machine import Failure, Machine, Runner, engines_offered, prepared_guest

TESTS = {}
KERNEL_BAD = "ata.*(exception|error|failed|reset)|I/O error|timeout|lost interrupt|BUG:|Call Trace"


def test(fn):
    TESTS[fn.__name__] = fn
    return fn


def want(condition, text):
    if not condition:
        raise Failure(text)


class Box:
    """Images and a machine of one test."""

    def __init__(self, runner, work):
        self.runner, self.work = runner, work
        self.guest = prepared_guest("--pc")

    def path(self, name):
        return os.path.join(self.work, name)

    def disk(self, name, size):
        with open(self.path(name), "wb") as f:
            f.truncate(size)
        return self.path(name)

    def disc(self):
        """An ISO image with one file; (path, the file's checksum)."""
        os.makedirs(self.path("disc"), exist_ok=True)
        data = b"".join(b"line %d\n" % n for n in range(150000))
        with open(self.path("disc/data"), "wb") as f:
            f.write(data)
        subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", self.path("cd.iso"),
                        self.path("disc")], check=True, capture_output=True)
        return self.path("cd.iso"), hashlib.sha256(data).hexdigest()

    def boot(self, *extra):
        return Machine(self.runner, kernel=self.guest + "/vmlinuz",
                       initrd=self.guest + "/initramfs.cpio.gz", append="console=ttyS0",
                       memory="256M", cpus=1, reboot=False, extra=extra)


def sh(m, command, seconds=120):
    code, out = m.sh(command, seconds)
    want(code == 0, "'%s' ended with %d:\n%s" % (command, code, out))
    return out


def end(m):
    _, bad = m.sh("dmesg | grep -iE '%s'" % KERNEL_BAD)
    want(not bad.strip(), "the kernel complains:\n" + bad)
    m.send("poweroff -f\n")
    want(m.finish() == 0, "the machine's end")


def disk_and_disc(box, bus, irq):
    image = box.disk("disk.img", 64 << 20)
    iso, checksum = box.disc()
    with box.boot("--disk", image + ",format=raw,bus=" + bus, "--cdrom", iso + ",bus=" + bus) as m:
        m.wait_prompt(300)
        want("131072" in sh(m, "cat /sys/block/sda/size"), "the disk's size")
        sh(m, "mkdir -p /m /c; mke2fs /dev/sda >/dev/null; modprobe -a crc32c_generic ext4; "
              "mount -t ext4 /dev/sda /m")
        sh(m, "dd if=/dev/urandom of=/m/a bs=64k count=128 2>/dev/null; cp /m/a /m/b; "
              "sha256sum /m/a | cut -c1-64 >/m/sum; umount /m")
        sh(m, "echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 /dev/sda /m")
        sh(m, "test $(sha256sum /m/b | cut -c1-64) = $(cat /m/sum); umount /m")
        sh(m, "grep -E '%s' /proc/interrupts" % irq)
        sh(m, "modprobe isofs; mount -t iso9660 -o ro /dev/sr0 /c")
        want(checksum in sh(m, "sha256sum /c/data"), "the disc's file")
        sh(m, "umount /c")
        end(m)
    fsck = subprocess.run(["/sbin/e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    want(fsck.returncode == 0, "the file system is not clean: " + fsck.stdout)


@test
def sata(box):
    disk_and_disc(box, "sata", "PCI-MSI.*ahci")


@test
def ide(box):
    disk_and_disc(box, "ide", "ata_piix")


@test
def floppy(box):
    image = box.path("floppy.img")
    data = os.urandom(1440 << 10)
    with open(image, "wb") as f:
        f.write(data)
    with box.boot("--floppy", image) as m:
        m.wait_prompt(300)
        sh(m, "modprobe floppy; test -b /dev/fd0")
        want(hashlib.sha256(data).hexdigest() in sh(m, "dd if=/dev/fd0 bs=18k 2>/dev/null | sha256sum"),
             "the floppy's contents")
        sh(m, "dd if=/dev/zero bs=512 count=5 2>/dev/null | tr '\\0' x | "
              "dd of=/dev/fd0 bs=512 seek=100 2>/dev/null; sync")
        end(m)
    with open(image, "rb") as f:
        after = f.read()
    want(after == data[:51200] + b"x" * 2560 + data[51200 + 2560:], "what was written")


def main(tests):
    p = argparse.ArgumentParser()
    p.add_argument("--engine", action="append")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--patience", type=float, default=1, help="factor on every time limit")
    p.add_argument("test", nargs="*")
    args = p.parse_args()
    unknown = [t for t in args.test if t not in tests]
    if unknown:
        print("no such test: %s; there are: %s" % (" ".join(unknown), " ".join(tests)))
        print("0 passed, 1 failed")
        return 1
    passed = failed = 0
    for engine in args.engine or engines_offered(Runner(build=args.build).bothy):
        for name in args.test or tests:
            start = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="bothy-storage-") as work:
                try:
                    tests[name](Box(Runner("bothy", engine, args.build, args.patience), work))
                    passed += 1
                    print("ok %s, %s: %.0f s" % (name, engine, time.monotonic() - start))
                except Failure as e:
                    failed += 1
                    print("FAIL %s, %s: %s" % (name, engine, e))
                except Exception:
                    failed += 1
                    print("FAIL %s, %s:\n%s" % (name, engine, traceback.format_exc()))
            sys.stdout.flush()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(TESTS))
