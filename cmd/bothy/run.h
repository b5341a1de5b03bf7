/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CMD_RUN_H
#define BOTHY_CMD_RUN_H

#include <stddef.h>

#include "src/base/err.h"

/* bothy run: argv is what follows the command's name. Returns the exit code. */
/* The path of bothy-vm: beside this program, or where it is installed. */
int must_check run_find_vm(char *path, size_t len, struct err *err);

int cmd_run(int argc, char **argv);

#endif
