// SPDX-License-Identifier: GPL-2.0-or-later
/* A differing case made small, and shown. */
#include <string.h>

#include "tests/cpu-diff/diff.h"

void diff_run_pair(struct diff_pair *p, const struct diff_case *d)
{
	native_run(p->native, d, &p->want);
	if (p->engine) {
		engine_run(p->engine, d, &p->got);
		/* The limit is one of real time: another chance on a busy machine. */
		if (p->got.end == DIFF_TIMEOUT && p->want.end != DIFF_TIMEOUT)
			engine_run(p->engine, d, &p->got);
	} else {
		native_run(p->native, d, &p->got);
	}
	if (p->sabotage)
		p->sabotage(d, &p->got);
}

bool diff_differs(struct diff_pair *p, struct diff_case *d)
{
	if (diff_case_layout(d))
		return false;
	diff_run_pair(p, d);
	if (p->want.end == DIFF_TIMEOUT || !diff_compare(d, &p->want, &p->got, NULL))
		return false;
	/* A host that disagrees with itself proves nothing. */
	p->again = p->want;
	native_run(p->native, d, &p->want);
	return !diff_compare(d, &p->want, &p->again, NULL);
}

/* Copies @from over @to (@len bytes of *d) if the case still differs then. */
static bool try_bytes(struct diff_pair *p, struct diff_case *d, void *to, const void *from,
		      size_t len)
{
	uint8_t old[DIFF_MEM_LEN];

	if (!memcmp(to, from, len))
		return false;
	memcpy(old, to, len);
	memcpy(to, from, len);
	if (diff_differs(p, d))
		return true;
	memcpy(to, old, len);
	return false;
}

static bool drop_insns(struct diff_pair *p, struct diff_case *d)
{
	bool any = false;

	for (unsigned k = d->n; k-- > 0;) {
		uint8_t len = d->insn[k].len;

		if (!len)
			continue;
		d->insn[k].len = 0;
		if (diff_differs(p, d))
			any = true;
		else
			d->insn[k].len = len;
	}
	return any;
}

static void simplify_mem(struct diff_pair *p, struct diff_case *d)
{
	static const uint8_t zero[DIFF_MEM_LEN];

	for (unsigned step = DIFF_MEM_LEN; step >= 8; step = step > 4096 ? 4096 : step / 8)
		for (unsigned at = 0; at < DIFF_MEM_LEN; at += step)
			try_bytes(p, d, d->mem + at, zero, step);
}

static void simplify_regs(struct diff_pair *p, struct diff_case *d)
{
	static const uint8_t zero[32];
	struct diff_regs plain, *r = &d->init;

	diff_regs_init(&plain);
	try_bytes(p, d, &r->fpu, &plain.fpu, sizeof(r->fpu));
	for (unsigned n = 0; n < 16; n++) {
		if (n != X86_RSP)
			try_bytes(p, d, &r->gpr[n], zero, 8);
		try_bytes(p, d, r->fpu.ymm[n], zero, 32);
		try_bytes(p, d, r->fpu.ymm[n] + 16, zero, 16);
		try_bytes(p, d, r->fpu.ymm[n] + 8, zero, 8);
		try_bytes(p, d, r->fpu.ymm[n] + 4, zero, 4);
	}
	for (unsigned n = 0; n < 8; n++)
		try_bytes(p, d, r->fpu.st[n], zero, 10);
	try_bytes(p, d, &r->fpu.mxcsr, &plain.fpu.mxcsr, 4);
	try_bytes(p, d, &r->fpu.fcw, &plain.fpu.fcw, 2);
	try_bytes(p, d, &r->fpu.fsw, &plain.fpu.fsw, 2);
	try_bytes(p, d, &r->fpu.ftw, &plain.fpu.ftw, 2);
	try_bytes(p, d, &r->rflags, &plain.rflags, 8);
	for (unsigned bit = 0; bit < 22; bit++) {
		uint64_t without = r->rflags & ~(1ull << bit);

		if (without & X86_FL_FIXED && without & X86_FL_IF)
			try_bytes(p, d, &r->rflags, &without, 8);
	}
	try_bytes(p, d, &r->fs_base, zero, 8);
	try_bytes(p, d, &r->gs_base, zero, 8);
}

void diff_shrink(struct diff_pair *p, struct diff_case *d)
{
	static const uint8_t zero[2];

	for (unsigned round = 0; round < 6 && drop_insns(p, d); round++)
		;
	simplify_mem(p, d);
	simplify_regs(p, d);
	drop_insns(p, d);
	if (!d->no_exit)
		try_bytes(p, d, &d->code_off, zero, 2);
	diff_differs(p, d); /* the pair's results are those of what is left */
}

static void list(const struct diff_case *d, const uint64_t *features, FILE *out)
{
	for (unsigned k = 0; k < d->n; k++) {
		const struct diff_insn *i = &d->insn[k];
		uint64_t rip = diff_code_rip(d, d->insn_off[k]);
		struct x86_insn insn;
		char text[128] = "(bytes that do not decode)";

		if (!i->len)
			continue;
		if (diff_decode(d, features, d->code + d->insn_off[k],
				(size_t)(DIFF_CODE_LEN - d->insn_off[k]), &insn) > 0)
			x86_format(&insn, rip, text, sizeof(text));
		fprintf(out, "  %lx  ", (long)rip);
		for (unsigned b = 0; b < DIFF_MAX_BYTES; b++)
			fprintf(out, b < i->len ? "%02x" : "  ", d->code[(d->insn_off[k] + b) %
									DIFF_CODE_LEN]);
		fprintf(out, "  %-40s %s\n", text, i->row >= 0 ? diff_row_id((unsigned)i->row) : "");
	}
}

static void show_end(const struct diff_case *d, const char *who, const struct diff_result *r,
		     FILE *out)
{
	static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi",
					       "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
					       "r14", "r15" };

	fprintf(out, "%s: ", who);
	if (r->end == DIFF_FAULT)
		fprintf(out, "vector %u, error %x, cr2 %lx, at %lx", r->vector, r->error,
			(long)r->cr2, (long)r->regs.rip);
	else
		fprintf(out, "%s %s", r->end == DIFF_EXIT ? "ran to its end"
				    : r->end == DIFF_TIMEOUT ? "did not end" : "broke:",
			r->end == DIFF_BROKEN ? r->text : "");
	fprintf(out, "\n  flags %lx  mxcsr %x  fcw %x  fsw %x  ftw %x\n", (long)r->regs.rflags,
		r->regs.fpu.mxcsr, r->regs.fpu.fcw, r->regs.fpu.fsw, r->regs.fpu.ftw);
	for (unsigned n = 0; n < (d->mode == X86_MODE_64 ? 16u : 8u); n++)
		fprintf(out, "  %-3s %016lx%s", names[n], (long)r->regs.gpr[n], n % 4 == 3 ? "\n"
											 : "");
}

void diff_report(struct diff_pair *p, struct diff_case *d, FILE *out)
{
	unsigned words = 0;

	fprintf(out, "case %#lx, %u-bit code:\n", (long)d->seed,
		d->mode == X86_MODE_64 ? 64 : d->mode == X86_MODE_32 ? 32 : 16);
	list(d, p->features, out);
	show_end(d, "host", &p->want, out);
	show_end(d, "engine", &p->got, out);
	fprintf(out, "differences:\n");
	diff_compare(d, &p->want, &p->got, out);
	for (unsigned k = 0; k < DIFF_MEM_LEN; k += 8)
		words += ld_le64(d->mem + k) != 0;
	if (words < 100) {
		fprintf(out, "as a file for --file:\n");
		diff_case_write(d, out);
	}
	fprintf(out, "again: cpu-diff --case %#lx%s%s\n\n", (long)d->seed,
		d->want_row >= 0 ? " --row " : "",
		d->want_row >= 0 ? diff_row_id((unsigned)d->want_row) : "");
}
