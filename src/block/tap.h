/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A node that stands above a disk's top image while a job runs on it, and lets
 * the job see the guest's writes: before one is done (to save what it overwrites)
 * and after (to do the same elsewhere).
 *
 * A write holds its range of bytes exclusively, from before() to after(); a job
 * takes ranges with tap_lock() to keep writes out of what it copies.
 */
#ifndef BOTHY_BLOCK_TAP_H
#define BOTHY_BLOCK_TAP_H

#include "src/block/block.h"
#include "src/block/range.h"

enum tap_kind { TAP_WRITE, TAP_ZERO, TAP_DISCARD };

struct tap_hook { /* neither can fail: the guest's write is not the job's business */
	void (*before)(void *opaque, uint64_t off, uint64_t len); /* may be NULL */
	/* TAP_WRITE: the data in @v from @voff. Also after a write that failed: then what
	 * is there now is not known, and @v is NULL. */
	void (*after)(void *opaque, enum tap_kind k, uint64_t off, uint64_t len,
		      const struct block_vec *v, size_t voff);
	void *opaque;
};

/* Above @under, which it does not own until it stands in a graph. NULL: out of memory. */
struct block_node *tap_new(struct block_node *under, const struct tap_hook *hook);
/* Frees the tap alone; what it stood above. */
struct block_node *tap_free(struct block_node *tap);
void tap_lock(struct block_node *tap, struct range *r, uint64_t off, uint64_t len);
void tap_unlock(struct block_node *tap, struct range *r);

#endif
