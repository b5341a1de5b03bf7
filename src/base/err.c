/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return code;
}

int err_prefix(struct err *e, int code, const char *fmt, ...)
{
	char old[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (!e)
		return code;
	memcpy(old, e->text, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	if (old[0])
		snprintf(e->text + n, sizeof(e->text) - n, ": %s", old);
	return code;
}

void err_append(struct err *e, const char *more)
{
	size_t n = e ? strlen(e->text) : 0;

	if (e)
		snprintf(e->text + n, sizeof(e->text) - n, "%s", more);
}
