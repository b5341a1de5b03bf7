/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which parts of a disk were written, or are still to be copied: a bit for each
 * piece of @granularity bytes. Any thread.
 */
#ifndef BOTHY_BLOCK_DIRTY_H
#define BOTHY_BLOCK_DIRTY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct dirty {
	pthread_mutex_t lock;
	uint64_t len, nbits, count; /* count: of bits that are set */
	unsigned shift;
	uint64_t *words;
};

/* @granularity: a power of two, 512 bytes to 2 GiB. NULL: out of memory. */
struct dirty *dirty_new(uint64_t len, uint32_t granularity);
void dirty_free(struct dirty *d); /* NULL is fine */
/* What lies beyond the disk is left out. */
void dirty_set(struct dirty *d, uint64_t off, uint64_t len);
void dirty_clear(struct dirty *d, uint64_t off, uint64_t len); /* every piece that is touched */
bool dirty_test(struct dirty *d, uint64_t off);
/* The first set piece at or after @off, with up to @max bytes of set ones behind it. */
bool dirty_next(struct dirty *d, uint64_t off, uint64_t max, uint64_t *at, uint64_t *len);
uint64_t dirty_bytes(struct dirty *d);
void dirty_merge(struct dirty *to, struct dirty *from); /* any granularities */
/* The disk's length changed: new pieces are set. False: out of memory, nothing changed. */
bool dirty_resize(struct dirty *d, uint64_t len);

#endif
