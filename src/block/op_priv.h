/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_BLOCK_OP_PRIV_H
#define BOTHY_BLOCK_OP_PRIV_H

#include <pthread.h>

#include "src/block/op.h"

bool op_reads_zero(const struct block_node *n);
/* Before a new target is made: -ENOSPC if what it must hold is more than there is room for. */
int must_check op_room_for_copy(const struct op_env *env, const struct op_convert *c,
				struct block_node *src, struct err *err);
/* What was made is on storage. */
int must_check op_sync_files(const struct block_made *m, const struct block_host *host,
			     struct err *err);

/* Buffers of one size that pieces of work take and give back: fresh memory for each
 * would cost more than the copying. */
struct op_bufs {
	pthread_mutex_t lock;
	size_t bytes;
	void *free[64];
	unsigned n;
};
void op_bufs_init(struct op_bufs *b, size_t bytes);
void op_bufs_fini(struct op_bufs *b);
void *op_bufs_get(struct op_bufs *b); /* page-aligned; NULL: out of memory */
void op_bufs_put(struct op_bufs *b, void *buf);

/* The file beside a half-made target that says how far it is (op_journal.c). */
struct op_journal;
/* Finds what an earlier run left: *from is where to go on, 0 if there is nothing.
 * -ESTALE with a reason if it was another conversion's. */
int must_check op_journal_open(struct op_journal **out, const struct op_convert *c,
			       const struct block_node *src, uint64_t *from, struct err *err);
/* Flushes @dst and notes that all below @low is in it. Failure costs time, no data. */
void op_journal_save(struct op_journal *j, struct block_node *dst, uint64_t low);
/* @done: the conversion is complete, the file goes. NULL is fine. */
void op_journal_close(struct op_journal *j, bool done);

#endif
