/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Near control transfers: Jcc JMP CALL RET LOOPcc JCXZ. */
#include "src/cpu/x86/op_cond.h"
#include "src/cpu/x86/op_priv.h"

#define JCC(cc)                                                                                   \
	void op_j##cc(struct x86_cpu *c, const struct x86_insn *i)                                \
	{                                                                                         \
		if (op_cond_##cc(c->rflags))                                                      \
			c->rip = op_target(c, c->rip + i->imm, i->opsize);                        \
	}
OP_CONDITIONS(JCC)

void op_jmp_J(struct x86_cpu *c, const struct x86_insn *i)
{
	c->rip = op_target(c, c->rip + i->imm, i->opsize);
}

/* The count register is the address size's; it goes down whether the branch is
 * taken or not, and stays when the branch faults. */
static always_inline void loop(struct x86_cpu *c, const struct x86_insn *i, bool cond)
{
	uint64_t count = (c->gpr[X86_RCX] - 1) & op_addr_mask(i->adsize);

	if (count && cond)
		c->rip = op_target(c, c->rip + i->imm, i->opsize);
	op_set_addr(c, X86_RCX, count, i->adsize);
}

void op_loop(struct x86_cpu *c, const struct x86_insn *i) { loop(c, i, true); }
void op_loope(struct x86_cpu *c, const struct x86_insn *i) { loop(c, i, op_cond_z(c->rflags)); }
void op_loopne(struct x86_cpu *c, const struct x86_insn *i) { loop(c, i, op_cond_nz(c->rflags)); }

void op_jcxz(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!(c->gpr[X86_RCX] & op_addr_mask(i->adsize)))
		c->rip = op_target(c, c->rip + i->imm, i->opsize);
}

#define SIZE 2
#include "src/cpu/x86/op_branch.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_branch.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_branch.inc"
#undef SIZE
