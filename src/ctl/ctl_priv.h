/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CTL_CTL_PRIV_H
#define BOTHY_CTL_CTL_PRIV_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/ctl/ctl.h"

/* As in api/control/. */
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

#define CTL_ARGS_MAX 16

struct ctl_command {
	const char *name;
	ctl_handler *fn;
	struct ctl_arg args[CTL_ARGS_MAX];
};

/* One handler for each file of api/control/: ctl_ and the command's name. */
#define CTL_COMMAND(name, fn, ...) ctl_handler ctl_##fn;
#include "api/control.def"
#undef CTL_COMMAND

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;

/* {"qemu": {"major": ...}, "package": ...} as the greeting and query-version show it. */
struct json_object *ctl_version(void);

static inline void ctl_add_text(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static inline void ctl_add_int(struct json_object *o, const char *key, int64_t value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

static inline void ctl_add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

/* A text argument, NULL if it was not given. */
static inline const char *ctl_arg_text(struct json_object *args, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(args, name, &v) ? json_object_get_string(v) : NULL;
}

/* A number argument, @def if it was not given. */
static inline int64_t ctl_arg_int(struct json_object *args, const char *name, int64_t def)
{
	struct json_object *v;

	return json_object_object_get_ex(args, name, &v) ? json_object_get_int64(v) : def;
}

static inline bool ctl_arg_bool(struct json_object *args, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(args, name, &v) && json_object_get_boolean(v);
}

#endif
