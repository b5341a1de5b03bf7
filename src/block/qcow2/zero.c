/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zeroing, discarding, and telling what is where. */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/qcow2.h"

enum { LOCK_STEP = 1024 }; /* clusters changed before others get a turn at the lock */

static bool no_backing(const struct qcow2 *q)
{
	return !q->node->backing && !q->node->backing_path;
}

/* What becomes of @old when sub-clusters in @mask shall read as zeroes. 1: by hand. */
static int cleared_entry(const struct qcow2 *q, const struct qc_entry *old, uint64_t mask,
			 bool unmap, struct qc_entry *e)
{
	bool packed = old->e & QC_OFLAG_COMPRESSED;
	bool keep = !packed && old->e & QC_OFLAG_COPIED && !unmap;

	*e = *old;
	if (q->ext_l2) {
		if (packed && mask != low_mask(q->subs))
			return 1;
		if (packed)
			*e = (struct qc_entry){ 0, 0 };
		e->bits = (e->bits & ~mask) | mask << 32;
		if (!(uint32_t)e->bits && !keep)
			e->e = 0;
		if (no_backing(q) && !e->e && !(uint32_t)e->bits)
			e->bits = 0;
		return 0;
	}
	if (no_backing(q) && !keep)
		e->e = 0;
	else if (q->version < 3)
		return 1;
	else
		e->e = keep ? old->e | QC_OFLAG_ZERO : QC_OFLAG_ZERO;
	return 0;
}

/* An external data file keeps its place: guest offset and host offset are one. */
static int clear_external(struct qcow2 *q, uint64_t off, uint64_t len, bool unmap)
{
	uint64_t end = off + len;
	int rc;

	rc = block_zero(q->data, off, len, unmap);
	for (uint64_t c = align_down(off, q->cluster_size); c < end && !rc; c += q->cluster_size) {
		struct qc_entry old, e = { c | QC_OFLAG_COPIED, 0 };
		uint64_t lo = max_of(off, c) - c, hi = min_of(end, c + q->cluster_size) - c;

		pthread_mutex_lock(&q->lock);
		rc = qc_entry_get(q, c, &old);
		if (q->ext_l2) {
			uint64_t mask = low_mask((unsigned)(align_up(hi, 1ULL << q->sub_bits) >>
							    q->sub_bits)) &
					~low_mask((unsigned)(lo >> q->sub_bits));

			e.bits = (old.bits & ~mask) | mask << 32;
		} else {
			e.e |= QC_OFLAG_ZERO;
		}
		if (!rc && (e.e != old.e || e.bits != old.bits)) {
			qc_wrote(q);
			rc = qc_l2_own(q, c);
			if (!rc)
				rc = qc_entry_set(q, c, &e);
		}
		pthread_mutex_unlock(&q->lock);
	}
	return rc;
}

static int clear_one(struct qcow2 *q, uint64_t c, uint64_t mask, bool unmap)
{
	struct qc_entry old, e;
	int rc = qc_entry_get(q, c, &old);

	if (!rc)
		rc = cleared_entry(q, &old, mask, unmap, &e);
	if (rc || (e.e == old.e && e.bits == old.bits))
		return rc;
	rc = qc_l2_own(q, c);
	if (!rc)
		rc = qc_entry_set(q, c, &e);
	if (!rc && (old.e & QC_OFFSET_MASK) != (e.e & QC_OFFSET_MASK))
		rc = qc_drop_entry(q, old.e);
	return rc;
}

static int l1_empty(struct qcow2 *q, uint64_t off, bool *empty)
{
	uint64_t idx = off >> qc_l1_shift(q), l1 = 0;
	int rc = idx < q->l1_size ? qc_meta_get64(q, q->l1_off + idx * 8, &l1) : 0;

	*empty = !(l1 & QC_OFFSET_MASK);
	return rc;
}

int qc_clear_clusters(struct qcow2 *q, uint64_t off, uint64_t len, bool to_zero, bool unmap)
{
	uint64_t end = off + len, c = off, steps = 0;
	int rc = 0;

	if (q->data != q->file)
		return clear_external(q, off, len, unmap);
	pthread_mutex_lock(&q->lock);
	while (c < end && !rc) {
		uint64_t base = align_down(c, q->cluster_size);
		uint64_t next = min_of(base + q->cluster_size, end);
		uint64_t mask = low_mask((unsigned)(align_up(next - base, 1ULL << q->sub_bits) >>
						    q->sub_bits)) &
				~low_mask((unsigned)((c - base) >> q->sub_bits));
		bool empty;

		rc = l1_empty(q, c, &empty);
		if (!rc && empty && no_backing(q)) { /* nothing here: on to the next table */
			c = align_down(c, 1ULL << qc_l1_shift(q)) + (1ULL << qc_l1_shift(q));
			continue;
		}
		if (!rc)
			rc = clear_one(q, base, mask, unmap);
		if (rc == 1)
			rc = to_zero ? -ENOTSUP : 0;
		c = next;
		if (++steps % LOCK_STEP == 0) {
			pthread_mutex_unlock(&q->lock);
			pthread_mutex_lock(&q->lock);
		}
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static int begin_change(struct qcow2 *q, uint64_t off, uint64_t len)
{
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	if (!rc)
		rc = qc_bitmaps_mark(q, off, len);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* Zeroes less than a unit: nothing to do where it reads as zeroes already. */
static int zero_part(struct qcow2 *q, uint64_t off, uint64_t len)
{
	static const uint8_t zeroes[4096];

	while (len) {
		struct iovec iov = { (void *)zeroes, 0 };
		struct block_vec v = { &iov, 1 };
		struct qc_run r;
		int rc;

		pthread_mutex_lock(&q->lock);
		rc = qc_lookup(q, off, len, &r);
		pthread_mutex_unlock(&q->lock);
		if (rc)
			return rc;
		if (r.kind != QC_ZERO && !(r.kind == QC_UNALLOC && no_backing(q))) {
			iov.iov_len = r.len = min_of(r.len, sizeof(zeroes));
			rc = qc_write_held(q, off, r.len, &v, 0);
			if (rc)
				return rc;
		}
		off += r.len;
		len -= r.len;
	}
	return 0;
}

int qc_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	struct qcow2 *q = n->priv;
	uint64_t unit = 1ULL << q->sub_bits, end = off + len;
	uint64_t lo = align_up(off, unit);
	uint64_t hi = end == n->len ? align_up(end, unit) : align_down(end, unit);
	struct range r;
	int rc;

	if (q->data != q->file) { /* the data file's own length ends at the disk's */
		lo = align_up(off, unit);
		hi = end == n->len && lo < end ? end : align_down(end, unit);
	}
	range_lock(&q->ranges, &r, align_down(off, q->cluster_size),
		   align_up(end, q->cluster_size), true);
	rc = begin_change(q, off, len);
	if (!rc && hi <= lo) {
		rc = zero_part(q, off, len);
	} else if (!rc) {
		if (lo > off)
			rc = zero_part(q, off, lo - off);
		if (!rc && hi < end)
			rc = zero_part(q, hi, end - hi);
		if (!rc)
			rc = qc_clear_clusters(q, lo, hi - lo, true, unmap);
	}
	range_unlock(&q->ranges, &r);
	return rc;
}

int qc_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct qcow2 *q = n->priv;
	uint64_t unit = q->cluster_size, end = off + len;
	uint64_t lo = align_up(off, unit);
	uint64_t hi = end == n->len ? align_up(end, unit) : align_down(end, unit);
	struct range r;
	int rc;

	if (hi <= lo)
		return 0;
	if (q->data != q->file)
		hi = min_of(hi, n->len);
	range_lock(&q->ranges, &r, lo, align_up(hi, unit), true);
	rc = begin_change(q, lo, min_of(hi, n->len) - lo);
	if (!rc)
		rc = qc_clear_clusters(q, lo, hi - lo, false, true);
	range_unlock(&q->ranges, &r);
	return rc;
}

int qc_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	struct qcow2 *q = n->priv;
	struct qc_run r;
	struct range hold;
	int rc;

	range_lock(&q->ranges, &hold, align_down(off, q->cluster_size),
		   align_down(off, q->cluster_size) + q->cluster_size, false);
	pthread_mutex_lock(&q->lock);
	rc = qc_lookup(q, off, len, &r);
	pthread_mutex_unlock(&q->lock);
	range_unlock(&q->ranges, &hold);
	if (rc)
		return rc;
	e->len = r.len;
	switch (r.kind) {
	case QC_UNALLOC: e->flags = no_backing(q) ? BLOCK_EXT_ZERO : 0; break;
	case QC_ZERO: e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_ZERO; break;
	case QC_PACKED:
		e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_DATA | BLOCK_EXT_COMPRESSED;
		break;
	case QC_DATA:
		e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_DATA;
		if (!q->crypt) {
			e->flags |= BLOCK_EXT_HOST_OFF;
			e->host_off = r.host;
			e->host_node = q->data;
		}
		break;
	}
	return 0;
}
