/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power-on and INIT state, SDM vol. 3, table 9-1. */
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/msr.h"

static void reset_segments(struct x86_cpu *c)
{
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = (struct x86_seg){ .attr = 0x93, .limit = 0xffff };
	c->seg[X86_CS] = (struct x86_seg){ .sel = 0xf000, .attr = 0x9b, .limit = 0xffff,
					   .base = 0xffff0000 };
	c->ldtr = (struct x86_seg){ .attr = 0x82, .limit = 0xffff };
	c->tr = (struct x86_seg){ .attr = 0x8b, .limit = 0xffff };
	c->gdtr = (struct x86_dtable){ .limit = 0xffff };
	c->idtr = (struct x86_dtable){ .limit = 0xffff };
}

/* What INIT leaves alone. */
static void reset_cold(struct x86_cpu *c)
{
	memset(&c->fx, 0, sizeof(c->fx));
	memset(c->ymm, 0, sizeof(c->ymm));
	c->fx.fcw = 0x40;
	c->fx.mxcsr = 0x1f80;
	c->fx.mxcsr_mask = 0xffff;
	c->xcr0 = 1;
	c->xss = 0;
	c->star = c->lstar = c->cstar = c->fmask = c->kernel_gs_base = 0;
	c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
	c->tsc_aux = 0;
	c->spec_ctrl = 0;
	c->mcg_status = 0;
	c->mcg_ctl = ~0ull;
	c->smbase = 0x30000;
	x86_msr_reset(c);
}

void x86_reset(struct x86_cpu *c, bool init)
{
	uint64_t cache = init ? c->cr0 & (X86_CR0_CD | X86_CR0_NW) : X86_CR0_CD | X86_CR0_NW;

	memset(c->gpr, 0, sizeof(c->gpr));
	c->gpr[X86_RDX] = x86_signature(c);
	c->rip = c->start_rip = 0xfff0;
	c->rflags = X86_FL_FIXED;
	c->cpl = 0;
	c->int_shadow = 0;
	c->nmi_blocked = c->nmi_pending = false;
	c->intr_waits = true;
	c->recheck = c->halted = false;
	c->db_pending = 0;
	c->exc_vector = -1;
	c->cr0 = X86_CR0_ET | cache;
	c->cr2 = c->cr3 = c->cr4 = 0;
	memset(c->pdpte, 0, sizeof(c->pdpte));
	memset(c->dr, 0, sizeof(c->dr));
	c->dr[6] = X86_DR6_FIXED;
	c->dr[7] = X86_DR7_FIXED;
	c->efer = 0;
	reset_segments(c);
	if (!init)
		reset_cold(c);
	x86_tlb_flush_all(c);
	x86_update_mode(c);
}
