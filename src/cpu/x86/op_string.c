/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MOVS CMPS STOS LODS SCAS, alone and repeated. SDM vol. 2, REP: registers are
 * up to date after every iteration, so that a fault, an interrupt or a trap
 * between two of them can resume the instruction.
 */
#include "src/cpu/x86/op_priv.h"

/* Does somebody want to see every iteration? */
static inline bool rep_singly(const struct x86_cpu *c)
{
	return (c->rflags & X86_FL_TF) || (c->debug & X86_DEBUG_SLOW);
}

/* Between two iterations: is there something the run loop should see? */
static inline bool rep_break(const struct x86_cpu *c)
{
	return atomic_load_explicit(&c->request, memory_order_relaxed) || rep_singly(c) ||
	       c->db_pending;
}

static inline void advance(struct x86_cpu *c, unsigned r, int64_t delta, unsigned adsize)
{
	op_set_addr(c, r, c->gpr[r] + (uint64_t)delta, adsize);
}

/* Linear address of the segment's byte @ea, nothing checked. */
static inline uint64_t lin_at(const struct x86_cpu *c, unsigned seg, uint64_t ea)
{
	if (c->code64)
		return seg >= X86_FS ? ea + c->seg[seg].base : ea;
	return (uint32_t)(c->seg[seg].base + ea);
}

/* Is there no fault of segmentation in [ea, ea+len), which lies in one page? */
static inline bool seg_ok(const struct x86_cpu *c, unsigned seg, uint64_t ea, uint64_t lin,
			  unsigned len, enum x86_access acc)
{
	if (c->code64)
		return x86_canonical(lin);
	return c->seg_flat >> seg & 1 || x86_lin_allowed(c, seg, (uint32_t)ea, len, acc);
}

/*
 * How many elements of @size, the first at @ea, stay in one page and below @count, upward
 * or (@down) downward; address wrap lies at a page's end too. 0 where one crosses.
 */
static inline uint64_t in_page(uint64_t lin, uint64_t ea, unsigned size, bool down, uint64_t count)
{
	uint64_t high = max_of(lin & 0xfff, ea & 0xfff), low = min_of(lin & 0xfff, ea & 0xfff);

	if (!down)
		return min_of((4096 - high) / size, count);
	return high + size > 4096 ? 0 : min_of(low / size + 1, count);
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
