/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emitters of general-purpose instructions: one per shape of row, named in the
 * table at the end. Each does its memory access first, then e_pre(), then the
 * operation on the guest's registers in place.
 */
#include "src/cpu/jit/emit.h"

static unsigned imm_size(const struct x86_insn *i)
{
	return i->opsize;
}

static void lock_prefix(struct tr *t)
{
	if (t->i->lock)
		a_b(t->a, 0xf0);
}

/* A register that holds guest register @g for reading, @spare if it lives in
 * memory. */
static unsigned g_source(struct tr *t, unsigned size, unsigned g, unsigned spare)
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

static void e_alu_GE(struct tr *t)
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

static void e_alu_EG(struct tr *t)
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

static void e_alu_EI(struct tr *t)
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

static void e_test_EG(struct tr *t)
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

static void e_test_EI(struct tr *t)
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

static void e_inc(struct tr *t) { one_operand(t, 0xff, 0, true); }
static void e_dec(struct tr *t) { one_operand(t, 0xff, 1, true); }
static void e_not(struct tr *t) { one_operand(t, 0xf7, 2, false); }
static void e_neg(struct tr *t) { one_operand(t, 0xf7, 3, true); }

/*
 * Moves.
 */
static void e_mov_EG(struct tr *t)
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
	s = g_source(t, i->opsize, i->reg, H_RAX);
	g_store(t, i->opsize, i->rm, s);
}

static void e_mov_GE(struct tr *t)
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

static void e_mov_EI(struct tr *t)
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

		a_movi(t->a, d, v);
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

static void e_movzx_b(struct tr *t) { move_extended(t, 1, false); }
static void e_movzx_w(struct tr *t) { move_extended(t, 2, false); }
static void e_movsx_b(struct tr *t) { move_extended(t, 1, true); }
static void e_movsx_w(struct tr *t) { move_extended(t, 2, true); }
static void e_movsxd(struct tr *t) { move_extended(t, 4, true); }

static void e_lea(struct tr *t)
{
	const struct x86_insn *i = t->i;
	int base = i->mem_base < 16 ? jit_home[i->mem_base] : -1;
	int index = i->mem_index < 16 ? jit_home[i->mem_index] : -1;

	e_pre(t, 1u << i->reg);
	if (jit_home[i->reg] >= 0 && i->opsize >= 4 && i->mem_base < 16 && base >= 0 &&
	    (i->mem_index >= 16 || index >= 0)) {
		/* The shorter of address and operand size; a 32-bit result is
		 * zero-extended either way. */
		a_lea(t->a, i->adsize == 8 && i->opsize == 8 ? 8 : 4, jit_home[i->reg],
		      (struct a_rm){ .base = base, .index = index, .scale = i->mem_scale,
				     .disp = (int32_t)i->disp });
		return;
	}
	e_ea(t);
	if (i->opsize == 4)
		a_mov(t->a, 4, H_RCX, H_RCX);
	g_store(t, i->opsize, i->reg, H_RCX);
}

static void e_xchg(struct tr *t)
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

static void e_xchg_a(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_pre(t, 1u << X86_RAX | 1u << i->rm);
	g_load(t, i->opsize, H_RAX, i->rm);
	g_load(t, i->opsize, H_RCX, X86_RAX);
	g_store(t, i->opsize, i->rm, H_RCX);
	g_store(t, i->opsize, X86_RAX, H_RAX);
}

static void e_cmpxchg(struct tr *t)
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

static void e_xadd(struct tr *t)
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

static void e_bswap(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned d;

	e_pre(t, 1u << i->rm);
	d = g_begin(t, i->opsize, i->rm);
	a_b(t->a, 0x40 | (i->opsize == 8 ? 8 : 0) | (d >> 3));
	a_b(t->a, 0x0f);
	a_b(t->a, 0xc8 | (d & 7));
	g_end(t, i->opsize, i->rm, d);
}

/* CBW CWDE CDQE and CWD CDQ CQO. */
static void e_cbw(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_pre(t, 1u << X86_RAX);
	if (i->opsize == 8)
		a_rr(t->a, 0x63, 8, H_R10, A_REG(H_R10));
	else
		a_movx(t->a, true, i->opsize, H_R10, i->opsize / 2, A_REG(H_R10));
}

static void e_cwd(struct tr *t)
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

/*
 * Shifts, multiplication, bits.
 */
static void shift_common(struct tr *t, unsigned opcode, bool imm)
{
	const struct x86_insn *i = t->i;
	unsigned d = 0, ext = i->modrm >> 3 & 7;

	if (i->opsize == 1)
		opcode &= ~1u;
	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_W);
		e_pre(t, 0);
		a_ext(t->a, opcode, i->opsize, ext, RCX_MEM);
	} else {
		e_pre(t, 1u << i->rm);
		d = g_begin(t, i->opsize, i->rm);
		if (opcode >= 0xd2)
			g_load(t, 4, H_RCX, X86_RCX);
		a_ext(t->a, opcode, i->opsize, ext, A_REG(d));
	}
	if (imm)
		a_b(t->a, (uint8_t)i->imm);
	if (!i->mem)
		g_end(t, i->opsize, i->rm, d);
	/* A count of zero leaves RFLAGS, which e_pre() has made the guest's if
	 * anybody wants them. */
	e_def(t, DEF_UNKNOWN);
}

static void e_shift_I(struct tr *t) { shift_common(t, 0xc1, true); }
static void e_shift_1(struct tr *t) { shift_common(t, 0xd1, false); }
static void e_shift_C(struct tr *t) { shift_common(t, 0xd3, false); }

static void e_shld(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool imm = i->row->id == X86_OP_SHLD_Ib || i->row->id == X86_OP_SHRD_Ib;
	unsigned d, s;

	e_pre(t, 1u << i->rm);
	d = g_begin(t, i->opsize, i->rm);
	s = jit_home[i->reg];
	if (!imm)
		g_load(t, 4, H_RCX, X86_RCX);
	a_rr(t->a, A_0F | i->opcode, i->opsize, s, A_REG(d));
	if (imm)
		a_b(t->a, (uint8_t)i->imm);
	g_end(t, i->opsize, i->rm, d);
	e_def(t, DEF_UNKNOWN);
}

static void e_imul_GE(struct tr *t)
{
	const struct x86_insn *i = t->i;
	struct a_rm src = g_rm(i->rm);
	unsigned d;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, 1u << i->reg);
	d = g_begin(t, i->opsize, i->reg);
	a_rr(t->a, A_0F | 0xaf, i->opsize, d, src);
	g_end(t, i->opsize, i->reg, d);
	e_def(t, DEF_UNKNOWN);
}

static void e_imul_GEI(struct tr *t)
{
	const struct x86_insn *i = t->i;
	struct a_rm src = g_rm(i->rm);
	bool byte = i->row->id == X86_OP_IMUL_GvEvIb;
	unsigned d;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, 1u << i->reg);
	d = jit_home[i->reg] >= 0 ? (unsigned)jit_home[i->reg] : H_RAX;
	if (d == H_RAX && i->opsize == 2)
		g_load(t, 8, H_RAX, i->reg);
	a_rr(t->a, byte ? 0x6b : 0x69, i->opsize, d, src);
	a_imm(t->a, byte ? 1 : imm_size(i), i->imm);
	g_end(t, i->opsize, i->reg, d);
	e_def(t, DEF_UNKNOWN);
}

/* MUL, IMUL with one operand: RDX:RAX = RAX * operand. */
static void e_mul(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned ext = i->modrm >> 3 & 7;

	if (i->mem)
		e_access(t, i->opsize, X86_ACC_R);
	e_pre(t, 1u << X86_RAX | 1u << X86_RDX);
	g_load(t, 8, H_RAX, X86_RAX);
	a_ext(t->a, i->opsize == 1 ? 0xf6 : 0xf7, i->opsize, ext,
	      i->mem ? RCX_MEM : g_rm(i->rm));
	g_store(t, i->opsize == 1 ? 2 : i->opsize, X86_RAX, H_RAX);
	e_def(t, DEF_UNKNOWN);
}

/* DIV, IDIV of 32 and 64 bits where the quotient surely fits; else C divides, or
 * raises #DE. The divisor is in RCX. */
static void e_div(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool sign = i->modrm >> 3 & 1;
	struct asm_buf *a = t->a;
	struct ool *o;
	uint8_t *from[2];

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		a_load(a, i->opsize, H_RCX, RCX_MEM);
	} else {
		e_clobber(t);
		g_load(t, i->opsize, H_RCX, i->rm);
	}
	if (sign) {
		/* The dividend is RAX sign-extended, the divisor neither 0 nor -1. */
		g_load(t, i->opsize, H_RAX, X86_RAX);
		a_ext(a, 0xc1, i->opsize, 7, A_REG(H_RAX)); /* SAR */
		a_b(a, i->opsize == 8 ? 63 : 31);
		a_alu(a, ALU_CMP, i->opsize, H_RAX, A_REG(H_RDX));
		from[0] = a_jcc(a, CC_NE);
		a_lea(a, i->opsize, H_RAX, A_MEM(H_RCX, 1));
		a_alui(a, ALU_CMP, i->opsize, A_REG(H_RAX), 1);
		from[1] = a_jcc(a, CC_BE);
	} else {
		/* The dividend's upper half is below the divisor, which is so not 0. */
		a_alu(a, ALU_CMP, i->opsize, H_RDX, A_REG(H_RCX));
		from[0] = a_jcc(a, CC_AE);
		from[1] = NULL;
	}
	o = e_ool(t, OOL_CALL, from[0]);
	o->from[1] = from[1];
	e_pre(t, 1u << X86_RAX | 1u << X86_RDX);
	g_load(t, i->opsize, H_RAX, X86_RAX);
	a_ext(a, 0xf7, i->opsize, sign ? 7 : 6, A_REG(H_RCX));
	g_store(t, i->opsize, X86_RAX, H_RAX);
	e_def(t, DEF_UNKNOWN);
	o->resume = a->p;
}

/* BT BTS BTR BTC with a register operand, or with a constant on memory. */
static void e_bt(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool imm = i->opcode == 0xba, write = !(i->row->attr & X86_A_NOWRITE);
	unsigned ext = imm ? i->modrm >> 3 & 7 : i->opcode >> 3 & 7, d = 0, s = 0;
	struct a_rm rm = RCX_MEM;

	if (i->mem) {
		e_access(t, i->opsize, write ? X86_ACC_W : X86_ACC_R);
		e_pre(t, 0);
	} else {
		e_pre(t, write ? 1u << i->rm : 0);
		d = g_begin(t, i->opsize, i->rm);
		rm = A_REG(d);
	}
	if (!imm)
		s = g_source(t, i->opsize, i->reg, H_RCX);
	lock_prefix(t);
	if (imm) {
		a_ext(t->a, A_0F | 0xba, i->opsize, ext, rm);
		a_b(t->a, (uint8_t)i->imm);
	} else {
		a_rr(t->a, A_0F | i->opcode, i->opsize, s, rm);
	}
	if (!i->mem && write)
		g_end(t, i->opsize, i->rm, d);
	e_def(t, DEF_UNKNOWN);
}

/* BSF BSR TZCNT LZCNT POPCNT */
static void e_count(struct tr *t)
{
	const struct x86_insn *i = t->i;
	struct a_rm src = g_rm(i->rm);
	unsigned op = A_0F | i->opcode, d;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, 1u << i->reg);
	d = g_begin(t, i->opsize, i->reg);
	if (i->pp == X86_PP_F3)
		op |= A_PF3;
	a_rr(t->a, op, i->opsize, d, src);
	g_end(t, i->opsize, i->reg, d);
	e_def(t, DEF_UNKNOWN);
}

/* SHLX SHRX SARX: legacy shifts would cost the flags. */
static void vex_3op(struct tr *t, unsigned reg, unsigned vvvv, unsigned rm)
{
	const struct x86_insn *i = t->i;
	static const uint8_t pp[] = { [X86_PP_NONE] = 0, [X86_PP_66] = 1, [X86_PP_F3] = 2,
				      [X86_PP_F2] = 3 };

	a_b(t->a, 0xc4);
	a_b(t->a, (reg & 8 ? 0 : 0x80) | 0x40 | (rm & 8 ? 0 : 0x20) |
		  (i->row->map == X86_MAP_0F3A ? 3 : 2));
	a_b(t->a, (i->opsize == 8 ? 0x80 : 0) | (~vvvv & 15) << 3 | pp[i->pp]);
	a_b(t->a, i->opcode);
}

/* Register and memory forms: operand in RCX where it is not in a host register. */
static void e_vex_GEB(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned rm, v, d;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		a_load(t->a, i->opsize, H_RCX, RCX_MEM);
		e_pre(t, 1u << i->reg);
		rm = H_RCX;
	} else {
		e_pre(t, 1u << i->reg);
		rm = g_source(t, i->opsize, i->rm, H_RCX);
	}
	v = i->row->id == X86_OP_RORX ? 0 : g_source(t, i->opsize, i->vvvv, H_RAX);
	d = jit_home[i->reg] >= 0 ? (unsigned)jit_home[i->reg] : H_RAX;
	vex_3op(t, d, v, rm);
	a_modrm(t->a, d, A_REG(rm));
	if (i->row->id == X86_OP_RORX)
		a_b(t->a, (uint8_t)i->imm);
	g_end(t, i->opsize, i->reg, d);
	if (i->row->flags_write)
		e_def(t, DEF_UNKNOWN);
}

/*
 * Conditions.
 */
static void e_setcc(struct tr *t)
{
	const struct x86_insn *i = t->i;

	if (i->mem) {
		e_access(t, 1, X86_ACC_W);
		e_pre(t, 0);
		a_ext(t->a, A_0F | i->opcode, 1, 0, RCX_MEM);
	} else {
		e_pre(t, 1u << i->rm);
		a_ext(t->a, A_0F | i->opcode, 1, 0, g_rm(i->rm));
	}
}

static void e_cmov(struct tr *t)
{
	const struct x86_insn *i = t->i;
	struct a_rm src = g_rm(i->rm);
	unsigned d;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, 1u << i->reg);
	d = g_begin(t, i->opsize, i->reg);
	a_rr(t->a, A_0F | i->opcode, i->opsize, d, src);
	g_end(t, i->opsize, i->reg, d);
}

static void e_carry(struct tr *t) /* CMC CLC STC */
{
	e_pre(t, 0);
	a_b(t->a, t->i->opcode);
	e_def(t, DEF_UNKNOWN);
}

static void e_nop(struct tr *t)
{
	(void)t;
}

static void e_fence(struct tr *t) /* LFENCE MFENCE SFENCE */
{
	a_w(t->a, 0xae0f);
	a_b(t->a, t->i->modrm);
}

/*
 * The stack. Eight bytes in 64-bit code, four with a 32-bit stack.
 */
static unsigned word(const struct tr *t)
{
	return t->m64 ? 8 : 4;
}

static void move_sp(struct tr *t, int32_t by)
{
	a_lea(t->a, word(t), H_R15, A_MEM(H_R15, by));
}

static void e_push(struct tr *t)
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

static void e_push_I(struct tr *t)
{
	unsigned w = word(t);

	e_access_stack(t, w, X86_ACC_W, X86_RSP, -(int)w);
	a_ext(t->a, 0xc7, w, 0, RCX_MEM);
	a_d(t->a, (uint32_t)t->i->imm);
	e_pre(t, 1u << X86_RSP);
	move_sp(t, -(int)w);
}

static void e_pop(struct tr *t)
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
	move_sp(t, (int)w);
}

static void e_leave(struct tr *t)
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

static void e_jmp(struct tr *t)
{
	e_goto(t, near_target(t));
	t->ended = true;
}

static void e_jcc_row(struct tr *t)
{
	e_pre(t, 0);
	e_jcc(t, (enum host_cc)(t->i->opcode & 15), near_target(t));
	t->ended = true;
}

/* Pushes the return address; its check is done, RCX points there. */
static void push_return(struct tr *t)
{
	unsigned w = word(t);

	a_movi(t->a, H_RAX, t->run->rip[t->n + 1]);
	a_store(t->a, w, RCX_MEM, H_RAX);
	e_pre(t, 1u << X86_RSP);
	move_sp(t, -(int)w);
}

static void e_call(struct tr *t)
{
	e_access_stack(t, word(t), X86_ACC_W, X86_RSP, -(int)word(t));
	push_return(t);
	e_goto(t, near_target(t));
	t->ended = true;
}

static void e_ret(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned w = word(t);

	e_access_stack(t, w, X86_ACC_R, X86_RSP, 0);
	a_load(t->a, w, H_RCX, RCX_MEM);
	e_lookup(t);
	move_sp(t, (int)w + (i->row->id == X86_OP_RET_Iw ? (int)(uint16_t)i->imm : 0));
	a_ext(t->a, 0xff, 4, 4, A_REG(H_RAX));
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
	}
}

static void e_jmp_E(struct tr *t)
{
	load_target(t);
	e_lookup(t);
	a_ext(t->a, 0xff, 4, 4, A_REG(H_RAX));
	t->ended = true;
}

static void e_call_E(struct tr *t)
{
	load_target(t);
	e_lookup(t);
	a_store(t->a, 8, A_GS(OFF(jit.tmp0)), H_RAX);
	e_access_stack(t, word(t), X86_ACC_W, X86_RSP, -(int)word(t));
	push_return(t);
	a_ext(t->a, 0xff, 4, 4, A_GS(OFF(jit.tmp0)));
	t->ended = true;
}

/*
 * Rows to emitters.
 */
#define ALU(ID)                                                                                  \
	[X86_OP_##ID##_EbGb] = e_alu_EG, [X86_OP_##ID##_EvGv] = e_alu_EG,                        \
	[X86_OP_##ID##_GbEb] = e_alu_GE, [X86_OP_##ID##_GvEv] = e_alu_GE,                        \
	[X86_OP_##ID##_ALIb] = e_alu_EI, [X86_OP_##ID##_rAXIz] = e_alu_EI,                       \
	[X86_OP_##ID##_EbIb] = e_alu_EI, [X86_OP_##ID##_EvIz] = e_alu_EI,                        \
	[X86_OP_##ID##_EbIb82] = e_alu_EI, [X86_OP_##ID##_EvIb] = e_alu_EI
#define SHIFT(ID)                                                                                \
	[X86_OP_##ID##_EbIb] = e_shift_I, [X86_OP_##ID##_EvIb] = e_shift_I,                      \
	[X86_OP_##ID##_Eb1] = e_shift_1, [X86_OP_##ID##_Ev1] = e_shift_1,                        \
	[X86_OP_##ID##_EbCL] = e_shift_C, [X86_OP_##ID##_EvCL] = e_shift_C
#define CC(X)                                                                                    \
	[X86_OP_J##X##_Jb] = e_jcc_row, [X86_OP_J##X##_Jz] = e_jcc_row,                          \
	[X86_OP_SET##X] = e_setcc, [X86_OP_CMOV##X] = e_cmov
#define BIT(ID) [X86_OP_##ID##_EvGv] = e_bt, [X86_OP_##ID##_EvIb] = e_bt
#define BOTH(ID, fn) [X86_OP_##ID##_Eb] = fn, [X86_OP_##ID##_Ev] = fn
#define TWO(ID, fn) [X86_OP_##ID##_EbGb] = fn, [X86_OP_##ID##_EvGv] = fn

const emit_fn jit_emitters[X86_NOPS] = {
	ALU(ADD), ALU(OR), ALU(ADC), ALU(SBB), ALU(AND), ALU(SUB), ALU(XOR), ALU(CMP),
	SHIFT(ROL), SHIFT(ROR), SHIFT(RCL), SHIFT(RCR), SHIFT(SHL), SHIFT(SHR), SHIFT(SAL),
	SHIFT(SAR),
	CC(O), CC(NO), CC(B), CC(NB), CC(Z), CC(NZ), CC(BE), CC(NBE),
	CC(S), CC(NS), CC(P), CC(NP), CC(L), CC(NL), CC(LE), CC(NLE),
	BIT(BT), BIT(BTS), BIT(BTR), BIT(BTC),
	BOTH(INC, e_inc), BOTH(DEC, e_dec), BOTH(NOT, e_not), BOTH(NEG, e_neg),
	BOTH(MUL, e_mul), BOTH(IMUL, e_mul), BOTH(CMPXCHG, e_cmpxchg), BOTH(XADD, e_xadd),
	[X86_OP_DIV_Ev] = e_div, [X86_OP_IDIV_Ev] = e_div,
	[X86_OP_INC_Zv] = e_inc, [X86_OP_DEC_Zv] = e_dec,
	TWO(TEST, e_test_EG), TWO(XCHG, e_xchg), TWO(MOV, e_mov_EG),
	[X86_OP_TEST_ALIb] = e_test_EI, [X86_OP_TEST_rAXIz] = e_test_EI,
	[X86_OP_TEST_EbI0] = e_test_EI, [X86_OP_TEST_EvI0] = e_test_EI,
	[X86_OP_TEST_EbI1] = e_test_EI, [X86_OP_TEST_EvI1] = e_test_EI,
	[X86_OP_MOV_GbEb] = e_mov_GE, [X86_OP_MOV_GvEv] = e_mov_GE,
	[X86_OP_MOV_ZbIb] = e_mov_EI, [X86_OP_MOV_ZvIv] = e_mov_EI,
	[X86_OP_MOV_EbIb] = e_mov_EI, [X86_OP_MOV_EvIz] = e_mov_EI,
	[X86_OP_MOVNTI] = e_mov_EG,
	[X86_OP_MOVZX_Eb] = e_movzx_b, [X86_OP_MOVZX_Ew] = e_movzx_w,
	[X86_OP_MOVSX_Eb] = e_movsx_b, [X86_OP_MOVSX_Ew] = e_movsx_w, [X86_OP_MOVSXD] = e_movsxd,
	[X86_OP_LEA] = e_lea, [X86_OP_XCHG_ZvrAX] = e_xchg_a, [X86_OP_BSWAP] = e_bswap,
	[X86_OP_CBW] = e_cbw, [X86_OP_CWD] = e_cwd,
	[X86_OP_SHLD_Ib] = e_shld, [X86_OP_SHLD_CL] = e_shld,
	[X86_OP_SHRD_Ib] = e_shld, [X86_OP_SHRD_CL] = e_shld,
	[X86_OP_IMUL_GvEv] = e_imul_GE, [X86_OP_IMUL_GvEvIz] = e_imul_GEI,
	[X86_OP_IMUL_GvEvIb] = e_imul_GEI,
	[X86_OP_BSF] = e_count, [X86_OP_BSR] = e_count, [X86_OP_TZCNT] = e_count,
	[X86_OP_LZCNT] = e_count, [X86_OP_POPCNT] = e_count,
	[X86_OP_SHLX] = e_vex_GEB, [X86_OP_SHRX] = e_vex_GEB, [X86_OP_SARX] = e_vex_GEB,
	[X86_OP_BZHI] = e_vex_GEB, [X86_OP_BEXTR] = e_vex_GEB, [X86_OP_RORX] = e_vex_GEB,
	[X86_OP_PEXT] = e_vex_GEB, [X86_OP_PDEP] = e_vex_GEB, [X86_OP_ANDN] = e_vex_GEB,
	[X86_OP_CMC] = e_carry, [X86_OP_CLC] = e_carry, [X86_OP_STC] = e_carry,
	[X86_OP_NOP] = e_nop, [X86_OP_PREFETCHW] = e_nop, [X86_OP_PREFETCH] = e_nop,
	[X86_OP_PREFETCHNTA] = e_nop, [X86_OP_PREFETCHT0] = e_nop, [X86_OP_PREFETCHT1] = e_nop,
	[X86_OP_PREFETCHT2] = e_nop,
	[X86_OP_NOP_18] = e_nop, [X86_OP_NOP_19] = e_nop, [X86_OP_NOP_1a] = e_nop,
	[X86_OP_NOP_1b] = e_nop, [X86_OP_NOP_1c] = e_nop, [X86_OP_NOP_1d] = e_nop,
	[X86_OP_NOP_1e] = e_nop, [X86_OP_NOP_1f] = e_nop,
	[X86_OP_LFENCE] = e_fence, [X86_OP_MFENCE] = e_fence, [X86_OP_SFENCE] = e_fence,
	[X86_OP_PUSH_Zv] = e_push, [X86_OP_PUSH_Ev] = e_push,
	[X86_OP_PUSH_Iz] = e_push_I, [X86_OP_PUSH_Ib] = e_push_I, [X86_OP_POP_Zv] = e_pop,
	[X86_OP_LEAVE] = e_leave,
	[X86_OP_JMP_Jz] = e_jmp, [X86_OP_JMP_Jb] = e_jmp, [X86_OP_JMP_Ev] = e_jmp_E,
	[X86_OP_CALL_Jz] = e_call, [X86_OP_CALL_Ev] = e_call_E,
	[X86_OP_RET] = e_ret, [X86_OP_RET_Iw] = e_ret,
};

static bool uses_stack(const struct x86_insn *i)
{
	switch (i->row->id) {
	case X86_OP_PUSH_Zv: case X86_OP_PUSH_Ev: case X86_OP_PUSH_Iz: case X86_OP_PUSH_Ib:
	case X86_OP_POP_Zv: case X86_OP_LEAVE: case X86_OP_CALL_Jz: case X86_OP_CALL_Ev:
	case X86_OP_RET: case X86_OP_RET_Iw:
		return true;
	default:
		return false;
	}
}

/* Forms that an emitter does not do. */
static bool too_special(const struct x86_insn *i)
{
	bool byte = i->row->attr & X86_A_BYTE;

	switch (i->row->id) {
	case X86_OP_POP_Zv:
		return i->rm == X86_RSP;
	case X86_OP_DIV_Ev: case X86_OP_IDIV_Ev:
		return i->opsize == 2;
	case X86_OP_ROL_EbCL: case X86_OP_ROL_EvCL: case X86_OP_ROR_EbCL: case X86_OP_ROR_EvCL:
	case X86_OP_RCL_EbCL: case X86_OP_RCL_EvCL: case X86_OP_RCR_EbCL: case X86_OP_RCR_EvCL:
	case X86_OP_SHL_EbCL: case X86_OP_SHL_EvCL: case X86_OP_SHR_EbCL: case X86_OP_SHR_EvCL:
	case X86_OP_SAL_EbCL: case X86_OP_SAL_EvCL: case X86_OP_SAR_EbCL: case X86_OP_SAR_EvCL:
		return i->mem || (byte && i->rm >= X86_REG_HIGH8);
	case X86_OP_SHLD_Ib: case X86_OP_SHLD_CL: case X86_OP_SHRD_Ib: case X86_OP_SHRD_CL:
		return i->mem || jit_home[i->reg] < 0;
	case X86_OP_BT_EvGv: case X86_OP_BTS_EvGv: case X86_OP_BTR_EvGv: case X86_OP_BTC_EvGv:
		return i->mem; /* the bit offset reaches beyond the operand */
	case X86_OP_CMPXCHG_Eb: case X86_OP_CMPXCHG_Ev: case X86_OP_XADD_Eb: case X86_OP_XADD_Ev:
		return !i->mem || i->reg >= X86_REG_HIGH8;
	case X86_OP_BSWAP: case X86_OP_CALL_Ev: case X86_OP_JMP_Ev:
		return i->opsize == 2;
	case X86_OP_MOVZX_Eb: case X86_OP_MOVSX_Eb:
		return false; /* AH and the like are fine as a source */
	case X86_OP_MUL_Eb: case X86_OP_IMUL_Eb:
		return !i->mem && i->rm >= X86_REG_HIGH8;
	default:
		return (i->reg >= X86_REG_HIGH8 && i->reg < X86_REG_HIGH8 + 4) ||
		       (!i->mem && i->rm >= X86_REG_HIGH8 && i->rm < X86_REG_HIGH8 + 4);
	}
}

/* An LEA or a NOP has a memory operand that it does not touch. */
static bool touches_memory(const struct x86_insn *i)
{
	return i->mem && jit_emitters[i->row->id] != e_lea && jit_emitters[i->row->id] != e_nop;
}

bool jit_may_fault(const struct x86_insn *i)
{
	if (jit_is_vec(i))
		return true;
	return touches_memory(i) || uses_stack(i) || !jit_emitters[i->row->id] || too_special(i) ||
	       jit_emitters[i->row->id] == e_div || (i->row->attr & X86_A_END);
}

emit_fn jit_emitter(const struct x86_insn *i, uint32_t key)
{
	bool m64 = key & X86_MODE_64;

	if (jit_is_vec(i))
		return i->mem && (i->adsize == 2 || (!m64 && !JIT_KEY_FLAT(key, i->seg))) ? NULL
											   : e_vec;
	if (!jit_emitters[i->row->id] || too_special(i))
		return NULL;
	if (uses_stack(i)) {
		if (i->opsize != (m64 ? 8 : 4))
			return NULL;
		if (!m64 && (!(key & JIT_KEY_STACK32) || !JIT_KEY_FLAT(key, X86_SS)))
			return NULL;
	}
	if (touches_memory(i)) {
		if (i->adsize == 2 || (!m64 && !JIT_KEY_FLAT(key, i->seg)))
			return NULL;
		/* [disp32] with a 64-bit displacement does not occur: moffs has no
		 * emitter. */
	}
	if (i->row->id == X86_OP_LEA && i->adsize == 2)
		return NULL;
	if (!m64 && i->opsize == 2 && (i->row->attr & X86_A_END))
		return NULL; /* 16-bit targets are truncated */
	return jit_emitters[i->row->id];
}
