#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots Debian's kernel and checks what a person would: the shell, known answers,
power off, restart, panic, idle cost, memory sizes. Last line: "N passed, N failed".

usage: run.py [--runner bothy|qemu] [--engine NAME]... [--all] [--write-allowed]
              [TEST...]
"""
import argparse
import bz2
import gzip
import hashlib
import lzma
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback

import virtio
from machine import Failure, Machine, Runner, cpio, engines_offered, prepared_guest

HERE = os.path.dirname(os.path.abspath(__file__))
ALLOWED = os.path.join(HERE, "dmesg_allowed.txt")
APPEND = "console=ttyS0 panic=-1"
BAD = re.compile(r"WARNING|BUG|Call Trace|unable|failed", re.I)
# Weaknesses of the processor model, which is the host's: no fault of the machine.
HW_VULN = re.compile(r"/hw-vuln/|Speculative Return Stack Overflow: WARNING")
IDLE_PERCENT = 3
TESTS = {}
# What is about the machine, not the processor: one engine is enough, unless --all.
ONCE = set()


def test(fn):
    TESTS[fn.__name__] = fn
    return fn


def test_once(fn):
    ONCE.add(fn.__name__)
    return test(fn)


def want(condition, text):
    if not condition:
        raise Failure(text)


class Guest:
    """The prepared kernel and initramfs, with the self-check added."""

    def __init__(self, folder, work):
        self.kernel = os.path.join(folder, "vmlinuz")
        self.initrd = os.path.join(work, "initrd")
        with open(os.path.join(folder, "initramfs.cpio.gz"), "rb") as f:
            base = f.read()
        with open(self.initrd, "wb") as f:
            f.write(base + gzip.compress(cpio(selfcheck_files()), 1))


def selfcheck_files():
    """The script with its answers, computed here, and compressed inputs."""
    numbers = "".join("%d\n" % i for i in range(1, 20001))
    data = numbers.encode()
    answers = {
        "@SHA_SEQ@": hashlib.sha256(data).hexdigest(),
        "@MD5_SEQ@": hashlib.md5(data).hexdigest(),
        "@POW@": str(2 ** 200 % 1000007),
        "@ARITH@": str(123456789 * 987654321 % 1000003),
        "@SED@": hashlib.sha256("".join(
            m.group(1) + "\n" for m in re.finditer(r"(?m)^12(.*)5$", numbers)).encode()).hexdigest(),
        "@GREP@": str(sum("99" in l for l in numbers.splitlines())),
    }
    with open(os.path.join(HERE, "selfcheck.sh")) as f:
        script = f.read()
    for name, value in answers.items():
        script = script.replace(name, value)
    return {
        "selfcheck": (0o040755, b""),
        "selfcheck/run.sh": (0o100755, script.encode()),
        "selfcheck/numbers.xz": (0o100644, lzma.compress(data, check=lzma.CHECK_CRC32)),
        "selfcheck/numbers.bz2": (0o100644, bz2.compress(data)),
        "selfcheck/numbers.gz": (0o100644, gzip.compress(data)),
    }


def machine(runner, guest, memory="512M", cpus=1, append=APPEND, **kw):
    return Machine(runner, kernel=guest.kernel, initrd=guest.initrd, append=append,
                   memory=memory, cpus=cpus, **kw)


def power_off(m):
    m.send("poweroff\n")
    code = m.finish()
    want(code == 0, "poweroff ended with exit code %d, not 0" % code)


def normal(line):
    """A kernel line without its time stamp and numbers."""
    line = re.sub(r"^\s*\[\s*\d+\.\d+\]\s*", "", line)
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+", "N", line).strip()


def bad_lines(m):
    code, out = m.sh("dmesg", 60)
    want(code == 0 and "Linux version" in out, "dmesg shows no kernel log")
    return [l for l in out.splitlines() if BAD.search(l) and not HW_VULN.search(l)]


def dmesg_clean(m):
    with open(ALLOWED) as f:
        allowed = {l.strip() for l in f if l.strip() and not l.startswith("#")}
    new = [l for l in bad_lines(m) if normal(l) not in allowed]
    want(not new, "kernel messages that QEMU's machine does not give:\n    " + "\n    ".join(new[:12]))


def self_check(m, cpus, memory_mib):
    _, out = m.sh("/selfcheck/run.sh %d %d" % (cpus, memory_mib), 600)
    last = re.search(r"SELFCHECK (\d+) (\d+)", out)
    want(last, "the self-check did not end:\n" + m.tail())
    failures = [l for l in out.splitlines() if l.startswith("FAIL")]
    want(last.group(2) == "0" and not failures, "self-check:\n    " + "\n    ".join(failures))
    want(int(last.group(1)) >= 35, "the self-check ran only %s checks" % last.group(1))
    return int(last.group(1))


def clock(m):
    before = time.time()
    _, out = m.sh("date +%s")
    after = time.time()
    said = int(re.search(r"\d{9,}", out).group())
    # date gives the whole seconds of a clock that may be a second off.
    want(before - 2 < said <= after + 1, "the guest's clock is %.1f s off" % (said - after))


def boot(runner, guest, cpus):
    with machine(runner, guest, cpus=cpus) as m:
        m.wait_prompt(300)
        seconds = time.monotonic() - m.start
        dmesg_clean(m)
        clock(m)
        checks = self_check(m, cpus, 512)
        clock(m)
        dmesg_clean(m)
        power_off(m)
    return "prompt after %.1f s, %d self-checks" % (seconds, checks)


@test
def boot_1_cpu(runner, guest):
    return boot(runner, guest, 1)


@test
def boot_2_cpus(runner, guest):
    return boot(runner, guest, 2)


@test
def boot_4_cpus(runner, guest):
    return boot(runner, guest, 4)


class Guest32:
    """Debian's 32-bit kernel with a 32-bit busybox."""

    def __init__(self):
        folder = prepared_guest(script="guest-i386.sh")
        self.kernel = os.path.join(folder, "vmlinuz")
        self.initrd = os.path.join(folder, "initramfs.cpio.gz")


@test
def boot_32_bit(runner, guest):
    with machine(runner, Guest32(), cpus=1 if runner.engine == "check" else 2) as m:
        m.wait_prompt(600)
        seconds = time.monotonic() - m.start
        dmesg_clean(m)
        _, out = m.sh("uname -m")
        want("i686" in out, "not a 32-bit kernel: " + out)
        numbers = "".join("%d\n" % i for i in range(1, 20001)).encode()
        for command, answer in (
                ("seq 1 20000 | sha256sum", hashlib.sha256(numbers).hexdigest()),
                ("seq 1 20000 | gzip -c | gunzip -c | md5sum", hashlib.md5(numbers).hexdigest()),
                ("seq 1 20000 | sort -rn | tac | sort -n | sha1sum", hashlib.sha1(numbers).hexdigest()),
                ("echo '2^200 % 1000007' | bc", str(2 ** 200 % 1000007)),
                ("awk 'BEGIN { for (i = 0; i < 1000; i++) s += i / 7 * 1.3 - i * i / 3; printf \"%.6f\", s }'",
                 "%.6f" % sum(i / 7 * 1.3 - i * i / 3 for i in range(1000)))):
            _, out = m.sh(command, 120)
            want(answer in out, "%s gives %s, not %s" % (command, out.strip(), answer))
        m.sh("i=0; while [ $i -lt 200 ]; do (: ) ; i=$((i+1)); done", 120)
        dmesg_clean(m)
        power_off(m)
    return "prompt after %.1f s" % seconds


@test
def reboot_boots_again(runner, guest):
    with machine(runner, guest) as m:
        m.wait_prompt(300)
        m.sh("echo here >/tmp/trace")
        m.send("reboot\n")
        m.wait_prompt(300)
        want(m.process.poll() is None, "the machine ended")
        code, _ = m.sh("test -e /tmp/trace")
        want(code != 0, "memory survived the restart")
        dmesg_clean(m)
        power_off(m)


@test_once
def no_reboot_ends(runner, guest):
    with machine(runner, guest, reboot=False) as m:
        m.wait_prompt(300)
        m.send("reboot\n")
        code = m.finish()
        want(code == 0, "--no-reboot ended with exit code %d" % code)
        if runner.kind == "bothy":
            want("restart" in m.text()[m.mark:], "nothing said about the restart")


@test
def panic_is_said(runner, guest):
    with machine(runner, guest, reboot=False) as m:
        m.wait_prompt(300)
        m.send("echo c >/proc/sysrq-trigger\n")
        m.expect(rb"Kernel panic - not syncing", 60)
        m.finish()
        if runner.kind == "bothy":
            want(re.search(r"bothy: .*panic", m.text()), "the panic is not said:\n" + m.tail())


@test_once
def panic_restarts(runner, guest):
    with machine(runner, guest) as m:
        m.wait_prompt(300)
        m.send("echo c >/proc/sysrq-trigger\n")
        m.expect(rb"Kernel panic - not syncing", 60)
        m.wait_prompt(300)
        power_off(m)


@test_once
def keyboard_reset(runner, guest):
    """The kernel's own ways to reset, by name."""
    for way in ("kbd", "acpi", "triple"):
        with machine(runner, guest, append=APPEND + " reboot=" + way, reboot=False) as m:
            m.wait_prompt(300)
            m.send("reboot -f\n")
            m.finish()


def memory_size(runner, guest, text, mib):
    with machine(runner, guest, memory=text) as m:
        m.wait_prompt(300)
        _, out = m.sh("awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo")
        total = int(re.search(r"\d+", out).group())
        want(mib - mib // 12 - 70 < total <= mib, "MemTotal is %d MiB" % total)
        if mib >= 1024:
            # Fills half a gigabyte, which the kernel takes from above the hole first.
            code, out = m.sh("mkdir -p /mnt && mount -t tmpfs -o size=1024m big /mnt && cd /mnt && "
                             "head -c 8m /dev/urandom >0 && i=0 && while [ $i -lt 64 ]; "
                             "do cp $i $((i + 1)) || break; i=$((i + 1)); done; cmp 0 64", 300)
            want(code == 0, "memory above the hole: " + out.strip()[-200:])
            _, out = m.sh("ls | wc -l")
            want(out.strip().endswith("65"), "not every copy is there: " + out.strip()[-200:])
        dmesg_clean(m)
        power_off(m)
    return "MemTotal %d MiB" % total


@test_once
def memory_128m(runner, guest):
    return memory_size(runner, guest, "128M", 128)


@test_once
def memory_5g(runner, guest):
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >> 20
    if host < 6000:
        return "skipped: the host has %d MiB" % host
    return memory_size(runner, guest, "5G", 5120)


@test
def idle_is_cheap(runner, guest):
    with machine(runner, guest, cpus=2) as m:
        m.wait_prompt(300)
        time.sleep(5)
        used, start = m.cpu_seconds(), time.monotonic()
        want(used > 0, "no CPU time is seen at all: the wrong processes are watched")
        while time.monotonic() - start < 10:
            m.read_some(0.5)
        percent = (m.cpu_seconds() - used) * 100 / (time.monotonic() - start)
        want(percent < IDLE_PERCENT, "an idle guest uses %.1f %% of a host CPU" % percent)
        power_off(m)
    return "%.1f %%" % percent


@test_once
def tiny_translation_cache(runner, guest):
    """The least room for translated code: most of it is made again and again."""
    if runner.kind != "bothy" or runner.engine != "jit":
        return "skipped: the translator's alone"
    with machine(runner, guest, cpus=2, extra=("--translation-cache", "1M", "--stats")) as m:
        m.wait_prompt(600)
        checks = self_check(m, 2, 512)
        dmesg_clean(m)
        power_off(m)
        evictions = sum(int(n) for n in re.findall(r"(?m)^  evictions +(\d+)$", m.text()))
        want(evictions > 100, "only %d evictions" % evictions)
    return "%d self-checks, %d evictions" % (checks, evictions)


@test
def more_cpus_than_cores_spin(runner, guest):
    """Busy loops on more CPUs than the host has all get on."""
    with machine(runner, guest, cpus=4) as m:
        m.wait_prompt(300)
        code, out = m.sh("for i in 0 1 2 3; do taskset -c $i sh -c 'n=0; while [ $n -lt 20000 ]; "
                         "do n=$((n+1)); done; echo done' & done; wait", 300)
        want(out.count("done\n") >= 4, "not all loops ended: " + out[-200:])
        power_off(m)


@test
def parallel_work(runner, guest):
    """Every tool's answer stays right while all CPUs are busy with it."""
    script = ("cd /tmp; seq 1 20000 >numbers; for j in 0 1 2 3 4 5 6 7; do (mkdir w$j; cd w$j; "
              "for k in 1 2 3 4 5; do gzip -c ../numbers | gunzip >a; sort -rn a | tac >b; "
              "sha256sum <b; done >sums; xzcat /selfcheck/numbers.xz | sha256sum >>sums) & done; "
              "wait; cat w?/sums | sort | uniq -c")
    right = hashlib.sha256("".join("%d\n" % i for i in range(1, 20001)).encode()).hexdigest()
    with machine(runner, guest, cpus=4) as m:
        m.wait_prompt(300)
        _, out = m.sh(script, 600)
        lines = [l.split() for l in out.splitlines() if l.strip()]
        want(len(lines) == 1 and lines[0][:2] == ["48", right], "sums: " + out[-300:])
        dmesg_clean(m)
        power_off(m)


@test_once
def typed_input(runner, guest):
    """What is typed in one go arrives whole and in order."""
    text = "".join("%04d %s\n" % (i, "abcdefghijklmnopqrstuvwxyz" * 2) for i in range(300))
    with machine(runner, guest) as m:
        m.wait_prompt(300)
        m.send("head -c %d >/tmp/typed; md5sum </tmp/typed\n" % len(text))
        for at in range(0, len(text), 512): # the terminal has a buffer of its own
            m.send(text[at:at + 512])
            m.read_some(0.05)
        m.expect(hashlib.md5(text.encode()).hexdigest().encode(), 60, "the typed text's digest")
        power_off(m)


def flags_of(m):
    _, out = m.sh("grep -m 1 ^flags /proc/cpuinfo")
    return set(out.split(":", 1)[1].split())


@test_once
def cpu_models(runner, guest):
    """The named models offer what they say, and nothing of what the next one adds."""
    if runner.kind != "bothy":
        return "skipped: the models are bothy's"
    v2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
    v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
    with open("/proc/cpuinfo") as f:
        host = set(re.search(r"^flags\s*:(.*)", f.read(), re.M).group(1).split())
    for model, has, lacks in (("x86-64-v2", v2, v3), ("x86-64-v3", v2 | v3, set())):
        if not has <= host:
            continue
        with machine(runner, guest, extra=("--cpu", model)) as m:
            m.wait_prompt(300)
            flags = flags_of(m)
            want(has <= flags, "%s lacks %s" % (model, " ".join(sorted(has - flags))))
            want(not lacks & flags, "%s has %s" % (model, " ".join(sorted(lacks & flags))))
            dmesg_clean(m)
            power_off(m)


virtio.register(test, test_once)


def write_allowed(runner, guest):
    seen = set()
    for cpus, memory in ((1, "512M"), (2, "512M"), (4, "512M"), (1, "128M")):
        with machine(runner, guest, cpus=cpus, memory=memory) as m:
            m.wait_prompt(300)
            seen |= {normal(l) for l in bad_lines(m)}
            power_off(m)
    version = subprocess.run([runner.qemu, "--version"], stdout=subprocess.PIPE, check=True)
    with open(ALLOWED, "w") as f:
        f.write("# Messages with a bad word in them that Debian's kernel prints under QEMU too\n"
                "# (%s); numbers are N. Made by run.py --runner qemu --write-allowed.\n"
                % version.stdout.decode().splitlines()[0])
        f.writelines(l + "\n" for l in sorted(seen))
    print("%d lines in %s" % (len(seen), ALLOWED))


def run_tests(args, runner, guest, failures, last):
    passed = 0
    names = args.test or [n for n in TESTS if args.all or last or n not in ONCE]
    for name in names:
        start = time.monotonic()
        label = "%s, %s" % (name, runner.engine if runner.kind == "bothy" else "tcg")
        try:
            note = TESTS[name](runner, guest)
            passed += 1
            print("ok %s: %s%.0f s" % (label, note + ", " if note else "", time.monotonic() - start))
        except Failure as e:
            failures.append(label)
            print("FAIL %s: %s" % (label, e))
        except Exception:
            failures.append(label)
            print("FAIL %s:\n%s" % (label, traceback.format_exc()))
        sys.stdout.flush()
    return passed


def default_engines(args):
    """Every engine that is built; one name stands for all when there is none."""
    bothy = Runner(build=args.build).bothy
    if args.runner == "qemu" or not os.path.exists(bothy):
        return ["interp"]
    return engines_offered(bothy) or ["interp"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--runner", choices=["bothy", "qemu"], default="bothy")
    p.add_argument("--engine", action="append")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--patience", type=float, default=1, help="factor on every time limit")
    p.add_argument("--write-allowed", action="store_true")
    p.add_argument("--all", action="store_true", help="every test under every engine")
    p.add_argument("test", nargs="*")
    args = p.parse_args()
    unknown = [t for t in args.test if t not in TESTS]
    if unknown:
        print("no such test: %s; there are: %s" % (" ".join(unknown), " ".join(TESTS)))
        print("0 passed, 1 failed")
        return 1
    failures, passed = [], 0
    with tempfile.TemporaryDirectory(prefix="bothy-guest-") as work:
        try:
            guest = Guest(prepared_guest(), work)
        except Failure as e:
            print("FAIL prepare: %s\n0 passed, 1 failed" % e)
            return 1
        engines = args.engine or default_engines(args)
        for engine in engines:
            runner = Runner(args.runner, engine, args.build, args.patience)
            if args.write_allowed:
                write_allowed(runner, guest)
                return 0
            passed += run_tests(args, runner, guest, failures, engine == engines[-1])
            if args.runner == "qemu":
                break
    print("%d passed, %d failed" % (passed, len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
