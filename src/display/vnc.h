/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VNC server for one screen: RFB 3.3, 3.7 and 3.8 (RFC 6143 and the community's
 * registry, rfbproto.rst), plain or inside a WebSocket (RFC 6455) on the same port.
 *
 * Security types None, or VNC authentication once a password was given. Several
 * viewers look at the screen together. What a viewer sends is checked; one that breaks
 * the protocol is dropped, one that is slow gets fewer pictures, never old ones.
 *
 * Runs on the loop, under its lock.
 */
#ifndef BOTHY_DISPLAY_VNC_H
#define BOTHY_DISPLAY_VNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/display/surface.h"

struct loop;
struct vnc;

#define VNC_PORT 5900
#define VNC_PASSWORD_MAX 8u /* characters that VNC authentication looks at */

/* Where keys and pointer go. Members may be NULL. */
struct vnc_input {
	void (*key)(void *opaque, uint16_t key, bool down); /* display/keys.h */
	void (*release_keys)(void *opaque);
	/* Pixel of a screen of w x h; buttons: bit 0 left, 1 right, 2 middle, 3 and 4
	 * the side ones; wheel: steps up. */
	void (*point)(void *opaque, unsigned x, unsigned y, unsigned w, unsigned h, int wheel,
		      unsigned buttons);
	void (*move)(void *opaque, int dx, int dy, int wheel, unsigned buttons);
	bool (*is_absolute)(void *opaque);
	void *opaque;
};

struct vnc_peer {
	char host[64], service[16]; /* numeric; a unix socket's are empty */
	bool websocket, authenticated; /* past its security handshake */
};

enum vnc_event { VNC_EVENT_CONNECTED, VNC_EVENT_INITIALIZED, VNC_EVENT_DISCONNECTED };

struct vnc_config {
	struct loop *loop;
	const struct log *log;      /* may be NULL */
	struct screens *screens;    /* shows the first of them; not owned */
	const char *name;           /* the window's title; copied */
	struct vnc_input input;
	/* A viewer came (it speaks RFB), is in, or left. May be NULL. Not called from
	 * vnc_free(). */
	void (*event)(void *opaque, enum vnc_event ev, const struct vnc_peer *peer);
	void *event_opaque;
	/* Where to listen: "ADDR:PORT", "[ADDR6]:PORT", "PORT" (loopback), "unix:PATH",
	 * or NULL: loopback, the first free port from VNC_PORT on. */
	const char *where;
	const char *password_file;  /* its first line; NULL: no password */
};

/* Listens. -EINVAL: @where is wrong use. */
int must_check vnc_new(const struct vnc_config *cfg, struct vnc **v, struct err *err);
void vnc_free(struct vnc *v); /* drops everyone */

/* From now on viewers must know it. "": nobody gets in any more; NULL: no password.
 * More than VNC_PASSWORD_MAX bytes are cut, as viewers do. @drop: who is connected
 * leaves. */
void vnc_set_password(struct vnc *v, const char *password, bool drop);

/* "127.0.0.1:5900", "unix:/path". */
const char *vnc_where(const struct vnc *v);

bool vnc_has_password(const struct vnc *v);
unsigned vnc_peers(const struct vnc *v, struct vnc_peer *peers, unsigned max);

/* The list of screens changed. */
void vnc_screens_changed(struct vnc *v);

#endif
