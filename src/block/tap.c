/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/tap.h"

#include <stdlib.h>
#include <string.h>

#include "src/block/node_priv.h"

struct tap {
	struct tap_hook hook;
	struct range_set ranges;
};

static int tap_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff)
{
	return block_preadv(n->file, off, len, v, voff);
}

static void begin(struct tap *t, struct range *r, uint64_t off, uint64_t len)
{
	range_lock(&t->ranges, r, off, off + len, true);
	if (t->hook.before)
		t->hook.before(t->hook.opaque, off, len);
}

static void end(struct tap *t, struct range *r, enum tap_kind k, const struct block_vec *v,
		size_t voff)
{
	if (t->hook.after)
		t->hook.after(t->hook.opaque, k, r->start, r->end - r->start, v, voff);
	range_unlock(&t->ranges, r);
}

static int tap_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	struct tap *t = n->priv;
	struct range r;
	int rc;

	begin(t, &r, off, len);
	rc = block_pwritev(n->file, off, len, v, voff);
	end(t, &r, TAP_WRITE, rc ? NULL : v, voff);
	return rc;
}

static int tap_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	struct tap *t = n->priv;
	struct range r;
	int rc;

	begin(t, &r, off, len);
	rc = block_zero(n->file, off, len, unmap);
	end(t, &r, rc ? TAP_WRITE : TAP_ZERO, NULL, 0);
	return rc;
}

static int tap_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct tap *t = n->priv;
	struct range r;
	int rc;

	begin(t, &r, off, len);
	rc = block_discard(n->file, off, len);
	end(t, &r, TAP_DISCARD, NULL, 0);
	return rc;
}

static int tap_flush(struct block_node *n) { return block_flush(n->file); }

static int tap_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	return block_status_chain(n->file, NULL, off, len, e);
}

static int tap_info(struct block_node *n, struct block_info *i, struct err *err)
{
	return block_info(n->file, i, err);
}

static int tap_close(struct block_node *n)
{
	struct tap *t = n->priv;

	range_set_fini(&t->ranges);
	free(t);
	return 0;
}

static const struct block_format_desc tap_desc = {
	.name = "tap",
	.title = "a job's view of a disk",
	.filter = true,
	.close = tap_close,
	.preadv = tap_preadv,
	.pwritev = tap_pwritev,
	.zero = tap_zero,
	.discard = tap_discard,
	.flush = tap_flush,
	.status = tap_status,
	.info = tap_info,
};

struct block_node *tap_new(struct block_node *under, const struct tap_hook *hook)
{
	struct block_open_opts o = { .flags = under->open_flags, .host = under->host };
	struct block_node *n = block_node_new(&tap_desc, under->path, &o);
	struct tap *t = calloc(1, sizeof(*t));

	if (!n || !t) {
		if (n)
			block_node_free(n);
		free(t);
		return NULL;
	}
	t->hook = *hook;
	range_set_init(&t->ranges);
	n->priv = t;
	n->file = under;
	n->len = under->len;
	n->writable = under->writable;
	n->io_align = under->io_align;
	n->max_discard = under->max_discard;
	return n;
}

struct block_node *tap_free(struct block_node *tap)
{
	struct block_node *under = tap->file;

	tap->file = NULL;
	block_close(tap);
	return under;
}

void tap_lock(struct block_node *tap, struct range *r, uint64_t off, uint64_t len)
{
	range_lock(&((struct tap *)tap->priv)->ranges, r, off, off + len, true);
}

void tap_unlock(struct block_node *tap, struct range *r)
{
	range_unlock(&((struct tap *)tap->priv)->ranges, r);
}
