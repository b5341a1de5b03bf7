/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt controllers and timers of the board: PIC, PIT, IOAPIC, local APIC
 * timer in its three modes, HPET, RTC, PM timer, x2APIC. */
#include "tests/asm/rt_apic.h"

static volatile u64 hits, last, isr_seen;

static void on_pic(struct rt_regs *r)
{
	hits++;
	last = r->vector;
	outb(0x20, 0x0b); /* read ISR */
	isr_seen = inb(0x20);
	if (r->vector >= 0x28)
		outb(0xa0, 0x20);
	outb(0x20, 0x20);
}
static void on_apic(struct rt_regs *r)
{
	hits++;
	last = r->vector;
	eoi();
}

static void pit_set(u8 mode, u32 count)
{
	outb(0x43, 0x30 | mode << 1);
	outb(0x40, count);
	outb(0x40, count >> 8);
}

static u16 pit_read(void)
{
	outb(0x43, 0);
	u8 lo = inb(0x40);

	return lo | inb(0x40) << 8;
}

/* Microseconds since @start, by the PM timer. No upper bounds are checked: a busy
 * host may be late, but never early. */
static u32 took(u32 start)
{
	return (u32)(((u64)((rt_pm_timer() - start) & 0xffffff) * 1000000) / 3579545);
}

static void pic_and_pit(void)
{
	u32 start;

	for (unsigned v = 0x20; v < 0x30; v++)
		rt_handle(v, on_pic);
	apic_on(); /* else its LVT entries stay masked */
	apic_wr(APIC_LVT0, 0x700); /* ExtINT */
	outb(0x43, 0x30); /* no count yet: the output is low */
	outb(0x21, 0xfe);
	wait_count(&hits, ~0ull, 2); /* what firmware's timer left pending */
	hits = 0;
	start = rt_pm_timer();
	pit_set(0, 11932); /* 10 ms, one shot */
	check_true("pit.one-shot", wait_count(&hits, 1, 1000));
	check_true("pit.one-shot-time", took(start) > 9000);
	check("pit.vector", last, 0x20);
	check("pic.isr", isr_seen, 1);
	check_true("pit.once", !wait_count(&hits, 2, 30));
	hits = 0;
	start = rt_pm_timer();
	pit_set(2, 1193); /* 1 kHz */
	check_true("pit.periodic", wait_count(&hits, 100, 3000));
	check_true("pit.periodic-time", took(start) > 90000);
	outb(0x21, 0xff);
	hits = 0;
	check_true("pic.masked", !wait_count(&hits, 1, 10));
	/* The request waited in IRR. */
	outb(0x20, 0x0a);
	check("pic.irr", inb(0x20) & 1, 1);
	outb(0x21, 0xfe);
	check_true("pic.unmasked", wait_count(&hits, 1, 100));
	outb(0x21, 0xff);
	u16 fell = 0;
	for (unsigned i = 0; i < 20 && (fell < 900 || fell > 30000); i++) { /* a late host wraps it */
		pit_set(0, 0);
		fell = pit_read();
		rt_udelay(1000);
		fell -= pit_read();
	}
	check_true("pit.counts-down", fell > 900 && fell < 30000);
	/* Read-back: status of channel 0, mode and access bits. */
	outb(0x43, 0xe2);
	check("pit.status", inb(0x40) & 0x3f, 0x30);
	/* Channel 2 by the speaker port's gate and output. */
	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, 0x9c);
	outb(0x42, 0x2e);
	check("pit.out2-low", inb(0x61) & 0x20, 0);
	rt_udelay(15000);
	check("pit.out2-high", inb(0x61) & 0x20, 0x20);
	outb(0x61, inb(0x61) & ~1);
	apic_wr(APIC_LVT0, 0x10700);
}

static void io_apic(void)
{
	u32 id = apic_rd(APIC_ID) >> 24;

	rt_handle(0x60, on_apic);
	apic_on();
	check("ioapic.pins", ioapic_rd(1) >> 16 & 0xff, 23);
	check_true("ioapic.version", (ioapic_rd(1) & 0xff) == 0x11 || (ioapic_rd(1) & 0xff) == 0x20);
	for (unsigned pin = 0; pin < 24; pin++)
		ioapic_route(pin, 0x10000, 0);
	ioapic_route(2, 0x60, id); /* the PIT's pin */
	hits = 0;
	pit_set(2, 1193);
	check_true("ioapic.pit", wait_count(&hits, 20, 2000));
	check("ioapic.vector", last, 0x60);
	ioapic_route(2, 0x10060, id);
	wait_count(&hits, ~0ull, 2); /* what was on its way */
	hits = 0;
	check_true("ioapic.masked", !wait_count(&hits, 1, 10));
	check("ioapic.redirection", ioapic_rd(0x14) & 0x1ffff, 0x10060);
	pit_set(0, 0);
	/* Logical destination. */
	apic_wr(APIC_DFR, ~0u);
	apic_wr(APIC_LDR, 0x04000000);
	ioapic_route(2, 0x860, 4);
	hits = 0;
	pit_set(0, 1193);
	check_true("ioapic.logical", wait_count(&hits, 1, 500));
	ioapic_route(2, 0x10000, 0);
}

/* Counts down for some 10 ms. How long that was, in ticks of the PM timer, is between
 * *least and *most: a busy host may stop this processor between two reads. */
static u64 count_down(u32 *least, u32 *most)
{
	u32 before, begun, end, after, c0, c1;

	before = rt_pm_timer();
	apic_wr(APIC_TMICT, 0xffffffff);
	c0 = apic_rd(APIC_TMCCT);
	begun = rt_pm_timer();
	rt_udelay(10000);
	end = rt_pm_timer();
	c1 = apic_rd(APIC_TMCCT);
	after = rt_pm_timer();
	*least = (end - begun) & 0xffffff;
	*most = (after - before) & 0xffffff;
	return c0 - c1;
}

static void lapic_timer(void)
{
	u32 start, least, most, least16, most16, ticks;
	u64 by_1, by_16;

	rt_handle(0x70, on_apic);
	apic_wr(APIC_TDCR, 0xb); /* by 1 */
	apic_wr(APIC_LVTT, 0x10070);
	by_1 = count_down(&least, &most);
	ticks = (u32)(by_1 * 35795 / least); /* in 10 ms, or some more */
	check_true("lapic.counts-down", ticks > 10000);
	apic_wr(APIC_TDCR, 3); /* by 16 */
	by_16 = count_down(&least16, &most16);
	check_true("lapic.divider", by_16 * most > by_1 * least16 / 64 &&
		   by_16 * least < by_1 * most16 / 4);
	apic_wr(APIC_TDCR, 0xb);
	apic_wr(APIC_LVTT, 0x70);
	hits = 0;
	start = rt_pm_timer();
	apic_wr(APIC_TMICT, ticks * 2);
	check_true("lapic.one-shot", wait_count(&hits, 1, 1000));
	check_true("lapic.one-shot-time", took(start) > 10000);
	check_true("lapic.once", !wait_count(&hits, 2, 50));
	check("lapic.stopped", apic_rd(APIC_TMCCT), 0);
	apic_wr(APIC_LVTT, 0x20070);
	hits = 0;
	start = rt_pm_timer();
	apic_wr(APIC_TMICT, ticks / 10);
	check_true("lapic.periodic", wait_count(&hits, 100, 3000));
	check_true("lapic.periodic-time", took(start) > 50000);
	apic_wr(APIC_TMICT, 0);
	wait_count(&hits, ~0ull, 2);
	hits = 0;
	check_true("lapic.initial-0-stops", !wait_count(&hits, 1, 20));
	apic_wr(APIC_LVTT, 0x10000);
}

static void tsc_deadline(void)
{
	u64 t0, t1;

	if (!(cpuid(1, 0).c >> 24 & 1)) {
		check_skip("deadline", "not offered");
		return;
	}
	t0 = rdtsc();
	rt_udelay(10000);
	t1 = rdtsc() - t0; /* about 10 ms */
	apic_wr(APIC_LVTT, 0x40070);
	asm volatile("mfence");
	hits = 0;
	t0 = rdtsc();
	wrmsr(0x6e0, t0 + t1);
	check("deadline.reads-back", rdmsr(0x6e0), t0 + t1);
	check_true("deadline.fires", wait_count(&hits, 1, 1000));
	check_true("deadline.not-early", rdtsc() - t0 >= t1);
	check("deadline.disarmed", rdmsr(0x6e0), 0);
	wrmsr(0x6e0, rdtsc() + t1);
	wrmsr(0x6e0, 0);
	check_true("deadline.cancelled", !wait_count(&hits, 2, 30));
	wrmsr(0x6e0, 1); /* long past: at once */
	check_true("deadline.past", wait_count(&hits, 2, 100));
	apic_wr(APIC_LVTT, 0x10000);
}

#define HPET 0xfed00000ul
static u64 hpet_rd(u32 off) { return rd64((void *)(HPET + off)); }
static void hpet_wr(u32 off, u64 v) { *(volatile u64 *)(HPET + off) = v; }

static void hpet(void)
{
	u64 cap = hpet_rd(0), a, b, period = cap >> 32;
	u32 id = apic_rd(APIC_ID) >> 24;

	check_true("hpet.period", period > 0 && period <= 100000000);
	check_true("hpet.timers", (cap >> 8 & 31) >= 2);
	hpet_wr(0x10, 0);
	hpet_wr(0xf0, 0);
	check("hpet.stopped", hpet_rd(0xf0), 0);
	hpet_wr(0x10, 1);
	a = hpet_rd(0xf0);
	rt_udelay(10000);
	b = hpet_rd(0xf0);
	u64 ns = (b - a) * period / 1000000;
	check_true("hpet.rate", ns > 9000000 && ns < 3000000000);
	/* 32-bit halves. */
	check_true("hpet.low-half", rd32((void *)(HPET + 0xf0)) >= (u32)b);
	outb(0x43, 0x30); /* the PIT shares a pin: its output stays low without a count */
	/* One shot of timer 0 on an IOAPIC pin that its capability allows. */
	u32 routes = hpet_rd(0x100) >> 32, pin = 0;
	while (pin < 24 && !(routes >> pin & 1))
		pin++;
	check_true("hpet.route", pin < 24);
	rt_handle(0x61, on_apic);
	ioapic_route(pin, 0x61, id);
	hits = 0;
	hpet_wr(0x10, 0); /* it stands while a comparator is set: no match can be missed */
	hpet_wr(0x108, hpet_rd(0xf0) + 10000000000000ull / period);
	hpet_wr(0x100, (u64)pin << 9 | 4);
	hpet_wr(0x10, 1);
	check_true("hpet.one-shot", wait_count(&hits, 1, 1000));
	hpet_wr(0x100, 0);
	/* Periodic, 1 ms. */
	hits = 0;
	u64 ms = 1000000000000ull / period;
	hpet_wr(0x10, 0);
	hpet_wr(0x100, (u64)pin << 9 | 4 | 8 | 0x40);
	hpet_wr(0x108, hpet_rd(0xf0) + ms);
	hpet_wr(0x108, ms);
	hpet_wr(0x10, 1);
	check_true("hpet.periodic", wait_count(&hits, 20, 1000));
	hpet_wr(0x100, 0);
	ioapic_route(pin, 0x10000, 0);
	/* Legacy replacement: timer 0 drives IRQ 0's pin 2. */
	ioapic_route(2, 0x61, id);
	hpet_wr(0x10, 2);
	hits = 0;
	hpet_wr(0x108, hpet_rd(0xf0) + ms);
	hpet_wr(0x100, 4);
	hpet_wr(0x10, 3);
	check_true("hpet.legacy", wait_count(&hits, 1, 1000));
	hpet_wr(0x100, 0);
	hpet_wr(0x10, 1);
	ioapic_route(2, 0x10000, 0);
}

static u8 cmos(u8 reg) { outb(0x70, reg); return inb(0x71); }
static void cmos_wr(u8 reg, u8 v) { outb(0x70, reg); outb(0x71, v); }
static volatile u64 rtc_c;
static void on_rtc(struct rt_regs *r)
{
	rtc_c |= cmos(0xc);
	hits++;
	eoi();
}

static void rtc(void)
{
	u32 id = apic_rd(APIC_ID) >> 24;
	u8 b = cmos(0xb), s0, s1;
	unsigned i;

	check("rtc.valid", cmos(0xd) & 0x80, 0x80);
	cmos_wr(0x5a, 0xa5);
	check("rtc.ram", cmos(0x5a), 0xa5);
	for (i = 0; i < 100 && cmos(0xa) & 0x80; i++)
		rt_udelay(100);
	s0 = cmos(0);
	for (i = 0; i < 3000 && (s1 = cmos(0)) == s0; i++)
		rt_udelay(1000);
	check_true("rtc.ticks", i < 3000);
	check_true("rtc.century-year", cmos(9) != 0);
	/* Periodic interrupt, 1024 Hz, on pin 8. */
	rt_handle(0x62, on_rtc);
	ioapic_route(8, 0x62, id);
	cmos_wr(0xa, 0x26);
	cmos(0xc);
	hits = 0;
	rtc_c = 0;
	cmos_wr(0xb, b | 0x40);
	check_true("rtc.periodic", wait_count(&hits, 50, 3000));
	check("rtc.cause", rtc_c & 0xc0, 0xc0);
	cmos_wr(0xb, b & ~0x40);
	wait_count(&hits, ~0ull, 2);
	cmos(0xc);
	hits = 0;
	rtc_c = 0;
	cmos_wr(0xb, (b & ~0x40) | 0x10);
	check_true("rtc.update", wait_count(&hits, 1, 2500));
	check("rtc.update-cause", rtc_c & 0x90, 0x90);
	cmos_wr(0xb, b);
	cmos(0xc);
	ioapic_route(8, 0x10000, 0);
}

CASE static void x2_rd_icr2(void *a) { rdmsr(0x831); }
CASE static void x2_bad_base(void *a) { wrmsr(MSR_APICBASE, 0xfee00900); }
CASE static void x2_wr_id(void *a) { wrmsr(0x802, 0); }

static void on_x2(struct rt_regs *r)
{
	hits++;
	last = r->vector;
	wrmsr(0x80b, 0);
}

static void x2apic(void)
{
	u64 base = rdmsr(MSR_APICBASE);

	if (!(cpuid(1, 0).c >> 21 & 1)) {
		check_skip("x2apic", "not offered");
		return;
	}
	u32 id = apic_rd(APIC_ID) >> 24;
	wrmsr(MSR_APICBASE, base | 0x400);
	check("x2apic.id", rdmsr(0x802), id);
	check("x2apic.ldr", rdmsr(0x80d), (id >> 4) << 16 | 1 << (id & 15));
	check_exc("x2apic.no-icr2", rt_try(x2_rd_icr2, 0), GP, 0);
	check_exc("x2apic.id-read-only", rt_try(x2_wr_id, 0), GP, 0);
	check_exc("x2apic.no-way-back", rt_try(x2_bad_base, 0), GP, 0);
	rt_handle(0x63, on_x2);
	hits = 0;
	wrmsr(0x830, (u64)id << 32 | 0x63);
	check_true("x2apic.icr", wait_count(&hits, 1, 100));
	wrmsr(0x83f, 0x63);
	check_true("x2apic.self-ipi", wait_count(&hits, 2, 100));
	wrmsr(0x83e, 0xb);
	wrmsr(0x832, 0x63);
	wrmsr(0x838, 100000);
	check_true("x2apic.timer", wait_count(&hits, 3, 1000));
	wrmsr(MSR_APICBASE, base & ~0xc00ull);
	wrmsr(MSR_APICBASE, base);
	check("x2apic.back", apic_rd(APIC_ID) >> 24, id);
}

void test_main(void)
{
	pic_and_pit();
	io_apic();
	lapic_timer();
	tsc_deadline();
	hpet();
	rtc();
	x2apic();
}
