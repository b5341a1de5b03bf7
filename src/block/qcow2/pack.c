/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compressed clusters: raw deflate with a 4 KiB window, or zstd. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/qcow2.h"

static enum pack_kind kind(const struct qcow2 *q)
{
	return q->compression == QC_COMP_ZSTD ? PACK_ZSTD : PACK_DEFLATE_4K;
}

static int unpack_cluster(struct qcow2 *q, uint64_t entry, uint8_t *dst)
{
	uint64_t off;
	uint32_t len;
	uint8_t *src;
	int rc;

	qc_packed_span(q, entry, &off, &len);
	src = malloc(len);
	if (!src)
		return -ENOMEM;
	rc = block_pread(q->file, off, src, len);
	if (!rc && unpack(&q->packers, kind(q), dst, q->cluster_size, src, len) !=
			   (ssize_t)q->cluster_size)
		rc = -EIO;
	free(src);
	return rc;
}

int qc_read_packed(struct qcow2 *q, uint64_t entry, size_t skip, size_t len,
		   const struct block_vec *v, size_t voff)
{
	struct iovec piece;
	bool hit = false;
	uint8_t *buf;
	size_t got;
	int rc;

	pthread_mutex_lock(&q->zlock);
	if (q->zcache.data && q->zcache.entry == entry) {
		block_vec_write(v, voff, q->zcache.data + skip, len);
		hit = true;
	}
	pthread_mutex_unlock(&q->zlock);
	if (hit)
		return 0;
	/* All of it, in one piece: nobody will ask for the rest. */
	if (len == q->cluster_size && block_vec_slice(v, voff, len, &piece, 1, &got) && got == len)
		return unpack_cluster(q, entry, piece.iov_base);
	buf = malloc(q->cluster_size);
	if (!buf)
		return -ENOMEM;
	rc = unpack_cluster(q, entry, buf);
	if (rc) {
		free(buf);
		return rc;
	}
	block_vec_write(v, voff, buf + skip, len);
	pthread_mutex_lock(&q->zlock);
	free(q->zcache.data);
	q->zcache.data = buf;
	q->zcache.entry = entry;
	pthread_mutex_unlock(&q->zlock);
	return 0;
}

static void forget_unpacked(struct qcow2 *q)
{
	pthread_mutex_lock(&q->zlock);
	free(q->zcache.data);
	q->zcache.data = NULL;
	pthread_mutex_unlock(&q->zlock);
}

static uint64_t packed_entry(const struct qcow2 *q, uint64_t off, uint32_t len)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t sectors = ((off + len - 1) >> 9) - (off >> 9);

	return QC_OFLAG_COMPRESSED | sectors << x | off;
}

static int map_packed(struct qcow2 *q, uint64_t off, uint64_t host, uint32_t len)
{
	struct qc_entry old, e = { packed_entry(q, host, len), 0 };
	int rc = qc_l2_own(q, off);

	if (!rc)
		rc = qc_entry_get(q, off, &old);
	qc_wrote(q);
	if (!rc)
		rc = qc_entry_set(q, off, &e);
	return rc ? rc : qc_drop_entry(q, old.e);
}

static int write_packed(struct qcow2 *q, uint64_t off, const uint8_t *buf, uint32_t len)
{
	uint64_t host;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	if (!rc)
		rc = qc_bitmaps_mark(q, off, min_of(q->cluster_size, q->node->len - off));
	if (!rc)
		rc = qc_alloc_packed(q, len, &host);
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return rc;
	/* A failed write leaks its bytes until a check: the cluster is shared. */
	rc = block_pwrite(q->file, host, buf, len);
	if (rc)
		return rc;
	forget_unpacked(q);
	pthread_mutex_lock(&q->lock);
	rc = map_packed(q, off, host, len);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

int qc_pwrite_compressed(struct block_node *n, uint64_t off, const void *buf, size_t len)
{
	struct qcow2 *q = n->priv;
	uint8_t *in = NULL, *out;
	struct range r;
	ssize_t got;
	int rc;

	if (q->data != q->file || q->crypt)
		return -ENOTSUP;
	if (off & (q->cluster_size - 1) || len > q->cluster_size ||
	    (len < q->cluster_size && off + len != n->len))
		return -EINVAL;
	out = malloc(q->cluster_size);
	if (out && len < q->cluster_size)
		in = calloc(1, q->cluster_size);
	if (!out || (len < q->cluster_size && !in)) {
		free(out);
		return -ENOMEM;
	}
	if (in)
		memcpy(in, buf, len);
	got = pack(&q->packers, kind(q), out, q->cluster_size - 1, in ? in : buf, q->cluster_size);
	if (got > 0) {
		range_lock(&q->ranges, &r, off, off + q->cluster_size, true);
		rc = write_packed(q, off, out, (uint32_t)got);
		range_unlock(&q->ranges, &r);
	} else {
		rc = got < 0 ? (int)got : block_pwrite(n, off, buf, len);
	}
	free(in);
	free(out);
	return rc;
}
