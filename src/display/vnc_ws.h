/* SPDX-License-Identifier: GPL-2.0-or-later */
/* WebSocket, the server's side (RFC 6455): the opening handshake and frames. */
#ifndef BOTHY_DISPLAY_VNC_WS_H
#define BOTHY_DISPLAY_VNC_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/display/vnc_enc.h"

#define WS_REQUEST_MAX 8192u /* bytes of the HTTP request */

struct vnc_ws {
	uint8_t head[14];     /* of the frame that comes in */
	unsigned head_len;
	bool in_payload;
	uint64_t left;        /* payload bytes still to come */
	unsigned at;          /* payload bytes seen, for the mask */
	uint8_t control[125]; /* a ping's or a close's payload */
	unsigned control_len;
	bool message;         /* inside of a fragmented message */
};

/* The request in @text (its header, with the empty line; NUL-terminated). The answer
 * goes into @reply either way. 0; -EPROTO: no request that we take, -EACCES: a web
 * page from elsewhere. @trusted: pages from anywhere may connect, for the viewer must
 * know a password. */
int must_check vnc_ws_handshake(const char *text, bool trusted, struct vnc_buf *reply);

/* Takes @len bytes from the client: payloads are appended to @in, answers that are due
 * (pong, close) to @reply. 0; -EPROTO; -ECONNRESET: the client closes; -ENOMEM. */
int must_check vnc_ws_feed(struct vnc_ws *w, const uint8_t *data, size_t len,
			   struct vnc_buf *in, struct vnc_buf *reply);

/* Puts @len bytes as one binary frame. */
void vnc_ws_put(struct vnc_buf *b, const uint8_t *data, size_t len);

#endif
