/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compressed clusters: raw deflate with a 4 KiB window, or zstd. */
#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "src/base/bits.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/qcow2.h"

enum {
	DEFLATE_WINDOW = -12, /* negative: no zlib header */
	/* In so small a window the longer searches of zlib's default gain 1 % of the size for
	 * half as much time again. */
	DEFLATE_LEVEL = 4,
};

/* In parts: a stream that goes on behind the cluster's end, or breaks off there. */
static int inflate_beginning(uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len)
{
	z_stream z = { .next_in = (Bytef *)src, .avail_in = (uInt)src_len, .next_out = dst,
		       .avail_out = (uInt)dst_len };
	int rc;

	if (inflateInit2(&z, DEFLATE_WINDOW) != Z_OK)
		return -ENOMEM;
	rc = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* What follows the stream in its last sector is somebody else's. */
	if ((rc == Z_STREAM_END || rc == Z_BUF_ERROR) && z.avail_out == 0)
		return 0;
	return -EIO;
}

static int inflate_cluster(uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	enum libdeflate_result r;
	size_t in, out;

	if (!d)
		return -ENOMEM;
	r = libdeflate_deflate_decompress_ex(d, src, src_len, dst, dst_len, &in, &out);
	libdeflate_free_decompressor(d);
	if (r == LIBDEFLATE_SUCCESS && out == dst_len)
		return 0;
	return inflate_beginning(dst, dst_len, src, src_len);
}

static int unzstd_cluster(uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len)
{
	ZSTD_DStream *d = ZSTD_createDStream();
	ZSTD_inBuffer in = { src, src_len, 0 };
	ZSTD_outBuffer out = { dst, dst_len, 0 };
	int rc = d ? 0 : -ENOMEM;

	while (!rc && out.pos < out.size) {
		size_t before = in.pos + out.pos;
		size_t r = ZSTD_decompressStream(d, &out, &in);

		if (ZSTD_isError(r) || (in.pos + out.pos == before && out.pos < out.size))
			rc = -EIO;
	}
	ZSTD_freeDStream(d);
	return rc;
}

static int unpack(struct qcow2 *q, uint64_t entry, uint8_t *dst)
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
	if (!rc && q->compression == QC_COMP_ZSTD)
		rc = unzstd_cluster(dst, q->cluster_size, src, len);
	else if (!rc)
		rc = inflate_cluster(dst, q->cluster_size, src, len);
	free(src);
	return rc;
}

int qc_read_packed(struct qcow2 *q, uint64_t entry, size_t skip, size_t len,
		   const struct block_vec *v, size_t voff)
{
	bool hit = false;
	uint8_t *buf;
	int rc;

	pthread_mutex_lock(&q->zlock);
	if (q->zcache.data && q->zcache.entry == entry) {
		block_vec_write(v, voff, q->zcache.data + skip, len);
		hit = true;
	}
	pthread_mutex_unlock(&q->zlock);
	if (hit)
		return 0;
	buf = malloc(q->cluster_size);
	if (!buf)
		return -ENOMEM;
	rc = unpack(q, entry, buf);
	if (rc) {
		free(buf);
		return rc;
	}
	block_vec_write(v, voff, buf + skip, len);
	if (len == q->cluster_size) { /* nobody will ask for the rest */
		free(buf);
		return 0;
	}
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

/* Compressed length, 0 if it would not be shorter, or -errno. */
static ssize_t pack(const struct qcow2 *q, uint8_t *dst, const uint8_t *src)
{
	size_t cap = q->cluster_size - 1;
	z_stream z = { 0 };
	ssize_t got = 0;

	if (q->compression == QC_COMP_ZSTD) {
		size_t r = ZSTD_compress(dst, cap, src, q->cluster_size, ZSTD_CLEVEL_DEFAULT);

		return ZSTD_isError(r) ? 0 : (ssize_t)r;
	}
	if (deflateInit2(&z, DEFLATE_LEVEL, Z_DEFLATED, DEFLATE_WINDOW, 9,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	z.next_in = (Bytef *)src;
	z.avail_in = (uInt)q->cluster_size;
	z.next_out = dst;
	z.avail_out = (uInt)cap;
	if (deflate(&z, Z_FINISH) == Z_STREAM_END)
		got = (ssize_t)(cap - z.avail_out);
	deflateEnd(&z);
	return got;
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
	got = pack(q, out, in ? in : buf);
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
