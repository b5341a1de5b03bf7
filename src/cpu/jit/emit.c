/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emitting a block: guest memory, jumps, and the block's frame.
 */
#include "src/cpu/jit/emit_ops.h"

#include <stddef.h>

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
			   .def = t->def, .vec = t->vec, .x87_open = t->x87_open };
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
				bool again = g_in_rax(t, i->mem_index);

				g_load(t, 8, H_RCX, i->mem_base);
				if (again)
					t->rax_at = a->p; /* RAX is as it was */
				base = H_RCX;
			}
		}
		if (i->mem_index < 16) {
			index = jit_home[i->mem_index];
			if (index < 0) {
				g_load(t, 8, H_RAX, i->mem_index);
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

/* Is RCX an offset from which @size bytes lie in the page? Else the jump is taken whose
 * rel32 place is returned. */
static uint8_t *emit_limit(struct tr *t, unsigned size)
{
	if (t->looks && !t->looked && size <= X86_JIT_SPAN && (size <= 2 || size % 4 == 0)) {
		t->looked = true;
		a_alu(t->a, ALU_CMP, 8, H_RCX, A_GS(OFF(jit.limit) + 8 * (int)x86_jit_limit(size)));
		return a_jcc(t->a, CC_AE);
	}
	a_ext(t->a, 0x81, 8, ALU_CMP, A_REG(H_RCX));
	a_d(t->a, 4096 - size);
	return a_jcc(t->a, CC_A);
}

/* The TLB check: linear address in RCX becomes a host address; else to code of
 * @kind. */
static struct ool *check_or(struct tr *t, unsigned size, enum x86_access acc, enum ool_kind kind)
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
	o = e_ool(t, kind, emit_limit(t, size));
	t->off = 0;
	a_alu(a, ALU_ADD, 8, H_RCX, A_GSX(H_RAX, tlb + (int)offsetof(struct x86_tlb_entry, host)));
	e_resume(t, o);
	o->what = size | (uint32_t)acc << 8 | cls << 12;
	return o;
}

static struct ool *emit_check(struct tr *t, unsigned size, enum x86_access acc)
{
	return check_or(t, size, acc, OOL_MISS);
}

void e_check_group(struct tr *t, unsigned span, enum x86_access acc)
{
	check_or(t, span, acc, OOL_PLAIN);
}

void e_access(struct tr *t, unsigned size, enum x86_access acc)
{
	if (t->run->group_of[t->n]) {
		e_group_access(t);
		return;
	}
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

	if (t->run->group_of[t->n]) {
		e_group_access(t);
		return;
	}
	e_clobber(t);
	emit_stack_lin(t, g, disp);
	o = emit_check(t, size, acc);
	o->stack = true;
	o->stack_reg = (uint8_t)g;
	o->stack_disp = disp;
}

void e_lin(struct tr *t)
{
	emit_lin(t, t->i, t->run->rip[t->n + 1]);
}

void e_access_rcx(struct tr *t, unsigned size, enum x86_access acc)
{
	a_store(t->a, 8, A_GS(OFF(jit.tmp1)), H_RCX);
	emit_check(t, size, acc)->kept = true;
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
		e_make_saved(t);
	a_movi(t->a, H_RAX, (uint64_t)(uintptr_t)call);
	if (t->i->row->attr & X86_A_END) {
		jmp_thunk(t, t->j->call_end);
		t->ended = true;
		return;
	}
	call_thunk(t, t->j->call_op);
	t->fl = FL_SAVED;
	t->def.kind = DEF_NONE;
	t->vec = 0;
}

/* Leaves for the run loop with rip = o->target. */
static void emit_exit(struct tr *t, const struct ool *o)
{
	if (t->j->follower && !o->within) {
		a_ext(t->a, 0xc6, 1, 0, A_GS(OFF(jit.whole))); /* MOV */
		a_b(t->a, 1);
	}
	a_movi(t->a, H_RAX, (uint64_t)(uintptr_t)o->link);
	a_store(t->a, 8, A_GS(OFF(jit.link)), H_RAX);
	store_rip(t, OFF(rip), o->target);
	jmp_thunk(t, t->j->leave);
}

static bool same_page(const struct tr *t, uint64_t target)
{
	return ((target ^ t->b->rip) & ~0xfffull) == 0 && t->b->page == t->b->page2;
}

/* Notices requests: jumps to @o's code if there are any. RFLAGS stay. The jump is
 * an island that must follow within 127 bytes; its place is returned. NULL: not needed. */
static uint8_t *emit_poll(struct tr *t, uint64_t target)
{
	if (target > t->run->rip[t->n] || t->looked)
		return NULL;
	a_load(t->a, 4, H_RCX, A_GS(OFF(jit.run_ok)));
	a_b(t->a, 0x67); /* JECXZ */
	return a_short(t->a, 0xe3);
}

/* @rip: where the guest stands when the poll is made. */
static struct ool *emit_poll_island(struct tr *t, uint8_t *place, uint64_t rip, enum fl_state fl)
{
	struct ool *o;

	a_here(t->a, place);
	o = e_ool(t, OOL_EXIT, a_jmp(t->a));
	o->target = rip;
	o->fl = fl;
	return o;
}

/* @place: the rel32 to patch. */
static struct jit_link *new_link(struct tr *t, uint64_t target, uint8_t *place)
{
	struct jit_link *l = jit_meta(t->j, sizeof(*l));

	if (!l) {
		t->a->full = true;
		return NULL;
	}
	*l = (struct jit_link){ .target = target, .place = place, .flags_live = t->fl == FL_LIVE,
				.def = t->fl == FL_LIVE ? t->def : DEF_UNKNOWN,
				.from = t->b, .next = t->b->links };
	t->b->links = l;
	return l;
}

/* Flags saved; the target lies in another page, so that the way there is the jump
 * cache, which a change of mapping empties. */
static void emit_far_goto(struct tr *t, uint64_t target)
{
	int32_t slot = OFF(jit.jump) +
		       (int)(JIT_KEY_CLASS(t->key) * (X86_JUMP_SLOTS + 1) + jit_jump_slot(target)) *
			       (int)sizeof(struct x86_jump);
	struct ool *o;

	a_movi(t->a, H_RCX, target);
	a_alu(t->a, ALU_CMP, 8, H_RCX, A_GS(slot));
	o = e_ool(t, OOL_EXIT, a_jcc(t->a, CC_NE));
	o->target = target;
	a_ext(t->a, 0xff, 4, 4, A_GS(slot + 8)); /* JMP */
}

static struct a_rm ring_at_rcx(void)
{
	return (struct a_rm){ .gs = true, .base = -1, .index = H_RCX, .scale = 3,
			      .disp = OFF(jit.ring) };
}

static void goto_unpolled(struct tr *t, uint64_t target)
{
	if (t->fl == FL_AGAIN)
		e_make_live(t);
	if (same_page(t, target)) {
		struct ool *o = e_ool(t, OOL_EXIT, a_jmp(t->a));

		o->target = target;
		o->link = new_link(t, target, o->from[0]);
	} else {
		if (t->fl == FL_LIVE)
			e_make_saved(t);
		emit_far_goto(t, target);
	}
}

void e_goto(struct tr *t, uint64_t target)
{
	uint8_t *island;
	enum fl_state fl;

	if (t->fl == FL_AGAIN)
		e_make_live(t);
	fl = t->fl;
	island = emit_poll(t, target);
	goto_unpolled(t, target);
	if (island)
		emit_poll_island(t, island, target, fl);
}

/* In lockstep: what ran of the block is less than was noted when it began. RFLAGS stay. */
static void emit_left_early(struct tr *t)
{
	struct asm_buf *a = t->a;

	a_load(a, 4, H_RCX, A_GS(OFF(jit.budget)));
	a_movi(a, H_RAX, JIT_RAN(t->b, t->n + 1));
	a_store(a, 8, ring_at_rcx(), H_RAX);
}

void e_side_exit(struct tr *t, enum host_cc cc, uint64_t target)
{
	uint8_t *place = a_jcc(t->a, cc);
	struct ool *o;

	if (t->j->follower) {
		o = e_ool(t, OOL_LEFT, place);
	} else if (same_page(t, target)) {
		o = e_ool(t, OOL_EXIT, place);
		o->link = new_link(t, target, place);
	} else {
		o = e_ool(t, OOL_GOTO, place);
	}
	o->target = target;
}

void e_branch(struct tr *t, uint8_t *(*jump)(struct tr *t), uint64_t target)
{
	uint8_t *island = emit_poll(t, target), *place;
	enum fl_state fl = t->fl;
	struct ool *o;

	place = jump(t);
	if (same_page(t, target)) {
		o = e_ool(t, OOL_EXIT, place);
		o->link = new_link(t, target, place);
	} else {
		o = e_ool(t, OOL_GOTO, place);
	}
	o->target = target;
	goto_unpolled(t, t->run->rip[t->n + 1]);
	if (island)
		emit_poll_island(t, island, t->run->rip[t->n], fl)->within = true;
}

/* Where the jump cache has the guest address in RCX, RAX becomes the place of its entry
 * there, from the GS base: the result. */
static struct a_rm lookup(struct tr *t, struct ool **o)
{
	struct asm_buf *a = t->a;
	int32_t jump = OFF(jit.jump) +
		       (int)(JIT_KEY_CLASS(t->key) * sizeof(((struct x86_cpu *)0)->jit.jump[0]));

	_Static_assert(sizeof(struct x86_jump) == 16, "the address is shifted by 4");
	e_clobber(t);
	if (t->fl == FL_AGAIN)
		e_make_saved(t);
	/* jit_jump_slot(), and the size of an entry. */
	a_rorx(a, 4, H_RAX, H_RCX, 32 - 7);
	a_alu(a, ALU_XOR, 4, H_RAX, A_REG(H_RCX));
	a_alu(a, ALU_AND, 4, H_RAX, A_GS(OFF(jit.run_ok)));
	a_alu(a, ALU_CMP, 8, H_RCX, A_GSX(H_RAX, jump));
	*o = e_ool(t, t->m64 ? OOL_LOOKUP : OOL_ONE, a_jcc(a, CC_NE));
	return A_GSX(H_RAX, jump + 8);
}

void e_lookup(struct tr *t)
{
	struct ool *o;

	a_load(t->a, 8, H_RAX, lookup(t, &o));
	e_resume(t, o);
}

void e_jump_to_rcx(struct tr *t, int32_t pop)
{
	struct ool *o;
	struct a_rm entry = lookup(t, &o);

	o->stack_disp = pop;
	o->what = (uint32_t)t->sp;
	t->sp += pop;
	e_move_sp(t);
	a_ext(t->a, 0xff, 4, 4, entry); /* JMP */
}

/*
 * The code that was put off.
 */
static void ool_miss(struct tr *t, const struct ool *o)
{
	e_make_saved_if(t, o);
	if (o->kept)
		a_load(t->a, 8, H_RCX, A_GS(OFF(jit.tmp1)));
	else if (o->stack)
		emit_stack_lin(t, o->stack_reg, o->stack_disp);
	else
		emit_lin(t, &t->run->insn[o->n], t->run->rip[o->n + 1]);
	store_rip(t, OFF(start_rip), t->run->rip[o->n]);
	a_movi(t->a, H_RAX, o->what);
	call_thunk(t, t->j->miss);
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
	e_make_saved_if(t, o);
	t->n = o->n;
	t->i = &t->run->insn[o->n];
	e_call_op(t);
	if (o->vec)
		load_vec(t, o->vec, t->run->rip[o->n + 1]);
	e_make_live(t);
	a_jmp_to(t->a, o->resume);
}

/* Not in the jump cache. An address that is not canonical is a fault of the
 * instruction that jumps. */
static void ool_lookup(struct tr *t, const struct ool *o)
{
	struct asm_buf *a = t->a;
	uint8_t *good;

	t->sp = (int32_t)o->what;
	e_move_sp(t);
	a_mov(a, 8, H_RAX, H_RCX);
	a_ext(a, 0xc1, 8, 4, A_REG(H_RAX)); /* SHL */
	a_b(a, 16);
	a_ext(a, 0xc1, 8, 7, A_REG(H_RAX)); /* SAR */
	a_b(a, 16);
	a_alu(a, ALU_CMP, 8, H_RAX, A_REG(H_RCX));
	good = a_short(a, 0x74); /* JE */
	store_rip(t, OFF(rip), t->run->rip[o->n]);
	jmp_thunk(t, t->j->leave_one);
	a_here(a, good);
	a_store(a, 8, A_GS(OFF(rip)), H_RCX);
	if (o->resume) {
		a_movi(a, H_RAX, (uint64_t)(uintptr_t)t->j->leave_indirect);
		a_jmp_to(a, o->resume);
		return;
	}
	t->sp = o->stack_disp;
	e_move_sp(t);
	jmp_thunk(t, t->j->leave_indirect);
}

static void emit_ool(struct tr *t, struct ool *o)
{
	for (unsigned k = 0; k < 2; k++)
		if (o->from[k])
			a_set_rel(o->from[k], t->a->p);
	t->fl = o->fl;
	t->def = o->def;
	t->n = o->n;
	if (o->x87_open >= 0) {
		e_make_saved_if(t, o);
		e_x87_pointers(t, (unsigned)o->x87_open);
		o->fl = t->fl;
	}
	switch (o->kind) {
	case OOL_MISS:
		ool_miss(t, o);
		break;
	case OOL_CALL:
		ool_call(t, o);
		break;
	case OOL_PLAIN:
		e_make_saved_if(t, o);
		store_rip(t, OFF(rip), t->run->rip[o->n]);
		jmp_thunk(t, t->j->leave_plain);
		break;
	case OOL_LOOKUP:
		ool_lookup(t, o);
		break;
	case OOL_ONE:
		e_make_saved_if(t, o);
		store_rip(t, OFF(rip), t->run->rip[o->n]);
		jmp_thunk(t, t->j->leave_one);
		break;
	case OOL_EXIT:
		if (o->link)
			o->link->stub = t->a->p;
		e_make_saved_if(t, o);
		emit_exit(t, o);
		break;
	case OOL_VEC:
		e_make_saved_if(t, o);
		load_vec(t, o->what, t->run->rip[o->n]);
		a_jmp_to(t->a, o->resume);
		break;
	case OOL_LEFT:
		emit_left_early(t);
		/* fall through */
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

/* Lockstep: leaves in front of the block when the budget is used up, else notes that
 * it ran. RFLAGS stay; RAX and RCX are free here. */
static void emit_count(struct tr *t)
{
	struct asm_buf *a = t->a;
	uint8_t *none, *go;
	struct ool *o;

	a_load(a, 4, H_RCX, A_GS(OFF(jit.budget)));
	a_b(a, 0x67); /* JECXZ */
	none = a_short(a, 0xe3);
	go = a_short(a, 0xeb);
	a_here(a, none);
	o = e_ool(t, OOL_EXIT, a_jmp(a));
	o->target = t->run->rip[0];
	a_here(a, go);
	a_lea(a, 4, H_RCX, A_MEM(H_RCX, -1));
	a_store(a, 4, A_GS(OFF(jit.budget)), H_RCX);
	a_movi(a, H_RAX, JIT_RAN(t->b, t->run->count));
	a_store(a, 8, ring_at_rcx(), H_RAX);
}

static unsigned compare_piece(struct tr *t, const uint8_t *bytes, unsigned left, int32_t at)
{
	struct asm_buf *a = t->a;
	unsigned n = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
	uint64_t v = 0;

	memcpy(&v, bytes, n);
	if (n == 8) {
		a_movi(a, H_RAX, v);
		a_alu(a, ALU_CMP, 8, H_RAX, A_MEM(H_RCX, at));
	} else {
		a_ext(a, n == 1 ? 0x80 : 0x81, n, ALU_CMP, A_MEM(H_RCX, at));
		a_imm(a, n, v);
	}
	return n;
}

const uint8_t *e_code_at(const struct tr *t, unsigned n)
{
	return t->j->cpu->mem->window + (t->b->page << MEM_PAGE_SHIFT) + (t->b->lin & 0xfff) +
	       (t->run->rip[n] - t->run->rip[0]);
}

/* Is the guest's code what it was? Else to @stale. */
static void emit_code_check(struct tr *t, const uint8_t *stale)
{
	const struct jit_run *run = t->run;

	a_movi(t->a, H_RCX, (uint64_t)(uintptr_t)e_code_at(t, 0));
	for (unsigned n = 0; n < run->count; n++) {
		const struct x86_insn *i = &run->insn[n];
		unsigned at = (unsigned)(run->rip[n] - run->rip[0]);
		unsigned end = at + i->len - (jit_imm_from_memory(i) ? i->opsize : 0);

		/* Pieces reach into the next instruction where that is compared too. */
		while (!jit_imm_from_memory(i) && n + 1 < run->count) {
			i = &run->insn[++n];
			end += i->len - (jit_imm_from_memory(i) ? i->opsize : 0);
		}
		while (at < end) {
			uint8_t *from;

			at += compare_piece(t, t->b->code + at, end - at, (int32_t)at);
			from = a_jcc(t->a, CC_NE);
			if (!t->a->full)
				a_set_rel(from, stale);
		}
	}
}

/* A block that checks itself. Checking costs the flags. */
static void emit_checked_entries(struct tr *t)
{
	struct jit_block *b = t->b;
	uint8_t *stale = t->a->p;

	a_movi(t->a, H_RAX, (uint64_t)(uintptr_t)b);
	jmp_thunk(t, t->j->stale);
	t->fl = FL_LIVE;
	b->entry_live = t->a->p;
	e_save_flags(t);
	b->entry_saved = t->a->p;
	emit_code_check(t, stale);
	t->fl = FL_SAVED;
	t->def.kind = DEF_NONE;
}

static void emit_entries(struct tr *t)
{
	struct jit_block *b = t->b;
	enum fl_state dead = entry_state(t);

	if (b->checked) {
		emit_checked_entries(t);
		if (t->j->follower)
			emit_count(t);
		return;
	}
	/* Who leaves in front of the block shows the flags. */
	t->fl = t->j->follower && dead == FL_DEAD ? FL_SAVED : dead;
	t->def = b->def;
	if (b->def.kind != DEF_NONE) {
		b->entry_live = t->a->p;
		dead = t->fl = FL_AGAIN;
	} else if (t->fl == FL_LIVE) {
		b->entry_saved = t->a->p;
		e_restore_flags(t);
		b->entry_live = t->a->p;
	} else if (t->fl == FL_SAVED) {
		b->entry_live = t->a->p;
		e_save_flags(t);
		b->entry_saved = t->a->p;
		b->saves = true;
	} else {
		b->entry_live = b->entry_saved = t->a->p;
	}
	if (t->j->follower) {
		emit_count(t);
		t->fl = dead;
	}
}

/* See jit_plant_bug(). */
static void emit_planted(struct tr *t)
{
	struct asm_buf *a = t->a;
	bool store = t->i->row->id == X86_OP_MOV_EvGv && t->i->mem;

	if (!t->m64 || (t->i->row->id != X86_OP_MOV_EvGv && t->i->row->id != X86_OP_MOV_GvEv))
		return;
	if (t->j->plant == JIT_PLANT_REGISTER)
		a_lea(a, 8, H_RBX, A_MEM(H_RBX, 1));
	else if (t->j->plant == JIT_PLANT_FLAG && t->fl == FL_LIVE)
		a_b(a, 0xf5); /* CMC */
	else if (t->j->plant == JIT_PLANT_STORE && store)
		a_ext(a, 0xf6, 1, 2, RCX_MEM); /* NOT */
}

static bool leads_back(const struct x86_insn *i, uint32_t key)
{
	emit_fn fn = jit_emitter(i, key);

	return (fn == e_jmp || fn == e_jcc_row || fn == e_call || fn == e_jcxz || fn == e_loop) &&
	       (int64_t)i->imm < 0;
}

bool jit_emit_block(struct jit *j, struct jit_block *b, const struct jit_run *run)
{
	struct tr t = { .j = j, .a = &j->a, .b = b, .run = run, .key = b->key,
			.m64 = b->key & X86_MODE_64, .x87_open = -1,
			.looks = leads_back(&run->insn[run->count - 1], b->key) };

	b->start = j->a.p;
	emit_entries(&t);
	for (t.n = 0; t.n < run->count; t.n++) {
		emit_fn fn;

		t.i = &run->insn[t.n];
		fn = jit_emitter(t.i, t.key);
		if (t.sp && !e_may_lag(&t))
			e_move_sp(&t);
		if (fn)
			fn(&t);
		else
			e_call_op(&t);
		e_rcx_after(&t);
		if (unlikely(j->plant))
			emit_planted(&t);
	}
	if (!t.ended) {
		t.n = run->count - 1;
		e_move_sp(&t);
		goto_unpolled(&t, run->rip[run->count]);
	}
	b->end = j->a.p;
	b->cold = j->cold.p;
	t.a = &j->cold;
	for (unsigned k = 0; k < t.nool && !j->a.full && !j->cold.full; k++)
		emit_ool(&t, &t.ool[k]);
	b->cold_end = j->cold.p;
	return !j->a.full && !j->cold.full;
}
