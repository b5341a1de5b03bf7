#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real programs from Debian's packages inside the guest: openssl, 7z, sqlite3, gcc,
python3, xz, sysbench, under bothy's engine and under QEMU TCG; with root also on the
host, in a change of root. Packages are downloaded and unpacked into the user's cache,
nothing is installed.

usage: real.py [--engine NAME] [--only NAME,...] [--json FILE] [--no-qemu] [--no-native]
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "guest"))
from machine import Failure, Machine, Runner, prepared_guest  # noqa: E402

PACKAGES = ["openssl", "p7zip-full", "sqlite3", "gcc", "libc6-dev", "python3-minimal",
            "xz-utils", "sysbench"]
RECIPE = "2 " + " ".join(PACKAGES)  # of the unpacked tree
MEMORY = "3G"

# Name, shell command, and a pattern for its score (higher is better); None: the
# seconds it takes count. Data is made first, by PREPARE.
PREPARE = r"""
awk 'BEGIN { srand(7); for (i = 0; i < 60000; i++) print i, int(rand() * 1e9), "line of text", i % 97 }' > /tmp/text
awk 'BEGIN { print "begin; create table t(a integer primary key, b integer, c text);"
  for (i = 0; i < 60000; i++) print "insert into t values(" i "," (i * 7919) % 100003 ",\047row " i "\047);"
  print "create index tb on t(b); commit; select sum(b), count(distinct c) from t where b % 3 = 1;"
  print "select count(*) from t x join t y on x.b = y.b + 1;" }' > /tmp/load.sql
awk 'BEGIN { for (i = 0; i < 1200; i++) {
  print "int f" i "(int n, int *v) { int s = " i "; for (int i = 0; i < n; i++) {"
  print " if (v[i] & 1) s += v[i] * " i "; else s ^= v[i] << (s & 7); v[i] = s; } return s; }" } }' > /tmp/big.c
cat > /tmp/number.py <<'EOF'
s = 0
for i in range(3000000):
    s = (s * 31 + i * i) % 1000003
print(s)
EOF
cat > /tmp/string.py <<'EOF'
words = {}
for i in range(600000):
    w = "word%d" % (i * 7919 % 5003)
    words[w] = words.get(w, 0) + len(w.upper().replace("R", "rr"))
print(len(",".join(sorted(words))), sum(words.values()))
EOF
"""
WORK = [
    ("openssl-aes", "openssl speed -seconds 1 -bytes 8192 -evp aes-128-cbc 2>&1",
     r"AES-128-CBC\s+([\d.]+)k"),
    ("openssl-sha256", "openssl speed -seconds 1 -bytes 8192 -evp sha256 2>&1",
     r"sha256\s+([\d.]+)k"),
    ("openssl-rsa", "openssl speed -seconds 1 rsa2048 2>&1", r"rsa 2048 bits .*?([\d.]+)\s+[\d.]+\s*$"),
    ("7z", "7z b 1 -mmt1 -md18", r"Tot:.*?(\d+)\s*$"),
    ("sqlite3", "sqlite3 /tmp/db < /tmp/load.sql", None),
    ("gcc", "gcc -O2 -c -o /tmp/big.o /tmp/big.c", None),
    ("python-number", "python3 /tmp/number.py", None),
    ("python-string", "python3 /tmp/string.py", None),
    ("xz", "/usr/bin/xz -6 -T1 -c /tmp/text > /tmp/text.xz", None),
    ("sysbench-cpu", "sysbench cpu --time=2 run", r"events per second:\s+([\d.]+)"),
    ("sysbench-memory", "sysbench memory --time=2 run", r"\(([\d.]+) MiB/sec\)"),
    ("sysbench-threads", "sysbench threads --threads=4 --time=2 run",
     r"total number of events:\s+(\d+)"),
    ("sysbench-mutex", "sysbench mutex --threads=4 run", None),
]


def say(text):
    print("real: " + text, file=sys.stderr, flush=True)


def closure():
    """The packages and all they need, as for an empty system."""
    with tempfile.NamedTemporaryFile() as none:
        out = subprocess.run(["apt-get", "-s", "-o", "Dir::State::status=" + none.name,
                              "--no-install-recommends", "install", *PACKAGES], check=True,
                             stdout=subprocess.PIPE).stdout.decode()
    return re.findall(r"^Inst (\S+)", out, re.M)


def tree():
    """The unpacked packages, made once."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
                         "bothy", "real")
    stamp = os.path.join(cache, "ready")
    if os.path.exists(stamp):
        with open(stamp, encoding="ascii") as f:
            if f.read() == RECIPE:
                return os.path.join(cache, "root")
    shutil.rmtree(cache, ignore_errors=True)
    root, debs = os.path.join(cache, "root"), os.path.join(cache, "debs")
    os.makedirs(root)
    os.makedirs(debs)
    names = closure()
    say("downloading %d packages" % len(names))
    subprocess.run(["apt-get", "download", "-q", *names], cwd=debs, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in sorted(os.listdir(debs)):
        subprocess.run(["dpkg-deb", "-x", os.path.join(debs, name), root], check=True)
    for junk in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl"):
        shutil.rmtree(os.path.join(root, junk), ignore_errors=True)
    shutil.rmtree(debs)
    for folder in ("proc", "sys", "dev", "tmp"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    # What maintainer scripts would have made.
    box = os.path.join(root, "usr", "bin", "busybox")
    shutil.copy(os.path.join(prepared_guest(), "busybox"), box)
    os.makedirs(os.path.join(root, "bin"), exist_ok=True)
    for path in ("usr/bin/awk", "usr/bin/sh", "bin/sh"):
        if not os.path.lexists(os.path.join(root, path)):
            os.symlink("/usr/bin/busybox", os.path.join(root, path))
    with open(stamp, "w", encoding="ascii") as f:
        f.write(RECIPE)
    return root


def script(chosen):
    lines = ["export PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C HOME=/tmp", "rm -f /tmp/db", PREPARE]
    for name, command, _ in WORK:
        if chosen and name not in chosen:
            continue
        lines += ["echo WORK-BEGIN %s; read up rest < /proc/uptime; begin=$up" % name,
                  "( %s ); code=$?; read up rest < /proc/uptime" % command,
                  "echo WORK-END %s $code $begin $up" % name]
    return "\n".join(lines) + "\necho WORK-DONE\n"


def figures(text):
    """{name: (figure, higher is better)} out of a run's output."""
    found = {}
    for name, _, pattern in WORK:
        m = re.search(r"^WORK-BEGIN %s\n(.*?)^WORK-END %s (\d+) ([\d.]+) ([\d.]+)$" % (name, name),
                      text, re.M | re.S)
        if not m:
            continue
        score = re.findall(pattern, m.group(1), re.M) if pattern else None
        if m.group(2) != "0" or (pattern and not score):
            say("%s failed:\n%s" % (name, m.group(1)[-600:]))
            continue
        found[name] = (float(score[-1]), True) if pattern else (
            float(m.group(4)) - float(m.group(3)), False)
    return found


INIT = """#!/usr/bin/busybox sh
/usr/bin/busybox mount -t proc proc /proc
/usr/bin/busybox mount -t devtmpfs dev /dev
exec < /dev/console > /dev/console 2>&1
/usr/bin/busybox sh /work
/usr/bin/busybox poweroff -f
"""


def image(root, chosen, path):
    for name, text in (("init", INIT), ("work", script(chosen))):
        with open(os.path.join(root, name), "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(os.path.join(root, name), 0o755)
    with open(path, "wb") as f:
        find = subprocess.Popen(["find", ".", "-print0"], cwd=root, stdout=subprocess.PIPE)
        subprocess.run(["cpio", "-o", "-0", "-H", "newc", "--quiet", "-R", "0:0"], cwd=root,
                       stdin=find.stdout, stdout=f, check=True)
        find.wait()


def run_guest(runner, initrd):
    kernel = os.path.join(prepared_guest(), "vmlinuz")
    with Machine(runner, kernel=kernel, initrd=initrd, memory=MEMORY, cpus=2,
                 append="console=ttyS0 quiet panic=-1") as m:
        m.expect(rb"WORK-DONE\n", 1800, "the programs' end")
        text = m.text()
        m.finish()
    return figures(text)


def run_native(root):
    """In a change of root with the host's /proc: no engine, the host's own kernel."""
    shell = "mount -t proc proc %s/proc && chroot %s /usr/bin/busybox sh /work" % (root, root)
    p = subprocess.run(["unshare", "-m", "sh", "-c", shell], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT)
    return figures(p.stdout.decode("utf-8", "replace"))


def table(systems):
    names = list(systems)
    ours = next(n for n in names if n not in ("native", "tcg"))
    print("%-18s" % "program" + "".join("%12s" % n for n in names) + "%14s%16s" % (
        "against tcg", "of native"))
    for name, _, pattern in WORK:
        if not any(name in s for s in systems.values()):
            continue
        row = "%-18s" % name + "".join(
            "%12.5g" % systems[n][name][0] if name in systems[n] else "%12s" % "-" for n in names)
        for other in ("tcg", "native"):
            a, b = systems[ours].get(name), systems.get(other, {}).get(name)
            faster = (a[0] / b[0] if a[1] else b[0] / a[0]) if a and b and a[0] and b[0] else None
            row += "%14s" % ("%.2f" % faster if faster else "-")
        print(row + ("" if pattern else "   seconds"))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--engine", default="jit")
    p.add_argument("--only")
    p.add_argument("--json")
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("--no-native", action="store_true")
    p.add_argument("--no-qemu", action="store_true")
    args = p.parse_args()
    for tool in ("apt-get", "dpkg-deb", "cpio"):
        if not shutil.which(tool):
            p.error("'%s' is missing: the programs come from Debian packages" % tool)
    chosen = args.only.split(",") if args.only else None
    root, systems, failed = tree(), {}, False
    with tempfile.TemporaryDirectory(prefix="bothy-real-") as work:
        initrd = os.path.join(work, "initrd")
        image(root, chosen, initrd)
        if not args.no_native and os.geteuid() == 0:
            say("native")
            systems["native"] = run_native(root)
        todo = [(args.engine, Runner("bothy", args.engine, args.build))]
        if not args.no_qemu and shutil.which("qemu-system-x86_64"):
            todo.append(("tcg", Runner("qemu")))
        for name, runner in todo:
            say(name)
            try:
                systems[name] = run_guest(runner, initrd)
            except Failure as e:
                say("%s: %s" % (name, e))
                systems[name] = {}
                failed = True
    table(systems)
    if args.json:
        with open(args.json, "w", encoding="ascii") as f:
            json.dump(systems, f, indent=1)
            f.write("\n")
    wanted = {n for n, _, _ in WORK if not chosen or n in chosen}
    return 1 if failed or any(wanted - set(s) for s in systems.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
