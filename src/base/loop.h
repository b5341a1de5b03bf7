/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop of one process: file descriptors (epoll), work posted from
 * other threads, and the machine's timers. Runs on the thread that calls
 * loop_run(). Callbacks run with the device lock held when one was given.
 */
#ifndef BOTHY_BASE_LOOP_H
#define BOTHY_BASE_LOOP_H

#include <pthread.h>
#include <stdint.h>

#include "src/base/err.h"

struct loop;
struct vtime;

/* @lock: taken around every callback, may be NULL. Not owned. */
struct loop *loop_new(pthread_mutex_t *lock, struct err *err);
void loop_free(struct loop *l);

/* The loop wakes for @vt's deadlines and calls vtime_run(). Not owned. */
void loop_set_vtime(struct loop *l, struct vtime *vt);

/* @events: EPOLLIN | EPOLLOUT ...; 0 keeps the fd registered but silent.
 * Setting an fd again changes it. Any thread. The fd is not owned. */
int must_check loop_fd_set(struct loop *l, int fd, uint32_t events,
			   void (*fn)(void *opaque, uint32_t events), void *opaque);
void loop_fd_del(struct loop *l, int fd);
/* A registered descriptor that is served by loop_pump() too. */
void loop_fd_urgent(struct loop *l, int fd);

/* For a callback that takes long: serves urgent descriptors that are ready, and nothing
 * else; does not wait. The loop's thread, inside a callback. */
void loop_pump(struct loop *l);

/* Runs fn(opaque) on the loop's thread, soon, in order. Any thread, also
 * async-signal context is NOT allowed. */
void loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque);

void loop_run(struct loop *l);  /* until loop_stop() */
void loop_stop(struct loop *l); /* any thread */

#endif
