#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM where it is not there, not allowed, too old or no good: what is said, and what is
taken in its place. /dev/kvm is made to look like that by kvm_fake.c; what needs a real
one is skipped where there is none."""
import grp
import os
import pathlib
import subprocess
import sys

from common import BOTHY, ROOT, Terminal, Vm, check, run_all

FAKE = pathlib.Path("/nonexistent")


def environment(how, cache=None):
    env = {**os.environ, "LD_PRELOAD": str(FAKE), "FAKE_KVM": how}
    if cache:
        env["XDG_CACHE_HOME"] = str(cache)
    return env


def build_fake(folder):
    global FAKE
    if not FAKE.exists():
        FAKE = pathlib.Path(folder).parent / "kvm_fake.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", FAKE, ROOT / "tests/cli/kvm_fake.c"],
                       check=True)


def bothy(how, *args, cache=None):
    p = subprocess.run([BOTHY, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=60, env=environment(how, cache), check=False)
    return p.returncode, p.stdout, p.stderr


def refused(how, echo, *words, more=(), cache=None):
    code, _, said = bothy(how, "run", "--kernel", echo, "--engine", "kvm", *more, cache=cache)
    check(code in (1, 2), "exit code", code, said)
    for w in words:
        check(w in said, f"no {w!r} in {said!r}")
    check(len(said.strip().splitlines()) == 1, "more than one line:", said)


def usable():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
        return True
    except OSError:
        print("     skipped: /dev/kvm cannot be opened here")
        return False


def test_absent(folder, echo):
    build_fake(folder)
    refused("absent", echo, "there is no /dev/kvm", "firmware's settings")
    refused("absent", echo, "there is no /dev/kvm", more=["--kvm-anyway"])
    code, out, _ = bothy("absent", "host")
    check(code == 0 and "absent" in out and "there is no /dev/kvm" in out, out)


def test_forbidden(folder, echo):
    build_fake(folder)
    refused("forbidden", echo, "you may not open /dev/kvm")
    # The group is named where the device has one that may use it.
    group = next(g for g in grp.getgrall() if g.gr_gid)
    how = f"group:{group.gr_gid}"
    refused(how, echo, f"member of the group '{group.gr_name}'", f"usermod -aG {group.gr_name}")
    refused(how, echo, f"member of the group '{group.gr_name}'", more=["--kvm-anyway"])
    code, out, _ = bothy(how, "host")
    check(code == 0 and "forbidden" in out and group.gr_name in out, out)


def test_old(folder, echo):
    build_fake(folder)
    if usable():
        refused("old", echo, "too old", "Linux 5.10 or newer")
        refused("old", echo, "too old", "it lacks MSR filters", more=["--kvm-anyway"])


def test_auto_takes_another(folder, echo):
    """Nobody named an engine: the machine starts all the same, and one line says why."""
    build_fake(folder)
    for how, why in (("absent", "there is no /dev/kvm"), ("forbidden", "you may not open")):
        os.environ.update(LD_PRELOAD=str(FAKE), FAKE_KVM=how)
        try:
            t = Terminal("run", "--kernel", echo)
        finally:
            del os.environ["LD_PRELOAD"], os.environ["FAKE_KVM"]
        try:
            t.expect("the engine is jit: ")
            t.expect(why)
            t.expect("ready")
            t.send(b"1")
            check(t.wait() == 0, "exit code", t.proc.returncode)
        finally:
            t.close()


def test_self_test_fails(folder, echo):
    """A verdict that is no good: what failed, and the way to use KVM all the same."""
    build_fake(folder)
    if not usable():
        return
    code, _, said = bothy("", "host", cache=folder)
    check(code == 0, said)
    verdict = folder / "bothy" / "kvm-verdict"
    key = verdict.read_text().splitlines()[0]
    for number, why in ((4, "a loop runs at 2 instructions a second"), (5, "SYSCALL fails")):
        verdict.write_text(f"{key}\n{number} 2 0 1 1\nVT-x\n{why}\n")
        refused("", echo, "fails its self-test", why, "--engine jit", "--kvm-anyway", cache=folder)
        code, out, _ = bothy("", "host", cache=folder)
        check(code == 0 and why in out, out)
    # Of another start of the kernel, or garbage: tested anew.
    for text in ("nothing\n", key.replace(key[0], "x") + "\n0 2 1 1 1\nVT-x\n\n", ""):
        verdict.write_text(text)
        code, out, _ = bothy("", "host", cache=folder)
        check(code == 0 and verdict.read_text().startswith(key + "\n"), out)


def test_model_too_large(folder, echo):
    """A named model must be given whole; "host" is cut to what there is."""
    build_fake(folder)
    if not usable():
        return
    refused("nothing", echo, "the CPU model x86-64-v3 needs", "avx2", "--cpu host",
            more=["--kvm-anyway", "--cpu", "x86-64-v3"])
    old = dict(os.environ)
    os.environ.update(environment("nothing"))
    try:
        vm = Vm(kernel=str(echo), engine="kvm", **{"kvm-anyway": True, "cpu": "host"})
    finally:
        os.environ.clear()
        os.environ.update(old)
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    # A machine that was shown more does not get in, and goes on where it is.
    vm.close()
    os.environ.update(environment("nothing"))
    try:
        vm = Vm(kernel=str(echo), engine="jit", **{"kvm-anyway": True, "cpu": "x86-64-v2"})
    finally:
        os.environ.clear()
        os.environ.update(old)
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    got = vm.command("engine", name="kvm")
    check("cannot give the CPU features" in got["error"]["desc"], got)
    vm.serial.sendall(b"abc")
    vm.serial_expect(b"abc")
    vm.close()


if __name__ == "__main__":
    sys.exit(run_all(globals()))
