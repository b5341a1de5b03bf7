/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Characters by the shapes that fonts give them; see screen_text.h. */
#ifndef BOTHY_DISPLAY_GLYPHS_H
#define BOTHY_DISPLAY_GLYPHS_H

#include "src/display/screen_text.h"

/* The character of that shape, 0 none. Where fonts draw several alike, the one that
 * was added first. */
uint32_t glyph_find(const struct glyph_set *set, const uint8_t rows[16]);

/* The ASCII character with the same strokes, wider or narrower or aside, but for few dots;
 * 0 if there is none, or two are as near. Fonts of one family draw a few letters their own
 * way. */
uint32_t glyph_nearest(const struct glyph_set *set, const uint8_t rows[16]);

/* The same for a shape of UEFI's console font, 8 x 19 dots; 0 none. The font is known by
 * fingerprints: tools/uefi_font.py makes them from OVMF. */
#define UEFI_GLYPH_ROWS 19u
uint32_t glyph_find_uefi(const uint8_t rows[UEFI_GLYPH_ROWS]);

/* A PC's font of 256 glyphs within an option ROM: NULL if there is none. */
const uint8_t *glyphs_in_rom(const uint8_t *rom, size_t len);
/* Glyphs of a PFF2 font (GRUB's format) that fit a cell of 8 x 16; how many, or
 * -EINVAL, -ENOMEM. */
int must_check glyphs_of_pf2(const uint8_t *data, size_t len, struct glyph **out);

#endif
