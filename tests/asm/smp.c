/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several processors: INIT and SIPI, IPIs in every destination mode, atomics,
 * page-crossing locks, TLB shootdown, memory ordering, cross-modifying code. */
#include "tests/asm/rt_apic.h"

static unsigned cpus;
static volatile u64 counter, crossing_at;
static volatile u32 ipis[SMP_MAX], nmis[SMP_MAX], turn, go, stop;
static u8 *cross; /* a counter that lies over a page's end */
static volatile u64 wide[2] __attribute__((aligned(16)));

static unsigned me(void)
{
	u32 id = apic_rd(APIC_ID) >> 24;

	for (unsigned i = 0; i < cpus; i++)
		if (smp_apic_id[i] == id)
			return i;
	return 0;
}

static void on_ipi(struct rt_regs *r)
{
	__atomic_add_fetch(&ipis[me()], 1, __ATOMIC_SEQ_CST);
	eoi();
}
static void on_nmi(struct rt_regs *r)
{
	__atomic_add_fetch(&nmis[me()], 1, __ATOMIC_SEQ_CST);
}

static void clear(void)
{
	for (unsigned i = 0; i < SMP_MAX; i++)
		ipis[i] = nmis[i] = 0;
}

static bool reached(volatile u32 *v, u32 want)
{
	for (unsigned i = 0; i < 20000 && *v < want; i++)
		rt_udelay(100);
	return *v == want;
}

static void starting(void)
{
	u32 seen = 0;
	bool twice = false;

	for (unsigned i = 0; i < cpus; i++) {
		twice |= seen >> smp_apic_id[i] & 1;
		seen |= 1u << smp_apic_id[i];
	}
	check_true("start.ids-distinct", !twice);
	check("start.cpuid-count", cpuid(1, 0).b >> 16 & 0xff, cpus);
	check("start.bsp", rdmsr(MSR_APICBASE) >> 8 & 1, 1);
}

static void not_bsp(unsigned index)
{
	if (index)
		__atomic_add_fetch(&counter, (rdmsr(MSR_APICBASE) >> 8 & 1) ? 100 : 1, __ATOMIC_SEQ_CST);
}

static void delivery(void)
{
	u32 others = cpus - 1;
	u32 total = 0;

	counter = 0;
	smp_run_all(not_bsp);
	check("start.aps-not-bsp", counter, others);
	rt_handle(0x50, on_ipi);
	sti();
	for (unsigned i = 0; i < cpus; i++) {
		clear();
		apic_icr(smp_apic_id[i], 0x4050);
		check_true("ipi.physical", reached(&ipis[i], 1));
		for (unsigned j = 0; j < cpus; j++)
			total += ipis[j];
	}
	check("ipi.only-there", total, cpus);
	clear();
	apic_icr(0, 0x44050); /* self */
	check_true("ipi.self", reached(&ipis[0], 1));
	apic_icr(0, 0xc4050); /* all but self */
	for (unsigned i = 1; i < cpus; i++)
		check_true("ipi.others", reached(&ipis[i], 1));
	check("ipi.others-not-self", ipis[0], 1);
	apic_icr(0, 0x84050); /* all */
	for (unsigned i = 1; i < cpus; i++)
		check_true("ipi.all", reached(&ipis[i], 2));
	check_true("ipi.all-self", reached(&ipis[0], 2));
	clear();
	apic_icr(0xff, 0x4050); /* physical broadcast */
	for (unsigned i = 0; i < cpus; i++)
		check_true("ipi.broadcast", reached(&ipis[i], 1));
	cli();
	rt_handle(NMI, on_nmi);
	clear();
	apic_icr(smp_apic_id[1], 0x4400);
	check_true("nmi.there", reached(&nmis[1], 1));
	check("nmi.only-there", nmis[0], 0);
}

static void set_ldr(unsigned index) { apic_wr(APIC_DFR, ~0u); apic_wr(APIC_LDR, 1u << index << 24); }

static void logical(void)
{
	u32 sum = 0;

	smp_run_all(set_ldr);
	clear();
	sti();
	apic_icr(2, 0x4850); /* logical, fixed: processor 1 */
	check_true("logical.one", reached(&ipis[1], 1));
	apic_icr((1u << cpus) - 1, 0x4850);
	/* All of them: one that is still to come would be counted below. */
	for (unsigned i = 0; i < cpus; i++)
		check_true("logical.all", reached(&ipis[i], i == 1 ? 2 : 1));
	clear();
	apic_icr((1u << cpus) - 1, 0x4950); /* lowest priority: exactly one takes it */
	rt_udelay(20000);
	for (unsigned i = 0; i < cpus; i++)
		sum += ipis[i];
	check("logical.lowest", sum, 1);
	cli();
}

#define ROUNDS 20000
static void inc(unsigned index)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		asm volatile("lock incq %0" : "+m"(counter));
}
static void xadd(unsigned index)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		u64 v = 3;
		asm volatile("lock xaddq %0, %1" : "+r"(v), "+m"(counter) :: "memory");
	}
}
static void cmpxchg(unsigned index)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		u64 old = counter;

		while (!__atomic_compare_exchange_n(&counter, &old, old + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
	}
}
static void cx16(unsigned index)
{
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		u64 lo = wide[0], hi = wide[1];
		u8 ok;

		do {
			asm volatile("lock cmpxchg16b %1; setz %0"
				     : "=q"(ok), "+m"(wide), "+a"(lo), "+d"(hi)
				     : "b"(lo + 1), "c"(hi + 2) : "memory");
		} while (!ok);
	}
}
static void locked_by_xchg(unsigned index)
{
	static volatile u32 lock;

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		u32 v = 1;

		do {
			v = 1;
			asm volatile("xchg %0, %1" : "+r"(v), "+m"(lock) :: "memory");
			if (v)
				pause_();
		} while (v);
		counter = counter + 1;
		lock = 0;
	}
}
static void bits(unsigned index)
{
	u8 was;

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		do {
			asm volatile("lock btsq $5, %1; setc %0" : "=q"(was), "+m"(wide[0]) :: "memory");
			if (was)
				pause_();
		} while (was);
		counter = counter + 1;
		asm volatile("lock btrq $5, %0" : "+m"(wide[0]) :: "memory");
	}
}
static void split(unsigned index)
{
	for (unsigned i = 0; i < ROUNDS / 20; i++)
		asm volatile("lock addq $1, (%0)" :: "r"(cross) : "memory");
}
static void split_mixed(unsigned index)
{
	for (unsigned i = 0; i < ROUNDS / 20; i++) {
		u64 v = 1;
		if (index & 1)
			asm volatile("lock xaddq %0, (%1)" : "+r"(v) : "r"(cross) : "memory");
		else
			asm volatile("lock incl (%0)" :: "r"(cross) : "memory");
	}
}

static void atomics(void)
{
	counter = 0;
	smp_run_all(inc);
	check("atomic.inc", counter, (u64)cpus * ROUNDS);
	counter = 0;
	smp_run_all(xadd);
	check("atomic.xadd", counter, 3ull * cpus * ROUNDS);
	counter = 0;
	smp_run_all(cmpxchg);
	check("atomic.cmpxchg", counter, (u64)cpus * ROUNDS);
	counter = 0;
	smp_run_all(locked_by_xchg);
	check("atomic.xchg-lock", counter, (u64)cpus * (ROUNDS / 4));
	counter = wide[0] = 0;
	smp_run_all(bits);
	check("atomic.bts-lock", counter, (u64)cpus * (ROUNDS / 4));
	if (cpuid(1, 0).c >> 13 & 1) {
		wide[0] = wide[1] = 0;
		smp_run_all(cx16);
		check("atomic.cmpxchg16b.low", wide[0], (u64)cpus * (ROUNDS / 4));
		check("atomic.cmpxchg16b.high", wide[1], 2ull * cpus * (ROUNDS / 4));
	}
	cross = (u8 *)rt_pages(2) + 4096 - 3;
	smp_run_all(split);
	check("atomic.page-crossing", rd64(cross), (u64)cpus * (ROUNDS / 20));
	*(volatile u64 *)cross = 0;
	smp_run_all(split_mixed);
	check("atomic.page-crossing-mixed", rd64(cross), (u64)cpus * (ROUNDS / 20));
	cross = (u8 *)rt_page() + 64 - 3;
	smp_run_all(split);
	check("atomic.line-crossing", rd64(cross), (u64)cpus * (ROUNDS / 20));
}

void smp_tlb(unsigned cpus);
void smp_order(unsigned cpus);
void smp_code(unsigned cpus);
void smp_init(unsigned cpus);

void test_main(void)
{
	cpus = smp_start();
	puts_("cpus ");
	put_dec(cpus);
	puts_("\n");
	if (cpus < 2) {
		check("start.bsp", rdmsr(MSR_APICBASE) >> 8 & 1, 1);
		check_skip("smp", "one processor");
		return;
	}
	starting();
	delivery();
	logical();
	atomics();
	smp_tlb(cpus);
	smp_order(cpus);
	smp_code(cpus);
	smp_init(cpus);
}
