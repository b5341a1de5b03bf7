/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoding a run of guest instructions, and what is known about it before any
 * host code is made: which registers each writes, which flags are still wanted.
 */
#include "src/cpu/jit/emit_ops.h"
#include "src/cpu/jit/jit_priv.h"

bool jit_is_side_exit(const struct x86_insn *i, uint32_t key)
{
	return i->row->attr & X86_A_END && jit_emitter(i, key) == e_jcc_row &&
	       (int64_t)i->imm >= 0;
}

/* Decodes from @bytes until a block's end, a breakpoint, JIT_MAX_INSNS, or the bytes run out.
 * Returns the number of instructions. */
unsigned jit_decode(const struct x86_cpu *c, const uint8_t *bytes, unsigned avail, unsigned key,
		    uint64_t rip, struct jit_run *run)
{
	uint64_t mask = key & X86_MODE_64 ? ~0ull : 0xffffffffull;
	unsigned at = 0, n = 0, exits = 0;

	while (n < JIT_MAX_INSNS) {
		int r;

		/* Blocks have flat code segments: rip is the linear address. */
		if (unlikely(c->debug & X86_DEBUG_CODE) && n && cpu_debug_code(c, (rip + at) & mask))
			break;
		r = x86_decode(bytes + at, avail - at, key & JIT_KEY_MODE, c->features,
			       &run->insn[n]);
		if (r <= 0)
			break;
		run->rip[n] = (rip + at) & mask;
		at += (unsigned)r;
		n++;
		if (!(run->insn[n - 1].row->attr & X86_A_END))
			continue;
		if (exits == JIT_MAX_EXITS || !jit_is_side_exit(&run->insn[n - 1], key))
			break;
		exits++;
	}
	run->rip[n] = (rip + at) & mask;
	run->count = n;
	run->bytes = at;
	return n;
}

/* The guest register that operand @kind names, or 16 for none. 8-bit high
 * registers give their whole register. */
static unsigned operand_reg(const struct x86_insn *i, unsigned kind)
{
	switch (kind) {
	case X86_O_Eb: case X86_O_Ew: case X86_O_Ed: case X86_O_Eq: case X86_O_Ev: case X86_O_Ey:
	case X86_O_Edq_r: case X86_O_Rv: case X86_O_Ry: case X86_O_Rw: case X86_O_Zb:
	case X86_O_Zv:
		return i->mem ? 16 : i->rm & 15;
	case X86_O_Gb: case X86_O_Gw: case X86_O_Gd: case X86_O_Gv: case X86_O_Gy:
		return i->reg & 15;
	case X86_O_By:
		return i->vvvv;
	case X86_O_AL: case X86_O_AX: case X86_O_EAX: case X86_O_rAX:
		return X86_RAX;
	default:
		return 16;
	}
}

bool jit_writes_memory(const struct x86_insn *i)
{
	switch (i->row->opnd[0]) {
	case X86_O_Eb: case X86_O_Ew: case X86_O_Ed: case X86_O_Eq: case X86_O_Ev: case X86_O_Ey:
	case X86_O_Edq_r: case X86_O_M: case X86_O_W: case X86_O_Qq: case X86_O_Qd:
		return true;
	default: /* a register is written; XCHG and the like have memory first */
		return false;
	}
}

bool jit_imm_from_memory(const struct x86_insn *i)
{
	return i->row->id == X86_OP_MOV_ZvIv && i->opsize >= 4;
}

/* Conservative: what C executes may do anything. */
static bool may_store(const struct x86_insn *i, uint32_t key)
{
	if (!jit_emitter(i, key))
		return true;
	switch (i->row->id) {
	case X86_OP_PUSH_Zv: case X86_OP_PUSH_Ev: case X86_OP_PUSH_Iz: case X86_OP_PUSH_Ib:
	case X86_OP_PUSHF:
		return true;
	default:
		return i->mem && !(i->row->attr & X86_A_NOWRITE);
	}
}

void jit_cut_at_store(struct jit_run *run, uint32_t key)
{
	for (unsigned n = 0; n + 1 < run->count; n++) {
		if (may_store(&run->insn[n], key)) {
			run->count = n + 1;
			run->bytes = (unsigned)(run->rip[n + 1] - run->rip[0]);
			return;
		}
	}
}

uint32_t jit_writes(const struct x86_insn *i)
{
	unsigned dst = operand_reg(i, i->row->opnd[0]);
	uint32_t mask = i->row->attr & X86_A_NOWRITE || dst == 16 ? 0 : 1u << dst;

	switch (i->row->id) {
	case X86_OP_PUSH_Zv: case X86_OP_PUSH_Iz: case X86_OP_PUSH_Ib: case X86_OP_PUSH_Ev:
	case X86_OP_PUSHF: case X86_OP_POP_Zv: case X86_OP_POP_Ev: case X86_OP_CALL_Jz:
	case X86_OP_CALL_Ev:
	case X86_OP_RET: case X86_OP_RET_Iw:
		return mask | 1u << X86_RSP;
	case X86_OP_LEAVE:
		return 1u << X86_RSP | 1u << X86_RBP;
	case X86_OP_XCHG_EbGb: case X86_OP_XCHG_EvGv: case X86_OP_XADD_Eb: case X86_OP_XADD_Ev:
		return mask | 1u << (i->reg & 15);
	case X86_OP_CMPXCHG_Eb: case X86_OP_CMPXCHG_Ev: case X86_OP_XCHG_ZvrAX: case X86_OP_CBW:
		return mask | 1u << X86_RAX;
	case X86_OP_CMPXCHG8B: case X86_OP_CMPXCHG16B:
		return 1u << X86_RAX | 1u << X86_RDX;
	case X86_OP_LOOP: case X86_OP_LOOPE: case X86_OP_LOOPNE:
		return 1u << X86_RCX;
	case X86_OP_CWD:
		return 1u << X86_RDX;
	case X86_OP_MULX:
		return mask | 1u << i->vvvv;
	case X86_OP_MUL_Eb: case X86_OP_MUL_Ev: case X86_OP_IMUL_Eb: case X86_OP_IMUL_Ev:
	case X86_OP_DIV_Eb: case X86_OP_DIV_Ev: case X86_OP_IDIV_Eb: case X86_OP_IDIV_Ev:
		return 1u << X86_RAX | 1u << X86_RDX;
	default:
		return mask;
	}
}

static bool is_shift_by_constant(const struct x86_insn *i)
{
	unsigned bits = i->opsize == 8 ? 63 : 31;

	switch (i->row->id) {
	case X86_OP_SHL_EbIb: case X86_OP_SHL_EvIb: case X86_OP_SHR_EbIb: case X86_OP_SHR_EvIb:
	case X86_OP_SAL_EbIb: case X86_OP_SAL_EvIb: case X86_OP_SAR_EbIb: case X86_OP_SAR_EvIb:
		return (i->imm & bits) != 0;
	default:
		return false;
	}
}

uint16_t jit_flags_read(const struct x86_insn *i, uint16_t want_after)
{
	const struct x86_row *row = i->row;

	if (is_shift_by_constant(i))
		return 0;
	switch (row->id) {
	case X86_OP_MUL_Eb: case X86_OP_MUL_Ev: case X86_OP_IMUL_Eb: case X86_OP_IMUL_Ev:
	case X86_OP_IMUL_GvEv: case X86_OP_IMUL_GvEvIz: case X86_OP_IMUL_GvEvIb:
		/* Undefined after it; some processors leave them as they were. */
		return want_after & ~(X86_FL_CF | X86_FL_OF);
	}
	/* Read only because they may stay as they are. */
	if (row->flags_read == X86_FL_ARITH && row->flags_write == X86_FL_ARITH)
		switch (row->id) {
		case X86_OP_RCL_EbIb: case X86_OP_RCL_EvIb: case X86_OP_RCL_Eb1:
		case X86_OP_RCL_Ev1: case X86_OP_RCL_EbCL: case X86_OP_RCL_EvCL:
		case X86_OP_RCR_EbIb: case X86_OP_RCR_EvIb: case X86_OP_RCR_Eb1:
		case X86_OP_RCR_Ev1: case X86_OP_RCR_EbCL: case X86_OP_RCR_EvCL:
			return want_after | X86_FL_CF;
		default:
			return want_after;
		}
	return row->flags_read;
}

bool jit_def_lasts(const struct jit_run *run, const struct fl_def *def)
{
	for (unsigned n = 0; n < run->count; n++) {
		const struct x86_insn *i = &run->insn[n];
		uint16_t after = run->want[n + 1], kept = after & ~i->row->flags_write;

		if (run->want[n] == 0 || jit_flags_read(i, after))
			return true;
		if (jit_writes(i) & e_def_uses(def))
			return !kept;
		if (i->row->flags_write)
			return true;
	}
	return false;
}

/* Backward over the run: what stands in front of each instruction is wanted by
 * it, by a later one, or by whoever looks after a fault. */
void jit_analyse(struct jit_run *run)
{
	uint16_t want = X86_FL_ARITH;

	run->want[run->count] = want;
	for (unsigned n = run->count; n-- > 0;) {
		const struct x86_insn *i = &run->insn[n];

		want = (uint16_t)(jit_flags_read(i, want) | (want & ~i->row->flags_write));
		if (jit_may_fault(i) && !(jit_group_checked(run, n) && jit_only_access_faults(i)))
			want = X86_FL_ARITH;
		run->want[n] = want;
	}
}
