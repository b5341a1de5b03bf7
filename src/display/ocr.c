/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text in pictures: consoles on framebuffers draw characters of 8 x 16 dots (UEFI's: 8 x 19)
 * in two colours on a grid. Each cell's dots are looked up among known glyphs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/display/glyphs.h"

#define CELL_W     8u
#define CELL_H     16u
#define CELL_H_MAX UEFI_GLYPH_ROWS

/* A cell of more than two colours is part of a picture and says nothing. */
enum cell { CELL_BLANK, CELL_KNOWN, CELL_UNKNOWN };

struct picture {
	const uint32_t *pixels;
	unsigned width, height;
};

/* Where characters may stand: cells of CELL_W x @cell_h dots from @x0, @y0 on. */
struct grid {
	const struct glyph_set *set; /* NULL: UEFI's font */
	unsigned cell_h, x0, y0;
};

/* The dots of a cell that have not its background's colour (the first dot's, or, where
 * that is a character's, the other). False: more colours than two. */
static bool cell_dots(const uint32_t *p, size_t stride, unsigned cell_h,
		      uint8_t rows[CELL_H_MAX], bool *blank)
{
	uint32_t bg = p[0] & 0xffffff, fg = bg;

	for (unsigned y = 0; y < cell_h; y++) {
		uint8_t bits = 0;

		for (unsigned x = 0; x < CELL_W; x++) {
			uint32_t c = p[y * stride + x] & 0xffffff;

			if (c != bg && fg == bg)
				fg = c;
			if (c != bg && c != fg)
				return false;
			bits = (uint8_t)(bits << 1 | (c != bg));
		}
		rows[y] = bits;
	}
	*blank = fg == bg;
	return true;
}

static uint32_t find(const struct grid *g, const uint8_t rows[CELL_H_MAX])
{
	return g->set ? glyph_find(g->set, rows) : glyph_find_uefi(rows);
}

/* UEFI's cursor, over a blank. */
static bool is_uefi_cursor(const uint8_t rows[CELL_H_MAX])
{
	static const uint8_t cursor[UEFI_GLYPH_ROWS] = { [16] = 0xff, 0xff, 0xff };

	return !memcmp(rows, cursor, sizeof(cursor));
}

/* @guess: what is like a known shape counts too, for the text, not for finding it. */
static enum cell read_cell(const uint32_t *p, size_t stride, const struct grid *g, bool guess,
			   uint32_t *ch)
{
	uint8_t rows[CELL_H_MAX], inverse[CELL_H_MAX];
	bool blank;

	*ch = ' ';
	if (!cell_dots(p, stride, g->cell_h, rows, &blank))
		return CELL_BLANK;
	if (blank)
		return CELL_BLANK;
	for (unsigned n = 0; n < g->cell_h; n++) /* the first dot may be the character's */
		inverse[n] = (uint8_t)~rows[n];
	if (!g->set && is_uefi_cursor(rows))
		return CELL_BLANK;
	*ch = find(g, rows);
	if (!*ch)
		*ch = find(g, inverse);
	if (*ch)
		return CELL_KNOWN;
	if (guess && g->set)
		*ch = glyph_nearest(g->set, rows);
	if (guess && g->set && !*ch)
		*ch = glyph_nearest(g->set, inverse);
	if (!*ch)
		*ch = 0xfffd;
	return CELL_UNKNOWN;
}

/* ASCII, lines and blocks: what screens mostly show. */
static bool is_common(uint32_t ch)
{
	return (ch > ' ' && ch <= '~') || (ch >= 0x2500 && ch < 0x25a0);
}

static unsigned grid_cols(const struct picture *p, const struct grid *g)
{
	return (p->width - g->x0) / CELL_W;
}

static unsigned grid_rows(const struct picture *p, const struct grid *g)
{
	return (p->height - g->y0) / g->cell_h;
}

/* A grid that reads so badly is not the one. */
#define HOPELESS (-100)

/* Reads a grid; without cells only how well it reads: how many common characters were
 * known less how many were not. */
static long read_grid(const struct picture *pic, const struct grid *g, struct text_cell *cells)
{
	unsigned cols = grid_cols(pic, g), rows = grid_rows(pic, g);
	long score = 0;

	for (unsigned y = 0; y < rows && (cells || score > HOPELESS); y++) {
		for (unsigned x = 0; x < cols; x++) {
			const uint32_t *p = pic->pixels + x * CELL_W + g->x0 +
					    (size_t)(g->y0 + y * g->cell_h) * pic->width;
			uint32_t ch;
			enum cell c = read_cell(p, pic->width, g, cells != NULL, &ch);

			score += c == CELL_KNOWN && is_common(ch) ? 1 :
				 c == CELL_UNKNOWN ? -1 : 0;
			if (cells)
				cells[(size_t)y * cols + x] = (struct text_cell){ ch, 7 };
		}
	}
	return score;
}

/* Takes the grid at @x0, @y0 if it reads better than @best. */
static void try_grid(const struct picture *p, struct grid g, unsigned x0, unsigned y0,
		     struct grid *best, long *score)
{
	long s;

	g.x0 = x0;
	g.y0 = y0;
	if (p->width < CELL_W + x0 || p->height < g.cell_h + y0)
		return;
	s = read_grid(p, &g, NULL);
	if (s > *score) {
		*score = s;
		*best = g;
	}
}

/* The grid that reads best; false: none reads as text. */
static bool find_grid(const struct picture *p, const struct glyph_set *set, struct grid *best)
{
	const struct grid pc = { .set = set, .cell_h = CELL_H };
	const struct grid uefi = { .set = NULL, .cell_h = UEFI_GLYPH_ROWS };
	long score = 0;

	/* Most consoles begin in the corner. */
	if (set)
		try_grid(p, pc, 0, 0, best, &score);
	if (score > 0)
		return true;
	/* UEFI's stands in the middle, whatever it has of rows and columns. */
	for (unsigned y = 0; y < UEFI_GLYPH_ROWS; y++)
		for (unsigned odd = 0; odd < CELL_W; odd += CELL_W / 2)
			try_grid(p, uefi, (p->width / 2 + odd) % CELL_W, y, best, &score);
	if (score > 0)
		return true;
	/* Boot menus have a margin. */
	for (unsigned n = 1; set && n < CELL_W * CELL_H; n++)
		try_grid(p, pc, n % CELL_W, n / CELL_W, best, &score);
	return score > 0;
}

int picture_text(const uint32_t *pixels, unsigned width, unsigned height,
		 const struct glyph_set *set, struct text_screen *t)
{
	const struct picture p = { pixels, width, height };
	struct grid g = { .cell_h = CELL_H };

	*t = (struct text_screen){ .cols = 0 };
	if (!pixels || !find_grid(&p, set, &g))
		return -ENOTSUP;
	t->cols = grid_cols(&p, &g);
	t->rows = grid_rows(&p, &g);
	t->cells = calloc((size_t)t->cols * t->rows, sizeof(*t->cells));
	if (!t->cells)
		return -ENOMEM;
	read_grid(&p, &g, t->cells);
	return 0;
}

int screen_text(struct surface *s, struct text_screen *t, bool *graphics)
{
	struct glyph_set *set;
	int ret = s->ops && s->ops->text ? s->ops->text(s->dev, t) : -ENOTSUP;

	*graphics = ret == -ENOTSUP;
	if (ret != -ENOTSUP)
		return ret;
	set = glyph_set_new();
	ret = picture_text(s->pixels, s->width, s->height, set, t);
	glyph_set_free(set);
	return ret;
}
