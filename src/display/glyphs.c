/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/display/glyphs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

#define FILE_MAX (8u << 20)
#define FONT_LEN (256u * 16)

struct glyph_set {
	size_t count, slots; /* slots: a power of two, at least twice the count */
	struct glyph *slot;  /* ch 0: free */
};

static size_t hash(const uint8_t rows[16])
{
	uint64_t h = ld_le64(rows) * 0x9e3779b97f4a7c15ull;

	h = (h ^ h >> 29 ^ ld_le64(rows + 8)) * 0xbf58476d1ce4e5b9ull;
	return (size_t)(h ^ h >> 32);
}

static bool is_blank(const uint8_t rows[16])
{
	return !ld_le64(rows) && !ld_le64(rows + 8);
}

static void insert(struct glyph_set *s, const struct glyph *g)
{
	size_t at = hash(g->rows) & (s->slots - 1);

	while (s->slot[at].ch) {
		if (!memcmp(s->slot[at].rows, g->rows, 16))
			return;
		at = (at + 1) & (s->slots - 1);
	}
	s->slot[at] = *g;
	s->count++;
}

static int grow(struct glyph_set *s, size_t more)
{
	struct glyph *old = s->slot;
	size_t slots = s->slots, n = s->slots ? s->slots : 1024;

	while (n < 2 * (s->count + more))
		n *= 2;
	if (n == slots)
		return 0;
	s->slot = calloc(n, sizeof(*s->slot));
	if (!s->slot) {
		s->slot = old;
		return -ENOMEM;
	}
	s->slots = n;
	s->count = 0;
	for (size_t k = 0; k < slots; k++)
		if (old[k].ch)
			insert(s, &old[k]);
	free(old);
	return 0;
}

static int add(struct glyph_set *s, const struct glyph *g, size_t count)
{
	if (grow(s, count) < 0)
		return -ENOMEM;
	for (size_t n = 0; n < count; n++)
		if (g[n].ch && !is_blank(g[n].rows))
			insert(s, &g[n]);
	return 0;
}

uint32_t glyph_find(const struct glyph_set *s, const uint8_t rows[16])
{
	size_t at = hash(rows) & (s->slots - 1);

	for (; s->slot[at].ch; at = (at + 1) & (s->slots - 1))
		if (!memcmp(s->slot[at].rows, rows, 16))
			return s->slot[at].ch;
	return 0;
}

/* FNV-1a; tools/uefi_font.py computes the same. */
static uint64_t glyph_hash(const uint8_t rows[UEFI_GLYPH_ROWS])
{
	uint64_t h = 0xcbf29ce484222325;

	for (unsigned n = 0; n < UEFI_GLYPH_ROWS; n++)
		h = (h ^ rows[n]) * 0x100000001b3;
	return h;
}

uint32_t glyph_find_uefi(const uint8_t rows[UEFI_GLYPH_ROWS])
{
	static const struct {
		uint64_t hash;
		uint32_t ch;
	} table[] = {
#define UEFI_GLYPH(hash, ch) { hash, ch },
#include "src/display/uefi_font.def"
#undef UEFI_GLYPH
	};
	uint64_t h = glyph_hash(rows);
	size_t from = 0, to = array_size(table);

	while (from < to) {
		size_t mid = (from + to) / 2;

		if (table[mid].hash == h)
			return table[mid].ch;
		if (table[mid].hash < h)
			from = mid + 1;
		else
			to = mid;
	}
	return 0;
}

/*
 * Likeness: the same strokes, wider or narrower or a dot aside. A glyph's columns
 * without blank ones and without repetitions.
 */
#define LIKENESS_MAX 3 /* dots that may differ */

static unsigned strokes(const uint8_t rows[16], uint16_t cols[8])
{
	unsigned n = 0;

	for (unsigned x = 0; x < 8; x++) {
		uint16_t c = 0;

		for (unsigned y = 0; y < 16; y++)
			c = (uint16_t)(c | (rows[y] >> (7 - x) & 1) << y);
		if (c && (!n || c != cols[n - 1]))
			cols[n++] = c;
	}
	return n;
}

uint32_t glyph_nearest(const struct glyph_set *s, const uint8_t rows[16])
{
	uint16_t a[8], b[8];
	unsigned n = strokes(rows, a);
	int best = LIKENESS_MAX + 1;
	uint32_t ch = 0;

	for (size_t k = 0; k < s->slots; k++) {
		const struct glyph *g = &s->slot[k];
		int d = 0;

		if (g->ch <= ' ' || g->ch > '~' || strokes(g->rows, b) != n)
			continue;
		for (unsigned c = 0; c < n; c++)
			d += __builtin_popcount(a[c] ^ b[c]);
		if (d < best) {
			best = d;
			ch = g->ch;
		} else if (d == best && ch != g->ch) {
			ch = 0;
		}
	}
	return ch;
}

/*
 * Fonts.
 */

/* Glyph 0 is blank and glyph 1 is a face: what a font of code page 437 begins with. */
const uint8_t *glyphs_in_rom(const uint8_t *rom, size_t len)
{
	static const uint8_t start[32] = {
		[18] = 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e,
	};
	const uint8_t *p = memmem(rom, len, start, sizeof(start));

	return p && (size_t)(rom + len - p) >= FONT_LEN ? p : NULL;
}

/* Letters that Linux's console draws in a way that no likeness catches. */
static const struct glyph console_glyphs[] = {
	{ { [2] = 0x7e, 0x7e, 0x5a, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x3c }, 'T' },
	{ { [2] = 0xc6, 0xc6, 0x6c, 0x7c, 0x38, 0x38, 0x7c, 0x6c, 0xc6, 0xc6 }, 'X' },
	{ { [2] = 0x66, 0x66, 0x66, 0x66, 0x3c, 0x18, 0x18, 0x18, 0x18, 0x3c }, 'Y' },
	{ { [2] = 0xfe, 0xc6, 0x86, 0x0c, 0x18, 0x30, 0x60, 0xc2, 0xc6, 0xfe }, 'Z' },
	{ { [1] = 0x30, 0x18, 0x0c }, '`' },
	{ { [5] = 0xc6, 0xc6, 0xc6, 0xc6, 0xc6, 0x6c, 0x38 }, 'v' },
	{ { [1] = 0x76, 0xdc }, '~' },
};

static int add_pc_font(struct glyph_set *s, const uint8_t *font)
{
	struct glyph g[256];

	/* ASCII first: of glyphs that look alike it is what was meant. */
	for (unsigned n = 0; n < 256; n++) {
		unsigned c = (n + ' ') & 255;

		memcpy(g[n].rows, font + c * 16, 16);
		g[n].ch = cp437_to_unicode((uint8_t)c);
	}
	return add(s, g, 256);
}

/* A section of a PFF2 file: four letters, a length, data. */
static const uint8_t *section(const uint8_t *data, size_t len, const char *name, size_t *out)
{
	for (size_t at = 0; at + 8 <= len;) {
		uint32_t n = ld_be32(data + at + 4);

		if (!memcmp(data + at, name, 4) && n <= len - at - 8) {
			*out = n;
			return data + at + 8;
		}
		if (!memcmp(data + at, "DATA", 4) || n > len - at - 8)
			return NULL;
		at += 8 + n;
	}
	return NULL;
}

/* One glyph's bitmap into a cell: its offset counts from the baseline up. */
static bool put_pf2(struct glyph *g, const uint8_t *p, size_t len, unsigned ascent)
{
	unsigned w, h, bit = 0;
	int x, y;

	if (len < 10)
		return false;
	w = ld_be16(p);
	h = ld_be16(p + 2);
	x = (int16_t)ld_be16(p + 4);
	y = (int)ascent - (int16_t)ld_be16(p + 6) - (int)h;
	if (ld_be16(p + 8) != 8 || x < 0 || y < 0 || x + w > 8 || (unsigned)y + h > 16 ||
	    ((size_t)w * h + 7) / 8 > len - 10)
		return false;
	memset(g->rows, 0, 16);
	for (unsigned r = 0; r < h; r++)
		for (unsigned c = 0; c < w; c++, bit++)
			if (p[10 + bit / 8] >> (7 - bit % 8) & 1)
				g->rows[(unsigned)y + r] |= (uint8_t)(0x80 >> ((unsigned)x + c));
	return true;
}

int glyphs_of_pf2(const uint8_t *data, size_t len, struct glyph **out)
{
	size_t index_len = 0, n;
	const uint8_t *index = section(data, len, "CHIX", &index_len);
	const uint8_t *asce = section(data, len, "ASCE", &n);
	int count = 0;

	*out = NULL;
	if (len < 12 || memcmp(data, "FILE\0\0\0\4PFF2", 12) || !index || !asce || n != 2)
		return -EINVAL;
	*out = calloc(index_len / 9 + 1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	for (const uint8_t *p = index; p + 9 <= index + index_len; p += 9) {
		uint32_t at = ld_be32(p + 5);
		struct glyph *g = *out + count;

		g->ch = ld_be32(p);
		if (p[4] == 0 && at < len && put_pf2(g, data + at, len - at, ld_be16(asce)))
			count++;
	}
	return count;
}

static uint8_t *read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	uint8_t *data = f ? malloc(FILE_MAX) : NULL;

	*len = data ? fread(data, 1, FILE_MAX, f) : 0;
	if (f)
		fclose(f);
	return data;
}

struct glyph_set *glyph_set_from(const struct glyph *g, size_t count)
{
	struct glyph_set *s = calloc(1, sizeof(*s));

	if (s && add(s, g, count) == 0)
		return s;
	glyph_set_free(s);
	return NULL;
}

struct glyph_set *glyph_set_new(void)
{
	static const char *const roms[] = {
		"/usr/share/seabios/vgabios-stdvga.bin", "/usr/share/qemu/vgabios-stdvga.bin",
	};
	static const char *const fonts[] = {
		"/usr/share/grub/unicode.pf2", "/usr/share/grub2/unicode.pf2",
	};
	struct glyph_set *s = glyph_set_from(NULL, 0);
	struct glyph *g;
	size_t len;
	uint8_t *data;
	int n;

	for (size_t k = 0; s && !s->count && k < array_size(roms); k++) {
		data = read_file(roms[k], &len);
		if (data && glyphs_in_rom(data, len) &&
		    add_pc_font(s, glyphs_in_rom(data, len)) < 0)
			s->count = 0;
		free(data);
	}
	if (s && s->count && add(s, console_glyphs, array_size(console_glyphs)) < 0)
		s->count = 0;
	for (size_t k = 0; s && k < array_size(fonts); k++) {
		data = read_file(fonts[k], &len);
		n = data ? glyphs_of_pf2(data, len, &g) : 0;
		if (n > 0 && add(s, g, (size_t)n) < 0)
			n = 0;
		if (data)
			free(g);
		free(data);
	}
	return s;
}

void glyph_set_free(struct glyph_set *s)
{
	if (!s)
		return;
	free(s->slot);
	free(s);
}
