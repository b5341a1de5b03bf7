/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 and MMX as themselves, on the guest's stack in the host's x87 unit, which
 * holds it from the first such instruction until C runs. Only while every
 * exception is masked (jit_vec_may()): nothing can then be pending.
 *
 * The pointers to the last instruction and its operand stay in memory, where an
 * x87 instruction of the guest puts them: its own and opcode once per run of such
 * instructions (and on the way to C), the operand's with each that has one.
 */
#include "src/cpu/jit/emit.h"

enum kind { NOT_X87, COMPUTES, MMX, STORES_CW, LOADS_CW, STORES_SW, SW_TO_AX, WAITS };

static enum kind kind_of(const struct x86_insn *i)
{
	uint32_t attr = i->row->attr;

	switch (i->row->id) {
	case X86_OP_fnstcw: return STORES_CW;
	case X86_OP_fldcw: return LOADS_CW;
	case X86_OP_fnstsw: return STORES_SW;
	case X86_OP_fnstsw_ax: return SW_TO_AX;
	case X86_OP_fwait: return WAITS;
	}
	if ((attr & (X86_A_X87 | X86_A_HOST)) == (X86_A_X87 | X86_A_HOST))
		return COMPUTES;
	if (!(attr & X86_A_MMX) || attr & (X86_A_SSE | X86_A_AVX | X86_A_END) ||
	    i->row->vex != X86_LEGACY || (i->row->map == X86_MAP_0F && i->row->opcode == 0xf7))
		return NOT_X87; /* MASKMOVQ faults by byte */
	return MMX;
}

bool jit_is_x87(const struct x86_insn *i)
{
	return kind_of(i) != NOT_X87;
}

/* Where the guest finds the address and opcode of its last x87 instruction. */
void e_x87_pointers(struct tr *t, unsigned n)
{
	const struct x86_insn *i = &t->run->insn[n];

	a_movi(t->a, H_RAX, t->run->rip[n]);
	a_store(t->a, 8, A_GS(OFF(fx.fip)), H_RAX);
	a_ext(t->a, 0xc7, 2, 0, A_GS(OFF(fx.fop)));
	a_w(t->a, (uint16_t)((i->opcode & 7) << 8 | i->modrm));
}

static bool computes_next(const struct tr *t)
{
	const struct x86_insn *next = &t->run->insn[t->n + 1];

	return t->n + 1 < t->run->count && kind_of(next) == COMPUTES &&
	       jit_emitter(next, t->key) == e_x87;
}

static void e_compute(struct tr *t)
{
	const struct x86_insn *i = t->i;

	if (i->mem) {
		e_access(t, i->row->mem_bytes,
			 i->row->attr & X86_A_NOWRITE ? X86_ACC_R : X86_ACC_W);
		e_rcx_exact(t);
	}
	e_pre(t, 0);
	a_b(t->a, i->opcode);
	a_b(t->a, i->mem ? (uint8_t)((i->modrm & 0x38) | H_RCX) : i->modrm);
	if (i->row->flags_write)
		e_def(t, DEF_UNKNOWN);
	if (i->mem) {
		e_ea(t);
		a_store(t->a, 8, A_GS(OFF(fx.fdp)), H_RCX);
	}
	if (computes_next(t)) {
		t->x87_open = (int)t->n;
	} else {
		e_x87_pointers(t, t->n);
		t->x87_open = -1;
	}
}

static bool is_gpr(unsigned kind)
{
	return kind >= X86_O_Eb && kind <= X86_O_Gy && kind != X86_O_M;
}

static void e_mmx(struct tr *t)
{
	const struct x86_insn *i = t->i;
	const struct x86_row *row = i->row;
	static const unsigned prefix[] = { [X86_PP_NONE] = 0, [X86_PP_66] = A_P66,
					   [X86_PP_F3] = A_PF3, [X86_PP_F2] = A_PF2 };
	static const unsigned map[] = { [X86_MAP_0F] = A_0F, [X86_MAP_0F38] = A_0F38,
					[X86_MAP_0F3A] = A_0F3A };
	bool written = is_gpr(row->opnd[0]), in_reg = false, gpr = false;
	unsigned reg = i->modrm >> 3 & 7, g = 0, h = H_RAX;
	struct a_rm rm = A_REG(i->modrm & 7);

	if (row->opnd[0] == X86_O_NONE) {
		a_w(t->a, 0x770f); /* EMMS */
		return;
	}
	if (i->mem) {
		unsigned width = row->mem_bytes ? row->mem_bytes : i->rex_w ? 8 : 4;

		e_access(t, width, row->opnd[0] == X86_O_Pq || row->attr & X86_A_NOWRITE
					   ? X86_ACC_R : X86_ACC_W);
		rm = RCX_MEM;
	}
	for (unsigned n = 0; n < 2; n++) {
		unsigned k = row->opnd[n];

		if (!is_gpr(k) || (i->mem && k < X86_O_Gb))
			continue;
		gpr = true;
		in_reg = k >= X86_O_Gb;
		g = in_reg ? i->reg : i->rm;
	}
	written &= gpr;
	e_pre(t, written ? 1u << g : 0);
	if (gpr) {
		if (jit_home[g] >= 0)
			h = jit_home[g];
		else if (!written)
			g_load(t, 8, H_RAX, g);
		if (in_reg)
			reg = h;
		else
			rm = A_REG(h);
	}
	a_rr(t->a, prefix[i->pp] | map[row->map] | i->opcode, i->rex_w ? 8 : 4, reg, rm);
	for (unsigned n = 0; n < 4; n++)
		if (row->opnd[n] == X86_O_Ib)
			a_b(t->a, (uint8_t)i->imm);
	if (written && jit_home[g] < 0)
		g_store(t, 8, g, H_RAX);
}

/* FLDCW that leaves every exception masked; else the interpreter does it. */
static void e_load_cw(struct tr *t)
{
	struct asm_buf *a = t->a;

	e_access(t, 2, X86_ACC_R);
	e_clobber(t);
	a_movx(a, false, 4, H_RAX, 2, RCX_MEM);
	a_ext(a, 0xf7, 4, 2, A_REG(H_RAX)); /* NOT */
	a_ext(a, 0xf6, 1, 0, A_REG(H_RAX)); /* TEST al */
	a_b(a, 0x3f);
	e_ool(t, OOL_ONE, a_jcc(a, CC_NE));
	/* Another thread may change what was looked at: the copy is loaded. */
	a_ext(a, 0xf7, 4, 2, A_REG(H_RAX));
	a_store(a, 4, A_GS(OFF(jit.tmp0)), H_RAX);
	a_ext(a, 0xd9, 4, 5, A_GS(OFF(jit.tmp0)));
}

void e_x87(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_vec_live(t, JIT_VEC_X87);
	switch (kind_of(i)) {
	case COMPUTES:
		e_compute(t);
		break;
	case MMX:
		e_mmx(t);
		break;
	case LOADS_CW:
		e_load_cw(t);
		break;
	case STORES_CW:
		e_access(t, 2, X86_ACC_W);
		a_ext(t->a, 0xd9, 4, 7, RCX_MEM);
		break;
	case STORES_SW:
		e_access(t, 2, X86_ACC_W);
		a_ext(t->a, 0xdd, 4, 7, RCX_MEM);
		break;
	case SW_TO_AX:
		e_pre(t, 1u << X86_RAX);
		a_w(t->a, 0xe0df);
		g_store(t, 2, X86_RAX, H_RAX);
		break;
	default: /* nothing is pending */
		break;
	}
}
