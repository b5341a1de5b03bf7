/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a machine shows. A display device draws into a surface; viewers (VNC, pictures
 * of the screen) look at it. The list of a machine's surfaces is a struct screens.
 *
 * Drawing happens on demand: a viewer calls surface_refresh(), the device brings the
 * pixels up to date and reports what changed, and the surface tells its listeners.
 * Everything is under the device lock.
 */
#ifndef BOTHY_DISPLAY_SURFACE_H
#define BOTHY_DISPLAY_SURFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

#define SURFACE_WIDTH_MAX 8192u
#define SURFACE_HEIGHT_MAX 8192u

struct surface;

struct rect { /* pixels; w and h at least 1 */
	unsigned x, y, w, h;
};

/* One character of a text screen. */
struct text_cell {
	uint32_t ch;  /* Unicode; the PC's code page 437 for what a PC draws */
	uint8_t attr; /* as in VGA text memory: blink, background, foreground */
};

struct text_screen {
	unsigned cols, rows;
	bool cursor_on;
	unsigned cursor_col, cursor_row;
	struct text_cell *cells; /* cols * rows, row by row; text_screen_fini() frees */
};

void text_screen_fini(struct text_screen *t);
/* Rows as UTF-8, blanks at the ends of lines removed, a newline behind each row. NULL
 * without memory; else free() it. */
char *text_screen_utf8(const struct text_screen *t);
/* The character that byte @c draws in code page 437. */
uint32_t cp437_to_unicode(uint8_t c);

/* The device's side. Both may be NULL. */
struct surface_ops {
	/* Brings size and pixels up to date, by surface_resize() and surface_dirty(). */
	void (*refresh)(void *dev);
	/* Fills @t from a text mode. 0; -ENOTSUP while the screen shows graphics;
	 * -ENOMEM. */
	int (*text)(void *dev, struct text_screen *t);
};

struct surface_listener {
	void (*resized)(void *opaque);
	void (*dirty)(void *opaque, const struct rect *r); /* within the surface */
	void (*gone)(void *opaque); /* the surface ends; forget it */
	void *opaque;
	struct surface_listener *next;
};

struct surface {
	const char *name; /* the device's id; not owned */
	/* 0x..RRGGBB of the host's byte order, width * height, row by row without
	 * gaps. The top byte means nothing. NULL before the first surface_resize(). */
	uint32_t *pixels;
	unsigned width, height;
	const struct surface_ops *ops;
	void *dev;
	struct surface_listener *listeners;
	struct surface *next; /* in struct screens */
};

/* A machine's surfaces, in the order in which their devices were made. */
struct screens {
	struct surface *first;
	/* A surface came or went: viewers look again. */
	void (*changed)(void *opaque);
	void *opaque;
};

void surface_init(struct surface *s, const char *name, const struct surface_ops *ops, void *dev);
void surface_fini(struct surface *s); /* tells listeners */

/* New size, all black, everything dirty; nothing happens when it has that size. 1..max
 * each; -EINVAL, -ENOMEM (the old size stays). */
int must_check surface_resize(struct surface *s, unsigned width, unsigned height);
/* Tells listeners that the pixels in the rectangle changed; what lies outside is cut. */
void surface_dirty(struct surface *s, unsigned x, unsigned y, unsigned w, unsigned h);
/* Puts a row's pixels where they differ and tells of it. @len pixels at the row's
 * start; what lies outside is cut. Returns whether anything differed. */
bool surface_put_row(struct surface *s, unsigned y, const uint32_t *row, unsigned len);

void surface_listen(struct surface *s, struct surface_listener *l);
void surface_unlisten(struct surface *s, struct surface_listener *l);
void surface_refresh(struct surface *s);

void screens_add(struct screens *list, struct surface *s); /* @list may be NULL */
void screens_del(struct screens *list, struct surface *s);
/* By the device's id; NULL: the first. NULL if there is none. */
struct surface *screens_find(const struct screens *list, const char *name);

#endif
