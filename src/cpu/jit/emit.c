/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emitting a block: guest flags, guest memory, jumps, and the block's frame.
 *
 * A memory access costs the host's flags (one compare of the TLB tag), so guest
 * flags that live in RFLAGS must be out of the way first. Most often nothing has
 * to be done: nobody wants them, or the instruction that made them can be done
 * again (FL_AGAIN) when a fault shows them after all. Only else are they saved.
 */
#include "src/cpu/jit/emit.h"

#include <stddef.h>

const int8_t jit_home[16] = { H_R10, H_R11, H_RDX, H_RBX, H_R15, H_RBP, H_RSI, H_RDI,
			      H_R8, H_R9, -1, -1, H_R12, H_R13, H_R14, -1 };

void g_load(struct tr *t, unsigned size, unsigned host, unsigned g)
{
	a_load(t->a, size < 4 ? 4 : size, host, g_rm(g));
}

void g_store(struct tr *t, unsigned size, unsigned g, unsigned host)
{
	if (jit_home[g] >= 0)
		a_mov(t->a, size, jit_home[g], host);
	else
		a_store(t->a, size == 4 ? 8 : size, g_rm(g), host);
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
static void save_flags(struct tr *t)
{
	a_save_flags(t->a);
	a_store(t->a, 2, A_GS(OFF(jit.flags_ax)), H_RAX);
}

static void restore_flags(struct tr *t)
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

static uint32_t def_uses(const struct fl_def *d)
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
		save_flags(t);
		t->fl = FL_SAVED;
	}
}

static void make_live(struct tr *t)
{
	if (t->fl == FL_SAVED)
		restore_flags(t);
	else if (t->fl == FL_AGAIN)
		flags_again(t, &t->def);
	t->fl = FL_LIVE;
}

static void make_saved(struct tr *t)
{
	if (t->fl == FL_AGAIN)
		make_live(t);
	if (t->fl == FL_LIVE)
		save_flags(t);
	t->fl = FL_SAVED;
}

/* Off the straight path: flags that somebody may look at go to memory. */
static void make_saved_if(struct tr *t, const struct ool *o)
{
	if (o->fl != FL_DEAD)
		make_saved(t);
}

void e_pre(struct tr *t, uint32_t writes)
{
	uint16_t after = t->run->want[t->n + 1], written = t->i->row->flags_write;
	uint16_t reads = jit_flags_read(t->i, after);
	uint16_t kept = after & ~written;

	if ((reads | (written ? kept : 0)) != 0) {
		make_live(t);
	} else if (t->fl == FL_AGAIN && (def_uses(&t->def) & writes)) {
		if (kept)
			make_saved(t);
		else
			t->fl = FL_DEAD;
	}
	if (def_uses(&t->def) & writes)
		t->def.kind = DEF_NONE;
}

void e_def(struct tr *t, struct fl_def def)
{
	t->fl = FL_LIVE;
	t->def = def;
}

/*
 * Code off the straight path.
 */
struct ool *e_ool(struct tr *t, enum ool_kind kind, uint8_t *from)
{
	struct ool *o = &t->ool[t->nool];

	/* Three per instruction at most; an overflow would be our own mistake and
	 * shows as a block that does not fit. */
	if (t->nool + 1 >= sizeof(t->ool) / sizeof(t->ool[0]))
		t->a->full = true;
	else
		t->nool++;
	*o = (struct ool){ .kind = kind, .from = { from, NULL }, .n = t->n, .fl = t->fl,
			   .def = t->def, .vec = t->vec };
	return o;
}

/* Effective address of the instruction's memory operand into RCX; may use RAX. */
static void emit_ea(struct tr *t, const struct x86_insn *i, uint64_t next_rip)
{
	struct asm_buf *a = t->a;
	unsigned size = i->adsize == 8 ? 8 : 4;
	int base = -1, index = -1;
	int64_t disp = i->disp;

	if (i->mem_base == X86_REG_RIP) {
		uint64_t ea = next_rip + (uint64_t)disp;

		a_movi(a, H_RCX, size == 8 ? ea : (uint32_t)ea);
	} else if (i->mem_base >= 16 && i->mem_index >= 16) {
		a_movi(a, H_RCX, size == 8 ? (uint64_t)disp : (uint32_t)disp);
	} else {
		if (i->mem_base < 16) {
			base = jit_home[i->mem_base];
			if (base < 0) {
				a_load(a, 8, H_RCX, g_rm(i->mem_base));
				base = H_RCX;
			}
		}
		if (i->mem_index < 16) {
			index = jit_home[i->mem_index];
			if (index < 0) {
				a_load(a, 8, H_RAX, g_rm(i->mem_index));
				index = H_RAX;
			}
		}
		if (base >= 0 && index < 0 && disp == 0) {
			if (base != H_RCX || size == 4)
				a_mov(a, size, H_RCX, base);
		} else {
			a_lea(a, size, H_RCX,
			      (struct a_rm){ .base = base, .index = index, .scale = i->mem_scale,
					     .disp = (int32_t)disp });
		}
	}
}

void e_ea(struct tr *t)
{
	emit_ea(t, t->i, t->run->rip[t->n + 1]);
}

/* ... the linear address, with the base of FS and GS. */
static void emit_lin(struct tr *t, const struct x86_insn *i, uint64_t next_rip)
{
	emit_ea(t, i, next_rip);
	if (t->m64 && i->seg >= X86_FS)
		a_alu(t->a, ALU_ADD, 8, H_RCX,
		      A_GS(OFF(seg) + (int)(i->seg * sizeof(struct x86_seg) +
					    offsetof(struct x86_seg, base))));
}

static void emit_stack_lin(struct tr *t, unsigned g, int32_t disp)
{
	unsigned size = t->m64 ? 8 : 4;

	if (disp)
		a_lea(t->a, size, H_RCX, A_MEM(jit_home[g], disp));
	else
		a_mov(t->a, size, H_RCX, jit_home[g]);
}

/* The TLB check: linear address in RCX becomes a host address. */
static struct ool *emit_check(struct tr *t, unsigned size, enum x86_access acc)
{
	struct asm_buf *a = t->a;
	unsigned cls = JIT_KEY_CLASS(t->key);
	int32_t tlb = OFF(tlbs) + (int)(cls * sizeof(((struct x86_cpu *)0)->tlbs[0]));
	int32_t tag = acc == X86_ACC_W ? (int)offsetof(struct x86_tlb_entry, tag_w)
				       : (int)offsetof(struct x86_tlb_entry, tag_r);
	struct ool *o;

	_Static_assert(sizeof(struct x86_tlb_entry) == 32, "the index is shifted by 5");
	a_rorx(a, 4, H_RAX, H_RCX, 12 - 5);
	a_alui(a, ALU_AND, 4, A_REG(H_RAX), (X86_TLB_ENTRIES - 1) << 5);
	a_alu(a, ALU_XOR, 8, H_RCX, A_GSX(H_RAX, tlb + tag));
	a_ext(a, 0x81, 8, ALU_CMP, A_REG(H_RCX));
	a_d(a, 4096 - size);
	o = e_ool(t, OOL_MISS, a_jcc(a, CC_A));
	a_alu(a, ALU_ADD, 8, H_RCX, A_GSX(H_RAX, tlb + (int)offsetof(struct x86_tlb_entry, host)));
	o->resume = a->p;
	o->what = size | (uint32_t)acc << 8 | cls << 12;
	return o;
}

void e_access(struct tr *t, unsigned size, enum x86_access acc)
{
	e_clobber(t);
	emit_lin(t, t->i, t->run->rip[t->n + 1]);
	emit_check(t, size, acc);
}

void e_access_aligned(struct tr *t, unsigned size, enum x86_access acc)
{
	e_clobber(t);
	emit_lin(t, t->i, t->run->rip[t->n + 1]);
	a_ext(t->a, 0xf6, 1, 0, A_REG(H_RCX)); /* TEST cl */
	a_b(t->a, (uint8_t)(size - 1));
	e_ool(t, OOL_ONE, a_jcc(t->a, CC_NE));
	emit_check(t, size, acc);
}

void e_access_stack(struct tr *t, unsigned size, enum x86_access acc, unsigned g, int32_t disp)
{
	struct ool *o;

	e_clobber(t);
	emit_stack_lin(t, g, disp);
	o = emit_check(t, size, acc);
	o->stack = true;
	o->stack_reg = (uint8_t)g;
	o->stack_disp = disp;
}

static void call_thunk(struct tr *t, const uint8_t *thunk_rx)
{
	a_call_to(t->a, t->j->rw + (thunk_rx - t->j->rx));
}

static void jmp_thunk(struct tr *t, const uint8_t *thunk_rx)
{
	a_jmp_to(t->a, t->j->rw + (thunk_rx - t->j->rx));
}

static void store_rip(struct tr *t, int32_t field, uint64_t rip)
{
	a_movi(t->a, H_RAX, rip);
	a_store(t->a, 8, A_GS(field), H_RAX);
}

void e_call_op(struct tr *t)
{
	struct jit_call *call = jit_meta(t->j, sizeof(*call));

	if (!call) {
		t->a->full = true;
		return;
	}
	call->insn = *t->i;
	call->rip = t->run->rip[t->n];
	if (t->fl != FL_DEAD)
		make_saved(t);
	a_movi(t->a, H_RAX, (uint64_t)(uintptr_t)call);
	call_thunk(t, t->j->call_op);
	t->fl = FL_SAVED;
	t->def.kind = DEF_NONE;
	t->vec = 0;
	if (t->i->row->attr & X86_A_END) {
		jmp_thunk(t, t->j->leave);
		t->ended = true;
	}
}

/* Leaves for the run loop with rip = @target. */
static void emit_exit(struct tr *t, uint64_t target, struct jit_link *l)
{
	a_movi(t->a, H_RAX, (uint64_t)(uintptr_t)l);
	a_store(t->a, 8, A_GS(OFF(jit.link)), H_RAX);
	store_rip(t, OFF(rip), target);
	jmp_thunk(t, t->j->leave);
}

static bool same_page(const struct tr *t, uint64_t target)
{
	return ((target ^ t->b->rip) & ~0xfffull) == 0 && t->b->page == t->b->page2;
}

/* Notices requests: jumps to @o's code if there are any. RFLAGS stay. The jump is
 * an island that must follow within 127 bytes; its place is returned. */
static uint8_t *emit_poll(struct tr *t)
{
	a_load(t->a, 4, H_RCX, A_GS(OFF(jit.run_ok)));
	a_b(t->a, 0x67); /* JECXZ */
	return a_short(t->a, 0xe3);
}

/* @rip: where the guest stands when the poll is made. */
static void emit_poll_island(struct tr *t, uint8_t *place, uint64_t rip, enum fl_state fl)
{
	struct ool *o;

	a_here(t->a, place);
	o = e_ool(t, OOL_EXIT, a_jmp(t->a));
	o->target = rip;
	o->fl = fl;
}

static struct jit_link *new_link(struct tr *t, uint64_t target)
{
	struct jit_link *l = &t->b->link[t->nlinks++];

	*l = (struct jit_link){ .target = target, .from = t->b };
	return l;
}

/* Flags saved; the target lies in another page, so that the way there is the jump
 * cache, which a change of mapping empties. */
static void emit_far_goto(struct tr *t, uint64_t target)
{
	int32_t slot = OFF(jit.jump) +
		       (int)(JIT_KEY_CLASS(t->key) * X86_JUMP_SLOTS +
			     (target & (X86_JUMP_SLOTS - 1))) * (int)sizeof(struct x86_jump);
	struct ool *o;

	a_movi(t->a, H_RCX, target);
	a_alu(t->a, ALU_CMP, 8, H_RCX, A_GS(slot));
	o = e_ool(t, OOL_EXIT, a_jcc(t->a, CC_NE));
	o->target = target;
	a_ext(t->a, 0xff, 4, 4, A_GS(slot + 8)); /* JMP */
}

static void goto_unpolled(struct tr *t, uint64_t target)
{
	if (t->fl == FL_AGAIN)
		make_live(t);
	if (same_page(t, target)) {
		struct ool *o = e_ool(t, OOL_EXIT, a_jmp(t->a));

		o->target = target;
		o->link = new_link(t, target);
		o->link->place = o->from[0];
		o->link->flags_live = t->fl == FL_LIVE;
	} else {
		if (t->fl == FL_LIVE)
			make_saved(t);
		emit_far_goto(t, target);
	}
}

void e_goto(struct tr *t, uint64_t target)
{
	uint8_t *island = NULL;
	enum fl_state fl;

	if (t->fl == FL_AGAIN)
		make_live(t);
	fl = t->fl;
	if (target <= t->run->rip[t->n])
		island = emit_poll(t);
	goto_unpolled(t, target);
	if (island)
		emit_poll_island(t, island, target, fl);
}

/* Jcc and fall-through; flags are live. */
void e_jcc(struct tr *t, enum host_cc cc, uint64_t target)
{
	uint8_t *island = NULL, *place;
	struct ool *o;

	if (target <= t->run->rip[t->n])
		island = emit_poll(t);
	place = a_jcc(t->a, cc);
	if (same_page(t, target)) {
		o = e_ool(t, OOL_EXIT, place);
		o->link = new_link(t, target);
		o->link->place = place;
		o->link->flags_live = true;
	} else {
		o = e_ool(t, OOL_GOTO, place);
	}
	o->target = target;
	goto_unpolled(t, t->run->rip[t->n + 1]);
	if (island)
		emit_poll_island(t, island, t->run->rip[t->n], FL_LIVE);
}

void e_lookup(struct tr *t)
{
	struct asm_buf *a = t->a;
	int32_t jump = OFF(jit.jump) +
		       (int)(JIT_KEY_CLASS(t->key) * X86_JUMP_SLOTS * sizeof(struct x86_jump));

	e_clobber(t);
	if (t->fl == FL_AGAIN)
		make_saved(t);
	a_mov(a, 4, H_RAX, H_RCX);
	a_alui(a, ALU_AND, 4, A_REG(H_RAX), X86_JUMP_SLOTS - 1);
	a_ext(a, 0xc1, 4, 4, A_REG(H_RAX)); /* SHL eax, 4 */
	a_b(a, 4);
	a_alu(a, ALU_CMP, 8, H_RCX, A_GSX(H_RAX, jump));
	e_ool(t, OOL_ONE, a_jcc(a, CC_NE));
	a_alui(a, ALU_CMP, 4, A_GS(OFF(jit.run_ok)), 0);
	e_ool(t, OOL_ONE, a_jcc(a, CC_E));
	a_load(a, 8, H_RAX, A_GSX(H_RAX, jump + 8));
}

/*
 * The code that was put off.
 */
static void ool_miss(struct tr *t, const struct ool *o)
{
	make_saved_if(t, o);
	if (o->stack)
		emit_stack_lin(t, o->stack_reg, o->stack_disp);
	else
		emit_lin(t, &t->run->insn[o->n], t->run->rip[o->n + 1]);
	store_rip(t, OFF(start_rip), t->run->rip[o->n]);
	a_movi(t->a, H_RAX, o->what);
	call_thunk(t, o->what >> 8 & 3 ? t->j->miss_store : t->j->miss_load);
	a_jmp_to(t->a, o->resume);
}

/* The registers of @bit into the host's, or the interpreter's turn at @rip. */
static void load_vec(struct tr *t, uint32_t bit, uint64_t rip)
{
	store_rip(t, OFF(start_rip), rip);
	a_movi(t->a, H_RAX, bit);
	call_thunk(t, t->j->vec_load);
}

static void ool_call(struct tr *t, const struct ool *o)
{
	make_saved_if(t, o);
	t->n = o->n;
	t->i = &t->run->insn[o->n];
	e_call_op(t);
	if (o->vec)
		load_vec(t, o->vec, t->run->rip[o->n + 1]);
	make_live(t);
	a_jmp_to(t->a, o->resume);
}

static void emit_ool(struct tr *t, struct ool *o)
{
	for (unsigned k = 0; k < 2; k++)
		if (o->from[k])
			a_set_rel(o->from[k], t->a->p);
	t->fl = o->fl;
	t->def = o->def;
	t->n = o->n;
	switch (o->kind) {
	case OOL_MISS:
		ool_miss(t, o);
		break;
	case OOL_CALL:
		ool_call(t, o);
		break;
	case OOL_ONE:
		make_saved_if(t, o);
		store_rip(t, OFF(rip), t->run->rip[o->n]);
		jmp_thunk(t, t->j->leave_one);
		break;
	case OOL_EXIT:
		if (o->link)
			o->link->stub = t->a->p;
		make_saved_if(t, o);
		emit_exit(t, o->target, o->link);
		break;
	case OOL_VEC:
		make_saved_if(t, o);
		load_vec(t, o->what, t->run->rip[o->n]);
		a_jmp_to(t->a, o->resume);
		break;
	case OOL_GOTO:
		t->i = &t->run->insn[o->n];
		goto_unpolled(t, o->target);
		break;
	}
}

/*
 * The block.
 */

/* What the first instructions do with the flags decides which entry has nothing
 * to do: LIVE where they are read first, SAVED where RFLAGS are destroyed first,
 * DEAD where neither happens before they are overwritten. */
static enum fl_state entry_state(const struct tr *t)
{
	for (unsigned n = 0; n < t->run->count; n++) {
		const struct x86_insn *i = &t->run->insn[n];
		uint16_t written = i->row->flags_write;

		if (jit_may_fault(i) && !(i->row->attr & X86_A_END && i->row->flags_read))
			return FL_SAVED;
		if (jit_flags_read(i, t->run->want[n + 1]) |
		    (written ? t->run->want[n + 1] & ~written : 0))
			return FL_LIVE;
		if (written == X86_FL_ARITH)
			return FL_DEAD;
	}
	return FL_SAVED;
}

static void emit_entries(struct tr *t)
{
	struct jit_block *b = t->b;

	t->fl = entry_state(t);
	t->def.kind = DEF_NONE;
	if (t->fl == FL_LIVE) {
		b->entry_saved = t->a->p;
		restore_flags(t);
		b->entry_live = t->a->p;
	} else if (t->fl == FL_SAVED) {
		b->entry_live = t->a->p;
		save_flags(t);
		b->entry_saved = t->a->p;
	} else {
		b->entry_live = b->entry_saved = t->a->p;
	}
}

bool jit_emit_block(struct jit *j, struct jit_block *b, const struct jit_run *run)
{
	struct tr t = { .j = j, .a = &j->a, .b = b, .run = run, .key = b->key,
			.m64 = b->key & X86_MODE_64 };

	emit_entries(&t);
	for (t.n = 0; t.n < run->count; t.n++) {
		emit_fn fn;

		t.i = &run->insn[t.n];
		fn = jit_emitter(t.i, t.key);
		if (fn)
			fn(&t);
		else
			e_call_op(&t);
	}
	if (!t.ended) {
		t.n = run->count - 1;
		goto_unpolled(&t, run->rip[run->count]);
	}
	for (unsigned k = 0; k < t.nool && !j->a.full; k++)
		emit_ool(&t, &t.ool[k]);
	return !j->a.full;
}
