/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ways a machine starts over: keyboard controller, port 0xCF9, triple fault.
 * CMOS memory, which a reset leaves alone, counts the starts. */
#include "tests/asm/rt.h"

#define CELL 0x5b
#define MARK 0x5c
static u8 cmos(u8 reg) { outb(0x70, reg); return inb(0x71); }
static void cmos_wr(u8 reg, u8 v) { outb(0x70, reg); outb(0x71, v); }

static void wait(const char *how)
{
	rt_udelay(2000000);
	check_true(how, false); /* still here */
	cmos_wr(MARK, 0);
	rt_finish();
}

void test_main(void)
{
	struct rt_dtr none = { 0, 0 };
	u8 n = cmos(MARK) == 0xb5 ? cmos(CELL) : 0;

	cmos_wr(MARK, 0xb5);
	cmos_wr(CELL, n + 1);
	switch (n) {
	case 0:
		puts_("first start\n");
		outb(0x64, 0xfe);
		wait("reset.keyboard");
		break;
	case 1:
		check("reset.keyboard", n, 1);
		outb(0xcf9, 2);
		outb(0xcf9, 6);
		wait("reset.cf9");
		break;
	case 2:
		check("reset.cf9", n, 2);
		asm volatile("lidt %0; int3" :: "m"(none));
		wait("reset.triple-fault");
		break;
	default:
		check("reset.triple-fault", n, 3);
		/* The CPU came up as at power-on. */
		check("reset.xcr0-dr7", rd_dr7(), 0x400);
		check("reset.apicbase", rdmsr(MSR_APICBASE) & ~0x600ull, 0xfee00900);
		cmos_wr(MARK, 0);
		cmos_wr(CELL, 0);
	}
}
