/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/op.h"
#include "src/block/op_priv.h"

/* The backing image must open; from it come the size and the format. */
static int look_at_backing(const struct op_env *env, const struct op_create *c,
			   struct block_create *bc, bool *has_len, struct err *err)
{
	struct block_open_opts o = op_open_opts(env, c->backing_format, BLOCK_OPEN_NO_SECRET);
	struct block_node *n;
	char *path;
	int rc;

	path = block_path_beside(c->path, c->backing_path);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_open(path, &o, &n, err);
	free(path);
	if (rc)
		return err_prefix(err, rc, "backing file");
	if (!*has_len)
		bc->len = n->len;
	*has_len = true;
	if (!bc->backing_format)
		bc->backing_format = n->desc->name;
	block_close(n);
	return 0;
}

static int check_len(const struct op_create *c, uint64_t *len, struct err *err)
{
	if (!*len)
		return err_set(err, -EINVAL, "a disk of 0 bytes is of no use; give a size, as in 10G");
	if (*len % BLOCK_SECTOR == 0)
		return 0;
	if (!c->round_up)
		return err_set(err, -EINVAL, "a disk's size is a multiple of %u bytes; %llu would do",
			       BLOCK_SECTOR, (unsigned long long)align_up(*len, BLOCK_SECTOR));
	*len = align_up(*len, BLOCK_SECTOR);
	return 0;
}

static int check_room(const struct op_env *env, const struct block_create *bc, struct err *err)
{
	enum block_prealloc p = BLOCK_PREALLOC_OFF;
	int rc = block_opt_prealloc(bc, &p, err);

	if (rc || p < BLOCK_PREALLOC_FALLOC)
		return rc;
	return op_room(env, bc->path, bc->len, err);
}

int op_create(const struct op_env *env, const struct op_create *c, uint64_t *out_len,
	      struct err *err)
{
	const struct block_format_desc *d = block_format(c->format);
	struct block_create bc = { .path = c->path, .len = c->len, .opts = c->opts,
				   .nopts = c->nopts, .backing_path = c->backing_path,
				   .backing_format = c->backing_format, .overwrite = c->overwrite,
				   .secret = env->secret, .host = env->host,
				   .progress = env->progress, .made = c->made };
	struct block_made made = { NULL, 0 };
	bool has_len = c->has_len;
	int rc = 0;

	if (!d)
		return err_set(err, -EINVAL, "'%s' is not an image format that is known; "
					     "'bothy disk formats' lists those", c->format);
	if (c->backing_path && !*c->backing_path)
		return err_set(err, -EINVAL, "the backing file's name is empty");
	if (c->backing_path && !d->backing_ok)
		return err_set(err, -ENOTSUP, "images of format %s have no backing file; use qcow2",
			       d->name);
	if (c->backing_path && !c->backing_unchecked)
		rc = look_at_backing(env, c, &bc, &has_len, err);
	if (!rc && !has_len)
		rc = err_set(err, -EINVAL, "a new disk needs a size, as in 10G");
	if (!rc)
		rc = check_len(c, &bc.len, err);
	if (!rc)
		rc = check_room(env, &bc, err);
	if (!bc.made)
		bc.made = &made;
	if (!rc)
		rc = block_create(d, &bc, err);
	/* Formats write a new image's tables in any order: it is told of only now. */
	if (!rc && env->cache != BLOCK_CACHE_UNSAFE && !c->unsynced) {
		rc = op_sync_files(bc.made, env->host, err);
		if (rc)
			block_made_remove(bc.made, env->host);
	}
	block_made_fini(&made);
	if (rc)
		return err_prefix(err, rc, "cannot create '%s'", c->path);
	if (out_len)
		*out_len = bc.len;
	return 0;
}
