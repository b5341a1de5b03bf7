#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong use and failures: one clear line, the right exit code, nothing left."""
import os
import socket
import subprocess
import sys

from common import BOTHY, TIMEOUT, check, run_all


def refuse(args, code, *words, lines=1):
    """bothy ends with @code and says one line with every word in it."""
    p = subprocess.run([BOTHY, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=TIMEOUT, check=False)
    said = p.stderr.decode()
    check(p.returncode == code, f"{args}: exit code {p.returncode}, said {said!r}")
    check(said.count("\n") == lines, f"{args}: not one line: {said!r}")
    for word in words:
        check(word in said, f"{args}: no {word!r} in {said!r}")
    check(not p.stdout, f"{args}: unexpected output {p.stdout!r}")
    return said


def nothing_left(folder, *expected):
    left = sorted(p.name for p in folder.iterdir())
    check(left == sorted(expected), "left behind:", left)


def test_options(folder, echo):
    refuse(["run"], 2, "--kernel", "missing")
    refuse(["run", "--kernel", echo, "--memroy", "1G"], 2, "--memroy", "did you mean '--memory'")
    refuse(["run", "--kernel", echo, "--frob"], 2, "unknown option '--frob'")
    refuse(["run", "--kernel", echo, "--engine", "warp"], 2, "unknown engine 'warp'", "interp")
    refuse(["run", "--kernel", echo, "--cpu", "486"], 2, "486", "x86-64-v2")
    refuse(["run", "--kernel", echo, "--cpus", "0"], 2, "--cpus", "1 to 255")
    refuse(["run", "--kernel", echo, "--cpus", "1000"], 2, "--cpus", "1 to 255")
    refuse(["run", "--kernel", echo, "--memory", "0"], 2, "--memory", "2 MiB")
    refuse(["run", "--kernel", echo, "--memory", "1M"], 2, "--memory", "2 MiB")
    refuse(["run", "--kernel", echo, "--memory", "12Q"], 2, "unknown unit 'Q'")
    refuse(["run", "--kernel", echo, "--serial", "tty"], 2, "--serial", "stdio")
    refuse(["run", "--kernel", echo, "extra"], 2, "extra")
    refuse(["rnu"], 2, "did you mean 'run'")
    refuse(["help", "rnu"], 2, "did you mean 'run'")
    nothing_left(folder)


def test_more_memory_than_the_host_has(folder, echo):
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    refuse(["run", "--kernel", echo, "--memory", f"{total // 2**30 + 2}G"], 1,
           "more than this host has", "MiB")
    nothing_left(folder)


def test_kernel_files(folder, echo):
    refuse(["run", "--kernel", "none"], 1, "'none'", "no such file")
    refuse(["run", "--kernel", folder], 1, "a directory")
    (folder / "empty").touch()
    refuse(["run", "--kernel", "empty"], 1, "'empty' is empty")
    (folder / "text").write_text("hello\n")
    refuse(["run", "--kernel", "text"], 1, "'text' is not a kernel", "text file")
    (folder / "gz").write_bytes(b"\x1f\x8b\x08\0\0\0")
    refuse(["run", "--kernel", "gz"], 1, "gzip")
    whole = echo.read_bytes()
    (folder / "cut").write_bytes(whole[:120])
    refuse(["run", "--kernel", "cut"], 1, "'cut'")
    nothing_left(folder, "cut", "empty", "gz", "text")


def test_initrd_files(folder, echo):
    refuse(["run", "--kernel", echo, "--initrd", "none"], 1, "initrd 'none'", "no such file")
    (folder / "empty").touch()
    refuse(["run", "--kernel", echo, "--initrd", "empty"], 1, "empty")
    with open("big", "wb") as f:
        f.truncate(40 << 20)
    said = refuse(["run", "--kernel", echo, "--memory", "16M", "--initrd", "big"], 1,
                  "not fit into 16 MiB", "would do")
    enough = said.split("--memory ")[1].split()[0]
    p = subprocess.run([BOTHY, "run", "--kernel", echo, "--memory", enough, "--initrd", "big"],
                       input=b"1", capture_output=True, timeout=TIMEOUT, check=False)
    check(p.returncode == 0 and p.stdout == b"ready\r\n", f"{enough} would not do:", p)
    refuse(["run", "--kernel", echo, "--memory", "16M", "--initrd", "big,,big"], 1, "empty name")
    nothing_left(folder, "big", "empty")


def test_serial_paths(folder, echo):
    (folder / "there").write_text("keep me")
    refuse(["run", "--kernel", echo, "--serial", "file:there"], 1, "'there' exists already")
    check((folder / "there").read_text() == "keep me", "the file was touched")
    s = socket.socket(socket.AF_UNIX)
    s.bind("sock")
    refuse(["run", "--kernel", echo, "--serial", "unix:sock"], 1, "'sock' exists already")
    s.close()
    refuse(["run", "--kernel", echo, "--serial", "file:no/such/folder"], 1, "no/such/folder")
    refuse(["run", "--kernel", echo, "--serial", "unix:" + "x" * 200], 1, "at most")
    refuse(["run", "--kernel", echo, "--serial", "file:"], 2, "--serial")
    # A machine that cannot start leaves no file of its own.
    refuse(["run", "--kernel", "none", "--serial", "file:out"], 1, "no such file")
    refuse(["run", "--kernel", "none", "--serial", "unix:out"], 1, "no such file")
    nothing_left(folder, "there", "sock")


def test_help_and_version(folder, echo):
    for args, word in ((["--version"], "bothy 0."), (["--help"], "run"), (["help"], "run"),
                       (["help", "run"], "--kernel FILE"), (["run", "--help"], "Ctrl-A X")):
        p = subprocess.run([BOTHY, *args], capture_output=True, text=True, timeout=TIMEOUT,
                           check=False)
        check(p.returncode == 0 and word in p.stdout and not p.stderr, args, p)
    p = subprocess.run([BOTHY], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    check(p.returncode == 2 and "usage" in p.stderr, p)


if __name__ == "__main__":
    sys.exit(run_all(globals()))
