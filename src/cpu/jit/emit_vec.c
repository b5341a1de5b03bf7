/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SSE and AVX as themselves: the guest's instruction, with its general registers
 * renamed and its memory operand at [RCX], on the guest's vector registers, which
 * live in the host's own from the first such instruction until C runs
 * (jit.vec_live, thunk.c).
 */
#include "src/cpu/jit/emit.h"

static bool is_gpr(unsigned kind)
{
	switch (kind) {
	case X86_O_Eb: case X86_O_Ew: case X86_O_Ed: case X86_O_Eq: case X86_O_Ev: case X86_O_Ey:
	case X86_O_Edq_r: case X86_O_Rv: case X86_O_Ry: case X86_O_Rw:
	case X86_O_Gb: case X86_O_Gw: case X86_O_Gd: case X86_O_Gv: case X86_O_Gy:
		return true;
	default:
		return false;
	}
}

static bool in_reg_field(unsigned kind)
{
	return kind == X86_O_V || (kind >= X86_O_Gb && kind <= X86_O_Gy);
}

static bool in_rm_field(unsigned kind)
{
	return kind == X86_O_W || kind == X86_O_U || kind == X86_O_M ||
	       (is_gpr(kind) && !in_reg_field(kind));
}

bool jit_is_vec(const struct x86_insn *i)
{
	const struct x86_row *row = i->row;

	if (!(row->attr & (X86_A_SSE | X86_A_AVX)) || row->attr & (X86_A_MMX | X86_A_X87 | X86_A_END))
		return false;
	for (unsigned n = 0; n < 4; n++) {
		unsigned k = row->opnd[n];

		if (k != X86_O_NONE && k != X86_O_Ib && k != X86_O_H && k != X86_O_L &&
		    k != X86_O_XMM0 && !in_reg_field(k) && !in_rm_field(k))
			return false;
	}
	if (row->map == X86_MAP_0F && row->opcode == 0x77)
		return (i->mode & X86_MODE_SIZE) == X86_MODE_64; /* all sixteen registers */
	/* Implicit general registers, MXCSR, per-element faults: for C. */
	if (row->map == X86_MAP_0F && row->opcode == 0xae)
		return false;
	if (row->map == X86_MAP_0F && row->opcode == 0xf7)
		return false;
	if (row->map == X86_MAP_0F3A && row->opcode >= 0x60 && row->opcode <= 0x63)
		return false;
	if (row->vex == X86_VEX && row->map == X86_MAP_0F38 &&
	    ((row->opcode >= 0x2c && row->opcode <= 0x2f) || row->opcode == 0x8c ||
	     row->opcode == 0x8e))
		return false;
	return true;
}

/* The operand in ModRM.rm, X86_O_NONE if there is none; *n: which one. */
static unsigned rm_kind(const struct x86_row *row, unsigned *n)
{
	for (*n = 0; *n < 4; (*n)++)
		if (in_rm_field(row->opnd[*n]))
			return row->opnd[*n];
	return X86_O_NONE;
}

static unsigned reg_kind(const struct x86_row *row, unsigned *n)
{
	for (*n = 0; *n < 4; (*n)++)
		if (in_reg_field(row->opnd[*n]))
			return row->opnd[*n];
	return X86_O_NONE;
}

static bool is_written(const struct x86_row *row, unsigned n)
{
	return n == 0 && !(row->attr & X86_A_NOWRITE);
}

static unsigned mem_width(const struct x86_insn *i, unsigned kind)
{
	if (i->row->mem_bytes)
		return i->row->mem_bytes;
	if (is_gpr(kind))
		return kind == X86_O_Eb ? 1 : kind == X86_O_Ew ? 2 : kind == X86_O_Ed ? 4 : i->opsize;
	return i->row->attr & X86_A_LIG ? 16 : 16u << i->vl;
}

void e_vec_live(struct tr *t, uint8_t bit)
{
	struct ool *o;

	if (t->vec & bit)
		return;
	e_clobber(t);
	a_ext(t->a, 0xf6, 1, 0, A_GS(OFF(jit.vec_live))); /* TEST */
	a_b(t->a, bit);
	o = e_ool(t, OOL_VEC, a_jcc(t->a, CC_E));
	e_resume(t, o);
	o->what = bit;
	t->vec |= bit;
	t->rcx_group = 0; /* C may have run */
}

static void head_vex(struct tr *t, unsigned reg, struct a_rm rm)
{
	const struct x86_insn *i = t->i;
	static const uint8_t pp[] = { [X86_PP_NONE] = 0, [X86_PP_66] = 1, [X86_PP_F3] = 2,
				      [X86_PP_F2] = 3 };
	static const uint8_t map[] = { [X86_MAP_0F] = 1, [X86_MAP_0F38] = 2, [X86_MAP_0F3A] = 3 };
	bool w = i->rex_w || i->row->vw == X86_W_1;

	/* Where it means the width of a general operand it counts in 64-bit code only. */
	for (unsigned n = 0; n < 4 && !(i->mode & X86_MODE_64); n++)
		w &= !is_gpr(i->row->opnd[n]);
	a_b(t->a, 0xc4);
	a_b(t->a, (reg & 8 ? 0 : 0x80) | 0x40 | (rm.base & 8 ? 0 : 0x20) | map[i->row->map]);
	a_b(t->a, (w ? 0x80 : 0) | (~i->vvvv & 15) << 3 |
			  i->vl << 2 | pp[i->pp]);
	a_b(t->a, i->opcode);
}

static void head_legacy(struct tr *t, unsigned reg, struct a_rm rm, bool byte)
{
	const struct x86_insn *i = t->i;
	static const unsigned prefix[] = { [X86_PP_NONE] = 0, [X86_PP_66] = A_P66,
					   [X86_PP_F3] = A_PF3, [X86_PP_F2] = A_PF2 };
	static const unsigned map[] = { [X86_MAP_0F] = A_0F, [X86_MAP_0F38] = A_0F38,
					[X86_MAP_0F3A] = A_0F3A };

	a_head(t->a, prefix[i->pp] | map[i->row->map] | i->opcode, i->rex_w ? 8 : 4, reg, rm,
	       false, byte);
}

/* MOVAPS and the like fault on addresses that are not aligned. */
static bool wants_alignment(const struct x86_insn *i)
{
	return i->row->attr & X86_A_ALIGNVEC ||
	       (i->row->attr & X86_A_ALIGN16 && i->row->vex == X86_LEGACY);
}

void e_vec(struct tr *t)
{
	const struct x86_insn *i = t->i;
	const struct x86_row *row = i->row;
	unsigned rm_n, reg_n, rk = rm_kind(row, &rm_n), gk = reg_kind(row, &reg_n);
	bool rm_gpr = is_gpr(rk) && !i->mem, reg_gpr = is_gpr(gk);
	unsigned g = rm_gpr ? i->rm : i->reg;
	bool gpr = rm_gpr || reg_gpr;
	bool written = gpr && is_written(row, rm_gpr ? rm_n : reg_n);
	unsigned reg = i->reg & 15;
	struct a_rm rm = A_REG(i->rm & 15);
	unsigned h = H_RAX;

	e_vec_live(t, row->attr & X86_A_AVX ? JIT_VEC_AVX : JIT_VEC_SSE);
	if (i->mem) {
		unsigned width = mem_width(i, rk);
		enum x86_access acc = is_written(row, rm_n) ? X86_ACC_W : X86_ACC_R;

		if (wants_alignment(i) && width >= 16)
			e_access_aligned(t, width, acc);
		else
			e_access(t, width, acc);
		rm = RCX_MEM;
	}
	e_pre(t, written ? 1u << g : 0);
	if (gpr) {
		if (jit_home[g] >= 0)
			h = jit_home[g];
		else if (!written)
			g_load(t, 8, H_RAX, g);
		if (rm_gpr)
			rm = A_REG(h);
		else
			reg = h;
	}
	/* Group opcodes (shifts by a constant) have their extension in reg. */
	if (gk == X86_O_NONE)
		reg = i->modrm >> 3 & 7;
	if (row->vex == X86_VEX)
		head_vex(t, reg, rm);
	else
		head_legacy(t, reg, rm, rm_gpr && rk == X86_O_Eb);
	if (i->modrm || rk != X86_O_NONE || gk != X86_O_NONE)
		a_modrm(t->a, reg, rm);
	for (unsigned n = 0; n < 4; n++)
		if (row->opnd[n] == X86_O_Ib || row->opnd[n] == X86_O_L)
			a_b(t->a, (uint8_t)i->imm);
	if (written && jit_home[g] < 0)
		g_store(t, 8, g, H_RAX);
	if (row->flags_write)
		e_def(t, DEF_UNKNOWN);
}
