/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a boot_entry to the boot processor's registers. */
#include "src/machine/boot_cpu.h"

#include "src/cpu/x86/access.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/msr.h"
#include "src/cpu/x86/x86.h"
#include "src/dev/firmware/boot.h"

/* Local APIC registers (SDM vol. 3, table 11-1). */
#define APIC_SVR 0x0f0
#define APIC_LINT0 0x350
#define APIC_LINT1 0x360

void boot_cpu_firmware(struct x86_cpu *c, uint64_t low_memory)
{
	x86_mtrr_firmware(c, low_memory);
	if (c->index != 0 || !c->apic)
		return;
	/* Virtual wire mode (Intel MultiProcessor specification 1.4, 3.6.2.2). */
	apic_mmio_write(c->apic, APIC_SVR, 0x1ff, 4);   /* enabled, spurious vector 255 */
	apic_mmio_write(c->apic, APIC_LINT0, 0x700, 4); /* ExtINT */
	apic_mmio_write(c->apic, APIC_LINT1, 0x400, 4); /* NMI */
}

static struct x86_seg flat(uint16_t sel, uint16_t type, bool long_code)
{
	return (struct x86_seg){
		.sel = sel,
		.attr = (uint16_t)(type | X86_SEG_S | X86_SEG_P | X86_SEG_G |
				   (long_code ? X86_SEG_L : X86_SEG_DB)),
		.limit = 0xffffffff,
	};
}

void boot_cpu_enter(struct x86_cpu *c, const struct boot_entry *e)
{
	bool long64 = e->mode == BOOT_LONG64;

	/* Accessed code execute/read (11) and data read/write (3): SDM vol. 3, 3.4.5.1. */
	c->seg[X86_CS] = flat(e->cs, 0xb, long64);
	for (unsigned s = 0; s < X86_NSEGS; s++)
		if (s != X86_CS)
			c->seg[s] = flat(e->ds, 0x3, false);
	c->gdtr.base = e->gdt;
	c->gdtr.limit = e->gdt_limit;
	c->idtr.base = 0;
	c->idtr.limit = 0;
	c->tr = (struct x86_seg){ .sel = e->tr, .attr = 0xb | X86_SEG_P, .limit = 0x67 };
	c->ldtr = (struct x86_seg){ .attr = 0x2 | X86_SEG_P, .limit = 0xffff };
	c->cr0 = X86_CR0_PE | X86_CR0_ET;
	c->cr4 = 0;
	if (long64) {
		c->cr0 |= X86_CR0_PG;
		c->cr4 |= X86_CR4_PAE;
		c->efer |= X86_EFER_LME | X86_EFER_LMA;
		c->cr3 = e->cr3;
	}
	for (unsigned r = 0; r < 16; r++)
		c->gpr[r] = 0;
	c->gpr[X86_RAX] = e->rax;
	c->gpr[X86_RBX] = e->rbx;
	c->gpr[X86_RSI] = e->rsi;
	c->gpr[X86_RSP] = e->rsp;
	c->rip = e->rip;
	c->rflags = X86_FL_FIXED;
	c->cpl = 0;
	x86_tlb_flush_all(c);
	x86_update_mode(c);
}
