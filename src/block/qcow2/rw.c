/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest reads and writes.
 *
 * A write to clusters that are ours alone goes straight to them, with the range
 * held shared. Anything else needs tables changed: the range is then held
 * exclusively, new clusters are taken, the new data and what must be copied
 * around it is written to them in one go, and only then do the tables change.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/luks.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/qcow2.h"

enum { ALLOC_STEP = 4 << 20 }; /* bytes mapped in one go */

struct span { /* what is left of a request */
	uint64_t off;
	size_t len;
	const struct block_vec *v;
	size_t voff;
};

static void advance(struct span *s, size_t n)
{
	s->off += n;
	s->len -= n;
	s->voff += n;
}

static int data_read(struct qcow2 *q, uint64_t host, uint64_t guest, size_t len,
		     const struct block_vec *v, size_t voff)
{
	if (q->luks)
		return luks_preadv(q->luks, q->data, host, 0, len, v, voff);
	return block_preadv(q->data, host, len, v, voff);
}

int qc_data_write(struct qcow2 *q, uint64_t host, uint64_t guest, size_t len,
		  const struct block_vec *v, size_t voff)
{
	if (q->luks)
		return luks_pwritev(q->luks, q->data, host, 0, len, v, voff);
	return block_pwritev(q->data, host, len, v, voff);
}

static int read_run(struct qcow2 *q, const struct qc_run *r, const struct span *s, size_t len)
{
	switch (r->kind) {
	case QC_UNALLOC:
		if (s->off < q->node->len)
			return block_read_backing(q->node, s->off, len, s->v, s->voff);
		/* machine state has no backing */
		__attribute__((fallthrough));
	case QC_ZERO: block_vec_zero(s->v, s->voff, len); return 0;
	case QC_DATA: return data_read(q, r->host, s->off, len, s->v, s->voff);
	case QC_PACKED:
		return qc_read_packed(q, r->host, s->off & (q->cluster_size - 1), len, s->v,
				      s->voff);
	}
	return -EIO;
}

int qc_read_held(struct qcow2 *q, uint64_t off, size_t len, const struct block_vec *v, size_t voff)
{
	struct span s = { off, len, v, voff };

	while (s.len) {
		struct qc_run r;
		int rc;

		pthread_mutex_lock(&q->lock);
		rc = qc_lookup(q, s.off, s.len, &r);
		pthread_mutex_unlock(&q->lock);
		if (!rc)
			rc = read_run(q, &r, &s, r.len);
		if (rc)
			return rc;
		advance(&s, r.len);
	}
	return 0;
}

static void hold(struct qcow2 *q, struct range *r, uint64_t off, uint64_t len, bool exclusive)
{
	range_lock(&q->ranges, r, align_down(off, q->cluster_size),
		   align_up(off + len, q->cluster_size), exclusive);
}

int qc_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
	      size_t voff)
{
	struct qcow2 *q = n->priv;
	struct range r;
	int rc;

	if (q->crypt && !q->luks)
		return -EACCES;
	hold(q, &r, off, len, false);
	rc = qc_read_held(q, off, len, v, voff);
	range_unlock(&q->ranges, &r);
	return rc;
}

/* Once in an opening, before anything is changed; lock held. */
int qc_touch(struct qcow2 *q)
{
	bool header = false;
	int rc;

	if (q->touched)
		return 0;
	rc = qc_bitmaps_begin(q);
	if (rc)
		return rc;
	if (q->autoclear & ~QC_AUTOCLEAR_KNOWN) {
		q->autoclear &= QC_AUTOCLEAR_KNOWN;
		header = true;
	}
	if (q->lazy && !q->dirty_bit_set) {
		q->incompat |= QC_INCOMPAT_DIRTY;
		q->dirty_bit_set = header = true;
	}
	if (header)
		rc = qc_header_update(q);
	if (!rc && header)
		rc = qc_sync(q);
	q->touched = !rc;
	return rc;
}

static bool owns_host(const struct qc_entry *e)
{
	return !(e->e & QC_OFLAG_COMPRESSED) && e->e & QC_OFLAG_COPIED && e->e & QC_OFFSET_MASK;
}

static bool has_data(const struct qcow2 *q, const struct qc_entry *e)
{
	return e->e & QC_OFLAG_COMPRESSED || (uint32_t)e->bits;
}

/* How many clusters from the first on need a new host cluster; their L2 tables become
 * ours. */
static int count_fresh(struct qcow2 *q, uint64_t first, uint64_t max, uint64_t *n)
{
	struct qc_entry e;
	int rc = 0;

	for (*n = 0; *n < max; ++*n) {
		uint64_t at = first + (*n << q->cluster_bits);

		if (*n) {
			rc = qc_entry_get(q, at, &e);
			if (rc || owns_host(&e))
				break;
		}
		rc = qc_l2_own(q, at);
		if (rc)
			break;
	}
	return *n ? 0 : rc;
}

static int plan_copies(struct qcow2 *q, struct qc_plan *p, const struct qc_entry *first)
{
	uint64_t last_off = p->first + ((p->clusters - 1) << q->cluster_bits);
	struct qc_entry last;
	int rc;

	p->start = align_down(p->wstart, 1ULL << q->sub_bits);
	p->end = align_up(p->wend, 1ULL << q->sub_bits);
	if (!q->ext_l2 || !p->fresh)
		return 0;
	/* Sub-clusters that hold data in the old cluster move along. */
	rc = qc_entry_get(q, last_off, &last);
	if (rc)
		return rc;
	if (has_data(q, first))
		p->start = p->first;
	if (has_data(q, first) && p->clusters == 1)
		p->end = p->first + q->cluster_size;
	if (has_data(q, &last))
		p->end = last_off + q->cluster_size;
	return 0;
}

int qc_make_plan(struct qcow2 *q, uint64_t off, size_t len, struct qc_plan *p)
{
	uint64_t want, got, virgin = q->used_end << q->cluster_bits;
	struct qc_entry e;
	int rc;

	memset(p, 0, sizeof(*p));
	p->first = align_down(off, q->cluster_size);
	want = qc_clusters(q, off + len - p->first);
	want = min_of(want, max_of((uint64_t)ALLOC_STEP >> q->cluster_bits, 1ULL));
	rc = qc_entry_get(q, p->first, &e);
	if (rc)
		return rc;
	if (q->data != q->file) {
		rc = count_fresh(q, p->first, 1, &want);
		p->host = p->first;
		p->clusters = 1;
	} else if (owns_host(&e)) {
		rc = qc_l2_own(q, p->first);
		p->host = e.e & QC_OFFSET_MASK;
		p->clusters = 1;
	} else {
		rc = count_fresh(q, p->first, want, &want);
		virgin = q->used_end << q->cluster_bits;
		if (!rc)
			rc = qc_alloc(q, want, false, &p->host, &got);
		p->clusters = rc ? 0 : got;
		p->fresh = !rc;
		p->virgin = p->host >= virgin && !q->on_device;
	}
	if (rc)
		return rc;
	p->wstart = off;
	p->wend = min_of(off + len, p->first + (p->clusters << q->cluster_bits));
	rc = plan_copies(q, p, &e);
	if (rc && p->fresh) {
		qc_unalloc(q, p->host, p->clusters);
		p->fresh = false;
	}
	return rc;
}

/* Guest bytes [from, to) as they read now; past the disk's end zeroes. */
static int read_copy(struct qcow2 *q, uint64_t from, uint64_t to, uint8_t *buf)
{
	struct iovec iov = { buf, to - from };
	struct block_vec v = { &iov, 1 };
	uint64_t end = to;

	if (from < q->node->len) /* not in the saved machine state behind the disk */
		end = min_of(to, q->node->len);
	else if (align_down(from, q->cluster_size) < q->node->len)
		end = from;
	if (end < to)
		memset(buf + (end - from), 0, to - end);
	return end > from ? qc_read_held(q, from, end - from, &v, 0) : 0;
}

static int write_plan(struct qcow2 *q, const struct qc_plan *p, const struct span *s)
{
	size_t head = p->wstart - p->start, body = p->wend - p->wstart, tail = p->end - p->wend;
	struct iovec *iov = malloc((s->v->niov + 2) * sizeof(*iov));
	uint8_t *buf = malloc(head + tail + 1);
	struct block_vec v = { iov, 0 };
	uint64_t start = p->start;
	size_t got;
	int rc = iov && buf ? 0 : -ENOMEM;

	if (!rc && head)
		rc = read_copy(q, p->start, p->wstart, buf);
	if (!rc && tail)
		rc = read_copy(q, p->wend, p->end, buf + head);
	if (rc)
		goto out;
	/* Untouched host space past the old end of the file is zero already. */
	if (p->virgin && head && block_is_zero(buf, head) && !q->luks)
		start = p->wstart;
	else if (head)
		iov[v.niov++] = (struct iovec){ buf, head };
	v.niov += block_vec_slice(s->v, s->voff, body, iov + v.niov, s->v->niov, &got);
	if (tail && !(p->virgin && block_is_zero(buf + head, tail) && !q->luks)) {
		iov[v.niov++] = (struct iovec){ buf + head, tail };
		body += tail;
	}
	rc = qc_data_write(q, p->host + (start - p->first), start, p->wstart - start + body, &v, 0);
out:
	free(buf);
	free(iov);
	return rc;
}

/* The entry of the cluster at @c once the plan's data is in place. */
static struct qc_entry new_entry(const struct qcow2 *q, const struct qc_plan *p, uint64_t c,
				 const struct qc_entry *old)
{
	struct qc_entry e = { (p->host + (c - p->first)) | QC_OFLAG_COPIED, 0 };
	uint64_t lo = max_of(p->start, c), hi = min_of(p->end, c + q->cluster_size);
	uint64_t mask;

	if (!q->ext_l2)
		return e;
	mask = low_mask((unsigned)((hi - c) >> q->sub_bits)) &
	       ~low_mask((unsigned)((lo - c) >> q->sub_bits));
	if (!(old->e & QC_OFLAG_COMPRESSED))
		e.bits = old->bits & ~(mask << 32);
	e.bits |= mask;
	return e;
}

int qc_apply_plan(struct qcow2 *q, const struct qc_plan *p)
{
	int rc = 0;

	qc_wrote(q);
	for (uint64_t i = 0; i < p->clusters && !rc; i++) {
		uint64_t c = p->first + (i << q->cluster_bits);
		struct qc_entry old, e;

		rc = qc_entry_get(q, c, &old);
		if (rc)
			break;
		e = new_entry(q, p, c, &old);
		rc = qc_entry_set(q, c, &e);
		if (!rc && p->fresh)
			rc = qc_drop_entry(q, old.e);
	}
	return rc;
}

/* Maps and writes a first part of @s. Range held exclusively. */
static int write_mapping(struct qcow2 *q, struct span *s)
{
	struct qc_plan p;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qc_make_plan(q, s->off, s->len, &p);
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return rc;
	rc = write_plan(q, &p, s);
	pthread_mutex_lock(&q->lock);
	if (!rc)
		rc = qc_apply_plan(q, &p);
	else if (p.fresh)
		qc_unalloc(q, p.host, p.clusters);
	pthread_mutex_unlock(&q->lock);
	if (!rc)
		advance(s, p.wend - p.wstart);
	return rc;
}

/* Where @s's beginning may be written as it is, noted for who asks next; r->len 0: nowhere. */
static int look_to_write(struct qcow2 *q, const struct span *s, struct qc_run *r)
{
	uint64_t reach = s->off < q->node->len ? fastmap_reach(s->off, s->len, q->node->len) : s->len;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	if (!rc)
		rc = qc_lookup(q, s->off, reach, r);
	if (!rc && r->kind == QC_DATA && r->own)
		fastmap_put(&q->fast, s->off, r->len, FAST_OWN, r->host);
	else
		r->len = 0;
	if (!rc)
		rc = qc_bitmaps_mark(q, s->off, s->len);
	pthread_mutex_unlock(&q->lock);
	r->len = min_of(r->len, (uint64_t)s->len);
	return rc;
}

/* Writes what needs no mapping, up to where something does. Range held. */
static int write_in_place(struct qcow2 *q, struct span *s)
{
	while (s->len) {
		struct qc_run r = { .len = s->len };
		struct fast_run fast;
		int rc = 0;

		/* What is held stays where the map says. */
		if (qc_no_more_to_note(q) && fastmap_get(&q->fast, s->off, s->len, &fast) &&
		    fast.kind == FAST_OWN)
			r.host = fast.host;
		else
			rc = look_to_write(q, s, &r);
		if (!rc && r.len)
			rc = qc_data_write(q, r.host, s->off, r.len, s->v, s->voff);
		if (rc || !r.len)
			return rc;
		advance(s, r.len);
	}
	return 0;
}

int qc_write_held(struct qcow2 *q, uint64_t off, size_t len, const struct block_vec *v, size_t voff)
{
	struct span s = { off, len, v, voff };
	int rc = 0;

	while (s.len && !rc) {
		rc = write_in_place(q, &s);
		if (!rc && s.len)
			rc = write_mapping(q, &s);
	}
	return rc;
}

int qc_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
	       size_t voff)
{
	struct qcow2 *q = n->priv;
	struct span s = { off, len, v, voff };
	struct range r;
	int rc;

	if (q->crypt && !q->luks)
		return -EACCES;
	hold(q, &r, s.off, s.len, false);
	rc = q->luks && (off | len) % BLOCK_SECTOR ? 0 : write_in_place(q, &s);
	range_unlock(&q->ranges, &r);
	if (rc || !s.len)
		return rc;
	hold(q, &r, s.off, s.len, true);
	rc = qc_write_held(q, s.off, s.len, v, s.voff);
	range_unlock(&q->ranges, &r);
	return rc;
}
