/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's timer: one-shot and periodic counts of a 1 GHz bus clock, and the
 * TSC deadline (Intel SDM vol. 3, 11.5.4).
 */
#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic_priv.h"
#include "src/cpu/x86/x86.h"

/* The shortest period that the host serves; a periodic timer that a guest sets
 * faster than this ticks at this rate. */
#define MIN_PERIOD_NS 100000

static bool timer_mode_is(const struct apic *a, uint32_t mode)
{
	return (a->lvt[0] & APIC_LVT_TIMER_MODE) == mode;
}

/* SDM figure 11-10: bits 3, 1, 0; 111b divides by one. */
static unsigned divisor_shift(const struct apic *a)
{
	return ((a->divide & 3) + (a->divide >> 1 & 4) + 1) & 7;
}

/* Nanoseconds that the initial count lasts. At most 2^39. */
static int64_t count_ns(const struct apic *a)
{
	return (int64_t)((uint64_t)a->initial_count << divisor_shift(a));
}

static int64_t period_ns(const struct apic *a)
{
	int64_t ns = count_ns(a);

	return ns < MIN_PERIOD_NS ? MIN_PERIOD_NS : ns;
}

void apic_timer_stop_locked(struct apic *a)
{
	a->initial_count = 0;
	a->tsc_deadline = 0;
	a->start_ns = 0;
	if (a->timer.vt)
		vtimer_cancel(&a->timer);
}

/* Arms for the next expiry of the count after @now_ns. */
static void arm_count(struct apic *a, int64_t now_ns)
{
	int64_t due = a->start_ns + count_ns(a);

	if (!a->timer.vt)
		return;
	if (timer_mode_is(a, APIC_LVT_DEADLINE)) /* the count does not run */
		return;
	if (!a->initial_count) {
		vtimer_cancel(&a->timer);
		return;
	}
	if (due <= now_ns) {
		int64_t period = period_ns(a);

		if (!timer_mode_is(a, APIC_LVT_PERIODIC)) {
			vtimer_cancel(&a->timer);
			return;
		}
		due = a->start_ns + ((now_ns - a->start_ns) / period + 1) * period;
	}
	vtimer_arm(&a->timer, due);
}

uint32_t apic_timer_current_locked(const struct apic *a)
{
	int64_t elapsed, total = count_ns(a);

	if (!a->timer.vt || !a->initial_count || timer_mode_is(a, APIC_LVT_DEADLINE))
		return 0;
	elapsed = vtime_now_ns(a->timer.vt) - a->start_ns;
	if (elapsed >= total) {
		if (!timer_mode_is(a, APIC_LVT_PERIODIC))
			return 0;
		elapsed %= total;
	}
	return a->initial_count - (uint32_t)(elapsed >> divisor_shift(a));
}

void apic_timer_write_initial_locked(struct apic *a, uint32_t count)
{
	if (!a->timer.vt || timer_mode_is(a, APIC_LVT_DEADLINE))
		return; /* ignored in deadline mode */
	a->initial_count = count;
	a->start_ns = vtime_now_ns(a->timer.vt);
	arm_count(a, a->start_ns);
}

void apic_timer_write_divide_locked(struct apic *a, uint32_t val)
{
	uint32_t left = apic_timer_current_locked(a);

	a->divide = val & 0xb;
	if (!left)
		return;
	/* The count goes on from where it is, at the new rate. */
	a->start_ns = vtime_now_ns(a->timer.vt) -
		      (int64_t)((uint64_t)(a->initial_count - left) << divisor_shift(a));
	arm_count(a, vtime_now_ns(a->timer.vt));
}

void apic_timer_write_lvt_locked(struct apic *a, uint32_t val)
{
	bool was_deadline = timer_mode_is(a, APIC_LVT_DEADLINE);
	bool is_deadline;

	if ((val & APIC_LVT_DEADLINE) && !x86_has(a->cpu, X86_F_TSC_DEADLINE))
		val &= ~APIC_LVT_DEADLINE;
	is_deadline = (val & APIC_LVT_TIMER_MODE) == APIC_LVT_DEADLINE;
	if (was_deadline != is_deadline)
		apic_timer_stop_locked(a); /* SDM 11.5.4.1: the switch disarms */
	a->lvt[0] = val;
	if (!is_deadline && a->timer.vt && a->initial_count)
		arm_count(a, vtime_now_ns(a->timer.vt));
}

/* Nanoseconds until the TSC reaches the deadline, rounded up; 0: it has. */
static int64_t deadline_left_ns(const struct apic *a)
{
	uint64_t hz = a->cpus ? a->cpus->tsc_hz : 1000000000, tsc = x86_tsc_now(a->cpu);
	unsigned __int128 ns;

	if (tsc >= a->tsc_deadline)
		return 0;
	if (!hz)
		hz = 1000000000;
	ns = ((unsigned __int128)(a->tsc_deadline - tsc) * 1000000000 + hz - 1) / hz;
	/* A deadline centuries away: come back and look again. */
	return ns > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)ns;
}

static void deadline_check_locked(struct apic *a)
{
	int64_t ns = deadline_left_ns(a);

	if (ns > 0) {
		vtimer_arm(&a->timer, vtime_now_ns(a->timer.vt) + ns);
		return;
	}
	a->tsc_deadline = 0;
	vtimer_cancel(&a->timer);
	apic_local_locked(a, APIC_LVT_TIMER);
}

void apic_timer_write_deadline_locked(struct apic *a, uint64_t tsc)
{
	if (!a->timer.vt || !timer_mode_is(a, APIC_LVT_DEADLINE))
		return;
	a->tsc_deadline = tsc;
	if (tsc)
		deadline_check_locked(a);
	else
		vtimer_cancel(&a->timer);
}

void apic_timer_go_on_locked(struct apic *a, uint32_t count, uint32_t left, uint64_t deadline)
{
	apic_timer_stop_locked(a);
	if (!a->timer.vt)
		return;
	if (timer_mode_is(a, APIC_LVT_DEADLINE)) {
		a->tsc_deadline = deadline;
		if (deadline)
			deadline_check_locked(a);
		return;
	}
	if (left > count)
		left = count;
	a->initial_count = count;
	a->start_ns = vtime_now_ns(a->timer.vt) -
		      (int64_t)((uint64_t)(count - left) << divisor_shift(a));
	arm_count(a, vtime_now_ns(a->timer.vt));
}

void apic_tsc_changed(struct apic *a)
{
	pthread_mutex_lock(&a->lock);
	if (a->tsc_deadline)
		deadline_check_locked(a);
	pthread_mutex_unlock(&a->lock);
}

static void expired(void *opaque)
{
	struct apic *a = opaque;

	pthread_mutex_lock(&a->lock);
	if (timer_mode_is(a, APIC_LVT_DEADLINE)) {
		/* It may have been disarmed, or moved, since the clock let go of it. */
		if (a->tsc_deadline)
			deadline_check_locked(a);
	} else if (a->initial_count) {
		int64_t now = vtime_now_ns(a->timer.vt);

		if (now >= a->start_ns + count_ns(a))
			apic_local_locked(a, APIC_LVT_TIMER);
		arm_count(a, now);
	}
	pthread_mutex_unlock(&a->lock);
}

void apic_timer_init(struct apic *a)
{
	if (a->cpu->vtime)
		vtimer_init(&a->timer, a->cpu->vtime, expired, a);
}
