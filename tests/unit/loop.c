/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/vtime.h"
#include "tests/unit/cmocka_all.h"

struct rig {
	struct loop *l;
	struct vtime *vt;
	pthread_mutex_t lock;
	struct vtimer timer;
	int pipe[2];
	unsigned reads, posts, ticks;
	bool in_order;
	int64_t late_ns;
};

static void rig_init(struct rig *r)
{
	*r = (struct rig){ .in_order = true };
	pthread_mutex_init(&r->lock, NULL);
	r->l = loop_new(&r->lock, NULL);
	assert_non_null(r->l);
	assert_int_equal(pipe(r->pipe), 0);
}

static void rig_fini(struct rig *r)
{
	loop_free(r->l);
	vtime_free(r->vt);
	close(r->pipe[0]);
	close(r->pipe[1]);
	pthread_mutex_destroy(&r->lock);
}

static void readable(void *opaque, uint32_t events)
{
	struct rig *r = opaque;
	char c;

	/* Under the device lock: nobody else gets it. */
	assert_int_not_equal(pthread_mutex_trylock(&r->lock), 0);
	assert_int_equal(read(r->pipe[0], &c, 1), 1);
	if (++r->reads == 3) {
		loop_fd_del(r->l, r->pipe[0]);
		loop_stop(r->l);
	}
}

static void test_fd(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(write(r.pipe[1], "abcdef", 6), 6);
	assert_int_equal(loop_fd_set(r.l, r.pipe[0], EPOLLIN, readable, &r), 0);
	loop_run(r.l);
	assert_int_equal(r.reads, 3);
	/* Deleted: the bytes left do not matter any more. */
	loop_post(r.l, (void (*)(void *))loop_stop, r.l);
	loop_run(r.l);
	assert_int_equal(r.reads, 3);
	/* Regular files cannot be waited for; the caller is told. */
	assert_int_not_equal(loop_fd_set(r.l, 12345, EPOLLIN, readable, &r), 0);
	rig_fini(&r);
}

static void must_not(void *opaque, uint32_t events)
{
	fail_msg("a silent descriptor spoke");
}

static void test_silent_hangup(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(loop_fd_set(r.l, r.pipe[0], 0, must_not, &r), 0);
	close(r.pipe[1]); /* EPOLLHUP */
	loop_post(r.l, (void (*)(void *))loop_stop, r.l);
	loop_run(r.l);
	r.pipe[1] = dup(r.pipe[0]);
	rig_fini(&r);
}

struct post {
	struct rig *r;
	unsigned n;
};

static void posted(void *opaque)
{
	struct post *p = opaque;

	if (p->r->posts != p->n)
		p->r->in_order = false;
	if (++p->r->posts == 1000)
		loop_stop(p->r->l);
}

static void *poster(void *opaque)
{
	struct post *p = opaque;

	for (unsigned n = 0; n < 1000; n++)
		loop_post(p[n].r->l, posted, &p[n]);
	return NULL;
}

static void test_post(void **state)
{
	struct rig r;
	struct post p[1000];
	pthread_t t;

	rig_init(&r);
	for (unsigned n = 0; n < 1000; n++)
		p[n] = (struct post){ &r, n };
	assert_int_equal(pthread_create(&t, NULL, poster, p), 0);
	loop_run(r.l);
	pthread_join(t, NULL);
	assert_int_equal(r.posts, 1000);
	assert_true(r.in_order);
	rig_fini(&r);
}

static void tick(void *opaque)
{
	struct rig *r = opaque;
	int64_t now = vtime_now_ns(r->vt);

	assert_int_not_equal(pthread_mutex_trylock(&r->lock), 0);
	if (++r->ticks == 20)
		loop_stop(r->l);
	else
		vtimer_arm(&r->timer, now + 500000);
}

static void *arm_elsewhere(void *opaque)
{
	struct rig *r = opaque;

	usleep(5000); /* the loop sleeps for ever by now */
	vtimer_arm(&r->timer, vtime_now_ns(r->vt) + 500000);
	return NULL;
}

static void test_timers(void **state)
{
	struct rig r;
	pthread_t t;
	int64_t begin, took;

	rig_init(&r);
	r.vt = vtime_new(&r.lock, false);
	loop_set_vtime(r.l, r.vt);
	vtimer_init(&r.timer, r.vt, tick, &r);
	begin = vtime_now_ns(r.vt);
	assert_int_equal(pthread_create(&t, NULL, arm_elsewhere, &r), 0);
	loop_run(r.l);
	pthread_join(t, NULL);
	took = vtime_now_ns(r.vt) - begin;
	assert_int_equal(r.ticks, 20);
	assert_true(took >= 5000000 + 20 * 500000);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fd), cmocka_unit_test(test_silent_hangup),
		cmocka_unit_test(test_post), cmocka_unit_test(test_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
