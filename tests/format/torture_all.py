#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Torture at length: at least CUTS (10,000) states per format after a cut, none of them
damaged and nothing flushed lost; and barriers left out on purpose must be noticed.

usage: torture_all.py PROGRAM [CUTS [SEED [FORMAT...]]]
"""
import re
import subprocess
import sys

RUNS = {
    "qcow2": [["cluster_size=4096", "snapshots=1", "resize=1"], ["cluster_size=512", "snapshots=1"],
              ["snapshots=1", "backing=1"], ["extended_l2=on", "cluster_size=16384", "backing=1"],
              ["compat=v2", "cluster_size=4096", "backing=1"],
              ["lazy_refcounts=on", "cluster_size=4096"], ["data_file=ext", "cluster_size=4096"],
              ["cluster_size=4096", "jobs=1", "backing=1"], ["jobs=1"]],
    "vdi": [["resize=1"], ["backing=1"]],
    "vmdk": [[], ["backing=1"], ["subformat=twoGbMaxExtentSparse"]],
    "vpc": [[]],
    "vhdx": [["block_size=1048576"], []],
    "luks": [["iter-time=1"]],
    "raw": [[]],
}
LINE = re.compile(r"(\d+) cuts of (\d+) events \((\d+) flushes\), (\d+) bad, (\d+) clusters leaked")


def torture(program, fmt, seed, cuts, opts, steps=200):
    r = subprocess.run([program, fmt, str(seed), str(steps), str(cuts), *opts],
                       capture_output=True, text=True, check=False)
    m = LINE.search(r.stdout)
    if not m:
        return 0, 1, r.stdout + r.stderr
    return int(m[1]), int(m[4]), r.stdout


def main():
    program = sys.argv[1]
    want = int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    failed = 0
    runs = {f: v for f, v in RUNS.items() if not sys.argv[4:] or f in sys.argv[4:]}
    for fmt, variants in runs.items():
        total = bad = turn = empty = 0
        while total < want and empty < 20:
            opts = variants[turn % len(variants)]
            got, wrong, text = torture(program, fmt, seed + turn, min(want, 2000), opts)
            turn += 1
            total += got
            bad += wrong
            empty += not got
            if wrong:
                print(f"FAIL {fmt} seed {seed + turn - 1} {' '.join(opts)}: {text.strip()}")
        print(f"{fmt}: {total} cuts in {turn} runs, {bad} bad", flush=True)
        failed += bad != 0 or total < want
    for fmt, opts in (("qcow2", ["cluster_size=4096"]), ("vmdk", ["backing=1"]), ("vdi", []),
                      ("vhdx", ["block_size=1048576"])):
        found = any(torture(program, fmt, seed + i, 800, [*opts, "plant=1"])[1] for i in range(5))
        print(f"{fmt} with its barriers left out: {'noticed' if found else 'NOT NOTICED'}")
        failed += not found
    print(f"{len(runs) + 4 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main())
