/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/fastmap.h"

#include <stdlib.h>

#include "src/base/bits.h"

/* One for each piece of the disk and no more: what is asked of it should stay in the
 * processor's nearest cache, which the data that is read goes through too. */
enum { SLOTS = 4096 };

/* Its version is odd while it is written: who sees that, or another one afterwards, has
 * seen halves of two entries. */
struct fast_slot {
	_Atomic uint32_t version;
	_Atomic uint32_t kind;
	_Atomic uint64_t start, end, host, changes;
} __attribute__((aligned(64)));

void fastmap_init(struct fastmap *m)
{
	atomic_init(&m->slots, NULL);
	m->memory = NULL;
	atomic_init(&m->changes, 0);
}

void fastmap_fini(struct fastmap *m)
{
	atomic_store(&m->slots, NULL);
	free(m->memory);
	m->memory = NULL;
}

static struct fast_slot *slot_of(struct fast_slot *slots, uint64_t off)
{
	return &slots[off / FASTMAP_PIECE % SLOTS];
}

#define LOOK(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, v) atomic_store_explicit(&(field), v, memory_order_relaxed)

bool fastmap_get(struct fastmap *m, uint64_t off, uint64_t len, struct fast_run *r)
{
	struct fast_slot *slots = atomic_load_explicit(&m->slots, memory_order_acquire), *s;
	uint64_t start, end, changes;
	uint32_t version;

	if (!slots)
		return false;
	s = slot_of(slots, off);
	r->changes = atomic_load_explicit(&m->changes, memory_order_acquire);
	version = atomic_load_explicit(&s->version, memory_order_acquire);
	start = LOOK(s->start);
	end = LOOK(s->end);
	changes = LOOK(s->changes);
	r->host = LOOK(s->host) + (off - start);
	r->kind = (enum fast_kind)LOOK(s->kind);
	atomic_thread_fence(memory_order_acquire);
	return !(version & 1) && LOOK(s->version) == version && changes == r->changes &&
	       off >= start && off < end && len <= end - off;
}

bool fastmap_stands(struct fastmap *m, const struct fast_run *r)
{
	atomic_thread_fence(memory_order_acquire);
	return LOOK(m->changes) == r->changes;
}

/* Is what @s has of the same run, and next to it? */
static bool goes_on(struct fastmap *m, struct fast_slot *s, uint64_t off, uint64_t end,
		    enum fast_kind k, uint64_t host)
{
	return LOOK(s->changes) == LOOK(m->changes) && LOOK(s->kind) == (uint32_t)k &&
	       off <= LOOK(s->end) && end >= LOOK(s->start) &&
	       (k == FAST_BACKING || k == FAST_ZERO || LOOK(s->host) - LOOK(s->start) == host - off);
}

void fastmap_put(struct fastmap *m, uint64_t off, uint64_t len, enum fast_kind k, uint64_t host)
{
	uint64_t end = min_of(off + len, align_down(off, FASTMAP_PIECE) + FASTMAP_PIECE);
	struct fast_slot *slots = atomic_load(&m->slots), *s;
	uint64_t start = off;
	uint32_t version;

	if (!slots) {
		/* Pages of it that no piece needs are never touched. */
		m->memory = calloc(SLOTS + 1, sizeof(*slots));
		if (!m->memory)
			return;
		slots = (struct fast_slot *)align_up((uintptr_t)m->memory, sizeof(*slots));
		atomic_store_explicit(&m->slots, slots, memory_order_release);
	}
	s = slot_of(slots, off);
	if (goes_on(m, s, off, end, k, host)) {
		start = min_of(off, LOOK(s->start));
		end = max_of(end, LOOK(s->end));
	}
	version = LOOK(s->version);
	SET(s->version, version + 1);
	atomic_thread_fence(memory_order_release);
	SET(s->start, start);
	SET(s->end, end);
	SET(s->host, host - (off - start));
	SET(s->kind, k);
	SET(s->changes, LOOK(m->changes));
	atomic_store_explicit(&s->version, version + 2, memory_order_release);
}

void fastmap_changed(struct fastmap *m)
{
	atomic_fetch_add(&m->changes, 1);
}
