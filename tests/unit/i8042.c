/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller, its keyboard and mouse, and port 92h. */
#include "src/dev/legacy/i8042.h"
#include "src/dev/legacy/port92.h"
#include "tests/unit/dev_fixture.h"

struct rig {
	struct fixture f;
	struct i8042 k;
	struct port92 p;
	struct a20_gate a20;
	unsigned a20_changes;
	struct probe kbd, mouse;
};

static void a20_changed(void *opaque, bool open) { ((struct rig *)opaque)->a20_changes++; }

static void rig_init(struct rig *r)
{
	struct irq_line kbd, mouse;

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	kbd = probe_line(&r->kbd);
	mouse = probe_line(&r->mouse);
	r->a20 = (struct a20_gate){ .open = true, .set = a20_changed, .opaque = r };
	assert_int_equal(i8042_init(&r->k, &r->f.env, &kbd, &mouse, &r->a20, NULL), 0);
	assert_int_equal(port92_init(&r->p, &r->f.env, &r->a20, NULL), 0);
}

static void rig_fini(struct rig *r)
{
	i8042_fini(&r->k);
	port92_fini(&r->p);
	fixture_fini(&r->f);
}

static void cmd(struct rig *r, uint8_t v) { outb(&r->f, 0x64, v); }
static void data(struct rig *r, uint8_t v) { outb(&r->f, 0x60, v); }

/* The next byte, -1 none; from the mouse | 0x100. */
static int next(struct rig *r)
{
	uint8_t status = inb(&r->f, 0x64);

	if (!(status & 1))
		return -1;
	return inb(&r->f, 0x60) | (status & 0x20) << 3;
}

static void expect(struct rig *r, const int *want, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		int got = next(r);

		if (got != want[k])
			fail_msg("byte %zu is %#x, not %#x", k, got, want[k]);
	}
	assert_int_equal(next(r), -1);
}

#define EXPECT(r, ...)                                         \
	expect(r, (const int[]){ __VA_ARGS__ },                \
	       sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))

static void test_controller(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(inb(&r.f, 0x64), 0x14);
	cmd(&r, 0xaa);
	assert_int_equal(inb(&r.f, 0x64) & 8, 8);
	EXPECT(&r, 0x55);
	cmd(&r, 0xab);
	EXPECT(&r, 0x00);
	cmd(&r, 0xa9);
	EXPECT(&r, 0x00);
	cmd(&r, 0x20);
	EXPECT(&r, 0x47);
	cmd(&r, 0xad);
	cmd(&r, 0xa7);
	cmd(&r, 0x20);
	EXPECT(&r, 0x77);
	cmd(&r, 0x60);
	data(&r, 0x03);
	cmd(&r, 0x20);
	EXPECT(&r, 0x03);
	cmd(&r, 0x7f);
	data(&r, 0x99);
	cmd(&r, 0x3f);
	EXPECT(&r, 0x99);
	/* Loop back through the output buffers. */
	cmd(&r, 0xd2);
	data(&r, 0x12);
	assert_int_equal(r.kbd.level, 1);
	EXPECT(&r, 0x12);
	assert_int_equal(r.kbd.level, 0);
	cmd(&r, 0xd3);
	data(&r, 0x34);
	assert_int_equal(r.mouse.level, 1);
	EXPECT(&r, 0x134);
	/* A20 and reset. */
	cmd(&r, 0xdd);
	assert_false(r.a20.open);
	cmd(&r, 0xd0);
	assert_int_equal(next(&r) & 2, 0);
	cmd(&r, 0xd1);
	data(&r, 0xdf);
	assert_true(r.a20.open);
	assert_int_equal(r.a20_changes, 2);
	assert_int_equal(r.f.resets, 0);
	cmd(&r, 0xff);
	assert_int_equal(r.f.resets, 0);
	cmd(&r, 0xfe);
	assert_int_equal(r.f.resets, 1);
	cmd(&r, 0xd1);
	data(&r, 0xde);
	assert_int_equal(r.f.resets, 2);
	rig_fini(&r);
}

static void test_keyboard(void **state)
{
	struct rig r;

	rig_init(&r);
	data(&r, 0xff); /* reset: ACK and BAT */
	assert_int_equal(r.kbd.level, 1);
	EXPECT(&r, 0xfa, 0xaa);
	data(&r, 0xf2);
	EXPECT(&r, 0xfa, 0xab, 0x41); /* translated, as Linux knows it */
	data(&r, 0xed);
	EXPECT(&r, 0xfa);
	data(&r, 0x02);
	EXPECT(&r, 0xfa);
	assert_int_equal(r.k.kbd.leds, 2);
	data(&r, 0xee);
	EXPECT(&r, 0xee);
	data(&r, 0x42);
	EXPECT(&r, 0xfe);
	/* Keys, translated to set 1. */
	i8042_key(&r.k, 0x1e, true);
	assert_int_equal(r.kbd.level, 1);
	i8042_key(&r.k, 0x1e, false);
	EXPECT(&r, 0x1e, 0x9e);
	i8042_key(&r.k, 0xe048, true);
	i8042_key(&r.k, 0xe048, false);
	EXPECT(&r, 0xe0, 0x48, 0xe0, 0xc8);
	i8042_key(&r.k, 0x41, true); /* F7, whose set 2 code is above 7Fh */
	EXPECT(&r, 0x41);
	i8042_key(&r.k, 0xe11d, true);
	EXPECT(&r, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
	/* Untranslated: set 2. */
	cmd(&r, 0x60);
	data(&r, 0x03);
	i8042_key(&r.k, 0x1e, true);
	i8042_key(&r.k, 0x1e, false);
	i8042_key(&r.k, 0x41, false);
	EXPECT(&r, 0x1c, 0xf0, 0x1c, 0xf0, 0x83);
	data(&r, 0xf0);
	EXPECT(&r, 0xfa);
	data(&r, 0x00);
	EXPECT(&r, 0xfa, 0x02);
	data(&r, 0xf0);
	data(&r, 0x01);
	EXPECT(&r, 0xfa, 0xfa);
	i8042_key(&r.k, 0xe048, false);
	EXPECT(&r, 0xe0, 0xc8);
	i8042_key(&r.k, 0xe037, true); /* Print, which brings a Shift */
	i8042_key(&r.k, 0xe037, false);
	EXPECT(&r, 0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
	data(&r, 0xf0);
	data(&r, 0x03);
	EXPECT(&r, 0xfa, 0xfa);
	i8042_key(&r.k, 0x1e, true);
	i8042_key(&r.k, 0xe048, false);
	i8042_key(&r.k, 0xe11d, true);
	i8042_key(&r.k, 0x7e, true); /* not in this set */
	EXPECT(&r, 0x1c, 0xf0, 0x63, 0x62);
	data(&r, 0xf0);
	data(&r, 0x02);
	EXPECT(&r, 0xfa, 0xfa);
	i8042_key(&r.k, 0xe037, true);
	i8042_key(&r.k, 0xe037, false);
	EXPECT(&r, 0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12);
	data(&r, 0xf0);
	data(&r, 0x01);
	EXPECT(&r, 0xfa, 0xfa);
	i8042_key(&r.k, 0xe048, false);
	EXPECT(&r, 0xe0, 0xc8);
	data(&r, 0xfe); /* again, please */
	EXPECT(&r, 0xc8);
	data(&r, 0xf5); /* scanning off */
	EXPECT(&r, 0xfa);
	i8042_key(&r.k, 0x1e, true);
	EXPECT(&r, -1);
	data(&r, 0xf4);
	EXPECT(&r, 0xfa);
	/* Held back while disabled, and without an interrupt when that is off. */
	cmd(&r, 0xad);
	i8042_key(&r.k, 0x1e, true);
	assert_int_equal(r.kbd.level, 0);
	assert_int_equal(next(&r), -1);
	cmd(&r, 0xae);
	assert_int_equal(r.kbd.level, 1);
	EXPECT(&r, 0x1c);
	/* A flood is bounded. */
	for (int n = 0; n < 1000; n++)
		i8042_key(&r.k, 0xe048, n & 1);
	for (int n = 0; n < 70; n++)
		next(&r);
	assert_int_equal(next(&r), -1);
	rig_fini(&r);
}

static void mouse_cmd(struct rig *r, uint8_t v)
{
	cmd(r, 0xd4);
	data(r, v);
}

static void rate(struct rig *r, uint8_t v)
{
	mouse_cmd(r, 0xf3);
	mouse_cmd(r, v);
	EXPECT(r, 0x1fa, 0x1fa);
}

static void test_mouse(void **state)
{
	struct rig r;

	rig_init(&r);
	mouse_cmd(&r, 0xff);
	assert_int_equal(r.mouse.level, 1);
	EXPECT(&r, 0x1fa, 0x1aa, 0x100);
	mouse_cmd(&r, 0xf2);
	EXPECT(&r, 0x1fa, 0x100);
	i8042_mouse(&r.k, 5, 5, 0, 0);
	EXPECT(&r, -1); /* reporting is off */
	mouse_cmd(&r, 0xf6);
	EXPECT(&r, 0x1fa);
	mouse_cmd(&r, 0xf4);
	EXPECT(&r, 0x1fa);
	i8042_mouse(&r.k, 5, -3, 0, 1);
	EXPECT(&r, 0x129, 0x105, 0x1fd);
	i8042_mouse(&r.k, 0, 0, 0, 0);
	EXPECT(&r, 0x108, 0x100, 0x100);
	i8042_mouse(&r.k, 300, 0, 0, 0); /* two packets */
	EXPECT(&r, 0x108, 0x1ff, 0x100, 0x108, 0x12d, 0x100);
	/* The wheel, then five buttons. */
	rate(&r, 200);
	rate(&r, 100);
	rate(&r, 80);
	mouse_cmd(&r, 0xf2);
	EXPECT(&r, 0x1fa, 0x103);
	i8042_mouse(&r.k, 0, 0, -1, 0);
	EXPECT(&r, 0x108, 0x100, 0x100, 0x1ff);
	rate(&r, 200);
	rate(&r, 200);
	rate(&r, 80);
	mouse_cmd(&r, 0xf2);
	EXPECT(&r, 0x1fa, 0x104);
	i8042_mouse(&r.k, 0, 0, 1, 8);
	EXPECT(&r, 0x108, 0x100, 0x100, 0x111);
	mouse_cmd(&r, 0xe9);
	EXPECT(&r, 0x1fa, 0x120, 0x102, 0x150);
	/* Wrap and remote. */
	mouse_cmd(&r, 0xee);
	EXPECT(&r, 0x1fa);
	mouse_cmd(&r, 0x42);
	EXPECT(&r, 0x142);
	mouse_cmd(&r, 0xec);
	EXPECT(&r, 0x1fa);
	mouse_cmd(&r, 0xf0);
	EXPECT(&r, 0x1fa);
	i8042_mouse(&r.k, 1, 1, 0, 0);
	EXPECT(&r, -1);
	mouse_cmd(&r, 0xeb);
	EXPECT(&r, 0x1fa, 0x108, 0x101, 0x101, 0x100);
	for (int n = 0; n < 1000; n++)
		i8042_mouse(&r.k, 1 << 30, -(1 << 30), 99, (unsigned)n);
	rig_fini(&r);
}

static void test_port92(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(inb(&r.f, 0x92), 0x02);
	outb(&r.f, 0x92, 0x00);
	assert_false(r.a20.open);
	outb(&r.f, 0x92, 0x02);
	assert_true(r.a20.open);
	outb(&r.f, 0x92, 0x03);
	outb(&r.f, 0x92, 0x03);
	assert_int_equal(r.f.resets, 1);
	outb(&r.f, 0x92, 0x00);
	check_roundtrip(port92_desc.state, &r.p);
	assert_false(r.a20.open);
	port92_desc.reset(&r.p);
	assert_true(r.a20.open);
	rig_fini(&r);
}

static void poke(void *obj)
{
	struct i8042 *k = obj;

	for (int n = 0; n < 40; n++)
		bus_pio_read(k->env->bus, 0x60, 1);
	i8042_key(k, 0x1e, true);
	i8042_mouse(k, 1, 1, 1, 1);
}

static void test_state(void **state)
{
	struct rig r;

	rig_init(&r);
	mouse_cmd(&r, 0xf4);
	i8042_key(&r.k, 0x1e, true);
	i8042_mouse(&r.k, 9, 9, 0, 1);
	check_roundtrip(i8042_desc.state, &r.k);
	EXPECT(&r, 0x1fa, 0x1e, 0x109, 0x109, 0x109);
	check_hostile(i8042_desc.state, &r.k, poke, 5000);
	for (int n = 0; n < 3; n++) {
		storm_pio(&r.f, 0x60, 5, 10000);
		i8042_key(&r.k, 0x10, true);
	}
	i8042_desc.reset(&r.k);
	assert_int_equal(inb(&r.f, 0x64), 0x14);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_controller), cmocka_unit_test(test_keyboard),
		cmocka_unit_test(test_mouse), cmocka_unit_test(test_port92),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
