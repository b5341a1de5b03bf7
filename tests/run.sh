#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The machine tests: run.sh asm|guest|handover|moves|firmware|boot|images [ARGUMENTS]. BUILD names the build folder.
# The last line is "N passed, N failed".
set -eu
here=$(dirname "$0")
kind=${1:-asm}
[ $# -gt 0 ] && shift
case $kind in
asm) exec python3 -B "$here/asm/run.py" "$@" ;;
boot) exec python3 -B "$here/guest/boot.py" "$@" ;;
images) exec python3 -B "$here/guest/boot.py" --images ;;
firmware) exec python3 -B "$here/guest/firmware.py" "$@" ;;
handover) exec python3 -B "$here/guest/handoff.py" "$("$here/../tools/guest.sh" | tail -n 1)" ;;
moves) exec python3 -B "$here/guest/moves.py" "$@" ;;
guest) exec python3 -B "$here/guest/run.py" "$@" ;;
*) echo "run.sh: '$kind' is none of asm, guest, handover, moves, firmware, boot, images" >&2; exit 2 ;;
esac
