/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that do blocking work for others. One is there from the start to the end, so
 * that work never finds none; more start when there is work for them and end after a
 * while without any.
 */
#ifndef BOTHY_BLOCK_POOL_H
#define BOTHY_BLOCK_POOL_H

#include <stdint.h>

#include "src/base/err.h"

struct block_pool;

struct block_job { /* embedded in what is to be done; free again once fn runs */
	void (*fn)(struct block_job *job);
	struct block_job *next;
	int64_t due_ns;
};

/* @max_threads: 1..64. NULL when out of memory, or where no thread can be started. */
struct block_pool *block_pool_new(unsigned max_threads);
/* Every job must have been done. */
void block_pool_free(struct block_pool *p);

/* Runs job->fn on a worker: now, or (_at) not before the CLOCK_MONOTONIC time
 * @due_ns. Any thread. */
void block_pool_submit(struct block_pool *p, struct block_job *job);
void block_pool_submit_at(struct block_pool *p, struct block_job *job, int64_t due_ns);

int64_t block_now_ns(void); /* CLOCK_MONOTONIC */

#endif
