/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VGA: every mode's picture, the ways into video memory, registers, state. */
#include <errno.h>

#include "tests/unit/vga_rig.h"

static void expect_size(struct vga_rig *r, unsigned w, unsigned h)
{
	surface_refresh(r->s);
	if (r->s->width != w || r->s->height != h)
		fail_msg("the screen has %ux%u pixels, not %ux%u", r->s->width, r->s->height, w, h);
}

static void expect_pixel(struct vga_rig *r, unsigned x, unsigned y, uint32_t want)
{
	uint32_t got = vga_pixel(r, x, y);

	if (got != want)
		fail_msg("pixel %u,%u is %06x, not %06x", x, y, got, want);
}

/* A character's glyph into plane 2, as font loaders do it. */
static void load_glyph(struct vga_rig *r, unsigned map, unsigned ch, const uint8_t *rows)
{
	vga_reg(r, 0x3c4, 2, 4);
	vga_reg(r, 0x3c4, 4, 6);
	vga_reg(r, 0x3ce, 5, 0);
	vga_reg(r, 0x3ce, 6, 4);
	for (unsigned n = 0; n < 16; n++)
		vga_poke(r, WIN + map + ch * 32 + n, rows[n]);
	vga_reg(r, 0x3c4, 2, 3);
	vga_reg(r, 0x3c4, 4, 2);
	vga_reg(r, 0x3ce, 5, 0x10);
	vga_reg(r, 0x3ce, 6, 0x0e);
}

static const uint8_t glyph[16] = { 0x81, 0x42, 0x24, 0x18, 0xff, 0x01 };

static void test_text(void **state)
{
	struct vga_rig r;
	struct text_screen t;
	char *text;

	vga_rig_init(&r);
	expect_size(&r, 720, 400); /* black until somebody sets a mode */
	expect_pixel(&r, 5, 5, 0);
	assert_int_equal(vga_desc.state->version, 1);
	vga_set_mode(&r, &vga_mode_03);
	load_glyph(&r, 0, 'A', glyph);
	load_glyph(&r, 0, 0xc4, glyph);
	bus_mmio_write(r.f.bus, 0xb8000, 0x1e41, 2);            /* yellow A on blue */
	bus_mmio_write(r.f.bus, 0xb8000 + 2 * 81, 0x07c4, 2);   /* a line character below */
	vga_reg(&r, 0x3d4, 0x0e, 7);
	vga_reg(&r, 0x3d4, 0x0f, 0x00);
	expect_size(&r, 720, 400);
	for (unsigned y = 0; y < 16; y++) {
		for (unsigned x = 0; x < 9; x++) {
			unsigned on = x < 8 && glyph[y] >> (7 - x) & 1;

			expect_pixel(&r, x, y, vga_shade(on ? 14 : 1));
			on = x < 8 ? glyph[y] >> (7 - x) & 1 : glyph[y] & 1;
			expect_pixel(&r, 9 + x, 16 + y, vga_shade(on ? 7 : 0));
		}
	}
	assert_int_equal(bus_mmio_read(r.f.bus, 0xb8000, 2), 0x1e41);
	/* Eight dots; the picture gets narrower. */
	vga_reg(&r, 0x3c4, 1, 1);
	expect_size(&r, 640, 400);
	expect_pixel(&r, 8 + 7, 16, vga_shade(7));
	/* The second font through attribute bit 3. */
	load_glyph(&r, 0x4000, 'A', (const uint8_t[16]){ 0x0f });
	vga_reg(&r, 0x3c4, 3, 0x04);
	expect_size(&r, 640, 400);
	expect_pixel(&r, 0, 0, vga_shade(1));
	expect_pixel(&r, 4, 0, vga_shade(14));
	vga_reg(&r, 0x3c4, 3, 0x00);
	/* What it says. */
	bus_mmio_write(r.f.bus, 0xb8000 + 2 * 1, 0x07e1, 2); /* sharp s in code page 437 */
	assert_int_equal(r.s->ops->text(r.v, &t), 0);
	assert_int_equal(t.cols, 80);
	assert_int_equal(t.rows, 25);
	assert_int_equal(t.cells[0].attr, 0x1e);
	text = text_screen_utf8(&t);
	assert_memory_equal(text, "A\xc3\x9f\n \xe2\x94\x80\n\n\n", 11);
	free(text);
	text_screen_fini(&t);
	/* The start address scrolls. */
	vga_reg(&r, 0x3d4, 0x0d, 80);
	expect_size(&r, 640, 400);
	expect_pixel(&r, 8, 4, vga_shade(7));
	/* Screen off. */
	vga_reg(&r, 0x3c4, 1, 0x21);
	expect_size(&r, 640, 400);
	expect_pixel(&r, 8, 4, 0);
	assert_int_equal(r.s->ops->text(r.v, &t), -ENOTSUP);
	vga_rig_fini(&r);
}

static void test_cursor(void **state)
{
	struct vga_rig r;
	struct text_screen t;
	unsigned seen = 0, blinked = 0;

	vga_rig_init(&r);
	vga_set_mode(&r, &vga_mode_03);
	load_glyph(&r, 0, 'A', glyph);
	vga_reg(&r, 0x3d4, 0x0e, 0);
	vga_reg(&r, 0x3d4, 0x0f, 81);
	bus_mmio_write(r.f.bus, 0xb8000 + 2 * 81, 0x0720, 2);
	bus_mmio_write(r.f.bus, 0xb8000 + 2 * 3, 0x8f41, 2); /* blinks */
	for (unsigned n = 0; n < 8; n++) {
		surface_refresh(r.s);
		seen += vga_pixel(&r, 9, 16 + 13) == vga_shade(7);
		assert_int_equal(vga_pixel(&r, 9, 16 + 12), vga_shade(0));
		blinked += vga_pixel(&r, 27, 0) == vga_shade(15);
		pass(&r.f, 266000000);
	}
	assert_int_equal(seen, 4);
	assert_int_equal(blinked, 4);
	assert_int_equal(r.s->ops->text(r.v, &t), 0);
	assert_true(t.cursor_on);
	assert_int_equal(t.cursor_row, 1);
	assert_int_equal(t.cursor_col, 1);
	text_screen_fini(&t);
	/* Without blinking bit 7 is a bright background. */
	vga_attr(&r, 0x10, 0x04);
	surface_refresh(r.s);
	assert_int_equal(vga_pixel(&r, 28, 0), vga_shade(8));
	vga_reg(&r, 0x3d4, 0x0a, 0x2d); /* cursor off */
	for (unsigned n = 0; n < 4; n++) {
		surface_refresh(r.s);
		assert_int_equal(vga_pixel(&r, 9, 16 + 13), vga_shade(0));
		pass(&r.f, 266000000);
	}
	vga_rig_fini(&r);
}

static void test_cga(void **state)
{
	struct vga_rig r;

	vga_rig_init(&r);
	vga_set_mode(&r, &vga_mode_04);
	/* Even lines at b8000, odd lines at ba000; four pixels to the byte. */
	vga_poke(&r, 0xb8000, 0x1b);
	vga_poke(&r, 0xb8001, 0xe4);
	vga_poke(&r, 0xba000, 0xff);
	vga_poke(&r, 0xb8000 + 80, 0x55);
	expect_size(&r, 640, 400);
	for (unsigned y = 0; y < 2; y++)
		for (unsigned x = 0; x < 16; x++)
			expect_pixel(&r, x, y, vga_shade(x < 8 ? x / 2 : 7 - x / 2));
	for (unsigned y = 2; y < 4; y++)
		for (unsigned x = 0; x < 16; x++)
			expect_pixel(&r, x, y, vga_shade(x < 8 ? 3 : 0));
	for (unsigned y = 4; y < 6; y++)
		expect_pixel(&r, 7, y, vga_shade(1));
	vga_set_mode(&r, &vga_mode_06);
	vga_attr(&r, 0x12, 0x01);
	for (unsigned n = 0; n < 0x4000; n++)
		vga_poke(&r, 0xb8000 + n, 0);
	vga_poke(&r, 0xb8000, 0xa0);
	vga_poke(&r, 0xba000 + 79, 0x01);
	vga_poke(&r, 0xb8000 + 80, 0x80);
	expect_size(&r, 640, 400);
	for (unsigned x = 0; x < 640; x++) {
		expect_pixel(&r, x, 0, vga_shade(x == 0 || x == 2));
		expect_pixel(&r, x, 1, vga_shade(x == 0 || x == 2));
		expect_pixel(&r, x, 2, vga_shade(x == 639));
		expect_pixel(&r, x, 3, vga_shade(x == 639));
		expect_pixel(&r, x, 4, vga_shade(x == 0));
	}
	vga_rig_fini(&r);
}

static void test_planar(void **state)
{
	struct vga_rig r;

	vga_rig_init(&r);
	vga_set_mode(&r, &vga_mode_12);
	/* A pixel of each colour: write mode 2 with the bit mask. */
	vga_reg(&r, 0x3ce, 5, 2);
	for (unsigned n = 0; n < 16; n++) {
		vga_reg(&r, 0x3ce, 8, (uint8_t)(0x80 >> n % 8));
		vga_peek(&r, WIN + 80 * 3 + n / 8);
		vga_poke(&r, WIN + 80 * 3 + n / 8, (uint8_t)n);
	}
	expect_size(&r, 640, 480);
	for (unsigned x = 0; x < 16; x++)
		expect_pixel(&r, x, 3, vga_shade(x));
	expect_pixel(&r, 0, 2, vga_shade(0));
	/* Colour planes off, another palette register, colour select. */
	vga_attr(&r, 0x12, 0x07);
	vga_attr(&r, 0x05, 0x2a);
	surface_refresh(r.s);
	expect_pixel(&r, 13, 3, vga_shade(0x2a));
	vga_attr(&r, 0x10, 0x81);
	vga_attr(&r, 0x14, 0x0d);
	surface_refresh(r.s);
	expect_pixel(&r, 13, 3, vga_shade(0xda));
	vga_attr(&r, 0x10, 0x01);
	surface_refresh(r.s);
	expect_pixel(&r, 13, 3, vga_shade(0xc0 | 0x2a));
	outb(&r.f, 0x3c6, 0x0f);
	surface_refresh(r.s);
	expect_pixel(&r, 13, 3, vga_shade(0x0a));
	outb(&r.f, 0x3c6, 0xff);
	vga_attr(&r, 0x14, 0x00);
	vga_attr(&r, 0x12, 0x0f);
	/* Panning by dots, a split screen at line 99. */
	vga_attr(&r, 0x13, 3);
	vga_reg(&r, 0x3d4, 0x07, 0x2e);
	vga_reg(&r, 0x3d4, 0x09, 0x00);
	vga_reg(&r, 0x3d4, 0x18, 99);
	surface_refresh(r.s);
	expect_pixel(&r, 0, 3, vga_shade(3));
	expect_pixel(&r, 12, 103, vga_shade(15));
	vga_attr(&r, 0x10, 0x21);
	surface_refresh(r.s);
	expect_pixel(&r, 15, 103, vga_shade(15));
	vga_set_mode(&r, &vga_mode_0d);
	vga_reg(&r, 0x3c4, 2, 0x0a);
	vga_poke(&r, WIN + 40, 0x40);
	expect_size(&r, 640, 400);
	expect_pixel(&r, 2, 2, vga_shade(10));
	expect_pixel(&r, 3, 3, vga_shade(10));
	expect_pixel(&r, 4, 3, vga_shade(0));
	vga_rig_fini(&r);
}

static void test_bytes(void **state)
{
	struct vga_rig r;

	vga_rig_init(&r);
	vga_set_mode(&r, &vga_mode_13);
	for (unsigned n = 0; n < 256; n++)
		vga_poke(&r, WIN + 320 * 7 + n, (uint8_t)n);
	bus_mmio_write(r.f.bus, WIN, 0x8877665544332211, 8);
	assert_int_equal(bus_mmio_read(r.f.bus, WIN, 8), 0x8877665544332211);
	expect_size(&r, 640, 400);
	for (unsigned x = 0; x < 512; x++) {
		expect_pixel(&r, x, 14, vga_shade(x / 2));
		expect_pixel(&r, x, 15, vga_shade(x / 2));
	}
	/* Mode X: chain 4 off, each plane a fourth of the pixels, pages. */
	vga_reg(&r, 0x3c4, 4, 0x06);
	vga_reg(&r, 0x3d4, 0x14, 0x00);
	vga_reg(&r, 0x3d4, 0x17, 0xe3);
	vga_reg(&r, 0x3c4, 2, 4);
	vga_poke(&r, WIN + 80 * 9 + 1, 0x99); /* x = 4 * 1 + 2 */
	expect_size(&r, 640, 400);
	expect_pixel(&r, 12, 18, vga_shade(0x99));
	vga_reg(&r, 0x3c4, 2, 15);
	vga_poke(&r, WIN + 0x4000, 0x77);
	vga_reg(&r, 0x3d4, 0x0c, 0x40);
	surface_refresh(r.s);
	expect_pixel(&r, 0, 0, vga_shade(0x77));
	expect_pixel(&r, 7, 1, vga_shade(0x77));
	expect_pixel(&r, 8, 1, vga_shade(0));
	vga_rig_fini(&r);
}

/* One byte through the write path, against the reference's words on each mode. */
static uint8_t expected(unsigned mode, uint8_t val, uint8_t latch, unsigned plane, unsigned rot,
			unsigned fn, uint8_t sr, uint8_t esr, uint8_t mask)
{
	uint8_t turned = (uint8_t)(val >> rot | val << (8 - rot)), d;

	if (mode == 1)
		return latch;
	if (mode == 2)
		d = val >> plane & 1 ? 0xff : 0;
	else if (mode == 3 || esr >> plane & 1)
		d = sr >> plane & 1 ? 0xff : 0;
	else
		d = turned;
	if (mode == 3)
		mask &= turned;
	d = fn == 0 ? d : fn == 1 ? d & latch : fn == 2 ? d | latch : d ^ latch;
	return (uint8_t)((d & mask) | (latch & ~mask));
}

static void test_write_modes(void **state)
{
	struct vga_rig r;
	uint32_t seed = 5;

	vga_rig_init(&r);
	vga_set_mode(&r, &vga_mode_12);
	for (unsigned n = 0; n < 4000; n++) {
		uint8_t before[4], latch[4], b[8];
		unsigned mode = n & 3, fn = n >> 2 & 3;
		uint8_t *at = r.v->vram->host + 4 * 0x123;

		for (unsigned k = 0; k < 8; k++) {
			seed = seed * 1664525 + 1013904223;
			b[k] = (uint8_t)(seed >> 16);
		}
		for (unsigned k = 0; k < 4; k++) {
			seed = seed * 1664525 + 1013904223;
			before[k] = (uint8_t)(seed >> 16);
			latch[k] = (uint8_t)(seed >> 8);
		}
		memcpy(r.v->vram->host + 4 * 0x55, latch, 4);
		memcpy(at, before, 4);
		vga_reg(&r, 0x3ce, 0, b[0]);
		vga_reg(&r, 0x3ce, 1, b[1]);
		vga_reg(&r, 0x3ce, 3, (uint8_t)((b[2] & 7) | fn << 3));
		vga_reg(&r, 0x3ce, 5, (uint8_t)mode);
		vga_reg(&r, 0x3ce, 8, b[3]);
		vga_reg(&r, 0x3c4, 2, b[4]);
		vga_peek(&r, WIN + 0x55);
		vga_poke(&r, WIN + 0x123, b[5]);
		for (unsigned p = 0; p < 4; p++) {
			uint8_t want = b[4] >> p & 1
				? expected(mode, b[5], latch[p], p, b[2] & 7, fn, b[0], b[1], b[3])
				: before[p];

			if (at[p] != want)
				fail_msg("round %u, mode %u: plane %u has %02x, not %02x", n, mode, p,
					 at[p], want);
			vga_reg(&r, 0x3ce, 4, (uint8_t)p);
			vga_reg(&r, 0x3ce, 5, 0);
			assert_int_equal(vga_peek(&r, WIN + 0x123), want);
		}
		/* Read mode 1: which pixels have the colour, of the planes that count. */
		vga_reg(&r, 0x3ce, 5, 8);
		vga_reg(&r, 0x3ce, 2, b[6]);
		vga_reg(&r, 0x3ce, 7, b[7]);
		for (unsigned bit = 0; bit < 8; bit++) {
			bool same = true;

			for (unsigned p = 0; p < 4; p++)
				same &= !(b[7] >> p & 1) || (at[p] >> bit & 1) == (b[6] >> p & 1);
			assert_int_equal(vga_peek(&r, WIN + 0x123) >> bit & 1, same);
		}
	}
	/* Where the window is. */
	for (unsigned map = 0; map < 4; map++) {
		static const uint32_t first[4] = { 0xa0000, 0xa0000, 0xb0000, 0xb8000 };
		static const uint32_t past[4] = { 0xc0000, 0xb0000, 0xb8000, 0xc0000 };

		vga_reg(&r, 0x3ce, 5, 0);
		vga_reg(&r, 0x3ce, 3, 0);
		vga_reg(&r, 0x3ce, 1, 0);
		vga_reg(&r, 0x3ce, 8, 0xff);
		vga_reg(&r, 0x3c4, 2, 15);
		vga_reg(&r, 0x3ce, 6, (uint8_t)(map << 2 | 1));
		vga_poke(&r, first[map], 0x5a);
		assert_int_equal(r.v->vram->host[0], 0x5a);
		assert_int_equal(vga_peek(&r, first[map]), 0x5a);
		if (map)
			assert_int_equal(vga_peek(&r, first[map] == 0xa0000 ? 0xb8000 : 0xa0000), 0xff);
		assert_int_equal(vga_peek(&r, past[map] - 1), 0);
		vga_poke(&r, first[map], 0);
	}
	outb(&r.f, 0x3c2, 0x61); /* memory off */
	assert_int_equal(vga_peek(&r, 0xb8000), 0xff);
	vga_rig_fini(&r);
}

static void vbe_mode(struct vga_rig *r, unsigned w, unsigned h, unsigned bpp)
{
	vga_vbe(r, VBE_ENABLE, 0);
	vga_vbe(r, VBE_XRES, w);
	vga_vbe(r, VBE_YRES, h);
	vga_vbe(r, VBE_BPP, bpp);
	vga_vbe(r, VBE_ENABLE, VBE_ENABLED | VBE_LFB);
	inb(&r->f, 0x3da);
	outb(&r->f, 0x3c0, 0x20);
}

static void put(struct vga_rig *r, uint32_t off, uint32_t val, unsigned size)
{
	assert_int_equal(mem_write(r->f.env.mem, LFB + off, &val, size), 0);
}

static void test_vbe(void **state)
{
	static const struct { unsigned bpp, bytes; uint32_t val, rgb; } depths[] = {
		{ 8, 1, 77, 0 }, { 15, 2, 0x7c1f, 0xff00ff }, { 15, 2, 0x0208, 0x008442 },
		{ 16, 2, 0xf81f, 0xff00ff }, { 16, 2, 0x0410, 0x008284 },
		{ 24, 3, 0x123456, 0x123456 }, { 32, 4, 0xff123456, 0x123456 },
	};
	struct vga_rig r;

	vga_rig_init(&r);
	assert_int_equal(vga_vbe_get(&r, VBE_ID), 0xb0c5);
	assert_int_equal(vga_vbe_get(&r, VBE_MEMORY_64K), 64);
	vga_vbe(&r, VBE_ID, 0xb0c2);
	assert_int_equal(vga_vbe_get(&r, VBE_ID), 0xb0c2);
	vga_vbe(&r, VBE_ID, 0x1234);
	assert_int_equal(vga_vbe_get(&r, VBE_ID), 0xb0c2);
	vga_set_mode(&r, &vga_mode_13);
	vga_bars(&r);
	for (size_t n = 0; n < array_size(depths); n++) {
		unsigned bytes = depths[n].bytes;
		uint32_t rgb = depths[n].bpp == 8 ? vga_shade(77) : depths[n].rgb;

		vbe_mode(&r, 800, 600, depths[n].bpp);
		expect_size(&r, 800, 600);
		expect_pixel(&r, 799, 599, depths[n].bpp == 8 ? vga_shade(0) : 0);
		put(&r, (599 * 800 + 799) * bytes, depths[n].val, bytes);
		put(&r, (1 * 800 + 3) * bytes, depths[n].val, bytes);
		surface_refresh(r.s);
		expect_pixel(&r, 799, 599, rgb);
		expect_pixel(&r, 3, 1, rgb);
		/* A wider virtual screen, panned. */
		vga_vbe(&r, VBE_VIRT_WIDTH, 1000);
		vga_vbe(&r, VBE_X_OFFSET, 40);
		vga_vbe(&r, VBE_Y_OFFSET, 2);
		put(&r, (12 * 1000 + 50) * bytes, depths[n].val, bytes);
		surface_refresh(r.s);
		expect_pixel(&r, 10, 10, rgb);
		assert_int_equal(vga_vbe_get(&r, VBE_VIRT_HEIGHT), 4194304 / (1000 * bytes));
	}
	/* The window shows the bank. */
	vbe_mode(&r, 640, 480, 32);
	vga_vbe(&r, VBE_BANK, 3);
	bus_mmio_write(r.f.bus, WIN + 0x24, 0xaabbccdd, 4);
	assert_int_equal(ld_le32(r.v->vram->host + 0x30024), 0xaabbccdd);
	assert_int_equal(bus_mmio_read(r.f.bus, WIN + 0x24, 4), 0xaabbccdd);
	/* Sixteen colours in planes. */
	vbe_mode(&r, 800, 600, 4);
	vga_reg(&r, 0x3c4, 2, 5);
	vga_reg(&r, 0x3ce, 8, 0xff);
	vga_poke(&r, WIN + 100 * 2 + 1, 0x80);
	expect_size(&r, 800, 600);
	expect_pixel(&r, 8, 2, vga_shade(5));
	/* Eight bits to a colour of the palette. */
	vbe_mode(&r, 640, 480, 8);
	vga_vbe(&r, VBE_ENABLE, VBE_ENABLED | VBE_8BIT_DAC);
	vga_color(&r, 9, 0xfe, 0x81, 0x03);
	put(&r, 0, 9, 1);
	surface_refresh(r.s);
	expect_pixel(&r, 0, 0, 0xfe8103);
	/* Kept or cleared; what is asked for beyond the memory becomes what fits. */
	vga_vbe(&r, VBE_ENABLE, 0);
	vga_vbe(&r, VBE_ENABLE, VBE_ENABLED | VBE_NOCLEARMEM);
	assert_int_equal(r.v->vram->host[0], 9);
	vbe_mode(&r, 60000, 60000, 32);
	assert_true(vga_vbe_get(&r, VBE_XRES) * vga_vbe_get(&r, VBE_YRES) * 4 <= 4 << 20);
	surface_refresh(r.s);
	vga_vbe(&r, VBE_ENABLE, VBE_GETCAPS);
	assert_true(vga_vbe_get(&r, VBE_XRES) >= 2560 && vga_vbe_get(&r, VBE_BPP) == 32);
	vga_rig_fini(&r);
}

/* The memory that the guest finds at @gpa, or NULL. */
static struct mem_block *shown(const struct vga_rig *r, gpa_t gpa)
{
	struct mem_slot s;

	return mem_slot_at(r->f.env.mem, gpa, &s) ? s.block : NULL;
}

static void test_pci(void **state)
{
	struct vga_rig r;
	uint32_t val;
	uint8_t sum = 0;

	vga_rig_init(&r);
	{
		struct dev_plug plug = { .env = &r.f.env, .id = "vga1", .pci = &r.pci, .devfn = 0x18 };
		struct err err = { "" };
		void *second;

		assert_int_equal(dev_new(&vga_desc, &plug, NULL, 0, NULL, &second, &err), -EINVAL);
		assert_non_null(strstr(err.text, "vga0"));
	}
	assert_int_equal(pci_config_read(&r.pci, 0x10, 0, 4), 0x11111234);
	assert_int_equal(pci_config_read(&r.pci, 0x10, 8, 4) >> 8, 0x030000);
	vga_bars(&r);
	assert_non_null(shown(&r, LFB));
	wr32(&r.f, MMIO + 0x100, 0);
	for (unsigned n = 0; n < 128; n++)
		sum = (uint8_t)(sum + bus_mmio_read(r.f.bus, MMIO + n, 1));
	assert_int_equal(sum, 0);
	assert_int_equal(bus_mmio_read(r.f.bus, MMIO, 8), 0x00ffffffffffff00);
	assert_int_equal(rd32(&r.f, MMIO + 0x600), 8);
	assert_int_equal(rd32(&r.f, MMIO + 0x604), 0x1e1e1e1e);
	assert_int_equal(bus_mmio_read(r.f.bus, MMIO + 0x500, 2), 0xb0c5);
	bus_mmio_write(r.f.bus, MMIO + 0x502, 1024, 2);
	bus_mmio_write(r.f.bus, MMIO + 0x504, 768, 2);
	bus_mmio_write(r.f.bus, MMIO + 0x506, 32, 2);
	bus_mmio_write(r.f.bus, MMIO + 0x508, 0x41, 2);
	bus_mmio_write(r.f.bus, MMIO + 0x400, 0x20, 1);
	assert_int_equal(bus_mmio_read(r.f.bus, MMIO + 0x400, 1), 0x20);
	expect_size(&r, 1024, 768);
	bus_mmio_write(r.f.bus, MMIO + 0x40e, 0x0508, 2); /* graphics register 8 */
	outb(&r.f, 0x3ce, 8);
	assert_int_equal(inb(&r.f, 0x3cf), 5);
	/* Moved, and put over other memory: that stays. */
	pci_config_write(&r.pci, 0x10, PCI_BAR0, 0xd0000000, 4);
	assert_null(shown(&r, LFB));
	assert_non_null(shown(&r, 0xd0000000));
	pci_config_write(&r.pci, 0x10, PCI_COMMAND, 0, 2);
	assert_null(shown(&r, 0xd0000000));
	{
		struct mem_block *ram = mem_block_new(r.f.env.mem, "ram", 1 << 20, false, NULL);

		assert_int_equal(mem_map_set(r.f.env.mem, 0x800000, 1 << 20, ram, 0, true, true), 0);
		pci_config_write(&r.pci, 0x10, PCI_BAR0, 0x800000, 4);
		pci_config_write(&r.pci, 0x10, PCI_COMMAND, 3, 2);
		assert_ptr_equal(shown(&r, 0x800000), ram);
		assert_null(shown(&r, 0x900000));
		wr32(&r.f, 0x900000, 0x12345678); /* through the bus, slowly */
		assert_int_equal(rd32(&r.f, 0x900000), 0x12345678);
		vga_desc.reset(r.v);
		assert_ptr_equal(shown(&r, 0x800000), ram);
	}
	assert_int_equal(mem_read(r.f.env.mem, LFB, &val, 4), -EFAULT);
	vga_rig_fini(&r);
}

/* A guest that moves the memory without end: it costs nothing that lasts. */
static void test_moving(void **state)
{
	struct vga_rig r;

	vga_rig_init(&r);
	vga_bars(&r);
	for (unsigned n = 0; n < 100000; n++) {
		uint64_t at = n & 1 ? LFB : 0xd0000000;

		pci_config_write(&r.pci, 0x10, PCI_BAR0, (uint32_t)at, 4);
		assert_non_null(shown(&r, at));
	}
	assert_null(r.f.env.mem->outgrown);
	vbe_mode(&r, 640, 480, 32);
	wr32(&r.f, LFB + 4 * 641, 0x123456);
	assert_int_equal(rd32(&r.f, LFB + 4 * 641), 0x123456);
	surface_refresh(r.s);
	expect_pixel(&r, 1, 1, 0x123456);
	vga_rig_fini(&r);
}

static void test_registers(void **state)
{
	struct vga_rig r;
	unsigned retraces = 0, shown = 0;

	vga_rig_init(&r);
	vga_set_mode(&r, &vga_mode_03);
	/* Reading back. */
	for (uint8_t n = 0; n < 25; n++) {
		outb(&r.f, 0x3d4, n);
		assert_int_equal(inb(&r.f, 0x3d5), vga_mode_03.crtc[n]);
	}
	assert_int_equal(inb(&r.f, 0x3cc), 0x67);
	assert_int_equal(inb(&r.f, 0x3b5), 0xff); /* those of a monochrome card are not there */
	inb(&r.f, 0x3da);
	outb(&r.f, 0x3c0, 0x33);
	assert_int_equal(inb(&r.f, 0x3c1), 0x08);
	/* Timing registers are protected, but for the split line's bit. */
	vga_reg(&r, 0x3d4, 0x11, 0x8e);
	vga_reg(&r, 0x3d4, 0x00, 0x11);
	vga_reg(&r, 0x3d4, 0x07, 0x00);
	outb(&r.f, 0x3d4, 0);
	assert_int_equal(inb(&r.f, 0x3d5), 0x5f);
	outb(&r.f, 0x3d4, 7);
	assert_int_equal(inb(&r.f, 0x3d5), 0x0f);
	/* The palette. */
	vga_color(&r, 255, 63, 200, 1);
	outb(&r.f, 0x3c7, 255);
	assert_int_equal(inb(&r.f, 0x3c7), 3);
	assert_int_equal(inb(&r.f, 0x3c9), 63);
	assert_int_equal(inb(&r.f, 0x3c9), 200 & 63);
	assert_int_equal(inb(&r.f, 0x3c9), 1);
	outb(&r.f, 0x3c8, 1);
	assert_int_equal(inb(&r.f, 0x3c7), 0);
	/* A frame of 70 Hz: one vertical retrace, a picture for 400 of 449 lines. */
	for (unsigned n = 0; n < 14270; n++) {
		static unsigned was;
		unsigned now = inb(&r.f, 0x3da);

		retraces += now & 8 && !(was & 8);
		shown += !(now & 1);
		was = now;
		pass(&r.f, 1000);
	}
	assert_int_equal(retraces, 1);
	assert_in_range(shown, 14270 * 400 / 449 * 640 / 800 - 400, 14270 * 400 / 449 * 640 / 800 + 400);
	vga_desc.reset(r.v);
	assert_int_equal(inb(&r.f, 0x3cc), 0);
	vga_rig_fini(&r);
}

static void poke_state(void *obj)
{
	struct vga *v = obj;

	surface_refresh(&v->surface);
	bus_mmio_write(v->env->bus, WIN + 0x1ffff, 1, 1);
	bus_pio_read(v->env->bus, 0x3c9, 1);
}

static void test_state(void **state)
{
	struct vga_rig r;

	vga_rig_init(&r);
	vga_bars(&r);
	vga_set_mode(&r, &vga_mode_13);
	outb(&r.f, 0x3c9, 1);
	vbe_mode(&r, 640, 480, 16);
	vga_vbe(&r, VBE_VIRT_WIDTH, 1024);
	check_roundtrip(vga_desc.state, r.v);
	assert_non_null(shown(&r, LFB));
	expect_size(&r, 640, 480);
	check_hostile(vga_desc.state, r.v, poke_state, 300);
	vga_rig_fini(&r);
}

/* Registers, memory and refreshes in any order: nothing may crash, and no row lies
 * outside of video memory (the sanitizers watch). */
static void test_fuzz(void **state)
{
	const char *scale = getenv("BOTHY_FUZZ_ROUNDS");
	unsigned rounds = scale ? (unsigned)strtoul(scale, NULL, 0) : 60000;
	struct vga_rig r;
	uint64_t seed = 3;

	vga_rig_init(&r);
	vga_bars(&r);
	for (unsigned n = 0; n < rounds; n++) {
		unsigned size;
		uint32_t at, val;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		at = (uint32_t)(seed >> 33);
		val = (uint32_t)(seed >> 16);
		size = 1u << (seed >> 60 & 3);
		switch (seed >> 54 & 15) {
		case 0: bus_mmio_write(r.f.bus, WIN + (at & 0x1ffff & ~(size - 1)), val, size); break;
		case 1: bus_mmio_read(r.f.bus, WIN + (at & 0x1ffff & ~(size - 1)), size); break;
		case 2: case 3:
			vga_reg(&r, at & 1 ? 0x3ce : 0x3c4, at >> 1 & 15, (uint8_t)val);
			break;
		case 4: case 5:
			vga_reg(&r, 0x3d4, at & 31, (uint8_t)val);
			break;
		case 6: vga_attr(&r, at & 31, (uint8_t)val); break;
		case 7: bus_pio_write(r.f.bus, (uint16_t)(0x3b0 + at % 0x30), val, 1u << (at >> 8 & 1)); break;
		case 8: bus_pio_read(r.f.bus, (uint16_t)(0x3b0 + at % 0x30), size & 7 ? size & 7 : 1); break;
		case 9: vga_vbe(&r, at % 13, at & 0x1000 ? val & 0xffff : val & 0x3ff); break;
		case 10: vga_vbe(&r, VBE_ENABLE, at & 0x3 ? 0 : val & 0xff); break;
		case 11:
			if (!(at & 0x38)) {
				surface_refresh(r.s);
				pass(&r.f, val & 0xfffffff);
			}
			break;
		case 12: bus_mmio_write(r.f.bus, MMIO + (at & 0xfff & ~(size - 1)), val, size); break;
		case 13: bus_mmio_read(r.f.bus, MMIO + (at & 0xfff & ~(size - 1)), size); break;
		case 14:
			if (!(at & 0xff0))
				pci_config_write(&r.pci, 0x10, at & 0x7f & ~3u, val, 4);
			if (!(at & 0xf000))
				vga_bars(&r);
			break;
		default: {
			struct text_screen t;

			if (r.s->ops->text(r.v, &t) == 0)
				text_screen_fini(&t);
			break;
		}
		}
	}
	vga_desc.reset(r.v);
	vga_rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text), cmocka_unit_test(test_cursor),
		cmocka_unit_test(test_cga), cmocka_unit_test(test_planar),
		cmocka_unit_test(test_bytes), cmocka_unit_test(test_write_modes),
		cmocka_unit_test(test_vbe), cmocka_unit_test(test_pci),
		cmocka_unit_test(test_moving), cmocka_unit_test(test_registers),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
