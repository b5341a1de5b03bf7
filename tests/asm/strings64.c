/* SPDX-License-Identifier: GPL-2.0-or-later */
/* String instructions that fault half way, page ends, direction, counts, address
 * size. SDM vol. 2, REP: registers are as of the last whole iteration. */
#include "tests/asm/rt.h"

#define VA 0x500000000000ul /* one page, nothing behind it and nothing before it */
static u8 *page;

CASE static void movsb_up(void *a)
{
	asm volatile("mov $100, %%ecx; mov %0, %%rdi; mov %1, %%rsi; rep movsb"
		     :: "r"(a), "r"(VA) : "rcx", "rsi", "rdi", "memory");
}
CASE static void movsq_up(void *a)
{
	asm volatile("mov $100, %%ecx; mov %0, %%rdi; mov %1, %%rsi; rep movsq"
		     :: "r"(a), "r"(VA) : "rcx", "rsi", "rdi", "memory");
}
CASE static void movsb_from(void *a)
{
	asm volatile("mov $100, %%ecx; mov %1, %%rdi; mov %0, %%rsi; rep movsb"
		     :: "r"(a), "r"(VA) : "rcx", "rsi", "rdi", "memory");
}
CASE static void movsl_down(void *a)
{
	asm volatile("std; mov $100, %%ecx; mov %0, %%rdi; mov %1, %%rsi; rep movsl"
		     :: "r"(a), "r"(VA + 4092) : "rcx", "rsi", "rdi", "memory");
}
CASE static void stosw_up(void *a)
{
	asm volatile("mov $100, %%ecx; mov %0, %%rdi; mov $0x1234, %%eax; rep stosw"
		     :: "r"(a) : "rax", "rcx", "rdi", "memory");
}
CASE static void stos_torn(void *a)
{
	asm volatile("mov $3, %%ecx; mov %0, %%rdi; mov $-1, %%rax; rep stosq"
		     :: "r"(a) : "rax", "rcx", "rdi", "memory");
}
CASE static void cmpsb_up(void *a)
{
	asm volatile("mov $100, %%ecx; mov %0, %%rdi; mov %0, %%rsi; repe cmpsb"
		     :: "r"(a) : "rcx", "rsi", "rdi", "memory");
}
CASE static void scasb_up(void *a)
{
	asm volatile("mov $1000, %%ecx; mov %0, %%rdi; mov $0xee, %%al; repne scasb"
		     :: "r"(a) : "rax", "rcx", "rdi", "memory");
}
CASE static void lodsq_up(void *a)
{
	asm volatile("mov $1000, %%ecx; mov %0, %%rsi; rep lodsq"
		     :: "r"(a) : "rax", "rcx", "rsi", "memory");
}
CASE static void zero_count(void *a)
{
	asm volatile("xor %%ecx, %%ecx; mov %0, %%rdi; mov %0, %%rsi; rep movsb; rep stosq; rep lodsb; repe cmpsb"
		     :: "r"(a) : "rax", "rcx", "rsi", "rdi", "memory");
}
CASE static void ecx_wraps(void *a)
{
	/* 32-bit address size counts in ECX: the upper half of RCX does not. */
	asm volatile("mov $1, %%ecx; shl $32, %%rcx; mov $0x12345678, %%edi\n"
		     ".byte 0x67, 0xf3, 0xaa" ::: "rcx", "rdi", "memory");
}

static void faults(void)
{
	check_exc("movsb.up", rt_try(movsb_up, (void *)(VA + 4096 - 10)), PF, 2);
	check("movsb.up.rcx", rt_exc.cx, 90);
	check("movsb.up.rdi", rt_exc.di, VA + 4096);
	check("movsb.up.rsi", rt_exc.si, VA + 10);
	check("movsb.up.cr2", rt_exc.cr2, VA + 4096);
	memset(page + 4072, 0, 24);
	check_exc("movsq.up", rt_try(movsq_up, (void *)(VA + 4096 - 20)), PF, 2);
	check("movsq.up.rcx", rt_exc.cx, 98);
	check("movsq.up.rdi", rt_exc.di, VA + 4096 - 4);
	check("movsq.up.cr2", rt_exc.cr2, VA + 4096);
	check("movsq.torn", rd32(page + 4092), 0);
	check_exc("movsb.from", rt_try(movsb_from, (void *)(VA + 4096 - 10)), PF, 0);
	check("movsb.from.rcx", rt_exc.cx, 90);
	check("movsb.from.rsi", rt_exc.si, VA + 4096);
	check_exc("movsl.down", rt_try(movsl_down, (void *)(VA + 16)), PF, 2);
	check("movsl.down.rcx", rt_exc.cx, 95);
	check("movsl.down.rdi", rt_exc.di, VA - 4);
	check("movsl.down.rsi", rt_exc.si, VA + 4092 - 20);
	check("movsl.down.df", rt_exc.flags & FL_DF, FL_DF);
	check_exc("stosw.up", rt_try(stosw_up, (void *)(VA + 4096 - 9)), PF, 2);
	check("stosw.up.rcx", rt_exc.cx, 96);
	check("stosw.up.rdi", rt_exc.di, VA + 4095);
	memset(page + 4070, 0, 26);
	check_exc("stosq.torn", rt_try(stos_torn, (void *)(VA + 4096 - 12)), PF, 2);
	check("stosq.torn.low", rd32(page + 4092), 0);
	check("stosq.whole", rd32(page + 4088), 0xffffffff);
	check_exc("cmpsb.up", rt_try(cmpsb_up, (void *)(VA + 4096 - 30)), PF, 0);
	check("cmpsb.up.rcx", rt_exc.cx, 70);
	check("cmpsb.up.rdi", rt_exc.di, VA + 4096);
	memset(page, 0, 4096);
	check_exc("scasb.up", rt_try(scasb_up, (void *)(VA + 4096 - 500)), PF, 0);
	check("scasb.up.rcx", rt_exc.cx, 500);
	wr32(page + 4084, 0x600d);
	check_exc("lodsq.up", rt_try(lodsq_up, (void *)(VA + 4096 - 20)), PF, 0);
	check("lodsq.up.rcx", rt_exc.cx, 998);
	check("lodsq.up.rax", rt_exc.ax, 0x600dull);
	check("zero-count", rt_try(zero_count, (void *)0x7f0000000000ul), NONE);
	check("ecx-only", rt_try(ecx_wraps, 0), NONE);
}

static void results(void)
{
	static u8 a[64], b[64];
	ulong n = 5, fl;
	void *s, *d;

	memset(a, 'x', 64);
	memset(b, 'x', 64);
	b[17] = 'y';
	s = a, d = b, n = 64;
	asm volatile("repe cmpsb; pushf; pop %3" : "+S"(s), "+D"(d), "+c"(n), "=r"(fl) :: "memory", "cc");
	check("cmpsb.count", n, 64 - 18);
	check("cmpsb.flags", fl & (FL_ZF | FL_CF), FL_CF);
	d = b, n = 64;
	asm volatile("repne scasb; pushf; pop %2" : "+D"(d), "+c"(n), "=r"(fl) : "a"('y') : "memory", "cc");
	check("scasb.found", n, 64 - 18);
	check("scasb.zf", fl & FL_ZF, FL_ZF);
	/* Overlap: one byte up spreads the first byte. */
	for (unsigned i = 0; i < 64; i++)
		a[i] = i;
	s = a, d = a + 1, n = 63;
	asm volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) :: "memory");
	check("movsb.spread", a[63] | a[1] | a[30], 0);
	for (unsigned i = 0; i < 64; i++)
		a[i] = i;
	s = a + 4, d = a, n = 15;
	asm volatile("rep movsl" : "+S"(s), "+D"(d), "+c"(n) :: "memory");
	check("movsl.down-copy", a[0] == 4 && a[59] == 63 && a[60] == 60, 1);
	s = a, d = a + 2, n = 7; /* overlap below the element's size */
	for (unsigned i = 0; i < 64; i++)
		a[i] = i;
	asm volatile("rep movsq" : "+S"(s), "+D"(d), "+c"(n) :: "memory");
	check("movsq.overlap.first", rd64(a + 2), 0x0706050403020100ull);
	check("movsq.overlap.second", rd64(a + 10), 0x0f0e0d0c0b0a0706ull);
	check("movsq.overlap.third", rd64(a + 18), 0x1716151413120f0eull);
}

/* A big copy over many pages, some scattered, against a plain loop. */
static void big(void)
{
	u8 *src = rt_pages(9), *dst = rt_pages(9);
	u32 seed = 1, bad = 0;
	void *s = src + 3, *d = dst + 77;
	ulong n = 8 * 4096 + 5;

	for (unsigned i = 0; i < 9 * 4096; i++) {
		seed = seed * 1103515245 + 12345;
		src[i] = seed >> 16;
	}
	asm volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) :: "memory");
	for (unsigned i = 0; i < 8 * 4096 + 5; i++)
		bad += dst[77 + i] != src[3 + i];
	check("big.copy", bad, 0);
	check("big.before", dst[76], 0);
	check("big.after", dst[77 + 8 * 4096 + 5], 0);
	check("big.rsi", (ulong)s, (ulong)src + 3 + 8 * 4096 + 5);
	d = dst, n = 4096;
	asm volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(0x1122334455667788ul) : "memory");
	for (unsigned i = 0; i < 4096; i++)
		bad += rd64(dst + 8 * i) != 0x1122334455667788ul;
	check("big.fill", bad, 0);
}

void test_main(void)
{
	page = rt_page();
	rt_map(VA, (ulong)page, PG_P | PG_W | PG_U);
	faults();
	asm volatile("cld");
	results();
	big();
}
