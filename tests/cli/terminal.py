#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""bothy run in the foreground: the terminal, the keys, signals, and every way out."""
import os
import select
import signal
import socket
import subprocess
import sys
import time

from common import BOTHY, TIMEOUT, Failure, Terminal, alive, check, run_all, vm_of, wait_gone


def start(echo, *more):
    t = Terminal("run", "--kernel", echo, "--memory", "16M", *more)
    t.expect("Ctrl-A X quits")
    t.expect("ready")
    check(t.is_raw(), "the terminal is not raw")
    return t


def finish(t, code):
    vm = [p for p in [getattr(t, "vm", None)] if p]
    got = t.wait()
    check(got == code, f"exit code {got}, said {t.out!r}")
    t.check_restored()
    for pid in vm:
        wait_gone(pid)
    t.close()


def test_keys(folder, echo):
    t = start(echo)
    t.send(b"abc")
    t.expect("abc")
    t.send(b"\x03\x1a")            # Ctrl-C and Ctrl-Z belong to the guest
    t.expect(b"\x03\x1a")
    t.send(b"\x01\x01")
    t.expect(b"\x01")
    t.send(b"\x01a")
    t.expect(b"\x01")
    t.send(b"\x01h")
    t.expect("this list")
    t.send(b"\x01zd")              # no such key: nothing, and the next is ordinary
    t.expect("d")
    t.vm = vm_of(t.pid)
    t.send(b"\x01x")
    finish(t, 0)


def test_power_off(folder, echo):
    t = start(echo)
    t.vm = vm_of(t.pid)
    t.send(b"1")
    finish(t, 0)


def test_reset_and_no_reboot(folder, echo):
    t = start(echo)
    t.send(b"2")
    t.expect("the guest restarted the machine")
    t.expect("ready")
    t.send(b"again")
    t.expect("again")
    t.send(b"1")
    finish(t, 0)
    t = start(echo, "--no-reboot")
    t.send(b"2")
    t.expect("--no-reboot")
    finish(t, 0)


def test_triple_fault(folder, echo):
    t = start(echo)
    t.send(b"3")
    t.expect("triple fault")
    t.expect("ready")
    t.send(b"x")
    t.expect("x")
    t.send(b"\x01X")
    finish(t, 0)
    t = start(echo, "--no-reboot")
    t.send(b"3")
    t.expect("triple fault")
    finish(t, 0)


def test_panic(folder, echo):
    t = start(echo)
    t.send(b"4")
    t.expect("the guest's kernel panicked")
    t.send(b"on")
    t.expect("on")
    t.send(b"1")
    finish(t, 0)


def test_signals_end_in_order(folder, echo):
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        t = start(echo)
        t.vm = vm_of(t.pid)
        t.proc.send_signal(sig)
        finish(t, 0)


def test_second_interrupt_kills(folder, echo):
    t = start(echo)
    t.vm = vm_of(t.pid)
    os.kill(t.vm, signal.SIGSTOP)  # it cannot answer
    t.proc.send_signal(signal.SIGINT)
    t.expect("once more ends it by force")
    time.sleep(0.5)                # and the second is not the same one
    t.proc.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    check(t.proc.poll() is None, "the first interrupt ended it already")
    t.proc.send_signal(signal.SIGINT)
    t.expect("by force")
    finish(t, 1)


def test_vm_dies(folder, echo):
    t = start(echo)
    t.vm = vm_of(t.pid)
    os.kill(t.vm, signal.SIGKILL)
    t.expect("ended unexpectedly")
    finish(t, 1)
    t = start(echo)
    t.vm = vm_of(t.pid)
    os.kill(t.vm, signal.SIGSEGV)
    t.expect("ended unexpectedly")
    finish(t, 1)


def test_bothy_is_killed(folder, echo):
    t = start(echo)
    t.vm = vm_of(t.pid)
    t.proc.kill()
    finish(t, -signal.SIGKILL)


def test_suspend_and_continue(folder, echo):
    t = start(echo)
    t.proc.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, t.pid, os.WSTOPPED | os.WNOWAIT)
    t.check_restored()
    t.send(b"q\n")                 # waits in the terminal
    time.sleep(0.3)
    t.proc.send_signal(signal.SIGCONT)
    for _ in range(TIMEOUT * 20):
        if t.is_raw():
            break
        time.sleep(0.05)
    check(t.is_raw(), "not raw after SIGCONT")
    t.send(b"after")
    t.expect("after")
    t.send(b"\x01x")
    finish(t, 0)


def pipe_run(echo, *more):
    return subprocess.Popen([BOTHY, "run", "--kernel", echo, "--memory", "16M", *more],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def read_until(f, text):
    got = b""
    while text not in got:
        if not select.select([f], [], [], TIMEOUT)[0]:
            raise Failure(f"no {text!r} after {got!r}")
        part = os.read(f.fileno(), 4096)
        if not part:
            raise Failure(f"ended after {got!r}")
        got += part
    return got


def test_pipes(folder, echo):
    p = pipe_run(echo)
    read_until(p.stdout, b"ready\r\n")
    p.stdin.write(b"hello\x01x")   # no keys without a terminal
    p.stdin.flush()
    read_until(p.stdout, b"hello\x01x")
    p.stdin.close()                # the end of input is not the machine's end
    time.sleep(0.5)
    check(p.poll() is None, "it ended with its input")
    vm = vm_of(p.pid)
    p.send_signal(signal.SIGTERM)
    check(p.wait(TIMEOUT) == 0, "exit code", p.returncode)
    wait_gone(vm)
    p.stdout.close()
    p.stderr.close()


def test_stdin_closed_from_the_start(folder, echo):
    p = subprocess.run([BOTHY, "run", "--kernel", echo, "--no-reboot", "--memory", "16M"],
                       input=b"x1", capture_output=True, timeout=TIMEOUT,
                       check=False)
    check(p.returncode == 0, p)
    check(p.stdout == b"ready\r\nx", p.stdout)


def test_output_closed(folder, echo):
    p = pipe_run(echo)
    vm = vm_of(p.pid)
    read_until(p.stdout, b"ready")
    p.stdout.close()
    p.stdin.write(b"5")
    p.stdin.flush()
    check(p.wait(TIMEOUT) == 1, "exit code", p.returncode)
    check(b"standard output was closed" in p.stderr.read(), "no word about it")
    wait_gone(vm)
    p.stdin.close()
    p.stderr.close()


def test_slow_output_loses_nothing(folder, echo):
    p = pipe_run(echo)
    read_until(p.stdout, b"ready\r\n")
    p.stdin.write(b"5")
    p.stdin.flush()
    time.sleep(1)                  # pipes and sockets are full by now
    got = b""
    while len(got) < 600000:
        got += os.read(p.stdout.fileno(), 65536)
    whole = b"ready\r\n" * (len(got) // 7 + 1)
    check(got == whole[:len(got)], "bytes were lost")
    p.send_signal(signal.SIGTERM)
    p.stdout.close()
    p.stdin.close()
    p.wait(TIMEOUT)
    p.stderr.close()


def test_serial_file(folder, echo):
    p = subprocess.Popen([BOTHY, "run", "--kernel", echo, "--memory", "16M", "--serial",
                          "file:out"], stdin=subprocess.DEVNULL)
    for _ in range(TIMEOUT * 20):
        if (folder / "out").exists() and (folder / "out").read_bytes() == b"ready\r\n":
            break
        time.sleep(0.05)
    check((folder / "out").read_bytes() == b"ready\r\n", "the file's content")
    p.send_signal(signal.SIGINT)
    check(p.wait(TIMEOUT) == 0, "exit code", p.returncode)
    check((folder / "out").read_bytes() == b"ready\r\n", "the file is gone")


def connect(path):
    for _ in range(TIMEOUT * 20):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            s.settimeout(TIMEOUT)
            return s
        except OSError:
            s.close()
            time.sleep(0.05)
    raise Failure("no socket " + path)


def test_serial_socket(folder, echo):
    p = subprocess.Popen([BOTHY, "run", "--kernel", echo, "--memory", "16M", "--serial",
                          "unix:sock"], stdin=subprocess.DEVNULL)
    for _ in range(2):             # one client after the other
        s = connect("sock")
        s.sendall(b"z")
        got = b""
        while b"z" not in got:
            got += s.recv(100)
        s.close()
    s = connect("sock")
    s.sendall(b"1")
    check(p.wait(TIMEOUT) == 0, "exit code", p.returncode)
    s.close()
    check(not (folder / "sock").exists(), "the socket is left behind")
    # Not even when everything is killed at once, as far as bothy-vm can help it.
    p = subprocess.Popen([BOTHY, "run", "--kernel", echo, "--memory", "16M", "--serial",
                          "unix:sock"], stdin=subprocess.DEVNULL)
    connect("sock").close()
    vm = vm_of(p.pid)
    p.kill()
    p.wait()
    wait_gone(vm)
    check(not (folder / "sock").exists(), "the socket is left behind")
    # One that nobody listens at any more makes way.
    dead = socket.socket(socket.AF_UNIX)
    dead.bind("sock")
    dead.close()
    p = subprocess.Popen([BOTHY, "run", "--kernel", echo, "--memory", "16M", "--serial",
                          "unix:sock"], stdin=subprocess.DEVNULL)
    s = connect("sock")
    s.sendall(b"1")
    check(p.wait(TIMEOUT) == 0, "exit code", p.returncode)
    s.close()
    check(not (folder / "sock").exists(), "the socket is left behind")


def test_halted_guest_uses_no_cpu(folder, echo):
    t = start(echo)
    t.send(b"6")
    vm = vm_of(t.pid)
    time.sleep(0.5)

    def used(pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used(vm)
    time.sleep(3)
    spent = used(vm) - before
    check(alive(vm), "it ended")
    check(spent < 0.09, f"{spent} s of CPU in 3 s")
    t.send(b"\x01x")
    finish(t, 0)


if __name__ == "__main__":
    sys.exit(run_all(globals()))
