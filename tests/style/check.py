#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the house as tests: who may include whom, licence lines, headers
that compile alone, no process's end inside src/, no mutable globals."""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)

# Folder of src/ -> folders whose headers it may include (ARCHITECTURE.md, "Who may
# include whom"). The middle ones never include one another.
GROUND = {"base", "mem", "state", "bus"}
INTERFACES = {"src/block/block.h", "src/block/blk.h", "src/block/pool.h", "src/net/net.h", "src/display/surface.h"}
MAY = {
    "base": {"base"},
    "mem": GROUND, "state": GROUND, "bus": GROUND,
    "cpu": GROUND | {"cpu"}, "block": GROUND | {"block"}, "net": GROUND | {"net"},
    "display": GROUND | {"display"},
    "dev": GROUND | {"dev"},
    "machine": GROUND | {"cpu", "dev", "machine"},
    "vm": GROUND | {"cpu", "block", "net", "display", "dev", "machine", "vm"},
    "ctl": GROUND | {"cpu", "block", "net", "display", "dev", "machine", "vm", "ctl"},
    "manage": {"base", "manage"},
}
# What speaks to VMs through their control channel alone.
OUTSIDE = {"base", "manage"}
# An image is a file that needs no VM: the disk commands work on it themselves.
DISK_COMMANDS = ("cmd/bothy/disk", "cmd/disk/", "cmd/compat/qemu-img/")
CLIENT_HEADERS = {"src/ctl/client.h", "src/ctl/lines.h"}
GENERATED = {"src/base/version.h", "api/cli.h", "api/disk.h", "api/control.def"}
LICENCE = "SPDX-License-Identifier: GPL-2.0-or-later"
ENDS = re.compile(r"\b(exit|_exit|_Exit|abort|quick_exit)\s*\(")
GLOBAL_OK = set()


def tracked():
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                         cwd=ROOT, capture_output=True, text=True, check=False)
    if out.returncode == 0:
        names = out.stdout.split("\n")
    else:                          # not a work tree: everything there is
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
        names = [n for n in names if not n.startswith(("build", ".git/"))]
    return sorted(n for n in names if n and (ROOT / n).is_file())


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


# Programs that run inside a guest are built apart, with folders of their own.
GUEST_CODE = ("tests/asm/", "bench/programs/")


def c_files(names):
    return [n for n in names if n.endswith((".c", ".h")) and not n.startswith(GUEST_CODE) and
            n.split("/")[0] in ("src", "cmd", "tests", "fuzz", "bench")]


def rule_licence(names):
    """the licence line comes first"""
    for n in names:
        if not n.endswith((".c", ".h", ".S", ".def", ".py", ".sh", ".ld", ".in")):
            continue
        head = text_of(n).split("\n", 2)[:2]
        if not any(LICENCE in line for line in head):
            yield f"{n}: no '{LICENCE}' in the first two lines"


def folder_of(header):
    parts = header.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


def rule_includes(names):
    """includes are root-relative, exist, and go only downwards"""
    for n in c_files(names):
        here = n.split("/")
        for header in INCLUDE.findall(text_of(n)):
            if header not in GENERATED and not (ROOT / header).is_file():
                if (ROOT / n).parent.joinpath(header).is_file():
                    yield f"{n}: '{header}' is not written from the root"
                elif not header.endswith((".inc", ".def")) and "gen" not in header:
                    yield f"{n}: '{header}' does not exist"
                continue
            where = folder_of(header)
            if header.endswith("_priv.h") and \
                    pathlib.PurePath(header).parent != pathlib.PurePath(n).parent:
                if here[0] != "tests":
                    yield f"{n}: '{header}' is private to its folder"
            if here[0] == "src" and where and header not in GENERATED:
                ok = where in MAY[here[1]] or \
                    (here[1] in ("dev", "machine") and header in INTERFACES) or \
                    (here[1] == "manage" and header in CLIENT_HEADERS)
                if not ok:
                    yield f"{n}: src/{here[1]} may not include '{header}'"
            if n.startswith("cmd/") and not n.startswith("cmd/bothy-vm/") and where:
                if n.startswith(DISK_COMMANDS) and where == "block":
                    continue
                if where not in OUTSIDE and header not in CLIENT_HEADERS | GENERATED:
                    yield f"{n}: a program that only speaks to VMs may not include '{header}'"
            if here[0] == "src" and header.startswith("cmd/"):
                yield f"{n}: src/ may not include '{header}'"


def rule_no_ends(names):
    """only cmd/ ends a process"""
    for n in c_files(names):
        if not n.startswith("src/") or "/gen_" in n:
            continue
        for i, line in enumerate(without_comments(text_of(n)).split("\n"), 1):
            if ENDS.search(line):
                yield f"{n}:{i}: ends the process"


def rule_headers_alone(names):
    """every header compiles alone"""
    headers = [n for n in c_files(names) if n.endswith(".h")]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wno-unused-function", "-I", str(ROOT),
             "-I", str(BUILD), "-fsyntax-only", "-x", "c"]

    def one(n):
        r = subprocess.run(["gcc", *flags, str(ROOT / n)], capture_output=True, text=True,
                           check=False)
        noise = [line for line in r.stderr.split("\n") if "error" in line]
        return f"{n}: {noise[0] if noise else r.stderr[:200]}" if r.returncode else None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for why in pool.map(one, headers):
            if why:
                yield why


def rule_guards(names):
    """every header has a guard named after it"""
    for n in c_files(names):
        if not n.endswith(".h"):
            continue
        if not re.search(r"^#ifndef (BOTHY_\w+_H)\n#define \1$", text_of(n), re.M):
            yield f"{n}: no include guard BOTHY_..._H"


def rule_no_globals(names):
    """no mutable globals in src/"""
    lib = BUILD / "libbothy-core.a"
    if not lib.is_file():
        yield f"{lib} is missing; build first"
        return
    # An instrumented build keeps data of its own.
    out = subprocess.run(["objdump", "-t", str(lib)], capture_output=True, text=True, check=True)
    member = ""
    for line in out.stdout.split("\n"):
        m = re.match(r"(\S+):\s+file format", line)
        if m:
            member = m[1]
        m = re.match(r"[0-9a-f]+ (.{7}) (\.data|\.bss|\.data\.[^r]\S*|\.bss\.\S+|\*COM\*)\s+"
                     r"([0-9a-f]+)\s+(\S+)$", line)
        if m and "O" in m[1] and int(m[3], 16) and m[4] not in GLOBAL_OK:
            yield f"{member}: {m[4]} is mutable ({m[2]})"


def rule_api(names):
    """each file of api/ is in its build list and well formed"""
    listed = text_of("api/meson.build")
    for n in names:
        if not re.fullmatch(r"api/\w+/[\w-]+\.json", n):
            continue
        if f"'{n[4:]}'" not in listed:
            yield f"{n}: not listed in api/meson.build"
        try:
            json.loads(text_of(n))
        except ValueError as e:
            yield f"{n}: {e}"


def rule_text(names):
    """plain text: no trailing blanks, one newline at the end"""
    for n in names:
        if not n.endswith((".c", ".h", ".S", ".py", ".sh", ".md", ".json", ".def", "meson.build")):
            continue
        text = text_of(n)
        if text and not text.endswith("\n"):
            yield f"{n}: no newline at the end"
        for i, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                yield f"{n}:{i}: blanks at the line's end"
                break


def main():
    names = tracked()
    rules = [r for k, r in sorted(globals().items()) if k.startswith("rule_")]
    failed = 0
    for rule in rules:
        found = list(rule(names))
        print(f"{'FAIL' if found else 'ok  '} {rule.__doc__}")
        for why in found[:40]:
            print(f"     {why}")
        failed += bool(found)
    print(f"{len(rules) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
