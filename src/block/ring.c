/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/ring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 100 };

struct ring {
	struct io_uring u;
	unsigned entries, busy;
};

struct ring *ring_new(unsigned entries, struct err *err)
{
	struct ring *r = calloc(1, sizeof(*r));
	int rc;

	if (!r) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	rc = io_uring_queue_init(entries, &r->u, 0);
	if (rc) {
		free(r);
		err_set(err, rc, "io_uring cannot be used: %s%s", strerror(-rc),
			rc == -EPERM || rc == -EACCES
				? " (forbidden by kernel.io_uring_disabled or by the container)"
				: rc == -ENOSYS ? " (the kernel has none, or the container hides it)" : "");
		return NULL;
	}
	r->entries = entries;
	return r;
}

void ring_free(struct ring *r)
{
	if (!r)
		return;
	io_uring_queue_exit(&r->u);
	free(r);
}

int ring_fd(const struct ring *r) { return r->u.ring_fd; }

unsigned ring_busy(const struct ring *r) { return r->busy; }

bool ring_queue(struct ring *r, struct ring_op *op, bool write, int fd, const struct iovec *iov,
		unsigned niov, uint64_t off)
{
	/* No more than this are under way, so that every answer has its place too. */
	struct io_uring_sqe *e = r->busy < r->entries ? io_uring_get_sqe(&r->u) : NULL;

	if (!e)
		return false;
	if (write)
		io_uring_prep_writev(e, fd, iov, niov, off);
	else
		io_uring_prep_readv(e, fd, iov, niov, off);
	io_uring_sqe_set_data(e, op);
	r->busy++;
	return true;
}

/* What the kernel would not take is answered here, and becomes nothing in the ring. */
static void give_up(struct ring *r)
{
	struct io_uring_sq *sq = &r->u.sq;

	for (unsigned i = *sq->khead; i != sq->sqe_tail; i++) {
		struct io_uring_sqe *e = &sq->sqes[i & sq->ring_mask];
		struct ring_op *op = (struct ring_op *)(uintptr_t)e->user_data;

		io_uring_prep_nop(e);
		io_uring_sqe_set_data(e, NULL);
		if (!op)
			continue;
		r->busy--;
		op->done(op, -EAGAIN);
	}
}

void ring_submit(struct ring *r)
{
	for (int i = 0; i < TRIES && io_uring_sq_ready(&r->u); i++) {
		int rc = io_uring_submit(&r->u);

		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
			break;
	}
	if (io_uring_sq_ready(&r->u))
		give_up(r);
}

void ring_reap(struct ring *r, bool wait)
{
	struct io_uring_cqe *c;

	if (wait)
		ring_submit(r);
	for (;;) {
		int rc = wait && r->busy ? io_uring_wait_cqe(&r->u, &c)
					 : io_uring_peek_cqe(&r->u, &c);
		struct ring_op *op;
		int res;

		if (rc == -EINTR)
			continue;
		if (rc)
			return;
		op = io_uring_cqe_get_data(c);
		res = c->res;
		io_uring_cqe_seen(&r->u, c);
		if (!op)
			continue;
		wait = false;
		r->busy--;
		op->done(op, res);
	}
}
