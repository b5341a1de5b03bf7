# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of installed systems do with a machine: start it, look at its screen, press
its keys, log in, run commands."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from machine import Failure, ROOT
from patience import SLOWNESS, Clock, PatientMachine

sys.path.insert(0, os.path.join(ROOT, "tools"))
import images  # noqa: E402

PROMPT = rb"root@debian:~# "
# What a Debian says on every virtual machine, and of weaknesses that the host's processor has.
KNOWN_COMPLAINTS = re.compile(r"regulatory\.db|wiki\.debian\.org/Firmware|systemd-ssh-generator|"
                              r"Speculative Return Stack Overflow|/hw-vuln/")


def want(condition, text):
    if not condition:
        raise Failure(text)


def root_of(disk):
    """The root file system in an image, as e2fsprogs' tools name it."""
    return f"{disk}?offset={images.ROOT_OFFSET}"


class Box:
    """Where the machines of one test live. @keep: None, or a folder for what they showed."""

    def __init__(self, engine, build, keep=None):
        self.engine, self.slowness = engine, SLOWNESS[engine]
        self.bothy = os.path.join(ROOT, build, "cmd", "bothy")
        self.dir = tempfile.mkdtemp(prefix="bothy-boot.")
        self.keep, self.m = keep, None

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def copy(self, name):
        """An image of our own, sparse."""
        to = self.path(name)
        subprocess.run(["cp", "--sparse=always", str(images.image(name)), to], check=True)
        return to

    def debian(self, name):
        """An installed system of our own. A slow engine's has patience, too: systemd's
        limits are those of a machine as quick as a real one."""
        disk = self.copy(name)
        if self.slowness > 1:
            with open(self.path("patience.conf"), "w", encoding="ascii") as f:
                f.write("[Manager]\n" + "".join(f"Default{what}Sec=30min\n" for what in (
                    "TimeoutStart", "TimeoutStop", "DeviceTimeout")))
            commands = (f"mkdir /etc/systemd/system.conf.d\nwrite {self.path('patience.conf')} "
                        "/etc/systemd/system.conf.d/patience.conf\n")
            p = subprocess.run(["/sbin/debugfs", "-w", "-f", "-", root_of(disk)], input=commands,
                               capture_output=True, text=True, check=True)
            want("Allocated inode" in p.stdout, "debugfs: " + p.stdout + p.stderr)
        return disk

    def command(self, args):
        kvm = ["--kvm-anyway", "--cpu", "x86-64-v1"] if self.engine == "kvm" else []
        return [self.bothy, "run", "--engine", self.engine, *kvm, "--control", self.path("ctl"), *args]

    def machine(self, *args):
        # One that was killed a moment ago lets its images go first.
        deadline = time.monotonic() + 60
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.m = PatientMachine(self, args=list(args))
        self.m.on_failure = self.show_failure
        return self.m

    def kept(self, name):
        if not self.keep:
            return self.path(name)
        os.makedirs(self.keep, exist_ok=True)
        return os.path.join(self.keep, name)

    def show_failure(self):
        """Of a machine that did not do what a test wanted."""
        if not self.keep:
            return
        with open(self.kept("console.txt"), "wb") as f:
            f.write(self.m.output)
        try:
            self.picture("failed.png")
        except (Failure, OSError):
            pass  # it ended

    def alive(self):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.path("ctl"))
                return True
            except OSError:
                return False

    def ctl(self, *words):
        deadline = time.monotonic() + 60
        while not self.alive() and self.m.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        p = subprocess.run([self.bothy, "ctl", self.path("ctl"), *words], capture_output=True, text=True,
                           check=False)
        if p.returncode:
            raise Failure(f"bothy ctl {' '.join(words)}: {p.stderr.strip()}")
        return json.loads(p.stdout) if p.stdout.strip() else None

    def screen(self):
        try:
            return self.ctl("screen-text")["text"]
        except Failure as bad:  # a picture without characters
            if self.m.process.poll() is not None:
                raise
            return str(bad)

    def wait_screen(self, pattern, seconds):
        """Until the screen's text matches; returns it."""
        clock = Clock(self.m, seconds)
        while True:
            text = self.screen()
            if re.search(pattern, text):
                return text
            self.m.read_some(0.5)  # a full terminal would hold the guest
            why = clock.over(text)
            if why:
                raise Failure(f"the screen never showed {pattern!r} ({why}); it shows:\n{text}")

    def picture(self, name):
        path = self.kept(name)
        self.ctl("screendump", f"filename={path}", "format=png")
        want(os.path.getsize(path) > 1000, f"the screenshot {name} is empty")

    def keys(self, *names):
        for name in names:
            self.ctl("send-key", 'keys=[{"type":"qcode","data":"%s"}]' % name)

    def type(self, text):
        self.ctl("type", f"text={text}")


def log_in(m, seconds=150):
    m.expect(rb"debian login: ", seconds, "boot to the login prompt")
    m.send("root\n")
    m.expect(rb"Password: ", 60)
    m.send("bothy\n")
    m.expect(PROMPT, 90, "the shell")
    # Plain lines: no editing, no echo, no kernel messages of drivers that are still being
    # loaded between those of a command.
    m.send("exec env TERM=dumb PS1='root@debian:~# ' bash --noediting --norc\n")
    m.expect(PROMPT, 60)
    m.send("dmesg -n 1; stty -echo; echo REA''DY\n")
    m.expect(rb"READY\n", 60)
    m.expect(PROMPT, 60)


def sh(m, command, seconds=60):
    begin = m.mark
    m.send("%s; echo EXIT=$?=\n" % command)
    got = m.expect(rb"EXIT=(\d+)=\n", seconds, "end of '%s'" % command[:60])
    m.expect(PROMPT, 30)
    out = m.output[begin:got.start()].decode("utf-8", "replace")
    return int(got.group(1)), re.sub(r"bothy-vm: .*\n", "", out)  # on the same terminal


def is_running(m):
    rc, out = sh(m, "systemctl is-system-running --wait", 240)
    if "running" not in out or rc:
        _, bad = sh(m, "systemctl --failed --no-pager --no-legend")
        raise Failure(f"systemctl is-system-running says {out.strip()}: {bad}")


def check_clean(m):
    """The journal had nothing to replay: the last power-off was clean."""
    _, out = sh(m, "dmesg | grep EXT4-fs; journalctl -b -u systemd-fsck-root --no-pager -o cat")
    want("mounted filesystem" in out, "the kernel says nothing of its root: " + out)
    want(not re.search("recover|error|orphan", out), "the file system was not clean: " + out)


def log_in_on_screen(box):
    """At the first virtual terminal, with its keyboard, reading the screen."""
    box.wait_screen(r"debian login:", 120)
    box.type("root\n")
    box.wait_screen(r"Password:", 60)
    box.type("bothy\n")
    box.wait_screen(r"root@debian:~# ", 90)
    box.type("echo SEEN$((40+2)) on `tty`\n")
    box.wait_screen(r"SEEN42 on /dev/tty1", 60)
    box.picture("screen.png")


def no_complaints(m):
    """Nothing that the kernel holds for worse than a warning, on a machine of ours."""
    _, out = sh(m, "dmesg --level=emerg,alert,crit,err")
    bad = [line for line in out.splitlines() if line.strip() and not KNOWN_COMPLAINTS.search(line)]
    want(not bad, "the kernel complains:\n" + "\n".join(bad))
    _, out = sh(m, "dmesg | grep -E 'BUG|Oops|Call Trace|I/O error|lost interrupt|soft lockup|WARNING: CPU'")
    want(not out.strip(), "the kernel complains:\n" + out)
