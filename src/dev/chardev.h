/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte stream between a device (a serial port, the front) and the world (the
 * back: a terminal, a socket, a file). Everything here happens under the device
 * lock.
 */
#ifndef BOTHY_DEV_CHARDEV_H
#define BOTHY_DEV_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/loop.h"

struct chardev;

/* What the device gives. All members must be set. */
struct chardev_front {
	/* How many bytes the device would take now. When the answer grows from 0 the
	 * device calls chardev_accept_input(). */
	size_t (*can_receive)(void *opaque);
	/* @len: 1..what can_receive() said. The buffer is the back's again afterwards. */
	void (*receive)(void *opaque, const uint8_t *buf, size_t len);
	/* After a short chardev_write(): there is room again. */
	void (*writable)(void *opaque);
};

struct chardev_ops {
	/* Takes up to @len bytes; returns how many. Fewer than @len: the back calls
	 * front->writable() once there is room. */
	size_t (*write)(struct chardev *c, const uint8_t *buf, size_t len);
	void (*accept_input)(struct chardev *c); /* may be NULL */
	void (*close)(struct chardev *c);        /* frees @c and what it owns */
};

/* Embedded, as first member, in a back's own struct. */
struct chardev {
	const struct chardev_ops *ops;
	const struct chardev_front *front; /* NULL: nobody listens; input waits */
	void *front_opaque;
};

/* Joins a device to @c (NULL is fine: then nothing happens), replacing any; @front
 * NULL parts them. Input that waited may be delivered from within. */
void chardev_attach(struct chardev *c, const struct chardev_front *front, void *opaque);

/* NULL @c: swallows everything. */
size_t chardev_write(struct chardev *c, const uint8_t *buf, size_t len);
void chardev_accept_input(struct chardev *c);
void chardev_close(struct chardev *c);

/* For backs: how many bytes the front takes now, 0 if there is none; and giving. */
size_t chardev_can_receive(struct chardev *c);
void chardev_receive(struct chardev *c, const uint8_t *buf, size_t len);
void chardev_writable(struct chardev *c);

/*
 * A back over descriptors (chardev_fd.c): a socket, a pipe, a terminal, a file.
 */
struct chardev_fd_config {
	int in_fd, out_fd; /* may be the same; -1: none */
	bool own;          /* chardev_close() closes them */
	/* Every byte read passes through here first; it may change the buffer and
	 * returns how many bytes of it go on (escape keys). NULL: all. */
	size_t (*filter)(void *opaque, uint8_t *buf, size_t len);
	/* The other side has closed, or reading failed; called once, on the loop. */
	void (*hangup)(void *opaque);
	void *opaque;
};

/* Puts the descriptors in non-blocking mode where they can block (not regular
 * files) and watches them on @l. NULL on failure. What is written to a descriptor
 * whose reader is slow is held back, not dropped; what is written after its reader
 * has gone is swallowed (the program ignores SIGPIPE). */
struct chardev *chardev_fd_new(struct loop *l, const struct chardev_fd_config *cfg,
			       struct err *err);

#endif
