/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What gen_index.c works out from the operation table at build time, so that the
 * decoder finds its row without a search: x86_index.inc holds these tables.
 */
#ifndef BOTHY_CPU_X86_INDEX_H
#define BOTHY_CPU_X86_INDEX_H

#include <stdint.h>

/* The rows of one (VEX or not, map, opcode): x86_match[first .. first+count). */
struct x86_slot {
	uint16_t first;
	uint8_t count;
	uint8_t modrm; /* enum x86_modrm */
};
enum x86_modrm {
	X86_MODRM_NONE,
	X86_MODRM_YES,
	X86_MODRM_REG, /* mod is ignored and taken as 3: MOV to and from CRn, DRn */
};

/* One candidate: the row's selecting columns as masks. */
struct x86_match {
	uint16_t row;
	uint8_t pp;      /* bit n: enum x86_pp n + 1 (NONE, 66, F3, F2) fits */
	uint8_t sel;     /* X86_SEL_* that fit */
	uint8_t modes;   /* bit n: mode n (X86_MODE_* value) fits */
	uint8_t ext, rm; /* exact, or X86_EXT_ANY */
	uint8_t feature;
};
#define X86_SEL_MEM 0x01
#define X86_SEL_REG 0x02
#define X86_SEL_L0 0x04
#define X86_SEL_L1 0x08
#define X86_SEL_W0 0x10
#define X86_SEL_W1 0x20

/* How to read the rest of the instruction. */
struct x86_plan {
	uint8_t size; /* enum x86_plan_size */
	uint8_t reg;  /* enum x86_plan_reg: meaning of ModRM.reg */
	uint8_t rm;   /* enum x86_plan_reg: of ModRM.rm as register, or the opcode's bits */
	uint8_t imm, imm2; /* enum x86_opnd, X86_O_NONE where absent */
	uint8_t flags;
};
enum x86_plan_size {
	X86_SIZE_V,   /* 16/32/64 by mode, 66 and REX.W */
	X86_SIZE_B,   /* 8 bits */
	X86_SIZE_Y,   /* 32, or 64 by REX.W */
	X86_SIZE_D64, /* as V, in 64-bit mode 64 or (66) 16 */
	X86_SIZE_F64, /* as V, in 64-bit mode 64 */
	X86_SIZE_M64, /* 64 in 64-bit mode, else 32 */
	X86_SIZE_MAX32, /* as V without REX.W */
};
enum x86_plan_reg {
	X86_PR_G, /* general or vector: 0..15 */
	X86_PR_G8, /* 8 bits: AH.. without REX */
	X86_PR_LOW, /* MMX, x87: REX does not extend */
	X86_PR_S,
	X86_PR_S_DST, /* segment register that is written: not CS */
	X86_PR_C, X86_PR_D,
};
#define X86_PLAN_VVVV 0x01   /* VEX.vvvv names an operand; else it must be 1111b */
#define X86_PLAN_OPREG 0x02  /* register in the opcode's low bits */
#define X86_PLAN_VSIB 0x04
#define X86_PLAN_NOLOCK 0x08 /* LOCK is undefined whatever the operands */

#endif
