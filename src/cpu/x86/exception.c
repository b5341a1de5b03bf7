/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions and interrupts on their way into the guest. SDM vol. 3, chapter 6;
 * 64-bit gates 6.14; virtual-8086 20.3.
 *
 * Delivery computes, checks and probes before it changes anything, so that a
 * fault on the way (a stack page not present) leaves the interrupted state as it
 * was. The exception is a task switch, whose late faults belong to the new task.
 */
#include <setjmp.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/tape.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/sys.h"

enum kind { EV_EXCEPTION, EV_SOFT, EV_ICEBP, EV_INTR, EV_NMI };

struct event {
	enum kind kind;
	unsigned vector;
	uint32_t error;
	bool has_error;
};

static _Noreturn void raise(struct x86_cpu *c, unsigned vector, bool has_error, uint32_t error,
			    bool soft, bool ext)
{
	c->exc_vector = (int)vector;
	c->exc_has_error = has_error;
	c->exc_error = error;
	c->exc_soft = soft;
	c->exc_ext = ext;
	longjmp(c->fault_jmp, 1);
}

void x86_raise(struct x86_cpu *c, unsigned vector)
{
	raise(c, vector, false, 0, false, false);
}

void x86_raise_err(struct x86_cpu *c, unsigned vector, uint32_t err)
{
	raise(c, vector, true, err, false, false);
}

void x86_raise_pf(struct x86_cpu *c, uint64_t lin, uint32_t err)
{
	c->cr2 = lin;
	raise(c, X86_EXC_PF, true, err, false, false);
}

void x86_raise_soft(struct x86_cpu *c, unsigned vector)
{
	raise(c, vector, false, 0, true, false);
}

/* INT1: no privilege check on the gate, counts as external (SDM vol. 2, INT n). */
void x86_raise_icebp(struct x86_cpu *c)
{
	c->dr[7] &= ~X86_DR7_GD;
	raise(c, X86_EXC_DB, false, 0, true, true);
}

/* RFLAGS as the frame shows it: RF tells that a restart is meant, 18.3.1.1. */
static uint64_t flags_image(const struct x86_cpu *c, const struct event *e)
{
	bool fault = e->kind == EV_EXCEPTION && e->vector != X86_EXC_DB;

	return c->rflags | (fault ? X86_FL_RF : 0);
}

static void taken(struct x86_cpu *c, const struct event *e)
{
	c->int_shadow = 0;
	c->halted = false;
	c->db_pending = 0;
	if (e->kind == EV_NMI)
		c->nmi_blocked = true;
}

/*
 * Real mode: the interrupt vector table.
 */
static void deliver_real(struct x86_cpu *c, const struct event *e)
{
	struct x86_stack s;
	uint32_t entry;

	if (e->vector * 4 + 3 > c->idtr.limit)
		x86_raise_gp0(c);
	entry = x86_sys_ld(c, (uint32_t)(c->idtr.base + e->vector * 4), 4);
	x86_stack_current(c, &s);
	x86_stack_probe(c, &s, 3, 2);
	x86_stack_push(c, &s, flags_image(c, e), 2);
	x86_stack_push(c, &s, c->seg[X86_CS].sel, 2);
	x86_stack_push(c, &s, c->rip, 2);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp, s.mask);
	c->rflags &= ~(X86_FL_IF | X86_FL_TF | X86_FL_AC | X86_FL_RF);
	c->rip = entry & 0xffff;
	x86_load_seg_real(c, X86_CS, entry >> 16);
}

void x86_v86_redirect(struct x86_cpu *c, unsigned vector)
{
	uint32_t entry = x86_load_slow(c, X86_TLB_USER, vector * 4, 4);
	bool vif = x86_iopl(c) < 3;
	uint64_t flags = c->rflags & ~X86_FL_RF;
	struct x86_stack s;

	if (vif) /* the image shows VIF as IF, and IOPL 3 */
		flags = (flags & ~X86_FL_IF) | X86_FL_IOPL | (c->rflags & X86_FL_VIF ? X86_FL_IF : 0);
	x86_stack_current(c, &s);
	x86_stack_probe(c, &s, 3, 2);
	x86_stack_push(c, &s, flags, 2);
	x86_stack_push(c, &s, c->seg[X86_CS].sel, 2);
	x86_stack_push(c, &s, c->rip, 2);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp, s.mask);
	c->rflags &= ~(X86_FL_TF | X86_FL_NT | (vif ? X86_FL_VIF : X86_FL_IF));
	c->rip = entry & 0xffff;
	x86_load_seg_real(c, X86_CS, entry >> 16);
}

/*
 * Protected and long mode: gates.
 */
static uint32_t idt_err(const struct event *e) { return e->vector * 8 + 2; }

/* The gate, with the checks that come before its target is looked at. */
static void read_gate(struct x86_cpu *c, const struct event *e, struct x86_desc *gate,
		      uint64_t *upper)
{
	unsigned bytes = x86_long(c) ? 16 : 8, type;
	bool ok;

	if (e->vector * bytes + bytes - 1 > c->idtr.limit)
		x86_raise_err(c, X86_EXC_GP, idt_err(e));
	gate->lin = x86_lin_wrap(c, c->idtr.base + e->vector * bytes);
	gate->raw = x86_sys_ld(c, gate->lin, 8);
	*upper = bytes == 16 ? x86_sys_ld(c, gate->lin + 8, 8) : 0;
	type = x86_desc_type(gate);
	ok = type == X86_SYS_INT32 || type == X86_SYS_TRAP32;
	if (!x86_long(c))
		ok |= type == X86_SYS_TASK_GATE || type == X86_SYS_INT16 || type == X86_SYS_TRAP16;
	if (!ok || !x86_desc_system(gate) ||
	    (e->kind == EV_SOFT && x86_desc_dpl(gate) < c->cpl))
		x86_raise_err(c, X86_EXC_GP, idt_err(e));
	if (!x86_desc_present(gate))
		x86_raise_err(c, X86_EXC_NP, idt_err(e));
}

/* The handler's code segment; *cpl: the privilege level it runs at. */
static struct x86_seg read_target(struct x86_cpu *c, uint16_t sel, unsigned *cpl)
{
	struct x86_desc d;

	if (x86_sel_null(sel))
		x86_raise_gp0(c);
	if (!x86_desc_read(c, sel, &d) || !x86_desc_code(&d) || x86_desc_dpl(&d) > c->cpl ||
	    (x86_long(c) && (!x86_desc_l(&d) || x86_desc_db(&d))))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
	*cpl = x86_desc_conforming(&d) ? c->cpl : x86_desc_dpl(&d);
	if (x86_v86(c) && *cpl != 0)
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	x86_desc_accessed(c, &d);
	return x86_desc_seg((uint16_t)((sel & ~3u) | *cpl), d.raw);
}

static uint64_t handler_flags(const struct x86_cpu *c, unsigned gate_type)
{
	uint64_t f = c->rflags & ~(X86_FL_TF | X86_FL_NT | X86_FL_RF | X86_FL_VM);

	return gate_type & 1 ? f : f & ~X86_FL_IF; /* trap gates keep IF */
}

static void deliver64(struct x86_cpu *c, const struct event *e)
{
	struct x86_desc gate;
	struct x86_seg cs;
	struct x86_stack s;
	uint64_t upper, rip, flags, old_rsp = c->gpr[X86_RSP];
	unsigned cpl, ist;
	uint16_t old_ss = c->seg[X86_SS].sel;

	read_gate(c, e, &gate, &upper);
	cs = read_target(c, x86_gate_sel(&gate), &cpl);
	rip = x86_gate_offset(&gate) | upper << 32;
	ist = gate.raw >> 32 & 7;
	x86_stack_at(&s, &c->seg[X86_SS], old_rsp, cpl, true);
	if (ist)
		s.sp = x86_tss_rsp(c, 2 + ist);
	else if (cpl != c->cpl)
		s.sp = x86_tss_rsp(c, cpl);
	s.sp &= ~0xfull;
	x86_check_rip(c, &cs, rip);
	x86_stack_probe(c, &s, e->has_error ? 6 : 5, 8);

	x86_stack_push(c, &s, old_ss, 8);
	x86_stack_push(c, &s, old_rsp, 8);
	x86_stack_push(c, &s, flags_image(c, e), 8);
	x86_stack_push(c, &s, c->seg[X86_CS].sel, 8);
	x86_stack_push(c, &s, c->rip, 8);
	if (e->has_error)
		x86_stack_push(c, &s, e->error, 8);
	c->gpr[X86_RSP] = s.sp;
	flags = handler_flags(c, x86_desc_type(&gate));
	if (cpl != c->cpl)
		c->seg[X86_SS] = (struct x86_seg){
			.sel = cpl, .attr = (uint16_t)(X86_SEG_NULL | cpl << 5) };
	c->rflags = flags;
	x86_set_cs(c, &cs, cpl, rip);
}

/* Where the frame goes; on a change of privilege also the new SS. */
static void legacy_stack(struct x86_cpu *c, unsigned cpl, struct x86_stack *s)
{
	struct x86_seg ss;
	uint16_t sel;
	uint32_t sp;

	if (cpl == c->cpl) {
		x86_stack_at(s, &c->seg[X86_SS], c->gpr[X86_RSP], cpl, false);
		return;
	}
	x86_tss_stack(c, cpl, &sel, &sp);
	ss = x86_check_ss(c, sel, cpl, X86_EXC_TS);
	x86_stack_at(s, &ss, sp, cpl, false);
	s->error = x86_sel_err(sel);
}

static void push_v86_segments(struct x86_cpu *c, struct x86_stack *s, unsigned size)
{
	static const uint8_t order[] = { X86_GS, X86_FS, X86_DS, X86_ES };

	for (size_t n = 0; n < array_size(order); n++)
		x86_stack_push(c, s, c->seg[order[n]].sel, size);
}

static void deliver_legacy(struct x86_cpu *c, const struct event *e, const struct x86_desc *gate)
{
	unsigned type = x86_desc_type(gate), size = type & 8 ? 4 : 2, cpl, items;
	bool v86 = x86_v86(c), inner;
	uint64_t flags, rip = x86_gate_offset(gate), image = flags_image(c, e);
	struct x86_seg cs = read_target(c, x86_gate_sel(gate), &cpl);
	struct x86_stack s;

	if (size == 2)
		rip &= 0xffff;
	inner = cpl != c->cpl;
	legacy_stack(c, cpl, &s);
	items = 3 + (inner ? 2 : 0) + (v86 ? 4 : 0) + (e->has_error ? 1 : 0);
	x86_stack_probe(c, &s, items, size);
	x86_check_rip(c, &cs, rip);

	if (v86)
		push_v86_segments(c, &s, size);
	if (inner) {
		x86_stack_push(c, &s, c->seg[X86_SS].sel, size);
		x86_stack_push(c, &s, c->gpr[X86_RSP], size);
	}
	x86_stack_push(c, &s, image, size);
	x86_stack_push(c, &s, c->seg[X86_CS].sel, size);
	x86_stack_push(c, &s, c->rip, size);
	if (e->has_error)
		x86_stack_push(c, &s, e->error, size);
	flags = handler_flags(c, type);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp, s.mask);
	if (inner)
		c->seg[X86_SS] = s.ss;
	if (v86)
		for (unsigned n = X86_ES; n < X86_NSEGS; n++)
			if (n != X86_CS && n != X86_SS)
				c->seg[n] = (struct x86_seg){ .attr = X86_SEG_NULL };
	c->rflags = flags;
	x86_set_cs(c, &cs, cpl, rip);
}

static void deliver_task(struct x86_cpu *c, const struct event *e, const struct x86_desc *gate)
{
	uint16_t sel = x86_gate_sel(gate);
	struct x86_desc tss;

	x86_task_check(c, sel, &tss, false, X86_EXC_GP);
	/* RF is pushed set in the old task's TSS for faults. */
	c->rflags = flags_image(c, e);
	x86_task_switch(c, sel, &tss, X86_TASK_CALL, e->has_error, e->error);
}

static void deliver_one(struct x86_cpu *c, const struct event *e)
{
	struct x86_desc gate;
	uint64_t upper, trap = 0;

	if (!x86_protected(c)) {
		deliver_real(c, e);
	} else if (x86_long(c)) {
		deliver64(c, e);
	} else {
		read_gate(c, e, &gate, &upper);
		if (x86_desc_type(&gate) == X86_SYS_TASK_GATE) {
			deliver_task(c, e, &gate);
			trap = c->db_pending & X86_DR6_BT;
		} else {
			deliver_legacy(c, e, &gate);
		}
	}
	taken(c, e);
	c->db_pending = trap;
}

/*
 * Faults while delivering, SDM vol. 3, table 6-5.
 */
enum class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum class class_of(const struct event *e)
{
	if (e->kind != EV_EXCEPTION)
		return BENIGN;
	switch (e->vector) {
	case X86_EXC_DF: return DOUBLE_FAULT;
	case X86_EXC_PF: return PAGE_FAULT;
	case X86_EXC_DE: case X86_EXC_TS: case X86_EXC_NP: case X86_EXC_SS: case X86_EXC_GP:
		return CONTRIBUTORY;
	default: return BENIGN;
	}
}

/* Turns *e into what is to be delivered after the fault in c->exc_*; false: a
 * triple fault. */
static bool combine(struct x86_cpu *c, struct event *e)
{
	enum class first = class_of(e), second;
	bool external = e->kind != EV_SOFT;

	*e = (struct event){ EV_EXCEPTION, (unsigned)c->exc_vector, c->exc_error,
			     c->exc_has_error };
	second = class_of(e);
	if (first == DOUBLE_FAULT && second != BENIGN)
		return false;
	if ((first == CONTRIBUTORY && second == CONTRIBUTORY) ||
	    (first == PAGE_FAULT && (second == CONTRIBUTORY || second == PAGE_FAULT))) {
		*e = (struct event){ EV_EXCEPTION, X86_EXC_DF, 0, true };
		return true;
	}
	/* EXT: the fault came while an event outside the program was delivered. */
	if (external && e->has_error && e->vector >= X86_EXC_TS && e->vector <= X86_EXC_GP)
		e->error |= 1;
	return true;
}

/* Delivers *e and whatever faults that brings. c->rip is the return address of
 * *e, c->start_rip that of a fault in its delivery. */
static noinline void deliver(struct x86_cpu *c, struct event *e)
{
	jmp_buf outer;

	memcpy(outer, c->fault_jmp, sizeof(outer));
	c->exc_vector = -1;
	if (_setjmp(c->fault_jmp)) {
		c->rip = c->start_rip;
		if (!combine(c, e)) {
			c->exc_vector = -1;
			cpus_triple_fault(c);
			goto out;
		}
	}
	deliver_one(c, e);
	c->exc_vector = -1;
	if (c->db_pending & X86_DR6_BT) { /* the T bit of a task entered through a gate */
		c->start_rip = c->rip;
		x86_raise_db(c, X86_DR6_BT);
	}
out:
	memcpy(c->fault_jmp, outer, sizeof(outer));
	/* A masked interrupt may have become due in a new task. */
	c->stop_block = true;
}

void x86_deliver_exception(struct x86_cpu *c)
{
	struct event e = { EV_EXCEPTION, (unsigned)c->exc_vector, c->exc_error, c->exc_has_error };

	if (c->exc_vector < 0)
		return;
	if (c->exc_soft)
		e.kind = c->exc_ext ? EV_ICEBP : EV_SOFT;
	else
		c->rip = c->start_rip;
	deliver(c, &e);
}

/*
 * Events between instructions.
 */
static void deliver_interrupt(struct x86_cpu *c, enum kind kind, unsigned vector)
{
	struct event e = { kind, vector, 0, false };

	c->start_rip = c->rip;
	deliver(c, &e);
	/* Another may wait, unless IF is clear now: then IRET asks again. */
	c->recheck = true;
}

/* The follower's way: what the leader was given just now. */
static bool take_event(struct x86_cpu *c)
{
	const struct x86_tape *t = c->tape;
	bool nmi = t->next < t->count && t->entry[t->next].what == 1;
	unsigned vector = (unsigned)x86_tape_take(c, X86_TAPE_EVENT, nmi) & 0xff;

	if (t->lost)
		return false;
	deliver_interrupt(c, nmi ? EV_NMI : EV_INTR, vector);
	return true;
}

bool x86_poll_events(struct x86_cpu *c)
{
	uint32_t req;
	int vector;

	if (x86_follows(c))
		return take_event(c);

	/* Cleared first: what arrives while we look is seen next time. SMI has no
	 * handler here and is dropped. */
	req = atomic_fetch_and(&c->request, ~(X86_REQ_INTR | X86_REQ_NMI | X86_REQ_SMI));
	c->recheck = false;
	if (req & X86_REQ_NMI)
		c->nmi_pending = true;
	if (c->wait_sipi)
		return false;
	if (c->nmi_pending && !c->nmi_blocked && !(c->int_shadow & X86_SHADOW_MOVSS)) {
		c->nmi_pending = false;
		x86_tape_put(c, X86_TAPE_EVENT, 1, X86_EXC_NMI);
		deliver_interrupt(c, EV_NMI, X86_EXC_NMI);
		return true;
	}
	c->intr_waits = true;
	if (!(c->rflags & X86_FL_IF) || c->int_shadow)
		return false;
	if (!c->apic || !apic_pending(c->apic)) {
		c->intr_waits = false;
		return false;
	}
	vector = apic_ack(c->apic);
	if (vector < 0)
		return false;
	x86_tape_put(c, X86_TAPE_EVENT, 0, (unsigned)vector);
	deliver_interrupt(c, EV_INTR, (unsigned)vector);
	return true;
}

void x86_inject_exception(struct x86_cpu *c, unsigned vector, bool has_error, uint32_t error)
{
	/* INT3 and INTO trap: their return address is the next instruction's, and it is
	 * what c->rip says either way. */
	struct event e = { EV_EXCEPTION, vector & 0xff, error, has_error };

	c->start_rip = c->rip;
	deliver(c, &e);
	c->recheck = true;
}

void x86_inject_nmi(struct x86_cpu *c)
{
	deliver_interrupt(c, EV_NMI, X86_EXC_NMI);
}

void x86_inject_interrupt(struct x86_cpu *c, unsigned vector, bool soft)
{
	deliver_interrupt(c, soft ? EV_SOFT : EV_INTR, vector & 0xff);
}
