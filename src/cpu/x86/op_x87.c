/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 instructions that compute: run by the host on the guest's whole x87 state,
 * with the guest's own control word. Unmasked exceptions then do to registers,
 * TOP and flags what hardware does; the host itself never faults because FSW.ES
 * was looked at first and the stub ends with FNINIT.
 *
 * FIP, FDP and FOP are kept here, as the SDM (vol. 1, 8.1.8 and 8.1.9) describes
 * them with CPUID's FDP_EXCPTN_ONLY clear: every instruction of this file sets
 * FIP and FOP, those with a memory operand FDP. (AMD's do so too, but FXSAVE
 * and XSAVE there write them as zero while no unmasked exception is pending;
 * these here always write them.) FCS and FDS are zero, as CPUID says.
 */
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

static inline host_x87_fn stub(struct x86_cpu *c, const struct x86_insn *i)
{
	const void *fn = __atomic_load_n(&i->stub, __ATOMIC_ACQUIRE);

	if (unlikely(!fn)) {
		fn = (const void *)(uintptr_t)host_stub_x87(c->stubs, i->opcode, i->modrm);
		__atomic_store_n(&((struct x86_insn *)(uintptr_t)i)->stub, fn, __ATOMIC_RELEASE);
	}
	return (host_x87_fn)(uintptr_t)fn;
}

/* Runs the instruction from c->fx to @out; nothing of the guest changes yet. */
static inline uint64_t compute(struct x86_cpu *c, const struct x86_insn *i, struct x86_fx *out,
			       void *mem)
{
	uint64_t flags;

	/* Pending, but ignored (x86_x87_pending): the host may not see it. */
	if (unlikely(x86_x87_unmasked(c))) {
		struct x86_fx in = c->fx;

		in.fcw |= 0x3f;
		flags = stub(c, i)(&in, out, mem, c->rflags & X86_FL_ARITH);
		out->fsw |= X86_FSW_ES | X86_FSW_B;
		return flags;
	}
	return stub(c, i)(&c->fx, out, mem, c->rflags & X86_FL_ARITH);
}

static inline void commit(struct x86_cpu *c, const struct x86_insn *i, const struct x86_fx *out)
{
	c->fx.fsw = out->fsw;
	c->fx.ftw = out->ftw;
	memcpy(c->fx.st, out->st, sizeof(c->fx.st));
	c->fx.fop = (uint16_t)((i->opcode & 7) << 8 | i->modrm);
	c->fx.fip = c->start_rip;
}

void op_x87(struct x86_cpu *c, const struct x86_insn *i)
{
	struct x86_fx out;

	if (!x86_x87_check(c))
		return;
	compute(c, i, &out, NULL);
	commit(c, i, &out);
}

/* FCMOVcc reads flags, which every stub gets. */
void op_x87_cmov(struct x86_cpu *c, const struct x86_insn *i) { op_x87(c, i); }

void op_x87_comi(struct x86_cpu *c, const struct x86_insn *i)
{
	struct x86_fx out;
	uint64_t flags;

	if (!x86_x87_check(c))
		return;
	flags = compute(c, i, &out, NULL);
	commit(c, i, &out);
	c->rflags = (c->rflags & ~X86_FL_ARITH) | (flags & X86_FL_ARITH);
}

void op_x87_load(struct x86_cpu *c, const struct x86_insn *i)
{
	struct x86_fx out;
	uint8_t mem[32];
	uint64_t ea;

	if (!x86_x87_check(c))
		return;
	ea = x86_ea(c, i);
	x86_vec_ld(c, x86_lin(c, i->seg, ea, i->row->mem_bytes, X86_ACC_R), mem, i->row->mem_bytes);
	compute(c, i, &out, mem);
	commit(c, i, &out);
	c->fx.fdp = ea;
}

/*
 * The store happens unless an exception that comes before the result is
 * unmasked: everything but inexact (SDM vol. 1, 8.4 and 8.5).
 */
void op_x87_store(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned bytes = i->row->mem_bytes;
	struct x86_fx out;
	uint64_t ea, lin;
	uint8_t mem[32];

	if (!x86_x87_check(c))
		return;
	ea = x86_ea(c, i);
	lin = x86_lin(c, i->seg, ea, bytes, X86_ACC_W);
	compute(c, i, &out, mem);
	if (!(out.fsw & ~c->fx.fcw & 0x1f) || x86_x87_unmasked(c))
		x86_vec_st(c, lin, mem, bytes);
	commit(c, i, &out);
	c->fx.fdp = ea;
}
