/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A chardev over a listening socket: one client at a time; while there is none,
 * what the guest writes is swallowed. */
#ifndef BOTHY_VM_SERIAL_LISTEN_H
#define BOTHY_VM_SERIAL_LISTEN_H

#include "src/base/err.h"

struct chardev;
struct loop;

/* @fd: a listening stream socket, not owned. NULL on failure. Close it with the
 * device lock held and the loop not running, or on the loop's thread. */
struct chardev *serial_listen_new(struct loop *l, int fd, struct err *err);

#endif
