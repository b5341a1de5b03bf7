/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real mode, reached from protected mode and left again: vectors, faults, 64 KiB
 * wrap, 32-bit operands, "unreal" limits. SDM vol. 3, 9.9 and 20.1. */
#include "tests/asm/rt.h"

extern u8 real_blob[], real_blob_end[], real_results[];
extern u16 real_handlers[];
void real_run(void);

#define ANY 0x10000
static const struct { const char *name; u32 want; } want[] = {
	[0] = { "cs", 0x1000 }, { "smsw", ANY },
	[2] = { "int.iret-flags", 0 }, { "int.ip", 0 }, { "int.cs", 0x1000 },
	[5] = { "int.flags", 0x201 }, { "int.if-clear", 0 },
	[7] = { "de.vector", 0 }, { "de.ip", 0 },
	[9] = { "gp.limit", 13 }, { "gp.ip", 0 }, { "ss.limit", 12 }, { "gp.addr32", 13 },
	[13] = { "ud", 6 }, { "ud.lldt", 6 }, { "br", 5 }, { "of", 4 }, { "ud.lock", 6 },
	[18] = { "wrap.address", 0xbeef }, { "wrap.sp", 0xfffe }, { "wrap.push", 0x4321 },
	[21] = { "string.edi-high", 0x1234 }, { "string.di", 4 }, { "string.ecx-high", 0xabcd },
	[24] = { "string.value", 0x5a5a }, { "string.wrap", 0x7777 }, { "string.wrap-di", 4 },
	[27] = { "op32", 0x1234 }, { "addr32", ANY }, { "segment", 0x9876 }, { "far-call", 0x1001 },
	[31] = { "lidt", 0x6161 }, { "idt-limit", 13 }, { "ss", 0x2468 },
	[34] = { "unreal", 0x7e57 }, { "unreal.base", 0x7e57 },
};

/* TCG checks no limits, nor the vector against the table's. */
static bool tcg_differs(unsigned i)
{
	return i == 9 || i == 10 || i == 11 || i == 12;
}

static void nothing(void *a) { }

void test_main(void)
{
	u8 *low = (u8 *)0x10000;
	u32 *ivt = (u32 *)0;
	u16 *res;

	memcpy(low, real_blob, real_blob_end - real_blob);
	for (u16 *h = real_handlers; *h != 0xffff; h += 2)
		ivt[h[0]] = 0x1000u << 16 | h[1];
	rt_gdt_set(SEL_SPARE, rt_desc(0x10000, 0xffff, 0x9b, 0));
	rt_gdt_set(SEL_SPARE + 8, rt_desc(0x10000, 0xffff, 0x93, 0));
	real_run();
	res = (u16 *)(low + (real_results - real_blob));
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		if (want[i].want == ANY)
			continue;
		if (tcg_differs(i))
			check_hw(want[i].name, res[i], want[i].want);
		else
			check(want[i].name, res[i], want[i].want);
	}
	check("smsw.pe", res[1] & 1, 0);
	check("addr32", res[28], res[1]);
	check("back", rt_try(nothing, 0), NONE);
	check("back.pe", rd_cr0() & CR0_PE, 1);
	/* And once more: nothing was left behind. */
	real_run();
	check("again", res[31], 0x6161);
}
