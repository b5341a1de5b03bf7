/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte stream over descriptors. Input is read ahead into a buffer, filtered, and
 * given to the device as it takes it; output goes straight to the descriptor, and
 * what that does not take waits in a buffer here, the rest with the device. The buffer
 * is for readers that are slow for a moment: firmware gives up on a serial port that
 * takes nothing for 0.2 ms.
 *
 * A regular file cannot be waited for (epoll refuses it) and never blocks for long:
 * it is written directly and read to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/dev/chardev.h"

#define OUT_SIZE 0x10000u
#define DRAIN_MS 2000 /* for what is in the buffer at the end */

struct chardev_fd {
	struct chardev base;
	struct chardev_fd_config cfg;
	struct loop *loop;
	uint8_t in[1024];
	size_t in_pos, in_len;
	uint8_t out[OUT_SIZE];
	size_t out_pos, out_len; /* what of it is still to be written */
	bool owing;              /* the device was told to wait */
	bool in_regular, out_regular;
	bool in_done, out_done; /* the other side has gone */
	bool want_write;
	bool delivering;
	bool told;
};

static void on_event(void *opaque, uint32_t events);

/* Registers what is waited for now: input while the buffer is empty, room while the
 * device has something left. */
static void watch(struct chardev_fd *f)
{
	int in = f->in_regular || f->in_done ? -1 : f->cfg.in_fd;
	int out = f->out_regular || f->out_done ? -1 : f->cfg.out_fd;
	uint32_t want_in = f->in_pos == f->in_len ? EPOLLIN : 0;
	uint32_t want_out = f->want_write ? EPOLLOUT : 0;

	if (in >= 0 && in == out) {
		want_in |= want_out;
		out = -1;
	}
	if (in >= 0 && loop_fd_set(f->loop, in, want_in, on_event, f) != 0)
		f->in_done = true;
	if (out >= 0 && loop_fd_set(f->loop, out, want_out, on_event, f) != 0)
		f->out_done = true;
}

static void hangup(struct chardev_fd *f)
{
	if (f->told)
		return;
	f->told = true;
	if (f->cfg.hangup)
		f->cfg.hangup(f->cfg.opaque);
}

/* Gives the device what it takes. It may ask for more from within. */
static void deliver(struct chardev_fd *f)
{
	if (f->delivering)
		return;
	f->delivering = true;
	while (f->in_pos < f->in_len) {
		size_t n = min_of(chardev_can_receive(&f->base), f->in_len - f->in_pos);

		if (!n)
			break;
		f->in_pos += n;
		chardev_receive(&f->base, f->in + f->in_pos - n, n);
	}
	f->delivering = false;
}

static void end_input(struct chardev_fd *f)
{
	f->in_done = true;
	if (!f->in_regular && f->cfg.in_fd != f->cfg.out_fd)
		loop_fd_del(f->loop, f->cfg.in_fd);
	hangup(f);
}

static void read_more(struct chardev_fd *f)
{
	ssize_t n = read(f->cfg.in_fd, f->in, sizeof(f->in));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	f->in_pos = f->in_len = 0;
	if (n <= 0) {
		end_input(f);
		return;
	}
	f->in_len = f->cfg.filter ? f->cfg.filter(f->cfg.opaque, f->in, (size_t)n) : (size_t)n;
	if (f->in_len > (size_t)n)
		f->in_len = (size_t)n;
	deliver(f);
}

static ssize_t write_some(int fd, const uint8_t *buf, size_t len)
{
	ssize_t n;

	do
		n = write(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n;
}

/* Writes what waits in the buffer, as far as it goes. */
static void flush(struct chardev_fd *f)
{
	while (f->out_pos < f->out_len && !f->out_done) {
		ssize_t n = write_some(f->cfg.out_fd, f->out + f->out_pos, f->out_len - f->out_pos);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			f->out_done = true; /* gone */
		else
			f->out_pos += (size_t)n;
	}
	if (f->out_pos == f->out_len || f->out_done)
		f->out_pos = f->out_len = 0;
	f->want_write = f->out_len != 0;
}

static void room_again(struct chardev_fd *f)
{
	flush(f);
	if (!f->owing || f->want_write)
		return;
	f->owing = false;
	chardev_writable(&f->base);
}

static void on_event(void *opaque, uint32_t events)
{
	struct chardev_fd *f = opaque;

	if (f->want_write && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		room_again(f);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && f->in_pos == f->in_len && !f->in_done &&
	    f->cfg.in_fd >= 0)
		read_more(f);
	if (f->in_done && f->cfg.in_fd == f->cfg.out_fd && events & (EPOLLHUP | EPOLLERR)) {
		f->out_done = true;
		loop_fd_del(f->loop, f->cfg.in_fd);
	}
	watch(f);
}

static void accept_input(struct chardev *c)
{
	struct chardev_fd *f = container_of(c, struct chardev_fd, base);

	deliver(f);
	while (f->in_regular && !f->in_done && !f->delivering && f->in_pos == f->in_len)
		read_more(f);
	watch(f);
}

static size_t fd_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct chardev_fd *f = container_of(c, struct chardev_fd, base);
	size_t done = 0, n;

	if (f->cfg.out_fd < 0)
		return len;
	while (done < len && !f->out_done && !f->want_write) {
		ssize_t written = write_some(f->cfg.out_fd, buf + done, len - done);

		if (written >= 0) {
			done += (size_t)written;
		} else if (errno == EAGAIN && !f->out_regular) {
			f->want_write = true;
			watch(f);
		} else {
			f->out_done = true; /* gone, or the disk is full */
		}
	}
	if (done == len || f->out_done)
		return len;
	n = min_of(len - done, OUT_SIZE - f->out_len);
	memcpy(f->out + f->out_len, buf + done, n);
	f->out_len += n;
	f->owing = done + n < len;
	return done + n;
}

static void fd_close(struct chardev *c)
{
	struct chardev_fd *f = container_of(c, struct chardev_fd, base);
	struct pollfd p = { .fd = f->cfg.out_fd, .events = POLLOUT };

	flush(f);
	while (f->want_write && poll(&p, 1, DRAIN_MS) > 0)
		flush(f);
	if (f->cfg.in_fd >= 0)
		loop_fd_del(f->loop, f->cfg.in_fd);
	if (f->cfg.out_fd >= 0)
		loop_fd_del(f->loop, f->cfg.out_fd);
	if (f->cfg.own) {
		if (f->cfg.in_fd >= 0)
			close(f->cfg.in_fd);
		if (f->cfg.out_fd >= 0 && f->cfg.out_fd != f->cfg.in_fd)
			close(f->cfg.out_fd);
	}
	free(f);
}

static const struct chardev_ops ops = { fd_write, accept_input, fd_close };

static int prepare(int fd, bool *regular, struct err *err)
{
	struct stat st;
	int flags;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) != 0)
		return err_set(err, -errno, "the descriptor of a byte stream is not usable: %s",
			       strerror(errno));
	*regular = S_ISREG(st.st_mode);
	flags = fcntl(fd, F_GETFL);
	if (!*regular && (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0))
		return err_set(err, -errno, "cannot make a byte stream non-blocking: %s",
			       strerror(errno));
	return 0;
}

struct chardev *chardev_fd_new(struct loop *l, const struct chardev_fd_config *cfg,
			       struct err *err)
{
	struct chardev_fd *f = calloc(1, sizeof(*f));

	if (!f) {
		err_set(err, -ENOMEM, "out of memory for a byte stream");
		return NULL;
	}
	f->base.ops = &ops;
	f->cfg = *cfg;
	f->loop = l;
	f->in_done = cfg->in_fd < 0;
	if (prepare(cfg->in_fd, &f->in_regular, err) != 0 ||
	    prepare(cfg->out_fd, &f->out_regular, err) != 0) {
		free(f);
		return NULL;
	}
	watch(f);
	return &f->base;
}
