/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/display/surface.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

/* Changes are told in pieces of this many pixels of a row. */
#define PIECE 16u

void surface_init(struct surface *s, const char *name, const struct surface_ops *ops, void *dev)
{
	*s = (struct surface){ .name = name, .ops = ops, .dev = dev };
}

void surface_fini(struct surface *s)
{
	while (s->listeners) {
		struct surface_listener *l = s->listeners;

		s->listeners = l->next;
		if (l->gone)
			l->gone(l->opaque);
	}
	free(s->pixels);
	s->pixels = NULL;
	s->width = s->height = 0;
}

int surface_resize(struct surface *s, unsigned width, unsigned height)
{
	uint32_t *pixels;

	if (s->pixels && s->width == width && s->height == height)
		return 0;
	if (!width || !height || width > SURFACE_WIDTH_MAX || height > SURFACE_HEIGHT_MAX)
		return -EINVAL;
	pixels = calloc((size_t)width * height, sizeof(*pixels));
	if (!pixels)
		return -ENOMEM;
	free(s->pixels);
	s->pixels = pixels;
	s->width = width;
	s->height = height;
	for (struct surface_listener *l = s->listeners; l; l = l->next)
		if (l->resized)
			l->resized(l->opaque);
	surface_dirty(s, 0, 0, width, height);
	return 0;
}

void surface_dirty(struct surface *s, unsigned x, unsigned y, unsigned w, unsigned h)
{
	struct rect r;

	if (x >= s->width || y >= s->height || !w || !h)
		return;
	r = (struct rect){ x, y, min_of(w, s->width - x), min_of(h, s->height - y) };
	for (struct surface_listener *l = s->listeners; l; l = l->next)
		if (l->dirty)
			l->dirty(l->opaque, &r);
}

bool surface_put_row(struct surface *s, unsigned y, const uint32_t *row, unsigned len)
{
	unsigned start = 0, run = 0;
	uint32_t *to;

	if (y >= s->height)
		return false;
	len = min_of(len, s->width);
	to = s->pixels + (size_t)y * s->width;
	if (!memcmp(to, row, len * sizeof(*row)))
		return false;
	for (unsigned x = 0; x < len; x += PIECE) {
		unsigned n = min_of(PIECE, len - x);

		if (memcmp(to + x, row + x, n * sizeof(*row))) {
			memcpy(to + x, row + x, n * sizeof(*row));
			if (!run)
				start = x;
			run = x + n - start;
		} else if (run) {
			surface_dirty(s, start, y, run, 1);
			run = 0;
		}
	}
	if (run)
		surface_dirty(s, start, y, run, 1);
	return true;
}

void surface_listen(struct surface *s, struct surface_listener *l)
{
	l->next = s->listeners;
	s->listeners = l;
}

void surface_unlisten(struct surface *s, struct surface_listener *l)
{
	for (struct surface_listener **p = &s->listeners; *p; p = &(*p)->next) {
		if (*p == l) {
			*p = l->next;
			return;
		}
	}
}

void surface_refresh(struct surface *s)
{
	if (s->ops && s->ops->refresh)
		s->ops->refresh(s->dev);
}

/*
 * The list.
 */
void screens_add(struct screens *list, struct surface *s)
{
	struct surface **p;

	if (!list)
		return;
	for (p = &list->first; *p; p = &(*p)->next)
		;
	s->next = NULL;
	*p = s;
	if (list->changed)
		list->changed(list->opaque);
}

void screens_del(struct screens *list, struct surface *s)
{
	if (!list)
		return;
	for (struct surface **p = &list->first; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			if (list->changed)
				list->changed(list->opaque);
			return;
		}
	}
}

struct surface *screens_find(const struct screens *list, const char *name)
{
	for (struct surface *s = list ? list->first : NULL; s; s = s->next)
		if (!name || !strcmp(s->name, name))
			return s;
	return NULL;
}

/*
 * Text.
 */

/* Code page 437's glyphs; 0 stands for a blank. */
static const uint16_t low437[32] = {
	0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
	0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
	0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};

static const uint16_t high437[128] = {
	0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8,
	0x00ef, 0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2,
	0x00fb, 0x00f9, 0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1,
	0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd,
	0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562,
	0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534,
	0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560,
	0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b,
	0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393,
	0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6,
	0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248, 0x00b0,
	0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x0020,
};

uint32_t cp437_to_unicode(uint8_t c)
{
	return c < 32 ? low437[c] : c == 127 ? 0x2302 : c < 127 ? c : high437[c - 128];
}

void text_screen_fini(struct text_screen *t)
{
	free(t->cells);
	t->cells = NULL;
	t->cols = t->rows = 0;
}

static char *put_utf8(char *p, uint32_t c)
{
	if (c < 0x80) {
		*p++ = (char)c;
	} else if (c < 0x800) {
		*p++ = (char)(0xc0 | c >> 6);
		*p++ = (char)(0x80 | (c & 63));
	} else if (c < 0x10000) {
		*p++ = (char)(0xe0 | c >> 12);
		*p++ = (char)(0x80 | (c >> 6 & 63));
		*p++ = (char)(0x80 | (c & 63));
	} else {
		*p++ = (char)(0xf0 | (c >> 18 & 7));
		*p++ = (char)(0x80 | (c >> 12 & 63));
		*p++ = (char)(0x80 | (c >> 6 & 63));
		*p++ = (char)(0x80 | (c & 63));
	}
	return p;
}

char *text_screen_utf8(const struct text_screen *t)
{
	char *text = malloc(((size_t)t->cols * 4 + 1) * t->rows + 1), *p = text;

	if (!text)
		return NULL;
	for (unsigned y = 0; y < t->rows; y++) {
		const struct text_cell *row = t->cells + (size_t)y * t->cols;
		unsigned len = t->cols;

		while (len && (row[len - 1].ch == ' ' || !row[len - 1].ch))
			len--;
		for (unsigned x = 0; x < len; x++)
			p = put_utf8(p, row[x].ch ? row[x].ch : ' ');
		*p++ = '\n';
	}
	*p = '\0';
	return text;
}
