/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A full host disk: at any write the host may have no room. What the guest does is held,
 * not failed; once there is room it all goes on, and nothing is missing. And where
 * someone ends it while it is full, the image is sound and has all that was flushed.
 *
 * usage: fmt_full FORMAT SEED [OPTION=VALUE ...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/blk.h"
#include "src/block/memfile.h"

enum { DISK = 3 << 20, UNIT = 4096, DEPTH = 4 };

/* A host whose files can hold no more than a budget that is refilled now and then. */
struct posted {
	void (*fn)(void *arg);
	void *arg;
	struct posted *next;
};

struct test {
	struct mem_host host;
	pthread_mutex_t lock;
	pthread_cond_t come;
	struct posted *head, **tail;
	struct blk *blk;
	uint64_t rng;
	bool stopped;
	unsigned stops, failed;
	uint8_t model[DISK];
	struct slot { struct blk_req req; struct iovec iov; uint8_t *buf; bool busy; struct test *t; }
		slot[DEPTH];
};

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
	pthread_cond_signal(&t->come);
	pthread_mutex_unlock(&t->lock);
}

static bool pump(struct test *t, bool wait)
{
	struct posted *p;

	pthread_mutex_lock(&t->lock);
	while (wait && !t->head)
		pthread_cond_wait(&t->come, &t->lock);
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

static void stopped(void *opaque, enum blk_op op, int error)
{
	struct test *t = opaque;

	t->stopped = true;
	t->stops++;
}

static void done(struct blk_req *req, int ret)
{
	struct slot *s = req->opaque;

	if (ret) {
		fprintf(stderr, "a request failed: %s\n", strerror(-ret));
		s->t->failed++;
	} else if (req->op == BLK_WRITE) {
		memcpy(s->t->model + req->off, s->buf, req->len);
	} else if (req->op == BLK_ZERO) {
		memset(s->t->model + req->off, 0, req->len);
	}
	s->busy = false;
}

static bool overlaps(struct test *t, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < DEPTH; i++)
		if (t->slot[i].busy && off < t->slot[i].req.off + t->slot[i].req.len &&
		    t->slot[i].req.off < off + len)
			return true;
	return false;
}

static void step(struct test *t)
{
	struct slot *s = NULL;
	uint64_t off = rnd(t, DISK / UNIT) * UNIT, len = min_of((rnd(t, 30) + 1) * UNIT, DISK - off);
	unsigned k = (unsigned)rnd(t, 10);

	for (unsigned i = 0; i < DEPTH && !s; i++)
		if (!t->slot[i].busy)
			s = &t->slot[i];
	if (!s || overlaps(t, off, len))
		return;
	s->busy = true;
	s->t = t;
	s->iov = (struct iovec){ s->buf, len };
	for (uint64_t i = 0; i < len; i += 8)
		st_le64(s->buf + i, rnd(t, UINT64_MAX) | 1);
	s->req = (struct blk_req){ .op = k < 8 ? BLK_WRITE : k < 9 ? BLK_ZERO : BLK_FLUSH, .off = off,
				   .len = len, .iov = &s->iov, .niov = 1, .done = done, .opaque = s };
	if (s->req.op == BLK_FLUSH)
		s->req.off = s->req.len = 0;
	blk_submit(t->blk, &s->req);
}

static bool busy(const struct test *t)
{
	for (unsigned i = 0; i < DEPTH; i++)
		if (t->slot[i].busy)
			return true;
	return false;
}

static int verify(struct test *t, const char *format, bool whole)
{
	struct block_open_opts o = { .format = format, .host = &t->host.host };
	uint8_t *buf = malloc(DISK);
	struct block_check c = { 0 };
	struct block_node *n;
	struct err err = { "" };
	int rc = block_open("disk", &o, &n, &err);

	if (rc) {
		fprintf(stderr, "does not open: %s\n", err.text);
		return 1;
	}
	if (n->desc->check && (n->desc->check(n, 0, &c, &err) || c.errors || c.check_errors)) {
		fprintf(stderr, "damage: %llu errors %s\n", (unsigned long long)c.errors, err.text);
		rc = 1;
	}
	if (block_pread(n, 0, buf, DISK) || (whole && memcmp(buf, t->model, DISK))) {
		fprintf(stderr, "data are missing\n");
		rc = 1;
	}
	free(buf);
	block_close(n);
	return rc;
}

static int run(struct test *t, const char *format, const char *const *opts, size_t nopts, bool give_up)
{
	struct block_create k = { .path = "disk", .len = DISK, .opts = opts, .nopts = nopts,
				  .host = &t->host.host };
	struct block_open_opts o = { .format = format, .flags = BLOCK_OPEN_WRITE,
				     .host = &t->host.host, .cache_bytes = 16384 };
	struct blk_config bc = { .post = post, .post_opaque = t, .on_write_error = BLK_ERROR_ENOSPC,
				 .on_read_error = BLK_ERROR_REPORT, .stopped = stopped,
				 .stopped_opaque = t };
	struct err err = { "" };
	int rc;

	bc.pool = block_pool_new(2);
	rc = block_create(block_format(format), &k, &err);
	if (!rc)
		rc = block_open("disk", &o, &bc.node, &err);
	if (rc) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	memset(t->model, 0, DISK);
	t->blk = blk_new(&bc, &err);
	/* Room for what is there and a little more, again and again. */
	mem_host_room(&t->host, rnd(t, 100000));
	for (unsigned i = 0; i < 400 && !(give_up && t->stops > 3); i++) {
		step(t);
		while (pump(t, false))
			;
		if (t->stopped && !(give_up && t->stops > 3)) {
			mem_host_room(&t->host, rnd(t, 200000));
			t->stopped = false;
			blk_resume(t->blk);
		}
	}
	if (!give_up) {
		mem_host_room(&t->host, UINT64_MAX);
		blk_resume(t->blk);
		/* One that failed before there was room may be told of only now. */
		while (busy(t)) {
			pump(t, true);
			if (t->stopped) {
				t->stopped = false;
				blk_resume(t->blk);
			}
		}
	}
	t->failed = 0;
	rc = blk_free(t->blk); /* held requests end with -ECANCELED; closing may find no room */
	while (pump(t, false))
		;
	block_pool_free(bc.pool);
	if (rc && !give_up)
		fprintf(stderr, "does not close: %s\n", strerror(-rc));
	return verify(t, format, !give_up) || (rc && !give_up) || (!give_up && t->failed);
}

int main(int argc, char **argv)
{
	static struct test t;
	unsigned stops = 0;
	int rc = 0;

	if (argc < 3)
		return 2;
	pthread_mutex_init(&t.lock, NULL);
	pthread_cond_init(&t.come, NULL);
	for (unsigned i = 0; i < DEPTH; i++)
		t.slot[i].buf = malloc(64 * UNIT);
	for (unsigned turn = 0; turn < 6 && !rc; turn++) {
		t.rng = (strtoull(argv[2], NULL, 10) + turn) * 0x9e3779b97f4a7c15ULL | 1;
		t.tail = &t.head;
		t.stopped = false;
		t.stops = 0;
		mem_host_init(&t.host, 64 << 20);
		rc = run(&t, argv[1], (const char *const *)argv + 3, (size_t)argc - 3, turn & 1);
		stops += t.stops;
		mem_host_fini(&t.host);
	}
	if (!rc && !stops) {
		fprintf(stderr, "the host was never full\n");
		rc = 1;
	}
	printf("%s: full %u times%s\n", argv[1], stops, rc ? ", FAILED" : "");
	return rc;
}
