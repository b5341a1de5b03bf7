// SPDX-License-Identifier: GPL-2.0-or-later
/* Random state that likes corners. */
#include <string.h>

#include "tests/cpu-diff/diff.h"

static uint64_t corner(struct diff_rng *r)
{
	static const uint64_t v[] = {
		0, 1, 2, ~0ull, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
		0x8000000000000000, 0x8080808080808080, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa,
		0x0f0f0f0f0f0f0f0f, 0xffffffff80000000, 0xffffffff00000000,
	};

	return v[rng_below(r, array_size(v))] + (rng_pct(r, 20) ? rng_below(r, 3) - 1ull : 0);
}

uint64_t diff_value(struct diff_rng *r, unsigned size_bytes)
{
	unsigned p = rng_below(r, 100);
	uint64_t v = p < 30 ? corner(r)
		   : p < 55 ? rng_below(r, 72)
		   : p < 65 ? 1ull << rng_below(r, 64)
			    : rng64(r) >> (p & 1 ? rng_below(r, 64) : 0);

	return v & low_mask(size_bytes * 8);
}

/* Floating point of @e exponent and @m fraction bits: every class. */
static uint64_t float_bits(struct diff_rng *r, unsigned e, unsigned m)
{
	uint64_t sign = (rng64(r) & 1) << (e + m), frac = rng64(r) & low_mask(m);
	uint64_t quiet = 1ull << (m - 1), max = low_mask(e), bias = max >> 1;

	switch (rng_below(r, 16)) {
	case 0: return sign;
	case 1: return sign | max << m;                         /* infinity */
	case 2: return sign | max << m | quiet | frac;          /* quiet NaN */
	case 3: return sign | max << m | (frac & ~quiet) | 1;   /* signalling NaN */
	case 4: return sign | frac;                             /* denormal */
	case 5: return sign | 1;
	case 6: return sign | 1ull << m;                        /* smallest normal */
	case 7: return sign | ((max << m) - 1);                   /* greatest */
	case 8: return sign | bias << m;                        /* one */
	case 9: return sign | (bias + rng_below(r, e > 5 ? 70 : 10)) << m; /* a power of two */
	case 10: return sign | (bias - rng_below(r, e > 5 ? 70 : 10)) << m | frac;
	case 11: return sign | (bias + rng_below(r, 66) % (bias - 1)) << m |
			(frac & ~low_mask(rng_below(r, m)));    /* short fractions: exact */
	case 12: return sign | (max - 1 - rng_below(r, 4)) << m | frac; /* overflows soon */
	case 13: return sign | (1ull + rng_below(r, 4)) << m | frac;     /* underflows soon */
	default: return sign | (bias + rng_below(r, 9) - 4) << m | frac;
	}
}

static void random_x87(struct diff_rng *r, uint8_t st[10])
{
	uint64_t frac = rng64(r) | 1ull << 63;
	unsigned exp = 0x3fff + rng_below(r, 140) - 70;

	switch (rng_below(r, 16)) {
	case 0: exp = 0; frac = 0; break;
	case 1: exp = 0x7fff; frac = 1ull << 63; break;
	case 2: exp = 0x7fff; frac |= 3ull << 62; break;
	case 3: exp = 0x7fff; frac = (frac & ~(1ull << 62)) | 1; break;
	case 4: exp = 0; frac &= low_mask(63); break; /* denormal */
	case 5: exp = 0; break;                       /* pseudo-denormal */
	case 6: frac &= low_mask(63); break;          /* unnormal */
	case 7: exp = 0x7fff; frac &= low_mask(63); break; /* pseudo-NaN, pseudo-infinity */
	case 8: exp = 0x7ffe - rng_below(r, 4); break;
	case 9: exp = 1 + rng_below(r, 4); break;
	case 10: exp = 0x3fff; frac = 1ull << 63; break;
	case 11: exp = 0x3fff + rng_below(r, 64); frac &= ~low_mask(rng_below(r, 63)); break;
	case 12: exp = rng64(r) & 0x7fff; break;
	}
	st_le64(st, frac);
	st_le16(st + 8, (uint16_t)(exp | (rng64(r) & 0x8000)));
}

static void random_vector(struct diff_rng *r, uint8_t y[32])
{
	unsigned kind = rng_below(r, 8);

	for (unsigned k = 0; k < 32; k += 2) {
		if (kind < 2 && k % 4 == 0)
			st_le32(y + k, (uint32_t)float_bits(r, 8, 23));
		else if ((kind == 2 || kind == 3) && k % 8 == 0)
			st_le64(y + k, float_bits(r, 11, 52));
		else if (kind == 4)
			st_le16(y + k, (uint16_t)float_bits(r, 5, 10));
		else if (kind == 5 && k % 8 == 0)
			st_le64(y + k, rng_below(r, 1024)); /* also an index for gathers */
		else if (kind == 6 && k % 4 == 0)
			st_le32(y + k, (uint32_t)diff_value(r, 4));
		else if (kind == 7 && k % 8 == 0)
			st_le64(y + k, rng64(r));
	}
}

static uint32_t random_mxcsr(struct diff_rng *r)
{
	uint32_t v = 0x1f80;

	if (rng_pct(r, 50))
		v = (uint32_t)(rng64(r) & 0xe07f) | 0x1f80; /* rounding, DAZ, FTZ, flags */
	if (rng_pct(r, 8)) /* unmasked, mostly without a flag that is up already */
		v &= ~(uint32_t)(rng64(r) & 0x1f80) & (rng_pct(r, 80) ? ~0x3fu : ~0u);
	return v;
}

static uint16_t random_fcw(struct diff_rng *r)
{
	uint16_t v = 0x37f;

	if (rng_pct(r, 50))
		v = (uint16_t)(0x7f | (rng64(r) & 0xc00) | (rng_below(r, 3) + 1) % 4 << 8);
	if (rng_pct(r, 10))
		v &= ~(uint16_t)(rng64(r) & 0x3f);
	return v | 0x40;
}

static void random_fpu(struct diff_rng *r, struct diff_fpu *f)
{
	f->fcw = random_fcw(r);
	f->mxcsr = random_mxcsr(r);
	f->ftw = rng_pct(r, 30) ? 0xff : rng_pct(r, 30) ? 0 : (uint16_t)(rng64(r) & 0xff);
	f->fsw = (uint16_t)(rng64(r) & 0x7f00);
	if (rng_pct(r, 30))
		f->fsw &= 0x7700; /* stack top kept, condition codes gone */
	if (rng_pct(r, 25))
		f->fsw |= (uint16_t)(rng64(r) & 0x7f & (rng_pct(r, 85) ? f->fcw : 0x7f));
	if (f->fsw & ~f->fcw & 0x3f)
		f->fsw |= 0x8080; /* error summary, and B with it */
	for (unsigned n = 0; n < 8; n++) {
		random_x87(r, f->st[n]);
		if (rng_pct(r, 15)) /* as MMX leaves it */
			st_le16(f->st[n] + 8, 0xffff);
	}
	for (unsigned n = 0; n < 16; n++)
		random_vector(r, f->ymm[n]);
}

static uint64_t pointer(struct diff_rng *r, const struct diff_case *d)
{
	static const uint16_t pages[] = { 0x1000, 0x2000, 0x3000, 0x4000, 0x6000 };
	uint64_t v = pages[rng_below(r, array_size(pages))] + rng_below(r, 0x1000);

	if (rng_pct(r, 60))
		v &= ~31ull;
	return v + (d->mode == X86_MODE_16 ? 0 : diff_base(d));
}

static void random_segments(struct diff_rng *r, struct diff_case *d)
{
	static const uint16_t data32[] = { DIFF_SEL_DS, DIFF_LDT(2), DIFF_LDT(3), DIFF_LDT(4),
					   DIFF_LDT(8), 0 };
	struct diff_regs *g = &d->init;

	if (d->mode == X86_MODE_64) {
		g->fs_base = rng_pct(r, 60) ? diff_base(d) + rng_below(r, 0x4000)
			   : rng_pct(r, 80) ? rng_below(r, 0x1000)
			   : 0x300000000000 + (rng64(r) >> 19); /* nothing is mapped there */
		g->gs_base = rng_pct(r, 60) ? diff_base(d) + (rng_below(r, 0x4000) & ~63u) : 0;
		return;
	}
	for (unsigned s = 0; s < X86_NSEGS; s++)
		g->sel[s] = d->mode == X86_MODE_16 ? DIFF_SEL_DS16 : DIFF_SEL_DS;
	g->sel[X86_FS] = data32[rng_below(r, array_size(data32))];
	g->sel[X86_GS] = data32[rng_below(r, array_size(data32))];
	if (rng_pct(r, 15))
		g->sel[X86_ES] = data32[rng_below(r, array_size(data32))];
}

void diff_random_regs(struct diff_rng *r, struct diff_case *d)
{
	struct diff_regs *g = &d->init;

	diff_regs_init(g);
	for (unsigned n = 0; n < 16; n++) {
		unsigned p = rng_below(r, 100);

		g->gpr[n] = p < 45 ? pointer(r, d) : diff_value(r, 8);
		if (d->mode != X86_MODE_64)
			g->gpr[n] = n < 8 ? (uint32_t)g->gpr[n] : 0;
	}
	g->gpr[X86_RSP] = (d->mode == X86_MODE_16 ? 0 : diff_base(d)) + DIFF_PG_STACK * 4096 +
			  0x800 + rng_below(r, 0x800);
	if (rng_pct(r, 80))
		g->gpr[X86_RSP] &= ~7ull;
	if (rng_pct(r, 5)) /* at the stack's ends */
		g->gpr[X86_RSP] = (g->gpr[X86_RSP] & ~0xfffull) + (rng64(r) & 1) * 0x2000;
	g->rflags |= rng64(r) & X86_FL_ARITH;
	if (rng_pct(r, 10))
		g->rflags |= X86_FL_DF;
	if (rng_pct(r, 3))
		g->rflags |= X86_FL_AC;
	if (rng_pct(r, 10))
		g->rflags |= rng64(r) & (X86_FL_ID | X86_FL_NT);
	if (rng_pct(r, 2) && d->mode != X86_MODE_16)
		g->rflags |= X86_FL_TF;
	random_segments(r, d);
	random_fpu(r, &g->fpu);
}

static void put_images(struct diff_rng *r, uint8_t *page)
{
	static const uint16_t sels[] = { 0, 3, DIFF_SEL_DS, DIFF_LDT(1), DIFF_LDT(2), DIFF_LDT(3),
					 DIFF_LDT(4), DIFF_LDT(5), DIFF_LDT(6), DIFF_LDT(7),
					 DIFF_LDT(8), DIFF_SEL_CS64, DIFF_SEL_CS32, 0x18,
					 0x2a, 0xfff7 };
	struct diff_fpu f;

	for (unsigned k = 0; k < DIFF_IMG_NMXCSR; k++)
		st_le32(page + DIFF_IMG_MXCSR % 4096 + 4 * k, random_mxcsr(r));
	for (unsigned k = 0; k < DIFF_IMG_NSELS; k++) {
		uint8_t *far_ptr = page + DIFF_IMG_FAR % 4096 + 16 * k;

		st_le16(page + DIFF_IMG_SELS % 4096 + 2 * k, sels[k]);
		for (unsigned at = 2; at <= 8; at *= 2) /* behind 16-, 32-, 64-bit offsets */
			st_le16(far_ptr + at, sels[k]);
	}
	memset(&f, 0, sizeof(f));
	random_fpu(r, &f);
	diff_fpu_to_xsave(&f, page + DIFF_IMG_XSAVE % 4096, 7);
	if (rng_pct(r, 50))
		st_le64(page + DIFF_IMG_XSAVE % 4096 + 512, rng64(r) & 7);
	random_fpu(r, &f);
	{
		uint8_t image[832];

		diff_fpu_to_xsave(&f, image, 3);
		memcpy(page + DIFF_IMG_FXSAVE % 4096, image, 512);
	}
}

void diff_fill_pool(uint8_t *pool)
{
	struct diff_rng rng = { 0x706f6f6c }, *r = &rng;

	for (unsigned k = 0; k < DIFF_POOL_LEN; k += 32) {
		random_vector(r, pool + k);
		if (rng_pct(r, 20))
			random_x87(r, pool + k + rng_below(r, 22));
		else if (rng_pct(r, 30))
			st_le64(pool + k + 8 * rng_below(r, 4), diff_value(r, 8));
	}
}

void diff_random_mem(struct diff_rng *r, const uint8_t *pool, struct diff_case *d)
{
	for (unsigned k = 0; k < DIFF_MEM_LEN; k += 256)
		memcpy(d->mem + k, pool + rng_below(r, DIFF_POOL_LEN - 256), 256);
	put_images(r, d->mem + 4096); /* DIFF_PG_RW1 is the second of diff_rw_pages[] */
}
