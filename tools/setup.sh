#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs from Debian's packages what a purpose needs and is missing. Says what
# it does; does nothing when nothing is missing.
#
# usage: tools/setup.sh [build|check|bench]
set -eu

purpose=${1:-build}
case $purpose in
build) packages="gcc libc6-dev make meson ninja-build pkg-config python3 libjson-c-dev
	zlib1g-dev libzstd-dev nettle-dev" ;;
check) packages="gcc libc6-dev make binutils meson ninja-build pkg-config python3 libjson-c-dev
	zlib1g-dev libzstd-dev nettle-dev qemu-utils cryptsetup-bin
	libcmocka-dev libzydis-dev cpio gzip xz-utils" ;;
guest) packages="cpio gzip python3" ;;
bench) packages="gcc libc6-dev make binutils meson ninja-build pkg-config python3 libjson-c-dev
	zlib1g-dev libzstd-dev nettle-dev qemu-utils
	cpio gzip qemu-system-x86" ;;
*)
	echo "usage: tools/setup.sh [build|check|guest|bench]" >&2
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
	binutils) tool=ld ;;
	qemu-utils) tool=qemu-img ;;
	cryptsetup-bin) tool=cryptsetup ;;
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
