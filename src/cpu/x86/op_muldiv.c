/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MUL IMUL DIV IDIV, and the decimal adjustments. */
#include "src/cpu/x86/op_priv.h"

#define SIZE 1
#include "src/cpu/x86/op_muldiv.inc"
#undef SIZE
#define SIZE 2
#include "src/cpu/x86/op_muldiv.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_muldiv.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_muldiv.inc"
#undef SIZE

/*
 * Decimal adjustments (not in 64-bit mode, so the host cannot do them): the
 * manual's algorithms. SF ZF PF where they are defined are those of AL; what is
 * undefined is left clear.
 */
static uint64_t flags_of(uint8_t al)
{
	return (al ? 0 : X86_FL_ZF) | (al & 0x80 ? X86_FL_SF : 0) |
	       (__builtin_parity(al) ? 0 : X86_FL_PF);
}

static void set_arith(struct x86_cpu *c, uint64_t fl)
{
	c->rflags = (c->rflags & ~X86_FL_ARITH) | fl;
}

static void adjust_packed(struct x86_cpu *c, int sign)
{
	uint8_t *al = op_reg8(c, X86_RAX), old = *al;
	uint64_t fl = 0;

	if ((old & 0xf) > 9 || (c->rflags & X86_FL_AF)) {
		*al += sign * 6;
		fl |= X86_FL_AF;
		if (sign < 0 && old < 6)
			fl |= X86_FL_CF;
	}
	if (old > 0x99 || (c->rflags & X86_FL_CF)) {
		*al += sign * 0x60;
		fl |= X86_FL_CF;
	}
	set_arith(c, fl | flags_of(*al));
}

void op_daa(struct x86_cpu *c, const struct x86_insn *i) { adjust_packed(c, 1); }
void op_das(struct x86_cpu *c, const struct x86_insn *i) { adjust_packed(c, -1); }

static void adjust_unpacked(struct x86_cpu *c, int sign)
{
	uint16_t ax = (uint16_t)c->gpr[X86_RAX];
	uint64_t fl = 0;

	if ((ax & 0xf) > 9 || (c->rflags & X86_FL_AF)) {
		ax += sign * 0x106;
		fl = X86_FL_AF | X86_FL_CF;
	}
	ax &= 0xff0f;
	op_set16(c, X86_RAX, ax);
	set_arith(c, fl | flags_of((uint8_t)ax));
}

void op_aaa(struct x86_cpu *c, const struct x86_insn *i) { adjust_unpacked(c, 1); }
void op_aas(struct x86_cpu *c, const struct x86_insn *i) { adjust_unpacked(c, -1); }

void op_aam(struct x86_cpu *c, const struct x86_insn *i)
{
	uint8_t al = (uint8_t)c->gpr[X86_RAX], base = (uint8_t)i->imm;

	if (!base)
		x86_raise(c, X86_EXC_DE);
	op_set16(c, X86_RAX, (uint16_t)(al / base << 8 | al % base));
	set_arith(c, flags_of(al % base));
}

void op_aad(struct x86_cpu *c, const struct x86_insn *i)
{
	uint16_t ax = (uint16_t)c->gpr[X86_RAX];
	uint8_t al = (uint8_t)((ax & 0xff) + (ax >> 8) * (uint8_t)i->imm);

	op_set16(c, X86_RAX, al);
	set_arith(c, flags_of(al));
}
