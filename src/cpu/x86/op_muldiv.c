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
 * manual's algorithms. The flags that it leaves undefined are those of the
 * addition or subtraction at each one's heart.
 */
#define FLAGS_OF(name, insn, type)                                                                \
	static uint64_t name(type a, type b)                                                      \
	{                                                                                         \
		uint16_t ax;                                                                      \
		__asm__(insn " %[b], %[a]\n\t" OP_FLAGS_GET                                       \
			: [a] "+r"(a), "=&a"(ax)                                                  \
			: [b] "r"(b)                                                              \
			: "cc");                                                                  \
		return op_flags_merge(0, ax) & X86_FL_ARITH;                                      \
	}
FLAGS_OF(flags_add8, "addb", uint8_t)
FLAGS_OF(flags_sub8, "subb", uint8_t)
FLAGS_OF(flags_add16, "addw", uint16_t)
FLAGS_OF(flags_sub16, "subw", uint16_t)
#undef FLAGS_OF

static void set_arith(struct x86_cpu *c, uint64_t fl)
{
	c->rflags = (c->rflags & ~X86_FL_ARITH) | fl;
}

static void adjust_packed(struct x86_cpu *c, bool subtract)
{
	uint8_t *al = op_reg8(c, X86_RAX), old = *al, by = 0;
	uint64_t fl = 0;

	if ((old & 0xf) > 9 || (c->rflags & X86_FL_AF)) {
		by = 6;
		fl |= X86_FL_AF;
		if (subtract && old < 6)
			fl |= X86_FL_CF;
	}
	if (old > 0x99 || (c->rflags & X86_FL_CF)) {
		by += 0x60;
		fl |= X86_FL_CF;
	}
	*al = (uint8_t)(subtract ? old - by : old + by);
	fl |= (subtract ? flags_sub8(old, by) : flags_add8(old, by)) & ~(X86_FL_CF | X86_FL_AF);
	set_arith(c, fl);
}

void op_daa(struct x86_cpu *c, const struct x86_insn *i) { adjust_packed(c, false); }
void op_das(struct x86_cpu *c, const struct x86_insn *i) { adjust_packed(c, true); }

static void adjust_unpacked(struct x86_cpu *c, bool subtract)
{
	uint16_t ax = (uint16_t)c->gpr[X86_RAX], by = 0;
	uint64_t fl = 0;

	if ((ax & 0xf) > 9 || (c->rflags & X86_FL_AF)) {
		by = 0x106;
		fl = X86_FL_AF | X86_FL_CF;
	}
	fl |= (subtract ? flags_sub16(ax, by) : flags_add16(ax, by)) & ~(X86_FL_CF | X86_FL_AF);
	op_set16(c, X86_RAX, (uint16_t)((subtract ? ax - by : ax + by) & 0xff0f));
	set_arith(c, fl);
}

void op_aaa(struct x86_cpu *c, const struct x86_insn *i) { adjust_unpacked(c, false); }
void op_aas(struct x86_cpu *c, const struct x86_insn *i) { adjust_unpacked(c, true); }

void op_aam(struct x86_cpu *c, const struct x86_insn *i)
{
	uint8_t al = (uint8_t)c->gpr[X86_RAX], base = (uint8_t)i->imm;

	if (!base)
		x86_raise(c, X86_EXC_DE);
	op_set16(c, X86_RAX, (uint16_t)(al / base << 8 | al % base));
	set_arith(c, flags_add8(al % base, 0));
}

void op_aad(struct x86_cpu *c, const struct x86_insn *i)
{
	uint16_t ax = (uint16_t)c->gpr[X86_RAX];
	uint8_t tens = (uint8_t)((ax >> 8) * (uint8_t)i->imm);

	op_set16(c, X86_RAX, (uint8_t)(ax + tens));
	set_arith(c, flags_add8((uint8_t)ax, tens));
}
