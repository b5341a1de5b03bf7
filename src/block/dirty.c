/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/dirty.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

static uint64_t bits_of(uint64_t len, unsigned shift)
{
	return (len >> shift) + ((len & low_mask(shift)) != 0);
}

struct dirty *dirty_new(uint64_t len, uint32_t granularity)
{
	struct dirty *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->len = len;
	d->shift = (unsigned)__builtin_ctz(granularity);
	d->nbits = bits_of(len, d->shift);
	/* Untouched zero pages take no memory: large disks cost what is written. */
	d->words = calloc(d->nbits / 64 + 1, 8);
	if (!d->words) {
		free(d);
		return NULL;
	}
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

void dirty_free(struct dirty *d)
{
	if (!d)
		return;
	pthread_mutex_destroy(&d->lock);
	free(d->words);
	free(d);
}

/* Bits [*first, *last] that [off, off+len) touches. False: none. */
static bool touch(const struct dirty *d, uint64_t off, uint64_t len, uint64_t *first, uint64_t *last)
{
	if (!len || off >= d->len)
		return false;
	len = min_of(len, d->len - off);
	*first = off >> d->shift;
	*last = (off + len - 1) >> d->shift;
	return true;
}

static void change(struct dirty *d, uint64_t off, uint64_t len, bool set)
{
	uint64_t first, last;

	pthread_mutex_lock(&d->lock);
	if (touch(d, off, len, &first, &last)) {
		for (uint64_t i = first; i <= last; i = (i | 63) + 1) {
			uint64_t end = min_of(i | 63, last), *w = &d->words[i / 64];
			uint64_t mask = low_mask((unsigned)(end & 63) + 1) & ~low_mask(i & 63);
			uint64_t was = *w;

			*w = set ? was | mask : was & ~mask;
			d->count += (uint64_t)__builtin_popcountll(*w);
			d->count -= (uint64_t)__builtin_popcountll(was);
		}
	}
	pthread_mutex_unlock(&d->lock);
}

void dirty_set(struct dirty *d, uint64_t off, uint64_t len) { change(d, off, len, true); }
void dirty_clear(struct dirty *d, uint64_t off, uint64_t len) { change(d, off, len, false); }

bool dirty_test(struct dirty *d, uint64_t off)
{
	uint64_t bit = off >> d->shift;
	bool set;

	pthread_mutex_lock(&d->lock);
	set = bit < d->nbits && d->words[bit / 64] >> (bit & 63) & 1;
	pthread_mutex_unlock(&d->lock);
	return set;
}

/* The first bit at or after @bit that is @set; nbits if there is none. */
static uint64_t seek(const struct dirty *d, uint64_t bit, bool set)
{
	while (bit < d->nbits) {
		uint64_t w = (set ? d->words[bit / 64] : ~d->words[bit / 64]) & ~low_mask(bit & 63);

		if (w)
			return min_of((bit & ~63ULL) + (uint64_t)__builtin_ctzll(w), d->nbits);
		bit = (bit | 63) + 1;
	}
	return d->nbits;
}

bool dirty_next(struct dirty *d, uint64_t off, uint64_t max, uint64_t *at, uint64_t *len)
{
	uint64_t first, end;

	pthread_mutex_lock(&d->lock);
	/* The last piece may be shorter: behind it is the end. */
	first = d->count && off < d->len ? seek(d, off >> d->shift, true) : d->nbits;
	end = first < d->nbits ? seek(d, first, false) : first;
	pthread_mutex_unlock(&d->lock);
	if (first >= d->nbits)
		return false;
	*at = first << d->shift;
	*len = min_of(min_of(end << d->shift, d->len) - *at, max_of(max, 1ULL << d->shift));
	return true;
}

uint64_t dirty_bytes(struct dirty *d)
{
	uint64_t n;

	pthread_mutex_lock(&d->lock);
	n = d->count << d->shift;
	pthread_mutex_unlock(&d->lock);
	return min_of(n, d->len);
}

void dirty_merge(struct dirty *to, struct dirty *from)
{
	uint64_t at = 0, len;

	while (dirty_next(from, at, UINT64_MAX, &at, &len)) {
		dirty_set(to, at, len);
		at += len;
	}
}

bool dirty_resize(struct dirty *d, uint64_t len)
{
	uint64_t old = d->len, nbits = bits_of(len, d->shift);
	uint64_t *words = calloc(nbits / 64 + 1, 8);

	if (!words)
		return false;
	pthread_mutex_lock(&d->lock);
	memcpy(words, d->words, (min_of(nbits, d->nbits) / 64 + 1) * 8);
	if (nbits < d->nbits)
		words[nbits / 64] &= low_mask(nbits & 63);
	free(d->words);
	d->words = words;
	d->nbits = nbits;
	d->len = len;
	d->count = 0;
	for (uint64_t i = 0; i <= nbits / 64; i++)
		d->count += (uint64_t)__builtin_popcountll(words[i]);
	pthread_mutex_unlock(&d->lock);
	if (len > old)
		dirty_set(d, old, len - old);
	return true;
}
