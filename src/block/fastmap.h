/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a disk's pieces were found lately, for reads that want to be quick: looked up
 * without any lock. Who reads by it asks afterwards whether the map still stands; if
 * not, what was read may be anybody's, and is read again the long way.
 *
 * Any number of threads look; putting in and telling of changes is for whoever holds
 * the lock of the format's tables. A change is told of before the host's storage of
 * the old place can be used for something else.
 */
#ifndef BOTHY_BLOCK_FASTMAP_H
#define BOTHY_BLOCK_FASTMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum fast_kind {
	FAST_BACKING,
	FAST_ZERO,
	FAST_DATA,
	FAST_OWN, /* data that is nobody else's: may be written where it is */
};

struct fast_slot;
struct fastmap {
	_Atomic(struct fast_slot *) slots; /* made with the first that is put in */
	_Atomic uint64_t changes;
	void *memory; /* the slots are in it */
};

struct fast_run {
	enum fast_kind kind;
	uint64_t host;    /* data: of the offset asked about */
	uint64_t changes; /* the map's, when it was looked at */
};

#define FASTMAP_PIECE (1ULL << 20) /* a run goes no further than such a piece of the disk */

void fastmap_init(struct fastmap *m);
void fastmap_fini(struct fastmap *m);
/* Is all of [off, off + len) in one run that is known? */
bool fastmap_get(struct fastmap *m, uint64_t off, uint64_t len, struct fast_run *r);
/* Nothing changed since fastmap_get()? */
bool fastmap_stands(struct fastmap *m, const struct fast_run *r);
/* The lock is held for these. */
void fastmap_put(struct fastmap *m, uint64_t off, uint64_t len, enum fast_kind k, uint64_t host);
void fastmap_changed(struct fastmap *m);

/* How far from @off on a run for fastmap_put() is worth looking for, at least @len. */
static inline uint64_t fastmap_reach(uint64_t off, uint64_t len, uint64_t disk_len)
{
	uint64_t end = (off & ~(FASTMAP_PIECE - 1)) + FASTMAP_PIECE;

	if (end > disk_len)
		end = disk_len;
	return end > off + len ? end - off : len;
}

#endif
