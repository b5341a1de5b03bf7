#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Random instruction sequences on this CPU and in the software engines by turns,
# until stopped or until they differ. BUILD: build folder; ENGINE: these engines
# only; SEED: where to begin (from the clock if not given); MINUTES: length of a
# turn.
BUILD=${BUILD:-build}
seed=${SEED:-$(date +%s)}
stop=
trap 'stop=1' INT TERM
echo "fuzz-cpu: Ctrl-C ends it"
while [ -z "$stop" ]; do
	for engine in ${ENGINE:-interp jit}; do
		[ -n "$stop" ] && break
		echo "fuzz-cpu: $engine, seed $seed"
		"$BUILD/tests/cpu-diff/cpu-diff" --engine "$engine" --seed "$seed" \
			--minutes "${MINUTES:-5}" --corpus tests/cpu-diff/corpus "$@" || exit
	done
	seed=$((seed + 1))
done
