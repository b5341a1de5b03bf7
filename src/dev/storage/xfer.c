/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/storage/xfer.h"

#include <errno.h>
#include <stdlib.h>

#include "src/base/bits.h"

/* Host I/O under way. Lives until the block layer is done with it. */
struct drive_io {
	struct blk_req req;
	struct iovec iov;
	struct drive *drive; /* NULL: the device is gone */
	struct xfer *x;      /* NULL: an orphan */
	struct xfer_buf *buf;
	struct drive_io *next, **pprev; /* among live, or waiting (next only) */
};

struct xfer_buf *xfer_buf_new(size_t cap)
{
	struct xfer_buf *b = calloc(1, sizeof(*b) + cap);

	if (b) {
		b->refs = 1;
		b->cap = cap;
	}
	return b;
}

void xfer_buf_put(struct xfer_buf *b)
{
	if (b && --b->refs == 0)
		free(b);
}

/*
 * The drive.
 */
void drive_init(struct drive *d, struct blk *blk)
{
	*d = (struct drive){ .blk = blk, .waiting_tail = &d->waiting };
}

static void io_free(struct drive_io *io)
{
	xfer_buf_put(io->buf);
	free(io);
}

static void unlink_live(struct drive_io *io)
{
	*io->pprev = io->next;
	if (io->next)
		io->next->pprev = io->pprev;
}

static void submit(struct drive *d, struct drive_io *io)
{
	io->next = d->live;
	io->pprev = &d->live;
	if (d->live)
		d->live->pprev = &io->next;
	d->live = io;
	blk_submit(d->blk, &io->req);
}

static void submit_waiting(struct drive *d)
{
	struct drive_io *io;

	while (!d->orphans && (io = d->waiting)) {
		d->waiting = io->next;
		if (!d->waiting)
			d->waiting_tail = &d->waiting;
		if (io->x)
			submit(d, io);
		else
			io_free(io);
	}
}

static void on_done(struct blk_req *req, int ret)
{
	struct drive_io *io = container_of(req, struct drive_io, req);
	struct drive *d = io->drive;
	struct xfer *x = io->x;

	if (d) {
		unlink_live(io);
		if (!x) {
			d->orphans--;
			submit_waiting(d);
		}
	}
	io_free(io);
	if (!x)
		return;
	x->io = NULL;
	x->io_done(x, ret);
	if (x->phase != XFER_BUSY)
		x->ready(x);
}

void drive_fini(struct drive *d)
{
	struct drive_io *next;

	for (struct drive_io *io = d->live; io; io = next) {
		next = io->next;
		if (io->x)
			io->x->io = NULL;
		io->x = NULL;
		io->drive = NULL;
	}
	for (struct drive_io *io = d->waiting; io; io = next) {
		next = io->next;
		if (io->x)
			io->x->io = NULL;
		io_free(io);
	}
	*d = (struct drive){ 0 };
}

/*
 * Commands.
 */
uint32_t xfer_next(const struct xfer *x, uint32_t max)
{
	uint64_t left = x->len - x->moved;

	return left <= max ? (uint32_t)left : max / x->block * x->block;
}

bool xfer_reserve(struct xfer *x, uint32_t len)
{
	struct xfer_buf *b;

	if (x->buf && x->buf->cap >= len)
		return true;
	b = xfer_buf_new(len);
	if (!b)
		return false;
	if (x->buf)
		memcpy(b->data, x->buf->data, x->buf->cap);
	xfer_buf_put(x->buf);
	x->buf = b;
	return true;
}

void xfer_move(struct xfer *x, uint32_t len)
{
	x->phase = XFER_BUSY;
	x->buf_len = len;
	x->ops->move(x, len);
}

void xfer_finish(struct xfer *x)
{
	if (x->ops->finish)
		x->ops->finish(x);
	xfer_end(x);
}

void xfer_end(struct xfer *x)
{
	x->phase = XFER_END;
	if (x->ended)
		x->ended(x);
}

void xfer_cancel(struct xfer *x)
{
	struct drive_io *io = x->io;

	x->phase = XFER_IDLE;
	if (!io)
		return;
	/* Waiting I/O is dropped when its turn comes; what runs is an orphan now. */
	if (io->pprev)
		io->drive->orphans++;
	io->x = NULL;
	x->io = NULL;
	xfer_buf_put(x->buf);
	x->buf = NULL;
}

void xfer_release(struct xfer *x)
{
	xfer_cancel(x);
	xfer_buf_put(x->buf);
	x->buf = NULL;
}

void xfer_io(struct xfer *x, struct drive *d, enum blk_op op, unsigned flags, uint64_t off,
	     uint64_t len, void (*fn)(struct xfer *x, int ret))
{
	bool data = op == BLK_READ || op == BLK_WRITE;
	struct drive_io *io = calloc(1, sizeof(*io));

	x->phase = XFER_BUSY;
	x->io_done = fn;
	if (!io || !d->blk || (data && (!x->buf || len > x->buf->cap))) {
		free(io);
		fn(x, d->blk ? -ENOMEM : -ENOMEDIUM);
		return;
	}
	io->drive = d;
	io->x = x;
	if (data) {
		io->buf = x->buf;
		io->buf->refs++;
		io->iov = (struct iovec){ io->buf->data, len };
	}
	io->req = (struct blk_req){ .op = op, .flags = flags, .off = off, .len = len,
				    .iov = data ? &io->iov : NULL, .niov = data, .done = on_done };
	x->io = io;
	if (!d->orphans) {
		submit(d, io);
		return;
	}
	*d->waiting_tail = io;
	d->waiting_tail = &io->next;
}
