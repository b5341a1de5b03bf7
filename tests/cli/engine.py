#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person can see of the engine: counters, listings, names for perf, limits."""
import os
import pathlib
import re
import subprocess
import sys

from bad_input import nothing_left, refuse
from common import BOTHY, TIMEOUT, Terminal, Vm, check, run_all, vm_of

FEW_CPUS = 2


def run(echo, *args, keys=b"hello hello hello hello1"):
    p = subprocess.run([BOTHY, "run", "--kernel", echo, *map(str, args)], input=keys,
                       capture_output=True, timeout=TIMEOUT, check=False)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def counters(text):
    return {m.group(1): int(m.group(2)) for m in re.finditer(r"(?m)^  (\S+) +(\d+)$", text)}


def test_bad_input(folder, echo):
    start = ["run", "--kernel", echo]
    refuse(start + ["--translation-cache", "0"], 2, "--translation-cache", "1 MiB")
    refuse(start + ["--translation-cache", "1023K"], 2, "--translation-cache", "1 MiB")
    refuse(start + ["--translation-cache", "2G"], 2, "--translation-cache", "1 GiB")
    refuse(start + ["--translation-cache", "x"], 2, "--translation-cache")
    refuse(start + ["--translation-cache", "1M", "--cpus", "8"], 2, "--translation-cache",
           "8 virtual CPUs", "4 MiB")
    refuse(start + ["--trace-blocks"], 2, "--trace-blocks")
    refuse(start + ["--host-without", "sse"], 2, "--host-without", "avx|xsave")
    refuse(["disk", "bench", echo, "--aio", "nobody"], 2, "--aio", "auto|io_uring|threads")
    refuse(["disk", "bench", echo, "--cache", "some"], 2, "--cache", "writeback")
    (folder / "there").write_text("keep me")
    refuse(start + ["--trace-blocks", "there"], 2, "'there' exists already")
    check((folder / "there").read_text() == "keep me", "the file was touched")
    refuse(start + ["--trace-blocks", "no/such/folder"], 2, "no/such/folder")
    refuse(start + ["--engine", "interp", "--trace-blocks", "new"], 2, "--trace-blocks", "jit")
    refuse(start + ["--engine", "interp", "--perf-map"], 2, "--perf-map", "jit")
    refuse(start + ["--stats=yes"], 2, "--stats")
    refuse(start + ["--perf-map=yes"], 2, "--perf-map")
    # A machine that cannot start leaves no listing.
    refuse(["run", "--kernel", "none", "--trace-blocks", "new"], 1, "no such file")
    nothing_left(folder, "there")


def test_stats(folder, echo):
    for engine in "jit", "interp":
        code, _, err = run(echo, "--engine", engine, "--stats", "--cpus", FEW_CPUS)
        check(code == 0, engine, err)
        check([int(n) for n in re.findall(r"(?m)^vCPU (\d+), engine " + engine, err)] ==
              list(range(FEW_CPUS)), err)
        first = counters(err.split("vCPU 1")[0])
        check(first["interpreted"] > 0, err)
        if engine == "jit":
            check(first["translations"] > 0 and first["cache-bytes"] > 0, err)
            reasons = sum(first["interpreted-" + r] for r in (
                "cold", "after-exit", "16-bit", "stepping", "other"))
            check(reasons <= first["interpreted"], err)
    code, _, err = run(echo, "--engine", "jit")
    check(code == 0 and not counters(err), "counters that nobody asked for:", err)


def test_query_stats(folder, echo):
    vm = Vm(kernel=str(echo), append="", engine="jit")
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    vm.serial.sendall(b"x" * 64)
    vm.serial_expect(b"x" * 64)
    stats = {s["name"]: s["value"] for s in
             vm.command("query-stats", target="vcpu")["return"][0]["stats"]}
    for name in ("translations", "links", "tlb-misses", "exits-branch", "invalidations",
                 "evictions", "cache-bytes", "cache-size-bytes", "interpreted-cold"):
        check(name in stats, name, stats)
    check(stats["cache-size-bytes"] == 128 << 20, stats)
    check(0 < stats["cache-bytes"] < stats["cache-size-bytes"], stats)
    vm.close()


def test_cache_size(folder, echo):
    code, _, err = run(echo, "--engine", "jit", "--translation-cache", "3M", "--cpus", 3, "--stats")
    check(code == 0, err)
    check(err.count("cache-size-bytes") == 3, err)
    check(counters(err)["cache-size-bytes"] == 1 << 20, err)


def test_check(folder, echo):
    code, out, err = run(echo, "--engine", "check", "--stats")
    check(code == 0 and "hello hello" in out and "differ" not in err, code, err)
    check(counters(err)["check-stretches"] > 0, err)
    refuse(["run", "--kernel", echo, "--engine", "check", "--cpus", "2"], 2, "--engine check",
           "--cpus 1")


def test_check_notices(folder, echo):
    """A byte of the guest's memory that changes by nobody's doing ends the machine."""
    t = Terminal("run", "--kernel", echo, "--memory", "16M", "--engine", "check")
    try:
        t.expect("ready")
        ram = [f for f in pathlib.Path(f"/proc/{vm_of(t.pid)}/fd").iterdir()
               if os.readlink(f).startswith("/memfd:ram") and f.stat().st_size == 16 << 20]
        check(ram, "the guest's memory is not found")
        # Both processors' memories are such files; one of them is enough.
        with open(ram[0], "r+b") as f:
            f.seek(0x345678)
            f.write(b"\x5a")
        t.expect("check: memory differs")
        t.expect("physical 0x345678: ")
        check(t.wait() == 1, "exit code", t.proc.returncode)
    finally:
        t.close()


def test_trace_blocks(folder, echo):
    code, out, err = run(echo, "--engine", "jit", "--trace-blocks", "blocks", "--stats")
    check(code == 0, err)
    text = (folder / "blocks").read_text()
    heads = re.findall(r"(?m)^vCPU 0, host 0x[0-9a-f]+, (\d+) bytes and \d+: block ([0-9a-f]{16}) 32-bit "
                       r"kernel, key \S+, page \S+: (\d+) instructions, (\d+) bytes$", text)
    check(len(heads) == counters(err)["translations"], len(heads), err)
    lines = re.findall(r"(?m)^  ([0-9a-f]{16})  (\S.*)$", text)
    check(len(lines) == sum(int(h[2]) for h in heads) ==
          counters(err)["translated-instructions"], len(lines))
    # The polling loop of the guest's own source.
    check(any(t.startswith("in al, dx") for _, t in lines), text[:2000])
    check(all(int(h[0]) > 0 and int(h[3]) > 0 for h in heads), heads)
    code, _, err = run(echo, "--engine", "jit", "--trace-blocks", "/dev/null")
    check(code == 0, err)


def test_perf_map(folder, echo):
    t = Terminal("run", "--kernel", echo, "--engine", "jit", "--perf-map")
    path = None
    try:
        t.expect("ready")
        pid = vm_of(t.pid)
        path = pathlib.Path(f"/tmp/perf-{pid}.map")
        t.send(b"hello hello1")
        check(t.wait() == 0, t.out)
        names = [re.fullmatch(r"([0-9a-f]+) ([0-9a-f]+) (vcpu0:\S+)", l)
                 for l in path.read_text().splitlines()]
        check(all(names) and len(names) > 3, path.read_text()[:500])
        check(names[0].group(3) == "vcpu0:thunks", names[0])
        check(all(re.fullmatch(r"vcpu0:kernel:[0-9a-f]{16}(:cold)?", m.group(3)) for m in names[1:]),
              path.read_text()[:500])
        check(path.stat().st_mode & 0o777 == 0o600 and path.stat().st_uid == os.getuid(), path)
    finally:
        t.close()
        if path and path.exists():
            path.unlink()


def test_placement(folder, echo):
    """Where vCPU threads run, and how much they yield."""
    mine = sorted(os.sched_getaffinity(0))
    first, last = mine[0], mine[-1]
    vm = Vm(kernel=str(echo), cpus=3, **{"vcpu-affinity": f"{first}/{first}-{first},{last}",
                                         "vcpu-nice": 3})
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    tids = [c["thread-id"] for c in vm.command("query-cpus-fast")["return"]]
    sets = [os.sched_getaffinity(t) for t in tids]
    check(sets == [{first}, {first, last}, {first, last}], sets)
    usual = os.getpriority(os.PRIO_PROCESS, vm.proc.pid)
    check([os.getpriority(os.PRIO_PROCESS, t) for t in tids] == [min(usual + 3, 19)] * 3, tids)
    vm.serial.sendall(b"abc")
    vm.serial_expect(b"abc")
    vm.close()
    for bad in ("", "x", "0-", "3-1", "0,,1", "0/", "/0", "0 1", "99999"):
        refuse(["run", "--kernel", echo, "--vcpu-affinity", bad], 2, "--vcpu-affinity",
               "no list of processors")
    refuse(["run", "--kernel", echo, "--vcpu-affinity", "1023"], 2, "may not use processor 1023")
    refuse(["run", "--kernel", echo, "--vcpu-nice", "20"], 2, "--vcpu-nice")


if __name__ == "__main__":
    sys.exit(run_all(globals()))
