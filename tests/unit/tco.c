/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chipset's watchdog through its ports, as ICH9's data sheet and iTCO_wdt have it. */
#include "src/dev/acpi/pm.h"
#include "tests/unit/dev_fixture.h"

#define PM 0x600u
#define TCO (PM + ACPI_TCO_BASE)
#define SMI_EN (PM + 0x30)
#define SMI_STS (PM + 0x34)
enum { RLD = TCO, STS1 = TCO + 4, STS2 = TCO + 6, CNT1 = TCO + 8, TMR = TCO + 0x12 };
#define HALT 0x0800u
#define LOCK 0x1000u
#define TICK ACPI_TCO_TICK_NS

struct rig {
	struct fixture f;
	struct acpi_pm pm;
	struct probe sci;
	uint8_t gcs;
	unsigned bites;
};

static void bite(void *opaque)
{
	((struct rig *)opaque)->bites++;
}

static uint16_t inw(struct rig *r, uint16_t port)
{
	return (uint16_t)bus_pio_read(r->f.bus, port, 2);
}

static void outw(struct rig *r, uint16_t port, uint16_t val)
{
	bus_pio_write(r->f.bus, port, val, 2);
}

static void init(struct rig *r)
{
	struct irq_line sci = probe_line(&r->sci);

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	r->f.env.watchdog = bite;
	r->f.env.power_opaque = r;
	assert_int_equal(acpi_pm_init(&r->pm, &r->f.env, &sci, NULL), 0);
	r->pm.tco.gcs = &r->gcs;
	acpi_pm_map(&r->pm, PM, true);
}

static void fini(struct rig *r)
{
	acpi_pm_fini(&r->pm);
	fixture_fini(&r->f);
}

/* As the driver starts it: so many ticks, loaded, running. */
static void start(struct rig *r, uint16_t ticks)
{
	outw(r, TMR, ticks);
	outw(r, RLD, 1);
	outw(r, CNT1, 0);
}

static void test_defaults(void **state)
{
	struct rig r;

	init(&r);
	assert_int_equal(inw(&r, TMR), 4);
	assert_int_equal(inw(&r, CNT1), 0);
	assert_int_equal(inb(&r.f, TCO + 0x10), 3);
	/* Firmware that does not know it is left in peace. */
	pass(&r.f, 100 * TICK);
	assert_int_equal(inw(&r, STS1), 0);
	assert_int_equal(r.bites, 0);
	outw(&r, TMR, 0xffff);
	assert_int_equal(inw(&r, TMR), 0x3ff);
	fini(&r);
}

static void test_bites_the_second_time(void **state)
{
	struct rig r;

	init(&r);
	start(&r, 5);
	assert_int_equal(inw(&r, RLD), 5);
	pass(&r.f, 3 * TICK);
	assert_int_equal(inw(&r, RLD), 2);
	pass(&r.f, 2 * TICK + 1);
	assert_int_equal(inw(&r, STS1) & 8, 8);
	assert_int_equal(inw(&r, STS2) & 2, 0);
	assert_true(bus_pio_read(r.f.bus, SMI_STS, 4) & ACPI_SMI_TCO);
	assert_int_equal(r.bites, 0);
	pass(&r.f, 5 * TICK);
	assert_int_equal(r.bites, 1);
	assert_int_equal(inw(&r, STS2) & 6, 6);
	/* That is said once, and still there after the reset, until it is cleared. */
	pass(&r.f, 100 * TICK);
	assert_int_equal(r.bites, 1);
	acpi_pm_reset(&r.pm);
	assert_int_equal(inw(&r, STS1), 0);
	assert_int_equal(inw(&r, STS2) & 6, 6);
	outw(&r, STS2, 6);
	assert_int_equal(inw(&r, STS2), 0);
	fini(&r);
}

static void test_fed(void **state)
{
	struct rig r;

	init(&r);
	start(&r, 5);
	for (unsigned n = 0; n < 50; n++) {
		pass(&r.f, 4 * TICK);
		outw(&r, RLD, 1);
		assert_int_equal(inw(&r, RLD), 5);
	}
	assert_int_equal(inw(&r, STS1), 0);
	/* Fed between the two times it counts from the first again. */
	pass(&r.f, 6 * TICK);
	assert_int_equal(inw(&r, STS1), 8);
	outw(&r, STS1, 8);
	assert_int_equal(inw(&r, STS1), 0);
	outw(&r, RLD, 1);
	pass(&r.f, 6 * TICK);
	assert_int_equal(r.bites, 0);
	fini(&r);
}

static void test_halted(void **state)
{
	struct rig r;

	init(&r);
	start(&r, 10);
	pass(&r.f, 4 * TICK);
	outw(&r, CNT1, HALT);
	assert_int_equal(inw(&r, RLD), 6);
	pass(&r.f, 100 * TICK);
	assert_int_equal(inw(&r, RLD), 6);
	assert_int_equal(inw(&r, STS1), 0);
	outw(&r, CNT1, 0);
	pass(&r.f, 7 * TICK);
	assert_int_equal(inw(&r, STS1), 8);
	fini(&r);
}

static void test_no_reboot(void **state)
{
	struct rig r;

	init(&r);
	r.gcs = ICH9_GCS_NO_REBOOT;
	start(&r, 2);
	pass(&r.f, 50 * TICK);
	assert_int_equal(r.bites, 0);
	assert_int_equal(inw(&r, STS1) & 8, 8);
	assert_int_equal(inw(&r, STS2) & 2, 2);
	/* The driver allows it. */
	r.gcs = 0;
	pass(&r.f, 50 * TICK);
	assert_int_equal(r.bites, 1);
	/* Where nobody chose what happens it is a reset. */
	r.f.env.watchdog = NULL;
	r.f.env.power_opaque = &r.f;
	outw(&r, RLD, 1);
	pass(&r.f, 50 * TICK);
	assert_int_equal(r.f.resets, 1);
	fini(&r);
}

static void test_lock(void **state)
{
	struct rig r;

	init(&r);
	outl(&r.f, SMI_EN, ACPI_SMI_TCO);
	outl(&r.f, SMI_EN, 0);
	assert_int_equal(inl(&r.f, SMI_EN) & ACPI_SMI_TCO, 0);
	outw(&r, CNT1, LOCK);
	outw(&r, CNT1, 0);
	assert_int_equal(inw(&r, CNT1), LOCK);
	outl(&r.f, SMI_EN, 0xffffffff);
	assert_int_equal(inl(&r.f, SMI_EN) & ACPI_SMI_TCO, 0);
	acpi_pm_reset(&r.pm);
	assert_int_equal(inw(&r, CNT1), 0);
	fini(&r);
}

static void poke(void *obj)
{
	struct acpi_pm *pm = obj;

	for (unsigned n = 0; n < ACPI_TCO_SIZE; n++)
		acpi_tco_read(&pm->tco, n);
}

static void test_state(void **state)
{
	struct rig r;

	init(&r);
	start(&r, 700);
	outb(&r.f, TCO + 2, 0x55);
	pass(&r.f, 100 * TICK);
	check_roundtrip(&acpi_pm_state, &r.pm);
	assert_int_equal(inw(&r, RLD), 600);
	check_hostile(&acpi_pm_state, &r.pm, poke, 2000);
	storm_pio(&r.f, TCO, ACPI_TCO_SIZE, 20000);
	pass(&r.f, 2000 * TICK);
	fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_bites_the_second_time),
		cmocka_unit_test(test_fed), cmocka_unit_test(test_halted),
		cmocka_unit_test(test_no_reboot), cmocka_unit_test(test_lock),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
