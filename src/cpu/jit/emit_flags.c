/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest registers and guest flags while a block is emitted.
 *
 * A memory access costs the host's flags (one compare of the TLB tag), so guest
 * flags that live in RFLAGS must be out of the way first. Most often nothing has
 * to be done: nobody wants them, or the instruction that made them can be done
 * again (FL_AGAIN) when a fault shows them after all. Only else are they saved.
 */
#include "src/cpu/jit/emit.h"

const int8_t jit_home[16] = { H_R10, H_R11, H_RDX, H_RBX, H_R15, H_RBP, H_RSI, H_RDI,
			      H_R8, H_R9, -1, -1, H_R12, H_R13, H_R14, -1 };

bool g_in_rax(const struct tr *t, unsigned g)
{
	return t->rax_at == t->a->p && t->rax_is == g;
}

void g_load(struct tr *t, unsigned size, unsigned host, unsigned g)
{
	if (g_in_rax(t, g)) {
		if (host != H_RAX || size < 8)
			a_mov(t->a, size < 4 ? 4 : size, host, H_RAX);
		return;
	}
	a_load(t->a, size < 4 ? 4 : size, host, g_rm(g));
}

void g_store(struct tr *t, unsigned size, unsigned g, unsigned host)
{
	if (jit_home[g] >= 0)
		a_mov(t->a, size, jit_home[g], host);
	else
		a_store(t->a, size == 4 ? 8 : size, g_rm(g), host);
	if (jit_home[g] < 0 && size >= 4 && host == H_RAX) {
		t->rax_at = t->a->p;
		t->rax_is = (uint8_t)g;
	}
}

unsigned g_begin(struct tr *t, unsigned size, unsigned g)
{
	if (jit_home[g] >= 0)
		return jit_home[g];
	g_load(t, 8, H_RAX, g);
	return H_RAX;
}

void g_end(struct tr *t, unsigned size, unsigned g, unsigned host)
{
	if (jit_home[g] < 0)
		g_store(t, size, g, host);
}

/*
 * Flags.
 */
void e_save_flags(struct tr *t)
{
	a_save_flags(t->a);
	a_store(t->a, 2, A_GS(OFF(jit.flags_ax)), H_RAX);
}

void e_restore_flags(struct tr *t)
{
	a_movx(t->a, false, 4, H_RAX, 2, A_GS(OFF(jit.flags_ax)));
	a_restore_flags(t->a);
}

/* Does the defining instruction again, for its flags only. Clobbers RAX. */
static void flags_again(struct tr *t, const struct fl_def *d)
{
	struct asm_buf *a = t->a;
	static const enum a_alu undo[] = { [DEF_ADD] = ALU_SUB, [DEF_SUB] = ALU_ADD };
	static const enum a_alu redo[] = { [DEF_ADD] = ALU_ADD, [DEF_SUB] = ALU_SUB,
					   [DEF_CMP] = ALU_CMP };

	g_load(t, d->size, H_RAX, d->a);
	if (d->kind == DEF_TEST) {
		if (d->imm) {
			a_ext(a, d->size == 1 ? 0xf6 : 0xf7, d->size, 0, A_REG(H_RAX));
			a_imm(a, d->size, (uint32_t)d->value);
		} else {
			/* TEST has its register second; memory first is the same. */
			a_rr(a, d->size == 1 ? 0x84 : 0x85, d->size, H_RAX, g_rm(d->b));
		}
		return;
	}
	if (d->imm) {
		if (d->kind != DEF_CMP)
			a_alui(a, undo[d->kind], d->size, A_REG(H_RAX), d->value);
		a_alui(a, redo[d->kind], d->size, A_REG(H_RAX), d->value);
	} else {
		if (d->kind != DEF_CMP)
			a_alu(a, undo[d->kind], d->size, H_RAX, g_rm(d->b));
		a_alu(a, redo[d->kind], d->size, H_RAX, g_rm(d->b));
	}
}

uint32_t e_def_uses(const struct fl_def *d)
{
	return d->kind == DEF_NONE ? 0 : 1u << d->a | (d->imm ? 0 : 1u << d->b);
}

void e_clobber(struct tr *t)
{
	if (t->fl != FL_LIVE)
		return;
	if (t->run->want[t->n] == 0) {
		t->fl = FL_DEAD;
	} else if (t->def.kind != DEF_NONE) {
		t->fl = FL_AGAIN;
	} else {
		e_save_flags(t);
		t->fl = FL_SAVED;
	}
}

void e_make_live(struct tr *t)
{
	if (t->fl == FL_SAVED)
		e_restore_flags(t);
	else if (t->fl == FL_AGAIN)
		flags_again(t, &t->def);
	t->fl = FL_LIVE;
}

void e_make_saved(struct tr *t)
{
	if (t->fl == FL_AGAIN)
		e_make_live(t);
	if (t->fl == FL_LIVE)
		e_save_flags(t);
	t->fl = FL_SAVED;
}

void e_make_saved_if(struct tr *t, const struct ool *o)
{
	if (o->fl != FL_DEAD)
		e_make_saved(t);
}

void e_pre(struct tr *t, uint32_t writes)
{
	uint16_t after = t->run->want[t->n + 1], written = t->i->row->flags_write;
	uint16_t reads = jit_flags_read(t->i, after);
	uint16_t kept = after & ~written;

	if ((reads | (written ? kept : 0)) != 0) {
		e_make_live(t);
	} else if (t->fl == FL_AGAIN && (e_def_uses(&t->def) & writes)) {
		if (kept)
			e_make_saved(t);
		else
			t->fl = FL_DEAD;
	}
	if (e_def_uses(&t->def) & writes)
		t->def.kind = DEF_NONE;
}

void e_def(struct tr *t, struct fl_def def)
{
	t->fl = FL_LIVE;
	t->def = def;
}
