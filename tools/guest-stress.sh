#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Prepares a second initramfs for the small guest (tools/guest.sh): Debian's stress-ng
# with the libraries that it is linked with. Works as an ordinary user. Prints the
# file's name as its last line.
#
# usage: tools/guest-stress.sh [--refresh]
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/bothy
out=$cache/guest-stress

say() { echo "guest-stress: $*" >&2; }
die() { say "$*"; exit 1; }

[ "${1:-}" = --refresh ] && rm -rf "$out"
recipe=$(cksum <"$0")
if [ -f "$out/ready" ] && [ "$(cat "$out/ready")" = "$recipe" ]; then
	echo "$out/stress.cpio.gz"
	exit 0
fi
for tool in apt-get apt-cache dpkg-deb cpio gzip readelf; do
	command -v "$tool" >/dev/null 2>&1 || die "'$tool' is missing; a Debian system with binutils is needed"
done

mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

apt=()
has() { apt-cache "${apt[@]}" show stress-ng >/dev/null 2>&1; }
if ! has; then
	say "fetching the package lists"
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
	apt=(-o "Dir::State::lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt" -o Debug::NoLocking=1)
	apt-get "${apt[@]}" update -qq >"$work/log" 2>&1 || true
	has || { tail -n 3 "$work/log" >&2; die "Debian's packages cannot be reached; check the network and /etc/apt/sources.list"; }
fi

packages=$(apt-cache "${apt[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts \
	--no-breaks --no-replaces --no-enhances stress-ng | grep '^[a-z0-9]' | sort -u)
say "downloading stress-ng and $(($(echo "$packages" | wc -l) - 1)) packages it depends on"
# Names from package lists: one a word.
# shellcheck disable=SC2086
(cd "$work" && apt-get "${apt[@]}" download -qq $packages >log 2>&1) || {
	tail -n 3 "$work/log" >&2
	die "stress-ng cannot be downloaded; check the network"
}
for deb in "$work"/*.deb; do
	dpkg-deb -x "$deb" "$work/all"
done

# Only what the program loads.
root=$work/root
mkdir -p "$root/usr/bin" "$root/lib/x86_64-linux-gnu" "$root/lib64"
cp "$work/all/usr/bin/stress-ng" "$root/usr/bin/"
todo=$root/usr/bin/stress-ng
while [ -n "$todo" ]; do
	next=
	for file in $todo; do
		for lib in $(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
			to=$root/lib/x86_64-linux-gnu/$lib
			[ -e "$to" ] && continue
			for from in "$work/all/usr/lib/x86_64-linux-gnu/$lib" "$work/all/lib/x86_64-linux-gnu/$lib"; do
				[ -e "$from" ] && cp -L "$from" "$to" && next="$next $to" && break
			done
			[ -e "$to" ] || die "$lib, which stress-ng needs, is in none of its packages"
		done
	done
	todo=$next
done
cp -L "$work/all/lib64/ld-linux-x86-64.so.2" "$root/lib64/" 2>/dev/null ||
	cp -L "$work/all/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/lib64/"

rm -rf "$out"
mkdir -p "$out"
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1n) >"$out/stress.cpio.gz"
echo "$recipe" >"$out/ready"
echo "$out/stress.cpio.gz"
