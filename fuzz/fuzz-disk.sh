#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Hostile disk images, without end or for ROUNDS rounds: each format's headers and tables
# mutated, opened and used. A seed that fails is kept in fuzz/seeds-disk, and those are
# run first; `make check` runs them all shortly.
#
# usage: [BUILD=build] fuzz/fuzz-disk.sh [ROUNDS]
set -eu
cd "$(dirname "$0")/.."
program=${BUILD:-build}/tests/format/fmt_hostile
kept=fuzz/seeds-disk
left=${1:-}
seed=$(date +%s)

while read -r format old; do
	case $format in '#'* | '') continue ;; esac
	"$program" 40 "$old" "$format" || { echo "fuzz-disk: $format seed $old fails again" >&2; exit 1; }
done <"$kept"
while [ -z "$left" ] || [ "$left" -gt 0 ]; do
	for format in qcow2 vdi vmdk vpc vhdx luks; do
		if ! "$program" 40 "$seed" "$format"; then
			echo "$format $seed" >>"$kept"
			echo "fuzz-disk: kept $format seed $seed" >&2
			exit 1
		fi
	done
	seed=$((seed + 1))
	[ -z "$left" ] || left=$((left - 1))
done
