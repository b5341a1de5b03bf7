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
	{ "fxsave64", "fxsave" },
	{ "fxrstor64", "fxrstor" },
	{ "xsave64", "xsave" },
	{ "xsavec64", "xsavec" },
	{ "xsaveopt64", "xsaveopt" },
	{ "xsaves64", "xsaves" },
	{ "xrstor64", "xrstor" },
	{ "xrstors64", "xrstors" },
	/* F3 with REX.B: PAUSE by the manual's table, an exchange on processors. */
	{ "pause", "xchg" },
	/* Outside 64-bit mode VEX.W does nothing here: one row, its 64-bit name. */
	{ "vmovd", "vmovq" },
	{ "prefetchwt1", "prefetch" }, /* 0F 0D's reserved forms, not offered as such */
};

/* Instruction sets that are not offered: they decode to "ud". */
static inline bool decode_theirs_alone(const ZydisDecodedInstruction *z, unsigned mode)
{
	/* 0F 0D with a register: NOP on Intel's, #UD on AMD's processors. */
	if (z->meta.isa_set == ZYDIS_ISA_SET_PREFETCH_NOP && z->mnemonic == ZYDIS_MNEMONIC_NOP)
		return true;
	/* VEX.W outside 64-bit mode: ignored on Intel's, #UD on AMD's processors. */
	if (mode != X86_MODE_64 && z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && z->raw.vex.W &&
	    (z->mnemonic == ZYDIS_MNEMONIC_VPINSRD || z->mnemonic == ZYDIS_MNEMONIC_VPEXTRD))
		return true;
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

/* In real mode these are #GP (SYSENTER, SYSEXIT) or decided by EFER.SCE (SYSRET):
 * the operation's affair. */
static inline bool decode_ours_alone(const struct x86_insn *i)
{
	return i->mode & X86_MODE_REAL &&
	       (i->row->id == X86_OP_SYSENTER || i->row->id == X86_OP_SYSEXIT ||
		i->row->id == X86_OP_SYSRET);
}

/* The hint NOPs: how many operands the listing shows. PAUSE: see decode_names. */
static inline bool decode_operands_may_differ(const ZydisDecodedInstruction *z,
					      const struct x86_insn *i)
{
	return z->mnemonic == ZYDIS_MNEMONIC_NOP || z->mnemonic == ZYDIS_MNEMONIC_PAUSE;
}

static inline bool decode_flags_may_differ(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VMCALL: /* as a guest hypervisor would see it */
	case ZYDIS_MNEMONIC_VTESTPS: /* Zydis 4.0 lists none for these */
	case ZYDIS_MNEMONIC_VTESTPD:
	case ZYDIS_MNEMONIC_VPTEST:
		return true;
	default:
		return false;
	}
}

#endif
