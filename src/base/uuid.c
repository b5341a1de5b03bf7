/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int is_dash_at(unsigned n)
{
	return n == 8 || n == 13 || n == 18 || n == 23;
}

int uuid_parse(const char *text, uint8_t uuid[16], struct err *err)
{
	unsigned nibble = 0;

	for (unsigned n = 0; n < UUID_TEXT - 1; n++) {
		int d = text[n] ? digit(text[n]) : -1;

		if (is_dash_at(n) ? text[n] != '-' : d < 0)
			return err_set(err, -EINVAL, "'%.100s' is no UUID; one is written "
				       "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, in hexadecimal", text);
		if (is_dash_at(n))
			continue;
		uuid[nibble / 2] = (uint8_t)(nibble & 1 ? uuid[nibble / 2] | d : d << 4);
		nibble++;
	}
	return text[UUID_TEXT - 1] ? err_set(err, -EINVAL, "'%.100s' is longer than a UUID", text) : 0;
}

void uuid_print(const uint8_t uuid[16], char text[UUID_TEXT])
{
	for (unsigned n = 0, at = 0; n < 16; n++) {
		if (is_dash_at(at))
			text[at++] = '-';
		snprintf(text + at, 3, "%02x", uuid[n]);
		at += 2;
	}
}

/* 4.1, 4.2: which variant, which version. */
static void mark(uint8_t uuid[16], unsigned version)
{
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | version << 4);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

int uuid_random(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		return -EIO;
	mark(uuid, 4);
	return 0;
}

void uuid_of_text(const char *text, uint8_t uuid[16])
{
	/* FNV-1a of 128 bits. */
	const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
	unsigned __int128 h = (unsigned __int128)0x6c62272e07bb0142ull << 64 | 0x62b821756295c58dull;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * prime;
	for (unsigned n = 0; n < 16; n++)
		uuid[n] = (uint8_t)(h >> (8 * (15 - n)));
	mark(uuid, 8);
}
