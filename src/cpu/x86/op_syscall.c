/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SYSCALL SYSRET SYSENTER SYSEXIT. The vendors differ: Intel has SYSCALL in 64-bit
 * code only and SYSENTER everywhere, AMD has SYSCALL everywhere and SYSENTER
 * outside long mode; what SYSRET does with SS and a bad RIP differs too. SDM
 * vol. 2 and AMD APM vol. 3, the instructions' own pages.
 */
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/op_priv.h"
#include "src/cpu/x86/sys.h"

static bool syscall_here(const struct x86_cpu *c)
{
	return (c->efer & X86_EFER_SCE) && x86_protected(c) && (c->amd || c->code64);
}

/* What a single step means is decided by TF as SYSCALL and SYSRET leave it. */
static void step_by_new_flags(struct x86_cpu *c)
{
	if (!(c->rflags & X86_FL_TF))
		c->db_pending &= ~X86_DR6_BS;
}

static void enter(struct x86_cpu *c, uint16_t sel, uint64_t rip, bool m64)
{
	struct x86_seg cs = x86_flat_code(sel & ~3u, 0, m64);

	c->seg[X86_SS] = x86_flat_stack((uint16_t)((sel & ~3u) + 8), 0);
	x86_set_cs(c, &cs, 0, rip);
}

void op_syscall(struct x86_cpu *c, const struct x86_insn *i)
{
	uint16_t sel = c->star >> 32;
	uint64_t flags = c->rflags & ~X86_FL_RF, rip;

	if (!syscall_here(c))
		x86_raise_ud(c);
	if (x86_long(c)) {
		rip = c->code64 ? c->lstar : c->cstar;
		c->gpr[X86_RCX] = c->rip;
		c->gpr[X86_R11] = flags;
		x86_set_flags(c, flags & ~c->fmask);
		enter(c, sel, rip, true);
	} else {
		c->gpr[X86_RCX] = (uint32_t)c->rip;
		x86_set_flags(c, flags & ~(X86_FL_IF | X86_FL_VM));
		enter(c, sel, (uint32_t)c->star, false);
	}
	step_by_new_flags(c);
}

void op_sysret(struct x86_cpu *c, const struct x86_insn *i)
{
	const uint64_t mask = 0x3c7fd7; /* all but RF and VM */
	bool m64 = x86_long(c) && i->opsize == 8;
	uint16_t sel = (uint16_t)((c->star >> 48) + (m64 ? 16 : 0)) | 3;
	uint16_t ss = (uint16_t)((c->star >> 48) + 8) | 3;
	uint64_t rip = m64 ? c->gpr[X86_RCX] : (uint32_t)c->gpr[X86_RCX];
	struct x86_seg cs = x86_flat_code(sel, 3, m64);

	if (!syscall_here(c))
		x86_raise_ud(c);
	if (c->cpl != 0 || (!c->amd && !x86_canonical(rip)))
		x86_raise_gp0(c);
	if (c->amd) /* only the selector: base, limit and attributes stay */
		c->seg[X86_SS].sel = ss;
	else
		c->seg[X86_SS] = x86_flat_stack(ss, 3);
	if (x86_long(c))
		x86_set_flags(c, (c->gpr[X86_R11] & mask) | X86_FL_FIXED);
	else
		x86_set_flags(c, c->rflags | X86_FL_IF);
	x86_set_cs(c, &cs, 3, rip);
}

void op_sysenter(struct x86_cpu *c, const struct x86_insn *i)
{
	bool m64 = x86_long(c);

	if (c->amd && m64)
		x86_raise_ud(c);
	if (!x86_protected(c) || x86_sel_null((uint16_t)c->sysenter_cs))
		x86_raise_gp0(c);
	c->gpr[X86_RSP] = m64 ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
	x86_set_flags(c, c->rflags & ~(X86_FL_VM | X86_FL_IF | X86_FL_RF));
	enter(c, (uint16_t)c->sysenter_cs, m64 ? c->sysenter_eip : (uint32_t)c->sysenter_eip, m64);
}

void op_sysexit(struct x86_cpu *c, const struct x86_insn *i)
{
	bool m64 = i->opsize == 8;
	uint16_t base = (uint16_t)c->sysenter_cs & 0xfffc;
	uint64_t rip = c->gpr[X86_RDX], rsp = c->gpr[X86_RCX];
	struct x86_seg cs;

	if (c->amd && x86_long(c))
		x86_raise_ud(c);
	if (!x86_protected(c) || x86_sel_null(base) || c->cpl != 0)
		x86_raise_gp0(c);
	if (!m64) {
		rip = (uint32_t)rip;
		rsp = (uint32_t)rsp;
	} else if (!x86_canonical(rip) || !x86_canonical(rsp)) {
		x86_raise_gp0(c);
	}
	cs = x86_flat_code((uint16_t)(base + (m64 ? 32 : 16)) | 3, 3, m64);
	c->seg[X86_SS] = x86_flat_stack((uint16_t)(base + (m64 ? 40 : 24)) | 3, 3);
	c->gpr[X86_RSP] = rsp;
	x86_set_cs(c, &cs, 3, rip);
}
