/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Task switches through 16- and 32-bit TSSs. SDM vol. 3, 7.3.
 *
 * Everything that can be checked or faulted in beforehand is; after the commit
 * point the new task's selectors and descriptors are loaded, and their faults
 * are the new task's: start_rip is its EIP by then.
 */
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/sys.h"

/* Offsets of the two layouts, SDM vol. 3, figures 7-2 and 7-10. */
struct tss_layout {
	uint8_t size;	   /* of a register, bytes */
	uint16_t min_limit;
	uint8_t ip, flags, gpr, seg, nsegs, ldt;
	uint8_t seg_stride;
};

static const struct tss_layout tss16 = {
	.size = 2, .min_limit = 0x2b, .ip = 0x0e, .flags = 0x10, .gpr = 0x12, .seg = 0x22,
	.nsegs = 4, .ldt = 0x2a, .seg_stride = 2,
};
static const struct tss_layout tss32 = {
	.size = 4, .min_limit = 0x67, .ip = 0x20, .flags = 0x24, .gpr = 0x28, .seg = 0x48,
	.nsegs = 6, .ldt = 0x60, .seg_stride = 4,
};
#define TSS32_CR3 0x1c
#define TSS32_TRAP 0x64

/* What a TSS gives. */
struct task {
	uint32_t cr3, rip, flags, gpr[8];
	uint16_t seg[X86_NSEGS], ldt;
	bool trap;
};

static const struct tss_layout *layout(unsigned type)
{
	return type & 8 ? &tss32 : &tss16;
}

static uint64_t at(const struct x86_cpu *c, uint64_t base, unsigned off)
{
	return x86_lin_wrap(c, base + off);
}

void x86_tss_stack(struct x86_cpu *c, unsigned dpl, uint16_t *ss, uint32_t *sp)
{
	bool is32 = c->tr.attr & 8;
	unsigned off = is32 ? dpl * 8 + 4 : dpl * 4 + 2;

	if (off + (is32 ? 5 : 3) > c->tr.limit)
		x86_raise_err(c, X86_EXC_TS, x86_sel_err(c->tr.sel));
	*sp = x86_sys_ld(c, at(c, c->tr.base, off), is32 ? 4 : 2);
	*ss = x86_sys_ld(c, at(c, c->tr.base, off + (is32 ? 4 : 2)), 2);
}

uint64_t x86_tss_rsp(struct x86_cpu *c, unsigned slot)
{
	/* IST1 follows a reserved quadword after RSP2. */
	unsigned off = slot < 3 ? 4 + slot * 8 : 36 + (slot - 3) * 8;
	uint64_t rsp;

	if (off + 7 > c->tr.limit)
		x86_raise_err(c, X86_EXC_TS, x86_sel_err(c->tr.sel));
	rsp = x86_sys_ld(c, c->tr.base + off, 8);
	if (!x86_canonical(rsp))
		x86_raise_err(c, X86_EXC_SS, 0);
	return rsp;
}

void x86_task_check(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, bool want_busy,
		    unsigned vec)
{
	unsigned type;

	if (x86_sel_null(sel) || (sel & 4) || !x86_desc_read(c, sel, d))
		x86_raise_err(c, vec, x86_sel_err(sel));
	type = x86_desc_type(d);
	if (!x86_desc_system(d) || (type & ~(8u | X86_SYS_BUSY)) != X86_SYS_TSS16 ||
	    !!(type & X86_SYS_BUSY) != want_busy)
		x86_raise_err(c, vec, x86_sel_err(sel));
	if (!x86_desc_present(d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
}

/* Probes what the switch will read and write, so that nothing faults half way. */
static void probe_tss(struct x86_cpu *c, uint64_t base, const struct tss_layout *l, bool write)
{
	x86_probe(c, X86_TLB_KERNEL, x86_lin_wrap(c, base), l->min_limit + 1u, X86_ACC_R);
	if (write)
		x86_probe(c, X86_TLB_KERNEL, x86_lin_wrap(c, base), l->min_limit + 1u, X86_ACC_W);
}

static void save_task(struct x86_cpu *c, uint64_t flags)
{
	static const uint8_t order[] = { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS };
	const struct tss_layout *l = layout(c->tr.attr & 0xf);
	uint64_t base = c->tr.base;

	x86_sys_st(c, at(c, base, l->ip), c->rip, l->size);
	x86_sys_st(c, at(c, base, l->flags), flags, l->size);
	for (unsigned n = 0; n < 8; n++)
		x86_sys_st(c, at(c, base, l->gpr + n * l->size), c->gpr[n], l->size);
	for (unsigned n = 0; n < l->nsegs; n++)
		x86_sys_st(c, at(c, base, l->seg + n * l->seg_stride), c->seg[order[n]].sel, 2);
}

static void read_task(struct x86_cpu *c, uint64_t base, const struct tss_layout *l, struct task *t)
{
	static const uint8_t order[] = { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS };

	*t = (struct task){ 0 };
	t->rip = x86_sys_ld(c, at(c, base, l->ip), l->size);
	t->flags = x86_sys_ld(c, at(c, base, l->flags), l->size);
	for (unsigned n = 0; n < 8; n++)
		t->gpr[n] = x86_sys_ld(c, at(c, base, l->gpr + n * l->size), l->size) |
			    (l->size == 2 ? 0xffff0000u : 0);
	for (unsigned n = 0; n < l->nsegs; n++)
		t->seg[order[n]] = x86_sys_ld(c, at(c, base, l->seg + n * l->seg_stride), 2);
	t->ldt = x86_sys_ld(c, at(c, base, l->ldt), 2);
	if (l == &tss32) {
		t->cr3 = x86_sys_ld(c, at(c, base, TSS32_CR3), 4);
		t->trap = x86_sys_ld(c, at(c, base, TSS32_TRAP), 1) & 1;
	}
}

static void set_busy(struct x86_cpu *c, uint64_t desc_lin, bool busy)
{
	uint8_t b = x86_sys_ld(c, desc_lin + 5, 1);

	b = busy ? b | X86_SYS_BUSY : b & ~X86_SYS_BUSY;
	x86_sys_st(c, desc_lin + 5, b, 1);
}

/* After the commit point: LDT, then the segments. */
static void load_ldt(struct x86_cpu *c, uint16_t sel)
{
	struct x86_desc d;

	c->ldtr = (struct x86_seg){ .sel = sel, .attr = X86_SEG_NULL };
	if (x86_sel_null(sel))
		return;
	if ((sel & 4) || !x86_desc_read(c, sel, &d) || !x86_desc_system(&d) ||
	    x86_desc_type(&d) != X86_SYS_LDT || !x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_TS, x86_sel_err(sel));
	c->ldtr = x86_desc_seg(sel, d.raw);
}

static struct x86_seg task_code(struct x86_cpu *c, uint16_t sel)
{
	struct x86_desc d;
	unsigned rpl = sel & 3;

	if (x86_sel_null(sel) || !x86_desc_read(c, sel, &d) || !x86_desc_code(&d) ||
	    (x86_desc_conforming(&d) ? x86_desc_dpl(&d) > rpl : x86_desc_dpl(&d) != rpl))
		x86_raise_err(c, X86_EXC_TS, x86_sel_err(sel));
	if (!x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
	x86_desc_accessed(c, &d);
	return x86_desc_seg(sel, d.raw);
}

static struct x86_seg task_data(struct x86_cpu *c, uint16_t sel, unsigned cpl)
{
	struct x86_desc d;

	if (x86_sel_null(sel))
		return (struct x86_seg){ .sel = sel, .attr = X86_SEG_NULL };
	if (!x86_desc_read(c, sel, &d) || x86_desc_system(&d) ||
	    (x86_desc_code(&d) && !(x86_desc_type(&d) & X86_SEG_RW)) ||
	    (!(x86_desc_code(&d) && x86_desc_conforming(&d)) &&
	     ((sel & 3u) > x86_desc_dpl(&d) || cpl > x86_desc_dpl(&d))))
		x86_raise_err(c, X86_EXC_TS, x86_sel_err(sel));
	if (!x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
	x86_desc_accessed(c, &d);
	return x86_desc_seg(sel, d.raw);
}

static void load_segments(struct x86_cpu *c, const struct task *t)
{
	static const uint8_t data[] = { X86_ES, X86_DS, X86_FS, X86_GS };
	struct x86_seg cs;

	if (x86_v86(c)) {
		for (unsigned n = 0; n < X86_NSEGS; n++)
			c->seg[n] = x86_seg_v86(t->seg[n]);
		c->cpl = 3;
		x86_update_mode(c);
		load_ldt(c, t->ldt);
		return;
	}
	/* Until each is loaded, accesses through it fault. */
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = (struct x86_seg){ .sel = t->seg[n], .attr = X86_SEG_NULL };
	c->cpl = t->seg[X86_CS] & 3;
	x86_update_mode(c);
	load_ldt(c, t->ldt);
	cs = task_code(c, t->seg[X86_CS]);
	c->seg[X86_CS] = cs;
	c->seg[X86_SS] = x86_check_ss(c, t->seg[X86_SS], c->cpl, X86_EXC_TS);
	x86_update_mode(c);
	for (size_t n = 0; n < array_size(data); n++)
		c->seg[data[n]] = task_data(c, t->seg[data[n]], c->cpl);
	x86_update_mode(c);
	if (t->rip > cs.limit)
		x86_raise_gp0(c);
}

static void push_error(struct x86_cpu *c, uint32_t error, unsigned size)
{
	struct x86_stack s;

	x86_stack_current(c, &s);
	x86_stack_probe(c, &s, 1, size);
	x86_stack_push(c, &s, error, size);
	c->gpr[X86_RSP] = x86_stack_merge(c->gpr[X86_RSP], s.sp, s.mask);
}

/* The part that cannot fault any more: registers, CR3, TR, debug state. */
static void commit(struct x86_cpu *c, const struct task *t, const struct x86_seg *tr, uint16_t link,
		   enum x86_task_why why, const struct tss_layout *l)
{
	uint32_t flags = t->flags | X86_FL_FIXED;

	if (why == X86_TASK_CALL) {
		x86_sys_st(c, x86_lin_wrap(c, tr->base), link, 2);
		flags |= X86_FL_NT;
	}
	if (l == &tss16) /* no upper half */
		flags &= 0xffff;
	c->tr = *tr;
	c->tr.attr |= X86_SYS_BUSY;
	c->cr0 |= X86_CR0_TS;
	if (l == &tss32 && (c->cr0 & X86_CR0_PG))
		x86_task_cr3(c, t->cr3);
	for (unsigned n = 0; n < 8; n++)
		c->gpr[n] = t->gpr[n];
	c->rip = c->start_rip = t->rip;
	c->cpl = flags & X86_FL_VM ? 3 : t->seg[X86_CS] & 3;
	c->rflags &= ~X86_FL_IF; /* so that set_flags sees IF come on */
	x86_set_flags(c, flags & 0x3f7fd7u);
	if (c->dr[7] & X86_DR7_LOCAL) {
		c->dr[7] &= ~X86_DR7_LOCAL;
		x86_tlb_flush_all(c);
	}
	c->db_pending = t->trap ? X86_DR6_BT : 0;
	c->int_shadow = 0;
	x86_update_mode(c);
}

void x86_task_switch(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, enum x86_task_why why,
		     bool has_error, uint32_t error)
{
	const struct tss_layout *l = layout(x86_desc_type(d)), *old = layout(c->tr.attr & 0xf);
	struct x86_seg tr = x86_desc_seg(sel, d->raw);
	uint16_t old_sel = c->tr.sel;
	uint64_t flags = c->rflags;
	struct x86_desc old_desc;
	struct task t;

	if (tr.limit < l->min_limit || c->tr.limit < old->min_limit)
		x86_raise_err(c, X86_EXC_TS, x86_sel_err(sel));
	if (!x86_desc_read(c, old_sel, &old_desc))
		x86_raise_err(c, X86_EXC_TS, x86_sel_err(old_sel));
	probe_tss(c, c->tr.base, old, true);
	probe_tss(c, tr.base, l, why == X86_TASK_CALL);
	x86_probe(c, X86_TLB_KERNEL, d->lin + 5, 1, X86_ACC_W);
	x86_probe(c, X86_TLB_KERNEL, old_desc.lin + 5, 1, X86_ACC_W);

	if (why != X86_TASK_CALL)
		set_busy(c, old_desc.lin, false);
	if (why == X86_TASK_IRET)
		flags &= ~X86_FL_NT;
	save_task(c, flags);
	/* After the old state is saved: a task may switch to itself by IRET. */
	read_task(c, tr.base, l, &t);
	if (why != X86_TASK_IRET)
		set_busy(c, d->lin, true);
	commit(c, &t, &tr, old_sel, why, l);
	load_segments(c, &t);
	if (has_error)
		push_error(c, error, l->size);
}
