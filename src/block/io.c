/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The calls on a node: what every format may rely on having been checked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/bits.h"
#include "src/block/block.h"

enum { ZERO_STEP = 1 << 20 };

static bool write_through(const struct block_node *n)
{
	return n->cache == BLOCK_CACHE_WRITETHROUGH || n->cache == BLOCK_CACHE_DIRECTSYNC;
}

/* Only the top of a graph turns a write into a write and a flush. */
static int after_write(struct block_node *n, int rc)
{
	if (rc || n->desc->protocol || !write_through(n))
		return rc;
	return block_flush(n);
}

static int check_range(const struct block_node *n, uint64_t off, uint64_t len)
{
	if (n->desc->protocol)
		return off > INT64_MAX - len || len > INT64_MAX ? -EFBIG : 0;
	return len > n->len || off > n->len - len ? -EINVAL : 0;
}

static int check_write(const struct block_node *n, uint64_t off, uint64_t len)
{
	if (!n->writable)
		return -EROFS;
	if (n->dying)
		return -EIO;
	return check_range(n, off, len);
}

int block_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		 size_t voff)
{
	int rc = check_range(n, off, len);

	return rc || !len ? rc : n->desc->preadv(n, off, len, v, voff);
}

int block_preadv_nowait(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
			size_t voff)
{
	if (!n->desc->preadv_nowait || !len || check_range(n, off, len))
		return -EAGAIN;
	return n->desc->preadv_nowait(n, off, len, v, voff);
}

int block_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		  size_t voff)
{
	int rc = check_write(n, off, len);

	if (rc || !len)
		return rc;
	if (!n->desc->pwritev)
		return -EROFS;
	return after_write(n, n->desc->pwritev(n, off, len, v, voff));
}

bool block_may_place(const struct block_node *n, uint64_t off, size_t len, bool write)
{
	if (!write)
		return len && !check_range(n, off, len);
	return len && !check_write(n, off, len) && (n->desc->protocol || !write_through(n));
}

int block_pread(struct block_node *n, uint64_t off, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	struct block_vec v = { &iov, 1 };

	return block_preadv(n, off, len, &v, 0);
}

int block_pwrite(struct block_node *n, uint64_t off, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };
	struct block_vec v = { &iov, 1 };

	return block_pwritev(n, off, len, &v, 0);
}

int block_pwrite_compressed(struct block_node *n, uint64_t off, const void *buf, size_t len)
{
	int rc = check_write(n, off, len);

	if (rc || !len)
		return rc;
	if (!n->desc->pwrite_compressed)
		return -ENOTSUP;
	return after_write(n, n->desc->pwrite_compressed(n, off, buf, len));
}

static int zero_by_hand(struct block_node *n, uint64_t off, uint64_t len)
{
	void *buf = calloc(1, min_of(len, (uint64_t)ZERO_STEP));
	struct iovec iov = { buf, 0 };
	struct block_vec v = { &iov, 1 };
	int rc = buf ? 0 : -ENOMEM;

	while (len && !rc) {
		iov.iov_len = min_of(len, (uint64_t)ZERO_STEP);
		rc = n->desc->pwritev ? n->desc->pwritev(n, off, iov.iov_len, &v, 0) : -EROFS;
		off += iov.iov_len;
		len -= iov.iov_len;
	}
	free(buf);
	return rc;
}

int block_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	int rc = check_write(n, off, len);

	if (rc || !len)
		return rc;
	rc = n->desc->zero ? n->desc->zero(n, off, len, unmap) : -ENOTSUP;
	if (rc == -ENOTSUP)
		rc = zero_by_hand(n, off, len);
	return after_write(n, rc);
}

int block_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	int rc = check_write(n, off, len);

	if (rc || !len || !n->desc->discard)
		return rc;
	return after_write(n, n->desc->discard(n, off, len));
}

int block_flush(struct block_node *n)
{
	if (!n->writable || n->cache == BLOCK_CACHE_UNSAFE)
		return 0;
	if (n->dying)
		return -EIO;
	return n->desc->flush ? n->desc->flush(n) : 0;
}

int block_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	int rc = n->desc->protocol ? 0 : check_range(n, off, len);

	memset(e, 0, sizeof(*e));
	if (rc)
		return rc;
	e->len = len;
	if (!len)
		return 0;
	if (n->desc->status)
		return n->desc->status(n, off, len, e);
	e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_DATA;
	return 0;
}

int block_status_chain(struct block_node *n, struct block_node *base, uint64_t off, uint64_t len,
		       struct block_extent *e)
{
	unsigned depth = 0;

	memset(e, 0, sizeof(*e));
	for (; n && n != base; n = n->backing, depth++) {
		int rc;

		if (off >= n->len) { /* past a shorter backing file: zeroes, and it says so */
			e->len = len;
			e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_ZERO;
			e->depth = depth;
			return 0;
		}
		len = min_of(len, n->len - off);
		rc = block_status(n, off, len, e);
		e->depth = depth;
		if (rc || (e->flags & BLOCK_EXT_ALLOCATED))
			return rc;
		len = e->len;
	}
	e->len = len;
	e->flags = base ? 0 : BLOCK_EXT_ZERO;
	e->depth = depth;
	return 0;
}

int block_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	if (!n->writable)
		return err_set(err, -EROFS, "'%s' is open read-only", n->path);
	if (n->dying)
		return err_set(err, -EIO, "'%s' is damaged; repair it first", n->path);
	if (len > BLOCK_MAX_BYTES)
		return err_set(err, -EFBIG, "a disk of %llu bytes is more than any image can hold",
			       (unsigned long long)len);
	if (!n->desc->resize)
		return err_set(err, -ENOTSUP, "images of format %s cannot be resized",
			       n->desc->name);
	return n->desc->resize(n, len, p, err);
}

int block_host_bytes(struct block_node *n, uint64_t *bytes)
{
	struct stat st;
	int fd = block_file_fd(n->file ? n->file : n);

	*bytes = 0;
	if (fd < 0) {
		*bytes = n->file ? n->file->len : n->len;
		return 0;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	*bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : n->len;
	return 0;
}

int block_info(struct block_node *n, struct block_info *i, struct err *err)
{
	memset(i, 0, sizeof(*i));
	if (n->backing_path) {
		i->has_backing = true;
		strncpy(i->backing_path, n->backing_path, sizeof(i->backing_path) - 1);
		if (n->backing_format)
			strncpy(i->backing_format, n->backing_format,
				sizeof(i->backing_format) - 1);
	}
	return n->desc->info ? n->desc->info(n, i, err) : 0;
}

int block_read_backing(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	struct block_node *b = n->backing;
	size_t have = 0;
	int rc = 0;

	if (b && off < b->len)
		have = min_of((uint64_t)len, b->len - off);
	if (have)
		rc = block_preadv(b, off, have, v, voff);
	if (!rc && have < len)
		block_vec_zero(v, voff + have, len - have);
	return rc;
}

int block_read_backing_nowait(struct block_node *n, uint64_t off, size_t len,
			      const struct block_vec *v, size_t voff)
{
	struct block_node *b = n->backing;
	size_t have = b && off < b->len ? min_of((uint64_t)len, b->len - off) : 0;
	int rc = have ? block_preadv_nowait(b, off, have, v, voff) : 0;

	if (!rc && have < len)
		block_vec_zero(v, voff + have, len - have);
	return rc;
}
