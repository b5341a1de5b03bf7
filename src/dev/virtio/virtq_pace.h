/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to interrupt for requests that are answered within the notification that brought
 * them. A driver that waits for each answer wants its interrupt at once. One that keeps
 * many requests under way would take an interrupt for each of them, and spend more time
 * on those than on its requests; it is better served with one for many.
 *
 * Which kind it is shows in what it does while an interrupt is held back for a moment: it
 * brings the next request, or it does not. So now and then one is held back to see, and
 * how many requests came meanwhile is how many are waited for from then on. What is held
 * back comes when a processor of the guest has nothing more to do, and WAIT after the last
 * request at the latest. The answers themselves are in the used ring at once: who polls
 * never waits.
 */
#ifndef BOTHY_DEV_VIRTIO_VIRTQ_PACE_H
#define BOTHY_DEV_VIRTIO_VIRTQ_PACE_H

#include "src/dev/virtio/virtio.h"

struct virtq_pace {
	struct virtq *q;
	struct bus_idle idle;
	struct vtimer timer;       /* not before this is anything late */
	unsigned pending;          /* answers without an interrupt yet */
	unsigned target, limit;    /* how many to wait for: usually, and this time */
	unsigned count;            /* since it was tried last whether there are more */
	bool probing;
	int64_t first_ns, last_ns; /* when those that are pending came */
};

/* @q belongs to an initialised device. */
void virtq_pace_init(struct virtq_pace *p, struct virtq *q);
void virtq_pace_fini(struct virtq_pace *p);
/* The queue starts anew. */
void virtq_pace_reset(struct virtq_pace *p);
/* The queue was restored: whether an interrupt was held back is not known. */
void virtq_pace_restored(struct virtq_pace *p);

/* A request was answered within the notification that brought it: interrupts now or
 * soon. */
void virtq_pace_answered(struct virtq_pace *p);
/* Interrupts now: an answer that took longer. */
void virtq_pace_now(struct virtq_pace *p);

#endif
