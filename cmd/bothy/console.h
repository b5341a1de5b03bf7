/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands between the person and a running machine: bytes from standard
 * input to the serial port and back, the Ctrl-A keys, signals, and the events
 * of the control channel told in words.
 */
#ifndef BOTHY_CMD_CONSOLE_H
#define BOTHY_CMD_CONSOLE_H

#include <stdbool.h>
#include <sys/types.h>

struct console_config {
	pid_t vm;       /* bothy-vm, our child */
	int control_fd; /* our end of its control channel */
	int serial_fd;  /* our end of the serial port, or -1 */
	int signal_fd;  /* signalfd for CONSOLE_SIGNALS, which are blocked */
};

/* Runs until the machine's process has ended. Returns the exit code. */
int console_run(const struct console_config *cfg);

#endif
