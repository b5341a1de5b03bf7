/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MXCSR, FXSAVE and the XSAVE family (SDM vol. 1, 10.5 and chapter 13), for the
 * state components x87 (0), SSE (1) and AVX (2).
 *
 * XINUSE is worked out from the registers: a component in its initial
 * configuration is not in use. The modified optimisation of XSAVEOPT and XSAVES
 * is not used, which the manual allows: they save whatever is in use.
 */
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

#define XC_X87        1u
#define XC_SSE        2u
#define XC_AVX        4u
#define XC_ALL        7u
#define XCOMP_COMPACT (1ull << 63)

#define OFF_MXCSR    24u
#define OFF_ST       32u
#define OFF_XMM      160u
#define LEGACY_BYTES 512u
#define HEADER_BYTES 64u
#define OFF_AVX      (LEGACY_BYTES + HEADER_BYTES) /* in both formats: nothing precedes it */
#define AVX_BYTES    256u

static void check_ts(struct x86_cpu *c)
{
	if (c->cr0 & X86_CR0_TS)
		x86_raise(c, X86_EXC_NM);
}

static unsigned vec_regs(const struct x86_cpu *c) { return c->code64 ? 16 : 8; }

/* LDMXCSR, STMXCSR */
static inline void ldmxcsr(struct x86_cpu *c, const struct x86_insn *i, uint32_t attr)
{
	uint32_t v;

	x86_vec_check(c, attr);
	v = x86_ld32(c, i->seg, x86_ea(c, i));
	if (v & ~X86_MXCSR_MASK)
		x86_raise_gp0(c);
	c->fx.mxcsr = v;
}

static inline void stmxcsr(struct x86_cpu *c, const struct x86_insn *i, uint32_t attr)
{
	x86_vec_check(c, attr);
	x86_st32(c, i->seg, x86_ea(c, i), c->fx.mxcsr);
}

void op_ldmxcsr(struct x86_cpu *c, const struct x86_insn *i) { ldmxcsr(c, i, X86_A_SSE); }
void op_stmxcsr(struct x86_cpu *c, const struct x86_insn *i) { stmxcsr(c, i, X86_A_SSE); }
void op_vldmxcsr(struct x86_cpu *c, const struct x86_insn *i) { ldmxcsr(c, i, X86_A_AVX); }
void op_vstmxcsr(struct x86_cpu *c, const struct x86_insn *i) { stmxcsr(c, i, X86_A_AVX); }

/* The x87 part of the legacy region, bytes 0-23 and 32-159. The 64-bit layout of
 * the pointers is REX.W's; the other has 32-bit offsets and selectors, zero here. */
static void put_x87(const struct x86_cpu *c, uint8_t *p, bool wide)
{
	st_le16(p, c->fx.fcw);
	st_le16(p + 2, c->fx.fsw);
	p[4] = c->fx.ftw;
	p[5] = 0;
	st_le16(p + 6, c->fx.fop);
	st_le64(p + 8, wide ? c->fx.fip : (uint32_t)c->fx.fip);
	st_le64(p + 16, wide ? c->fx.fdp : (uint32_t)c->fx.fdp);
	memset(p + OFF_ST, 0, 128);
	for (unsigned n = 0; n < 8; n++)
		memcpy(p + OFF_ST + 16 * n, c->fx.st[n], 10);
}

static void get_x87(struct x86_cpu *c, const uint8_t *p, bool wide)
{
	c->fx.fcw = ld_le16(p);
	c->fx.fsw = ld_le16(p + 2);
	c->fx.ftw = p[4];
	c->fx.fop = ld_le16(p + 6);
	c->fx.fip = wide ? ld_le64(p + 8) : ld_le32(p + 8);
	c->fx.fdp = wide ? ld_le64(p + 16) : ld_le32(p + 16);
	memcpy(c->fx.st, p + OFF_ST, sizeof(c->fx.st));
	x86_fx_normalise(c);
}

static void put_xmm(const struct x86_cpu *c, uint8_t *p)
{
	for (unsigned n = 0; n < vec_regs(c); n++)
		memcpy(p + OFF_XMM + 16 * n, &c->ymm[n], 16);
}

static void get_xmm(struct x86_cpu *c, const uint8_t *p)
{
	for (unsigned n = 0; n < vec_regs(c); n++)
		memcpy(&c->ymm[n], p + OFF_XMM + 16 * n, 16);
}

static void put_avx(const struct x86_cpu *c, uint8_t *p)
{
	for (unsigned n = 0; n < vec_regs(c); n++)
		memcpy(p + 16 * n, &c->ymm[n].q[2], 16);
}

static void get_avx(struct x86_cpu *c, const uint8_t *p)
{
	for (unsigned n = 0; n < vec_regs(c); n++)
		memcpy(&c->ymm[n].q[2], p + 16 * n, 16);
}

static uint64_t image_lin(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes,
			  unsigned align, enum x86_access acc)
{
	uint64_t lin = x86_lin(c, i->seg, x86_ea(c, i), bytes, acc);

	if (lin & (align - 1))
		x86_raise_gp0(c);
	return lin;
}

static void fx_check(struct x86_cpu *c)
{
	if (c->cr0 & (X86_CR0_EM | X86_CR0_TS))
		x86_raise(c, X86_EXC_NM);
}

/* FXSAVE writes 464 bytes: the last 48 are software's. */
void op_fxsave(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned xmm = c->cr4 & X86_CR4_OSFXSR ? 16 * vec_regs(c) : 0;
	uint8_t image[LEGACY_BYTES];
	uint64_t lin;

	fx_check(c);
	lin = image_lin(c, i, LEGACY_BYTES, 16, X86_ACC_W);
	put_x87(c, image, i->rex_w);
	st_le32(image + OFF_MXCSR, c->fx.mxcsr);
	st_le32(image + OFF_MXCSR + 4, X86_MXCSR_MASK);
	if (xmm)
		put_xmm(c, image);
	x86_vec_st(c, lin, image, OFF_XMM + xmm);
}

void op_fxrstor(struct x86_cpu *c, const struct x86_insn *i)
{
	uint8_t image[LEGACY_BYTES];
	uint32_t mxcsr;

	fx_check(c);
	x86_vec_ld(c, image_lin(c, i, LEGACY_BYTES, 16, X86_ACC_R), image, LEGACY_BYTES);
	mxcsr = ld_le32(image + OFF_MXCSR);
	if (c->cr4 & X86_CR4_OSFXSR) {
		if (mxcsr & ~X86_MXCSR_MASK)
			x86_raise_gp0(c);
		c->fx.mxcsr = mxcsr;
		get_xmm(c, image);
	}
	get_x87(c, image, i->rex_w);
}

static void check_osxsave(struct x86_cpu *c)
{
	if (!(c->cr4 & X86_CR4_OSXSAVE))
		x86_raise_ud(c);
}

static uint32_t xinuse(const struct x86_cpu *c)
{
	static const uint8_t zero[sizeof(c->fx.st)];
	uint64_t lo = 0, hi = 0;
	uint32_t bits = 0;

	if (c->fx.fcw != 0x37f || c->fx.fsw || c->fx.ftw || c->fx.fop || c->fx.fip || c->fx.fdp ||
	    memcmp(c->fx.st, zero, sizeof(zero)))
		bits |= XC_X87;
	for (unsigned n = 0; n < vec_regs(c); n++) {
		lo |= c->ymm[n].q[0] | c->ymm[n].q[1];
		hi |= c->ymm[n].q[2] | c->ymm[n].q[3];
	}
	return bits | (lo ? XC_SSE : 0) | (hi ? XC_AVX : 0);
}

void op_xgetbv(struct x86_cpu *c, const struct x86_insn *i)
{
	uint32_t which = (uint32_t)c->gpr[X86_RCX];
	uint64_t v = c->xcr0;

	check_osxsave(c);
	if (which == 1 && x86_has(c, X86_F_XGETBV1))
		v &= xinuse(c);
	else if (which != 0)
		x86_raise_gp0(c);
	c->gpr[X86_RAX] = (uint32_t)v;
	c->gpr[X86_RDX] = v >> 32;
}

void op_xsetbv(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v = c->gpr[X86_RDX] << 32 | (uint32_t)c->gpr[X86_RAX];
	uint64_t known = XC_X87 | XC_SSE | (x86_has(c, X86_F_AVX) ? XC_AVX : 0);

	check_osxsave(c);
	if ((uint32_t)c->gpr[X86_RCX] != 0 || (v & ~known) || !(v & XC_X87) ||
	    (v & XC_AVX && !(v & XC_SSE)) || (x86_protected(c) && c->cpl) || x86_v86(c))
		x86_raise_gp0(c);
	c->xcr0 = v;
	c->stop_block = true;
}

/* The requested-feature bitmap: EDX:EAX and what is enabled. */
static uint32_t rfbm(const struct x86_cpu *c, uint64_t enabled)
{
	return (uint32_t)(enabled & (c->gpr[X86_RDX] << 32 | (uint32_t)c->gpr[X86_RAX]));
}

static void save_check(struct x86_cpu *c)
{
	check_osxsave(c);
	check_ts(c);
}

/* The whole area as the checks see it. */
static unsigned area_bytes(uint32_t mask) { return mask & XC_AVX ? OFF_AVX + AVX_BYTES : OFF_AVX; }

/*
 * XSAVE and XSAVEOPT: standard format. XSTATE_BV bits outside RFBM are kept.
 * @opt: components not in use are not written (13.9).
 */
static void save_standard(struct x86_cpu *c, const struct x86_insn *i, bool opt)
{
	uint8_t legacy[LEGACY_BYTES], avx[AVX_BYTES];
	uint32_t mask, inuse, what;
	uint64_t lin, bv;

	save_check(c);
	mask = rfbm(c, c->xcr0);
	lin = image_lin(c, i, area_bytes(mask), 64, X86_ACC_W);
	inuse = xinuse(c);
	what = opt ? mask & inuse : mask;
	/* All faults first. */
	x86_probe(c, c->tlb_class, lin, area_bytes(mask), X86_ACC_W);
	bv = x86_lin_ld64(c, lin + LEGACY_BYTES);
	if (what & XC_X87) {
		put_x87(c, legacy, i->rex_w);
		x86_vec_st(c, lin, legacy, OFF_MXCSR);
		x86_vec_st(c, lin + OFF_ST, legacy + OFF_ST, 128);
	}
	if (mask & (XC_SSE | XC_AVX)) {
		st_le32(legacy, c->fx.mxcsr);
		st_le32(legacy + 4, X86_MXCSR_MASK);
		x86_vec_st(c, lin + OFF_MXCSR, legacy, 8);
	}
	if (what & XC_SSE) {
		put_xmm(c, legacy);
		x86_vec_st(c, lin + OFF_XMM, legacy + OFF_XMM, 16 * vec_regs(c));
	}
	if (what & XC_AVX) {
		put_avx(c, avx);
		x86_vec_st(c, lin + OFF_AVX, avx, 16 * vec_regs(c));
	}
	x86_lin_st64(c, lin + LEGACY_BYTES, (bv & ~(uint64_t)mask) | (inuse & mask));
}

void op_xsave(struct x86_cpu *c, const struct x86_insn *i) { save_standard(c, i, false); }
void op_xsaveopt(struct x86_cpu *c, const struct x86_insn *i) { save_standard(c, i, true); }

/* XSAVEC and XSAVES: compacted format, only what is in use (13.10, 13.11). */
static void save_compact(struct x86_cpu *c, const struct x86_insn *i, uint64_t enabled)
{
	uint8_t legacy[LEGACY_BYTES], avx[AVX_BYTES];
	uint32_t mask = rfbm(c, enabled), what;
	uint64_t lin;

	lin = image_lin(c, i, area_bytes(mask), 64, X86_ACC_W);
	what = xinuse(c);
	if (c->fx.mxcsr != 0x1f80)
		what |= XC_SSE;
	what &= mask;
	x86_probe(c, c->tlb_class, lin, area_bytes(mask), X86_ACC_W);
	if (what & XC_X87) {
		put_x87(c, legacy, i->rex_w);
		x86_vec_st(c, lin, legacy, OFF_MXCSR);
		x86_vec_st(c, lin + OFF_ST, legacy + OFF_ST, 128);
	}
	if (what & XC_SSE) {
		put_xmm(c, legacy);
		st_le32(legacy, c->fx.mxcsr);
		st_le32(legacy + 4, X86_MXCSR_MASK);
		x86_vec_st(c, lin + OFF_MXCSR, legacy, 8);
		x86_vec_st(c, lin + OFF_XMM, legacy + OFF_XMM, 16 * vec_regs(c));
	}
	if (what & XC_AVX) {
		put_avx(c, avx);
		x86_vec_st(c, lin + OFF_AVX, avx, 16 * vec_regs(c));
	}
	x86_lin_st64(c, lin + LEGACY_BYTES, what);
	x86_lin_st64(c, lin + LEGACY_BYTES + 8, XCOMP_COMPACT | mask);
}

void op_xsavec(struct x86_cpu *c, const struct x86_insn *i)
{
	save_check(c);
	save_compact(c, i, c->xcr0);
}

static void check_cpl0(struct x86_cpu *c)
{
	if ((x86_protected(c) && c->cpl) || x86_v86(c))
		x86_raise_gp0(c);
}

void op_xsaves(struct x86_cpu *c, const struct x86_insn *i)
{
	check_osxsave(c);
	check_cpl0(c);
	check_ts(c);
	save_compact(c, i, c->xcr0 | c->xss);
}

static void init_x87(struct x86_cpu *c)
{
	x86_fninit(c);
	memset(c->fx.st, 0, sizeof(c->fx.st));
}

/*
 * XRSTOR and XRSTORS (13.8, 13.12). The header decides the format; everything is
 * read and checked before a register changes.
 */
static void restore(struct x86_cpu *c, const struct x86_insn *i, uint64_t enabled, bool supervisor)
{
	uint8_t legacy[LEGACY_BYTES + HEADER_BYTES], avx[AVX_BYTES];
	uint32_t mask = rfbm(c, enabled), from, init;
	uint64_t lin, bv, comp;
	bool load_mxcsr;

	/* The header says how long the area is. */
	lin = image_lin(c, i, OFF_AVX, 64, X86_ACC_R);
	x86_vec_ld(c, lin, legacy, LEGACY_BYTES + HEADER_BYTES);
	bv = ld_le64(legacy + LEGACY_BYTES);
	comp = ld_le64(legacy + LEGACY_BYTES + 8);
	if (supervisor || (comp & XCOMP_COMPACT && x86_has(c, X86_F_XSAVEC))) {
		if (!(comp & XCOMP_COMPACT) || comp & ~XCOMP_COMPACT & ~enabled || bv & ~comp)
			x86_raise_gp0(c);
		for (unsigned n = 16; n < HEADER_BYTES; n++)
			if (legacy[LEGACY_BYTES + n])
				x86_raise_gp0(c);
		load_mxcsr = mask & bv & XC_SSE;
	} else {
		if (comp || bv & ~c->xcr0 || ld_le64(legacy + LEGACY_BYTES + 16))
			x86_raise_gp0(c);
		load_mxcsr = mask & (XC_SSE | XC_AVX);
	}
	if (load_mxcsr && ld_le32(legacy + OFF_MXCSR) & ~X86_MXCSR_MASK)
		x86_raise_gp0(c);
	from = mask & (uint32_t)bv;
	init = mask & ~from;
	if (from & XC_AVX) {
		image_lin(c, i, area_bytes(from), 64, X86_ACC_R);
		x86_vec_ld(c, lin + OFF_AVX, avx, 16 * vec_regs(c));
		get_avx(c, avx);
	} else if (init & XC_AVX) {
		memset(avx, 0, sizeof(avx));
		get_avx(c, avx);
	}
	if (load_mxcsr)
		c->fx.mxcsr = ld_le32(legacy + OFF_MXCSR);
	else if (init & XC_SSE)
		c->fx.mxcsr = 0x1f80; /* compacted format only */
	if (init & XC_SSE)
		memset(legacy + OFF_XMM, 0, 256);
	if (mask & XC_SSE)
		get_xmm(c, legacy);
	if (from & XC_X87)
		get_x87(c, legacy, i->rex_w);
	else if (init & XC_X87)
		init_x87(c);
}

void op_xrstor(struct x86_cpu *c, const struct x86_insn *i)
{
	save_check(c);
	restore(c, i, c->xcr0, false);
}

void op_xrstors(struct x86_cpu *c, const struct x86_insn *i)
{
	check_osxsave(c);
	check_cpl0(c);
	check_ts(c);
	restore(c, i, c->xcr0 | c->xss, true);
}
