/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector instructions that the host's CPU computes: one function per shape of
 * operands. _r: ModRM.rm is a register, _m: memory. "vecf" rows are X86_A_FLOAT
 * and run under the guest's own MXCSR, so that rounding, DAZ, FTZ, flags and the
 * choice between masked and unmasked response are hardware's.
 */
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

static inline void *extra(struct x86_cpu *c, const struct x86_insn *i)
{
	return &c->ymm[i->row->opnd[3] == X86_O_L ? i->imm >> 4 & 15 : 0];
}

static inline void run(struct x86_cpu *c, const struct x86_insn *i, void *rm, struct host_gpr *g)
{
	x86_vec_stub(c, i)(&c->ymm[i->reg & 15], rm, &c->ymm[i->vvvv], extra(c, i), g,
			   &c->fx.mxcsr);
}

static inline void run_float(struct x86_cpu *c, const struct x86_insn *i, void *reg, void *rm,
			     struct host_gpr *g)
{
	if (unlikely(~c->fx.mxcsr & X86_MXCSR_MASKS))
		x86_simd_may_trap();
	if (unlikely(!x86_vec_stub(c, i)(reg, rm, &c->ymm[i->vvvv], extra(c, i), g, &c->fx.mxcsr)))
		x86_simd_exception(c);
}

void op_vec_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, i->row->attr);
	run(c, i, &c->ymm[i->rm], NULL);
}

void op_vec_m(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec m;

	x86_vec_check(c, i->row->attr);
	x86_vec_load(c, i, &m, x86_vec_bytes(i));
	run(c, i, &m, NULL);
}

void op_vecf_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, i->row->attr);
	run_float(c, i, &c->ymm[i->reg], &c->ymm[i->rm], NULL);
}

void op_vecf_m(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec m;

	x86_vec_check(c, i->row->attr);
	x86_vec_load(c, i, &m, x86_vec_bytes(i));
	run_float(c, i, &c->ymm[i->reg], &m, NULL);
}

/* V, [H,] Ey: CVTSI2SS and CVTSI2SD */
void op_vec_from_gpr_r(struct x86_cpu *c, const struct x86_insn *i)
{
	struct host_gpr g = { .a = c->gpr[i->rm] };

	x86_vec_check(c, i->row->attr);
	run_float(c, i, &c->ymm[i->reg], NULL, &g);
}

void op_vec_from_gpr_m(struct x86_cpu *c, const struct x86_insn *i)
{
	struct host_gpr g;

	x86_vec_check(c, i->row->attr);
	g.a = x86_ld(c, i->seg, x86_ea(c, i), i->rex_w ? 8 : 4);
	run_float(c, i, &c->ymm[i->reg], NULL, &g);
}

/* G, U: sign masks. The host's 32-bit write has zero-extended. */
void op_vec_to_gpr_r(struct x86_cpu *c, const struct x86_insn *i)
{
	struct host_gpr g = { 0 };

	x86_vec_check(c, i->row->attr);
	run(c, i, &c->ymm[i->rm], &g);
	c->gpr[i->reg] = g.a;
}

/* Gy, W: CVT(T)SS2SI and CVT(T)SD2SI */
static inline void to_gpr(struct x86_cpu *c, const struct x86_insn *i, void *rm)
{
	struct host_gpr g = { 0 };

	run_float(c, i, NULL, rm, &g);
	c->gpr[i->reg] = g.a;
}

void op_vecf_to_gpr_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, i->row->attr);
	to_gpr(c, i, &c->ymm[i->rm]);
}

void op_vecf_to_gpr_m(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec m;

	x86_vec_check(c, i->row->attr);
	x86_vec_load(c, i, &m, x86_vec_bytes(i));
	to_gpr(c, i, &m);
}

static inline void set_flags(struct x86_cpu *c, uint64_t flags)
{
	c->rflags = (c->rflags & ~X86_FL_ARITH) | (flags & X86_FL_ARITH);
}

/* PTEST, VTESTPS: RFLAGS only */
void op_vec_flags_r(struct x86_cpu *c, const struct x86_insn *i)
{
	struct host_gpr g = { 0 };

	x86_vec_check(c, i->row->attr);
	run(c, i, &c->ymm[i->rm], &g);
	set_flags(c, g.flags);
}

void op_vec_flags_m(struct x86_cpu *c, const struct x86_insn *i)
{
	struct host_gpr g = { 0 };
	union x86_vec m;

	x86_vec_check(c, i->row->attr);
	x86_vec_load(c, i, &m, x86_vec_bytes(i));
	run(c, i, &m, &g);
	set_flags(c, g.flags);
}

/* COMISS and friends */
void op_vecf_flags_r(struct x86_cpu *c, const struct x86_insn *i)
{
	struct host_gpr g = { 0 };

	x86_vec_check(c, i->row->attr);
	run_float(c, i, &c->ymm[i->reg], &c->ymm[i->rm], &g);
	set_flags(c, g.flags);
}

void op_vecf_flags_m(struct x86_cpu *c, const struct x86_insn *i)
{
	struct host_gpr g = { 0 };
	union x86_vec m;

	x86_vec_check(c, i->row->attr);
	x86_vec_load(c, i, &m, x86_vec_bytes(i));
	run_float(c, i, &c->ymm[i->reg], &m, &g);
	set_flags(c, g.flags);
}

/* PCMPxSTRx: opcode bit 0 tells an index (to RCX) from a mask (to XMM0). */
static void pcmpstr(struct x86_cpu *c, const struct x86_insn *i, void *rm)
{
	struct host_gpr g = { .a = c->gpr[X86_RAX], .d = c->gpr[X86_RDX] };

	run(c, i, rm, &g);
	if (i->opcode & 1)
		c->gpr[X86_RCX] = g.c;
	set_flags(c, g.flags);
}

void op_pcmpstr_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, i->row->attr);
	pcmpstr(c, i, &c->ymm[i->rm]);
}

void op_pcmpstr_m(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec m;

	x86_vec_check(c, i->row->attr);
	x86_vec_load(c, i, &m, 16);
	pcmpstr(c, i, &m);
}

/* The one host row whose vector destination may be memory. */
void op_vcvtps2ph_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, i->row->attr);
	run_float(c, i, &c->ymm[i->reg], &c->ymm[i->rm], NULL);
}

void op_vcvtps2ph_m(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec m;
	unsigned bytes = i->row->mem_bytes;
	uint64_t lin;

	x86_vec_check(c, i->row->attr);
	/* A fault of the store comes before the flags of the conversion. */
	lin = x86_vec_lin(c, i, bytes, X86_ACC_W);
	x86_probe(c, c->tlb_class, lin, bytes, X86_ACC_W);
	run_float(c, i, &c->ymm[i->reg], &m, NULL);
	x86_vec_st(c, lin, &m, bytes);
}
