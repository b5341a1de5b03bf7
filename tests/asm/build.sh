#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds one Multiboot-1 test guest: build.sh OUT 32|64 SOURCE...
# 64-bit guests are linked as ELF64 and rewritten as ELF32, the only kind that
# Multiboot 1 loaders take; their code switches to long mode by itself.
set -eu
out=$1 bits=$2
shift 2
here=$(dirname "$0")
root=$here/../..
case $bits in
32) emul=elf_i386 ;;
64) emul=elf_x86_64 ;;
*) echo "build.sh: bits must be 32 or 64, not $bits" >&2; exit 2 ;;
esac
ids="-Wl,--build-id=none"
# Whole cases are functions that must stay one copy: their labels are global.
${CC:-gcc} -m"$bits" -std=gnu11 -O1 -g0 -Wall -Wextra -Wno-unused-parameter \
	-Wno-array-bounds -ffreestanding -fno-pie -no-pie -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -mgeneral-regs-only \
	-mno-red-zone -fno-ipa-icf -fno-inline-functions -fno-strict-aliasing \
	-fno-tree-loop-distribute-patterns -fno-ipa-cp -fno-reorder-functions \
	-fno-toplevel-reorder -fno-delete-null-pointer-checks \
	-nostdlib -static -I"$root" $ids -Wl,-m,$emul -Wl,-z,max-page-size=4096 \
	-Wl,--no-warn-rwx-segments -Wl,-T,"$here/rt.ld" \
	"$here/rt_boot.S" "$here/rt.c" "$@" -o "$out.tmp"
if [ "$bits" = 64 ]; then
	objcopy -O elf32-i386 "$out.tmp" "$out"
	rm -f "$out.tmp"
else
	mv -f "$out.tmp" "$out"
fi
