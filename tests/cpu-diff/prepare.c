// SPDX-License-Identifier: GPL-2.0-or-later
/* What stands before an instruction so that it does more than fault. */
#include <string.h>

#include "tests/cpu-diff/gen_priv.h"

static void gen_bytes(struct grow *w, const uint8_t *b, unsigned n)
{
	struct diff_insn *i = gen_append(w, -1);

	if (!i)
		return;
	memcpy(i->bytes, b, n);
	i->len = (uint8_t)n;
}

static unsigned put_mov(const struct grow *w, unsigned reg, uint64_t value, uint8_t b[10])
{
	unsigned n = 0;

	if (w->d->mode == X86_MODE_64) {
		b[n++] = 0x48 | (reg >> 3);
		b[n++] = 0xb8 | (reg & 7);
		st_le64(b + n, value);
		return n + 8;
	}
	if (w->d->mode == X86_MODE_16)
		b[n++] = 0x66;
	b[n++] = 0xb8 | (reg & 7);
	st_le32(b + n, (uint32_t)value);
	return n + 4;
}

void gen_mov(struct grow *w, unsigned reg, uint64_t value)
{
	uint8_t b[10];
	unsigned n = put_mov(w, reg, value, b);

	gen_bytes(w, b, n);
	w->now.gpr[reg] = w->d->mode == X86_MODE_64 ? value : (uint32_t)value;
}

/* mov reg, address of an instruction a little further on */
static void gen_mov_target(struct grow *w, unsigned reg, unsigned ahead)
{
	uint8_t b[10];
	unsigned n = put_mov(w, reg, 0, b);
	struct diff_insn *i;

	gen_bytes(w, b, n);
	i = &w->d->insn[w->d->n - 1];
	i->fix = DIFF_FIX_ABS;
	i->fix_size = w->d->mode == X86_MODE_64 ? 8 : 4;
	i->fix_off = (uint8_t)(n - i->fix_size);
	i->target = (uint8_t)(w->d->n + ahead);
	w->want_target = i->target;
}

static void gen_push(struct grow *w, unsigned reg)
{
	uint8_t b[2] = { 0x41, 0x50 | (reg & 7) };

	gen_bytes(w, reg < 8 ? b + 1 : b, reg < 8 ? 1 : 2);
	w->now.gpr[X86_RSP] -= w->d->mode == X86_MODE_64 ? 8 : w->d->mode == X86_MODE_32 ? 4 : 2;
}

static unsigned any_reg(struct grow *w) /* not the stack pointer */
{
	unsigned v = rng_below(w->r, w->d->mode == X86_MODE_64 ? 16 : 8);

	return v == X86_RSP ? X86_RAX : v;
}

/* A pointer as the data segment counts. */
static uint64_t data_pointer(struct grow *w)
{
	static const uint16_t at[] = { 0x1000, 0x1800, 0x2000, 0x2c00, 0x3000, 0x3f00, 0x4000,
				       0x4f80, 0x6800 };
	uint64_t off = at[rng_below(w->r, array_size(at))] + rng_below(w->r, 0x100);

	if (rng_pct(w->r, 10))
		off = 0x3000 - rng_below(w->r, 40);
	return off + (w->d->mode == X86_MODE_16 ? 0 : diff_base(w->d));
}

static bool has(const struct x86_row *row, unsigned lo, unsigned hi)
{
	for (unsigned k = 0; k < 4; k++)
		if (row->opnd[k] >= lo && row->opnd[k] <= hi)
			return true;
	return false;
}

static bool named(const struct x86_row *row, const char *name)
{
	return !strcmp(row->name, name);
}

static void prepare_string(struct grow *w, const struct x86_row *row)
{
	if (rng_pct(w->r, 75))
		gen_mov(w, X86_RSI, data_pointer(w));
	if (rng_pct(w->r, 75))
		gen_mov(w, X86_RDI, data_pointer(w));
	if ((row->attr & X86_A_REP) && rng_pct(w->r, 85))
		gen_mov(w, X86_RCX, rng_below(w->r, rng_pct(w->r, 10) ? 0x900 : 20));
}

static void prepare_divide(struct grow *w, const struct x86_row *row)
{
	if (rng_pct(w->r, 30))
		return;
	if (row->attr & X86_A_BYTE) {
		gen_mov(w, X86_RAX, rng_below(w->r, 0x200));
		return;
	}
	gen_mov(w, X86_RDX, rng_pct(w->r, 70) ? 0 : rng_pct(w->r, 50) ? ~0ull
								      : rng_below(w->r, 9));
}

static bool on_stack(const struct grow *w)
{
	uint64_t off = w->now.gpr[X86_RSP] - (w->d->mode == X86_MODE_16 ? 0 : diff_base(w->d));

	return off >= DIFF_PG_STACK * 4096 + 32 && off <= (DIFF_PG_STACK + 2) * 4096 - 32;
}

static void prepare_stack(struct grow *w)
{
	if (!on_stack(w) && rng_pct(w->r, 85))
		gen_mov(w, X86_RSP, (w->d->mode == X86_MODE_16 ? 0 : diff_base(w->d)) +
			DIFF_PG_STACK * 4096 + 0x400 + (rng_below(w->r, 0x100) << 3));
	if (rng_pct(w->r, 30))
		gen_mov(w, X86_RBP, w->now.gpr[X86_RSP] + rng_below(w->r, 8) * 8);
}

/* jmp/call through a register or through the stack; ret to somewhere ahead. */
static void prepare_indirect(struct grow *w, const struct x86_row *row, struct diff_enc *e)
{
	bool ret = named(row, "ret");
	unsigned reg = any_reg(w), ahead;

	if (rng_pct(w->r, 8))
		return;
	prepare_stack(w);
	ahead = rng_below(w->r, 3) + 1;
	if (ret || rng_pct(w->r, 50)) {
		gen_mov_target(w, reg, ahead + 1);
		gen_push(w, reg);
		e->has_target = !ret;
		e->target = w->now.gpr[X86_RSP] + diff_cs_base(w->d);
	} else {
		gen_mov_target(w, reg, ahead);
		e->force_rm = (int)reg;
	}
}

/* Host memory behind linear address @lin in the state reached; NULL: not RW. */
static const uint8_t *mem_behind(const struct grow *w, uint64_t lin)
{
	uint64_t off = lin - diff_base(w->d);

	for (unsigned k = 0; k < DIFF_NRW; k++)
		if (off >> 12 == diff_rw_pages[k] && (off & 4095) <= 4096 - 16)
			return w->g->result.mem + 4096 * k + (off & 4095);
	return NULL;
}

/* An accumulator that equals what is compared with it, every other time. */
static void prepare_cmpxchg(struct grow *w, const struct x86_row *row, struct diff_enc *e)
{
	uint64_t lin = diff_base(w->d) + DIFF_PG_RW0 * 4096 + (rng_below(w->r, 0xfe0) & ~15u);
	const uint8_t *p = mem_behind(w, lin);
	unsigned reg = any_reg(w), half = named(row, "cmpxchg16b") ? 8 : 4;

	if (rng_pct(w->r, 40))
		return;
	if (strlen(row->name) == 7 && rng_pct(w->r, 40)) {
		e->force_rm = (int)reg;
		gen_mov(w, X86_RAX, w->now.gpr[reg]);
		return;
	}
	e->has_target = true;
	e->target = lin;
	gen_mov(w, X86_RAX, half == 4 && strlen(row->name) > 7 ? ld_le32(p) : ld_le64(p));
	if (strlen(row->name) > 7)
		gen_mov(w, X86_RDX, half == 4 ? ld_le32(p + 4) : ld_le64(p + 8));
}

static uint16_t some_selector(struct grow *w)
{
	static const uint16_t sels[] = { 0, 1, 3, 0x10, 0x18, 0x23, 0x28, 0x2a, 0x2b, 0x33, 0x40,
					 0x43, 0x50, 0x63, 0x83, DIFF_LDT(0), DIFF_LDT(1),
					 DIFF_LDT(2), DIFF_LDT(3), DIFF_LDT(4), DIFF_LDT(5),
					 DIFF_LDT(6), DIFF_LDT(7), DIFF_LDT(8), 0x44,
					 DIFF_LDT(9), 0xffff, 0x2b, 0x2b, 0 };

	return sels[rng_below(w->r, array_size(sels))];
}

static unsigned other_reg(struct grow *w, unsigned reg)
{
	unsigned v = any_reg(w);

	return v == reg ? (reg == X86_RAX ? X86_RCX : X86_RAX) : v;
}

/* Far returns: the frame on the stack, in pushes of the mode's own width. */
static void prepare_far_ret(struct grow *w, const struct x86_row *row, struct diff_enc *e)
{
	unsigned reg = any_reg(w), ahead = rng_below(w->r, 3) + 1;
	bool iret = named(row, "iret");

	if (rng_pct(w->r, 15))
		return;
	prepare_stack(w);
	e->no_66 = true;
	e->force_w = w->d->mode == X86_MODE_64;
	if (iret && w->d->mode == X86_MODE_64) {
		uint64_t rsp = w->now.gpr[X86_RSP];

		gen_mov(w, reg, w->now.sel[X86_SS]);
		gen_push(w, reg);
		gen_mov(w, reg, rsp - rng_below(w->r, 8) * 8);
		gen_push(w, reg);
	}
	if (iret) {
		gen_mov(w, reg, (rng64(w->r) & (X86_FL_ARITH | X86_FL_DF | X86_FL_ID)) | 0x202);
		gen_push(w, reg);
	}
	gen_mov(w, reg, w->now.sel[X86_CS]);
	gen_push(w, reg);
	gen_mov_target(w, reg, ahead + 1);
	gen_push(w, reg);
}

/* Far jumps through memory: m16:16 or m16:32 on the stack. (m16:64 is Intel's
 * alone, so that 64-bit code does it in the low alias only.) */
static void prepare_far_mem(struct grow *w, struct diff_enc *e)
{
	unsigned reg = any_reg(w), reg2 = other_reg(w, reg);

	if (rng_pct(w->r, 20) || w->d->high)
		return;
	prepare_stack(w);
	e->no_66 = true;
	e->force_w = 0;
	gen_mov(w, reg2, w->now.sel[X86_CS]);
	if (w->d->mode != X86_MODE_64)
		gen_push(w, reg2);
	gen_mov_target(w, reg, rng_below(w->r, 3) + 2);
	if (w->d->mode == X86_MODE_64) {
		/* mov r, target | selector << 32 */
		struct diff_insn *i = &w->d->insn[w->d->n - 1];

		st_le16(i->bytes + i->fix_off + 4, w->now.sel[X86_CS]);
		i->fix_size = 4;
	}
	gen_push(w, reg);
	e->has_target = true;
	e->target = w->now.gpr[X86_RSP] + diff_cs_base(w->d);
}

static void prepare_pop(struct grow *w, const struct x86_row *row)
{
	unsigned reg = any_reg(w), o = row->opnd[0];

	prepare_stack(w);
	if (o >= X86_O_ES && o <= X86_O_GS && rng_pct(w->r, 85)) {
		gen_mov(w, reg, some_selector(w));
		gen_push(w, reg);
	} else if (named(row, "popf")) {
		gen_mov(w, reg, (rng64(w->r) & (X86_FL_ARITH | X86_FL_DF | X86_FL_ID | X86_FL_NT |
						X86_FL_IOPL | X86_FL_IF | X86_FL_RF |
						X86_FL_VM)) |
				(rng_pct(w->r, 4) ? X86_FL_TF : 0));
		gen_push(w, reg);
	}
}

static void prepare_selector(struct grow *w, struct diff_enc *e)
{
	unsigned reg = any_reg(w);

	if (rng_pct(w->r, 30))
		return;
	gen_mov(w, reg, some_selector(w));
	e->force_rm = (int)reg;
}

void gen_prepare(struct grow *w, unsigned row, struct diff_enc *e)
{
	const struct x86_row *x = &x86_rows[row];

	if (has(x, X86_O_Xb, X86_O_Yv))
		prepare_string(w, x);
	else if (named(x, "div") || named(x, "idiv"))
		prepare_divide(w, x);
	else if (named(x, "ret") || ((named(x, "jmp") || named(x, "call")) &&
				     x->opnd[0] == X86_O_Ev))
		prepare_indirect(w, x, e);
	else if (!strncmp(x->name, "cmpxchg", 7))
		prepare_cmpxchg(w, x, e);
	else if (named(x, "lar") || named(x, "lsl") || named(x, "verr") || named(x, "verw") ||
		 named(x, "arpl") || x->opnd[0] == X86_O_Sw)
		prepare_selector(w, e);
	else if (named(x, "xlat") && rng_pct(w->r, 80))
		gen_mov(w, X86_RBX, data_pointer(w));
	else if (named(x, "ret far") || named(x, "iret"))
		prepare_far_ret(w, x, e);
	else if ((named(x, "jmp far") || named(x, "call far")) && x->opnd[0] == X86_O_M)
		prepare_far_mem(w, e);
	else if (!strncmp(x->name, "pop", 3) && strcmp(x->name, "popcnt"))
		prepare_pop(w, x);
	else if (!strncmp(x->name, "push", 4) || named(x, "call") || named(x, "enter") || named(x, "leave"))
		prepare_stack(w);
	else if (!strcmp(x->name, "maskmovdqu") || !strcmp(x->name, "maskmovq") ||
		 !strcmp(x->name, "vmaskmovdqu"))
		gen_mov(w, X86_RDI, data_pointer(w));
}
