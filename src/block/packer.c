/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/packer.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum {
	WINDOW_4K = 12,
	/* The best that this library does: ten times as fast as zlib's default, for results
	 * that are 1 % to 7 % longer. */
	LEVEL = 3,
};

struct packer {
	struct packer *next;
	struct isal_zstream deflate;
	uint8_t level_buf[ISAL_DEF_LVL3_DEFAULT];
	struct libdeflate_decompressor *inflate;
	ZSTD_CCtx *zstd;
	ZSTD_DCtx *unzstd;
};

void packers_init(struct packers *p)
{
	p->idle = NULL;
	pthread_mutex_init(&p->lock, NULL);
}

void packers_fini(struct packers *p)
{
	struct packer *k;

	while ((k = p->idle)) {
		p->idle = k->next;
		libdeflate_free_decompressor(k->inflate);
		ZSTD_freeCCtx(k->zstd);
		ZSTD_freeDCtx(k->unzstd);
		free(k);
	}
	pthread_mutex_destroy(&p->lock);
}

static struct packer *get(struct packers *p)
{
	struct packer *k;

	pthread_mutex_lock(&p->lock);
	k = p->idle;
	if (k)
		p->idle = k->next;
	pthread_mutex_unlock(&p->lock);
	return k ? k : calloc(1, sizeof(*k));
}

static void put(struct packers *p, struct packer *k)
{
	pthread_mutex_lock(&p->lock);
	k->next = p->idle;
	p->idle = k;
	pthread_mutex_unlock(&p->lock);
}

static ssize_t pack_deflate(struct packer *k, bool zlib, void *dst, size_t cap, const void *src,
			    size_t len)
{
	struct isal_zstream *z = &k->deflate;

	if (len > UINT32_MAX || cap > UINT32_MAX)
		return -EFBIG;
	isal_deflate_stateless_init(z);
	z->level = LEVEL;
	z->level_buf = k->level_buf;
	z->level_buf_size = sizeof(k->level_buf);
	z->hist_bits = zlib ? 0 : WINDOW_4K;
	z->gzip_flag = zlib ? IGZIP_ZLIB : IGZIP_DEFLATE;
	z->end_of_stream = 1;
	z->flush = NO_FLUSH;
	z->next_in = (uint8_t *)src;
	z->avail_in = (uint32_t)len;
	z->next_out = dst;
	z->avail_out = (uint32_t)cap;
	return isal_deflate_stateless(z) == COMP_OK && !z->avail_in ? (ssize_t)z->total_out : 0;
}

static ssize_t pack_zstd(struct packer *k, void *dst, size_t cap, const void *src, size_t len)
{
	size_t r;

	if (!k->zstd)
		k->zstd = ZSTD_createCCtx();
	if (!k->zstd)
		return -ENOMEM;
	r = ZSTD_compressCCtx(k->zstd, dst, cap, src, len, ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(r) ? 0 : (ssize_t)r;
}

ssize_t pack(struct packers *p, enum pack_kind kind, void *dst, size_t cap, const void *src,
	     size_t len)
{
	struct packer *k = get(p);
	ssize_t r;

	if (!k)
		return -ENOMEM;
	r = kind == PACK_ZSTD ? pack_zstd(k, dst, cap, src, len)
			      : pack_deflate(k, kind == PACK_ZLIB, dst, cap, src, len);
	put(p, k);
	return r;
}

/* In parts: a stream that goes on behind the cluster's end, or breaks off there. */
static ssize_t inflate_beginning(bool zlib, void *dst, size_t len, const void *src, size_t src_len)
{
	z_stream z = { .next_in = (Bytef *)src, .avail_in = (uInt)src_len, .next_out = dst,
		       .avail_out = (uInt)len };
	int rc;

	if (inflateInit2(&z, zlib ? MAX_WBITS : -WINDOW_4K) != Z_OK)
		return -ENOMEM;
	rc = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* What follows the stream in its last sector is somebody else's. */
	return rc == Z_STREAM_END || z.avail_out == 0 ? (ssize_t)(len - z.avail_out) : -EIO;
}

static ssize_t unpack_deflate(struct packer *k, bool zlib, void *dst, size_t len,
			      const void *src, size_t src_len)
{
	enum libdeflate_result r;
	size_t in, out;

	if (!k->inflate)
		k->inflate = libdeflate_alloc_decompressor();
	if (!k->inflate)
		return -ENOMEM;
	r = (zlib ? libdeflate_zlib_decompress_ex : libdeflate_deflate_decompress_ex)(
		k->inflate, src, src_len, dst, len, &in, &out);
	if (r == LIBDEFLATE_SUCCESS)
		return (ssize_t)out;
	return inflate_beginning(zlib, dst, len, src, src_len);
}

/* In parts too: the frame need not say how long it is, and may be followed by anything. */
static ssize_t unpack_zstd(struct packer *k, void *dst, size_t len, const void *src,
			   size_t src_len)
{
	ZSTD_outBuffer out = { dst, len, 0 };
	ZSTD_inBuffer in = { src, src_len, 0 };

	if (!k->unzstd)
		k->unzstd = ZSTD_createDCtx();
	if (!k->unzstd)
		return -ENOMEM;
	ZSTD_DCtx_reset(k->unzstd, ZSTD_reset_session_only);
	while (out.pos < out.size) {
		size_t before = in.pos + out.pos;
		size_t r = ZSTD_decompressStream(k->unzstd, &out, &in);

		if (ZSTD_isError(r) || (in.pos + out.pos == before && out.pos < out.size))
			return -EIO;
	}
	return (ssize_t)out.pos;
}

ssize_t unpack(struct packers *p, enum pack_kind kind, void *dst, size_t len, const void *src,
	       size_t src_len)
{
	struct packer *k = get(p);
	ssize_t r;

	if (!k)
		return -ENOMEM;
	r = kind == PACK_ZSTD ? unpack_zstd(k, dst, len, src, src_len)
			      : unpack_deflate(k, kind == PACK_ZLIB, dst, len, src, src_len);
	put(p, k);
	return r;
}
