/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vector accesses by mask: gathers, VMASKMOV, MASKMOVDQU and MASKMOVQ. */
#include "src/cpu/x86/op_priv.h"
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

/* Elements are not subject to alignment checking (as AMD's family 1Ah does it),
 * which x86_ld32() and its like would do. */
static inline void ld_element(struct x86_cpu *c, unsigned seg, uint64_t ea, void *to,
			      unsigned bytes)
{
	uint64_t lin = x86_lin(c, seg, ea, bytes, X86_ACC_R);
	void *p = x86_hit(c->tlb, lin, bytes, X86_ACC_R);

	if (likely(p))
		memcpy(to, p, bytes);
	else
		x86_load_buf(c, c->tlb_class, lin, to, bytes);
}

static inline void st_element(struct x86_cpu *c, unsigned seg, uint64_t ea, const void *from,
			      unsigned bytes)
{
	uint64_t lin = x86_lin(c, seg, ea, bytes, X86_ACC_W);
	void *p = x86_hit(c->tlb, lin, bytes, X86_ACC_W);

	if (likely(p)) {
		memcpy(p, from, bytes);
		x86_wrote(c, p, bytes);
	} else {
		x86_store_buf(c, c->tlb_class, lin, from, bytes);
	}
}

/*
 * Gathers, SDM vol. 2, VPGATHERDD: elements are loaded from the lowest on and
 * each clears its mask, in the registers themselves, so that a fault in the
 * middle leaves a state that restarts where it stopped. Without RF there is no
 * difference to a fault-free run.
 */
static inline uint64_t gather_ea(const struct x86_cpu *c, const struct x86_insn *i, int64_t index)
{
	uint64_t ea = (uint64_t)i->disp + ((uint64_t)index << i->mem_scale);

	if (i->mem_base < 16)
		ea += c->gpr[i->mem_base];
	return i->adsize == 8 ? ea : (uint32_t)ea;
}

/* @n elements; the rest of destination and mask is cleared. The decoder has seen
 * to it that destination, mask and index differ. */
static inline void gather(struct x86_cpu *c, const struct x86_insn *i, bool index64, bool data64,
			  unsigned n)
{
	union x86_vec *dst = &c->ymm[i->reg], *mask = &c->ymm[i->vvvv];
	const union x86_vec *index = &c->ymm[i->mem_index];

	x86_vec_check(c, X86_A_AVX);
	for (unsigned k = 0; k < n; k++) {
		uint64_t ea =
			gather_ea(c, i, index64 ? (int64_t)index->q[k] : (int32_t)index->d[k]);

		if (data64) {
			if (mask->q[k] >> 63)
				ld_element(c, i->seg, ea, &dst->q[k], 8);
			mask->q[k] = 0;
		} else {
			if (mask->d[k] >> 31)
				ld_element(c, i->seg, ea, &dst->d[k], 4);
			mask->d[k] = 0;
		}
	}
	memset(mask, 0, sizeof(*mask));
	for (unsigned k = data64 ? n : n / 2; k < 4; k++)
		dst->q[k] = 0;
}

void op_gather_d4(struct x86_cpu *c, const struct x86_insn *i)
{
	gather(c, i, false, false, i->vl ? 8 : 4);
}

void op_gather_d8(struct x86_cpu *c, const struct x86_insn *i)
{
	gather(c, i, false, true, i->vl ? 4 : 2);
}

void op_gather_q4(struct x86_cpu *c, const struct x86_insn *i)
{
	gather(c, i, true, false, i->vl ? 4 : 2);
}

void op_gather_q8(struct x86_cpu *c, const struct x86_insn *i)
{
	gather(c, i, true, true, i->vl ? 4 : 2);
}

/* VMASKMOVx, VPMASKMOVx: elements whose mask is clear are neither read nor
 * written and do not fault. */
#define VMASKMOV(fn, bytes, bits, m)                                                         \
	void fn##_ld(struct x86_cpu *c, const struct x86_insn *i)                            \
	{                                                                                    \
		const union x86_vec *mask = &c->ymm[i->vvvv];                                \
		unsigned n = (i->vl ? 32 : 16) / bytes;                                      \
		union x86_vec v = { 0 };                                                     \
		uint64_t ea;                                                                 \
                                                                                             \
		x86_vec_check(c, X86_A_AVX);                                                 \
		ea = x86_ea(c, i);                                                           \
		for (unsigned k = 0; k < n; k++)                                             \
			if (mask->m[k] >> (bits - 1))                                        \
				ld_element(c, i->seg, element_ea(c, ea, k *bytes), &v.m[k],  \
					   bytes);                                           \
		c->ymm[i->reg] = v;                                                          \
	}                                                                                    \
	void fn##_st(struct x86_cpu *c, const struct x86_insn *i)                            \
	{                                                                                    \
		const union x86_vec *mask = &c->ymm[i->vvvv], *v = &c->ymm[i->reg];          \
		unsigned n = (i->vl ? 32 : 16) / bytes;                                      \
		uint64_t ea;                                                                 \
                                                                                             \
		x86_vec_check(c, X86_A_AVX);                                                 \
		ea = x86_ea(c, i);                                                           \
		for (unsigned k = 0; k < n; k++)                                             \
			if (mask->m[k] >> (bits - 1))                                        \
				probe_element(c, i, element_ea(c, ea, k *bytes), bytes);     \
		for (unsigned k = 0; k < n; k++)                                             \
			if (mask->m[k] >> (bits - 1))                                        \
				st_element(c, i->seg, element_ea(c, ea, k *bytes), &v->m[k], \
					   bytes);                                           \
	}

/* The operand is one piece of memory: its address is truncated, not its elements'. */
static inline uint64_t element_ea(const struct x86_cpu *c, uint64_t ea, unsigned off)
{
	return c->code64 ? ea + off : (uint32_t)(ea + off);
}

static inline void probe_element(struct x86_cpu *c, const struct x86_insn *i, uint64_t ea,
				 unsigned bytes)
{
	uint64_t lin = x86_lin(c, i->seg, ea, bytes, X86_ACC_W);

	if (unlikely(!x86_hit(c->tlb, lin, bytes, X86_ACC_W)))
		x86_probe(c, c->tlb_class, lin, bytes, X86_ACC_W);
}

VMASKMOV(op_vmaskmov4, 4, 32, d)
VMASKMOV(op_vmaskmov8, 8, 64, q)

/* Bytes of @v whose @mask has bit 7 set, to DS:rDI (or the override's segment). */
static void mask_store(struct x86_cpu *c, const struct x86_insn *i, const uint8_t *v,
		       const uint8_t *mask, unsigned n)
{
	uint64_t ea = c->gpr[X86_RDI] & op_addr_mask(i->adsize);

	for (unsigned k = 0; k < n; k++)
		if (mask[k] & 0x80)
			probe_element(c, i, element_ea(c, ea, k), 1);
	for (unsigned k = 0; k < n; k++)
		if (mask[k] & 0x80)
			x86_st8(c, i->seg, element_ea(c, ea, k), v[k]);
}

void op_maskmovdqu(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	mask_store(c, i, c->ymm[i->reg].b, c->ymm[i->rm].b, 16);
}

void op_vmaskmovdqu(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	mask_store(c, i, c->ymm[i->reg].b, c->ymm[i->rm].b, 16);
}

void op_maskmovq(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned top;

	if (!x86_mmx_check(c))
		return;
	top = X86_FSW_TOP(c->fx.fsw);
	/* The stores may fault: the change to MMX state comes after them. */
	mask_store(c, i, c->fx.st[(i->reg - top) & 7], c->fx.st[(i->rm - top) & 7], 8);
	x86_mmx_enter(c);
}
