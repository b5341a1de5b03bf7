/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The person's terminal in raw mode, and back.
 *
 * A guard process waits for this one to end: if it ends without having put the
 * terminal back (SIGKILL, a crash), the guard does.
 */
#ifndef BOTHY_CMD_TERM_H
#define BOTHY_CMD_TERM_H

#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

#include "src/base/err.h"

struct term {
	int fd;
	bool raw;
	struct termios saved, ours;
	pid_t guard;
	int guard_fd; /* the guard watches its other end */
};

/* @fd must be a terminal. Starts the guard; still cooked. */
int must_check term_open(struct term *t, int fd, struct err *err);
void term_raw(struct term *t);     /* idempotent */
void term_restore(struct term *t); /* idempotent */
void term_close(struct term *t);   /* restores, ends the guard; on a zeroed struct: nothing */

#endif
