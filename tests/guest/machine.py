# SPDX-License-Identifier: GPL-2.0-or-later
"""One guest in the foreground on a pseudo-terminal, under bothy or QEMU TCG."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import tty

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Failure(Exception):
    """A test did not get what it wanted."""


def prepared_guest(*options, script="guest.sh"):
    """The folder that a script of tools/ makes: vmlinuz, initramfs.cpio.gz."""
    p = subprocess.run([os.path.join(ROOT, "tools", script), *options], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    if p.returncode != 0:
        raise Failure("the guest cannot be prepared: " + p.stderr.decode().strip()[-300:])
    return p.stdout.decode().strip().splitlines()[-1]


def engines_offered(bothy):
    """The engines that bothy names when asked for one that it has not."""
    p = subprocess.run([bothy, "run", "--kernel", "/dev/null", "--engine", "?"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, check=False)
    said = p.stdout.decode("utf-8", "replace")
    return [e for e in ("interp", "jit") if re.search(r"\b%s\b" % e, said)]


def cpio(files):
    """A newc archive of {name: (mode, bytes)}; the kernel unpacks several in a row."""
    out = bytearray()

    def entry(name, mode, data, ino):
        raw = name.encode() + b"\0"
        fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out.extend(b"070701" + b"".join(b"%08X" % f for f in fields) + raw)
        out.extend(b"\0" * (-len(out) % 4))
        out.extend(data)
        out.extend(b"\0" * (-len(out) % 4))

    for ino, (name, (mode, data)) in enumerate(files.items(), 1):
        entry(name, mode, data, ino)
    entry("TRAILER!!!", 0, b"", 0)
    out.extend(b"\0" * (-len(out) % 512))
    return bytes(out)


class Runner:
    """How a machine is started: bothy with an engine, or QEMU."""

    def __init__(self, kind="bothy", engine="interp", build="build", patience=1.0,
                 qemu="qemu-system-x86_64"):
        self.kind, self.engine, self.patience, self.qemu = kind, engine, patience, qemu
        self.bothy = os.path.join(ROOT, build, "cmd", "bothy")

    def command(self, kernel, initrd, append, memory, cpus, reboot=True, extra=()):
        if self.kind == "qemu":
            cmd = [self.qemu, "-M", "q35", "-cpu", "max", "-accel", "tcg", "-m", memory,
                   "-smp", str(cpus), "-display", "none", "-nodefaults", "-serial", "stdio",
                   "-kernel", kernel, "-append", append]
            if initrd:
                cmd += ["-initrd", initrd]
            return cmd + ([] if reboot else ["-no-reboot"])
        cmd = [self.bothy, "run", "--kernel", kernel, "--append", append, "--memory", memory,
               "--cpus", str(cpus), "--engine", self.engine]
        if initrd:
            cmd += ["--initrd", initrd]
        return cmd + ([] if reboot else ["--no-reboot"]) + list(extra)


PROMPT = re.compile(rb"(?m)^[^\n]{0,20}# (\x1b\[6n)?\Z")  # busybox asks where the cursor is


class Machine:
    """with Machine(runner, kernel=..., ...) as m: m.wait_prompt(); m.sh("ls")."""

    def __init__(self, runner, **kw):
        self.runner = runner
        self.cmd = runner.command(**kw)
        self.output = bytearray()  # all that the terminal showed
        self.mark = 0              # where the next expect() begins to look

    def __enter__(self):
        self.master, slave = pty.openpty()
        tty.setraw(slave, termios.TCSANOW)

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        self.start = time.monotonic()
        self.process = subprocess.Popen(self.cmd, stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True, close_fds=True)
        os.close(slave)
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)

    def read_some(self, seconds):
        """Takes what the terminal has within @seconds; False at its end."""
        ready, _, _ = select.select([self.master], [], [], max(seconds, 0))
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.output += data.replace(b"\r", b"")
        return bool(data)

    def expect(self, pattern, seconds, what=None):
        """Waits for @pattern after everything matched before. Returns the match."""
        if isinstance(pattern, bytes):
            pattern = re.compile(pattern)
        deadline = time.monotonic() + seconds * self.runner.patience
        alive = True
        while True:
            m = pattern.search(self.output, self.mark)
            if m:
                self.mark = m.end()
                return m
            left = deadline - time.monotonic()
            if not alive or left <= 0:
                why = "the machine ended" if not alive else "nothing in %d s" % (
                    seconds * self.runner.patience)
                raise Failure("%s: %s; last lines:\n%s" % (
                    what or pattern.pattern.decode(), why, self.tail()))
            alive = self.read_some(min(left, 1))

    def tail(self, lines=8):
        return "\n".join("    " + l for l in self.text().splitlines()[-lines:])

    def text(self):
        return self.output.decode("utf-8", "replace")

    def send(self, text):
        os.write(self.master, text.encode())

    def wait_prompt(self, seconds=180):
        """Waits for the shell, then has it read plain lines: its line editing would
        break long commands at the terminal's width."""
        self.expect(rb"Welcome to the guest", seconds, "boot to the welcome line")
        self.expect(PROMPT, 30, "the shell's prompt")
        self.send("stty -echo; echo REA''DY; while read -r l; do eval \"$l\"; done\n")
        self.expect(rb"READY\n", 30, "the shell's first answer")

    def sh(self, command, seconds=60):
        """Runs a command in the guest's shell; (exit code, output)."""
        begin = self.mark
        self.send("%s; echo EXIT=$?=\n" % command)
        m = self.expect(rb"EXIT=(\d+)=\n", seconds, "end of '%s'" % command[:60])
        return int(m.group(1)), self.output[begin:m.start()].decode("utf-8", "replace")

    def finish(self, seconds=60):
        """Waits for the process's own end; its exit code."""
        deadline = time.monotonic() + seconds * self.runner.patience
        while self.process.poll() is None and time.monotonic() < deadline:
            if not self.read_some(0.2):
                time.sleep(0.05)
        if self.process.poll() is None:
            raise Failure("the machine did not end in %d s; last lines:\n%s" % (
                seconds * self.runner.patience, self.tail()))
        while self.read_some(0.05) and select.select([self.master], [], [], 0)[0]:
            pass
        return self.process.returncode

    def cpu_seconds(self):
        """Host CPU that the machine's processes have used."""
        total = 0
        tick = os.sysconf("SC_CLK_TCK")
        for pid in session_members(self.process.pid):
            try:
                with open("/proc/%d/stat" % pid) as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total / tick


def session_members(leader):
    """The process and its descendants: bothy-vm may lead a session of its own."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [leader]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


if __name__ == "__main__":
    sys.exit("a module of run.py")
