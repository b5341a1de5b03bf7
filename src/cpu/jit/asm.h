/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The translator's assembler: x86-64 host instructions into a buffer. One
 * function per encoding form; the opcode is a number with the map in its upper
 * bytes (A_0F | 0xb6). Encodings: SDM vol. 2, chapter 2.
 */
#ifndef BOTHY_CPU_JIT_ASM_H
#define BOTHY_CPU_JIT_ASM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum host_reg { H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI,
		H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15 };

/* Opcode map and mandatory prefix, above the opcode byte. */
#define A_0F 0x100u
#define A_0F38 0x200u
#define A_0F3A 0x300u
#define A_MAP 0x300u
#define A_P66 0x1000u
#define A_PF3 0x2000u
#define A_PF2 0x3000u
#define A_PFX 0x3000u

/* Condition codes of Jcc, SETcc, CMOVcc. */
enum host_cc { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP,
	       CC_L, CC_GE, CC_LE, CC_G };

struct asm_buf {
	uint8_t *p;     /* next byte, writable view */
	uint8_t *end;   /* past the last byte that may be written */
	int64_t rx;     /* executable view minus writable view */
	bool full;      /* did not fit: what is there is worthless */
};

/* A memory or register operand of the ModRM.rm kind. */
struct a_rm {
	bool reg;      /* a register: .base */
	bool gs;       /* relative to the GS base */
	int8_t base;   /* enum host_reg, or -1: absolute displacement */
	int8_t index;  /* enum host_reg but RSP, or -1 */
	uint8_t scale; /* shift 0..3 */
	int32_t disp;
};

#define A_REG(r) ((struct a_rm){ .reg = true, .base = (r), .index = -1 })
#define A_MEM(b, d) ((struct a_rm){ .base = (b), .index = -1, .disp = (d) })
#define A_MEMX(b, i, s, d) ((struct a_rm){ .base = (b), .index = (i), .scale = (s), .disp = (d) })
#define A_GS(d) ((struct a_rm){ .gs = true, .base = -1, .index = -1, .disp = (d) })
#define A_GSX(b, d) ((struct a_rm){ .gs = true, .base = (b), .index = -1, .disp = (d) })

static inline void a_b(struct asm_buf *a, uint8_t v)
{
	if (a->p < a->end)
		*a->p++ = v;
	else
		a->full = true;
}

static inline void a_d(struct asm_buf *a, uint32_t v)
{
	if (a->end - a->p >= 4) {
		memcpy(a->p, &v, 4);
		a->p += 4;
	} else {
		a->full = true;
	}
}

static inline void a_q(struct asm_buf *a, uint64_t v)
{
	a_d(a, (uint32_t)v);
	a_d(a, (uint32_t)(v >> 32));
}

static inline void a_w(struct asm_buf *a, uint16_t v)
{
	a_b(a, (uint8_t)v);
	a_b(a, (uint8_t)(v >> 8));
}

/* ModRM, SIB, displacement for @rm with @reg in the reg field. */
static inline void a_modrm(struct asm_buf *a, unsigned reg, struct a_rm rm)
{
	unsigned r = (reg & 7) << 3, mod;

	if (rm.reg) {
		a_b(a, 0xc0 | r | (rm.base & 7));
		return;
	}
	if (rm.base < 0) { /* [disp32] or [index*scale + disp32]: a SIB without base */
		a_b(a, r | 4);
		a_b(a, rm.scale << 6 | (rm.index < 0 ? 4 : rm.index & 7) << 3 | 5);
		a_d(a, (uint32_t)rm.disp);
		return;
	}
	mod = rm.disp == 0 && (rm.base & 7) != H_RBP ? 0
	      : rm.disp == (int8_t)rm.disp	     ? 0x40
						     : 0x80;
	if (rm.index >= 0 || (rm.base & 7) == H_RSP) {
		a_b(a, mod | r | 4);
		a_b(a, rm.scale << 6 | (rm.index < 0 ? 4 : rm.index & 7) << 3 | (rm.base & 7));
	} else {
		a_b(a, mod | r | (rm.base & 7));
	}
	if (mod == 0x40)
		a_b(a, (uint8_t)rm.disp);
	else if (mod == 0x80)
		a_d(a, (uint32_t)rm.disp);
}

/* Prefixes, REX and opcode. @size: 1, 2, 4 or 8 bytes (8-bit registers other than
 * AL CL DL BL get the REX they need); 16-bit adds 66. */
static inline void a_head(struct asm_buf *a, unsigned op, unsigned size, unsigned reg,
			  struct a_rm rm, bool byte_reg, bool byte_rm)
{
	unsigned rex = (size == 8 ? 8 : 0) | (reg & 8 ? 4 : 0) |
		       (rm.index >= 0 && rm.index & 8 ? 2 : 0) |
		       (rm.base >= 0 && rm.base & 8 ? 1 : 0);

	if ((byte_reg && reg >= 4) || (byte_rm && rm.reg && rm.base >= 4))
		rex |= 0x40;
	if (rm.gs)
		a_b(a, 0x65);
	if (size == 2)
		a_b(a, 0x66);
	switch (op & A_PFX) {
	case A_P66: a_b(a, 0x66); break;
	case A_PF3: a_b(a, 0xf3); break;
	case A_PF2: a_b(a, 0xf2); break;
	}
	if (rex)
		a_b(a, 0x40 | rex);
	switch (op & A_MAP) {
	case A_0F: a_b(a, 0x0f); break;
	case A_0F38: a_w(a, 0x380f); break;
	case A_0F3A: a_w(a, 0x3a0f); break;
	}
	a_b(a, (uint8_t)op);
}

/* op reg, rm and op rm, reg: @op decides the direction. */
static inline void a_rr(struct asm_buf *a, unsigned op, unsigned size, unsigned reg, struct a_rm rm)
{
	a_head(a, op, size, reg, rm, size == 1, size == 1);
	a_modrm(a, reg, rm);
}

/* op /ext rm */
static inline void a_ext(struct asm_buf *a, unsigned op, unsigned size, unsigned ext, struct a_rm rm)
{
	a_head(a, op, size, ext, rm, false, size == 1);
	a_modrm(a, ext, rm);
}

/* @size: 4 or 8. */
static inline void a_bswap(struct asm_buf *a, unsigned size, unsigned reg)
{
	a_b(a, 0x40 | (size == 8 ? 8 : 0) | (reg >> 3));
	a_b(a, 0x0f);
	a_b(a, 0xc8 | (reg & 7));
}

/* MOVZX and MOVSX from @from bytes (1 or 2) to @size. */
static inline void a_movx(struct asm_buf *a, bool sign, unsigned size, unsigned reg, unsigned from,
			  struct a_rm rm)
{
	a_head(a, A_0F | (from == 1 ? (sign ? 0xbe : 0xb6) : (sign ? 0xbf : 0xb7)), size, reg, rm,
	       false, from == 1);
	a_modrm(a, reg, rm);
}

static inline void a_load(struct asm_buf *a, unsigned size, unsigned reg, struct a_rm rm)
{
	a_rr(a, size == 1 ? 0x8a : 0x8b, size, reg, rm);
}

static inline void a_store(struct asm_buf *a, unsigned size, struct a_rm rm, unsigned reg)
{
	a_rr(a, size == 1 ? 0x88 : 0x89, size, reg, rm);
}

static inline void a_mov(struct asm_buf *a, unsigned size, unsigned to, unsigned from)
{
	a_rr(a, size == 1 ? 0x88 : 0x89, size, from, A_REG(to));
}

static inline void a_lea(struct asm_buf *a, unsigned size, unsigned reg, struct a_rm rm)
{
	a_rr(a, 0x8d, size, reg, rm);
}

/* The shortest move that leaves @v in the 64-bit register; flags stay. */
static inline void a_movi(struct asm_buf *a, unsigned reg, uint64_t v)
{
	if (v == (uint32_t)v) {
		if (reg & 8)
			a_b(a, 0x41);
		a_b(a, 0xb8 | (reg & 7));
		a_d(a, (uint32_t)v);
	} else if (v == (uint64_t)(int32_t)v) {
		a_ext(a, 0xc7, 8, 0, A_REG(reg));
		a_d(a, (uint32_t)v);
	} else {
		a_b(a, 0x48 | (reg >> 3 & 1));
		a_b(a, 0xb8 | (reg & 7));
		a_q(a, v);
	}
}

/* An immediate of an operand size: 1 byte, 2 bytes, or 4 (sign-extended for 8). */
static inline void a_imm(struct asm_buf *a, unsigned size, uint64_t v)
{
	if (size == 1)
		a_b(a, (uint8_t)v);
	else if (size == 2)
		a_w(a, (uint16_t)v);
	else
		a_d(a, (uint32_t)v);
}

enum a_alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

/* ALU rm, imm */
static inline void a_alui(struct asm_buf *a, enum a_alu op, unsigned size, struct a_rm rm, int32_t v)
{
	if (size == 1) {
		a_ext(a, 0x80, 1, op, rm);
		a_b(a, (uint8_t)v);
	} else if (v == (int8_t)v) {
		a_ext(a, 0x83, size, op, rm);
		a_b(a, (uint8_t)v);
	} else {
		a_ext(a, 0x81, size, op, rm);
		a_imm(a, size, (uint32_t)v);
	}
}

/* ALU reg, rm */
static inline void a_alu(struct asm_buf *a, enum a_alu op, unsigned size, unsigned reg,
			 struct a_rm rm)
{
	a_rr(a, op << 3 | (size == 1 ? 2 : 3), size, reg, rm);
}

/* RORX reg, rm, n: a rotate that leaves the flags alone (BMI2). */
static inline void a_rorx(struct asm_buf *a, unsigned size, unsigned reg, unsigned rm, unsigned n)
{
	a_b(a, 0xc4);
	a_b(a, (reg & 8 ? 0 : 0x80) | 0x40 | (rm & 8 ? 0 : 0x20) | 3);
	a_b(a, (size == 8 ? 0x80 : 0) | 0x7b);
	a_b(a, 0xf0);
	a_modrm(a, reg, A_REG(rm));
	a_b(a, (uint8_t)n);
}

/* Jumps. The executable address counts: rel = target - (site + length). */
static inline uint8_t *a_jcc(struct asm_buf *a, enum host_cc cc) /* rel32 to be set; its place */
{
	a_w(a, (uint16_t)(0x0f | (0x80 | cc) << 8));
	a_d(a, 0);
	return a->p - 4;
}

static inline uint8_t *a_jmp(struct asm_buf *a)
{
	a_b(a, 0xe9);
	a_d(a, 0);
	return a->p - 4;
}

static inline void a_set_rel(uint8_t *place, const uint8_t *target) /* both in the writable view */
{
	int32_t rel = (int32_t)(target - (place + 4));

	memcpy(place, &rel, 4);
}

static inline void a_jmp_to(struct asm_buf *a, const uint8_t *target)
{
	uint8_t *p = a_jmp(a);

	if (!a->full)
		a_set_rel(p, target);
}

static inline void a_call_to(struct asm_buf *a, const uint8_t *target)
{
	a_b(a, 0xe8);
	a_d(a, 0);
	if (!a->full)
		a_set_rel(a->p - 4, target);
}

/* A short forward jump: a_short() now, a_here() at its target. */
static inline uint8_t *a_short(struct asm_buf *a, uint8_t opcode)
{
	a_b(a, opcode);
	a_b(a, 0);
	return a->p - 1;
}

static inline void a_here(struct asm_buf *a, uint8_t *place)
{
	if (!a->full)
		*place = (uint8_t)(a->p - (place + 1));
}

/* Arithmetic flags into AX as LAHF and SETO put them, and back. */
static inline void a_save_flags(struct asm_buf *a)
{
	a_b(a, 0x9f);                               /* lahf */
	a_ext(a, A_0F | 0x90, 1, 0, A_REG(H_RAX)); /* seto al */
}

static inline void a_restore_flags(struct asm_buf *a)
{
	a_alui(a, ALU_ADD, 1, A_REG(H_RAX), 0x7f); /* OF from AL bit 0 */
	a_b(a, 0x9e);                              /* sahf */
}

#endif
