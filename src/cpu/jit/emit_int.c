/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emitters of arithmetic and moves. Each emitter does its memory access first,
 * then e_pre(), then the operation on the guest's registers in place.
 */
#include "src/cpu/jit/emit_ops.h"

void lock_prefix(struct tr *t)
{
	if (t->i->lock)
		a_b(t->a, 0xf0);
}

/* A register that holds guest register @g for reading, @spare if it lives in
 * memory. */
unsigned g_source(struct tr *t, unsigned size, unsigned g, unsigned spare)
{
	if (jit_home[g] >= 0)
		return jit_home[g];
	g_load(t, size, spare, g);
	return spare;
}

/* The ALU operation's number and the flags it defines. */
static enum a_alu alu_of(const struct x86_insn *i)
{
	if (i->opcode >= 0x80 && i->opcode <= 0x83)
		return i->modrm >> 3 & 7;
	return i->opcode >> 3 & 7;
}

/* @imm: the source is an immediate, else guest register @b. @a: the destination. */
static struct fl_def alu_def(const struct x86_insn *i, unsigned a, bool imm, unsigned b)
{
	struct fl_def d = { .size = i->opsize, .a = (uint8_t)a, .imm = imm, .b = (uint8_t)b,
			    .value = (int32_t)i->imm };

	switch (alu_of(i)) {
	case ALU_ADD: d.kind = DEF_ADD; break;
	case ALU_SUB: d.kind = DEF_SUB; break;
	case ALU_CMP: d.kind = DEF_CMP; return d;
	case ALU_AND: case ALU_OR: case ALU_XOR:
		/* The result against itself: same SF ZF PF, CF and OF clear. */
		return (struct fl_def){ .kind = DEF_TEST, .size = i->opsize, .a = (uint8_t)a,
					.b = (uint8_t)a };
	default: return DEF_UNKNOWN;
	}
	if (!imm && a == b)
		return DEF_UNKNOWN; /* the source is gone */
	return d;
}

void e_alu_GE(struct tr *t)
{
	const struct x86_insn *i = t->i;
	enum a_alu op = alu_of(i);
	struct a_rm src = g_rm(i->rm);
	unsigned d;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, op == ALU_CMP ? 0 : 1u << i->reg);
	d = g_begin(t, i->opsize, i->reg);
	a_alu(t->a, op, i->opsize, d, src);
	if (op != ALU_CMP)
		g_end(t, i->opsize, i->reg, d);
	e_def(t, i->mem ? (op == ALU_AND || op == ALU_OR || op == ALU_XOR
				   ? alu_def(i, i->reg, false, i->reg)
				   : DEF_UNKNOWN)
			: alu_def(i, i->reg, false, i->rm));
}

void e_alu_EG(struct tr *t)
{
	const struct x86_insn *i = t->i;
	enum a_alu op = alu_of(i);
	unsigned d;

	if (i->mem) {
		e_access(t, i->opsize, op == ALU_CMP ? X86_ACC_R : X86_ACC_W);
		e_pre(t, 0);
		d = g_source(t, i->opsize, i->reg, H_RAX);
		lock_prefix(t);
		a_rr(t->a, op << 3 | (i->opsize == 1 ? 0 : 1), i->opsize, d, RCX_MEM);
		e_def(t, DEF_UNKNOWN);
		return;
	}
	e_pre(t, op == ALU_CMP ? 0 : 1u << i->rm);
	d = g_begin(t, i->opsize, i->rm);
	a_alu(t->a, op, i->opsize, d, g_rm(i->reg));
	if (op != ALU_CMP)
		g_end(t, i->opsize, i->rm, d);
	e_def(t, alu_def(i, i->rm, false, i->reg));
}

void e_alu_EI(struct tr *t)
{
	const struct x86_insn *i = t->i;
	enum a_alu op = alu_of(i);
	unsigned d;

	if (i->mem) {
		e_access(t, i->opsize, op == ALU_CMP ? X86_ACC_R : X86_ACC_W);
		e_pre(t, 0);
		lock_prefix(t);
		a_alui(t->a, op, i->opsize, RCX_MEM, (int32_t)i->imm);
		e_def(t, DEF_UNKNOWN);
		return;
	}
	e_pre(t, op == ALU_CMP ? 0 : 1u << i->rm);
	d = g_begin(t, i->opsize, i->rm);
	a_alui(t->a, op, i->opsize, A_REG(d), (int32_t)i->imm);
	if (op != ALU_CMP)
		g_end(t, i->opsize, i->rm, d);
	e_def(t, alu_def(i, i->rm, true, 0));
}

void e_test_EG(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned op = i->opsize == 1 ? 0x84 : 0x85, s;

	if (i->mem)
		e_access(t, i->opsize, X86_ACC_R);
	e_pre(t, 0);
	s = g_source(t, i->opsize, i->reg, H_RAX);
	a_rr(t->a, op, i->opsize, s, i->mem ? RCX_MEM : g_rm(i->rm));
	e_def(t, i->mem ? DEF_UNKNOWN
			: (struct fl_def){ .kind = DEF_TEST, .size = i->opsize, .a = i->rm,
					   .b = i->reg });
}

void e_test_EI(struct tr *t)
{
	const struct x86_insn *i = t->i;

	if (i->mem)
		e_access(t, i->opsize, X86_ACC_R);
	e_pre(t, 0);
	a_ext(t->a, i->opsize == 1 ? 0xf6 : 0xf7, i->opsize, 0, i->mem ? RCX_MEM : g_rm(i->rm));
	a_imm(t->a, i->opsize, (uint32_t)i->imm);
	e_def(t, i->mem ? DEF_UNKNOWN
			: (struct fl_def){ .kind = DEF_TEST, .size = i->opsize, .a = i->rm,
					   .imm = true, .value = (int32_t)i->imm });
}

/* INC, DEC, NEG, NOT: group number in ModRM.reg; one operand read and written. */
static void one_operand(struct tr *t, unsigned opcode, unsigned ext, bool flags)
{
	const struct x86_insn *i = t->i;
	unsigned d;

	if (i->opsize == 1)
		opcode &= ~1u;
	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_W);
		e_pre(t, 0);
		lock_prefix(t);
		a_ext(t->a, opcode, i->opsize, ext, RCX_MEM);
	} else {
		e_pre(t, 1u << i->rm);
		d = g_begin(t, i->opsize, i->rm);
		a_ext(t->a, opcode, i->opsize, ext, A_REG(d));
		g_end(t, i->opsize, i->rm, d);
	}
	if (flags)
		e_def(t, DEF_UNKNOWN);
}

void e_inc(struct tr *t) { one_operand(t, 0xff, 0, true); }
void e_dec(struct tr *t) { one_operand(t, 0xff, 1, true); }
void e_not(struct tr *t) { one_operand(t, 0xf7, 2, false); }
void e_neg(struct tr *t) { one_operand(t, 0xf7, 3, true); }

/*
 * Moves.
 */
void e_mov_EG(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned s;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_W);
		s = g_source(t, i->opsize, i->reg, H_RAX);
		a_store(t->a, i->opsize, RCX_MEM, s);
		return;
	}
	e_pre(t, 1u << i->rm);
	if (jit_home[i->rm] >= 0 || i->opsize == 8) {
		s = g_source(t, i->opsize, i->reg, H_RAX);
	} else {
		g_load(t, i->opsize, H_RAX, i->reg); /* zero-extends 32 bits */
		s = H_RAX;
	}
	g_store(t, i->opsize, i->rm, s);
}

void e_mov_GE(struct tr *t)
{
	const struct x86_insn *i = t->i;
	struct a_rm src = g_rm(i->rm);

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, 1u << i->reg);
	if (jit_home[i->reg] >= 0) {
		a_load(t->a, i->opsize, jit_home[i->reg], src);
	} else {
		a_load(t->a, i->opsize, H_RAX, src);
		g_store(t, i->opsize, i->reg, H_RAX);
	}
}

void e_mov_EI(struct tr *t)
{
	const struct x86_insn *i = t->i;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_W);
		a_ext(t->a, i->opsize == 1 ? 0xc6 : 0xc7, i->opsize, 0, RCX_MEM);
		a_imm(t->a, i->opsize, i->imm);
		return;
	}
	e_pre(t, 1u << i->rm);
	if (i->opsize >= 4) {
		uint64_t v = i->opsize == 4 ? (uint32_t)i->imm : i->imm;
		unsigned d = jit_home[i->rm] >= 0 ? (unsigned)jit_home[i->rm] : H_RAX;

		if (t->b->checked && jit_imm_from_memory(i)) {
			a_movi(t->a, H_RCX, (uint64_t)(uintptr_t)e_code_at(t, t->n + 1) - i->opsize);
			a_load(t->a, i->opsize, d, A_MEM(H_RCX, 0));
		} else {
			a_movi(t->a, d, v);
		}
		g_end(t, 8, i->rm, d);
	} else {
		a_ext(t->a, i->opsize == 1 ? 0xc6 : 0xc7, i->opsize, 0, g_rm(i->rm));
		a_imm(t->a, i->opsize, i->imm);
	}
}

static void move_extended(struct tr *t, unsigned from, bool sign)
{
	const struct x86_insn *i = t->i;
	struct a_rm src;
	unsigned d;

	if (i->mem) {
		e_access(t, from, X86_ACC_R);
		src = RCX_MEM;
	} else if (i->rm >= X86_REG_HIGH8) {
		src = A_REG(H_RCX);
	} else {
		src = g_rm(i->rm);
	}
	e_pre(t, 1u << i->reg);
	if (!i->mem && i->rm >= X86_REG_HIGH8) {
		g_load(t, 4, H_RCX, i->rm & 15);
		a_rorx(t->a, 4, H_RCX, H_RCX, 8);
	}
	d = jit_home[i->reg] >= 0 ? (unsigned)jit_home[i->reg] : H_RAX;
	if (from == 4)
		a_rr(t->a, 0x63, i->opsize, d, src);
	else
		a_movx(t->a, sign, i->opsize, d, from, src);
	g_end(t, i->opsize, i->reg, d);
}

void e_movzx_b(struct tr *t) { move_extended(t, 1, false); }
void e_movzx_w(struct tr *t) { move_extended(t, 2, false); }
void e_movsx_b(struct tr *t) { move_extended(t, 1, true); }
void e_movsx_w(struct tr *t) { move_extended(t, 2, true); }
void e_movsxd(struct tr *t) { move_extended(t, 4, true); }

bool e_lea_is_plain(const struct x86_insn *i)
{
	return jit_home[i->reg] >= 0 && i->opsize >= 4 && i->mem_base < 16 &&
	       jit_home[i->mem_base] >= 0 && (i->mem_index >= 16 || jit_home[i->mem_index] >= 0);
}

void e_lea(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_pre(t, 1u << i->reg);
	if (e_lea_is_plain(i)) {
		int index = i->mem_index < 16 ? jit_home[i->mem_index] : -1;

		/* The shorter of address and operand size; a 32-bit result is
		 * zero-extended either way. */
		a_lea(t->a, i->adsize == 8 && i->opsize == 8 ? 8 : 4, jit_home[i->reg],
		      (struct a_rm){ .base = jit_home[i->mem_base], .index = index,
				     .scale = i->mem_scale, .disp = (int32_t)i->disp });
		return;
	}
	e_ea(t);
	if (i->opsize == 4)
		a_mov(t->a, 4, H_RCX, H_RCX);
	g_store(t, i->opsize, i->reg, H_RCX);
}

void e_xchg(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned s;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_W);
		e_pre(t, 1u << i->reg);
		s = g_begin(t, i->opsize, i->reg);
		a_rr(t->a, i->opsize == 1 ? 0x86 : 0x87, i->opsize, s, RCX_MEM);
		g_end(t, i->opsize, i->reg, s);
		return;
	}
	e_pre(t, 1u << i->reg | 1u << i->rm);
	g_load(t, i->opsize, H_RAX, i->rm);
	g_load(t, i->opsize, H_RCX, i->reg);
	g_store(t, i->opsize, i->rm, H_RCX);
	g_store(t, i->opsize, i->reg, H_RAX);
}

void e_xchg_a(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_pre(t, 1u << X86_RAX | 1u << i->rm);
	g_load(t, i->opsize, H_RAX, i->rm);
	g_load(t, i->opsize, H_RCX, X86_RAX);
	g_store(t, i->opsize, i->rm, H_RCX);
	g_store(t, i->opsize, X86_RAX, H_RAX);
}

void e_cmpxchg(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned s;

	e_access(t, i->opsize, X86_ACC_W);
	e_pre(t, 1u << X86_RAX);
	s = jit_home[i->reg] >= 0 ? (unsigned)jit_home[i->reg] : H_RDX;
	if (s == H_RDX && i->reg != X86_RDX) {
		/* No third scratch register: RDX lends itself. */
		a_store(t->a, 8, A_GS(OFF(jit.tmp0)), H_RDX);
		g_load(t, 8, H_RDX, i->reg);
	}
	g_load(t, 8, H_RAX, X86_RAX);
	lock_prefix(t);
	a_rr(t->a, A_0F | (i->opsize == 1 ? 0xb0 : 0xb1), i->opsize, s, RCX_MEM);
	g_store(t, 8, X86_RAX, H_RAX);
	if (s == H_RDX && i->reg != X86_RDX)
		a_load(t->a, 8, H_RDX, A_GS(OFF(jit.tmp0)));
	e_def(t, DEF_UNKNOWN);
}

void e_xadd(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned s;

	e_access(t, i->opsize, X86_ACC_W);
	e_pre(t, 1u << i->reg);
	s = g_begin(t, i->opsize, i->reg);
	lock_prefix(t);
	a_rr(t->a, A_0F | (i->opsize == 1 ? 0xc0 : 0xc1), i->opsize, s, RCX_MEM);
	g_end(t, i->opsize, i->reg, s);
	e_def(t, DEF_UNKNOWN);
}

void e_bswap(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned d;

	e_pre(t, 1u << i->rm);
	d = g_begin(t, i->opsize, i->rm);
	a_bswap(t->a, i->opsize, d);
	g_end(t, i->opsize, i->rm, d);
}

/* CBW CWDE CDQE and CWD CDQ CQO. */
void e_cbw(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_pre(t, 1u << X86_RAX);
	if (i->opsize == 8)
		a_rr(t->a, 0x63, 8, H_R10, A_REG(H_R10));
	else
		a_movx(t->a, true, i->opsize, H_R10, i->opsize / 2, A_REG(H_R10));
}

void e_cwd(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_pre(t, 1u << X86_RDX);
	g_load(t, i->opsize, H_RAX, X86_RAX);
	if (i->opsize == 2)
		a_b(t->a, 0x66);
	else if (i->opsize == 8)
		a_b(t->a, 0x48);
	a_b(t->a, 0x99);
}
