/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counters that go on: for machines that are moved, saved and restored while they run.
 * Two timers tick, clocks move on, memory is written and read back; nothing may be
 * lost, repeated or go backwards. */
#include "tests/asm/rt_apic.h"

#define TICKS 600u /* of each timer, 5 ms and more apart */
#define PAGES 64u

static volatile u64 pit_ticks, apic_ticks;

static void on_pit(struct rt_regs *r)
{
	pit_ticks++;
	outb(0x20, 0x20);
}
static void on_apic(struct rt_regs *r)
{
	apic_ticks++;
	eoi();
}

/* The local APIC's clock by the PM timer: counts in 5 ms. */
static u32 five_ms(void)
{
	apic_wr(APIC_LVTT, 0x10000);
	apic_wr(APIC_TMICT, ~0u);
	rt_udelay(5000);
	return ~0u - apic_rd(APIC_TMCCT);
}

void test_main(void)
{
	u8 *pages = rt_pages(PAGES);
	u64 tsc = rdtsc(), back = 0, lost = 0, turns = 0, quiet = 0;
	u64 ticks = 0, step;

	for (unsigned v = 0x20; v < 0x30; v++)
		rt_handle(v, on_pit);
	rt_handle(0x70, on_apic);
	apic_on();
	apic_wr(APIC_LVT0, 0x700);
	apic_wr(APIC_TDCR, 0xb);
	step = five_ms();
	outb(0x43, 0x34);
	outb(0x40, 5966 & 0xff);
	outb(0x40, 5966 >> 8);
	outb(0x21, 0xfe);
	outb(0xa1, 0xff);
	apic_wr(APIC_LVTT, 0x20070);
	apic_wr(APIC_TMICT, (u32)step);
	sti();
	while (pit_ticks < TICKS || apic_ticks < TICKS) {
		volatile u64 *p = (volatile u64 *)(pages + turns % PAGES * 4096);
		u64 now = rdtsc(), was = turns < PAGES ? 0 : turns - PAGES + 1;

		back += now < tsc;
		tsc = now;
		lost += p[0] != was || p[511] != ~was;
		turns++;
		p[0] = turns;
		p[511] = ~turns;
		/* Ten seconds without a tick: it is gone for good. */
		quiet = ticks == pit_ticks + apic_ticks ? quiet + 1 : 0;
		ticks = pit_ticks + apic_ticks;
		if (quiet > 200000)
			break;
		rt_udelay(50);
	}
	cli();
	check_true("pit", pit_ticks >= TICKS);
	check_true("apic-timer", apic_ticks >= TICKS);
	check("tsc-backwards", back, 0);
	/* The first round found zeroed pages, not their complement. */
	check("memory-lost", lost, PAGES);
	check_true("turns", turns > TICKS);
}
