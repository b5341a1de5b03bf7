/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's memory map: what covers what, and changing it under those who look. */
#include "src/mem/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/cmocka_all.h"

#define PAGE MEM_PAGE_SIZE

struct rig {
	struct mem *m;
	struct mem_block *ram, *rom;
};

static void rig_init(struct rig *r)
{
	struct err err = { 0 };

	r->m = mem_new(64ull << 20, &err);
	assert_non_null(r->m);
	r->ram = mem_block_new(r->m, "ram", 16ull << 20, false, &err);
	r->rom = mem_block_new(r->m, "rom", 1ull << 20, true, &err);
	assert_non_null(r->ram);
	assert_non_null(r->rom);
}

/* The slot at @gpa is @b's byte @off; @len bytes of it are in the slot from @gpa on. */
static void expect_slot(struct rig *r, gpa_t gpa, struct mem_block *b, uint64_t off, uint64_t len)
{
	struct mem_slot s;

	assert_true(mem_slot_at(r->m, gpa, &s));
	assert_ptr_equal(s.block, b);
	assert_ptr_equal(s.host + (gpa - s.gpa), b->host + off);
	assert_int_equal(s.gpa + s.len - gpa, len);
}

static void test_map(void **state)
{
	struct rig r;
	struct mem_slot s;

	rig_init(&r);
	assert_false(mem_slot_at(r.m, 0, &s));
	assert_int_equal(mem_map_set(r.m, 0, 8 * PAGE, r.ram, 0, true, true), 0);
	/* In the middle: both sides stay. */
	assert_int_equal(mem_map_set(r.m, 2 * PAGE, PAGE, r.rom, 0, true, true), 0);
	expect_slot(&r, 0, r.ram, 0, 2 * PAGE);
	expect_slot(&r, 2 * PAGE, r.rom, 0, PAGE);
	expect_slot(&r, 3 * PAGE, r.ram, 3 * PAGE, 5 * PAGE);
	assert_true(mem_slot_at(r.m, 2 * PAGE, &s));
	assert_false(s.writable); /* a ROM is not, whatever is asked for */
	/* Over several. */
	assert_int_equal(mem_map_set(r.m, PAGE, 3 * PAGE, r.ram, 64 * PAGE, true, false), 0);
	expect_slot(&r, 0, r.ram, 0, PAGE);
	expect_slot(&r, PAGE, r.ram, 64 * PAGE, 3 * PAGE);
	expect_slot(&r, 4 * PAGE, r.ram, 4 * PAGE, 4 * PAGE);
	assert_int_equal(mem_map_clear(r.m, 0, 6 * PAGE), 0);
	assert_false(mem_slot_at(r.m, 6 * PAGE - 1, &s));
	expect_slot(&r, 6 * PAGE, r.ram, 6 * PAGE, 2 * PAGE);
	assert_false(mem_slot_at(r.m, 8 * PAGE, &s));
	/* What makes no sense changes nothing. */
	assert_int_equal(mem_map_set(r.m, 1, PAGE, r.ram, 0, true, true), -EINVAL);
	assert_int_equal(mem_map_set(r.m, 0, 0, r.ram, 0, true, true), -EINVAL);
	assert_int_equal(mem_map_set(r.m, 0, PAGE, r.ram, r.ram->len, true, true), -EINVAL);
	assert_int_equal(mem_map_set(r.m, 0, r.ram->len, r.ram, PAGE, true, true), -EINVAL);
	assert_int_equal(mem_map_set(r.m, -(gpa_t)PAGE, 2 * PAGE, r.ram, 0, true, true), -EINVAL);
	assert_false(mem_slot_at(r.m, 0, &s));
	mem_free(r.m);
}

/* As many slots as a guest can make: tables grow, and those that are too small are few. */
static void test_growth(void **state)
{
	unsigned outgrown = 0;
	struct rig r;

	rig_init(&r);
	for (unsigned n = 0; n < 1000; n++)
		assert_int_equal(mem_map_set(r.m, 2ull * n * PAGE, PAGE, r.ram, (uint64_t)n * PAGE,
					     true, true), 0);
	for (unsigned n = 0; n < 1000; n++)
		expect_slot(&r, 2ull * n * PAGE, r.ram, (uint64_t)n * PAGE, PAGE);
	for (struct mem_map *map = r.m->outgrown; map; map = map->next)
		outgrown++;
	assert_in_range(outgrown, 1, 12); /* two each of 32, 64, ... 1024 */
	/* From here on a change takes no new memory. */
	for (unsigned n = 0; n < 100000; n++) {
		struct mem_map *last = r.m->outgrown;

		assert_int_equal(mem_map_clear(r.m, 0, PAGE), 0);
		assert_int_equal(mem_map_set(r.m, 0, PAGE, r.ram, 0, true, true), 0);
		assert_ptr_equal(r.m->outgrown, last);
	}
	mem_free(r.m);
}

/* Pages 1..3 always show RAM's pages 1..3 or 9..11, whatever stands before them. */
static void *look(void *opaque)
{
	struct rig *r = opaque;
	uintptr_t bad = 0;

	for (unsigned n = 0; n < 2000000; n++) {
		gpa_t gpa = (1 + n % 3) * PAGE;
		struct mem_slot s;
		uint64_t off;

		if (!mem_slot_at(r->m, gpa, &s) || s.block != r->ram || gpa < s.gpa ||
		    gpa - s.gpa >= s.len) {
			bad++;
			continue;
		}
		off = (uint64_t)(s.host + (gpa - s.gpa) - r->ram->host);
		bad += off != gpa && off != gpa + 8 * PAGE;
	}
	return (void *)bad;
}

struct writer {
	struct rig *r;
	_Atomic bool stop;
};

static void *change(void *opaque)
{
	struct writer *w = opaque;
	struct rig *r = w->r;

	for (unsigned n = 0; !atomic_load(&w->stop); n++) {
		/* The slots' places in the table move, too. */
		if (mem_map_set(r->m, 0, PAGE, r->rom, 0, true, false) != 0 ||
		    mem_map_set(r->m, PAGE, 3 * PAGE, r->ram, n & 1 ? PAGE : 9 * PAGE, true, true) != 0 ||
		    mem_map_clear(r->m, 0, PAGE) != 0)
			return r;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct writer w = { 0 };
	struct rig r;
	pthread_t reader[2], writer;
	void *bad;

	rig_init(&r);
	w.r = &r;
	assert_int_equal(mem_map_set(r.m, PAGE, 3 * PAGE, r.ram, PAGE, true, true), 0);
	assert_int_equal(pthread_create(&writer, NULL, change, &w), 0);
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(pthread_create(&reader[n], NULL, look, &r), 0);
	for (unsigned n = 0; n < 2; n++) {
		pthread_join(reader[n], &bad);
		assert_null(bad);
	}
	atomic_store(&w.stop, true);
	pthread_join(writer, &bad);
	assert_null(bad);
	mem_free(r.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
