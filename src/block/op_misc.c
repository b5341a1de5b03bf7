/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Resize, check, snapshots: open, do, close. And the map of a disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/op.h"

static int close_written(struct block_node *n, int rc, const char *path, struct err *err)
{
	int rc2 = block_close(n);

	if (rc || !rc2)
		return rc;
	return err_set(err, rc2, "cannot write '%s': %s", path, strerror(-rc2));
}

static int target_len(const struct op_resize *r, const struct block_node *n, uint64_t *len,
		      struct err *err)
{
	*len = r->len;
	if (r->relative > 0 && r->len > BLOCK_MAX_BYTES - n->len)
		return err_set(err, -EFBIG, "'%s' cannot grow by %llu bytes", r->path,
			       (unsigned long long)r->len);
	if (r->relative > 0)
		*len = n->len + r->len;
	if (r->relative < 0 && r->len >= n->len)
		return err_set(err, -EINVAL, "'%s' has %llu bytes, it cannot shrink by %llu", r->path,
			       (unsigned long long)n->len, (unsigned long long)r->len);
	if (r->relative < 0)
		*len = n->len - r->len;
	if (!*len)
		return err_set(err, -EINVAL, "a disk of 0 bytes is of no use");
	if (*len % BLOCK_SECTOR)
		return err_set(err, -EINVAL, "a disk's size is a multiple of %u bytes; %llu would do",
			       BLOCK_SECTOR, (unsigned long long)align_up(*len, BLOCK_SECTOR));
	if (*len < n->len && !r->shrink)
		return err_set(err, -EPERM,
			       "'%s' would shrink from %llu to %llu bytes and lose what lies beyond; "
			       "make its file systems smaller first, then repeat with --shrink",
			       r->path, (unsigned long long)n->len, (unsigned long long)*len);
	return 0;
}

int op_resize(const struct op_env *env, const struct op_resize *r, uint64_t *out_len,
	      struct err *err)
{
	struct block_open_opts o = op_open_opts(env, r->format, BLOCK_OPEN_WRITE);
	struct block_node *n;
	uint64_t len;
	int rc = block_open(r->path, &o, &n, err);

	if (rc)
		return rc;
	rc = target_len(r, n, &len, err);
	if (!rc && len > n->len && r->prealloc >= BLOCK_PREALLOC_FALLOC)
		rc = op_room(env, r->path, len - n->len, err);
	if (!rc && len != n->len)
		rc = block_resize(n, len, r->prealloc, err);
	if (!rc && out_len)
		*out_len = n->len;
	return close_written(n, rc, r->path, err);
}

int op_check(const struct op_env *env, const char *path, const char *format, unsigned fix,
	     struct block_check *c, struct err *err)
{
	unsigned flags = BLOCK_OPEN_CHECK | BLOCK_OPEN_NO_BACKING | BLOCK_OPEN_NO_SECRET;
	struct block_open_opts o = op_open_opts(env, format, flags | (fix ? BLOCK_OPEN_WRITE : 0));
	struct block_node *n;
	int rc = block_open(path, &o, &n, err);

	if (rc)
		return rc;
	if (!n->desc->check)
		rc = err_set(err, -ENOTSUP, "images of format %s have no tables to check",
			     n->desc->name);
	else
		rc = n->desc->check(n, fix, c, err);
	return close_written(n, rc, path, err);
}

int op_map(const struct op_env *env, const char *path, const char *format,
	   int (*fn)(void *opaque, uint64_t off, const struct block_extent *e,
		     const struct block_node *top), void *opaque, struct err *err)
{
	struct block_open_opts o = op_open_opts(env, format, BLOCK_OPEN_NO_SECRET);
	struct block_extent run = { 0 }, e;
	struct block_node *n;
	uint64_t off = 0, start = 0;
	int rc = block_open(path, &o, &n, err);

	if (rc)
		return rc;
	for (; off < n->len && !rc; off += e.len) {
		rc = block_status_chain(n, NULL, off, n->len - off, &e);
		if (rc) {
			err_set(err, rc, "cannot read '%s': %s", path, strerror(-rc));
			break;
		}
		if (run.len && e.flags == run.flags && e.depth == run.depth &&
		    (!(e.flags & BLOCK_EXT_HOST_OFF) || (e.host_off == run.host_off + run.len &&
							  e.host_node == run.host_node))) {
			run.len += e.len;
			continue;
		}
		if (run.len)
			rc = fn(opaque, start, &run, n);
		run = e;
		start = off;
	}
	if (!rc && run.len)
		rc = fn(opaque, start, &run, n);
	block_close(n);
	return rc;
}

static int name_is_free(struct block_node *n, const char *name, struct err *err)
{
	struct block_info i;
	int rc = block_info(n, &i, err);

	for (size_t k = 0; !rc && k < i.nsnapshots; k++)
		if (!strcmp(i.snapshots[k].name, name))
			rc = err_set(err, -EEXIST, "'%s' has a snapshot '%s' already; give another "
						   "name, or delete that one first", n->path, name);
	block_info_fini(&i);
	return rc;
}

int op_snapshot(const struct op_env *env, const char *path, const char *format, enum op_snap what,
		const char *name, struct err *err)
{
	struct block_open_opts o = op_open_opts(env, format, BLOCK_OPEN_WRITE | BLOCK_OPEN_NO_SECRET);
	struct block_snapshot s = { .icount = UINT64_MAX };
	struct block_node *n;
	int rc;

	if (what <= OP_SNAP_ADD && (!*name || strlen(name) >= sizeof(s.name)))
		return err_set(err, -EINVAL, "a snapshot's name has 1 to %zu bytes",
			       sizeof(s.name) - 1);
	rc = block_open(path, &o, &n, err);
	if (rc)
		return rc;
	strncpy(s.name, name, sizeof(s.name) - 1);
	if (!n->desc->snap_create)
		rc = err_set(err, -ENOTSUP, "images of format %s have no snapshots inside; use an "
					    "overlay: 'disk create --backing'", n->desc->name);
	else if (what <= OP_SNAP_ADD)
		rc = what == OP_SNAP_CREATE ? name_is_free(n, name, err) : 0;
	else if (what == OP_SNAP_APPLY)
		rc = n->desc->snap_apply(n, name, err);
	else
		rc = n->desc->snap_delete(n, name, err);
	if (!rc && what <= OP_SNAP_ADD)
		rc = n->desc->snap_create(n, &s, err);
	return close_written(n, rc, path, err);
}
