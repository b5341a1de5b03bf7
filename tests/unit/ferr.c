/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87 errors on IRQ 13: latched until port F0h is written. */
#include "src/dev/legacy/ferr.h"
#include "tests/unit/dev_fixture.h"

static void test_latch(void **state)
{
	struct fixture f;
	struct probe irq13;
	struct irq_line line;
	struct ferr d;

	fixture_init(&f);
	line = probe_line(&irq13);
	assert_int_equal(ferr_init(&d, &f.env, &line, NULL), 0);
	assert_int_equal(irq13.level, 0);
	ferr_assert(&d);
	ferr_assert(&d);
	assert_int_equal(irq13.level, 1);
	assert_int_equal(irq13.rises, 1);
	check_roundtrip(ferr_desc.state, &d);
	check_hostile(ferr_desc.state, &d, NULL, 200);
	outb(&f, 0xf0, 0);
	assert_int_equal(irq13.level, 0);
	ferr_assert(&d);
	assert_int_equal(irq13.rises, 2);
	ferr_desc.reset(&d);
	assert_int_equal(irq13.level, 0);
	ferr_fini(&d);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_latch) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
