// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Parts of a result that the manuals leave open or that the vendors do differently. Each is
 * taken over from the host only where it has exactly what is known of such processors.
 */
#include <cpuid.h>
#include <string.h>

#include "src/cpu/x86/vec.h"
#include "tests/cpu-diff/compare_priv.h"

/* @insn is the instruction that the concession is about, @i the same decoded. */
struct matter {
	const struct diff_case *d;
	const struct diff_insn *insn;
	const struct x86_row *row;
	struct x86_insn i;
	const struct diff_result *want;
	struct diff_result *got;
};

/* A repeated string instruction with 32-bit addresses in 64-bit code. */
static bool is_rep32(const struct x86_insn *i)
{
	return i->rep && i->adsize == 4 && i->mode == X86_MODE_64;
}

/* F3 90 with REX.B. */
static bool is_odd_pause(const struct x86_insn *i)
{
	return i->row->id == X86_OP_XCHG_ZvrAX && i->pp == X86_PP_F3 && i->rm == X86_R8;
}

bool diff_leaves_open(const struct diff_case *d, const struct diff_insn *insn)
{
	struct x86_insn i;

	return insn->row >= 0 && cmp_decode(d, insn, &i) &&
	       (is_rep32(&i) || is_odd_pause(&i));
}

/* Intel's processors extend the registers of a repeated string instruction to 64 bits even
 * where it does nothing yet; AMD's leave those that do not change. */
static void concede_rep32(struct matter *m)
{
	static const uint8_t regs[] = { X86_RCX, X86_RSI, X86_RDI };
	const uint64_t *want = m->want->regs.gpr;
	uint64_t *got = m->got->regs.gpr;

	for (unsigned k = 0; is_rep32(&m->i) && k < array_size(regs); k++)
		if (want[regs[k]] == (uint32_t)got[regs[k]])
			got[regs[k]] = want[regs[k]];
}

/* To Intel's processors F3 90 is PAUSE whatever REX.B says (SDM vol. 2, PAUSE); AMD's
 * exchange (APM vol. 3, XCHG). */
static void concede_pause(struct matter *m)
{
	const uint64_t *want = m->want->regs.gpr;
	uint64_t *got = m->got->regs.gpr, mask = low_mask(m->i.opsize * 8);

	if (!is_odd_pause(&m->i) || (want[X86_RAX] ^ got[X86_R8]) & mask ||
	    (want[X86_R8] ^ got[X86_RAX]) & mask)
		return;
	got[X86_RAX] = want[X86_RAX];
	got[X86_R8] = want[X86_R8];
}

static bool host_fdp_only(void)
{
	uint32_t a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & 1u << 6;
}

static void give(struct matter *m, uint64_t off, unsigned len)
{
	uint8_t *to;

	for (uint64_t at = off; at < off + len; at++) {
		to = cmp_mem_at(m->got->mem, at);
		if (to)
			*to = m->want->mem[to - m->got->mem];
	}
}

static uint64_t image_field(struct matter *m, uint64_t off, unsigned len)
{
	uint64_t v = 0;

	for (unsigned k = 0; k < len; k++) {
		uint8_t *at = cmp_mem_at(m->got->mem, off + k);

		v |= at ? (uint64_t)*at << 8 * k : 0;
	}
	return v;
}

/* Has the instruction whose address ends in these bits a memory operand? */
static bool has_operand_at(const struct diff_case *d, uint64_t rip, uint64_t mask)
{
	struct x86_insn i;

	for (unsigned k = 0; k < d->n; k++)
		if (d->insn[k].len && !((diff_code_rip(d, d->insn_off[k]) ^ rip) & mask))
			return cmp_decode(d, &d->insn[k], &i) && i.mem;
	return false;
}

/* Processors with CPUID.7:EBX.6 keep the data pointer, and the opcode, of instructions with
 * an unmasked exception only; without a memory operand it is undefined (SDM vol. 1, 8.1.8
 * and 8.1.9.1). */
static void concede_pointers(struct matter *m)
{
	unsigned opsize = 0, n;
	bool pending;
	uint64_t off;

	if (diff_row_info(m->row->id)->image != DIFF_IMAGE_ENV || !host_fdp_only())
		return;
	off = cmp_operand_offset(m->d, &m->want->regs, m->insn, &opsize);
	n = opsize == 2 ? 2 : 4;
	/* FLDCW may have unmasked an exception that was there before. */
	pending = image_field(m, off + n, 2) & X86_FSW_ES && !cmp_has_row(m->d, X86_OP_fldcw);
	if (!pending || !has_operand_at(m->d, image_field(m, off + 3 * n, n), low_mask(n * 8)))
		give(m, off + 5 * n, n);
	if (!pending && n == 4)
		give(m, off + 18, 2);
}

/* What completed last. */
static void concede_done(struct matter *m)
{
	concede_rep32(m);
	concede_pause(m);
	concede_pointers(m);
}

/* A gather of 16 bytes has cleared what is above them when a later element faults, with
 * Intel's processors. */
static void concede_upper(struct matter *m)
{
	static const uint8_t zero[16];
	unsigned reg = m->i.reg & 15;

	if (m->row->opnd[1] == X86_O_VM &&
	    (!m->i.vl || (m->i.opcode & 1 && m->row->mem_bytes == 4)) &&
	    !memcmp(m->want->regs.fpu.ymm[reg] + 16, zero, 16))
		memset(m->got->regs.fpu.ymm[reg] + 16, 0, 16);
}

/* Of a gather's mask only sign bits have a meaning. Intel's processors spread them over
 * elements first, and clear what is above the vector (SDM vol. 2, VPGATHERDD, "Operation");
 * AMD's do neither before a fault. */
static void concede_mask(struct matter *m)
{
	unsigned n = m->row->mem_bytes, vector = m->i.vl ? 32 : 16;
	const uint8_t *want = m->want->regs.fpu.ymm[m->i.vvvv & 15];
	uint8_t *got = m->got->regs.fpu.ymm[m->i.vvvv & 15], spread[8];

	if (m->row->opnd[1] != X86_O_VM)
		return;
	for (unsigned at = 0; at < 32; at += n) {
		memset(spread, at < vector && got[at + n - 1] & 0x80 ? 0xff : 0, n);
		if (!memcmp(want + at, spread, n))
			memcpy(got + at, spread, n);
	}
}

/* Intel's processors have set TOP to 0 when an MMX store faults. The x87 registers are seen
 * from there. */
static void concede_top(struct matter *m)
{
	struct diff_fpu *f = &m->got->regs.fpu;
	unsigned top = X86_FSW_TOP(f->fsw);
	struct diff_fpu old = *f;

	if (!(m->row->attr & X86_A_MMX) || m->row->opnd[1] != X86_O_Pq ||
	    X86_FSW_TOP(m->want->regs.fpu.fsw))
		return;
	f->fsw &= (uint16_t)~0x3800u;
	for (unsigned n = 0; n < 8; n++)
		memcpy(f->st[(n + top) & 7], old.st[n], sizeof(old.st[n]));
}

/* The conversion's flags are there before its store faults, or after. */
static void concede_flags(struct matter *m)
{
	uint32_t want = m->want->regs.fpu.mxcsr, *got = &m->got->regs.fpu.mxcsr;

	if (!strcmp(m->row->name, "vcvtps2ph") && !(*got & ~want) && !((*got ^ want) & ~0x3fu))
		*got = want;
}

/* Which byte of an access the host names. */
static void concede_cr2(struct matter *m)
{
	uint64_t want = m->want->cr2, got = m->got->cr2, ea, linear;

	if (!strstr(m->row->name, "maskmov") || (want ^ got) >> 12 ||
	    !cmp_operand(m->d, &m->want->regs, m->insn, &m->i, &ea))
		return;
	linear = diff_seg_base(m->d, &m->want->regs, m->i.seg) + ea;
	if (want - linear < 32)
		m->got->cr2 = want;
}

/* A call to where no code can be has pushed its return address on Intel's processors. */
static void concede_push(struct matter *m)
{
	unsigned n = m->d->mode == X86_MODE_64 ? 8 : m->i.opsize;
	uint64_t off = cmp_stack_offset(m->d, &m->want->regs) - n;
	uint64_t back = diff_code_rip(m->d, m->d->insn_off[m->insn - m->d->insn] + m->i.len);
	uint8_t *to;

	if (m->row->id != X86_OP_CALL_Ev || m->want->vector != X86_EXC_GP)
		return;
	for (unsigned k = 0; k < n; k++) {
		to = cmp_mem_at(m->got->mem, off + k);
		if (to && m->want->mem[to - m->got->mem] == (uint8_t)(back >> 8 * k))
			give(m, off + k, 1);
	}
}

/* Ten bytes are stored as eight and two; the first are there when the others fault. */
static void concede_eight(struct matter *m)
{
	unsigned opsize;

	if (m->row->mem_bytes == 10 && m->row->opnd[0] == X86_O_M)
		give(m, cmp_operand_offset(m->d, &m->want->regs, m->insn, &opsize), 8);
}

/* What both fault at. */
static void concede_faulted(struct matter *m)
{
	concede_rep32(m);
	if (m->want->vector == X86_EXC_DB)
		return;
	concede_mask(m);
	concede_upper(m);
	concede_top(m);
	concede_flags(m);
	concede_cr2(m);
	concede_push(m);
	concede_eight(m);
}

void cmp_concede(const struct diff_case *d, const struct diff_result *want,
		 struct diff_result *got)
{
	struct matter m = { .d = d, .want = want, .got = got, .insn = cmp_last_done(d, want) };

	if (want->end != got->end || want->regs.rip != got->regs.rip)
		return;
	if (m.insn && m.insn->row >= 0 && cmp_decode(d, m.insn, &m.i)) {
		m.row = m.i.row;
		concede_done(&m);
	}
	m.insn = cmp_faulted(d, want);
	if (m.insn && cmp_decode(d, m.insn, &m.i)) {
		m.row = m.i.row;
		concede_faulted(&m);
	}
}
