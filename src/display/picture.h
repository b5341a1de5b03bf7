/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pictures of a surface: PNG (W3C's Portable Network Graphics, second edition) and
 * binary PPM. */
#ifndef BOTHY_DISPLAY_PICTURE_H
#define BOTHY_DISPLAY_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

enum picture_format { PICTURE_PPM, PICTURE_PNG };

/* Encodes @width * @height pixels (0x..RRGGBB). *buf is the caller's to free. -EINVAL
 * for an empty picture, -ENOMEM. */
int must_check picture_encode(enum picture_format f, const uint32_t *pixels, unsigned width,
			      unsigned height, uint8_t **buf, size_t *len);

/* Puts it into a file, whole or not at all: what stood there under that name stays
 * until the new picture is complete. */
int must_check picture_write(enum picture_format f, const uint32_t *pixels, unsigned width,
			     unsigned height, const char *path, struct err *err);

#endif
