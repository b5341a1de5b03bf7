// SPDX-License-Identifier: GPL-2.0-or-later
/* What differs between the host's result and the engine's. */
#include <string.h>

#include "tests/cpu-diff/diff.h"

static const char *const gpr_name[16] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
};
static const char *const seg_name[X86_NSEGS] = { "es", "cs", "ss", "ds", "fs", "gs" };

struct cmp {
	FILE *out;
	unsigned count;
};

static void differ(struct cmp *m, const char *what, uint64_t want, uint64_t got)
{
	m->count++;
	if (m->out)
		fprintf(m->out, "  %-10s host %016lx  engine %016lx  xor %lx\n", what, (long)want,
			(long)got, (long)(want ^ got));
}

static void check(struct cmp *m, const char *what, uint64_t want, uint64_t got, uint64_t mask)
{
	if ((want ^ got) & mask)
		differ(m, what, want & mask, got & mask);
}

static void check_bytes(struct cmp *m, const char *what, const uint8_t *want, const uint8_t *got,
			unsigned n)
{
	if (!memcmp(want, got, n))
		return;
	m->count++;
	if (!m->out || m->count > 24)
		return;
	fprintf(m->out, "  %-10s host ", what);
	for (unsigned k = n; k-- > 0;)
		fprintf(m->out, "%02x%s", want[k], k % 8 ? "" : " ");
	fprintf(m->out, "\n  %-10s  got ", "");
	for (unsigned k = n; k-- > 0;)
		fprintf(m->out, "%02x%s", got[k], k % 8 ? "" : " ");
	fprintf(m->out, "\n");
}

static const char *end_name(const struct diff_result *r)
{
	static const char *const names[] = { "exit", "fault", "timeout", "broken" };

	return names[r->end];
}

/* The instruction that runs last in a result, or NULL. */
static const struct diff_insn *last_insn(const struct diff_case *d, const struct diff_result *r)
{
	int k = d->n - 1;

	if (r->end == DIFF_FAULT) {
		k = diff_case_insn_at(d, r->regs.rip);
		if (r->vector != X86_EXC_DB)
			return k >= 0 && k < d->n ? &d->insn[k] : NULL;
		k--; /* a trap behind it */
	}
	while (k >= 0 && !d->insn[k].len)
		k--;
	return k >= 0 ? &d->insn[k] : NULL;
}

static const struct diff_row_info *last_info(const struct diff_case *d,
					     const struct diff_result *r)
{
	const struct diff_insn *i = last_insn(d, r);

	return i && i->row >= 0 ? diff_row_info((unsigned)i->row) : NULL;
}

static bool loose(const struct diff_case *d, const struct diff_result *r)
{
	const struct diff_row_info *info = last_info(d, r);

	return r->end == DIFF_FAULT && info && info->loose_fault;
}

static void check_end(struct cmp *m, const struct diff_result *want, const struct diff_result *got)
{
	uint32_t error_mask = ~0u;

	if (want->end != got->end) {
		m->count++;
		if (m->out)
			fprintf(m->out, "  ended by   host %s  engine %s %s\n", end_name(want),
				end_name(got), got->end == DIFF_BROKEN ? got->text : "");
	}
	check(m, "vector", want->vector, got->vector, ~0ull);
	/* Outside the case's pages there is the harness's own memory, and Linux shows
	 * every fault above the user's half as a protection fault. */
	if (want->vector == X86_EXC_PF && (want->cr2 & ~0xffffull) != DIFF_LOW &&
	    (want->cr2 & ~0xffffull) != DIFF_HIGH)
		error_mask &= ~X86_PF_P;
	check(m, "error", want->error, got->error, error_mask);
	check(m, "cr2", want->cr2, got->cr2, ~0ull);
}

static void check_fpu(struct cmp *m, const struct diff_fpu *want, const struct diff_fpu *got)
{
	char name[16];

	check(m, "fcw", want->fcw, got->fcw, ~0ull);
	check(m, "fsw", want->fsw, got->fsw, ~0ull);
	check(m, "ftw", want->ftw, got->ftw, ~0ull);
	check(m, "mxcsr", want->mxcsr, got->mxcsr, ~0ull);
	for (unsigned n = 0; n < 8; n++) {
		snprintf(name, sizeof(name), "st%u", n);
		check_bytes(m, name, want->st[n], got->st[n], 10);
	}
	for (unsigned n = 0; n < 16; n++) {
		snprintf(name, sizeof(name), "ymm%u", n);
		check_bytes(m, name, want->ymm[n], got->ymm[n], 32);
	}
}

static void blank(uint8_t *mem, uint64_t off, unsigned from, unsigned len)
{
	for (uint64_t at = off + from; at < off + from + len; at++)
		for (unsigned k = 0; k < DIFF_NRW; k++)
			if (at >> 12 == diff_rw_pages[k])
				mem[k * 4096 + (at & 4095)] = 0;
}

/* Where in the region the last instruction's memory operand lies (it changed no
 * register), and its operand size. */
static uint64_t operand_place(const struct diff_case *d, const struct diff_regs *now,
			      unsigned *opsize)
{
	const struct diff_insn *last = &d->insn[d->n - 1];
	struct x86_insn i;
	uint64_t ea;
	unsigned k;

	while (last > d->insn && !last->len)
		last--;
	k = (unsigned)(last - d->insn);
	if (diff_decode(d, d->features, d->code + d->insn_off[k], last->len, &i) < 0)
		return ~0ull;
	ea = (uint64_t)i.disp;
	if (i.mem_base == X86_REG_RIP)
		ea += diff_code_rip(d, d->insn_off[k] + last->len);
	else if (i.mem_base != X86_REG_NONE)
		ea += now->gpr[i.mem_base];
	if (i.mem_index != X86_REG_NONE)
		ea += now->gpr[i.mem_index] << i.mem_scale;
	ea &= low_mask(i.adsize * 8);
	*opsize = i.opsize;
	return (diff_seg_base(d, now, i.seg) + ea - DIFF_LOW) & ~(uint64_t)(DIFF_HIGH - DIFF_LOW);
}

/* Fields of a stored image that need not agree (rows.def). */
static void blank_image(const struct diff_case *d, const struct diff_result *r, uint8_t *mem)
{
	unsigned opsize = 0;
	uint64_t off = operand_place(d, &r->regs, &opsize);

	switch (last_info(d, r)->image) {
	case DIFF_IMAGE_ANY:
		blank(mem, off, 0, 4096);
		break;
	case DIFF_IMAGE_XSAVE: /* the host may have more components */
		blank(mem, off, 512, 8);
		blank(mem, off, 832, 4096);
		/* fall through */
	case DIFF_IMAGE_FX:
		blank(mem, off, 6, 18);
		blank(mem, off, 28, 4);
		break;
	default: /* FCS and FDS */
		blank(mem, off, opsize == 2 ? 8 : 16, 2);
		blank(mem, off, opsize == 2 ? 12 : 24, 2);
		break;
	}
}

static void check_mem(struct cmp *m, const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got)
{
	const struct diff_row_info *info = last_info(d, want);
	bool done = want->end == DIFF_EXIT || want->vector == X86_EXC_DB;
	uint8_t a[DIFF_MEM_LEN], b[DIFF_MEM_LEN];
	char name[16];

	if (!memcmp(want->mem, got->mem, DIFF_MEM_LEN))
		return;
	memcpy(a, want->mem, DIFF_MEM_LEN);
	memcpy(b, got->mem, DIFF_MEM_LEN);
	if (done && info && info->image != DIFF_IMAGE_NONE) {
		blank_image(d, want, a);
		blank_image(d, want, b);
	}
	for (unsigned k = 0; k < DIFF_MEM_LEN; k += 16) {
		snprintf(name, sizeof(name), "mem+%04x",
			 diff_rw_pages[k / 4096] * 4096 + k % 4096);
		check_bytes(m, name, a + k, b + k, 16);
	}
}

unsigned diff_compare(const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got, FILE *out)
{
	struct cmp m = { .out = out };
	bool m64 = d->mode == X86_MODE_64;
	uint64_t flags = X86_FL_ARITH | X86_FL_TF | X86_FL_IF | X86_FL_DF | X86_FL_IOPL |
			 X86_FL_NT | X86_FL_VM | X86_FL_AC | X86_FL_VIF | X86_FL_VIP | X86_FL_ID;
	const struct diff_row_info *info = last_info(d, want);
	const struct diff_insn *last = last_insn(d, want);

	if (want->end == DIFF_TIMEOUT)
		return 0;
	/* Intel's processors put the flags back when REP CMPS or SCAS faults (SDM
	 * vol. 2, REP), AMD's keep them. */
	if (want->end == DIFF_FAULT && last && last->row >= 0 &&
	    (x86_rows[last->row].attr & X86_A_REPCC))
		flags &= ~X86_FL_ARITH;
	if (loose(d, want) || (loose(d, got) && want->end != DIFF_FAULT))
		return 0;
	check_end(&m, want, got);
	if (want->end == DIFF_EXIT && info && info->weak)
		return m.count;
	check(&m, "rip", want->regs.rip, got->regs.rip, m64 ? ~0ull : 0xffffffff);
	for (unsigned n = 0; n < (m64 ? 16 : 8); n++)
		check(&m, gpr_name[n], want->regs.gpr[n], got->regs.gpr[n],
		      m64 ? ~0ull : 0xffffffff);
	check(&m, "rflags", want->regs.rflags, got->regs.rflags, flags);
	/* A null selector loses its RPL on the host kernel's way back (IRET). */
	for (unsigned s = 0; s < X86_NSEGS; s++)
		if (s == X86_CS || s == X86_SS || (want->regs.sel[s] | got->regs.sel[s]) & ~3)
			check(&m, seg_name[s], want->regs.sel[s], got->regs.sel[s], ~0ull);
	check(&m, "fs_base", want->regs.fs_base, got->regs.fs_base, ~0ull);
	check(&m, "gs_base", want->regs.gs_base, got->regs.gs_base, ~0ull);
	check_fpu(&m, &want->regs.fpu, &got->regs.fpu);
	check_mem(&m, d, want, got);
	return m.count;
}
