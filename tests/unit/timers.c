/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254, the HPET and the real-time clock. */
#include <stdio.h>
#include <time.h>

#include "src/dev/legacy/hpet.h"
#include "src/dev/legacy/i8254.h"
#include "src/dev/legacy/mc146818.h"
#include "tests/unit/dev_fixture.h"

/*
 * The 8254.
 */
struct pit_rig {
	struct fixture f;
	struct i8254 pit;
	struct probe irq;
};

static void pit_init(struct pit_rig *r)
{
	struct irq_line l = probe_line(&r->irq);

	fixture_init(&r->f);
	assert_int_equal(i8254_init(&r->pit, &r->f.env, &l, NULL), 0);
}

static void pit_fini(struct pit_rig *r)
{
	i8254_fini(&r->pit);
	fixture_fini(&r->f);
}

static void pit_load(struct pit_rig *r, unsigned ch, uint8_t mode, uint16_t count)
{
	outb(&r->f, 0x43, (uint8_t)(ch << 6 | 0x30 | mode << 1));
	outb(&r->f, (uint16_t)(0x40 + ch), (uint8_t)count);
	outb(&r->f, (uint16_t)(0x40 + ch), (uint8_t)(count >> 8));
}

static unsigned pit_count(struct pit_rig *r, unsigned ch)
{
	unsigned v;

	outb(&r->f, 0x43, (uint8_t)(ch << 6)); /* latch */
	v = inb(&r->f, (uint16_t)(0x40 + ch));
	return v | inb(&r->f, (uint16_t)(0x40 + ch)) << 8;
}

static int64_t ticks_ns(uint64_t ticks)
{
	return (int64_t)((ticks * 1000000000 + I8254_HZ - 1) / I8254_HZ);
}

static void test_pit_periodic(void **state)
{
	struct pit_rig r;

	pit_init(&r);
	pit_load(&r, 0, 2, 11932); /* 100 Hz */
	assert_int_equal(pit_count(&r, 0), 11932);
	pass(&r.f, ticks_ns(1000));
	assert_int_equal(pit_count(&r, 0), 10932);
	r.irq.rises = 0;
	pass(&r.f, ticks_ns(11932 - 1001));
	assert_int_equal(r.irq.rises, 0);
	pass(&r.f, ticks_ns(2));
	assert_int_equal(r.irq.rises, 1);
	pass(&r.f, 1000000000);
	assert_in_range(r.irq.rises, 100, 102);
	/* A new count takes over at the end of the period. */
	outb(&r.f, 0x40, 0x00);
	outb(&r.f, 0x40, 0x10);
	outb(&r.f, 0x43, 0xe2); /* status of channel 0 */
	assert_int_equal(inb(&r.f, 0x40) & 0x7f, 0x74); /* null count, lo/hi, mode 2 */
	pass(&r.f, 11000000);
	outb(&r.f, 0x43, 0xe2);
	assert_int_equal(inb(&r.f, 0x40) & 0x7f, 0x34);
	assert_true(pit_count(&r, 0) <= 0x1000);
	/* Mode 3, zero meaning 65536. */
	pit_load(&r, 0, 3, 0);
	r.irq.rises = 0;
	pass(&r.f, ticks_ns(65536 * 3) + 1000);
	assert_int_equal(r.irq.rises, 3);
	pit_fini(&r);
}

static void test_pit_one_shot(void **state)
{
	struct pit_rig r;

	pit_init(&r);
	r.irq.rises = 0;
	pit_load(&r, 0, 0, 1000);
	assert_int_equal(r.irq.level, 0);
	pass(&r.f, ticks_ns(999));
	assert_int_equal(r.irq.rises, 0);
	pass(&r.f, ticks_ns(2));
	assert_int_equal(r.irq.rises, 1);
	assert_int_equal(r.irq.level, 1);
	pass(&r.f, 1000000000);
	assert_int_equal(r.irq.rises, 1);
	/* Mode 4: the strobe, once. */
	pit_load(&r, 0, 4, 1000);
	r.irq.rises = 0;
	pass(&r.f, 1000000000);
	assert_int_equal(r.irq.rises, 1);
	/* A count reloaded before its end. */
	pit_load(&r, 0, 4, 1000);
	pass(&r.f, ticks_ns(500));
	outb(&r.f, 0x40, 0xe8);
	outb(&r.f, 0x40, 0x03);
	r.irq.rises = 0;
	pass(&r.f, ticks_ns(900));
	assert_int_equal(r.irq.rises, 0);
	pass(&r.f, ticks_ns(200));
	assert_int_equal(r.irq.rises, 1);
	/* A control word alone counts nothing. */
	outb(&r.f, 0x43, 0x34);
	r.irq.rises = 0;
	pass(&r.f, 1000000000);
	assert_int_equal(r.irq.rises, 0);
	pit_fini(&r);
}

static void test_pit_gate(void **state)
{
	struct pit_rig r;
	unsigned held;

	pit_init(&r);
	outb(&r.f, 0x61, 0x00);
	pit_load(&r, 2, 0, 1000);
	pass(&r.f, ticks_ns(100)); /* the gate is shut: nothing moves */
	held = pit_count(&r, 2);
	assert_int_equal(held, 1000);
	assert_int_equal(inb(&r.f, 0x61) & 0x21, 0x00);
	outb(&r.f, 0x61, 0x01);
	pass(&r.f, ticks_ns(400));
	assert_int_equal(pit_count(&r, 2), 600);
	outb(&r.f, 0x61, 0x00);
	pass(&r.f, ticks_ns(5000));
	assert_in_range(pit_count(&r, 2), 599, 600);
	outb(&r.f, 0x61, 0x01);
	pass(&r.f, ticks_ns(599));
	assert_int_equal(inb(&r.f, 0x61) & 0x20, 0x00);
	pass(&r.f, ticks_ns(2));
	assert_int_equal(inb(&r.f, 0x61) & 0x20, 0x20); /* as TSC calibration waits for */
	/* Mode 1: the gate's edge starts it. */
	outb(&r.f, 0x61, 0x00);
	pit_load(&r, 2, 1, 500);
	assert_int_equal(inb(&r.f, 0x61) & 0x20, 0x20);
	pass(&r.f, ticks_ns(1000));
	assert_int_equal(inb(&r.f, 0x61) & 0x20, 0x20);
	outb(&r.f, 0x61, 0x01);
	assert_int_equal(inb(&r.f, 0x61) & 0x20, 0x00);
	pass(&r.f, ticks_ns(501));
	assert_int_equal(inb(&r.f, 0x61) & 0x20, 0x20);
	/* The refresh bit toggles. */
	held = inb(&r.f, 0x61) & 0x10;
	pass(&r.f, 15085);
	assert_int_not_equal(inb(&r.f, 0x61) & 0x10, held);
	pit_fini(&r);
}

static void test_pit_access(void **state)
{
	struct pit_rig r;
	uint8_t lo, hi;

	pit_init(&r);
	/* BCD: 1000 decimal. */
	outb(&r.f, 0x43, 0x35);
	outb(&r.f, 0x40, 0x00);
	outb(&r.f, 0x40, 0x10);
	pass(&r.f, ticks_ns(1));
	assert_int_equal(pit_count(&r, 0), 0x0999);
	/* Low byte only, high byte only. */
	outb(&r.f, 0x43, 0x14);
	outb(&r.f, 0x40, 200);
	pass(&r.f, ticks_ns(50));
	assert_int_equal(inb(&r.f, 0x40), 150);
	outb(&r.f, 0x43, 0x24);
	outb(&r.f, 0x40, 0x20);
	pass(&r.f, ticks_ns(0x100));
	assert_int_equal(inb(&r.f, 0x40), 0x1f);
	/* A latch holds until it is read; status comes first. */
	pit_load(&r, 0, 2, 5000);
	outb(&r.f, 0x43, 0xc2); /* read back: count and status of channel 0 */
	pass(&r.f, ticks_ns(1000));
	outb(&r.f, 0x43, 0xd2); /* ignored: latched already */
	assert_int_equal(inb(&r.f, 0x40) & 0x3f, 0x34);
	lo = inb(&r.f, 0x40);
	hi = inb(&r.f, 0x40);
	assert_int_equal(lo | hi << 8, 5000);
	lo = inb(&r.f, 0x40);
	hi = inb(&r.f, 0x40);
	assert_int_equal(lo | hi << 8, 4000);
	assert_int_equal(inb(&r.f, 0x43), 0xff);
	pit_fini(&r);
}

static void test_pit_hostile(void **state)
{
	struct pit_rig r;

	pit_init(&r);
	outb(&r.f, 0x43, 0x14);
	outb(&r.f, 0x40, 1); /* "illegal": two, and the rate is held down */
	r.irq.rises = 0;
	pass(&r.f, 10000000);
	assert_in_range(r.irq.rises, 90, 101);
	pit_load(&r, 0, 2, 1193);
	pass(&r.f, ticks_ns(100));
	check_roundtrip(i8254_desc.state, &r.pit);
	assert_in_range(pit_count(&r, 0), 1091, 1094);
	check_hostile(i8254_desc.state, &r.pit, NULL, 3000);
	storm_pio(&r.f, 0x40, 4, 20000);
	storm_pio(&r.f, 0x61, 1, 500);
	i8254_desc.reset(&r.pit);
	pit_fini(&r);
}

/*
 * The HPET.
 */
struct hpet_rig {
	struct fixture f;
	struct hpet h;
	struct probe gsi[HPET_GSIS], irq0, irq8;
	struct irq_line pit;
};

#define H HPET_BASE

static void hpet_rig_init(struct hpet_rig *r)
{
	struct irq_line gsi[HPET_GSIS], irq0 = probe_line(&r->irq0), irq8 = probe_line(&r->irq8);

	for (unsigned n = 0; n < HPET_GSIS; n++)
		gsi[n] = probe_line(&r->gsi[n]);
	fixture_init(&r->f);
	assert_int_equal(hpet_init(&r->h, &r->f.env, H, gsi, &irq0, &irq8, NULL), 0);
	r->pit = hpet_legacy_in(&r->h, 0);
}

static void hpet_rig_fini(struct hpet_rig *r)
{
	hpet_fini(&r->h);
	fixture_fini(&r->f);
}

static void test_hpet_counter(void **state)
{
	struct hpet_rig r;

	hpet_rig_init(&r);
	assert_int_equal(rd32(&r.f, H + 4), HPET_PERIOD_FS);
	assert_int_equal(rd32(&r.f, H) >> 8 & 0x1f, HPET_TIMERS - 1);
	assert_int_equal(bus_mmio_read(r.f.bus, H, 8) >> 32, HPET_PERIOD_FS);
	pass(&r.f, 1000);
	assert_int_equal(rd32(&r.f, H + 0xf0), 0); /* halted */
	wr32(&r.f, H + 0xf0, 500);
	wr32(&r.f, H + 0x10, 1);
	pass(&r.f, 1000);
	assert_int_equal(rd32(&r.f, H + 0xf0), 600);
	wr32(&r.f, H + 0x10, 0);
	pass(&r.f, 1000);
	assert_int_equal(rd32(&r.f, H + 0xf0), 600);
	/* 64 bits, by halves. */
	wr32(&r.f, H + 0xf4, 7);
	assert_int_equal(bus_mmio_read(r.f.bus, H + 0xf0, 8), 7ull << 32 | 600);
	hpet_rig_fini(&r);
}

static void test_hpet_one_shot(void **state)
{
	struct hpet_rig r;

	hpet_rig_init(&r);
	wr32(&r.f, H + 0x120, 16 << 9 | 4); /* timer 1: edge, GSI 16 */
	wr32(&r.f, H + 0x128, 1000);
	wr32(&r.f, H + 0x12c, 0);
	wr32(&r.f, H + 0x10, 1);
	pass(&r.f, 9990);
	assert_int_equal(r.gsi[16].rises, 0);
	pass(&r.f, 10);
	assert_int_equal(r.gsi[16].rises, 1);
	assert_int_equal(r.gsi[16].level, 0);
	pass(&r.f, 1000000000);
	assert_int_equal(r.gsi[16].rises, 1);
	/* Level: until the status is cleared. */
	wr32(&r.f, H + 0x120, 17 << 9 | 4 | 2);
	bus_mmio_write(r.f.bus, H + 0x128, rd32(&r.f, H + 0xf0) + 100, 8);
	pass(&r.f, 1000);
	assert_int_equal(r.gsi[17].level, 1);
	assert_int_equal(rd32(&r.f, H + 0x20), 2);
	wr32(&r.f, H + 0x20, 2);
	assert_int_equal(r.gsi[17].level, 0);
	assert_int_equal(rd32(&r.f, H + 0x20), 0);
	/* As a message. */
	wr32(&r.f, H + 0x120, 0x4004);
	bus_mmio_write(r.f.bus, H + 0x130, 0xfee0100000000041ull, 8);
	bus_mmio_write(r.f.bus, H + 0x128, rd32(&r.f, H + 0xf0) + 100, 8);
	pass(&r.f, 1000);
	assert_int_equal(r.f.msis, 1);
	assert_int_equal(r.f.msi_addr, 0xfee01000);
	assert_int_equal(r.f.msi_data, 0x41);
	/* A line that it cannot be routed to. */
	wr32(&r.f, H + 0x120, 5 << 9 | 4);
	bus_mmio_write(r.f.bus, H + 0x128, rd32(&r.f, H + 0xf0) + 100, 8);
	pass(&r.f, 1000);
	assert_int_equal(r.gsi[5].rises, 0);
	hpet_rig_fini(&r);
}

static void test_hpet_periodic(void **state)
{
	struct hpet_rig r;

	hpet_rig_init(&r);
	/* As Linux does it: value, then period. */
	wr32(&r.f, H + 0x10, 0);
	wr32(&r.f, H + 0x100, 20 << 9 | 0x4c | 0x100);
	wr32(&r.f, H + 0x108, 100000);
	wr32(&r.f, H + 0x108, 50000);
	wr32(&r.f, H + 0x10, 1);
	pass(&r.f, 999990);
	assert_int_equal(r.gsi[20].rises, 0);
	pass(&r.f, 10);
	assert_int_equal(r.gsi[20].rises, 1);
	pass(&r.f, 5000000);
	assert_int_equal(r.gsi[20].rises, 11);
	assert_int_equal(rd32(&r.f, H + 0x100) & 0x40, 0); /* SET falls */
	/* A period of one tick does not melt the host, nor does zero. */
	wr32(&r.f, H + 0x108, 1);
	r.gsi[20].rises = 0;
	pass(&r.f, 10000000);
	assert_in_range(r.gsi[20].rises, 90, 110);
	wr32(&r.f, H + 0x108, 0);
	pass(&r.f, 10000000);
	assert_in_range(r.gsi[20].rises, 90, 112);
	hpet_rig_fini(&r);
}

static void test_hpet_legacy(void **state)
{
	struct hpet_rig r;

	hpet_rig_init(&r);
	irq_pulse(&r.pit);
	assert_int_equal(r.irq0.rises, 1); /* the PIT comes through */
	wr32(&r.f, H + 0x100, 4);
	bus_mmio_write(r.f.bus, H + 0x108, 1000, 8);
	wr32(&r.f, H + 0x10, 3);
	irq_pulse(&r.pit);
	assert_int_equal(r.irq0.rises, 1); /* cut off */
	pass(&r.f, 10000);
	assert_int_equal(r.irq0.rises, 2);
	assert_int_equal(r.gsi[0].rises, 0);
	wr32(&r.f, H + 0x10, 1);
	irq_set(&r.pit, 1);
	assert_int_equal(r.irq0.rises, 3);
	check_roundtrip(hpet_desc.state, &r.h);
	check_hostile(hpet_desc.state, &r.h, NULL, 3000);
	storm_mmio(&r.f, H, 0x400, 20000);
	hpet_desc.reset(&r.h);
	assert_int_equal(r.irq0.level, 1); /* what the PIT pulls */
	hpet_rig_fini(&r);
}

/*
 * The real-time clock.
 */
struct rtc_rig {
	struct fixture f;
	struct mc146818 rtc;
	struct probe irq;
};

#define START 951782399ll /* 2000-02-28 23:59:59 UTC, a Monday */

static void rtc_init(struct rtc_rig *r)
{
	const struct mc146818_config cfg = {
		.start_s = START, .low_mem = 3ull << 30, .high_mem = 5ull << 30,
	};
	struct irq_line l = probe_line(&r->irq);

	fixture_init(&r->f);
	assert_int_equal(mc146818_init(&r->rtc, &r->f.env, &cfg, &l, NULL), 0);
}

static void rtc_fini(struct rtc_rig *r)
{
	mc146818_fini(&r->rtc);
	fixture_fini(&r->f);
}

static uint8_t cmos(struct rtc_rig *r, uint8_t reg)
{
	outb(&r->f, 0x70, reg);
	return inb(&r->f, 0x71);
}

static void set_cmos(struct rtc_rig *r, uint8_t reg, uint8_t val)
{
	outb(&r->f, 0x70, reg);
	outb(&r->f, 0x71, val);
}

static void expect_time(struct rtc_rig *r, const char *want)
{
	char got[64];

	snprintf(got, sizeof(got), "%02x%02x-%02x-%02x %02x:%02x:%02x %x", cmos(r, 0x32),
		 cmos(r, 9), cmos(r, 8), cmos(r, 7), cmos(r, 4), cmos(r, 2), cmos(r, 0),
		 cmos(r, 6));
	assert_string_equal(got, want);
}

static void test_rtc_time(void **state)
{
	struct rtc_rig r;

	rtc_init(&r);
	expect_time(&r, "2000-02-28 23:59:59 2");
	assert_int_equal(cmos(&r, 0x0d), 0x80);
	pass(&r.f, 999000000);
	assert_int_equal(cmos(&r, 0x0a), 0x26);
	pass(&r.f, 900000); /* the last 244 us of a second */
	assert_int_equal(cmos(&r, 0x0a), 0xa6);
	pass(&r.f, 100000);
	assert_int_equal(cmos(&r, 0x0a), 0x26);
	expect_time(&r, "2000-02-29 00:00:00 3");
	pass(&r.f, 13 * 3600 * 1000000000ll);
	/* Twelve hours, binary. */
	set_cmos(&r, 0x0b, 0x04);
	assert_int_equal(cmos(&r, 4), 0x81);
	set_cmos(&r, 0x0b, 0x00);
	assert_int_equal(cmos(&r, 4), 0x81);
	set_cmos(&r, 0x0b, 0x06);
	assert_int_equal(cmos(&r, 4), 13);
	assert_int_equal(cmos(&r, 7), 29);
	rtc_fini(&r);
}

static void test_rtc_set(void **state)
{
	struct rtc_rig r;

	rtc_init(&r);
	set_cmos(&r, 0x0b, 0x82); /* SET */
	pass(&r.f, 5000000000);
	expect_time(&r, "2000-02-28 23:59:59 2"); /* stands still */
	set_cmos(&r, 0x32, 0x19);
	set_cmos(&r, 0x09, 0x99);
	set_cmos(&r, 0x08, 0x12);
	set_cmos(&r, 0x07, 0x31);
	set_cmos(&r, 0x04, 0x23);
	set_cmos(&r, 0x02, 0x59);
	set_cmos(&r, 0x00, 0x58);
	set_cmos(&r, 0x0b, 0x02);
	expect_time(&r, "1999-12-31 23:59:58 6");
	pass(&r.f, 2000000000);
	expect_time(&r, "2000-01-01 00:00:00 7");
	/* Without SET: at once. */
	set_cmos(&r, 0x02, 0x30);
	expect_time(&r, "2000-01-01 00:30:00 7");
	/* The divider: half a second from its release to the next one. */
	set_cmos(&r, 0x0a, 0x76);
	pass(&r.f, 3300000000);
	set_cmos(&r, 0x0a, 0x26);
	pass(&r.f, 499000000);
	expect_time(&r, "2000-01-01 00:30:00 7");
	pass(&r.f, 2000000);
	expect_time(&r, "2000-01-01 00:30:01 7");
	/* Nonsense carries over. */
	set_cmos(&r, 0x08, 0x00);
	set_cmos(&r, 0x07, 0xff);
	set_cmos(&r, 0x32, 0xff);
	cmos(&r, 0);
	rtc_fini(&r);
}

static void test_rtc_interrupts(void **state)
{
	struct rtc_rig r;

	rtc_init(&r);
	pass(&r.f, 1000000000);
	assert_int_equal(cmos(&r, 0x0c) & 0x90, 0x10); /* noticed, not told */
	assert_int_equal(cmos(&r, 0x0c) & 0x10, 0);
	assert_int_equal(r.irq.rises, 0);
	/* Update-ended, every second. */
	set_cmos(&r, 0x0b, 0x12);
	pass(&r.f, 1000000000);
	assert_int_equal(r.irq.level, 1);
	assert_int_equal(cmos(&r, 0x0c) & 0x90, 0x90);
	assert_int_equal(r.irq.level, 0);
	pass(&r.f, 3000000000);
	assert_int_equal(r.irq.rises, 2); /* one until it is read */
	cmos(&r, 0x0c);
	/* Alarm, any hour and minute at second 10. */
	set_cmos(&r, 0x0b, 0x22);
	set_cmos(&r, 0x05, 0xff);
	set_cmos(&r, 0x03, 0xc0);
	set_cmos(&r, 0x01, 0x10);
	cmos(&r, 0x0c);
	r.irq.rises = 0;
	for (int n = 0; n < 120; n++) {
		pass(&r.f, 1000000000);
		if (r.irq.level)
			assert_int_equal(cmos(&r, 0x00), 0x10);
		cmos(&r, 0x0c);
	}
	assert_int_equal(r.irq.rises, 2);
	/* Periodic, 1024 Hz. */
	set_cmos(&r, 0x0b, 0x42);
	r.irq.rises = 0;
	for (int n = 0; n < 10000; n++) {
		pass(&r.f, 100000);
		cmos(&r, 0x0c);
	}
	assert_in_range(r.irq.rises, 1023, 1025);
	set_cmos(&r, 0x0a, 0x20); /* off */
	pass(&r.f, 1000000000);
	assert_int_equal(cmos(&r, 0x0c) & 0x40, 0);
	rtc_fini(&r);
}

static void test_rtc_cmos(void **state)
{
	struct rtc_rig r;
	unsigned sum = 0;

	rtc_init(&r);
	assert_int_equal(cmos(&r, 0x15) | cmos(&r, 0x16) << 8, 640);
	assert_int_equal(cmos(&r, 0x30) | cmos(&r, 0x31) << 8, 0xffff);
	assert_int_equal(cmos(&r, 0x34) | cmos(&r, 0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(cmos(&r, 0x5b) | cmos(&r, 0x5c) << 8 | cmos(&r, 0x5d) << 16, 5 << 14);
	for (uint8_t n = 0x10; n < 0x2e; n++)
		sum += cmos(&r, n);
	assert_int_equal(cmos(&r, 0x2e) << 8 | cmos(&r, 0x2f), sum);
	set_cmos(&r, 0x0f, 0x0a);
	set_cmos(&r, 0x90, 0x5a); /* bit 7 masks NMI: register 10h */
	assert_int_equal(cmos(&r, 0x10), 0x5a);
	outb(&r.f, 0x72, 0x10);
	outb(&r.f, 0x73, 0xa5);
	assert_int_equal(inb(&r.f, 0x73), 0xa5);
	assert_int_equal(cmos(&r, 0x10), 0x5a);
	set_cmos(&r, 0x0b, 0x42);
	mc146818_desc.reset(&r.rtc);
	assert_int_equal(cmos(&r, 0x0b), 0x02);
	assert_int_equal(cmos(&r, 0x0f), 0x0a); /* the battery keeps it */
	set_cmos(&r, 0x0b, 0x42);
	pass(&r.f, 12345678);
	check_roundtrip(mc146818_desc.state, &r.rtc);
	check_hostile(mc146818_desc.state, &r.rtc, NULL, 3000);
	storm_pio(&r.f, 0x70, 4, 20000);
	rtc_fini(&r);
}

static int get(struct fixture *f, uint8_t reg)
{
	outb(f, 0x70, reg);
	return inb(f, 0x71);
}

/* With the host's clock: the right time. */
static void test_rtc_host(void **state)
{
	const struct mc146818_config cfg = { .low_mem = 1 << 20 };
	struct fixture f;
	struct mc146818 rtc;
	struct probe irq;
	struct irq_line l = probe_line(&irq);
	struct tm tm = { 0 };
	time_t got;

	fixture_init(&f);
	vtime_free(f.vt);
	f.vt = vtime_new(&f.bus->lock, false);
	f.env.vtime = f.vt;
	assert_int_equal(mc146818_init(&rtc, &f.env, &cfg, &l, NULL), 0);
	outb(&f, 0x70, 0x0b);
	outb(&f, 0x71, 0x06); /* binary */
	tm.tm_sec = get(&f, 0);
	tm.tm_min = get(&f, 2);
	tm.tm_hour = get(&f, 4);
	tm.tm_mday = get(&f, 7);
	tm.tm_mon = get(&f, 8) - 1;
	tm.tm_year = get(&f, 9) - 1900;
	tm.tm_year += get(&f, 0x32) * 100;
	got = timegm(&tm);
	assert_in_range(got, time(NULL) - 2, time(NULL) + 1);
	mc146818_fini(&rtc);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pit_periodic), cmocka_unit_test(test_pit_one_shot),
		cmocka_unit_test(test_pit_gate), cmocka_unit_test(test_pit_access),
		cmocka_unit_test(test_pit_hostile), cmocka_unit_test(test_hpet_counter),
		cmocka_unit_test(test_hpet_one_shot), cmocka_unit_test(test_hpet_periodic),
		cmocka_unit_test(test_hpet_legacy), cmocka_unit_test(test_rtc_time),
		cmocka_unit_test(test_rtc_set), cmocka_unit_test(test_rtc_interrupts),
		cmocka_unit_test(test_rtc_cmos), cmocka_unit_test(test_rtc_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
