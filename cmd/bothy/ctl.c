/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy ctl: one command to a running machine. */
#include "cmd/bothy/ctl.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "api/cli.h"
#include "src/base/bits.h"
#include "src/base/opts.h"
#include "src/base/size.h"
#include "src/ctl/client.h"

#define OPERANDS_MAX 64
#define ARGS_MAX 16

/* What api/control/ says of each command. */
enum arg_type { CTL_STRING, CTL_BOOL, CTL_INT, CTL_ARRAY, CTL_OBJECT };

struct command {
	const char *name;
	struct {
		const char *name;
		enum arg_type type;
		bool required;
	} args[ARGS_MAX];
};

#define CTL_ARG(...) { __VA_ARGS__ }
#define CTL_COMMAND(name, fn, ...) { name, { __VA_ARGS__ } },
static const struct command commands[] = {
#include "api/control.def"
};
#undef CTL_COMMAND
#undef CTL_ARG

static int list_commands(void)
{
	static const char *const types[] = { "text", "true|false", "number", "[...]", "{...}" };

	for (size_t i = 0; i < array_size(commands); i++) {
		printf("%s", commands[i].name);
		for (size_t a = 0; a < ARGS_MAX && commands[i].args[a].name; a++)
			printf(commands[i].args[a].required ? " %s=%s" : " [%s=%s]",
			       commands[i].args[a].name, types[commands[i].args[a].type]);
		putchar('\n');
	}
	return 0;
}

static const struct command *find(const char *name, struct err *err)
{
	const char *near;

	for (size_t i = 0; i < array_size(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	near = opts_nearest(name, &commands[0].name, array_size(commands), sizeof(commands[0]));
	if (near)
		err_set(err, -EINVAL, "there is no command '%s'; did you mean '%s'?", name, near);
	else
		err_set(err, -EINVAL, "there is no command '%s'; 'bothy ctl help' lists them", name);
	return NULL;
}

static struct json_object *convert(enum arg_type type, const char *text)
{
	struct json_object *v = NULL;
	struct err err;
	uint64_t n;

	switch (type) {
	case CTL_STRING:
		return json_object_new_string(text);
	case CTL_BOOL:
		if (!strcmp(text, "true") || !strcmp(text, "on"))
			return json_object_new_boolean(true);
		if (!strcmp(text, "false") || !strcmp(text, "off"))
			return json_object_new_boolean(false);
		return NULL;
	case CTL_INT:
		if (parse_uint(text + (*text == '-'), &n, &err) < 0 || n > INT64_MAX)
			return NULL;
		return json_object_new_int64(*text == '-' ? -(int64_t)n : (int64_t)n);
	case CTL_ARRAY:
	case CTL_OBJECT:
		v = json_tokener_parse(text);
		if (!json_object_is_type(v, type == CTL_ARRAY ? json_type_array : json_type_object)) {
			json_object_put(v);
			return NULL;
		}
		return v;
	}
	return NULL;
}

static int add_arg(const struct command *cmd, struct json_object *args, const char *word,
		   struct err *err)
{
	static const char *const types[] = { "text", "true or false", "a number",
					     "an array in JSON", "an object in JSON" };
	const char *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word), i = 0;
	struct json_object *v;

	if (!eq)
		return err_set(err, -EINVAL, "'%s' is no NAME=VALUE", word);
	while (i < ARGS_MAX && cmd->args[i].name &&
	       (strlen(cmd->args[i].name) != len || strncmp(cmd->args[i].name, word, len)))
		i++;
	if (i == ARGS_MAX || !cmd->args[i].name)
		return err_set(err, -EINVAL, "%s has no argument '%.*s'; 'bothy ctl help' lists what "
			       "there is", cmd->name, (int)len, word);
	v = convert(cmd->args[i].type, eq + 1);
	if (!v)
		return err_set(err, -EINVAL, "%s of %s is %s, not '%s'", cmd->args[i].name,
			       cmd->name, types[cmd->args[i].type], eq + 1);
	json_object_object_add(args, cmd->args[i].name, v);
	return 0;
}

static int collect(const struct command *cmd, const char *const *words, size_t count,
		   struct json_object *args, struct err *err)
{
	struct json_object *v;
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < count; i++)
		ret = add_arg(cmd, args, words[i], err);
	for (size_t i = 0; ret == 0 && i < ARGS_MAX && cmd->args[i].name; i++)
		if (cmd->args[i].required && !json_object_object_get_ex(args, cmd->args[i].name, &v))
			ret = err_set(err, -EINVAL, "%s needs %s=VALUE", cmd->name,
				      cmd->args[i].name);
	return ret;
}

static int follow_events(const char *path, unsigned timeout_s, struct err *err)
{
	struct ctl_conn *c = ctl_connect(path, timeout_s, err);
	struct json_object *event;
	int ret;

	if (!c)
		return -EIO;
	while ((ret = ctl_next_event(c, 0, &event, err)) == 0) {
		puts(json_object_to_json_string_ext(event, JSON_C_TO_STRING_SPACED |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(event);
		if (fflush(stdout) != 0)
			break;
	}
	ctl_disconnect(c);
	return ret == -EPIPE ? 0 : ret; /* the machine's end is the events' end */
}

static int call(const char *path, const struct command *cmd, struct json_object *args,
		unsigned timeout_s, struct err *err)
{
	struct ctl_conn *c = ctl_connect(path, timeout_s, err);
	struct json_object *ret = NULL;
	int rc;

	if (!c) {
		json_object_put(args);
		return -EIO;
	}
	rc = ctl_call(c, cmd->name, args, timeout_s, &ret, err);
	ctl_disconnect(c);
	/* {} is what commands return that have nothing to say. */
	if (rc == 0 && !(json_object_is_type(ret, json_type_object) &&
			 json_object_object_length(ret) == 0))
		puts(json_object_to_json_string_ext(ret, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_SPACED |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(ret);
	return rc;
}

int cmd_ctl(int argc, char **argv)
{
	const struct cmd_desc *desc = &cli_commands[CLI_CTL];
	struct opt_value v[CLI_CTL_OPTS];
	const char *words[OPERANDS_MAX];
	const struct command *cmd;
	struct err err = { "" };
	struct json_object *args;
	unsigned timeout_s;
	size_t count;
	bool help;
	int ret = opts_parse_operands(desc, argc, argv, v, words, OPERANDS_MAX, &count, &help, &err);

	if (ret == 0 && help) {
		opts_print_help("bothy", desc, stdout);
		return 0;
	}
	if (ret == 0 && count >= 1 && !strcmp(words[count - 1], "help"))
		return list_commands();
	if (ret == 0 && count < 2)
		ret = err_set(&err, -EINVAL, "give a socket's path and a command: bothy ctl PATH "
			      "COMMAND");
	timeout_s = (unsigned)v[CLI_CTL_TIMEOUT].number;
	if (ret == 0 && !strcmp(words[1], "events")) {
		ret = follow_events(words[0], timeout_s, &err);
	} else if (ret == 0) {
		cmd = find(words[1], &err);
		args = json_object_new_object();
		ret = cmd ? collect(cmd, words + 2, count - 2, args, &err) : -EINVAL;
		if (ret == 0)
			ret = call(words[0], cmd, args, timeout_s, &err);
		else
			json_object_put(args);
	}
	if (ret < 0)
		fprintf(stderr, "bothy ctl: %s\n", err.text);
	return ret == -EINVAL ? 2 : ret < 0 ? 1 : 0;
}
