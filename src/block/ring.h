/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's request ring (io_uring): reads and writes of files that go on while
 * nobody waits for them. One thread at a time may use a ring; its owner sees to that.
 * Source: io_uring(7), io_uring_enter(2).
 */
#ifndef BOTHY_BLOCK_RING_H
#define BOTHY_BLOCK_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/err.h"

struct ring;

struct ring_op { /* lives in the caller's request */
	/* By ring_reap(). @res: bytes moved, fewer than asked for as with preadv(2), or -errno;
	 * -EAGAIN where the kernel never took it. May queue others. */
	void (*done)(struct ring_op *op, int res);
};

/* Room for @entries requests under way, 1..4096. NULL: the kernel or a filter of system
 * calls does not let us; @err says which. */
struct ring *ring_new(unsigned entries, struct err *err);
void ring_free(struct ring *r); /* nothing is under way; NULL is fine */
int ring_fd(const struct ring *r); /* readable when ring_reap() has something to do */

/* Puts a request into the ring; the kernel sees it at the next ring_submit(). False: the
 * ring is full. @iov and what it points at stay until done(); at most IOV_MAX pieces. */
bool ring_queue(struct ring *r, struct ring_op *op, bool write, int fd, const struct iovec *iov,
		unsigned niov, uint64_t off);
void ring_submit(struct ring *r);
unsigned ring_busy(const struct ring *r); /* queued, done() not yet called */
/* Calls done() for what has ended; @wait: for at least one, if any is under way. */
void ring_reap(struct ring *r, bool wait);

#endif
