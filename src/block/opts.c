/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Create options, sizes and what block_info() fills: text in, values out. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/block.h"

const char *block_opt(const struct block_create *c, const char *name)
{
	size_t n = strlen(name);

	/* The last one given counts. */
	for (size_t i = c->nopts; i-- > 0;)
		if (strncmp(c->opts[i], name, n) == 0 && c->opts[i][n] == '=')
			return c->opts[i] + n + 1;
	return NULL;
}

int block_opt_bool(const struct block_create *c, const char *name, bool *out, struct err *err)
{
	const char *v = block_opt(c, name);

	if (!v)
		return 0;
	if (!strcmp(v, "on") || !strcmp(v, "true") || !strcmp(v, "yes"))
		*out = true;
	else if (!strcmp(v, "off") || !strcmp(v, "false") || !strcmp(v, "no"))
		*out = false;
	else
		return err_set(err, -EINVAL, "option %s is on or off, not '%s'", name, v);
	return 0;
}

int block_opt_size(const struct block_create *c, const char *name, uint64_t *out, struct err *err)
{
	const char *v = block_opt(c, name);
	int rc;

	if (!v)
		return 0;
	rc = block_parse_size(v, out, err);
	return rc ? err_prefix(err, rc, "option %s", name) : 0;
}

int block_opt_prealloc(const struct block_create *c, enum block_prealloc *out, struct err *err)
{
	static const char *const names[] = { "off", "metadata", "falloc", "full" };
	const char *v = block_opt(c, "preallocation");

	if (!v)
		return 0;
	for (unsigned i = 0; i < array_size(names); i++) {
		if (!strcmp(v, names[i])) {
			*out = i;
			return 0;
		}
	}
	return err_set(err, -EINVAL,
		       "option preallocation is off, metadata, falloc or full, not '%s'", v);
}

int block_opts_known(const struct block_format_desc *d, const struct block_create *c,
		     struct err *err)
{
	for (size_t i = 0; i < c->nopts; i++) {
		const char *eq = strchr(c->opts[i], '=');
		const struct block_create_opt *o = d->create_opts;
		size_t n = eq ? (size_t)(eq - c->opts[i]) : strlen(c->opts[i]);

		if (!eq)
			return err_set(err, -EINVAL, "option '%s' needs a value: %s=VALUE",
				       c->opts[i], c->opts[i]);
		while (o && o->name && (strlen(o->name) != n || strncmp(o->name, c->opts[i], n)))
			o++;
		if (!o || !o->name)
			return err_set(err, -EINVAL, "format %s has no option '%.*s'", d->name,
				       (int)n, c->opts[i]);
	}
	return 0;
}

int block_parse_size(const char *text, uint64_t *out, struct err *err)
{
	static const char units[] = "kmgtpe";
	unsigned shift = 0;
	const char *u;
	long double v;
	char *end;

	errno = 0;
	if (*text < '0' || *text > '9')
		return err_set(err, -EINVAL,
			       "'%s' is not a size; write a number with an optional unit, as in "
			       "512M, 10G or 1.5T", text);
	v = strtold(text, &end);
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return err_set(err, -EINVAL, "'%s' is not a decimal size", text);
	if (*end) {
		char c = *end | 0x20;

		u = c ? strchr(units, c) : NULL;
		if (c == 'b' && !end[1])
			end++;
		else if (u) {
			shift = 10 * (unsigned)(u - units + 1);
			end++;
			if (!strcmp(end, "iB") || !strcmp(end, "B"))
				end = (char *)"";
			else if (!strcmp(end, "i"))
				end++;
		}
		if (*end)
			return err_set(err, -EINVAL,
				       "'%s' is not a size; units are k, M, G, T, P and E", text);
	}
	v *= (long double)(1ULL << shift);
	if (errno || v > (long double)BLOCK_MAX_BYTES)
		return err_set(err, -EFBIG, "size '%s' is more than any image can hold", text);
	if (v != floorl(v))
		return err_set(err, -EINVAL, "size '%s' is not a whole number of bytes", text);
	*out = (uint64_t)v;
	return 0;
}

static void note(struct block_info *i, const char *key, bool num, const char *fmt, va_list ap)
{
	if (i->nnotes == BLOCK_INFO_MAX_NOTES)
		return;
	snprintf(i->notes[i->nnotes].key, sizeof(i->notes[0].key), "%s", key);
	vsnprintf(i->notes[i->nnotes].val, sizeof(i->notes[0].val), fmt, ap);
	i->notes[i->nnotes++].is_number = num;
}

void block_info_note(struct block_info *i, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(i, key, false, fmt, ap);
	va_end(ap);
}

static void note_num(struct block_info *i, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(i, key, true, fmt, ap);
	va_end(ap);
}

void block_info_note_num(struct block_info *i, const char *key, uint64_t v)
{
	note_num(i, key, "%" PRIu64, v);
}

void block_info_fini(struct block_info *i)
{
	free(i->snapshots);
	free(i->bitmaps);
	memset(i, 0, sizeof(*i));
}
