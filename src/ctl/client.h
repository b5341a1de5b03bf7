/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The other end of the control channel: what programs speak to a VM with. */
#ifndef BOTHY_CTL_CLIENT_H
#define BOTHY_CTL_CLIENT_H

#include <json-c/json.h>

#include "src/base/err.h"

struct ctl_conn;

/* Connects to the socket @path, reads the greeting and ends the negotiation; all within
 * @timeout_s seconds. NULL with the reason. */
struct ctl_conn *ctl_connect(const char *path, unsigned timeout_s, struct err *err);
void ctl_disconnect(struct ctl_conn *c);

/* Sends @name with @args (may be NULL; taken over) and waits for its answer; events
 * that come meanwhile are dropped. *ret is what is returned, the caller's to put. -EREMOTEIO:
 * the machine answered with an error, which @err tells; -ETIMEDOUT; -EPIPE: it has ended. */
int must_check ctl_call(struct ctl_conn *c, const char *name, struct json_object *args,
			unsigned timeout_s, struct json_object **ret, struct err *err);

/* Waits for the next event, without end if @timeout_s is 0. */
int must_check ctl_next_event(struct ctl_conn *c, unsigned timeout_s, struct json_object **event,
			      struct err *err);

#endif
