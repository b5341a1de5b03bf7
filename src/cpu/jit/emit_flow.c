/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emitters of the stack and of control transfers, which end a block.
 */
#include "src/cpu/jit/emit_ops.h"

/*
 * The stack. Eight bytes in 64-bit code, four with a 32-bit stack.
 */
static unsigned word(const struct tr *t)
{
	return t->m64 ? 8 : 4;
}

void e_move_sp(struct tr *t)
{
	if (t->sp)
		a_lea(t->a, word(t), H_R15, A_MEM(H_R15, t->sp));
	t->sp = 0;
}

/* An access that is in a group does not look at RSP again: the next one may be moved
 * together with this. */
static void move_sp(struct tr *t, int32_t by)
{
	t->sp += by;
	if (!t->run->group_of[t->n])
		e_move_sp(t);
}

void e_push(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned w = word(t), s = H_RAX;

	if (i->mem) {
		e_access(t, w, X86_ACC_R);
		a_load(t->a, w, H_RAX, RCX_MEM);
		a_store(t->a, w, A_GS(OFF(jit.tmp0)), H_RAX);
	}
	e_access_stack(t, w, X86_ACC_W, X86_RSP, -(int)w);
	if (i->mem)
		a_load(t->a, w, H_RAX, A_GS(OFF(jit.tmp0)));
	else
		s = g_source(t, w, i->rm, H_RAX);
	a_store(t->a, w, RCX_MEM, s);
	e_pre(t, 1u << X86_RSP);
	move_sp(t, -(int)w);
}

void e_push_I(struct tr *t)
{
	unsigned w = word(t);

	e_access_stack(t, w, X86_ACC_W, X86_RSP, -(int)w);
	a_ext(t->a, 0xc7, w, 0, RCX_MEM);
	a_d(t->a, (uint32_t)t->i->imm);
	e_pre(t, 1u << X86_RSP);
	move_sp(t, -(int)w);
}

void e_pop(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned w = word(t);

	e_access_stack(t, w, X86_ACC_R, X86_RSP, 0);
	e_pre(t, 1u << X86_RSP | 1u << i->rm);
	if (jit_home[i->rm] >= 0) {
		a_load(t->a, w, jit_home[i->rm], RCX_MEM);
	} else {
		a_load(t->a, w, H_RAX, RCX_MEM);
		g_store(t, w, i->rm, H_RAX);
	}
	if (i->rm != X86_RSP)
		move_sp(t, (int)w);
}

void e_leave(struct tr *t)
{
	unsigned w = word(t);

	e_access_stack(t, w, X86_ACC_R, X86_RBP, 0);
	e_pre(t, 1u << X86_RSP | 1u << X86_RBP);
	a_lea(t->a, w, H_R15, A_MEM(H_RBP, (int)w));
	a_load(t->a, w, H_RBP, RCX_MEM);
}

/*
 * Control transfers; each ends the block.
 */
static uint64_t near_target(const struct tr *t)
{
	uint64_t rip = t->run->rip[t->n + 1] + t->i->imm;

	return t->m64 ? rip : (uint32_t)rip;
}

void e_jmp(struct tr *t)
{
	e_goto(t, near_target(t));
	t->ended = true;
}

static uint8_t *jump_cc(struct tr *t)
{
	return a_jcc(t->a, (enum host_cc)(t->i->opcode & 15));
}

void e_jcc_row(struct tr *t)
{
	e_pre(t, 0);
	if (t->n + 1 < t->run->count) {
		e_side_exit(t, (enum host_cc)(t->i->opcode & 15), near_target(t));
		return;
	}
	e_branch(t, jump_cc, near_target(t));
	t->ended = true;
}

/* The count, which is in a register of its own. Flags stay. */
static void load_count(struct tr *t)
{
	a_mov(t->a, t->i->adsize, H_RCX, jit_home[X86_RCX]);
}

static uint8_t *jump_if_zero(struct tr *t)
{
	struct asm_buf *a = t->a;
	uint8_t *zero, *other, *place;

	load_count(t);
	zero = a_short(a, 0xe3); /* JRCXZ */
	other = a_short(a, 0xeb);
	a_here(a, zero);
	place = a_jmp(a);
	a_here(a, other);
	return place;
}

/* JCXZ: of ECX in 32-bit addressing, of RCX in 64-bit. */
void e_jcxz(struct tr *t)
{
	e_pre(t, 0);
	if (t->fl == FL_AGAIN)
		e_make_live(t);
	e_branch(t, jump_if_zero, near_target(t));
	t->ended = true;
}

static uint8_t *jump_counting(struct tr *t)
{
	struct asm_buf *a = t->a;
	unsigned count = jit_home[X86_RCX];
	uint8_t *zero, *other = NULL, *place;

	a_lea(a, t->i->adsize, count, A_MEM(count, -1));
	if (t->i->row->id != X86_OP_LOOP)
		other = a_short(a, t->i->row->id == X86_OP_LOOPE ? 0x75 : 0x74); /* JNZ, JZ */
	load_count(t);
	zero = a_short(a, 0xe3);
	place = a_jmp(a);
	a_here(a, zero);
	if (other)
		a_here(a, other);
	return place;
}

/* LOOP LOOPE LOOPNE */
void e_loop(struct tr *t)
{
	e_pre(t, 1u << X86_RCX);
	if (t->fl == FL_AGAIN)
		e_make_live(t);
	e_branch(t, jump_counting, near_target(t));
	t->ended = true;
}

/* Pushes the return address; its check is done, RCX points there. */
static void push_return(struct tr *t)
{
	uint64_t rip = t->run->rip[t->n + 1];
	unsigned w = word(t);

	if (w == 4 || rip == (uint64_t)(int32_t)rip) {
		a_ext(t->a, 0xc7, w, 0, RCX_MEM); /* MOV */
		a_d(t->a, (uint32_t)rip);
	} else {
		a_movi(t->a, H_RAX, rip);
		a_store(t->a, w, RCX_MEM, H_RAX);
	}
	e_pre(t, 1u << X86_RSP);
	move_sp(t, -(int)w);
	e_move_sp(t);
}

void e_call(struct tr *t)
{
	e_access_stack(t, word(t), X86_ACC_W, X86_RSP, -(int)word(t));
	push_return(t);
	e_goto(t, near_target(t));
	t->ended = true;
}

void e_ret(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned w = word(t);

	e_access_stack(t, w, X86_ACC_R, X86_RSP, 0);
	a_load(t->a, w, H_RCX, RCX_MEM);
	e_jump_to_rcx(t, (int)w + (i->row->id == X86_OP_RET_Iw ? (int)(uint16_t)i->imm : 0));
	t->ended = true;
}

/* The target of an indirect jump into RCX. */
static void load_target(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned w = word(t);

	if (i->mem) {
		e_access(t, w, X86_ACC_R);
		a_load(t->a, w, H_RCX, RCX_MEM);
	} else {
		e_clobber(t);
		g_load(t, w, H_RCX, i->rm);
		t->rcx_group = 0;
	}
}

void e_jmp_E(struct tr *t)
{
	load_target(t);
	e_jump_to_rcx(t, 0);
	t->ended = true;
}

void e_call_E(struct tr *t)
{
	load_target(t);
	e_lookup(t);
	a_store(t->a, 8, A_GS(OFF(jit.tmp0)), H_RAX);
	e_access_stack(t, word(t), X86_ACC_W, X86_RSP, -(int)word(t));
	push_return(t);
	a_ext(t->a, 0xff, 4, 4, A_GS(OFF(jit.tmp0)));
	t->ended = true;
}
