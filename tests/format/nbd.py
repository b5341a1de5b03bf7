#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD both ways: our server with qemu-img, nbdinfo and nbdcopy; our client with
qemu-nbd and nbdkit; our two ends together; TLS; a client that does not behave.

usage: nbd.py BOTHY
"""
import json
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

FAILED = []
PASSED = []
SKIPPED = []


class Bad(Exception):
    pass


class Skip(Exception):
    pass


def need(*tools):
    for t in tools:
        if not shutil.which(t):
            raise Skip(f"{t} is not installed")


def run(*args, ok=0, says=None, timeout=120):
    r = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=timeout,
                       check=False, stdin=subprocess.DEVNULL)
    where = " ".join(map(str, args))
    if r.returncode != ok:
        raise Bad(f"{where}: code {r.returncode}, expected {ok}\n{r.stdout}{r.stderr}")
    if says and says not in r.stdout + r.stderr:
        raise Bad(f"{where}: does not say '{says}'\n{r.stdout}{r.stderr}")
    return r.stdout


def disk(*args, **kw):
    return run(BOTHY, "disk", *args, **kw)


def expect(cond, what):
    if not cond:
        raise Bad(what)


class Export:
    """Our server, until the block ends; .uri is where."""

    def __init__(self, image, *args):
        self.cmd = [BOTHY, "disk", "export", str(image), *map(str, args)]

    def __enter__(self):
        self.p = subprocess.Popen(self.cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, stdin=subprocess.DEVNULL)
        line = self.p.stdout.readline()
        if " at " not in line:
            raise Bad(f"{' '.join(self.cmd)}: {self.p.stderr.read()}")
        self.uri = line.strip().rsplit(" at ", 1)[1]
        return self

    def __exit__(self, *exc):
        self.p.terminate()
        out, err = self.p.communicate(timeout=60)
        if exc[0] is None and self.p.returncode:
            raise Bad(f"export ended with {self.p.returncode}: {out}{err}")


class Peer:
    """Another program's server at a unix socket."""

    def __init__(self, sock, *args):
        self.sock, self.cmd = sock, [str(a) for a in args]

    def __enter__(self):
        self.p = subprocess.Popen(self.cmd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  stdin=subprocess.DEVNULL)
        for _ in range(600):
            if os.path.exists(self.sock):
                s = socket.socket(socket.AF_UNIX)
                try:
                    s.connect(str(self.sock))
                    s.close()
                    return self
                except OSError:
                    s.close()
            if self.p.poll() is not None:
                raise Bad(f"{self.cmd}: {self.p.stderr.read().decode()}")
            time.sleep(0.05)
        raise Bad(f"{self.cmd}: does not listen")

    def __exit__(self, *exc):
        self.p.terminate()
        self.p.communicate(timeout=60)


def sample(path, size=8 << 20, seed=1):
    """A raw disk with data, holes and zeroes."""
    rnd = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(size)
        for _ in range(12):
            at = rnd.randrange(size - 300000) & ~511
            f.seek(at)
            f.write(rnd.randbytes(rnd.randrange(1, 500) * 512))
    return path


def test_server_with_qemu_img(d):
    need("qemu-img")
    raw = sample(d / "a.raw")
    disk("convert", raw, d / "a.qcow2")
    with Export(d / "a.qcow2", "--socket", d / "s", "--read-only") as e:
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", e.uri, raw)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", e.uri, d / "b.qcow2")
        maps = [json.loads(run("qemu-img", "map", "--output=json", "-f", f, p))
                for f, p in (("raw", e.uri), ("qcow2", d / "a.qcow2"))]
        data = [sum(x["length"] for x in m if x["data"]) for m in maps]
        expect(data[0] == data[1] and 0 < data[0] < 8 << 20, f"allocation differs: {data}")
    disk("compare", raw, d / "b.qcow2")
    # Writing into it.
    disk("create", d / "c.qcow2", "8M")
    with Export(d / "c.qcow2", "--socket", d / "s", "--name", "disk one") as e:
        expect("disk%20one" in e.uri or "disk one" in e.uri, e.uri)
        uri = e.uri.replace(" ", "%20")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw, uri)
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, raw)
    disk("compare", raw, d / "c.qcow2")
    disk("check", d / "c.qcow2")
    expect(not (d / "s").exists(), "the socket was left")


def test_server_with_libnbd(d):
    need("nbdinfo", "nbdcopy")
    raw = sample(d / "a.raw", seed=2)
    disk("convert", raw, d / "a.qcow2")
    with Export(d / "a.qcow2", "--socket", d / "s", "--description", "a test") as e:
        info = json.loads(run("nbdinfo", "--json", e.uri))["exports"][0]
        expect(info["export-size"] == 8 << 20 and "base:allocation" in info["contexts"] and
               info["can_multi_conn"] and info["can_zero"] and not info["is_read_only"] and
               info["can_fua"] and info["can_df"] and info["description"] == "a test", f"{info}")
        run("nbdinfo", "--list", e.uri, says="export")
        run("nbdinfo", "--map", e.uri, says="hole,zero")
        run("nbdcopy", "--connections=4", e.uri, d / "out.raw")
        disk("compare", raw, d / "out.raw")
        other = sample(d / "b.raw", seed=3)
        run("nbdcopy", "--connections=4", "--flush", other, e.uri)
    disk("compare", d / "b.raw", d / "a.qcow2")
    disk("check", d / "a.qcow2")


def test_tcp_and_limits(d):
    sample(d / "a.raw")
    with Export(d / "a.raw", "--format", "raw", "--listen", "127.0.0.1:0", "--clients", "2") as e:
        expect(e.uri.startswith("nbd://127.0.0.1:"), e.uri)
        disk("compare", e.uri, d / "a.raw", "--format", "raw", "--format2", "raw", ok=2,
             says="being written")
        disk("compare", e.uri, d / "a.raw", "--format", "raw", "--format2", "raw", "--share")
        host, port = e.uri[6:].rstrip("/").split(":")
        held = [socket.create_connection((host, int(port))) for _ in range(2)]
        for s in held:
            s.recv(18)
        disk("info", e.uri, ok=1, says="broke off")
        for s in held:
            s.close()
        for _ in range(100):
            if not subprocess.run([BOTHY, "disk", "info", e.uri], capture_output=True).returncode:
                break
            time.sleep(0.1)
        disk("info", e.uri)
    disk("export", d / "a.raw", ok=1 if False else 2, says="format=raw")
    disk("info", "nbd://127.0.0.1:1/", ok=1, says="cannot connect")
    disk("info", "nbd+unix:///", ok=2, says="socket=")
    disk("create", "nbd://127.0.0.1:1/", "1M", ok=1, says="into")


def test_own_ends(d):
    raw = sample(d / "a.raw", seed=4)
    disk("create", d / "t.qcow2", "8M")
    with Export(d / "t.qcow2", "--socket", d / "s") as e:
        disk("convert", raw, e.uri, "--to", "raw", "--into")
        disk("compare", raw, e.uri, "--format2", "raw")
        m = json.loads(disk("map", e.uri, "--format", "raw", "--json"))
        expect(any(x["zero"] for x in m) and any(x["data"] for x in m), "no map")
    disk("compare", raw, d / "t.qcow2")
    # An image of a format behind an export of its bytes, and an overlay over an export.
    disk("convert", raw, d / "v.vmdk")
    with Export(d / "v.vmdk", "--format", "raw", "--socket", d / "s", "--read-only") as e:
        disk("compare", raw, e.uri)
        disk("create", d / "o.qcow2", "--backing", e.uri, "--backing-format", "vmdk")
        disk("compare", raw, d / "o.qcow2")
        disk("resize", e.uri, "+1M", ok=1, says="read-only")
    with Export(d / "a.raw", "--format", "raw", "--socket", d / "s", "--once") as e:
        disk("info", e.uri)
        expect(e.p.wait(timeout=60) == 0, "--once did not end it")


def test_client_with_qemu_nbd(d):
    need("qemu-nbd", "qemu-img")
    raw = sample(d / "a.raw", seed=5)
    run("qemu-img", "convert", "-O", "qcow2", raw, d / "a.qcow2")
    sock = d / "q"
    uri = f"nbd+unix:///x?socket={sock}"
    with Peer(sock, "qemu-nbd", "-k", sock, "-x", "x", "-t", "-e", "8", d / "a.qcow2"):
        disk("compare", uri, raw, "--format", "raw")
        disk("info", f"nbd+unix:///y?socket={sock}", ok=1, says="no export")
        m = json.loads(disk("map", uri, "--format", "raw", "--json"))
        expect(sum(x["length"] for x in m if x["data"]) < 8 << 20, "no holes seen")
        other = sample(d / "b.raw", seed=6)
        disk("convert", other, uri, "--to", "raw", "--into")
    run("qemu-img", "compare", d / "b.raw", d / "a.qcow2")
    run("qemu-img", "check", d / "a.qcow2")


def test_client_with_nbdkit(d):
    need("nbdkit")
    sock = d / "k"
    raw = sample(d / "a.raw", seed=7)
    uri = f"nbd+unix:///?socket={sock}"
    for extra in ([], ["--filter=blocksize-policy", "blocksize-minimum=4096",
                       "blocksize-preferred=65536", "blocksize-maximum=1M",
                       "blocksize-error-policy=error"],
                  ["--no-sr"], ["--mask-handshake=0"]):
        shutil.copy(raw, d / "t.raw")
        with Peer(sock, "nbdkit", "-f", "-U", sock, *[x for x in extra if x.startswith("-")],
                  "file", d / "t.raw", *[x for x in extra if not x.startswith("-")]):
            if extra == ["--mask-handshake=0"]:
                disk("info", uri, ok=1, says="old style")
            else:
                disk("compare", uri, raw, "--format", "raw")
                disk("create", d / "i.qcow2", "6M", "--force")
                disk("convert", d / "i.qcow2", uri, "--to", "raw", "--into")
        sock.unlink(missing_ok=True)
        got = (d / "t.raw").read_bytes()
        if extra != ["--mask-handshake=0"]:
            expect(got == bytes(8 << 20), "not zeroed")
    # A server's errors come through, each way it can send them.
    for extra in ([], ["--no-sr"]):
        with Peer(sock, "nbdkit", "-f", "-U", sock, *extra, "--filter=error", "file", raw,
                  "error-pread=EIO", "error-pread-rate=100%"):
            disk("compare", uri, raw, "--format", "raw", ok=2)
        sock.unlink(missing_ok=True)
    # Slow replies out of order, many at once.
    with Peer(sock, "nbdkit", "-f", "-U", sock, "--filter=delay", "file", d / "a.raw",
              "delay-read=2ms"):
        disk("compare", uri, raw, "--format", "raw", "--threads", "8", "--share")
    sock.unlink(missing_ok=True)


def make_certificates(d):
    need("certtool")

    def tool(*args, template):
        (d / "t").write_text(template)
        run("certtool", *args, "--template", d / "t")

    for who in ("ca", "server", "client", "other"):
        run("certtool", "--generate-privkey", "--key-type=ecdsa", "--outfile", d / f"{who}-key.pem")
    tool("--generate-self-signed", "--load-privkey", d / "ca-key.pem", "--outfile",
         d / "ca-cert.pem", template="cn = test\nca\ncert_signing_key\nexpiration_days = 30\n")
    for who in ("server", "client"):
        extra = "dns_name = localhost\ntls_www_server\n" if who == "server" else "tls_www_client\n"
        tool("--generate-certificate", "--load-privkey", d / f"{who}-key.pem",
             "--load-ca-certificate", d / "ca-cert.pem", "--load-ca-privkey", d / "ca-key.pem",
             "--outfile", d / f"{who}-cert.pem",
             template=f"cn = {who}\nsigning_key\nexpiration_days = 30\n{extra}")


def test_tls_certificates(d):
    raw = sample(d / "a.raw", seed=8)
    pki = d / "pki"
    pki.mkdir()
    make_certificates(pki)
    nobody = d / "nobody"  # trusts the authority, has no certificate of its own
    nobody.mkdir()
    shutil.copy(pki / "ca-cert.pem", nobody)
    q = f"&tls-certificates={pki}&tls-hostname=localhost"
    with Export(raw, "--format", "raw", "--socket", d / "s", "--tls-certificates", pki,
                "--tls-verify-peer") as e:
        expect(e.uri.startswith("nbds+unix:"), e.uri)
        disk("compare", e.uri + q, raw, "--format", "raw", "--format2", "raw", "--share")
        disk("info", e.uri.replace("nbds", "nbd"), ok=1, says="TLS")
        disk("info", f"{e.uri}&tls-certificates={nobody}&tls-hostname=localhost", ok=1)
        disk("info", f"{e.uri}&tls-certificates={pki}&tls-hostname=elsewhere", ok=1,
             says="not accepted")
        if shutil.which("nbdcopy"):
            run("nbdcopy", e.uri + q, d / "o.raw")
            disk("compare", raw, d / "o.raw", "--share")
        if shutil.which("qemu-img"):
            run("qemu-img", "compare", "--object",
                f"tls-creds-x509,id=t,endpoint=client,dir={pki}", "--image-opts", "-U",
                f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={d / 's'},"
                "file.tls-creds=t,file.tls-hostname=localhost", f"driver=raw,file.filename={raw}")
    if shutil.which("nbdkit"):
        sock = d / "k"
        with Peer(sock, "nbdkit", "-f", "-U", sock, "--tls=require", f"--tls-certificates={pki}",
                  "--tls-verify-peer", "file", raw):
            disk("compare", f"nbds+unix:///?socket={sock}{q}", raw, "--format", "raw", "--share")


def test_tls_psk(d):
    need("psktool")
    raw = sample(d / "a.raw", seed=9)
    run("psktool", "-u", "alice", "-p", d / "keys")
    (d / "wrong").write_text("alice:" + "00" * 32 + "\n")
    with Export(raw, "--format", "raw", "--listen", "127.0.0.1:0", "--tls-psk-file",
                d / "keys") as e:
        disk("compare", f"{e.uri}?tls-psk-file={d / 'keys'}", raw, "--format", "raw", "--share")
        disk("info", f"{e.uri}?tls-psk-file={d / 'wrong'}", ok=1, says="TLS")
        disk("info", f"{e.uri}?tls-psk-file={d / 'keys'}&tls-username=bob", ok=1, says="bob")
        if shutil.which("nbdcopy"):
            run("nbdcopy", f"{e.uri.replace('nbds://', 'nbds://alice@')}?tls-psk-file={d / 'keys'}",
                d / "o.raw")
            disk("compare", raw, d / "o.raw", "--share")


def opt(number, data=b""):
    return b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data


def read_exact(s, n):
    b = b""
    while len(b) < n:
        part = s.recv(n - len(b))
        if not part:
            raise EOFError
        b += part
    return b


def hello(path, structured=True):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(str(path))
    read_exact(s, 18)
    s.sendall(struct.pack(">I", 3))
    if structured:
        s.sendall(opt(8))
        read_exact(s, 20)
    s.sendall(opt(7, struct.pack(">IH", 0, 0)))
    while True:
        _, _, kind, n = struct.unpack(">QIII", read_exact(s, 20))
        read_exact(s, n)
        if kind == 1:
            return s
        expect(not kind & 1 << 31, "refused")


def request(cmd, off, length, cookie=1, flags=0, magic=0x25609513):
    return struct.pack(">IHHQQI", magic, flags, cmd, cookie, off, length)


def simple(s):
    magic, error, cookie = struct.unpack(">IIQ", read_exact(s, 16))
    expect(magic == 0x67446698, "no simple reply")
    return error, cookie


def test_hostile_client(d):
    raw = sample(d / "a.raw", seed=10)
    before = raw.read_bytes()
    rnd = random.Random(1)
    with Export(raw, "--format", "raw", "--socket", d / "s", "--clients", "200") as e:
        s = hello(d / "s", structured=False)
        for req, want in ((request(0, 8 << 20, 512), 22), (request(0, 2**64 - 512, 1024), 22),
                          (request(4, 1 << 40, 4096), 28), (request(6, (8 << 20) - 1, 2), 28),
                          (request(9, 0, 0), 22), (request(3, 1, 0), 22), (request(7, 0, 512), 22),
                          (request(0, 0, 0), 22), (request(0, 0, 64 << 20), 22),
                          (request(3, 0, 0, flags=0xffff), 22),
                          (request(1, 8 << 20, 512) + bytes(512), 28)):
            s.sendall(req)
            expect(simple(s)[0] == want, f"{req.hex()}: not error {want}")
        s.sendall(request(0, 0, 512, 7))
        expect(simple(s) == (0, 7) and read_exact(s, 512) == before[:512], "no data after errors")
        s.sendall(request(0, 0, 512, magic=1))
        try:
            expect(s.recv(1) == b"", "goes on after a wrong magic")
        except ConnectionResetError:
            pass
        # Asks for much and takes nothing: nobody else waits.
        greedy = [hello(d / "s") for _ in range(8)]
        for g in greedy:
            g.settimeout(0.2)
            try:
                for i in range(200):
                    g.sendall(request(0, 0, 8 << 20, i))
            except OSError:
                pass
        slow = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for x in slow:  # say nothing at all
            x.connect(str(d / "s"))
        start = time.monotonic()
        disk("info", e.uri)
        expect(time.monotonic() - start < 30, "others wait for who does not read")
        with open(f"/proc/{e.p.pid}/status", encoding="ascii") as f:
            kib = [int(x.split()[1]) for x in f if x.startswith("VmRSS")][0]
        expect(kib < 1 << 20, f"{kib} KiB of memory")
        for x in greedy + slow:
            x.close()
        # Noise at every stage.
        for i in range(300):
            x = socket.socket(socket.AF_UNIX)
            x.connect(str(d / "s"))
            try:
                stage = i % 4
                if stage >= 1:
                    x.sendall(struct.pack(">I", 3))
                if stage == 2:
                    x.sendall(opt(rnd.choice((1, 3, 5, 6, 7, 8, 9, 10, 77)),
                                  rnd.randbytes(rnd.randrange(40))))
                if stage == 3:
                    x.sendall(opt(10, struct.pack(">II", rnd.randrange(2**32), rnd.randrange(9)) +
                                  rnd.randbytes(rnd.randrange(60))))
                x.sendall(rnd.randbytes(rnd.randrange(200)))
            except OSError:
                pass
            x.close()
        disk("info", e.uri)
        expect(e.p.poll() is None, "the server died")
    expect(raw.read_bytes() == before, "the disk was changed")


class Liar(threading.Thread):
    """A server that answers with nonsense."""

    def __init__(self, path, seed):
        super().__init__(daemon=True)
        self.rnd = random.Random(seed)
        self.s = socket.socket(socket.AF_UNIX)
        self.s.bind(str(path))
        self.s.listen(8)
        self.start()

    def run(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            self.serve(c)
        except (OSError, EOFError, struct.error):
            pass
        c.close()

    def noise(self):
        return self.rnd.randbytes(self.rnd.randrange(64))

    def serve(self, c):
        rnd = self.rnd
        kind = rnd.randrange(6)
        c.settimeout(2)
        if kind == 0:
            c.sendall(self.noise())
            return
        c.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        read_exact(c, 4)
        while True:
            _, number, n = struct.unpack(">QII", read_exact(c, 16))
            read_exact(c, n)
            if kind == 1:
                c.sendall(struct.pack(">QIII", 0x3e889045565a9, number, rnd.choice((1, 3, 4, 99)),
                                      rnd.choice((0, 5, 70000, 2**32 - 1))) + self.noise())
                return
            if number == 7:
                info = struct.pack(">HQH", 0, rnd.choice((1 << 20, 2**63, 2**64 - 1))
                                   if kind == 2 else 1 << 20, 1)
                c.sendall(struct.pack(">QIII", 0x3e889045565a9, 7, 3, len(info)) + info)
                if kind == 3:
                    info = struct.pack(">HIII", 3, rnd.choice((0, 3, 2**31)), 4096, 512)
                    c.sendall(struct.pack(">QIII", 0x3e889045565a9, 7, 3, len(info)) + info)
            c.sendall(struct.pack(">QIII", 0x3e889045565a9, number, 1, 0))
            if number == 7:
                break
        while True:
            _, _, _, cookie, off, n = struct.unpack(">IHHQQI", read_exact(c, 28))
            bad = rnd.randrange(5)
            if bad == 0:
                c.sendall(self.noise())
                return
            if bad == 1:  # data for nobody, or beyond what was asked
                c.sendall(struct.pack(">IHHQIQ", 0x668e33ef, 1, 1, cookie + rnd.randrange(2),
                                      8 + 65536, off + rnd.choice((0, n, 2**40))) + bytes(65536))
            elif bad == 2:
                c.sendall(struct.pack(">IHHQIQI", 0x668e33ef, 1, 2, cookie, 12,
                                      off, rnd.choice((0, n + 1, 2**32 - 1))))
            elif bad == 3:
                c.sendall(struct.pack(">IHHQI", 0x668e33ef, 1, 0x8001, cookie, 2**31))
            else:
                c.sendall(struct.pack(">IIQ", 0x67446698, 0, cookie))


def test_hostile_server(d):
    for seed in range(40):
        path = d / f"l{seed}"
        liar = Liar(path, seed)
        start = time.monotonic()
        r = subprocess.run([BOTHY, "disk", "compare", f"nbd+unix:///?socket={path}",
                            f"nbd+unix:///?socket={path}", "--format", "raw", "--format2", "raw"],
                           capture_output=True, text=True, timeout=120, check=False)
        expect(r.returncode in (0, 1, 2), f"seed {seed}: {r.returncode} {r.stderr}")
        expect(time.monotonic() - start < 60, "hangs")
        liar.s.close()


def main():
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="bothy-nbd."))
    only = sys.argv[2:]
    try:
        for name, fn in sorted(globals().items()):
            if not name.startswith("test_") or (only and name not in only):
                continue
            d = tmp / f"t{len(PASSED) + len(FAILED) + len(SKIPPED)}"
            d.mkdir()
            start = time.monotonic()
            try:
                fn(d)
                if time.monotonic() - start > 10:
                    print(f"({name}: {time.monotonic() - start:.0f} s)")
                PASSED.append(name)
            except Skip as e:
                SKIPPED.append(name)
                print(f"SKIP {name}: {e}")
            except (Bad, OSError, EOFError, subprocess.TimeoutExpired) as e:
                FAILED.append(name)
                print(f"FAIL {name}: {e}")
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"{len(PASSED)} passed, {len(FAILED)} failed" +
          (f", {len(SKIPPED)} skipped" if SKIPPED else ""))
    return 1 if FAILED else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BOTHY = sys.argv[1]
    sys.exit(main())
