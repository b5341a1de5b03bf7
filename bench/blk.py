#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures a disk with fio in the guest: bothy's engines and QEMU TCG side by side, with
the same kernel, initramfs and image file. Prints requests a second and their ratios.

usage: blk.py [--engine NAME]... [--seconds N] [--bus virtio|scsi|sata] [--only NAME,...]
              [--size MIB] [--cpus N] [--per-cpu] [--format NAME]... [--no-qemu]
              [--json FILE]
With --format, images of these formats under bothy's engine too: qcow2, vdi, vmdk ...
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "guest"))
from machine import Failure, Machine, Runner, cpio, prepared_guest  # noqa: E402
from pages import in_single_pages  # noqa: E402

JOBS = {  # name: (fio's arguments, what is compared: requests or bytes a second)
    "randread-1": ("--rw=randread --bs=4k --iodepth=1", "iops"),
    "randwrite-1": ("--rw=randwrite --bs=4k --iodepth=1", "iops"),
    "randread-32": ("--rw=randread --bs=4k --iodepth=32", "iops"),
    "randwrite-32": ("--rw=randwrite --bs=4k --iodepth=32", "iops"),
    "seqread": ("--rw=read --bs=256k --iodepth=4", "mb"),
    "seqwrite": ("--rw=write --bs=256k --iodepth=4", "mb"),
}


def say(text):
    print("blk: " + text, file=sys.stderr, flush=True)


def needed(path):
    out = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True)
    return [line.split()[1] for line in out.stdout.splitlines() if "NEEDED" in line]


def packages():
    """fio and the libraries that its package asks for."""
    cmd = ["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests",
           "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", "fio"]
    out = subprocess.run(cmd, capture_output=True, text=True, check=True).stdout
    names = {line for line in out.splitlines() if line.startswith(("lib", "zlib1g"))}
    return ["fio"] + sorted(n for n in names if not n.startswith(("libpython", "libperl")))


def fio_tree():
    """A folder with fio and its libraries out of Debian's packages."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
                         "bothy", "fio")
    if os.path.exists(os.path.join(cache, "ready")):
        return cache
    os.makedirs(cache, exist_ok=True)
    say("fetching fio and its libraries")
    with tempfile.TemporaryDirectory(dir=cache) as work:
        subprocess.run(["apt-get", "download", "-qq", *packages()], cwd=work, check=True,
                       stderr=subprocess.DEVNULL)
        for deb in glob.glob(work + "/*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, cache + "/root"], check=True)
    with open(cache + "/ready", "w", encoding="ascii"):
        pass
    return cache


def library(root, name):
    for pattern in ("/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/",
                    "/usr/lib/x86_64-linux-gnu/*/"):
        for path in glob.glob(root + pattern + name):
            return path
    raise SystemExit("blk: %s is not among the libraries of fio's package" % name)


def fio_initramfs(root):
    """Appended to the small guest's: fio, and what it is linked with."""
    files, todo, done = {}, [root + "/usr/bin/fio"], set()
    folders = ("usr", "usr/bin", "lib64", "usr/lib", "usr/lib/fio")
    for f in folders:
        files[f] = (0o040755, b"")
    with open(os.path.realpath(library(root, "ld-linux-x86-64.so.2")), "rb") as f:
        files["lib64/ld-linux-x86-64.so.2"] = (0o100755, f.read())
    while todo:
        path = todo.pop()
        name = os.path.basename(path)
        if name in done:
            continue
        done.add(name)
        with open(os.path.realpath(path), "rb") as f:
            where = "usr/bin/fio" if name == "fio" else "usr/lib/fio/" + name
            files[where] = (0o100755, f.read())
        todo += [library(root, n) for n in needed(path) if not n.startswith("ld-linux")]
    return cpio(files)


class DiskRunner(Runner):
    """With one disk."""

    def __init__(self, *args, image=None, bus="virtio", fmt="raw", **kw):
        super().__init__(*args, **kw)
        self.image, self.bus, self.fmt = image, bus, fmt

    def command(self, *args, **kw):
        cmd = super().command(*args, **kw)
        if self.kind != "qemu":
            return cmd + ["--disk", "%s,format=%s,bus=%s" % (self.image, self.fmt, self.bus)]
        cmd += ["-drive", "file=%s,format=raw,if=none,id=d" % self.image]
        return cmd + {
            "virtio": ["-device", "virtio-blk-pci,drive=d"],
            "scsi": ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d"],
            "sata": ["-device", "ide-hd,drive=d,bus=ide.0"],
        }[self.bus]


def write_initrd(path, guest):
    """The small guest's, with fio."""
    with open(path, "wb") as out, open(guest + "/initramfs.cpio.gz", "rb") as base:
        small = base.read()
        out.write(small + b"\0" * (-len(small) % 4) + fio_initramfs(fio_tree() + "/root"))


def fio(machine, disk, job, seconds):
    """What is compared of @job: requests or MiB a second."""
    options, unit = JOBS[job]
    code, out = machine.sh("fio --name=x --filename=%s --direct=1 --ioengine=libaio "
                           "--time_based --runtime=%d --ramp_time=1 --randrepeat=1 --norandommap "
                           "--output-format=terse --terse-version=3 %s" % (
                               disk, seconds, options), 60 + seconds * 4)
    line = next((x for x in out.splitlines() if x.startswith("3;fio-")), None)
    if code or not line:
        raise Failure("fio failed: " + out[-300:])
    f = line.split(";")
    base = 5 if "read" in job else 46  # KiB, KiB/s, requests/s
    return float(f[base + 2]) if unit == "iops" else float(f[base + 1]) / 1024


def measure(runner, guest, initrd, args):
    """{job: figure} of one machine."""
    results = {}
    disk = "/dev/vda" if args.bus == "virtio" else "/dev/sda"
    with Machine(runner, kernel=guest + "/vmlinuz", initrd=initrd, memory="1G", cpus=args.cpus,
                 append="console=ttyS0 quiet") as m:
        m.wait_prompt(300)
        m.sh("export LD_LIBRARY_PATH=/usr/lib/fio; test -b %s" % disk)
        for name in JOBS:
            if args.only and name not in args.only.split(","):
                continue
            before = m.cpu_seconds()
            results[name] = fio(m, disk, name, args.seconds)
            if args.per_cpu:
                # What a second of the host's CPU does: tells more where others use it, too.
                ran = args.seconds + 1  # with the ramp
                results[name] *= ran / (m.cpu_seconds() - before)
    return results


def table(systems):
    columns = list(systems)
    ours = [c for c in columns if c != "tcg"]
    heads = columns + ["%s/tcg" % c for c in ours if "tcg" in columns]
    print("%-14s" % "job" + "".join("%14s" % h for h in heads))
    for job, (_, unit) in JOBS.items():
        if not any(job in r for r in systems.values()):
            continue
        cells = ["%.0f %s" % (systems[c][job], unit) if job in systems[c] else "-" for c in columns]
        for c in ours:
            both = "tcg" in columns and job in systems[c] and systems["tcg"].get(job)
            if "tcg" in columns:
                cells.append("%.2f" % (systems[c][job] / systems["tcg"][job]) if both else "-")
        print("%-14s" % job + "".join("%14s" % c for c in cells))


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--engine", action="append")
    p.add_argument("--seconds", type=int, default=5)
    p.add_argument("--bus", default="virtio", choices=("virtio", "scsi", "sata"))
    p.add_argument("--only")
    p.add_argument("--size", type=int, default=256, help="MiB of the image")
    p.add_argument("--cpus", type=int, default=1)
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--per-cpu", action="store_true",
                   help="figures by second of the host's CPU, not of the clock")
    p.add_argument("--format", action="append", default=[])
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--json")
    return p.parse_args()


def main():
    args = parse()
    guest = prepared_guest()
    systems, failed = {}, 0
    with tempfile.TemporaryDirectory(prefix="bothy-blk-") as work:
        initrd, image = work + "/initrd", work + "/disk.img"
        write_initrd(initrd, guest)
        with open(image, "wb") as f:
            for _ in range(args.size):
                f.write(os.urandom(1 << 20))
        engines = args.engine or ["jit"]
        todo = [(e, DiskRunner("bothy", e, args.build, image=image, bus=args.bus))
                for e in engines]
        for fmt in args.format:
            other = work + "/disk." + fmt
            subprocess.run([os.path.join(ROOT, args.build, "cmd", "bothy"), "disk", "convert", image,
                            other, "--from", "raw", "--to", fmt, "--quiet"], check=True)
            todo += [(e + " " + fmt, DiskRunner("bothy", e, args.build, image=other, bus=args.bus,
                                                fmt=fmt)) for e in engines]
        if not args.no_qemu:
            todo.append(("tcg", DiskRunner("qemu", image=image, bus=args.bus)))
        for name, runner in todo:
            say(name)
            os.sync()  # pages that are dirty already are written faster
            in_single_pages(runner.image)
            try:
                systems[name] = measure(runner, guest, initrd, args)
            except Failure as e:
                say("%s: %s" % (name, e))
                failed = 1
    table(systems)
    if args.json:
        with open(args.json, "w", encoding="ascii") as f:
            json.dump(systems, f, indent=1)
            f.write("\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
