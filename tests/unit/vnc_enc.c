/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RFB's pixel formats and encodings, decoded again by a viewer of the test's own. */
#include <errno.h>
#include <stdlib.h>

#include "src/display/vnc_ws.h"
#include "tests/unit/vnc_decode.h"

#define W 301u
#define H 140u

static void make_format(struct vnc_format *f, unsigned bpp, unsigned depth, bool big,
			const unsigned *max, const unsigned *shift)
{
	uint8_t p[16] = { (uint8_t)bpp, (uint8_t)depth, big, 1 };

	for (unsigned c = 0; c < 3; c++) {
		st_be16(p + 4 + 2 * c, (uint16_t)max[c]);
		p[10 + c] = (uint8_t)shift[c];
	}
	assert_int_equal(vnc_format_parse(f, p), 0);
}

/* What the viewer should have for a colour, by the definition of the format. */
static uint32_t want_pixel(const struct vnc_format *f, uint32_t rgb)
{
	uint32_t v = 0;

	for (unsigned c = 0; c < 3; c++) {
		uint32_t part = rgb >> (16 - 8 * c) & 255;

		v |= (part * f->max[c] + 127) / 255 << f->shift[c];
	}
	if (f->big_endian)
		v = f->bytes == 4 ? __builtin_bswap32(v) : f->bytes == 2 ? __builtin_bswap16((uint16_t)v) : v;
	return v;
}

/* Pictures of a kind each: one colour, two, few, many, noise. */
static void paint(uint32_t *pixels, unsigned kind)
{
	uint32_t seed = kind;

	for (unsigned y = 0; y < H; y++) {
		for (unsigned x = 0; x < W; x++) {
			uint32_t *p = &pixels[y * W + x];

			seed = seed * 1664525 + 1013904223;
			switch (kind) {
			case 0: *p = 0xff336699; break;
			case 1: *p = (x ^ y) & 4 ? 0xffffff : 0x12000000; break;
			case 2: *p = (x / 7 + y / 5) % 5 * 0x2f1f3f; break;
			case 3: *p = (x / 3 + y) % 200 * 0x010305; break;
			case 4: *p = seed >> 7; break;
			default: *p = x < 150 ? 0x204060 : seed >> 9; break;
			}
		}
	}
}

static void check(struct vnc_enc *e, struct decoder *d, const uint32_t *pixels, unsigned x,
		  unsigned y, unsigned w, unsigned h)
{
	struct vnc_buf b = { .data = NULL };
	const uint8_t *end;

	assert_int_equal(vnc_enc_rect(e, &b, x, y, w, h, pixels + y * W + x, W), 0);
	memset(d->pixels, 0xa5, W * H * 4);
	end = decode_rect(d, b.data, b.data + b.len);
	assert_ptr_equal(end, b.data + b.len);
	for (unsigned j = y; j < y + h; j++)
		for (unsigned i = x; i < x + w; i++)
			if (d->pixels[j * W + i] != want_pixel(&e->format, pixels[j * W + i]))
				fail_msg("encoding %d, %u,%u: %x, not %x", e->encoding, i, j,
					 d->pixels[j * W + i],
					 want_pixel(&e->format, pixels[j * W + i]));
	vnc_buf_fini(&b);
}

static void test_encodings(void **state)
{
	static const int32_t encodings[] = { VNC_RAW, VNC_HEXTILE, VNC_ZRLE, VNC_TIGHT };
	static const struct { unsigned bpp, depth; bool big; unsigned max[3], shift[3]; } formats[] = {
		{ 32, 24, false, { 255, 255, 255 }, { 16, 8, 0 } },
		{ 32, 24, true, { 255, 255, 255 }, { 16, 8, 0 } },
		{ 32, 24, false, { 255, 255, 255 }, { 24, 16, 8 } },
		{ 32, 24, true, { 255, 255, 255 }, { 8, 16, 24 } },
		{ 32, 30, false, { 1023, 1023, 1023 }, { 20, 10, 0 } },
		{ 16, 16, false, { 31, 63, 31 }, { 11, 5, 0 } },
		{ 16, 15, true, { 31, 31, 31 }, { 10, 5, 0 } },
		{ 8, 8, false, { 7, 7, 3 }, { 0, 3, 6 } },
		{ 8, 6, false, { 3, 3, 3 }, { 4, 2, 0 } },
	};
	uint32_t *pixels = malloc(W * H * 4);

	for (size_t f = 0; f < array_size(formats); f++) {
		for (size_t k = 0; k < array_size(encodings); k++) {
			struct vnc_enc e = { .encoding = encodings[k], .level = (int)(k + f) % 10 };
			struct decoder d = { .f = &e.format, .width = W,
					     .pixels = malloc(W * H * 4) };

			make_format(&e.format, formats[f].bpp, formats[f].depth, formats[f].big,
				    formats[f].max, formats[f].shift);
			for (unsigned kind = 0; kind < 6; kind++) {
				paint(pixels, kind);
				check(&e, &d, pixels, 0, 0, W, H < 128 ? H : 128);
				check(&e, &d, pixels, 17, 5, 1, 1);
				check(&e, &d, pixels, 140, 100, 33, 19);
				check(&e, &d, pixels, 300, 0, 1, 100);
				check(&e, &d, pixels, 0, 139, 5, 1);
			}
			decoder_fini(&d);
			vnc_enc_fini(&e);
			free(d.pixels);
		}
	}
	free(pixels);
}

static void test_formats(void **state)
{
	struct vnc_format f;
	struct vnc_buf b = { .data = NULL };
	uint8_t p[16] = { 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0 };
	uint32_t seed = 1;

	vnc_format_default(&f);
	vnc_format_put(&f, &b);
	assert_memory_equal(b.data, p, 16);
	assert_int_equal(f.cbytes, 3);
	vnc_buf_fini(&b);
	for (unsigned n = 0; n < 20000; n++) {
		for (unsigned k = 0; k < 13; k++) {
			seed = seed * 1664525 + 1013904223;
			p[k] = (uint8_t)(seed >> 20);
			if (n & 1 && k < 2)
				p[k] = (uint8_t)(8 << (seed >> 28 & 3));
			if (n & 2 && k >= 10)
				p[k] &= 31;
		}
		if (vnc_format_parse(&f, p) == 0) {
			struct vnc_enc e = { .format = f, .encoding = n & 4 ? VNC_ZRLE : VNC_TIGHT };
			uint32_t two[2] = { 0x123456, 0xffffff };

			assert_true(f.bpp == 8 || f.bpp == 16 || f.bpp == 32);
			b = (struct vnc_buf){ .data = NULL };
			assert_int_equal(vnc_enc_rect(&e, &b, 0, 0, 2, 1, two, 2), 0);
			vnc_buf_fini(&b);
			vnc_enc_fini(&e);
		}
	}
	/* 24 bits to the pixel is no RFB format; colours beyond the pixel. */
	assert_int_equal(vnc_format_parse(&f, (const uint8_t[16]){ 24, 24, 0, 1 }), -EINVAL);
	assert_int_equal(vnc_format_parse(&f, (const uint8_t[16]){ 8, 8, 0, 1, 0, 7, 0, 7, 0, 7, 6 }),
			 -EINVAL);
	assert_int_equal(vnc_format_parse(&f, (const uint8_t[16]){ 16, 8, 0, 0 }), -EINVAL);
	assert_int_equal(vnc_format_parse(&f, (const uint8_t[16]){ 8, 8, 0, 0 }), 0);
	vnc_format_put_map(&b);
	assert_int_equal(b.len, 6 + 256 * 6);
	vnc_buf_fini(&b);
}

/*
 * WebSocket.
 */
#define ASK "GET /websockify HTTP/1.1\r\nHost: localhost:5900\r\nUpgrade: websocket\r\n" \
	    "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
	    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static int ask(const char *request, bool trusted, const char *want)
{
	struct vnc_buf b = { .data = NULL };
	int ret = vnc_ws_handshake(request, trusted, &b);

	vnc_put_u8(&b, 0);
	if (want && !strstr((char *)b.data, want))
		fail_msg("no '%s' in: %s", want, b.data);
	vnc_buf_fini(&b);
	return ret;
}

static void test_handshake(void **state)
{
	/* The example of RFC 6455, 1.3. */
	assert_int_equal(ask(ASK "\r\n", false, "Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), 0);
	assert_int_equal(ask(ASK "Sec-WebSocket-Protocol: binary, base64\r\n\r\n", false,
			     "Sec-WebSocket-Protocol: binary\r\n"), 0);
	assert_int_equal(ask(ASK "Origin: http://localhost:6080\r\n\r\n", false, "101"), 0);
	assert_int_equal(ask(ASK "Origin: http://[::1]:6080\r\n\r\n", false, "101"), 0);
	assert_int_equal(ask(ASK "Origin: http://evil.example\r\n\r\n", false, "403"), -EACCES);
	assert_int_equal(ask(ASK "Origin: http://localhost.evil.example\r\n\r\n", false, "403"),
			 -EACCES);
	assert_int_equal(ask(ASK "Origin: null\r\n\r\n", false, "403"), -EACCES);
	assert_int_equal(ask(ASK "Origin: http://evil.example\r\n\r\n", true, "101"), 0);
	assert_int_equal(ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, "400"), -EPROTO);
	assert_int_equal(ask("GET / HTTP/1.1\r\n\r\n", false, "400"), -EPROTO);
	assert_int_equal(ask("GET \r\n", false, "400"), -EPROTO);
}

static size_t frame(uint8_t *out, unsigned op, const void *data, size_t len)
{
	uint8_t *p = out;

	*p++ = (uint8_t)op;
	if (len < 126) {
		*p++ = (uint8_t)(0x80 | len);
	} else {
		*p++ = 0x80 | 126;
		st_be16(p, (uint16_t)len);
		p += 2;
	}
	memcpy(p, "\x11\x22\x33\x44", 4);
	p += 4;
	for (size_t n = 0; n < len; n++)
		*p++ = ((const uint8_t *)data)[n] ^ (uint8_t)((n % 4 + 1) * 0x11);
	return (size_t)(p - out);
}

static void test_frames(void **state)
{
	uint8_t data[1000], stream[4096];
	struct vnc_buf in = { .data = NULL }, reply = { .data = NULL };
	struct vnc_ws w = { .left = 0 };
	size_t len = 0;

	for (unsigned n = 0; n < sizeof(data); n++)
		data[n] = (uint8_t)(n * 7);
	len += frame(stream + len, 0x82, data, 100);
	len += frame(stream + len, 0x02, data + 100, 300); /* a message in pieces */
	len += frame(stream + len, 0x89, "ping", 4);       /* with a ping within */
	len += frame(stream + len, 0x80, data + 400, 600);
	len += frame(stream + len, 0x82, "", 0);
	/* In any pieces. */
	for (unsigned piece = 1; piece < 50; piece++) {
		in.len = reply.len = 0;
		memset(&w, 0, sizeof(w));
		for (size_t at = 0; at < len; at += piece)
			assert_int_equal(vnc_ws_feed(&w, stream + at, min_of(piece, len - at), &in,
						     &reply), 0);
		assert_int_equal(in.len, 1000);
		assert_memory_equal(in.data, data, 1000);
		assert_int_equal(reply.len, 6);
		assert_memory_equal(reply.data, "\x8a\x04ping", 6);
	}
	/* What is not allowed. */
	{
		static const struct { const char *bytes; size_t len; } bad[] = {
			{ "\x82\x01x\0\0\0", 6 },              /* no mask */
			{ "\xc2\x80\0\0\0\0", 6 },             /* reserved bits */
			{ "\x81\x80\0\0\0\0", 6 },             /* text */
			{ "\x80\x80\0\0\0\0", 6 },             /* goes on with nothing */
			{ "\x09\x80\0\0\0\0", 6 },             /* a ping in pieces */
			{ "\x89\xfe\0\x80\0\0\0\0", 8 },       /* a long ping */
			{ "\x82\xff\xff\0\0\0\0\0\0\0\0\0\0\0", 14 }, /* a length of 2^63 */
		};

		for (size_t n = 0; n < array_size(bad); n++) {
			memset(&w, 0, sizeof(w));
			assert_int_equal(vnc_ws_feed(&w, (const uint8_t *)bad[n].bytes, bad[n].len, &in,
						     &reply), -EPROTO);
		}
	}
	memset(&w, 0, sizeof(w));
	reply.len = 0;
	len = frame(stream, 0x88, "\x03\xe8", 2);
	assert_int_equal(vnc_ws_feed(&w, stream, len, &in, &reply), -ECONNRESET);
	assert_memory_equal(reply.data, "\x88\x02\x03\xe8", 4);
	/* Noise never does more than fail. */
	for (uint32_t n = 0, seed = 9; n < 200000; n++) {
		uint8_t b[8];

		for (unsigned k = 0; k < 8; k++) {
			seed = seed * 1664525 + 1013904223;
			b[k] = (uint8_t)(seed >> 16);
		}
		if (n % 3 == 0) {
			b[0] = 0x80 | (b[0] & 11);
			b[1] |= 0x80;
		}
		in.len = reply.len = 0;
		if (vnc_ws_feed(&w, b, 1 + n % 8, &in, &reply) < 0)
			memset(&w, 0, sizeof(w));
	}
	vnc_buf_fini(&in);
	vnc_buf_fini(&reply);
	/* The server's frames, of each length. */
	for (size_t n = 0; n < 3; n++) {
		static const size_t lens[3] = { 125, 126, 70000 };
		static const unsigned heads[3] = { 2, 4, 10 };
		uint8_t *big = calloc(1, lens[n]);

		vnc_ws_put(&in, big, lens[n]);
		assert_int_equal(in.len, lens[n] + heads[n]);
		assert_int_equal(in.data[0], 0x82);
		in.len = 0;
		free(big);
	}
	vnc_buf_fini(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encodings), cmocka_unit_test(test_formats),
		cmocka_unit_test(test_handshake), cmocka_unit_test(test_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
