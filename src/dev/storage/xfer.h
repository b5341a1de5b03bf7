/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One command of a storage device and the data it moves, apart from how a controller
 * carries them: a disk or CD fills or empties a buffer chunk by chunk, the controller
 * brings the chunks to guest memory or to a data port.
 *
 *   start -> XFER_BUSY -> (ready) -> XFER_DATA -> xfer_move() -> XFER_BUSY -> ... XFER_END
 *
 * Device to host: xfer_move() fetches; in XFER_DATA then buf holds buf_len bytes, and
 * after the last of them xfer_finish() ends the command. Host to device: the controller
 * puts xfer_next() bytes into buf, and xfer_move() takes them; the command ends by itself.
 *
 * Data never goes to or from guest memory while host I/O runs: a command that is
 * cancelled leaves its buffer to that I/O, and the guest may do with its memory what it
 * likes. Later I/O of the same drive waits until such orphans are done, so that none of
 * them can overwrite what came after. All under the device lock.
 */
#ifndef BOTHY_DEV_STORAGE_XFER_H
#define BOTHY_DEV_STORAGE_XFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/block/blk.h"

/* A buffer that a command and the I/O under way share. */
struct xfer_buf {
	unsigned refs;
	size_t cap;
	uint8_t data[];
};

struct xfer_buf *xfer_buf_new(size_t cap); /* zeroed, one reference; NULL: out of memory */
void xfer_buf_put(struct xfer_buf *b);     /* NULL is fine */

/* What a device does its I/O through. */
struct drive_io;
struct drive {
	struct blk *blk; /* not owned */
	struct drive_io *live;
	struct drive_io *waiting, **waiting_tail;
	unsigned orphans;
};

void drive_init(struct drive *d, struct blk *blk);
void drive_fini(struct drive *d); /* what is under way ends without a word */

enum xfer_phase { XFER_IDLE, XFER_BUSY, XFER_DATA, XFER_END };
enum xfer_dir { XFER_NONE, XFER_IN, XFER_OUT }; /* IN: device to host */

struct xfer;
struct xfer_ops {
	/* Moves the next @len bytes (as xfer_next() said); sets the phase, now or later. */
	void (*move)(struct xfer *x, uint32_t len);
	/* All data was delivered: sets the result. XFER_END follows. May be NULL. */
	void (*finish)(struct xfer *x);
};

struct xfer {
	/* The controller's. */
	void (*ready)(struct xfer *x); /* the phase changed, later than the call that began it */
	/* The device's. */
	void *owner;
	const struct xfer_ops *ops;
	void (*ended)(struct xfer *x); /* called by xfer_end(); may be NULL */
	enum xfer_phase phase;
	enum xfer_dir dir;
	uint64_t len, moved; /* bytes of the whole command */
	uint32_t block;      /* moves are multiples of this, but for the last; not 0 */
	struct xfer_buf *buf;
	uint32_t buf_len;    /* IN: bytes in buf; OUT: bytes of the move under way */
	struct drive_io *io;
	void (*io_done)(struct xfer *x, int ret);
};

/* How many bytes the next move may have with a buffer of @max: at least one block, if
 * @max is no less than a block. 0 when all was moved. */
uint32_t xfer_next(const struct xfer *x, uint32_t max);

/* A buffer of at least @len bytes in x->buf, which keeps what it holds. false: out of memory. */
bool xfer_reserve(struct xfer *x, uint32_t len);

void xfer_move(struct xfer *x, uint32_t len);
void xfer_finish(struct xfer *x);
/* The command is over; its result stands. For devices. */
void xfer_end(struct xfer *x);
/* Forgets the command; I/O under way ends without a word. Idempotent. */
void xfer_cancel(struct xfer *x);
void xfer_release(struct xfer *x); /* cancels, gives the buffer back */

/* For devices: I/O of @len bytes of the image at @off with the first bytes of x->buf (if
 * it has data); then fn(x, 0 or -errno), later, never from within. */
void xfer_io(struct xfer *x, struct drive *d, enum blk_op op, unsigned flags, uint64_t off,
	     uint64_t len, void (*fn)(struct xfer *x, int ret));

#endif
