#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands on drives: snapshots, jobs and their events, dirty bitmaps, resizing. What
jobs do to the data under a guest's writes is tests/format/jobs.c's."""
import json
import random
import shutil
import subprocess
import sys
import time

from common import BOTHY, Vm, check, run_all

MIB = 1 << 20


def disk(*args, ok=0):
    r = subprocess.run([BOTHY, "disk", *map(str, args)], capture_output=True, text=True,
                       check=False, timeout=120)
    check(r.returncode == ok, args, r.stdout, r.stderr)
    return r.stdout


def error_of(answer):
    check("error" in answer, "no error:", answer)
    return answer["error"]["desc"]


def done(answer):
    check("return" in answer, answer)
    return answer["return"]


def start(folder, echo):
    """A machine with a qcow2 drive, and a raw file of what is in it."""
    raw, image = folder / "want.raw", folder / "a.qcow2"
    rnd = random.Random(1)
    raw.write_bytes(b"".join(rnd.randbytes(65536) if i % 3 else bytes(65536) for i in range(128)))
    disk("convert", raw, image)
    vm = Vm(kernel=str(echo), drives=[{"id": "d0", "file": str(image), "format": "qcow2"}])
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    return vm, raw, image


def finish(vm, job="d0", event="BLOCK_JOB_COMPLETED"):
    e = vm.event(event)["data"]
    check(e["device"] == job and "error" not in e, e)
    return e


def chain(vm):
    image = done(vm.command("query-block"))[0]["inserted"]["image"]
    names = []
    while image:
        names.append(image["filename"].rsplit("/", 1)[1])
        image = image.get("backing-image")
    return names


def quit_vm(vm):
    vm.command("quit")
    vm.wait()
    vm.close()


def test_snapshots_and_chains(folder, echo):
    vm, raw, _ = start(folder, echo)
    for n in "bcd":
        done(vm.command("blockdev-snapshot-sync", device="d0",
                        **{"snapshot-file": str(folder / f"{n}.qcow2"), "format": "qcow2"}))
    check(chain(vm) == ["d.qcow2", "c.qcow2", "b.qcow2", "a.qcow2"], chain(vm))
    check("exists" in error_of(vm.command("blockdev-snapshot-sync", device="d0",
                                          **{"snapshot-file": str(folder / "b.qcow2")})), "again")
    done(vm.command("block-commit", device="d0", top=str(folder / "c.qcow2"),
                    base=str(folder / "b.qcow2"), **{"job-id": "j"}))
    finish(vm, "j")
    check(chain(vm) == ["d.qcow2", "b.qcow2", "a.qcow2"], chain(vm))
    done(vm.command("block-stream", device="d0", base=str(folder / "a.qcow2")))
    finish(vm)
    check(chain(vm) == ["d.qcow2", "a.qcow2"], chain(vm))
    done(vm.command("block-commit", device="d0"))
    vm.event("BLOCK_JOB_READY")
    job = done(vm.command("query-block-jobs"))[0]
    check(job["ready"] and job["type"] == "commit" and job["status"] == "ready", job)
    done(vm.command("block-job-complete", device="d0"))
    finish(vm)
    check(chain(vm) == ["a.qcow2"] and not done(vm.command("query-block-jobs")), chain(vm))
    quit_vm(vm)
    disk("compare", raw, folder / "a.qcow2")
    disk("check", folder / "a.qcow2")


def test_mirror(folder, echo):
    vm, raw, _ = start(folder, echo)
    m = {"device": "d0", "sync": "full"}
    done(vm.command("drive-mirror", target=str(folder / "m.vmdk"), format="vmdk", **m))
    vm.event("BLOCK_JOB_READY")
    check("job" in error_of(vm.command("block_resize", device="d0", size=16 * MIB)), "busy")
    done(vm.command("block-job-cancel", device="d0"))  # ready: a copy of this moment
    finish(vm)
    disk("compare", raw, folder / "m.vmdk")
    done(vm.command("drive-mirror", target=str(folder / "n.raw"), format="raw", **m))
    vm.event("BLOCK_JOB_READY")
    done(vm.command("block-job-complete", device="d0"))
    finish(vm)
    check(chain(vm) == ["n.raw"], chain(vm))
    # Slow, halted, gone on, ended before it was ready: nothing is left.
    done(vm.command("drive-mirror", target=str(folder / "x.qcow2"), format="qcow2", speed=65536,
                    **m))
    done(vm.command("block-job-pause", device="d0"))
    check(done(vm.command("query-block-jobs"))[0]["paused"], "paused")
    done(vm.command("block-job-resume", device="d0"))
    check("ready" in error_of(vm.command("block-job-complete", device="d0")), "early")
    done(vm.command("block-job-cancel", device="d0"))
    finish(vm, event="BLOCK_JOB_CANCELLED")
    check(not (folder / "x.qcow2").exists(), "a half-made copy was left")
    done(vm.command("blockdev-mirror", target=str(folder / "m.vmdk"), format="vmdk",
                    **{"x-resume": True}, **m))
    vm.event("BLOCK_JOB_READY")
    done(vm.command("block-job-complete", device="d0"))
    finish(vm)
    quit_vm(vm)
    disk("compare", raw, folder / "m.vmdk")
    disk("compare", raw, folder / "n.raw")


def test_backup_and_bitmaps(folder, echo):
    vm, raw, image = start(folder, echo)
    done(vm.command("block-dirty-bitmap-add", node="d0", name="b", persistent=True))
    check("already" in error_of(vm.command("block-dirty-bitmap-add", node="d0", name="b")), "twice")
    done(vm.command("drive-backup", device="d0", target=str(folder / "full.qcow2"),
                    format="qcow2", sync="full"))
    finish(vm)
    disk("create", folder / "inc.qcow2", "--backing", "full.qcow2", "--backing-format", "qcow2")
    done(vm.command("drive-backup", device="d0", target=str(folder / "inc.qcow2"), format="qcow2",
                    sync="incremental", bitmap="b", mode="existing"))
    finish(vm)
    done(vm.command("block-dirty-bitmap-clear", node="d0", name="b"))
    done(vm.command("block-dirty-bitmap-add", node="d0", name="gone"))
    done(vm.command("block-dirty-bitmap-remove", node="d0", name="gone"))
    check("no bitmap" in error_of(vm.command("block-dirty-bitmap-clear", node="d0", name="gone")),
          "gone")
    quit_vm(vm)
    disk("compare", raw, folder / "inc.qcow2")
    info = json.loads(disk("info", image, "--json"))
    maps = info["format-specific"]["data"]["bitmaps"]
    check(maps == [{"name": "b", "granularity": 65536, "flags": ["auto"]}], maps)
    disk("check", image)
    if shutil.which("qemu-img"):
        for cmd in (["check"], ["bitmap", "--add"], ["bitmap", "--merge"], ["bitmap", "--remove"]):
            more = {"--add": ["c"], "--merge": ["b"], "--remove": ["b"]}.get(cmd[-1], [])
            if cmd[-1] == "--merge":
                cmd, more = ["bitmap", "--merge", "b"], ["c"]
            subprocess.run(["qemu-img", *cmd, image, *more], check=True, capture_output=True)
        maps = json.loads(disk("info", image, "--json"))["format-specific"]["data"]["bitmaps"]
        check([m["name"] for m in maps] == ["c"], maps)
        disk("check", image)


def restart(image):
    """The machine is gone as in a crash of the host's power; another takes its disk."""
    vm = Vm(drives=[{"id": "d0", "file": str(image), "format": "qcow2"}])
    vm.hello()
    return vm


def progress(vm, want):
    """Waits until a job has copied @want bytes."""
    for _ in range(2000):
        job = done(vm.command("query-block-jobs"))[0]
        if job["offset"] >= want:
            return job
        time.sleep(0.005)
    check(False, "no progress:", job)


def crash_in(vm, command, want=MIB, **args):
    """A job held to 4 MiB a second is cut off in its middle."""
    done(vm.command(command, device="d0", speed=4 * MIB, **args))
    job = progress(vm, want)
    check(job["offset"] < job["len"] and job["speed"] == 4 * MIB, job)
    vm.proc.kill()
    vm.wait()
    vm.close()


def test_crash_in_jobs(folder, echo):
    vm, raw, image = start(folder, echo)
    top = folder / "top.qcow2"
    done(vm.command("blockdev-snapshot-sync", device="d0", **{"snapshot-file": str(top)}))
    crash_in(vm, "block-stream")
    disk("check", top)
    disk("compare", raw, top)
    vm = restart(top)
    check(chain(vm) == ["top.qcow2", "a.qcow2"], chain(vm))
    done(vm.command("block-stream", device="d0"))
    finish(vm)
    check(chain(vm) == ["top.qcow2"], chain(vm))
    # A copy is gone on with: what is there is not written again.
    crash_in(vm, "drive-mirror", target=str(folder / "m.qcow2"), format="qcow2", sync="full")
    disk("check", top)
    disk("check", "--repair", "leaks", folder / "m.qcow2")
    vm = restart(top)
    check("exists" in error_of(vm.command("drive-mirror", device="d0", sync="full", format="qcow2",
                                          target=str(folder / "m.qcow2"))), "over it")
    done(vm.command("drive-mirror", device="d0", target=str(folder / "m.qcow2"), format="qcow2",
                    sync="full", mode="existing", **{"x-resume": True}))
    vm.event("BLOCK_JOB_READY")
    done(vm.command("block-job-complete", device="d0"))
    finish(vm)
    check(chain(vm) == ["m.qcow2"], chain(vm))
    quit_vm(vm)
    disk("compare", raw, folder / "m.qcow2")
    # Merged down: the base takes the place of its overlay, whole at every moment.
    base, over = folder / "base.qcow2", folder / "over.qcow2"
    disk("create", base, str(raw.stat().st_size))
    disk("create", over, "--backing", base, "--backing-format", "qcow2")
    disk("convert", raw, over, "--into", "--from", "raw", "--to", "qcow2")
    vm = restart(over)
    crash_in(vm, "block-commit")
    disk("check", base)
    disk("compare", raw, over)
    vm = restart(over)
    done(vm.command("block-commit", device="d0"))
    vm.event("BLOCK_JOB_READY")
    done(vm.command("block-job-complete", device="d0"))
    finish(vm)
    check(chain(vm) == ["base.qcow2"], chain(vm))
    quit_vm(vm)
    disk("compare", raw, base)


def test_crash_with_a_bitmap(folder, echo):
    vm, raw, image = start(folder, echo)
    done(vm.command("block-dirty-bitmap-add", node="d0", name="b", persistent=True))
    quit_vm(vm)
    vm = Vm(kernel=str(echo), drives=[{"id": "d0", "file": str(image), "format": "qcow2"}])
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    done(vm.command("block-dirty-bitmap-add", node="d0", name="c", persistent=True))
    vm.proc.kill()
    vm.wait()
    vm.close()
    disk("check", "--repair", "leaks", image)
    vm = restart(image)
    disk("convert", raw, folder / "last.qcow2")
    disk("create", folder / "i.qcow2", "--backing", "last.qcow2", "--backing-format", "qcow2")
    why = error_of(vm.command("drive-backup", device="d0", target=str(folder / "i.qcow2"),
                              sync="incremental", bitmap="c", mode="existing"))
    check("'c'" in why and "full backup" in why, why)
    done(vm.command("block-dirty-bitmap-remove", node="d0", name="c"))
    done(vm.command("block-dirty-bitmap-add", node="d0", name="c", persistent=True))
    done(vm.command("drive-backup", device="d0", target=str(folder / "f.qcow2"), sync="full"))
    finish(vm)
    quit_vm(vm)
    disk("compare", raw, folder / "f.qcow2")
    disk("check", image)


def test_resize_and_refusals(folder, echo):
    vm, _, image = start(folder, echo)
    done(vm.command("block_resize", device="d0", size=16 * MIB))
    check("cuts off" in error_of(vm.command("block_resize", device="d0", size=MIB)), "shrink")
    check("negative" in error_of(vm.command("block_resize", device="d0", size=-1)), "negative")
    check("no drive" in error_of(vm.command("block_resize", device="x", size=MIB)), "drive")
    check("nothing to pull" in error_of(vm.command("block-stream", device="d0")), "stream")
    check("no backing file" in error_of(vm.command("block-commit", device="d0")), "commit")
    check("sync" in error_of(vm.command("drive-backup", device="d0", target="t", sync="all")),
          "sync")
    check("bitmap" in error_of(vm.command("drive-backup", device="d0", target="t",
                                          sync="incremental")), "no bitmap")
    check("no job" in error_of(vm.command("block-job-cancel", device="x")), "no job")
    check("exists" in error_of(vm.command("drive-backup", device="d0", target=str(image),
                                          sync="full")), "over itself")
    quit_vm(vm)
    check(json.loads(disk("info", image, "--json"))["virtual-size"] == 16 * MIB, "size")


if __name__ == "__main__":
    sys.exit(run_all(globals()))
