/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chains of images: rebase (another backing file, the disk stays the same) and
 * commit (contents move down into a base).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/bits.h"
#include "src/block/op.h"

enum { STEP = 1 << 20, GRAIN = 4096 };

/* ---- rebase ---- */

struct rebase {
	struct block_node *n, *fresh; /* fresh: the new backing, NULL: none */
};

static int read_or_zero(struct block_node *n, uint64_t off, uint8_t *buf, uint64_t len)
{
	uint64_t have = n && off < n->len ? min_of(len, n->len - off) : 0;

	memset(buf + have, 0, len - have);
	return have ? block_pread(n, off, buf, have) : 0;
}

/* Bytes that the overlay does not have: they show the backing, so where old and new
 * backing differ the old bytes move into the overlay. */
static int keep_old(struct rebase *k, uint64_t off, uint64_t len, uint8_t *buf)
{
	uint8_t *was = buf, *will = buf + len;
	int rc = read_or_zero(k->n->backing, off, was, len);
	uint64_t i = 0, j;

	if (!rc)
		rc = read_or_zero(k->fresh, off, will, len);
	while (i < len && !rc) {
		uint64_t n = min_of((uint64_t)GRAIN, len - i);

		if (!memcmp(was + i, will + i, n)) {
			i += n;
			continue;
		}
		for (j = i; j < len && memcmp(was + j, will + j, n = min_of((uint64_t)GRAIN, len - j));)
			j += n;
		rc = block_is_zero(was + i, j - i) ? block_zero(k->n, off + i, j - i, true)
						   : block_pwrite(k->n, off + i, was + i, j - i);
		i = j;
	}
	return rc;
}

static int rebase_piece(void *opaque, uint64_t off, uint64_t len)
{
	struct rebase *k = opaque;
	uint8_t *buf = malloc(2 * len);
	uint64_t at = 0;
	int rc = buf ? 0 : -ENOMEM;

	while (at < len && !rc) {
		struct block_extent e;

		rc = block_status(k->n, off + at, len - at, &e);
		if (!rc && !(e.flags & BLOCK_EXT_ALLOCATED))
			rc = keep_old(k, off + at, e.len, buf);
		at += e.len;
	}
	free(buf);
	return rc;
}

static int open_fresh(const struct op_env *env, const struct op_rebase *r, struct block_node **out,
		      const char **format, struct err *err)
{
	struct block_open_opts o = op_open_opts(env, r->backing_format, 0);
	char *path;
	int rc;

	*out = NULL;
	if (!r->backing_path)
		return 0;
	path = block_path_beside(r->path, r->backing_path);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_open(path, &o, out, err);
	if (rc)
		err_prefix(err, rc, "new backing file");
	else if (!*format)
		*format = (*out)->desc->name;
	free(path);
	return rc;
}

/* The new chain must not contain the image itself. */
static int not_in_chain(const struct op_rebase *r, const struct block_node *fresh, struct err *err)
{
	struct stat me, st;

	if (stat(r->path, &me) < 0)
		return 0;
	for (; fresh; fresh = fresh->backing)
		if (stat(fresh->path, &st) == 0 && st.st_dev == me.st_dev && st.st_ino == me.st_ino)
			return err_set(err, -ELOOP, "'%s' stands in the chain of '%s' and cannot "
						    "be based on it", r->path, r->backing_path);
	return 0;
}

static int rebase_open(const struct op_env *env, const struct op_rebase *r, struct block_node *n,
		       struct err *err)
{
	struct rebase k = { .n = n };
	struct op_work w = { .total = n->len, .step = STEP, .piece = rebase_piece, .opaque = &k };
	const char *format = r->backing_format;
	int rc = 0;

	if (!n->desc->set_backing)
		return err_set(err, -ENOTSUP, "images of format %s have no backing file",
			       n->desc->name);
	if (!r->unsafe) {
		rc = open_fresh(env, r, &k.fresh, &format, err);
		if (!rc)
			rc = not_in_chain(r, k.fresh, err);
		if (!rc && n->len) {
			rc = op_parallel(env, &w);
			if (!rc)
				rc = block_flush(n);
			if (rc)
				err_set(err, rc, rc == -ECANCELED ? "stopped; '%s' is as it was"
								  : "cannot rebase '%s'", r->path);
		}
	}
	if (!rc)
		rc = n->desc->set_backing(n, r->backing_path, format, err);
	block_close(k.fresh);
	return rc;
}

int op_rebase(const struct op_env *env, const struct op_rebase *r, struct err *err)
{
	unsigned flags = BLOCK_OPEN_WRITE | (r->unsafe ? BLOCK_OPEN_NO_BACKING : 0);
	struct block_open_opts o = op_open_opts(env, r->format, flags);
	struct block_node *n;
	int rc = block_open(r->path, &o, &n, err), rc2;

	if (rc)
		return rc;
	rc = rebase_open(env, r, n, err);
	rc2 = block_close(n);
	if (!rc && rc2)
		rc = err_set(err, rc2, "cannot write '%s': %s", r->path, strerror(-rc2));
	return rc;
}

/* ---- commit ---- */

struct commit {
	struct block_node *layer, *base;
};

static int commit_piece(void *opaque, uint64_t off, uint64_t len)
{
	struct commit *k = opaque;
	uint8_t *buf = malloc(len);
	uint64_t at = 0;
	int rc = buf ? 0 : -ENOMEM;

	while (at < len && !rc) {
		struct block_extent e;

		rc = block_status(k->layer, off + at, len - at, &e);
		if (rc)
			break;
		if (e.flags & BLOCK_EXT_ALLOCATED && e.flags & BLOCK_EXT_ZERO)
			rc = block_zero(k->base, off + at, e.len, true);
		else if (e.flags & BLOCK_EXT_ALLOCATED) {
			rc = block_pread(k->layer, off + at, buf, e.len);
			if (!rc)
				rc = block_pwrite(k->base, off + at, buf, e.len);
		}
		at += e.len;
	}
	free(buf);
	return rc;
}

struct chain { /* the paths from the top down to the base */
	char *path[BLOCK_MAX_CHAIN + 1], *format[BLOCK_MAX_CHAIN + 1];
	unsigned n;
};

static bool same(const char *a, const char *b)
{
	struct stat sa, sb;

	if (!strcmp(a, b))
		return true;
	return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

static void chain_fini(struct chain *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		free(c->path[i]);
		free(c->format[i]);
	}
}

/* Lists the chain of @k->path down to its base. */
static int list_chain(const struct op_env *env, const struct op_commit *k, struct chain *c,
		      struct err *err)
{
	struct block_open_opts o = op_open_opts(env, k->format, 0);
	struct block_node *top = NULL, *n;
	char *base = k->base ? block_path_beside(k->path, k->base) : NULL;
	bool found = false;
	int rc = block_open(k->path, &o, &top, err);

	c->n = 0;
	for (n = rc ? NULL : top; n && !found && c->n <= BLOCK_MAX_CHAIN; n = n->backing) {
		c->path[c->n] = strdup(n->path);
		c->format[c->n++] = strdup(n->desc->name);
		if (c->n > 1)
			found = !base || same(base, n->path) || same(k->base, n->path);
	}
	if (!rc && c->n < 2)
		rc = err_set(err, -EINVAL, "'%s' has no backing file to commit into", k->path);
	else if (!rc && !found)
		rc = err_set(err, -ENOENT, "'%s' is not in the chain of '%s'", k->base, k->path);
	block_close(top);
	free(base);
	return rc;
}

/* Moves one layer's contents into the base, which is open for writing. */
static int commit_layer(const struct op_env *env, struct chain *c, unsigned i,
			struct block_node *base, struct err *err)
{
	struct block_open_opts o = op_open_opts(env, c->format[i], BLOCK_OPEN_NO_BACKING);
	struct commit k = { .base = base };
	struct op_work w = { .step = STEP, .piece = commit_piece, .opaque = &k };
	int rc = block_open(c->path[i], &o, &k.layer, err);

	if (rc)
		return rc;
	if (k.layer->len > base->len)
		rc = block_resize(base, k.layer->len, BLOCK_PREALLOC_OFF, err);
	/* A shorter layer hides what the base has beyond. */
	else if (k.layer->len < base->len)
		rc = block_zero(base, k.layer->len, base->len - k.layer->len, true);
	w.total = k.layer->len;
	if (!rc && w.total) {
		rc = op_parallel(env, &w);
		if (!rc)
			rc = block_flush(base);
		if (rc)
			err_set(err, rc, "cannot commit '%s' into '%s': %s", c->path[i], base->path,
				strerror(-rc));
	}
	block_close(k.layer);
	return rc;
}

/* The top image starts anew, empty, over the base. */
static int empty_top(const struct op_env *env, struct chain *c, const struct op_commit *k,
		     struct err *err)
{
	struct block_open_opts o = op_open_opts(env, c->format[0],
						BLOCK_OPEN_WRITE | BLOCK_OPEN_NO_BACKING);
	struct block_node *n;
	int rc = block_open(c->path[0], &o, &n, err), rc2;

	if (rc)
		return rc;
	if (c->n > 2 && n->desc->set_backing)
		rc = n->desc->set_backing(n, k->base, c->format[c->n - 1], err);
	if (!rc && n->desc->make_empty)
		rc = n->desc->make_empty(n, err);
	rc2 = block_close(n);
	return rc ? rc : rc2;
}

int op_commit(const struct op_env *env, const struct op_commit *k, struct err *err)
{
	struct chain c;
	struct block_node *base = NULL;
	int rc = list_chain(env, k, &c, err), rc2;

	if (!rc) {
		struct block_open_opts o = op_open_opts(env, c.format[c.n - 1], BLOCK_OPEN_WRITE);

		rc = block_open(c.path[c.n - 1], &o, &base, err);
	}
	/* From the base's neighbour up: each layer covers what those below it hold. */
	for (unsigned i = c.n - 1; !rc && i-- > 0;)
		rc = commit_layer(env, &c, i, base, err);
	rc2 = block_close(base);
	if (!rc && rc2)
		rc = err_set(err, rc2, "cannot write '%s': %s", c.path[c.n - 1], strerror(-rc2));
	if (!rc && !k->keep)
		rc = empty_top(env, &c, k, err);
	chain_fini(&c);
	return rc;
}
