/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The second half of smp.c: translations, ordering and code seen by others. */
#include "tests/asm/rt_apic.h"

#define VA 0x500000000000ul
static volatile u64 *pte;
static ulong pages[2];
static volatile u32 flush_acks, phase, bad, stop;
static volatile u32 __attribute__((aligned(64))) x, y;
static volatile u32 __attribute__((aligned(64))) pad[16];
static volatile u32 __attribute__((aligned(64))) ready, done, r0, r1;
static u8 *code;

static void on_flush(struct rt_regs *r)
{
	invlpg(VA);
	__atomic_add_fetch(&flush_acks, 1, __ATOMIC_SEQ_CST);
	eoi();
}

/* Reads the page over and over; after the acknowledged flush the old page must
 * never be seen again. */
static void reader(unsigned index)
{
	while (!stop) {
		u32 p = phase;
		u32 v = rd32((void *)VA);

		/* v may lag only while a switch is under way: p odd. */
		if (!(p & 1) && p == phase && v != (p >> 1 & 1))
			__atomic_add_fetch(&bad, 1, __ATOMIC_SEQ_CST);
	}
}

void smp_tlb(unsigned cpus)
{
	pages[0] = (ulong)rt_page();
	pages[1] = (ulong)rt_page();
	wr32((void *)pages[1], 1);
	rt_map(VA, pages[0], PG_P | PG_W | PG_U);
	pte = rt_pte(VA, 1);
	rt_handle(0x51, on_flush);
	phase = bad = stop = 0;
	for (unsigned c = 1; c < cpus; c++)
		smp_run(c, reader);
	for (unsigned i = 1; i <= 200; i++) {
		phase = phase + 1;
		*pte = pages[i & 1] | PG_P | PG_W | PG_U;
		flush_acks = 0;
		invlpg(VA);
		apic_icr(0, 0xc4051);
		while (flush_acks < cpus - 1)
			pause_();
		phase = phase + 1;
	}
	stop = 1;
	check_true("tlb.return", smp_wait());
	check("tlb.stale-reads", bad, 0);
}

/* Message passing: stores are seen in order, loads are done in order. */
static void producer(unsigned index)
{
	for (u32 i = 1; i <= 100000; i++) {
		x = i;
		y = i;
	}
}
static void consumer(unsigned index)
{
	u32 b, a;

	do {
		b = y;
		a = x;
		if (a < b)
			bad = bad + 1;
	} while (b != 100000);
}

#define SB_ROUNDS 3000
/* Store buffering with a fence between: not both may read the old value. */
static void sb_other(unsigned index)
{
	for (u32 i = 1; i <= SB_ROUNDS; i++) {
		while (ready != i)
			pause_();
		y = i;
		asm volatile("mfence" ::: "memory");
		r1 = x;
		done = i;
	}
}
static void sb_other_lock(unsigned index)
{
	for (u32 i = 1; i <= SB_ROUNDS; i++) {
		while (ready != i)
			pause_();
		y = i;
		asm volatile("lock orl $0, (%%rsp)" ::: "memory");
		r1 = x;
		done = i;
	}
}

static u32 store_buffering(void (*other)(unsigned), bool lock)
{
	u32 both_old = 0;

	x = y = ready = done = 0;
	smp_run(1, other);
	for (u32 i = 1; i <= SB_ROUNDS; i++) {
		ready = i;
		x = i;
		if (lock)
			asm volatile("lock orl $0, (%%rsp)" ::: "memory");
		else
			asm volatile("mfence" ::: "memory");
		r0 = y;
		while (done != i)
			pause_();
		both_old += r0 != i && r1 != i;
	}
	smp_wait();
	return both_old;
}

void smp_order(unsigned cpus)
{
	x = y = bad = 0;
	smp_run(1, consumer);
	producer(0);
	check_true("order.return", smp_wait());
	check("order.message-passing", bad, 0);
	check("order.store-buffering-mfence", store_buffering(sb_other, false), 0);
	check("order.store-buffering-lock", store_buffering(sb_other_lock, true), 0);
}

static volatile u32 wanted;
static u32 call_code(void)
{
	u32 v;
	asm volatile("call *%1" : "=a"(v) : "r"(code) : "memory");
	return v;
}

/* Runs the code that the other one rewrites; synchronised as the manual asks:
 * flag, then a serialising instruction, then the new code. SDM vol. 3, 9.1.3. */
static void runner(unsigned index)
{
	for (u32 i = 1; i <= 500; i++) {
		while (wanted != i)
			pause_();
		cpuid(0, 0);
		if (call_code() != i)
			bad = bad + 1;
		done = i;
	}
}

/* Unsynchronised: one aligned store flips an immediate; either value is right. */
static void racer(unsigned index)
{
	while (!stop) {
		u32 v = call_code();

		if (v != 0x11111111 && v != 0x22222222)
			bad = bad + 1;
	}
}

void smp_code(unsigned cpus)
{
	volatile u32 *imm;

	code = (u8 *)rt_page() + 3; /* the immediate at +1 is aligned */
	code[0] = 0xb8;
	code[5] = 0xc3;
	imm = (volatile u32 *)(code + 1);
	bad = done = wanted = 0;
	smp_run(1, runner);
	for (u32 i = 1; i <= 500; i++) {
		*imm = i;
		wanted = i;
		while (done != i)
			pause_();
	}
	check_true("code.return", smp_wait());
	check("code.cross-modifying", bad, 0);
	*imm = 0x11111111;
	bad = stop = 0;
	smp_run(1, racer);
	for (u32 i = 0; i < 3000; i++)
		*imm = i & 1 ? 0x11111111 : 0x22222222;
	stop = 1;
	check_true("code.race-return", smp_wait());
	check("code.race", bad, 0);
}

static volatile u32 alive;
static void spin(unsigned index)
{
	cli();
	for (;;)
		alive = alive + 1;
}

/* INIT stops a running processor, even one with interrupts off; SIPI starts it
 * again from the beginning. */
void smp_init(unsigned cpus)
{
	u32 before, last = cpus - 1;

	alive = 0;
	smp_run(last, spin);
	for (unsigned i = 0; i < 100000 && alive < 100; i++)
		pause_();
	check_true("init.alive", alive > 0);
	apic_icr(smp_apic_id[last], 0x4500);
	/* Its thread may be a while in getting the message on a busy host. */
	for (unsigned i = 0, same = 0; i < 500 && same < 5; i++) {
		before = alive;
		rt_udelay(20000);
		same = alive == before ? same + 1 : 0;
	}
	before = alive;
	rt_udelay(20000);
	check("init.stopped", alive, before);
	smp_count = last; /* it comes back as the last one */
	apic_icr(smp_apic_id[last], 0x4608);
	for (unsigned i = 0; i < 10000 && smp_count != cpus; i++)
		rt_udelay(100);
	check("init.restarted", smp_count, cpus);
}
