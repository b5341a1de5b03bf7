#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots the small guest with two CPUs while it is moved between the engines a hundred
times, then lets it compute checksums while it is moved, saved and restored; what it says
must be what an undisturbed run says. The last line counts.

usage: handoff.py [--engines A,B] [--cpus N] [--cpu MODEL] [--irqchip PLACE] [--moves N]
                  [--mean SECONDS] [--patience N] [--test NAME] GUEST_FOLDER
"""
import argparse
import hashlib
import os
import pathlib
import random
import socket
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cli"))
import common  # noqa: E402
from common import Failure, check  # noqa: E402

PROMPT = b"# "
# A kilobyte of the shell's counting, ten times over.
LOAD = ("i=0; while [ $i -lt 40 ]; do seq $((i*500)) $((i*500+2000)) | md5sum; i=$((i+1)); done"
        " | md5sum; echo do''ne\n")
SECONDS = 300
ARGS = argparse.Namespace()


def run_only():
    """What is said again when a machine is restored."""
    return {"kvm-anyway": True, "kvm-irqchip": ARGS.irqchip} if "kvm" in ARGS.engines else {}


class Guest:
    def __init__(self, **config):
        self.vm = common.Vm(**config, **run_only())
        self.vm.hello()
        self.vm.serial.setblocking(False)
        self.said = b""
        self.engine = config["engine"]

    def read(self):
        try:
            while True:
                part = self.vm.serial.recv(65536)
                if not part:
                    code = self.vm.proc.wait(60)
                    raise Failure(f"the machine ended with {code}, engine {self.engine}: " + (
                        self.said[-500:] + self.vm.proc.stderr.read()).decode("ascii", "replace"))
                self.said += part
        except BlockingIOError:
            pass

    def until(self, text, meanwhile=lambda: time.sleep(0.02)):
        end = time.monotonic() + SECONDS * ARGS.patience
        while text not in self.said:
            check(time.monotonic() < end, "no", text, "in", self.said[-800:])
            self.read()
            meanwhile()
        head, self.said = self.said.split(text, 1)
        return head

    def send(self, text):
        self.vm.serial.setblocking(True)
        self.vm.serial.sendall(text.encode())
        self.vm.serial.setblocking(False)


class Mover:
    """Moves a guest at random times."""

    def __init__(self, guest, seed, mean):
        self.guest, self.rng, self.mean = guest, random.Random(seed), mean * ARGS.mean
        self.moves = self.longest = 0

    def __call__(self):
        time.sleep(self.rng.expovariate(1 / self.mean))
        self.guest.engine = self.rng.choice(ARGS.choice)
        got = self.guest.vm.command("engine", name=self.guest.engine)
        check("return" in got, got)
        self.longest = max(self.longest, got["return"]["pause-ns"])
        self.moves += 1


def start(folder, **more):
    return Guest(kernel=f"{folder}/vmlinuz", initrd=f"{folder}/initramfs.cpio.gz", memory=256 << 20,
                 cpus=ARGS.cpus, append="console=ttyS0 panic=-1", engine=ARGS.choice[-1],
                 **({"cpu": ARGS.cpu} if ARGS.cpu else {}), **more)


def checksum(guest, meanwhile):
    guest.send(LOAD)
    head = guest.until(b"\ndone", meanwhile)
    lines = [l for l in head.replace(b"\r", b"").splitlines() if l.endswith(b"  -")]
    check(len(lines) == 1, "no checksum in", head[-500:])
    return lines[0]


def test_linux(folder):
    guest = start(folder)
    mover = Mover(guest, 1, 0.05)
    guest.until(PROMPT, mover)
    while mover.moves < ARGS.moves:
        mover()
    booted = mover.moves
    plain = checksum(guest, lambda: time.sleep(0.02))
    mover = Mover(guest, 2, 0.03)
    check(checksum(guest, mover) == plain, "another checksum while moved")
    print(f"     {booted} moves while it booted, {mover.moves} while it computed, longest "
          f"{mover.longest / 1e6:.1f} ms")
    with tempfile.TemporaryDirectory(prefix="bothy-handoff-") as top:
        for n in range(4):
            file = f"{top}/m.save"
            guest.send(LOAD)
            time.sleep(0.3)
            check(guest.vm.command("save", file=file, then="quit") == {"return": {}}, "save")
            check(guest.vm.wait() == 0, "exit code")
            guest.read_rest = guest.said
            try:
                guest.read()
            except Failure:
                pass
            said = guest.said
            guest.vm.close()
            guest = Guest(restore=file, engine=ARGS.engines[n % len(ARGS.engines)])
            guest.said = said
            guest.vm.command("engine", name=ARGS.choice[-1])
            head = guest.until(b"\ndone")
            check(plain in head.replace(b"\r", b""), "another checksum after a restore", head[-500:])
    guest.send("dmesg | grep -v 'ommand line' | grep -ciE 'panic|oops|bug:|lockup|stall'; echo co''unted\n")
    head = guest.until(b"\ncounted").replace(b"\r", b"").splitlines()
    check(head[-1] == b"0", "the kernel complains:", head[-3:])
    guest.send("poweroff -f\n")
    check(guest.vm.wait() == 0, "exit code")
    guest.vm.close()


def serve(data, seconds):
    """A port of the loopback address that sends @data, drawn out over @seconds."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk():
        try:
            c, _ = listener.accept()
            c.recv(4096)
            c.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            for at in range(0, len(data), len(data) // 100):
                c.sendall(data[at:at + len(data) // 100])
                time.sleep(seconds / 100)
            c.close()
        except OSError:
            pass

    threading.Thread(target=talk, daemon=True).start()
    return listener


def test_tcp(folder):
    """What comes in over one TCP connection is the same with and without moves; a machine
    that is saved and goes on keeps its connection."""
    data = os.urandom(12 << 20)
    want = hashlib.md5(data).hexdigest().encode()
    guest = start(folder, netdevs=[{"driver": "user", "id": "n0"}],
                  devices=[{"driver": "virtio-net", "netdev": "n0"}])
    guest.until(PROMPT)
    guest.send("ifconfig eth0 10.0.2.15; route add default gw 10.0.2.2; echo up'is'\n")
    guest.until(b"upis")
    with tempfile.TemporaryDirectory(prefix="bothy-handoff-") as top:
        for seconds, mover in ((0, None), (6, Mover(guest, 3, 0.05)), (6, Mover(guest, 4, 0.05))):
            listener = serve(data, seconds)
            guest.send("wget -q -O - http://10.0.2.2:%d/ | md5sum; echo do''ne\n"
                       % listener.getsockname()[1])
            if mover:
                time.sleep(1)
                check(guest.vm.command("save", file=f"{top}/m.save") == {"return": {}}, "save")
            head = guest.until(b"\ndone", mover or (lambda: time.sleep(0.02)))
            check(want in head, "other bytes came in", head[-300:])
            listener.close()
            if mover:
                check(mover.moves >= 20, "only", mover.moves, "moves")
                print(f"     {mover.moves} moves and a save while {len(data) >> 20} MiB came in, "
                      f"longest {mover.longest / 1e6:.1f} ms")
    guest.send("poweroff -f\n")
    check(guest.vm.wait() == 0, "exit code")
    guest.vm.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--engines", default="interp,jit", help="the last one twice as often")
    p.add_argument("--cpus", type=int, default=2)
    p.add_argument("--cpu", help="the CPU model")
    p.add_argument("--irqchip", default="auto", help="where KVM has the interrupt controllers")
    p.add_argument("--moves", type=int, default=100, help="at least, while it boots")
    p.add_argument("--mean", type=float, default=1, help="factor on the time between two of them")
    p.add_argument("--patience", type=float, default=1, help="factor on every time limit")
    p.add_argument("--test", action="append", choices=["linux", "tcp"])
    p.add_argument("folder")
    p.parse_args(namespace=ARGS)
    ARGS.engines = ARGS.engines.split(",")
    ARGS.choice = [*ARGS.engines, ARGS.engines[-1]]
    failed = passed = 0
    for name, test, what in (("linux", test_linux, "linux moved, saved and restored"),
                             ("tcp", test_tcp, "a TCP connection while moved")):
        if ARGS.test and name not in ARGS.test:
            continue
        begin = time.monotonic()
        try:
            test(ARGS.folder)
            passed += 1
            print(f"ok   {what} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Failure as e:
            print(f"FAIL {what}: {e}", flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
