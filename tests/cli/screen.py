#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The screen from outside: pictures, its text, keys and pointer, VNC and its password."""
import pathlib
import socket
import stat
import struct
import subprocess
import sys
import zlib

from common import BOTHY, ROOT, TIMEOUT, Failure, Vm, check, run_all


def build(folder):
    obj, elf = folder / "screen.o", folder / "screen.elf"
    subprocess.run(["as", "--32", "-o", obj, ROOT / "tests/cli/screen.S"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0x100000", "-e", "_start", "-n", "-o", elf,
                    obj], check=True)
    return elf


def start(folder, vnc=True, **config):
    displays = [{"driver": "vnc", "where": f"unix:{folder}/vnc", **config}] if vnc else []
    vm = Vm(kernel=str(build(folder)), devices=[{"driver": "VGA", "romfile": "none"}],
            displays=displays)
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    return vm


def tell(vm, what):
    vm.serial.sendall(what)
    vm.serial_expect(b"done\r\n")


def ok(answer):
    check("return" in answer, answer)
    return answer["return"]


def desc(answer):
    check("error" in answer, "no error:", answer)
    return answer["error"]["desc"]


def png(path):
    """Width, height and rows of RGB."""
    data = pathlib.Path(path).read_bytes()
    check(data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG")
    at, idat = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        check(zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0],
              "a chunk's checksum")
        if kind == b"IHDR":
            width, height, *rest = struct.unpack(">IIBBBBB", body)
            check(rest == [8, 2, 0, 0, 0], rest)
        elif kind == b"IDAT":
            idat += body
        at += 12 + size
    raw = zlib.decompress(idat)
    step = width * 3 + 1
    check(len(raw) == step * height, "the picture's length")
    return width, height, [raw[y * step + 1:(y + 1) * step] for y in range(height)]


def painted(x, y):
    """What the guest paints: a number more for each pixel."""
    n = (y * 640 + x) * 0x010307 & 0xffffff
    return bytes([n >> 16, n >> 8 & 255, n & 255]) if y * 640 + x < 16384 else b"\0\0\0"


def test_text(folder, echo):
    vm = start(folder, vnc=False)
    tell(vm, b"t")
    got = ok(vm.command("screen-text"))
    rows = got["text"].split("\n")
    check(rows[3] == "  Hello, screen" and not any(rows[:3] + rows[4:]), rows)
    check((got["columns"], got["rows"], got["mode"]) == (80, 25, "text"), got)
    check(got["cursor"] == {"column": 5, "row": 4}, got)
    check(ok(vm.command("query-vnc")) == {"enabled": False}, "query-vnc")
    check("--display vnc" in desc(vm.command("change-vnc-password", password="x")), "password")
    vm.close()


def test_pictures(folder, echo):
    vm = start(folder, vnc=False)
    tell(vm, b"g")
    ok(vm.command("screendump", filename="a.png"))
    ok(vm.command("screendump", filename="b.ppm"))
    ok(vm.command("screendump", filename="c", format="png"))
    width, height, rows = png("a.png")
    check((width, height) == (640, 480), width, height)
    for x, y in ((0, 0), (1, 0), (639, 3), (5, 25), (383, 25), (384, 25), (0, 479)):
        check(rows[y][x * 3:x * 3 + 3] == painted(x, y), x, y, rows[y][x * 3:x * 3 + 3])
    check(png("c")[2] == rows, "two pictures differ")
    check(pathlib.Path("b.ppm").read_bytes() == b"P6\n640 480\n255\n" + b"".join(rows), "PPM")
    check("no/where" in desc(vm.command("screendump", filename="no/where.png")), "bad path")
    check("format" in desc(vm.command("screendump", filename="d", format="bmp")), "bad format")
    check("nobody" in desc(vm.command("screendump", filename="d", device="nobody")), "bad device")
    check("head" in desc(vm.command("screendump", filename="d", head=1)), "bad head")
    check("screendump" in desc(vm.command("screen-text")), "no text")
    check(not pathlib.Path("d").exists(), "something was left")
    vm.close()


def scancodes(vm, count):
    got = b""
    while got.count(b"\r\n") < count:
        part = vm.serial.recv(4096)
        check(part, "the serial port closed")
        got += part
    return [int(v, 16) for v in got.split()]


def test_keys(folder, echo):
    vm = start(folder, vnc=False)
    ok(vm.command("send-key", keys=[{"type": "qcode", "data": "ctrl"},
                                    {"type": "qcode", "data": "alt"},
                                    {"type": "qcode", "data": "delete"}]))
    want = [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]
    got = scancodes(vm, len(want))
    check(got == want, [hex(v) for v in got])
    ok(vm.command("send-key", keys=[{"type": "number", "data": 0x1e}], **{"hold-time": 1}))
    check(scancodes(vm, 2) == [0x1e, 0x9e], "by number")
    check(ok(vm.command("type", text="aB\n", delay=1)) == {"keys": 8}, "type")
    want = [0x1e, 0x9e, 0x2a, 0x30, 0xb0, 0xaa, 0x1c, 0x9c]
    check(scancodes(vm, 8) == want, "typed")
    # Far more than the keyboard holds at once: nothing is lost.
    text = "the quick brown fox " * 20
    ok(vm.command("type", text=text, delay=0))
    got = scancodes(vm, len(text) * 2)
    check(len(got) == len(text) * 2 and got[0::2] == [v & 0x7f for v in got[1::2]], "long text")
    ok(vm.command("input-send-event", events=[
        {"type": "key", "data": {"key": {"type": "qcode", "data": "f1"}, "down": True}},
        {"type": "key", "data": {"key": {"type": "qcode", "data": "f1"}, "down": False}}]))
    check(scancodes(vm, 2) == [0x3b, 0xbb], "events")
    check("nokey" in desc(vm.command("send-key", keys=[{"type": "qcode", "data": "nokey"}])), "bad")
    check("keys" in desc(vm.command("send-key", keys=[])), "no keys")
    for bad in (7, {"type": "qcode"}, {"type": "number", "data": "x"}, [1]):
        desc(vm.command("send-key", keys=[bad]))
    check("\u00e9" in desc(vm.command("type", text="caf\u00e9")), "no such key")
    check("hold-time" in desc(vm.command("send-key", keys=["a"], **{"hold-time": -1})), "hold")
    vm.close()


def test_pointer(folder, echo):
    vm = start(folder, vnc=False)
    tell(vm, b"m")
    mice = ok(vm.command("query-mice"))
    check(mice == [{"name": "ps2-mouse", "index": 0, "current": True, "absolute": False}], mice)
    ok(vm.command("input-send-event", events=[
        {"type": "rel", "data": {"axis": "x", "value": 5}},
        {"type": "rel", "data": {"axis": "y", "value": 3}},
        {"type": "btn", "data": {"button": "left", "down": True}}]))
    got = scancodes(vm, 3)
    check(got == [0x29, 5, 0xfd], [hex(v) for v in got])
    for bad in ({"type": "rel", "data": {"axis": "z", "value": 1}}, {"type": "btn", "data": {}},
                {"type": "abs", "data": {"axis": "x", "value": 99999}}, {"type": "x"}, 5):
        desc(vm.command("input-send-event", events=[bad]))
    vm.close()


class Viewer:
    """As much of RFB as it takes to look and to press."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(path))
        check(self.read(12) == b"RFB 003.008\n", "version")
        self.sock.sendall(b"RFB 003.008\n")
        self.types = self.read(self.read(1)[0])

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise Failure(f"the viewer is dropped: {data!r}")
            data += part
        return data

    def login(self):
        check(self.types == b"\1", "security types", self.types)
        self.sock.sendall(b"\1")
        check(self.read(4) == b"\0\0\0\0", "security result")
        self.sock.sendall(b"\1")
        self.width, self.height = struct.unpack(">HH", self.read(24)[:4])[:2]
        return self

    def init_name(self):
        return self.read(5)

    def picture(self, encodings):
        """All of the screen as rows of RGB."""
        self.sock.sendall(struct.pack(">BxH", 2, len(encodings)) +
                          b"".join(struct.pack(">i", e) for e in encodings))
        self.sock.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        rows = [bytearray(self.width * 4) for _ in range(self.height)]
        area = 0
        while area < self.width * self.height:
            kind, count = struct.unpack(">BxH", self.read(4))
            check(kind == 0, "message", kind)
            for _ in range(count):
                x, y, w, h, enc = struct.unpack(">HHHHi", self.read(12))
                check(enc == 0, "encoding", enc)
                for n in range(h):
                    rows[y + n][x * 4:(x + w) * 4] = self.read(w * 4)
                area += w * h
            if area < self.width * self.height:
                self.sock.sendall(struct.pack(">BBHHHH", 3, 1, 0, 0, self.width, self.height))
        return [b"".join(bytes((r[i + 2], r[i + 1], r[i])) for i in range(0, len(r), 4))
                for r in rows]

    def key(self, sym, down):
        self.sock.sendall(struct.pack(">BBxxI", 4, down, sym))

    def close(self):
        self.sock.close()


def test_vnc(folder, echo):
    vm = start(folder)
    tell(vm, b"g")
    check(stat.S_IMODE((folder / "vnc").stat().st_mode) == 0o600, "the socket's mode")
    ok(vm.command("screendump", filename="a.png"))
    v = Viewer(folder / "vnc").login()
    check((v.width, v.height) == (640, 480), v.width, v.height)
    check(v.init_name() == b"bothy", "name")
    check(v.picture([0]) == png("a.png")[2], "viewer and picture differ")
    v.key(ord("x"), 1)
    v.key(ord("x"), 0)
    check(scancodes(vm, 2) == [0x2d, 0xad], "a viewer's key")
    info = ok(vm.command("query-vnc"))
    check(info["enabled"] and info["service"] == f"{folder}/vnc" and info["auth"] == "none", info)
    check(len(info["clients"]) == 1, info)
    for name in ("VNC_CONNECTED", "VNC_INITIALIZED"):
        data = vm.event(name)["data"]
        check(data["server"]["service"] == f"{folder}/vnc", data)
        check(data["client"]["family"] == "unix" and not data["client"]["websocket"], data)
    # It leaves with a key down: the guest sees it released.
    v.key(0xffe3, 1)
    check(scancodes(vm, 1) == [0x1d], "ctrl")
    v.close()
    check(scancodes(vm, 1) == [0x9d], "ctrl released")
    vm.event("VNC_DISCONNECTED")
    check(ok(vm.command("stop")) == {}, "stop")
    Viewer(folder / "vnc").login().close() # a paused machine is looked at too
    vm.command("quit")
    check(vm.wait() == 0, "exit code")
    check(not (folder / "vnc").exists(), "the socket stays")
    vm.close()


def test_password(folder, echo):
    (folder / "pw").write_text("first\nignored\n")
    vm = start(folder, **{"password-file": str(folder / "pw")})
    v = Viewer(folder / "vnc")
    check(v.types == b"\2", "types", v.types)
    v.sock.sendall(b"\2")
    check(len(v.read(16)) == 16, "challenge")
    v.sock.sendall(bytes(16))
    check(v.read(4) == b"\0\0\0\1", "a wrong password was taken")
    v.close()
    check(ok(vm.command("query-vnc"))["auth"] == "vnc", "auth")
    ok(vm.command("set_password", protocol="vnc", password="second"))
    ok(vm.command("change-vnc-password", password="third"))
    check("protocol" in desc(vm.command("set_password", protocol="spice", password="x")), "spice")
    check("connected" in desc(vm.command("set_password", protocol="vnc", password="x",
                                         connected="maybe")), "connected")
    vm.close()


def run(*args):
    r = subprocess.run([BOTHY, "run", *args], capture_output=True, text=True, timeout=TIMEOUT,
                       stdin=subprocess.DEVNULL, check=False)
    return r.returncode, r.stderr


def test_wrong_use(folder, echo):
    elf = build(folder)
    (folder / "empty").write_text("")
    (folder / "there").write_text("")
    for option, code, word in (
            ("sdl", 2, "none and vnc"), ("vnc=nonsense", 2, "ADDR:PORT"),
            ("vnc=127.0.0.1:99999", 2, "ADDR:PORT"), ("vnc=203.0.113.7:5900", 1, "203.0.113.7"),
            ("vnc=unix:there", 1, "exists"), ("vnc=unix:no/where", 1, "no/where"),
            ("vnc=unix:s,password-file=missing", 1, "missing"),
            ("vnc=unix:s,password-file=empty", 2, "empty"), ("vnc,frob=1", 2, "frob")):
        got, said = run("--kernel", elf, "--serial", "none", "--display", option)
        check(got == code and word in said, option, got, said)
        check(not pathlib.Path("s").exists(), option, "left a socket")
    got, said = run("--kernel", elf, "--vga", "cirrus")
    check(got == 2 and "auto, std, none" in said, said)


def test_ports(folder, echo):
    """Two machines, one after the other on the same port and together on their own."""
    first = Vm(kernel=str(build(folder)), displays=[{"driver": "vnc"}])
    second = Vm(kernel=str(folder / "screen.elf"), displays=[{"driver": "vnc"}])
    for vm in (first, second):
        vm.hello()
    a, b = (ok(vm.command("query-vnc")) for vm in (first, second))
    check(a["host"] == b["host"] == "127.0.0.1" and a["service"] != b["service"], a, b)
    with socket.create_connection(("127.0.0.1", int(a["service"])), TIMEOUT) as s:
        check(s.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n", "greeting")
    check("graphics card" in desc(first.command("screendump", filename="x")), "no card")
    check(f"VNC at 127.0.0.1:{a['service']}" in first.proc.stderr.readline().decode(), "not said")
    first.close()
    second.close()


def test_uefi_font(folder, echo):
    """The fingerprints in the tree are those of OVMF's font."""
    p = subprocess.run([sys.executable, "-B", ROOT / "tools/uefi_font.py", "--check"], capture_output=True,
                       text=True, check=False)
    check(p.returncode == 0, p.stderr)


if __name__ == "__main__":
    sys.exit(run_all(globals()))
