/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The work whose log is cut: what a guest and jobs do to a disk, at random. */
#include "src/block/torture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/torture_priv.h"

enum { MAX_IMAGES = 40, MAX_IO = 200 * 1024, DEFAULT_DISK = 3 << 20 };

uint64_t torture_rnd(struct run *u)
{
	u->rng ^= u->rng << 13;
	u->rng ^= u->rng >> 7;
	u->rng ^= u->rng << 17;
	return u->rng * 0x2545f4914f6cdd1dULL;
}

static struct op *begin(struct run *u)
{
	struct op *o;

	if (u->nops == u->ops_cap) {
		size_t cap = u->ops_cap ? u->ops_cap * 2 : 256;

		o = realloc(u->ops, cap * sizeof(*o));
		if (!o)
			return NULL;
		u->ops = o;
		u->ops_cap = cap;
	}
	o = &u->ops[u->nops++];
	memset(o, 0, sizeof(*o));
	o->begin = u->host.nlog;
	return o;
}

static int end(struct run *u, struct op *o, int rc)
{
	o->end = u->host.nlog;
	o->disk_len = u->n->len;
	if (rc || !o->len)
		return rc;
	o->data = malloc(o->len);
	if (!o->data)
		return -ENOMEM;
	memcpy(o->data, u->model + o->off, o->len);
	return 0;
}

static void pick(struct run *u, uint64_t *off, uint64_t *len)
{
	uint64_t unit = torture_rnd(u) % 3 ? 512 : 4096;

	*off = torture_rnd(u) % (u->n->len / unit) * unit;
	*len = (torture_rnd(u) % (torture_rnd(u) % 4 ? 16384 : MAX_IO) / unit + 1) * unit;
	*len = min_of(*len, u->n->len - *off);
}

static int do_write(struct run *u, bool packed)
{
	struct op *o = begin(u);
	struct block_info i;
	int rc;

	if (!o)
		return -ENOMEM;
	pick(u, &o->off, &o->len);
	if (packed) {
		rc = block_info(u->n, &i, NULL);
		o->off = i.cluster_bytes ? o->off / i.cluster_bytes * i.cluster_bytes : o->off;
		o->len = min_of(i.cluster_bytes ? i.cluster_bytes : o->len, u->n->len - o->off);
		block_info_fini(&i);
		if (rc)
			return rc;
	}
	/* Each sector says which write it comes from. */
	for (uint64_t s = 0; s < o->len; s += 8)
		st_le64(u->model + o->off + s, u->nops << 20 | (o->off + s) >> 9);
	rc = packed ? block_pwrite_compressed(u->n, o->off, u->model + o->off, o->len) : -ENOTSUP;
	if (rc == -ENOTSUP)
		rc = block_pwrite(u->n, o->off, u->model + o->off, o->len);
	return end(u, o, rc);
}

static int do_zero(struct run *u, bool discard)
{
	struct op *o = begin(u);
	int rc;

	if (!o)
		return -ENOMEM;
	pick(u, &o->off, &o->len);
	rc = discard ? block_discard(u->n, o->off, o->len)
		     : block_zero(u->n, o->off, o->len, torture_rnd(u) % 2);
	if (!rc)
		rc = block_pread(u->n, o->off, u->model + o->off, o->len);
	return end(u, o, rc);
}

static int do_flush(struct run *u)
{
	struct op *o = begin(u);
	int rc;

	if (!o)
		return -ENOMEM;
	o->flush = true;
	rc = block_flush(u->n);
	if (u->t->plant)
		mem_host_log_flush(&u->host);
	return end(u, o, rc);
}

static int do_snapshot(struct run *u)
{
	struct block_snapshot s = { .date_s = 1 };
	struct op *o = begin(u);
	unsigned i;
	int rc;

	if (!o)
		return -ENOMEM;
	if (!u->nsnaps || (u->nsnaps < TORTURE_SNAPS && torture_rnd(u) % 2)) {
		i = u->nsnaps;
		snprintf(s.name, sizeof(s.name), "s%u", u->next_snap);
		rc = u->n->desc->snap_create(u->n, &s, NULL);
		if (rc)
			return end(u, o, rc == -ERANGE ? 0 : rc);
		snprintf(u->snaps[i].name, sizeof(u->snaps[i].name), "s%u", u->next_snap++);
		u->snaps[i].len = u->n->len;
		u->snaps[i].data = malloc(u->n->len);
		if (!u->snaps[i].data)
			return -ENOMEM;
		memcpy(u->snaps[i].data, u->model, u->n->len);
		u->nsnaps++;
		o->snap_made = true;
		memcpy(o->snap, u->snaps[i].name, sizeof(o->snap));
		o->len = u->n->len;
		return end(u, o, 0);
	}
	i = (unsigned)(torture_rnd(u) % u->nsnaps);
	if (torture_rnd(u) % 2) {
		rc = u->n->desc->snap_apply(u->n, u->snaps[i].name, NULL);
		if (rc)
			return end(u, o, rc == -ERANGE ? 0 : rc);
		memset(u->model, 0, u->max_len);
		memcpy(u->model, u->snaps[i].data, u->snaps[i].len);
		o->len = u->max_len;
		return end(u, o, 0);
	}
	memcpy(o->snap, u->snaps[i].name, sizeof(o->snap));
	o->snap_gone = true;
	rc = u->n->desc->snap_delete(u->n, u->snaps[i].name, NULL);
	free(u->snaps[i].data);
	u->snaps[i] = u->snaps[--u->nsnaps];
	return end(u, o, rc);
}

static int do_resize(struct run *u)
{
	uint64_t old = u->n->len, len = (torture_rnd(u) % u->max_len / 2 + u->max_len / 2) / 512 * 512;
	struct op *o = begin(u);
	int rc;

	if (!o)
		return -ENOMEM;
	rc = block_resize(u->n, len, BLOCK_PREALLOC_OFF, NULL);
	if (rc == -ENOTSUP)
		return end(u, o, 0);
	len = u->n->len;
	memset(u->model + min_of(old, len), 0, u->max_len - min_of(old, len));
	o->off = min_of(old, len);
	o->len = u->max_len - o->off;
	return end(u, o, rc);
}

/* ---- jobs beside the work ---- */

static void post(void *opaque, void (*fn)(void *arg), void *arg)
{
	struct posted *p = malloc(sizeof(*p));
	struct run *u = opaque;

	if (!p)
		return; /* a job then never ends, and the run fails */
	*p = (struct posted){ fn, arg, NULL };
	pthread_mutex_lock(&u->post_lock);
	*u->posted_tail = p;
	u->posted_tail = &p->next;
	pthread_mutex_unlock(&u->post_lock);
}

/* What was posted runs. The disk's top may be another node after it. */
static void pump(struct run *u)
{
	for (;;) {
		struct posted *p;

		pthread_mutex_lock(&u->post_lock);
		p = u->posted;
		if (p) {
			u->posted = p->next;
			if (!u->posted)
				u->posted_tail = &u->posted;
		}
		pthread_mutex_unlock(&u->post_lock);
		if (!p)
			break;
		p->fn(p->arg);
		free(p);
	}
	if (u->blk)
		u->n = blk_top(u->blk);
}

static void job_event(void *opaque, const struct job_info *i, enum job_event e)
{
	struct run *u = opaque;

	if (e == JOB_READY)
		u->job_ready = true;
	if (e == JOB_COMPLETED && i->error)
		u->job_rc = i->error;
}

/* Said while both the old and the new top hold all of the disk. */
static void switched(void *opaque, struct blk *b, const char *path)
{
	struct run *u = opaque;
	struct op *o = begin(u);

	u->n = blk_top(b);
	if (o && !end(u, o, 0))
		o->top = strdup(path);
}

static int start_job(struct run *u)
{
	struct job_common c = { .id = "job", .blk = u->blk, .open = { .host = &u->host.host } };
	bool chain = blk_node(u->blk)->backing;
	char name[32];
	struct job_target t = { .path = name, .format = torture_rnd(u) % 2 ? "qcow2" : "raw" };

	u->job_ready = false;
	snprintf(name, sizeof(name), "image%u", u->next_image);
	switch (torture_rnd(u) % 6) {
	case 0:
	case 1:
		if (u->next_image >= MAX_IMAGES)
			return 0;
		u->next_image++;
		return blk_snapshot(u->jobs, u->blk, &c.open, name, "qcow2", false, NULL);
	case 2: return chain ? job_stream(u->jobs, &c, NULL, NULL) : 0;
	case 3:
	case 4: return chain ? job_commit(u->jobs, &c, torture_rnd(u) % 2 || !blk_node(u->blk)->backing->backing
					  ? NULL : blk_node(u->blk)->backing->path, NULL, NULL) : 0;
	default:
		if (u->next_image >= MAX_IMAGES)
			return 0;
		u->next_image++;
		return job_mirror(u->jobs, &c, &t, NULL);
	}
}

static int do_job(struct run *u)
{
	int rc = 0;

	pump(u);
	if (!jobs_busy(u->jobs, u->blk))
		rc = start_job(u);
	else if (u->job_ready && torture_rnd(u) % 2)
		rc = torture_rnd(u) % 4 ? job_complete(u->jobs, "job", NULL)
				: job_cancel(u->jobs, "job", torture_rnd(u) % 2, NULL);
	pump(u);
	return rc ? rc : u->job_rc;
}

static int jobs_begin(struct run *u, struct err *err)
{
	struct jobs_config jc = { .post = post, .post_opaque = u, .event = job_event,
				  .switched = switched, .opaque = u };
	struct blk_config bc = { .node = u->n, .post = post, .post_opaque = u };

	pthread_mutex_init(&u->post_lock, NULL);
	u->posted_tail = &u->posted;
	u->pool = bc.pool = block_pool_new(1);
	u->jobs = jobs_new(&jc, err);
	u->blk = u->pool ? blk_new(&bc, err) : NULL;
	return u->blk && u->jobs ? 0 : -ENOMEM;
}

static int jobs_end(struct run *u)
{
	int rc;

	if (!u->t->jobs || !u->blk)
		return 0;
	jobs_free(u->jobs);
	pump(u);
	u->n = NULL;
	rc = blk_free(u->blk);
	u->blk = NULL;
	pump(u);
	block_pool_free(u->pool);
	return rc;
}

static int work(struct run *u)
{
	int rc = 0;

	for (unsigned i = 0; i < u->t->steps && !rc; i++) {
		unsigned k = (unsigned)(torture_rnd(u) % 100);

		if (k < 55)
			rc = do_write(u, false);
		else if (k < 60 && u->n->desc->pwrite_compressed)
			rc = do_write(u, true);
		else if (k < 68)
			rc = do_zero(u, false);
		else if (k < 78)
			rc = do_zero(u, true);
		else if (k < 81 && u->t->snapshots && u->n->desc->snap_create)
			rc = do_snapshot(u);
		else if (k < 83 && u->t->resize && u->n->desc->resize)
			rc = do_resize(u);
		else if (k < 88 && u->t->jobs)
			rc = do_job(u);
		else if (k < 97)
			rc = do_flush(u);
		if (u->t->jobs)
			pump(u);
		if (u->t->progress &&
		    !u->t->progress->step(u->t->progress->opaque, i, u->t->steps))
			rc = -ECANCELED;
	}
	return rc ? rc : do_flush(u);
}

/* ---- the run ---- */

/* The other formats only stand on their own kind. */
static int make_typed_base(struct run *u)
{
	struct block_create c = { .path = "base", .len = u->base_len, .host = &u->host.host };
	struct block_open_opts o = { .format = u->t->format, .flags = BLOCK_OPEN_WRITE,
				     .host = &u->host.host };
	struct block_node *n;
	int rc = block_create(block_format(u->t->format), &c, NULL), rc2;

	if (!rc)
		rc = block_open("base", &o, &n, NULL);
	if (rc)
		return rc;
	rc = block_pwrite(n, 0, u->base, u->base_len);
	rc2 = block_close(n);
	return rc ? rc : rc2;
}

static int make_base(struct run *u)
{
	struct mem_data d = { 0 };

	if (!u->t->backing)
		return 0;
	d.bytes = malloc(u->base_len);
	if (!d.bytes)
		return -ENOMEM;
	d.len = d.cap = u->base_len;
	for (uint64_t i = 0; i < u->base_len; i += 8)
		st_le64(u->base + i, 0xbaULL << 56 | i >> 9);
	memcpy(d.bytes, u->base, u->base_len);
	if (!strcmp(u->t->format, "qcow2"))
		return mem_host_add(&u->host, "base", &d);
	free(d.bytes);
	return make_typed_base(u);
}

static int set_up(struct run *u, struct err *err)
{
	const struct block_format_desc *d = block_format(u->t->format);
	struct block_open_opts o = { .format = u->t->format, .flags = BLOCK_OPEN_WRITE,
				     .host = &u->host.host, .cache_bytes = 16384,
				     .secret = &u->secret };
	struct block_create c = { .path = "disk", .len = u->base_len, .opts = u->t->opts,
				  .nopts = u->t->nopts, .host = &u->host.host,
				  .secret = &u->secret, .backing_path = u->t->backing ? "base" : NULL,
				  .backing_format = !u->t->backing		     ? NULL
						    : strcmp(u->t->format, "qcow2") ? u->t->format
										     : "raw" };
	int rc;

	if (!d)
		return err_set(err, -EINVAL, "'%s' is not an image format that is known; "
					     "'bothy disk formats' lists those",
			       u->t->format);
	u->base = calloc(1, u->base_len);
	u->model = calloc(1, u->max_len);
	if (!u->base || !u->model)
		return err_set(err, -ENOMEM, "out of memory");
	rc = make_base(u);
	u->host.logging = true;
	if (!rc)
		rc = block_create(d, &c, err);
	if (!rc)
		rc = block_open("disk", &o, &u->n, err);
	if (rc)
		return rc;
	if (u->n->len != u->base_len)
		return err_set(err, -EINVAL, "format %s cannot have a disk of %" PRIu64 " bytes",
			       u->t->format, u->base_len);
	memcpy(u->model, u->base, u->base_len);
	/* The finished image is where the log begins. */
	for (size_t i = 0; i < u->host.nlog; i++)
		free(u->host.log[i].data);
	u->host.nlog = 0;
	u->host.drop_flushes = u->t->plant;
	return 0;
}

static int copy_start(struct run *u, struct mem_data *start)
{
	int rc = 0;

	for (unsigned i = 0; i < u->host.nfiles && !rc; i++)
		rc = mem_data_copy(&start[i], &u->host.files[i]->now);
	return rc;
}

static void run_fini(struct run *u)
{
	for (size_t i = 0; i < u->nops; i++) {
		free(u->ops[i].data);
		free(u->ops[i].top);
	}
	for (unsigned i = 0; i < u->nsnaps; i++)
		free(u->snaps[i].data);
	free(u->ops);
	free(u->model);
	free(u->base);
	mem_host_fini(&u->host);
}

/* The work, its log, and all the cuts through it. */
static int torture_log(struct run *u, struct err *err)
{
	struct mem_data start[TORTURE_FILES] = { { 0 } };
	int rc = copy_start(u, start);

	if (!rc && u->t->jobs)
		rc = jobs_begin(u, err);
	if (!rc)
		rc = work(u);
	if (u->t->jobs) { /* what is still going on is cut too */
		int rc2 = jobs_end(u);

		rc = rc ? rc : rc2;
	}
	u->host.logging = false;
	u->r->events = u->host.nlog;
	for (size_t i = 0; i < u->host.nlog; i++)
		u->r->flushes += u->host.log[i].kind == MEM_FLUSH;
	if (!rc && u->host.failed)
		rc = -ENOMEM;
	if (rc) {
		for (unsigned i = 0; i < array_size(start); i++)
			free(start[i].bytes);
		return err_set(err, rc, "the work itself failed: %s", strerror(-rc));
	}
	rc = torture_cut(u, start);
	return rc ? err_set(err, rc, "cutting failed: %s", strerror(-rc)) : 0;
}

static int passphrase(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err)
{
	memcpy(buf, "torture", min_of(cap, (size_t)7));
	return 7;
}

int torture_run(const struct torture *t, struct torture_result *r, struct err *err)
{
	uint64_t len = t->disk_bytes ? t->disk_bytes / 512 * 512 : DEFAULT_DISK;
	struct run u = { .t = t, .r = r, .secret = { passphrase, NULL }, .rng = t->seed * 0x9e3779b97f4a7c15ULL | 1,
			 .base_len = len, .max_len = len * 2 };
	int rc, rc2;

	memset(r, 0, sizeof(*r));
	mem_host_init(&u.host, TORTURE_FILE_MAX);
	rc = set_up(&u, err);
	if (!rc)
		rc = torture_log(&u, err);
	rc2 = block_close(u.n);
	if (!rc && rc2)
		rc = err_set(err, rc2, "the image does not close: %s", strerror(-rc2));
	run_fini(&u);
	return rc;
}
