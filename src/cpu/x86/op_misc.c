/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single flags, fences, hints, undefined instructions, BOUND, ARPL. */
#include <sched.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/op_priv.h"

void op_ud(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_raise_ud(c);
}

void op_nop(struct x86_cpu *c, const struct x86_insn *i) {}

/* A processor that spins may wait for one whose thread has no core: let it run. */
void op_pause(struct x86_cpu *c, const struct x86_insn *i)
{
	if (c->cpus && c->cpus->count > 1)
		sched_yield();
}

void op_cmc(struct x86_cpu *c, const struct x86_insn *i) { c->rflags ^= X86_FL_CF; }
void op_clc(struct x86_cpu *c, const struct x86_insn *i) { c->rflags &= ~X86_FL_CF; }
void op_stc(struct x86_cpu *c, const struct x86_insn *i) { c->rflags |= X86_FL_CF; }
void op_cld(struct x86_cpu *c, const struct x86_insn *i) { c->rflags &= ~X86_FL_DF; }
void op_std(struct x86_cpu *c, const struct x86_insn *i) { c->rflags |= X86_FL_DF; }

#define AHF_FLAGS (X86_FL_ARITH & ~X86_FL_OF)

void op_sahf(struct x86_cpu *c, const struct x86_insn *i)
{
	c->rflags = (c->rflags & ~AHF_FLAGS) | (*op_reg8(c, X86_REG_HIGH8) & AHF_FLAGS);
}

void op_lahf(struct x86_cpu *c, const struct x86_insn *i)
{
	*op_reg8(c, X86_REG_HIGH8) = (uint8_t)((c->rflags & AHF_FLAGS) | X86_FL_FIXED);
}

void op_salc(struct x86_cpu *c, const struct x86_insn *i)
{
	*op_reg8(c, X86_RAX) = c->rflags & X86_FL_CF ? 0xff : 0;
}

/* Stores of the engine are ordered as TSO wants already; LFENCE and SFENCE order
 * nothing on top of that. */
void op_mfence(struct x86_cpu *c, const struct x86_insn *i)
{
	atomic_thread_fence(memory_order_seq_cst);
}
void op_lfence(struct x86_cpu *c, const struct x86_insn *i) {}
void op_sfence(struct x86_cpu *c, const struct x86_insn *i) {}

/* There is no cache of ours to flush, but the address is checked as a load's. */
void op_clflush(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_probe(c, c->tlb_class, op_lin(c, i, 1, X86_ACC_R), 1, X86_ACC_R);
}

void op_bound(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t ea = x86_ea(c, i);
	uint64_t second = (ea + i->opsize) & op_addr_mask(i->adsize);
	unsigned bits = i->opsize * 8;
	int64_t low = sign_extend(x86_ld(c, i->seg, ea, i->opsize), bits);
	int64_t high = sign_extend(x86_ld(c, i->seg, second, i->opsize), bits);
	int64_t index = sign_extend(c->gpr[i->reg], bits);

	if (index < low || index > high)
		x86_raise(c, X86_EXC_BR);
}

/* ARPL: the destination's RPL is raised to the source's. */
static bool adjust_rpl(struct x86_cpu *c, uint16_t *dst, uint16_t src)
{
	bool raise = (*dst & 3) < (src & 3);

	if (raise)
		*dst = (uint16_t)((*dst & ~3) | (src & 3));
	return raise;
}

static void set_zf(struct x86_cpu *c, bool zf)
{
	c->rflags = (c->rflags & ~X86_FL_ZF) | (zf ? X86_FL_ZF : 0);
}

void op_arpl_r(struct x86_cpu *c, const struct x86_insn *i)
{
	uint16_t v = (uint16_t)c->gpr[i->rm];

	set_zf(c, adjust_rpl(c, &v, (uint16_t)c->gpr[i->reg]));
	op_set16(c, i->rm, v);
}

void op_arpl_m(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t ea = x86_ea(c, i);
	uint16_t v = x86_ld16(c, i->seg, ea);
	bool raised = adjust_rpl(c, &v, (uint16_t)c->gpr[i->reg]);

	if (raised)
		x86_st16(c, i->seg, ea, v);
	set_zf(c, raised);
}
