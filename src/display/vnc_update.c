/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FramebufferUpdate (RFC 6143, 7.6.1): what a viewer does not know yet, as rectangles. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/display/vnc_priv.h"

#define ENC_DESKTOP_SIZE (-223)
#define ENC_MOTION (-257)
#define ENC_EXT_DESKTOP_SIZE (-308)

static void put_header(struct vnc_buf *b)
{
	vnc_put_u8(b, 0);
	vnc_put_u8(b, 0);
	vnc_put_u16(b, 0); /* the count, when it is known */
}

void vnc_client_tell_pointer(struct vnc_client *c)
{
	struct vnc_input *in = &c->vnc->cfg.input;

	c->told_absolute = !in->is_absolute || in->is_absolute(in->opaque);
	vnc_put_u8(&c->msg, 0);
	vnc_put_u8(&c->msg, 0);
	vnc_put_u16(&c->msg, 1);
	vnc_put_rect_header(&c->msg, c->told_absolute, 0, c->w, c->h, ENC_MOTION);
	vnc_client_send(c);
}

/* The new size, in the way that the viewer understands. */
static unsigned put_size(struct vnc_client *c, struct vnc_buf *b)
{
	if (c->has_ext_resize && (c->resize_due || c->ext_resize_due)) {
		vnc_put_rect_header(b, c->resize_reason, c->resize_status, c->w, c->h,
				    ENC_EXT_DESKTOP_SIZE);
		vnc_put_u32(b, 1u << 24); /* one screen */
		vnc_put_u32(b, 0);
		vnc_put_u32(b, 0);
		vnc_put_u16(b, (uint16_t)c->w);
		vnc_put_u16(b, (uint16_t)c->h);
		vnc_put_u32(b, 0);
	} else if (c->resize_due && c->has_resize) {
		vnc_put_rect_header(b, 0, 0, c->w, c->h, ENC_DESKTOP_SIZE);
	} else {
		return 0;
	}
	c->resize_due = c->ext_resize_due = false;
	c->resize_reason = c->resize_status = 0;
	return 1;
}

/* Part of the picture as the viewer counts it into a job; beyond the surface it is black. */
static void copy_rect(const struct vnc_client *c, struct vnc_job *j, const struct rect *r)
{
	const struct surface *s = c->vnc->surface;
	unsigned w = s && s->pixels ? s->width : 0, h = w ? s->height : 0;
	unsigned n = r->x < w ? min_of(r->w, w - r->x) : 0;
	uint32_t *to = j->pixels + j->pixel_count;

	for (unsigned y = r->y; y < r->y + r->h; y++, to += r->w) {
		unsigned have = y < h ? n : 0;

		if (have)
			memcpy(to, s->pixels + (size_t)y * w + r->x, have * sizeof(*to));
		memset(to + have, 0, (r->w - have) * sizeof(*to));
	}
	j->pixel_count += (size_t)r->w * r->h;
}

/* Tiles next to each other in a row, and the same below: one rectangle, in tiles. */
static struct rect take_tiles(struct vnc_client *c, unsigned x, unsigned y, unsigned max_w,
			      unsigned max_h)
{
	uint8_t *row = c->tiles + (size_t)y * c->tiles_w;
	struct rect r = { x, y, 1, 1 };

	while (r.w < max_w && x + r.w < c->tiles_w && row[x + r.w])
		r.w++;
	while (r.h < max_h && y + r.h < c->tiles_h &&
	       !memchr(row + (size_t)r.h * c->tiles_w + x, 0, r.w))
		r.h++;
	for (unsigned n = 0; n < r.h; n++)
		memset(row + (size_t)n * c->tiles_w + x, 0, r.w);
	return r;
}

/* Room for one more rectangle of at most @pixels. */
static bool job_room(struct vnc_job *j, size_t pixels)
{
	if (j->count == j->cap) {
		size_t cap = j->cap * 2 + 64;
		struct rect *more = realloc(j->rects, cap * sizeof(*more));

		if (!more)
			return false;
		j->rects = more;
		j->cap = cap;
	}
	if (j->pixel_cap - j->pixel_count < pixels) {
		size_t cap = j->pixel_cap * 2 + pixels;
		uint32_t *more = realloc(j->pixels, cap * sizeof(*more));

		if (!more)
			return false;
		j->pixels = more;
		j->pixel_cap = cap;
	}
	return true;
}

static int add_rect(struct vnc_client *c, struct vnc_job *j, struct rect t)
{
	struct rect r = { t.x * VNC_TILE, t.y * VNC_TILE, t.w * VNC_TILE, t.h * VNC_TILE };

	r.w = min_of(r.w, c->w - r.x);
	r.h = min_of(r.h, c->h - r.y);
	if (!job_room(j, (size_t)r.w * r.h))
		return -ENOMEM;
	j->rects[j->count++] = r;
	copy_rect(c, j, &r);
	return 0;
}

/* What the viewer does not know, as far as an update may go. */
static int collect(struct vnc_client *c, struct vnc_job *j)
{
	unsigned max_w, max_h;

	vnc_enc_limits(&c->enc, &max_w, &max_h);
	for (unsigned y = 0; y < c->tiles_h; y++) {
		uint8_t *row = c->tiles + (size_t)y * c->tiles_w, *t = row;

		while ((t = memchr(t, 1, c->tiles_w - (size_t)(t - row))) != NULL) {
			if (j->pixel_count >= VNC_UPDATE_PIXELS)
				return 0;
			if (add_rect(c, j, take_tiles(c, (unsigned)(t - row), y, max_w / VNC_TILE,
						      max_h / VNC_TILE)) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

/* The message's head is put by the loop, for the worker to go on behind it. */
static void send_update(struct vnc_client *c)
{
	struct vnc_job *j = calloc(1, sizeof(*j));
	unsigned sizes = 0;

	if (!j || collect(c, j) < 0) {
		vnc_job_free(j);
		vnc_client_drop(c);
		return;
	}
	if (c->map_due)
		vnc_format_put_map(&c->msg);
	c->map_due = false;
	if (c->msg.len)
		vnc_client_send(c);
	put_header(&j->out);
	sizes = put_size(c, &j->out);
	if (c->gone || (!sizes && !j->count)) {
		vnc_job_free(j);
		return;
	}
	if (j->out.data)
		st_be16(j->out.data + 2, (uint16_t)(sizes + j->count));
	j->client = c;
	j->enc = &c->enc;
	j->format = c->format;
	j->encoding = c->encoding;
	j->level = c->level;
	c->wants = false;
	c->encoding_now = true;
	vnc_worker_add(&c->vnc->worker, j);
}

void vnc_client_encoded(struct vnc_job *j)
{
	struct vnc_client *c = j->client;

	c->encoding_now = false;
	if (!c->gone && j->error)
		vnc_client_drop(c);
	if (!c->gone) {
		vnc_put(&c->msg, j->out.data, j->out.len);
		vnc_client_send(c);
	}
	vnc_job_free(j);
}

void vnc_client_update(struct vnc_client *c)
{
	struct vnc_input *in = &c->vnc->cfg.input;

	if (c->gone || c->closing || c->state != VNC_RUNNING || c->out.len || c->encoding_now)
		return;
	if (c->has_motion && in->is_absolute && in->is_absolute(in->opaque) != c->told_absolute)
		vnc_client_tell_pointer(c);
	if (!c->gone && c->wants && !c->out.len)
		send_update(c);
}
