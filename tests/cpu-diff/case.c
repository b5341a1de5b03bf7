// SPDX-License-Identifier: GPL-2.0-or-later
/* A case's code and the neutral form of its register state. */
#include <errno.h>
#include <string.h>

#include "tests/cpu-diff/diff.h"

const uint8_t diff_rw_pages[DIFF_NRW] = {
	DIFF_PG_RW0, DIFF_PG_RW1, DIFF_PG_RW2, DIFF_PG_STACK, DIFF_PG_STACK + 1,
};

const struct diff_desc diff_ldt[DIFF_NLDT] = {
	[0] = { .base = DIFF_LOW, .limit = 0xffff, .contents = 2 },
	[1] = { .base = DIFF_LOW, .limit = 0xffff },
	[2] = { .base = DIFF_LOW + 0x1000, .limit = 0xfff, .seg32 = true },
	[3] = { .base = DIFF_LOW, .limit = 0x1fff, .seg32 = true, .contents = 1 },
	[4] = { .base = DIFF_LOW, .limit = 0xffff, .seg32 = true, .read_exec_only = true },
	[5] = { .limit = 0xfffff, .pages = true, .seg32 = true, .contents = 2,
		.read_exec_only = true },
	[6] = { .base = DIFF_LOW, .limit = 0xffff, .seg32 = true, .not_present = true },
	/* Linux takes conforming code only if it is not present. */
	[7] = { .limit = 0xfffff, .pages = true, .seg32 = true, .contents = 3,
		.not_present = true },
	[8] = { .limit = 0xfffff, .pages = true, .seg32 = true },
};

/* The jump to the stub: near in 64-bit code, far to the 64-bit code segment else. */
static unsigned put_exit(const struct diff_case *d, unsigned off, uint8_t *p)
{
	unsigned n = 0;

	if (d->mode == X86_MODE_64) {
		p[n++] = 0xe9;
		st_le32(p + n, (uint32_t)(diff_base(d) + DIFF_STUB - diff_code_rip(d, off) - 5));
		return n + 4;
	}
	if (d->mode == X86_MODE_16)
		p[n++] = 0x66;
	p[n++] = 0xea;
	st_le32(p + n, DIFF_LOW + DIFF_STUB);
	st_le16(p + n + 4, DIFF_SEL_CS64);
	return n + 6;
}

static int fix_up(struct diff_case *d, unsigned k)
{
	struct diff_insn *i = &d->insn[k];
	uint8_t *p = d->code + d->insn_off[k] + i->fix_off;
	uint64_t to = diff_code_rip(d, d->insn_off[min_of(i->target, d->n)]);
	int64_t v = (int64_t)to;

	if (d->insn_off[k] + i->len > DIFF_CODE_LEN)
		return 0;
	if (i->fix == DIFF_FIX_REL) {
		v = (int64_t)(to - diff_code_rip(d, d->insn_off[k] + i->len));
		if (v != sign_extend((uint64_t)v, i->fix_size * 8))
			return -ERANGE;
	}
	memcpy(p, &v, i->fix_size);
	return 0;
}

int diff_case_layout(struct diff_case *d)
{
	unsigned off = d->code_off;

	memset(d->code, 0x90, sizeof(d->code));
	for (unsigned k = 0; k < d->n; k++) {
		unsigned len = d->insn[k].len;

		if (off + len > DIFF_CODE_LEN)
			len = DIFF_CODE_LEN - off;
		d->insn_off[k] = off;
		memcpy(d->code + off, d->insn[k].bytes, len);
		off += len;
	}
	d->insn_off[d->n] = off;
	for (unsigned k = 0; k < d->n; k++)
		if (d->insn[k].len && d->insn[k].fix != DIFF_FIX_NONE && fix_up(d, k))
			return -ERANGE;
	if (!d->no_exit) {
		if (off + 8 > DIFF_CODE_LEN)
			return -ERANGE;
		off += put_exit(d, off, d->code + off);
	}
	d->code_end = off;
	d->init.rip = diff_code_rip(d, d->code_off);
	d->init.sel[X86_CS] = diff_cs(d);
	return 0;
}

int diff_case_insn_at(const struct diff_case *d, uint64_t rip)
{
	for (unsigned k = 0; k <= d->n; k++)
		if ((k == d->n || d->insn[k].len) && diff_code_rip(d, d->insn_off[k]) == rip)
			return (int)k;
	return -1;
}

void diff_fill_ro(uint8_t page[4096])
{
	struct diff_rng r = { 0x726f };

	for (unsigned k = 0; k < 4096; k += 8)
		st_le64(page + k, rng64(&r) >> (k >> 3 & 63));
}

void diff_regs_init(struct diff_regs *r)
{
	memset(r, 0, sizeof(*r));
	r->rflags = X86_FL_FIXED | X86_FL_IF;
	r->sel[X86_SS] = DIFF_SEL_DS;
	r->fpu.fcw = 0x37f;
	r->fpu.mxcsr = 0x1f80;
}

/* Offsets: SDM vol. 1, 10.5.1 and 13.4; the AVX component's place is the same in
 * every processor that has it (CPUID.0DH.2:EBX = 576). */
void diff_fpu_from_xsave(struct diff_fpu *f, const uint8_t *x)
{
	uint64_t bv = ld_le64(x + 512);

	memset(f, 0, sizeof(*f));
	f->fcw = 0x37f;
	if (bv & 1) {
		f->fcw = ld_le16(x);
		f->fsw = ld_le16(x + 2);
		f->ftw = x[4];
		f->fop = ld_le16(x + 6) & 0x7ff;
		f->fip = ld_le64(x + 8);
		f->fdp = ld_le64(x + 16);
		for (unsigned n = 0; n < 8; n++)
			memcpy(f->st[n], x + 32 + 16 * n, 10);
	}
	f->mxcsr = ld_le32(x + 24);
	for (unsigned n = 0; n < 16; n++) {
		if (bv & 2)
			memcpy(f->ymm[n], x + 160 + 16 * n, 16);
		if (bv & 4)
			memcpy(f->ymm[n] + 16, x + 576 + 16 * n, 16);
	}
}

void diff_fpu_to_xsave(const struct diff_fpu *f, uint8_t *x, uint32_t mask)
{
	memset(x, 0, 832);
	st_le16(x, f->fcw);
	st_le16(x + 2, f->fsw);
	x[4] = (uint8_t)f->ftw;
	st_le16(x + 6, f->fop);
	st_le64(x + 8, f->fip);
	st_le64(x + 16, f->fdp);
	st_le32(x + 24, f->mxcsr);
	st_le32(x + 28, 0xffff);
	for (unsigned n = 0; n < 8; n++)
		memcpy(x + 32 + 16 * n, f->st[n], 10);
	for (unsigned n = 0; n < 16; n++) {
		memcpy(x + 160 + 16 * n, f->ymm[n], 16);
		memcpy(x + 576 + 16 * n, f->ymm[n] + 16, 16);
	}
	st_le64(x + 512, mask);
}
