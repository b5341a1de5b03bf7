/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors on their way to a person.
 *
 * Inside, a function returns 0 or -errno. Where the failure will be read by a
 * person its last argument is a struct err *: the layer that fails says what
 * failed, why, and what to do; each layer above adds its own sentence in front.
 */
#ifndef BOTHY_BASE_ERR_H
#define BOTHY_BASE_ERR_H

#include <stdbool.h>

#define must_check __attribute__((warn_unused_result))

struct err {
	char text[1024]; /* "" while nothing failed */
};

/* Sets the text, replacing any. e may be NULL. Returns @code (a negative errno)
 * so that a caller can write `return err_set(e, -ENOENT, "...")`. */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "<text>: " in front of what is there. Returns @code. e may be NULL. */
int err_prefix(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts @more behind what is there: what to do. e may be NULL. */
void err_append(struct err *e, const char *more);

static inline bool err_is_set(const struct err *e)
{
	return e->text[0] != '\0';
}

#endif
