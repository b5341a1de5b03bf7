#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The KVM engine on a KVM with AMD-V, on any machine: Debian's kernel with kvm_amd runs
in QEMU, whose translator emulates AMD-V with nested paging. This system's files are
shared with it, read-only; the commands run on them there, in this folder, as root. The
last line is "N passed, N failed[, N skipped]", added up from the commands'; one that
prints no such line passes when its exit code is 0.

The first virtual machine, and the first of each kind, makes KVM patch the kernel's code,
and the last one that goes patches it back. QEMU 7.2's translator, with several
processors, sometimes goes on with the INT3 that stands there meanwhile, for ever: two
machines that nobody runs are kept open all the time.

usage: nested.py [--cpus N] [--memory MIB] [--minutes N] [--kernel-log FILE] [COMMAND...]
"""
import argparse
import fcntl
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUMMARY = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?")
MARK = "nested: "
SHARE = "-t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 host"
# Where the system there writes; what must be seen of this one below them is bound there.
WRITTEN = ["/tmp", "/run", "/var/tmp", "/root", "/home"]
COMMANDS = ["build/cmd/bothy host", "build/tests/unit/test_kvm",
            "tests/asm/kvm.py --nested --patience 20"]

# Instead of the small guest's first process; busybox's shell.
INIT = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
modprobe -a virtio_pci 9pnet_virtio 9p kvm_amd || echo "{MARK}a module does not load"
mkdir -p /host /again
mount {SHARE} /host && mount --bind /host /again || echo "{MARK}no files are shared"
for at in {" ".join(WRITTEN)}; do
	[ ! -d /host$at ] || mount -t tmpfs none /host$at
done
. /binds
for at in proc sys; do
	mount --bind /$at /host/$at
done
mount -t devtmpfs dev /host/dev
mkdir -p /host/dev/shm /host/dev/pts
mount -t tmpfs none /host/dev/shm
mount -t devpts pts /host/dev/pts
ip link set lo up
cp /commands /host/tmp/commands
chroot /host /bin/sh /tmp/commands
echo "{MARK}done"
poweroff -f
"""


def cpio(files):
    """An archive in the newc format, for the kernel to unpack over the first one."""
    out = b""
    for n, (name, mode, data) in enumerate(files + [("TRAILER!!!", 0, "")]):
        head = [n + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        part = b"070701" + b"".join(b"%08x" % v for v in head) + name.encode() + b"\0"
        part += b"\0" * (-len(part) % 4) + data.encode()
        out += part + b"\0" * (-len(part) % 4)
    return out


def binds():
    """Shell commands: this folder, and the guests that were made before."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or
                         os.path.expanduser("~/.cache"), "bothy")
    pairs = [(os.path.join(cache, f), "/tmp/cache/bothy/" + f)
             for f in ("guest", "guest-pc") if os.path.isdir(os.path.join(cache, f))]
    pairs += [(str(ROOT), str(ROOT)) for at in WRITTEN if str(ROOT).startswith(at + "/")]
    return "".join("mkdir -p /host%s && mount --bind /again%s /host%s\n" % (
        shlex.quote(to), shlex.quote(at), shlex.quote(to)) for at, to in pairs)


def script(commands, build):
    lines = ["cd " + shlex.quote(str(ROOT)),
             "export HOME=/root XDG_CACHE_HOME=/tmp/cache PYTHONDONTWRITEBYTECODE=1",
             "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
             "export BUILD=" + shlex.quote(build),
             "python3 tests/asm/nested.py --hold >/tmp/hold & while [ ! -s /tmp/hold ]; do",
             "kill -0 $! || exit 1; sleep 0.1; done"]
    for n, command in enumerate(commands):
        lines += [f"echo; echo '{MARK}begin {n}'", command, f"status=$?; echo; echo \"{MARK}end {n} $status\""]
    return "\n".join(lines) + "\n"


class Count:
    """Reads what the commands say."""

    def __init__(self, commands):
        self.commands = commands
        self.total = [0, 0, 0]
        self.ended = 0
        self.last = None

    def line(self, text):
        m = re.fullmatch(MARK + r"(begin|end) (\d+)(?: (\d+))?", text)
        if m and m[1] == "begin":
            self.last = None
            print("== " + self.commands[int(m[2])], flush=True)
        elif m:
            self.end(int(m[3]))
        elif SUMMARY.fullmatch(text):
            self.last = [int(n or 0) for n in SUMMARY.fullmatch(text).groups()]
        else:
            print(text, flush=True)

    def end(self, status):
        self.ended += 1
        got = self.last or [status == 0, status != 0, 0]
        if status and not got[1]:
            got[1] = 1
        self.total = [a + b for a, b in zip(self.total, got)]
        print("(exit code %d: %d passed, %d failed, %d skipped)" % (status, *got), flush=True)


KVM_CREATE_VM, KVM_CREATE_VCPU, KVM_CREATE_IRQCHIP = 0xae01, 0xae41, 0xae60


def hold():
    """Two virtual machines: interrupt controllers in user space, and in the kernel."""
    kvm = os.open("/dev/kvm", os.O_RDWR)
    for kernel in (False, True):
        vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
        if kernel:
            fcntl.ioctl(vm, KVM_CREATE_IRQCHIP, 0)
        fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    print("held", flush=True)
    while True:
        time.sleep(3600)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--cpus", type=int, default=2)
    p.add_argument("--memory", type=int, default=3072)
    p.add_argument("--minutes", type=float, default=240)
    p.add_argument("--processor", default="max,+svm,+npt,-la57,-avx", help="QEMU's -cpu")
    p.add_argument("--kernel-log", default=os.devnull, help="a file for the kernel's messages")
    p.add_argument("--extra", action="append", default=[], help="an option for QEMU")
    p.add_argument("--qemu", default="qemu-system-x86_64")
    p.add_argument("--hold", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("command", nargs="*")
    args = p.parse_args()
    if args.hold:
        hold()
    build = os.environ.get("BUILD", "build")
    commands = args.command or [c.replace("build/", build + "/", 1) for c in COMMANDS]
    guest = subprocess.run([ROOT / "tools" / "guest.sh", "--kvm"], stdout=subprocess.PIPE,
                           text=True, check=True).stdout.split()[-1]
    count = Count(commands)
    with tempfile.TemporaryDirectory(prefix="bothy-nested-") as folder:
        initrd = os.path.join(folder, "initrd")
        with open(os.path.join(guest, "initramfs.cpio.gz"), "rb") as f, open(initrd, "wb") as to:
            to.write(f.read())
            to.write(b"\0" * (-to.tell() % 4))
            to.write(cpio([("init", 0o100755, INIT), ("binds", 0o100644, binds()),
                           ("commands", 0o100644, script(commands, build))]))
        qemu = subprocess.Popen(
            [args.qemu, "-nodefaults", "-no-user-config", "-M", "q35", "-accel",
             "tcg,thread=multi,tb-size=256", "-cpu", args.processor, "-smp", str(args.cpus),
             "-m", str(args.memory), "-display", "none", "-no-reboot",
             "-kernel", os.path.join(guest, "vmlinuz"), "-initrd", initrd, "-append",
             "console=ttyS0 panic=-1 nokaslr mitigations=off tsc=reliable nowatchdog",
             "-chardev", "stdio,id=out,signal=off", "-serial", "file:" + args.kernel_log,
             "-serial", "chardev:out", "-virtfs",
             "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
             *args.extra],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        timer = threading.Timer(args.minutes * 60, qemu.kill)
        timer.start()
        try:
            for line in qemu.stdout:
                count.line(line.decode("utf-8", "replace").rstrip("\r\n"))
            qemu.wait()
        finally:
            qemu.kill()
            qemu.wait()
            timer.cancel()
    for command in commands[count.ended:]:
        print("FAIL did not end: %s (QEMU ended with %d; --kernel-log tells more)" % (
            command, qemu.returncode))
        count.total[1] += 1
    print("%d passed, %d failed, %d skipped" % tuple(count.total))
    return 1 if count.total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
