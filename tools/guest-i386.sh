#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Prepares the 32-bit guest of the tests: Debian's unmodified 686-pae kernel and an
# initramfs around its 32-bit busybox-static, in the user's cache folder. Works as an
# ordinary user and leaves the host's architectures alone: apt runs with package lists
# of its own. Prints the folder's name as its last line.
#
# usage: tools/guest-i386.sh [--refresh]
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/bothy
guest=$cache/guest-i386
here=$(cd "$(dirname "$0")" && pwd)
meta=linux-image-686-pae

say() { echo "guest-i386: $*" >&2; }
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

mkdir -p "$cache/apt-i386/lists/partial" "$cache/apt-i386/archives/partial"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# No package is installed here: the lists are another architecture's, the host's
# own state is not looked at.
apt=(-o APT::Architecture=i386 -o APT::Architectures=i386 -o Dir::State::status=/dev/null
	-o "Dir::State::lists=$cache/apt-i386/lists" -o "Dir::Cache=$cache/apt-i386"
	-o Debug::NoLocking=1)
say "fetching the package lists"
apt-get "${apt[@]}" update -qq >"$work/log" 2>&1 || true
kernel=$(apt-cache "${apt[@]}" depends "$meta" 2>>"$work/log" |
	sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
[ -n "$kernel" ] || {
	tail -n 3 "$work/log" >&2
	die "Debian's i386 packages cannot be reached; check the network and /etc/apt/sources.list"
}

fetch() {
	say "downloading $1"
	(cd "$work" && apt-get "${apt[@]}" download -qq "$1" >log 2>&1) || {
		tail -n 3 "$work/log" >&2
		die "$1 cannot be downloaded; check the network"
	}
	dpkg-deb -x "$work/${1}"_*.deb "$work/${1}.d"
}
fetch "$kernel"
fetch busybox-static

say "making the initramfs"
root=$work/root
mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" \
	"$root/root" "$root/lib/modules/$(ls "$work/$kernel.d/lib/modules")" "$root/usr/bin" \
	"$root/usr/sbin"
cp "$work/busybox-static.d/bin/busybox" "$root/bin/busybox"
# The applets' names come from the program itself, which need not run on this host.
{
	echo '#!/bin/busybox sh'
	echo 'for a in $(/bin/busybox --list); do set -- "$@" "/bin/$a"; done'
	echo 'for a; do [ -e "$a" ] || /bin/busybox ln -s busybox "$a"; done'
	sed 1d "$here/guest/init"
} >"$root/init"
chmod 755 "$root/init"
install -m 644 "$here/guest/inittab" "$root/etc/inittab"
install -m 755 "$here/guest/rc" "$root/etc/rc"
echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
echo "root:x:0:" >"$root/etc/group"
echo guest >"$root/etc/hostname"
(cd "$root" && find . | LC_ALL=C sort |
	cpio --quiet -o -H newc -R 0:0 | gzip -9n) >"$work/initramfs.cpio.gz"

rm -rf "$guest"
mkdir -p "$guest"
cp "$work/$kernel.d/boot/vmlinuz-"* "$guest/vmlinuz"
mv "$work/initramfs.cpio.gz" "$guest/initramfs.cpio.gz"
echo "$kernel" >"$guest/kernel-package"
echo "$recipe" >"$guest/ready"
say "ready in $guest ($kernel)"
echo "$guest"
