/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's clock and its timers.
 *
 * Virtual time is nanoseconds since the machine was made. It follows
 * CLOCK_MONOTONIC while the machine runs and stands still while it is paused;
 * in manual mode (tests, lockstep) it moves only when vtime_advance() says so.
 *
 * Timer callbacks run with the device lock held (see bus.h), on whichever
 * thread calls vtime_run(): the event loop, or the engine in manual mode.
 */
#ifndef BOTHY_BASE_VTIME_H
#define BOTHY_BASE_VTIME_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vtime;

#define VTIME_NEVER INT64_MAX

struct vtimer {
	struct vtime *vt;
	void (*fn)(void *opaque);
	void *opaque;
	int64_t deadline_ns; /* VTIME_NEVER while not armed */
	/* vtime.c's own: the pairing heap's links and the order of arming. */
	uint64_t seq;
	struct vtimer *child, *sibling, *prev;
};

/* @lock is taken around callbacks. @manual: the clock moves by hand only.
 * Returns NULL when out of memory. */
struct vtime *vtime_new(pthread_mutex_t *lock, bool manual);
void vtime_free(struct vtime *vt); /* every timer must have been finished */

/* Called (from any thread) whenever the earliest deadline moved closer; the
 * event loop uses it to wake up. */
void vtime_set_wake(struct vtime *vt, void (*wake)(void *opaque), void *opaque);

int64_t vtime_now_ns(const struct vtime *vt);
bool vtime_is_manual(const struct vtime *vt);
void vtime_advance(struct vtime *vt, int64_t ns); /* manual mode only */
void vtime_pause(struct vtime *vt);
void vtime_resume(struct vtime *vt);
void vtime_set_now(struct vtime *vt, int64_t now_ns); /* restore; while paused */

/* Earliest deadline in virtual ns, VTIME_NEVER if none or while paused. Any thread. */
int64_t vtime_next_deadline_ns(struct vtime *vt);

/* Runs every timer that is due, in deadline order (those of one deadline in the
 * order they were armed), also those that callbacks arm for a time that has come.
 * Nothing while paused. Takes the device lock. */
void vtime_run(struct vtime *vt);

void vtimer_init(struct vtimer *t, struct vtime *vt, void (*fn)(void *), void *opaque);
void vtimer_arm(struct vtimer *t, int64_t deadline_ns); /* any thread; re-arms */
void vtimer_cancel(struct vtimer *t); /* idempotent; with the device lock held the
				       * callback is neither running nor will run */
static inline bool vtimer_armed(const struct vtimer *t)
{
	return __atomic_load_n(&t->deadline_ns, __ATOMIC_RELAXED) != VTIME_NEVER;
}

#endif
