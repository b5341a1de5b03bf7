// SPDX-License-Identifier: GPL-2.0-or-later
/* What differs between the host's result and the engine's. */
#include <string.h>

#include "src/cpu/x86/vec.h"
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

/* The instruction that completed last in a result, or NULL (it is not known, or
 * what came last faulted). */
static const struct diff_insn *last_done(const struct diff_case *d, const struct diff_result *r)
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

static const struct x86_row *fault_row(const struct diff_case *d, const struct diff_result *r)
{
	int k = r->end == DIFF_FAULT ? diff_case_insn_at(d, r->regs.rip) : -1;

	return k >= 0 && k < d->n && d->insn[k].row >= 0 ? &x86_rows[d->insn[k].row] : NULL;
}

static bool loose(const struct diff_case *d, const struct diff_result *r)
{
	const struct x86_row *w = fault_row(d, r);

	if (!w)
		return false;
	/* A gather may be left for a trap between any two elements. */
	if (r->vector == X86_EXC_DB && (w->opnd[1] == X86_O_VM || w->opnd[2] == X86_O_VM))
		return true;
	return diff_row_info(w->id)->loose_fault;
}

/* Faults of which either may come first. */
static bool both_faults(const struct x86_row *w, const struct diff_result *want,
			const struct diff_result *got)
{
	bool segment = got->vector == X86_EXC_GP || got->vector == X86_EXC_SS;

	if (want->end != DIFF_FAULT || got->end != DIFF_FAULT || !w)
		return false;
	/* Not aligned, and beyond the segment or not mapped too. */
	if ((w->attr & (X86_A_ALIGN16 | X86_A_ALIGNVEC)) && want->vector == X86_EXC_GP &&
	    (got->vector == X86_EXC_SS || got->vector == X86_EXC_PF))
		return true;
	/* The end of the segment, checked for the whole or for an element. */
	if (strstr(w->name, "maskmov") && got->vector == X86_EXC_PF &&
	    (want->vector == X86_EXC_GP || want->vector == X86_EXC_SS))
		return true;
	/* The stack of a call, and where it goes to. */
	if (w->id == X86_OP_CALL_Ev && want->vector == X86_EXC_PF && got->vector == X86_EXC_GP)
		return true;
	/* CMPS: which of its operands is read first differs from processor to processor;
	 * the engine begins with the one at RSI. The other one's fault is what the host
	 * shows: of paging at RDI, or of its segment. */
	if (!strncmp(w->name, "cmps", 4) &&
	    (got->vector == X86_EXC_GP || got->vector == X86_EXC_SS ||
	     got->vector == X86_EXC_PF) &&
	    (want->vector == X86_EXC_GP ||
	     (want->vector == X86_EXC_PF && (uint16_t)(want->cr2 - want->regs.gpr[X86_RDI]) < 8)))
		return true;
	/* Elements beyond 4 GiB with 32-bit addresses: so does their wrapping. */
	if (want->vector == X86_EXC_PF && got->vector == X86_EXC_PF && strstr(w->name, "maskmov") &&
	    (want->cr2 ^ got->cr2) == 1ull << 32)
		return true;
	/* Ten bytes are accessed as eight and two. */
	return w->mem_bytes == 10 && want->vector == X86_EXC_PF && segment;
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

/* Decodes an instruction and works out the effective address of its memory operand
 * from registers that it has not changed. */
static bool operand_address(const struct diff_case *d, const struct diff_regs *now,
			    const struct diff_insn *insn, struct x86_insn *i, uint64_t *ea)
{
	unsigned k = (unsigned)(insn - d->insn);

	if (diff_decode(d, d->features, d->code + d->insn_off[k], insn->len, i) < 0)
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

/* Where in the region that is. */
static uint64_t operand_place(const struct diff_case *d, const struct diff_regs *now,
			      const struct diff_insn *last, unsigned *opsize)
{
	struct x86_insn i;
	uint64_t ea;

	if (!operand_address(d, now, last, &i, &ea))
		return ~0ull;
	*opsize = i.opsize;
	return (diff_seg_base(d, now, i.seg) + ea - DIFF_LOW) & ~(uint64_t)(DIFF_HIGH - DIFF_LOW);
}

/* Fields of a stored image that need not agree (rows.def). */
static void blank_image(const struct diff_case *d, const struct diff_result *r,
			const struct diff_insn *last, uint8_t *mem)
{
	unsigned opsize = 0;
	uint64_t off = operand_place(d, &r->regs, last, &opsize);

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
	const struct diff_insn *last = last_done(d, want);
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

/* Instructions whose alignment checks are the implementation's choice or of a kind
 * that no program relies on: vectors and x87 (SDM vol. 3, 6.15, "Interrupt 17"). */
static bool odd_alignment(const struct diff_case *d, const struct diff_result *r)
{
	const struct x86_row *w = fault_row(d, r);

	if (!w || r->vector != X86_EXC_AC)
		return false;
	/* ENTER's probe of the new top of stack; how much of its slot a popped
	 * selector is. */
	return w->id == X86_OP_ENTER ||
	       (w->opnd[0] >= X86_O_ES && w->opnd[0] <= X86_O_GS && !strcmp(w->name, "pop")) ||
	       w->attr & (X86_A_SSE | X86_A_AVX | X86_A_X87 | X86_A_X87_NOWAIT | X86_A_MMX);
}

/* What the host does differently from the manuals that the engine follows, or in a
 * mode that the engine does not have. */
static bool host_quirk(const struct diff_case *d, const struct diff_result *want)
{
	int k = want->end == DIFF_FAULT ? diff_case_insn_at(d, want->regs.rip) : -1;
	struct x86_insn i;
	uint64_t ea;

	/* MXCSR.MM, "misaligned exception mask" (APM vol. 2, 11.2.2), loaded by chance */
	if (want->regs.fpu.mxcsr >> 16)
		return true;
	/* AMD's processors want the offset to be canonical even where the sum with
	 * the base of FS or GS is what counts (APM vol. 2, 5.3.1). */
	return k >= 0 && k < d->n && want->vector == X86_EXC_GP && d->mode == X86_MODE_64 &&
	       operand_address(d, &want->regs, &d->insn[k], &i, &ea) && i.seg >= X86_FS &&
	       !x86_canonical(ea);
}

/* Faults of the engine that some hosts do without: SHA operands that are not aligned, which
 * AMD's processors take; the place of an x87 store that an unmasked exception suppresses,
 * which Intel's do not look at. */
static bool host_lets(const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got)
{
	const struct x86_row *w = fault_row(d, got);

	if (!w || (want->end == DIFF_FAULT && want->regs.rip == got->regs.rip))
		return false;
	if (!strncmp(w->name, "sha1", 4) || !strncmp(w->name, "sha256", 6))
		return got->vector == X86_EXC_GP;
	return w->attr & X86_A_X87 && w->opnd[0] == X86_O_M && want->regs.fpu.fsw & X86_FSW_ES;
}

/* Is what the engine refuses LOCK with group 6 (0F 00)? Some processors ignore the prefix
 * on VERR and VERW. */
static bool locked_verify(const struct diff_case *d, const struct diff_result *r)
{
	int k = diff_case_insn_at(d, r->regs.rip);
	const uint8_t *b = k >= 0 && k < d->n ? d->insn[k].bytes : NULL;
	unsigned len = b ? d->insn[k].len : 0;

	for (unsigned n = 0; n + 2 < len; n++) {
		if (b[n] != 0xf0)
			continue;
		/* Other prefixes may stand between. */
		for (unsigned m = n + 1; m + 1 < len; m++)
			if (b[m] == 0x0f)
				return b[m + 1] == 0x00;
	}
	return false;
}

static bool has_far_call(const struct diff_case *d)
{
	for (unsigned k = 0; k < d->n; k++)
		if (d->insn[k].len && d->insn[k].row == X86_OP_CALLF_M)
			return true;
	return false;
}

unsigned diff_compare(const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got, FILE *out)
{
	struct cmp m = { .out = out };
	/* Outside 64-bit code the registers' upper halves are undefined. */
	bool m64 = d->mode == X86_MODE_64 && want->regs.sel[X86_CS] == DIFF_SEL_CS64;
	uint64_t flags = X86_FL_ARITH | X86_FL_TF | X86_FL_IF | X86_FL_DF | X86_FL_IOPL |
			 X86_FL_NT | X86_FL_VM | X86_FL_AC | X86_FL_VIF | X86_FL_VIP | X86_FL_ID;
	/* In code of another width: how wide the stack pointer was on the way differs. */
	bool other_cs = want->end == DIFF_FAULT && want->regs.sel[X86_CS] != diff_cs(d);
	const struct diff_insn *last = last_done(d, want);
	const struct x86_row *faulted = fault_row(d, want);

	if (other_cs && has_far_call(d)) /* and in what is pushed */
		return 0;
	if (want->end == DIFF_TIMEOUT || host_quirk(d, want) || host_lets(d, want, got) || odd_alignment(d, want) || odd_alignment(d, got) ||
	    (got->end == DIFF_FAULT && got->vector == X86_EXC_UD && locked_verify(d, got)) || loose(d, want) || (loose(d, got) && want->end != DIFF_FAULT))
		return 0;
	if (!both_faults(faulted, want, got))
		check_end(&m, want, got);
	if (last && last->row >= 0) {
		if (diff_row_info((unsigned)last->row)->weak)
			return m.count;
		flags &= ~diff_row_info((unsigned)last->row)->undefined;
	}
	/* Intel's processors put the flags back when REP CMPS or SCAS faults (SDM
	 * vol. 2, REP), AMD's keep them. */
	if (faulted && (faulted->attr & X86_A_REPCC))
		flags &= ~X86_FL_ARITH;
	check(&m, "rip", want->regs.rip, got->regs.rip, m64 ? ~0ull : 0xffffffff);
	for (unsigned n = 0; n < (m64 ? 16 : 8); n++)
		if (n != X86_RSP || !other_cs)
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
