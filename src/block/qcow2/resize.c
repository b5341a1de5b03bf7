/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another disk size: the L1 table grows, what is cut off is given back, new space
 * is reserved if asked for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/qcow2.h"

enum { STEP = 32 << 20 };

/* The old table's last cluster has room for more entries. */
static int l1_grow_in_place(struct qcow2 *q, uint64_t entries)
{
	uint32_t old = q->l1_size;
	int rc = 0;

	for (uint64_t i = old; i < entries && !rc; i++)
		rc = qc_meta_set64(q, QC_L1, q->l1_off + i * 8, 0);
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	if (rc)
		return rc;
	qc_l1_use(q, q->l1_off, entries);
	rc = qc_header_update(q);
	return rc ? rc : qc_sync(q);
}

int qc_l1_grow(struct qcow2 *q, uint64_t entries)
{
	uint64_t n = qc_clusters(q, entries * 8), old_n = qc_clusters(q, (uint64_t)q->l1_size * 8);
	uint64_t off, old_off = q->l1_off, v;
	int rc = 0;

	if (entries <= q->l1_size)
		return 0;
	if (entries * 8 > QC_MAX_L1_BYTES)
		return -EFBIG;
	if (n == old_n)
		return l1_grow_in_place(q, entries);
	rc = qc_alloc(q, n, true, &off, NULL);
	if (rc)
		return rc;
	qc_meta_forget(q, off, n << q->cluster_bits);
	qc_wrote(q);
	rc = block_zero(q->file, off, n << q->cluster_bits, true);
	for (uint32_t i = 0; i < q->l1_size && !rc; i++) {
		rc = qc_meta_get64(q, old_off + (uint64_t)i * 8, &v);
		if (!rc && v)
			rc = qc_meta_set64(q, QC_L1, off + (uint64_t)i * 8, v);
	}
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	if (rc) {
		qc_meta_forget(q, off, n << q->cluster_bits);
		qc_unalloc(q, off, n);
		return rc;
	}
	qc_l1_use(q, off, entries);
	rc = qc_header_update(q);
	if (!rc)
		rc = qc_sync(q);
	return rc ? rc : qc_drop(q, old_off, old_n);
}

static int reserve_host(struct qcow2 *q, uint64_t host, uint64_t len, enum block_prealloc p)
{
	uint8_t *buf;
	int rc = 0;

	if (p != BLOCK_PREALLOC_FULL)
		return block_zero(q->file, host, len, p == BLOCK_PREALLOC_METADATA);
	buf = calloc(1, min_of(len, (uint64_t)STEP));
	if (!buf)
		return -ENOMEM;
	while (len && !rc) {
		size_t n = min_of(len, (uint64_t)STEP);

		rc = block_pwrite(q->file, host, buf, n);
		host += n;
		len -= n;
	}
	free(buf);
	return rc;
}

static int map_reserved(struct qcow2 *q, uint64_t at, uint64_t host, uint64_t n)
{
	int rc = 0;

	for (uint64_t i = 0; i < n && !rc; i++) {
		struct qc_entry e = { (host + (i << q->cluster_bits)) | QC_OFLAG_COPIED,
				      q->ext_l2 ? low_mask(32) : 0 };

		/* Encrypted, zeroes on the host are not zeroes of the disk. */
		if (q->crypt && q->ext_l2)
			e.bits <<= 32;
		else if (q->crypt)
			e.e |= QC_OFLAG_ZERO;
		rc = qc_l2_own(q, at + (i << q->cluster_bits));
		if (!rc)
			rc = qc_entry_set(q, at + (i << q->cluster_bits), &e);
	}
	return rc;
}

/* Gives unmapped clusters of [off, end) storage of their own, reading as zeroes. */
static int preallocate(struct qcow2 *q, uint64_t off, uint64_t end, enum block_prealloc p)
{
	int rc = 0;

	if (q->data != q->file)
		return block_resize(q->data, end, p, NULL);
	off = align_down(off, q->cluster_size);
	while (off < end && !rc) {
		uint64_t host, n, max = max_of((uint64_t)STEP >> q->cluster_bits, 1ULL);
		struct qc_run r;

		rc = qc_lookup(q, off, min_of(end - off, max << q->cluster_bits), &r);
		if (rc)
			return rc;
		if (r.kind != QC_UNALLOC) {
			off += align_up(r.len, q->cluster_size);
			continue;
		}
		rc = qc_alloc(q, qc_clusters(q, r.len), false, &host, &n);
		if (rc)
			return rc;
		rc = reserve_host(q, host, n << q->cluster_bits, p);
		qc_wrote(q);
		if (!rc)
			rc = map_reserved(q, off, host, n);
		off += n << q->cluster_bits;
	}
	return rc;
}

/* What lies beyond the old end must read as zeroes: the rest of its last cluster, and
 * what a longer backing file would show through. */
static int clean_growth(struct qcow2 *q, uint64_t old, uint64_t len)
{
	struct block_node *b = q->node->backing;
	uint64_t edge = min_of(align_up(old, q->cluster_size), len);
	int rc = 0;

	if (edge > old) {
		size_t n = edge - old;
		uint8_t *zero = calloc(1, n);
		struct iovec iov = { zero, n };
		struct block_vec v = { &iov, 1 };
		struct qc_run r;

		if (!zero)
			return -ENOMEM;
		pthread_mutex_lock(&q->lock);
		rc = qc_lookup(q, old, n, &r);
		pthread_mutex_unlock(&q->lock);
		if (!rc && (r.len < n || r.kind == QC_DATA || r.kind == QC_PACKED ||
			    (b && b->len > old)))
			rc = qc_write_held(q, old, n, &v, 0);
		free(zero);
	}
	if (!rc && b && b->len > edge && edge < len)
		rc = qc_clear_clusters(q, edge, align_up(min_of(b->len, len), q->cluster_size) - edge,
				       true, true);
	return rc;
}

static int grow(struct qcow2 *q, uint64_t len, enum block_prealloc p)
{
	uint64_t old = q->node->len;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	if (!rc)
		rc = qc_l1_grow(q, qc_l1_need(q, len));
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return rc;
	q->node->len = len;
	rc = clean_growth(q, old, len);
	pthread_mutex_lock(&q->lock);
	if (!rc && p != BLOCK_PREALLOC_OFF)
		rc = preallocate(q, old, len, p);
	else if (!rc && q->data != q->file && q->data->len < len)
		rc = block_resize(q->data, len, BLOCK_PREALLOC_OFF, NULL);
	if (!rc)
		rc = qc_commit(q, false);
	if (!rc)
		rc = qc_sync(q);
	if (rc)
		q->node->len = old;
	if (!rc)
		rc = qc_header_update(q);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static int shrink(struct qcow2 *q, uint64_t len)
{
	uint64_t old = q->node->len, from = align_up(len, q->cluster_size);
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	if (!rc)
		rc = qc_commit(q, false);
	/* The size first: after a cut in between nothing reads as half a disk. */
	q->node->len = len;
	if (!rc)
		rc = qc_header_update(q);
	if (!rc)
		rc = qc_sync(q);
	pthread_mutex_unlock(&q->lock);
	if (rc) {
		q->node->len = old;
		return rc;
	}
	if (q->data != q->file)
		return block_resize(q->data, len, BLOCK_PREALLOC_OFF, NULL);
	return from < old ? qc_clear_clusters(q, from, align_up(old, q->cluster_size) - from, false,
					      true)
			  : 0;
}

int qc_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct range r;
	int rc;

	if (q->nsnaps && q->version < 3)
		return err_set(err, -ENOTSUP, "'%s' is qcow2 version 2 and has snapshots: its size "
					      "cannot change; delete them first", n->path);
	if (q->bitmaps.count && q->autoclear & QC_AUTOCLEAR_BITMAPS)
		return err_set(err, -ENOTSUP, "'%s' has dirty bitmaps: its size cannot change; remove "
					      "them first", n->path);
	if (len % BLOCK_SECTOR)
		return err_set(err, -EINVAL, "a qcow2 disk's size is a multiple of %u bytes",
			       BLOCK_SECTOR);
	if (qc_l1_need(q, len) * 8 > QC_MAX_L1_BYTES)
		return err_set(err, -EFBIG, "a disk of %llu bytes needs clusters larger than %llu bytes",
			       (unsigned long long)len, (unsigned long long)q->cluster_size);
	range_lock(&q->ranges, &r, 0, UINT64_MAX, true);
	if (len >= n->len)
		rc = grow(q, len, p);
	else
		rc = shrink(q, len);
	range_unlock(&q->ranges, &r);
	if (!rc)
		rc = block_flush(n);
	return rc ? err_set(err, rc, "cannot resize '%s': %s", n->path, strerror(-rc)) : 0;
}
