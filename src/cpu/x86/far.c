/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far control transfers: JMP, CALL, RET, IRET. Task switches are in task.c. SDM vol. 2, the instructions' operation sections; vol. 3, 5.8.
 */
#include "src/cpu/x86/sys.h"

static uint64_t truncate(uint64_t rip, unsigned opsize)
{
	return rip & low_mask(opsize * 8);
}

/* Real or virtual-8086 mode: no descriptors. */
static bool plain(const struct x86_cpu *c) { return !x86_protected(c) || x86_v86(c); }

static void plain_limit(struct x86_cpu *c, uint64_t rip)
{
	if (rip > c->seg[X86_CS].limit)
		x86_raise_gp0(c);
}

/* A code segment selector for a direct transfer. */
static struct x86_seg direct_code(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, uint64_t rip)
{
	struct x86_seg cs;

	x86_check_code(c, sel, d);
	cs = x86_desc_seg((uint16_t)((sel & ~3u) | c->cpl), d->raw);
	x86_check_rip(c, &cs, rip);
	x86_desc_accessed(c, d);
	cs.attr |= X86_SEG_ACCESSED;
	return cs;
}

/* A gate or TSS descriptor may be used from here: DPL against CPL and RPL. */
static void check_gate(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
	if (x86_desc_dpl(d) < c->cpl || x86_desc_dpl(d) < (sel & 3u))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_present(d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
}

/* Where a call gate leads. */
struct target {
	struct x86_seg cs;
	unsigned cpl; /* that the code runs at */
	uint64_t rip;
	unsigned size; /* of the frame's items, bytes */
	unsigned params;
};

static void gate_target(struct x86_cpu *c, uint16_t gate_sel, const struct x86_desc *gate, bool jmp,
			struct target *t)
{
	uint16_t sel = x86_gate_sel(gate);
	struct x86_desc d;
	unsigned dpl;

	check_gate(c, gate_sel, gate);
	t->rip = x86_gate_offset(gate);
	t->size = x86_desc_type(gate) == X86_SYS_CALL16 ? 2 : 4;
	t->params = gate->raw >> 32 & 0x1f;
	if (x86_long(c)) {
		t->rip |= x86_desc_upper(c, gate_sel, gate) << 32;
		t->size = 8;
		t->params = 0;
	} else if (t->size == 2) {
		t->rip &= 0xffff;
	}
	if (x86_sel_null(sel))
		x86_raise_gp0(c);
	if (!x86_desc_read(c, sel, &d) || !x86_desc_code(&d))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	dpl = x86_desc_dpl(&d);
	if (dpl > c->cpl || (jmp && !x86_desc_conforming(&d) && dpl != c->cpl) ||
	    (x86_long(c) && (!x86_desc_l(&d) || x86_desc_db(&d))))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
	t->cpl = x86_desc_conforming(&d) ? c->cpl : dpl;
	t->cs = x86_desc_seg((uint16_t)((sel & ~3u) | t->cpl), d.raw);
	x86_check_rip(c, &t->cs, t->rip);
	x86_desc_accessed(c, &d);
	t->cs.attr |= X86_SEG_ACCESSED;
}

/* JMP or CALL through a task gate or a TSS descriptor. */
static void far_task(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, enum x86_task_why why)
{
	check_gate(c, sel, d);
	if (x86_desc_type(d) == X86_SYS_TASK_GATE) {
		sel = x86_gate_sel(d);
		x86_task_check(c, sel, d, false, X86_EXC_GP);
	} else if (sel & 4) {
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	}
	x86_task_switch(c, sel, d, why, false, 0);
}

enum what { CODE, CALL_GATE, TASK };

/* What the selector of a far JMP or CALL names; #GP for anything else. */
static enum what classify(struct x86_cpu *c, uint16_t sel, struct x86_desc *d)
{
	if (x86_sel_null(sel))
		x86_raise_gp0(c);
	if (!x86_desc_read(c, sel, d))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_system(d))
		return CODE;
	switch (x86_desc_type(d)) {
	case X86_SYS_CALL32: return CALL_GATE;
	case X86_SYS_CALL16:
		if (!x86_long(c))
			return CALL_GATE;
		break;
	case X86_SYS_TSS16: case X86_SYS_TSS32: case X86_SYS_TASK_GATE:
		if (!x86_long(c))
			return TASK;
		break;
	}
	x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
}

void x86_far_jmp(struct x86_cpu *c, uint16_t sel, uint64_t rip, unsigned opsize)
{
	struct x86_desc d;
	struct x86_seg cs;
	struct target t;

	rip = truncate(rip, opsize);
	if (plain(c)) {
		plain_limit(c, rip);
		c->rip = rip;
		x86_load_seg_real(c, X86_CS, sel);
		return;
	}
	switch (classify(c, sel, &d)) {
	case CODE:
		cs = direct_code(c, sel, &d, rip);
		x86_set_cs(c, &cs, c->cpl, rip);
		return;
	case CALL_GATE:
		gate_target(c, sel, &d, true, &t);
		x86_set_cs(c, &t.cs, c->cpl, t.rip);
		return;
	case TASK:
		far_task(c, sel, &d, X86_TASK_JMP);
		return;
	}
}

/* Pushes CS:rIP on the current stack, all checks before. */
static void push_return(struct x86_cpu *c, unsigned size)
{
	struct x86_stack s;

	x86_stack_current(c, &s);
	x86_stack_probe(c, &s, 2, size);
	x86_stack_push(c, &s, c->seg[X86_CS].sel, size);
	x86_stack_push(c, &s, c->rip, size);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp, s.mask);
}

/* A call gate into a more privileged level: the new stack from the TSS, the old
 * one's pointer and the parameters on it. */
static void call_inner(struct x86_cpu *c, const struct target *t)
{
	uint64_t params[32];
	struct x86_stack old, s;
	struct x86_seg ss;

	x86_stack_current(c, &old);
	if (x86_long(c)) {
		ss = (struct x86_seg){ .sel = t->cpl,
				       .attr = (uint16_t)(X86_SEG_NULL | t->cpl << 5) };
		x86_stack_at(&s, &ss, x86_tss_rsp(c, t->cpl), t->cpl, true);
	} else {
		uint16_t sel;
		uint32_t sp;

		x86_tss_stack(c, t->cpl, &sel, &sp);
		ss = x86_check_ss(c, sel, t->cpl, X86_EXC_TS);
		x86_stack_at(&s, &ss, sp, t->cpl, false);
		s.error = x86_sel_err(sel);
	}
	for (unsigned n = 0; n < t->params; n++)
		params[n] = x86_stack_peek(c, &old, n, t->size);
	x86_stack_probe(c, &s, 4 + t->params, t->size);
	x86_stack_push(c, &s, c->seg[X86_SS].sel, t->size);
	x86_stack_push(c, &s, c->gpr[X86_RSP], t->size);
	for (unsigned n = t->params; n-- > 0;)
		x86_stack_push(c, &s, params[n], t->size);
	x86_stack_push(c, &s, c->seg[X86_CS].sel, t->size);
	x86_stack_push(c, &s, c->rip, t->size);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp, s.mask);
	c->seg[X86_SS] = ss;
	x86_set_cs(c, &t->cs, t->cpl, t->rip);
}

void x86_far_call(struct x86_cpu *c, uint16_t sel, uint64_t rip, unsigned opsize)
{
	struct x86_desc d;
	struct x86_seg cs;
	struct target t;

	rip = truncate(rip, opsize);
	if (plain(c)) {
		plain_limit(c, rip);
		push_return(c, opsize);
		c->rip = rip;
		x86_load_seg_real(c, X86_CS, sel);
		return;
	}
	switch (classify(c, sel, &d)) {
	case CODE:
		cs = direct_code(c, sel, &d, rip);
		push_return(c, opsize);
		x86_set_cs(c, &cs, c->cpl, rip);
		return;
	case CALL_GATE:
		gate_target(c, sel, &d, false, &t);
		if (t.cpl < c->cpl) {
			call_inner(c, &t);
			return;
		}
		push_return(c, t.size);
		x86_set_cs(c, &t.cs, c->cpl, t.rip);
		return;
	case TASK:
		far_task(c, sel, &d, X86_TASK_CALL);
		return;
	}
}

/* The code segment that RET or IRET goes back to. */
static struct x86_seg return_code(struct x86_cpu *c, uint16_t sel, uint64_t rip)
{
	unsigned rpl = sel & 3;
	struct x86_desc d;
	struct x86_seg cs;

	if (x86_sel_null(sel))
		x86_raise_gp0(c);
	if (!x86_desc_read(c, sel, &d) || !x86_desc_code(&d) || rpl < c->cpl ||
	    (x86_desc_conforming(&d) ? x86_desc_dpl(&d) > rpl : x86_desc_dpl(&d) != rpl) ||
	    (x86_long(c) && x86_desc_l(&d) && x86_desc_db(&d)))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
	cs = x86_desc_seg(sel, d.raw);
	x86_check_rip(c, &cs, rip);
	x86_desc_accessed(c, &d);
	cs.attr |= X86_SEG_ACCESSED;
	return cs;
}

/* The stack segment that comes back with it. 64-bit code below CPL 3 may return
 * with a null SS. */
static struct x86_seg return_stack(struct x86_cpu *c, uint16_t sel, unsigned rpl, bool m64)
{
	if (x86_sel_null(sel) && m64 && rpl != 3 && (sel & 3u) == rpl)
		return (struct x86_seg){ .sel = sel, .attr = (uint16_t)(X86_SEG_NULL | rpl << 5) };
	return x86_check_ss(c, sel, rpl, X86_EXC_GP);
}

static void plain_ret(struct x86_cpu *c, struct x86_stack *s, unsigned opsize, unsigned pop_bytes)
{
	uint64_t rip = x86_stack_peek(c, s, 0, opsize);
	uint16_t sel = x86_stack_peek(c, s, 1, opsize);

	plain_limit(c, rip);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s->sp + 2 * opsize + pop_bytes, s->mask);
	c->rip = rip;
	x86_load_seg_real(c, X86_CS, sel);
}

void x86_far_ret(struct x86_cpu *c, unsigned opsize, unsigned pop_bytes)
{
	struct x86_stack s;
	struct x86_seg cs, ss;
	uint64_t rip, sp;
	unsigned rpl;

	x86_stack_current(c, &s);
	if (plain(c)) {
		plain_ret(c, &s, opsize, pop_bytes);
		return;
	}
	rip = x86_stack_peek(c, &s, 0, opsize);
	cs = return_code(c, (uint16_t)x86_stack_peek(c, &s, 1, opsize), rip);
	s.sp += 2 * opsize + pop_bytes;
	rpl = cs.sel & 3;
	if (rpl == c->cpl) {
		c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp, s.mask);
		x86_set_cs(c, &cs, rpl, rip);
		return;
	}
	sp = x86_stack_peek(c, &s, 0, opsize);
	ss = return_stack(c, (uint16_t)x86_stack_peek(c, &s, 1, opsize), rpl, x86_is_code64(c, &cs));
	c->seg[X86_SS] = ss;
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], sp + pop_bytes,
					  x86_is_code64(c, &cs)	   ? ~0ull
					  : ss.attr & X86_SEG_DB ? 0xffffffffu : 0xffff);
	x86_set_cs(c, &cs, rpl, rip);
	x86_drop_inner_segs(c, rpl);
	x86_update_mode(c);
}

/*
 * IRET.
 */
#define FL_USER (X86_FL_ARITH | X86_FL_TF | X86_FL_DF | X86_FL_NT)

/* The bits of EFLAGS that IRET may change at this CPL. */
static uint64_t iret_mask(const struct x86_cpu *c, unsigned opsize)
{
	uint64_t mask = FL_USER;

	if (opsize > 2)
		mask |= X86_FL_RF | X86_FL_AC | X86_FL_ID;
	if (c->cpl <= x86_iopl(c))
		mask |= X86_FL_IF;
	if (c->cpl == 0) {
		mask |= X86_FL_IOPL;
		if (opsize > 2)
			mask |= X86_FL_VIF | X86_FL_VIP;
	}
	return mask;
}

static void assign_flags(struct x86_cpu *c, uint64_t v, uint64_t mask)
{
	x86_set_flags(c, (c->rflags & ~mask) | (v & mask));
}

static void nmi_unblock(struct x86_cpu *c)
{
	c->nmi_blocked = false;
	if (c->nmi_pending)
		c->recheck = true;
}

static void iret_real(struct x86_cpu *c, unsigned opsize)
{
	uint64_t mask = FL_USER | X86_FL_IF | X86_FL_IOPL, rip, flags;
	struct x86_stack s;
	uint16_t sel;

	if (opsize > 2)
		mask |= X86_FL_RF | X86_FL_AC | X86_FL_ID;
	x86_stack_current(c, &s);
	rip = x86_stack_peek(c, &s, 0, opsize);
	sel = x86_stack_peek(c, &s, 1, opsize);
	flags = x86_stack_peek(c, &s, 2, opsize);
	plain_limit(c, rip);
	if (x86_v86(c))
		mask &= ~X86_FL_IOPL;
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp + 3 * opsize, s.mask);
	c->rip = rip;
	assign_flags(c, flags, mask);
	x86_load_seg_real(c, X86_CS, sel);
	nmi_unblock(c);
}

/* Virtual-8086 mode below IOPL 3: #GP, or with VME on a 16-bit frame VIF takes
 * IF's place. SDM vol. 3, 20.3.3. */
static void iret_v86(struct x86_cpu *c, unsigned opsize)
{
	struct x86_stack s;
	uint64_t rip, flags;
	uint16_t sel;

	if (x86_iopl(c) == 3) {
		iret_real(c, opsize);
		return;
	}
	if (opsize != 2 || !(c->cr4 & X86_CR4_VME))
		x86_raise_gp0(c);
	x86_stack_current(c, &s);
	rip = x86_stack_peek(c, &s, 0, 2);
	sel = x86_stack_peek(c, &s, 1, 2);
	flags = x86_stack_peek(c, &s, 2, 2);
	if (((flags & X86_FL_IF) && (c->rflags & X86_FL_VIP)) || (flags & X86_FL_TF))
		x86_raise_gp0(c);
	plain_limit(c, rip);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp + 6, s.mask);
	c->rip = rip;
	if (flags & X86_FL_IF)
		flags |= X86_FL_VIF;
	assign_flags(c, flags, FL_USER | X86_FL_VIF);
	x86_load_seg_real(c, X86_CS, sel);
	nmi_unblock(c);
}

/* NT: back to the task that the TSS's link names. */
static void iret_task(struct x86_cpu *c)
{
	uint16_t link = x86_sys_ld(c, x86_lin_wrap(c, c->tr.base), 2);
	struct x86_desc tss;

	x86_task_check(c, link, &tss, true, X86_EXC_TS);
	nmi_unblock(c);
	x86_task_switch(c, link, &tss, X86_TASK_IRET, false, 0);
}

/* Into virtual-8086 mode: the frame goes on with ESP SS ES DS FS GS. */
static void iret_to_v86(struct x86_cpu *c, const struct x86_stack *s, uint64_t flags)
{
	static const uint8_t order[] = { X86_SS, X86_ES, X86_DS, X86_FS, X86_GS };
	const uint64_t mask = FL_USER | X86_FL_RF | X86_FL_AC | X86_FL_ID | X86_FL_IF | X86_FL_IOPL |
			      X86_FL_VM | X86_FL_VIF | X86_FL_VIP;
	uint32_t rip = x86_stack_peek(c, s, 0, 4), sp = x86_stack_peek(c, s, 3, 4);
	uint16_t cs = x86_stack_peek(c, s, 1, 4), sel[array_size(order)];

	for (unsigned n = 0; n < array_size(order); n++)
		sel[n] = x86_stack_peek(c, s, 4 + n, 4);
	if (rip > 0xffff)
		x86_raise_gp0(c);
	for (unsigned n = 0; n < array_size(order); n++)
		c->seg[order[n]] = x86_seg_v86(sel[n]);
	c->seg[X86_CS] = x86_seg_v86(cs);
	c->gpr[X86_RSP] = sp;
	c->rip = rip;
	c->cpl = 3;
	assign_flags(c, flags, mask);
	x86_update_mode(c);
	nmi_unblock(c);
}

static void iret_protected(struct x86_cpu *c, unsigned opsize)
{
	struct x86_stack s;
	struct x86_seg cs, ss;
	uint64_t rip, flags, sp, mask, sp_mask;
	bool with_stack;
	unsigned rpl;

	x86_stack_current(c, &s);
	rip = x86_stack_peek(c, &s, 0, opsize);
	flags = x86_stack_peek(c, &s, 2, opsize);
	if (!x86_long(c) && opsize == 4 && (flags & X86_FL_VM) && c->cpl == 0) {
		iret_to_v86(c, &s, flags);
		return;
	}
	cs = return_code(c, (uint16_t)x86_stack_peek(c, &s, 1, opsize), rip);
	rpl = cs.sel & 3;
	/* From 64-bit code SS:RSP always comes along. */
	with_stack = rpl != c->cpl || c->code64;
	ss = c->seg[X86_SS];
	sp = s.sp + 3 * opsize;
	sp_mask = s.mask;
	if (with_stack) {
		sp = x86_stack_peek(c, &s, 3, opsize);
		ss = return_stack(c, (uint16_t)x86_stack_peek(c, &s, 4, opsize), rpl,
				  x86_is_code64(c, &cs));
		sp_mask = x86_is_code64(c, &cs) ? ~0ull : ss.attr & X86_SEG_DB ? 0xffffffffu : 0xffff;
	}
	mask = iret_mask(c, opsize);
	c->seg[X86_SS] = ss;
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], sp, sp_mask);
	assign_flags(c, flags, mask);
	if (rpl != c->cpl) {
		c->cpl = rpl;
		x86_drop_inner_segs(c, rpl);
	}
	x86_set_cs(c, &cs, rpl, rip);
	nmi_unblock(c);
}

void x86_iret(struct x86_cpu *c, unsigned opsize)
{
	if (!x86_protected(c)) {
		iret_real(c, opsize);
	} else if (x86_v86(c)) {
		iret_v86(c, opsize);
	} else if (c->rflags & X86_FL_NT) {
		if (x86_long(c))
			x86_raise_gp0(c);
		iret_task(c);
	} else {
		iret_protected(c, opsize);
	}
}
