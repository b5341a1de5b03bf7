/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every device of devices.def that has state, on a board with all of them: saved,
 * scrambled, restored, and saved again to the same bytes; and once more after a hostile
 * guest has been at it. One that nobody plugs into that board fails the test.
 */
#include <stdio.h>

#include "fuzz/devices/machine.h"
#include "src/base/bits.h"
#include "src/dev/devices.h"
#include "tests/unit/roundtrip.h"

#define DEVICES_MAX 128u

struct seen {
	bool device[DEVICES_MAX];
	unsigned count;
};

static int roundtrip(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	struct seen *s = opaque;

	for (size_t n = 0; devices[n]; n++)
		if (devices[n] == desc)
			s->device[n] = true;
	s->count++;
	check_roundtrip(desc->state, dev);
	return 0;
}

static void every_device(struct fz *f)
{
	struct seen s = { 0 };

	bus_lock(f->bus);
	assert_int_equal(board_each(f->board, roundtrip, &s), 0);
	bus_unlock(f->bus);
	for (size_t n = 0; devices[n]; n++) {
		assert_true(n < DEVICES_MAX);
		if (devices[n]->state && !s.device[n])
			fail_msg("%s is not on the board", devices[n]->name);
	}
	assert_true(s.count >= 30);
}

static void fresh(void **state)
{
	struct fz *f = calloc(1, sizeof(*f));

	fz_machine_init(f);
	every_device(f);
	fz_machine_fini(f);
	free(f);
}

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 20;
}

/* Accesses everywhere, some time, and what was begun is done. */
static void used(void **state)
{
	struct fz *f = calloc(1, sizeof(*f));
	uint64_t seed = 5;

	fz_machine_init(f);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned n = 0; n < 2000; n++) {
			const struct fz_window *w = &f->window[next(&seed) % f->windows];
			uint64_t off = next(&seed) % min_of(w->len, 256ull);
			unsigned size = 1u << next(&seed) % 3;

			off &= ~(uint64_t)(size - 1);
			if (w->space == FZ_CONFIG)
				fz_config_write(f, (unsigned)w->base, (unsigned)off,
						(uint32_t)next(&seed), size);
			else
				fz_write(f, w->space, w->base + off, next(&seed), size);
			if (n % 64 == 0)
				fz_machine_enable(f);
		}
		fz_machine_pass(f, 1000000);
		fz_machine_turn(f, true);
		every_device(f);
	}
	fz_machine_fini(f);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(fresh), cmocka_unit_test(used) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
