/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The characters on a screen: from a text mode as they stand in video memory, from
 * graphics by the shapes of known fonts (the VGA's 8x16 font, which Linux draws with
 * on its framebuffer consoles; GRUB's; the 8x19 font of UEFI's console).
 */
#ifndef BOTHY_DISPLAY_SCREEN_TEXT_H
#define BOTHY_DISPLAY_SCREEN_TEXT_H

#include <stdbool.h>

#include "src/display/surface.h"

/* Fills @t (text_screen_fini() frees it). *graphics: recognised in a picture. -ENOTSUP:
 * there is nothing that looks like text; -ENOMEM. */
int must_check screen_text(struct surface *s, struct text_screen *t, bool *graphics);

/* A font of 8 x 16 dots. */
struct glyph {
	uint8_t rows[16]; /* bit 7 is the leftmost dot */
	uint32_t ch;      /* Unicode */
};

struct glyph_set;

/* The fonts found on this host: in the VGA's ROM, in GRUB's package. NULL: none, or no
 * memory. */
struct glyph_set *glyph_set_new(void);
/* From glyphs that the caller has (copied). */
struct glyph_set *glyph_set_from(const struct glyph *g, size_t count);
void glyph_set_free(struct glyph_set *set);

/* The same for a picture, with a set of glyphs (NULL: none) and UEFI's font. */
int must_check picture_text(const uint32_t *pixels, unsigned width, unsigned height,
			    const struct glyph_set *set, struct text_screen *t);

#endif
