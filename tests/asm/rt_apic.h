/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC and IOAPIC by address, and starting other processors. */
#ifndef BOTHY_TESTS_ASM_RT_APIC_H
#define BOTHY_TESTS_ASM_RT_APIC_H

#include "tests/asm/rt.h"

#define APIC_BASE 0xfee00000ul
#define IOAPIC_BASE 0xfec00000ul
enum { APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_PPR = 0xa0, APIC_EOI = 0xb0,
       APIC_LDR = 0xd0, APIC_DFR = 0xe0, APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_TMR = 0x180,
       APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR = 0x300, APIC_ICR2 = 0x310,
       APIC_LVTT = 0x320, APIC_LVT0 = 0x350, APIC_LVT1 = 0x360, APIC_LVTE = 0x370,
       APIC_TMICT = 0x380, APIC_TMCCT = 0x390, APIC_TDCR = 0x3e0 };

static inline u32 apic_rd(u32 reg) { return rd32((void *)(APIC_BASE + reg)); }
static inline void apic_wr(u32 reg, u32 v) { wr32((void *)(APIC_BASE + reg), v); }
static inline void eoi(void) { apic_wr(APIC_EOI, 0); }
static inline void apic_on(void) { apic_wr(APIC_SVR, 0x1ff); }
static inline void apic_icr(u32 dest, u32 low)
{
	apic_wr(APIC_ICR2, dest << 24);
	apic_wr(APIC_ICR, low);
	while (apic_rd(APIC_ICR) & 0x1000)
		pause_();
}
static inline u32 ioapic_rd(u32 reg)
{
	wr32((void *)IOAPIC_BASE, reg);
	return rd32((void *)(IOAPIC_BASE + 0x10));
}
static inline void ioapic_wr(u32 reg, u32 v)
{
	wr32((void *)IOAPIC_BASE, reg);
	wr32((void *)(IOAPIC_BASE + 0x10), v);
}
static inline void ioapic_route(unsigned pin, u32 low, u32 dest)
{
	ioapic_wr(0x10 + 2 * pin + 1, dest << 24);
	ioapic_wr(0x10 + 2 * pin, low);
}
/* Waits, interrupts enabled, until *count reaches @want or @ms have passed. */
static inline bool wait_count(volatile u64 *count, u64 want, unsigned ms)
{
	bool got;

	sti();
	for (unsigned i = 0; i < ms * 10 && *count < want; i++)
		rt_udelay(100);
	cli();
	got = *count >= want;
	return got;
}

#ifdef __x86_64__
#define SMP_MAX 8
/* rt_smp.c: starts every other processor; each runs what smp_run() hands out
 * and spins for a moment and halts, interrupts enabled, in between. Returns how many
 * there are in all. */
extern volatile u32 smp_count;
unsigned smp_start(void);
/* fn(index) on processor @index (1..), not waiting; smp_wait(): all idle again. */
void smp_run(unsigned index, void (*fn)(unsigned index));
void smp_run_all(void (*fn)(unsigned index)); /* here too, as index 0; waits */
bool smp_wait(void); /* false after ten seconds */
extern u32 smp_apic_id[SMP_MAX];
#endif

#endif
