/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots. Each step below leaves an image that is whole:
 *  - flags that say "not shared" go before counts rise;
 *  - counts rise before a table that shares is written;
 *  - the header switches in one write; counts fall only after that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/qcow2.h"

enum { PIECE = 512 };

/* What a walk does with each reference. Returns the value to store in @entry's place. */
struct walk {
	int (*l2_entry)(struct qcow2 *q, struct walk *w, uint64_t *entry);
	int (*l1_entry)(struct qcow2 *q, struct walk *w, uint64_t *entry); /* after its L2's */
	uint64_t changed;
	uint64_t calls; /* count_up: how many went well; count_back: how many to take back */
};

static int walk_l2(struct qcow2 *q, struct walk *w, uint64_t table)
{
	uint8_t buf[PIECE];
	int rc = 0;

	for (uint64_t at = 0; at < q->cluster_size && !rc; at += PIECE) {
		rc = qc_meta_read(q, table + at, buf, PIECE);
		for (unsigned i = 0; i < PIECE && !rc; i += q->l2_entry_bytes) {
			uint64_t old = ld_be64(buf + i), e = old;

			if (!(old & (QC_OFFSET_MASK | QC_OFLAG_COMPRESSED)))
				continue;
			rc = w->l2_entry(q, w, &e);
			if (!rc && e != old) {
				w->changed++;
				rc = qc_meta_set64(q, QC_L2, table + at + i, e);
			}
		}
	}
	return rc;
}

static int walk_l1(struct qcow2 *q, uint64_t l1_off, uint32_t l1_size, struct walk *w)
{
	int rc = 0;

	for (uint32_t i = 0; i < l1_size && !rc; i++) {
		uint64_t old, e;

		rc = qc_meta_get64(q, l1_off + (uint64_t)i * 8, &old);
		e = old;
		if (rc || !(old & QC_OFFSET_MASK))
			continue;
		if (old & QC_L1_RESERVED || (old & QC_OFFSET_MASK & (q->cluster_size - 1)))
			return qc_corrupt(q);
		rc = walk_l2(q, w, old & QC_OFFSET_MASK);
		if (!rc)
			rc = w->l1_entry(q, w, &e);
		if (!rc && e != old) {
			w->changed++;
			rc = qc_meta_set64(q, QC_L1, l1_off + (uint64_t)i * 8, e);
		}
	}
	return rc;
}

static void entry_span(const struct qcow2 *q, uint64_t e, uint64_t *cluster, uint64_t *n)
{
	uint64_t off;
	uint32_t len;

	if (e & QC_OFLAG_COMPRESSED) {
		qc_packed_span(q, e, &off, &len);
		*cluster = off >> q->cluster_bits;
		*n = ((off + len - 1) >> q->cluster_bits) - *cluster + 1;
	} else {
		*cluster = (e & QC_OFFSET_MASK) >> q->cluster_bits;
		*n = 1;
	}
}

/* Is there room for one more reference everywhere? */
static int can_count(struct qcow2 *q, struct walk *w, uint64_t *entry)
{
	uint64_t c, n, v;
	int rc = 0;

	entry_span(q, *entry, &c, &n);
	for (uint64_t i = 0; i < n && !rc; i++) {
		rc = qc_ref_get(q, c + i, &v);
		if (!rc && !v)
			rc = qc_corrupt(q);
		if (!rc && v + 1 > q->refcount_max)
			rc = -ERANGE;
	}
	return rc;
}

static int count_up(struct qcow2 *q, struct walk *w, uint64_t *entry)
{
	uint64_t c, n;
	int rc = can_count(q, w, entry);

	entry_span(q, *entry, &c, &n);
	if (!rc)
		rc = qc_ref_inc(q, c, n);
	w->calls += !rc;
	return rc;
}

static int count_back(struct qcow2 *q, struct walk *w, uint64_t *entry)
{
	uint64_t c, n, v;
	int rc = 0;

	if (!w->calls)
		return -ECANCELED; /* ends the walk where count_up ended */
	w->calls--;
	entry_span(q, *entry, &c, &n);
	for (uint64_t i = 0; i < n && !rc; i++) {
		rc = qc_ref_get(q, c + i, &v);
		if (!rc)
			rc = qc_ref_set(q, c + i, v - 1);
	}
	return rc;
}

static int drop(struct qcow2 *q, struct walk *w, uint64_t *entry)
{
	return qc_drop_entry(q, *entry);
}

static int drop_table(struct qcow2 *q, struct walk *w, uint64_t *entry)
{
	return qc_drop(q, *entry & QC_OFFSET_MASK, 1);
}

static int uncopied(struct qcow2 *q, struct walk *w, uint64_t *entry)
{
	if (!(*entry & QC_OFLAG_COMPRESSED))
		*entry &= ~QC_OFLAG_COPIED;
	return 0;
}

static int true_copied(struct qcow2 *q, struct walk *w, uint64_t *entry)
{
	uint64_t v;
	int rc;

	if (*entry & QC_OFLAG_COMPRESSED)
		return 0;
	rc = qc_ref_get(q, (*entry & QC_OFFSET_MASK) >> q->cluster_bits, &v);
	if (!rc)
		*entry = v == 1 ? *entry | QC_OFLAG_COPIED : *entry & ~QC_OFLAG_COPIED;
	return rc;
}

int qc_fix_copied(struct qcow2 *q, uint64_t *changed)
{
	struct walk w = { true_copied, true_copied, 0, 0 };
	int rc = q->data == q->file ? walk_l1(q, q->l1_off, q->l1_size, &w) : 0;

	if (changed)
		*changed = w.changed;
	return rc;
}

static int commit_sync(struct qcow2 *q)
{
	int rc = qc_commit(q, true);

	if (!rc) /* the decrements that commit just did */
		rc = qc_commit(q, true);
	return rc ? rc : qc_sync(q);
}

/* Flags off, then counts up, for all that an L1 table reaches. On storage on return. */
static int share(struct qcow2 *q, uint64_t l1_off, uint32_t l1_size)
{
	struct walk can = { can_count, can_count, 0, 0 }, flags = { uncopied, uncopied, 0, 0 };
	struct walk up = { count_up, count_up, 0, 0 };
	int rc = walk_l1(q, l1_off, l1_size, &can);

	if (!rc)
		rc = walk_l1(q, l1_off, l1_size, &flags);
	if (!rc)
		rc = commit_sync(q);
	if (rc)
		return rc;
	rc = walk_l1(q, l1_off, l1_size, &up);
	if (rc) {
		/* Clusters of compressed data are counted once for each piece in them: only
		 * now is it known that one does not fit. Nothing refers to them yet. */
		struct walk back = { count_back, count_back, 0, up.calls };
		int rc2 = walk_l1(q, l1_off, l1_size, &back);

		return rc2 && rc2 != -ECANCELED ? rc2 : rc;
	}
	return commit_sync(q);
}

/* A copy of an L1 table in a new place, at least @entries long; on storage on return. */
static int copy_l1(struct qcow2 *q, uint64_t l1_off, uint32_t l1_size, uint32_t entries,
		   uint64_t *out)
{
	uint64_t n = max_of(qc_clusters(q, (uint64_t)entries * 8), 1ULL), v;
	int rc = qc_alloc(q, n, true, out, NULL);

	if (rc)
		return rc;
	qc_meta_forget(q, *out, n << q->cluster_bits);
	qc_wrote(q);
	rc = block_zero(q->file, *out, n << q->cluster_bits, true);
	for (uint32_t i = 0; i < l1_size && i < entries && !rc; i++) {
		rc = qc_meta_get64(q, l1_off + (uint64_t)i * 8, &v);
		if (!rc && v)
			rc = qc_meta_set64(q, QC_L1, *out + (uint64_t)i * 8, v);
	}
	return rc ? rc : commit_sync(q);
}

static struct qc_snap *find(struct qcow2 *q, const char *id)
{
	for (uint32_t i = 0; i < q->nsnaps; i++)
		if (!strcmp(q->snaps[i].s.id, id))
			return &q->snaps[i];
	for (uint32_t i = 0; i < q->nsnaps; i++)
		if (!strcmp(q->snaps[i].s.name, id))
			return &q->snaps[i];
	return NULL;
}

static void new_id(const struct qcow2 *q, char *id, size_t cap)
{
	unsigned long max = 0;

	for (uint32_t i = 0; i < q->nsnaps; i++) {
		unsigned long v = strtoul(q->snaps[i].s.id, NULL, 10);

		if (v > max && v < UINT32_MAX)
			max = v;
	}
	snprintf(id, cap, "%lu", max + 1);
}

static int add_to_table(struct qcow2 *q, const struct block_snapshot *s, uint64_t l1_off)
{
	struct qc_snap *list, *x;
	int rc;

	list = realloc(q->snaps, (q->nsnaps + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	q->snaps = list;
	x = &list[q->nsnaps];
	memset(x, 0, sizeof(*x));
	x->s = *s;
	new_id(q, x->s.id, sizeof(x->s.id));
	x->s.disk_bytes = q->node->len;
	if (!x->s.date_s) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		x->s.date_s = (uint64_t)ts.tv_sec;
		x->s.date_ns = (uint32_t)ts.tv_nsec;
	}
	x->l1_off = l1_off;
	x->l1_size = q->l1_size;
	q->nsnaps++;
	rc = qc_snaps_write(q);
	if (rc)
		q->nsnaps--;
	return rc;
}

static int create_locked(struct qcow2 *q, const struct block_snapshot *s)
{
	uint64_t l1;
	int rc = qc_touch(q);

	if (!rc)
		rc = commit_sync(q);
	if (!rc)
		rc = share(q, q->l1_off, q->l1_size);
	if (!rc)
		rc = copy_l1(q, q->l1_off, q->l1_size, q->l1_size, &l1);
	if (!rc)
		rc = add_to_table(q, s, l1);
	return rc ? rc : commit_sync(q);
}

static int says(struct block_node *n, int rc, const char *what, struct err *err)
{
	if (rc == -ERANGE)
		return err_set(err, rc, "cannot %s snapshot in '%s': its refcounts of %u bits cannot "
					"count one more; delete snapshots, or convert it with larger "
					"refcount_bits", what, n->path,
			       1u << ((struct qcow2 *)n->priv)->refcount_order);
	return rc ? err_set(err, rc, "cannot %s snapshot in '%s': %s", what, n->path, strerror(-rc))
		  : 0;
}

static int usable(struct block_node *n, struct err *err)
{
	struct qcow2 *q = n->priv;

	if (!n->writable)
		return err_set(err, -EROFS, "'%s' is open read-only", n->path);
	if (n->dying)
		return err_set(err, -EIO, "'%s' is damaged; repair it first", n->path);
	if (q->data != q->file)
		return err_set(err, -ENOTSUP, "'%s' keeps its data in an external file and can have no "
					      "internal snapshots", n->path);
	return 0;
}

int qc_snap_create(struct block_node *n, const struct block_snapshot *s, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct range r;
	int rc = usable(n, err);

	if (rc)
		return rc;
	if (q->nsnaps >= QC_MAX_SNAPSHOTS)
		return err_set(err, -EFBIG, "'%s' has %u snapshots, no more fit", n->path, q->nsnaps);
	range_lock(&q->ranges, &r, 0, UINT64_MAX, true);
	pthread_mutex_lock(&q->lock);
	rc = create_locked(q, s);
	pthread_mutex_unlock(&q->lock);
	/* The machine state belongs to the snapshot now, not to the disk's present. */
	if (!rc && s->vm_state_bytes) {
		uint64_t off = (uint64_t)qc_l1_need(q, n->len) << qc_l1_shift(q);

		rc = qc_clear_clusters(q, off, align_up(s->vm_state_bytes, q->cluster_size), false,
				       true);
	}
	range_unlock(&q->ranges, &r);
	return says(n, rc, "take a", err);
}

static int apply_locked(struct qcow2 *q, struct qc_snap *s)
{
	uint64_t old_off = q->l1_off, l1, old_len = q->node->len;
	uint32_t old_size = q->l1_size;
	uint32_t size = max_of(s->l1_size, (uint32_t)qc_l1_need(q, s->s.disk_bytes));
	struct walk gone = { drop, drop_table, 0, 0 };
	int rc = qc_touch(q);

	if (!rc)
		rc = qc_bitmaps_mark(q, 0, max_of(old_len, s->s.disk_bytes));
	if (!rc)
		rc = commit_sync(q);
	if (!rc)
		rc = share(q, s->l1_off, s->l1_size);
	if (!rc)
		rc = copy_l1(q, s->l1_off, s->l1_size, size, &l1);
	if (rc)
		return rc;
	qc_l1_use(q, l1, size);
	q->node->len = s->s.disk_bytes;
	rc = qc_header_update(q);
	if (!rc)
		rc = qc_sync(q);
	if (rc) {
		qc_l1_use(q, old_off, old_size);
		q->node->len = old_len;
		return rc;
	}
	rc = walk_l1(q, old_off, old_size, &gone);
	if (!rc)
		rc = qc_drop(q, old_off, qc_clusters(q, (uint64_t)old_size * 8));
	if (!rc)
		rc = commit_sync(q);
	return rc;
}

int qc_snap_apply(struct block_node *n, const char *id, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct qc_snap *s;
	struct range r;
	int rc = usable(n, err);

	if (rc)
		return rc;
	s = find(q, id);
	if (!s)
		return err_set(err, -ENOENT, "'%s' has no snapshot '%s'; 'snapshot list' shows them",
			       n->path, id);
	if (s->s.disk_bytes != n->len && q->bitmaps.count)
		return err_set(err, -ENOTSUP, "snapshot '%s' is of another size and '%s' has dirty "
					      "bitmaps; remove them first", id, n->path);
	if (s->s.disk_bytes > BLOCK_MAX_BYTES ||
	    qc_l1_need(q, s->s.disk_bytes) * 8 > QC_MAX_L1_BYTES)
		return err_set(err, -EINVAL, "snapshot '%s' of '%s' names a size that cannot be", id,
			       n->path);
	range_lock(&q->ranges, &r, 0, UINT64_MAX, true);
	pthread_mutex_lock(&q->lock);
	rc = apply_locked(q, s);
	pthread_mutex_unlock(&q->lock);
	range_unlock(&q->ranges, &r);
	return says(n, rc, "apply the", err);
}

static int delete_locked(struct qcow2 *q, struct qc_snap *s)
{
	struct walk gone = { drop, drop_table, 0, 0 };
	struct qc_snap dead = *s;
	uint32_t at = (uint32_t)(s - q->snaps);
	int rc = qc_touch(q);

	if (!rc)
		rc = commit_sync(q);
	if (rc)
		return rc;
	memmove(s, s + 1, (q->nsnaps - at - 1) * sizeof(*s));
	q->nsnaps--;
	rc = qc_snaps_write(q);
	if (rc) {
		memmove(s + 1, s, (q->nsnaps - at) * sizeof(*s));
		*s = dead;
		q->nsnaps++;
		return rc;
	}
	free(dead.extra);
	rc = walk_l1(q, dead.l1_off, dead.l1_size, &gone);
	if (!rc)
		rc = qc_drop(q, dead.l1_off, qc_clusters(q, (uint64_t)dead.l1_size * 8));
	if (!rc)
		rc = commit_sync(q);
	if (!rc)
		rc = qc_fix_copied(q, NULL);
	return rc ? rc : commit_sync(q);
}

int qc_snap_delete(struct block_node *n, const char *id, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct qc_snap *s;
	struct range r;
	int rc = usable(n, err);

	if (rc)
		return rc;
	s = find(q, id);
	if (!s)
		return err_set(err, -ENOENT, "'%s' has no snapshot '%s'; 'snapshot list' shows them",
			       n->path, id);
	range_lock(&q->ranges, &r, 0, UINT64_MAX, true);
	pthread_mutex_lock(&q->lock);
	rc = delete_locked(q, s);
	pthread_mutex_unlock(&q->lock);
	range_unlock(&q->ranges, &r);
	return says(n, rc, "delete the", err);
}

int qc_snap_view(struct block_node *n, const char *id, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct qc_snap *s = find(q, id);

	if (!s)
		return err_set(err, -ENOENT, "'%s' has no snapshot '%s'; 'snapshot list' shows them",
			       n->path, id);
	if (n->writable)
		return err_set(err, -EBUSY, "a snapshot can be looked at in a read-only image");
	if (s->s.disk_bytes > BLOCK_MAX_BYTES || qc_l1_need(q, s->s.disk_bytes) > s->l1_size)
		return err_set(err, -EINVAL, "snapshot '%s' of '%s' is damaged", id, n->path);
	qc_l1_use(q, s->l1_off, s->l1_size);
	n->len = s->s.disk_bytes;
	return 0;
}

static int empty_locked(struct qcow2 *q)
{
	struct walk gone = { drop, drop_table, 0, 0 };
	uint64_t old_off = q->l1_off, l1;
	uint64_t bytes = (uint64_t)q->l1_size * 8;
	int rc = qc_touch(q);

	if (!rc)
		rc = qc_bitmaps_mark(q, 0, q->node->len);
	if (!rc)
		rc = commit_sync(q);
	if (!rc)
		rc = copy_l1(q, 0, 0, q->l1_size, &l1);
	if (rc)
		return rc;
	qc_l1_use(q, l1, q->l1_size);
	rc = qc_header_update(q);
	if (!rc)
		rc = qc_sync(q);
	if (rc) {
		qc_l1_use(q, old_off, q->l1_size);
		return rc;
	}
	rc = walk_l1(q, old_off, q->l1_size, &gone);
	if (!rc)
		rc = qc_drop(q, old_off, qc_clusters(q, bytes));
	return rc ? rc : commit_sync(q);
}

int qc_make_empty(struct block_node *n, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct range r;
	int rc = usable(n, err);

	if (rc)
		return rc;
	range_lock(&q->ranges, &r, 0, UINT64_MAX, true);
	pthread_mutex_lock(&q->lock);
	rc = q->l1_size ? empty_locked(q) : 0;
	pthread_mutex_unlock(&q->lock);
	range_unlock(&q->ranges, &r);
	return rc ? err_set(err, rc, "cannot empty '%s': %s", n->path, strerror(-rc)) : 0;
}

/* Machine state lives behind the disk, from the first L1 entry that maps none of it. */
int qc_vmstate_io(struct block_node *n, uint64_t off, void *buf, size_t len, bool write)
{
	struct qcow2 *q = n->priv;
	uint64_t base = qc_l1_need(q, n->len) << qc_l1_shift(q);
	struct iovec iov = { buf, len };
	struct block_vec v = { &iov, 1 };
	struct range r;
	int rc = 0;

	if (q->data != q->file || (q->crypt && !q->luks))
		return -ENOTSUP;
	if (off > BLOCK_MAX_BYTES - base || len > BLOCK_MAX_BYTES - base - off)
		return -EFBIG;
	range_lock(&q->ranges, &r, base, UINT64_MAX, true);
	if (write) {
		pthread_mutex_lock(&q->lock);
		rc = qc_touch(q);
		if (!rc)
			rc = qc_l1_grow(q, qc_l1_need(q, base + off + len));
		pthread_mutex_unlock(&q->lock);
		if (!rc)
			rc = qc_write_held(q, base + off, len, &v, 0);
	} else {
		rc = qc_read_held(q, base + off, len, &v, 0);
	}
	range_unlock(&q->ranges, &r);
	return rc;
}
