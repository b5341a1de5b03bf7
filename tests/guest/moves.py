#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An installed Debian, from power-on through firmware, moved between the software engines
and saved and restored in each of them: its processes and their counters go on; a TCP
connection to the host lives through moves and a save after which the machine goes on, and
where it goes on from a file a new one works (the old one's other end was in the machine's
process, which is gone). KVM takes part where it has hardware. The last line counts.

usage: moves.py [--rounds N]
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cli"))
sys.path.insert(0, str(ROOT / "tests" / "guest"))
sys.path.insert(0, str(ROOT / "tools"))
import common  # noqa: E402
import handoff  # noqa: E402
import images  # noqa: E402
from common import Failure, check  # noqa: E402

PROMPT = b"root@debian:~# "
COUNTER = "n=0; while true; do n=$((n+1)); echo $n >/run/count; sleep 0.1; done"
# Sends back whatever it is sent.
ECHO = "exec 3<>/dev/tcp/10.0.2.2/%d; while read -r l <&3; do echo \"<$l>\" >&3; done"


def engines():
    host = json.loads(subprocess.run([common.BOTHY, "host", "--json"], stdout=subprocess.PIPE,
                                     check=True).stdout)
    return ["interp", "jit"] + (["kvm"] if host["kvm"]["verdict"] == "good" else [])


def run(guest, command):
    guest.send(f"{command}; echo finis''hed $?\n")
    out = guest.until(b"finished ").replace(b"\r", b"")
    guest.until(PROMPT)
    out = re.sub(rb"\x1b\[[?0-9;]*[a-zA-Z]", b"", out) # the shell's bracketed paste
    return out.split(b"\n", 1)[1].decode() if b"\n" in out else ""


class Talk:
    """A TCP connection that the guest began."""

    def __init__(self, guest):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(120)
        port = listener.getsockname()[1]
        run(guest, f"(bash -c '{ECHO % port}' >/dev/null 2>&1 &)")
        self.sock, _ = listener.accept()
        self.sock.settimeout(120)
        listener.close()
        self.file = self.sock.makefile("rb")
        self.n = 0

    def check(self):
        self.n += 1
        self.sock.sendall(b"line %d\n" % self.n)
        got = self.file.readline()
        check(got == b"<line %d>\n" % self.n, "the connection said", got)

    def close(self):
        self.file.close()
        self.sock.close()


def count(guest):
    return int(run(guest, "cat /run/count").split()[0])


def moved(guest, names, rounds):
    """Moved while both ends of a connection talk."""
    talk, rng, longest = Talk(guest), random.Random(5), 0
    before = count(guest)
    for _ in range(rounds):
        got = guest.vm.command("engine", name=rng.choice(names))
        check("return" in got, got)
        longest = max(longest, got["return"]["pause-ns"])
        talk.check()
    check(guest.vm.command("save", file="m.save") == {"return": {}}, "save")
    talk.check()
    check(guest.vm.command("engine", name="jit")["return"]["engine"] == "jit", "jit")
    check(count(guest) > before, "the counter stands still")
    talk.check()
    talk.close()
    print(f"     {rounds} moves and a save with one connection, longest {longest / 1e6:.1f} ms",
          flush=True)


def saved(guest, names, file):
    """Saved under each and restored in each other, counters going on."""
    pid = run(guest, "pgrep -f run/count | head -n 1").split()[0]
    for a in names:
        for b in names:
            check(guest.vm.command("engine", name=a)["return"]["engine"] == a, a)
            before = count(guest)
            check(guest.vm.command("save", file=file, then="quit") == {"return": {}}, "save")
            check(guest.vm.wait() == 0, "exit code")
            guest.vm.close()
            guest = handoff.Guest(restore=file, engine=b)
            guest.send("\n")
            guest.until(PROMPT)
            after = count(guest)
            check(before < after < before + 600, "the counter went from", before, "to", after)
            check(run(guest, "pgrep -f run/count | head -n 1").split()[0] == pid, "process")
            talk = Talk(guest)
            talk.check()
            talk.close()
            print(f"     saved in {a}, goes on in {b}: {before} to {after}", flush=True)
    return guest


def test(folder, rounds):
    disk = folder / "disk.img"
    subprocess.run(["cp", "--sparse=always", images.image("debian12.img"), disk], check=True)
    guest = handoff.Guest(firmware="bios", memory=1 << 30, cpus=2, engine="jit",
                  drives=[{"id": "d0", "file": str(disk), "format": "raw"}],
                  netdevs=[{"driver": "user", "id": "n0"}],
                  devices=[{"driver": "virtio-blk", "drive": "d0"},
                           {"driver": "virtio-net", "netdev": "n0"}])
    guest.until(b"login: ")
    guest.send("root\n")
    guest.until(b"Password: ")
    guest.send("bothy\n")
    guest.until(PROMPT)
    run(guest, "networkctl list; for i in $(seq 60); do ip -4 addr show | grep -q 10.0.2.15 && break;"
               " sleep 1; done")
    run(guest, f"(bash -c '{COUNTER}' &)")
    names = engines()
    moved(guest, names, rounds)
    guest = saved(guest, names, "m.save")
    check(guest.vm.command("engine", name="jit")["return"]["engine"] == "jit", "jit")
    bad = run(guest, "dmesg | grep -v 'ommand line' | grep -ciE 'panic|oops|bug:|lockup|i/o error'")
    check(bad.split()[0] == "0", "the kernel complains:", bad)
    run(guest, "systemctl is-system-running")
    guest.send("poweroff\n")
    check(guest.vm.proc.wait(300) == 0, "exit code")
    guest.vm.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=100)
    args = p.parse_args()
    handoff.SECONDS = 900
    top = pathlib.Path(tempfile.mkdtemp(prefix="bothy-moves-"))
    os.chdir(top)
    begin = time.monotonic()
    failed = 0
    try:
        test(top, args.rounds)
        print(f"ok   Debian moved, saved and restored ({time.monotonic() - begin:.0f} s)")
    except Failure as e:
        print(f"FAIL Debian: {e}")
        failed = 1
    finally:
        os.chdir("/")
        shutil.rmtree(top, ignore_errors=True)
    print(f"{1 - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
