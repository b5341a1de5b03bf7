/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Buffers and pixel formats of RFB (RFC 6143, 7.4). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/display/vnc_enc.h"

void vnc_buf_fini(struct vnc_buf *b)
{
	free(b->data);
	*b = (struct vnc_buf){ .data = NULL };
}

uint8_t *vnc_buf_room(struct vnc_buf *b, size_t n)
{
	if (n > b->cap - b->len) {
		size_t cap = align_up(b->len + n + b->cap / 2, 4096);
		uint8_t *more = realloc(b->data, cap);

		if (!more) {
			b->failed = true;
			return NULL;
		}
		b->data = more;
		b->cap = cap;
	}
	return b->data + b->len;
}

void vnc_put(struct vnc_buf *b, const void *data, size_t n)
{
	uint8_t *p = vnc_buf_room(b, n);

	if (!p || !n)
		return;
	memcpy(p, data, n);
	b->len += n;
}

void vnc_put_u8(struct vnc_buf *b, uint8_t v)
{
	vnc_put(b, &v, 1);
}

void vnc_put_u16(struct vnc_buf *b, uint16_t v)
{
	uint8_t p[2];

	st_be16(p, v);
	vnc_put(b, p, 2);
}

void vnc_put_u32(struct vnc_buf *b, uint32_t v)
{
	uint8_t p[4];

	st_be32(p, v);
	vnc_put(b, p, 4);
}

void vnc_put_rect_header(struct vnc_buf *b, unsigned x, unsigned y, unsigned w, unsigned h,
			 int32_t encoding)
{
	vnc_put_u16(b, (uint16_t)x);
	vnc_put_u16(b, (uint16_t)y);
	vnc_put_u16(b, (uint16_t)w);
	vnc_put_u16(b, (uint16_t)h);
	vnc_put_u32(b, (uint32_t)encoding);
}

/* CPIXEL (7.7.5): three bytes where all colours lie in the lower or upper three. */
static void set_compact(struct vnc_format *f)
{
	uint32_t used = 0;

	f->cbytes = f->bytes;
	f->cskip = 0;
	if (f->bpp != 32 || f->depth > 24)
		return;
	for (unsigned c = 0; c < 3; c++)
		used |= (uint32_t)f->max[c] << f->shift[c];
	if (!(used & 0xff000000)) {
		f->cbytes = 3;
		f->cskip = f->big_endian ? 1 : 0;
	} else if (!(used & 0xff)) {
		f->cbytes = 3;
		f->cskip = f->big_endian ? 0 : 1;
	}
}

static void set_tables(struct vnc_format *f)
{
	f->bytes = f->bpp / 8;
	for (unsigned c = 0; c < 3; c++) {
		for (unsigned n = 0; n < 256; n++) {
			uint32_t v = (n * f->max[c] + 127) / 255 << f->shift[c];

			if (f->big_endian)
				v = f->bytes == 4 ? __builtin_bswap32(v)
				  : f->bytes == 2 ? __builtin_bswap16((uint16_t)v) : v;
			f->lut[c][n] = v;
		}
	}
	set_compact(f);
	f->rgb24 = f->bpp == 32 && f->depth == 24 && f->max[0] == 255 && f->max[1] == 255 &&
		   f->max[2] == 255;
}

void vnc_format_default(struct vnc_format *f)
{
	*f = (struct vnc_format){
		.bpp = 32, .depth = 24, .max = { 255, 255, 255 }, .shift = { 16, 8, 0 },
	};
	set_tables(f);
}

int vnc_format_parse(struct vnc_format *f, const uint8_t *p)
{
	struct vnc_format n = {
		.bpp = p[0], .depth = p[1], .big_endian = p[2] != 0, .mapped = !p[3],
		.max = { ld_be16(p + 4), ld_be16(p + 6), ld_be16(p + 8) },
		.shift = { p[10], p[11], p[12] },
	};

	if ((n.bpp != 8 && n.bpp != 16 && n.bpp != 32) || n.depth > n.bpp)
		return -EINVAL;
	if (n.mapped) {
		/* A palette of our own: three bits of red and green, two of blue. */
		if (n.bpp != 8)
			return -EINVAL;
		n.max[0] = n.max[1] = 7;
		n.max[2] = 3;
		n.shift[0] = 0;
		n.shift[1] = 3;
		n.shift[2] = 6;
	}
	for (unsigned c = 0; c < 3; c++)
		if (n.shift[c] >= n.bpp || (uint64_t)n.max[c] << n.shift[c] > low_mask(n.bpp))
			return -EINVAL;
	*f = n;
	set_tables(f);
	return 0;
}

void vnc_format_put(const struct vnc_format *f, struct vnc_buf *b)
{
	uint8_t p[VNC_FORMAT_LEN] = { f->bpp, f->depth, f->big_endian, !f->mapped };

	for (unsigned c = 0; c < 3; c++) {
		st_be16(p + 4 + 2 * c, f->max[c]);
		p[10 + c] = f->shift[c];
	}
	vnc_put(b, p, sizeof(p));
}

void vnc_format_put_map(struct vnc_buf *b)
{
	vnc_put_u8(b, 1);
	vnc_put_u8(b, 0);
	vnc_put_u16(b, 0);
	vnc_put_u16(b, 256);
	for (unsigned n = 0; n < 256; n++) {
		vnc_put_u16(b, (uint16_t)((n & 7) * 65535 / 7));
		vnc_put_u16(b, (uint16_t)((n >> 3 & 7) * 65535 / 7));
		vnc_put_u16(b, (uint16_t)((n >> 6) * 65535 / 3));
	}
}
