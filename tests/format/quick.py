#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The format tests, a short run of each: random operations against a plain array
(model), cuts at every write (torture).

usage: quick.py model|torture|jobs|full PROGRAM [SEEDS [STEPS]]
"""
import shutil
import subprocess
import sys
import tempfile

QCOW2 = [["cluster_size=512"], ["cluster_size=4096", "backing=1"], ["backing=1"],
         ["cluster_size=2097152"], ["refcount_bits=1", "cluster_size=4096"],
         ["refcount_bits=4", "cluster_size=4096"], ["refcount_bits=64"], ["compat=v2", "backing=1"],
         ["lazy_refcounts=on"], ["extended_l2=on"], ["extended_l2=on", "backing=1"],
         ["compression_type=zstd"], ["data_file=ext.raw"],
         ["data_file=ext.raw", "data_file_raw=on"], ["preallocation=metadata"],
         ["preallocation=full", "extended_l2=on"], ["cluster_size=512", "cache=32768"],
         ["threads=4", "backing=1"], ["threads=4", "cluster_size=512", "cache=32768"],
         ["threads=4", "extended_l2=on", "backing=1"],
         ["encrypt.format=luks", "encrypt.iter-time=1"],
         ["encrypt.format=luks", "encrypt.iter-time=1", "threads=4", "backing=1",
          "cluster_size=4096"],
         ["encrypt.format=luks", "encrypt.iter-time=1", "extended_l2=on", "preallocation=metadata"]]
MODEL = [("raw", [])] + [("qcow2", o) for o in QCOW2] + [
    ("luks", ["iter-time=1"]), ("luks", ["iter-time=1", "threads=4"]), ("vdi", []), ("vdi", ["static=on"]), ("vdi", ["threads=4"]), ("vmdk", []),
    ("vmdk", ["zeroed_grain=on"]), ("vmdk", ["subformat=twoGbMaxExtentSparse"]),
    ("vmdk", ["subformat=monolithicFlat"]), ("vmdk", ["threads=4"]), ("vpc", []),
    ("vpc", ["subformat=fixed"]), ("vpc", ["threads=4"]), ("vhdx", []),
    ("vhdx", ["subformat=fixed"]), ("vhdx", ["threads=4"])]
TORTURE = [("qcow2", ["cluster_size=4096", "snapshots=1", "resize=1"]),
           ("qcow2", ["cluster_size=512", "snapshots=1"]),
           ("qcow2", ["snapshots=1", "backing=1"]),
           ("qcow2", ["extended_l2=on", "cluster_size=16384", "backing=1"]),
           ("qcow2", ["compat=v2", "cluster_size=4096", "backing=1"]),
           ("qcow2", ["lazy_refcounts=on", "cluster_size=4096"]),
           ("qcow2", ["data_file=ext", "cluster_size=4096"]),
           ("qcow2", ["cluster_size=4096", "jobs=1", "backing=1"]), ("qcow2", ["jobs=1"]),
           ("vdi", ["resize=1"]), ("vdi", ["backing=1"]), ("vmdk", []), ("vmdk", ["backing=1"]),
           ("vpc", []), ("vhdx", ["block_size=1048576"]), ("luks", ["iter-time=1"]), ("raw", []),
           # The tool itself: barriers left out on purpose must be noticed.
           ("qcow2", ["cluster_size=4096", "plant=1"]), ("vmdk", ["backing=1", "plant=1"]),
           ("vdi", ["plant=1"]), ("vhdx", ["block_size=1048576", "plant=1"])]

FULL = [("raw", []), ("qcow2", []), ("qcow2", ["cluster_size=512"]), ("qcow2", ["extended_l2=on"]),
        ("qcow2", ["lazy_refcounts=on", "cluster_size=4096"]), ("vdi", []), ("vmdk", []), ("vpc", []),
        ("vhdx", [])]


def run(cmd):
    return subprocess.run(cmd, capture_output=True, text=True, timeout=300, check=False)


def planted(program, fmt, seed, opts):
    """Whether a lack of order shows depends on what is cut: one of a few runs must tell."""
    for i in range(6):
        r = run([program, fmt, str(seed + i), "80", "300", *opts])
        if not r.returncode:
            break
    return r


def main():
    kind, program = sys.argv[1:3]
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    steps = sys.argv[4] if len(sys.argv) > 4 else ("150" if kind == "model" else "60")
    tmp = tempfile.mkdtemp(prefix="bothy-format.")
    failed = done = 0
    try:
        for seed in range(1, seeds + 1):
            for fmt, opts in {"model": MODEL, "torture": TORTURE, "full": FULL}.get(kind, [("jobs", [])]):
                if kind == "model":
                    size = "8388608"
                    cmd = [program, fmt, tmp, str(seed), steps, size, *opts]
                elif kind == "full":
                    cmd = [program, fmt, str(seed), *opts]
                elif kind == "jobs":
                    cmd = [program, tempfile.mkdtemp(dir=tmp), str(seed), steps]
                else:
                    cmd = [program, fmt, str(seed + 2), steps, "120", *opts]
                r = planted(program, fmt, seed, opts) if "plant=1" in opts else run(cmd)
                if "not an image format" in r.stderr or "no such format" in r.stderr:
                    continue
                done += 1
                if r.returncode:
                    failed += 1
                    print(f"FAIL {' '.join(cmd)}\n{r.stdout[-800:]}{r.stderr[-800:]}")
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"{done - failed} passed, {failed} failed")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main())
