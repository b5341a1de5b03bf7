/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that need not wait: for tables that are in memory, and for nobody.
 */
#include <errno.h>

#include "src/base/bits.h"
#include "src/block/place.h"
#include "src/block/qcow2/qcow2.h"

enum { SPINS = 100 }; /* some microseconds: less than waking another thread takes */

/* Not if it would have to be waited for: who does I/O for a table may have it. */
static bool lock_soon(struct qcow2 *q)
{
	for (unsigned n = 0; n < SPINS; n++) {
		if (!pthread_mutex_trylock(&q->lock))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

/* What tables that are in memory say of @off, noted for the next who asks. */
static int look(struct qcow2 *q, uint64_t off, size_t len, struct fast_run *r, uint64_t *have)
{
	struct qc_run run = { .len = 0 };
	int rc = -EAGAIN;

	if (!lock_soon(q))
		return rc;
	q->cache.held_only = true;
	r->changes = atomic_load(&q->fast.changes);
	rc = qc_lookup(q, off, fastmap_reach(off, len, q->node->len), &run);
	if (rc == -EAGAIN) /* what is asked for may be held, if not all around it */
		rc = qc_lookup(q, off, len, &run);
	q->cache.held_only = false;
	r->host = run.host;
	switch (run.kind) {
	case QC_UNALLOC: r->kind = FAST_BACKING; break;
	case QC_ZERO: r->kind = FAST_ZERO; break;
	case QC_DATA: r->kind = run.own ? FAST_OWN : FAST_DATA; break;
	case QC_PACKED: rc = -EAGAIN; break; /* unpacking is work for another thread */
	}
	if (!rc)
		fastmap_put(&q->fast, off, run.len, r->kind, run.host);
	pthread_mutex_unlock(&q->lock);
	*have = run.len;
	return rc;
}

static int read_run(struct block_node *n, const struct fast_run *r, uint64_t off, size_t len,
		    const struct block_vec *v, size_t voff)
{
	struct qcow2 *q = n->priv;

	switch (r->kind) {
	case FAST_BACKING: return block_read_backing_nowait(n, off, len, v, voff);
	case FAST_ZERO: block_vec_zero(v, voff, len); return 0;
	case FAST_DATA:
	case FAST_OWN: return block_preadv_nowait(q->data, r->host, len, v, voff);
	}
	return -EAGAIN;
}

/* Tables that are in memory, data that the host's cache has. No range is held: if an
 * entry changes meanwhile, the cluster that was read may be somebody else's already. */
int qc_preadv_nowait(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		     size_t voff)
{
	struct qcow2 *q = n->priv;
	struct fast_run r;
	int rc = 0;

	if (q->crypt)
		return -EAGAIN;
	while (len && !rc) {
		uint64_t have = len;

		if (!fastmap_get(&q->fast, off, len, &r))
			rc = look(q, off, len, &r, &have);
		have = min_of(have, (uint64_t)len);
		if (!rc)
			rc = read_run(n, &r, off, have, v, voff);
		if (!rc && !fastmap_stands(&q->fast, &r))
			rc = -EAGAIN;
		off += have;
		len -= have;
		voff += have;
	}
	return rc;
}

/*
 * Writes to clusters that are not there yet, without a copy: all of them is written, or
 * what is left of them reads as zeroes by itself. They are taken at once, and the tables
 * say where they are when they have been written.
 */
static int settle(struct block_place *p, bool written, bool wait)
{
	struct qcow2 *q = p->node->priv;
	struct qc_plan plan = {
		.first = p->guest, .clusters = p->bytes >> q->cluster_bits, .host = p->host,
		.fresh = true, .start = p->guest, .end = p->guest + p->bytes,
	};
	int rc = 0;

	if (wait)
		pthread_mutex_lock(&q->lock);
	else if (!lock_soon(q))
		return -EBUSY;
	if (written)
		rc = qc_apply_plan(q, &plan);
	else
		qc_unalloc(q, plan.host, plan.clusters);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* Nothing has to be copied into @off's cluster, whatever of it is written? Lock held. */
static int reads_zero(struct qcow2 *q, uint64_t off, bool *zero)
{
	bool below = q->node->backing || q->node->backing_path;
	struct qc_entry e;
	int rc = qc_entry_get(q, off, &e);

	*zero = !rc && ((!e.e && !below) || e.e == QC_OFLAG_ZERO);
	return rc;
}

/* As if they had never been taken: nothing was written to them. Lock held ever since. */
static void put_back(struct qcow2 *q, struct qc_plan *p, uint64_t used_end)
{
	qc_unalloc(q, p->host, p->clusters);
	q->used_end = used_end;
}

/* Lock held, no tables read. */
static int take_fresh(struct qcow2 *q, uint64_t off, size_t len, struct block_place *place)
{
	uint64_t mask = q->cluster_size - 1, used_end = q->used_end;
	struct qc_plan p = { .fresh = false };
	bool head = true, tail = true;
	int rc = 0;

	if (off & mask)
		rc = reads_zero(q, off, &head);
	if (!rc && (off + len) & mask)
		rc = reads_zero(q, off + len, &tail);
	if (!rc)
		rc = head && tail ? qc_make_plan(q, off, len, &p) : -EAGAIN;
	if (rc || !p.fresh)
		return -EAGAIN;
	if (p.wend < off + len || (!p.virgin && (off | len) & mask) ||
	    block_place_below(q->file, p.host + (off - p.first), len, true, place)) {
		put_back(q, &p, used_end);
		return -EAGAIN;
	}
	place->guest = p.first;
	place->host = p.host;
	place->bytes = p.clusters << q->cluster_bits;
	return 0;
}

static int place_fresh(struct block_node *n, uint64_t off, size_t len, struct block_place *p)
{
	struct qcow2 *q = n->priv;
	int rc;

	/* Of writes past the host's cache a thread hears that does not wait for tables. */
	if (!p->settles || q->ext_l2 || q->data != q->file || !q->file->desc->place ||
	    n->cache == BLOCK_CACHE_NONE || n->cache == BLOCK_CACHE_DIRECTSYNC)
		return -EAGAIN;
	rc = block_place_hold(p, &q->ranges, align_down(off, q->cluster_size),
			      align_up(off + len, q->cluster_size), true);
	if (rc || !lock_soon(q))
		return -EAGAIN;
	q->cache.held_only = true;
	rc = take_fresh(q, off, len, p);
	q->cache.held_only = false;
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return rc;
	p->node = n;
	p->settle = settle;
	return 0;
}

/* The clusters are held by the place, so that what the map says stands. */
int qc_place(struct block_node *n, uint64_t off, size_t len, bool write, struct block_place *p)
{
	struct qcow2 *q = n->priv;
	uint64_t have = len;
	struct fast_run r;
	int rc;

	if (q->crypt)
		return -EAGAIN;
	rc = block_place_hold(p, &q->ranges, align_down(off, q->cluster_size),
			      align_up(off + len, q->cluster_size), false);
	if (!rc && write && !qc_no_more_to_note(q))
		rc = -EAGAIN;
	if (!rc && !fastmap_get(&q->fast, off, len, &r))
		rc = look(q, off, len, &r, &have);
	if (rc)
		return -EAGAIN;
	if (have >= len && (r.kind == FAST_OWN || (r.kind == FAST_DATA && !write)))
		return block_place_below(q->data, r.host, len, write, p);
	if (write) {
		block_place_unhold(p);
		return place_fresh(n, off, len, p);
	}
	if (r.kind != FAST_BACKING || have < len || !n->backing)
		return -EAGAIN;
	return block_place_below(n->backing, off, len, false, p);
}
