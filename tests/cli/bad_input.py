#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong use and failures: one clear line, the right exit code, nothing left."""
import os
import socket
import subprocess
import sys
import time

from common import BOTHY, TIMEOUT, check, run_all, vm_of


def refuse(args, code, *words, lines=1, user=None):
    """bothy ends with @code and says one line with every word in it."""
    p = subprocess.run([BOTHY, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=TIMEOUT, check=False, user=user)
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
    refuse(["run", "--kernel", echo, "--kvm-irqchip", "moon"], 2, "'moon'", "auto, kernel, split, user")
    refuse(["run", "--restore", "none.save"], 1, "none.save", "No such file")
    refuse(["run", "--initrd", "/dev/null"], 2, "--kernel", "missing")
    refuse(["run", "--firmware", "uefi", "--kernel", "/dev/null"], 2, "without firmware")
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
    s.listen()
    refuse(["run", "--kernel", echo, "--serial", "unix:sock"], 1, "'sock' exists already")
    check((folder / "sock").exists(), "another's socket is gone")
    s.close()
    (folder / "sock").unlink()
    refuse(["run", "--kernel", echo, "--serial", "file:no/such/folder"], 1, "no/such/folder")
    refuse(["run", "--kernel", echo, "--serial", "unix:" + "x" * 200], 1, "at most")
    refuse(["run", "--kernel", echo, "--serial", "file:"], 2, "--serial")
    # A machine that cannot start leaves no file of its own.
    refuse(["run", "--kernel", "none", "--serial", "file:out"], 1, "no such file")
    refuse(["run", "--kernel", "none", "--serial", "unix:out"], 1, "no such file")
    nothing_left(folder, "there")


def test_parts(folder, echo):
    """Disks, networks, displays, devices: what is wrong, and what would be right."""
    with open("d.img", "wb") as f:
        f.truncate(1 << 20)
    for args, *words in (
            (["--disk", ",bus=ide"], "the first word is missing"),
            (["--disk", "d.img,bus=usb"], "virtio, scsi, sata, ide"),
            (["--disk", "d.img,buss=ide"], "'buss'", "--list-devices"),
            (["--disk", "d.img,cache=foo"], "writeback"),
            (["--disk", "d.img,readonly=maybe"], "neither on nor off"),
            (["--disk", "d.img,iops=-3"], "iops", "-3"),
            (["--disk", "d.img,bps=1Q"], "unit 'Q'"),
            (["--disk", "d.img,werror=never"], "report|ignore|stop|enospc"),
            (["--disk", "d.img,serial=" + "a" * 21], "21 characters", "20"),
            (["--cdrom", "d.img,bus=virtio"], "scsi, sata, ide"),
            (["--floppy", "d.img,bus=x"], "no bus="),
            (["--floppy", "empty"] * 3, "one already"),
            (["--boot", "disc"], "'disc'", "disk, cdrom, floppy, net"),
            (["--net", "tap"], "'tap'", "user"),
            (["--net", "user,forward=tcp:1"], "tcp:HOSTPORT:GUESTPORT"),
            (["--net", "none,x=1"], "stands alone"),
            (["--net", "user,mac=1:2"], "52:54:00:12:34:56"),
            (["--net", "user,model=e1000"], "'e1000'", "--list-devices"),
            (["--display", "sdl"], "none and vnc"),
            (["--display", "vnc=nowhere:99999"], "ADDR:PORT"),
            (["--vga", "cirrus"], "auto, std, none"),
            (["--device", "virtio-bkl"], "did you mean 'virtio-blk'"),
            (["--device", "virtio-blk"], "needs the property 'drive'"),
            (["--device", "virtio-blk-pci,drive=x"], "no drive 'x'"),
            (["--device", "VGA"] * 2, "one already"),
            (["--device", "piix-ide", "--device", "piix3-ide"], "one already"),
            (["--device", "isa-serial,port=7"], "out of range", "2 to 4"),
            (["--device", "isa-serial"] * 2, "COM2's ports belong to"),
            (["--device", "virtio-rng,addr=99"], "hexadecimal"),
            (["--device", "virtio-rng,addr=2"] * 2, "address 2 is taken"),
            (["--device", "virtio-rng,bus=nope"], "bus 'nope'"),
            (["--device", "virtio-rng,slot=1"], "addr="),
            (["--device", "pcie-root-port,id=a"] * 2, "id 'a'"),
            (["--chardev", "foo,id=a"], "null, file, socket"),
            (["--chardev", "null"], "needs id="),
            (["--drive", "file=d.img"], "needs id="),
            (["--uuid", "1"], "--uuid", "xxxxxxxx-xxxx"),
            (["--watchdog-action", "bite"], "reset, shutdown"),
            (["--fw-cfg", "name=x,string=a"], "opt/"),
            (["--fw-cfg", "opt/a"], "file=FILE or string=TEXT"),
            (["--fw-cfg", "opt/a,file=none,string=b"], "file=FILE or string=TEXT"),
            (["--fw-cfg", "opt/a,strin=b"], "'strin'"),
            (["--fw-cfg", "opt/%s,string=b" % ("a" * 60)], "at most 55"),
            (["--fw-cfg", "opt/a,string=b"] * 2, "two firmware files"),
    ):
        refuse(["run", "--serial", "none", *args], 2, *words)
    refuse(["run", "--serial", "none", "--kernel", echo, "--fw-cfg", "opt/a,string=b"], 2,
           "needs firmware")
    nothing_left(folder, "d.img")


def test_disk_files(folder, echo):
    """What is no disk, or somebody else's: said with the reason, and exit code 1."""
    with open("d.img", "wb") as f:
        f.truncate(1 << 20)
    open("empty.img", "wb").close()
    run = ["run", "--kernel", echo, "--serial", "none"]
    refuse([*run, "--disk", "none.img"], 1, "'none.img'", "No such file")
    refuse([*run, "--disk", folder], 1, "Is a directory")
    refuse([*run, "--disk", "empty.img"], 1, "'empty.img'", "empty")
    refuse([*run, "--disk", "/dev/null"], 1, "'/dev/null'")
    refuse([*run, "--disk", "d.img", "--disk", "d.img"], 1, "'d.img'", "name it once")
    refuse([*run, "--display", "vnc=192.0.2.1:5900"], 1, "cannot listen on 192.0.2.1")
    refuse([*run, "--chardev", "file,path=/nowhere/x,id=a"], 1, "No such file")
    refuse([*run, "--control", "/nowhere/a"], 1, "--control", "No such file")
    refuse(["run", "--serial", "none", "--firmware", "coreboot"], 1, "'coreboot'", "No such file")
    refuse(["run", "--serial", "none", "--firmware", "/etc/passwd"], 1, "no firmware")
    refuse(["run", "--serial", "none", "--fw-cfg", "opt/a,file=none"], 1, "'none'", "No such file")
    # A file that may not be written, as an ordinary user meets it.
    os.chmod("d.img", 0o444)
    os.chmod(folder, 0o755)
    refuse(["run", "--serial", "none", "--kernel", "d.img", "--disk", "d.img"], 1, "'d.img'",
           "Permission denied", "'readonly'", user=None if os.geteuid() else 65534)
    os.chmod("d.img", 0o644)
    # Another machine's: its process is named, to writers and to readers.
    other = subprocess.Popen([BOTHY, *map(str, run), "--disk", "d.img", "--control", "c"],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    vm = vm_of(other.pid)
    while not os.path.exists("c") or "d.img" not in " ".join(
            os.readlink(f"/proc/{vm}/fd/{n}") for n in os.listdir(f"/proc/{vm}/fd")
            if os.path.lexists(f"/proc/{vm}/fd/{n}")):
        check(other.poll() is None, "the other machine ended")
        time.sleep(0.05)
    time.sleep(0.5)
    refuse([*run, "--disk", "d.img"], 1, "in use by process %d (bothy-vm)" % vm)
    refuse([*run, "--disk", "d.img,readonly"], 1, "written by process %d (bothy-vm)" % vm)
    subprocess.run([BOTHY, "ctl", "c", "quit"], stdout=subprocess.DEVNULL, check=True)
    check(other.wait(TIMEOUT) == 0, "the other machine's end")
    nothing_left(folder, "d.img", "empty.img")


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
