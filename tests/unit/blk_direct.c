/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of a disk that go past the formats, on real files and a real loop. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/loop.h"
#include "src/block/blk.h"
#include "src/block/dirty.h"
#include "tests/unit/cmocka_all.h"

enum { DISK = 4 << 20, DEPTH = 24, MOST = 16384 };

struct rig;
struct slot {
	struct blk_req req;
	struct iovec iov[3];
	uint8_t *buf;
	struct rig *rig;
	bool busy;
};

struct rig {
	struct loop *loop;
	struct block_pool *pool;
	struct blk *blk;
	struct slot slot[DEPTH];
	unsigned left, under_way;
	uint64_t rng;
	bool in_a_row; /* every other request where the one before it ended */
	uint64_t next;
	int last;
	uint8_t model[DISK];
	bool may_fail, doubtful[DISK / 512]; /* a write there failed */
	unsigned failed;
};

static char path[] = "/tmp/bothy-direct-XXXXXX";

static uint64_t rnd(struct rig *g, uint64_t below)
{
	g->rng = g->rng * 6364136223846793005ULL + 1442695040888963407ULL;
	return (g->rng >> 24) % below;
}

static void rig_init(struct rig *g, enum blk_aio aio, enum block_cache cache)
{
	struct block_open_opts o = { .format = "raw", .flags = BLOCK_OPEN_WRITE, .cache = cache };
	struct blk_config c = { .post = blk_post_loop, .watch = blk_watch_loop, .aio = aio };
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, DISK) == 0);
	close(fd);
	memset(g, 0, sizeof(*g));
	g->loop = loop_new(NULL, NULL);
	g->pool = block_pool_new(4);
	assert_int_equal(block_open(path, &o, &c.node, NULL), 0);
	c.pool = g->pool;
	c.post_opaque = g->loop;
	g->blk = blk_new(&c, NULL);
	assert_non_null(g->blk);
	for (unsigned i = 0; i < DEPTH; i++) {
		g->slot[i].rig = g;
		assert_int_equal(posix_memalign((void **)&g->slot[i].buf, 4096, 2 * MOST), 0);
	}
}

static struct block_node *open_qcow2(unsigned flags, enum block_cache cache)
{
	struct block_open_opts o = { .format = "qcow2", .flags = flags, .cache = cache };
	struct block_node *n;

	assert_int_equal(block_open(path, &o, &n, NULL), 0);
	return n;
}

/* The same with a new qcow2 image; @opt: of the format, or NULL. */
static void rig_init_qcow2(struct rig *g, enum blk_aio aio, enum block_cache cache, const char *opt)
{
	struct block_create c = { .path = path, .len = DISK, .overwrite = true, .opts = &opt,
				  .nopts = opt != NULL };

	rig_init(g, aio, cache);
	assert_int_equal(blk_change(g->blk, NULL), 0);
	assert_int_equal(block_create(block_format("qcow2"), &c, NULL), 0);
	assert_int_equal(blk_change(g->blk, open_qcow2(BLOCK_OPEN_WRITE, cache)), 0);
}

static void stop(void *loop) { loop_stop(loop); }

static void rig_fini(struct rig *g)
{
	assert_int_equal(blk_free(g->blk), 0);
	loop_post(g->loop, stop, g->loop); /* what was posted before it still runs */
	loop_run(g->loop);
	loop_free(g->loop);
	block_pool_free(g->pool);
	for (unsigned i = 0; i < DEPTH; i++)
		free(g->slot[i].buf);
}

/* No two that meet, so that the array knows what each must give. */
static bool meets(const struct rig *g, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		const struct blk_req *r = &g->slot[i].req;

		if (g->slot[i].busy && off < r->off + r->len && r->off < off + len)
			return true;
	}
	return false;
}

static void more(struct rig *g);

static void done(struct blk_req *r, int ret)
{
	struct slot *s = r->opaque;
	struct rig *g = s->rig;
	uint8_t flat[MOST];
	size_t n = 0;

	if (!g->may_fail)
		assert_int_equal(ret, 0);
	g->failed += ret != 0;
	for (unsigned i = 0; i < r->niov; n += s->iov[i++].iov_len)
		memcpy(flat + n, s->iov[i].iov_base, s->iov[i].iov_len);
	for (size_t at = 0; at < r->len; at += 512) {
		bool *doubtful = &g->doubtful[(r->off + at) / 512];

		if (r->op == BLK_READ && !ret && !*doubtful)
			assert_memory_equal(g->model + r->off + at, flat + at, 512);
		if (r->op == BLK_WRITE || r->op == BLK_ZERO)
			*doubtful = ret;
	}
	if (r->op == BLK_WRITE)
		memcpy(g->model + r->off, flat, r->len);
	else if (r->op == BLK_ZERO)
		memset(g->model + r->off, 0, r->len);
	s->busy = false;
	g->under_way--;
	more(g);
	if (!g->under_way)
		loop_stop(g->loop);
}

/* In one to three pieces, of any alignment. */
static void start(struct rig *g, struct slot *s)
{
	static const enum blk_op ops[] = { BLK_WRITE, BLK_WRITE, BLK_READ, BLK_READ, BLK_ZERO, BLK_FLUSH };
	uint64_t len = (rnd(g, MOST / 512) + 1) * 512, off = rnd(g, (DISK - len) / 512 + 1) * 512;
	unsigned n = (unsigned)rnd(g, 3) + 1, skew = rnd(g, 2) ? 0 : (unsigned)rnd(g, 600);
	uint8_t *at = s->buf + skew;
	uint64_t left = len;

	if (rnd(g, 2)) {
		off &= ~4095ULL;
		left = len = 4096;
		n = 1;
	}
	if (g->in_a_row && rnd(g, 2))
		off = g->next + len <= DISK ? g->next : 0;
	if (meets(g, off, len))
		return;
	g->next = off + len;
	s->req = (struct blk_req){ .op = ops[rnd(g, 6)], .off = off, .len = len, .iov = s->iov,
				   .done = done, .opaque = s };
	if (s->req.op == BLK_FLUSH)
		s->req.off = s->req.len = left = 0;
	for (unsigned i = 0; i < n && left; i++) {
		uint64_t k = i == n - 1 ? left : rnd(g, left) + 1;

		s->iov[s->req.niov++] = (struct iovec){ at, k };
		for (uint64_t j = 0; j < k && s->req.op == BLK_WRITE; j++)
			at[j] = (uint8_t)rnd(g, 256);
		at += k + 8;
		left -= k;
	}
	s->busy = true;
	g->left--;
	g->under_way++;
	blk_submit(g->blk, &s->req);
}

static void more(struct rig *g)
{
	for (unsigned i = 0; i < DEPTH && g->left; i++)
		if (!g->slot[i].busy && rnd(g, 3))
			start(g, &g->slot[i]);
	if (g->left && !g->under_way)
		start(g, &g->slot[0]);
}

static void test_model(void **state)
{
	static const enum block_cache caches[] = { BLOCK_CACHE_WRITEBACK, BLOCK_CACHE_NONE,
						   BLOCK_CACHE_DIRECTSYNC, BLOCK_CACHE_UNSAFE };
	struct rig *g = malloc(sizeof(*g));
	uint8_t *all = malloc(DISK);

	for (unsigned i = 0; i < 8; i++) {
		int fd;

		rig_init(g, i & 4 ? BLK_AIO_THREADS : BLK_AIO_AUTO, caches[i & 3]);
		g->rng = i;
		g->left = 3000;
		more(g);
		if (g->under_way)
			loop_run(g->loop);
		assert_int_equal(g->left, 0);
		rig_fini(g);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_int_equal(pread(fd, all, DISK, 0), DISK);
		close(fd);
		assert_memory_equal(all, g->model, DISK);
	}
	free(all);
	free(g);
}

/* A disk that grows meanwhile: clusters that are written for the first time, in parts and in
 * whole, and again. */
static void test_model_qcow2(void **state)
{
	static const char *const sizes[] = { "cluster_size=4096", "cluster_size=65536" };
	struct rig *g = malloc(sizeof(*g));
	uint8_t *all = malloc(DISK);

	for (unsigned i = 0; i < 8; i++) {
		struct block_check found = { .errors = 0 };
		struct block_node *n;

		rig_init_qcow2(g, BLK_AIO_AUTO, i & 2 ? BLOCK_CACHE_UNSAFE : BLOCK_CACHE_WRITEBACK,
			       sizes[i & 1]);
		g->in_a_row = i & 4;
		g->rng = 100 + i;
		g->left = 1500;
		more(g);
		if (g->under_way)
			loop_run(g->loop);
		assert_int_equal(g->left, 0);
		rig_fini(g);
		n = open_qcow2(0, BLOCK_CACHE_WRITEBACK);
		assert_int_equal(block_pread(n, 0, all, DISK), 0);
		assert_memory_equal(all, g->model, DISK);
		assert_int_equal(n->desc->check(n, 0, &found, NULL), 0);
		assert_true(!found.errors && !found.leaks);
		assert_int_equal(block_close(n), 0);
	}
	free(all);
	free(g);
}

/* The file cannot grow any more: what was not written in full is not there, nor lost. */
static void test_no_room(void **state)
{
	struct block_check found = { .errors = 0 };
	struct rlimit old, little = { 3 << 18, 3 << 18 };
	struct rig *g = malloc(sizeof(*g));
	uint8_t *all = malloc(DISK);
	struct block_node *n;

	rig_init_qcow2(g, BLK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, NULL);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	little.rlim_max = old.rlim_max;
	little.rlim_cur += 10000; /* in the middle of a cluster, and of a write */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	g->in_a_row = g->may_fail = true;
	g->left = 400;
	more(g);
	if (g->under_way)
		loop_run(g->loop);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(g->failed > 20);
	rig_fini(g);
	n = open_qcow2(0, BLOCK_CACHE_WRITEBACK);
	assert_int_equal(block_pread(n, 0, all, DISK), 0);
	/* Of a write that failed any part may be there, or none. */
	for (unsigned i = 0; i < DISK; i++)
		if (!g->doubtful[i / 512] && all[i] != g->model[i])
			fail_msg("byte %u", i);
	assert_int_equal(n->desc->check(n, 0, &found, NULL), 0);
	assert_true(!found.errors);
	assert_int_equal(block_close(n), 0);
	free(all);
	free(g);
}

static void note(struct blk_req *r, int ret)
{
	struct rig *g = r->opaque;

	g->last = ret;
	g->under_way--;
}

static void one(struct rig *g, enum blk_op op, uint64_t off, uint64_t len)
{
	struct slot *s = &g->slot[g->under_way];

	s->iov[0] = (struct iovec){ s->buf, len };
	s->req = (struct blk_req){ .op = op, .off = off, .len = len, .iov = s->iov, .niov = 1,
				   .done = note, .opaque = g };
	g->under_way++;
	blk_submit(g->blk, &s->req);
}

/* Whoever follows what is written hears of all of it, also of what waited for its place. */
static void test_followed(void **state)
{
	struct rig *g = malloc(sizeof(*g));
	struct dirty *d = dirty_new(DISK, 4096);

	rig_init_qcow2(g, BLK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, NULL);
	assert_int_equal(blk_track(g->blk, d), 0);
	one(g, BLK_WRITE, 0, 4096);
	blk_drain(g->blk);
	for (unsigned from = 65536; from < DISK; from += 16 * 4096) {
		blk_plug(g->blk);
		for (unsigned k = 0; k < 16; k++)
			one(g, BLK_WRITE, from + k * 4096, 4096);
		blk_unplug(g->blk);
		blk_drain(g->blk);
		assert_int_equal(g->last, 0);
		for (unsigned k = 0; k < 16; k++)
			assert_true(dirty_test(d, from + k * 4096));
	}
	blk_untrack(g->blk, d);
	rig_fini(g);
	dirty_free(d);
	free(g);
}

/* Draining does not wait for who forgot to pull the plug. */
static void test_drain(void **state)
{
	struct rig *g = malloc(sizeof(*g));

	for (unsigned i = 0; i < 4; i++) {
		rig_init(g, i & 1 ? BLK_AIO_THREADS : BLK_AIO_AUTO,
			 i & 2 ? BLOCK_CACHE_NONE : BLOCK_CACHE_WRITEBACK);
		blk_plug(g->blk);
		one(g, BLK_WRITE, 4096, 8192);
		one(g, BLK_READ, 65536, 4096);
		blk_drain(g->blk);
		assert_int_equal(g->under_way, 0);
		assert_int_equal(g->last, 0);
		blk_unplug(g->blk);
		rig_fini(g);
	}
	free(g);
}

/* Requests that wait for a place must not keep from going on the one that has it: here all
 * of the pool's threads wait. */
static void test_waiting(void **state)
{
	struct rig *g = malloc(sizeof(*g));

	alarm(60);
	for (unsigned i = 0; i < 6; i++) {
		rig_init_qcow2(g, i < 4 ? BLK_AIO_AUTO : BLK_AIO_THREADS,
			       i & 1 ? BLOCK_CACHE_NONE : BLOCK_CACHE_WRITEBACK, NULL);
		one(g, BLK_WRITE, 0, 4096);
		blk_drain(g->blk);
		blk_plug(g->blk);
		one(g, i & 2 ? BLK_READ : BLK_WRITE, 0, 4096);
		for (unsigned k = 0; k < 8; k++) /* twice as many as there are threads */
			one(g, BLK_ZERO, 0, 4096);
		one(g, BLK_WRITE, 0, 4096);
		usleep(20000);
		blk_unplug(g->blk);
		blk_drain(g->blk);
		assert_int_equal(g->under_way, 0);
		assert_int_equal(g->last, 0);
		rig_fini(g);
	}
	alarm(0);
	free(g);
}

/* Nor may one disk's keep another from being drained, with the lock held that the first
 * one's answers need: each has threads of its own. Here as drives have them. */
static void test_beside(void **state)
{
	struct rig *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));

	alarm(60);
	rig_init(a, BLK_AIO_AUTO, BLOCK_CACHE_WRITEBACK);
	assert_int_equal(blk_change(a->blk, NULL), 0);
	rig_init_qcow2(b, BLK_AIO_AUTO, BLOCK_CACHE_NONE, NULL);
	one(b, BLK_WRITE, 0, 4096);
	blk_drain(b->blk);
	one(b, BLK_READ, 0, 4096);
	for (unsigned k = 0; k < 8; k++)
		one(b, BLK_ZERO, 0, 4096);
	usleep(20000);
	one(a, BLK_FLUSH, 0, 0);
	blk_drain(a->blk);
	assert_int_equal(a->under_way, 0);
	blk_drain(b->blk);
	assert_int_equal(b->under_way, 0);
	rig_fini(a);
	rig_fini(b);
	alarm(0);
	free(a);
	free(b);
}

/* What the file lost since it was opened is an error, and not zeroes. */
static void test_short(void **state)
{
	struct rig *g = malloc(sizeof(*g));

	for (unsigned i = 0; i < 4; i++) {
		rig_init(g, i & 1 ? BLK_AIO_THREADS : BLK_AIO_AUTO,
			 i & 2 ? BLOCK_CACHE_NONE : BLOCK_CACHE_WRITEBACK);
		assert_int_equal(truncate(path, DISK / 2 + 4096), 0);
		one(g, BLK_READ, DISK / 2, 8192);
		blk_drain(g->blk);
		assert_int_equal(g->last, -EIO);
		one(g, BLK_READ, DISK / 2 - 4096, 8192);
		blk_drain(g->blk);
		assert_int_equal(g->last, 0);
		rig_fini(g);
	}
	free(g);
}

/* Asked for by name, the ring must be there. */
static void test_wanted(void **state)
{
	struct block_open_opts o = { .format = "raw", .flags = BLOCK_OPEN_WRITE };
	struct blk_config c = { .post = blk_post_loop, .aio = BLK_AIO_RING };
	struct err err = { "" };

	assert_int_equal(block_open(path, &o, &c.node, NULL), 0);
	assert_null(blk_new(&c, &err));
	assert_non_null(strstr(err.text, "io_uring"));
	assert_non_null(strstr(err.text, "aio=threads"));
	block_close(c.node);
}

static int setup(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state) { return unlink(path); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model), cmocka_unit_test(test_model_qcow2),
		cmocka_unit_test(test_no_room), cmocka_unit_test(test_followed), cmocka_unit_test(test_drain),
		cmocka_unit_test(test_waiting), cmocka_unit_test(test_beside),
		cmocka_unit_test(test_short), cmocka_unit_test(test_wanted),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
