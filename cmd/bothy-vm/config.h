/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine's description as JSON, as bothy hands it over on a descriptor. */
#ifndef BOTHY_CMD_VM_CONFIG_H
#define BOTHY_CMD_VM_CONFIG_H

#include "src/base/err.h"
#include "src/vm/vm.h"

struct json_object;

struct config {
	struct json_object *json; /* owns every string that vm points to */
	struct vm_config vm;
	char *description; /* what vm.description points to */
	const char *gdb;   /* where debuggers are awaited, or NULL */
	const char *serial_unlink; /* a socket's path to remove at the end, or NULL */
};

/* Reads everything from @fd (at most 1 MiB). Unknown or ill-typed members are
 * refused. Where "restore" names a saved machine, what is not given is what that one
 * was started with. */
int must_check config_read(int fd, struct config *cfg, struct err *err);
void config_free(struct config *cfg);

#endif
