/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VNC server on a unix socket, with its loop run by hand on this thread. */
#ifndef BOTHY_TESTS_UNIT_VNC_RIG_H
#define BOTHY_TESTS_UNIT_VNC_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/display/vnc_priv.h"
#include "tests/unit/cmocka_all.h"

#define RIG_EVENTS 4096

struct rig_event {
	char kind; /* k key, r release, p point, m move */
	int a, b, c, d;
};

struct vnc_rig {
	struct loop *loop;
	pthread_mutex_t lock;
	pthread_t thread;
	struct screens screens;
	struct surface s;
	struct vnc *v;
	char dir[40], path[64];
	struct rig_event ev[RIG_EVENTS];
	unsigned events;
	bool absolute;
};

static inline void rig_put(struct vnc_rig *r, char kind, int a, int b, int c, int d)
{
	if (r->events < RIG_EVENTS)
		r->ev[r->events++] = (struct rig_event){ kind, a, b, c, d };
}

static inline void rig_key(void *o, uint16_t key, bool down) { rig_put(o, 'k', key, down, 0, 0); }
static inline void rig_release(void *o) { rig_put(o, 'r', 0, 0, 0, 0); }
static inline bool rig_absolute(void *o) { return ((struct vnc_rig *)o)->absolute; }

static inline void rig_point(void *o, unsigned x, unsigned y, unsigned w, unsigned h, int wheel,
			     unsigned buttons)
{
	rig_put(o, 'p', (int)x, (int)y, wheel, (int)buttons);
}

static inline void rig_move(void *o, int dx, int dy, int wheel, unsigned buttons)
{
	rig_put(o, 'm', dx, dy, wheel, (int)buttons);
}

static void *rig_loop(void *opaque)
{
	loop_run(((struct vnc_rig *)opaque)->loop);
	return NULL;
}

static inline void vnc_rig_init(struct vnc_rig *r)
{
	struct vnc_config cfg = { .name = "test" };
	pthread_mutexattr_t attr;
	struct err err = { "" };
	char where[80];

	memset(r, 0, sizeof(*r));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&r->lock, &attr);
	r->loop = loop_new(&r->lock, &err);
	assert_non_null(r->loop);
	strcpy(r->dir, "/tmp/bothy-vnc-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/s", r->dir);
	snprintf(where, sizeof(where), "unix:%s", r->path);
	surface_init(&r->s, "s", NULL, NULL);
	assert_int_equal(surface_resize(&r->s, 200, 150), 0);
	screens_add(&r->screens, &r->s);
	cfg.loop = r->loop;
	cfg.screens = &r->screens;
	cfg.where = where;
	cfg.input = (struct vnc_input){ rig_key, rig_release, rig_point, rig_move, rig_absolute, r };
	r->absolute = true;
	if (vnc_new(&cfg, &r->v, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(pthread_create(&r->thread, NULL, rig_loop, r), 0);
}

static inline void vnc_rig_fini(struct vnc_rig *r)
{
	loop_stop(r->loop);
	pthread_join(r->thread, NULL);
	vnc_free(r->v);
	surface_fini(&r->s);
	loop_free(r->loop);
	pthread_mutex_destroy(&r->lock);
	assert_int_equal(access(r->path, F_OK), -1); /* the socket is gone */
	assert_int_equal(rmdir(r->dir), 0);
}

static inline int rig_connect(struct vnc_rig *r)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 60 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, r->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static inline void rig_send(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Whole, or -1 when the other end closes. */
static inline int rig_try_read(int fd, void *data, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv(fd, (char *)data + got, len - got, 0);

		if (n <= 0)
			return -1;
		got += (size_t)n;
	}
	return 0;
}

static inline void rig_read(int fd, void *data, size_t len)
{
	assert_int_equal(rig_try_read(fd, data, len), 0);
}

/* Until it says nothing more: it closed the connection. */
static inline void rig_expect_closed(int fd)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		;
	assert_true(n == 0 || errno == ECONNRESET);
	close(fd);
}

/* RFB 3.8 without a password, up to ServerInit. */
static inline int rig_login(struct vnc_rig *r)
{
	int fd = rig_connect(r);
	uint8_t buf[64];

	/* Who speaks first need not wait for the server to guess that it is no browser. */
	rig_send(fd, "RFB 003.008\n", 12);
	rig_read(fd, buf, 12);
	assert_memory_equal(buf, "RFB 003.008\n", 12);
	rig_read(fd, buf, 2);
	assert_memory_equal(buf, "\1\1", 2);
	rig_send(fd, "\1", 1);
	rig_read(fd, buf, 4);
	assert_int_equal(ld_be32(buf), 0);
	rig_send(fd, "\1", 1);
	rig_read(fd, buf, 28);
	assert_memory_equal(buf + 24, "test", 4);
	return fd;
}

static inline void rig_request(int fd, bool incremental, unsigned x, unsigned y, unsigned w,
			       unsigned h)
{
	uint8_t b[10] = { 3, incremental };

	st_be16(b + 2, (uint16_t)x);
	st_be16(b + 4, (uint16_t)y);
	st_be16(b + 6, (uint16_t)w);
	st_be16(b + 8, (uint16_t)h);
	rig_send(fd, b, 10);
}

static inline void rig_encodings(int fd, unsigned count, const int32_t *list)
{
	uint8_t b[4 + 64] = { 2 };

	st_be16(b + 2, (uint16_t)count);
	for (unsigned n = 0; n < count; n++)
		st_be32(b + 4 + 4 * n, (uint32_t)list[n]);
	rig_send(fd, b, 4 + 4 * count);
}

#endif
