/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/acpi/aml.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

void aml_fini(struct aml *a)
{
	free(a->data);
	*a = (struct aml){ 0 };
}

void aml_bytes(struct aml *a, const void *p, size_t len)
{
	if (a->failed)
		return;
	if (len > a->cap - a->len) {
		size_t cap = max_of(a->cap * 2, a->len + len + 1024);
		uint8_t *data = realloc(a->data, cap);

		if (!data) {
			a->failed = true;
			return;
		}
		a->data = data;
		a->cap = cap;
	}
	memcpy(a->data + a->len, p, len);
	a->len += len;
}

void aml_op(struct aml *a, uint8_t op)
{
	aml_bytes(a, &op, 1);
}

void aml_ext_op(struct aml *a, uint8_t op)
{
	aml_op(a, 0x5b);
	aml_op(a, op);
}

/*
 * Names (20.2.2): root and parent prefixes, then segments of four characters.
 */
static void segment(struct aml *a, const char *s, size_t len)
{
	char seg[4] = { '_', '_', '_', '_' };

	if (len == 0 || len > 4) {
		a->failed = true;
		return;
	}
	memcpy(seg, s, len);
	aml_bytes(a, seg, 4);
}

void aml_ref(struct aml *a, const char *name)
{
	size_t segments;

	while (*name == '\\' || *name == '^')
		aml_op(a, (uint8_t)*name++);
	segments = *name != '\0';
	for (const char *p = name; *p; p++)
		segments += *p == '.';
	if (segments == 0) {
		aml_op(a, 0x00);
	} else if (segments == 2) {
		aml_op(a, 0x2e);
	} else if (segments > 2) {
		aml_op(a, 0x2f);
		aml_op(a, (uint8_t)segments);
	}
	while (*name) {
		size_t len = strcspn(name, ".");

		segment(a, name, len);
		name += len + (name[len] == '.');
	}
}

/*
 * Packages. begin leaves one byte for the length; end makes room for more if that is
 * not enough (20.2.4).
 */
static size_t package_begin(struct aml *a)
{
	aml_op(a, 0);
	return a->len;
}

static void insert(struct aml *a, size_t at, const uint8_t *p, size_t len)
{
	static const uint8_t filler[4];

	aml_bytes(a, filler, len);
	if (a->failed)
		return;
	memmove(a->data + at + len, a->data + at, a->len - len - at);
	memcpy(a->data + at, p, len);
}

void aml_end(struct aml *a, size_t begin)
{
	size_t body = a->len - begin, total;
	uint8_t more[3];
	unsigned extra;

	if (a->failed)
		return;
	if (body + 1 < 0x40) {
		a->data[begin - 1] = (uint8_t)(body + 1);
		return;
	}
	for (extra = 1; extra < 3 && body + 1 + extra >= 1u << (4 + 8 * extra); extra++)
		;
	total = body + 1 + extra;
	if (total >= 1u << 28) {
		a->failed = true;
		return;
	}
	a->data[begin - 1] = (uint8_t)(extra << 6 | (total & 0xf));
	for (unsigned n = 0; n < extra; n++)
		more[n] = (uint8_t)(total >> (4 + 8 * n));
	insert(a, begin, more, extra);
}

size_t aml_scope_begin(struct aml *a, const char *name)
{
	size_t begin;

	aml_op(a, 0x10);
	begin = package_begin(a);
	aml_ref(a, name);
	return begin;
}

size_t aml_device_begin(struct aml *a, const char *name)
{
	size_t begin;

	aml_ext_op(a, 0x82);
	begin = package_begin(a);
	aml_ref(a, name);
	return begin;
}

size_t aml_method_begin(struct aml *a, const char *name, unsigned args, bool serialized)
{
	size_t begin;

	aml_op(a, 0x14);
	begin = package_begin(a);
	aml_ref(a, name);
	aml_op(a, (uint8_t)((args & 7) | serialized << 3));
	return begin;
}

size_t aml_if_begin(struct aml *a)
{
	aml_op(a, 0xa0);
	return package_begin(a);
}

size_t aml_else_begin(struct aml *a)
{
	aml_op(a, 0xa1);
	return package_begin(a);
}

size_t aml_while_begin(struct aml *a)
{
	aml_op(a, 0xa2);
	return package_begin(a);
}

size_t aml_package_begin(struct aml *a, unsigned elements)
{
	size_t begin;

	if (elements > 255)
		a->failed = true;
	aml_op(a, 0x12);
	begin = package_begin(a);
	aml_op(a, (uint8_t)elements);
	return begin;
}

size_t aml_field_begin(struct aml *a, const char *region, uint8_t flags)
{
	size_t begin;

	aml_ext_op(a, 0x81);
	begin = package_begin(a);
	aml_ref(a, region);
	aml_op(a, flags);
	return begin;
}

static void package_length(struct aml *a, size_t len)
{
	uint8_t b[4];
	unsigned extra = 0;

	if (len < 0x40) {
		aml_op(a, (uint8_t)len);
		return;
	}
	while (len >= 1u << (4 + 8 * extra) && extra < 3)
		extra++;
	b[0] = (uint8_t)(extra << 6 | (len & 0xf));
	for (unsigned n = 0; n < extra; n++)
		b[n + 1] = (uint8_t)(len >> (4 + 8 * n));
	aml_bytes(a, b, extra + 1);
}

void aml_field_unit(struct aml *a, const char *name, unsigned bits)
{
	if (name)
		segment(a, name, strlen(name));
	else
		aml_op(a, 0x00);
	package_length(a, bits);
}

/*
 * Data.
 */
void aml_name(struct aml *a, const char *name)
{
	aml_op(a, 0x08);
	aml_ref(a, name);
}

void aml_int(struct aml *a, uint64_t v)
{
	if (v < 2) {
		aml_op(a, (uint8_t)v);
	} else if (v <= 0xff) {
		aml_op(a, 0x0a);
		aml_bytes(a, &v, 1);
	} else if (v <= 0xffff) {
		aml_op(a, 0x0b);
		aml_bytes(a, &v, 2);
	} else if (v <= 0xffffffff) {
		aml_op(a, 0x0c);
		aml_bytes(a, &v, 4);
	} else {
		aml_op(a, 0x0e);
		aml_bytes(a, &v, 8);
	}
}

void aml_string(struct aml *a, const char *s)
{
	aml_op(a, 0x0d);
	aml_bytes(a, s, strlen(s) + 1);
}

void aml_buffer(struct aml *a, const void *p, size_t len)
{
	size_t begin;

	aml_op(a, 0x11);
	begin = package_begin(a);
	aml_int(a, len);
	aml_bytes(a, p, len);
	aml_end(a, begin);
}

/* A compressed EISA ID (19.3.4): three letters of five bits, four hex digits; the
 * bytes big-endian in a dword. */
void aml_eisaid(struct aml *a, const char *id)
{
	uint32_t v;

	if (strlen(id) != 7) {
		a->failed = true;
		return;
	}
	v = (uint32_t)((id[0] - 0x40) & 31) << 26 | (uint32_t)((id[1] - 0x40) & 31) << 21 |
	    (uint32_t)((id[2] - 0x40) & 31) << 16 | (uint32_t)strtoul(id + 3, NULL, 16);
	v = __builtin_bswap32(v);
	aml_op(a, 0x0c);
	aml_bytes(a, &v, 4);
}

void aml_uuid(struct aml *a, const char *uuid)
{
	/* Where each byte's digits stand: ToUUID (19.6.142). */
	static const uint8_t at[16] = { 6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34 };
	uint8_t b[16];

	if (strlen(uuid) != 36) {
		a->failed = true;
		return;
	}
	for (unsigned n = 0; n < 16; n++) {
		char digits[3] = { uuid[at[n]], uuid[at[n] + 1], '\0' };

		b[n] = (uint8_t)strtoul(digits, NULL, 16);
	}
	aml_buffer(a, b, sizeof(b));
}

void aml_region(struct aml *a, const char *name, uint8_t space, uint64_t off, uint64_t len)
{
	aml_ext_op(a, 0x80);
	aml_ref(a, name);
	aml_op(a, space);
	aml_int(a, off);
	aml_int(a, len);
}

/*
 * Resources (6.4). The buffer's length is known at the end only: it is put there as
 * a word of fixed size.
 */
size_t aml_resources_begin(struct aml *a)
{
	size_t begin;

	aml_op(a, 0x11);
	begin = package_begin(a);
	aml_bytes(a, (const uint8_t[]){ 0x0b, 0, 0 }, 3);
	return begin;
}

void aml_resources_end(struct aml *a, size_t begin)
{
	aml_bytes(a, (const uint8_t[]){ 0x79, 0 }, 2); /* end tag, checksum not used */
	if (!a->failed)
		st_le16(a->data + begin + 1, (uint16_t)(a->len - begin - 3));
	aml_end(a, begin);
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t len)
{
	uint8_t d[8] = { 0x47, 0x01, 0, 0, 0, 0, 0x01, len };

	st_le16(d + 2, base);
	st_le16(d + 4, base);
	aml_bytes(a, d, sizeof(d));
}

void aml_res_irq(struct aml *a, unsigned irq)
{
	uint8_t d[3] = { 0x22, 0, 0 };

	st_le16(d + 1, (uint16_t)(1u << irq));
	aml_bytes(a, d, sizeof(d));
}

void aml_res_dma(struct aml *a, unsigned channel)
{
	uint8_t d[3] = { 0x2a, (uint8_t)(1u << channel), 0 };

	aml_bytes(a, d, sizeof(d));
}

void aml_res_memory32(struct aml *a, bool writable, uint32_t base, uint32_t len)
{
	uint8_t d[12] = { 0x86, 9, 0, writable };

	st_le32(d + 4, base);
	st_le32(d + 8, len);
	aml_bytes(a, d, sizeof(d));
}

/* A word address space descriptor, fixed at both ends; @type 1 ports, 2 buses. */
static void word_space(struct aml *a, uint8_t type, uint8_t flags, uint16_t first, uint16_t last)
{
	uint8_t d[16] = { 0x88, 13, 0, type, 0x0c, flags };

	st_le16(d + 8, first);
	st_le16(d + 10, last);
	st_le16(d + 14, (uint16_t)(last - first + 1));
	aml_bytes(a, d, sizeof(d));
}

void aml_res_word_bus(struct aml *a, uint16_t first, uint16_t last)
{
	word_space(a, 2, 0, first, last);
}

void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last)
{
	word_space(a, 1, 3, first, last);
}

void aml_res_memory_window(struct aml *a, uint64_t first, uint64_t last, bool prefetch)
{
	uint8_t flags = 1 | (prefetch ? 3 << 1 : 0); /* read-write; prefetchable or not */

	if (last <= 0xffffffff) {
		uint8_t d[26] = { 0x87, 23, 0, 0, 0x0c, flags };

		st_le32(d + 10, (uint32_t)first);
		st_le32(d + 14, (uint32_t)last);
		st_le32(d + 22, (uint32_t)(last - first + 1));
		aml_bytes(a, d, sizeof(d));
	} else {
		uint8_t d[46] = { 0x8a, 43, 0, 0, 0x0c, flags };

		st_le64(d + 14, first);
		st_le64(d + 22, last);
		st_le64(d + 38, last - first + 1);
		aml_bytes(a, d, sizeof(d));
	}
}
