/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_BLOCK_BLK_PRIV_H
#define BOTHY_BLOCK_BLK_PRIV_H

#include <pthread.h>

#include "src/block/blk.h"

enum { BLK_TRACKS = 32 };

struct blk {
	struct blk_config c;
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	struct blk_req *done_head, **done_tail; /* waiting for the owner's thread */
	struct blk_req *held_head, **held_tail;
	unsigned posts; /* calls of on_post() that are still to come */
	bool posted, stopped, tell_stop;
	bool dead; /* the last on_post() frees us */
	enum blk_op stop_op;
	int stop_error;
	uint64_t in_flight; /* submitted, done() not yet called, not held */
	int64_t next_op_ns, next_byte_ns; /* when the limits allow the next request */
	struct blk_stats stats;
	struct dirty *tracks[BLK_TRACKS]; /* changed only while drained */
	void (*resized)(void *opaque);
	void *resized_opaque;

	/* blk_direct.c's */
	unsigned plugs;    /* the owner's */
	struct ring *ring; /* the owner's; NULL: none */
	struct blk_req *write_head, **write_tail; /* for one thread; all but late ones have a place */
	struct blk_req *settle_head; /* written, and the tables were not free: for one more */
	struct block_pool *writers, *settlers; /* one thread each; the owner's, NULL: not needed yet */
	struct block_job writer, settler;
	bool writing, settling; /* have been sent, and are not done */
};

/* ---- blk.c ---- */

/* On the owner's thread: calls done() for what has ended. */
void blk_deliver(struct blk *b);
/* Any thread: @r has ended, or stops all if @rc says so. */
void blk_finish(struct blk *b, struct blk_req *r, int rc);
/* Marks where @r is going to write. */
void blk_note_write(struct blk *b, const struct blk_req *r);

/* ---- blk_direct.c: requests whose bytes have a place ---- */

int must_check direct_init(struct blk *b, struct err *err);
void direct_fini(struct blk *b); /* drained */
/* The owner's. True: @r is under way. */
bool direct_start(struct blk *b, struct blk_req *r);
/* The owner's: nothing waits for blk_unplug() any more. */
void direct_push(struct blk *b);
/* The owner's, lock held: until something has ended, or nothing is in the ring. */
void direct_wait(struct blk *b);

#endif
