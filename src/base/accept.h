/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking connections from a listening socket that an event loop watches, also when the
 * process may open no more files: a connection that nobody takes keeps the socket
 * readable, and the loop would be told of it without end.
 */
#ifndef BOTHY_BASE_ACCEPT_H
#define BOTHY_BASE_ACCEPT_H

struct acceptor {
	int fd;       /* the listening socket, non-blocking; -1: none */
	int spare_fd; /* given up to turn a connection away */
};

/* @fd stays the caller's. */
void acceptor_init(struct acceptor *a, int fd);
void acceptor_fini(struct acceptor *a); /* idempotent */

/* The next connection, non-blocking and close-on-exec, or -errno: -EAGAIN, nobody is
 * there; -EMFILE, -ENFILE: one was turned away, after @refuse (may be NULL) could tell it
 * why. */
int acceptor_take(struct acceptor *a, void (*refuse)(int fd));

#endif
