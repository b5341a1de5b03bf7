/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emitters of what kernels do all the time: interrupt flag, flags image, SWAPGS,
 * selectors, bit strings, the wide compare-and-exchange.
 */
#include "src/cpu/jit/emit_ops.h"

#define SEG_OFF(n, field)                                                                         \
	(OFF(seg) + (int)((n) * sizeof(struct x86_seg) + offsetof(struct x86_seg, field)))
#define IF_BYTE (OFF(rflags) + 1)
#define IF_BIT  ((uint8_t)(X86_FL_IF >> 8))

/* CLI at CPL 0: no check to make. */
void e_cli(struct tr *t)
{
	e_clobber(t);
	a_ext(t->a, 0x80, 1, ALU_AND, A_GS(IF_BYTE));
	a_b(t->a, (uint8_t)~IF_BIT);
}

/*
 * STI at CPL 0, not the block's last instruction. With no interrupt known the
 * shadow over the next instruction needs no record: translated code does not look
 * between the two. Else C does it.
 */
void e_sti(struct tr *t)
{
	struct asm_buf *a = t->a;
	struct ool *o;
	uint8_t *from;

	if (t->n + 1 == t->run->count) {
		e_call_op(t);
		return;
	}
	e_clobber(t);
	a_alui(a, ALU_CMP, 4, A_GS(OFF(request)), 0);
	from = a_jcc(a, CC_NE);
	a_ext(a, 0x80, 1, ALU_CMP, A_GS(OFF(intr_waits)));
	a_b(a, 0);
	o = e_ool(t, OOL_CALL, from);
	o->from[1] = a_jcc(a, CC_NE);
	a_ext(a, 0x80, 1, ALU_OR, A_GS(IF_BYTE));
	a_b(a, IF_BIT);
	e_resume(t, o);
}

/* PUSHF of 64-bit code. The arithmetic flags come from the host's RFLAGS. */
void e_pushf(struct tr *t)
{
	struct asm_buf *a = t->a;
	bool saved;

	e_access_stack(t, 8, X86_ACC_W, X86_RSP, -8);
	saved = t->fl == FL_SAVED;
	e_pre(t, 1u << X86_RSP); /* reads them: they are in RFLAGS now */
	if (saved)
		t->fl = FL_SAVED;
	else
		e_clobber(t);
	a_b(a, 0x9c); /* PUSHF */
	a_b(a, 0x58); /* POP rax */
	a_alui(a, ALU_AND, 4, A_REG(H_RAX), X86_FL_ARITH);
	a_store(a, 8, A_GS(OFF(jit.tmp0)), H_RAX);
	a_load(a, 4, H_RAX, A_GS(OFF(rflags)));
	a_alui(a, ALU_AND, 4, A_REG(H_RAX), (int32_t)~(X86_FL_ARITH | X86_FL_VM | X86_FL_RF));
	a_alu(a, ALU_OR, 8, H_RAX, A_GS(OFF(jit.tmp0)));
	a_store(a, 8, RCX_MEM, H_RAX);
	a_lea(a, 8, H_R15, A_MEM(H_R15, -8));
}

/* SWAPGS at CPL 0. */
void e_swapgs(struct tr *t)
{
	struct a_rm base = A_GS(SEG_OFF(X86_GS, base)), other = A_GS(OFF(kernel_gs_base));

	a_load(t->a, 8, H_RAX, base);
	a_load(t->a, 8, H_RCX, other);
	a_store(t->a, 8, base, H_RCX);
	a_store(t->a, 8, other, H_RAX);
}

/* MOV to a general register from a segment register. */
void e_mov_from_seg(struct tr *t)
{
	const struct x86_insn *i = t->i;

	e_pre(t, 1u << i->rm);
	a_movx(t->a, false, 4, H_RAX, 2, A_GS(SEG_OFF(i->reg, sel)));
	g_store(t, i->opsize, i->rm, H_RAX);
}

/* RDFSBASE RDGSBASE: CR4 allows them, or C raises. */
void e_rdbase(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned seg = (i->modrm >> 3 & 7) == 0 ? X86_FS : X86_GS;
	struct ool *o;

	e_clobber(t);
	a_ext(t->a, 0xf7, 4, 0, A_GS(OFF(cr4))); /* TEST */
	a_d(t->a, X86_CR4_FSGSBASE);
	o = e_ool(t, OOL_CALL, a_jcc(t->a, CC_E));
	e_pre(t, 1u << i->rm);
	a_load(t->a, i->opsize, H_RAX, A_GS(SEG_OFF(seg, base)));
	g_store(t, i->opsize, i->rm, H_RAX);
	e_resume(t, o);
}

/* BT BTS BTR BTC whose bit offset, a register, reaches beyond the operand. */
void e_bt_string(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool write = !(i->row->attr & X86_A_NOWRITE);
	unsigned shift = i->opsize == 8 ? 6 : i->opsize == 4 ? 5 : 4;
	struct asm_buf *a = t->a;

	e_clobber(t);
	e_lin(t);
	g_load(t, 8, H_RAX, i->reg);
	if (i->opsize == 4)
		a_rr(a, 0x63, 8, H_RAX, A_REG(H_RAX)); /* MOVSXD */
	else if (i->opsize == 2)
		a_movx(a, true, 8, H_RAX, 2, A_REG(H_RAX));
	a_ext(a, 0xc1, 8, 7, A_REG(H_RAX)); /* SAR */
	a_b(a, (uint8_t)shift);
	a_lea(a, 8, H_RCX, A_MEMX(H_RCX, H_RAX, shift - 3, 0));
	e_access_rcx(t, i->opsize, write ? X86_ACC_W : X86_ACC_R);
	g_load(t, 4, H_RAX, i->reg);
	a_alui(a, ALU_AND, 4, A_REG(H_RAX), i->opsize * 8 - 1);
	a_store(a, 4, A_GS(OFF(jit.tmp0)), H_RAX);
	e_pre(t, 0);
	a_load(a, 4, H_RAX, A_GS(OFF(jit.tmp0)));
	lock_prefix(t);
	a_rr(a, A_0F | i->opcode, i->opsize, H_RAX, RCX_MEM);
	e_def(t, DEF_UNKNOWN);
}

/* CMPXCHG8B CMPXCHG16B. RDX and RBX are at home; RAX and RCX come from R10 and
 * R11, of which the latter holds the address meanwhile. */
void e_cmpxchg_wide(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned half = i->rex_w ? 8 : 4;
	struct asm_buf *a = t->a;

	if (half == 8)
		e_access_aligned(t, 16, X86_ACC_W);
	else
		e_access(t, 8, X86_ACC_W);
	e_pre(t, 1u << X86_RAX | 1u << X86_RDX);
	a_rr(a, 0x87, 8, H_R11, A_REG(H_RCX)); /* XCHG */
	a_mov(a, 8, H_RAX, H_R10);
	lock_prefix(t);
	a_ext(a, A_0F | 0xc7, half, 1, A_MEM(H_R11, 0));
	a_mov(a, 8, H_R11, H_RCX);
	a_mov(a, 8, H_R10, H_RAX);
	e_def(t, DEF_UNKNOWN);
}

/*
 * AH CH DH BH. Host encodings of them have no REX, so that the other operand must
 * be AL, CL or memory: both are copies in RAX and RCX.
 */
static unsigned byte_copy(struct tr *t, unsigned r, unsigned host)
{
	g_load(t, 8, host, r & 15);
	return r >= X86_REG_HIGH8 ? host + 4 : host;
}

static void raw_byte_op(struct tr *t, unsigned opcode, unsigned reg, bool mem, unsigned rm)
{
	a_b(t->a, (uint8_t)opcode);
	if (mem)
		a_b(t->a, (uint8_t)(reg << 3 | H_RCX));
	else
		a_b(t->a, (uint8_t)(0xc0 | reg << 3 | rm));
}

static uint32_t written_reg(const struct x86_insn *i, unsigned r)
{
	return i->row->attr & X86_A_NOWRITE ? 0 : 1u << (r & 15);
}

/* op rm, reg; op reg, rm; with one of them such a register. */
void e_high_two(struct tr *t)
{
	const struct x86_insn *i = t->i;
	bool to_reg = i->opcode & 2 && i->opcode != 0x86;
	unsigned d = to_reg ? i->reg : i->rm, r, m = 0;
	bool write = !(i->mem && !to_reg);

	if (i->mem) {
		e_access(t, 1, to_reg || i->row->attr & X86_A_NOWRITE ? X86_ACC_R : X86_ACC_W);
		e_rcx_exact(t);
	}
	e_pre(t, write ? written_reg(i, d) : 0);
	r = byte_copy(t, i->reg, H_RAX);
	if (!i->mem)
		m = byte_copy(t, i->rm, H_RCX);
	lock_prefix(t);
	raw_byte_op(t, i->opcode, r, i->mem, m);
	if (write && written_reg(i, d))
		g_store(t, 8, d & 15, to_reg ? H_RAX : H_RCX);
	if (i->row->flags_write)
		e_def(t, DEF_UNKNOWN);
}

/* op rm, imm8 on such a register: ALU, TEST, MOV. */
void e_high_imm(struct tr *t)
{
	const struct x86_insn *i = t->i;
	unsigned m;

	e_pre(t, written_reg(i, i->rm));
	m = byte_copy(t, i->rm, H_RAX);
	if (i->opcode >= 0xb0 && i->opcode < 0xb8)
		raw_byte_op(t, 0xc6, 0, false, m);
	else
		raw_byte_op(t, i->opcode == 0x82 ? 0x80 : i->opcode, i->modrm >> 3 & 7, false, m);
	a_b(t->a, (uint8_t)i->imm);
	if (written_reg(i, i->rm))
		g_store(t, 8, i->rm & 15, H_RAX);
	if (i->row->flags_write)
		e_def(t, DEF_UNKNOWN);
}
