/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "src/base/bits.h"

static const char units[] = "KMGT";

/* Digits at *p; -ERANGE past 64 bits, -EINVAL if there are none. */
static int digits(const char **p, uint64_t *value)
{
	const char *start = *p;
	uint64_t v = 0;

	for (; isdigit((unsigned char)**p); (*p)++) {
		unsigned d = (unsigned)(**p - '0');

		if (v > (UINT64_MAX - d) / 10)
			return -ERANGE;
		v = v * 10 + d;
	}
	*value = v;
	return *p == start ? -EINVAL : 0;
}

int parse_uint(const char *text, uint64_t *value, struct err *err)
{
	const char *p = text;
	int ret = digits(&p, value);

	if (ret == -ERANGE)
		return err_set(err, ret, "'%s' is too large a number", text);
	if (ret < 0 || *p)
		return err_set(err, -EINVAL, "'%s' is not a whole number", text);
	return 0;
}

/* The unit's size for "", "K", "KB", "KiB" ...; 0 for none that we know. */
static uint64_t unit_of(const char *s, uint64_t unit_bytes)
{
	const char *u;

	if (!*s)
		return unit_bytes;
	if (!strcasecmp(s, "B"))
		return 1;
	u = strchr(units, toupper((unsigned char)*s));
	if (!u || (s[1] && strcasecmp(s + 1, "B") && strcasecmp(s + 1, "iB")))
		return 0;
	return 1024ull << (10 * (u - units));
}

int parse_size(const char *text, uint64_t unit_bytes, uint64_t *bytes, struct err *err)
{
	const char *p = text;
	uint64_t whole, part = 0, scale = 1, unit;
	int ret = digits(&p, &whole);

	if (ret == 0 && *p == '.') {
		const char *frac = ++p;

		ret = digits(&p, &part);
		if (p - frac > 6)
			ret = -EINVAL;
		for (; frac < p; frac++)
			scale *= 10;
	}
	if (ret == -ERANGE)
		return err_set(err, ret, "'%s' is too large a size", text);
	if (ret < 0)
		return err_set(err, ret, "'%s' is not a size; write a number with K, M, G or T, "
			       "as in 512M or 4G", text);
	unit = unit_of(p, unit_bytes);
	if (!unit)
		return err_set(err, -EINVAL, "'%s' has an unknown unit '%s'; use K, M, G or T, as "
			       "in 512M or 4G", text, p);
	if (whole > UINT64_MAX / unit / 2)
		return err_set(err, -ERANGE, "'%s' is too large a size", text);
	*bytes = whole * unit + (uint64_t)((unsigned __int128)part * unit / scale);
	return 0;
}

const char *format_size(uint64_t bytes, char *buf, size_t len)
{
	int u = -1;

	while (bytes && bytes % 1024 == 0 && u < 3) {
		bytes /= 1024;
		u++;
	}
	if (u < 0)
		snprintf(buf, len, "%" PRIu64 " bytes", bytes);
	else
		snprintf(buf, len, "%" PRIu64 " %ciB", bytes, units[u]);
	return buf;
}
