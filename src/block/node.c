/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening and closing images: formats, probing, the backing chain. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/bits.h"
#include "src/block/block.h"
#include "src/block/node_priv.h"

#define FORMAT(sym) extern const struct block_format_desc sym;
#include "src/block/formats.def"
#undef FORMAT

static const struct block_format_desc *const formats[] = {
#define FORMAT(sym) &sym,
#include "src/block/formats.def"
#undef FORMAT
};

enum { PROBE_BYTES = 4096 };

const struct block_format_desc *block_format(const char *name)
{
	for (size_t i = 0; i < array_size(formats); i++)
		if (!strcmp(formats[i]->name, name))
			return formats[i];
	/* "vpc" is how qemu-img calls what everyone else calls VHD. */
	return !strcmp(name, "vhd") ? block_format("vpc") : NULL;
}

void block_format_each(void (*fn)(const struct block_format_desc *d, void *opaque), void *opaque)
{
	for (size_t i = 0; i < array_size(formats); i++)
		fn(formats[i], opaque);
}

const struct block_format_desc *block_probe(const uint8_t *buf, size_t len, const char *path)
{
	const struct block_format_desc *best = block_format("raw");
	int best_score = 0;

	for (size_t i = 0; i < array_size(formats); i++) {
		int score = formats[i]->probe ? formats[i]->probe(buf, len, path) : 0;

		if (score > best_score) {
			best = formats[i];
			best_score = score;
		}
	}
	return best;
}

struct block_node *block_node_new(const struct block_format_desc *d, const char *path,
				  const struct block_open_opts *o)
{
	struct block_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->path = strdup(path);
	if (!n->path) {
		free(n);
		return NULL;
	}
	n->desc = d;
	n->writable = o->flags & BLOCK_OPEN_WRITE;
	n->open_flags = o->flags;
	n->cache = o->cache;
	n->host = o->host;
	n->io_align = BLOCK_SECTOR;
	return n;
}

void block_node_free(struct block_node *n)
{
	free(n->backing_path);
	free(n->backing_format);
	free(n->path);
	free(n);
}

void block_node_poison(struct block_node *n) { n->dying = true; }

static int find_format(const char *path, const struct block_open_opts *o, struct block_node *file,
		       const struct block_format_desc **out, struct err *err)
{
	uint8_t buf[PROBE_BYTES];
	int rc;

	if (o->format) {
		*out = block_format(o->format);
		if (!*out)
			return err_set(err, -EINVAL, "'%s' is not an image format that is known; "
						     "'bothy disk formats' lists those",
				       o->format);
		return 0;
	}
	memset(buf, 0, sizeof(buf));
	rc = block_pread(file, 0, buf, sizeof(buf));
	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", path, strerror(-rc));
	*out = block_probe(buf, min_of(sizeof(buf), file->len), path);
	return 0;
}

struct block_above {
	const struct block_node *n;
	const struct block_above *up;
};

/* By inode: names may differ. */
bool block_same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	if (stat(a, &sa) < 0 || stat(b, &sb) < 0)
		return strcmp(a, b) == 0;
	return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

int block_may_name_files(const struct block_node *n, const struct block_open_opts *o,
			 struct err *err)
{
	if (o->format || !o->depth)
		return 0;
	return err_set(err, -EPERM,
		       "'%s' names another file, but its format was only guessed; if you trust it, "
		       "record the format with 'disk rebase --name-only --backing-format'", n->path);
}

static int check_chain(struct block_node *n, const char *path, const struct block_open_opts *o,
		       const struct block_above *above, struct err *err)
{
	int rc = block_may_name_files(n, o, err);

	if (rc)
		return rc;
	for (; above; above = above->up)
		if (block_same_file(path, above->n->path))
			return err_set(err, -ELOOP, "its chain leads back to '%s'", above->n->path);
	if (o->depth < BLOCK_MAX_CHAIN)
		return 0;
	return err_set(err, -ELOOP, "its chain has more than %d files; consolidate it",
		       BLOCK_MAX_CHAIN);
}

static int open_backing(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct block_above here = { n, o->above };
	struct block_open_opts bo = *o;
	char *path;
	int rc;

	if (!n->backing_path || (o->flags & BLOCK_OPEN_NO_BACKING))
		return 0;
	path = block_path_beside(n->path, n->backing_path);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	bo.format = n->backing_format;
	bo.flags &= ~(unsigned)(BLOCK_OPEN_WRITE | BLOCK_OPEN_CHECK);
	bo.depth = o->depth + 1;
	bo.above = &here;
	rc = check_chain(n, path, o, &here, err);
	if (!rc)
		rc = block_open(path, &bo, &n->backing, err);
	/* Which image's backing file it was matters where the chain is broken. */
	if (rc)
		err_prefix(err, rc, "backing file of '%s'", n->path);
	free(path);
	return rc;
}

static int open_node(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	int rc = n->desc->open(n, o, err);

	if (rc) {
		if (err && !err->text[0])
			err_set(err, rc, "cannot open '%s' as %s: %s", n->path, n->desc->name,
				strerror(-rc));
		n->desc = NULL; /* nothing to close */
		return rc == -EINVAL ? -EIO : rc; /* a bad image is no wrong argument */
	}
	return open_backing(n, o, err);
}

int block_open(const char *path, const struct block_open_opts *o, struct block_node **out,
	       struct err *err)
{
	static const struct block_open_opts none;
	const struct block_format_desc *d;
	struct block_node *file, *n;
	int rc;

	*out = NULL;
	if (!o)
		o = &none;
	rc = block_open_proto(path, o->flags, o->cache, o->host, &file, err);
	if (rc)
		return rc;
	rc = find_format(path, o, file, &d, err);
	if (rc)
		goto fail_file;
	n = block_node_new(d, path, o);
	if (!n) {
		rc = err_set(err, -ENOMEM, "out of memory");
		goto fail_file;
	}
	n->file = file;
	rc = open_node(n, o, err);
	if (rc) {
		block_close(n);
		return rc;
	}
	*out = n;
	return 0;

fail_file:
	block_close(file);
	return rc;
}

int block_close(struct block_node *n)
{
	int rc = 0, rc2;

	if (!n)
		return 0;
	if (n->desc && n->desc->close)
		rc = n->desc->close(n);
	rc2 = block_close(n->file);
	block_close(n->backing); /* read-only: nothing to lose */
	block_node_free(n);
	return rc ? rc : rc2;
}
