/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/asm/rt_apic.h"

extern u8 smp_trampoline[], smp_trampoline_end[];
volatile u32 smp_count = 1; /* processors that have arrived, this one too */
u32 smp_cr3;
u32 smp_apic_id[SMP_MAX];
u8 smp_stacks[SMP_MAX][16384] __attribute__((aligned(16)));
static void (*volatile work[SMP_MAX])(unsigned index);

#define WAKE 0x5e

static void on_wake(struct rt_regs *r) { eoi(); }

/* Spins a little, and then halts: where the host has fewer processors than this machine,
 * those with work would share theirs with one that has none. */
static void idle(unsigned index)
{
	for (unsigned i = 0; i < 5000 && !work[index]; i++)
		pause_();
	cli();
	if (work[index])
		sti();
	else
		asm volatile("sti; hlt" ::: "memory");
}

_Noreturn void smp_main(unsigned index);
_Noreturn void smp_main(unsigned index)
{
	smp_apic_id[index] = apic_rd(APIC_ID) >> 24;
	apic_on();
	sti();
	for (;;) {
		if (work[index]) {
			work[index](index);
			work[index] = NULL;
		}
		idle(index);
	}
}

unsigned smp_start(void)
{
	u32 seen = 0;

	rt_handle(WAKE, on_wake);
	apic_on();
	smp_cr3 = rd_cr3();
	smp_apic_id[0] = apic_rd(APIC_ID) >> 24;
	memcpy((void *)0x8000, smp_trampoline, smp_trampoline_end - smp_trampoline);
	apic_icr(0, 0xc4500); /* INIT, all but self */
	rt_udelay(10000);
	apic_icr(0, 0xc4608); /* SIPI to 0x8000 */
	rt_udelay(1000);
	apic_icr(0, 0xc4608); /* a second one, which running processors ignore */
	/* All have come when none came for a while. */
	for (unsigned quiet = 0; quiet < 20; quiet++) {
		if (smp_count != seen)
			quiet = 0;
		seen = smp_count;
		rt_udelay(10000);
	}
	return smp_count;
}

void smp_run(unsigned index, void (*fn)(unsigned index))
{
	work[index] = fn;
	apic_icr(smp_apic_id[index], 0x4000 | WAKE);
}

bool smp_wait(void)
{
	for (unsigned i = 0; i < 100000; i++) {
		bool busy = false;

		for (unsigned c = 1; c < smp_count; c++)
			busy |= work[c] != NULL;
		if (!busy)
			return true;
		rt_udelay(100);
	}
	return false;
}

void smp_run_all(void (*fn)(unsigned index))
{
	for (unsigned c = 1; c < smp_count; c++)
		smp_run(c, fn);
	fn(0);
	if (!smp_wait()) {
		check_true("smp.all-return", false);
		rt_finish();
	}
}
