#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The debugger's socket: who comes, goes, vanishes, floods, and what the control channel
does meanwhile. The protocol itself: tests/unit/gdb.c; gdb: tests/asm/debugger.py."""
import socket
import subprocess
import sys

from common import BOTHY, TIMEOUT, Failure, Vm, check, run_all


def entry(echo):
    """The guest's first instruction, from its ELF header."""
    return int.from_bytes(echo.read_bytes()[24:28], "little")


class Debugger:
    def __init__(self, path="gdb"):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(TIMEOUT)
        self.s.connect(str(path))
        self.buf = b""

    def send(self, packet):
        data = packet.encode()
        self.s.sendall(b"$%s#%02x" % (data, sum(data) & 0xff))

    def answer(self):
        """The next packet; acknowledgements are passed over. None: the end."""
        while b"#" not in self.buf or len(self.buf) < self.buf.index(b"#") + 3:
            part = self.s.recv(65536)
            if not part:
                return None
            self.buf += part
        packet, self.buf = self.buf.split(b"#", 1)
        self.buf = self.buf[2:]
        return packet.lstrip(b"+").lstrip(b"$").decode()

    def ask(self, packet):
        self.send(packet)
        return self.answer()

    def close(self):
        self.s.close()


def start(echo, **config):
    vm = Vm(kernel=str(echo), gdb="unix:gdb", **config)
    vm.hello()
    if not config.get("paused"):
        vm.serial_expect(b"ready\r\n")
    return vm


def status(vm):
    return vm.command("query-status")["return"]["status"]


def stands(vm):
    vm.serial.sendall(b"held")
    vm.serial.settimeout(0.3)
    try:
        vm.serial.recv(1)
        raise Failure("a stopped machine answered")
    except TimeoutError:
        vm.serial.settimeout(TIMEOUT)


def test_comes_and_vanishes(folder, echo):
    vm = start(echo)
    d = Debugger()
    vm.event("STOP")
    check(d.ask("Z0,%x,1" % entry(echo)) == "OK", "a breakpoint")
    check(d.ask("Z2,2000,4") == "OK", "a watchpoint")
    check(status(vm) == "paused", "status")
    stands(vm)
    d.close()
    vm.event("RESUME")
    vm.serial_expect(b"held")
    vm.command("system_reset") # over the breakpoint, were it still there
    vm.serial_expect(b"ready\r\n")
    vm.close()


def test_detaches(folder, echo):
    vm = start(echo)
    for _ in range(3): # and comes again
        d = Debugger()
        vm.event("STOP")
        check(d.ask("D") == "OK", "D")
        check(d.answer() is None, "the connection ends")
        vm.event("RESUME")
        d.close()
    vm.serial.sendall(b"x")
    vm.serial_expect(b"x")
    vm.close()


def test_others_wait(folder, echo):
    vm = start(echo)
    first, second = Debugger(), Debugger()
    check(first.ask("qC") == "QC01", "the first")
    second.send("qC")
    second.s.settimeout(0.3)
    try:
        second.answer()
        raise Failure("two at once")
    except TimeoutError:
        second.s.settimeout(TIMEOUT)
    first.close()
    check(second.answer() == "QC01", "the second")
    second.close()
    vm.close()


def test_kills(folder, echo):
    vm = start(echo)
    d = Debugger()
    d.send("k")
    check(vm.event("SHUTDOWN")["data"]["reason"] == "host-qmp-quit", "why")
    check(vm.wait() == 0, "exit code")
    check(not (folder / "gdb").exists(), "the socket is left")
    vm.close()


def test_floods(folder, echo):
    vm = start(echo)
    for data in (b"\0" * (1 << 20), b"$" + b"m" * (1 << 20) + b"#00", b"$g#67" * 50000,
                 b"$m100000,1000#" + b"b5" + b"+$m0,1fff#28" * 20000, bytes(range(256)) * 2000):
        d = Debugger()
        vm.event("STOP")
        d.s.settimeout(2)
        try:
            d.s.sendall(data)
        except OSError:
            pass # it reads no more before somebody takes the answers
        d.close()
        vm.event("RESUME")
    vm.serial.sendall(b"y")
    vm.serial_expect(b"y")
    check(status(vm) == "running", "status")
    vm.close()


def test_paused(folder, echo):
    vm = start(echo, paused=True)
    check(status(vm) == "prelaunch", "status")
    stands(vm)
    d = Debugger()
    check(d.ask("p10") == "%02x%02x%02x%02x00000000" % tuple(entry(echo).to_bytes(4, "little")), "rip")
    d.close() # who never let it run
    check(status(vm) == "prelaunch", "status still")
    check(vm.command("cont") == {"return": {}}, "cont")
    vm.event("RESUME")
    vm.serial_expect(b"ready\r\n")
    vm.close()


def test_control_beside(folder, echo):
    vm = start(echo)
    d = Debugger()
    vm.event("STOP")
    d.send("vCont;c")
    vm.event("RESUME")
    vm.command("stop")
    check(d.answer() == "T02thread:01;", "stopped by somebody else")
    vm.command("cont")
    check(d.ask("qC") == "QC01", "who speaks stops it")
    check(status(vm) == "paused", "stopped")
    check(d.ask("Z0,%x,1" % entry(echo)) == "OK", "a breakpoint")
    d.send("c")
    vm.command("system_reset")
    check(d.answer() == "T05thread:01;", "the breakpoint after a reset")
    check(status(vm) == "debug", "status")
    check(vm.command("engine", name="interp").get("return", {}).get("engine") == "interp", "engine")
    check(d.ask("vCont;s") == "T05thread:01;", "a step in the other engine")
    check("return" in vm.command("save", file=str(folder / "saved")), "save")
    check(status(vm) == "debug", "status after saving")
    d.send("c")
    vm.serial_expect(b"ready\r\n")
    vm.serial.sendall(b"1") # the guest powers off
    check(d.answer() == "W00", "its end")
    check(vm.wait() == 0, "exit code")
    vm.close()


def test_bad_places(folder, echo):
    (folder / "there").write_text("")
    for where, code, words in (("nonsense", 2, "ADDR:PORT"), ("99999", 2, "65535"),
                               ("unix:", 2, "path"), ("unix:there", 1, "exists already"),
                               ("1,arch=arm", 2, "x86-64, i386"), ("192.0.2.1:1", 1, "192.0.2.1")):
        p = subprocess.run([BOTHY, "run", "--kernel", echo, "--serial", "none", "--gdb", where],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        check(p.returncode == code and words in p.stderr and "--gdb" in p.stderr, where,
              p.returncode, p.stderr)


if __name__ == "__main__":
    sys.exit(run_all(globals()))
