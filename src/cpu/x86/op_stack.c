/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PUSH POP PUSHA POPA ENTER LEAVE. A fault leaves RSP as it was. */
#include "src/cpu/x86/op_priv.h"

#define SIZE 2
#include "src/cpu/x86/op_stack.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_stack.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_stack.inc"
#undef SIZE

void op_pusha(struct x86_cpu *c, const struct x86_insn *i)
{
	for (int r = 0; r < 8; r++)
		x86_st(c, X86_SS, op_sp(c, -(r + 1) * i->opsize), c->gpr[r], i->opsize);
	op_set_sp(c, op_sp(c, -8 * i->opsize));
}

/* The stored stack pointer is skipped. */
void op_popa(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v[8];

	for (int r = 7; r >= 0; r--) {
		if (r != X86_RSP)
			v[r] = x86_ld(c, X86_SS, op_sp(c, (7 - r) * i->opsize), i->opsize);
	}
	for (int r = 0; r < 8; r++) {
		if (r != X86_RSP)
			x86_set(c, r, v[r], i->opsize);
	}
	op_set_sp(c, op_sp(c, 8 * i->opsize));
}
