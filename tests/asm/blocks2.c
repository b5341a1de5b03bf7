/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two processors at what breaks engines that keep code by blocks: each rewrites what
 * the other runs, data written beside code that runs, code pages that another one
 * replaces or makes read-only, stores racing a shootdown, locked operations on code
 * and over page ends while the mapping changes.
 */
#include "tests/asm/rt_apic.h"

#define VA 0x500000000000ul
#define ALIAS 0x500001000000ul
#define RW (PG_P | PG_W | PG_U)
#define IPI 0x52

static volatile u32 __attribute__((aligned(64))) bad, stop, acks, phase, faults;
static volatile u32 __attribute__((aligned(64))) turn[2];
static volatile u64 __attribute__((aligned(64))) progress;
static volatile u8 *frame;

/* mov $imm, %eax; ret */
static void put(volatile u8 *at, u32 imm)
{
	at[0] = 0xb8;
	*(volatile u32 *)(at + 1) = imm;
	at[5] = 0xc3;
}

CASE static u32 run(volatile const void *at)
{
	u32 v;
	asm volatile("call *%1" : "=a"(v) : "r"(at) : "rcx", "rdx", "memory");
	return v;
}

static void on_ipi(struct rt_regs *r)
{
	invlpg(VA);
	__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST);
	eoi();
}

/* The other processor has dropped its translation of VA. */
static void shoot_down(void)
{
	acks = 0;
	invlpg(VA);
	apic_icr(0, 0xc4000 | IPI);
	while (!acks)
		pause_();
}

/*
 * Each rewrites the other's function, then both run both. In step: nobody runs what
 * is being written.
 */
static void meet(unsigned who)
{
	u32 at = turn[who] + 1;

	__atomic_store_n(&turn[who], at, __ATOMIC_SEQ_CST);
	while (turn[!who] < at)
		pause_();
	cpuid(0, 0);
}

static void mutual(unsigned who)
{
	volatile u8 *own = (volatile u8 *)ALIAS + 0x200 * who;
	volatile u8 *theirs = (volatile u8 *)VA + 0x200 * !who;

	for (u32 i = 1; i <= 300; i++) {
		put(theirs, i * 2 + who);
		meet(who);
		for (unsigned k = 0; k < 4; k++)
			if (run(own) != i * 2 + !who || run(theirs) != i * 2 + who)
				__atomic_add_fetch(&bad, 1, __ATOMIC_SEQ_CST);
		meet(who);
	}
}

/* Data in the code's own page and in its own 64 bytes, written all the time. */
static void writer(unsigned who)
{
	u32 n = 0;

	while (!stop) {
		*(volatile u32 *)(ALIAS + 0x330) = ++n; /* beside the loop, same chunk */
		*(volatile u32 *)(ALIAS + 0xf00) = n;
		asm volatile("lock incl (%0)" :: "r"(ALIAS + 0x334) : "memory");
	}
}

static void beside(void)
{
	/* mov ecx, 200; 1: mov edx, [rip + to 0x330]; cmp edx, eax; cmova eax, edx; loop 1b; ret */
	static const u8 loop[] = { 0xb9, 200, 0, 0, 0, 0x8b, 0x15, 0x25, 0, 0, 0, 0x39, 0xc2, 0x0f,
				   0x47, 0xc2, 0xe2, 0xf3, 0xc3 };
	volatile u8 *code = (volatile u8 *)VA + 0x300;
	u32 last = 0;

	for (unsigned i = 0; i < sizeof(loop); i++)
		code[i] = loop[i];
	*(volatile u32 *)(VA + 0x330) = 0;
	bad = stop = 0;
	smp_run(1, writer);
	for (unsigned i = 0; i < 600; i++) {
		u32 v;

		asm volatile("mov %2, %%eax; call *%1" : "=a"(v) : "r"(code), "r"(last) : "rcx", "rdx", "memory");
		bad += v < last;
		last = v;
		/* The other one gets on meanwhile. */
		while (i % 50 == 0 && *(volatile u32 *)(VA + 0x330) <= last)
			pause_();
		/* And some code of this one's own, rewritten meanwhile. */
		put((volatile u8 *)VA + 0x340, i);
		bad += run((void *)(VA + 0x340)) != i;
	}
	stop = 1;
	check_true("beside.return", smp_wait());
	check("beside", bad, 0);
	check_true("beside.progress", last > 12);
}

/* Runs the page; after a shootdown the old code must never be seen again. */
static void runner(unsigned who)
{
	while (!stop) {
		u32 p = phase, v = run((void *)VA);

		if (!(p & 1) && p == phase && v != 1 + (p >> 1 & 1))
			__atomic_add_fetch(&bad, 1, __ATOMIC_SEQ_CST);
		progress = progress + 1;
	}
}

static void replaced(void)
{
	u8 *code[2] = { rt_page(), rt_page() };

	put(code[0], 1);
	put(code[1], 2);
	rt_map(VA, (ulong)code[0], RW);
	bad = stop = phase = progress = 0;
	shoot_down();
	smp_run(1, runner);
	for (unsigned i = 1; i <= 200; i++) {
		u64 seen = progress;

		phase = phase + 1;
		*(volatile u64 *)rt_pte(VA, 1) = (ulong)code[i & 1] | RW;
		shoot_down();
		phase = phase + 1;
		while (progress < seen + 20)
			pause_();
	}
	stop = 1;
	check_true("replaced.return", smp_wait());
	check("replaced", bad, 0);
}

/* A fault on the read-only page: waits until it is writable again. */
static void on_pf(struct rt_regs *r)
{
	__atomic_add_fetch(&faults, 1, __ATOMIC_SEQ_CST);
	asm volatile("sti" ::: "memory");
	while (!(*(volatile u64 *)rt_pte(VA, 1) & PG_W))
		pause_();
	asm volatile("cli" ::: "memory");
	invlpg(VA);
}

static void storer(unsigned who)
{
	volatile u64 *p = (volatile u64 *)(VA + 0x800);
	u64 n = 0;

	while (!stop) {
		*p = ++n;
		asm volatile("lock incq (%0)" :: "r"(p + 1) : "memory");
		asm volatile("movq $8, %%rcx; mov %0, %%rdi; rep stosq" :: "r"(p + 8), "a"(n)
			     : "rcx", "rdi", "memory");
		progress = n;
	}
}

/* Once the page is read-only for everybody nothing changes in it. */
static void shootdown_race(void)
{
	volatile u64 *p = (volatile u64 *)(frame + 0x800);

	rt_map(VA, (ulong)frame, RW);
	bad = stop = faults = progress = 0;
	shoot_down();
	rt_handle(PF, on_pf);
	smp_run(1, storer);
	for (unsigned i = 0; i < 200; i++) {
		u64 before[3], seen;

		*(volatile u64 *)rt_pte(VA, 1) = (ulong)frame | PG_P | PG_U;
		shoot_down();
		before[0] = p[0], before[1] = p[1], before[2] = p[15];
		for (unsigned k = 0; k < 200; k++)
			pause_();
		bad += before[0] != p[0] || before[1] != p[1] || before[2] != p[15];
		*(volatile u64 *)rt_pte(VA, 1) = (ulong)frame | RW;
		seen = progress;
		while (progress < seen + 5)
			pause_();
	}
	stop = 1;
	check_true("shootdown.return", smp_wait());
	rt_handle(PF, NULL);
	check("shootdown.late-stores", bad, 0);
	check_true("shootdown.faults", faults > 0);
}

/* Locked operations over a page's end while the second page's mapping is taken away
 * and given back: none is lost, none is done twice. */
static u64 *cross;
static void adder(unsigned who)
{
	for (u32 i = 0; i < 1500; i++) {
		u64 v = 1;

		asm volatile("lock xaddq %0, (%1)" : "+r"(v) : "r"(cross) : "memory");
	}
}

static volatile u32 adding;
static void adder_remapped(unsigned who)
{
	adder(who);
	adding = 0;
}

static void crossing(void)
{
	u8 *two = rt_pages(2);

	/* VA - 4096 and VA: the second page is the one that comes and goes. */
	rt_map(VA - 4096, (ulong)two, RW);
	rt_map(VA, (ulong)two + 4096, RW);
	cross = (u64 *)(VA - 3);
	shoot_down();
	smp_run_all(adder);
	check("crossing", *cross, 3000);
	rt_handle(PF, on_pf);
	adding = 1;
	smp_run(1, adder_remapped);
	while (adding) {
		u64 before;

		*(volatile u64 *)rt_pte(VA, 1) = ((ulong)two + 4096) | PG_P | PG_U;
		shoot_down();
		*(volatile u64 *)rt_pte(VA, 1) = ((ulong)two + 4096) | RW;
		invlpg(VA);
		/* Where both share one host processor the other would never see it writable. */
		before = *(volatile u64 *)cross;
		for (unsigned k = 0; k < 50 && adding && *(volatile u64 *)cross == before; k++)
			pause_();
	}
	check_true("crossing.return", smp_wait());
	rt_handle(PF, NULL);
	check("crossing.remapped", *cross, 4500);
}

/* A locked add on the immediate of an instruction that both run. */
static void code_adder(unsigned who)
{
	volatile u8 *code = (volatile u8 *)(who ? ALIAS : VA) + 0x600;
	u32 last = 0;

	for (unsigned i = 0; i < 2000; i++) {
		u32 v;

		asm volatile("lock incl (%0)" :: "r"(code + 4) : "memory");
		cpuid(0, 0);
		v = run(code + 3);
		if (v < last || v < i + 1)
			__atomic_add_fetch(&bad, 1, __ATOMIC_SEQ_CST);
		last = v;
	}
}

void test_main(void)
{
	unsigned cpus = smp_start();

	check("cpus", cpus, 2);
	if (cpus != 2)
		return;
	frame = rt_page();
	rt_map(VA, (ulong)frame, RW);
	rt_map(ALIAS, (ulong)frame, RW);
	rt_handle(IPI, on_ipi);
	shoot_down();
	bad = 0;
	smp_run_all(mutual);
	check("mutual", bad, 0);
	beside();
	bad = 0;
	put(frame + 0x603, 0);
	smp_run_all(code_adder);
	check("code-adder", bad, 0);
	check("code-adder.sum", run((void *)(VA + 0x603)), 4000);
	replaced();
	shootdown_race();
	crossing();
}
