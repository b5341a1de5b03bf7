#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Saving a machine, restoring it in any engine, moving it between engines; and
every way in which a saved machine's file may be wrong."""
import json
import os
import pathlib
import resource
import socket
import struct
import sys
import time
import zlib

from common import BOTHY, Failure, Vm, check, run_all

import subprocess

ENGINES = ["interp", "jit"]


def start(**config):
    vm = Vm(**config)
    vm.hello()
    return vm


def boot(echo, **config):
    vm = start(kernel=str(echo), **config)
    vm.serial_expect(b"ready\r\n")
    return vm


def talks(vm, text=b"abc"):
    vm.serial.sendall(text)
    vm.serial_expect(text)


def error_of(answer):
    check("error" in answer, "no error:", answer)
    return answer["error"]["desc"]


def sections(data):
    """Offset, name, instance, whole length of every section."""
    at, found = 64, []
    while at < len(data):
        stored = struct.unpack_from("<I", data, at + 52)[0]
        name = data[at + 8:at + 39].split(b"\0")[0].decode()
        found.append((at, name, struct.unpack_from("<I", data, at + 40)[0], 64 + stored))
        at += 64 + stored
    return found


def sealed(header):
    """A section's header with its checksum right."""
    header = bytearray(header)
    header[4:8] = bytes(4)
    header[4:8] = struct.pack("<I", zlib.crc32(header))
    return bytes(header)


def section(name, body, version=1, flags=0):
    h = struct.pack("<II32sIIIIII", 0x74636573, 0, name.encode(), 0, version, flags, len(body),
                    len(body), zlib.crc32(body))
    return sealed(h) + body


def refused(data, *words, **config):
    """Restoring these bytes fails and says every one of the words."""
    path = pathlib.Path("bad.save")
    path.write_bytes(data)
    vm = Vm(restore=str(path), **config)
    code = vm.wait()
    said = vm.proc.stderr.read().decode()
    vm.close()
    check(code == 1, "exit code", code, said)
    for w in words:
        check(w in said, f"no {w!r} in {said!r}")
    check(len(said.strip().splitlines()) == 1, "more than one line:", said)


def test_every_engine_to_every_engine(folder, echo):
    for a in ENGINES:
        for b in ENGINES:
            vm = boot(echo, engine=a, cpus=2)
            talks(vm, b"before")
            check(vm.command("save", file="m.save") == {"return": {}}, "save")
            talks(vm, b"goes on")
            vm.command("quit")
            check(vm.wait() == 0, "exit code")
            vm.close()
            vm = start(restore="m.save", engine=b)
            talks(vm, b"after")
            check(len(vm.command("query-cpus-fast")["return"]) == 2, "CPUs")
            vm.close()
    check([p.name for p in folder.iterdir()] == ["m.save"], "left behind:", list(folder.iterdir()))


def test_then(folder, echo):
    vm = boot(echo)
    check("then" in error_of(vm.command("save", file="m.save", then="x")), "bad then")
    check(vm.command("save", file="m.save", then="stop") == {"return": {}}, "stop")
    vm.event("STOP")
    check(vm.command("query-status")["return"]["status"] == "paused", "paused")
    vm.command("cont")
    talks(vm)
    check(vm.command("save", file="m.save", then="quit") == {"return": {}}, "quit")
    check(vm.wait() == 0, "exit code")
    vm.close()
    vm = start(restore="m.save")
    talks(vm)
    # A restored machine knows its kernel: a reset starts it again.
    vm.command("system_reset")
    vm.serial_expect(b"ready\r\n")
    # And it can be saved again.
    check(vm.command("save", file="again.save", then="quit") == {"return": {}}, "again")
    check(vm.wait() == 0, "exit code")
    vm.close()
    vm = start(restore="again.save")
    talks(vm)
    vm.close()


def test_command_line(folder, echo):
    vm = boot(echo, memory=32 << 20)
    vm.command("save", file="m.save", then="quit")
    vm.wait()
    vm.close()
    p = subprocess.Popen([BOTHY, "run", "--restore", "m.save"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b"hello1")     # 1: the guest powers off
    p.stdin.flush()
    out, said = p.communicate(timeout=60)
    check(b"hello" in out and p.returncode == 0, p.returncode, out, said)
    p = subprocess.run([BOTHY, "run", "--restore", "none.save"], capture_output=True)
    check(p.returncode == 1 and b"none.save" in p.stderr, p)
    p = subprocess.run([BOTHY, "run", "--restore", "m.save", "--memory", "64M", "--cpus", "2"],
                       capture_output=True)
    check(p.returncode == 1, p)
    for w in (b"32 MiB in the file, 64 MiB here", b"processors: 1 in the file, 2 here"):
        check(w in p.stderr, w, p.stderr)


def test_kernel_gone(folder, echo):
    kernel = folder / "kernel"
    kernel.write_bytes(echo.read_bytes())
    vm = boot(kernel)
    vm.command("save", file="m.save", then="quit")
    vm.wait()
    vm.close()
    kernel.unlink()
    vm = start(restore="m.save")
    talks(vm)
    vm.command("system_reset")
    check(vm.wait() == 1, "exit code")
    said = vm.proc.stderr.read().decode()
    check("no kernel" in said, said)
    vm.close()


def make(echo, **config):
    vm = boot(echo, **config)
    vm.command("save", file="m.save", then="quit")
    vm.wait()
    vm.close()
    return pathlib.Path("m.save").read_bytes()


def test_truncated(folder, echo):
    data = make(echo)
    for at, name, instance, length in sections(data):
        if name != "memory" or instance == 0 and at % 3 == 0:
            refused(data[:at], "ends before its section \"end\"")
            refused(data[:at + 64 + (length - 64) // 2] if length > 64 else data[:at + 63],
                    name if length > 64 else "damaged" if False else "cut off")
    refused(data[:40], "no saved machine")
    refused(b"", "no saved machine")
    refused(data + b"x", "end")


def test_flipped(folder, echo):
    data = make(echo)
    for at, name, instance, length in sections(data):
        for off in (5, 9, 41, 50, 53, 64, length - 1):
            if off >= length:
                continue
            bad = bytearray(data)
            bad[at + off] ^= 0x10
            if off >= 64:
                refused(bytes(bad), f'"{name}" number {instance}', "checksum")
            else:
                refused(bytes(bad), "checksum of its header", f"at byte {at}")
    bad = bytearray(data)
    bad[30] ^= 1
    refused(bytes(bad), "header is damaged")


def test_newer(folder, echo):
    data = make(echo)
    found = sections(data)
    at = next(f[0] for f in found if f[1] == "i8254")
    end = found[-1][0]
    count = struct.pack("<I", len(found))
    # A section that nobody here knows.
    new = data[:at] + section("quantum", b"?") + data[at:end] + section("end", count)
    refused(new, '"quantum"', "made by bothy", "newer")
    new = data[:end] + section("quantum", b"?") + section("end", count)
    refused(new, '"quantum"', "made by bothy", "newer")
    # One that may be skipped.
    new = data[:at] + section("hint", b"?", flags=2) + data[at:end] + section("end", count)
    pathlib.Path("ok.save").write_bytes(new)
    vm = start(restore="ok.save")
    talks(vm)
    vm.close()
    # A known one's newer version, and a missing one.
    length = next(f[3] for f in found if f[0] == at)
    new = data[:at] + section("i8254", data[at + 64:at + length], version=9) + data[at + length:]
    refused(new, '"i8254"', "version 9", "newer")
    refused(data[:at] + data[at + length:], '"i8254"')
    # A format from the future.
    new = bytearray(data)
    new[8:12] = struct.pack("<I", 7)
    new[12:16] = bytes(4)
    new[12:16] = struct.pack("<I", zlib.crc32(new[:64]))
    refused(bytes(new), "format is 7", "newer")


def test_other_machine(folder, echo):
    data = make(echo)
    refused(data, "another machine", 'memory "ram": 16 MiB in the file, 32 MiB here',
            "processors: 1 in the file, 3 here", memory=32 << 20, cpus=3)
    refused(data, "only in the file", "processor feature avx2", cpu="x86-64-v2")


def ram_of(vm):
    """The file that is the guest's memory."""
    fds = pathlib.Path(f"/proc/{vm.proc.pid}/fd")
    found = [f for f in fds.iterdir() if os.readlink(f).startswith("/memfd:ram")]
    check(len(found) == 1, "the guest's memory is not found")
    return found[0]


def fill(vm, mib):
    """Memory that takes long to save, above what the guest uses."""
    with open(ram_of(vm), "r+b") as f:
        f.seek(8 << 20)
        some = os.urandom(8 << 20)
        for _ in range(mib // 8 - 1):
            f.write(some)


class Client:
    """One more client of a machine's control socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(path))
        self.file = self.sock.makefile("r")
        self.file.readline()
        self.command("qmp_capabilities")

    def command(self, name):
        self.sock.sendall(json.dumps({"execute": name}).encode() + b"\n")
        while True:
            o = json.loads(self.file.readline())
            if "event" not in o:
                return o

    def close(self):
        self.file.close()
        self.sock.close()


def save_begins(vm, other):
    vm.sock.sendall(b'{"execute": "save", "arguments": {"file": "m.save"}}\n')
    for _ in range(2000):
        got = other.command("query-save")["return"]
        if got["status"] == "active" and got["done"]:
            return got
        time.sleep(0.002)
    raise Failure("saving does not begin")


def test_others_are_served(folder, echo):
    """While it is saved the control channel answers others' queries, and refuses what
    would change the machine."""
    vm = boot(echo, memory=256 << 20, listen=folder / "ctl")
    other = Client(folder / "ctl")
    fill(vm, 224)
    check(other.command("query-save")["return"]["status"] == "none", "not yet")
    got = save_begins(vm, other)
    check(0 < got["done"] <= got["total"] <= 257 << 20, got)
    said = error_of(other.command("stop"))
    check("being saved" in said and "query-save" in said, said)
    longest = answers = 0
    while True:
        begin = time.monotonic()
        status = other.command("query-save")["return"]["status"]
        longest = max(longest, time.monotonic() - begin)
        if status == "none":
            break
        answers += 1
        time.sleep(0.01)
    check(answers > 3 and longest < 2, answers, longest)
    check(vm.answer() == {"return": {}}, "save")
    check(other.command("query-status")["return"]["running"], "it goes on")
    talks(vm)
    # Broken off: nothing is left behind, and the machine ends.
    os.remove("m.save")
    save_begins(vm, other)
    check(other.command("quit") == {"return": {}}, "quit")
    check("broken off" in error_of(vm.answer()), "the save's answer")
    check(vm.wait() == 0, "exit code")
    check([p.name for p in folder.iterdir()] == ["ctl"], "left behind:", list(folder.iterdir()))
    other.close()
    vm.close()


def test_full_disk(folder, echo):
    """A file system without room is found before anything is written."""
    room = folder / "room"
    room.mkdir()
    wrap = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.getuid() else []), "sh",
            "-c", f'mount -t tmpfs -o size=4M none "{room}" && exec "$@"', "sh"]
    if subprocess.run([*wrap, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        print("     skipped: no file system can be mounted here")
        return
    vm = boot(echo, memory=64 << 20, wrap=wrap)
    fill(vm, 32)
    said = error_of(vm.command("save", file=str(room / "m.save")))
    for w in ("not enough room", "are needed and 4 MiB are free", "goes on"):
        check(w in said, w, "not in", said)
    talks(vm)
    vm.close()


def test_no_memory(folder, echo):
    """No memory to save with: said before anything is written."""
    vm = boot(echo)
    size = int(pathlib.Path(f"/proc/{vm.proc.pid}/statm").read_text().split()[0]) * 4096
    resource.prlimit(vm.proc.pid, resource.RLIMIT_AS, (size, -1))
    said = error_of(vm.command("save", file="m.save"))
    check("not enough memory" in said and "goes on" in said, said)
    check(list(folder.iterdir()) == [], "left behind:", list(folder.iterdir()))
    talks(vm)
    resource.prlimit(vm.proc.pid, resource.RLIMIT_AS, (-1, -1))
    check(vm.command("save", file="m.save") == {"return": {}}, "with memory")
    vm.close()


def test_no_room(folder, echo):
    vm = boot(echo)
    # A folder that is not there, a folder, and a file system without room.
    check("none" in error_of(vm.command("save", file="none/m.save")), "no folder")
    check(error_of(vm.command("save", file=str(folder))), "a folder")
    talks(vm)
    # Said before it starts: /dev is small or full nowhere we may count on, so a limit.
    resource.prlimit(vm.proc.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    said = error_of(vm.command("save", file="m.save"))
    check("m.save" in said, said)
    talks(vm, b"goes on")
    check(list(folder.iterdir()) == [], "left behind:", list(folder.iterdir()))
    vm.close()


def test_engine_command(folder, echo):
    vm = boot(echo, cpus=2)
    for n in range(60):
        name = ENGINES[n % len(ENGINES)]
        got = vm.command("engine", name=name)["return"]
        check(got["engine"] == name and got["pause-ns"] >= 0, got)
        talks(vm, b"<" + bytes([97 + n % 26]) + b">")
    check("unknown engine 'x'" in error_of(vm.command("engine", name="x")), "unknown")
    vm.command("stop")
    check(vm.command("engine", name="interp")["return"]["engine"] == "interp", "while paused")
    check(vm.command("query-status")["return"]["status"] == "paused", "stays paused")
    vm.command("cont")
    talks(vm)
    vm.close()


if __name__ == "__main__":
    sys.exit(run_all(globals()))
