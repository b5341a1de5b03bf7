/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may touch which port: IOPL and the TSS's bitmap, SDM vol. 1, 19.5. */
#include "src/cpu/x86/sys.h"

#define TSS_IOMAP_BASE 0x66

void x86_check_io(struct x86_cpu *c, uint16_t port, unsigned size)
{
	uint32_t at, bits;

	if (!x86_protected(c) || (!x86_v86(c) && c->cpl <= x86_iopl(c)))
		return;
	/* Only the 32- and 64-bit TSS (busy: it is the current one) has a map. */
	if ((c->tr.attr & 0xf) != (X86_SYS_TSS32 | X86_SYS_BUSY) || c->tr.limit < 0x67)
		x86_raise_gp0(c);
	at = x86_sys_ld(c, x86_lin_wrap(c, c->tr.base + TSS_IOMAP_BASE), 2);
	at += port / 8;
	/* Two bytes are always read: a port range may cross a byte. */
	if (at + 1 > c->tr.limit)
		x86_raise_gp0(c);
	bits = x86_sys_ld(c, x86_lin_wrap(c, c->tr.base + at), 2);
	if (bits >> (port & 7) & low_mask(size))
		x86_raise_gp0(c);
}
