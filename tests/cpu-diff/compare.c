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
	/* Linux shows every fault above the user's half as a protection fault. */
	if (want->vector == X86_EXC_PF && want->cr2 >> 63)
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

static void check_mem(struct cmp *m, const struct diff_result *want, const struct diff_result *got)
{
	char name[16];

	if (!memcmp(want->mem, got->mem, DIFF_MEM_LEN))
		return;
	for (unsigned k = 0; k < DIFF_MEM_LEN; k += 16) {
		snprintf(name, sizeof(name), "mem+%04x",
			 diff_rw_pages[k / 4096] * 4096 + k % 4096);
		check_bytes(m, name, want->mem + k, got->mem + k, 16);
	}
}

unsigned diff_compare(const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got, FILE *out)
{
	struct cmp m = { .out = out };
	bool m64 = d->mode == X86_MODE_64;
	uint64_t flags = X86_FL_ARITH | X86_FL_TF | X86_FL_IF | X86_FL_DF | X86_FL_IOPL |
			 X86_FL_NT | X86_FL_VM | X86_FL_AC | X86_FL_VIF | X86_FL_VIP | X86_FL_ID;
	bool weak = false;

	for (unsigned k = 0; k < d->n; k++)
		if (d->insn[k].len && d->insn[k].row >= 0) {
			const struct diff_row_info *info = diff_row_info((unsigned)d->insn[k].row);

			flags &= ~info->flags;
			weak |= info->weak_dest;
		}
	check_end(&m, want, got);
	if (want->end == DIFF_TIMEOUT || weak)
		return m.count;
	check(&m, "rip", want->regs.rip, got->regs.rip, m64 ? ~0ull : 0xffffffff);
	for (unsigned n = 0; n < (m64 ? 16 : 8); n++)
		check(&m, gpr_name[n], want->regs.gpr[n], got->regs.gpr[n],
		      m64 ? ~0ull : 0xffffffff);
	check(&m, "rflags", want->regs.rflags, got->regs.rflags, flags);
	for (unsigned s = 0; s < X86_NSEGS; s++)
		check(&m, seg_name[s], want->regs.sel[s], got->regs.sel[s], ~0ull);
	check(&m, "fs_base", want->regs.fs_base, got->regs.fs_base, ~0ull);
	check(&m, "gs_base", want->regs.gs_base, got->regs.gs_base, ~0ull);
	check_fpu(&m, &want->regs.fpu, &got->regs.fpu);
	check_mem(&m, want, got);
	return m.count;
}
