/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/vtime.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "tests/unit/cmocka_all.h"

struct item {
	struct vtimer t;
	int id;
	struct rig *rig;
};

struct rig {
	struct vtime *vt;
	int fired[4096];
	unsigned nfired, wakes;
	int64_t rearm_every_ns;
	struct item item[512];
};

static void fire(void *opaque)
{
	struct item *i = opaque;

	i->rig->fired[i->rig->nfired++] = i->id;
	if (i->rig->rearm_every_ns)
		vtimer_arm(&i->t, vtime_now_ns(i->rig->vt) + i->rig->rearm_every_ns);
}

static void wake(void *opaque)
{
	((struct rig *)opaque)->wakes++;
}

static struct rig *rig_new(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->vt = vtime_new(NULL, true);
	vtime_set_wake(r->vt, wake, r);
	for (unsigned n = 0; n < array_size(r->item); n++) {
		r->item[n].id = (int)n;
		r->item[n].rig = r;
		vtimer_init(&r->item[n].t, r->vt, fire, &r->item[n]);
	}
	return r;
}

static void rig_free(struct rig *r)
{
	vtime_free(r->vt);
	free(r);
}

static void test_order(void **state)
{
	struct rig *r = rig_new();

	vtimer_arm(&r->item[0].t, 300);
	vtimer_arm(&r->item[1].t, 100);
	vtimer_arm(&r->item[2].t, 200);
	vtimer_arm(&r->item[3].t, 100); /* same deadline: in order of arming */
	vtimer_arm(&r->item[4].t, 50);
	vtimer_cancel(&r->item[4].t);
	assert_false(vtimer_armed(&r->item[4].t));
	assert_int_equal(vtime_next_deadline_ns(r->vt), 100);
	vtime_run(r->vt);
	assert_int_equal(r->nfired, 0);
	vtime_advance(r->vt, 250);
	vtime_run(r->vt);
	assert_int_equal(r->nfired, 3);
	assert_int_equal(r->fired[0], 1);
	assert_int_equal(r->fired[1], 3);
	assert_int_equal(r->fired[2], 2);
	vtimer_arm(&r->item[0].t, 1000); /* moves it */
	vtime_advance(r->vt, 100);
	vtime_run(r->vt);
	assert_int_equal(r->nfired, 3);
	vtime_advance(r->vt, 650);
	vtime_run(r->vt);
	assert_int_equal(r->nfired, 4);
	assert_int_equal(vtime_next_deadline_ns(r->vt), VTIME_NEVER);
	rig_free(r);
}

static void test_wake(void **state)
{
	struct rig *r = rig_new();
	unsigned before = r->wakes;

	vtimer_arm(&r->item[0].t, 500);
	assert_int_equal(r->wakes, before + 1);
	vtimer_arm(&r->item[1].t, 600); /* not the first: nobody is woken */
	assert_int_equal(r->wakes, before + 1);
	vtimer_arm(&r->item[1].t, 400);
	assert_int_equal(r->wakes, before + 2);
	rig_free(r);
}

static void test_rearm(void **state)
{
	struct rig *r = rig_new();

	r->rearm_every_ns = 10;
	vtimer_arm(&r->item[0].t, 10);
	for (int n = 0; n < 100; n++) {
		vtime_advance(r->vt, 1);
		vtime_run(r->vt);
	}
	assert_int_equal(r->nfired, 10);
	rig_free(r);
}

static void test_many(void **state)
{
	struct rig *r = rig_new();
	int64_t deadline[512];
	uint32_t seed = 1;

	for (int round = 0; round < 20; round++) {
		int64_t now = vtime_now_ns(r->vt);

		r->nfired = 0;
		for (unsigned n = 0; n < 512; n++) {
			seed = seed * 1103515245 + 12345;
			deadline[n] = now + 1 + (seed >> 16) % 1000;
			vtimer_arm(&r->item[n].t, deadline[n]);
		}
		for (unsigned n = 0; n < 512; n += 3) {
			seed = seed * 1103515245 + 12345;
			deadline[n] = seed & 0x10000 ? VTIME_NEVER : now + 1 + (seed >> 17) % 1000;
			vtimer_arm(&r->item[n].t, deadline[n]); /* NEVER cancels */
		}
		vtime_advance(r->vt, 500);
		vtime_run(r->vt);
		for (unsigned n = 1; n < r->nfired; n++)
			assert_true(deadline[r->fired[n - 1]] <= deadline[r->fired[n]]);
		for (unsigned n = 0; n < 512; n++)
			assert_int_equal(vtimer_armed(&r->item[n].t),
					 deadline[n] != VTIME_NEVER && deadline[n] > now + 500);
		vtime_advance(r->vt, 600);
		vtime_run(r->vt);
		assert_int_equal(vtime_next_deadline_ns(r->vt), VTIME_NEVER);
	}
	rig_free(r);
}

static void test_pause(void **state)
{
	struct vtime *vt = vtime_new(NULL, false);
	struct rig r = { .vt = vt };
	struct item i = { .rig = &r };
	int64_t t0, t1;

	vtimer_init(&i.t, vt, fire, &i);
	usleep(1000);
	vtime_pause(vt);
	t0 = vtime_now_ns(vt);
	assert_true(t0 >= 1000000);
	vtimer_arm(&i.t, t0 - 1);
	usleep(2000);
	assert_int_equal(vtime_now_ns(vt), t0);
	vtime_run(vt); /* due, but the machine stands still */
	assert_int_equal(r.nfired, 0);
	assert_int_equal(vtime_next_deadline_ns(vt), VTIME_NEVER);
	vtime_resume(vt);
	t1 = vtime_now_ns(vt);
	assert_true(t1 >= t0 && t1 < t0 + 1000000000);
	vtime_run(vt);
	assert_int_equal(r.nfired, 1);
	vtime_pause(vt);
	vtime_set_now(vt, 5);
	assert_int_equal(vtime_now_ns(vt), 5);
	vtime_resume(vt);
	assert_true(vtime_now_ns(vt) >= 5 && vtime_now_ns(vt) < 1000000000);
	vtime_free(vt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_wake),
		cmocka_unit_test(test_rearm), cmocka_unit_test(test_many),
		cmocka_unit_test(test_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
