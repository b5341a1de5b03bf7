/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where some bytes of an image are in a host file, for who moves them there by other
 * means than block_preadv() and block_pwritev(): the kernel's request ring (ring.h).
 *
 * While a place is held nothing else gets that piece of the file: what the formats
 * would hold during a call of theirs is held instead by the place, until block_unplace().
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
	unsigned nholds;
	struct {
		struct range_set *set;
		struct range range;
	} holds[PLACE_HOLDS];
};

/* All of [@off, @off + @len), allocated and plain; for writing, too, only where the tables
 * need no change for it. -EAGAIN: it is not so simple, or something would have to be
 * waited for; nothing is held then. Any thread. */
int must_check block_place(struct block_node *n, uint64_t off, size_t len, bool write,
			   struct block_place *p);
void block_unplace(struct block_place *p);

/* ---- for formats ---- */

/* Holds [@start, @end) of @s, shared, until the place is given up. -EAGAIN where it would
 * have to wait, or where a place has enough holds. */
int must_check block_place_hold(struct block_place *p, struct range_set *s, uint64_t start,
				uint64_t end);
/* The same question to a node below, with the same place. */
int must_check block_place_below(struct block_node *n, uint64_t off, size_t len, bool write,
				 struct block_place *p);

#endif
