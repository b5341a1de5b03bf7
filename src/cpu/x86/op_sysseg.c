/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segment registers, far transfers, software interrupts, flags. */
#include "src/cpu/x86/op_priv.h"
#include "src/cpu/x86/sys.h"

/* The opcode's bits 3..5 name the segment: 06 ES .. 1E DS, 0F A0 FS, 0F A8 GS. */
static unsigned opcode_seg(const struct x86_insn *i) { return i->opcode >> 3 & 7; }

static void movss_shadow(struct x86_cpu *c)
{
	c->int_shadow |= X86_SHADOW_MOVSS;
	c->stop_block = true;
}

void op_push_seg(struct x86_cpu *c, const struct x86_insn *i)
{
	uint16_t sel = c->seg[opcode_seg(i)].sel;

	if (i->opsize == 4 && !c->amd) {
		/* Intel moves the stack by four bytes and writes two. */
		uint64_t sp = op_sp(c, -4);

		x86_st16(c, X86_SS, sp, sel);
		op_set_sp(c, sp);
		return;
	}
	op_push(c, sel, i->opsize);
}

void op_pop_seg(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned seg = opcode_seg(i), width = op_stack_size(c);
	uint64_t sp = op_sp(c, i->opsize);
	uint16_t sel = x86_ld16(c, X86_SS, op_sp(c, 0));

	x86_load_seg(c, seg, sel);
	op_set_addr(c, X86_RSP, sp, width); /* as wide as before SS changed */
	if (seg == X86_SS)
		movss_shadow(c);
}

void op_mov_from_seg_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_set(c, i->rm, c->seg[i->reg].sel, i->opsize);
}

void op_mov_from_seg_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_st16(c, i->seg, x86_ea(c, i), c->seg[i->reg].sel);
}

static void mov_to_seg(struct x86_cpu *c, const struct x86_insn *i, uint16_t sel)
{
	x86_load_seg(c, i->reg, sel);
	if (i->reg == X86_SS)
		movss_shadow(c);
}

void op_mov_to_seg_r(struct x86_cpu *c, const struct x86_insn *i)
{
	if (i->reg == X86_CS)
		x86_raise_ud(c);
	mov_to_seg(c, i, (uint16_t)c->gpr[i->rm]);
}

void op_mov_to_seg_m(struct x86_cpu *c, const struct x86_insn *i)
{
	if (i->reg == X86_CS)
		x86_raise_ud(c);
	mov_to_seg(c, i, x86_ld16(c, i->seg, x86_ea(c, i)));
}

/* m16:16, m16:32, m16:64: offset and selector. */
static uint16_t load_pointer(struct x86_cpu *c, const struct x86_insn *i, unsigned size,
			     uint64_t *off)
{
	uint64_t ea = x86_ea(c, i);

	*off = x86_ld(c, i->seg, ea, size);
	return x86_ld16(c, i->seg, (ea + size) & op_addr_mask(i->adsize));
}

/* AMD ignores REX.W in front of the forms with a far pointer in memory: m16:32 it
 * stays. */
static unsigned far_size(const struct x86_cpu *c, const struct x86_insn *i)
{
	if (i->opsize == 8 && c->amd)
		return 4;
	return i->opsize;
}

void op_load_far(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t off;
	uint16_t sel = load_pointer(c, i, far_size(c, i), &off);
	unsigned seg = i->opcode == 0xc4 ? X86_ES : i->opcode == 0xc5 ? X86_DS : i->opcode & 7;

	/* 0F B2, B4, B5: the low three bits are the segment's number. */
	x86_load_seg(c, seg, sel);
	x86_set(c, i->reg, off, far_size(c, i));
}

/* Far transfers. */
void op_callf_A(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_far_call(c, i->imm2, i->imm, i->opsize);
}

void op_jmpf_A(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_far_jmp(c, i->imm2, i->imm, i->opsize);
}

void op_callf_M(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t rip;
	uint16_t sel = load_pointer(c, i, far_size(c, i), &rip);

	x86_far_call(c, sel, rip, far_size(c, i));
}

void op_jmpf_M(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t rip;
	uint16_t sel = load_pointer(c, i, far_size(c, i), &rip);

	x86_far_jmp(c, sel, rip, far_size(c, i));
}

void op_retf(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_far_ret(c, i->opsize, i->opcode == 0xca ? (uint16_t)i->imm : 0);
}

void op_iret(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_iret(c, i->opsize);
}

/*
 * Software interrupts.
 */
void op_int3(struct x86_cpu *c, const struct x86_insn *i) { x86_raise_soft(c, X86_EXC_BP); }

void op_int1(struct x86_cpu *c, const struct x86_insn *i) { x86_raise_icebp(c); }

void op_into(struct x86_cpu *c, const struct x86_insn *i)
{
	if (c->rflags & X86_FL_OF)
		x86_raise_soft(c, X86_EXC_OF);
}

/* VME's bitmap, in the 32 bytes below the I/O map: a set bit sends the interrupt
 * through the IDT. SDM vol. 3, 20.3.3. */
static bool v86_wants_idt(struct x86_cpu *c, unsigned vector)
{
	uint32_t at;

	if (c->tr.limit < 0x67)
		x86_raise_gp0(c);
	at = x86_sys_ld(c, x86_lin_wrap(c, c->tr.base + 0x66), 2) - 32 + vector / 8;
	if (at > c->tr.limit)
		x86_raise_gp0(c);
	return x86_sys_ld(c, x86_lin_wrap(c, c->tr.base + at), 1) >> (vector & 7) & 1;
}

void op_int(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned vector = i->imm & 0xff;

	if (x86_v86(c)) {
		if ((c->cr4 & X86_CR4_VME) && !v86_wants_idt(c, vector)) {
			x86_v86_redirect(c, vector);
			return;
		}
		if (x86_iopl(c) < 3)
			x86_raise_gp0(c);
	}
	x86_raise_soft(c, vector);
}

/*
 * Flags.
 */
void op_pushf(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v = c->rflags & ~(X86_FL_VM | X86_FL_RF);

	if (x86_v86(c) && x86_iopl(c) < 3) {
		if (!(c->cr4 & X86_CR4_VME) || i->opsize != 2)
			x86_raise_gp0(c);
		v = (v & ~X86_FL_IF) | X86_FL_IOPL | (c->rflags & X86_FL_VIF ? X86_FL_IF : 0);
	}
	op_push(c, v, i->opsize);
}

#define POPF_USER (X86_FL_ARITH | X86_FL_TF | X86_FL_DF | X86_FL_NT)

/* Virtual-8086 mode below IOPL 3 with VME: VIF stands for IF. */
static void popf_vme(struct x86_cpu *c, const struct x86_insn *i, uint64_t v)
{
	if (!(c->cr4 & X86_CR4_VME) || i->opsize != 2 || (v & X86_FL_TF) ||
	    ((v & X86_FL_IF) && (c->rflags & X86_FL_VIP)))
		x86_raise_gp0(c);
	if (v & X86_FL_IF)
		v |= X86_FL_VIF;
	op_set_sp(c, op_sp(c, 2));
	x86_set_flags(c, (c->rflags & ~(POPF_USER | X86_FL_VIF)) | (v & (POPF_USER | X86_FL_VIF)));
}

void op_popf(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t mask = POPF_USER, v, old = c->rflags & ~X86_FL_RF;

	if (x86_v86(c) && x86_iopl(c) < 3 && (!(c->cr4 & X86_CR4_VME) || i->opsize != 2))
		x86_raise_gp0(c);
	v = x86_ld(c, X86_SS, op_sp(c, 0), i->opsize);
	if (x86_v86(c) && x86_iopl(c) < 3) {
		popf_vme(c, i, v);
		return;
	}
	if (i->opsize > 2) {
		mask |= X86_FL_AC | X86_FL_ID;
		if (!x86_v86(c))
			old &= ~(X86_FL_VIF | X86_FL_VIP);
	}
	if (c->cpl <= x86_iopl(c))
		mask |= X86_FL_IF;
	if (c->cpl == 0)
		mask |= X86_FL_IOPL;
	op_set_sp(c, op_sp(c, i->opsize));
	x86_set_flags(c, (old & ~mask) | (v & mask));
}

/* Whether CLI and STI act on IF, on VIF, or fault. */
enum which { FLAG_IF, FLAG_VIF };

static enum which interrupt_flag(struct x86_cpu *c)
{
	if (c->cpl <= x86_iopl(c)) /* real mode is at CPL 0 */
		return FLAG_IF;
	if (x86_v86(c) ? !!(c->cr4 & X86_CR4_VME) : c->cpl == 3 && (c->cr4 & X86_CR4_PVI))
		return FLAG_VIF;
	x86_raise_gp0(c);
}

void op_cli(struct x86_cpu *c, const struct x86_insn *i)
{
	c->rflags &= ~(interrupt_flag(c) == FLAG_IF ? X86_FL_IF : X86_FL_VIF);
}

void op_sti(struct x86_cpu *c, const struct x86_insn *i)
{
	if (interrupt_flag(c) == FLAG_VIF) {
		if (c->rflags & X86_FL_VIP)
			x86_raise_gp0(c);
		c->rflags |= X86_FL_VIF;
		return;
	}
	if (c->rflags & X86_FL_IF)
		return;
	x86_set_flags(c, c->rflags | X86_FL_IF);
	c->int_shadow |= X86_SHADOW_STI;
	c->stop_block = true;
}
