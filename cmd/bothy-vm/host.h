/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CMD_VM_HOST_H
#define BOTHY_CMD_VM_HOST_H

#include <stdbool.h>

/* Prints what this host offers to machines; an exit code. @fresh: tests KVM anew. */
int host_print(bool json, bool fresh);

#endif
