/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image takes, could come to take, and what deleting snapshots would give back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/op.h"

/* Bytes of the disk that have no storage of their own in this image. */
static int unallocated(struct block_node *n, uint64_t *out)
{
	struct block_extent e;
	uint64_t off = 0;
	int rc = 0;

	*out = 0;
	for (; off < n->len && !rc; off += e.len) {
		rc = block_status(n, off, n->len - off, &e);
		if (!rc && !(e.flags & BLOCK_EXT_DATA))
			*out += e.len;
	}
	return rc;
}

static int most(const struct op_env *env, struct block_node *n, struct block_usage *u,
		struct err *err)
{
	uint64_t required, more;
	int rc;

	if (!strcmp(n->desc->name, "qcow2")) {
		struct block_info i;

		rc = block_info(n, &i, err);
		if (rc)
			return rc;
		rc = op_measure(env, NULL, NULL, n->len, "qcow2", i.cluster_bytes, &required, &u->most,
				err);
		u->most += u->held_by_snapshots;
		block_info_fini(&i);
		return rc;
	}
	rc = unallocated(n, &more);
	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	u->most = strcmp(n->desc->name, "raw") ? n->file->len + align_up(more, n->io_align) : n->len;
	u->most = max_of(u->most, u->host);
	return 0;
}

int op_usage(const struct op_env *env, const char *path, const char *format,
	     const char *const *names, size_t nnames, struct block_usage *u, struct err *err)
{
	struct block_open_opts o = op_open_opts(env, format, BLOCK_OPEN_NO_BACKING |
								     BLOCK_OPEN_NO_SECRET);
	struct block_node *n;
	int rc = block_open(path, &o, &n, err);

	memset(u, 0, sizeof(*u));
	if (rc)
		return rc;
	u->len = n->len;
	rc = block_host_bytes(n, &u->host);
	u->used = n->desc->usage ? 0 : u->host;
	if (!rc && n->desc->usage)
		rc = n->desc->usage(n, names, nnames, u);
	else if (!rc && nnames)
		rc = -ENOENT;
	if (rc == -ENOENT)
		err_set(err, rc, "'%s' does not have all of these snapshots", path);
	else if (rc)
		err_set(err, rc, "cannot read '%s': %s", path, strerror(-rc));
	else
		rc = most(env, n, u, err);
	block_close(n);
	if (rc)
		op_usage_fini(u);
	return rc;
}

void op_usage_fini(struct block_usage *u)
{
	free(u->snapshots);
	memset(u, 0, sizeof(*u));
}
