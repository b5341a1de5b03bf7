/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/bits.h"
#include "src/base/opts.h"

enum { FILE_, MEMORY, CPUS, TEXT, FLAG, COUNT };

static const struct opt_desc opts[] = {
	[FILE_] = { "kernel", OPT_PATH, "FILE", NULL, "a file", 0, 0, 1, true },
	[MEMORY] = { "memory", OPT_SIZE, "SIZE", "512M", "memory", 2 << 20, 1ull << 40, 1 << 20,
		     false },
	[CPUS] = { "cpus", OPT_UINT, "N", "1", "processors", 1, 255, 1, false },
	[TEXT] = { "append", OPT_TEXT, "TEXT", NULL, "a text", 0, 0, 1, false },
	[FLAG] = { "no-reboot", OPT_FLAG, NULL, NULL, "a flag", 0, 0, 1, false },
};
static const struct cmd_desc cmd = { "try", "a try", "Tries.", opts, COUNT, "end\n" };

static struct opt_value v[COUNT];
static struct err err;
static bool help;

static int parse(int argc, const char *const *argv)
{
	err.text[0] = '\0';
	return opts_parse(&cmd, argc, (char **)(uintptr_t)argv, v, &help, &err);
}
#define PARSE(...) parse(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), \
			 (const char *[]){ __VA_ARGS__ })

static void good(void **state)
{
	assert_int_equal(PARSE("--kernel", "k", "--memory=1G", "--no-reboot"), 0);
	assert_string_equal(v[FILE_].text, "k");
	assert_true(v[MEMORY].number == 1ull << 30);
	assert_true(v[FLAG].given);
	assert_int_equal(v[CPUS].number, 1);
	assert_false(v[CPUS].given);
	assert_null(v[TEXT].text);
	/* A value may look like an option, or be empty. */
	assert_int_equal(PARSE("--kernel", "k", "--append", "--memory"), 0);
	assert_string_equal(v[TEXT].text, "--memory");
	assert_int_equal(PARSE("--kernel=k", "--append="), 0);
	assert_string_equal(v[TEXT].text, "");
	assert_int_equal(PARSE("--help"), 0);
	assert_true(help);
}

static void refuse(int ret, const char *word)
{
	if (ret >= 0 || !strstr(err.text, word))
		fail_msg("ret %d, expected '%s' in '%s'", ret, word, err.text);
}

static void bad(void **state)
{
	refuse(PARSE("--memory", "1G"), "--kernel FILE is missing");
	refuse(PARSE("--kernel"), "needs a value");
	refuse(PARSE("--kernel", ""), "empty");
	refuse(PARSE("--kernel", "k", "--kernel", "k"), "given twice");
	refuse(PARSE("--kernel", "k", "--cpus", "0"), "give 1 to 255");
	refuse(PARSE("--kernel", "k", "--cpus", "1000"), "give 1 to 255");
	refuse(PARSE("--kernel", "k", "--cpus", "two"), "not a whole number");
	refuse(PARSE("--kernel", "k", "--memory", "0"), "give 2 MiB to 1 TiB");
	refuse(PARSE("--kernel", "k", "--memory", "1M"), "give 2 MiB to 1 TiB");
	refuse(PARSE("--kernel", "k", "--memory", "12Q"), "unknown unit");
	refuse(PARSE("--kernel", "k", "--no-reboot=yes"), "takes no value");
	refuse(PARSE("--kernle", "k"), "did you mean '--kernel'");
	refuse(PARSE("--cpsu", "k"), "did you mean '--cpus'");
	refuse(PARSE("--mem", "k"), "did you mean '--memory'");
	refuse(PARSE("--frobnicate", "k"), "lists all");
	refuse(PARSE("--"), "not an option");
	refuse(PARSE("kernel"), "not an option");
	refuse(PARSE("--xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
	       "unknown option");
}

static void help_text(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	opts_print_help("bothy", &cmd, f);
	fclose(f);
	assert_non_null(strstr(text, "usage: bothy try"));
	for (size_t i = 0; i < COUNT; i++)
		assert_non_null(strstr(text, opts[i].name));
	assert_non_null(strstr(text, "default: 512M"));
	assert_non_null(strstr(text, "end\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad),
		cmocka_unit_test(help_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
