#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ways against qemu-img: what we write it reads, checks clean and compares
equal, and the other way round. Formats x options x operations, random data.

usage: interop.py OURS FMT_MODEL [--long]      (OURS: our qemu-img front)
"""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

THEIRS = shutil.which("qemu-img", path="/usr/bin:/usr/local/bin:/bin")
SIZE = 12 << 20
FAILED = []


class Bad(Exception):
    pass


def call(tool, *args, ok=(0,), cwd=None):
    r = subprocess.run([tool, *map(str, args)], capture_output=True, text=True, cwd=cwd,
                       timeout=120, check=False)
    if r.returncode not in ok:
        raise Bad(f"{os.path.basename(os.path.dirname(tool))}/{os.path.basename(tool)} "
                  f"{' '.join(map(str, args))}: {r.returncode}\n{r.stdout[-600:]}{r.stderr[-600:]}")
    return r


def disk(seed, size=SIZE):
    """Data, zeroes and text in stretches, so that every kind of cluster appears."""
    rnd = random.Random(seed)
    out = bytearray(size)
    at = 0
    while at < size:
        n = min(rnd.choice((512, 4096, 65536, 300000, 1 << 20)), size - at)
        kind = rnd.randrange(4)
        if kind == 1:
            out[at:at + n] = rnd.randbytes(n)
        elif kind == 2:
            out[at:at + n] = (b"the quick brown fox %d " % at * (n // 20 + 1))[:n]
        at += n
    return bytes(out)


# format, create options; None of ours or theirs may lack one.
QCOW2 = ["", "cluster_size=512", "cluster_size=4096", "cluster_size=2M", "compat=v2",
         "refcount_bits=1", "refcount_bits=64", "lazy_refcounts=on", "extended_l2=on",
         "extended_l2=on,cluster_size=16k", "compression_type=zstd", "preallocation=metadata",
         "preallocation=falloc", "preallocation=full"]
FORMATS = [("raw", "")] + [("qcow2", o) for o in QCOW2]
OTHERS = [("vdi", ""), ("vdi", "static=on"), ("vmdk", ""),
          ("vmdk", "subformat=monolithicFlat"), ("vmdk", "subformat=twoGbMaxExtentSparse"),
          ("vmdk", "subformat=twoGbMaxExtentFlat"), ("vmdk", "subformat=streamOptimized"),
          ("vpc", ""), ("vpc", "subformat=fixed"), ("vhdx", ""), ("vhdx", "subformat=fixed")]


def opts(o):
    return ["-o", o] if o else []


def check(tool, path, fmt):
    r = call(tool, "check", "-f", fmt, path, ok=(0, 63))
    return r.returncode


def same(d, tool, a, fa, b, fb):
    r = call(tool, "compare", "-f", fa, "-F", fb, a, b, ok=(0, 1))
    if r.returncode:
        raise Bad(f"{a} and {b} differ: {r.stdout}")


def there_and_back(d, maker, reader, fmt, o, packed=False):
    """One tool makes an image of raw data, both read it."""
    raw, img, back = d / "src.raw", d / f"img.{fmt}", d / "back.raw"
    call(maker, "convert", "-f", "raw", "-O", fmt, *(["-c"] if packed else []), *opts(o), raw, img)
    for tool in (THEIRS, OURS):
        check(tool, img, fmt)
    same(d, reader, img, fmt, raw, "raw")
    call(reader, "convert", "-f", fmt, "-O", "raw", img, back)
    want, got = raw.read_bytes(), back.read_bytes()
    if got[:len(want)] != want or got[len(want):].strip(b"\0"):
        raise Bad(f"{fmt} {o}: contents changed on the way back")


def snapshots(d, one, two, fmt, o):
    """Snapshots taken by one tool, applied and deleted by the other."""
    img = d / "snap.qcow2"
    call(THEIRS, "convert", "-f", "raw", "-O", "qcow2", *opts(o), d / "src.raw", img)
    call(one, "snapshot", "-c", "first", img)
    subprocess.run([MODEL_WRITE, "-f", "qcow2", "-c", "write -P 7 100000 3000000", str(img)],
                   check=True, capture_output=True)
    call(two, "snapshot", "-c", "second", img)
    for tool in (THEIRS, OURS):
        check(tool, img, "qcow2")
    shutil.copy(img, d / "copy.qcow2")
    call(two, "snapshot", "-a", "first", img)
    same(d, one, img, "qcow2", d / "src.raw", "raw")
    for tool in (THEIRS, OURS):
        check(tool, img, "qcow2")
    call(one, "snapshot", "-a", "second", img)
    same(d, two, img, "qcow2", d / "copy.qcow2", "qcow2")
    call(two, "snapshot", "-d", "first", img)
    call(one, "snapshot", "-d", "second", img)
    for tool in (THEIRS, OURS):
        check(tool, img, "qcow2")
    same(d, two, img, "qcow2", d / "copy.qcow2", "qcow2")
    call(OURS, "convert", "-l", "snapshot.name=first", "-O", "raw", d / "copy.qcow2", d / "old.raw")
    if (d / "old.raw").read_bytes() != (d / "src.raw").read_bytes():
        raise Bad("convert -l gives another disk than the snapshot's")


def long_table(d, bits):
    """A first table of more clusters in a row than one block of counts has."""
    img, old = d / "long.qcow2", d / "old.qcow2"
    io = lambda *c: subprocess.run([MODEL_WRITE, "-f", "qcow2", *sum((["-c", x] for x in c), []), img],
                                   check=True, capture_output=True)
    call(OURS, "create", "-f", "qcow2", "-o", f"cluster_size=512,refcount_bits={bits}", img, "3G")
    io("write -P 1 100000 70000", "write -P 2 3000000000 70000")
    call(OURS, "snapshot", "-c", "first", img)
    shutil.copy(img, old)
    io("write -P 3 120000 9000", "write -P 4 3000010000 9000", "write -P 5 1500000000 9000")
    for tool in (THEIRS, OURS):
        check(tool, img, "qcow2")
    call(OURS, "resize", img, "5G")
    call(OURS, "resize", "--shrink", img, "3G")
    call(THEIRS, "snapshot", "-a", "first", img)
    same(d, THEIRS, img, "qcow2", old, "qcow2")
    call(OURS, "snapshot", "-d", "first", img)
    for tool in (THEIRS, OURS):
        check(tool, img, "qcow2")
    same(d, OURS, img, "qcow2", old, "qcow2")


def chain(d, one, two, fmt, o):
    """Overlays made, rebased and committed by either."""
    base, mid, top = d / "base.raw", d / f"mid.{fmt}", d / f"top.{fmt}"
    bf = "raw" if fmt == "qcow2" else fmt
    (d / "base.raw").write_bytes((d / "src.raw").read_bytes())
    (d / "base2.raw").write_bytes(disk(99))
    if bf != "raw":
        call(one, "convert", "-O", bf, d / "src.raw", d / f"base.{bf}")
    call(one, "create", "-f", fmt, "-b", f"base.{bf}", "-F", bf, *opts(o), "mid." + fmt, cwd=d)
    io = lambda f, *c: subprocess.run([MODEL_WRITE, "-f", fmt, *sum((["-c", x] for x in c), []), f],
                                      cwd=d, check=True, capture_output=True)
    io("mid." + fmt, "write -P 1 70000 900000", "write -z 3000000 600000")
    call(two, "create", "-f", fmt, "-b", "mid." + fmt, "-F", fmt, *opts(o), "top." + fmt, cwd=d)
    io("top." + fmt, "write -P 2 500 5000", "write -P 3 4M 1M")
    call(THEIRS, "convert", "-f", fmt, "-O", "raw", "top." + fmt, "want.raw", cwd=d)
    same(d, OURS, top, fmt, d / "want.raw", "raw")
    if fmt != "qcow2":
        return
    shutil.copy(top, d / "top2.qcow2")
    call(one, "rebase", "-f", fmt, "-b", "base2.raw", "-F", "raw", "top2.qcow2", cwd=d)
    same(d, two, d / "top2.qcow2", fmt, d / "want.raw", "raw")
    check(THEIRS, d / "top2.qcow2", fmt)
    call(two, "rebase", "-f", fmt, "-b", "", "top2.qcow2", cwd=d)
    same(d, one, d / "top2.qcow2", fmt, d / "want.raw", "raw")
    check(OURS, d / "top2.qcow2", fmt)
    call(one, "commit", "-f", fmt, "top." + fmt, cwd=d)
    same(d, two, mid, fmt, d / "want.raw", "raw")
    same(d, two, top, fmt, d / "want.raw", "raw")
    check(THEIRS, top, fmt)
    check(THEIRS, mid, fmt)
    call(two, "commit", "-f", fmt, "mid." + fmt, cwd=d)
    same(d, one, base, "raw", d / "want.raw", "raw")


def resize(d, one, two, fmt, o):
    img = d / f"size.{fmt}"
    call(one, "convert", "-f", "raw", "-O", fmt, *opts(o), d / "src.raw", img)
    call(two, "resize", "-f", fmt, img, "20M")
    want = (d / "src.raw").read_bytes()
    (d / "want.raw").write_bytes(want + bytes((20 << 20) - len(want)))
    same(d, one, img, fmt, d / "want.raw", "raw")
    if fmt in ("raw", "qcow2"):
        call(one, "resize", "-f", fmt, "--shrink", img, "5M")
        call(two, "resize", "-f", fmt, img, "+3M")
        (d / "want.raw").write_bytes(want[:5 << 20] + bytes(3 << 20))
        same(d, two, img, fmt, d / "want.raw", "raw")
    check(THEIRS, img, fmt)
    check(OURS, img, fmt)


def described(d, fmt, o):
    """info --output=json: both say the same of the same image."""
    img = d / f"info.{fmt}"
    call(THEIRS, "create", "-f", fmt, *opts(o), img, "8M")
    theirs = json.loads(call(THEIRS, "info", "-f", fmt, "--output=json", img).stdout)
    ours = json.loads(call(OURS, "info", "-f", fmt, "--output=json", img).stdout)
    for key in ("virtual-size", "format", "cluster-size", "actual-size", "backing-filename"):
        if key == "cluster-size" and fmt in ("vmdk", "vhdx", "vpc", "vdi"):
            continue
        if theirs.get(key) != ours.get(key):
            raise Bad(f"info {fmt}: {key} is {theirs.get(key)} there, {ours.get(key)} here")
    if fmt == "qcow2":
        t, u = theirs["format-specific"]["data"], ours["format-specific"]["data"]
        if t != u:
            raise Bad(f"info {fmt}: {t} there, {u} here")


def mapped(d, fmt, o):
    """map --output=json: the same bytes are data and zeroes."""
    img = d / f"map.{fmt}"
    call(THEIRS, "convert", "-f", "raw", "-O", fmt, *opts(o), d / "src.raw", img)

    def zero_ranges(tool):
        rows = json.loads(call(tool, "map", "-f", fmt, "--output=json", img).stdout)
        out, at = [], 0
        for r in rows:
            if r["start"] != at:
                raise Bad("map leaves out bytes")
            at += r["length"]
            if out and out[-1][0] == (r["zero"], r["data"]):
                out[-1][1] += r["length"]
            else:
                out.append([(r["zero"], r["data"]), r["length"]])
        return out
    a, b = zero_ranges(THEIRS), zero_ranges(OURS)
    if a != b:
        raise Bad(f"map {fmt} {o}:\n{a[:6]}\n{b[:6]}")


def repairs(d):
    """Leaks and wrong refcounts that we plant are found and mended, and theirs agrees."""
    img = d / "hurt.qcow2"
    for what in ("leak", "zero", "block", "table"):
        call(THEIRS, "convert", "-f", "raw", "-O", "qcow2", d / "src.raw", img)
        data = bytearray(img.read_bytes())
        rt = int.from_bytes(data[48:56], "big")
        rb = int.from_bytes(data[rt:rt + 8], "big")
        if what == "leak":
            data += bytes(65536 * 2)
            i = len(data) // 65536 - 1
            data[rb + 2 * i:rb + 2 * i + 2] = b"\0\1"
        elif what == "zero":
            data[rb + 20:rb + 40] = bytes(20)
        elif what == "block":
            data[rb:rb + 65536] = bytes(65536)
        else:
            data[rt:rt + 8] = (0x7fff0000).to_bytes(8, "big")
        img.write_bytes(data)
        r = call(OURS, "check", "-f", "qcow2", img, ok=(2, 3))
        if (r.returncode == 3) != (what == "leak"):
            raise Bad(f"damage '{what}': check says {r.returncode}")
        call(OURS, "check", "-f", "qcow2", "-r", "all", img)
        check(OURS, img, "qcow2")
        check(THEIRS, img, "qcow2")
        same(d, THEIRS, img, "qcow2", d / "src.raw", "raw")


def bitmaps(d):
    """Their bitmap is kept up to date by our writes."""
    img = d / "bm.qcow2"
    call(THEIRS, "create", "-f", "qcow2", img, "64M")
    call(THEIRS, "bitmap", "--add", "-g", "65536", img, "b0")
    call(OURS, "convert", "-n", "-f", "raw", "-O", "qcow2", d / "src.raw", img)
    check(THEIRS, img, "qcow2")
    check(OURS, img, "qcow2")
    info = json.loads(call(THEIRS, "info", "--output=json", img).stdout)
    bm = info["format-specific"]["data"]["bitmaps"][0]
    if bm["flags"] != ["auto"]:
        raise Bad(f"bitmap flags are {bm['flags']}")


def encrypted(d, fmt, alg, digest):
    """LUKS both ways, with a right and a wrong passphrase; and cryptsetup's opinion."""
    (d / "key").write_bytes(b"correct horse battery")
    (d / "wrong").write_bytes(b"battery staple")
    pre = "encrypt." if fmt == "qcow2" else ""
    kind = "encrypt.format=luks," if fmt == "qcow2" else ""
    obj = ["--object", f"secret,id=s,file={d}/key"]

    def image(p):
        return ["--image-opts", f"driver={fmt},{pre}key-secret=s,file.filename={p}"]

    def made(tool, ms):
        path = d / f"{'ours' if tool == OURS else 'theirs'}.{fmt}"
        o = (f"{kind}{pre}key-secret=s,{pre}iter-time={ms},{pre}cipher-alg={alg},"
             f"{pre}hash-alg={digest}")
        call(tool, "convert", *obj, "-f", "raw", "-O", fmt, "-o", o, d / "src.raw", path)
        return path
    ours = made(OURS, 10)
    call(THEIRS, "convert", *obj, *image(ours), "-O", "raw", d / "back.raw")
    if (d / "back.raw").read_bytes() != SOURCE:
        raise Bad("theirs reads another disk than ours wrote")
    if fmt == "qcow2":
        call(THEIRS, "check", *obj, *image(ours))
        check(OURS, ours, fmt)
    if b"the quick brown fox" in ours.read_bytes():
        raise Bad("plaintext in the image")
    call(OURS, "convert", *obj, "-f", fmt, "-O", "raw", ours, d / "mine.raw")
    if (d / "mine.raw").read_bytes() != SOURCE:
        raise Bad("ours reads another disk than it wrote")
    for bad in (["--object", f"secret,id=s,file={d}/wrong"], []):
        r = call(OURS, "convert", *bad, "-f", fmt, "-O", "raw", ours, d / "no.raw", ok=(1,))
        if "passphrase" not in r.stderr and "encrypted" not in r.stderr:
            raise Bad(f"a wrong passphrase gives: {r.stderr}")
        if (d / "no.raw").exists():
            raise Bad("a half-made target was left")
    patience = time.monotonic() + 60
    while True:
        try:
            theirs = made(THEIRS, 200)
            break
        except Bad as e:
            # Theirs times its key derivation and gives up where the host's clock of CPU
            # time is coarse or the host busy.
            if "accurate CPU usage" not in str(e) or time.monotonic() > patience:
                raise
    call(OURS, "convert", *obj, "-f", fmt, "-O", "raw", theirs, d / "mine.raw")
    if (d / "mine.raw").read_bytes() != SOURCE:
        raise Bad("ours reads another disk than theirs wrote")
    if fmt == "luks" and CRYPTSETUP:
        call(CRYPTSETUP, "open", "--test-passphrase", "--key-file", d / "key", ours)
        call(CRYPTSETUP, "open", "--test-passphrase", "--key-file", d / "wrong", ours, ok=(2,))
        (d / "cs.luks").write_bytes(bytes(8 << 20))
        call(CRYPTSETUP, "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", "-q",
             "--key-file", d / "key", "--cipher", "aes-xts-plain64", "-s", "512", "--hash", digest,
             d / "cs.luks")
        call(OURS, "convert", *obj, "-f", "luks", "-O", "raw", d / "cs.luks", d / "cs.raw")


def run(name, fn, *args):
    with tempfile.TemporaryDirectory(prefix="bothy-interop.") as tmp:
        d = pathlib.Path(tmp)
        (d / "src.raw").write_bytes(SOURCE)
        try:
            fn(d, *args)
            print(f"ok   {name}")
        except (Bad, subprocess.SubprocessError, KeyError, ValueError) as e:
            FAILED.append(name)
            print(f"FAIL {name}\n     {e}", flush=True)


def known(tool, fmt):
    return fmt in subprocess.run([tool, "--help"], capture_output=True, text=True,
                                 check=False).stdout.split("Supported formats:")[-1].split()


def main():
    formats = FORMATS + [f for f in OTHERS if known(OURS, f[0])]
    only = os.environ.get("ONLY")
    jobs = []
    for fmt, o in formats:
        for a, b, who in ((OURS, THEIRS, "ours"), (THEIRS, OURS, "theirs")):
            jobs.append((f"{who} writes {fmt} {o}", there_and_back, a, b, fmt, o))
    for o in ("", "compression_type=zstd", "cluster_size=4096", "extended_l2=on"):
        for a, b, who in ((OURS, THEIRS, "ours"), (THEIRS, OURS, "theirs")):
            jobs.append((f"{who} packs qcow2 {o}", there_and_back, a, b, "qcow2", o, True))
    if known(OURS, "vmdk"):
        for a, b, who in ((OURS, THEIRS, "ours"), (THEIRS, OURS, "theirs")):
            jobs.append((f"{who} packs vmdk", there_and_back, a, b, "vmdk",
                         "subformat=streamOptimized", True))
    for o in ("", "cluster_size=4096", "compat=v2", "extended_l2=on", "refcount_bits=8"):
        for a, b, who in ((OURS, THEIRS, "ours"), (THEIRS, OURS, "theirs")):
            jobs.append((f"snapshots qcow2 {o} {who} first", snapshots, a, b, "qcow2", o))
    for bits in ("16", "64", "2"):
        jobs.append((f"long table, counts of {bits} bits", long_table, bits))
    for o in ("", "extended_l2=on", "cluster_size=4096", "compat=v2"):
        for a, b, who in ((OURS, THEIRS, "ours"), (THEIRS, OURS, "theirs")):
            jobs.append((f"chain qcow2 {o} {who} first", chain, a, b, "qcow2", o))
    if known(OURS, "vmdk"):
        for a, b, who in ((OURS, THEIRS, "ours"), (THEIRS, OURS, "theirs")):
            jobs.append((f"chain vmdk {who} first", chain, a, b, "vmdk", ""))
    for fmt, o in (("raw", ""), ("qcow2", ""), ("qcow2", "cluster_size=512"), ("qcow2", "compat=v2"),
                   ("qcow2", "extended_l2=on")):
        for a, b, who in ((OURS, THEIRS, "ours"), (THEIRS, OURS, "theirs")):
            jobs.append((f"resize {fmt} {o} {who} first", resize, a, b, fmt, o))
    for fmt, o in formats:
        if fmt == "vmdk" and ("Flat" in o or "twoGb" in o):
            continue
        jobs.append((f"info {fmt} {o}", described, fmt, o))
    for o in ("", "cluster_size=4096", "extended_l2=on", "compat=v2"):
        jobs.append((f"map qcow2 {o}", mapped, "qcow2", o))
    if known(OURS, "luks"):
        for fmt in ("qcow2", "luks"):
            for alg, digest in (("aes-256", "sha256"), ("aes-128", "sha1"), ("aes-256", "sha512")):
                jobs.append((f"encrypted {fmt} {alg} {digest}", encrypted, fmt, alg, digest))
    jobs.append(("repairs qcow2", repairs))
    jobs.append(("bitmaps qcow2", bitmaps))
    done = 0
    for job in jobs:
        if only and only not in job[0]:
            continue
        run(job[0], job[1], *job[2:])
        done += 1
    print(f"{done - len(FAILED)} passed, {len(FAILED)} failed")
    return 1 if FAILED else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    OURS = os.path.abspath(sys.argv[1])
    MODEL_WRITE = shutil.which("qemu-io")
    CRYPTSETUP = shutil.which("cryptsetup", path="/usr/sbin:/sbin:/usr/bin")
    if not THEIRS or not MODEL_WRITE:
        print("qemu-img and qemu-io are not installed: skipped")
        sys.exit(77)
    SOURCE = disk(int(os.environ.get("SEED", "1")))
    sys.exit(main())
