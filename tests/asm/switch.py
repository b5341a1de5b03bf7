#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the test guests while the machine is moved between engines at random, and
saved and restored, and expects what an undisturbed run gives: every check of the
guest passes. The last line is "N passed, N failed[, N skipped]".

usage: switch.py [--seed N] [--engines A,B] [--cpu MODEL] [--saves N] [--save-share X] [--least N]
                 [--most N] [--runs N] [--mean SECONDS] [--append WORDS] [GUEST...]
"""
import argparse
import os
import pathlib
import random
import re
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cli"))
sys.path.insert(0, str(ROOT / "tests" / "asm"))
import common  # noqa: E402
import run as asm_run  # noqa: E402

# A reset ends what was saved before it; what is measured in the guest's own time may
# not be stopped.
SKIPPED = {"reset"}


class Machine:
    """A bothy-vm whose serial port is gathered in the background."""

    def __init__(self, text, **config):
        self.text = text
        self.vm = common.Vm(**config)
        # First of all: a short guest's machine ends whether or not anybody has read.
        self.thread = threading.Thread(target=self.gather, daemon=True)
        self.thread.start()
        try:
            self.vm.hello()
        except (common.Failure, OSError):
            # A short guest may be done by now.
            if self.vm.proc.wait(60):
                raise common.Failure("it failed: " + self.vm.proc.stderr.read().decode())

    def gather(self):
        while True:
            try:
                part = self.vm.serial.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not part:
                return
            self.text.append(part)

    def ended(self):
        return self.vm.proc.poll() is not None

    def command(self, name, /, **arguments):
        """None when the machine ended meanwhile."""
        try:
            return self.vm.command(name, **arguments)
        except (common.Failure, OSError, ValueError):
            return None

    def close(self):
        self.vm.proc.wait(60)
        self.thread.join(60)
        said = self.vm.proc.stderr.read().decode()
        self.vm.close()
        return said


def disturb(args, name, cpus, image, rng):
    """Returns what the serial port said, how many switches and restores there were, and
    errors."""
    text, errors = [], []
    common_config = {"kernel": image, "append": args.append, "no-reboot": True,
                     "memory": asm_run.MEMORY_MIB << 20, "cpus": cpus, **args.machine}
    m = Machine(text, engine=rng.choice(args.engine_list), **common_config)
    switches = saves = 0
    deadline = time.monotonic() + asm_run.SECONDS.get(name, 60) * args.patience
    said, longest, settled = "", 0, False
    with tempfile.TemporaryDirectory(prefix="bothy-switch-") as folder:
        file = os.path.join(folder, "m.save")
        while not m.ended():
            if time.monotonic() > deadline:
                errors.append("timed out")
                m.vm.proc.kill()
                break
            if args.mean:
                time.sleep(rng.expovariate(1 / args.mean))
            if switches >= args.most:
                # The rest of the way in one that is quick everywhere.
                if not settled:
                    m.command("engine", name="jit")
                settled = True
                time.sleep(0.05)
                continue
            if saves < args.saves and rng.random() < args.save_share:
                got = m.command("save", file=file, then="quit")
                if got is None or "error" in got:
                    if got and "try again" not in got["error"]["desc"]:
                        errors.append(got["error"]["desc"])
                    continue
                said += m.close()
                saves += 1
                m = Machine(text, restore=file, engine=rng.choice(args.engine_list),
                            **{"no-reboot": True, **args.run_only})
                continue
            got = m.command("engine", name=rng.choice(args.engine_list))
            if got is None:
                continue
            if "error" in got:
                errors.append(got["error"]["desc"])
            else:
                switches += 1
                longest = max(longest, got["return"]["pause-ns"])
        said += m.close()
    if m.vm.proc.returncode:
        errors.append("exit code %s" % m.vm.proc.returncode)
    return b"".join(text).decode("ascii", "replace").replace("\r", ""), switches, saves, \
        longest, errors, said


def one(args, name, cpus, seed):
    """Runs the guest again until it was moved often enough."""
    image = os.path.join(args.images, name + ".elf")
    rng = random.Random(f"{seed} {name} {cpus}")
    start = time.monotonic()
    switches = saves = longest = runs = 0
    good = True
    while good and switches < args.most and runs < args.runs:
        log, moved, saved, worst, errors, said = disturb(args, name, cpus, image, rng)
        runs += 1
        switches, saves, longest = switches + moved, saves + saved, max(longest, worst)
        lines = log.splitlines()
        failures = [l for l in lines
                    if l.startswith("FAIL ") and not re.fullmatch(r"FAIL \d+", l)]
        closing = next((l for l in reversed(lines) if re.fullmatch(r"(PASS|FAIL) \d+", l)), "")
        good = bool(re.fullmatch(r"PASS [1-9]\d*", closing)) and not failures and not errors \
            and not asm_run.SANITIZER.search(said)
    if good and saves < args.least:
        good, errors = False, ["only %d restores" % saves]
    what = "%s%s" % (name, ", %d CPUs" % cpus if cpus > 1 else "")
    print("%s %s: %d switches (longest %.1f ms), %d restores in %d runs (%.1f s)" % (
        "ok" if good else "FAIL", what, switches, longest / 1e6, saves, runs,
        time.monotonic() - start))
    if not good:
        for line in failures[:20] + errors[:10] + lines[-3:] + said.splitlines()[-5:]:
            print("     " + line)
    sys.stdout.flush()
    return good


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--engines", default="interp,jit")
    p.add_argument("--cpu", help="the CPU model")
    p.add_argument("--append", default=asm_run.APPEND, help="the guests' command line")
    p.add_argument("--most-cpus", type=int, default=255)
    p.add_argument("--irqchip", default="user", help="where KVM has the interrupt controllers")
    p.add_argument("--saves", type=int, default=3)
    p.add_argument("--save-share", type=float, default=0.1, help="of the moves")
    p.add_argument("--least", type=int, default=0, help="restores, or it fails")
    p.add_argument("--most", type=int, default=100, help="switches of one run")
    p.add_argument("--runs", type=int, default=20, help="of one guest at most")
    p.add_argument("--mean", type=float, default=0, help="seconds between two of them")
    p.add_argument("--patience", type=float, default=2)
    p.add_argument("--build", default=os.environ.get("BUILD", "build"))
    p.add_argument("guest", nargs="*")
    args = p.parse_args()
    build = pathlib.Path(args.build)
    build = build if build.is_absolute() else ROOT / build
    args.images = str(build / "tests" / "asm")
    args.engine_list = args.engines.split(",")
    # What is said again when a machine is restored, and what the file knows.
    args.run_only = {"kvm-anyway": True, "kvm-irqchip": args.irqchip}
    args.machine = {**args.run_only, **({"cpu": args.cpu} if args.cpu else {})}
    have = sorted(f[:-4] for f in os.listdir(args.images) if f.endswith(".elf"))
    passed = failed = 0
    for name in args.guest or [g for g in have if g not in SKIPPED]:
        for cpus in [n for n in asm_run.CPUS.get(name, [1]) if n <= args.most_cpus]:
            good = one(args, name, cpus, args.seed)
            passed += good
            failed += not good
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
