/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes from a stream, cut into lines of bounded length. Both ends of the
 * control channel read through this. */
#ifndef BOTHY_CTL_LINES_H
#define BOTHY_CTL_LINES_H

#include <stddef.h>

#include "src/base/err.h"

#define LINES_MAX 65536 /* the longest line, with its newline */

struct lines {
	char *buf;
	size_t len; /* bytes that wait for their newline */
};

void lines_init(struct lines *l);
void lines_fini(struct lines *l);

/* Takes @n bytes and calls fn for every whole line, NUL-terminated, without its
 * newline (a CR before it goes too). -E2BIG once a line is longer than
 * LINES_MAX (what waited is dropped), -ENOMEM, or what fn returned if not 0;
 * the rest of the bytes is dropped then. */
int must_check lines_feed(struct lines *l, const char *data, size_t n,
			  int (*fn)(void *opaque, char *line, size_t len), void *opaque);

#endif
