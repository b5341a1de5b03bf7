/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where our decoder and Zydis may differ, and why; used by decode.c. */
#ifndef BOTHY_TESTS_UNIT_DECODE_ALLOWED_H
#define BOTHY_TESTS_UNIT_DECODE_ALLOWED_H

#include <stdbool.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "src/cpu/x86/insn.h"

/* One mnemonic, two spellings. */
static const struct { const char *zydis, *ours; } decode_names[] = {
	{ "shl", "sal" },
	{ "feni8087_nop", "fneni" },
	{ "fdisi8087_nop", "fndisi" },
	{ "fsetpm287_nop", "fnsetpm" },
	{ "prefetchwt1", "prefetch" }, /* 0F 0D's reserved forms, not offered as such */
};

/* Instruction sets that are not offered: they decode to "ud". */
static inline bool decode_theirs_alone(const ZydisDecodedInstruction *z, unsigned mode)
{
	switch (z->meta.isa_ext) {
	case ZYDIS_ISA_EXT_AMD3DNOW: case ZYDIS_ISA_EXT_AMD_INVLPGB: case ZYDIS_ISA_EXT_AMX_BF16:
	case ZYDIS_ISA_EXT_AMX_INT8: case ZYDIS_ISA_EXT_AMX_TILE: case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX: case ZYDIS_ISA_EXT_AVX_VNNI: case ZYDIS_ISA_EXT_CET:
	case ZYDIS_ISA_EXT_CLZERO: case ZYDIS_ISA_EXT_ENQCMD: case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_GFNI: case ZYDIS_ISA_EXT_HRESET: case ZYDIS_ISA_EXT_KEYLOCKER:
	case ZYDIS_ISA_EXT_KEYLOCKER_WIDE: case ZYDIS_ISA_EXT_KNC: case ZYDIS_ISA_EXT_KNCE:
	case ZYDIS_ISA_EXT_KNCV: case ZYDIS_ISA_EXT_MCOMMIT: case ZYDIS_ISA_EXT_MONITORX:
	case ZYDIS_ISA_EXT_MOVDIR: case ZYDIS_ISA_EXT_PADLOCK: case ZYDIS_ISA_EXT_PCONFIG:
	case ZYDIS_ISA_EXT_PKU: case ZYDIS_ISA_EXT_PT: case ZYDIS_ISA_EXT_RDPRU:
	case ZYDIS_ISA_EXT_RTM: case ZYDIS_ISA_EXT_SERIALIZE: case ZYDIS_ISA_EXT_SGX:
	case ZYDIS_ISA_EXT_SGX_ENCLV: case ZYDIS_ISA_EXT_SMX: case ZYDIS_ISA_EXT_SNP:
	case ZYDIS_ISA_EXT_SSE4A: case ZYDIS_ISA_EXT_SVM: case ZYDIS_ISA_EXT_TBM:
	case ZYDIS_ISA_EXT_TDX: case ZYDIS_ISA_EXT_TSX_LDTRK: case ZYDIS_ISA_EXT_UINTR:
	case ZYDIS_ISA_EXT_VMFUNC: case ZYDIS_ISA_EXT_VTX: case ZYDIS_ISA_EXT_WAITPKG:
	case ZYDIS_ISA_EXT_XOP:
		return true;
	default:
		return false;
	}
}

static inline bool decode_ours_alone(const struct x86_insn *i)
{
	return false;
}

/* The hint NOPs: how many operands the listing shows. */
static inline bool decode_operands_may_differ(const ZydisDecodedInstruction *z,
					      const struct x86_insn *i)
{
	return z->mnemonic == ZYDIS_MNEMONIC_NOP;
}

#endif
