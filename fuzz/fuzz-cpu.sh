#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Random instruction sequences on this CPU and in every software engine, until
# stopped or until they differ. BUILD: build folder; ENGINE: one engine only;
# SEED: where to begin (from the clock if not given).
BUILD=${BUILD:-build}
seed=${SEED:-$(date +%s)}
echo "fuzz-cpu: from seed $seed; Ctrl-C ends it"
exec "$BUILD/tests/cpu-diff/cpu-diff" --engine "${ENGINE:-interp}" --seed "$seed" \
	--corpus tests/cpu-diff/corpus --verbose "$@"
