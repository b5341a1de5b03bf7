/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A decoded instruction, and the operation table's rows.
 *
 * guest bytes → x86_decode() → struct x86_insn, whose .row is one line of
 * ops.def and whose .fn is that row's C function for the effective operand size.
 */
#ifndef BOTHY_CPU_X86_INSN_H
#define BOTHY_CPU_X86_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/cpu/x86/x86.h"

#define X86_MAX_INSN 15
#define X86_REG_NONE 0xff
#define X86_REG_RIP 0xfe  /* as mem_base: RIP-relative */
#define X86_REG_HIGH8 16  /* 8-bit register numbers 16..19 are AH CH DH BH */

/* What an operand is. Letters follow the opcode map of SDM vol. 2, appendix A:
 * first letter where, second letter how wide. */
enum x86_opnd {
	X86_O_NONE,
	/* ModRM.rm: register or memory */
	X86_O_Eb, X86_O_Ew, X86_O_Ed, X86_O_Eq, X86_O_Ev, /* Ev: operand size */
	X86_O_Ey,  /* 32, or 64 with REX.W */
	X86_O_Edq_r, /* register 32/64 or memory of the row's own width (see row.mem_bytes) */
	/* memory only (row.mem_bytes says how wide; 0: address only, as LEA) */
	X86_O_M,
	/* ModRM.rm register only, general */
	X86_O_Rv, X86_O_Ry, X86_O_Rw,
	/* ModRM.reg, general */
	X86_O_Gb, X86_O_Gw, X86_O_Gd, X86_O_Gv, X86_O_Gy,
	/* VEX.vvvv, general (BMI) */
	X86_O_By,
	/* ModRM.reg, others */
	X86_O_Sw, X86_O_Cd, X86_O_Dd,
	/* opcode's low three bits */
	X86_O_Zb, X86_O_Zv,
	/* fixed registers */
	X86_O_AL, X86_O_AX, X86_O_EAX, X86_O_rAX, X86_O_CL, X86_O_DX, X86_O_1,
	X86_O_ES, X86_O_CS, X86_O_SS, X86_O_DS, X86_O_FS, X86_O_GS,
	/* immediates */
	X86_O_Ib, X86_O_Iw, X86_O_Iv, /* Iv: 16 or 32 bits, */
	X86_O_Iz,  /* as Iv, sign-extended to the operand size */
	X86_O_Ibs, /* 8 bits sign-extended to the operand size */
	X86_O_Iq,  /* full operand size (MOV r64, imm64) */
	X86_O_Jb, X86_O_Jz, /* relative targets; imm holds the displacement */
	X86_O_Ap,  /* ptr16:16 / ptr16:32; imm offset, imm2 selector */
	X86_O_Ob, X86_O_Ov, /* moffs */
	X86_O_Xb, X86_O_Xv, X86_O_Yb, X86_O_Yv, /* DS:rSI, ES:rDI */
	/* x87 */
	X86_O_ST0, X86_O_STi,
	/* MMX: ModRM.reg; rm register or memory; rm register only */
	X86_O_Pq, X86_O_Qq, X86_O_Nq, X86_O_Qd,
	/* vector: reg; rm register or memory (mem_bytes; 0 = full vector); rm register
	 * only; VEX.vvvv; imm8[7:4]; fixed XMM0 */
	X86_O_V, X86_O_W, X86_O_U, X86_O_H, X86_O_L, X86_O_XMM0,
	/* memory with VSIB index (gathers) */
	X86_O_VM,
	X86_NOPNDS
};

/* Row attributes. */
#define X86_A_LOCK 0x1u       /* LOCK allowed (memory destination) */
#define X86_A_END 0x2u        /* ends a block: control transfer, or state that decoding or
			       * the run loop depends on may change */
#define X86_A_D64 0x4u        /* 64-bit mode: operand size defaults to 64 (push, pop) */
#define X86_A_F64 0x8u        /* 64-bit mode: operand size is 64 whatever prefixes say */
#define X86_A_NO64 0x10u      /* #UD in 64-bit mode */
#define X86_A_ONLY64 0x20u    /* only in 64-bit mode */
#define X86_A_NOREAL 0x40u    /* #UD in real and virtual-8086 mode */
#define X86_A_REP 0x80u       /* F3/F2 is a repeat prefix here, not a mandatory one */
#define X86_A_REPCC 0x100u    /* ... and ZF ends it (CMPS, SCAS) */
#define X86_A_BYTE 0x200u     /* operand size is one byte: fn[0] */
#define X86_A_SSE 0x400u      /* legacy SSE state checks: #UD/#NM by CR0.EM/TS, CR4.OSFXSR */
#define X86_A_AVX 0x800u      /* VEX state checks: XCR0, CR4.OSXSAVE, CR0.TS */
#define X86_A_X87 0x1000u     /* #NM by CR0.EM/TS, pending #MF first */
#define X86_A_X87_NOWAIT 0x2000u /* ... without the pending #MF check */
#define X86_A_MMX 0x4000u     /* as X87, and the MMX tag/top effects */
#define X86_A_ALIGN16 0x8000u /* legacy SSE memory operand must be aligned: #GP */
#define X86_A_HOST 0x10000u   /* executed by the host CPU on the guest's registers */
#define X86_A_CPL0 0x20000u   /* #GP(0) unless CPL 0 (and in virtual-8086 mode) */
#define X86_A_READ 0x40000u   /* destination operand is read too (read-modify-write) */
#define X86_A_NOWRITE 0x80000u /* first operand is a source only (CMP, TEST, stores of it) */
#define X86_A_FLOAT 0x100000u  /* can set MXCSR flags: #XM */
#define X86_A_ALIGNVEC 0x200000u /* VMOVAPS kind: aligned to the vector's width in every form */
#define X86_A_MAX32 0x800000u  /* operand size is 16 or 32 bits: 32 with REX.W (ports) */
#define X86_A_M64 0x1000000u   /* operand size is 64 bits in 64-bit mode, else 32, whatever
				* prefixes say (control registers) */
#define X86_A_LIG 0x400000u    /* scalar: VEX.L is ignored */

enum x86_map { X86_MAP_1, X86_MAP_0F, X86_MAP_0F38, X86_MAP_0F3A, X86_NMAPS };

/* Which encoding a row wants. pp: prefix that selects it. */
enum x86_pp { X86_PP_ANY, X86_PP_NONE, X86_PP_66, X86_PP_F3, X86_PP_F2 };
#define X86_EXT_ANY 0xff /* ModRM.reg not part of the opcode */
enum x86_modsel { X86_MOD_ANY, X86_MOD_MEM, X86_MOD_REG };
enum x86_vexsel { X86_LEGACY, X86_VEX };
enum x86_lsel { X86_L_ANY, X86_L_128, X86_L_256 };
enum x86_wsel { X86_W_ANY, X86_W_0, X86_W_1 };

/* One enumerator per row of the operation table, in the table's order. */
enum x86_op {
#define X86_ROW(id, ...) X86_OP_##id,
#include "src/cpu/x86/ops.def"
#undef X86_ROW
	X86_NOPS
};

typedef void (*x86_op_fn)(struct x86_cpu *c, const struct x86_insn *i);

struct x86_row {
	const char *name; /* mnemonic, lower case, Intel syntax */
	uint8_t map, opcode;
	uint8_t pp, ext, mod, vex, vl, vw;
	/* Exact ModRM.rm for rows such as 0F 01 C1; for an opcode without ModRM its
	 * low three bits with REX.B (NOP is 90 with register 0); X86_EXT_ANY else. */
	uint8_t rm;
	uint8_t opnd[4];
	uint8_t mem_bytes; /* width of the memory operand where the operand kind does not say */
	uint8_t feature;   /* enum x86_feature */
	uint32_t attr;
	uint16_t flags_read, flags_write; /* X86_FL_ARITH subsets (undefined counts as written) */
	/* By operand size 1, 2, 4, 8 bytes; equal where it does not matter. fn where
	 * the rm operand is a register (or there is none), fn_mem where it is memory. */
	x86_op_fn fn[4], fn_mem[4];
	uint16_t id; /* enum x86_op, for the translator */
};

struct x86_insn {
	x86_op_fn fn;
	const struct x86_row *row;
	uint64_t imm;  /* sign- or zero-extended as the operand kind says */
	int64_t disp;  /* displacement (sign-extended), or moffs address */
	uint16_t imm2; /* far selector; ENTER's level */
	uint8_t len;   /* 1..15 */
	uint8_t opsize; /* bytes: 1, 2, 4, 8 */
	uint8_t adsize; /* bytes: 2, 4, 8 */
	uint8_t reg;   /* ModRM.reg with REX.R; 8-bit numbers normalised (X86_REG_HIGH8) */
	uint8_t rm;    /* register operand in ModRM.rm or in the opcode's low bits */
	bool mem;      /* the rm operand is memory */
	uint8_t vvvv;  /* VEX second source */
	uint8_t seg;   /* segment of the memory operand, overrides applied */
	uint8_t mem_base, mem_index, mem_scale; /* mem_scale: shift 0..3 */
	bool lock;
	uint8_t rep;   /* 0, 0xf3 or 0xf2 where the row has X86_A_REP */
	bool rex_w;
	bool rex;      /* a REX prefix is present */
	uint8_t vl;    /* 0: 128-bit or scalar, 1: 256-bit */
	uint8_t mode;  /* X86_MODE_* it was decoded for */
	uint8_t pp;    /* enum x86_pp that the bytes carry (mandatory prefix / VEX.pp) */
	uint8_t modrm; /* raw, where present */
	uint8_t opcode;/* raw opcode byte */
	const void *stub; /* X86_A_HOST rows: host code (host_stub.h), looked up on the
			   * first run; NULL before */
};

/*
 * Decodes one instruction from @bytes (@avail valid, 1..15 needed at most) for
 * @mode (X86_MODE_*) with the features of @features.
 *
 * > 0: the length; *out is whole. What is undefined, not offered or not allowed
 *      (LOCK misuse, bad mode) decodes to the "ud" row (fn raises #UD) with the
 *      length consumed so far.
 * 0: more bytes are needed than @avail. The caller fetches more (which may fault).
 * -1: longer than 15 bytes: the caller raises #GP(0).
 */
int x86_decode(const uint8_t *bytes, size_t avail, unsigned mode, const uint64_t *features,
	       struct x86_insn *out);

/* Intel-syntax listing, for traces and test messages. Returns the length as
 * snprintf does. @rip: address of the instruction, for relative targets. */
int x86_format(const struct x86_insn *i, uint64_t rip, char *buf, size_t size);

/* Indexed by enum x86_op. A row that names an opcode-embedded register (Zb, Zv)
 * stands for its opcode and the seven that follow. */
extern const struct x86_row x86_rows[];
extern const size_t x86_nrows;

#endif
