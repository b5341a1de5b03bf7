/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Surfaces, what they tell their listeners, and pictures of them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "src/base/bits.h"
#include "src/display/picture.h"
#include "src/display/surface.h"
#include "tests/unit/cmocka_all.h"

struct ear {
	struct surface_listener l;
	unsigned resized, gone, pixels;
	struct rect last;
};

static void on_resized(void *opaque) { ((struct ear *)opaque)->resized++; }
static void on_gone(void *opaque) { ((struct ear *)opaque)->gone++; }

static void on_dirty(void *opaque, const struct rect *r)
{
	struct ear *e = opaque;

	e->pixels += r->w * r->h;
	e->last = *r;
}

static void test_surface(void **state)
{
	struct ear a = { .l = { on_resized, on_dirty, on_gone, &a, NULL } };
	struct screens list = { NULL };
	struct surface s, t;
	uint32_t row[100] = { 0 };

	surface_init(&s, "one", NULL, NULL);
	surface_init(&t, "two", NULL, NULL);
	screens_add(&list, &s);
	screens_add(&list, &t);
	assert_ptr_equal(screens_find(&list, NULL), &s);
	assert_ptr_equal(screens_find(&list, "two"), &t);
	assert_null(screens_find(&list, "three"));
	surface_listen(&s, &a.l);
	assert_int_equal(surface_resize(&s, 0, 5), -EINVAL);
	assert_int_equal(surface_resize(&s, SURFACE_WIDTH_MAX + 1, 5), -EINVAL);
	assert_int_equal(surface_resize(&s, 100, 50), 0);
	assert_int_equal(surface_resize(&s, 100, 50), 0);
	assert_int_equal(a.resized, 1);
	assert_int_equal(a.pixels, 5000);
	/* Nothing changed, one pixel, all; beyond the edges. */
	a.pixels = 0;
	assert_false(surface_put_row(&s, 3, row, 100));
	row[40] = 1;
	assert_true(surface_put_row(&s, 3, row, 100));
	assert_int_equal(a.pixels, 16);
	assert_int_equal(a.last.x, 32);
	assert_int_equal(a.last.y, 3);
	assert_int_equal(s.pixels[340], 1);
	a.pixels = 0;
	memset(row, 0xff, sizeof(row));
	assert_true(surface_put_row(&s, 49, row, 1000));
	assert_int_equal(a.pixels, 100);
	assert_false(surface_put_row(&s, 50, row, 100));
	a.pixels = 0;
	surface_dirty(&s, 90, 40, 50, 50);
	assert_int_equal(a.pixels, 100);
	surface_dirty(&s, 100, 0, 1, 1);
	surface_dirty(&s, 0, 0, 0, 1);
	assert_int_equal(a.pixels, 100);
	screens_del(&list, &s);
	assert_ptr_equal(screens_find(&list, NULL), &t);
	surface_fini(&s);
	assert_int_equal(a.gone, 1);
	surface_fini(&t);
}

/* Undoes what the encoder did, by the standard and no more. */
static void decode_png(const uint8_t *p, size_t len, const uint32_t *want, unsigned w, unsigned h)
{
	uLongf raw_len = (w * 3 + 1) * h;
	uint8_t *raw = malloc(raw_len);
	unsigned chunks = 0;

	assert_memory_equal(p, "\x89PNG\r\n\x1a\n", 8);
	for (size_t at = 8; at < len; chunks++) {
		uint32_t n = ld_be32(p + at);

		assert_true(at + 12 + n <= len);
		assert_int_equal(crc32(0, p + at + 4, n + 4), ld_be32(p + at + 8 + n));
		if (!memcmp(p + at + 4, "IHDR", 4)) {
			assert_int_equal(ld_be32(p + at + 8), w);
			assert_int_equal(ld_be32(p + at + 12), h);
			assert_memory_equal(p + at + 16, "\x08\x02\0\0\0", 5);
		} else if (!memcmp(p + at + 4, "IDAT", 4)) {
			assert_int_equal(uncompress(raw, &raw_len, p + at + 8, n), Z_OK);
		}
		at += 12 + n;
	}
	assert_int_equal(chunks, 3);
	assert_int_equal(raw_len, (w * 3 + 1) * h);
	for (unsigned y = 0; y < h; y++) {
		assert_int_equal(raw[y * (w * 3 + 1)], 0);
		for (unsigned x = 0; x < w; x++) {
			const uint8_t *c = raw + y * (w * 3 + 1) + 1 + x * 3;

			assert_int_equal(c[0] << 16 | c[1] << 8 | c[2], want[y * w + x] & 0xffffff);
		}
	}
	free(raw);
}

static void test_picture(void **state)
{
	uint32_t pixels[17 * 5];
	uint8_t *buf;
	size_t len;
	char dir[] = "/tmp/bothy-picture-XXXXXX", path[64];
	struct err err = { "" };
	FILE *f;
	uint8_t head[32];

	for (unsigned n = 0; n < 85; n++)
		pixels[n] = n * 0x9e3779b1u;
	assert_int_equal(picture_encode(PICTURE_PNG, pixels, 17, 5, &buf, &len), 0);
	decode_png(buf, len, pixels, 17, 5);
	free(buf);
	assert_int_equal(picture_encode(PICTURE_PPM, pixels, 17, 5, &buf, &len), 0);
	assert_int_equal(len, 12 + 17 * 5 * 3);
	assert_memory_equal(buf, "P6\n17 5\n255\n", 12);
	assert_int_equal(buf[12 + 3], pixels[1] >> 16 & 255);
	assert_int_equal(buf[len - 1], pixels[84] & 255);
	free(buf);
	assert_int_equal(picture_encode(PICTURE_PNG, NULL, 0, 0, &buf, &len), -EINVAL);
	/* Into a file, in place of an older one. */
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a.ppm", dir);
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(picture_write(PICTURE_PPM, pixels, 17 - n, 5, path, &err), 0);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(head, 1, 12, f), 12);
	assert_memory_equal(head, "P6\n16 5\n255\n", 12);
	fclose(f);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0); /* nothing else was left */
	assert_int_equal(picture_write(PICTURE_PPM, pixels, 17, 5, path, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(picture_write(PICTURE_PNG, NULL, 0, 0, path, &err), -EINVAL);
}

static void test_text(void **state)
{
	struct text_cell cells[6] = { { 'a', 7 }, { 0x20ac, 7 }, { ' ', 7 }, { 0, 0 }, { 0, 0 },
				      { 0x1f600, 7 } };
	struct text_screen t = { .cols = 3, .rows = 2, .cells = cells };
	char *text = text_screen_utf8(&t);

	assert_string_equal(text, "a\xe2\x82\xac\n  \xf0\x9f\x98\x80\n");
	free(text);
	assert_int_equal(cp437_to_unicode('A'), 'A');
	assert_int_equal(cp437_to_unicode(0xdb), 0x2588);
	assert_int_equal(cp437_to_unicode(0x01), 0x263a);
	assert_int_equal(cp437_to_unicode(0x7f), 0x2302);
	assert_int_equal(cp437_to_unicode(0xff), ' ');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_surface), cmocka_unit_test(test_picture),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
