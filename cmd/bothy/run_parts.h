/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's parts as bothy run's options tell them: drives, networks, devices. */
#ifndef BOTHY_CMD_RUN_PARTS_H
#define BOTHY_CMD_RUN_PARTS_H

#include <json-c/json.h>

#include "src/base/err.h"
#include "src/base/opts.h"

/* Adds "drives", "netdevs", "chardevs", "devices" and "displays" to the machine's description @o from
 * the values of bothy run's options. -EINVAL with a sentence: wrong use. */
int must_check run_parts(const struct opt_value *v, struct json_object *o, struct err *err);

#endif
