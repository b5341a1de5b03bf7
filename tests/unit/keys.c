/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys by names, characters and keysyms; the way of events to keyboards and mice. */
#include <errno.h>
#include <stdlib.h>

#include "src/dev/input.h"
#include "src/dev/legacy/i8042.h"
#include "src/display/keys.h"
#include "src/display/screen_text.h"
#include "tests/unit/dev_fixture.h"

static void test_names(void **state)
{
	bool shift;

	assert_int_equal(key_from_qcode("ret"), 0x1c);
	assert_int_equal(key_from_qcode("pgdn"), 0xe051);
	assert_int_equal(key_from_qcode("pause"), 0xe11d);
	assert_int_equal(key_from_qcode("nonsense"), 0);
	assert_string_equal(key_qcode(0x1c), "ret");
	assert_null(key_qcode(0x7f));
	assert_int_equal(key_from_number(0x1c), 0x1c);
	assert_int_equal(key_from_number(0xcb), 0xe04b);
	assert_int_equal(key_from_number(0xe04b), 0xe04b);
	assert_int_equal(key_from_number(0xc6), 0xe11d);
	assert_int_equal(key_from_number(0), 0);
	assert_int_equal(key_from_number(0x12345), 0);
	assert_int_equal(key_from_char('z', &shift), 0x2c);
	assert_false(shift);
	assert_int_equal(key_from_char('"', &shift), 0x28);
	assert_true(shift);
	assert_int_equal(key_from_char(0xe9, &shift), 0);
	assert_int_equal(key_from_keysym(0xff0d, &shift), 0x1c);
	assert_int_equal(key_from_keysym(0xffc9, &shift), 0x58);
	/* Every printable character is on a key, no two on one with the same shift. */
	for (unsigned a = ' '; a <= '~'; a++) {
		bool sa, sb;
		uint16_t ka = key_from_char(a, &sa);

		assert_int_not_equal(ka, 0);
		for (unsigned b = a + 1; b <= '~'; b++)
			assert_false(ka == key_from_char(b, &sb) && sa == sb);
	}
}

struct rig {
	struct fixture f;
	struct input *in;
	struct i8042 k;
	struct a20_gate a20;
	struct probe kbd, mouse;
};

static void a20_changed(void *opaque, bool open) {}

static void rig_init(struct rig *r)
{
	struct irq_line kbd, mouse;

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	kbd = probe_line(&r->kbd);
	mouse = probe_line(&r->mouse);
	r->in = input_new(r->f.vt, NULL);
	assert_non_null(r->in);
	assert_int_equal(input_key(r->in, 0x1e, true, 0), -ENODEV);
	r->f.env.input = r->in;
	r->a20 = (struct a20_gate){ .open = true, .set = a20_changed };
	assert_int_equal(i8042_init(&r->k, &r->f.env, &kbd, &mouse, &r->a20, NULL), 0);
}

static void rig_fini(struct rig *r)
{
	i8042_fini(&r->k);
	assert_null(r->in->devs);
	input_free(r->in);
	fixture_fini(&r->f);
}

static int next(struct rig *r)
{
	return inb(&r->f, 0x64) & 1 ? inb(&r->f, 0x60) : -1;
}

static void test_queue(void **state)
{
	struct rig r;

	rig_init(&r);
	/* At once, and after a while. */
	assert_int_equal(input_key(r.in, 0x1e, true, 0), 0);
	assert_int_equal(next(&r), 0x1e);
	assert_int_equal(input_key(r.in, 0x1e, false, 50), 0);
	assert_int_equal(next(&r), -1);
	pass(&r.f, 49000000);
	assert_int_equal(next(&r), -1);
	pass(&r.f, 2000000);
	assert_int_equal(next(&r), 0x9e);
	/* More than a keyboard holds: all of it arrives, in order. */
	for (unsigned n = 0; n < 1000; n++)
		assert_int_equal(input_key(r.in, (uint16_t)(2 + n % 10), !(n / 10 % 2), 0), 0);
	for (unsigned n = 0; n < 1000; n++) {
		int got = next(&r);

		for (unsigned tries = 0; got < 0 && tries < 100; tries++) {
			pass(&r.f, 10000000);
			got = next(&r);
		}
		assert_int_equal(got, (2 + n % 10) | (n / 10 % 2 ? 0x80 : 0));
	}
	assert_int_equal(input_waiting(r.in), 0);
	/* A guest that never reads: the queue is bounded, and goes stale. */
	for (unsigned n = 0; n < INPUT_QUEUE + 100; n++)
		if (input_key(r.in, 0x10, n & 1, 0) == -ENOBUFS)
			break;
	assert_int_equal(input_waiting(r.in), INPUT_QUEUE);
	pass(&r.f, 11000000000);
	assert_int_equal(input_waiting(r.in), 0);
	while (next(&r) >= 0)
		;
	/* What is down is let go. */
	input_release_keys(r.in);
	while (next(&r) >= 0)
		;
	input_key(r.in, 0xe01d, true, 0);
	input_key(r.in, 0x38, true, 0);
	while (next(&r) >= 0)
		;
	input_release_keys(r.in);
	assert_int_equal(next(&r), 0xb8);
	assert_int_equal(next(&r), 0xe0);
	assert_int_equal(next(&r), 0x9d);
	assert_int_equal(next(&r), -1);
	input_release_keys(r.in);
	assert_int_equal(next(&r), -1);
	rig_fini(&r);
}

static void expect_packet(struct rig *r, int a, int b, int c)
{
	assert_int_equal(next(r), a);
	assert_int_equal(next(r), b);
	assert_int_equal(next(r), c);
}

static void test_pointer(void **state)
{
	struct rig r;

	rig_init(&r);
	outb(&r.f, 0x64, 0xd4);
	outb(&r.f, 0x60, 0xf4);
	assert_int_equal(next(&r), 0xfa);
	assert_false(input_is_absolute(r.in));
	input_move(r.in, 3, 2, 0, 0); /* right and down */
	expect_packet(&r, 0x28, 3, 0xfe);
	input_point(r.in, 100, 100, 640, 480, 0, INPUT_LEFT); /* where it is nobody knows */
	expect_packet(&r, 0x09, 0, 0);
	input_point(r.in, 110, 95, 640, 480, 0, INPUT_LEFT);
	expect_packet(&r, 0x09, 10, 5);
	input_point(r.in, 110, 95, 640, 480, 0, INPUT_RIGHT | INPUT_MIDDLE);
	expect_packet(&r, 0x0e, 0, 0);
	rig_fini(&r);
}

/*
 * Text in pictures, with a font of the test's own.
 */
static void draw(uint32_t *pixels, unsigned width, unsigned x, unsigned y, const struct glyph *g,
		 uint32_t fg, uint32_t bg)
{
	for (unsigned r = 0; r < 16; r++)
		for (unsigned c = 0; c < 8; c++)
			pixels[(y + r) * width + x + c] = g->rows[r] >> (7 - c) & 1 ? fg : bg;
}

static void test_pictures(void **state)
{
	struct glyph font[95];
	struct glyph_set *set;
	struct text_screen t;
	uint32_t *pixels = calloc(200 * 100, 4), seed = 4;
	static const char text[] = "Hello, {world}";
	char *got;

	for (unsigned n = 0; n < 95; n++) {
		font[n].ch = ' ' + n;
		for (unsigned k = 0; k < 16; k++) {
			seed = seed * 1664525 + 1013904223;
			font[n].rows[k] = n ? (uint8_t)(seed >> 20) : 0;
		}
	}
	set = glyph_set_from(font, 95);
	assert_non_null(set);
	assert_int_equal(picture_text(pixels, 200, 100, set, &t), -ENOTSUP); /* black */
	for (unsigned n = 0; text[n]; n++)
		draw(pixels, 200, 3 + n * 8, 5 + 16, &font[text[n] - ' '], n & 1 ? 0xaa0000 : 0xffffff,
		     n == 3 ? 0x0000ff : 0);
	assert_int_equal(picture_text(pixels, 200, 100, set, &t), 0);
	got = text_screen_utf8(&t);
	assert_string_equal(got, "\nHello, {world}\n\n\n\n");
	free(got);
	text_screen_fini(&t);
	/* Noise is no text. */
	for (unsigned n = 0; n < 200 * 100; n++) {
		seed = seed * 1664525 + 1013904223;
		pixels[n] = seed >> 8;
	}
	assert_int_equal(picture_text(pixels, 200, 100, set, &t), -ENOTSUP);
	assert_int_equal(picture_text(pixels, 200, 100, NULL, &t), -ENOTSUP);
	assert_int_equal(picture_text(pixels, 7, 7, set, &t), -ENOTSUP);
	assert_int_equal(picture_text(pixels, 8, 18, NULL, &t), -ENOTSUP);
	assert_int_equal(picture_text(NULL, 0, 0, set, &t), -ENOTSUP);
	glyph_set_free(set);
	free(pixels);
}

/* UEFI's console: the middle 60 of 62 columns and a light background, as in set-up. */
static void test_uefi_font(void **state)
{
	static const uint8_t a[19] = { /* 'A' */
		[3] = 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0xc6,
	};
	static const uint8_t bar[19] = { [9] = 0xff }; /* a line of a frame */
	enum { WIDTH = 500, HEIGHT = 100 };
	uint32_t *pixels = malloc(WIDTH * HEIGHT * 4);
	struct text_screen t;
	char *got;

	assert_non_null(pixels);
	for (unsigned n = 0; n < WIDTH * HEIGHT; n++)
		pixels[n] = n < WIDTH * 62 ? 0xaaaaaa : 0;
	for (unsigned n = 0; n < 3; n++)
		for (unsigned k = 0; k < 19 * 8; k++) {
			const uint8_t *g = n == 1 ? bar : a;

			if (g[k / 8] >> (7 - k % 8) & 1)
				pixels[(5 + 19 + k / 8) * WIDTH + 250 - 240 + n * 8 + k % 8] = 0xaa;
		}
	assert_int_equal(picture_text(pixels, WIDTH, HEIGHT, NULL, &t), 0);
	assert_int_equal(t.rows, 5);
	assert_int_equal(t.cols, 62);
	got = text_screen_utf8(&t);
	assert_string_equal(got, "\n A\u2500A\n\n\n\n");
	free(got);
	text_screen_fini(&t);
	/* One dot less is another shape, and a screen of unknown shapes is no text. */
	pixels[(5 + 19 + 3) * WIDTH + 10 + 3] = pixels[0];
	pixels[(5 + 19 + 3) * WIDTH + 10 + 16 + 3] = pixels[0];
	assert_int_equal(picture_text(pixels, WIDTH, HEIGHT, NULL, &t), -ENOTSUP);
	free(pixels);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_queue),
		cmocka_unit_test(test_pointer), cmocka_unit_test(test_pictures),
		cmocka_unit_test(test_uefi_font),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
