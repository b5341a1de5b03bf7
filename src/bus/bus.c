/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port and MMIO dispatch. The ranges that devices add are flattened into a sorted
 * table of stretches that do not overlap; a change makes a new table, publishes it
 * and frees the old one once nobody looks into it any more.
 */
#include "src/bus/bus.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

struct stretch {
	uint64_t first, last; /* inclusive, so that a range may end at 2^64 */
	struct bus_range *range;
};

struct bus_map {
	size_t nranges, count;
	struct bus_range **ranges; /* in the order they were added */
	struct stretch *stretch;   /* sorted */
};

static void map_free(struct bus_map *m)
{
	if (!m)
		return;
	free(m->ranges);
	free(m->stretch);
	free(m);
}

/* A map with room for @nranges ranges. n ranges have at most 2n ends and so at most
 * 2n - 1 stretches between them. */
static struct bus_map *map_new(size_t nranges)
{
	struct bus_map *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->ranges = calloc(nranges + 1, sizeof(*m->ranges));
	m->stretch = calloc(2 * nranges + 1, sizeof(*m->stretch));
	if (!m->ranges || !m->stretch) {
		map_free(m);
		return NULL;
	}
	return m;
}

static uint64_t range_last(const struct bus_range *r)
{
	return r->start + (r->len - 1);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static struct bus_range *winner_at(const struct bus_map *m, uint64_t addr)
{
	struct bus_range *best = NULL;

	for (size_t n = 0; n < m->nranges; n++) {
		struct bus_range *r = m->ranges[n];

		if (addr >= r->start && addr <= range_last(r) &&
		    (!best || r->priority > best->priority))
			best = r;
	}
	return best;
}

/* Fills stretch[] from ranges[]: between two neighbouring edges one range wins. */
static int map_flatten(struct bus_map *m)
{
	uint64_t *edge = calloc(2 * m->nranges + 1, sizeof(*edge));
	size_t nedges = 0;

	if (!edge)
		return -ENOMEM;
	for (size_t n = 0; n < m->nranges; n++) {
		edge[nedges++] = m->ranges[n]->start;
		if (range_last(m->ranges[n]) != UINT64_MAX)
			edge[nedges++] = range_last(m->ranges[n]) + 1;
	}
	qsort(edge, nedges, sizeof(*edge), compare_u64);
	for (size_t n = 0; n < nedges; n++) {
		uint64_t last = n + 1 < nedges ? edge[n + 1] - 1 : UINT64_MAX;
		struct bus_range *r;
		struct stretch *prev = m->count ? &m->stretch[m->count - 1] : NULL;

		if (n + 1 < nedges && edge[n + 1] == edge[n])
			continue;
		r = winner_at(m, edge[n]);
		if (!r)
			continue;
		if (prev && prev->range == r && prev->last + 1 == edge[n])
			prev->last = last;
		else
			m->stretch[m->count++] = (struct stretch){ edge[n], last, r };
	}
	free(edge);
	return 0;
}

enum found { FOUND_NONE, FOUND_WHOLE, FOUND_PART };

/* What covers [addr, last]: one stretch whole (copied to *out), nothing, or a mix. */
static enum found map_find(const struct bus_map *m, uint64_t addr, uint64_t last,
			   struct stretch *out)
{
	size_t lo = 0, hi = m->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (m->stretch[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == m->count || m->stretch[lo].first > last)
		return FOUND_NONE;
	if (m->stretch[lo].first > addr || m->stretch[lo].last < last)
		return FOUND_PART;
	*out = m->stretch[lo];
	return FOUND_WHOLE;
}

/*
 * Publishing. A lookup counts itself in readers[epoch & 1]. After the new map is
 * visible the epoch moves on and the writer waits for the readers of the parity
 * before; twice, because a reader may read the epoch, be delayed, and count itself
 * in the parity the first wait did not look at. Readers do nothing but a binary
 * search in there, so the waits are short, and new ones do not prolong them.
 */
static void wait_for_readers(struct bus *b)
{
	for (int round = 0; round < 2; round++) {
		uint32_t old = atomic_fetch_add(&b->epoch, 1) & 1;

		while (atomic_load(&b->readers[old]))
			sched_yield();
	}
}

static void publish(struct bus *b, struct bus_map *_Atomic *where, struct bus_map *m)
{
	struct bus_map *old = atomic_exchange(where, m);

	wait_for_readers(b);
	map_free(old);
}

/* Makes a map of @old's ranges without @without and with @with. */
static struct bus_map *map_change(const struct bus_map *old, struct bus_range *with,
				  const struct bus_range *without)
{
	struct bus_map *m = map_new(old->nranges + (with ? 1 : 0));

	if (!m)
		return NULL;
	for (size_t n = 0; n < old->nranges; n++)
		if (old->ranges[n] != without)
			m->ranges[m->nranges++] = old->ranges[n];
	if (with)
		m->ranges[m->nranges++] = with;
	if (map_flatten(m) != 0) {
		map_free(m);
		return NULL;
	}
	return m;
}

/* Lock held. */
static void tell_helper(struct bus *b, struct bus_range *r, bool pio, bool there)
{
	if (b->helper && (r->ndoorbells || r->late_writes))
		b->helper->mapped(b->helper->opaque, r, pio, there);
}

void bus_set_helper(struct bus *b, const struct bus_helper *h)
{
	b->helper = h;
	for (unsigned pio = 0; h && pio < 2; pio++) {
		const struct bus_map *m = atomic_load(pio ? &b->pio : &b->mmio);

		for (size_t n = 0; n < m->nranges; n++)
			tell_helper(b, m->ranges[n], pio, true);
	}
}

void bus_settle(struct bus *b)
{
	if (b->helper)
		b->helper->settle(b->helper->opaque);
}

static int add(struct bus *b, struct bus_map *_Atomic *where, struct bus_range *r,
	       uint64_t limit)
{
	struct bus_map *m;
	int ret = 0;

	if (!r->ops || !r->len || r->start > limit || r->len - 1 > limit - r->start)
		return -EINVAL;
	bus_lock(b);
	if (r->mapped) {
		ret = -EBUSY;
	} else {
		m = map_change(atomic_load(where), r, NULL);
		if (m) {
			r->mapped = true;
			publish(b, where, m);
			tell_helper(b, r, where == &b->pio, true);
		} else {
			ret = -ENOMEM;
		}
	}
	bus_unlock(b);
	return ret;
}

/* Takes @r out of a map in place, for want of memory: its stretches become gaps. */
static void carve_out(struct bus_map *m, const struct bus_range *r)
{
	size_t kept = 0;

	for (size_t n = 0; n < m->nranges; n++)
		if (m->ranges[n] != r)
			m->ranges[kept++] = m->ranges[n];
	m->nranges = kept;
	kept = 0;
	for (size_t n = 0; n < m->count; n++)
		if (m->stretch[n].range != r)
			m->stretch[kept++] = m->stretch[n];
	m->count = kept;
}

static void del(struct bus *b, struct bus_map *_Atomic *where, struct bus_range *r)
{
	struct bus_map *m;

	bus_lock(b);
	if (r->mapped) {
		tell_helper(b, r, where == &b->pio, false);
		m = map_change(atomic_load(where), NULL, r);
		if (m) {
			publish(b, where, m);
		} else {
			/* Out of memory: nobody may look while the table is edited. */
			m = atomic_exchange(where, b->empty);
			wait_for_readers(b);
			carve_out(m, r);
			atomic_store(where, m);
			wait_for_readers(b);
		}
		r->mapped = false;
	}
	bus_unlock(b);
}

int bus_add_pio(struct bus *b, struct bus_range *r)
{
	return add(b, &b->pio, r, 0xffff);
}

int bus_add_mmio(struct bus *b, struct bus_range *r)
{
	return add(b, &b->mmio, r, UINT64_MAX);
}

const char *bus_pio_owner(struct bus *b, uint16_t port, unsigned len)
{
	const char *name = NULL;

	bus_lock(b); /* the map changes under it alone */
	for (size_t n = 0; n < b->pio->nranges; n++) {
		const struct bus_range *r = b->pio->ranges[n];

		if (r->start < port + (uint64_t)len && port <= range_last(r))
			name = r->name;
	}
	bus_unlock(b);
	return name;
}

void bus_del_pio(struct bus *b, struct bus_range *r)
{
	del(b, &b->pio, r);
}

void bus_del_mmio(struct bus *b, struct bus_range *r)
{
	del(b, &b->mmio, r);
}

struct bus *bus_new(const struct log *log, struct err *err)
{
	struct bus *b = calloc(1, sizeof(*b));
	pthread_mutexattr_t attr;

	if (!b)
		goto no_memory;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&b->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	b->log = log;
	atomic_init(&b->pio, map_new(0));
	atomic_init(&b->mmio, map_new(0));
	b->empty = map_new(0);
	if (atomic_load(&b->pio) && atomic_load(&b->mmio) && b->empty)
		return b;
	bus_free(b);
no_memory:
	err_set(err, -ENOMEM, "out of memory for the machine's bus");
	return NULL;
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	map_free(atomic_load(&b->pio));
	map_free(atomic_load(&b->mmio));
	map_free(b->empty);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/*
 * Dispatch.
 */
static enum found find(struct bus *b, struct bus_map *_Atomic *where, uint64_t addr,
		       uint64_t last, struct stretch *out, bool *unlocked)
{
	uint32_t parity = atomic_load(&b->epoch) & 1;
	enum found f;

	atomic_fetch_add(&b->readers[parity], 1);
	f = map_find(atomic_load(where), addr, last, out);
	if (f == FOUND_WHOLE)
		*unlocked = out->range->ops->unlocked;
	atomic_fetch_sub(&b->readers[parity], 1);
	return f;
}

/* A read of @size <= max_size, at @off within the range. */
static uint64_t read_piece(const struct bus_range *r, uint64_t off, unsigned size)
{
	unsigned min = r->ops->min_size, in = min ? off & (min - 1) : 0;
	uint64_t v = 0;

	if (size >= min)
		return r->ops->read(r->dev, off, size) & low_mask(size * 8);
	if (in + size <= min)
		return r->ops->read(r->dev, off - in, min) >> (in * 8) & low_mask(size * 8);
	for (unsigned n = 0; n < size; n++)
		v |= read_piece(r, off + n, 1) << (n * 8);
	return v;
}

static uint64_t range_read(const struct bus_range *r, uint64_t addr, unsigned size,
			   unsigned max)
{
	uint64_t off = addr - r->start, v = 0;

	if (!r->ops->read)
		return low_mask(size * 8);
	if (r->ops->max_size)
		max = r->ops->max_size;
	if (size <= max)
		return read_piece(r, off, size);
	for (unsigned n = 0; n < size; n += max)
		v |= read_piece(r, off + n, max) << (n * 8);
	return v;
}

static void range_write(const struct bus_range *r, uint64_t addr, uint64_t val, unsigned size,
			unsigned max)
{
	uint64_t off = addr - r->start;

	if (!r->ops->write)
		return;
	if (r->ops->max_size)
		max = r->ops->max_size;
	for (unsigned n = 0; n < size; n += max) {
		unsigned piece = min_of(size - n, max);

		r->ops->write(r->dev, off + n, val >> (n * 8) & low_mask(piece * 8), piece);
	}
}

/* Finds what covers the access whole and, unless that does its own locking, returns
 * with the device lock held: only then is it sure that the device stays. */
static enum found enter(struct bus *b, struct bus_map *_Atomic *where, uint64_t addr,
			unsigned size, struct stretch *s, bool *unlocked)
{
	uint64_t last = addr + (size - 1);
	enum found f;

	if (last < addr)
		return FOUND_PART;
	f = find(b, where, addr, last, s, unlocked);
	if (f != FOUND_WHOLE || *unlocked)
		return f;
	bus_lock(b);
	f = find(b, where, addr, last, s, unlocked);
	if (f != FOUND_WHOLE || *unlocked)
		bus_unlock(b);
	return f;
}

static void unclaimed(struct bus *b, const char *what, uint64_t addr, unsigned size)
{
	if (b->log && b->log->level >= LOG_LEVEL_DEBUG)
		log_guest(b->log, &b->unclaimed, "%s of %u bytes at %#llx: no device", what,
			  size, (unsigned long long)addr);
}

static uint64_t bus_read(struct bus *b, struct bus_map *_Atomic *where, uint64_t addr,
			 unsigned size, unsigned max, const char *what)
{
	struct stretch s;
	bool unlocked = false;
	uint64_t v = 0;

	switch (enter(b, where, addr, size, &s, &unlocked)) {
	case FOUND_WHOLE:
		v = range_read(s.range, addr, size, max);
		if (!unlocked)
			bus_unlock(b);
		return v;
	case FOUND_PART:
		for (unsigned n = 0; n < size; n++)
			v |= bus_read(b, where, addr + n, 1, max, what) << (n * 8);
		return v;
	default:
		unclaimed(b, what, addr, size);
		return low_mask(size * 8);
	}
}

static void bus_write(struct bus *b, struct bus_map *_Atomic *where, uint64_t addr,
		      uint64_t val, unsigned size, unsigned max, const char *what)
{
	struct stretch s;
	bool unlocked = false;

	switch (enter(b, where, addr, size, &s, &unlocked)) {
	case FOUND_WHOLE:
		range_write(s.range, addr, val, size, max);
		if (!unlocked)
			bus_unlock(b);
		return;
	case FOUND_PART:
		for (unsigned n = 0; n < size; n++)
			bus_write(b, where, addr + n, val >> (n * 8) & 0xff, 1, max, what);
		return;
	default:
		unclaimed(b, what, addr, size);
	}
}

uint32_t bus_pio_read(struct bus *b, uint16_t port, unsigned size)
{
	return (uint32_t)bus_read(b, &b->pio, port, size, 4, "port read");
}

void bus_pio_write(struct bus *b, uint16_t port, uint32_t val, unsigned size)
{
	bus_write(b, &b->pio, port, val, size, 4, "port write");
}

uint64_t bus_mmio_read(struct bus *b, uint64_t gpa, unsigned size)
{
	return bus_read(b, &b->mmio, gpa, size, 8, "MMIO read");
}

void bus_mmio_write(struct bus *b, uint64_t gpa, uint64_t val, unsigned size)
{
	bus_write(b, &b->mmio, gpa, val, size, 8, "MMIO write");
}

void bus_msi(struct bus *b, uint64_t addr, uint32_t data)
{
	if (b->msi)
		b->msi(b->msi_opaque, addr, data);
}

/*
 * Idle processors.
 */
void bus_idle_ask(struct bus *b, struct bus_idle *h)
{
	if (h->asked)
		return;
	h->asked = true;
	h->next = b->idle;
	b->idle = h;
	atomic_store(&b->idle_asked, true);
}

void bus_idle_forget(struct bus *b, struct bus_idle *h)
{
	for (struct bus_idle **p = &b->idle; *p; p = &(*p)->next) {
		if (*p == h) {
			*p = h->next;
			break;
		}
	}
	h->asked = false;
}

void bus_idle(struct bus *b)
{
	struct bus_idle *h;

	if (!atomic_load(&b->idle_asked))
		return;
	bus_lock(b);
	atomic_store(&b->idle_asked, false);
	/* One that asks again within its call waits for the next time. */
	h = b->idle;
	b->idle = NULL;
	while (h) {
		struct bus_idle *next = h->next;

		h->asked = false;
		h->fn(h->dev);
		h = next;
	}
	bus_unlock(b);
}
