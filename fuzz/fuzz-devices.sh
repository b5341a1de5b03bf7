#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Hostile guests against every device, without end or for ROUNDS rounds of a seed each. A
# seed that fails is kept in fuzz/seeds-devices, and those are run first; `make check` runs
# them, shortly.
#
# usage: [BUILD=build] [STEPS=20000] fuzz/fuzz-devices.sh [ROUNDS [TARGET...]]
set -eu
cd "$(dirname "$0")/.."
program=${BUILD:-build}/fuzz/fuzz-devices
kept=fuzz/seeds-devices
left=${1:-} # "": without end
shift $(($# > 0))
seed=$(date +%s%N)

while read -r target old steps; do
	case $target in '#'* | '') continue ;; esac
	[ "$target" = all ] && target=
	# shellcheck disable=SC2086
	"$program" --rounds "$steps" --seed "$old" $target >/dev/null || {
		echo "fuzz-devices: ${target:-all} seed $old fails again" >&2
		exit 1
	}
done <"$kept"
[ "$left" = 0 ] && exit 0
[ $# -gt 0 ] || mapfile -t list < <("$program" --list)
[ $# -eq 0 ] || list=("$@")
while [ -z "$left" ] || [ "$left" -gt 0 ]; do
	for target in "${list[@]}"; do
		if ! "$program" --rounds "${STEPS:-20000}" --seed "$seed" "$target" >/dev/null; then
			echo "$target $seed ${STEPS:-20000}" >>"$kept"
			echo "fuzz-devices: kept $target seed $seed" >&2
			exit 1
		fi
	done
	seed=$((seed + 2))
	[ -z "$left" ] || left=$((left - 1))
done
