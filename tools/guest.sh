#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Prepares the small guest: Debian's unmodified cloud kernel (or, with --pc, the usual one) and an initramfs
# around busybox-static, both from Debian's packages, in the user's cache folder.
# Works as an ordinary user. Prints the folder's name as its last line.
#
# usage: tools/guest.sh [--pc|--kvm] [--refresh]
#   --pc: Debian's kernel for PCs of all kinds, which has drivers that the cloud
#         kernel leaves out (AHCI, floppy)
#   --kvm: the same, with the modules for a host of virtual machines that shares
#          another one's files
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/bothy
guest=$cache/guest
meta=linux-image-cloud-amd64
if [ "${1:-}" = --pc ]; then
	shift
	guest=$cache/guest-pc
	meta=linux-image-amd64
fi
more=""
if [ "${1:-}" = --kvm ]; then
	shift
	guest=$cache/guest-kvm
	meta=linux-image-amd64
	more="kvm kvm-amd 9p 9pnet_virtio"
fi
here=$(cd "$(dirname "$0")" && pwd)

say() { echo "guest: $*" >&2; }
die() { say "$*"; exit 1; }

[ "${1:-}" = --refresh ] && rm -rf "$guest"
recipe=$(cat "$0" "$here/guest/init" "$here/guest/inittab" "$here/guest/rc" | cksum)
if [ -f "$guest/ready" ] && [ "$(cat "$guest/ready")" = "$recipe" ]; then
	say "using the prepared guest in $guest"
	echo "$guest"
	exit 0
fi

for tool in apt-get apt-cache dpkg-deb cpio gzip; do
	command -v "$tool" >/dev/null 2>&1 ||
		die "'$tool' is missing; the guest is made from Debian packages, so a Debian system is needed"
done

mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

apt=()
has() { apt-cache "${apt[@]}" show "$1" >/dev/null 2>&1; }
if ! has "$meta" || ! has busybox-static; then
	# The system has no package lists: fetch our own, which needs no root.
	say "fetching the package lists"
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
	apt=(-o "Dir::State::lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt"
		-o Debug::NoLocking=1)
	apt-get "${apt[@]}" update -qq >"$work/log" 2>&1 || true
	has "$meta" || { tail -n 3 "$work/log" >&2; die "Debian's packages cannot be reached; check the network and /etc/apt/sources.list"; }
fi

# The meta package depends on the kernel of today.
kernel=$(apt-cache "${apt[@]}" depends "$meta" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
[ -n "$kernel" ] || die "package $meta names no kernel; is this Debian?"

fetch() {
	say "downloading $1"
	(cd "$work" && apt-get "${apt[@]}" download -qq "$1" >log 2>&1) || {
		tail -n 3 "$work/log" >&2
		die "$1 cannot be downloaded; check the network, or run 'apt-get update' as root if the lists are old"
	}
	dpkg-deb -x "$work/${1}"_*.deb "$work/${1}.d"
}
fetch "$kernel"
fetch busybox-static

say "making the initramfs"
root=$work/root
mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" \
	"$root/root" "$root/lib/modules" "$root/usr/bin" "$root/usr/sbin"
cp "$work/busybox-static.d/bin/busybox" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
	[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
install -m 755 "$here/guest/init" "$root/init"
install -m 644 "$here/guest/inittab" "$root/etc/inittab"
install -m 755 "$here/guest/rc" "$root/etc/rc"
echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
echo "root:x:0:" >"$root/etc/group"
echo guest >"$root/etc/hostname"
# What Debian's kernel has as modules: pvpanic tells the machine of a kernel panic, the rest
# are drivers of disks, networks and consoles, each with what it depends on.
modules="pvpanic pvpanic-mmio virtio_pci virtio_blk virtio_scsi virtio_net virtio_console
	virtio-rng sd_mod sr_mod isofs ahci ata_piix ata_generic floppy ext4 crc32c_generic
	vfat nls_cp437 nls_ascii $more"
version=$(ls "$work/$kernel.d/lib/modules")
"$root/bin/busybox" depmod -b "$work/$kernel.d" "$version" 2>/dev/null
for module in $modules; do
	sed -n "s,^\([^:]*/$module\.ko\): *\(.*\)\$,\1 \2,p" \
		"$work/$kernel.d/lib/modules/$version/modules.dep"
done | tr ' ' '\n' | sort -u | while read -r file; do
	[ -n "$file" ] && install -D -m 644 "$work/$kernel.d/lib/modules/$version/$file" \
		"$root/lib/modules/$version/$file"
done
"$root/bin/busybox" depmod -b "$root" "$version"
(cd "$root" && find . | LC_ALL=C sort |
	cpio --quiet -o -H newc -R 0:0 | gzip -9n) >"$work/initramfs.cpio.gz"

rm -rf "$guest"
mkdir -p "$guest"
cp "$work/$kernel.d/boot/vmlinuz-"* "$guest/vmlinuz"
mv "$work/initramfs.cpio.gz" "$guest/initramfs.cpio.gz"
cp "$root/bin/busybox" "$guest/busybox"
echo "$kernel" >"$guest/kernel-package"
echo "$recipe" >"$guest/ready"
say "ready in $guest ($kernel)"
echo "$guest"
