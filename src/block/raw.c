/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw images: the disk byte for byte. */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/block.h"
#include "src/block/place.h"

static int raw_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	/* Guests see whole sectors; what the file lacks of its last one reads as zeroes. */
	n->len = align_up(n->file->len, BLOCK_SECTOR);
	n->io_align = n->file->io_align;
	return 0;
}

static int raw_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff)
{
	return block_preadv(n->file, off, len, v, voff);
}

static int raw_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff)
{
	return block_preadv_nowait(n->file, off, len, v, voff);
}

static int raw_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	return block_pwritev(n->file, off, len, v, voff);
}

static int raw_place(struct block_node *n, uint64_t off, size_t len, bool write,
		     struct block_place *p)
{
	return block_place_below(n->file, off, len, write, p);
}

static int raw_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	return block_zero(n->file, off, len, unmap);
}

static int raw_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	return block_discard(n->file, off, len);
}

static int raw_flush(struct block_node *n) { return block_flush(n->file); }

static int raw_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	return block_status(n->file, off, len, e);
}

static int raw_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	int rc = block_resize(n->file, len, p, err);

	if (!rc)
		n->len = align_up(len, BLOCK_SECTOR);
	return rc;
}

static int raw_create(const struct block_create *c, struct err *err)
{
	struct block_open_opts o = { .format = "raw", .flags = BLOCK_OPEN_WRITE, .host = c->host };
	enum block_prealloc p = BLOCK_PREALLOC_OFF;
	struct block_node *n;
	int rc;

	rc = block_opt_prealloc(c, &p, err);
	if (rc)
		return rc;
	if (p == BLOCK_PREALLOC_METADATA)
		return err_set(err, -EINVAL, "raw images have no metadata; preallocation is off, "
					     "falloc or full");
	rc = block_create_proto(c, c->path, 0, err);
	if (rc)
		return rc;
	rc = block_open(c->path, &o, &n, err);
	if (rc)
		return rc;
	rc = block_resize(n, c->len, p, err);
	if (block_close(n) && !rc)
		rc = err_set(err, -EIO, "cannot write '%s'", c->path);
	return rc;
}

static const struct block_create_opt raw_create_opts[] = {
	{ "preallocation", "off|falloc|full", "reserve the space now" },
	{ NULL, NULL, NULL },
};

const struct block_format_desc block_raw = {
	.name = "raw",
	.title = "the disk byte for byte",
	.suffixes = "raw img iso",
	.create_opts = raw_create_opts,
	.open = raw_open,
	.create = raw_create,
	.preadv = raw_preadv,
	.preadv_nowait = raw_preadv_nowait,
	.pwritev = raw_pwritev,
	.place = raw_place,
	.zero = raw_zero,
	.discard = raw_discard,
	.flush = raw_flush,
	.status = raw_status,
	.resize = raw_resize,
};
