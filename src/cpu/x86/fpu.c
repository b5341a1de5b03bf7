/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87, MMX and SSE: availability, pending exceptions, the register file's shape. */
#include <signal.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/vec.h"

void x86_vec_unavailable(struct x86_cpu *c, uint32_t attr)
{
	bool ud = attr & X86_A_AVX ? (c->xcr0 & 6) != 6 || !(c->cr4 & X86_CR4_OSXSAVE)
				   : !(c->cr4 & X86_CR4_OSFXSR) || c->cr0 & X86_CR0_EM;

	x86_raise(c, ud ? X86_EXC_UD : X86_EXC_NM);
}

void x86_simd_exception(struct x86_cpu *c)
{
	x86_raise(c, c->cr4 & X86_CR4_OSXMMEXCPT ? X86_EXC_XM : X86_EXC_UD);
}

void x86_simd_may_trap(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGFPE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/*
 * SDM vol. 3, 2.5 (CR0.NE) and vol. 1, 8.7: native mode raises #MF; in the PC's
 * way FERR# drives IRQ 13 and the processor stands before the instruction until
 * an interrupt comes. Here it runs again and again, each time looking at events.
 */
bool x86_x87_pending(struct x86_cpu *c)
{
	if (c->cr0 & X86_CR0_NE)
		x86_raise(c, X86_EXC_MF);
	if (!c->cpus || !c->cpus->x87_error)
		return true;
	c->cpus->x87_error(c->cpus->x87_opaque, c->index);
	c->rip = c->start_rip;
	c->stop_block = true;
	return false;
}

void x86_set_top(struct x86_cpu *c, unsigned top)
{
	unsigned move = (top - X86_FSW_TOP(c->fx.fsw)) & 7;
	uint8_t st[8][16];

	c->fx.fsw = (uint16_t)((c->fx.fsw & ~0x3800) | top << 11);
	if (!move)
		return;
	memcpy(st, c->fx.st, sizeof(st));
	for (unsigned n = 0; n < 8; n++)
		memcpy(c->fx.st[n], st[(n + move) & 7], sizeof(st[0]));
}

/* SDM vol. 1, 9.5: every MMX instruction sets TOP to 0 and all tags to valid. */
void x86_mmx_enter(struct x86_cpu *c)
{
	c->fx.ftw = 0xff;
	x86_set_top(c, 0);
}

void x86_fninit(struct x86_cpu *c)
{
	x86_set_top(c, 0);
	c->fx.fcw = 0x37f;
	c->fx.fsw = 0;
	c->fx.ftw = 0;
	c->fx.fop = 0;
	c->fx.fip = c->fx.fdp = 0;
}

void x86_fsw_update(struct x86_cpu *c)
{
	if (c->fx.fsw & ~c->fx.fcw & 0x3f)
		c->fx.fsw |= X86_FSW_ES | X86_FSW_B;
	else
		c->fx.fsw &= (uint16_t) ~(X86_FSW_ES | X86_FSW_B);
}

void x86_fx_normalise(struct x86_cpu *c)
{
	c->fx.fcw = (c->fx.fcw & 0x1f3f) | 0x40;
	c->fx.fop &= 0x7ff;
	x86_fsw_update(c);
	for (unsigned n = 0; n < 8; n++)
		memset(c->fx.st[n] + 10, 0, 6);
}

/*
 * Alignment checking (SDM vol. 3, table 6-7): by the operand's type, not its
 * length; 256-bit operands by 16 bytes, x87 environments by their words.
 */
static void check_alignment(struct x86_cpu *c, uint64_t lin, unsigned bytes)
{
	unsigned align = 1;

	if (likely(c->tlb_class != X86_TLB_USER_AC))
		return;
	switch (bytes) {
	case 2:
	case 4:
	case 8:
	case 16: align = bytes; break;
	case 10: align = 8; break;
	case 14:
	case 94: align = 2; break;
	case 28:
	case 108: align = 4; break;
	case 32: align = 16; break;
	}
	if (lin & (align - 1))
		x86_raise_err(c, X86_EXC_AC, 0);
}

void x86_vec_ld_slow(struct x86_cpu *c, uint64_t lin, void *to, unsigned bytes)
{
	check_alignment(c, lin, bytes);
	x86_load_buf(c, c->tlb_class, lin, to, bytes);
}

void x86_vec_st_slow(struct x86_cpu *c, uint64_t lin, const void *from, unsigned bytes)
{
	check_alignment(c, lin, bytes);
	x86_store_buf(c, c->tlb_class, lin, from, bytes);
}
