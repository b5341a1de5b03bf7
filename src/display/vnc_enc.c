/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The encodings: Raw (RFC 6143, 7.7.1), Hextile (7.7.4), ZRLE (7.7.6), and Tight with
 * its lossless parts (rfbproto.rst, "Tight Encoding").
 */
#include "src/display/vnc_enc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

#define ZRLE_TILE 64u
#define HEXTILE_TILE 16u
#define TIGHT_MIN 12u /* bytes; less is not compressed */
#define PALETTE_MAX 256u

static uint32_t convert(const struct vnc_format *f, uint32_t rgb)
{
	return f->lut[0][rgb >> 16 & 255] | f->lut[1][rgb >> 8 & 255] | f->lut[2][rgb & 255];
}

/* A pixel as it is sent: its first @f->bytes bytes. */
static uint8_t *put_pixel(const struct vnc_format *f, uint8_t *p, uint32_t rgb)
{
	uint32_t v = convert(f, rgb);

	memcpy(p, &v, f->bytes);
	return p + f->bytes;
}

static uint8_t *put_cpixel(const struct vnc_format *f, uint8_t *p, uint32_t rgb)
{
	uint32_t v = convert(f, rgb);

	memcpy(p, (uint8_t *)&v + f->cskip, f->cbytes);
	return p + f->cbytes;
}

static uint8_t *put_tpixel(const struct vnc_format *f, uint8_t *p, uint32_t rgb)
{
	if (!f->rgb24)
		return put_pixel(f, p, rgb);
	*p++ = (uint8_t)(rgb >> 16);
	*p++ = (uint8_t)(rgb >> 8);
	*p++ = (uint8_t)rgb;
	return p;
}

static unsigned tpixel_bytes(const struct vnc_format *f)
{
	return f->rgb24 ? 3 : f->bytes;
}

/*
 * Colours of a rectangle: at most so many, or "more".
 */
struct palette {
	uint32_t color[PALETTE_MAX];
	unsigned count, max;
	int16_t hash[1024]; /* index + 1 */
};

static unsigned hash_of(uint32_t rgb)
{
	return rgb * 2654435761u >> 22;
}

/* -1: there is no room for it. */
static int palette_index(struct palette *p, uint32_t rgb)
{
	unsigned h = hash_of(rgb);

	while (p->hash[h]) {
		if (p->color[p->hash[h] - 1] == rgb)
			return p->hash[h] - 1;
		h = (h + 1) % array_size(p->hash);
	}
	if (p->count == p->max)
		return -1;
	p->color[p->count++] = rgb;
	p->hash[h] = (int16_t)p->count;
	return (int)p->count - 1;
}

static bool palette_fill(struct palette *p, unsigned max, const uint32_t *pixels, size_t stride,
			 unsigned w, unsigned h)
{
	memset(p->hash, 0, sizeof(p->hash));
	p->count = 0;
	p->max = max;
	for (unsigned y = 0; y < h; y++) {
		const uint32_t *row = pixels + y * stride;
		uint32_t last = ~(row[0] & 0xffffff);

		for (unsigned x = 0; x < w; x++) {
			uint32_t rgb = row[x] & 0xffffff;

			if (rgb != last && palette_index(p, rgb) < 0)
				return false;
			last = rgb;
		}
	}
	return true;
}

/*
 * zlib streams that live as long as the connection.
 */
static int deflate_into(struct vnc_enc *e, unsigned stream, struct vnc_buf *b, const uint8_t *in,
			size_t len)
{
	z_stream *z = &e->z[stream];

	if (!e->z_on[stream]) {
		memset(z, 0, sizeof(*z));
		if (deflateInit(z, e->level ? e->level : 1) != Z_OK)
			return -ENOMEM;
		e->z_on[stream] = true;
	}
	z->next_in = (Bytef *)in;
	z->avail_in = (uInt)len;
	do {
		uint8_t *p = vnc_buf_room(b, 4096 + len / 4);

		if (!p)
			return -ENOMEM;
		z->next_out = p;
		z->avail_out = (uInt)(b->cap - b->len);
		if (deflate(z, Z_SYNC_FLUSH) == Z_STREAM_ERROR)
			return -EIO;
		b->len = (size_t)(z->next_out - b->data);
	} while (z->avail_out == 0);
	return 0;
}

/*
 * Raw and Hextile.
 */
static int enc_raw(struct vnc_enc *e, struct vnc_buf *b, unsigned w, unsigned h,
		   const uint32_t *pixels, size_t stride)
{
	size_t n = (size_t)w * h * e->format.bytes;
	uint8_t *p = vnc_buf_room(b, n);

	if (!p)
		return -ENOMEM;
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++)
			p = put_pixel(&e->format, p, pixels[y * stride + x]);
	b->len += n;
	return 0;
}

#define HEX_RAW 1u
#define HEX_BACKGROUND 2u
#define HEX_SUBRECTS 8u
#define HEX_COLORED 16u

/* Runs of a row that differ from the background, each a coloured subrectangle.
 * Returns the bytes; 0: raw is shorter. */
static size_t hextile_runs(const struct vnc_format *f, uint8_t *out, size_t max, unsigned w,
			   unsigned h, const uint32_t *pixels, size_t stride)
{
	uint32_t bg = pixels[0] & 0xffffff;
	uint8_t *p = out, *count;
	unsigned n = 0;

	*p++ = HEX_BACKGROUND | HEX_SUBRECTS | HEX_COLORED;
	p = put_pixel(f, p, bg);
	count = p++;
	for (unsigned y = 0; y < h; y++) {
		for (unsigned x = 0, run; x < w; x += run) {
			uint32_t rgb = pixels[y * stride + x] & 0xffffff;

			for (run = 1; x + run < w &&
				      (pixels[y * stride + x + run] & 0xffffff) == rgb; run++)
				;
			if (rgb == bg)
				continue;
			if ((size_t)(p - out) + f->bytes + 2 > max || n == 255)
				return 0;
			p = put_pixel(f, p, rgb);
			*p++ = (uint8_t)(x << 4 | y);
			*p++ = (uint8_t)((run - 1) << 4);
			n++;
		}
	}
	*count = (uint8_t)n;
	if (!n) { /* one colour */
		out[0] = HEX_BACKGROUND;
		p--;
	}
	return (size_t)(p - out);
}

static int enc_hextile(struct vnc_enc *e, struct vnc_buf *b, unsigned w, unsigned h,
		       const uint32_t *pixels, size_t stride)
{
	for (unsigned y = 0; y < h; y += HEXTILE_TILE) {
		for (unsigned x = 0; x < w; x += HEXTILE_TILE) {
			unsigned tw = min_of(w - x, HEXTILE_TILE), th = min_of(h - y, HEXTILE_TILE);
			const uint32_t *at = pixels + y * stride + x;
			size_t raw = (size_t)tw * th * e->format.bytes, n;
			uint8_t *p = vnc_buf_room(b, raw + 16);

			if (!p)
				return -ENOMEM;
			n = hextile_runs(&e->format, p, raw + 1, tw, th, at, stride);
			b->len += n;
			if (n)
				continue;
			vnc_put_u8(b, HEX_RAW);
			if (enc_raw(e, b, tw, th, at, stride) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

/*
 * ZRLE: tiles of 64 x 64, all through one stream.
 */
static unsigned index_bits(unsigned colors)
{
	return colors <= 2 ? 1 : colors <= 4 ? 2 : 4;
}

/* Indices of a row from the highest bit on; each row begins a byte. */
static uint8_t *put_packed(uint8_t *p, struct palette *pal, unsigned bits, unsigned w, unsigned h,
			   const uint32_t *pixels, size_t stride)
{
	for (unsigned y = 0; y < h; y++) {
		unsigned have = 0, byte = 0;

		for (unsigned x = 0; x < w; x++) {
			byte = byte << bits |
			       (unsigned)palette_index(pal, pixels[y * stride + x] & 0xffffff);
			have += bits;
			if (have == 8) {
				*p++ = (uint8_t)byte;
				have = byte = 0;
			}
		}
		if (have)
			*p++ = (uint8_t)(byte << (8 - have));
	}
	return p;
}

static uint8_t *zrle_tile(const struct vnc_format *f, uint8_t *p, unsigned w, unsigned h,
			  const uint32_t *pixels, size_t stride)
{
	struct palette pal;

	if (palette_fill(&pal, 16, pixels, stride, w, h)) {
		*p++ = (uint8_t)pal.count; /* 1: solid; 2..16: packed palette */
		for (unsigned n = 0; n < pal.count; n++)
			p = put_cpixel(f, p, pal.color[n]);
		return pal.count == 1 ? p : put_packed(p, &pal, index_bits(pal.count), w, h,
						       pixels, stride);
	}
	*p++ = 0;
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++)
			p = put_cpixel(f, p, pixels[y * stride + x]);
	return p;
}

static int enc_zrle(struct vnc_enc *e, struct vnc_buf *b, unsigned w, unsigned h,
		    const uint32_t *pixels, size_t stride)
{
	size_t at = b->len;
	int ret;

	e->scratch.len = 0;
	for (unsigned y = 0; y < h; y += ZRLE_TILE) {
		for (unsigned x = 0; x < w; x += ZRLE_TILE) {
			unsigned tw = min_of(w - x, ZRLE_TILE), th = min_of(h - y, ZRLE_TILE);
			uint8_t *p = vnc_buf_room(&e->scratch, tw * th * 4 + 128);

			if (!p)
				return -ENOMEM;
			p = zrle_tile(&e->format, p, tw, th, pixels + y * stride + x, stride);
			e->scratch.len = (size_t)(p - e->scratch.data);
		}
	}
	vnc_put_u32(b, 0);
	if (b->failed)
		return -ENOMEM;
	ret = deflate_into(e, VNC_ZRLE_STREAM, b, e->scratch.data, e->scratch.len);
	if (ret == 0)
		st_be32(b->data + at, (uint32_t)(b->len - at - 4));
	return ret;
}

/*
 * Tight.
 */
#define TIGHT_FILL 0x80u
#define TIGHT_FILTER 0x40u /* a filter byte follows */
#define TIGHT_PALETTE 1u

/* A length in one to three bytes of seven bits (the last has eight). */
static unsigned compact_len(uint8_t *p, size_t len)
{
	p[0] = (uint8_t)(len & 0x7f);
	if (len < 0x80)
		return 1;
	p[0] |= 0x80;
	p[1] = (uint8_t)(len >> 7 & 0x7f);
	if (len < 0x4000)
		return 2;
	p[1] |= 0x80;
	p[2] = (uint8_t)(len >> 14);
	return 3;
}

static int tight_data(struct vnc_enc *e, struct vnc_buf *b, unsigned stream, const uint8_t *data,
		      size_t len)
{
	size_t at = b->len, n;
	uint8_t head[3];
	unsigned head_len;
	int ret;

	if (len < TIGHT_MIN) {
		vnc_put(b, data, len);
		return b->failed ? -ENOMEM : 0;
	}
	ret = deflate_into(e, stream, b, data, len);
	if (ret < 0)
		return ret;
	n = b->len - at;
	head_len = compact_len(head, n);
	if (!vnc_buf_room(b, head_len))
		return -ENOMEM;
	memmove(b->data + at + head_len, b->data + at, n);
	memcpy(b->data + at, head, head_len);
	b->len += head_len;
	return 0;
}

static int tight_indexed(struct vnc_enc *e, struct vnc_buf *b, struct palette *pal, unsigned w,
			 unsigned h, const uint32_t *pixels, size_t stride)
{
	unsigned stream = pal->count == 2 ? 1 : 2;
	uint8_t colors[PALETTE_MAX * 4], *p = colors, *to;

	vnc_put_u8(b, (uint8_t)(TIGHT_FILTER | stream << 4));
	vnc_put_u8(b, TIGHT_PALETTE);
	vnc_put_u8(b, (uint8_t)(pal->count - 1));
	for (unsigned n = 0; n < pal->count; n++)
		p = put_tpixel(&e->format, p, pal->color[n]);
	vnc_put(b, colors, (size_t)(p - colors));
	e->scratch.len = 0;
	to = vnc_buf_room(&e->scratch, (size_t)w * h);
	if (!to || b->failed)
		return -ENOMEM;
	to = put_packed(to, pal, pal->count == 2 ? 1 : 8, w, h, pixels, stride);
	return tight_data(e, b, stream, e->scratch.data, (size_t)(to - e->scratch.data));
}

static int enc_tight(struct vnc_enc *e, struct vnc_buf *b, unsigned w, unsigned h,
		     const uint32_t *pixels, size_t stride)
{
	struct palette pal;
	uint8_t *p;

	/* More colours than this cost more than they save. */
	if (palette_fill(&pal, min_of(PALETTE_MAX, max_of(w * h / 8, 2u)), pixels, stride, w, h)) {
		if (pal.count > 1 && (e->format.bytes > 1 || pal.count == 2))
			return tight_indexed(e, b, &pal, w, h, pixels, stride);
		if (pal.count == 1) {
			uint8_t color[4];

			vnc_put_u8(b, TIGHT_FILL);
			p = put_tpixel(&e->format, color, pal.color[0]);
			vnc_put(b, color, (size_t)(p - color));
			return b->failed ? -ENOMEM : 0;
		}
	}
	vnc_put_u8(b, 0); /* stream 0, as it is */
	e->scratch.len = 0;
	p = vnc_buf_room(&e->scratch, (size_t)w * h * tpixel_bytes(&e->format));
	if (!p || b->failed)
		return -ENOMEM;
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++)
			p = put_tpixel(&e->format, p, pixels[y * stride + x]);
	return tight_data(e, b, 0, e->scratch.data, (size_t)(p - e->scratch.data));
}

/*
 * Rectangles.
 */
void vnc_enc_limits(const struct vnc_enc *e, unsigned *w, unsigned *h)
{
	/* Tight: at most 2048 wide; and lengths of 22 bits. */
	*w = 2048;
	*h = 128;
}

int vnc_enc_rect(struct vnc_enc *e, struct vnc_buf *b, unsigned x, unsigned y, unsigned w,
		 unsigned h, const uint32_t *pixels, size_t stride)
{
	vnc_put_rect_header(b, x, y, w, h, e->encoding);
	if (b->failed)
		return -ENOMEM;
	switch (e->encoding) {
	case VNC_TIGHT: return enc_tight(e, b, w, h, pixels, stride);
	case VNC_ZRLE: return enc_zrle(e, b, w, h, pixels, stride);
	case VNC_HEXTILE: return enc_hextile(e, b, w, h, pixels, stride);
	default: return enc_raw(e, b, w, h, pixels, stride);
	}
}

void vnc_enc_fini(struct vnc_enc *e)
{
	for (unsigned n = 0; n < VNC_STREAMS; n++)
		if (e->z_on[n])
			deflateEnd(&e->z[n]);
	memset(e->z_on, 0, sizeof(e->z_on));
	vnc_buf_fini(&e->scratch);
}
