/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A viewer's side of the encodings, from the protocol's text: rectangles back to
 * pixels of the viewer's format. */
#ifndef BOTHY_TESTS_UNIT_VNC_DECODE_H
#define BOTHY_TESTS_UNIT_VNC_DECODE_H

#include <stdlib.h>
#include <zlib.h>

#include "src/base/bits.h"
#include "src/display/vnc_enc.h"
#include "tests/unit/cmocka_all.h"

struct decoder {
	const struct vnc_format *f;
	z_stream z[5];
	bool on[5];
	uint32_t *pixels; /* as sent: raw bytes of a pixel, little-endian in the word */
	unsigned width;
};

static inline void decoder_fini(struct decoder *d)
{
	for (unsigned n = 0; n < 5; n++)
		if (d->on[n])
			inflateEnd(&d->z[n]);
}

static inline uint32_t take(const uint8_t **p, const uint8_t *end, unsigned n)
{
	uint32_t v = 0;

	assert_true(*p + n <= end);
	memcpy(&v, *p, n);
	*p += n;
	return v;
}

static inline uint32_t take_cpixel(struct decoder *d, const uint8_t **p, const uint8_t *end)
{
	return take(p, end, d->f->cbytes) << (d->f->cskip * 8);
}

/* Red, green, blue in bytes: where the format would have them. */
static inline uint32_t take_tpixel(struct decoder *d, const uint8_t **p, const uint8_t *end)
{
	uint32_t v = 0;

	if (!d->f->rgb24)
		return take(p, end, d->f->bytes);
	for (unsigned c = 0; c < 3; c++)
		v |= take(p, end, 1) << d->f->shift[c];
	return d->f->big_endian ? __builtin_bswap32(v) : v;
}

static inline uint8_t *unzip(struct decoder *d, unsigned stream, const uint8_t *in, size_t len,
			     size_t out_len, bool exact)
{
	uint8_t *out = malloc(out_len + 1);
	z_stream *z = &d->z[stream];

	if (!d->on[stream])
		assert_int_equal(inflateInit(z), Z_OK);
	d->on[stream] = true;
	z->next_in = (Bytef *)in;
	z->avail_in = (uInt)len;
	z->next_out = out;
	z->avail_out = (uInt)out_len;
	assert_true(inflate(z, Z_SYNC_FLUSH) >= Z_OK);
	assert_int_equal(z->avail_in, 0);
	if (exact)
		assert_int_equal(z->avail_out, 0);
	return out;
}

static inline void set(struct decoder *d, unsigned x, unsigned y, uint32_t v)
{
	d->pixels[(size_t)y * d->width + x] = v;
}

static inline const uint8_t *decode_hextile(struct decoder *d, unsigned x0, unsigned y0, unsigned w,
					    unsigned h, const uint8_t *p, const uint8_t *end)
{
	uint32_t bg = 0, fg = 0;

	for (unsigned ty = 0; ty < h; ty += 16) {
		for (unsigned tx = 0; tx < w; tx += 16) {
			unsigned tw = min_of(w - tx, 16u), th = min_of(h - ty, 16u);
			unsigned sub = take(&p, end, 1), n;

			if (!(sub & 1)) {
				if (sub & 2)
					bg = take(&p, end, d->f->bytes);
				if (sub & 4)
					fg = take(&p, end, d->f->bytes);
			}
			for (unsigned y = 0; y < th; y++)
				for (unsigned x = 0; x < tw; x++)
					set(d, x0 + tx + x, y0 + ty + y,
					    sub & 1 ? take(&p, end, d->f->bytes) : bg);
			n = !(sub & 1) && sub & 8 ? take(&p, end, 1) : 0;
			while (n--) {
				uint32_t c = sub & 16 ? take(&p, end, d->f->bytes) : fg;
				unsigned xy = take(&p, end, 1), wh = take(&p, end, 1);

				assert_true((xy >> 4) + (wh >> 4) < tw && (xy & 15) + (wh & 15) < th);
				for (unsigned y = 0; y <= (wh & 15); y++)
					for (unsigned x = 0; x <= wh >> 4; x++)
						set(d, x0 + tx + (xy >> 4) + x,
						    y0 + ty + (xy & 15) + y, c);
			}
		}
	}
	return p;
}

static inline const uint8_t *decode_zrle(struct decoder *d, unsigned x0, unsigned y0, unsigned w,
					 unsigned h, const uint8_t *p, const uint8_t *end)
{
	uint32_t len = __builtin_bswap32(take(&p, end, 4));
	size_t max = (size_t)w * h * 4 + (w / 64 + 1) * (h / 64 + 1) * 128;
	uint8_t *data;
	const uint8_t *q, *qend;

	assert_true(p + len <= end);
	data = unzip(d, 4, p, len, max, false);
	q = data;
	qend = data + max;
	for (unsigned ty = 0; ty < h; ty += 64) {
		for (unsigned tx = 0; tx < w; tx += 64) {
			unsigned tw = min_of(w - tx, 64u), th = min_of(h - ty, 64u);
			unsigned sub = take(&q, qend, 1), bits = sub <= 2 ? 1 : sub <= 4 ? 2 : 4;
			uint32_t pal[16];

			assert_true(sub <= 16);
			for (unsigned n = 0; n < sub; n++)
				pal[n] = take_cpixel(d, &q, qend);
			for (unsigned y = 0; y < th; y++) {
				unsigned have = 0, byte = 0;

				for (unsigned x = 0; x < tw; x++) {
					uint32_t v = sub == 0 ? take_cpixel(d, &q, qend) : pal[0];

					if (sub > 1) {
						if (!have) {
							byte = take(&q, qend, 1);
							have = 8;
						}
						have -= bits;
						v = byte >> have & ((1u << bits) - 1);
						assert_true(v < sub);
						v = pal[v];
					}
					set(d, x0 + tx + x, y0 + ty + y, v);
				}
			}
		}
	}
	assert_ptr_equal(q, d->z[4].next_out);
	free(data);
	return p + len;
}

static inline const uint8_t *decode_tight(struct decoder *d, unsigned x0, unsigned y0, unsigned w,
					  unsigned h, const uint8_t *p, const uint8_t *end)
{
	unsigned control = take(&p, end, 1), stream = control >> 4 & 3, colors = 0;
	unsigned tbytes = d->f->rgb24 ? 3 : d->f->bytes;
	uint32_t pal[256];
	size_t raw, len;
	const uint8_t *q, *qend;
	uint8_t *data = NULL;

	assert_int_equal(control & 15, 0); /* no stream is reset */
	if (control >> 4 == 8) {
		uint32_t v = take_tpixel(d, &p, end);

		for (unsigned y = 0; y < h; y++)
			for (unsigned x = 0; x < w; x++)
				set(d, x0 + x, y0 + y, v);
		return p;
	}
	assert_true(control < 0x80);
	if (control & 0x40) {
		assert_int_equal(take(&p, end, 1), 1);
		colors = take(&p, end, 1) + 1;
		for (unsigned n = 0; n < colors; n++)
			pal[n] = take_tpixel(d, &p, end);
	}
	raw = colors == 2 ? (size_t)(w + 7) / 8 * h : colors ? (size_t)w * h : (size_t)w * h * tbytes;
	if (raw < 12) {
		q = p;
		qend = p + raw;
		p += raw;
	} else {
		len = take(&p, end, 1);
		if (len & 0x80) {
			len = (len & 0x7f) | take(&p, end, 1) << 7;
			if (len & 0x4000)
				len = (len & 0x3fff) | take(&p, end, 1) << 14;
		}
		assert_true(p + len <= end);
		q = data = unzip(d, stream, p, len, raw, true);
		qend = q + raw;
		p += len;
	}
	for (unsigned y = 0; y < h; y++) {
		unsigned byte = 0;

		for (unsigned x = 0; x < w; x++) {
			uint32_t v;

			if (colors == 2) {
				if (x % 8 == 0)
					byte = take(&q, qend, 1);
				v = pal[byte >> (7 - x % 8) & 1];
			} else if (colors) {
				v = take(&q, qend, 1);
				assert_true(v < colors);
				v = pal[v];
			} else {
				v = take_tpixel(d, &q, qend);
			}
			set(d, x0 + x, y0 + y, v);
		}
	}
	assert_true(p <= end && q == qend);
	free(data);
	return p;
}

/* One rectangle with its header; where it ends. */
static inline const uint8_t *decode_rect(struct decoder *d, const uint8_t *p, const uint8_t *end)
{
	unsigned x0, y0, w, h;
	int32_t enc;

	assert_true(p + 12 <= end);
	x0 = ld_be16(p);
	y0 = ld_be16(p + 2);
	w = ld_be16(p + 4);
	h = ld_be16(p + 6);
	enc = (int32_t)ld_be32(p + 8);
	p += 12;
	switch (enc) {
	case VNC_RAW:
		for (unsigned y = 0; y < h; y++)
			for (unsigned x = 0; x < w; x++)
				set(d, x0 + x, y0 + y, take(&p, end, d->f->bytes));
		return p;
	case VNC_HEXTILE: return decode_hextile(d, x0, y0, w, h, p, end);
	case VNC_ZRLE: return decode_zrle(d, x0, y0, w, h, p, end);
	case VNC_TIGHT: return decode_tight(d, x0, y0, w, h, p, end);
	default: fail_msg("encoding %d", enc);
	}
	return p;
}

#endif
