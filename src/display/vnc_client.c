/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A viewer's connection: bytes in and out, what it does not know of the picture. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/display/vnc_priv.h"

#define READ_MAX 16384u

static void client_event(void *opaque, uint32_t events);

void vnc_client_drop(struct vnc_client *c)
{
	if (c->gone)
		return;
	c->gone = true;
	loop_fd_del(c->vnc->cfg.loop, c->fd);
	close(c->fd);
	c->fd = -1;
	if (c->state >= VNC_VERSION)
		vnc_tell(c, VNC_EVENT_DISCONNECTED);
	if (c->state == VNC_RUNNING && c->vnc->cfg.input.release_keys)
		c->vnc->cfg.input.release_keys(c->vnc->cfg.input.opaque);
	if (c->buttons && c->vnc->cfg.input.move)
		c->vnc->cfg.input.move(c->vnc->cfg.input.opaque, 0, 0, 0, 0);
}

static bool watch(struct vnc_client *c)
{
	uint32_t events = c->out.len > c->out_pos ? EPOLLOUT : 0;

	if (!c->closing)
		events |= EPOLLIN;
	if (loop_fd_set(c->vnc->cfg.loop, c->fd, events, client_event, c) == 0)
		return true;
	vnc_client_drop(c);
	return false;
}

/* Sends what waits, as far as the socket takes it. */
static void flush(struct vnc_client *c)
{
	while (c->out_pos < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->out_pos, c->out.len - c->out_pos,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			vnc_client_drop(c);
			return;
		}
		c->out_pos += (size_t)n;
	}
	if (c->out_pos == c->out.len) {
		c->out_pos = c->out.len = 0;
		/* A large update's buffer goes back to the host. */
		if (c->out.cap > 1 << 20)
			vnc_buf_fini(&c->out);
		if (c->closing) {
			vnc_client_drop(c);
			return;
		}
	}
	watch(c);
}

void vnc_client_send(struct vnc_client *c)
{
	if (c->gone)
		return;
	if (c->websocket && c->msg.len)
		vnc_ws_put(&c->out, c->msg.data, c->msg.len);
	else
		vnc_put(&c->out, c->msg.data, c->msg.len);
	if (c->msg.failed || c->out.failed) {
		vnc_client_drop(c);
		return;
	}
	c->msg.len = 0;
	if (c->msg.cap > 1 << 20)
		vnc_buf_fini(&c->msg);
	flush(c);
}

void vnc_client_start(struct vnc_client *c)
{
	c->state = VNC_VERSION;
	vnc_tell(c, VNC_EVENT_CONNECTED);
	vnc_put(&c->msg, "RFB 003.008\n", 12);
	vnc_client_send(c);
}

/*
 * The picture: tiles that the viewer does not know.
 */
int vnc_client_mark(struct vnc_client *c, const struct rect *r)
{
	unsigned x1, y1;

	if (!c->tiles || !r->w || !r->h)
		return 0;
	x1 = min_of((r->x + r->w - 1) / VNC_TILE, c->tiles_w - 1);
	y1 = min_of((r->y + r->h - 1) / VNC_TILE, c->tiles_h - 1);
	for (unsigned y = r->y / VNC_TILE; y <= y1; y++)
		for (unsigned x = r->x / VNC_TILE; x <= x1; x++)
			c->tiles[(size_t)y * c->tiles_w + x] = 1;
	return 0;
}

/* Tiles for the size that the viewer knows; all unknown. */
static bool new_tiles(struct vnc_client *c)
{
	free(c->tiles);
	c->tiles_w = (c->w + VNC_TILE - 1) / VNC_TILE;
	c->tiles_h = (c->h + VNC_TILE - 1) / VNC_TILE;
	c->tiles = malloc((size_t)c->tiles_w * c->tiles_h);
	if (!c->tiles) {
		vnc_client_drop(c);
		return false;
	}
	memset(c->tiles, 1, (size_t)c->tiles_w * c->tiles_h);
	return true;
}

void vnc_client_resized(struct vnc_client *c)
{
	unsigned w = vnc_width(c->vnc), h = vnc_height(c->vnc);

	if (c->state != VNC_RUNNING) {
		c->w = w;
		c->h = h;
		return;
	}
	/* Who cannot follow goes on seeing what fits into the size it was told. */
	if ((c->has_resize || c->has_ext_resize) && (c->w != w || c->h != h)) {
		c->w = w;
		c->h = h;
		c->resize_due = true;
		c->resize_reason = c->resize_status = 0;
	}
	new_tiles(c);
}

/*
 * Bytes from it.
 */
static void refuse(struct vnc_client *c, const char *why)
{
	log_info(c->vnc->cfg.log, "VNC: a viewer is dropped: %s", why);
	vnc_client_drop(c);
}

/* The HTTP request so far is in c->in. */
static void take_http(struct vnc_client *c)
{
	uint8_t *end = memmem(c->in.data, c->in.len, "\r\n\r\n", 4);
	size_t len;
	int ret;

	if (!end) {
		if (c->in.len > WS_REQUEST_MAX)
			refuse(c, "its HTTP request is too long");
		return;
	}
	len = (size_t)(end - c->in.data) + 4;
	end[2] = '\0'; /* the last field keeps its line's end */
	ret = memchr(c->in.data, 0, len) != end + 2 ? -EPROTO :
		vnc_ws_handshake((char *)c->in.data, c->vnc->password != NULL, &c->msg);
	if (ret < 0) {
		c->closing = true;
		c->in.len = 0;
		if (c->msg.len)
			vnc_client_send(c);
		else
			refuse(c, "its HTTP request is no text");
		return;
	}
	vnc_client_send(c); /* as it is: frames begin behind it */
	c->websocket = true;
	memmove(c->in.data, c->in.data + len, c->in.len - len);
	c->in.len -= len;
	if (!c->gone)
		vnc_client_start(c);
}

/* What is the first thing it says? */
static void detect(struct vnc_client *c)
{
	if (c->in.len >= 4) {
		if (!memcmp(c->in.data, "GET ", 4)) {
			c->state = VNC_HTTP;
			take_http(c);
		} else {
			vnc_client_start(c);
		}
	}
}

static void parse(struct vnc_client *c)
{
	struct err err = { "" };

	if (c->state == VNC_DETECT)
		detect(c);
	else if (c->state == VNC_HTTP)
		take_http(c);
	if (c->gone || c->closing || c->state < VNC_VERSION)
		return;
	if (vnc_client_parse(c, &err) < 0 && !c->closing)
		refuse(c, err.text);
}

static void client_read(struct vnc_client *c)
{
	uint8_t buf[READ_MAX];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
	struct vnc_buf reply = { .data = NULL };
	bool was_websocket = c->websocket;
	int ret = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		vnc_client_drop(c);
		return;
	}
	if (c->websocket)
		ret = vnc_ws_feed(&c->ws, buf, (size_t)n, &c->in, &reply);
	else
		vnc_put(&c->in, buf, (size_t)n);
	if (ret == 0 && c->in.failed)
		ret = -ENOMEM;
	if (ret == -ECONNRESET)
		c->closing = true;
	vnc_put(&c->out, reply.data, reply.len);
	vnc_buf_fini(&reply);
	if (ret < 0 && ret != -ECONNRESET) {
		refuse(c, ret == -ENOMEM ? "out of memory" : "it breaks the WebSocket protocol");
		return;
	}
	if (!c->closing)
		parse(c);
	/* Frames that came right behind the request. */
	if (!c->gone && c->websocket && !was_websocket && c->in.len) {
		struct vnc_buf early = c->in;

		c->in = (struct vnc_buf){ .data = NULL };
		ret = vnc_ws_feed(&c->ws, early.data, early.len, &c->in, &c->out);
		vnc_buf_fini(&early);
		if (ret < 0)
			refuse(c, "it breaks the WebSocket protocol");
		else
			parse(c);
	}
	if (!c->gone)
		flush(c);
}

static void client_event(void *opaque, uint32_t events)
{
	struct vnc_client *c = opaque;
	struct vnc *v = c->vnc;

	if (c->gone)
		return;
	if (events & EPOLLOUT)
		flush(c);
	if (!c->gone && !c->closing && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		client_read(c);
	else if (!c->gone && events & (EPOLLHUP | EPOLLERR))
		vnc_client_drop(c);
	if (!c->gone)
		vnc_client_update(c);
	vnc_wake(v);
}

/*
 * Life.
 */
static void describe(int fd, struct vnc_peer *p)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getpeername(fd, (struct sockaddr *)&sa, &len) < 0 || sa.ss_family == AF_UNIX)
		return;
	if (getnameinfo((struct sockaddr *)&sa, len, p->host, sizeof(p->host), p->service,
			sizeof(p->service), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		p->host[0] = p->service[0] = '\0';
}

struct vnc_client *vnc_client_new(struct vnc *v, int fd)
{
	struct vnc_client *c = calloc(1, sizeof(*c));
	int one = 1;

	if (!c) {
		close(fd);
		return NULL;
	}
	/* Fails on a unix socket, which needs none. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		errno = 0;
	c->vnc = v;
	c->fd = fd;
	c->since_ms = vnc_now_ms();
	describe(fd, &c->peer);
	vnc_format_default(&c->format);
	c->next = v->clients;
	v->clients = c;
	v->count++;
	watch(c);
	return c;
}

void vnc_client_free(struct vnc_client *c)
{
	struct vnc *v = c->vnc;

	for (struct vnc_client **p = &v->clients; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	vnc_client_drop(c);
	v->count--;
	vnc_enc_fini(&c->enc);
	vnc_buf_fini(&c->in);
	vnc_buf_fini(&c->msg);
	vnc_buf_fini(&c->out);
	free(c->tiles);
	free(c);
}
