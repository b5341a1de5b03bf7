#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks in trouble under a running guest: the host's errors, a full host, an image that
shrinks. The guest sees the error, or the machine pauses, says so, and goes on when the
cause is gone, with nothing lost. Last line: "N passed, N failed".

usage: trouble.py [--engine NAME]... [--build FOLDER] [--patience X] [TEST...]
"""
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

from machine import Failure
from storage import main, sh, want

TESTS = {}
MIB = 1 << 20


def test(fn):
    TESTS[fn.__name__] = fn
    return fn


class Nbd:
    """An NBD export in memory that can be told to fail (NBD protocol, fixed newstyle)."""

    def __init__(self, path, size):
        self.uri = "nbd+unix:///x?socket=" + path
        self.data = bytearray(size)
        self.read_error = self.write_error = 0
        self.failures = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(4)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(conn, conn.makefile("rb")),
                             daemon=True).start()

    def serve(self, conn, stream):
        try:
            self.negotiate(conn, stream)
            while True:
                head = stream.read(28)
                if len(head) < 28:
                    return
                _, _, kind, handle, off, length = struct.unpack(">IHHQQI", head)
                data = stream.read(length) if kind == 1 else b""
                if kind == 2:
                    return
                bad = self.read_error if kind == 0 else self.write_error
                self.failures += bad != 0
                if not bad and kind == 1:
                    self.data[off:off + length] = data
                reply = struct.pack(">IIQ", 0x67446698, bad, handle)
                if not bad and kind == 0:
                    reply += self.data[off:off + length]
                conn.sendall(reply)
        except OSError:
            pass

    def negotiate(self, conn, stream):
        conn.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 1))
        stream.read(4)
        while True:
            _, option, length = struct.unpack(">QII", stream.read(16))
            stream.read(length)

            def answer(kind, data=b""):
                conn.sendall(struct.pack(">QIII", 0x3e889045565a9, option, kind, len(data)) + data)

            # Flags: there are flags; flush can be sent.
            if option == 7:  # GO
                answer(3, struct.pack(">HQH", 0, len(self.data), 5))
                answer(1)
                return
            answer(0x80000001)


class Control:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        for _ in range(600):
            try:
                self.sock.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.1)
        self.sock.settimeout(120)
        self.file = self.sock.makefile("r")
        self.events = []
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, name, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        while True:
            o = json.loads(self.file.readline())
            if "event" not in o:
                return o
            self.events.append(o)

    def event(self, name):
        while True:
            for n, e in enumerate(self.events):
                if e["event"] == name:
                    del self.events[:n + 1]
                    return e.get("data", {})
            self.events.append(json.loads(self.file.readline()))

    def status(self):
        return self.ask("query-status")["return"]["status"]


def boot(box, disk, *more):
    return box.boot("--disk", disk, "--control", box.path("control"), *more)


def write_command(mib, seed="A"):
    """What writes @mib MiB of a pattern to the disk, past the cache."""
    return ("yes %s | dd bs=64k count=%d iflag=fullblock of=/dev/vda oflag=direct 2>/tmp/log; "
            "echo DD=$? >>/tmp/log" % (seed, mib * 16))


def pattern(mib, seed="A"):
    return (seed.encode() + b"\n") * (mib * MIB // 2)


@test
def errors_reach_the_guest(box):
    nbd = Nbd(box.path("nbd"), 16 * MIB)
    with boot(box, nbd.uri + ",format=raw,rerror=report,werror=report") as m:
        m.wait_prompt(300)
        c = Control(box.path("control"))
        nbd.read_error = errno.EIO
        code, _ = m.sh("dd if=/dev/vda of=/dev/null bs=4k count=1 skip=100 iflag=direct 2>/dev/null")
        want(code != 0, "a read that failed on the host was good in the guest")
        nbd.read_error, nbd.write_error = 0, errno.EIO
        code, _ = m.sh("dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct 2>/dev/null")
        want(code != 0, "a write that failed on the host was good in the guest")
        want("I/O error" in sh(m, "dmesg"), "the guest's kernel says nothing of it")
        nbd.write_error = 0
        # And nothing of it stays.
        sh(m, "dd if=/dev/vda of=/dev/null bs=4k count=100 iflag=direct 2>/dev/null")
        sh(m, write_command(1))
        want(nbd.data[:MIB] == pattern(1), "what was written after the errors")
        want(c.status() == "running", c.status())
        m.send("poweroff -f\n")
        want(m.finish() == 0, "the machine's end")


def paused_by(m, c, nbd, command, operation, nospace):
    """The command meets the error; then the cause goes, and 'cont' finishes it."""
    m.send(command + " &\n")
    e = c.event("BLOCK_IO_ERROR")
    want(e["operation"] == operation and e["nospace"] is nospace and e["action"] == "stop" and
         e["device"] == "disk0", e)
    c.event("STOP")
    want(c.status() == "io-error", c.status())
    io = [d for d in c.ask("query-block")["return"] if d["device"] == "disk0"][0]
    want(io["io-status"] != "ok", io)
    # The cause is not gone yet: it stops again, and nothing is lost.
    c.ask("cont")
    c.event("BLOCK_IO_ERROR")
    c.event("STOP")
    nbd.read_error = nbd.write_error = 0
    c.ask("cont")
    c.event("RESUME")
    m.sh("wait")
    want(c.status() == "running", c.status())


@test
def host_full_pauses(box):
    nbd = Nbd(box.path("nbd"), 16 * MIB)
    with boot(box, nbd.uri + ",format=raw") as m:
        m.wait_prompt(300)
        c = Control(box.path("control"))
        nbd.write_error = errno.ENOSPC
        paused_by(m, c, nbd, write_command(4), "write", True)
        want("DD=0" in sh(m, "cat /tmp/log"), "the write failed in the guest")
        want(nbd.data[:4 * MIB] == pattern(4), "what was written")
        want("error" not in sh(m, "dmesg | grep vda | tail -n 5"), "the guest saw an error")
        m.send("poweroff -f\n")
        want(m.finish() == 0, "the machine's end")


@test
def stop_on_any_error(box):
    nbd = Nbd(box.path("nbd"), 16 * MIB)
    nbd.data[:4 * MIB] = pattern(4, "B")
    with boot(box, nbd.uri + ",format=raw,rerror=stop,werror=stop") as m:
        m.wait_prompt(300)
        c = Control(box.path("control"))
        nbd.read_error = errno.EIO
        paused_by(m, c, nbd, "dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | "
                             "sha256sum >/tmp/sum", "read", False)
        want(sh(m, "cat /tmp/sum") == sh(m, "yes B | head -c %d | sha256sum" % (4 * MIB)),
             "what was read")
        nbd.write_error = errno.EIO
        paused_by(m, c, nbd, write_command(4, "C"), "write", False)
        want(nbd.data[:4 * MIB] == pattern(4, "C"), "what was written")
        m.send("poweroff -f\n")
        want(m.finish() == 0, "the machine's end")


@test
def file_system_full(box):
    """A sparse image on a host file system without room for all of it."""
    mount = box.path("mount")
    os.mkdir(mount)
    shell = ("mount -t tmpfs -o size=24m none %s && truncate -s 16m %s/disk.img && "
             "head -c 16m /dev/zero >%s/filler && exec \"$@\"" % (mount, mount, mount))
    enter = ["unshare", "-Urm", "sh", "-c", shell, "sh"]
    probe = subprocess.run(enter + ["true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        print("skip file_system_full: no mount in a name space of one's own: " + probe.stderr.strip())
        return
    m = boot(box, mount + "/disk.img,format=raw")
    m.cmd = enter + m.cmd
    with m:
        m.wait_prompt(300)
        c = Control(box.path("control"))
        m.send(write_command(12) + " &\n")
        e = c.event("BLOCK_IO_ERROR")
        want(e["nospace"] is True and e["operation"] == "write", e)
        c.event("STOP")
        want(c.status() == "io-error", c.status())
        inside = "/proc/%d/root%s" % (m.process.pid, mount)
        os.unlink(inside + "/filler")
        c.ask("cont")
        m.sh("wait")
        want("DD=0" in sh(m, "cat /tmp/log"), "the write failed in the guest")
        with open(inside + "/disk.img", "rb") as f:
            want(f.read(12 * MIB) == pattern(12), "what was written")
        m.send("poweroff -f\n")
        want(m.finish() == 0, "the machine's end")


@test
def image_that_shrinks(box):
    image = box.disk("disk.img", 16 * MIB)
    with open(image, "r+b") as f:
        f.write(pattern(16, "D"))
    with boot(box, image + ",format=raw,rerror=report,werror=report") as m:
        m.wait_prompt(300)
        c = Control(box.path("control"))
        os.truncate(image, 8 * MIB)
        code, _ = m.sh("dd if=/dev/vda of=/dev/null bs=64k skip=160 count=8 iflag=direct 2>/dev/null")
        want(code != 0, "a read of what is no longer there was good")
        want(sh(m, "dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | sha256sum") ==
             sh(m, "yes D | head -c %d | sha256sum" % (4 * MIB)), "what is still there")
        # A write brings it back, as far as it goes.
        sh(m, "yes E | dd of=/dev/vda bs=64k seek=160 count=8 iflag=fullblock oflag=direct 2>/dev/null")
        want("E" in sh(m, "dd if=/dev/vda bs=64k skip=160 count=1 iflag=direct 2>/dev/null | head -n 1"),
             "what was written behind the end")
        want(c.status() == "running", c.status())
        m.send("poweroff -f\n")
        want(m.finish() == 0, "the machine's end")


if __name__ == "__main__":
    sys.exit(main(TESTS))
