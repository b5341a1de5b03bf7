// SPDX-License-Identifier: GPL-2.0-or-later
/* What differs between the host's result and the engine's. */
#include <string.h>

#include "tests/cpu-diff/compare_priv.h"

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
		if (cmp_mem_at(mem, at))
			*cmp_mem_at(mem, at) = 0;
}

/* Fields of a stored image that need not agree (rows.def). */
static void blank_image(const struct diff_case *d, const struct diff_result *r,
			const struct diff_insn *last, uint8_t *mem)
{
	unsigned opsize = 0;
	uint64_t off = cmp_operand_offset(d, &r->regs, last, &opsize);

	switch (diff_row_info((unsigned)last->row)->image) {
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
	const struct diff_insn *last = cmp_last_done(d, want);
	uint8_t a[DIFF_MEM_LEN], b[DIFF_MEM_LEN];
	char name[16];

	check(m, "written", want->stray, got->stray, ~0ull);
	if (!memcmp(want->mem, got->mem, DIFF_MEM_LEN))
		return;
	memcpy(a, want->mem, DIFF_MEM_LEN);
	memcpy(b, got->mem, DIFF_MEM_LEN);
	if (last && last->row >= 0 && diff_row_info((unsigned)last->row)->image) {
		blank_image(d, want, last, a);
		blank_image(d, want, last, b);
	}
	for (unsigned k = 0; k < DIFF_MEM_LEN; k += 16) {
		snprintf(name, sizeof(name), "mem+%04x",
			 diff_rw_pages[k / 4096] * 4096 + k % 4096);
		check_bytes(m, name, a + k, b + k, 16);
	}
}

static uint64_t comparable_flags(const struct diff_insn *last, const struct x86_row *faulted)
{
	uint64_t flags = X86_FL_ARITH | X86_FL_TF | X86_FL_IF | X86_FL_DF | X86_FL_IOPL |
			 X86_FL_NT | X86_FL_VM | X86_FL_AC | X86_FL_VIF | X86_FL_VIP | X86_FL_ID;

	if (last && last->row >= 0)
		flags &= ~diff_row_info((unsigned)last->row)->undefined;
	/* Intel's processors put the flags back when REP CMPS or SCAS faults (SDM
	 * vol. 2, REP), AMD's keep them. */
	if (faulted && (faulted->attr & X86_A_REPCC))
		flags &= ~X86_FL_ARITH;
	return flags;
}

static void check_regs(struct cmp *m, const struct diff_case *d, const struct diff_result *want,
		       const struct diff_regs *got, uint64_t flags)
{
	/* Outside 64-bit code the registers' upper halves are undefined. */
	bool m64 = d->mode == X86_MODE_64 && want->regs.sel[X86_CS] == DIFF_SEL_CS64;
	/* In code of another width: how wide the stack pointer was on the way differs. */
	bool other_cs = want->end == DIFF_FAULT && want->regs.sel[X86_CS] != diff_cs(d);
	uint64_t width = m64 ? ~0ull : 0xffffffff;
	const struct diff_regs *w = &want->regs;

	check(m, "rip", w->rip, got->rip, width);
	for (unsigned n = 0; n < (m64 ? 16 : 8); n++)
		if (n != X86_RSP || !other_cs)
			check(m, gpr_name[n], w->gpr[n], got->gpr[n], width);
	check(m, "rflags", w->rflags, got->rflags, flags);
	/* A null selector loses its RPL on the host kernel's way back (IRET). */
	for (unsigned s = 0; s < X86_NSEGS; s++)
		if (s == X86_CS || s == X86_SS || (w->sel[s] | got->sel[s]) & ~3)
			check(m, seg_name[s], w->sel[s], got->sel[s], ~0ull);
	check(m, "fs_base", w->fs_base, got->fs_base, ~0ull);
	check(m, "gs_base", w->gs_base, got->gs_base, ~0ull);
	check_fpu(m, &w->fpu, &got->fpu);
}

unsigned diff_compare(const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got, FILE *out)
{
	struct cmp m = { .out = out };
	const struct diff_insn *last = cmp_last_done(d, want);
	struct diff_result r = *got;

	if (cmp_any_outcome(d, want, got))
		return 0;
	cmp_concede(d, want, &r);
	if (!cmp_any_fault(d, want, &r))
		check_end(&m, want, &r);
	if (last && last->row >= 0 && diff_row_info((unsigned)last->row)->weak)
		return m.count;
	check_regs(&m, d, want, &r.regs, comparable_flags(last, cmp_fault_row(d, want)));
	check_mem(&m, d, want, &r);
	return m.count;
}
