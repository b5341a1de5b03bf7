/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ctl/gdb/frame.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/bits.h"

int gdb_hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void begin(struct gdb_frame *f)
{
	f->state = GDB_INSIDE;
	f->escaped = f->too_long = false;
	f->sum = 0;
	f->len = 0;
}

void gdb_frame_init(struct gdb_frame *f)
{
	begin(f);
	f->state = GDB_BETWEEN;
}

static enum gdb_in between(struct gdb_frame *f, uint8_t b)
{
	switch (b) {
	case '$':
		begin(f);
		return GDB_IN_NOTHING;
	case '+': return GDB_IN_ACK;
	case '-': return GDB_IN_NAK;
	case 3: return GDB_IN_BREAK;
	default: return GDB_IN_NOTHING;
	}
}

static void inside(struct gdb_frame *f, uint8_t b)
{
	if (b == '$') { /* the one before was cut short */
		begin(f);
		return;
	}
	if (b == '#') {
		f->state = GDB_SUM_HIGH;
		return;
	}
	f->sum = (uint8_t)(f->sum + b);
	if (b == '}' && !f->escaped) {
		f->escaped = true;
		return;
	}
	if (f->len == GDB_PACKET_MAX)
		f->too_long = true;
	else
		f->data[f->len++] = (char)(f->escaped ? b ^ 0x20 : b);
	f->escaped = false;
}

enum gdb_in gdb_frame_byte(struct gdb_frame *f, uint8_t b)
{
	int digit;

	switch (f->state) {
	case GDB_BETWEEN:
		return between(f, b);
	case GDB_INSIDE:
		inside(f, b);
		return GDB_IN_NOTHING;
	default:
		break;
	}
	digit = gdb_hex_digit((char)b);
	if (digit < 0) {
		f->state = GDB_BETWEEN;
		return GDB_IN_BAD;
	}
	f->given = (uint8_t)(f->given << 4 | digit);
	if (f->state == GDB_SUM_HIGH) {
		f->state = GDB_SUM_LOW;
		return GDB_IN_NOTHING;
	}
	f->state = GDB_BETWEEN;
	f->data[f->len] = '\0';
	return f->given == f->sum && !f->too_long ? GDB_IN_PACKET : GDB_IN_BAD;
}

/*
 * Out.
 */
void gdb_reply_begin(struct gdb_reply *r)
{
	r->text[0] = '$';
	r->len = 1;
}

size_t gdb_reply_room(const struct gdb_reply *r)
{
	return 1 + GDB_PACKET_MAX - r->len;
}

void gdb_reply_add(struct gdb_reply *r, const char *fmt, ...)
{
	size_t room = gdb_reply_room(r);
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(r->text + r->len, room + 1, fmt, ap);
	va_end(ap);
	if (n > 0)
		r->len += min_of((size_t)n, room);
}

static const char digits[] = "0123456789abcdef";

void gdb_reply_hex(struct gdb_reply *r, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t n = 0; n < len && gdb_reply_room(r) >= 2; n++) {
		r->text[r->len++] = digits[p[n] >> 4];
		r->text[r->len++] = digits[p[n] & 15];
	}
}

void gdb_reply_binary(struct gdb_reply *r, const void *data, size_t len)
{
	const char *p = data;

	for (size_t n = 0; n < len && gdb_reply_room(r) >= 2; n++) {
		bool escape = p[n] == '#' || p[n] == '$' || p[n] == '}' || p[n] == '*';

		if (escape)
			r->text[r->len++] = '}';
		r->text[r->len++] = (char)(escape ? p[n] ^ 0x20 : p[n]);
	}
}

void gdb_reply_end(struct gdb_reply *r)
{
	uint8_t sum = 0;

	for (size_t n = 1; n < r->len; n++)
		sum = (uint8_t)(sum + (uint8_t)r->text[n]);
	r->text[r->len++] = '#';
	r->text[r->len++] = digits[sum >> 4];
	r->text[r->len++] = digits[sum & 15];
}
