/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CTL_CTL_PRIV_H
#define BOTHY_CTL_CTL_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/err.h"
#include "src/ctl/ctl.h"

struct json_object;

enum ctl_type { CTL_STRING, CTL_BOOL, CTL_INT, CTL_ARRAY, CTL_OBJECT };

struct ctl_arg {
	const char *name;
	enum ctl_type type;
	bool required;
};

/* @args: an object, its members checked against the command's list. On success
 * *ret may be set to what is returned (the caller's then); NULL means {}. A
 * negative return says why in @err. */
typedef int ctl_handler(struct vm *vm, struct json_object *args, struct json_object **ret,
			struct err *err);

#define CTL_ARGS_MAX 8

struct ctl_command {
	const char *name;
	ctl_handler *fn;
	struct ctl_arg args[CTL_ARGS_MAX];
};

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;

/* {"qemu": {"major": ...}, "package": ...} as the greeting and query-version show it. */
struct json_object *ctl_version(void);

#endif
