#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the disk and CD images that guest tests boot, from Debian's packages, in the
user's cache folder. An image is made once; a changed recipe makes it again.

usage: images.py NAME...      (prints each image's path, a line each)
       images.py --list
"""
import fcntl
import hashlib
import inspect
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "bothy"
IMAGES = CACHE / "images"
SECTOR = 512
MIB = 1 << 20
ROOT_OFFSET = 66 * MIB  # of an installed system's root, see debian()
GRUB_BIOS = pathlib.Path("/usr/lib/grub/i386-pc")
GRUB_MODULES = ("biosdisk part_gpt part_msdos ext2 fat iso9660 normal configfile linux linux16 multiboot serial "
                "terminal search search_label search_fs_file echo test ls cat reboot halt minicmd chain")
INSTALLER = pathlib.Path("/usr/lib/debian-installer/images/12/amd64")
PACKAGES = ("systemd-sysv,udev,dbus,openssh-server,iproute2,pciutils,kmod,e2fsprogs,login,passwd,curl,"
            "ca-certificates,procps,initramfs-tools")
# What an installed system has of its own: names, a console on the serial port, DHCP.
SETUP = r"""
set -eu
root=$1
echo debian >"$root/etc/hostname"
echo "127.0.0.1 localhost debian" >"$root/etc/hosts"
echo "LABEL=root / ext4 defaults,errors=remount-ro 0 1" >"$root/etc/fstab"
echo "root:bothy" | chroot "$root" chpasswd
mkdir -p "$root/etc/systemd/network" "$root/root/.ssh"
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/80-dhcp.network"
chroot "$root" systemctl enable systemd-networkd >/dev/null 2>&1
rm -f "$root/etc/resolv.conf"
echo "nameserver 10.0.2.3" >"$root/etc/resolv.conf"
# A machine without a network starts as quickly as one with.
chroot "$root" systemctl mask systemd-networkd-wait-online.service >/dev/null 2>&1
cp "$2" "$root/root/.ssh/authorized_keys"
chmod 700 "$root/root/.ssh"
chmod 600 "$root/root/.ssh/authorized_keys"
rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"
kernel=$(basename "$(ls "$root"/boot/vmlinuz-* | tail -n 1)")
initrd=initrd.img-${kernel#vmlinuz-}
mkdir -p "$root/boot/grub"
cat >"$root/boot/grub/grub.cfg" <<EOF
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=1
menuentry "Debian" {
	linux /boot/$kernel root=LABEL=root console=tty0 console=ttyS0,115200
	initrd /boot/$initrd
}
EOF
# Without what is mounted in it at the moment (/proc, /sys).
plain=$(mktemp -d)
mount --bind "$root" "$plain"
mke2fs -q -t ext4 -L root -d "$plain" -F "$3" "$4"
umount "$plain"
rmdir "$plain"
"""


def say(text):
    print("images: " + text, file=sys.stderr, flush=True)


def need(tools):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    for tool, package in tools.items():
        if not (shutil.which(tool, path=path) or pathlib.Path(tool).exists()):
            sys.exit(f"images: '{tool}' is missing; install Debian's package {package}")


def run(cmd, **kw):
    done = subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if done.returncode:
        sys.stderr.write(done.stdout[-3000:])
        sys.exit(f"images: '{cmd[0]}' failed")
    return done.stdout


def ssh_key():
    """The key that tests log in with."""
    key = CACHE / "ssh_key"
    if not key.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bothy tests", "-f", key])
    return key


def grub_core(work, prefix):
    """GRUB's second part for BIOS, with what it needs to find its configuration."""
    early = work / "early.cfg"
    early.write_text("search --no-floppy --label root --set=root\nset prefix=($root)/boot/grub\n"
                     if prefix == "(hd0)/boot/grub" else "")
    core = work / "core.img"
    run(["grub-mkimage", "-O", "i386-pc", "-d", GRUB_BIOS, "-o", core, "-p", prefix, "-c", early,
         *GRUB_MODULES.split()])
    return core


def put_boot_sector(image, core_lba, whole):
    """boot.img into the first sector, and where it finds core.img (GRUB's own layout:
    a 64-bit sector number at 0x5c; core.img's list of blocks ends its first sector)."""
    boot = (GRUB_BIOS / "boot.img").read_bytes()
    with open(image, "r+b") as f:
        first = bytearray(f.read(SECTOR))
        first[:440] = boot[:440]
        if whole:
            first[440:512] = boot[440:512]
        first[0x5c:0x64] = core_lba.to_bytes(8, "little")
        first[0x66:0x68] = b"\x90\x90"  # the drive that the BIOS names is right
        first[510:512] = b"\x55\xaa"
        f.seek(0)
        f.write(first)


def put_core(image, core, lba):
    data = bytearray(core.read_bytes())
    data += bytes(-len(data) % SECTOR)
    data[0x1f4:0x1fc] = (lba + 1).to_bytes(8, "little")
    with open(image, "r+b") as f:
        f.seek(lba * SECTOR)
        f.write(data)
    return len(data)


def esp(work):
    """The EFI system partition: GRUB where firmware looks without a boot entry."""
    cfg = work / "efi.cfg"
    cfg.write_text("search --no-floppy --label root --set=root\nconfigfile ($root)/boot/grub/grub.cfg\n")
    run(["grub-mkstandalone", "-O", "x86_64-efi", "-o", work / "grubx64.efi",
         "--modules=part_gpt ext2 fat search search_label configfile normal linux serial terminal",
         "--install-modules=part_gpt part_msdos ext2 fat search search_label configfile normal linux serial "
         "terminal echo test ls cat reboot halt efi_gop all_video gfxterm",
         "--locales=", "--themes=", "--fonts=", f"boot/grub/grub.cfg={cfg}"])
    image = work / "esp.img"
    with open(image, "wb") as f:
        f.truncate(64 * MIB)
    run(["mformat", "-i", image, "-F", "-v", "ESP", "::"])
    run(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"])
    for to in ("BOOT/BOOTX64.EFI", "debian/grubx64.efi"):
        run(["mcopy", "-i", image, work / "grubx64.efi", f"::/EFI/{to}"])
    return image


def copy_into(image, part, offset):
    with open(image, "r+b") as out, open(part, "rb") as f:
        out.seek(offset)
        while True:
            buf = f.read(MIB)
            if not buf:
                break
            if buf.count(0) == len(buf):
                out.seek(len(buf), os.SEEK_CUR)
            else:
                out.write(buf)


def debian(work, out, suite, arch, kernel, size="2G", keep_mirror=None):
    need({"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "sfdisk": "fdisk", "grub-mkimage": "grub-common",
          "mformat": "mtools", "ssh-keygen": "openssh-client", str(GRUB_BIOS): "grub-pc-bin",
          "/usr/lib/grub/x86_64-efi": "grub-efi-amd64-bin"})
    if arch != "amd64":
        need({"arch-test": "arch-test"})
    say(f"installing Debian {suite} ({arch}); this takes a few minutes")
    script = work / "setup.sh"
    script.write_text(SETUP)
    root = work / "root.img"
    # Rootless modes write from within their own namespace.
    os.chmod(work, 0o755)
    key = work / "key.pub"
    shutil.copy(str(ssh_key()) + ".pub", key)
    root.touch()
    os.chmod(root, 0o666)
    with open(root, "r+b") as f:
        f.truncate(int(size[:-1]) * 1024 * MIB)
    target = work / "tree"
    # Without the security archive: nothing here depends on it, and one archive is in step
    # with itself more often than two with each other.
    run(["mmdebstrap", "--variant=minbase", f"--architectures={arch}", f"--include={kernel},{PACKAGES}",
         r"""--setup-hook=sed -i /-security/d "$1"/etc/apt/sources.list""",
         f"--customize-hook=sh {script} \"$1\" {key} {root} {size}", suite, "/dev/null", "--format=null"])
    shutil.rmtree(target, ignore_errors=True)
    image = work / "disk.img"
    first_root = 66 * MIB
    total = first_root + root.stat().st_size + MIB
    with open(image, "wb") as f:
        f.truncate(total)
    table = ("label: gpt\n"
             "start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
             f"start=4096, size={64 * MIB // SECTOR - 2048}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp\n"
             f"start={first_root // SECTOR}, size={root.stat().st_size // SECTOR}, "
             "type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root\n")
    run(["sfdisk", "-q", image], input=table)
    core = grub_core(work, "(hd0)/boot/grub")
    if put_core(image, core, 2048) > MIB:
        sys.exit("images: GRUB is larger than its partition")
    put_boot_sector(image, 2048, False)
    part = esp(work)
    with open(part, "r+b") as f:
        f.truncate(64 * MIB - MIB)
    copy_into(image, part, 2 * MIB)
    copy_into(image, root, first_root)
    shutil.move(image, out)


def debian12(work, out):
    debian(work, out, "bookworm", "amd64", "linux-image-amd64")


def debian13(work, out):
    debian(work, out, "trixie", "amd64", "linux-image-amd64")


def debian12_i386(work, out):
    debian(work, out, "bookworm", "i386", "linux-image-686-pae")


def grub_cd(work, out):
    need({"grub-mkrescue": "grub-common", "xorriso": "xorriso", "mformat": "mtools",
          str(GRUB_BIOS): "grub-pc-bin", "/usr/lib/grub/x86_64-efi": "grub-efi-amd64-bin"})
    tree = work / "cd" / "boot" / "grub"
    tree.mkdir(parents=True)
    (tree / "grub.cfg").write_text("serial --unit=0 --speed=115200\nterminal_input console serial\n"
                                   "terminal_output console serial\necho BOTHY-CD\n")
    run(["grub-mkrescue", "-o", out, work / "cd"])


def grub_floppy(work, out):
    need({"grub-mkimage": "grub-common", str(GRUB_BIOS): "grub-pc-bin"})
    core = work / "core.img"
    early = work / "early.cfg"
    early.write_text("serial --unit=0 --speed=115200\nterminal_input console serial\n"
                     "terminal_output console serial\necho BOTHY-FLOPPY\n")
    run(["grub-mkimage", "-O", "i386-pc", "-d", GRUB_BIOS, "-o", core, "-p", "(fd0)/boot/grub", "-c", early,
         *"biosdisk part_gpt part_msdos ext2 fat iso9660 serial terminal echo ls cat normal minicmd".split()])
    with open(out, "wb") as f:
        f.truncate(1440 * 1024)
    put_core(out, core, 1)
    put_boot_sector(out, 1, True)
    boot = (GRUB_BIOS / "boot.img").read_bytes()
    with open(out, "r+b") as f:
        # A floppy's own parameters stand where the jump skips; the drive number is kept.
        f.write(boot[:0x5c] + (1).to_bytes(8, "little") + boot[0x64:])


def installer_cd(work, out):
    need({"grub-mkrescue": "grub-common", "xorriso": "xorriso", "mformat": "mtools",
          str(INSTALLER): "debian-installer-12-netboot-amd64"})
    tree = work / "cd"
    (tree / "boot" / "grub").mkdir(parents=True)
    files = INSTALLER / "text" / "debian-installer" / "amd64"
    for name in ("linux", "initrd.gz"):
        shutil.copy(files / name, tree / name)
    (tree / "boot" / "grub" / "grub.cfg").write_text(
        "set timeout=0\nmenuentry Install {\n\tlinux /linux vga=normal fb=false\n\tinitrd /initrd.gz\n}\n")
    run(["grub-mkrescue", "-o", out, work / "cd"])


def memtest_cd(work, out):
    need({"/usr/lib/memtest86+/memtest86+x64.iso": "memtest86+"})
    shutil.copy("/usr/lib/memtest86+/memtest86+x64.iso", out)


def efi_disk(work, out):
    """A FAT disk whose only program is not where firmware looks by itself."""
    need({"grub-mkstandalone": "grub-common", "mformat": "mtools", "sfdisk": "fdisk",
          "/usr/lib/grub/x86_64-efi": "grub-efi-amd64-bin"})
    cfg = work / "efi.cfg"
    cfg.write_text("echo BOTHY-ENTRY\nexit\n")  # firmware's console is on the serial port, too
    run(["grub-mkstandalone", "-O", "x86_64-efi", "-o", work / "entry.efi",
         "--modules=echo normal minicmd", "--install-modules=echo normal minicmd",
         "--locales=", "--themes=", "--fonts=", f"boot/grub/grub.cfg={cfg}"])
    with open(out, "wb") as f:
        f.truncate(48 * MIB)
    run(["sfdisk", "-q", out], input="label: gpt\nstart=2048, size=90112, "
                                     "type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp\n")
    run(["mformat", "-i", f"{out}@@1M", "-T", "90112", "-F", "-v", "ESP", "::"])
    run(["mcopy", "-i", f"{out}@@1M", work / "entry.efi", "::/entry.efi"])


MAKERS = {"debian12.img": debian12, "debian13.img": debian13, "debian12-i386.img": debian12_i386,
          "grub.iso": grub_cd, "grub-floppy.img": grub_floppy, "installer.iso": installer_cd,
          "memtest.iso": memtest_cd, "efi.img": efi_disk}


# Of what else an image is made; the others share nothing that their bytes depend on.
SHARED = {"debian12.img": (debian, grub_core, put_boot_sector, put_core, esp)}
SHARED["debian13.img"] = SHARED["debian12-i386.img"] = SHARED["debian12.img"]
SHARED["grub-floppy.img"] = (put_boot_sector, put_core)


def recipe_of(name):
    text = "".join(inspect.getsource(fn) for fn in (MAKERS[name], *SHARED.get(name, ())))
    if debian in SHARED.get(name, ()):
        text += SETUP + PACKAGES + GRUB_MODULES
    return hashlib.sha256(text.encode()).hexdigest()


# Read at once: a source that changes while tests run is another's recipe.
RECIPES = {name: recipe_of(name) for name in MAKERS}


def image(name):
    """The path of an image, made if it is not there or its recipe changed. Two at a time
    make it once."""
    out = IMAGES / name
    stamp = IMAGES / (name + ".made-by")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with open(IMAGES / (name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        want = RECIPES[name]
        if out.exists() and stamp.exists() and stamp.read_text() == want:
            return out
        with tempfile.TemporaryDirectory(dir=IMAGES, prefix="work.") as folder:
            work = pathlib.Path(folder)
            made = work / "made"
            MAKERS[name](work, made)
            os.replace(made, out)
        stamp.write_text(want)
    say(f"{name} is ready")
    return out


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--list":
        print("\n".join(MAKERS))
        return
    for name in sys.argv[1:]:
        if name not in MAKERS:
            sys.exit(f"images: there is no '{name}'; --list shows what there is")
        print(image(name))


if __name__ == "__main__":
    main()
