/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CMD_HOST_H
#define BOTHY_CMD_HOST_H

/* bothy host: an exit code. */
int cmd_host(int argc, char **argv);

#endif
