/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/bus/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/bus/irq_or.h"
#include "tests/unit/cmocka_all.h"

/* A device that answers with its id in every byte and writes down what it is asked. */
struct dev {
	uint8_t id;
	char log[256];
};

static uint64_t dev_read(void *opaque, uint64_t off, unsigned size)
{
	struct dev *d = opaque;
	size_t n = strlen(d->log);

	snprintf(d->log + n, sizeof(d->log) - n, "r%x.%u ", (unsigned)off, size);
	return 0x0101010101010101ull * d->id + off;
}

static void dev_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct dev *d = opaque;
	size_t n = strlen(d->log);

	snprintf(d->log + n, sizeof(d->log) - n, "w%x.%u=%llx ", (unsigned)off, size,
		 (unsigned long long)val);
}

static const struct bus_ops any = { dev_read, dev_write, 0, 0, false };
static const struct bus_ops only4 = { dev_read, dev_write, 4, 4, false };
static const struct bus_ops only1 = { dev_read, dev_write, 1, 1, false };
static const struct bus_ops nothing = { NULL, NULL, 0, 0, false };

static void test_dispatch(void **state)
{
	struct bus *b = bus_new(NULL, NULL);
	struct dev d1 = { .id = 1 }, d2 = { .id = 2 };
	struct bus_range r1 = { 0x60, 4, &any, &d1, "one" }, r2 = { 0x64, 1, &any, &d2, "two" };

	assert_int_equal(bus_pio_read(b, 0x60, 1), 0xff);
	assert_int_equal(bus_pio_read(b, 0x60, 4), 0xffffffff);
	assert_int_equal(bus_add_pio(b, &r1), 0);
	assert_int_equal(bus_add_pio(b, &r1), -EBUSY);
	assert_int_equal(bus_add_pio(b, &r2), 0);
	assert_int_equal(bus_pio_read(b, 0x61, 1), 0x02);
	assert_int_equal(bus_pio_read(b, 0x64, 1), 0x02);
	/* Ends of the ranges. */
	assert_int_equal(bus_pio_read(b, 0x5f, 1), 0xff);
	assert_int_equal(bus_pio_read(b, 0x65, 1), 0xff);
	/* Across two ranges and a gap: byte by byte. */
	assert_int_equal(bus_pio_read(b, 0x62, 4), 0xff020403);
	assert_int_equal(bus_pio_read(b, 0x5f, 2), 0x01ff);
	d1.log[0] = d2.log[0] = '\0';
	bus_pio_write(b, 0x63, 0xaabbccdd, 4);
	assert_string_equal(d1.log, "w3.1=dd ");
	assert_string_equal(d2.log, "w0.1=cc ");
	bus_del_pio(b, &r1);
	bus_del_pio(b, &r1);
	assert_int_equal(bus_pio_read(b, 0x60, 1), 0xff);
	assert_int_equal(bus_pio_read(b, 0x64, 1), 0x02);
	bus_del_pio(b, &r2);
	/* The last port: an access past it wraps into nothing. */
	r2.start = 0xffff;
	assert_int_equal(bus_add_pio(b, &r2), 0);
	assert_int_equal(bus_pio_read(b, 0xffff, 2), 0xff02);
	bus_free(b);
}

static void test_bad_ranges(void **state)
{
	struct bus *b = bus_new(NULL, NULL);
	struct dev d = { .id = 1 };
	struct bus_range empty = { 0x60, 0, &any, &d, "empty" };
	struct bus_range past = { 0xffff, 2, &any, &d, "past" };
	struct bus_range noops = { 0x60, 1, NULL, &d, "no ops" };
	struct bus_range whole = { 0, 0x10000, &any, &d, "whole" };
	struct bus_range top = { UINT64_MAX - 0xfff, 0x1000, &any, &d, "top" };
	struct bus_range wrap = { UINT64_MAX, 2, &any, &d, "wrap" };

	assert_int_equal(bus_add_pio(b, &empty), -EINVAL);
	assert_int_equal(bus_add_pio(b, &past), -EINVAL);
	assert_int_equal(bus_add_pio(b, &noops), -EINVAL);
	assert_int_equal(bus_add_mmio(b, &wrap), -EINVAL);
	assert_int_equal(bus_add_pio(b, &whole), 0);
	assert_int_equal(bus_add_mmio(b, &top), 0);
	assert_int_equal(bus_mmio_read(b, UINT64_MAX, 1), 0x00);
	assert_int_equal(bus_mmio_read(b, UINT64_MAX - 1, 4) >> 16, 0xffff);
	bus_free(b);
}

static void test_priority(void **state)
{
	struct bus *b = bus_new(NULL, NULL);
	struct dev d[4] = { { 0x10 }, { 0x20 }, { 0x30 }, { 0x40 } };
	struct bus_range low = { 0x1000, 0x1000, &only1, &d[0], "low", .priority = -1 };
	struct bus_range mid = { 0x1400, 0x100, &only1, &d[1], "mid" };
	struct bus_range also = { 0x1480, 0x100, &only1, &d[2], "also" };
	struct bus_range high = { 0x1440, 0x10, &only1, &d[3], "high", .priority = 5 };

	assert_int_equal(bus_add_mmio(b, &low), 0);
	assert_int_equal(bus_add_mmio(b, &mid), 0);
	assert_int_equal(bus_add_mmio(b, &also), 0);
	assert_int_equal(bus_add_mmio(b, &high), 0);
	bus_mmio_read(b, 0x13ff, 1);
	assert_string_equal(d[0].log, "r3ff.1 ");
	bus_mmio_read(b, 0x1600, 1);
	assert_string_equal(d[0].log, "r3ff.1 r600.1 ");
	bus_mmio_read(b, 0x143f, 1);
	bus_mmio_read(b, 0x1450, 1);
	bus_mmio_read(b, 0x14ff, 1); /* equal priority: the first one added */
	assert_string_equal(d[1].log, "r3f.1 r50.1 rff.1 ");
	bus_mmio_read(b, 0x1500, 1);
	assert_string_equal(d[2].log, "r80.1 ");
	bus_mmio_read(b, 0x1440, 1);
	bus_mmio_read(b, 0x144f, 1);
	assert_string_equal(d[3].log, "r0.1 rf.1 ");
	bus_del_mmio(b, &mid);
	d[0].log[0] = d[2].log[0] = '\0';
	bus_mmio_read(b, 0x147f, 1);
	bus_mmio_read(b, 0x1480, 1);
	assert_string_equal(d[0].log, "r47f.1 ");
	assert_string_equal(d[2].log, "r0.1 ");
	bus_free(b);
}

static void test_sizes(void **state)
{
	struct bus *b = bus_new(NULL, NULL);
	struct dev d4 = { .id = 0 }, d1 = { .id = 0 };
	struct bus_range r4 = { 0x1000, 0x100, &only4, &d4, "4" };
	struct bus_range r1 = { 0x2000, 0x100, &only1, &d1, "1" };
	struct bus_range r0 = { 0x3000, 0x100, &nothing, NULL, "0" };

	assert_int_equal(bus_add_mmio(b, &r4), 0);
	assert_int_equal(bus_add_mmio(b, &r1), 0);
	assert_int_equal(bus_add_mmio(b, &r0), 0);
	/* Wider than max: pieces, low address first. */
	assert_int_equal(bus_mmio_read(b, 0x1010, 8), 0x0000001400000010ull);
	assert_string_equal(d4.log, "r10.4 r14.4 ");
	assert_int_equal(bus_mmio_read(b, 0x2010, 4), 0x13121110);
	d1.log[0] = '\0';
	bus_mmio_write(b, 0x2020, 0x11223344, 4);
	assert_string_equal(d1.log, "w20.1=44 w21.1=33 w22.1=22 w23.1=11 ");
	/* Narrower than min: an aligned read and a shift; writes as they are. */
	d4.log[0] = '\0';
	d4.id = 0x5a;
	assert_int_equal(bus_mmio_read(b, 0x1021, 1), 0x5a);
	assert_int_equal(bus_mmio_read(b, 0x1022, 2), 0x5a5a);
	assert_string_equal(d4.log, "r20.4 r20.4 ");
	d4.log[0] = '\0';
	assert_int_equal(bus_mmio_read(b, 0x1023, 2), 0x7e5a);
	assert_string_equal(d4.log, "r20.4 r24.4 ");
	d4.log[0] = '\0';
	bus_mmio_write(b, 0x1021, 0x1ff, 1);
	assert_string_equal(d4.log, "w21.1=ff ");
	assert_int_equal(bus_mmio_read(b, 0x3000, 4), 0xffffffff);
	bus_mmio_write(b, 0x3000, 1, 4);
	bus_free(b);
}

/* Ranges come and go while other threads look: no crash, no wrong device. */
struct race {
	struct bus *b;
	atomic_bool stop;
	atomic_uint wrong;
};

static uint64_t fixed_read(void *opaque, uint64_t off, unsigned size)
{
	return *(uint8_t *)opaque;
}

static void *reader(void *opaque)
{
	struct race *r = opaque;

	while (!atomic_load(&r->stop)) {
		uint64_t v = bus_mmio_read(r->b, 0x5000, 1);

		if (v != 0x55 && v != 0xff && v != 0x66)
			atomic_fetch_add(&r->wrong, 1);
		if (bus_mmio_read(r->b, 0x9000, 1) != 0x77)
			atomic_fetch_add(&r->wrong, 1);
	}
	return NULL;
}

static void test_race(void **state)
{
	static const struct bus_ops locked = { .read = fixed_read };
	static const struct bus_ops unlocked = { .read = fixed_read, .unlocked = true };
	uint8_t v5 = 0x55, v6 = 0x66, v7 = 0x77;
	struct bus_range moving = { 0x5000, 0x1000, &locked, &v5, "moving" };
	struct bus_range over = { 0x5000, 0x10, &unlocked, &v6, "over", .priority = 1 };
	struct bus_range fixed = { 0x9000, 0x1000, &locked, &v7, "fixed" };
	struct race r = { .b = bus_new(NULL, NULL) };
	pthread_t t[2];

	assert_int_equal(bus_add_mmio(r.b, &fixed), 0);
	for (int n = 0; n < 2; n++)
		assert_int_equal(pthread_create(&t[n], NULL, reader, &r), 0);
	for (int n = 0; n < 2000; n++) {
		assert_int_equal(bus_add_mmio(r.b, &moving), 0);
		assert_int_equal(bus_add_mmio(r.b, &over), 0);
		bus_del_mmio(r.b, &moving);
		bus_del_mmio(r.b, &over);
	}
	atomic_store(&r.stop, true);
	for (int n = 0; n < 2; n++)
		pthread_join(t[n], NULL);
	assert_int_equal(atomic_load(&r.wrong), 0);
	bus_free(r.b);
}

static void line_set(void *opaque, int n, int level)
{
	int *log = opaque;

	log[0] = log[0] * 10 + 1 + level;
	log[1] = n;
}

static void test_lines(void **state)
{
	int log[2] = { 0 };
	struct irq_line out = { line_set, log, 7, 0 };
	struct irq_or o;
	struct irq_line a, b;

	irq_or_init(&o, &out);
	a = irq_or_input(&o, 0);
	b = irq_or_input(&o, 63);
	irq_set(&a, 1);
	irq_set(&b, 1);
	irq_set(&a, 0);
	assert_int_equal(log[0], 2); /* high, once */
	irq_set(&b, 0);
	assert_int_equal(log[0], 21);
	assert_int_equal(log[1], 7);
	irq_pulse(&a);
	assert_int_equal(log[0], 2121);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dispatch), cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_priority), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_race), cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
