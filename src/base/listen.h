/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets that wait for clients, where a person says. */
#ifndef BOTHY_BASE_LISTEN_H
#define BOTHY_BASE_LISTEN_H

#include "src/base/err.h"

/* Listens, non-blocking, at "ADDR:PORT", "[ADDR6]:PORT", "PORT" or ":PORT" (of the loopback;
 * 0 is any free port) or "unix:PATH" (a new file, its owner's alone). *name: what it came
 * to, with the port that the kernel chose; *unlink_path: to be removed at the end, or NULL.
 * Both and *fd are the caller's, for listen_close(). -EINVAL: @where is wrong; else -errno. */
int must_check listen_at(const char *where, int *fd, char **name, char **unlink_path,
			 struct err *err);
/* Closes and removes what is there, and empties it. */
void listen_close(int *fd, char **name, char **unlink_path);

#endif
