/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MMX over the x87 registers (SDM vol. 1, 9.5 and 9.6): each instruction sets
 * TOP to 0 and all tags to valid (EMMS: empty), a write sets sign and exponent of the register
 * to ones. Memory is read before, and written before, that change is made.
 */
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

static inline void mark(struct x86_cpu *c, unsigned n) { memset(x86_mm(c, n) + 8, 0xff, 2); }

/* Before x86_mmx_enter(): where MMn lies now. */
static inline uint8_t *mm_now(struct x86_cpu *c, unsigned n)
{
	return c->fx.st[(n - X86_FSW_TOP(c->fx.fsw)) & 7];
}

static inline void set_mm(struct x86_cpu *c, unsigned n, uint64_t v)
{
	x86_mmx_enter(c);
	memcpy(x86_mm(c, n), &v, 8);
	mark(c, n);
}

static inline uint64_t get_mm(struct x86_cpu *c, unsigned n)
{
	uint64_t v;

	memcpy(&v, mm_now(c, n), 8);
	return v;
}

static inline void run(struct x86_cpu *c, const struct x86_insn *i, void *rm)
{
	x86_vec_stub(c, i)(x86_mm(c, i->reg), rm, NULL, NULL, NULL, NULL);
}

void op_mmx_r(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!x86_mmx_check(c))
		return;
	x86_mmx_enter(c);
	run(c, i, x86_mm(c, i->rm));
	/* Shifts by an immediate write the rm register. */
	mark(c, i->row->opnd[0] == X86_O_Nq ? i->rm : i->reg);
}

void op_mmx_m(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t m = 0;

	if (!x86_mmx_check(c))
		return;
	m = x86_ld(c, i->seg, x86_ea(c, i), i->row->mem_bytes);
	x86_mmx_enter(c);
	run(c, i, &m);
	mark(c, i->reg);
}

void op_emms(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!x86_mmx_check(c))
		return;
	x86_mmx_enter(c);
	c->fx.ftw = 0;
}

/* Moves */
void op_movd_p_r(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_mmx_check(c))
		set_mm(c, i->reg, i->rex_w ? c->gpr[i->rm] : (uint32_t)c->gpr[i->rm]);
}

void op_movd_p_m(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_mmx_check(c))
		set_mm(c, i->reg, x86_ld(c, i->seg, x86_ea(c, i), i->rex_w ? 8 : 4));
}

void op_movd_p_st_r(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v;

	if (!x86_mmx_check(c))
		return;
	v = get_mm(c, i->reg);
	c->gpr[i->rm] = i->rex_w ? v : (uint32_t)v;
	x86_mmx_enter(c);
}

void op_movd_p_st_m(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!x86_mmx_check(c))
		return;
	x86_st(c, i->seg, x86_ea(c, i), get_mm(c, i->reg), i->rex_w ? 8 : 4);
	x86_mmx_enter(c);
}

void op_movq_p_r(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_mmx_check(c))
		set_mm(c, i->reg, get_mm(c, i->rm));
}

void op_movq_p_m(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_mmx_check(c))
		set_mm(c, i->reg, x86_ld64(c, i->seg, x86_ea(c, i)));
}

void op_movq_p_st_r(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_mmx_check(c))
		set_mm(c, i->rm, get_mm(c, i->reg));
}

void op_movq_p_st_m(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!x86_mmx_check(c))
		return;
	x86_st64(c, i->seg, x86_ea(c, i), get_mm(c, i->reg));
	x86_mmx_enter(c);
}

void op_movq2dq(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v;

	x86_vec_check(c, X86_A_SSE);
	if (!x86_mmx_check(c))
		return;
	v = get_mm(c, i->rm);
	c->ymm[i->reg].q[0] = v;
	c->ymm[i->reg].q[1] = 0;
	x86_mmx_enter(c);
}

void op_movdq2q(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	if (x86_mmx_check(c))
		set_mm(c, i->reg, c->ymm[i->rm].q[0]);
}

static inline void pinsrw(struct x86_cpu *c, const struct x86_insn *i, uint64_t x)
{
	uint16_t w = (uint16_t)x;

	x86_mmx_enter(c);
	memcpy(x86_mm(c, i->reg) + (i->imm & 3) * 2, &w, 2);
	mark(c, i->reg);
}

void op_pinsrw_p_r(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_mmx_check(c))
		pinsrw(c, i, c->gpr[i->rm]);
}

void op_pinsrw_p_m(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_mmx_check(c))
		pinsrw(c, i, x86_ld16(c, i->seg, x86_ea(c, i)));
}

void op_pextrw_p(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!x86_mmx_check(c))
		return;
	c->gpr[i->reg] = (uint16_t)(get_mm(c, i->rm) >> (i->imm & 3) * 16);
	x86_mmx_enter(c);
}

void op_pmovmskb_p(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v;

	if (!x86_mmx_check(c))
		return;
	v = get_mm(c, i->rm);
	c->gpr[i->reg] = 0;
	for (unsigned n = 0; n < 8; n++)
		c->gpr[i->reg] |= (v >> (n * 8 + 7) & 1) << n;
	x86_mmx_enter(c);
}

/*
 * Conversions between MMX and XMM registers. Pending x87 exceptions come first;
 * the change to MMX state comes before an unmasked SIMD exception. CVTPI2PD and
 * CVTPI2PS with a memory source are no MMX instructions at all. The manuals say
 * so of CVTPI2PD; the rest is as AMD's family 1Ah does it.
 */
static inline void cvt_run(struct x86_cpu *c, const struct x86_insn *i, void *reg, void *rm)
{
	if (unlikely(~c->fx.mxcsr & X86_MXCSR_MASKS))
		x86_simd_may_trap();
	if (unlikely(!x86_vec_stub(c, i)(reg, rm, NULL, NULL, NULL, &c->fx.mxcsr)))
		x86_simd_exception(c);
}

void op_cvt_p2v_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	if (!x86_mmx_check(c))
		return;
	x86_mmx_enter(c);
	cvt_run(c, i, &c->ymm[i->reg], x86_mm(c, i->rm));
}

void op_cvt_p2v_m(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t m;

	x86_vec_check(c, X86_A_SSE);
	m = x86_ld64(c, i->seg, x86_ea(c, i));
	cvt_run(c, i, &c->ymm[i->reg], &m);
}

static inline void cvt_v2p(struct x86_cpu *c, const struct x86_insn *i, void *rm)
{
	uint64_t v = 0;

	x86_mmx_enter(c);
	cvt_run(c, i, &v, rm);
	set_mm(c, i->reg, v);
}

void op_cvt_v2p_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	if (x86_mmx_check(c))
		cvt_v2p(c, i, &c->ymm[i->rm]);
}

void op_cvt_v2p_m(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec m;

	x86_vec_check(c, X86_A_SSE);
	if (!x86_mmx_check(c))
		return;
	x86_vec_load(c, i, &m, x86_vec_bytes(i));
	cvt_v2p(c, i, &m);
}
