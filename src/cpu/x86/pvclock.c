/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The paravirtual clock that guests know from KVM: pages in which the
 * hypervisor says how to turn the TSC into nanoseconds since boot, and what time
 * of day that began. Linux, Documentation/virt/kvm/x86/msr.rst.
 *
 * The TSC is a linear function of the machine's clock here, so that what is
 * written once stays true until the guest moves its TSC.
 */
#include <time.h>

#include "src/base/vtime.h"
#include "src/cpu/x86/msr.h"
#include "src/cpu/x86/tape.h"

#define ENABLED 1ull
#define TSC_STABLE 1u

/* Offsets in struct pvclock_vcpu_time_info. */
enum { TI_VERSION = 0, TI_TSC = 8, TI_TIME = 16, TI_MUL = 24, TI_SHIFT = 28, TI_FLAGS = 29,
       TI_SIZE = 32 };
/* ... and in struct pvclock_wall_clock. */
enum { WC_VERSION = 0, WC_SEC = 4, WC_NSEC = 8, WC_SIZE = 12 };

static int64_t machine_ns(struct x86_cpu *c)
{
	int64_t v;

	if (x86_follows(c))
		return (int64_t)x86_tape_take(c, X86_TAPE_TIME, 1);
	v = c->vtime ? vtime_now_ns(c->vtime) : 0;
	x86_tape_put(c, X86_TAPE_TIME, 1, (uint64_t)v);
	return v;
}

static int64_t day_ns(struct x86_cpu *c)
{
	struct timespec now;
	int64_t v;

	if (x86_follows(c))
		return (int64_t)x86_tape_take(c, X86_TAPE_TIME, 2);
	clock_gettime(CLOCK_REALTIME, &now);
	v = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	x86_tape_put(c, X86_TAPE_TIME, 2, (uint64_t)v);
	return v;
}

/* ns = (tsc << shift, or >> -shift) * mul >> 32, with mul in [2^31, 2^32). */
static void scale(uint64_t hz, uint32_t *mul, int8_t *shift)
{
	uint64_t rate = hz;
	int s = 0;

	/* Ticks per second after the shift within (1e9, 2e9]. */
	while (rate > 2000000000u) {
		rate >>= 1;
		s--;
	}
	while (rate <= 1000000000u) {
		rate <<= 1;
		s++;
	}
	/* From the unshifted rate, for its low bits. */
	*mul = s <= 0 ? (uint32_t)(((unsigned __int128)1000000000u << (32 - s)) / hz)
		      : (uint32_t)((1000000000ull << 32) / rate);
	*shift = (int8_t)s;
}

/* An odd version tells readers on other vCPUs that the rest is being written. */
static void write_page(struct x86_cpu *c, uint64_t gpa, uint8_t *page, unsigned size)
{
	uint8_t old[4];
	uint32_t version;

	if (mem_read(c->mem, gpa, old, 4) != 0) {
		log_guest(c->log, &c->guest_log,
			  "vCPU %u: paravirtual clock page at %#llx is not memory", c->index,
			  (unsigned long long)gpa);
		return;
	}
	version = (ld_le32(old) | 1) + 2;
	st_le32(page, version);
	/* The middle may fail only as the read above would have. */
	if (mem_write(c->mem, gpa, page, 4) != 0 ||
	    mem_write(c->mem, gpa + 4, page + 4, size - 4) != 0)
		return;
	atomic_thread_fence(memory_order_release);
	st_le32(page, version + 1);
	if (mem_write(c->mem, gpa, page, 4) != 0)
		return;
}

void x86_pvclock_update(struct x86_cpu *c)
{
	uint8_t page[TI_SIZE] = { 0 };
	uint32_t mul;
	int8_t shift;

	if (!(c->pv_system_time & ENABLED) || !c->mem)
		return;
	scale(x86_tsc_hz(c), &mul, &shift);
	st_le64(page + TI_TSC, x86_rdtsc(c));
	st_le64(page + TI_TIME, (uint64_t)machine_ns(c));
	st_le32(page + TI_MUL, mul);
	page[TI_SHIFT] = (uint8_t)shift;
	page[TI_FLAGS] = TSC_STABLE;
	write_page(c, c->pv_system_time & ~ENABLED, page, TI_SIZE);
}

void x86_pvclock_system_time(struct x86_cpu *c, uint64_t msr_val)
{
	c->pv_system_time = msr_val;
	x86_pvclock_update(c);
}

void x86_pvclock_wall_clock(struct x86_cpu *c, uint64_t msr_val)
{
	uint8_t page[WC_SIZE] = { 0 };
	int64_t boot_ns;

	c->pv_wall_clock = msr_val;
	if (!c->mem)
		return;
	boot_ns = day_ns(c);
	boot_ns -= machine_ns(c);
	st_le32(page + WC_SEC, (uint32_t)(boot_ns / 1000000000));
	st_le32(page + WC_NSEC, (uint32_t)(boot_ns % 1000000000));
	write_page(c, msr_val, page, WC_SIZE);
}
