// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where a memory operand shall lie, and a way to name the place: any base,
 * index and scale the registers of the moment allow, RIP-relative, absolute,
 * with a segment's base, with truncation to 32 or 16 bits.
 */
#include <string.h>

#include "tests/cpu-diff/encode_priv.h"

static unsigned wanted_align(const struct enc *e, unsigned size)
{
	const char *s = e->row->name;

	if (!strncmp(s, "xsave", 5) || !strncmp(s, "xrstor", 6))
		return 64;
	if (!strncmp(s, "fx", 2) || !strcmp(s, "cmpxchg16b"))
		return 16;
	if (e->row->attr & X86_A_ALIGNVEC)
		return size;
	return e->row->attr & X86_A_ALIGN16 ? 16 : 1;
}

/* Offset in the region. */
static unsigned pick_place(const struct enc *e, unsigned size)
{
	static const uint16_t borders[] = { 0x2000, 0x3000, 0x4000, 0x7000, 0xa000 };
	static const uint16_t edges[] = { 0x1000, 0x5000, 0x6000, 0x8000, 0x9000, 0xb000 };
	static const uint8_t pages[] = { DIFF_PG_RW0, DIFF_PG_RW0, DIFF_PG_RW1, DIFF_PG_RW2,
					 DIFF_PG_STACK };
	struct diff_rng *r = e->in->rng;
	unsigned align = wanted_align(e, size), p = rng_below(r, 100), off;

	if (align > 1 && rng_pct(r, 10))
		align = 1;
	if (p < 70) {
		off = pages[rng_below(r, sizeof(pages))] * 4096 + rng_below(r, 4096 - size);
		if (rng_pct(r, 50))
			align = align > size ? align : size & -size;
	} else if (p < 82) { /* ends right at, or goes across, a border inside */
		off = borders[rng_below(r, p < 78 ? 1 : 5)] - rng_below(r, size + 1);
	} else if (p < 88) {
		off = DIFF_PG_RO * 4096 + rng_below(r, 4096 - size);
	} else if (p < 93) { /* the last or first bytes before nothing */
		off = rng_pct(r, 50) ? 0x5000 - size : 0x1000;
	} else if (p < 97) { /* and across */
		off = edges[rng_below(r, array_size(edges))] - rng_below(r, size + 1);
	} else {
		off = rng_below(r, DIFF_REGION - size);
	}
	return off & -align;
}

/* Images that instructions load whole and that must make sense (values.c). */
static int special_place(const struct enc *e)
{
	const char *s = e->row->name;

	if (!strcmp(s, "ldmxcsr") || !strcmp(s, "vldmxcsr"))
		return DIFF_IMG_MXCSR + (int)rng_below(e->in->rng, DIFF_IMG_NMXCSR) * 4;
	if (!strncmp(s, "fxrstor", 7))
		return DIFF_IMG_FXSAVE;
	if (!strncmp(s, "xrstor", 6))
		return DIFF_IMG_XSAVE;
	if (e->row->opnd[0] == X86_O_Gv && e->row->opnd[1] == X86_O_M && s[0] == 'l' &&
	    s[2] == 's' && !s[3]) /* LDS and its like */
		return DIFF_IMG_FAR + (int)rng_below(e->in->rng, DIFF_IMG_NSELS) * 16;
	if (e->row->opnd[0] == X86_O_Sw)
		return DIFF_IMG_SELS + (int)rng_below(e->in->rng, DIFF_IMG_NSELS) * 2;
	return -1;
}

static uint64_t pick_target(const struct enc *e, unsigned size)
{
	static const uint64_t odd[] = { 0x00007ffffffffff8ull, 0x00007fffffffffffull,
					0x0000800000000000ull, 0xffff7fffffffffffull,
					0xffff800000000000ull, 0xfffffffffffffff8ull,
					0x8000000000000000ull, 0 };
	const struct diff_case *d = e->in->d;
	struct diff_rng *r = e->in->rng;
	int special = rng_pct(r, 90) ? special_place(e) : -1;
	uint64_t base = diff_base(d);

	if (e->in->has_target)
		return e->in->target;
	if (special < 0 && (e->in->wild ? rng_pct(r, 15) : rng_pct(r, 1)))
		return odd[rng_below(r, array_size(odd))];
	if (d->high && (e->adsize == 4 || rng_pct(r, 10)))
		base = DIFF_LOW;
	return base + (special >= 0 ? (unsigned)special : pick_place(e, size));
}

uint64_t diff_seg_base(const struct diff_case *d, const struct diff_regs *now, unsigned seg)
{
	unsigned sel = now->sel[seg];

	if (d->mode == X86_MODE_64)
		return seg == X86_FS ? now->fs_base : seg == X86_GS ? now->gs_base : 0;
	if ((sel & 7) == 7 && sel >> 3 < DIFF_NLDT)
		return diff_ldt[sel >> 3].base;
	return seg == X86_FS ? now->fs_base : seg == X86_GS ? now->gs_base : 0;
}

static void pick_segment(struct enc *e)
{
	struct diff_rng *r = e->in->rng;
	unsigned p = rng_below(r, 100);

	if (p < 6)
		e->seg = X86_FS;
	else if (p < 12)
		e->seg = X86_GS;
	else if (p < (e->in->d->mode == X86_MODE_64 ? 14 : 20))
		e->seg = rng_below(r, 4); /* without effect in 64-bit code */
}

/* The segment used, now that the base register is known. */
static unsigned used_segment(const struct enc *e, bool stack)
{
	if (e->seg != X86_NSEGS)
		return e->seg;
	return stack ? X86_SS : X86_DS;
}

static bool address16(struct enc *e, uint64_t target)
{
	static const uint8_t regs[8][2] = { { 3, 6 }, { 3, 7 }, { 5, 6 }, { 5, 7 },
					    { 6, 16 }, { 7, 16 }, { 5, 16 }, { 3, 16 } };
	const struct diff_regs *now = e->in->now;
	unsigned form = rng_below(e->in->rng, 9), rm = form == 8 ? 6 : form;
	bool stack = form == 2 || form == 3 || form == 6;
	uint64_t ea = target - diff_seg_base(e->in->d, now, used_segment(e, stack)), sum = 0;

	if (ea > 0xffff)
		ea &= 0xffff; /* some place of the same segment */
	if (form < 8)
		for (unsigned k = 0; k < 2; k++)
			sum += regs[rm][k] < 16 ? now->gpr[regs[rm][k]] : 0;
	e->rm = rm;
	e->disp = (int16_t)(ea - sum);
	e->mod = form == 8 ? 0 : e->disp == 0 && rm != 6 ? 0 : e->disp == (int8_t)e->disp ? 1 : 2;
	e->disp_bytes = e->mod == 1 ? 1 : e->mod == 2 || form == 8 ? 2 : 0;
	return true;
}

/* A vector of small elements for VSIB: the one of a few that has most. */
static unsigned pick_vsib(struct enc *e, uint64_t *first)
{
	unsigned width = e->row->opcode & 1 ? 8 : 4, best = 0, best_n = 0;

	for (unsigned t = 0; t < 12; t++) {
		unsigned v = rng_below(e->in->rng, e->in->d->mode == X86_MODE_64 ? 16 : 8), n = 1;
		const uint8_t *y = e->in->now->fpu.ymm[v];

		for (unsigned k = 0; k < 32; k += width)
			n += (width == 8 ? ld_le64(y + k) : ld_le32(y + k)) < 2048;
		if (n > best_n) {
			best = v;
			best_n = n;
		}
	}
	*first = width == 8 ? ld_le64(e->in->now->fpu.ymm[best])
			    : (uint64_t)(int32_t)ld_le32(e->in->now->fpu.ymm[best]);
	return best;
}

static void set_disp(struct enc *e, int64_t disp, bool none_allowed)
{
	e->disp = disp;
	if (disp == 0 && none_allowed && rng_pct(e->in->rng, 80)) {
		e->mod = e->disp_bytes = 0;
	} else if (disp == (int8_t)disp && rng_pct(e->in->rng, 90)) {
		e->mod = e->disp_bytes = 1;
	} else {
		e->mod = 2;
		e->disp_bytes = 4;
	}
}

/* base + index form; false: the displacement does not reach. */
static bool address_base(struct enc *e, uint64_t target, bool vsib)
{
	struct diff_rng *r = e->in->rng;
	const struct diff_regs *now = e->in->now;
	unsigned nregs = e->in->d->mode == X86_MODE_64 ? 16 : 8;
	bool index = vsib || rng_pct(r, 45), no_base = index && !vsib && rng_pct(r, 15);
	unsigned base = rng_below(r, nregs), scale = rng_below(r, 4);
	bool stack = !no_base && (base == X86_RSP || base == X86_RBP);
	uint64_t sum = no_base ? 0 : now->gpr[base], v;
	int64_t disp;

	e->x = X86_RSP; /* none */
	if (vsib) {
		e->x = pick_vsib(e, &v);
		sum += v << scale;
	} else if (index) {
		e->x = rng_below(r, nregs);
		if (e->x != X86_RSP)
			sum += now->gpr[e->x] << scale;
	}
	disp = (int64_t)(target - diff_seg_base(e->in->d, now, used_segment(e, stack)) - sum);
	if (e->adsize == 4)
		disp = (int32_t)disp;
	if (disp != (int32_t)disp)
		return false;
	e->rm = base;
	if (no_base) {
		e->rm = 5;
		e->mod = 0;
		e->disp = disp;
		e->disp_bytes = 4;
	} else {
		set_disp(e, disp, (base & 7) != 5);
	}
	e->has_sib = index || (base & 7) == 4 || rng_pct(r, 10);
	if (e->has_sib) {
		e->sib = (uint8_t)(scale << 6 | (e->x & 7) << 3 | (e->rm & 7));
		e->rm = (e->rm & 8) | 4;
	} else {
		e->x = 0;
	}
	return true;
}

static bool address_absolute(struct enc *e, uint64_t target)
{
	bool m64 = e->in->d->mode == X86_MODE_64;
	int64_t ea = (int64_t)(target - diff_seg_base(e->in->d, e->in->now, used_segment(e, false)));

	if (e->adsize == 4)
		ea = (int32_t)ea;
	if (ea != (int32_t)ea)
		return false;
	e->disp = ea;
	e->disp_bytes = 4;
	e->mod = 0;
	e->has_sib = m64 || rng_pct(e->in->rng, 20);
	e->rm = e->has_sib ? 4 : 5;
	e->sib = (uint8_t)(rng_below(e->in->rng, 4) << 6 | 4 << 3 | 5);
	return true;
}

/* The displacement is filled in when the instruction's length is known. */
static bool address_rip(struct enc *e, uint64_t target)
{
	if (e->in->d->mode != X86_MODE_64)
		return false;
	e->rip_target = target - diff_seg_base(e->in->d, e->in->now, used_segment(e, false));
	e->rip_relative = true;
	e->disp_bytes = 4;
	e->mod = 0;
	e->rm = 5;
	return true;
}

void enc_pick_address(struct enc *e, unsigned size)
{
	bool vsib = e->row->opnd[0] == X86_O_VM || e->row->opnd[1] == X86_O_VM ||
		    e->row->opnd[2] == X86_O_VM;
	uint64_t target = pick_target(e, size);

	if (!e->in->has_target)
		pick_segment(e);
	if (!e->mem) { /* moffs */
		e->disp = (int64_t)(target -
				    diff_seg_base(e->in->d, e->in->now, used_segment(e, false)));
		return;
	}
	if (e->adsize == 2) {
		address16(e, target);
		return;
	}
	for (unsigned t = 0; t < 24; t++) {
		unsigned p = vsib ? 99 : rng_below(e->in->rng, 100);

		if (p < 12 ? address_rip(e, target)
			   : p < 20 ? address_absolute(e, target)
				    : address_base(e, target, vsib))
			return;
	}
	if (!vsib && address_rip(e, target))
		return;
	/* Out of reach: wherever the registers point. */
	e->has_sib = true;
	e->sib = (uint8_t)rng64(e->in->rng);
	e->rm = 4;
	e->mod = 1;
	e->disp_bytes = 1;
	e->x = 0;
}
