/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/display/vnc_ws.h"

#include <errno.h>
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"

#define OP_CONTINUE 0u
#define OP_BINARY 2u
#define OP_CLOSE 8u
#define OP_PING 9u
#define OP_PONG 10u
#define FIN 0x80u
#define MASKED 0x80u

/*
 * The opening handshake (section 4.2).
 */

/* The value of a header field, or NULL; *len without blanks around it. */
static const char *field(const char *text, const char *name, size_t *len)
{
	size_t name_len = strlen(name);

	for (const char *p = strstr(text, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n")) {
		const char *line = p + 2, *end = strstr(line, "\r\n");

		if (strncasecmp(line, name, name_len) || line[name_len] != ':' || !end)
			continue;
		line += name_len + 1;
		while (line < end && (*line == ' ' || *line == '\t'))
			line++;
		while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		*len = (size_t)(end - line);
		return line;
	}
	return NULL;
}

/* Is @word one of the list in a field? */
static bool lists(const char *text, const char *name, const char *word)
{
	size_t len, n = strlen(word);
	const char *p = field(text, name, &len);

	for (const char *end = p ? p + len : NULL; p && p < end;) {
		size_t item = strcspn(p, ",\r");

		while (item && (*p == ' ' || *p == '\t'))
			p++, item--;
		if (item >= n && !strncasecmp(p, word, n) && (item == n || p[n] == ' '))
			return true;
		p += item;
		p += p < end && *p == ',';
	}
	return false;
}

/* Browsers let any page connect anywhere and tell which page it is. Without a password
 * only pages of this host itself may. */
static bool origin_is_here(const char *text)
{
	static const char *const here[] = { "localhost", "127.0.0.1", "[::1]" };
	size_t len;
	const char *p = field(text, "Origin", &len), *host;

	if (!p)
		return true; /* no browser */
	host = memmem(p, len, "://", 3);
	if (!host)
		return false;
	host += 3;
	for (size_t n = 0; n < array_size(here); n++) {
		size_t k = strlen(here[n]);

		if (host + k <= p + len && !strncasecmp(host, here[n], k) &&
		    (host + k == p + len || host[k] == ':'))
			return true;
	}
	return false;
}

static int refuse(struct vnc_buf *reply, const char *status, const char *why, int code)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nConnection: close\r\n"
			 "Content-Type: text/plain\r\nSec-WebSocket-Version: 13\r\n"
			 "Content-Length: %zu\r\n\r\n%s\n", status, strlen(why) + 1, why);

	vnc_put(reply, text, (size_t)n);
	return code;
}

static void accept_key(const char *key, size_t len, char out[29])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	struct sha1_ctx sha;
	uint8_t digest[SHA1_DIGEST_SIZE];

	sha1_init(&sha);
	sha1_update(&sha, len, (const uint8_t *)key);
	sha1_update(&sha, sizeof(guid) - 1, (const uint8_t *)guid);
	sha1_digest(&sha, sizeof(digest), digest);
	base64_encode_raw(out, sizeof(digest), digest);
	out[28] = '\0';
}

int vnc_ws_handshake(const char *text, bool trusted, struct vnc_buf *reply)
{
	char accept[29], answer[256];
	size_t len, version_len;
	const char *key = field(text, "Sec-WebSocket-Key", &len);
	const char *version = field(text, "Sec-WebSocket-Version", &version_len);
	int n;

	if (strncmp(text, "GET ", 4) || !lists(text, "Upgrade", "websocket") ||
	    !lists(text, "Connection", "upgrade") || !key || len != 24 || !version)
		return refuse(reply, "400 Bad Request", "This port speaks VNC, plain or in a "
			      "WebSocket; use a VNC viewer or noVNC.", -EPROTO);
	if (version_len != 2 || memcmp(version, "13", 2))
		return refuse(reply, "426 Upgrade Required", "Version 13 is spoken here.",
			      -EPROTO);
	if (!trusted && !origin_is_here(text))
		return refuse(reply, "403 Forbidden", "A page from another host may connect only "
			      "to a screen with a password.", -EACCES);
	accept_key(key, len, accept);
	n = snprintf(answer, sizeof(answer), "HTTP/1.1 101 Switching Protocols\r\n"
		     "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
		     "%s\r\n", accept, lists(text, "Sec-WebSocket-Protocol", "binary") ?
		     "Sec-WebSocket-Protocol: binary\r\n" : "");
	vnc_put(reply, answer, (size_t)n);
	return 0;
}

/*
 * Frames (section 5).
 */
static void put_head(struct vnc_buf *b, unsigned op, size_t len)
{
	vnc_put_u8(b, (uint8_t)(FIN | op));
	if (len < 126) {
		vnc_put_u8(b, (uint8_t)len);
	} else if (len < 65536) {
		vnc_put_u8(b, 126);
		vnc_put_u16(b, (uint16_t)len);
	} else {
		vnc_put_u8(b, 127);
		vnc_put_u32(b, (uint32_t)((uint64_t)len >> 32));
		vnc_put_u32(b, (uint32_t)len);
	}
}

void vnc_ws_put(struct vnc_buf *b, const uint8_t *data, size_t len)
{
	put_head(b, OP_BINARY, len);
	vnc_put(b, data, len);
}

/* How long the head is, by what is there of it. */
static unsigned head_need(const struct vnc_ws *w)
{
	unsigned len = w->head_len > 1 ? w->head[1] & 0x7f : 0;

	return w->head_len < 2 ? 2 : 2 + (len == 126 ? 2 : len == 127 ? 8 : 0) + 4;
}

static int start_frame(struct vnc_ws *w)
{
	unsigned op = w->head[0] & 15, len = w->head[1] & 0x7f;
	bool control = op & 8;

	if (w->head[0] & 0x70 || !(w->head[1] & MASKED))
		return -EPROTO; /* no extension was agreed on; clients mask */
	if (op != OP_CONTINUE && op != OP_BINARY && op != OP_CLOSE && op != OP_PING &&
	    op != OP_PONG)
		return -EPROTO;
	if (control && (len > 125 || !(w->head[0] & FIN)))
		return -EPROTO;
	if (!control && (op == OP_CONTINUE) != w->message)
		return -EPROTO;
	if (!control)
		w->message = !(w->head[0] & FIN);
	w->left = len == 126 ? ld_be16(w->head + 2) : len == 127 ? ld_be64(w->head + 2) : len;
	if (w->left >> 63)
		return -EPROTO;
	w->in_payload = true;
	w->at = w->control_len = 0;
	return 0;
}

static int end_frame(struct vnc_ws *w, struct vnc_buf *reply)
{
	unsigned op = w->head[0] & 15;

	w->in_payload = false;
	w->head_len = 0;
	if (op == OP_PING || op == OP_CLOSE) {
		put_head(reply, op == OP_PING ? OP_PONG : OP_CLOSE, w->control_len);
		vnc_put(reply, w->control, w->control_len);
	}
	return op == OP_CLOSE ? -ECONNRESET : 0;
}

static int take_payload(struct vnc_ws *w, const uint8_t *data, size_t n, struct vnc_buf *in)
{
	const uint8_t *mask = w->head + head_need(w) - 4;
	bool control = w->head[0] & 8;
	uint8_t *to = control ? w->control + w->control_len : vnc_buf_room(in, n);

	if (!to)
		return -ENOMEM;
	for (size_t k = 0; k < n; k++)
		to[k] = data[k] ^ mask[(w->at + k) & 3];
	w->at += (unsigned)n;
	w->left -= n;
	if (control)
		w->control_len += (unsigned)n;
	else
		in->len += n;
	return 0;
}

int vnc_ws_feed(struct vnc_ws *w, const uint8_t *data, size_t len, struct vnc_buf *in,
		struct vnc_buf *reply)
{
	int ret = 0;

	while (len && ret == 0) {
		if (!w->in_payload) {
			w->head[w->head_len++] = *data++;
			len--;
			if (w->head_len < head_need(w))
				continue;
			ret = start_frame(w);
		} else {
			size_t n = (size_t)min_of((uint64_t)len, w->left);

			ret = take_payload(w, data, n, in);
			data += n;
			len -= n;
		}
		if (ret == 0 && w->in_payload && !w->left)
			ret = end_frame(w, reply);
	}
	return ret == 0 && (in->failed || reply->failed) ? -ENOMEM : ret;
}
