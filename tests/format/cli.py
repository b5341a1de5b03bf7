#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""bothy disk from the outside: what it says, what it leaves behind, what it refuses.

usage: cli.py BOTHY
"""
import fcntl
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

FAILED = []


class Bad(Exception):
    pass


def run(*args, ok=0, says=None, env=None, timeout=60):
    r = subprocess.run([BOTHY, "disk", *map(str, args)], capture_output=True, text=True,
                       timeout=timeout, check=False, env=env, stdin=subprocess.DEVNULL)
    where = f"disk {' '.join(map(str, args))}"
    if r.returncode != ok:
        raise Bad(f"{where}: code {r.returncode}, expected {ok}\n{r.stdout}{r.stderr}")
    if says and says not in r.stdout + r.stderr:
        raise Bad(f"{where}: does not say '{says}'\n{r.stdout}{r.stderr}")
    if ok and len(r.stderr.strip().split("\n")) != 1 and "check" not in args:
        raise Bad(f"{where}: not one line of explanation\n{r.stderr}")
    return r.stdout


def expect(cond, what):
    if not cond:
        raise Bad(what)


def lock_write(path):
    """Holds the image as another program that writes it would."""
    fd = os.open(path, os.O_RDWR)
    for byte in (100, 101, 201):
        fcntl.fcntl(fd, 37, struct.pack("hhllhh", fcntl.F_RDLCK, 0, byte, 1, 0, 0))  # F_OFD_SETLK
    return fd


def test_create(d):
    img = d / "a.qcow2"
    run("create", img, "10G", says="10 GiB")
    expect(img.stat().st_blocks * 512 < 1 << 20, "a thin image takes room")
    before = img.read_bytes()
    run("create", img, "1G", ok=1, says="--force")
    expect(img.read_bytes() == before, "a refused create changed the file")
    run("create", img, "1G", "--force")
    info = json.loads(run("info", img, "--json"))
    expect(info["virtual-size"] == 1 << 30 and info["format"] == "qcow2", f"info says {info}")
    run("create", d / "t.raw", "8M", "--preallocation", "falloc")
    expect((d / "t.raw").stat().st_blocks * 512 >= 8 << 20, "falloc reserved nothing")
    expect(json.loads(run("info", d / "t.raw", "--json"))["format"] == "raw", "not raw")
    run("create", d / "o.qcow2", "--backing", "a.qcow2")
    info = json.loads(run("info", d / "o.qcow2", "--json"))
    expect(info["backing-filename"] == "a.qcow2" and info["virtual-size"] == 1 << 30,
           f"overlay: {info}")


def test_bad_sizes(d):
    for size, code, says in (("0", 2, "0 bytes"), ("--", 1, ""), ("-5", 2, ""), ("1000", 2, "1024"),
                             ("10Q", 2, "units"), ("9999999T", 1, "more than"), ("1e3x", 2, "size"),
                             ("", 2, "size"), ("0x100", 2, "size"), ("nan", 2, "size")):
        if size == "--":
            continue
        args = ["create", d / "x.qcow2"] + (["--", size] if size.startswith("-") else [size])
        run(*args, ok=code, says=says)
        expect(not (d / "x.qcow2").exists(), f"size '{size}' left a file")
    run("create", d / "x.qcow2", ok=2, says="size")
    run("create", d / "big.raw", "1000T", "--preallocation", "full", ok=1, says="no room")
    expect(not (d / "big.raw").exists(), "a file without room was left")


def test_bad_options(d):
    run("create", d / "x.qcow2", "1G", "--options", "cluster_size=3000", ok=2, says="cluster_size")
    run("create", d / "x.qcow2", "1G", "--options", "colour=red", ok=2, says="colour")
    run("create", d / "x.qcow2", "1G", "--options", "cluster_size", ok=2, says="needs a value")
    run("create", d / "x.qcow2", "1G", "--options", "compat=v2,extended_l2=on", ok=2, says="compat=v3")
    run("create", d / "x.foo", "1G", "--format", "foo", ok=2, says="foo")
    run("create", d / "no" / "x.qcow2", "1G", ok=1, says="No such file")
    run("create", d / "x.raw", "1G", "--backing", d / "none", ok=1, says="no backing")
    run("create", d / "x.qcow2", "--backing", d / "none", ok=1, says="none")
    run("creat", d / "x.qcow2", "1G", ok=2, says="did you mean 'disk create'")
    run("create", d / "x.qcow2", "1G", "more", ok=2, says="too many")
    run("create", ok=2, says="FILE")
    run("info", d / "none", ok=1, says="none")
    run("info", d, ok=1, says="directory")
    expect(not list(d.glob("x*")), "a refused create left a file")


def test_images_in_use(d):
    img = d / "a.qcow2"
    run("create", img, "64M")
    fd = lock_write(img)
    try:
        run("resize", img, "128M", ok=1, says=f"process {os.getpid()}")
        run("info", img, ok=1, says="being written")
        run("info", img, "--share", says="qcow2")
        run("create", img, "1G", "--force", ok=1, says="in use")
        run("snapshot", "create", img, "s", ok=1, says="in use")
    finally:
        os.close(fd)
    run("resize", img, "128M")
    if os.getuid():
        img.chmod(0o400)
        run("resize", img, "256M", ok=1, says="Permission denied")


def test_chains(d):
    run("create", d / "base.qcow2", "64M")
    run("create", d / "top.qcow2", "--backing", "base.qcow2")
    (d / "base.qcow2").rename(d / "moved.qcow2")
    run("info", d / "top.qcow2", says="base.qcow2")
    run("info", d / "top.qcow2", "--chain", ok=1, says="base.qcow2")
    run("convert", d / "top.qcow2", d / "x.raw", ok=1, says="base.qcow2")
    expect(not (d / "x.raw").exists(), "a failed convert left a target")
    run("rebase", d / "top.qcow2", "--backing", "moved.qcow2", "--backing-format", "qcow2",
        "--name-only")
    run("info", d / "top.qcow2", "--chain", says="moved.qcow2")
    run("rebase", d / "moved.qcow2", "--backing", "top.qcow2", "--backing-format", "qcow2",
        "--name-only")
    run("info", d / "top.qcow2", "--chain", ok=1, says="leads back")
    run("commit", d / "top.qcow2", ok=1, says="leads back")


def test_unknown_feature(d):
    img = d / "a.qcow2"
    run("create", img, "1M")
    data = bytearray(img.read_bytes())
    data[72:80] = (1 << 40).to_bytes(8, "big")
    at = data.find(b"dirty bit") - 2
    data[at + 1] = 40
    data[at + 2:at + 48] = b"quantum clusters".ljust(46, b"\0")
    img.write_bytes(data)
    run("info", img, ok=1, says="quantum clusters")


def test_shrink(d):
    img = d / "a.qcow2"
    run("create", img, "64M")
    run("resize", img, "32M", ok=1, says="--shrink")
    run("resize", img, "-16M", ok=1, says="--shrink")
    run("resize", img, "-16M", "--shrink", says="48 MiB")
    run("resize", img, "+1G", says="1.05 GiB")
    run("resize", img, "100", ok=2, says="multiple")
    run("resize", img, "-9T", "--shrink", ok=2, says="cannot shrink")


def test_convert(d):
    rnd = random.Random(1)
    (d / "s.raw").write_bytes(rnd.randbytes(3 << 20) + bytes(5 << 20) + rnd.randbytes(1 << 20))
    run("convert", d / "s.raw", d / "a.qcow2", "--compress")
    run("convert", d / "s.raw", d / "a.qcow2", ok=1, says="exists")
    run("convert", d / "a.qcow2", d / "b.raw")
    expect((d / "b.raw").read_bytes() == (d / "s.raw").read_bytes(), "convert changed the disk")
    expect((d / "b.raw").stat().st_blocks * 512 < 5 << 20, "zeroes take room")
    run("compare", d / "a.qcow2", d / "b.raw", says="same")
    with open(d / "b.raw", "r+b") as f:
        f.seek(2000000)
        f.write(b"x" if f.read(1) != b"x" else b"y")
    out = json.loads(run("compare", d / "a.qcow2", d / "b.raw", "--json", ok=1))
    expect(not out["identical"] and abs(out["offset"] - 2000000) <= 1, f"compare says {out}")
    run("convert", d / "s.raw", d / "s.raw", ok=2, says="same file")
    run("convert", d / "s.raw", d / "c.raw", "--compress", ok=1, says="not compressed")
    run("convert", d / "s.raw", d / "z.qcow2", "--options", "cluster_size=1", ok=2)
    expect(not (d / "c.raw").exists() and not (d / "z.qcow2").exists(), "a target was left")


def test_interrupted(d):
    (d / "s.raw").write_bytes(random.Random(2).randbytes(24 << 20))
    for more, kept in (([], False), (["--resume"], True)):
        p = subprocess.Popen([BOTHY, "disk", "convert", d / "s.raw", d / "t.qcow2", "--limit", "8M",
                              *more], stderr=subprocess.PIPE, text=True)
        while not (d / "t.qcow2").exists() and p.poll() is None:
            time.sleep(0.02)
        time.sleep(0.8)
        p.send_signal(signal.SIGINT)
        text = p.communicate(timeout=60)[1]
        expect(p.returncode == 1 and "stopped" in text, f"Ctrl-C: {p.returncode} {text}")
        expect((d / "t.qcow2").exists() == kept, f"target kept: {not kept}")
    expect((d / "t.qcow2.resume").exists(), "no journal")
    mark = int((d / "t.qcow2.resume").read_text().split()[-1])
    expect(0 < mark < 24 << 20, f"the journal says {mark}")
    run("convert", d / "s.raw", d / "t.qcow2", "--resume")
    expect(not (d / "t.qcow2.resume").exists(), "the journal was left")
    run("compare", d / "s.raw", d / "t.qcow2", says="same")
    run("check", d / "t.qcow2", says="No errors")


def test_full_host(d):
    """A file size limit stands in for a full disk: the target goes, the message says why."""
    (d / "s.raw").write_bytes(random.Random(3).randbytes(6 << 20))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    for target in ("t.qcow2", "t.raw", "t.vmdk"):
        r = subprocess.run([BOTHY, "disk", "convert", d / "s.raw", d / target], preexec_fn=limit,
                           capture_output=True, text=True, check=False, timeout=60)
        expect(r.returncode == 1 and "large" in r.stderr, f"{target}: {r.returncode} {r.stderr}")
        expect(not (d / target).exists(), f"{target} was left half-made")


def test_no_room(d):
    """What cannot fit is refused before anything is made; what might, is tried."""
    with open(d / "huge.raw", "wb") as f:
        f.truncate(4 << 40)
    for target in ("t.qcow2", "t.raw", "t.vdi"):
        run("convert", d / "huge.raw", d / target, "--sparse", "0", "--quiet", ok=1, says="no room")
        expect(not (d / target).exists(), f"{target} was made")
    small, inside = d / "small", ["unshare", "-rm", "sh", "-c",
                                  'mount -t tmpfs -o size=6m none "$0" && exec "$@"', d / "small"]
    small.mkdir()
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        return  # this host lets nobody mount

    def there(*args, ok, says):
        r = subprocess.run([*inside, "sh", "-c", '"$@"; rc=$?; ls "$0"; exit $rc', small, BOTHY,
                            "disk", "convert", "--quiet", *args], check=False, text=True,
                           capture_output=True, timeout=60)
        expect(r.returncode == ok and says in r.stderr, f"{args}: {r.returncode} {r.stderr}")
        return r.stdout

    rnd = random.Random(4)
    (d / "big.raw").write_bytes(rnd.randbytes(9 << 20))
    (d / "zero.raw").write_bytes(bytes(9 << 20) + rnd.randbytes(1 << 20))  # zeroes, but written
    (d / "soft.raw").write_bytes(b"bothy" * (2 << 20))
    for target in ("t.qcow2", "t.raw", "t.vmdk", "t.vhdx"):
        left = there(d / "big.raw", small / target, ok=1, says="no room for")
        expect(not left.strip(), f"{target}: there is {left}")
        there(d / "zero.raw", small / target, ok=0, says="")
    there(d / "soft.raw", small / "t.qcow2", "--compress", ok=0, says="")


def test_snapshots(d):
    img = d / "a.qcow2"
    run("create", img, "8M")
    run("snapshot", "create", img, "one")
    out = json.loads(run("snapshot", "list", img, "--json"))
    expect([s["name"] for s in out] == ["one"], f"list says {out}")
    run("snapshot", "apply", img, "two", ok=1, says="no snapshot 'two'")
    run("snapshot", "delete", img, "one")
    run("snapshot", "create", img, ok=2, says="needs a name")
    run("snapshot", "toggle", img, "x", ok=2, says="toggle")
    run("create", d / "a.raw", "1M")
    run("snapshot", "create", d / "a.raw", "x", "--format", "raw", ok=1, says="overlay")


def test_check(d):
    img = d / "a.qcow2"
    run("convert", *make_data(d), img)
    run("check", img, says="No errors")
    data = bytearray(img.read_bytes())
    rb = int.from_bytes(data[65536:65544], "big")
    data[rb + 8:rb + 16] = bytes(8)
    img.write_bytes(data)
    run("check", img, ok=2, says="errors")
    run("check", img, "--repair", "all", says="repaired")
    run("check", img, says="No errors")
    run("compare", d / "src.raw", img, says="same")
    (d / "x.raw").write_bytes(bytes(4096))
    run("check", d / "x.raw", ok=1, says="no tables")
    (d / "x.qcow2").write_bytes(b"QFI\xfb" + b"\xff" * 500)
    run("check", d / "x.qcow2", "--format", "qcow2", ok=1)


def make_data(d):
    (d / "src.raw").write_bytes(random.Random(4).randbytes(2 << 20))
    return [d / "src.raw"]


def test_probe(d):
    """A raw disk in which a guest wrote a header that names a host file: as the backing file
    of an image that does not say "raw" it must not lead anywhere."""
    secret = d / "secret"
    secret.write_bytes(b"top secret " * 6000)
    evil = d / "evil.raw"
    run("create", evil, "1M", "--format", "qcow2", "--backing", secret, "--backing-format", "raw")
    top = d / "top.qcow2"
    run("create", top, "1M")
    run("rebase", top, "--backing", "evil.raw", "--name-only")
    run("convert", top, d / "out.raw", ok=1, says="format")
    run("rebase", top, "--backing", "evil.raw", "--backing-format", "raw", "--name-only")
    run("convert", top, d / "out.raw")
    expect(b"top secret" not in (d / "out.raw").read_bytes(), "the host's file was read")


def usage(img, *names):
    args = ["usage", img, "--json"] + (["--delete", ",".join(names)] if names else [])
    return json.loads(run(*args))


def test_usage(d):
    """What usage says deleting frees is what deleting frees, to the cluster."""
    rnd = random.Random(7)
    for turn, opts in enumerate((["--options", "cluster_size=4096"], [],
                                 ["--options", "extended_l2=on,cluster_size=16384"])):
        img, raw = d / f"u{turn}.qcow2", d / "r.raw"
        run("create", img, "8M", *opts)
        names = []
        for n in range(5):
            data = bytearray(8 << 20)
            for _ in range(12):
                at = rnd.randrange(8 << 20) & ~4095
                data[at:at + 40960] = rnd.randbytes(40960)
            raw.write_bytes(data[:8 << 20])
            run("convert", raw, img, "--from", "raw", "--into")
            names.append(f"s{n}")
            run("snapshot", "create", img, names[-1])
        run("convert", raw, img, "--from", "raw", "--into", *(["--compress"] if turn == 1 else []))
        while names:
            gone = rnd.sample(names, min(len(names), rnd.randrange(1, 4)))
            before = usage(img, *gone)
            alone = {s["name"]: s["alone"] for s in before["snapshots"]}
            expect(sum(alone[x] for x in gone) <= before["freed"] <= before["used"], f"{before}")
            expect(before["maximum"] >= before["used"], f"{before}")
            for x in gone:
                run("snapshot", "delete", img, x)
                names.remove(x)
            after = usage(img)
            expect(before["used"] - after["used"] == before["freed"],
                   f"deleting {gone}: {before['freed']} were said, "
                   f"{before['used'] - after['used']} freed")
        run("usage", img, "--delete", "none", ok=1, says="does not have")
        run("check", img)


def main():
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_")]
    for name, fn in tests:
        if len(sys.argv) > 2 and sys.argv[2] not in name:
            continue
        tmp = pathlib.Path(tempfile.mkdtemp(prefix="bothy-disk."))
        try:
            fn(tmp)
            print(f"ok   {name}")
        except (Bad, subprocess.SubprocessError, ValueError, KeyError, OSError) as e:
            FAILED.append(name)
            print(f"FAIL {name}\n     {e}", flush=True)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
    print(f"{len(tests) - len(FAILED)} passed, {len(FAILED)} failed")
    return 1 if FAILED else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BOTHY = os.path.abspath(sys.argv[1])
    sys.exit(main())
