/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptor tables, their registers, and questions about selectors. */
#include "src/cpu/x86/op_priv.h"
#include "src/cpu/x86/sys.h"

static void need_cpl0(struct x86_cpu *c)
{
	if (c->cpl != 0)
		x86_raise_gp0(c);
}

static void umip(struct x86_cpu *c)
{
	if ((c->cr4 & X86_CR4_UMIP) && c->cpl != 0)
		x86_raise_gp0(c);
}

/* LGDT and the like: a limit, then a base of 64 bits in 64-bit mode, else 32 (24
 * with a 16-bit operand size). */
static void load_table(struct x86_cpu *c, const struct x86_insn *i, struct x86_dtable *t)
{
	unsigned bytes = c->code64 ? 10 : 6;
	uint8_t buf[10] = { 0 };
	uint64_t base;

	need_cpl0(c);
	x86_load_buf(c, c->tlb_class, op_lin(c, i, bytes, X86_ACC_R), buf, bytes);
	base = ld_le64(buf + 2);
	if (!x86_canonical(base))
		x86_raise_gp0(c);
	if (i->opsize == 2)
		base &= 0xffffff;
	*t = (struct x86_dtable){ .base = base, .limit = ld_le16(buf) };
}

static void store_table(struct x86_cpu *c, const struct x86_insn *i, const struct x86_dtable *t)
{
	unsigned bytes = c->code64 ? 10 : 6;
	uint8_t buf[10];

	umip(c);
	st_le16(buf, t->limit);
	st_le64(buf + 2, t->base);
	x86_store_buf(c, c->tlb_class, op_lin(c, i, bytes, X86_ACC_W), buf, bytes);
}

void op_lgdt(struct x86_cpu *c, const struct x86_insn *i) { load_table(c, i, &c->gdtr); }
void op_lidt(struct x86_cpu *c, const struct x86_insn *i) { load_table(c, i, &c->idtr); }
void op_sgdt(struct x86_cpu *c, const struct x86_insn *i) { store_table(c, i, &c->gdtr); }
void op_sidt(struct x86_cpu *c, const struct x86_insn *i) { store_table(c, i, &c->idtr); }

void op_sldt_r(struct x86_cpu *c, const struct x86_insn *i)
{
	umip(c);
	x86_set(c, i->rm, c->ldtr.sel, i->opsize);
}

void op_sldt_m(struct x86_cpu *c, const struct x86_insn *i)
{
	umip(c);
	x86_st16(c, i->seg, x86_ea(c, i), c->ldtr.sel);
}

void op_str_r(struct x86_cpu *c, const struct x86_insn *i)
{
	umip(c);
	x86_set(c, i->rm, c->tr.sel, i->opsize);
}

void op_str_m(struct x86_cpu *c, const struct x86_insn *i)
{
	umip(c);
	x86_st16(c, i->seg, x86_ea(c, i), c->tr.sel);
}

/* A system segment of the GDT with one of two types, as a register's content. */
static struct x86_seg system_segment(struct x86_cpu *c, uint16_t sel, unsigned type, unsigned alt,
				     struct x86_desc *d)
{
	struct x86_seg s;

	if ((sel & 4) || !x86_desc_read(c, sel, d) || !x86_desc_system(d) ||
	    (x86_desc_type(d) != type && x86_desc_type(d) != alt))
		x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	if (!x86_desc_present(d))
		x86_raise_err(c, X86_EXC_NP, x86_sel_err(sel));
	s = x86_desc_seg(sel, d->raw);
	if (x86_long(c)) {
		s.base |= x86_desc_upper(c, sel, d) << 32;
		if (!x86_canonical(s.base))
			x86_raise_err(c, X86_EXC_GP, x86_sel_err(sel));
	}
	return s;
}

static void lldt(struct x86_cpu *c, uint16_t sel)
{
	struct x86_desc d;

	if (x86_sel_null(sel))
		c->ldtr = (struct x86_seg){ .sel = sel, .attr = X86_SEG_NULL };
	else
		c->ldtr = system_segment(c, sel, X86_SYS_LDT, X86_SYS_LDT, &d);
}

static void ltr(struct x86_cpu *c, uint16_t sel)
{
	struct x86_desc d;
	struct x86_seg s;

	if (x86_sel_null(sel))
		x86_raise_gp0(c);
	s = system_segment(c, sel, X86_SYS_TSS32, x86_long(c) ? X86_SYS_TSS32 : X86_SYS_TSS16, &d);
	s.attr |= X86_SYS_BUSY;
	x86_sys_st(c, d.lin + 5, s.attr & 0xff, 1);
	c->tr = s;
}

#define SELECTOR_OP(name, priv)                                                                   \
	void op_##name##_r(struct x86_cpu *c, const struct x86_insn *i)                           \
	{                                                                                         \
		priv;                                                                             \
		name(c, (uint16_t)c->gpr[i->rm]);                                                 \
	}                                                                                         \
	void op_##name##_m(struct x86_cpu *c, const struct x86_insn *i)                           \
	{                                                                                         \
		priv;                                                                             \
		name(c, x86_ld16(c, i->seg, x86_ea(c, i)));                                       \
	}
SELECTOR_OP(lldt, need_cpl0(c))
SELECTOR_OP(ltr, need_cpl0(c))

/*
 * VERR VERW LAR LSL: ZF tells, nothing faults because of the selector.
 */
static void set_zf(struct x86_cpu *c, bool on)
{
	c->rflags = on ? c->rflags | X86_FL_ZF : c->rflags & ~X86_FL_ZF;
}

/* The descriptor if @sel names one that CPL and RPL may see. */
static bool visible(struct x86_cpu *c, uint16_t sel, struct x86_desc *d)
{
	unsigned dpl;

	if (x86_sel_null(sel) || !x86_desc_read(c, sel, d))
		return false;
	dpl = x86_desc_dpl(d);
	return (x86_desc_code(d) && x86_desc_conforming(d)) || (dpl >= c->cpl && dpl >= (sel & 3u));
}

static void verr(struct x86_cpu *c, uint16_t sel)
{
	struct x86_desc d;

	set_zf(c, visible(c, sel, &d) && !x86_desc_system(&d) &&
			  (!x86_desc_code(&d) || (x86_desc_type(&d) & X86_SEG_RW)));
}

static void verw(struct x86_cpu *c, uint16_t sel)
{
	struct x86_desc d;

	set_zf(c, visible(c, sel, &d) && !x86_desc_system(&d) && !x86_desc_code(&d) &&
			  (x86_desc_type(&d) & X86_SEG_RW));
}

SELECTOR_OP(verr, (void)0)
SELECTOR_OP(verw, (void)0)

/* System types that LAR and LSL accept, as bits; SDM vol. 2, tables 3-53, 3-59. */
#define LAR_LEGACY 0x1a3eu /* TSS16 LDT busy16 call16 task TSS32 busy32 call32 */
#define LAR_LONG 0x1a04u   /* LDT, TSS, busy TSS, call gate */
#define LSL_LEGACY 0x0a0eu
#define LSL_LONG 0x0a04u

static bool answerable(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, unsigned legacy,
		       unsigned m64)
{
	return visible(c, sel, d) &&
	       (!x86_desc_system(d) || ((x86_long(c) ? m64 : legacy) >> x86_desc_type(d) & 1));
}

static void lar(struct x86_cpu *c, const struct x86_insn *i, uint16_t sel)
{
	struct x86_desc d;
	bool ok = answerable(c, sel, &d, LAR_LEGACY, LAR_LONG);

	set_zf(c, ok);
	if (ok)
		/* Bits 16..19 are undefined; processors show the limit's there. */
		x86_set(c, i->reg, d.raw >> 32 & 0x00ffff00, i->opsize);
}

static void lsl(struct x86_cpu *c, const struct x86_insn *i, uint16_t sel)
{
	struct x86_desc d;
	bool ok = answerable(c, sel, &d, LSL_LEGACY, LSL_LONG);

	set_zf(c, ok);
	if (ok)
		x86_set(c, i->reg, x86_desc_seg(sel, d.raw).limit, i->opsize);
}

void op_lar_r(struct x86_cpu *c, const struct x86_insn *i) { lar(c, i, (uint16_t)c->gpr[i->rm]); }
void op_lar_m(struct x86_cpu *c, const struct x86_insn *i)
{
	lar(c, i, x86_ld16(c, i->seg, x86_ea(c, i)));
}
void op_lsl_r(struct x86_cpu *c, const struct x86_insn *i) { lsl(c, i, (uint16_t)c->gpr[i->rm]); }
void op_lsl_m(struct x86_cpu *c, const struct x86_insn *i)
{
	lsl(c, i, x86_ld16(c, i->seg, x86_ea(c, i)));
}
