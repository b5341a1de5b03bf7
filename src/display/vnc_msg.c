/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What viewers say: the handshake (RFC 6143, 7.1 to 7.3) and messages (7.5). */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/display/keys.h"
#include "src/display/vnc_priv.h"

#define SECURITY_NONE 1
#define SECURITY_VNC 2
#define FAILURES_MAX 5u      /* wrong passwords, then everyone waits */
#define FAILURES_MS 10000

/* Pseudo-encodings: rfbproto.rst. */
#define ENC_DESKTOP_SIZE (-223)
#define ENC_LEVEL_0 (-256)
#define ENC_LEVEL_9 (-247)
#define ENC_MOTION (-257)
#define ENC_EXT_KEY (-258)
#define ENC_EXT_DESKTOP_SIZE (-308)

/* What a message in c->in comes to: how many bytes it has (0: more must come), or
 * a negative error. */
typedef long taker(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err);

/*
 * Handshake.
 */
static void put_text(struct vnc_buf *b, const char *text)
{
	vnc_put_u32(b, (uint32_t)strlen(text));
	vnc_put(b, text, strlen(text));
}

/* The handshake ends here, in words that the viewer shows. */
static void fail(struct vnc_client *c, const char *why)
{
	if (c->minor >= 8)
		put_text(&c->msg, why);
	c->closing = true;
	vnc_client_send(c);
}

static bool locked_out(struct vnc *v)
{
	if (v->failures && vnc_now_ms() - v->failed_ms > FAILURES_MS)
		v->failures = 0;
	return v->failures >= FAILURES_MAX;
}

static void offer_security(struct vnc_client *c)
{
	uint8_t type = c->vnc->password ? SECURITY_VNC : SECURITY_NONE;

	if (type == SECURITY_VNC && locked_out(c->vnc)) {
		/* No type at all, and why (3.3 and 3.7 have a reason here too). */
		if (c->minor == 3)
			vnc_put_u32(&c->msg, 0);
		else
			vnc_put_u8(&c->msg, 0);
		put_text(&c->msg, "Too many wrong passwords; try again in a few seconds");
		c->closing = true;
		vnc_client_send(c);
		return;
	}
	if (c->minor == 3) {
		vnc_put_u32(&c->msg, type);
	} else {
		vnc_put_u8(&c->msg, 1);
		vnc_put_u8(&c->msg, type);
	}
	if (c->minor == 3 && type == SECURITY_VNC) {
		vnc_auth_challenge(c->challenge);
		vnc_put(&c->msg, c->challenge, VNC_CHALLENGE);
		c->state = VNC_AUTH;
	} else {
		c->state = c->minor == 3 ? VNC_INIT : VNC_SECURITY;
	}
	vnc_client_send(c);
}

static long take_version(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	unsigned major, minor;

	if (len < 12)
		return 0;
	if (memcmp(p, "RFB ", 4) || p[7] != '.' || p[11] != '\n')
		return err_set(err, -EPROTO, "it speaks no RFB");
	major = minor = 0;
	for (unsigned n = 0; n < 3; n++) {
		major = major * 10 + (p[4 + n] - '0') % 10u;
		minor = minor * 10 + (p[8 + n] - '0') % 10u;
	}
	if (major < 3)
		return err_set(err, -EPROTO, "it speaks RFB %u.%u", major, minor);
	/* Unknown ones between are 3.3 (7.1.1); newer ones what we offered. */
	c->minor = major > 3 || minor >= 8 ? 8 : minor == 7 ? 7 : 3;
	offer_security(c);
	return 12;
}

static long take_security(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	uint8_t type = c->vnc->password ? SECURITY_VNC : SECURITY_NONE;

	if (!len)
		return 0;
	if (p[0] != type)
		return err_set(err, -EPROTO, "it picks security type %u, which was not offered",
			       p[0]);
	if (type == SECURITY_VNC) {
		vnc_auth_challenge(c->challenge);
		vnc_put(&c->msg, c->challenge, VNC_CHALLENGE);
		c->state = VNC_AUTH;
	} else {
		if (c->minor >= 8)
			vnc_put_u32(&c->msg, 0);
		c->state = VNC_INIT;
	}
	vnc_client_send(c);
	return 1;
}

static long take_auth(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	struct vnc *v = c->vnc;

	if (len < VNC_CHALLENGE)
		return 0;
	if (v->password && v->password[0] && !locked_out(v) &&
	    vnc_auth_check(v->password, c->challenge, p)) {
		v->failures = 0;
		vnc_put_u32(&c->msg, 0);
		c->state = VNC_INIT;
		vnc_client_send(c);
	} else {
		v->failures++;
		v->failed_ms = vnc_now_ms();
		vnc_put_u32(&c->msg, 1);
		fail(c, "The password is wrong");
	}
	return VNC_CHALLENGE;
}

static long take_init(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	if (!len)
		return 0;
	/* The shared flag: screens of machines are always shared. */
	c->w = vnc_width(c->vnc);
	c->h = vnc_height(c->vnc);
	vnc_put_u16(&c->msg, (uint16_t)c->w);
	vnc_put_u16(&c->msg, (uint16_t)c->h);
	vnc_format_put(&c->format, &c->msg);
	put_text(&c->msg, c->vnc->name);
	c->state = VNC_RUNNING;
	vnc_client_resized(c);
	vnc_client_send(c);
	if (!c->gone)
		vnc_tell(c, VNC_EVENT_INITIALIZED);
	return 1;
}

/*
 * Messages.
 */
static long take_format(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	if (len < 20)
		return 0;
	if (vnc_format_parse(&c->format, p + 4) < 0)
		return err_set(err, -EPROTO, "its pixel format is impossible");
	c->map_due = c->format.mapped;
	return 20;
}

static void take_encoding(struct vnc_client *c, int32_t n, bool *picked)
{
	switch (n) {
	case VNC_RAW: case VNC_HEXTILE: case VNC_TIGHT: case VNC_ZRLE:
		if (!*picked)
			c->encoding = n;
		*picked = true;
		break;
	case ENC_DESKTOP_SIZE: c->has_resize = true; break;
	case ENC_EXT_DESKTOP_SIZE: c->has_ext_resize = true; break;
	case ENC_MOTION: c->has_motion = true; break;
	case ENC_EXT_KEY: c->has_ext_key = true; break;
	case ENC_LEVEL_0 ... ENC_LEVEL_9: c->level = n - ENC_LEVEL_0; break;
	default: break;
	}
}

static long take_encodings(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	bool picked = false, had_key = c->has_ext_key, had_resize = c->has_ext_resize;
	unsigned count;

	if (len < 4)
		return 0;
	count = ld_be16(p + 2);
	if (count > VNC_ENCODINGS_MAX)
		return err_set(err, -EPROTO, "it knows %u encodings", count);
	if (len < 4 + 4 * count)
		return 0;
	c->encoding = VNC_RAW;
	c->has_resize = c->has_ext_resize = c->has_motion = c->has_ext_key = false;
	for (unsigned n = 0; n < count; n++)
		take_encoding(c, (int32_t)ld_be32(p + 4 + 4 * n), &picked);
	/* Those that need a word in answer before the viewer uses them. */
	if (c->has_ext_key && !had_key) {
		vnc_put_u8(&c->msg, 0);
		vnc_put_u8(&c->msg, 0);
		vnc_put_u16(&c->msg, 1);
		vnc_put_rect_header(&c->msg, 0, 0, c->w, c->h, ENC_EXT_KEY);
		vnc_client_send(c);
	}
	if (c->has_ext_resize && !had_resize)
		c->ext_resize_due = true;
	if (c->has_motion)
		vnc_client_tell_pointer(c);
	if (c->w != vnc_width(c->vnc) || c->h != vnc_height(c->vnc))
		vnc_client_resized(c);
	return 4 + 4 * (long)count;
}

static long take_update_request(struct vnc_client *c, const uint8_t *p, size_t len,
				struct err *err)
{
	struct rect r;

	if (len < 10)
		return 0;
	r = (struct rect){ ld_be16(p + 2), ld_be16(p + 4), ld_be16(p + 6), ld_be16(p + 8) };
	c->wants = true;
	if (!p[1] && r.x < c->w && r.y < c->h) {
		r.w = min_of(r.w, c->w - r.x);
		r.h = min_of(r.h, c->h - r.y);
		if (vnc_client_mark(c, &r) < 0)
			return -ENOMEM;
	}
	return 10;
}

static void key(struct vnc_client *c, uint16_t k, bool down)
{
	struct vnc_input *in = &c->vnc->cfg.input;

	if (k && in->key)
		in->key(in->opaque, k, down);
}

/* A keysym says what the viewer's layout made of keys; back to the key of a US
 * keyboard. A capital without Shift held (programs that type) gets a Shift. */
static void keysym(struct vnc_client *c, uint32_t sym, bool down)
{
	bool shift, letter = (sym | 0x20) >= 'a' && (sym | 0x20) <= 'z';
	uint16_t k = key_from_keysym(sym, &shift);

	if (sym == 0xffe1 || sym == 0xffe2)
		c->shift = down;
	if (sym == 0xffe5 && down)
		c->caps = !c->caps;
	if (shift && down && !c->shift && !(letter && c->caps)) {
		key(c, 0x2a, true);
		key(c, k, true);
		key(c, 0x2a, false);
	} else {
		key(c, k, down);
	}
}

static long take_key(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	if (len < 8)
		return 0;
	keysym(c, ld_be32(p + 4), p[1] != 0);
	return 8;
}

/* QEMU's messages (255): the extended key event (0). */
static long take_qemu(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	uint32_t code;
	uint16_t k;

	if (len < 2)
		return 0;
	if (p[1] != 0)
		return err_set(err, -EPROTO, "it sends QEMU message %u, which was not offered",
			       p[1]);
	if (len < 12)
		return 0;
	code = ld_be32(p + 8);
	k = key_from_number(code);
	if (k)
		key(c, k, ld_be16(p + 2) != 0);
	else
		keysym(c, ld_be32(p + 4), ld_be16(p + 2) != 0);
	return 12;
}

static long take_pointer(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	struct vnc_input *in = &c->vnc->cfg.input;
	unsigned x, y, mask, buttons, pressed;
	int wheel;

	if (len < 6)
		return 0;
	mask = p[1];
	x = ld_be16(p + 2);
	y = ld_be16(p + 4);
	pressed = mask & ~c->buttons;
	c->buttons = mask;
	buttons = (mask & 1) | (mask >> 2 & 1) << 1 | (mask >> 1 & 1) << 2;
	wheel = (pressed >> 3 & 1) - (int)(pressed >> 4 & 1);
	if (c->has_motion && !c->told_absolute) {
		if (in->move)
			in->move(in->opaque, (int)x - 0x7fff, (int)y - 0x7fff, wheel, buttons);
	} else if (in->point) {
		in->point(in->opaque, min_of(x, c->w - 1), min_of(y, c->h - 1), c->w, c->h,
			  wheel, buttons);
	}
	return 6;
}

static long take_cut_text(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	int32_t n;

	if (len < 8)
		return 0;
	n = (int32_t)ld_be32(p + 4);
	c->skip = n < 0 ? (uint64_t)-(int64_t)n : (uint64_t)n; /* negative: extended clipboard */
	return 8;
}

/* SetDesktopSize: the guest decides on its size. */
static long take_set_size(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	if (len < 8)
		return 0;
	if (len < 8 + 16u * p[6])
		return 0;
	c->ext_resize_due = true;
	c->resize_reason = 1;
	c->resize_status = 1; /* administratively prohibited */
	c->wants = true;
	return 8 + 16 * p[6];
}

static long take_message(struct vnc_client *c, const uint8_t *p, size_t len, struct err *err)
{
	if (!len)
		return 0;
	switch (p[0]) {
	case 0: return take_format(c, p, len, err);
	case 2: return take_encodings(c, p, len, err);
	case 3: return take_update_request(c, p, len, err);
	case 4: return take_key(c, p, len, err);
	case 5: return take_pointer(c, p, len, err);
	case 6: return take_cut_text(c, p, len, err);
	case 251: return take_set_size(c, p, len, err);
	case 255: return take_qemu(c, p, len, err);
	default: return err_set(err, -EPROTO, "it sends message %u, which was not offered", p[0]);
	}
}

int vnc_client_parse(struct vnc_client *c, struct err *err)
{
	static taker *const takers[] = {
		[VNC_VERSION] = take_version, [VNC_SECURITY] = take_security,
		[VNC_AUTH] = take_auth, [VNC_INIT] = take_init, [VNC_RUNNING] = take_message,
	};
	size_t pos = 0;
	long n = 1;

	while (n > 0 && !c->gone && !c->closing) {
		size_t skip = (size_t)min_of(c->skip, (uint64_t)(c->in.len - pos));

		pos += skip;
		c->skip -= skip;
		if (c->skip)
			break;
		n = takers[c->state](c, c->in.data + pos, c->in.len - pos, err);
		if (n > 0)
			pos += (size_t)n;
	}
	if (pos)
		memmove(c->in.data, c->in.data + pos, c->in.len - pos);
	c->in.len -= pos;
	return n < 0 ? (int)n : 0;
}
