// SPDX-License-Identifier: GPL-2.0-or-later
/* Which instruction a result ends at, and where its memory operand stands. */
#include "tests/cpu-diff/compare_priv.h"

const struct diff_insn *cmp_last_done(const struct diff_case *d, const struct diff_result *r)
{
	int k = d->n;

	if (r->end == DIFF_FAULT) {
		k = diff_case_insn_at(d, r->regs.rip);
		/* A trap stands behind it, and so does the fetch beyond the code. */
		if (k < 0 || (k < d->n && r->vector != X86_EXC_DB))
			return NULL;
	}
	while (--k >= 0)
		if (d->insn[k].len)
			return &d->insn[k];
	return NULL;
}

const struct diff_insn *cmp_faulted(const struct diff_case *d, const struct diff_result *r)
{
	int k = r->end == DIFF_FAULT ? diff_case_insn_at(d, r->regs.rip) : -1;

	return k >= 0 && k < d->n && d->insn[k].row >= 0 ? &d->insn[k] : NULL;
}

const struct x86_row *cmp_fault_row(const struct diff_case *d, const struct diff_result *r)
{
	const struct diff_insn *i = cmp_faulted(d, r);

	return i ? &x86_rows[i->row] : NULL;
}


bool cmp_has_row(const struct diff_case *d, unsigned row)
{
	for (unsigned k = 0; k < d->n; k++)
		if (d->insn[k].len && d->insn[k].row == (int)row)
			return true;
	return false;
}

bool cmp_decode(const struct diff_case *d, const struct diff_insn *insn, struct x86_insn *i)
{
	const uint8_t *code = d->code + d->insn_off[insn - d->insn];

	return diff_decode(d, d->features, code, insn->len, i) >= 0;
}

bool cmp_operand(const struct diff_case *d, const struct diff_regs *now,
		 const struct diff_insn *insn, struct x86_insn *i, uint64_t *ea)
{
	unsigned k = (unsigned)(insn - d->insn);

	if (!cmp_decode(d, insn, i))
		return false;
	*ea = (uint64_t)i->disp;
	if (i->mem_base == X86_REG_RIP)
		*ea += diff_code_rip(d, d->insn_off[k] + insn->len);
	else if (i->mem_base != X86_REG_NONE)
		*ea += now->gpr[i->mem_base];
	if (i->mem_index != X86_REG_NONE)
		*ea += now->gpr[i->mem_index] << i->mem_scale;
	*ea &= low_mask(i->adsize * 8);
	return true;
}

static uint64_t offset_of(uint64_t linear)
{
	return (linear - DIFF_LOW) & ~(uint64_t)(DIFF_HIGH - DIFF_LOW);
}

uint64_t cmp_operand_offset(const struct diff_case *d, const struct diff_regs *now,
			    const struct diff_insn *insn, unsigned *opsize)
{
	struct x86_insn i;
	uint64_t ea;

	if (!cmp_operand(d, now, insn, &i, &ea))
		return ~0ull;
	*opsize = i.opsize;
	return offset_of(diff_seg_base(d, now, i.seg) + ea);
}

uint64_t cmp_stack_offset(const struct diff_case *d, const struct diff_regs *now)
{
	return offset_of(diff_seg_base(d, now, X86_SS) + now->gpr[X86_RSP]);
}

uint8_t *cmp_mem_at(uint8_t *mem, uint64_t off)
{
	for (unsigned k = 0; k < DIFF_NRW; k++)
		if (off >> 12 == diff_rw_pages[k])
			return &mem[k * 4096 + (off & 4095)];
	return NULL;
}
