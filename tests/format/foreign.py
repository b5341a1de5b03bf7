#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that other programs made, as Debian's packages carry them: Hyper-V's and Virtual
PC's, disk2vhd's, VMware's, and broken ones that fuzzers found. What we read in them is what
qemu-img reads. They are fetched once, from the source package of qemu (qemu-img's own test
images) and from ganeti-testsuite. Last line: "N passed, N failed".

usage: foreign.py BOTHY
"""
import bz2
import glob
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "bothy" / "foreign"
SAMPLES = "tests/qemu-iotests/sample_images/"
OVF = "./usr/share/ganeti/testsuite/test/data/ovfdata/"
SOUND = ("iotest-dynamic-1G.vhdx", "test-disk2vhd.vhdx", "d2v-zerofilled.vhd", "hyperv2012r2-dynamic.vhd",
         "virtualpc-dynamic.vhd", "iotest-version3.vmdk", "compr_disk.vmdk", "new_disk.vmdk", "second_disk.vmdk")
BROKEN = ("afl9.vmdk", "afl5.img")
UNCLOSED = "iotest-dirtylog-10G-4M.vhdx"


def want(ok, what):
    if not ok:
        raise AssertionError(what)


def run(*cmd, ok=(0,), **kw):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, timeout=300, check=False, **kw)
    want(r.returncode in ok, f"{' '.join(map(str, cmd))}: {r.returncode}\n{r.stdout}{r.stderr}")
    return r


def source_package(name, work):
    """The package's original archive, by apt's ordinary means, its source lists apart from
    the system's."""
    lists = work / "lists"
    (lists / "partial").mkdir(parents=True)
    text = ""
    for f in glob.glob("/etc/apt/sources.list.d/*.sources"):
        for line in pathlib.Path(f).read_text(encoding="utf-8").splitlines(keepends=True):
            text += "Types: deb-src\n" if line.startswith("Types:") else line
        text += "\n"
    sources = work / "lists.sources"
    sources.write_text(text, encoding="utf-8")
    for f in ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list")]:
        if not os.path.exists(f):
            continue
        old = [line.replace("deb ", "deb-src ", 1) for line in pathlib.Path(f).read_text(encoding="utf-8").splitlines()
               if line.startswith("deb ")]
        if old and not text.strip():
            sources = work / "old.list"
            sources.write_text("\n".join(old) + "\n", encoding="utf-8")
    opts = ["-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=/nonexistent",
            "-o", f"Dir::State::lists={lists}"]
    run("apt-get", *opts, "update")
    run("apt-get", *opts, "source", "--download-only", "--tar-only", "-qq", name, cwd=work)
    return next(work.glob("*.orig.tar.*"))


def fetch():
    if (CACHE / "complete").exists():
        return
    with tempfile.TemporaryDirectory(prefix="bothy-foreign-") as folder:
        work = pathlib.Path(folder)
        got = work / "got"
        got.mkdir()
        with tarfile.open(source_package("qemu", work)) as t:
            for m in t:
                if m.isfile() and SAMPLES in m.name and m.name.endswith(".bz2"):
                    data = bz2.decompress(t.extractfile(m).read())
                    (got / os.path.basename(m.name)[:-4]).write_bytes(data)
        run("apt-get", "download", "-qq", "ganeti-testsuite", cwd=work)
        run("dpkg", "-x", next(work.glob("ganeti-testsuite*.deb")), work / "deb")
        for f in (work / "deb" / OVF).glob("*.vmdk*"):
            data = gzip.decompress(f.read_bytes()) if f.suffix == ".gz" else f.read_bytes()
            (got / (f.stem if f.suffix == ".gz" else f.name)).write_bytes(data)
        CACHE.mkdir(parents=True, exist_ok=True)
        for f in got.iterdir():
            shutil.move(str(f), CACHE / f.name)
        (CACHE / "complete").touch()


def same(bothy, path, theirs=None):
    """@theirs: the image for qemu-img, if it is another."""
    theirs = theirs or path
    run(bothy, "disk", "check", path)
    ours = json.loads(run(bothy, "disk", "info", "--json", path).stdout)
    qemu = json.loads(run("qemu-img", "info", "--output=json", theirs).stdout)
    want(ours["virtual-size"] == qemu["virtual-size"] and ours["format"] == qemu["format"], f"{ours} {qemu}")
    with tempfile.TemporaryDirectory(prefix="bothy-foreign-") as work:
        run(bothy, "disk", "convert", path, work + "/ours", "--to", "raw", "--quiet")
        run("qemu-img", "convert", "-O", "raw", theirs, work + "/qemu")
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", work + "/ours", work + "/qemu")


def broken(bothy, path):
    r = run(bothy, "disk", "info", path, ok=(1,))
    want("not a usable" in r.stderr, r.stderr)


def unclosed(bothy, path):
    """A log to be played back: by nobody who only looks."""
    before = path.read_bytes()
    r = run(bothy, "disk", "info", path, ok=(1,))
    want("check --repair" in r.stderr, r.stderr)
    want(path.read_bytes() == before, "looking changed it")
    with tempfile.TemporaryDirectory(prefix="bothy-foreign-") as work:
        ours, qemu = pathlib.Path(work, "ours.vhdx"), pathlib.Path(work, "qemu.vhdx")
        shutil.copy(path, ours)
        shutil.copy(path, qemu)
        run(bothy, "disk", "check", "--repair", "all", ours)
        run("qemu-img", "check", "-r", "all", qemu)
        same(bothy, ours, qemu)
        run("qemu-img", "check", ours)


def main():
    if len(sys.argv) != 2:
        print(__doc__.strip().rsplit("\n", 1)[-1], file=sys.stderr)
        return 2
    bothy = os.path.abspath(sys.argv[1])
    passed = failed = 0
    fetch()
    tests = [(same, f) for f in SOUND] + [(broken, f) for f in BROKEN] + [(unclosed, UNCLOSED)]
    for fn, name in tests:
        try:
            fn(bothy, CACHE / name)
            print("ok  ", name)
            passed += 1
        except (AssertionError, OSError, subprocess.TimeoutExpired) as e:
            print("FAIL", name, e)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
