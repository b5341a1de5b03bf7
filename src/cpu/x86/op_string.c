/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MOVS CMPS STOS LODS SCAS, alone and repeated. SDM vol. 2, REP: registers are
 * up to date after every iteration, so that a fault, an interrupt or a trap
 * between two of them can resume the instruction.
 */
#include "src/cpu/x86/op_priv.h"

/* Between two iterations: is there something the run loop should see? */
static inline bool rep_break(const struct x86_cpu *c)
{
	return atomic_load_explicit(&c->request, memory_order_relaxed) ||
	       (c->rflags & X86_FL_TF) || c->db_pending;
}

static inline void advance(struct x86_cpu *c, unsigned r, int64_t delta, unsigned adsize)
{
	op_set_addr(c, r, c->gpr[r] + (uint64_t)delta, adsize);
}

/* Segments @a and @b need no limit check. */
static inline bool both_flat(const struct x86_cpu *c, unsigned a, unsigned b)
{
	return c->code64 || (c->seg_flat >> a & c->seg_flat >> b & 1);
}

/* Linear address without a fault: false where there would be one. */
static inline bool flat_lin(const struct x86_cpu *c, unsigned seg, uint64_t ea, uint64_t *lin)
{
	*lin = c->code64 ? (seg >= X86_FS ? ea + c->seg[seg].base : ea) : (uint32_t)ea;
	return !c->code64 || x86_canonical(*lin);
}

/* How many elements of @size from address @ea on stay in one page and below
 * @count; address wrap lies at a page's end too. 0 where one crosses. */
static inline uint64_t in_page(uint64_t lin, uint64_t ea, unsigned size, uint64_t count)
{
	uint64_t left = 4096 - max_of(lin & 0xfff, ea & 0xfff);

	return min_of(left / size, count);
}

#define SIZE 1
#include "src/cpu/x86/op_string.inc"
#undef SIZE
#define SIZE 2
#include "src/cpu/x86/op_string.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_string.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_string.inc"
#undef SIZE
