/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks for tests of disk devices: an image in memory that can be told to fail. */
#ifndef BOTHY_TESTS_UNIT_DISK_RIG_H
#define BOTHY_TESTS_UNIT_DISK_RIG_H

#include <stdlib.h>
#include <string.h>

#include "src/block/blk.h"
#include "tests/unit/cmocka_all.h"

struct fake_disk {
	uint8_t *data;
	uint64_t len;
	_Atomic int fail_reads, fail_writes; /* errno, 0: none */
	_Atomic unsigned flushes, discards, zeroes, writes;
	_Atomic bool unmapped;
	struct block_pool *pool;
	struct blk *blk;
	unsigned stops;
};

static inline int fake_open(struct block_node *n, const struct block_open_opts *o, struct err *e)
{
	return 0;
}

static inline int fake_read(struct block_node *n, uint64_t off, size_t len,
			    const struct block_vec *v, size_t voff)
{
	struct fake_disk *f = n->priv;

	if (f->fail_reads)
		return -f->fail_reads;
	block_vec_write(v, voff, f->data + off, len);
	return 0;
}

static inline int fake_write(struct block_node *n, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff)
{
	struct fake_disk *f = n->priv;

	f->writes++;
	if (f->fail_writes)
		return -f->fail_writes;
	block_vec_read(v, voff, f->data + off, len);
	return 0;
}

static inline int fake_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	struct fake_disk *f = n->priv;

	if (f->fail_writes)
		return -f->fail_writes;
	f->zeroes++;
	f->unmapped = unmap;
	memset(f->data + off, 0, len);
	return 0;
}

static inline int fake_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct fake_disk *f = n->priv;

	f->discards++;
	memset(f->data + off, 0, len);
	return 0;
}

static inline int fake_flush(struct block_node *n)
{
	((struct fake_disk *)n->priv)->flushes++;
	return 0;
}

static inline void fake_disk_stopped(void *opaque, enum blk_op op, int error)
{
	((struct fake_disk *)opaque)->stops++;
}

static inline struct block_node *fake_node(struct fake_disk *f, bool writable)
{
	static const struct block_format_desc desc = {
		.name = "fake", .title = "fake", .open = fake_open, .preadv = fake_read,
		.pwritev = fake_write, .flush = fake_flush, .zero = fake_zero,
		.discard = fake_discard,
	};
	struct block_node *n = calloc(1, sizeof(*n));

	n->desc = &desc;
	n->path = strdup("fake");
	n->len = f->len;
	n->writable = writable;
	n->io_align = 512;
	n->priv = f;
	return n;
}

/* @post: how completions reach the test's thread. */
static inline struct fake_disk *fake_disk_new(uint64_t len, bool writable,
					      void (*post)(void *, void (*)(void *), void *),
					      void *post_opaque, struct blk_config c)
{
	struct fake_disk *f = calloc(1, sizeof(*f));

	f->data = malloc(len);
	f->len = len;
	for (uint64_t i = 0; i < len; i++)
		f->data[i] = (uint8_t)(i / 512 + i);
	f->pool = block_pool_new(4);
	c.node = fake_node(f, writable);
	c.pool = f->pool;
	c.post = post;
	c.post_opaque = post_opaque;
	c.stopped = fake_disk_stopped;
	c.stopped_opaque = f;
	f->blk = blk_new(&c, NULL);
	assert_non_null(f->blk);
	return f;
}

/* After the device has gone; calls that were posted must be made afterwards still. */
static inline void fake_disk_free(struct fake_disk *f)
{
	assert_int_equal(blk_free(f->blk), 0);
	block_pool_free(f->pool);
	free(f->data);
	free(f);
}

#endif
