#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots installed systems, CDs and floppies through firmware, from power-on, and does
what a person would. Images come from tools/images.py. Last line: "N passed, N failed".

usage: boot.py [--engine NAME]... [--quick] [--all] [--list] [--keep FOLDER] [TEST...]
       boot.py --images

A TEST may be a part of a name: "debian12_bios". An engine does what is meant for it: the
translator everything, the interpreter one of each kind, any other what the translator does;
--all is everything in both.
"""
import argparse
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback

from box import (Box, check_clean, images, is_running, log_in, log_in_on_screen, no_complaints, root_of, sh, want)
from machine import Failure
from patience import SLOWNESS, Clock
from repository import PAYLOAD, Archive, BODY

QUICK = set()
TESTS = {}
FIRMWARE = {"bios": ["--firmware", "bios"], "uefi": ["--firmware", "uefi"]}
# The disk's name, what lspci calls its controller, and what the kernel calls the disk.
DISKS = {"virtio": ("vda", r"Virtio.*(block|\[1af4:1042\]|\[1af4:1001\])", None),
         "scsi": ("sda", r"Virtio.*(SCSI|\[1af4:1048\]|\[1af4:1004\])", r"BOTHY"),
         "sata": ("sda", r"82801I.*SATA.*AHCI", r"BOTHY"),
         "ide": ("sda", r"82371SB PIIX3 IDE", r"BOTHY")}


def test(quick=False, engines=("jit",)):
    """For the translator, unless more engines are named."""
    def add(fn):
        TESTS[fn.__name__] = (fn, engines)
        if quick:
            QUICK.add(fn.__name__)
        return fn
    return add


EACH = ("jit", "interp")


def check_devices(m, firmware, bus, cpus):
    _, out = sh(m, "findmnt -no SOURCE /; nproc; [ -d /sys/firmware/efi ] && echo EFI-BOOT; lspci -nn; "
                   "cat /sys/block/?d?/device/vendor /sys/block/?d?/device/model 2>/dev/null")
    name, controller, model = DISKS[bus]
    want(f"/dev/{name}3\n" in out, f"the root disk is not /dev/{name}3: {out}")
    want(re.search(controller, out), f"lspci shows no {controller}: {out}")
    want("82G33/G31/P35/P31 Express DRAM Controller" in out and "LPC Interface Controller" in out,
         "lspci shows no Q35: " + out)
    want(model is None or re.search(model, out, re.I), f"the disk is no {model}: {out}")
    want(f"\n{cpus}\n" in out, f"the guest has not {cpus} CPUs: {out}")
    want(("EFI-BOOT" in out) == (firmware == "uefi"), "the firmware is not what was asked for")


def debian(box, image, firmware, bus="virtio", cpus=1):
    disk = box.debian(image)
    args = ["--memory", "1G", "--cpus", str(cpus), *FIRMWARE[firmware], "--disk", f"{disk},bus={bus}"]
    if firmware == "uefi":
        args += ["--uefi-vars", box.path("vars.fd")]
    with box.machine(*args) as m:
        log_in(m)
        is_running(m)
        check_devices(m, firmware, bus, cpus)
        log_in_on_screen(box)
        no_complaints(m)
        m.send("poweroff\n")
        want(m.finish(120) == 0, "poweroff did not end the machine cleanly:\n" + m.tail())
    with box.machine(*args) as m:
        log_in(m)
        check_clean(m)
        sh(m, "udevadm settle -t 200", 240)  # a button whose driver is not there yet does nothing
        box.ctl("system_powerdown")
        want(m.finish(180) == 0, "the power button did not end the machine cleanly:\n" + m.tail())
    check_file_system(disk)


def check_file_system(disk):
    """The root file system after the last power-off, looked at from here."""
    p = subprocess.run(["/sbin/e2fsck", "-fn", root_of(disk)], capture_output=True, text=True, check=False)
    want(p.returncode == 0 and not re.search("journal|recover", p.stdout + p.stderr),
         "the file system is not clean: " + p.stdout + p.stderr)


def add_debian(image, firmware, bus, cpus, engines=("jit",)):
    def run(box):
        debian(box, image + ".img", firmware, bus, cpus)
    name = "%s_%s_%s_%d" % (image.replace("-", "_"), firmware, bus, cpus)
    TESTS[name] = (run, engines)


# One of each kind in the interpreter: a processor, each bus and each firmware once.
IN_INTERP = {("bios", "virtio", 1), ("bios", "ide", 2), ("uefi", "sata", 1), ("uefi", "scsi", 2)}
for _firmware in FIRMWARE:
    for _bus in DISKS:
        for _cpus in (1, 2):
            add_debian("debian12", _firmware, _bus, _cpus,
                       EACH if (_firmware, _bus, _cpus) in IN_INTERP else ("jit",))
for _cpus in (1, 2):
    add_debian("debian12-i386", "bios", "virtio", _cpus, EACH if _cpus == 1 else ("jit",))
    add_debian("debian13", "bios", "virtio", _cpus, EACH if _cpus == 1 else ("jit",))
    add_debian("debian13", "uefi", "virtio", _cpus, EACH if _cpus == 2 else ("jit",))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@test(engines=EACH)
def debian12_network(box):
    """SSH through a forwarded port; a download and apt-get from this host's loopback."""
    disk, port = box.debian("debian12.img"), free_port()
    with Archive() as web, box.machine("--memory", "1G", "--disk", disk, "--net",
                                       f"user,forward=tcp:{port}:22") as m:
        log_in(m)
        _, out = sh(m, "for i in $(seq 60); do ip -4 addr | grep -q 10.0.2 && break; sleep 1; done; ip -4 addr", 120)
        want("10.0.2." in out, "no lease: " + out)
        _, out = sh(m, f"curl -s http://10.0.2.2:{web.port}/body | sha256sum", 120)
        want(hashlib.sha256(BODY).hexdigest() in out, "the download differs: " + out)
        sh(m, f"echo 'deb [trusted=yes] http://10.0.2.2:{web.port} ./' >/etc/apt/sources.list")
        rc, out = sh(m, "apt-get update && apt-get install -y bothy-test && cat /usr/share/bothy-test", 240)
        want(rc == 0 and PAYLOAD.decode() in out, "apt-get: " + out)
        command = ["ssh", "-i", str(images.ssh_key()), "-p", str(port), "-o", "StrictHostKeyChecking=no",
                   "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
                   f"ConnectTimeout={int(60 * box.slowness)}", "root@127.0.0.1", "uname -n; cat"]
        p = subprocess.run(command, input="through the wire\n", capture_output=True, text=True,
                           timeout=300 * box.slowness, check=False)
        want(p.stdout == "debian\nthrough the wire\n", f"ssh: {p.stdout} {p.stderr}")
        m.send("poweroff\n")
        want(m.finish(120) == 0, "poweroff: " + m.tail())


def make_cd(box, name, text):
    folder, iso = box.path(name + ".d"), box.path(name + ".iso")
    os.mkdir(folder)
    with open(os.path.join(folder, "which"), "w", encoding="ascii") as f:
        f.write(text)
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-V", name, "-o", iso, folder], check=True,
                   capture_output=True)
    return iso


def drive_of(box):
    return next(d for d in box.ctl("query-block") if d["removable"])


def insist(box, *words):
    """A change of the medium: udev locks the tray, and opens it when it is asked to."""
    try:
        return box.ctl(*words)
    except Failure as refused:
        want("lock" in str(refused), f"{words[0]} of a locked tray says: {refused}")
    wait_open(box)
    return box.ctl(*words)


def wait_open(box):
    """Asked once: who asks again has the next disc put out, too."""
    clock = Clock(box.m, 60)
    while not drive_of(box).get("tray_open"):
        box.m.read_some(0.5)
        why = clock.over(None)
        want(not why, f"the guest does not let go of its CD: {why}")


def cd_in_guest(box, bus):
    """A CD that changes and goes, with the guest's consent, and a tray that it opens."""
    first, second = (make_cd(box, name, f"the {name} disc\n") for name in ("first", "second"))
    disk = box.debian("debian12.img")
    look = ("for i in $(seq 30); do mount -o ro /dev/sr0 /mnt && break; sleep 1; done; cat /mnt/which; "
            "blkid -po value -s LABEL /dev/sr0; umount /mnt")
    with box.machine("--memory", "1G", "--disk", disk, "--cdrom", f"{first},bus={bus}") as m:
        log_in(m)
        drive = drive_of(box)["device"]
        rc, out = sh(m, look)
        want(rc == 0 and "the first disc\n" in out and "first\n" in out, "the first CD: " + out)
        try:
            box.ctl("eject", f"device={drive}")
            raise ValueError("a locked tray opened")
        except Failure as refused:
            want("lock" in str(refused), f"eject of a locked tray says: {refused}")
        wait_open(box)
        insist(box, "blockdev-change-medium", f"device={drive}", f"filename={second}")
        rc, out = sh(m, look, 120)
        want(rc == 0 and "the second disc\n" in out and "second\n" in out, "the second CD: " + out)
        insist(box, "eject", f"device={drive}")
        rc, out = sh(m, "mount -o ro /dev/sr0 /mnt")
        want(rc != 0 and re.search("[Nn]o medium", out), "an empty drive: " + out)
        insist(box, "blockdev-change-medium", f"device={drive}", f"filename={first}")
        rc, out = sh(m, look, 120)
        want(rc == 0 and "the first disc\n" in out, "the first CD again: " + out)
        rc, out = sh(m, "/usr/lib/udev/cdrom_id --eject-media /dev/sr0")
        tray = drive_of(box)
        want(tray.get("tray_open") is True, f"the guest opened the tray: {tray}; {out}")
        m.send("poweroff\n")
        want(m.finish(120) == 0, "poweroff: " + m.tail())


@test()
def debian12_cd_sata(box):
    cd_in_guest(box, "sata")


@test()
def debian12_cd_ide(box):
    cd_in_guest(box, "ide")


@test()
def debian12_cd_scsi(box):
    cd_in_guest(box, "scsi")


@test()
def debian12_watchdog(box):
    """The chipset's watchdog, left alone, starts the machine again; closed, it does not."""
    with box.machine("--memory", "1G", "--disk", box.debian("debian12.img")) as m:
        log_in(m)
        # The module cannot be loaded anew: a timer that firmware did not stop counts as in use.
        rc, out = sh(m, "cat /sys/class/watchdog/watchdog0/identity && wdctl -s 5 /dev/watchdog0", 90)
        want(rc == 0 and "iTCO_wdt" in out, "no watchdog: " + out)
        rc, out = sh(m, "echo V >/dev/watchdog0; sleep 15; dmesg | tail -n 3")
        want(rc == 0 and "did not stop" not in out, "the watchdog cannot be closed: " + out)
        m.send("sync; echo feed >/dev/watchdog0; sleep 1000\n")
        log_in(m)  # again, for the machine has started again
        m.send("poweroff\n")
        want(m.finish(120) == 0, "poweroff: " + m.tail())


def grub_lists(box, m, *disks):
    """`ls` names these disks and partitions, and no other disk but GRUB's own."""
    m.expect(rb"grub> ", 60)
    m.send("ls\n")
    shown = m.expect(rb"\n(\s*\([^>]*)grub>", 30, "GRUB's disks").group(1)
    found = set(re.findall(r"\(\S+?\)", re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\s", "", shown.decode()).replace(")(", ") (")))
    whole = {d for d in found if "," not in d} - {"(proc)", "(memdisk)"}
    want(set(disks) <= found and whole == {d for d in disks if "," not in d},
         f"GRUB lists {' '.join(sorted(found))}, not {' '.join(disks)}")
    box.wait_screen(re.escape(disks[0]) + r"[^\0]*grub>", 20)


@test(quick=True, engines=EACH)
def grub_cd(box):
    disk = box.copy("efi.img")
    with box.machine("--memory", "128M", "--cdrom", str(images.image("grub.iso")), "--disk", disk,
                     "--boot", "cdrom") as m:
        m.expect(rb"BOTHY-CD", 60)
        grub_lists(box, m, "(hd0)", "(hd0,gpt1)", "(cd)")


@test(quick=True)
def grub_cd_ide(box):
    with box.machine("--memory", "128M", "--cdrom", str(images.image("grub.iso")) + ",bus=ide") as m:
        m.expect(rb"BOTHY-CD", 60)
        grub_lists(box, m, "(cd)")


@test(quick=True)
def grub_cd_uefi(box):
    with box.machine("--memory", "256M", "--firmware", "uefi", "--uefi-vars", box.path("vars.fd"),
                     "--cdrom", str(images.image("grub.iso"))) as m:
        m.expect(rb"BOTHY-CD", 120)
        grub_lists(box, m, "(cd0)")


@test(quick=True, engines=EACH)
def grub_floppy(box):
    floppy, disk = box.copy("grub-floppy.img"), box.copy("efi.img")
    with box.machine("--memory", "64M", "--floppy", floppy, "--disk", f"{disk},bus=ide",
                     "--boot", "floppy") as m:
        m.expect(rb"BOTHY-FLOPPY", 60)
        grub_lists(box, m, "(fd0)", "(hd0)", "(hd0,gpt1)")


@test(engines=EACH)
def installer(box):
    """Debian's installer from a CD to its language menu, driven by keys."""
    with box.machine("--memory", "1G", "--cdrom", str(images.image("installer.iso"))):
        box.wait_screen(r"Select a language", 180)
        box.picture("languages.png")
        box.keys("down", "down")
        box.picture("installer.png")
        box.keys("ret")
        box.wait_screen(r"Pays \(territoire", 120)  # two down from English


def memtest(box, *args):
    with box.machine("--cdrom", str(images.image("memtest.iso")), *args):
        box.wait_screen(r"Memtest86", 60)
        text = box.wait_screen(r"Pass:\s*[1-9]|Errors:\s*[1-9]", 1800)
        want(re.search(r"Errors:\s*0", text), "memtest found errors:\n" + text)
        box.picture("memtest.png")


@test(engines=EACH)
def memtest_bios(box):
    memtest(box, "--memory", "64M" if box.engine == "jit" else "16M")


@test()
def memtest_uefi(box):
    memtest(box, "--memory", "160M", "--firmware", "uefi", "--uefi-vars", box.path("vars.fd"))


SHELL = rb"Shell> "


@test(quick=True, engines=EACH)
def uefi_boot_entry(box):
    """The UEFI shell; a boot entry and a variable that it writes are there after a power
    cycle, and firmware starts the entry's program."""
    disk = box.copy("efi.img")
    args = ["--memory", "256M", "--firmware", "uefi", "--uefi-vars", box.path("vars.fd"), "--disk", disk]
    with box.machine(*args) as m:
        m.expect(SHELL, 180, "the UEFI shell")
        m.send("setvar bothytest -guid 12345678-1234-1234-1234-123456789abc -nv -bs =0x1122\r")
        m.expect(SHELL, 60)
        m.send('bcfg boot add 0 fs0:\\entry.efi "bothy entry"\r')
        m.expect(rb"added|Added|Target", 60, "the answer of bcfg")
        m.expect(SHELL, 60)
        m.send("reset -s\r")
        want(m.finish(60) == 0, "reset -s did not power off")
    with box.machine(*args) as m:
        m.expect(rb"BOTHY-ENTRY", 180, "the program of the boot entry")
    with box.machine(*args[:-2]) as m:  # without its disk the entry leads nowhere
        m.expect(SHELL, 180, "the UEFI shell")
        m.send("setvar bothytest -guid 12345678-1234-1234-1234-123456789abc\r")
        m.expect(rb"22 11", 60, "the variable after a power cycle")  # little-endian
        m.expect(SHELL, 60)
        m.send("bcfg boot dump\r")
        m.expect(rb"bothy entry", 60, "the boot entry in the shell's list")


@test(quick=True, engines=EACH)
def uefi_boot_manager(box):
    """OVMF's boot manager on the screen, reached by a key; it lists the disk."""
    with box.machine("--memory", "256M", "--firmware", "uefi", "--disk", box.copy("efi.img")) as m:
        m.expect(SHELL, 180, "the UEFI shell")
        box.wait_screen(r"Mapping table\s+FS0: Alias[^\0]*Shell>\s", 30)
        m.send("exit\r")
        m.expect(rb"Boot Manager", 120, "the set-up's menu")
        # Selected by its place: Select Language, Device Manager, Boot Manager.
        box.wait_screen(r"Boot Maintenance Manager", 30)
        box.keys("down", "down", "ret")
        m.expect(rb"Boot Manager Menu", 60, "the boot manager")
        m.expect(rb"EFI Internal Shell", 60, "its entries")
        text = box.wait_screen(r"Use the <\u2191> and <\u2193> keys to choose a boot option,", 30)
        want(re.search(r"^\u250c\u2500{78}\u2510$", text, re.M) and "\ufffd" not in text,
             "the boot manager's screen is not read:\n" + text)
        box.keys("down", "ret")
        m.expect(SHELL, 60, "the shell, from the menu")
        box.keys("v", "e", "r", "ret")
        box.wait_screen(r"Shell> ver\s+UEFI Interactive Shell", 30)
        box.picture("manager.png")


def chosen(a):
    """(name, function, engine) of what is to run."""
    for name, (fn, engines) in TESTS.items():
        if a.tests and not any(t == name or (t not in TESTS and t in name) for t in a.tests):
            continue
        if a.quick and name not in QUICK:
            continue
        for engine in a.engine or EACH:
            # An engine that no test names does what the translator does.
            if a.all or engine in engines or (engine not in EACH and "jit" in engines):
                yield name, fn, engine


def run_one(box, name, fn, progress):
    """True if the test passed."""
    start = time.monotonic()
    print("..   %s [%s] %s" % (name, box.engine, progress), flush=True)
    try:
        fn(box)
        print("ok   %s [%s] (%.0f s)" % (name, box.engine, time.monotonic() - start), flush=True)
        return True
    except (Failure, subprocess.SubprocessError, OSError, SystemExit) as bad:
        print("FAIL %s [%s]: %s" % (name, box.engine, bad), flush=True)
    except Exception:  # noqa: BLE001 - a broken test is a failure, too
        print("FAIL %s [%s]:\n%s" % (name, box.engine, traceback.format_exc()), flush=True)
    finally:
        box.close()
    return False


def make_images():
    """Each counts as a test: what cannot be made fails its tests, but no others."""
    bad = []
    for name in images.MAKERS:
        try:
            images.image(name)
            print("ok   " + name, flush=True)
        except (SystemExit, OSError, subprocess.SubprocessError) as why:
            bad.append(name)
            print("FAIL %s: %s" % (name, why), flush=True)
    print("%d passed, %d failed" % (len(images.MAKERS) - len(bad), len(bad)))
    return 1 if bad else 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--engine", action="append", choices=sorted(SLOWNESS))
    ap.add_argument("--quick", action="store_true", help="what needs few packages and little time")
    ap.add_argument("--all", action="store_true", help="every test in every engine")
    ap.add_argument("--list", action="store_true", help="the tests, each with its engine")
    ap.add_argument("--images", action="store_true", help="make every image that is missing, nothing else")
    ap.add_argument("--keep", metavar="FOLDER", help="for the screens and consoles of failed machines, and "
                                                     "all other pictures")
    ap.add_argument("tests", nargs="*")
    a = ap.parse_args()
    if a.images:
        return make_images()
    todo = list(chosen(a))
    if a.list:
        print("\n".join("%s [%s]" % (name, engine) for name, _, engine in todo))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # machines and their files go, too
    start, failed = time.monotonic(), []
    for n, (name, fn, engine) in enumerate(todo, 1):
        keep = os.path.join(a.keep, f"{name}.{engine}") if a.keep else None
        box = Box(engine, os.environ.get("BUILD", "build"), keep)
        if not run_one(box, name, fn, "%d of %d, after %d min" % (n, len(todo), (time.monotonic() - start) / 60)):
            failed.append("%s [%s]" % (name, engine))
    if failed:
        print("failed: " + ", ".join(failed))
    print("%d passed, %d failed" % (len(todo) - len(failed), len(failed)))
    return 1 if failed or not todo else 0


if __name__ == "__main__":
    sys.exit(main())
