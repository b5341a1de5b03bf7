/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors, segment registers and what is derived from them; addresses
 * outside 64-bit mode. SDM vol. 3, chapters 3 and 5.
 */
#include "src/cpu/x86/sys.h"

#define ATTR_DATA_RW 0x93u /* present, writable data, accessed */
#define ATTR_CODE_RX 0x9bu
#define ATTR_DPL3 0x60u

bool x86_desc_read(struct x86_cpu *c, uint16_t sel, struct x86_desc *d)
{
	uint64_t base = c->gdtr.base;
	uint32_t limit = c->gdtr.limit;

	if (sel & 4) {
		if (c->ldtr.attr & X86_SEG_NULL)
			return false;
		base = c->ldtr.base;
		limit = c->ldtr.limit;
	}
	if ((sel | 7u) > limit)
		return false;
	d->lin = x86_lin_wrap(c, base + (sel & ~7u));
	d->raw = x86_sys_ld(c, d->lin, 8);
	return true;
}

uint64_t x86_desc_upper(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
	uint32_t limit = sel & 4 ? c->ldtr.limit : c->gdtr.limit;
	uint64_t v;

	if ((sel | 7u) + 8 > limit)
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	v = x86_sys_ld(c, d->lin + 8, 8);
	if (v >> 40 & 0x1f)
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	return v;
}

struct x86_seg x86_desc_seg(uint16_t sel, uint64_t raw)
{
	struct x86_seg s = { .sel = sel };
	uint32_t limit = (raw & 0xffff) | (raw >> 32 & 0xf0000);

	s.attr = (raw >> 40 & 0xff) | (raw >> 44 & 0xf00);
	s.limit = s.attr & X86_SEG_G ? limit << 12 | 0xfff : limit;
	s.base = (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000u);
	return s;
}

void x86_desc_accessed(struct x86_cpu *c, struct x86_desc *d)
{
	const uint64_t bit = (uint64_t)X86_SEG_ACCESSED << 40;

	if (d->raw & bit)
		return;
	d->raw |= bit;
	x86_sys_st(c, d->lin + 5, d->raw >> 40 & 0xff, 1);
}

void x86_check_code(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
	unsigned dpl = x86_desc_dpl(d);

	if (!x86_desc_code(d) ||
	    (x86_desc_conforming(d) ? dpl > c->cpl : (sel & 3u) > c->cpl || dpl != c->cpl) ||
	    (x86_long(c) && x86_desc_l(d) && x86_desc_db(d)))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_present(d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
}

/* Of an offset of 64 bits to other than 64-bit code Intel's processors take 32. */
static uint64_t code_offset(const struct x86_cpu *c, const struct x86_seg *cs, uint64_t rip)
{
	return c->amd || x86_is_code64(c, cs) ? rip : (uint32_t)rip;
}

void x86_check_rip(struct x86_cpu *c, const struct x86_seg *cs, uint64_t rip)
{
	if (x86_is_code64(c, cs) ? !x86_canonical(rip) : code_offset(c, cs, rip) > cs->limit)
		x86_raise_gp0(c);
}

void x86_set_cs(struct x86_cpu *c, const struct x86_seg *cs, unsigned cpl, uint64_t rip)
{
	c->seg[X86_CS] = *cs;
	c->cpl = cpl;
	c->rip = code_offset(c, cs, rip);
	x86_update_mode(c);
}

struct x86_seg x86_check_ss(struct x86_cpu *c, uint16_t sel, unsigned cpl, unsigned vec)
{
	struct x86_desc d;

	if (x86_sel_null(sel))
		x86_raise_err(c, vec, 0);
	if (!x86_desc_read(c, sel, &d) || (sel & 3u) != cpl || x86_desc_system(&d) ||
	    x86_desc_code(&d) || !(x86_desc_type(&d) & X86_SEG_RW) || x86_desc_dpl(&d) != cpl)
		x86_raise_err(c, vec, x86_sel_err(sel));
	if (!x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_SS, x86_sel_err(sel));
	x86_desc_accessed(c, &d);
	return x86_desc_seg(sel, d.raw);
}

struct x86_seg x86_seg_v86(uint16_t sel)
{
	return (struct x86_seg){ .sel = sel, .attr = ATTR_DATA_RW | ATTR_DPL3, .limit = 0xffff,
				 .base = (uint64_t)sel << 4 };
}

struct x86_seg x86_flat_code(uint16_t sel, unsigned dpl, bool m64)
{
	return (struct x86_seg){ .sel = sel, .limit = 0xffffffffu,
				 .attr = (uint16_t)(ATTR_CODE_RX | dpl << 5 | X86_SEG_G |
						    (m64 ? X86_SEG_L : X86_SEG_DB)) };
}

struct x86_seg x86_flat_stack(uint16_t sel, unsigned dpl)
{
	return (struct x86_seg){ .sel = sel, .limit = 0xffffffffu,
				 .attr = (uint16_t)(ATTR_DATA_RW | dpl << 5 | X86_SEG_G |
						    X86_SEG_DB) };
}

void x86_drop_inner_segs(struct x86_cpu *c, unsigned cpl)
{
	static const uint8_t data[] = { X86_ES, X86_DS, X86_FS, X86_GS };

	for (size_t n = 0; n < array_size(data); n++) {
		struct x86_seg *s = &c->seg[data[n]];
		bool conforming = (s->attr & (X86_SEG_CODE | X86_SEG_CONFORMING)) ==
				  (X86_SEG_CODE | X86_SEG_CONFORMING);

		if (!(s->attr & X86_SEG_NULL) && !conforming && X86_SEG_DPL(s->attr) < cpl)
			*s = (struct x86_seg){ .attr = X86_SEG_NULL };
	}
}

/*
 * Loads.
 */
void x86_load_seg_real(struct x86_cpu *c, unsigned seg, uint16_t sel)
{
	struct x86_seg *s = &c->seg[seg];

	if (x86_v86(c)) {
		*s = x86_seg_v86(sel);
	} else {
		/* Real mode changes only the base: limits set up in protected mode
		 * stay ("big real mode"). Code becomes 16-bit. */
		if (seg == X86_CS || (s->attr & X86_SEG_NULL)) {
			s->attr = seg == X86_CS ? ATTR_CODE_RX : ATTR_DATA_RW;
			s->limit = 0xffff;
		}
		s->sel = sel;
		s->base = (uint64_t)sel << 4;
	}
	x86_update_mode(c);
}

/* A null selector in a data segment register; in SS only 64-bit kernels may. */
static void load_null(struct x86_cpu *c, unsigned seg, uint16_t sel)
{
	uint16_t attr = X86_SEG_NULL;

	if (seg == X86_SS) {
		if (!c->code64 || c->cpl == 3 || (sel & 3u) != c->cpl)
			x86_raise_gp0(c);
		attr |= (uint16_t)(c->cpl << 5);
	}
	c->seg[seg] = (struct x86_seg){ .sel = sel, .attr = attr };
	x86_update_mode(c);
}

void x86_load_seg(struct x86_cpu *c, unsigned seg, uint16_t sel)
{
	struct x86_desc d;
	unsigned rpl = sel & 3;

	if (!x86_protected(c) || x86_v86(c)) {
		x86_load_seg_real(c, seg, sel);
		return;
	}
	if (x86_sel_null(sel)) {
		load_null(c, seg, sel);
		return;
	}
	if (seg == X86_SS) {
		c->seg[X86_SS] = x86_check_ss(c, sel, c->cpl, X86_EXC_GP);
		x86_update_mode(c);
		return;
	}
	if (!x86_desc_read(c, sel, &d) || x86_desc_system(&d) ||
	    (x86_desc_code(&d) && !(x86_desc_type(&d) & X86_SEG_RW)) ||
	    (!(x86_desc_code(&d) && x86_desc_conforming(&d)) &&
	     (rpl > x86_desc_dpl(&d) || c->cpl > x86_desc_dpl(&d))))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_present(&d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
	x86_desc_accessed(c, &d);
	c->seg[seg] = x86_desc_seg(sel, d.raw);
	x86_update_mode(c);
}

/*
 * What hangs from segments and control registers.
 */
static uint8_t flat_segments(const struct x86_cpu *c)
{
	uint8_t flat = 0;

	for (unsigned n = 0; n < X86_NSEGS; n++) {
		const struct x86_seg *s = &c->seg[n];
		unsigned want = X86_SEG_P | X86_SEG_S | X86_SEG_RW;
		unsigned mask = want | X86_SEG_CODE | X86_SEG_EXPAND_DOWN | X86_SEG_NULL;

		if (s->base == 0 && s->limit == 0xffffffffu && (s->attr & mask) == want)
			flat |= (uint8_t)(1u << n);
	}
	return flat;
}

void x86_update_mode(struct x86_cpu *c)
{
	uint16_t cs = c->seg[X86_CS].attr;

	c->code64 = x86_long(c) && (cs & X86_SEG_L);
	if (c->code64)
		c->mode = X86_MODE_64;
	else if (x86_v86(c))
		c->mode = X86_MODE_16 | X86_MODE_REAL;
	else
		c->mode = (uint8_t)((cs & X86_SEG_DB ? X86_MODE_32 : X86_MODE_16) |
				    (x86_protected(c) ? 0 : X86_MODE_REAL));
	c->stack32 = c->seg[X86_SS].attr & X86_SEG_DB;
	c->seg_flat = flat_segments(c);
	if (c->cpl == 3)
		c->tlb_class = c->cr0 & X86_CR0_AM && c->rflags & X86_FL_AC ? X86_TLB_USER_AC
									     : X86_TLB_USER;
	else if (!(c->cr4 & X86_CR4_SMAP) || (c->rflags & X86_FL_AC))
		c->tlb_class = X86_TLB_KERNEL_AC;
	else
		c->tlb_class = X86_TLB_KERNEL;
	c->tlb = c->tlbs[c->tlb_class];
	c->stop_block = true;
}

void x86_set_flags(struct x86_cpu *c, uint64_t v)
{
	uint64_t changed = (c->rflags ^ v);

	c->rflags = v | X86_FL_FIXED;
	if (changed & v & X86_FL_IF && c->intr_waits)
		c->recheck = true;
	if (changed & (X86_FL_AC | X86_FL_VM))
		x86_update_mode(c);
}

/*
 * Addresses.
 */
static bool type_allows(const struct x86_cpu *c, const struct x86_seg *s, enum x86_access acc)
{
	if (!x86_protected(c) || x86_v86(c))
		return true;
	if (s->attr & X86_SEG_NULL)
		return false;
	if (acc == X86_ACC_W)
		return (s->attr & (X86_SEG_CODE | X86_SEG_RW)) == X86_SEG_RW;
	return acc == X86_ACC_X || (s->attr & (X86_SEG_CODE | X86_SEG_RW)) != X86_SEG_CODE;
}

static bool limit_allows(const struct x86_seg *s, uint64_t ea, unsigned size)
{
	uint64_t last = ea + size - 1;

	if ((s->attr & (X86_SEG_CODE | X86_SEG_EXPAND_DOWN)) == X86_SEG_EXPAND_DOWN)
		return ea > s->limit && last <= (s->attr & X86_SEG_DB ? 0xffffffffu : 0xffffu);
	return last <= s->limit;
}

uint64_t x86_lin_slow(struct x86_cpu *c, unsigned seg, uint64_t ea, unsigned size,
		      enum x86_access acc)
{
	const struct x86_seg *s = &c->seg[seg];

	if (!type_allows(c, s, acc) || !limit_allows(s, (uint32_t)ea, size))
		x86_raise_err(c, seg == X86_SS ? X86_EXC_SS : X86_EXC_GP, 0);
	return (uint32_t)(s->base + ea);
}

bool x86_lin_allowed(const struct x86_cpu *c, unsigned seg, uint32_t ea, unsigned size,
		     enum x86_access acc)
{
	const struct x86_seg *s = &c->seg[seg];

	return type_allows(c, s, acc) && limit_allows(s, ea, size);
}

void x86_raise_noncanonical(struct x86_cpu *c, unsigned seg)
{
	x86_raise_err(c, seg == X86_SS ? X86_EXC_SS : X86_EXC_GP, 0);
}

/*
 * Stacks.
 */
void x86_stack_at(struct x86_stack *s, const struct x86_seg *ss, uint64_t sp, unsigned cpl,
		  bool m64)
{
	s->ss = *ss;
	s->sp = sp;
	s->mask = m64 ? ~0ull : ss->attr & X86_SEG_DB ? 0xffffffffu : 0xffff;
	s->cls = cpl == 3 ? X86_TLB_USER : X86_TLB_KERNEL;
	s->error = 0;
}

void x86_stack_current(const struct x86_cpu *c, struct x86_stack *s)
{
	x86_stack_at(s, &c->seg[X86_SS], c->gpr[X86_RSP], c->cpl, c->code64);
	s->cls = c->tlb_class;
}

static uint64_t stack_lin(struct x86_cpu *c, const struct x86_stack *s, uint64_t ea, unsigned size)
{
	if (s->mask == ~0ull) {
		if (!x86_canonical(ea) || !x86_canonical(ea + size - 1))
			x86_raise_err(c, X86_EXC_SS, s->error);
		return ea;
	}
	if (!limit_allows(&s->ss, ea, size))
		x86_raise_err(c, X86_EXC_SS, s->error);
	return x86_lin_wrap(c, s->ss.base + ea);
}

void x86_stack_probe(struct x86_cpu *c, const struct x86_stack *s, unsigned n, unsigned size)
{
	uint64_t sp = s->sp;

	/* In one page the first push speaks for all. */
	if (s->mask == ~0ull && (sp & 0xfff) >= n * size)
		n = 1;
	for (unsigned k = 1; k <= n; k++)
		x86_probe(c, s->cls, stack_lin(c, s, (sp - k * size) & s->mask, size), size,
			  X86_ACC_W);
}

/* Current-stack accesses inside a class go to linear memory by size. */
void x86_stack_push(struct x86_cpu *c, struct x86_stack *s, uint64_t v, unsigned size)
{
	uint64_t ea = (s->sp - size) & s->mask;

	x86_store_slow(c, s->cls, stack_lin(c, s, ea, size), v, size);
	s->sp = ea;
}

uint64_t x86_stack_peek(struct x86_cpu *c, const struct x86_stack *s, unsigned n, unsigned size)
{
	return x86_load_slow(c, s->cls, stack_lin(c, s, (s->sp + n * size) & s->mask, size), size);
}
