/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A LUKS container as an image: what cryptsetup opens as a device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/luks.h"
#include "src/block/range.h"

struct container {
	struct luks *l; /* NULL: opened without its key */
	uint64_t payload;
	char cipher[64];
	struct range_set ranges;
};

static int luks_probe(const uint8_t *buf, size_t len, const char *path)
{
	return len >= 8 && !memcmp(buf, "LUKS\xba\xbe\0\1", 8) ? 100 : 0;
}

static int luks_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct container *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	rc = luks_describe(n->file, 0, c->cipher, sizeof(c->cipher), &c->payload, err);
	if (!rc && (c->payload < 4096 || c->payload > n->file->len))
		rc = err_set(err, -EINVAL, "'%s' is not a usable LUKS image: its payload is misplaced",
			     n->path);
	if (!rc && !(o->flags & BLOCK_OPEN_NO_SECRET))
		rc = luks_unlock(n->file, 0, o->secret, n->path, &c->l, err);
	if (rc) {
		free(c);
		return rc;
	}
	range_set_init(&c->ranges);
	n->len = align_down(n->file->len - c->payload, BLOCK_SECTOR);
	n->priv = c;
	return 0;
}

static int luks_close_node(struct block_node *n)
{
	struct container *c = n->priv;

	luks_close(c->l);
	range_set_fini(&c->ranges);
	free(c);
	return 0;
}

/* The payload's own sectors count from 0. */
static int64_t first_sector(const struct container *c) { return -(int64_t)(c->payload / 512); }

static int luks_node_preadv(struct block_node *n, uint64_t off, size_t len,
			    const struct block_vec *v, size_t voff)
{
	struct container *c = n->priv;

	return c->l ? luks_preadv(c->l, n->file, c->payload + off, first_sector(c), len, v, voff)
		    : -EACCES;
}

static int luks_node_pwritev(struct block_node *n, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff)
{
	struct container *c = n->priv;
	struct range r;
	int rc;

	if (!c->l)
		return -EACCES;
	range_lock(&c->ranges, &r, align_down(off, 512), align_up(off + len, 512),
		   (off | len) & 511);
	rc = luks_pwritev(c->l, n->file, c->payload + off, first_sector(c), len, v, voff);
	range_unlock(&c->ranges, &r);
	return rc;
}

static int luks_flush(struct block_node *n) { return block_flush(n->file); }

static int luks_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	struct container *c = n->priv;
	uint64_t old = n->len;
	int rc;

	if (!c->l)
		return err_set(err, -EACCES, "'%s' is encrypted; its passphrase is needed", n->path);
	rc = block_resize(n->file, c->payload + len, p, err);
	if (rc)
		return rc;
	n->len = len;
	/* New sectors would decrypt to noise: they are zeroes only once written as such. */
	while (!rc && old < len) {
		static const uint8_t zeroes[65536];
		size_t k = min_of(len - old, sizeof(zeroes));

		rc = block_pwrite(n, old, zeroes, k);
		old += k;
	}
	return rc ? err_set(err, rc, "cannot clear the new space of '%s'", n->path) : 0;
}

static int luks_info(struct block_node *n, struct block_info *i, struct err *err)
{
	struct container *c = n->priv;

	i->encrypted = true;
	block_info_note(i, "cipher", "%s", c->cipher);
	block_info_note_num(i, "payload offset", c->payload);
	return 0;
}

static int luks_create(const struct block_create *c, struct err *err)
{
	struct block_open_opts o = { .format = "luks", .flags = BLOCK_OPEN_WRITE, .host = c->host,
				     .secret = c->secret };
	struct block_node *file, *n;
	struct luks_params p;
	struct luks *l;
	int rc = luks_params_read(c, "", &p, err);

	if (!rc)
		rc = block_create_proto(c, c->path, 0, err);
	if (!rc)
		rc = block_open_proto(c->path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, c->host, &file,
				      err);
	if (rc)
		return rc;
	rc = luks_format(file, 0, &p, c->secret, c->path, &l, err);
	luks_close(l);
	if (block_close(file) && !rc)
		rc = err_set(err, -EIO, "cannot write '%s'", c->path);
	if (!rc)
		rc = block_open(c->path, &o, &n, err);
	if (rc)
		return rc;
	rc = block_resize(n, c->len, BLOCK_PREALLOC_OFF, err);
	if (block_close(n) && !rc)
		rc = err_set(err, -EIO, "cannot write '%s'", c->path);
	return rc;
}

static const struct block_create_opt luks_create_opts[] = {
	{ "cipher-alg", "aes-128|aes-256", "aes-256 by default, in XTS mode" },
	{ "hash-alg", "sha1|sha256|sha512", "sha256 by default" },
	{ "iter-time", "MS", "how long trying one passphrase takes; 2000 by default" },
	{ "key-secret", "ID", "as qemu-img names it; the key itself comes with --key-file" },
	{ NULL, NULL, NULL },
};

const struct block_format_desc block_luks = {
	.name = "luks",
	.title = "encrypted container, as cryptsetup makes them (LUKS 1)",
	.suffixes = "luks",
	.create_opts = luks_create_opts,
	.probe = luks_probe,
	.open = luks_open,
	.close = luks_close_node,
	.create = luks_create,
	.preadv = luks_node_preadv,
	.pwritev = luks_node_pwritev,
	.flush = luks_flush,
	.resize = luks_resize,
	.info = luks_info,
};
