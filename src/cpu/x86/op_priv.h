/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the general-purpose operations share: flags from the host's ALU, the
 * stack, near branches.
 *
 * Results and flags come from the same instruction run by the host, so that what
 * the manual leaves undefined is what the host's processor gives.
 */
#ifndef BOTHY_CPU_X86_OP_PRIV_H
#define BOTHY_CPU_X86_OP_PRIV_H

#include "src/cpu/x86/access.h"
#include "src/cpu/x86/ops.h"

#define always_inline inline __attribute__((always_inline))

/*
 * The arithmetic flags between the host and RFLAGS, in AX: AH as LAHF has it, AL
 * is OF. GET: after the operation. SET: before it, for operations that leave some
 * flags alone; 1 + 7f overflows and 0 + 7f does not, and SAHF leaves OF alone.
 */
#define OP_FLAGS_GET "lahf\n\tseto %%al"
#define OP_FLAGS_SET "addb $0x7f, %%al\n\tsahf\n\t"

static inline uint64_t op_flags_merge(uint64_t fl, uint16_t ax)
{
	/* LAHF gives bit 1 set, which is how RFLAGS has it. */
	return (fl & ~X86_FL_ARITH) | ax >> 8 | (uint64_t)(uint8_t)ax << 11;
}

static inline uint16_t op_flags_ax(uint64_t fl)
{
	return (uint16_t)((fl & 0xff) << 8 | (fl >> 11 & 1));
}

/*
 * ROL and ROR by an immediate that is not 1 leave OF undefined (SDM vol. 2, RCL/RCR/ROL/ROR).
 * Some processors do not touch it then, unless the operand is in memory or the count in CL;
 * and all engines are to agree on a host. So: does OF, which 7f + 1 sets, outlive a rotation of 0?
 */
static inline bool op_rotate_keeps_of(void)
{
	uint32_t zero = 0;
	uint8_t a = 0x7f;

	__asm__ volatile("addb $1, %0\n\troll $2, %1\n\tseto %0" : "+q"(a), "+r"(zero) :: "cc");
	return a;
}

static inline void op_rotated(struct x86_cpu *c, const struct x86_insn *i, uint64_t fl_before)
{
	unsigned count = (unsigned)i->imm & (i->opsize == 8 ? 63 : 31);

	if (count != 1 && op_rotate_keeps_of())
		c->rflags = (c->rflags & ~X86_FL_OF) | (fl_before & X86_FL_OF);
}

/* 8-bit register @r (16..19: AH CH DH BH). */
static inline uint8_t *op_reg8(struct x86_cpu *c, unsigned r)
{
	return (uint8_t *)c->gpr + (r & 15) * 8 + (r >> 4);
}

static inline void op_set16(struct x86_cpu *c, unsigned r, uint16_t v)
{
	c->gpr[r] = (c->gpr[r] & ~0xffffull) | v;
}

/* Linear address of the instruction's memory operand. */
static always_inline uint64_t op_lin(struct x86_cpu *c, const struct x86_insn *i, unsigned size,
				     enum x86_access acc)
{
	return x86_lin(c, i->seg, x86_ea(c, i), size, acc);
}

/* Registers that hold addresses and counts, @adsize bytes of them. */
static inline uint64_t op_addr_mask(unsigned adsize)
{
	return adsize == 8 ? ~0ull : adsize == 4 ? 0xffffffffull : 0xffffull;
}

static inline void op_set_addr(struct x86_cpu *c, unsigned r, uint64_t v, unsigned adsize)
{
	if (adsize == 2)
		op_set16(c, r, (uint16_t)v);
	else
		c->gpr[r] = adsize == 8 ? v : (uint32_t)v;
}

/* The stack pointer's width in bytes. */
static inline unsigned op_stack_size(const struct x86_cpu *c)
{
	return likely(c->code64) ? 8 : c->stack32 ? 4 : 2;
}

/* RSP moved by @delta, in the stack's width. */
static inline uint64_t op_sp(const struct x86_cpu *c, int64_t delta)
{
	return (c->gpr[X86_RSP] + (uint64_t)delta) & op_addr_mask(op_stack_size(c));
}

static inline void op_set_sp(struct x86_cpu *c, uint64_t v)
{
	op_set_addr(c, X86_RSP, v, op_stack_size(c));
}

static always_inline void op_push(struct x86_cpu *c, uint64_t v, unsigned size)
{
	uint64_t sp = op_sp(c, -(int64_t)size);

	x86_st(c, X86_SS, sp, v, size);
	op_set_sp(c, sp);
}

/* Near branch target @rip: truncated to @opsize, and the fault that the new
 * instruction pointer would give (SDM vol. 2, JMP), before anything changed. */
static inline uint64_t op_target(struct x86_cpu *c, uint64_t rip, unsigned opsize)
{
	if (likely(opsize == 8)) {
		if (unlikely(!x86_canonical(rip)))
			x86_raise_gp0(c);
		return rip;
	}
	rip = opsize == 2 ? (uint16_t)rip : (uint32_t)rip;
	if (unlikely(rip > c->seg[X86_CS].limit))
		x86_raise_gp0(c);
	return rip;
}

/* Leaves a repeated string instruction that is not finished: it is the next
 * instruction again. */
static inline void op_again(struct x86_cpu *c)
{
	c->rip = c->start_rip;
	c->stop_block = true;
	c->again = true;
	if (c->dr[7] & 0xff) /* a breakpoint on it was passed already */
		c->rflags |= X86_FL_RF;
}

#endif
