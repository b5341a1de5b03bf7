/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mirror and backup: a copy of a disk that is in use, kept up or of one moment. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/job_priv.h"

static int make_zero(struct block_node *to, uint64_t off, uint64_t len)
{
	uint64_t at = 0;
	int rc = 0;

	while (at < len && !rc) {
		struct block_extent e;

		rc = block_status_chain(to, NULL, off + at, len - at, &e);
		if (rc)
			break;
		e.len = min_of(e.len, len - at);
		if (!(e.flags & BLOCK_EXT_ZERO))
			rc = block_zero(to, off + at, e.len, true);
		at += e.len;
	}
	return rc;
}

/* @spare: room for @len bytes. */
static int copy_data(struct job *j, struct block_node *to, uint64_t off, uint64_t len,
		     const uint8_t *buf, uint8_t *spare)
{
	int rc = 0;

	if (block_is_zero(buf, len))
		return make_zero(to, off, len);
	if (j->resume) {
		rc = block_pread(to, off, spare, len);
		if (!rc && !memcmp(buf, spare, len))
			return 0;
	}
	return rc ? rc : block_pwrite(to, off, buf, len);
}

int copy_range(struct job *j, struct block_node *from, struct block_node *to, uint64_t off,
	       uint64_t len, uint8_t *buf)
{
	uint64_t at = 0;
	int rc = 0;

	while (at < len && !rc) {
		struct block_extent e;

		rc = block_status_chain(from, NULL, off + at, min_of(len - at, (uint64_t)JOB_STEP),
					&e);
		if (rc)
			break;
		e.len = min_of(e.len, min_of(len - at, (uint64_t)JOB_STEP));
		if (e.flags & BLOCK_EXT_ZERO)
			rc = make_zero(to, off + at, e.len);
		else
			rc = block_pread(from, off + at, buf, e.len);
		for (uint64_t i = 0; !rc && !(e.flags & BLOCK_EXT_ZERO) && i < e.len; i += JOB_CHUNK)
			rc = copy_data(j, to, off + at + i, min_of(e.len - i, (uint64_t)JOB_CHUNK),
				       buf + i, buf + JOB_STEP);
		at += e.len;
	}
	return rc;
}

int copy_mark(struct job *j, struct block_node *top, struct block_node *base, enum job_sync sync)
{
	uint64_t at = 0;
	int rc = 0;

	if (sync == JOB_FULL || sync == JOB_NONE) {
		dirty_set(j->todo, 0, top->len);
		return 0;
	}
	while (at < top->len && !rc) {
		struct block_extent e;

		rc = block_status_chain(top, base, at, top->len - at, &e);
		if (!rc && e.flags & BLOCK_EXT_ALLOCATED)
			dirty_set(j->todo, at, e.len);
		at += e.len;
	}
	return rc;
}

/* ---- mirror ---- */

/* What reads after a discard is the source's to say. */
static int copy_again(struct job *j, uint64_t off, uint64_t len)
{
	uint8_t *buf = op_bufs_get(&j->bufs);
	int rc = buf ? copy_range(j, j->source, j->target, off, len, buf) : -ENOMEM;

	op_bufs_put(&j->bufs, buf);
	return rc;
}

/* A guest's write goes to the target too. A part that waits to be copied anyway is left to
 * that: so in the end nothing waits, however much the guest writes. */
static int write_both(struct job *j, enum tap_kind k, uint64_t off, uint64_t len,
		      const struct block_vec *v, size_t voff)
{
	uint64_t end = off + len, at, next, marked, n;
	int rc = 0;

	for (at = off; at < end && !rc; at = next) {
		if (!dirty_next(j->todo, at, UINT64_MAX, &marked, &n) || marked >= end) {
			marked = end;
			n = 0;
		}
		next = marked + n;
		marked = max_of(marked, at);
		if (marked > at && k == TAP_ZERO)
			rc = make_zero(j->target, at, marked - at);
		else if (marked > at && k == TAP_DISCARD)
			rc = copy_again(j, at, marked - at);
		else if (marked > at)
			rc = block_pwritev(j->target, at, marked - at, v, voff + (at - off));
	}
	return rc;
}

static void mirror_after(void *opaque, enum tap_kind k, uint64_t off, uint64_t len,
			 const struct block_vec *v, size_t voff)
{
	struct job *j = opaque;

	if (atomic_load(&j->active) && (k != TAP_WRITE || v) &&
	    !write_both(j, k, off, len, v, voff))
		return;
	/* What failed is tried again by the job, which has a policy for that. */
	dirty_set(j->todo, off, len);
	pthread_mutex_lock(&j->lock);
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
}

const struct tap_hook mirror_hook = { .after = mirror_after };

/* Copies a piece that is marked; guest writes to it wait. */
static int mirror_piece(struct job *j, uint64_t at, uint64_t len)
{
	uint8_t *buf = op_bufs_get(&j->bufs);
	struct range r;
	int rc = buf ? 0 : -ENOMEM;

	if (rc)
		return rc;
	tap_lock(j->tap, &r, at, len);
	dirty_clear(j->todo, at, len);
	rc = copy_range(j, j->source, j->target, at, len, buf);
	if (rc)
		dirty_set(j->todo, at, len);
	tap_unlock(j->tap, &r);
	op_bufs_put(&j->bufs, buf);
	return rc;
}

/* Until nothing is marked. */
static int mirror_pass(struct job *j)
{
	uint64_t at = 0, len, cursor = 0;
	int rc = 0;

	while (!rc) {
		if (!dirty_next(j->todo, cursor, JOB_STEP, &at, &len)) {
			if (!cursor)
				break;
			/* All was copied once: what is written from now on goes to both. */
			atomic_store(&j->active, true);
			cursor = 0;
			continue;
		}
		rc = job_point(j, len);
		if (rc)
			break;
		rc = mirror_piece(j, at, len);
		if (!rc) {
			job_progress(j, len, dirty_bytes(j->todo));
			cursor = at + len;
		} else {
			rc = job_failed(j, rc);
		}
	}
	return rc;
}

/* Ready: waits for what people or the guest do. True: it shall end. */
static bool mirror_idle(struct job *j)
{
	bool end;

	pthread_mutex_lock(&j->lock);
	while (!j->complete && !j->cancel && !j->hook_rc && !dirty_bytes(j->todo))
		pthread_cond_wait(&j->cond, &j->lock);
	end = j->complete || j->cancel;
	j->pivot = j->complete && !j->cancel;
	pthread_mutex_unlock(&j->lock);
	return end;
}

static int mirror_run(struct job *j)
{
	int rc = 0;

	job_progress(j, 0, dirty_bytes(j->todo));
	for (;;) {
		rc = mirror_pass(j);
		if (rc)
			return rc;
		if (!atomic_exchange(&j->active, true))
			continue; /* once more, now that new writes go to both */
		if (!j->ready)
			job_set_ready(j);
		if (mirror_idle(j) && !dirty_bytes(j->todo))
			return j->force ? -ECANCELED : 0;
	}
}

/* The disk goes on in the target, or the target is complete and stays. */
static int mirror_finish(struct job *j, int rc)
{
	uint64_t at = 0, len;
	struct block_node *old;
	int rc2;

	/* What the guest did until it was drained. */
	while (!rc && dirty_next(j->todo, 0, JOB_STEP, &at, &len))
		rc = mirror_piece(j, at, len);
	if (!rc)
		rc = block_flush(j->target);
	if (!rc)
		rc = graph_sync_made(&j->made, j->open.host, &j->err);
	if (!rc && j->pivot) {
		old = j->source;
		blk_set_top(j->blk, j->target);
		j->tap->file = NULL;
		if (j->js->c.switched)
			j->js->c.switched(j->js->c.opaque, j->blk, j->target->path);
		j->target = NULL;
		rc2 = block_close(old);
		if (rc2) /* all of it is in the target */
			err_set(&j->err, rc2, "'%s' was not closed: %s", "the old image",
				strerror(-rc2));
		bitmaps_forget(j->js, j->blk);
		return 0;
	}
	rc2 = block_close(j->target);
	j->target = NULL;
	return rc ? rc : rc2;
}

const struct job_ops mirror_ops = { mirror_run, mirror_finish };

/* ---- backup ---- */

/* Saves what is still to be saved of a range. */
static int save(struct job *j, uint64_t off, uint64_t len)
{
	uint64_t lo = align_down(off, j->chunk), hi = min_of(align_up(off + len, j->chunk),
							     j->source->len);
	uint64_t at = lo, n;
	struct range r;
	uint8_t *buf;
	int rc = 0;

	if (!dirty_next(j->todo, lo, 1, &at, &n) || at >= hi)
		return 0; /* a bit goes only when its piece is saved */
	buf = op_bufs_get(&j->bufs);
	if (!buf)
		return -ENOMEM;
	range_lock(&j->copies, &r, lo, hi, true);
	at = lo;
	while (!rc && dirty_next(j->todo, at, JOB_STEP, &at, &n) && at < hi) {
		n = min_of(n, hi - at);
		rc = copy_range(j, j->source, j->target, at, n, buf);
		if (!rc)
			dirty_clear(j->todo, at, n);
		at += n;
	}
	range_unlock(&j->copies, &r);
	op_bufs_put(&j->bufs, buf);
	return rc;
}

static void backup_before(void *opaque, uint64_t off, uint64_t len)
{
	struct job *j = opaque;
	int rc = save(j, off, len);

	if (!rc)
		return;
	/* The guest goes on; the moment that the copy should be of is lost. */
	pthread_mutex_lock(&j->lock);
	if (!j->hook_rc)
		j->hook_rc = rc;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
}

static const struct tap_hook backup_hook = { .before = backup_before };

static int backup_run(struct job *j)
{
	uint64_t at = 0, len;
	int rc = 0;

	job_progress(j, 0, dirty_bytes(j->todo));
	while (!rc && !j->none && dirty_next(j->todo, at, JOB_STEP, &at, &len)) {
		rc = job_point(j, len);
		if (rc)
			break;
		rc = save(j, at, len);
		if (!rc)
			job_progress(j, len, dirty_bytes(j->todo));
		else
			rc = job_failed(j, rc);
	}
	while (!rc && j->none) {
		pthread_mutex_lock(&j->lock);
		while (!j->cancel && !j->hook_rc)
			pthread_cond_wait(&j->cond, &j->lock);
		pthread_mutex_unlock(&j->lock);
		rc = job_point(j, 0);
	}
	return rc;
}

static int backup_finish(struct job *j, int rc)
{
	int rc2;

	if (!rc || j->none)
		rc2 = block_flush(j->target);
	else
		rc2 = 0;
	if (!rc && !rc2)
		rc = graph_sync_made(&j->made, j->open.host, &j->err);
	rc = rc ? rc : rc2;
	rc2 = block_close(j->target);
	j->target = NULL;
	rc = rc ? rc : rc2;
	if (j->none && rc == -ECANCELED) {
		block_made_fini(&j->made); /* its end is being cancelled: the copy stays */
		return rc;
	}
	if (rc && j->taken)
		bitmap_give_back(j->js, j->blk, j->bitmap, j->taken);
	return rc;
}

static const struct job_ops backup_ops = { backup_run, backup_finish };

/* ---- starting ---- */

static int open_target(struct job *j, const struct job_target *t, struct err *err)
{
	struct op_env env = { .secret = j->open.secret, .host = j->open.host };
	struct block_node *src = j->source, *under = src->backing;
	struct block_open_opts o = j->open;
	struct op_create c = { .path = t->path, .format = t->format ? t->format : src->desc->name,
			       .len = src->len, .has_len = true, .opts = t->opts, .nopts = t->nopts,
			       .made = &j->made };
	char *name = NULL;
	int rc = 0;

	if (!t->path || !t->path[0])
		return err_set(err, -EINVAL, "a target is missing");
	if (t->sync == JOB_TOP || t->sync == JOB_NONE)
		under = t->sync == JOB_TOP ? under : src;
	else
		under = NULL;
	if (!t->existing && t->sync == JOB_INCREMENTAL)
		return err_set(err, -EINVAL, "an incremental backup goes into an overlay of the last "
					     "one: create it, and say mode=existing");
	if (!t->existing) {
		if (under && j->type == JOB_MIRROR) {
			name = graph_name(under);
			if (!name)
				return err_set(err, -ENOMEM, "out of memory");
			c.backing_path = name;
			c.backing_format = under->desc->name;
			c.backing_unchecked = true;
		}
		rc = op_create(&env, &c, NULL, err);
		free(name);
	}
	if (rc)
		return rc;
	o.format = t->existing ? t->format : c.format;
	o.flags = BLOCK_OPEN_WRITE;
	rc = block_open(t->path, &o, &j->target, err);
	if (!rc && (j->type == JOB_MIRROR ? j->target->len != src->len : j->target->len < src->len))
		rc = err_set(err, -EINVAL, "'%s' holds %llu bytes, the disk has %llu", t->path,
			     (unsigned long long)j->target->len, (unsigned long long)src->len);
	if (!rc && t->existing)
		rc = blk_guest_ok(j->target, t->format, err);
	return rc;
}

static uint32_t choose_granularity(const struct job *j, const struct job_target *t)
{
	uint32_t g = t->granularity ? t->granularity : JOB_CHUNK;

	/* Pieces smaller than the target's clusters would be copied together with what is
	 * around them, from the target's backing image. */
	if (!t->granularity && j->target->io_align <= 2u << 20)
		g = max_of(g, j->target->io_align);
	return g;
}

static int prepare(struct job *j, const struct job_target *t, struct err *err)
{
	uint32_t g = t->granularity;
	int rc;

	if (g && (g & (g - 1) || g < 4096 || g > 64u << 20))
		return err_set(err, -EINVAL, "the granularity is a power of two from 4096 to 67108864");
	if (t->resume && !t->existing)
		return err_set(err, -EINVAL, "resume goes on in a target that exists");
	rc = open_target(j, t, err);
	if (rc)
		return rc;
	j->resume = t->resume;
	j->chunk = choose_granularity(j, t);
	j->todo = dirty_new(j->source->len, (uint32_t)j->chunk);
	if (!j->todo)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static void give_up(struct job *j)
{
	block_close(j->target);
	j->target = NULL;
	block_made_remove(&j->made, j->open.host);
	if (j->taken)
		bitmap_give_back(j->js, j->blk, j->bitmap, j->taken);
	job_drop(j);
}

int job_mirror(struct jobs *js, const struct job_common *c, const struct job_target *t,
	       struct err *err)
{
	struct job *j = job_new(js, JOB_MIRROR, &mirror_ops, c, err);
	int rc;

	if (!j)
		return -EINVAL;
	rc = t->sync == JOB_INCREMENTAL ? err_set(err, -EINVAL, "a mirror is full, top or none")
					: prepare(j, t, err);
	if (!rc)
		blk_drain(j->blk);
	if (!rc && t->sync != JOB_NONE)
		rc = copy_mark(j, j->source, t->sync == JOB_TOP ? j->source->backing : NULL,
			       t->sync == JOB_TOP && j->source->backing ? JOB_TOP : JOB_FULL);
	atomic_store(&j->active, t->at_once);
	if (!rc)
		rc = job_start(j, &mirror_hook, err);
	if (rc)
		give_up(j);
	return rc;
}

int job_backup(struct jobs *js, const struct job_common *c, const struct job_target *t,
	       struct err *err)
{
	struct job *j = job_new(js, JOB_BACKUP, &backup_ops, c, err);
	int rc;

	if (!j)
		return -EINVAL;
	if (!t->bitmap != (t->sync != JOB_INCREMENTAL))
		rc = err_set(err, -EINVAL, "an incremental backup, and no other, names a bitmap");
	else
		rc = prepare(j, t, err);
	if (!rc) /* the moment that the copy is of */
		blk_drain(j->blk);
	if (!rc && t->sync == JOB_INCREMENTAL) {
		j->bitmap = strdup(t->bitmap);
		j->taken = dirty_new(j->source->len, JOB_CHUNK);
		rc = j->bitmap && j->taken ? bitmap_take(js, c->blk, t->bitmap, j->taken, err)
					   : err_set(err, -ENOMEM, "out of memory");
		if (rc) {
			dirty_free(j->taken);
			j->taken = NULL;
		} else {
			dirty_merge(j->todo, j->taken);
		}
	} else if (!rc) {
		rc = copy_mark(j, j->source, t->sync == JOB_TOP ? j->source->backing : NULL,
			       t->sync == JOB_TOP && !j->source->backing ? JOB_FULL : t->sync);
		j->none = t->sync == JOB_NONE;
	}
	if (!rc)
		rc = job_start(j, &backup_hook, err);
	if (rc)
		give_up(j);
	return rc;
}
