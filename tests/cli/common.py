# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line's tests share: running bothy, on pipes or on a terminal
of its own, and counting results."""
import errno
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
BOTHY = BUILD / "cmd" / "bothy"
BOTHY_VM = BUILD / "cmd" / "bothy-vm"
# Generous: a loaded machine must not fail a test.
TIMEOUT = 60


class Failure(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failure(" ".join(str(w) for w in what))


def build_echo(folder):
    """The echo guest as an ELF file."""
    obj, elf = folder / "echo.o", folder / "echo.elf"
    subprocess.run(["as", "--32", "-o", obj, ROOT / "tests/cli/echo.S"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0x100000", "-e", "_start", "-n", "-o", elf,
                    obj], check=True)
    return elf


def children(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(p) for p in text.split()]


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def vm_of(pid):
    """The bothy-vm that this bothy started."""
    for _ in range(TIMEOUT * 20):
        found = [c for c in children(pid) if name_of(c) == "bothy-vm"]
        if found:
            return found[0]
        time.sleep(0.05)
    raise Failure("no bothy-vm was started")


def wait_gone(pid):
    for _ in range(TIMEOUT * 20):
        if not alive(pid):
            return
        time.sleep(0.05)
    raise Failure(f"process {pid} is still there")


class Terminal:
    """bothy on a terminal of its own."""

    def __init__(self, *args):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.out = b""

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.proc = subprocess.Popen([BOTHY, *map(str, args)], stdin=self.slave,
                                     stdout=self.slave, stderr=self.slave,
                                     preexec_fn=own_terminal)
        self.pid = self.proc.pid

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            try:
                self.out += os.read(self.master, 65536)
            except OSError as e:
                if e.errno != errno.EIO:
                    raise

    def expect(self, text, seconds=TIMEOUT):
        """Waits for @text and forgets what came up to it."""
        if isinstance(text, str):
            text = text.encode()
        end = time.monotonic() + seconds
        while text not in self.out:
            if time.monotonic() > end:
                raise Failure(f"no {text!r} in {self.out[-500:]!r}")
            self.read(0.1)
        self.out = self.out.split(text, 1)[1]

    def send(self, data):
        os.write(self.master, data)

    def wait(self):
        end = time.monotonic() + TIMEOUT
        while self.proc.poll() is None:
            if time.monotonic() > end:
                raise Failure("bothy does not end; it said " + repr(self.out[-500:]))
            self.read(0.05)
        self.read(0)
        return self.proc.returncode

    def mode(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return not self.mode()[3] & (termios.ICANON | termios.ECHO)

    def check_restored(self):
        for _ in range(TIMEOUT * 20):
            if self.mode() == self.before:
                return
            time.sleep(0.05)
        raise Failure(f"the terminal is not restored: {self.mode()} {self.before}")

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        os.close(self.master)
        os.close(self.slave)


class Vm:
    """bothy-vm alone, spoken to over its control socket."""

    def __init__(self, foreground=True, listen=None, wrap=(), **config):
        """@listen: the path of a control socket for further clients; @wrap: words before
        the command."""
        ours, theirs = socket.socketpair()
        self.serial, serial = socket.socketpair()
        read, write = os.pipe()
        if "restore" not in config:
            config = {"memory": 16 << 20, **config}
        config = {"serial": {"fd": serial.fileno()}, **config}
        os.write(write, json.dumps(config).encode())
        os.close(write)
        args = [BOTHY_VM, "--config-fd", str(read), "--control-fd", str(theirs.fileno())]
        fds = [read, theirs.fileno(), serial.fileno()]
        if foreground:
            args.append("--foreground")
        if listen:
            door = socket.socket(socket.AF_UNIX)
            door.bind(str(listen))
            door.listen()
            args += ["--listen-fd", str(door.fileno())]
            fds.append(door.fileno())
        self.proc = subprocess.Popen([*wrap, *args], pass_fds=fds, stderr=subprocess.PIPE)
        if listen:
            door.close()
        os.close(read)
        theirs.close()
        serial.close()
        self.sock = ours
        self.sock.settimeout(TIMEOUT)
        self.serial.settimeout(TIMEOUT)
        self.file = self.sock.makefile("r", encoding="utf-8")
        self.events = []

    def line(self):
        text = self.file.readline()
        if not text:
            raise Failure("the control channel was closed")
        return json.loads(text)

    def raw(self, text):
        """Sends text as it is and returns the next answer."""
        self.sock.sendall(text.encode() if isinstance(text, str) else text)
        return self.answer()

    def answer(self):
        while True:
            o = self.line()
            if "event" in o:
                self.events.append(o)
            else:
                return o

    def event(self, name):
        """The next event of that name, from those that came or will come."""
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name:
                    del self.events[: i + 1]
                    return e
            o = self.line()
            if "event" in o:
                self.events.append(o)

    def command(self, name, /, **arguments):
        o = {"execute": name}
        if arguments:
            o["arguments"] = arguments
        return self.raw(json.dumps(o) + "\n")

    def hello(self):
        greeting = self.line()
        check("QMP" in greeting, "no greeting:", greeting)
        check(self.command("qmp_capabilities") == {"return": {}}, "negotiation")
        return greeting

    def serial_expect(self, text):
        got = b""
        while text not in got:
            part = self.serial.recv(4096)
            if not part:
                raise Failure(f"the serial port closed; it said {got!r}")
            got += part

    def wait(self):
        try:
            return self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failure("bothy-vm does not end")

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.proc.stderr.close()
        self.file.close()
        self.sock.close()
        self.serial.close()


def run_all(tests):
    """Runs functions named test_*, each with a folder of its own; counts."""
    passed = failed = 0
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="bothy-cli-") as top:
        echo = build_echo(pathlib.Path(top))
        for name, test in sorted(tests.items()):
            if not name.startswith("test_") or (wanted and name not in wanted):
                continue
            with tempfile.TemporaryDirectory(prefix="bothy-cli-") as folder:
                old = os.getcwd()
                os.chdir(folder)
                start = time.monotonic()
                try:
                    test(pathlib.Path(folder), echo)
                    print(f"ok   {name} ({time.monotonic() - start:.1f} s)", flush=True)
                    passed += 1
                except Exception as e:
                    print(f"FAIL {name}: {e}", flush=True)
                    if not isinstance(e, Failure):
                        traceback.print_exc()
                    failed += 1
                finally:
                    os.chdir(old)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
