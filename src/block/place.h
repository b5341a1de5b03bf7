/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where some bytes of an image are in a host file, for who moves them there by other
 * means than block_preadv() and block_pwritev(): the kernel's request ring (ring.h).
 *
 * While a place is held nothing else gets that piece of the file: what the formats
 * would hold during a call of theirs is held instead by the place, until block_unplace().
 * What is written may have got its place just now; the tables learn of it then.
 */
#ifndef BOTHY_BLOCK_PLACE_H
#define BOTHY_BLOCK_PLACE_H

#include "src/block/block.h"
#include "src/block/range.h"

enum { PLACE_HOLDS = 3 };

struct block_place {
	int fd;       /* not owned */
	uint64_t off; /* in its file; all of the bytes in a row from there */
	bool direct;  /* past the host's page cache */
	size_t align; /* of memory: what the file asks for, 1: anything goes */
	bool settles; /* asked with: it may be one that has to be settled */
	/* What the format has to do once the bytes are there, or are known not to come. NULL:
	 * nothing, or it is done. */
	int (*settle)(struct block_place *p, bool written, bool wait);
	struct block_node *node; /* settle's, with what it was given for whole clusters */
	uint64_t guest, host, bytes;
	unsigned nholds;
	struct {
		struct range_set *set;
		struct range range;
	} holds[PLACE_HOLDS];
};

/* All of [@off, @off + @len), plain; for reading, allocated. -EAGAIN: it is not so simple, or
 * something would have to be waited for; nothing is held then. Any thread. */
int must_check block_place(struct block_node *n, uint64_t off, size_t len, bool write,
			   struct block_place *p);
/* The tables learn of what was written (@written: all of the bytes). -EBUSY: they are not
 * free, and without @wait nothing has been done; other -errno: it cannot be told whether they
 * know. Not needed before block_unplace(), which waits. */
int must_check block_place_settle(struct block_place *p, bool written, bool wait);
/* Settles and gives up the place. -errno: the bytes are to be written again. */
int block_unplace(struct block_place *p, bool written);

/* ---- for formats ---- */

/* Holds [@start, @end) of @s until the place is given up. -EAGAIN where it would have to
 * wait, or where a place has enough holds. */
int must_check block_place_hold(struct block_place *p, struct range_set *s, uint64_t start,
				uint64_t end, bool exclusive);
/* Gives up what was held last. */
void block_place_unhold(struct block_place *p);
/* The same question to a node below, with the same place. */
int must_check block_place_below(struct block_node *n, uint64_t off, size_t len, bool write,
				 struct block_place *p);

#endif
