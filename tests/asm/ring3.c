/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ring 3 at work: checksums of integer, x87, SSE and AVX instructions, which every
 * engine must come to alike; interrupts that come in the midst of it; pages on demand.
 * It leaves ring 3 by INT3 and exceptions alone, so that it runs in a KVM without
 * hardware, too. */
#include "tests/asm/rt_apic.h"

#define ROUNDS 40000u

static volatile u64 hits;
static u64 sum[4] __attribute__((aligned(32)));
static u8 seed[64] __attribute__((aligned(32)));

/* Shifts, rotates, multiplications and divisions, each result going into the next. */
CASE static void integer(void *a)
{
	u64 x = 0x9e3779b97f4a7c15ull, y = 1, q, r;

	for (u32 n = 1; n <= ROUNDS; n++) {
		asm("rol $13, %0; add %1, %0; imul %2, %1; adc $7, %1; bswap %0; xor %1, %0"
		    : "+r"(x), "+r"(y) : "r"(0x2545f4914f6cdd1dull) : "cc");
		asm("mul %4" : "=a"(q), "=d"(r) : "0"(x), "1"(y), "r"(y | 1) : "cc");
		r %= n;
		asm("div %4" : "=a"(q), "=d"(r) : "0"(q), "1"(r), "r"((u64)n) : "cc");
		asm("shld $5, %1, %0; sbb %2, %0" : "+r"(x), "+r"(y) : "r"(q + r) : "cc");
	}
	sum[0] = x ^ y;
	asm volatile("int3");
}

/* Exactly rounded operations only: their results are the standard's. The value at the bottom
 * is only there for FSTP to go over: QEMU's translator leaves the tag of what FSTP writes as it
 * is, and a machine that is moved in it would find the register empty. */
CASE static void x87(void *a)
{
	static const double third = 1.0 / 3.0, big = 1e10;
	u64 s = 0, bits;
	u16 tail;
	u8 out[16];

	asm volatile("fninit; fldz; fld1; fldl %0" :: "m"(third));
	for (u32 n = 1; n <= ROUNDS; n++) {
		asm volatile("fildl %0; fmul %%st(1); fadd %%st(2); fsqrt; fxch %%st(2);"
			     "fdivl %1; fld1; faddp; fstp %%st(3); fld %%st(1); fsubp %%st, %%st(1);"
			     "fabs; fxch" :: "m"(n), "m"(big));
		if (n % 64)
			continue;
		asm volatile("fld %%st; fstpt %0" : "=m"(out));
		memcpy(&bits, out, 8);
		memcpy(&tail, out + 8, 2);
		s = (s << 7 | s >> 57) ^ bits ^ tail;
		/* Five values deep at most; begin anew from what came out. */
		asm volatile("fninit; fldz; fld1; fldl %0" :: "m"(third));
	}
	asm volatile("fninit");
	sum[1] = s;
	asm volatile("int3");
}

CASE static void sse(void *a)
{
	static const u32 ones[4] __attribute__((aligned(16))) = { 1, 1, 1, 1 };
	static const float scale[4] __attribute__((aligned(16))) = { 1.5f, 0.25f, 3.0f, 0.125f };

	asm volatile("movdqa %1, %%xmm0; movdqa %2, %%xmm1; cvtdq2ps %%xmm0, %%xmm2;"
		     "movaps %3, %%xmm3; mov %4, %%ecx;"
		     "1: paddd %%xmm1, %%xmm0; pmuludq %%xmm0, %%xmm1; pshufd $0x39, %%xmm1, %%xmm1;"
		     "pxor %%xmm0, %%xmm1; cvtdq2ps %%xmm1, %%xmm4; mulps %%xmm3, %%xmm4;"
		     "addps %%xmm4, %%xmm2; divps %%xmm3, %%xmm2; sqrtps %%xmm2, %%xmm5;"
		     "minps %%xmm3, %%xmm5; andps %%xmm5, %%xmm2; pxor %%xmm2, %%xmm0;"
		     "dec %%ecx; jnz 1b; pxor %%xmm1, %%xmm0; movhlps %%xmm0, %%xmm1;"
		     "pxor %%xmm1, %%xmm0; movq %%xmm0, %0"
		     : "=m"(sum[2]) : "m"(seed), "m"(ones), "m"(scale), "i"(ROUNDS) : "rcx", "memory");
	asm volatile("int3");
}

CASE static void avx(void *a)
{
	static const float scale[8] __attribute__((aligned(32))) = { 2, .5f, 3, .25f, 1.5f, 5, .75f, 7 };

	asm volatile("vmovaps %1, %%ymm0; vcvtdq2ps %%ymm0, %%ymm1; vmovaps %2, %%ymm2; mov %3, %%ecx;"
		     "1: vmulps %%ymm2, %%ymm1, %%ymm3; vaddps %%ymm3, %%ymm0, %%ymm4;"
		     "vxorps %%ymm4, %%ymm0, %%ymm0; vperm2f128 $1, %%ymm0, %%ymm0, %%ymm0;"
		     "vpermilps $0x93, %%ymm0, %%ymm0; vdivps %%ymm2, %%ymm1, %%ymm1;"
		     "vmaxps %%ymm2, %%ymm1, %%ymm1; dec %%ecx; jnz 1b;"
		     "vextractf128 $1, %%ymm0, %%xmm1; vpxor %%xmm1, %%xmm0, %%xmm0; vmovq %%xmm0, %0;"
		     "vzeroupper"
		     : "=m"(sum[3]) : "m"(seed), "m"(scale), "i"(ROUNDS) : "rcx", "memory");
	asm volatile("int3");
}

static volatile u32 user_leaf1;
CASE static void user_cpuid(void *a)
{
	user_leaf1 = cpuid(1, 0).c;
	asm volatile("int3");
}

/* A KVM without hardware lets the host's CPUID through, in ring 3 more of it than in
 * ring 0. What it tells of is there, but no part of this machine, which may be moved to
 * where it is not: only whoever does not move it says "avx" on the command line. */
static bool cpuid_is_ours(void)
{
	if (rt_told("avx"))
		return true;
	rt_user(user_cpuid, 0);
	return !((user_leaf1 ^ cpuid(1, 0).c) & ~(1u << 27)); /* but for OSXSAVE */
}

static bool avx_on(void)
{
	u32 c = cpuid(1, 0).c;

	if (!cpuid_is_ours())
		return false;
	if (!(c >> 26 & 1) || !(c >> 28 & 1))
		return false;
	wr_cr4(rd_cr4() | CR4_OSXSAVE);
	asm volatile("xsetbv" :: "c"(0), "a"(7), "d"(0) : "memory");
	return true;
}

static void sums(void)
{
	for (unsigned n = 0; n < sizeof(seed); n++)
		seed[n] = (u8)(n * 37 + 11) & 0x3f;
	check("int3", rt_user(integer, 0), BP);
	check("sum.integer", sum[0], 0xe593eb2569a8f381ull);
	check("x87.int3", rt_user(x87, 0), BP);
	check("sum.x87", sum[1], 0x41a3f9272eae674full);
	check("sse.int3", rt_user(sse, 0), BP);
	check("sum.sse", sum[2], 0x6835ccfa5d2a73b3ull);
	if (!avx_on()) {
		check_skip("sum.avx", "not offered");
		return;
	}
	check("avx.int3", rt_user(avx, 0), BP);
	check("sum.avx", sum[3], 0x0030000035d6ee7dull);
}

/*
 * Interrupts while ring 3 spins.
 */
static u64 wanted;
static bool rearm;
static volatile u64 user_cs;

static void on_tick(struct rt_regs *r)
{
	hits++;
	user_cs &= r->cs & 3;
	if (rearm)
		wrmsr(0x6e0, rdtsc() + 200000);
	eoi();
}

CASE static void spin(void *a)
{
	volatile u64 *count = a;

	/* Some ten seconds at most, even where that is slow. */
	for (u64 n = 0; n < 4000000000ull && *count < wanted; n++)
		pause_();
	asm volatile("int3");
}

static void preempted(const char *name, u64 ticks)
{
	wanted = hits + ticks;
	user_cs = 3;
	check(name, rt_user_fl(spin, (void *)&hits, FL_IF), BP);
	check_true(name, hits >= wanted && user_cs == 3);
}

static void interrupts(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	apic_on();
	rt_handle(0x70, on_tick);
	apic_wr(APIC_TDCR, 0xb);
	apic_wr(APIC_LVTT, 0x20070);
	apic_wr(APIC_TMICT, 500000);
	preempted("apic-timer", 50);
	apic_wr(APIC_LVTT, 0x10000);
	apic_wr(APIC_TMICT, 0);
	if (cpuid(1, 0).c >> 24 & 1) {
		apic_wr(APIC_LVTT, 0x40070);
		asm volatile("mfence");
		rearm = true;
		wrmsr(0x6e0, rdtsc() + 200000);
		preempted("tsc-deadline", 50);
		rearm = false;
		wrmsr(0x6e0, 0);
		apic_wr(APIC_LVTT, 0x10000);
	} else {
		check_skip("tsc-deadline", "not offered");
	}
	/* A message: the I/O APIC's, from the timer of the board. */
	rt_handle(0x71, on_tick);
	outb(0x43, 0x34);
	outb(0x40, 1193 & 0xff);
	outb(0x40, 1193 >> 8);
	ioapic_route(2, 0x71, apic_rd(APIC_ID) >> 24);
	preempted("message", 50);
	ioapic_route(2, 0x10071, 0);
}

/*
 * Pages that come when they are touched.
 */
#define LAZY 0x4000000000ull
#define LAZY_PAGES 32u
static u64 faults, wrong;

static void on_fault(struct rt_regs *r)
{
	u64 va = rd_cr2();

	if (va < LAZY || va >= LAZY + LAZY_PAGES * 4096ull || faults > 2 * LAZY_PAGES) {
		wrong++;
		rt_caught(PF);
	}
	/* Of ring 3, not present: read in even pages, written in odd ones. */
	if (r->error != (4 | ((va >> 12 & 1) ? 2 : 0)))
		wrong++;
	faults++;
	rt_map(va & ~4095ull, (u64)rt_page(), PG_P | PG_W | PG_U);
}

CASE static void touch(void *a)
{
	u64 s = 0;

	for (u64 n = 0; n < LAZY_PAGES; n++) {
		volatile u64 *p = (volatile u64 *)(LAZY + n * 4096 + 8 * n);

		if (n & 1)
			*p = n * 0x0101010101010101ull;
		s += *p;
	}
	sum[0] = s;
	asm volatile("int3");
}

static void demand(void)
{
	u64 want = 0, bad = 0;

	rt_handle(PF, on_fault);
	check("demand", rt_user(touch, 0), BP);
	rt_handle(PF, NULL);
	for (u64 n = 1; n < LAZY_PAGES; n += 2)
		want += n * 0x0101010101010101ull;
	check("demand.sum", sum[0], want);
	check("demand.faults", faults, LAZY_PAGES);
	check("demand.wrong", wrong, 0);
	for (u64 n = 0; n < LAZY_PAGES; n++) {
		u64 pte = *rt_pte(LAZY + n * 4096, 1);

		if (!(pte & PG_A) || !!(pte & PG_D) != (n & 1))
			bad++;
	}
	check("demand.accessed-dirty", bad, 0);
}

void test_main(void)
{
	sums();
	interrupts();
	demand();
}
