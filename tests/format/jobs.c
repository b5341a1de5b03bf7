/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs on a disk that a guest is writing all the while, against a plain array: random
 * snapshots, commits, streams, mirrors, backups, resizes, cancelled, paused, slowed.
 * After each the disk must hold what was written; a backup what was there when it began.
 *
 * usage: fmt_jobs FOLDER SEED ROUNDS
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/job.h"
#include "src/block/op.h"

enum { BLOCK = 4096, DISK = 6 << 20, MAX = 12 << 20, DEPTH = 6 };

struct posted {
	void (*fn)(void *arg);
	void *arg;
	struct posted *next;
};

struct slot { /* a request of the guest's */
	struct blk_req req;
	struct iovec iov;
	uint8_t *buf;
	uint64_t first, count; /* in blocks */
	bool busy;
	struct test *t;
};

struct test {
	const char *dir;
	uint64_t rng, len;
	unsigned files;
	pthread_mutex_t lock;
	struct pollfd ring; /* the disk's, fd -1: it has none */
	void (*ring_fn)(void *arg, uint32_t events);
	void *ring_arg;
	struct posted *head, **tail;
	struct block_pool *pool;
	struct blk *blk;
	struct jobs *jobs;
	struct slot slot[DEPTH];
	bool held[MAX / BLOCK]; /* a request is on this block */
	uint8_t model[MAX] __attribute__((aligned(BLOCK)));
	uint32_t serial;
	/* Of the job. */
	bool ready, over;
	int error;
	bool cancelled;
	char text[1024], top[256];
};

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "jobs: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

static uint64_t rnd(struct test *t, uint64_t below)
{
	t->rng ^= t->rng << 13;
	t->rng ^= t->rng >> 7;
	t->rng ^= t->rng << 17;
	return (t->rng * 0x2545f4914f6cdd1dULL >> 16) % below;
}

static void post(void *opaque, void (*fn)(void *arg), void *arg)
{
	struct posted *p = malloc(sizeof(*p));
	struct test *t = opaque;

	*p = (struct posted){ fn, arg, NULL };
	pthread_mutex_lock(&t->lock);
	*t->tail = p;
	t->tail = &p->next;
	pthread_mutex_unlock(&t->lock);
}

static int watch(void *opaque, int fd, void (*fn)(void *arg, uint32_t events), void *arg)
{
	struct test *t = opaque;

	t->ring = (struct pollfd){ fn ? fd : -1, POLLIN, 0 };
	t->ring_fn = fn;
	t->ring_arg = arg;
	return 0;
}

/* Runs one thing that was posted, and what the ring has. */
static bool pump(struct test *t)
{
	struct posted *p;

	if (poll(&t->ring, 1, 0) > 0)
		t->ring_fn(t->ring_arg, POLLIN);
	pthread_mutex_lock(&t->lock);
	p = t->head;
	if (p) {
		t->head = p->next;
		if (!t->head)
			t->tail = &t->head;
	}
	pthread_mutex_unlock(&t->lock);
	if (!p)
		return false;
	p->fn(p->arg);
	free(p);
	return true;
}

static void guest_done(struct blk_req *req, int ret)
{
	struct slot *s = req->opaque;
	struct test *t = s->t;
	uint64_t off = s->first * BLOCK, len = s->count * BLOCK;

	if (ret)
		fail("a guest's request failed: %s", strerror(-ret));
	switch (req->op) {
	case BLK_WRITE: memcpy(t->model + off, s->buf, len); break;
	case BLK_ZERO: memset(t->model + off, 0, len); break;
	case BLK_DISCARD: /* what is there now is what it will stay */
		s->iov.iov_base = t->model + off;
		req->op = BLK_READ;
		blk_submit(t->blk, req);
		return;
	case BLK_READ:
		if (s->iov.iov_base == s->buf && memcmp(t->model + off, s->buf, len))
			fail("a read at %llu gives other data", (unsigned long long)off);
		break;
	default: break;
	}
	memset(t->held + s->first, false, s->count);
	s->busy = false;
}

static bool take_blocks(struct test *t, struct slot *s)
{
	uint64_t n = t->len / BLOCK;

	s->count = rnd(t, 8) ? rnd(t, 6) + 1 : rnd(t, 60) + 1;
	s->first = rnd(t, n);
	s->count = min_of(s->count, n - s->first);
	for (uint64_t i = 0; i < s->count; i++)
		if (t->held[s->first + i])
			return false;
	memset(t->held + s->first, true, s->count);
	return true;
}

static void guest_step(struct test *t)
{
	struct slot *s = NULL;
	unsigned k = (unsigned)rnd(t, 20);

	for (unsigned i = 0; i < DEPTH && !s; i++)
		if (!t->slot[i].busy)
			s = &t->slot[i];
	if (!s || !take_blocks(t, s))
		return;
	s->busy = true;
	s->t = t;
	s->iov = (struct iovec){ s->buf, s->count * BLOCK };
	s->req = (struct blk_req){ .off = s->first * BLOCK, .len = s->count * BLOCK,
				   .iov = &s->iov, .niov = 1, .done = guest_done, .opaque = s };
	s->req.op = k < 10 ? BLK_WRITE : k < 16 ? BLK_READ : k < 18 ? BLK_ZERO : BLK_DISCARD;
	if (s->req.op == BLK_ZERO)
		s->req.flags = rnd(t, 2) ? BLK_REQ_UNMAP : 0;
	for (uint64_t i = 0; s->req.op == BLK_WRITE && i < s->req.len; i += 8)
		st_le64(s->buf + i, ((uint64_t)++t->serial << 32 | (s->req.off + i)));
	blk_submit(t->blk, &s->req);
}

static void on_event(void *opaque, const struct job_info *i, enum job_event e)
{
	struct test *t = opaque;

	if (e == JOB_READY)
		t->ready = true;
	if (e != JOB_COMPLETED && e != JOB_CANCELLED)
		return;
	t->over = true;
	t->cancelled = e == JOB_CANCELLED;
	t->error = i->error;
	snprintf(t->text, sizeof(t->text), "%s", i->text);
}

static void on_switch(void *opaque, struct blk *b, const char *path)
{
	struct test *t = opaque;

	snprintf(t->top, sizeof(t->top), "%s", path);
}

static void work(struct test *t, unsigned steps)
{
	while (steps-- && !t->over) {
		bool burst = !rnd(t, 4);

		if (burst)
			blk_plug(t->blk);
		for (unsigned i = 0; i < (burst ? DEPTH : 1); i++)
			guest_step(t);
		if (burst)
			blk_unplug(t->blk);
		while (pump(t))
			;
		if (!rnd(t, 4))
			usleep(200);
	}
}

static const char *new_name(struct test *t, char *buf, const char *suffix)
{
	snprintf(buf, 256, "%s/i%u.%s", t->dir, t->files++, suffix);
	return buf;
}

static void settle(struct test *t)
{
	blk_drain(t->blk);
	while (pump(t))
		;
}

static void compare(struct block_node *n, const uint8_t *want, uint64_t len, const char *what)
{
	uint8_t *buf = malloc(len);
	int rc = n->len < len ? -ERANGE : block_pread(n, 0, buf, len);

	if (rc)
		fail("%s: cannot read: %s", what, strerror(-rc));
	for (uint64_t i = 0; i < len; i += 512)
		if (memcmp(buf + i, want + i, 512))
			fail("%s: sector %llu holds %016llx, not %016llx", what,
			     (unsigned long long)i / 512, (unsigned long long)ld_le64(buf + i),
			     (unsigned long long)ld_le64(want + i));
	free(buf);
}

static unsigned depth(struct test *t)
{
	unsigned n = 0;

	for (struct block_node *b = blk_node(t->blk); b; b = b->backing)
		n++;
	return n;
}

static struct block_node *nth(struct test *t, unsigned i)
{
	struct block_node *n = blk_node(t->blk);

	while (i--)
		n = n->backing;
	return n;
}

static void snapshot(struct test *t)
{
	static const struct block_open_opts open;
	char path[256];
	struct err err = { "" };

	if (blk_snapshot(t->jobs, t->blk, &open, new_name(t, path, "qcow2"), "qcow2", false, &err))
		fail("snapshot: %s", err.text);
}

/* Lets the job run with the guest at work; the ways people meddle. True: it was completed. */
static bool run_job(struct test *t, bool may_cancel)
{
	unsigned how = (unsigned)rnd(t, may_cancel ? 6 : 3), turns = 0;
	struct err err = { "" };

	if (how == 1 && job_set_speed(t->jobs, "j", 32 << 20, &err))
		fail("speed: %s", err.text);
	while (!t->over) {
		work(t, 30);
		if (how == 2 && turns == 1 && job_pause(t->jobs, "j", NULL) == 0) {
			work(t, 100);
			if (!t->over && job_resume(t->jobs, "j", &err))
				fail("resume: %s", err.text);
		}
		if (how == 3 && turns == 1 && !t->over && job_cancel(t->jobs, "j", true, &err))
			fail("cancel: %s", err.text);
		if (t->ready && !t->over && how == 4)
			(void)!job_cancel(t->jobs, "j", false, NULL);
		else if (t->ready && !t->over && turns > 3)
			(void)!job_complete(t->jobs, "j", NULL);
		if (++turns > 100000)
			fail("the job does not end");
	}
	if (t->error)
		fail("the job failed: %s", t->text);
	return !t->cancelled;
}

static struct job_common common(struct test *t)
{
	t->ready = t->over = t->cancelled = false;
	t->error = 0;
	return (struct job_common){ .id = "j", .blk = t->blk };
}

static void stream(struct test *t)
{
	struct job_common c = common(t);
	unsigned d = depth(t);
	const char *base = d > 2 && rnd(t, 2) ? nth(t, 1 + (unsigned)rnd(t, d - 1))->path : NULL;
	char *name = base ? strdup(base) : NULL;
	struct err err = { "" };

	if (job_stream(t->jobs, &c, name, &err))
		fail("stream: %s", err.text);
	if (run_job(t, true) && !name && depth(t) != 1)
		fail("stream left a chain of %u", depth(t));
	free(name);
}

static void commit(struct test *t)
{
	struct job_common c = common(t);
	unsigned d = depth(t), top = (unsigned)rnd(t, d - 1), base = top + 1 + (unsigned)rnd(t, d - top - 1);
	char *top_name = strdup(nth(t, top)->path), *base_name = strdup(nth(t, base)->path);
	struct err err = { "" };

	if (job_commit(t->jobs, &c, top_name, base_name, &err)) {
		if (!strstr(err.text, "cannot be resized"))
			fail("commit: %s", err.text);
	} else if (run_job(t, true) && !(t->ready && strcmp(blk_node(t->blk)->path, base_name)) &&
	    depth(t) != d - (base - top))
		fail("commit left a chain of %u", depth(t));
	free(top_name);
	free(base_name);
}

static void mirror(struct test *t)
{
	static const char *const formats[] = { "qcow2", "raw", "vmdk", "vdi", "vhdx" };
	const char *f = formats[rnd(t, array_size(formats))];
	char path[256];
	struct job_common c = common(t);
	struct job_target to = { .path = new_name(t, path, f), .format = f, .at_once = rnd(t, 2) };
	struct err err = { "" };

	if (depth(t) > 1 && !strcmp(f, "qcow2") && rnd(t, 2))
		to.sync = JOB_TOP;
	if (job_mirror(t->jobs, &c, &to, &err))
		fail("mirror to %s: %s", f, err.text);
	run_job(t, true);
	/* Without snapshots the others are a dead end: back to qcow2. */
	if (!strcmp(blk_node(t->blk)->desc->name, f) && strcmp(f, "qcow2")) {
		settle(t);
		compare(blk_top(t->blk), t->model, t->len, f);
		snapshot(t);
	}
}

static void check_backup(struct test *t, const char *path, const char *format, const uint8_t *then)
{
	struct block_open_opts o = { .format = format };
	struct block_node *n;
	struct err err = { "" };

	if (block_open(path, &o, &n, &err))
		fail("backup: %s", err.text);
	compare(n, then, t->len, "backup");
	if (block_close(n))
		fail("backup does not close");
}

static void backup(struct test *t)
{
	const char *f = rnd(t, 2) ? "qcow2" : "raw";
	uint8_t *then = malloc(MAX);
	char path[256];
	struct job_common c = common(t);
	struct job_target to = { .path = new_name(t, path, f), .format = f };
	struct err err = { "" };

	settle(t);
	memcpy(then, t->model, MAX);
	if (job_backup(t->jobs, &c, &to, &err))
		fail("backup: %s", err.text);
	if (run_job(t, true))
		check_backup(t, path, f, then);
	else if (!access(path, F_OK))
		fail("a cancelled backup was left");
	free(then);
}

/* A full backup, and incremental ones as overlays of it. */
static void increments(struct test *t)
{
	bool persistent = !strcmp(blk_node(t->blk)->desc->name, "qcow2") && rnd(t, 2);
	uint8_t *then = malloc(MAX);
	char last[256], path[256];
	struct job_common c = common(t);
	struct job_target to = { .path = new_name(t, last, "qcow2"), .format = "qcow2" };
	struct err err = { "" };
	struct op_env env = { 0 };

	settle(t);
	if (blk_bitmap_add(t->jobs, t->blk, "b", rnd(t, 2) ? 4096 : 0, persistent, &err) ||
	    job_backup(t->jobs, &c, &to, &err))
		fail("bitmap, backup: %s", err.text);
	run_job(t, false);
	for (unsigned i = 0; i < 3; i++) {
		struct op_create k = { .path = new_name(t, path, "qcow2"), .format = "qcow2",
				       .backing_path = last, .backing_format = "qcow2" };

		work(t, 100);
		t->over = false;
		work(t, 100);
		settle(t);
		memcpy(then, t->model, MAX);
		if (op_create(&env, &k, NULL, &err))
			fail("overlay: %s", err.text);
		c = common(t);
		to = (struct job_target){ .path = path, .format = "qcow2", .existing = true,
					  .sync = JOB_INCREMENTAL, .bitmap = "b" };
		if (job_backup(t->jobs, &c, &to, &err))
			fail("incremental: %s", err.text);
		/* One that was cancelled has lost nothing: what it left is filled next time. */
		if (run_job(t, true)) {
			check_backup(t, path, "qcow2", then);
			memcpy(last, path, sizeof(last));
		}
	}
	if (blk_bitmap_remove(t->jobs, t->blk, "b", &err))
		fail("bitmap: %s", err.text);
	free(then);
}

static void resize(struct test *t)
{
	uint64_t len = (rnd(t, (MAX - DISK) / BLOCK) + DISK / BLOCK) * BLOCK;
	struct err err = { "" };

	if (len <= t->len)
		return;
	settle(t);
	if (blk_resize(t->jobs, t->blk, len, false, &err))
		fail("resize: %s", err.text);
	memset(t->model + t->len, 0, len - t->len);
	t->len = len;
}

/* Closes it all, checks every image, and opens it again. */
static void reopen(struct test *t, struct block_pool *pool)
{
	struct blk_config bc = { .pool = pool, .post = post, .watch = watch, .post_opaque = t };
	struct block_open_opts o = { .flags = BLOCK_OPEN_WRITE };
	struct err err = { "" };
	struct op_env env = { 0 };
	int rc;

	if (t->blk) {
		settle(t);
		compare(blk_top(t->blk), t->model, t->len, "the disk");
		jobs_forget(t->jobs, t->blk);
		rc = blk_free(t->blk);
		if (rc)
			fail("the disk does not close: %s", strerror(-rc));
		while (pump(t))
			;
	}
	bc.aio = rnd(t, 3) ? BLK_AIO_AUTO : BLK_AIO_THREADS;
	o.cache = rnd(t, 2) ? BLOCK_CACHE_NONE : BLOCK_CACHE_WRITEBACK;
	if (block_open(t->top, &o, &bc.node, &err))
		fail("%s", err.text);
	compare(bc.node, t->model, t->len, "the disk, opened again");
	for (struct block_node *n = bc.node; n; n = n->backing) {
		struct block_check k = { 0 };

		if (!n->desc->check)
			continue;
		if (n->desc->check(n, 0, &k, &err) || k.errors || k.check_errors)
			fail("%s: %llu errors %s", n->path, (unsigned long long)k.errors, err.text);
	}
	t->blk = blk_new(&bc, &err);
	(void)env;
}

static void start(struct test *t)
{
	struct op_env env = { 0 };
	struct op_create c = { .path = t->top, .format = "qcow2", .len = DISK, .has_len = true };
	static const char *const small[] = { "cluster_size=4096" };
	struct jobs_config jc = { .post = post, .post_opaque = t, .event = on_event,
				  .switched = on_switch, .opaque = t };
	struct err err = { "" };

	if (rnd(t, 2)) {
		c.opts = small;
		c.nopts = 1;
	}
	new_name(t, t->top, "qcow2");
	if (op_create(&env, &c, NULL, &err))
		fail("%s", err.text);
	t->len = DISK;
	for (unsigned i = 0; i < DEPTH; i++)
		if (posix_memalign((void **)&t->slot[i].buf, BLOCK, 64 * BLOCK))
			fail("out of memory");
	t->pool = block_pool_new(4);
	t->jobs = jobs_new(&jc, &err);
	reopen(t, t->pool);
}

int main(int argc, char **argv)
{
	static struct test t;
	unsigned rounds;

	if (argc != 4)
		fail("usage: fmt_jobs FOLDER SEED ROUNDS");
	t.dir = argv[1];
	t.rng = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ULL | 1;
	rounds = (unsigned)strtoul(argv[3], NULL, 10);
	pthread_mutex_init(&t.lock, NULL);
	t.ring.fd = -1;
	t.tail = &t.head;
	start(&t);
	for (unsigned i = 0; i < rounds; i++) {
		unsigned k = (unsigned)rnd(&t, 16);

		t.over = false;
		work(&t, 120);
		if (k < 5 && depth(&t) < 6)
			snapshot(&t);
		else if (k < 7 && depth(&t) > 1)
			stream(&t);
		else if (k < 9 && depth(&t) > 1)
			commit(&t);
		else if (k < 11)
			mirror(&t);
		else if (k < 12)
			backup(&t);
		else if (k < 13)
			increments(&t);
		else if (k < 14)
			resize(&t);
		else if (k < 16)
			reopen(&t, t.pool);
	}
	reopen(&t, t.pool);
	jobs_free(t.jobs);
	if (blk_free(t.blk))
		fail("the disk does not close");
	while (pump(&t))
		;
	block_pool_free(t.pool);
	for (unsigned i = 0; i < DEPTH; i++)
		free(t.slot[i].buf);
	printf("jobs: seed %s: %u rounds\n", argv[2], rounds);
	return 0;
}
