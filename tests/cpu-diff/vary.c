// SPDX-License-Identifier: GPL-2.0-or-later
/* Outcomes that may differ as a whole. */
#include <string.h>

#include "src/cpu/x86/vec.h"
#include "tests/cpu-diff/compare_priv.h"

static bool loose(const struct diff_case *d, const struct diff_result *r)
{
	const struct x86_row *w = cmp_fault_row(d, r);

	if (!w)
		return false;
	/* A gather may be left for a trap between any two elements. */
	if (r->vector == X86_EXC_DB && (w->opnd[1] == X86_O_VM || w->opnd[2] == X86_O_VM))
		return true;
	return diff_row_info(w->id)->loose_fault;
}

/* Is the host's page fault at the end of 4 GiB, or its alignment check? With such a limit
 * the segment's fault may or may not come for an access that wraps around (SDM vol. 3, 5.3):
 * AMD's processors raise it, Intel's do not. */
static bool wraps(const struct diff_case *d, const struct diff_result *want)
{
	uint64_t at = want->cr2;
	struct x86_insn i;

	if (want->vector == X86_EXC_AC && cmp_operand(d, &want->regs, cmp_faulted(d, want), &i, &at))
		at += diff_seg_base(d, &want->regs, i.seg);
	else if (want->vector != X86_EXC_PF)
		return false;
	return d->mode != X86_MODE_64 && at < 1ull << 32 && (uint32_t)(at + 31) < at;
}

/* CMPS: which of its operands is read first differs from processor to processor; the engine
 * begins with the one at RSI. Is the host's fault the other one's: of paging at RDI, of its
 * alignment, or of its segment? */
static bool other_operand(const struct diff_case *d, const struct diff_result *want)
{
	uint64_t rdi = want->regs.gpr[X86_RDI];
	struct x86_insn i;

	if (want->vector == X86_EXC_AC)
		return cmp_decode(d, cmp_faulted(d, want), &i) && rdi & (i.opsize - 1u);
	return want->vector == X86_EXC_GP ||
	       (want->vector == X86_EXC_PF && (uint16_t)(want->cr2 - rdi) < 8);
}

bool cmp_any_fault(const struct diff_case *d, const struct diff_result *want,
		   const struct diff_result *got)
{
	bool segment = got->vector == X86_EXC_GP || got->vector == X86_EXC_SS;
	const struct x86_row *w = cmp_fault_row(d, want);

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
	if (!strncmp(w->name, "cmps", 4) && other_operand(d, want) &&
	    (segment || got->vector == X86_EXC_PF || got->vector == X86_EXC_AC))
		return true;
	/* Elements beyond 4 GiB with 32-bit addresses: so does their wrapping. */
	if (want->vector == X86_EXC_PF && got->vector == X86_EXC_PF && strstr(w->name, "maskmov") &&
	    (want->cr2 ^ got->cr2) == 1ull << 32)
		return true;
	if (segment && wraps(d, want))
		return true;
	/* A conversion's exception, and the place that its result goes to. */
	if (!strcmp(w->name, "vcvtps2ph") && want->vector == X86_EXC_XM &&
	    (got->vector == X86_EXC_PF || segment))
		return true;
	/* Ten bytes are accessed as eight and two. */
	return w->mem_bytes == 10 && want->vector == X86_EXC_PF && segment;
}

/* Instructions whose alignment checks are the implementation's choice or of a kind
 * that no program relies on: vectors and x87 (SDM vol. 3, 6.15, "Interrupt 17"). */
static bool odd_alignment(const struct diff_case *d, const struct diff_result *r)
{
	const struct x86_row *w = cmp_fault_row(d, r);

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
	       cmp_operand(d, &want->regs, &d->insn[k], &i, &ea) && i.seg >= X86_FS &&
	       !x86_canonical(ea);
}

/* Is a state with exceptions pending taken back, or saved and reset, from @insn on? */
static bool resets_x87(const struct diff_case *d, const struct diff_insn *insn)
{
	for (; insn < d->insn + d->n; insn++) {
		const struct x86_row *w = insn->len && insn->row >= 0 ? &x86_rows[insn->row]
								      : NULL;

		if (w && (w->attr & X86_A_X87_NOWAIT || strstr(w->name, "xrstor")))
			return true;
	}
	return false;
}

/* Faults of the engine that some hosts do without: SHA operands that are not aligned, which
 * AMD's processors take; the place of an x87 store that an unmasked exception suppresses,
 * which Intel's do not look at. */
static bool host_lets(const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got)
{
	const struct diff_insn *at = cmp_faulted(d, got);
	const struct x86_row *w = cmp_fault_row(d, got);

	if (!w || (want->end == DIFF_FAULT && want->regs.rip == got->regs.rip))
		return false;
	if (!strncmp(w->name, "sha1", 4) || !strncmp(w->name, "sha256", 6))
		return got->vector == X86_EXC_GP;
	return w->attr & X86_A_X87 && w->opnd[0] == X86_O_M &&
	       (want->regs.fpu.fsw & X86_FSW_ES ||
		(~got->regs.fpu.fcw & 0x3f && resets_x87(d, at + 1)));
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

/* Has the host completed what the engine faults at? */
static bool host_passed(const struct diff_case *d, const struct diff_result *want,
			const struct diff_result *got)
{
	return want->end != DIFF_FAULT ||
	       (want->vector == X86_EXC_DB && cmp_last_done(d, want) == cmp_faulted(d, got));
}

bool cmp_any_outcome(const struct diff_case *d, const struct diff_result *want,
		     const struct diff_result *got)
{
	/* In code of another width what is pushed differs, too. */
	if (want->end == DIFF_FAULT && want->regs.sel[X86_CS] != diff_cs(d) &&
	    cmp_has_row(d, X86_OP_CALLF_M))
		return true;
	if (got->end == DIFF_FAULT && got->vector == X86_EXC_UD && locked_verify(d, got))
		return true;
	return want->end == DIFF_TIMEOUT || host_quirk(d, want) || host_lets(d, want, got) ||
	       odd_alignment(d, want) || odd_alignment(d, got) || loose(d, want) ||
	       (loose(d, got) && host_passed(d, want, got));
}
