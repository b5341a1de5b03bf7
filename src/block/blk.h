/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk device holds: asynchronous requests on an image.
 *
 *   device -> blk_submit() -> the kernel's ring or a worker thread -> req->done() on the loop
 *
 * The ring (ring.h) takes reads and writes whose bytes have a place in a host file
 * (place.h) and nothing else to be done about them; what it does not do in full, a worker
 * does again, and finds out why.
 *
 * Completions come on the thread that owns the blk (its event loop), through the
 * post hook, never from within blk_submit(). Requests may complete in any order;
 * a flush covers the writes that had completed when it was submitted.
 *
 * An error that the policy says to stop at is not told to the device: the request
 * is kept, the owner is told by an event (and stops the guest), and blk_resume()
 * tries again. So a full host disk loses nothing.
 */
#ifndef BOTHY_BLOCK_BLK_H
#define BOTHY_BLOCK_BLK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/err.h"
#include "src/block/block.h"
#include "src/block/place.h"
#include "src/block/pool.h"
#include "src/block/ring.h"

struct blk;
struct dirty;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO, BLK_OPS };

#define BLK_REQ_FUA 1u   /* writes: on stable storage when done */
#define BLK_REQ_UNMAP 2u /* zero: storage may be given back */

struct blk_req {
	enum blk_op op;
	unsigned flags;
	uint64_t off, len;       /* bytes; flush: 0, 0 */
	const struct iovec *iov; /* read, write: len bytes; yours until done */
	unsigned niov;
	void (*done)(struct blk_req *req, int ret); /* 0 or -errno */
	void *opaque;            /* yours */
	/* blk.c's */
	struct blk *blk;
	struct block_job job;
	struct ring_op ring;
	struct block_place place;
	bool late;    /* ... was not there to be had when it came */
	bool written; /* all of it was */
	struct blk_req *next;
	int64_t start_ns;
	int ret;
};

enum blk_on_error {
	BLK_ERROR_REPORT, /* the device sees it */
	BLK_ERROR_IGNORE, /* as if it had worked */
	BLK_ERROR_STOP,   /* keep the request, tell the owner */
	BLK_ERROR_ENOSPC, /* stop when the host is full, report the rest */
};

enum blk_aio {
	BLK_AIO_AUTO,    /* a ring if it can be had */
	BLK_AIO_RING,
	BLK_AIO_THREADS, /* no ring */
};

struct blk_config {
	struct block_node *node;  /* owned from blk_new()'s success on; NULL: no medium */
	struct block_pool *pool;  /* not owned */
	/* Runs fn(arg) soon on the owner's thread; callable from any thread. */
	void (*post)(void *opaque, void (*fn)(void *arg), void *arg);
	/* Calls fn(arg, ...) on the owner's thread whenever @fd is readable; fn NULL: no more,
	 * which always works. 0 or -errno. NULL: it cannot, and there is no ring. */
	int (*watch)(void *opaque, int fd, void (*fn)(void *arg, uint32_t events), void *arg);
	void *post_opaque; /* for both */
	enum blk_aio aio;
	enum blk_on_error on_read_error, on_write_error;
	/* On the owner's thread: requests are held back because of @error. May be NULL. */
	void (*stopped)(void *opaque, enum blk_op op, int error);
	void *stopped_opaque;
	uint64_t max_iops, max_bytes_per_s; /* 0: no limit */
};

#define BLK_HISTOGRAM 24 /* bucket i: below 1 us << i; the last: all above */
struct blk_stats {
	uint64_t ops[BLK_OPS], bytes[BLK_OPS], errors[BLK_OPS];
	uint64_t total_ns[BLK_OPS], max_ns[BLK_OPS];
	uint64_t histogram[BLK_OPS][BLK_HISTOGRAM];
	uint64_t in_flight, held;
};

struct blk *blk_new(const struct blk_config *c, struct err *err);
/* Waits for what is under way (held requests fail with -ECANCELED), closes the
 * image. Returns block_close()'s result. A call that was already posted may still
 * come; it does no more than give back the last memory. */
int blk_free(struct blk *b);

/* The owner's: its thread, or another that holds the lock under which the owner runs its
 * completions. Ranges outside of the disk end with -EINVAL, without a medium
 * with -ENOMEDIUM, through done() like all else. */
void blk_submit(struct blk *b, struct blk_req *req);

/* The owner's: what is submitted between these two may reach the host together. */
void blk_plug(struct blk *b);
void blk_unplug(struct blk *b);

/* The owner's: a read that needs no waiting is done at once, and its result is put into
 * *ret; done() is not called. False: nothing was done; use blk_submit(). */
bool blk_try(struct blk *b, struct blk_req *req, int *ret);

/* The owner's too: returns when nothing is under way any more (held requests stay
 * held), having run the completions itself. */
void blk_drain(struct blk *b);
/* The same, and held requests end with -ECANCELED: nothing touches their memory any more. */
void blk_cancel(struct blk *b);
/* Tries held requests again. */
void blk_resume(struct blk *b);
/* Another medium, or none: drains, closes the old node, takes the new one. */
int blk_change(struct blk *b, struct block_node *node);

uint64_t blk_len(const struct blk *b);       /* bytes, 0 without a medium */
bool blk_writable(const struct blk *b);
uint32_t blk_io_align(const struct blk *b);  /* preferred: physical block, cluster */
struct block_node *blk_node(struct blk *b);  /* for jobs and info; not to close */
/* The node that requests go to: as blk_node(), or what a job put above it. */
struct block_node *blk_top(struct blk *b);
/* Owner's thread, drained: requests go to @n, which has the old one below it or is it
 * anew; the old one is not closed. */
void blk_set_top(struct blk *b, struct block_node *n);
/* Calls @fn on the owner's thread whenever the disk's length has changed. One per disk. */
void blk_on_resize(struct blk *b, void (*fn)(void *opaque), void *opaque);
void blk_resized(struct blk *b); /* tells it */
/* Drained: writes are marked in @d from now on, or no more. -ENOSPC: there are too many. */
int must_check blk_track(struct blk *b, struct dirty *d);
void blk_untrack(struct blk *b, struct dirty *d);
void blk_set_limits(struct blk *b, uint64_t max_iops, uint64_t max_bytes_per_s);
void blk_get_stats(struct blk *b, struct blk_stats *s);

/* Hooks over an event loop: .post = blk_post_loop, .watch = blk_watch_loop, .post_opaque =
 * the struct loop. */
void blk_post_loop(void *loop, void (*fn)(void *arg), void *arg);
int blk_watch_loop(void *loop, int fd, void (*fn)(void *arg, uint32_t events), void *arg);

/* May a guest write to this image as its disk? Refuses an image whose format was
 * guessed to be raw: a guest could make it look like another format, and reach
 * host files through that the next time. */
int must_check blk_guest_ok(const struct block_node *n, bool format_given, struct err *err);

#endif
