/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CMD_RUN_H
#define BOTHY_CMD_RUN_H

/* bothy run: argv is what follows the command's name. Returns the exit code. */
int cmd_run(int argc, char **argv);

#endif
