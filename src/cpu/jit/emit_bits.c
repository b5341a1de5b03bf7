/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emitters of shifts, multiplication and division, single bits, conditions.
 */
#include "src/cpu/jit/emit_ops.h"

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

void e_shift_I(struct tr *t) { shift_common(t, 0xc1, true); }
void e_shift_1(struct tr *t) { shift_common(t, 0xd1, false); }
void e_shift_C(struct tr *t) { shift_common(t, 0xd3, false); }

void e_shld(struct tr *t)
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

/* Register by register or memory, all flags from the host's @op. */
static void into_reg(struct tr *t, unsigned op)
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
	a_rr(t->a, op, i->opsize, d, src);
	g_end(t, i->opsize, i->reg, d);
	e_def(t, DEF_UNKNOWN);
}

void e_imul_GE(struct tr *t) { into_reg(t, A_0F | 0xaf); }

void e_imul_GEI(struct tr *t)
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
	a_imm(t->a, byte ? 1 : i->opsize, i->imm);
	g_end(t, i->opsize, i->reg, d);
	e_def(t, DEF_UNKNOWN);
}

/* MUL, IMUL with one operand: RDX:RAX = RAX * operand. */
void e_mul(struct tr *t)
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
void e_div(struct tr *t)
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
		g_load(t, i->opsize, H_RCX, i->rm);
	}
	e_clobber(t);
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
	e_resume(t, o);
}

/* BT BTS BTR BTC with a register operand, or with a constant on memory. */
void e_bt(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool imm = i->opcode == 0xba, write = !(i->row->attr & X86_A_NOWRITE);
	unsigned ext = imm ? i->modrm >> 3 & 7 : i->opcode >> 3 & 7, d = 0, s = 0;
	struct a_rm rm;

	if (i->mem) {
		e_access(t, i->opsize, write ? X86_ACC_W : X86_ACC_R);
		rm = RCX_MEM;
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
void e_count(struct tr *t)
{
	into_reg(t, A_0F | t->i->opcode | (t->i->pp == X86_PP_F3 ? A_PF3 : 0));
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
void e_vex_GEB(struct tr *t)
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

/* BLSR BLSMSK BLSI: the destination is VEX.vvvv. */
void e_vex_BE(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned rm, d;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		a_load(t->a, i->opsize, H_RCX, RCX_MEM);
		e_pre(t, 1u << i->vvvv);
		rm = H_RCX;
	} else {
		e_pre(t, 1u << i->vvvv);
		rm = g_source(t, i->opsize, i->rm, H_RCX);
	}
	d = jit_home[i->vvvv] >= 0 ? (unsigned)jit_home[i->vvvv] : H_RAX;
	vex_3op(t, i->modrm >> 3 & 7, d, rm);
	a_modrm(t->a, i->modrm >> 3 & 7, A_REG(rm));
	g_end(t, i->opsize, i->vvvv, d);
	e_def(t, DEF_UNKNOWN);
}

/* The guest's RDX is the host's, and the upper half of the product wins where both have
 * one destination. */
void e_mulx(struct tr *t)
{
	const struct x86_insn *i = t->i;
	struct a_rm src = g_rm(i->rm);
	unsigned high, low, rm;

	if (i->mem) {
		e_access(t, i->opsize, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, 1u << i->reg | 1u << i->vvvv);
	if (!i->mem && jit_home[i->rm] < 0) {
		g_load(t, i->opsize, H_RCX, i->rm);
		src = A_REG(H_RCX);
	}
	rm = (unsigned)src.base;
	high = jit_home[i->reg] >= 0 ? (unsigned)jit_home[i->reg] : H_RAX;
	low = jit_home[i->vvvv] >= 0 ? (unsigned)jit_home[i->vvvv] : H_RCX;
	vex_3op(t, high, low, rm);
	a_modrm(t->a, high, src);
	g_end(t, i->opsize, i->vvvv, low);
	g_end(t, i->opsize, i->reg, high);
}

/* ADCX ADOX: each reads and writes one flag of those that are live. */
void e_adcx(struct tr *t)
{
	into_reg(t, A_0F38 | 0xf6 | (t->i->row->id == X86_OP_ADCX ? A_P66 : A_PF3));
}

/* The upper half of a 64-bit destination becomes zero whatever the source's size. */
void e_crc32(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool byte = i->row->id == X86_OP_CRC32_Eb;
	unsigned size = byte ? 1 : i->opsize, d;
	struct a_rm src = g_rm(i->rm);

	if (i->mem) {
		e_access(t, size, X86_ACC_R);
		src = RCX_MEM;
	}
	e_pre(t, 1u << i->reg);
	if (!i->mem && jit_home[i->rm] < 0) {
		g_load(t, 8, H_RCX, i->rm);
		src = A_REG(H_RCX);
	}
	d = g_begin(t, 8, i->reg);
	a_head(t->a, A_PF2 | A_0F38 | (byte ? 0xf0 : 0xf1), byte ? 4 : size, d, src, false, byte);
	a_modrm(t->a, d, src);
	g_end(t, 8, i->reg, d);
}

void e_movbe(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool load = i->row->opnd[0] == X86_O_Gv;
	unsigned d = H_RAX;

	e_access(t, i->opsize, load ? X86_ACC_R : X86_ACC_W);
	e_pre(t, load ? 1u << i->reg : 0);
	if (load) {
		d = jit_home[i->reg] >= 0 ? (unsigned)jit_home[i->reg] : H_RAX;
		a_load(t->a, i->opsize, d, RCX_MEM);
	} else {
		g_load(t, i->opsize, H_RAX, i->reg);
	}
	a_bswap(t->a, i->opsize, d);
	if (load)
		g_end(t, i->opsize, i->reg, d);
	else
		a_store(t->a, i->opsize, RCX_MEM, d);
}

/*
 * Conditions.
 */
void e_setcc(struct tr *t)
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

void e_cmov(struct tr *t)
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

void e_carry(struct tr *t) /* CMC CLC STC */
{
	e_pre(t, 0);
	a_b(t->a, t->i->opcode);
	e_def(t, DEF_UNKNOWN);
}

void e_nop(struct tr *t)
{
	(void)t;
}

void e_fence(struct tr *t) /* LFENCE MFENCE SFENCE */
{
	a_w(t->a, 0xae0f);
	a_b(t->a, t->i->modrm);
}
