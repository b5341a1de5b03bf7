#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs from Debian's packages what a purpose needs and is missing. Says what
# it does; does nothing when nothing is missing.
#
# usage: tools/setup.sh [build|check|guest|guests|nested|bench]
set -eu

purpose=${1:-build}
# What the program is built from and what it starts at run time: one group a line.
build="gcc libc6-dev make meson ninja-build pkg-config python3
	libjson-c-dev
	zlib1g-dev libdeflate-dev libisal-dev libzstd-dev nettle-dev libgnutls28-dev
	libslirp-dev liburing-dev"
firmware="seabios ovmf"
guest="cpio gzip python3"
# Peers and tools of the tests that need no installed system.
tests="binutils gdb xz-utils libcmocka-dev libzydis-dev
	qemu-utils cryptsetup-bin nbdkit libnbd-bin gnutls-bin
	grub-common grub-pc-bin grub-efi-amd64-bin xorriso mtools fdisk e2fsprogs"
# What installed systems, installers and memory tests are made from.
images="mmdebstrap arch-test dosfstools memtest86+ debian-installer-12-netboot-amd64 openssh-client"
case $purpose in
build) packages="$build" ;;
guest) packages="$guest" ;;
check) packages="$build $firmware $guest $tests" ;;
guests) packages="$build $firmware $guest $tests $images" ;;
nested) packages="$build $firmware $guest binutils gdb qemu-system-x86 seabios" ;;
bench) packages="$build $firmware $guest binutils qemu-utils qemu-system-x86 e2fsprogs" ;;
*)
	echo "usage: tools/setup.sh [build|check|guest|guests|nested|bench]" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "setup: this is no Debian system; make sure these are installed: "$packages >&2
	exit 0
fi

missing=""
for p in $packages; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $p"
done
# A tool that came another way than as a package is as good.
have=""
for p in $missing; do
	case $p in
	gcc | make | meson | cpio | python3 | gzip) tool=$p ;;
	ninja-build) tool=ninja ;;
	pkg-config) tool=pkg-config ;;
	qemu-system-x86) tool=qemu-system-x86_64 ;;
	xz-utils) tool=xz ;;
	gdb) tool=gdb ;;
	binutils) tool=ld ;;
	qemu-utils) tool=qemu-img ;;
	cryptsetup-bin) tool=cryptsetup ;;
	nbdkit) tool=nbdkit ;;
	libnbd-bin) tool=nbdinfo ;;
	gnutls-bin) tool=certtool ;;
	*) tool="" ;;
	esac
	if [ -n "$tool" ] && command -v "$tool" >/dev/null 2>&1; then
		have="$have $p"
	fi
done
for p in $have; do
	missing=$(printf ' %s ' "$missing" | sed "s/ $p / /")
done
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "setup: missing: $missing" >&2
		echo "setup: as root, run: apt-get install -y --no-install-recommends $missing" >&2
		exit 1
	fi
	sudo=sudo
fi
echo "setup: installing $missing${sudo:+ (sudo may ask for your password)}"
install() {
	$sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! install; then
	# A fresh machine has no package lists, or old ones.
	echo "setup: fetching the package lists"
	if ! $sudo apt-get update -qq >"$log" 2>&1 || ! install; then
		tail -n 5 "$log" >&2
		echo "setup: could not install $missing; is there a connection to a Debian mirror?" >&2
		exit 1
	fi
fi
