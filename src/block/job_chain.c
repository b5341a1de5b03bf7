/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commit and stream: a disk's chain of images gets shorter while the disk is in use. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/job_priv.h"

static int find_base(struct job *j, const char *base, struct block_node *below, struct err *err)
{
	if (base) {
		j->base = below ? graph_find(below, base) : NULL;
		return j->base ? 0 : err_set(err, -ENOENT, "'%s' is not in the disk's chain", base);
	}
	for (j->base = below; j->base && j->base->backing; j->base = j->base->backing)
		;
	return j->base ? 0 : err_set(err, -EINVAL, "the image has no backing file to commit into");
}

/* What @base has beyond a shorter image on top of it is not the disk's. */
static int fit_base(struct job *j, struct err *err)
{
	uint64_t len = j->top->len;
	int rc = 0;

	if (j->base->len < len)
		return block_resize(j->base, len, BLOCK_PREALLOC_OFF, err);
	if (j->base->len > len)
		rc = block_zero(j->base, len, j->base->len - len, true);
	return rc ? err_set(err, rc, "cannot write '%s': %s", j->base->path, strerror(-rc)) : 0;
}

static struct block_node **slot_of(struct job *j, struct block_node *n)
{
	struct block_node *above = graph_above(j->source, n);

	return above ? &above->backing : NULL;
}

static void back_to_readonly(struct job *j)
{
	struct block_node **slot = slot_of(j, j->base);

	/* Should it fail it stays open for writing, and nobody writes. */
	if (slot && graph_reopen(&j->open, slot, false, NULL) == 0)
		j->base = *slot;
}

/* ---- commit of images below the top ---- */

static int commit_piece(struct job *j, uint64_t off, uint64_t *len, uint8_t *buf)
{
	struct block_extent e;
	int rc = block_status_chain(j->top, j->base, off, min_of(j->top->len - off,
								 (uint64_t)JOB_STEP), &e);

	*len = e.len;
	if (rc || !(e.flags & BLOCK_EXT_ALLOCATED))
		return rc;
	*len = min_of(e.len, (uint64_t)JOB_STEP);
	if (e.flags & BLOCK_EXT_ZERO)
		return block_zero(j->base, off, *len, true);
	rc = block_pread(j->top, off, buf, *len);
	return rc ? rc : block_pwrite(j->base, off, buf, *len);
}

static int commit_run(struct job *j)
{
	uint8_t *buf = op_bufs_get(&j->bufs);
	uint64_t off = 0, len;
	int rc = buf ? 0 : -ENOMEM;

	job_progress(j, 0, j->top->len);
	while (!rc && off < j->top->len) {
		rc = job_point(j, 0);
		if (!rc)
			rc = commit_piece(j, off, &len, buf);
		if (rc) {
			rc = job_failed(j, rc);
			continue;
		}
		off += len;
		job_progress(j, len, j->top->len - off);
		rc = job_point(j, len);
	}
	op_bufs_put(&j->bufs, buf);
	return rc;
}

static int commit_finish(struct job *j, int rc)
{
	struct block_node *over = graph_above(j->source, j->top), **slot;
	bool was_writable = over->writable;
	char *name = NULL;

	if (!rc)
		rc = block_flush(j->base);
	if (!rc && !(name = graph_name(j->base)))
		rc = -ENOMEM;
	if (!rc && !was_writable) { /* its header gets another name in it */
		slot = slot_of(j, over);
		rc = graph_reopen(&j->open, slot, true, &j->err);
		over = *slot;
	}
	if (!rc)
		rc = over->desc->set_backing(over, name, j->base->desc->name, &j->err);
	free(name);
	if (!rc)
		graph_drop_between(over, j->base);
	if (!was_writable && over->writable) {
		slot = slot_of(j, over);
		if (graph_reopen(&j->open, slot, false, NULL) == 0)
			over = *slot;
	}
	back_to_readonly(j);
	return rc;
}

static const struct job_ops commit_ops = { commit_run, commit_finish };

/* ---- commit of the top: a mirror into the base ---- */

static int active_finish(struct job *j, int rc)
{
	struct block_node *base = j->target;
	uint64_t at = 0, len;

	j->target = NULL;
	while (!rc && dirty_next(j->todo, 0, JOB_STEP, &at, &len)) {
		uint8_t *buf = op_bufs_get(&j->bufs);

		rc = buf ? copy_range(j, j->source, base, at, len, buf) : -ENOMEM;
		dirty_clear(j->todo, at, len);
		op_bufs_put(&j->bufs, buf);
	}
	if (!rc)
		rc = block_flush(base);
	if (rc || !j->pivot) {
		back_to_readonly(j);
		return rc;
	}
	j->tap->file = NULL;
	graph_above(j->source, base)->backing = NULL;
	blk_set_top(j->blk, base);
	if (j->js->c.switched)
		j->js->c.switched(j->js->c.opaque, j->blk, base->path);
	block_close(j->source); /* all of it is in the base */
	bitmaps_forget(j->js, j->blk);
	return 0;
}

static int active_run(struct job *j) { return mirror_ops.run(j); }

static const struct job_ops active_ops = { active_run, active_finish };

static int start_active(struct job *j, struct err *err)
{
	int rc;

	j->ops = &active_ops;
	j->target = j->base;
	j->chunk = max_of((uint64_t)JOB_CHUNK, (uint64_t)min_of(j->source->io_align, 2u << 20));
	j->todo = dirty_new(j->source->len, (uint32_t)j->chunk);
	if (!j->todo)
		return err_set(err, -ENOMEM, "out of memory");
	rc = copy_mark(j, j->source, j->base, JOB_TOP);
	return rc ? rc : job_start(j, &mirror_hook, err);
}

int job_commit(struct jobs *js, const struct job_common *c, const char *top, const char *base,
	       struct err *err)
{
	struct job *j = job_new(js, JOB_COMMIT, &commit_ops, c, err);
	struct block_node *over, **slot;
	int rc = 0;

	if (!j)
		return -EINVAL;
	j->top = top ? graph_find(j->source, top) : j->source;
	if (!j->top)
		rc = err_set(err, -ENOENT, "'%s' is not in the disk's chain", top);
	if (!rc)
		rc = find_base(j, base, j->top->backing, err);
	over = rc || j->top == j->source ? NULL : graph_above(j->source, j->top);
	if (!rc && over && !over->desc->set_backing)
		rc = err_set(err, -ENOTSUP, "the backing file of %s images cannot be changed",
			     over->desc->name);
	if (rc) {
		job_drop(j);
		return rc;
	}
	blk_drain(j->blk);
	slot = slot_of(j, j->base);
	rc = graph_reopen(&j->open, slot, true, err);
	j->base = *slot;
	if (!rc)
		rc = fit_base(j, err);
	if (!rc)
		rc = over ? job_start(j, NULL, err) : start_active(j, err);
	if (rc) {
		j->target = NULL;
		back_to_readonly(j);
		job_drop(j);
	}
	return rc;
}

/* ---- stream ---- */

/* What the top lacks and an image above the base has. The range is held. */
static int pull(struct job *j, uint64_t off, uint64_t len, uint8_t *buf)
{
	struct block_node *top = j->source;
	uint64_t at = 0;
	int rc = 0;

	while (at < len && !rc) {
		struct block_extent e;

		rc = block_status(top, off + at, len - at, &e);
		if (!rc && !(e.flags & BLOCK_EXT_ALLOCATED)) {
			rc = block_status_chain(top->backing, j->base, off + at, e.len, &e);
			if (rc)
				break;
			if (e.flags & BLOCK_EXT_ZERO && e.flags & BLOCK_EXT_ALLOCATED) {
				/* With nothing below any more it reads as zeroes by itself. */
				if (j->base)
					rc = block_zero(top, off + at, e.len, true);
			} else if (e.flags & BLOCK_EXT_ALLOCATED) {
				rc = block_pread(top, off + at, buf, e.len);
				if (!rc && (j->base || !block_is_zero(buf, e.len)))
					rc = block_pwrite(top, off + at, buf, e.len);
			}
		}
		at += e.len;
	}
	return rc;
}

static int stream_run(struct job *j)
{
	uint64_t len = j->source->len, off = 0, n;
	uint8_t *buf = op_bufs_get(&j->bufs);
	struct range r;
	int rc = buf ? 0 : -ENOMEM;

	job_progress(j, 0, len);
	while (!rc && off < len) {
		n = min_of(len - off, (uint64_t)JOB_STEP);
		rc = job_point(j, n);
		if (rc)
			break;
		tap_lock(j->tap, &r, off, n);
		rc = pull(j, off, n, buf);
		tap_unlock(j->tap, &r);
		if (rc) {
			rc = job_failed(j, rc);
			continue;
		}
		off += n;
		job_progress(j, n, len - off);
	}
	op_bufs_put(&j->bufs, buf);
	return rc;
}

static int stream_finish(struct job *j, int rc)
{
	char *name = NULL;

	if (!rc)
		rc = block_flush(j->source);
	if (!rc && j->base && !(name = graph_name(j->base)))
		rc = -ENOMEM;
	if (!rc)
		rc = j->source->desc->set_backing(j->source, name,
						  j->base ? j->base->desc->name : NULL, &j->err);
	free(name);
	if (!rc)
		graph_drop_between(j->source, j->base);
	return rc;
}

static const struct job_ops stream_ops = { stream_run, stream_finish };

int job_stream(struct jobs *js, const struct job_common *c, const char *base, struct err *err)
{
	static const struct tap_hook none;
	struct job *j = job_new(js, JOB_STREAM, &stream_ops, c, err);
	int rc = 0;

	if (!j)
		return -EINVAL;
	if (!j->source->backing)
		rc = err_set(err, -EINVAL, "'%s' has no backing file: there is nothing to pull in",
			     j->source->path);
	else if (!j->source->desc->set_backing)
		rc = err_set(err, -ENOTSUP, "the backing file of %s images cannot be changed",
			     j->source->desc->name);
	else if (!j->source->writable)
		rc = err_set(err, -EROFS, "'%s' is read-only", j->source->path);
	else if (base)
		rc = find_base(j, base, j->source->backing, err);
	if (!rc)
		rc = job_start(j, &none, err);
	if (rc)
		job_drop(j);
	return rc;
}
