/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87 control: FLDCW, the environment in its four layouts (SDM vol. 1, figures
 * 8-9 to 8-12), FNSAVE and FRSTOR, FNINIT, FNCLEX, FNSTSW, WAIT. */
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

void op_fwait(struct x86_cpu *c, const struct x86_insn *i)
{
	/* EM does not matter here; TS only together with MP. */
	if ((c->cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS))
		x86_raise(c, X86_EXC_NM);
	if (x86_x87_unmasked(c))
		x86_x87_pending(c);
}

void op_x87_nop(struct x86_cpu *c, const struct x86_insn *i) { x86_x87_check_nowait(c); }

void op_fninit(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_x87_check_nowait(c);
	x86_fninit(c);
}

void op_fnclex(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_x87_check_nowait(c);
	c->fx.fsw &= 0x7f00;
}

static void set_fcw(struct x86_cpu *c, uint16_t v)
{
	c->fx.fcw = (v & 0x1f3f) | 0x40;
	x86_fsw_update(c);
}

void op_fldcw(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_x87_check(c))
		set_fcw(c, x86_ld16(c, i->seg, x86_ea(c, i)));
}

void op_fnstcw(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_x87_check_nowait(c);
	x86_st16(c, i->seg, x86_ea(c, i), c->fx.fcw);
}

void op_fnstsw(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_x87_check_nowait(c);
	x86_st16(c, i->seg, x86_ea(c, i), c->fx.fsw);
}

void op_fnstsw_ax(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_x87_check_nowait(c);
	x86_set(c, X86_RAX, c->fx.fsw, 2);
}

/* The full tag word, worked out from the registers: 0 valid, 1 zero, 2 special
 * (denormal, unnormal, infinity, NaN), 3 empty. */
static uint16_t full_tags(const struct x86_cpu *c)
{
	unsigned top = X86_FSW_TOP(c->fx.fsw), tags = 0;

	for (unsigned n = 0; n < 8; n++) {
		const uint8_t *st = c->fx.st[(n - top) & 7];
		unsigned exp = ld_le16(st + 8) & 0x7fff, tag;
		uint64_t mant = ld_le64(st);

		if (!(c->fx.ftw >> n & 1))
			tag = 3;
		else if (exp == 0 && mant == 0)
			tag = 1;
		else
			tag = exp != 0 && exp != 0x7fff && mant >> 63 ? 0 : 2;
		tags |= tag << 2 * n;
	}
	return (uint16_t)tags;
}

static bool protected_layout(const struct x86_cpu *c) { return x86_protected(c) && !x86_v86(c); }

/* Writes the environment; its length, 14 or 28 bytes. */
static unsigned env_store(const struct x86_cpu *c, unsigned opsize, uint8_t *p)
{
	uint16_t tags = full_tags(c);
	uint32_t fip = (uint32_t)c->fx.fip, fdp = (uint32_t)c->fx.fdp;
	bool prot = protected_layout(c);

	if (opsize == 2) {
		st_le16(p, c->fx.fcw);
		st_le16(p + 2, c->fx.fsw);
		st_le16(p + 4, tags);
		st_le16(p + 6, (uint16_t)fip);
		st_le16(p + 8, prot ? 0 : (uint16_t)((fip >> 4 & 0xf000) | c->fx.fop));
		st_le16(p + 10, (uint16_t)fdp);
		st_le16(p + 12, prot ? 0 : (uint16_t)(fdp >> 4 & 0xf000));
		return 14;
	}
	st_le32(p, 0xffff0000u | c->fx.fcw);
	st_le32(p + 4, 0xffff0000u | c->fx.fsw);
	st_le32(p + 8, 0xffff0000u | tags);
	if (prot) {
		st_le32(p + 12, fip);
		st_le32(p + 16, (uint32_t)c->fx.fop << 16);
		st_le32(p + 20, fdp);
		st_le32(p + 24, 0xffff0000u);
	} else {
		st_le32(p + 12, 0xffff0000u | (fip & 0xffff));
		st_le32(p + 16, (fip >> 4 & 0x0ffff000) | c->fx.fop);
		st_le32(p + 20, 0xffff0000u | (fdp & 0xffff));
		st_le32(p + 24, fdp >> 4 & 0x0ffff000);
	}
	return 28;
}

static void env_load(struct x86_cpu *c, unsigned opsize, const uint8_t *p)
{
	unsigned step = opsize == 2 ? 2 : 4, ftw = 0;
	uint16_t tags = ld_le16(p + 2 * step), fsw = ld_le16(p + step);

	x86_set_top(c, X86_FSW_TOP(fsw));
	c->fx.fsw = fsw;
	for (unsigned n = 0; n < 8; n++)
		if ((tags >> 2 * n & 3) != 3)
			ftw |= 1u << n;
	c->fx.ftw = (uint8_t)ftw;
	if (opsize == 2) {
		uint16_t w4 = ld_le16(p + 8), w6 = ld_le16(p + 12);

		c->fx.fip = ld_le16(p + 6);
		c->fx.fdp = ld_le16(p + 10);
		c->fx.fop = 0; /* not part of the 16-bit protected layout */
		if (!protected_layout(c)) {
			c->fx.fip |= (uint64_t)(w4 & 0xf000) << 4;
			c->fx.fdp |= (uint64_t)(w6 & 0xf000) << 4;
			c->fx.fop = w4 & 0x7ff;
		}
	} else if (protected_layout(c)) {
		c->fx.fip = ld_le32(p + 12);
		c->fx.fop = ld_le16(p + 18) & 0x7ff;
		c->fx.fdp = ld_le32(p + 20);
	} else {
		c->fx.fip = ld_le16(p + 12) | (uint64_t)(ld_le32(p + 16) & 0x0ffff000) << 4;
		c->fx.fop = ld_le32(p + 16) & 0x7ff;
		c->fx.fdp = ld_le16(p + 20) | (uint64_t)(ld_le32(p + 24) & 0x0ffff000) << 4;
	}
	set_fcw(c, ld_le16(p));
}

static inline unsigned env_bytes(const struct x86_insn *i) { return i->opsize == 2 ? 14 : 28; }

void op_fnstenv(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = env_bytes(i);
	uint8_t env[32];
	uint64_t lin;

	x86_x87_check_nowait(c);
	lin = x86_lin(c, i->seg, x86_ea(c, i), n, X86_ACC_W);
	env_store(c, i->opsize, env);
	x86_vec_st(c, lin, env, n);
	set_fcw(c, c->fx.fcw | 0x3f);
}

void op_fldenv(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = env_bytes(i);
	uint8_t env[32];

	if (!x86_x87_check(c))
		return;
	x86_vec_ld(c, x86_lin(c, i->seg, x86_ea(c, i), n, X86_ACC_R), env, n);
	env_load(c, i->opsize, env);
}

void op_fnsave(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = env_bytes(i);
	uint8_t image[108];
	uint64_t lin;

	x86_x87_check_nowait(c);
	lin = x86_lin(c, i->seg, x86_ea(c, i), n + 80, X86_ACC_W);
	env_store(c, i->opsize, image);
	for (unsigned k = 0; k < 8; k++)
		memcpy(image + n + 10 * k, c->fx.st[k], 10);
	x86_vec_st(c, lin, image, n + 80);
	x86_fninit(c);
}

void op_frstor(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = env_bytes(i);
	uint8_t image[108];

	if (!x86_x87_check(c))
		return;
	x86_vec_ld(c, x86_lin(c, i->seg, x86_ea(c, i), n + 80, X86_ACC_R), image, n + 80);
	env_load(c, i->opsize, image);
	for (unsigned k = 0; k < 8; k++)
		memcpy(c->fx.st[k], image + n + 10 * k, 10);
}
