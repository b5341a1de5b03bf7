/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's clock and its timers.
 *
 * Timers stand in a pairing heap whose links are in the timers themselves, so
 * that arming one never allocates and cannot fail.
 */
#include "src/base/vtime.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct vtime {
	pthread_mutex_t *lock; /* the device lock, not owned; may be NULL */
	bool manual;

	/* The clock: a sequence lock, so that readers on every vCPU share nothing
	 * that is written while the machine runs. Odd while being changed. */
	_Atomic uint32_t clock_seq;
	_Atomic bool paused;
	_Atomic int64_t still_ns;  /* the time while paused or manual */
	_Atomic int64_t offset_ns; /* virtual = CLOCK_MONOTONIC + this, while running */

	pthread_mutex_t heap_lock; /* root, seq, and the timers' own fields */
	struct vtimer *root;
	uint64_t seq;
	void (*wake)(void *opaque);
	void *wake_opaque;
};

static int64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct vtime *vtime_new(pthread_mutex_t *lock, bool manual)
{
	struct vtime *vt = calloc(1, sizeof(*vt));

	if (!vt)
		return NULL;
	vt->lock = lock;
	vt->manual = manual;
	atomic_init(&vt->offset_ns, -monotonic_ns());
	pthread_mutex_init(&vt->heap_lock, NULL);
	return vt;
}

void vtime_free(struct vtime *vt)
{
	if (!vt)
		return;
	pthread_mutex_destroy(&vt->heap_lock);
	free(vt);
}

void vtime_set_wake(struct vtime *vt, void (*wake)(void *opaque), void *opaque)
{
	pthread_mutex_lock(&vt->heap_lock);
	vt->wake = wake;
	vt->wake_opaque = opaque;
	pthread_mutex_unlock(&vt->heap_lock);
}

/*
 * The clock.
 */
bool vtime_is_manual(const struct vtime *vt)
{
	return vt->manual;
}

int64_t vtime_now_ns(const struct vtime *vt)
{
	for (;;) {
		uint32_t seq = atomic_load_explicit(&vt->clock_seq, memory_order_acquire);
		int64_t now;

		if (vt->manual || atomic_load_explicit(&vt->paused, memory_order_relaxed))
			now = atomic_load_explicit(&vt->still_ns, memory_order_relaxed);
		else
			now = monotonic_ns() +
			      atomic_load_explicit(&vt->offset_ns, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if (!(seq & 1) &&
		    atomic_load_explicit(&vt->clock_seq, memory_order_relaxed) == seq)
			return now;
	}
}

/* Changes of the clock are serialised by heap_lock. */
static void clock_change_begin(struct vtime *vt)
{
	pthread_mutex_lock(&vt->heap_lock);
	atomic_fetch_add_explicit(&vt->clock_seq, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

/* Deadlines may have come closer: wakes the loop. */
static void clock_change_end(struct vtime *vt)
{
	void (*wake)(void *opaque);
	void *opaque;

	atomic_fetch_add_explicit(&vt->clock_seq, 1, memory_order_release);
	wake = vt->wake;
	opaque = vt->wake_opaque;
	pthread_mutex_unlock(&vt->heap_lock);
	if (wake)
		wake(opaque);
}

void vtime_advance(struct vtime *vt, int64_t ns)
{
	if (!vt->manual || ns <= 0)
		return;
	clock_change_begin(vt);
	if (!atomic_load(&vt->paused))
		atomic_fetch_add(&vt->still_ns, ns);
	clock_change_end(vt);
}

void vtime_pause(struct vtime *vt)
{
	clock_change_begin(vt);
	if (!atomic_load(&vt->paused) && !vt->manual)
		atomic_store(&vt->still_ns, monotonic_ns() + atomic_load(&vt->offset_ns));
	atomic_store(&vt->paused, true);
	clock_change_end(vt);
}

void vtime_resume(struct vtime *vt)
{
	clock_change_begin(vt);
	if (atomic_load(&vt->paused) && !vt->manual)
		atomic_store(&vt->offset_ns, atomic_load(&vt->still_ns) - monotonic_ns());
	atomic_store(&vt->paused, false);
	clock_change_end(vt);
}

void vtime_set_now(struct vtime *vt, int64_t now_ns)
{
	clock_change_begin(vt);
	atomic_store(&vt->still_ns, now_ns);
	atomic_store(&vt->offset_ns, now_ns - monotonic_ns());
	clock_change_end(vt);
}

/*
 * The heap. prev is the parent for a first child, else the sibling before.
 */
static bool before(const struct vtimer *a, const struct vtimer *b)
{
	return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns
						: a->seq < b->seq;
}

static struct vtimer *meld(struct vtimer *a, struct vtimer *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (before(b, a)) {
		struct vtimer *t = a;

		a = b;
		b = t;
	}
	b->prev = a;
	b->sibling = a->child;
	if (a->child)
		a->child->prev = b;
	a->child = b;
	return a;
}

/* Two passes over a list of siblings: pairs from the left, then all from the right. */
static struct vtimer *meld_siblings(struct vtimer *first)
{
	struct vtimer *pairs = NULL, *root = NULL;

	while (first) {
		struct vtimer *a = first, *b = a->sibling, *m;

		first = b ? b->sibling : NULL;
		a->sibling = a->prev = NULL;
		if (b)
			b->sibling = b->prev = NULL;
		m = meld(a, b);
		m->sibling = pairs;
		pairs = m;
	}
	while (pairs) {
		struct vtimer *next = pairs->sibling;

		pairs->sibling = NULL;
		root = meld(root, pairs);
		pairs = next;
	}
	return root;
}

static void heap_remove_locked(struct vtime *vt, struct vtimer *t)
{
	struct vtimer *rest = meld_siblings(t->child);

	t->child = NULL;
	if (vt->root == t) {
		vt->root = rest;
	} else {
		if (t->prev->child == t)
			t->prev->child = t->sibling;
		else
			t->prev->sibling = t->sibling;
		if (t->sibling)
			t->sibling->prev = t->prev;
		t->sibling = t->prev = NULL;
		vt->root = meld(vt->root, rest);
	}
	__atomic_store_n(&t->deadline_ns, VTIME_NEVER, __ATOMIC_RELAXED);
}

void vtimer_init(struct vtimer *t, struct vtime *vt, void (*fn)(void *), void *opaque)
{
	*t = (struct vtimer){ .vt = vt, .fn = fn, .opaque = opaque, .deadline_ns = VTIME_NEVER };
}

void vtimer_arm(struct vtimer *t, int64_t deadline_ns)
{
	struct vtime *vt = t->vt;
	void (*wake)(void *opaque) = NULL;
	void *opaque = NULL;

	pthread_mutex_lock(&vt->heap_lock);
	if (t->deadline_ns != VTIME_NEVER)
		heap_remove_locked(vt, t);
	if (deadline_ns != VTIME_NEVER) {
		int64_t first = vt->root ? vt->root->deadline_ns : VTIME_NEVER;

		__atomic_store_n(&t->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
		t->seq = vt->seq++;
		vt->root = meld(vt->root, t);
		if (deadline_ns < first) {
			wake = vt->wake;
			opaque = vt->wake_opaque;
		}
	}
	pthread_mutex_unlock(&vt->heap_lock);
	if (wake)
		wake(opaque);
}

void vtimer_cancel(struct vtimer *t)
{
	struct vtime *vt = t->vt;

	if (!vt)
		return; /* never initialised */
	pthread_mutex_lock(&vt->heap_lock);
	if (t->deadline_ns != VTIME_NEVER)
		heap_remove_locked(vt, t);
	pthread_mutex_unlock(&vt->heap_lock);
}

int64_t vtime_next_deadline_ns(struct vtime *vt)
{
	int64_t d;

	pthread_mutex_lock(&vt->heap_lock);
	d = vt->root && !atomic_load(&vt->paused) ? vt->root->deadline_ns : VTIME_NEVER;
	pthread_mutex_unlock(&vt->heap_lock);
	return d;
}

/* Takes the first timer off the heap if it is due. */
static bool pop_due(struct vtime *vt, int64_t now_ns, void (**fn)(void *), void **opaque)
{
	bool due;

	pthread_mutex_lock(&vt->heap_lock);
	due = vt->root && !atomic_load(&vt->paused) && vt->root->deadline_ns <= now_ns;
	if (due) {
		*fn = vt->root->fn;
		*opaque = vt->root->opaque;
		heap_remove_locked(vt, vt->root);
	}
	pthread_mutex_unlock(&vt->heap_lock);
	return due;
}

void vtime_run(struct vtime *vt)
{
	int64_t now_ns = vtime_now_ns(vt);
	bool more = vtime_next_deadline_ns(vt) <= now_ns;

	while (more) {
		void (*fn)(void *);
		void *opaque;

		/* The device lock is let go between callbacks so that a vCPU that
		 * wants a device gets its turn. */
		if (vt->lock)
			pthread_mutex_lock(vt->lock);
		more = pop_due(vt, now_ns, &fn, &opaque);
		if (more)
			fn(opaque);
		if (vt->lock)
			pthread_mutex_unlock(vt->lock);
	}
}
