/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RFB's pixel formats and encodings: rectangles of a picture to bytes (RFC 6143, 7.4
 * and 7.7). Stands apart from connections.
 */
#ifndef BOTHY_DISPLAY_VNC_ENC_H
#define BOTHY_DISPLAY_VNC_ENC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "src/base/err.h"

/* A growing buffer of bytes to send. */
struct vnc_buf {
	uint8_t *data;
	size_t len, cap;
	bool failed; /* out of memory; what was put since is lost */
};

void vnc_buf_fini(struct vnc_buf *b);
/* Room for @n more bytes at data + len; NULL without memory. */
uint8_t *vnc_buf_room(struct vnc_buf *b, size_t n);
void vnc_put(struct vnc_buf *b, const void *data, size_t n);
void vnc_put_u8(struct vnc_buf *b, uint8_t v);
void vnc_put_u16(struct vnc_buf *b, uint16_t v);
void vnc_put_u32(struct vnc_buf *b, uint32_t v);

#define VNC_FORMAT_LEN 16u

struct vnc_format {
	uint8_t bpp, depth; /* bits; bpp 8, 16 or 32 */
	bool big_endian, mapped; /* mapped: colours through a palette, bpp 8 */
	uint16_t max[3];    /* red, green, blue */
	uint8_t shift[3];
	/* What 0..255 of each colour becomes: in place, in the client's byte order. */
	uint32_t lut[3][256];
	unsigned bytes;     /* of a pixel: 1, 2, 4 */
	unsigned cbytes;    /* of ZRLE's CPIXEL: bytes, or 3 */
	unsigned cskip;     /* where in the pixel those 3 begin */
	bool rgb24;         /* Tight's TPIXEL: red, green, blue, a byte each */
};

/* 32 bits, 0x..RRGGBB, little-endian: what the server offers. */
void vnc_format_default(struct vnc_format *f);
/* From the 16 bytes of PIXEL_FORMAT; -EINVAL: no format that could be. */
int must_check vnc_format_parse(struct vnc_format *f, const uint8_t *p);
void vnc_format_put(const struct vnc_format *f, struct vnc_buf *b);
/* The colour map of a mapped format: 256 entries as SetColourMapEntries (7.6.2). */
void vnc_format_put_map(struct vnc_buf *b);

/* Encodings by their numbers. */
#define VNC_RAW 0
#define VNC_COPYRECT 1
#define VNC_HEXTILE 5
#define VNC_TIGHT 7
#define VNC_ZRLE 16

#define VNC_ZRLE_STREAM 4 /* 0..3 are Tight's */
#define VNC_STREAMS 5

/* What one viewer's encoder remembers. Zero-initialise, and set format. */
struct vnc_enc {
	struct vnc_format format;
	int32_t encoding;
	int level;               /* of zlib, 1..9; 0: 1 */
	z_stream z[VNC_STREAMS];
	bool z_on[VNC_STREAMS];
	struct vnc_buf scratch;
};

void vnc_enc_fini(struct vnc_enc *e);
/* What an encoding may take at once: larger rectangles are cut before. */
void vnc_enc_limits(const struct vnc_enc *e, unsigned *w, unsigned *h);
/* One rectangle with its header. @pixels: 0x..RRGGBB, @stride pixels to the row.
 * -ENOMEM: the stream is broken, the viewer must go. */
int must_check vnc_enc_rect(struct vnc_enc *e, struct vnc_buf *b, unsigned x, unsigned y,
			    unsigned w, unsigned h, const uint32_t *pixels, size_t stride);
void vnc_put_rect_header(struct vnc_buf *b, unsigned x, unsigned y, unsigned w, unsigned h,
			 int32_t encoding);

#endif
