/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asynchronous requests: completion on the owner's thread, errors that hold requests,
 * limits, media change; and range locks. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/bits.h"
#include "src/block/blk.h"
#include "src/block/range.h"

/* An event loop of the smallest kind: calls wait until the owner turns it. */
struct turn {
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct { void (*fn)(void *); void *arg; } q[64];
	unsigned n;
};

static void turn_post(void *opaque, void (*fn)(void *), void *arg)
{
	struct turn *t = opaque;

	pthread_mutex_lock(&t->lock);
	assert_true(t->n < array_size(t->q));
	t->q[t->n].fn = fn;
	t->q[t->n++].arg = arg;
	pthread_cond_signal(&t->some);
	pthread_mutex_unlock(&t->lock);
}

static void turn_once(struct turn *t)
{
	void (*fn)(void *);
	void *arg;

	pthread_mutex_lock(&t->lock);
	while (!t->n)
		pthread_cond_wait(&t->some, &t->lock);
	fn = t->q[0].fn;
	arg = t->q[0].arg;
	memmove(t->q, t->q + 1, --t->n * sizeof(t->q[0]));
	pthread_mutex_unlock(&t->lock);
	fn(arg);
}

/* A disk in memory that can be told to fail. */
struct fake {
	uint8_t data[1 << 16];
	_Atomic int fail_writes; /* errno, 0: none */
	_Atomic unsigned flushes;
};

static int fake_open(struct block_node *n, const struct block_open_opts *o, struct err *e)
{
	return 0;
}

static int fake_read(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		     size_t voff)
{
	struct fake *f = n->priv;

	block_vec_write(v, voff, f->data + off, len);
	return 0;
}

static int fake_write(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff)
{
	struct fake *f = n->priv;

	if (f->fail_writes)
		return -f->fail_writes;
	block_vec_read(v, voff, f->data + off, len);
	return 0;
}

static int fake_flush(struct block_node *n)
{
	((struct fake *)n->priv)->flushes++;
	return 0;
}

static const struct block_format_desc fake_desc = {
	.name = "fake", .title = "fake", .open = fake_open, .preadv = fake_read,
	.pwritev = fake_write, .flush = fake_flush,
};

struct rig {
	struct turn turn;
	struct fake *fake;
	struct block_pool *pool;
	struct blk *blk;
	unsigned done, stops;
	int last_ret, stop_error;
	pthread_t owner;
};

static void on_stop(void *opaque, enum blk_op op, int error)
{
	struct rig *g = opaque;

	g->stops++;
	g->stop_error = error;
}

static void on_done(struct blk_req *r, int ret)
{
	struct rig *g = r->opaque;

	assert_true(pthread_equal(pthread_self(), g->owner));
	g->done++;
	g->last_ret = ret;
}

static struct block_node *fake_node(struct fake *f)
{
	struct block_node *n = calloc(1, sizeof(*n));

	n->desc = &fake_desc;
	n->path = strdup("fake");
	n->len = sizeof(f->data);
	n->writable = true;
	n->priv = f;
	return n;
}

static struct rig *rig_new(struct blk_config c)
{
	struct rig *g = calloc(1, sizeof(*g));

	pthread_mutex_init(&g->turn.lock, NULL);
	pthread_cond_init(&g->turn.some, NULL);
	g->fake = calloc(1, sizeof(*g->fake));
	g->pool = block_pool_new(4);
	g->owner = pthread_self();
	c.node = fake_node(g->fake);
	c.pool = g->pool;
	c.post = turn_post;
	c.post_opaque = &g->turn;
	c.stopped = on_stop;
	c.stopped_opaque = g;
	g->blk = blk_new(&c, NULL);
	return g;
}

static void rig_free(struct rig *g)
{
	assert_int_equal(blk_free(g->blk), 0);
	while (g->turn.n)
		turn_once(&g->turn);
	block_pool_free(g->pool);
	free(g->fake);
	free(g);
}

static void submit(struct rig *g, struct blk_req *r, enum blk_op op, uint64_t off, struct iovec *iov)
{
	memset(r, 0, sizeof(*r));
	r->op = op;
	r->off = off;
	r->len = iov ? iov->iov_len : 0;
	r->iov = iov;
	r->niov = iov ? 1 : 0;
	r->done = on_done;
	r->opaque = g;
	blk_submit(g->blk, r);
}

static void test_order(void **state)
{
	struct rig *g = rig_new((struct blk_config){ 0 });
	uint8_t out[512], in[512];
	struct iovec wi = { out, 512 }, ri = { in, 512 };
	struct blk_req w, r;
	struct blk_stats s;

	memset(out, 0x5a, 512);
	submit(g, &w, BLK_WRITE, 1024, &wi);
	assert_int_equal(g->done, 0); /* never from within submit */
	while (g->done < 1)
		turn_once(&g->turn);
	submit(g, &r, BLK_READ, 1024, &ri);
	blk_drain(g->blk);
	assert_int_equal(g->done, 2);
	assert_memory_equal(in, out, 512);
	w.flags = BLK_REQ_FUA;
	blk_submit(g->blk, &w);
	blk_drain(g->blk);
	assert_int_equal(g->fake->flushes, 1);
	submit(g, &r, BLK_READ, sizeof(g->fake->data), &ri);
	blk_drain(g->blk);
	assert_int_equal(g->last_ret, -EINVAL);
	blk_get_stats(g->blk, &s);
	assert_int_equal(s.ops[BLK_WRITE], 2);
	assert_int_equal(s.bytes[BLK_READ], 512);
	assert_int_equal(s.errors[BLK_READ], 1);
	assert_int_equal(s.in_flight, 0);
	rig_free(g);
}

static void test_full_host(void **state)
{
	struct rig *g = rig_new((struct blk_config){ .on_write_error = BLK_ERROR_ENOSPC });
	uint8_t out[512] = { 7 };
	struct iovec wi = { out, 512 };
	struct blk_req w[3];
	struct blk_stats s;

	g->fake->fail_writes = ENOSPC;
	for (int i = 0; i < 3; i++)
		submit(g, &w[i], BLK_WRITE, i * 512, &wi);
	while (!g->stops)
		turn_once(&g->turn);
	blk_drain(g->blk);
	blk_get_stats(g->blk, &s);
	assert_int_equal(s.held, 3);
	assert_int_equal(g->done, 0);
	assert_int_equal(g->stops, 1);
	assert_int_equal(g->stop_error, ENOSPC);
	g->fake->fail_writes = 0;
	blk_resume(g->blk);
	blk_drain(g->blk);
	assert_int_equal(g->done, 3);
	assert_int_equal(g->last_ret, 0);
	assert_int_equal(g->fake->data[1024], 7);
	g->fake->fail_writes = EIO; /* other errors are the device's to report */
	submit(g, &w[0], BLK_WRITE, 0, &wi);
	blk_drain(g->blk);
	assert_int_equal(g->last_ret, -EIO);
	g->fake->fail_writes = ENOSPC;
	submit(g, &w[0], BLK_WRITE, 0, &wi);
	blk_drain(g->blk);
	rig_free(g);
}

static void test_limits(void **state)
{
	struct rig *g = rig_new((struct blk_config){ .max_iops = 200 });
	uint8_t out[512] = { 1 };
	struct iovec wi = { out, 512 };
	struct blk_req w[21];
	int64_t t0 = block_now_ns();

	for (int i = 0; i < 21; i++)
		submit(g, &w[i], BLK_WRITE, 0, &wi);
	blk_drain(g->blk);
	assert_int_equal(g->done, 21);
	assert_true(block_now_ns() - t0 >= 99 * 1000000LL); /* 20 gaps of 5 ms */
	rig_free(g);
}

static void test_medium(void **state)
{
	struct rig *g = rig_new((struct blk_config){ 0 });
	uint8_t in[512];
	struct iovec ri = { in, 512 };
	struct blk_req r;

	assert_int_equal(blk_change(g->blk, NULL), 0);
	assert_int_equal(blk_len(g->blk), 0);
	submit(g, &r, BLK_READ, 0, &ri);
	blk_drain(g->blk);
	assert_int_equal(g->last_ret, -ENOMEDIUM);
	blk_change(g->blk, fake_node(g->fake));
	g->fake->data[0] = 9;
	submit(g, &r, BLK_READ, 0, &ri);
	blk_drain(g->blk);
	assert_int_equal(in[0], 9);
	rig_free(g);
}

struct racer {
	struct range_set *set;
	unsigned *value;
};

static void *race(void *opaque)
{
	struct racer *c = opaque;

	for (int i = 0; i < 20000; i++) {
		struct range r;

		range_lock(c->set, &r, 100, 200, true);
		++*c->value;
		range_unlock(c->set, &r);
		range_lock(c->set, &r, 150, 151, false);
		range_unlock(c->set, &r);
	}
	return NULL;
}

static void test_ranges(void **state)
{
	struct range_set set;
	struct range a, b;
	unsigned value = 0;
	struct racer c = { &set, &value };
	pthread_t t[4];

	range_set_init(&set);
	range_lock(&set, &a, 0, 10, true);
	range_lock(&set, &b, 10, 20, true); /* neighbours do not meet */
	range_unlock(&set, &a);
	range_lock(&set, &a, 0, 10, false);
	range_unlock(&set, &b);
	range_unlock(&set, &a);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, race, &c);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(value, 80000);
	range_set_fini(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_full_host),
		cmocka_unit_test(test_limits), cmocka_unit_test(test_medium),
		cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
