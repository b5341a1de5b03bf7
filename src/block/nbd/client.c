/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An NBD export as a protocol node: nbd://HOST/EXPORT and its kin. */
#include "src/block/nbd/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/nbd/nbd.h"
#include "src/block/nbd/proto.h"

enum { MAX_ZERO = 1 << 30, STATUS_BYTES = 1 << 30 };

static int load_tls(struct nbd_client *k, struct err *err)
{
	struct nbd_tls_files f = { .dir = k->uri.tls_dir, .psk_file = k->uri.tls_psk_file,
				   .user = k->uri.tls_user };

	return k->uri.tls ? nbd_tls_new(&f, false, &k->tls, err) : 0;
}

static void client_free(struct nbd_client *k)
{
	nbd_tls_free(k->tls);
	nbd_uri_fini(&k->uri);
	range_set_fini(&k->merges);
	pthread_mutex_destroy(&k->lock);
	pthread_mutex_destroy(&k->send_lock);
	pthread_mutex_destroy(&k->seen_lock);
	pthread_cond_destroy(&k->moved);
	free(k);
}

static int nbd_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct nbd_client *k = calloc(1, sizeof(*k));
	int rc;

	if (!k)
		return err_set(err, -ENOMEM, "out of memory");
	range_set_init(&k->merges);
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->send_lock, NULL);
	pthread_mutex_init(&k->seen_lock, NULL);
	pthread_cond_init(&k->moved, NULL);
	rc = nbd_uri_parse(n->path, &k->uri, err);
	if (!rc)
		rc = load_tls(k, err);
	if (!rc) {
		rc = nbd_hello(&k->uri, k->tls, &k->conn, &k->x, err);
		if (rc)
			err_prefix(err, rc, "cannot open '%s'", n->path);
	}
	if (!rc && o->flags & BLOCK_OPEN_WRITE && k->x.flags & NBD_READ_ONLY) {
		rc = err_set(err, -EROFS, "cannot open '%s' for writing: the server exports it "
					  "read-only", n->path);
		nbd_hang_up(k);
	}
	if (rc) {
		client_free(k);
		return rc;
	}
	n->priv = k;
	n->len = k->x.len;
	n->io_align = max_of(k->x.pref_block, BLOCK_SECTOR);
	return 0;
}

static int nbd_close(struct block_node *n)
{
	struct nbd_client *k = n->priv;

	nbd_hang_up(k);
	client_free(k);
	return 0;
}

/* A range in whole blocks of the server's. */
static int read_blocks(struct nbd_client *k, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	int rc = 0;

	while (len && !rc) {
		size_t n = min_of(len, (size_t)k->x.max_payload);
		struct nbd_call c = { .cmd = NBD_CMD_READ, .off = off, .len = n, .v = v,
				      .voff = voff };

		rc = nbd_call(k, &c, 0, NULL, 0);
		off += n;
		voff += n;
		len -= n;
	}
	return rc;
}

static int write_blocks(struct nbd_client *k, uint64_t off, size_t len, const struct block_vec *v,
			size_t voff)
{
	int rc = 0;

	while (len && !rc) {
		size_t n = min_of(len, (size_t)k->x.max_payload);
		struct nbd_call c = { .cmd = NBD_CMD_WRITE, .off = off, .len = n };

		rc = nbd_call(k, &c, 0, v, voff);
		off += n;
		voff += n;
		len -= n;
	}
	return rc;
}

static bool aligned(const struct nbd_client *k, uint64_t off, uint64_t len)
{
	return !((off | len) & (k->x.min_block - 1));
}

/* Smaller pieces than the server takes: its whole blocks are read, and for a write
 * merged and written back with nobody else there meanwhile. */
static int by_blocks(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		     size_t voff, bool write)
{
	struct nbd_client *k = n->priv;
	uint64_t lo = align_down(off, k->x.min_block), hi = align_up(off + len, k->x.min_block);
	uint8_t *buf = malloc(hi - lo);
	struct iovec iov = { buf, hi - lo };
	struct block_vec bv = { &iov, 1 };
	struct range r;
	int rc;

	if (!buf)
		return -ENOMEM;
	range_lock(&k->merges, &r, lo, hi, write);
	rc = read_blocks(k, lo, hi - lo, &bv, 0);
	if (!rc && write) {
		block_vec_read(v, voff, buf + (off - lo), len);
		rc = write_blocks(k, lo, hi - lo, &bv, 0);
	} else if (!rc) {
		block_vec_write(v, voff, buf + (off - lo), len);
	}
	range_unlock(&k->merges, &r);
	free(buf);
	return rc;
}

static int nbd_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff)
{
	struct nbd_client *k = n->priv;
	size_t have = off < n->len ? min_of((uint64_t)len, n->len - off) : 0;

	if (have < len) /* past the end, as in a file */
		block_vec_zero(v, voff + have, len - have);
	if (!have)
		return 0;
	return aligned(k, off, have) ? read_blocks(k, off, have, v, voff)
				     : by_blocks(n, off, have, v, voff, false);
}

static void forget_seen(struct nbd_client *k)
{
	pthread_mutex_lock(&k->seen_lock);
	k->nseen = 0;
	pthread_mutex_unlock(&k->seen_lock);
}

static int nbd_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	struct nbd_client *k = n->priv;
	struct range r;
	int rc;

	if (len > n->len || off > n->len - len)
		return -ENOSPC; /* an export does not grow */
	if (!aligned(k, off, len))
		return by_blocks(n, off, len, v, voff, true);
	if (k->x.min_block == 1)
		return write_blocks(k, off, len, v, voff);
	range_lock(&k->merges, &r, off, off + len, false);
	rc = write_blocks(k, off, len, v, voff);
	range_unlock(&k->merges, &r);
	return rc;
}

/* Trims or zeroes whole blocks. */
static int ranged(struct nbd_client *k, unsigned cmd, unsigned flags, uint64_t off, uint64_t len)
{
	int rc = 0;

	while (len && !rc) {
		uint64_t n = min_of(len, (uint64_t)MAX_ZERO);
		struct nbd_call c = { .cmd = cmd, .off = off, .len = n };

		rc = nbd_call(k, &c, flags, NULL, 0);
		off += n;
		len -= n;
	}
	return rc;
}

static int nbd_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	struct nbd_client *k = n->priv;
	struct range r;
	int rc;

	if (len > n->len || off > n->len - len)
		return -ENOSPC;
	if (!(k->x.flags & NBD_SEND_WRITE_ZEROES) || !aligned(k, off, len))
		return -ENOTSUP; /* then by writing */
	range_lock(&k->merges, &r, off, off + len, false);
	rc = ranged(k, NBD_CMD_WRITE_ZEROES, unmap ? 0 : NBD_CMD_FLAG_NO_HOLE, off, len);
	range_unlock(&k->merges, &r);
	return rc;
}

static int nbd_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct nbd_client *k = n->priv;
	uint64_t lo = align_up(off, k->x.min_block), hi;

	if (!(k->x.flags & NBD_SEND_TRIM) || off >= n->len)
		return 0;
	hi = align_down(min_of(off + len, n->len), k->x.min_block);
	return hi > lo ? ranged(k, NBD_CMD_TRIM, 0, lo, hi - lo) : 0;
}

static int nbd_flush(struct block_node *n)
{
	struct nbd_client *k = n->priv;
	struct nbd_call c = { .cmd = NBD_CMD_FLUSH };

	return k->x.flags & NBD_SEND_FLUSH ? nbd_call(k, &c, 0, NULL, 0) : 0;
}

static void extent_from(struct block_extent *e, uint64_t len, const struct nbd_extent *x)
{
	e->len = min_of(len, (uint64_t)x->len);
	e->flags = BLOCK_EXT_ALLOCATED;
	if (!(x->flags & NBD_STATE_HOLE))
		e->flags |= BLOCK_EXT_DATA;
	if (x->flags & NBD_STATE_ZERO)
		e->flags |= BLOCK_EXT_ZERO;
	if (!(e->flags & (BLOCK_EXT_DATA | BLOCK_EXT_ZERO)))
		e->flags |= BLOCK_EXT_DATA; /* a hole of unknown contents has to be read */
}

static bool seen(struct nbd_client *k, uint64_t off, uint64_t len, struct block_extent *e)
{
	uint64_t at;
	bool hit = false;

	pthread_mutex_lock(&k->seen_lock);
	at = k->seen_off;
	for (unsigned i = 0; i < k->nseen && !hit && off >= at; i++) {
		struct nbd_extent x = k->seen[i];

		if (off < at + x.len) {
			x.len -= (uint32_t)(off - at);
			extent_from(e, len, &x);
			hit = true;
		}
		at += x.len;
	}
	pthread_mutex_unlock(&k->seen_lock);
	return hit;
}

static int nbd_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	struct nbd_client *k = n->priv;
	struct nbd_extent x[NBD_EXTENTS];
	struct nbd_call c = { .cmd = NBD_CMD_BLOCK_STATUS, .off = off, .extents = x };
	bool keep = !n->writable && k->x.flags & NBD_READ_ONLY;
	int rc;

	e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_DATA;
	e->len = len;
	if (off >= n->len) {
		e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_ZERO;
		return 0;
	}
	e->len = len = min_of(len, n->len - off);
	if (!k->x.has_allocation || !aligned(k, off, len))
		return 0;
	/* What nobody changes is asked about once, far ahead. */
	if (keep && seen(k, off, len, e))
		return 0;
	c.len = keep ? min_of(n->len - off, (uint64_t)STATUS_BYTES) : min_of(len, (uint64_t)STATUS_BYTES);
	rc = nbd_call(k, &c, keep ? 0 : NBD_CMD_FLAG_REQ_ONE, NULL, 0);
	if (rc)
		return rc == -EINVAL || rc == -ENOTSUP ? 0 : rc;
	extent_from(e, len, &x[0]);
	if (!keep)
		return 0;
	forget_seen(k);
	pthread_mutex_lock(&k->seen_lock);
	k->seen_off = off;
	memcpy(k->seen, x, c.nextents * sizeof(x[0]));
	k->nseen = c.nextents;
	pthread_mutex_unlock(&k->seen_lock);
	return 0;
}

static int nbd_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	if (len <= n->len)
		return 0; /* as a device: what is beyond is not used */
	return err_set(err, -ENOSPC, "NBD export '%s' holds %llu bytes, %llu are needed", n->path,
		       (unsigned long long)n->len, (unsigned long long)len);
}

const struct block_format_desc block_nbd = {
	.name = "nbd",
	.title = "export of an NBD server",
	.protocol = true,
	.open = nbd_open,
	.close = nbd_close,
	.preadv = nbd_preadv,
	.pwritev = nbd_pwritev,
	.zero = nbd_zero,
	.discard = nbd_discard,
	.flush = nbd_flush,
	.status = nbd_status,
	.resize = nbd_resize,
};
