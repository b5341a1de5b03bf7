/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control channel of one VM: JSON lines, framed and named as QMP does it
 * (QEMU's docs/interop/qmp-spec). Commands are api/control/; each has a handler
 * in commands.c.
 *
 * Everything here runs on the VM's loop thread with the device lock held.
 */
#ifndef BOTHY_CTL_CTL_H
#define BOTHY_CTL_CTL_H

#include <stdbool.h>

#include "src/base/err.h"

struct ctl;
struct vm;

/* Bytes of answers and events that may wait for a slow reader; a client that
 * falls further behind is dropped. */
#define CTL_QUEUE_MAX (1u << 20)

/* NULL on failure. Answers quit by ending @vm. */
struct ctl *ctl_new(struct vm *vm, struct err *err);
void ctl_free(struct ctl *c);

/* Serves one client on a connected stream socket and greets it; takes @fd over.
 * @owner: when this client goes away the VM ends (foreground machines). */
int must_check ctl_add_client(struct ctl *c, int fd, bool owner, struct err *err);

/* Serves everyone who connects to @fd, a listening stream socket (not owned), up to the
 * most there may be. */
int must_check ctl_listen(struct ctl *c, int fd, struct err *err);

#endif
