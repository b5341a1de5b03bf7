/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CMD_CTL_H
#define BOTHY_CMD_CTL_H

/* bothy ctl. @argv without the program and the command. Returns the exit code. */
int cmd_ctl(int argc, char **argv);

#endif
