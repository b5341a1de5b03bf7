/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes to the graph of a disk's images, and to a disk at once: snapshot, resize. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/block/job_priv.h"

int graph_reopen(const struct block_open_opts *open, struct block_node **slot, bool writable,
		 struct err *err)
{
	struct block_node *old = *slot, *n;
	struct block_open_opts o = *open;
	int rc;

	if (old->writable == writable)
		return 0;
	rc = block_flush(old);
	if (rc)
		return err_set(err, rc, "cannot write '%s': %s", old->path, strerror(-rc));
	o.format = old->desc->name;
	o.cache = old->cache;
	/* Beside the one that is open still: its locks are ours. */
	o.flags = BLOCK_OPEN_NO_BACKING | BLOCK_OPEN_NO_LOCK | (writable ? BLOCK_OPEN_WRITE : 0);
	rc = block_open(old->path, &o, &n, err);
	if (rc)
		return rc;
	n->backing = old->backing;
	old->backing = NULL;
	*slot = n;
	rc = block_close(old);
	if (rc)
		return err_set(err, rc, "cannot write '%s': %s", n->path, strerror(-rc));
	return n->file ? block_file_lock(n->file, err) : 0;
}

struct block_node *graph_find(struct block_node *n, const char *path)
{
	while (n && strcmp(n->path, path) && !block_same_file(n->path, path))
		n = n->backing;
	return n;
}

struct block_node *graph_above(struct block_node *top, const struct block_node *below)
{
	while (top && top->backing != below)
		top = top->backing;
	return top;
}

void graph_drop_between(struct block_node *top, struct block_node *base)
{
	struct block_node *first = top->backing, *last;

	if (first == base)
		return;
	last = graph_above(first, base);
	if (last)
		last->backing = NULL;
	top->backing = base;
	block_close(first);
}

char *graph_name(const struct block_node *n)
{
	char *full = n->host || strstr(n->path, "://") ? NULL : realpath(n->path, NULL);

	return full ? full : strdup(n->path);
}

/* The files, and the folders that list them, are on storage. */
int graph_sync_made(const struct block_made *m, const struct block_host *host, struct err *err)
{
	int rc = op_sync_files(m, host, err);

	for (size_t i = 0; i < m->n && !rc && !host; i++) {
		char *dir = strdup(m->paths[i]), *slash = dir ? strrchr(dir, '/') : NULL;
		int fd;

		if (slash)
			slash[slash == dir] = '\0';
		fd = dir ? open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		if (fd >= 0) {
			if (fsync(fd) < 0 && errno != EINVAL)
				rc = err_set(err, -errno, "cannot write the folder of '%s': %s",
					     m->paths[i], strerror(errno));
			close(fd);
		}
		free(dir);
	}
	return rc;
}

static int make_overlay(struct block_node *under, const struct block_open_opts *open,
			const char *path, const char *format, struct block_made *made,
			struct err *err)
{
	struct op_env env = { .secret = open->secret, .host = open->host };
	struct op_create c = { .path = path, .format = format ? format : "qcow2",
			       .len = under->len, .has_len = true, .backing_unchecked = true,
			       .backing_format = under->desc->name, .unsynced = true,
			       .made = made };
	char *name = graph_name(under);
	int rc;

	if (!name)
		return err_set(err, -ENOMEM, "out of memory");
	c.backing_path = name;
	rc = op_create(&env, &c, NULL, err);
	free(name);
	if (!rc)
		rc = graph_sync_made(made, open->host, err);
	return rc;
}

static int check_overlay(const struct block_node *n, const struct block_node *under, struct err *err)
{
	char *full = n->backing_path ? block_path_beside(n->path, n->backing_path) : NULL;
	bool same = full && (!strcmp(full, under->path) || block_same_file(full, under->path));

	free(full);
	if (!same)
		return err_set(err, -EINVAL, "'%s' is no overlay of '%s'", n->path, under->path);
	if (n->len != under->len)
		return err_set(err, -EINVAL, "'%s' has another size than '%s'", n->path, under->path);
	return 0;
}

int blk_snapshot(struct jobs *js, struct blk *b, const struct block_open_opts *open,
		  const char *path, const char *format, bool existing, struct err *err)
{
	struct block_node *under = blk_node(b), *n = NULL;
	struct block_made made = { NULL, 0 };
	struct block_open_opts o = *open;
	int rc = 0;

	if (!under)
		return err_set(err, -ENOMEDIUM, "there is no disk in the drive");
	if (jobs_busy(js, b))
		return err_set(err, -EBUSY, "a job runs on this disk; wait for it or cancel it");
	if (!under->writable)
		return err_set(err, -EROFS, "'%s' is read-only: it needs no snapshot", under->path);
	if (!existing)
		rc = make_overlay(under, open, path, format, &made, err);
	o.format = format ? format : "qcow2";
	o.flags = BLOCK_OPEN_WRITE | BLOCK_OPEN_NO_BACKING;
	o.cache = under->cache;
	if (!rc)
		rc = block_open(path, &o, &n, err);
	if (!rc)
		rc = check_overlay(n, under, err);
	if (!rc) {
		blk_drain(b);
		rc = graph_reopen(open, &under, false, err);
		/* Where it could not be opened anew it stays as it is; where its lock could
		 * not be taken again the new node stands already. */
		blk_set_top(b, under);
	}
	if (rc) {
		block_close(n);
		block_made_remove(&made, open->host);
		block_made_fini(&made);
		return err_prefix(err, rc, "no snapshot was made");
	}
	n->backing = under;
	blk_set_top(b, n);
	block_made_fini(&made);
	bitmaps_forget(js, b);
	if (js->c.switched)
		js->c.switched(js->c.opaque, b, path);
	return 0;
}

int blk_resize(struct jobs *js, struct blk *b, uint64_t len, bool shrink, struct err *err)
{
	struct block_node *n = blk_node(b);
	uint64_t old;
	int rc;

	if (!n)
		return err_set(err, -ENOMEDIUM, "there is no disk in the drive");
	if (jobs_busy(js, b))
		return err_set(err, -EBUSY, "a job runs on this disk; wait for it or cancel it");
	old = n->len;
	if (!len || len % BLOCK_SECTOR)
		return err_set(err, -EINVAL, "a disk's size is a multiple of %u bytes, and not 0",
			       BLOCK_SECTOR);
	if (len < old && !shrink)
		return err_set(err, -EINVAL, "the disk has %llu bytes: a smaller size cuts off what "
					     "is beyond", (unsigned long long)old);
	blk_drain(b);
	rc = block_resize(n, len, BLOCK_PREALLOC_OFF, err);
	/* What a longer backing image holds there is not this disk's. */
	if (!rc && len > old && n->backing && n->backing->len > old) {
		rc = block_zero(n, old, len - old, true);
		if (rc)
			err_set(err, rc, "cannot clear the new part: %s", strerror(-rc));
	}
	if (!rc)
		rc = block_flush(n);
	if (n->len != old) {
		bitmaps_resized(js, b);
		blk_resized(b);
	}
	return rc;
}
