#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket under many and under hostile clients: memory stays bounded, whoever
behaves is served, and the machine goes on."""
import json
import pathlib
import random
import resource
import select
import socket
import sys
import time

from common import TIMEOUT, Failure, Vm, check, run_all

# What a client's queues may hold (src/ctl), with room for the allocator.
CLIENT_KIB = 1536


class Client:
    def __init__(self, path, negotiate=True):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        # The listener's backlog is short.
        for _ in range(TIMEOUT * 100):
            try:
                self.sock.connect(str(path))
                break
            except BlockingIOError:
                time.sleep(0.01)
        self.file = self.sock.makefile("rb")
        self.events = 0
        if negotiate:
            check("QMP" in self.line(), "no greeting")
            check(self.ask("qmp_capabilities") == {"return": {}}, "negotiation")

    def line(self):
        text = self.file.readline()
        if not text:
            raise Failure("the connection was closed")
        return json.loads(text)

    def answer(self):
        while True:
            o = self.line()
            if "event" not in o:
                return o
            self.events += 1

    def send(self, name, **more):
        self.sock.sendall(json.dumps({"execute": name, **more}).encode() + b"\n")

    def ask(self, name, **more):
        self.send(name, **more)
        return self.answer()

    def close(self):
        self.file.close()
        self.sock.close()


def start(folder, echo):
    path = folder / "control"
    vm = Vm(kernel=str(echo), listen=path)
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    return vm, path


def rss_kib(vm):
    for line in pathlib.Path(f"/proc/{vm.proc.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise Failure("no VmRSS")


def cpu_s(vm):
    fields = pathlib.Path(f"/proc/{vm.proc.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def served(vm, client):
    """Everything is as it should be: the client and the guest answer, soon."""
    begin = time.monotonic()
    check(client.ask("query-status", id=5)["id"] == 5, "a client that behaves")
    vm.serial.sendall(b"k")
    vm.serial_expect(b"k")
    check(time.monotonic() - begin < 20, "it took", time.monotonic() - begin)


def test_hundred_clients(folder, echo):
    vm, path = start(folder, echo)
    clients = [Client(path) for _ in range(100)]
    for rounds in range(20):
        for n, c in enumerate(clients):
            c.send("query-status", id=[rounds, n])
        for n, c in enumerate(clients):
            o = c.answer()
            check(o["id"] == [rounds, n] and o["return"]["running"] is True, o)
    vm.command("stop")
    for c in clients:
        check(c.line()["event"] == "STOP", "an event for each")
    clients[50].ask("cont")
    for n, c in enumerate(clients):
        if n != 50:
            check(c.line()["event"] == "RESUME", "an event for each")
    for c in clients[::2]:
        c.close()
    served(vm, clients[1])
    check(vm.command("query-status")["return"]["running"] is True, "the owner")
    for c in clients[1::2]:
        c.close()
    vm.close()


def test_more_clients_than_there_is_room(folder, echo):
    vm, path = start(folder, echo)
    clients = [Client(path, negotiate=False) for _ in range(300)]
    first = [c.line() for c in clients]
    taken = [c for c, o in zip(clients, first) if "QMP" in o]
    refused = [o for o in first if "error" in o]
    check(len(taken) + len(refused) == 300 and len(taken) >= 200, len(taken), len(refused))
    check(all("as many control clients" in o["error"]["desc"] for o in refused), refused[:1])
    taken[0].ask("qmp_capabilities")
    served(vm, taken[0])
    for c in clients[1:]:
        if c is not taken[0]:
            c.close()
    served(vm, taken[0])
    late = Client(path)
    served(vm, late)
    vm.close()


def pump(sock, data, total):
    """Sends @data again and again; how many bytes went before the other side had enough."""
    sent = 0
    try:
        while sent < total:
            sent += sock.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


def test_gigabyte_line(folder, echo):
    vm, path = start(folder, echo)
    good = Client(path)
    before = rss_kib(vm)
    for begin in (b'{"execute": "', b"", b"[" * 1000, b'{"execute": "stop", "id": "'):
        bad = Client(path)
        bad.sock.sendall(begin)
        sent = pump(bad.sock, b"x" * 65536, 1 << 30)
        check(sent < 1 << 24, "it took", sent, "bytes of one line")
        said = b""
        try:
            said = bad.file.read()
        except ConnectionResetError:
            pass
        check(not said or b"longer than" in said, said)
        bad.close()
        served(vm, good)
    # One that stops short of the limit and then says no more costs a line's room.
    waiting = [Client(path) for _ in range(50)]
    for c in waiting:
        c.sock.sendall(b"x" * 65000)
    served(vm, good)
    grown = rss_kib(vm) - before
    check(grown < 50 * 128 + CLIENT_KIB, "memory grew by", grown, "KiB")
    vm.close()


def test_error_of_a_long_line_is_read(folder, echo):
    """A line just over the limit is answered with its reason before the end."""
    vm, path = start(folder, echo)
    c = Client(path)
    c.sock.sendall(b"x" * 65536)
    o = c.answer()
    check("longer than 65536 bytes" in o["error"]["desc"], o)
    check(c.file.read() == b"", "the connection ends")
    vm.close()


def test_clients_that_never_read(folder, echo):
    vm, path = start(folder, echo)
    good = Client(path)
    before = rss_kib(vm)
    deaf = [Client(path) for _ in range(10)]
    # Answers nobody reads: each is dropped once its queue is full.
    request = b'{"execute": "query-commands", "id": "' + b"y" * 2000 + b'"}\n'
    for c in deaf[:5]:
        pump(c.sock, request * 20, 1 << 28)
        served(vm, good)
    # Events nobody reads.
    for _ in range(3000):
        vm.command("stop")
        vm.command("cont")
        good.ask("query-status")
    served(vm, good)
    grown = rss_kib(vm) - before
    check(grown < len(deaf) * CLIENT_KIB, "memory grew by", grown, "KiB")
    check(good.events >= 6000, good.events)
    vm.close()


def test_half_lines(folder, echo):
    vm, path = start(folder, echo)
    good = Client(path)
    for text in (b'{"execute": "stop"', b"{", b'"', b"\xf0\x9f", b'{"execute": "stop"}'):
        half = Client(path)
        half.sock.sendall(text)
        half.close()
        served(vm, good)
    check(good.ask("query-status")["return"]["running"] is True, "half a command was obeyed")
    # In two parts, with a letter cut in the middle; others are served in between.
    whole = '{"execute": "query-status", "id": "\u00e4\u20ac\U0001f600"}\n'.encode()
    for cut in range(1, len(whole)):
        good.sock.sendall(whole[:cut])
        if cut % 8 == 0:
            check("return" in vm.command("query-status"), "the owner waits")
        good.sock.sendall(whole[cut:])
        check(good.answer()["id"] == "\u00e4\u20ac\U0001f600", cut)
    # A client that closes only its sending side is answered still.
    c = Client(path)
    c.send("query-version", id=1)
    c.sock.shutdown(socket.SHUT_WR)
    check(c.answer()["id"] == 1, "an answer after a half close")
    check(c.file.read() == b"", "then the end")
    vm.close()


def test_malformed(folder, echo):
    """Valid requests with bytes changed: each gets one answer, and nothing else happens."""
    vm, path = start(folder, echo)
    rng = random.Random(4)
    c = Client(path)
    texts = [b'{"execute": "query-status", "id": {"a": [1, 2.5e3, null, true, "\\u00e4"]}}',
             b'{"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": "a"}]}}',
             b'{"execute": "human", "arguments": {"x": -9223372036854775808}}',
             b'{"execute": "query-stats", "arguments": {"target": "vcpu", "n": 1e999}}',
             b'{"execute": "screendump", "arguments": {"filename": 3}}']
    for _ in range(3000):
        text = bytearray(rng.choice(texts))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(text))
            what = rng.randrange(3)
            if what == 0:
                text[at] = rng.randrange(256)
            elif what == 1:
                del text[at:at + rng.randrange(6)]
            else:
                text[at:at] = rng.choice((b"{", b"[", b'"', b"\\", b"\0", b"\\ud800", b"1e400", b","))
            if not text:
                break
        line = bytes(text).replace(b"\n", b"?").rstrip(b"\r")
        if not line.strip(b" \t"):
            continue
        c.sock.sendall(line + b"\n")
        o = c.answer()
        check("error" in o or "return" in o, line, o)
    # Nothing hides behind a NUL.
    c.sock.sendall(b'{"execute": "query-status"}\0{"execute": "stop"}\n')
    check("error" in c.answer(), "bytes behind a NUL were taken")
    served(vm, c)
    vm.close()


def test_out_of_descriptors(folder, echo):
    """A process that may open no more files tells new clients so and does not spin."""
    vm, path = start(folder, echo)
    good = Client(path)
    pid = vm.proc.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(p.name) for p in pathlib.Path(f"/proc/{pid}/fd").iterdir()) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[1]))
    waiting = [Client(path, negotiate=False) for _ in range(8)]
    for c in waiting:
        check(select.select([c.sock], [], [], TIMEOUT)[0], "no word to a client in vain")
    vm.command("stop")  # the guest polls
    begin = cpu_s(vm)
    time.sleep(1)
    check(cpu_s(vm) - begin < 0.3, "it spins:", cpu_s(vm) - begin, "s of CPU in a second")
    vm.command("cont")
    served(vm, good)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    served(vm, Client(path))
    vm.close()


if __name__ == "__main__":
    sys.exit(run_all(globals()))
