/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command lines by table. The tables are generated from api/cli/ by
 * tools/gen_api.py; help, manual pages and completions come from the same files.
 */
#ifndef BOTHY_BASE_OPTS_H
#define BOTHY_BASE_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/err.h"

enum opt_type { OPT_FLAG, OPT_TEXT, OPT_PATH, OPT_SIZE, OPT_UINT };

struct opt_desc {
	const char *name; /* without the dashes */
	enum opt_type type;
	const char *meta; /* how help calls its value; NULL for a flag */
	const char *def;  /* default as text, or NULL */
	const char *help;
	uint64_t min, max;   /* OPT_SIZE (bytes), OPT_UINT */
	uint64_t unit_bytes; /* OPT_SIZE: what a bare number counts */
	bool required;
	bool repeat; /* may be given several times */
	const char *only; /* OPT_TEXT: the words that it may be, "a|b|c"; NULL: the command looks */
};

struct cmd_desc {
	const char *name;
	const char *summary;
	const char *description;
	const struct opt_desc *opts;
	size_t opt_count;
	const char *epilog; /* keys, exit codes, examples; ready to print */
	const char *operands; /* how help calls the words that are no options; NULL: none */
};

#define OPT_REPEAT_MAX 64

struct opt_value {
	const char *text; /* points into argv, or to the default; NULL if neither */
	uint64_t number;  /* OPT_SIZE, OPT_UINT */
	bool given;
	/* Options that repeat: each value, in order. */
	const char *texts[OPT_REPEAT_MAX];
	size_t count;
};

/* Fills values[] (opt_count of them) from argv[0..argc). Options are "--name
 * VALUE" or "--name=VALUE". -EINVAL with a sentence that says what to do; *help is set (and 0
 * returned) at --help or -h. */
int must_check opts_parse(const struct cmd_desc *cmd, int argc, char **argv,
			  struct opt_value *values, bool *help, struct err *err);

/* The same for a command with operands: up to @max of them, in order, whatever stands
 * between them. "--" ends the options. *count: how many there were. */
int must_check opts_parse_operands(const struct cmd_desc *cmd, int argc, char **argv,
				   struct opt_value *values, const char **operands, size_t max,
				   size_t *count, bool *help, struct err *err);

void opts_print_help(const char *program, const struct cmd_desc *cmd, FILE *out);

/* The name among @names (@count, @stride bytes apart) that is nearest to @given,
 * or NULL if none is near. */
const char *opts_nearest(const char *given, const void *names, size_t count, size_t stride);

#endif
