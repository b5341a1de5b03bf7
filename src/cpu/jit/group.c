/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One check for several accesses: those of a block that hang from the same base
 * register at known distances, stack operations among them. The first one checks
 * that the whole span lies in one page that allows what all of them do, and keeps
 * the host address (jit.group); the others cannot fault and cost no flags. Where
 * the check fails the block goes on in a translation without groups
 * (JIT_KEY_PLAIN), in which each access is checked and faults by itself.
 */
#include "src/cpu/jit/emit_ops.h"

#define SPAN_MAX ((int)X86_JIT_SPAN)

/* How an instruction uses the stack: bytes it moves RSP by before the access, and
 * all in all. */
static bool stack_use(const struct x86_insn *i, int *before, int *total)
{
	switch (i->row->id) {
	case X86_OP_PUSH_Ev: case X86_OP_CALL_Ev:
		if (i->mem)
			return false;
		/* fall through */
	case X86_OP_PUSH_Zv: case X86_OP_PUSH_Iz: case X86_OP_PUSH_Ib: case X86_OP_PUSHF:
	case X86_OP_CALL_Jz:
		*before = *total = -8;
		return true;
	case X86_OP_POP_Zv: case X86_OP_RET: case X86_OP_RET_Iw:
		*before = 0;
		*total = 8;
		return true;
	default:
		return false;
	}
}

static bool is_aligned_vec(const struct x86_insn *i)
{
	return i->row->attr & X86_A_ALIGNVEC ||
	       (i->row->attr & X86_A_ALIGN16 && i->row->vex == X86_LEGACY);
}

/* May the access of @i belong to a group? Fills what the group hangs from, the
 * distance from the base, the most bytes it touches. */
static bool candidate(const struct x86_insn *i, uint32_t key, struct jit_group *g, int64_t *off,
		      unsigned *size)
{
	emit_fn fn = jit_emitter(i, key);
	int before, total;

	if (!fn)
		return false;
	*g = (struct jit_group){ .base = X86_RSP, .index = 16 };
	*size = 8;
	if (stack_use(i, &before, &total)) {
		*off = before;
		g->write = before < 0;
		return true;
	}
	if (!i->mem || i->adsize != 8 || i->seg >= X86_FS || i->mem_base >= 16 || fn == e_lea ||
	    fn == e_nop || fn == e_bt_string || fn == e_cmpxchg_wide || fn == e_leave ||
	    i->row->id == X86_OP_PUSH_Ev || i->row->id == X86_OP_CALL_Ev ||
	    is_aligned_vec(i) || i->disp != (int32_t)i->disp)
		return false;
	g->base = i->mem_base;
	if (i->mem_index < 16) {
		g->index = i->mem_index;
		g->scale = i->mem_scale;
	}
	g->write = !(i->row->attr & X86_A_NOWRITE) && jit_writes_memory(i);
	*off = i->disp;
	if (fn == e_vec)
		*size = i->row->mem_bytes ? i->row->mem_bytes : 16u << i->vl;
	else if (fn == e_x87)
		*size = 16;
	return true;
}

static bool same_roots(const struct jit_group *a, const struct jit_group *b)
{
	return a->base == b->base && a->index == b->index && a->scale == b->scale;
}

/* Follows the base over the instruction: by how much it moves, or false if that is
 * not known. */
static bool follow(const struct x86_insn *i, const struct jit_group *g, int64_t *delta)
{
	uint32_t roots = 1u << g->base | (g->index < 16 ? 1u << g->index : 0);
	int before, total;

	if (!(jit_writes(i) & roots))
		return true;
	if (g->index < 16 && jit_writes(i) & 1u << g->index)
		return false;
	if (stack_use(i, &before, &total) && g->base == X86_RSP) {
		*delta += total;
		return i->row->id != X86_OP_POP_Zv || i->rm != X86_RSP;
	}
	if (i->opsize != 8)
		return false;
	switch (i->row->id) {
	case X86_OP_ADD_EvIb: case X86_OP_ADD_EvIz:
		*delta += (int32_t)i->imm;
		return !i->mem;
	case X86_OP_SUB_EvIb: case X86_OP_SUB_EvIz:
		*delta -= (int32_t)i->imm;
		return !i->mem;
	case X86_OP_LEA:
		*delta += i->disp;
		return i->adsize == 8 && i->reg == g->base && i->mem_base == g->base &&
		       i->mem_index >= 16;
	default:
		return false;
	}
}

/* Members from instruction @first on; the number of them. */
static unsigned gather(struct jit_run *run, uint32_t key, unsigned first, struct jit_group *g,
		       uint64_t *members, int32_t *offs)
{
	int64_t delta = 0, lo = 0, hi = 0;
	unsigned count = 0;
	bool left = false; /* some that ran the first do not come here */

	for (unsigned n = first; n < run->count; n++) {
		const struct x86_insn *i = &run->insn[n];
		struct jit_group other;
		unsigned size;
		int64_t off;

		if (!jit_emitter(i, key))
			break;
		if (!run->group_of[n] && candidate(i, key, &other, &off, &size) &&
		    (n == first || same_roots(g, &other))) {
			int64_t l, h;

			off += delta;
			if (n == first) {
				*g = other;
				lo = off;
				hi = off + size;
			}
			l = off < lo ? off : lo;
			h = off + size > hi ? off + size : hi;
			/* Nor may a store that is not always made decide about loads: what
			 * is read-only would be refused every time. */
			if (h - l <= SPAN_MAX && l == (int32_t)l &&
			    !(left && other.write && !g->write)) {
				lo = l;
				hi = h;
				g->write |= other.write;
				*members |= 1ull << n;
				offs[n] = (int32_t)off;
				count++;
			}
		}
		left |= jit_is_side_exit(i, key);
		if (!follow(i, g, &delta))
			break;
	}
	g->lo = (int32_t)lo;
	g->span = (uint16_t)(hi - lo);
	return count;
}

void jit_plan_groups(struct jit_run *run, uint32_t key)
{
	int32_t offs[JIT_MAX_INSNS];

	memset(run->group_of, 0, sizeof(run->group_of));
	run->ngroups = 0;
	if (!(key & X86_MODE_64) || key & JIT_KEY_PLAIN)
		return;
	for (unsigned n = 0; n < run->count && run->ngroups < JIT_GROUPS; n++) {
		struct jit_group g, unused;
		uint64_t members = 0;
		unsigned size;
		int64_t off;

		if (run->group_of[n] || !candidate(&run->insn[n], key, &unused, &off, &size))
			continue;
		if (gather(run, key, n, &g, &members, offs) < 2)
			continue;
		g.first = (uint8_t)n;
		run->group[run->ngroups++] = g;
		for (unsigned k = n; k < run->count; k++) {
			if (members >> k & 1) {
				run->group_of[k] = (uint8_t)run->ngroups;
				run->group_off[k] = offs[k] - g.lo;
			}
		}
	}
}

bool jit_group_checked(const struct jit_run *run, unsigned n)
{
	return run->group_of[n] && run->group[run->group_of[n] - 1].first != n;
}

/* The address of the group's lowest byte into RCX. */
static void emit_lowest(struct tr *t, const struct jit_group *g)
{
	int base = jit_home[g->base], index = -1;

	if (base < 0) {
		a_load(t->a, 8, H_RCX, g_rm(g->base));
		base = H_RCX;
	}
	if (g->index < 16) {
		index = jit_home[g->index];
		if (index < 0) {
			a_load(t->a, 8, H_RAX, g_rm(g->index));
			index = H_RAX;
		}
	}
	a_lea(t->a, 8, H_RCX, (struct a_rm){ .base = base, .index = index, .scale = g->scale,
					     .disp = g->lo });
}

/* Is RCX after instruction @n what it was before, or, where that belongs to a group,
 * the group's address? */
static bool keeps_rcx(const struct tr *t, unsigned n)
{
	const struct x86_insn *i = &t->run->insn[n];
	emit_fn fn = jit_emitter(i, t->key);
	int before, total;

	if (i->reg >= X86_REG_HIGH8 || (!i->mem && i->rm >= X86_REG_HIGH8))
		return false;
	if (!t->run->group_of[n] && ((i->mem && fn != e_lea) || stack_use(i, &before, &total)))
		return false;
	if (fn == e_mov_EI)
		return !(t->b->checked && jit_imm_from_memory(i));
	if (fn == e_lea)
		return e_lea_is_plain(i);
	if (fn == e_push)
		return !i->mem;
	if (fn == e_jcc_row)
		return n + 1 < t->run->count;
	return fn == e_alu_GE || fn == e_alu_EG || fn == e_alu_EI || fn == e_test_EG ||
	       fn == e_test_EI || fn == e_inc || fn == e_dec || fn == e_not || fn == e_neg ||
	       fn == e_mov_EG || fn == e_mov_GE || fn == e_movzx_b || fn == e_movzx_w ||
	       fn == e_movsx_b || fn == e_movsx_w || fn == e_movsxd || fn == e_push_I ||
	       fn == e_pop || fn == e_shift_I || fn == e_shift_1 || fn == e_imul_GE ||
	       fn == e_imul_GEI || fn == e_setcc || fn == e_cmov || fn == e_bswap ||
	       fn == e_cbw || fn == e_cwd || fn == e_nop;
}

bool e_may_lag(const struct tr *t)
{
	const struct x86_insn *i = t->i;
	emit_fn fn = jit_emitter(i, t->key);
	int before, total;
	bool stack = stack_use(i, &before, &total);

	if (fn != e_ret && fn != e_call && !keeps_rcx(t, t->n))
		return false;
	/* Its own address is RCX's then. */
	if ((i->mem || stack) && !jit_group_checked(t->run, t->n))
		return false;
	return fn != e_jcc_row && i->reg != X86_RSP && (i->mem || i->rm != X86_RSP);
}

/* Does the emitter make the access before it uses RCX for anything else? */
static bool accesses_first(const struct tr *t, unsigned n)
{
	emit_fn fn = jit_emitter(&t->run->insn[n], t->key);

	return keeps_rcx(t, n) || fn == e_call || fn == e_ret;
}

/* Does RCX hold the group's address from its first access to its last? */
static bool lasts_in_rcx(const struct tr *t, unsigned id)
{
	const struct jit_run *run = t->run;
	unsigned first = run->group[id - 1].first;
	bool kept = true;

	for (unsigned n = first; n < run->count; n++) {
		if (run->group_of[n] == id && n != first && !(kept && accesses_first(t, n)))
			return false;
		kept &= keeps_rcx(t, n) && (!run->group_of[n] || run->group_of[n] == id);
	}
	return true;
}

void e_group_access(struct tr *t)
{
	unsigned id = t->run->group_of[t->n];
	const struct jit_group *g = &t->run->group[id - 1];
	struct a_rm kept = A_GS(OFF(jit.group) + 8 * (int)(id - 1));

	if (g->first == t->n) {
		e_clobber(t);
		emit_lowest(t, g);
		e_check_group(t, g->span, g->write ? X86_ACC_W : X86_ACC_R);
		if (!lasts_in_rcx(t, id))
			a_store(t->a, 8, kept, H_RCX);
	} else if (t->rcx_group != id || t->rcx_n != t->n) {
		a_load(t->a, 8, H_RCX, kept);
	}
	t->off = t->run->group_off[t->n];
}

void e_rcx_after(struct tr *t)
{
	if (!keeps_rcx(t, t->n))
		return;
	if (t->run->group_of[t->n])
		t->rcx_group = t->run->group_of[t->n];
	else if (t->rcx_n != t->n)
		return;
	t->rcx_n = t->n + 1;
}

void e_rcx_exact(struct tr *t)
{
	if (t->off)
		a_lea(t->a, 8, H_RCX, A_MEM(H_RCX, t->off));
	t->off = 0;
}
