/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ctl/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lines_init(struct lines *l)
{
	l->buf = NULL;
	l->len = 0;
}

void lines_fini(struct lines *l)
{
	free(l->buf);
	lines_init(l);
}

int lines_feed(struct lines *l, const char *data, size_t n,
	       int (*fn)(void *opaque, char *line, size_t len), void *opaque)
{
	if (!l->buf) {
		l->buf = malloc(LINES_MAX + 1);
		if (!l->buf)
			return -ENOMEM;
	}
	while (n) {
		const char *nl = memchr(data, '\n', n);
		size_t part = nl ? (size_t)(nl - data) : n, len;
		int ret;

		if (part > LINES_MAX - 1 - l->len) {
			l->len = 0;
			return -E2BIG;
		}
		memcpy(l->buf + l->len, data, part);
		l->len += part;
		if (!nl)
			return 0;
		data += part + 1;
		n -= part + 1;
		len = l->len;
		if (len && l->buf[len - 1] == '\r')
			len--;
		l->buf[len] = '\0';
		l->len = 0;
		ret = fn(opaque, l->buf, len);
		if (ret)
			return ret;
	}
	return 0;
}
