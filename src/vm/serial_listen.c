/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/vm/serial_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/accept.h"
#include "src/dev/chardev.h"

struct serial_listen {
	struct chardev chardev; /* first: what the device sees */
	struct loop *loop;
	struct acceptor acceptor;
	struct chardev *client; /* NULL: nobody is connected */
	bool hung_up, closed;
	unsigned posted; /* calls of drop_client() under way */
};

static void accept_event(void *opaque, uint32_t events);

/* New clients are looked for only while there is none. */
static void watch(struct serial_listen *s)
{
	/* Without memory for the watch nobody can connect; the guest goes on. */
	if (loop_fd_set(s->loop, s->acceptor.fd, s->client ? 0 : EPOLLIN, accept_event, s) < 0)
		return;
}

/* From the client's side to the device's. */
static size_t front_can_receive(void *opaque)
{
	struct serial_listen *s = opaque;

	return chardev_can_receive(&s->chardev);
}

static void front_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct serial_listen *s = opaque;

	chardev_receive(&s->chardev, buf, len);
}

static void front_writable(void *opaque)
{
	struct serial_listen *s = opaque;

	chardev_writable(&s->chardev);
}

static const struct chardev_front client_front = {
	.can_receive = front_can_receive,
	.receive = front_receive,
	.writable = front_writable,
};

static void drop_client(void *opaque)
{
	struct serial_listen *s = opaque;

	s->posted--;
	if (s->closed) {
		if (!s->posted)
			free(s);
		return;
	}
	if (!s->hung_up)
		return;
	s->hung_up = false;
	chardev_close(s->client);
	s->client = NULL;
	watch(s);
	chardev_writable(&s->chardev); /* it may have waited for the one that left */
}

/* The client's chardev calls this from within itself: it is closed later. */
static void hangup(void *opaque)
{
	struct serial_listen *s = opaque;

	if (s->hung_up)
		return;
	s->hung_up = true;
	s->posted++;
	loop_post(s->loop, drop_client, s);
}

static void accept_event(void *opaque, uint32_t events)
{
	struct serial_listen *s = opaque;
	struct chardev_fd_config cfg = { .own = true, .hangup = hangup, .opaque = s };
	struct err err;
	int fd = acceptor_take(&s->acceptor, NULL);

	if (fd < 0 || s->client) {
		if (fd >= 0)
			close(fd);
		return;
	}
	cfg.in_fd = cfg.out_fd = fd;
	s->client = chardev_fd_new(s->loop, &cfg, &err);
	if (!s->client) {
		close(fd);
		return;
	}
	chardev_attach(s->client, &client_front, s);
	watch(s);
}

static size_t listen_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct serial_listen *s = (struct serial_listen *)c;

	return chardev_write(s->client, buf, len);
}

static void listen_accept_input(struct chardev *c)
{
	struct serial_listen *s = (struct serial_listen *)c;

	if (s->client)
		chardev_accept_input(s->client);
}

static void listen_close(struct chardev *c)
{
	struct serial_listen *s = (struct serial_listen *)c;

	loop_fd_del(s->loop, s->acceptor.fd);
	acceptor_fini(&s->acceptor);
	if (s->client)
		chardev_close(s->client);
	s->client = NULL;
	s->closed = true;
	if (!s->posted)
		free(s);
}

static const struct chardev_ops ops = {
	.write = listen_write,
	.accept_input = listen_accept_input,
	.close = listen_close,
};

struct chardev *serial_listen_new(struct loop *l, int fd, struct err *err)
{
	struct serial_listen *s = calloc(1, sizeof(*s));
	int ret;

	if (!s) {
		err_set(err, -ENOMEM, "out of memory for the serial port's socket");
		return NULL;
	}
	s->chardev.ops = &ops;
	s->loop = l;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	acceptor_init(&s->acceptor, fd);
	ret = loop_fd_set(l, fd, EPOLLIN, accept_event, s);
	if (ret < 0) {
		acceptor_fini(&s->acceptor);
		err_set(err, ret, "the serial port's socket cannot be watched: %s",
			strerror(-ret));
		free(s);
		return NULL;
	}
	return &s->chardev;
}
