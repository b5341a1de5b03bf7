/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks on ranges of bytes, shared or exclusive: what keeps two requests of one
 * image apart where they meet. First come, first served per range, so that a
 * writer is not starved by a stream of readers.
 */
#ifndef BOTHY_BLOCK_RANGE_H
#define BOTHY_BLOCK_RANGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct range { /* lives with the holder */
	uint64_t start, end; /* end is exclusive */
	bool exclusive, waiting;
	struct range *prev, *next;
	pthread_cond_t wake;
};

struct range_set {
	pthread_mutex_t lock;
	struct range *head, *last; /* in order of arrival */
	unsigned exclusives, waiters; /* in the list; while there are none nobody looks along it */
};

void range_set_init(struct range_set *s);
void range_set_fini(struct range_set *s);

/* Sleeps until no earlier, overlapping request conflicts. @end may be UINT64_MAX. */
void range_lock(struct range_set *s, struct range *r, uint64_t start, uint64_t end,
		bool exclusive);
/* The same without sleeping: false, and nothing is held, where it would have to. */
bool range_try_lock(struct range_set *s, struct range *r, uint64_t start, uint64_t end,
		    bool exclusive);
void range_unlock(struct range_set *s, struct range *r);

#endif
