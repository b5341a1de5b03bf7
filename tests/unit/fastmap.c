/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <stdatomic.h>

#include "src/block/fastmap.h"
#include "tests/unit/cmocka_all.h"

#define MIB (1ULL << 20)

static void runs(void **state)
{
	struct fastmap m;
	struct fast_run r;

	fastmap_init(&m);
	assert_false(fastmap_get(&m, 0, 1, &r));
	fastmap_put(&m, 65536, 65536, FAST_DATA, 5 * MIB);
	assert_false(fastmap_get(&m, 65535, 2, &r));
	assert_false(fastmap_get(&m, 131071, 2, &r));
	assert_true(fastmap_get(&m, 65536, 65536, &r));
	assert_true(r.kind == FAST_DATA && r.host == 5 * MIB);
	assert_true(fastmap_get(&m, 131071, 1, &r));
	assert_true(r.host == 5 * MIB + 65535);
	/* What goes on there joins it, on both sides; what does not takes its place. */
	fastmap_put(&m, 131072, 4096, FAST_DATA, 5 * MIB + 65536);
	fastmap_put(&m, 0, 65536, FAST_DATA, 5 * MIB - 65536);
	assert_true(fastmap_get(&m, 1, 135167, &r));
	assert_true(r.host == 5 * MIB - 65535);
	fastmap_put(&m, 8192, 4096, FAST_ZERO, 0);
	assert_false(fastmap_get(&m, 65536, 1, &r));
	assert_true(fastmap_get(&m, 8192, 4096, &r));
	assert_int_equal(r.kind, FAST_ZERO);
	/* No further than the piece. */
	fastmap_put(&m, 3 * MIB - 512, 4 * MIB, FAST_BACKING, 0);
	assert_true(fastmap_get(&m, 3 * MIB - 512, 512, &r));
	assert_false(fastmap_get(&m, 3 * MIB - 512, 513, &r));
	assert_false(fastmap_get(&m, 3 * MIB, 1, &r));
	/* Another piece in the same place is another piece. */
	assert_false(fastmap_get(&m, 3 * MIB - 512 + 4096 * MIB, 1, &r));
	assert_int_equal(fastmap_reach(0, 512, 10 * MIB), MIB);
	assert_int_equal(fastmap_reach(MIB - 512, 4096, 10 * MIB), 4096);
	assert_int_equal(fastmap_reach(0, 512, 8192), 8192);
	fastmap_fini(&m);
}

static void changes(void **state)
{
	struct fastmap m;
	struct fast_run r, old;

	fastmap_init(&m);
	fastmap_put(&m, 0, 4096, FAST_DATA, MIB);
	assert_true(fastmap_get(&m, 0, 4096, &old));
	assert_true(fastmap_stands(&m, &old));
	fastmap_changed(&m);
	assert_false(fastmap_stands(&m, &old));
	assert_false(fastmap_get(&m, 0, 4096, &r));
	fastmap_put(&m, 4096, 4096, FAST_DATA, MIB + 4096); /* does not join what is old */
	assert_false(fastmap_get(&m, 0, 4096, &r));
	assert_true(fastmap_get(&m, 4096, 4096, &r));
	fastmap_fini(&m);
}

/* One thread puts in runs whose host offset tells which they are, another looks. */
struct race {
	struct fastmap m;
	atomic_bool stop;
};

static void *putting(void *opaque)
{
	struct race *c = opaque;

	for (uint64_t i = 0; !atomic_load(&c->stop); i++) {
		uint64_t off = i % 3 * 4096 * MIB + i % 5 * 4096; /* all in one slot */

		if (i % 7 == 0)
			fastmap_changed(&c->m);
		fastmap_put(&c->m, off, 4096, FAST_DATA, off * 2 + (1ULL << 50));
	}
	return NULL;
}

static void halves(void **state)
{
	struct race c = { .stop = false };
	unsigned long hits = 0;
	pthread_t t;

	fastmap_init(&c.m);
	assert_int_equal(pthread_create(&t, NULL, putting, &c), 0);
	for (unsigned i = 0; hits < 500000; i++) {
		uint64_t off = i % 3 * 4096 * MIB + i % 5 * 4096;
		struct fast_run r;

		if (!fastmap_get(&c.m, off, 4096, &r))
			continue;
		hits++;
		assert_true(r.host == off * 2 + (1ULL << 50));
	}
	atomic_store(&c.stop, true);
	pthread_join(t, NULL);
	fastmap_fini(&c.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs),
		cmocka_unit_test(changes),
		cmocka_unit_test(halves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
