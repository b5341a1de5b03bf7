/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the screen shows: registers and video memory to pixels, one scan line at a
 * time, as the CRT controller counts them. Source: IBM PS/2 Hardware Interface
 * Technical Reference, "Video Subsystem"; Ferraro, chapters 8 to 10.
 *
 * The picture has the size that a monitor would show: a mode of 320 pixels is 640
 * wide, scan lines that the hardware doubles are there twice.
 */
#include <errno.h>
#include <stdlib.h>

#include "src/base/bits.h"
#include "src/dev/display/vga_priv.h"

#define BLINK_NS 266000000ll /* half a period of the cursor: 16 frames of 60 a second */
#define COLUMNS_MAX 256u
/* Video memory may also be written through BAR 0, which nobody notices: every so
 * many refreshes a legacy mode is drawn although nothing seems to have changed. */
#define SKIP_MAX 32u

/* What stands for the duration of one picture. */
struct frame {
	struct vga *v;
	unsigned columns, dots; /* characters in a row, dots in a character */
	bool wide;              /* every dot twice */
	bool blink;             /* the half of the period when cursor and characters are off */
	uint32_t colors[16];    /* through the attribute controller's palette */
	unsigned shift;         /* bits to the pixel: 0 planar, 1 pairs, 2 bytes */
};

unsigned vga_height(const struct vga *v)
{
	unsigned over = v->crtc[CRTC_OVERFLOW];

	return (v->crtc[CRTC_V_DISPLAY] | (over & 2) << 7 | (over & 0x40) << 3) + 1;
}

static unsigned line_compare(const struct vga *v)
{
	return v->crtc[CRTC_LINE_COMPARE] | (v->crtc[CRTC_OVERFLOW] & 0x10u) << 4 |
	       (v->crtc[CRTC_MAX_SCAN] & 0x40u) << 3;
}

static unsigned blink_phase(const struct vga *v)
{
	return (unsigned)(vtime_now_ns(v->env->vtime) / BLINK_NS) & 3;
}

static void make_palette(struct vga *v)
{
	bool wide = v->vbe[VBE_ENABLE] & VBE_8BIT_DAC;

	for (unsigned n = 0; n < 256; n++) {
		uint32_t rgb = 0;

		for (unsigned k = 0; k < 3; k++) {
			uint8_t c = v->dac[n * 3 + k];

			rgb = rgb << 8 | (wide ? c : (uint8_t)(c << 2 | (c >> 4 & 3)));
		}
		v->palette[n] = rgb;
	}
}

/* The attribute controller, for a colour of four bits: 3C0h, registers 0-0Fh, 14h. */
static uint32_t attr_color(const struct vga *v, unsigned n)
{
	unsigned reg = v->attr[n & v->attr[ATTR_PLANES] & 15], select = v->attr[ATTR_COLOR_SELECT];

	if (v->attr[ATTR_MODE] & ATTR_MODE_P54S)
		reg = (reg & 0x0f) | (select & 0x0f) << 4;
	else
		reg = (reg & 0x3f) | (select & 0x0c) << 4;
	return v->palette[reg & v->pel_mask];
}

/*
 * The CRT controller's address counter, to the four bytes at it. Two bits of it may
 * be replaced by those of the row scan counter (mode control, bits 0 and 1): the
 * modes whose even and odd lines lie in different banks.
 */
static const uint8_t *fetch(const struct frame *f, uint32_t addr, unsigned row_scan)
{
	const struct vga *v = f->v;
	/* Word and doubleword addressing shift the counter on its way to memory. */
	unsigned unit = v->crtc[CRTC_UNDERLINE] & 0x40 ? 2 : v->crtc[CRTC_MODE] & 0x40 ? 0 : 1;
	uint64_t at;

	addr &= 0xffff;
	if (!(v->crtc[CRTC_MODE] & 1))
		addr = (addr & ~(1u << (13 - unit))) | (row_scan & 1) << (13 - unit);
	if (!(v->crtc[CRTC_MODE] & 2))
		addr = (addr & ~(1u << (14 - unit))) | (row_scan >> 1 & 1) << (14 - unit);
	at = addr * 4ull;
	return v->vram->host + (at & (v->vram->len - 1));
}

static uint32_t *put_dot(const struct frame *f, uint32_t *to, uint32_t color)
{
	*to++ = color;
	if (f->wide)
		*to++ = color;
	return to;
}

/*
 * Text.
 */

/* Where in plane 2 a character's glyph is: two maps, picked by attribute bit 3. */
static uint32_t font_offset(const struct vga *v, unsigned attr)
{
	unsigned reg = v->seq[SEQ_CHAR_MAP];
	unsigned map = attr & 8 ? (reg >> 2 & 3) | (reg >> 3 & 4) : (reg & 3) | (reg >> 2 & 4);

	return (map & 3) * 0x4000 + (map >> 2) * 0x2000;
}

static bool cursor_here(const struct frame *f, uint32_t addr, unsigned row_scan)
{
	const uint8_t *c = f->v->crtc;
	unsigned start = c[CRTC_CURSOR_START] & 0x1f, end = c[CRTC_CURSOR_END] & 0x1f;

	return (addr & 0xffff) == (unsigned)(c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_LOW]) &&
	       !(c[CRTC_CURSOR_START] & 0x20) && row_scan >= start && row_scan <= end;
}

/* The dots of one line of a character, leftmost highest of @f->dots bits. */
static unsigned glyph_row(const struct frame *f, unsigned ch, unsigned attr, unsigned row_scan)
{
	const struct vga *v = f->v;
	uint32_t at = font_offset(v, attr) + ch * 32 + row_scan;
	unsigned bits = v->vram->host[(at & 0xffff) * 4ull + 2];

	if ((attr & 0x77) == 1 && row_scan == (v->crtc[CRTC_UNDERLINE] & 0x1f))
		bits = 0xff;
	if (f->dots == 9)
		bits = bits << 1 | (v->attr[ATTR_MODE] & ATTR_MODE_LINE_GRAPHICS &&
				    (ch & 0xe0) == 0xc0 && bits & 1);
	return bits;
}

static uint32_t *text_cell(const struct frame *f, uint32_t *to, uint32_t addr, unsigned row_scan,
			   bool blink_on)
{
	const uint8_t *p = fetch(f, addr, 0);
	unsigned attr = p[1], fg = attr & 15, bg = attr >> 4;
	unsigned bits = glyph_row(f, p[0], attr, row_scan);

	if (f->v->attr[ATTR_MODE] & ATTR_MODE_BLINK) {
		bg &= 7;
		if (attr & 0x80 && !blink_on)
			bits = 0;
	}
	if (!f->blink && cursor_here(f, addr, row_scan))
		bits = 0x1ff;
	for (unsigned n = f->dots; n-- > 0;)
		to = put_dot(f, to, f->colors[bits >> n & 1 ? fg : bg]);
	return to;
}

/*
 * Graphics: four bytes to the character, eight dots.
 */
static uint32_t *planar_cell(const struct frame *f, uint32_t *to, const uint8_t *p)
{
	for (int n = 7; n >= 0; n--)
		to = put_dot(f, to, f->colors[(p[0] >> n & 1) | (p[1] >> n & 1) << 1 |
					      (p[2] >> n & 1) << 2 | (p[3] >> n & 1) << 3]);
	return to;
}

/* Two bits from a byte of an even plane, then of the odd one; planes 2 and 3 give the
 * upper bits of the colour. */
static uint32_t *pair_cell(const struct frame *f, uint32_t *to, const uint8_t *p)
{
	for (unsigned k = 0; k < 2; k++)
		for (int n = 6; n >= 0; n -= 2)
			to = put_dot(f, to, f->colors[(p[k] >> n & 3) |
						      (p[k + 2] >> n & 3) << 2]);
	return to;
}

static uint32_t *byte_cell(const struct frame *f, uint32_t *to, const uint8_t *p)
{
	for (unsigned k = 0; k < 4; k++) {
		uint32_t color = f->v->palette[p[k] & f->v->pel_mask];

		to = put_dot(f, to, color);
		to = put_dot(f, to, color);
	}
	return to;
}

/* One scan line. The smooth scrolling registers skip @pan dots at its start. */
static void draw_line(const struct frame *f, unsigned y, uint32_t addr, unsigned row_scan,
		      unsigned pan)
{
	struct vga *v = f->v;
	bool graphics = v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS;
	bool blink_on = !(blink_phase(v) & 2);
	uint32_t *to = v->line;
	unsigned width = f->columns * f->dots * (f->wide ? 2 : 1);

	/* One more, for what panning shifts in from the right. */
	for (unsigned n = 0; n <= f->columns; n++, addr++) {
		if (!graphics)
			to = text_cell(f, to, addr, row_scan, blink_on);
		else if (f->shift == 0)
			to = planar_cell(f, to, fetch(f, addr, row_scan));
		else if (f->shift == 1)
			to = pair_cell(f, to, fetch(f, addr, row_scan));
		else
			to = byte_cell(f, to, fetch(f, addr, row_scan));
	}
	surface_put_row(&v->surface, y, v->line + pan, width);
}

static unsigned pan_dots(const struct frame *f)
{
	unsigned pan = f->v->attr[ATTR_PAN] & 15;

	if (f->dots == 9) /* 8: no shift, 0..7: one to eight dots */
		pan = pan >= 8 ? 0 : pan + 1;
	else if (f->shift == 2 && f->v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS)
		pan &= 6; /* half dots */
	else
		pan &= 7;
	return f->wide ? pan * 2 : pan;
}

static void frame_init(struct frame *f, struct vga *v)
{
	bool graphics = v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS;
	unsigned mode = v->gfx[GFX_MODE] >> 5 & 3;

	*f = (struct frame){
		.v = v,
		.columns = v->crtc[CRTC_H_DISPLAY] + 1u,
		.dots = graphics || v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_8DOT ? 8 : 9,
		.wide = v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_HALF,
		.blink = blink_phase(v) & 1,
		.shift = mode > 2 ? 2 : mode,
	};
	make_palette(v);
	for (unsigned n = 0; n < 16; n++)
		f->colors[n] = attr_color(v, n);
}

static void draw_legacy(struct vga *v)
{
	const uint8_t *c = v->crtc;
	unsigned height = vga_height(v), compare = line_compare(v);
	unsigned rows = (c[CRTC_MAX_SCAN] & 0x1fu) + 1, doubled = c[CRTC_MAX_SCAN] >> 7;
	unsigned scan = (c[CRTC_PRESET_ROW] & 0x1fu) % rows, half = 0, pan;
	uint32_t addr = (uint32_t)(c[CRTC_START_HIGH] << 8 | c[CRTC_START_LOW]) +
			(c[CRTC_PRESET_ROW] >> 5 & 3u);
	struct frame f;

	frame_init(&f, v);
	if (surface_resize(&v->surface, f.columns * f.dots * (f.wide ? 2 : 1), height) < 0)
		return;
	pan = pan_dots(&f);
	for (unsigned y = 0; y < height; y++) {
		draw_line(&f, y, addr, scan, pan);
		if (y == compare) { /* the lower part of a split screen */
			addr = 0;
			scan = half = 0;
			if (v->attr[ATTR_MODE] & ATTR_MODE_PAN_COMPAT)
				pan = 0;
			continue;
		}
		if (doubled && !half) {
			half = 1;
			continue;
		}
		half = 0;
		if (++scan == rows) {
			scan = 0;
			addr += c[CRTC_OFFSET] * 2u;
		}
	}
}

/*
 * Linear modes.
 */
static void convert(struct vga *v, const uint8_t *from, unsigned width)
{
	uint32_t *to = v->line;
	uint16_t c;

	switch (v->vbe[VBE_BPP]) {
	case 8:
		for (unsigned x = 0; x < width; x++)
			to[x] = v->palette[from[x] & v->pel_mask];
		break;
	case 15:
		for (unsigned x = 0; x < width; x++) {
			c = ld_le16(from + 2 * x);
			to[x] = (uint32_t)((c & 0x7c00) << 9 | (c & 0x7000) << 4 |
					   (c & 0x03e0) << 6 | (c & 0x0380) << 1 |
					   (c & 0x001f) << 3 | (c & 0x001c) >> 2);
		}
		break;
	case 16:
		for (unsigned x = 0; x < width; x++) {
			c = ld_le16(from + 2 * x);
			to[x] = (uint32_t)((c & 0xf800) << 8 | (c & 0xe000) << 3 |
					   (c & 0x07e0) << 5 | (c & 0x0600) >> 1 |
					   (c & 0x001f) << 3 | (c & 0x001c) >> 2);
		}
		break;
	case 24:
		for (unsigned x = 0; x < width; x++)
			to[x] = (uint32_t)(from[3 * x] | from[3 * x + 1] << 8 |
					   from[3 * x + 2] << 16);
		break;
	default:
		memcpy(to, from, width * 4u);
		break;
	}
}

static void draw_linear(struct vga *v)
{
	unsigned width = v->vbe[VBE_XRES], height = v->vbe[VBE_YRES], bpp = v->vbe[VBE_BPP];
	uint64_t line = vbe_line_bytes(v), at = vbe_start_bytes(v);
	uint64_t need = bpp == 4 ? width / 2 : (uint64_t)width * ((bpp + 7) / 8);
	struct frame f;

	frame_init(&f, v);
	f.wide = false;
	if (surface_resize(&v->surface, width, height) < 0)
		return;
	for (unsigned y = 0; y < height; y++, at += line) {
		const uint8_t *from = v->vram->host + at;

		if (at + need > v->vram->len) {
			memset(v->line, 0, width * sizeof(*v->line));
		} else if (bpp == 4) {
			uint32_t *to = v->line;

			for (unsigned n = 0; n < width / 8; n++)
				to = planar_cell(&f, to, from + n * 4);
		} else {
			convert(v, from, width);
		}
		surface_put_row(&v->surface, y, v->line, width);
	}
}

static void draw_blank(struct vga *v)
{
	if (!v->surface.pixels && surface_resize(&v->surface, 720, 400) < 0)
		return;
	memset(v->line, 0, v->surface.width * sizeof(*v->line));
	for (unsigned y = 0; y < v->surface.height; y++)
		surface_put_row(&v->surface, y, v->line, v->surface.width);
}

/* Is anything to be seen? A reset VGA is silent until somebody sets a mode. */
static bool is_off(const struct vga *v)
{
	if (vbe_on(v))
		return !(v->attr_index & ATTR_INDEX_ON);
	return !(v->attr_index & ATTR_INDEX_ON) || v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_OFF ||
	       (v->seq[0] & 3) != 3 || !(v->crtc[CRTC_MODE] & 0x80);
}

/* With every write done that an engine had kept back. */
static struct vga *settled(struct vga *v)
{
	bus_settle(v->env->bus);
	return v;
}

void vga_refresh(void *dev)
{
	struct vga *v = settled(dev);
	unsigned phase = blink_phase(v);

	if (vbe_on(v) && !is_off(v)) {
		draw_linear(v);
		return;
	}
	if (!v->changed && phase == v->blink_drawn && ++v->skipped < SKIP_MAX)
		return;
	v->changed = false;
	v->blink_drawn = phase;
	v->skipped = 0;
	if (is_off(v))
		draw_blank(v);
	else
		draw_legacy(v);
}

/*
 * The characters of a text mode, without drawing them.
 */
static void text_cursor(const struct vga *v, struct text_screen *t, uint32_t start,
			unsigned pitch)
{
	const uint8_t *c = v->crtc;
	uint32_t at = ((uint32_t)(c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_LOW]) - start) & 0xffff;

	if (c[CRTC_CURSOR_START] & 0x20 || !pitch || at / pitch >= t->rows ||
	    at % pitch >= t->cols ||
	    (c[CRTC_CURSOR_START] & 0x1f) > (c[CRTC_CURSOR_END] & 0x1f))
		return;
	t->cursor_on = true;
	t->cursor_row = at / pitch;
	t->cursor_col = at % pitch;
}

int vga_text(void *dev, struct text_screen *t)
{
	struct vga *v = settled(dev);
	const uint8_t *c = v->crtc;
	unsigned pitch = c[CRTC_OFFSET] * 2u;
	unsigned cell = ((c[CRTC_MAX_SCAN] & 0x1fu) + 1) << (c[CRTC_MAX_SCAN] >> 7);
	uint32_t start = (uint32_t)(c[CRTC_START_HIGH] << 8 | c[CRTC_START_LOW]);
	struct frame f;

	*t = (struct text_screen){ .cols = 0 };
	if (vbe_on(v) || is_off(v) || v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS)
		return -ENOTSUP;
	frame_init(&f, v);
	t->cols = f.columns;
	t->rows = max_of(vga_height(v) / cell, 1u);
	t->cells = calloc((size_t)t->cols * t->rows, sizeof(*t->cells));
	if (!t->cells)
		return -ENOMEM;
	for (unsigned y = 0; y < t->rows; y++) {
		for (unsigned x = 0; x < t->cols; x++) {
			const uint8_t *p = fetch(&f, start + y * pitch + x, 0);

			t->cells[y * t->cols + x] =
				(struct text_cell){ cp437_to_unicode(p[0]), p[1] };
		}
	}
	text_cursor(v, t, start, pitch);
	return 0;
}
