#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The machine tests: run.sh asm|guest [ARGUMENTS]. BUILD names the build folder.
# The last line is "N passed, N failed".
set -eu
here=$(dirname "$0")
kind=${1:-asm}
[ $# -gt 0 ] && shift
case $kind in
asm) exec python3 -B "$here/asm/run.py" "$@" ;;
guest) exec python3 -B "$here/guest/run.py" "$@" ;;
*) echo "run.sh: '$kind' is neither asm nor guest" >&2; exit 2 ;;
esac
