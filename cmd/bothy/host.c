/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy host: bothy-vm knows; this program links none of its inside. */
#include "cmd/bothy/host.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/cli.h"
#include "cmd/bothy/run.h"

int cmd_host(int argc, char **argv)
{
	const struct cmd_desc *cmd = &cli_commands[CLI_HOST];
	struct opt_value v[CLI_HOST_OPTS];
	struct err err = { "" };
	char path[PATH_MAX];
	bool help;

	if (opts_parse(cmd, argc, argv, v, &help, &err) < 0) {
		fprintf(stderr, "bothy host: %s\n", err.text);
		return 2;
	}
	if (help) {
		opts_print_help("bothy", cmd, stdout);
		return 0;
	}
	if (run_find_vm(path, sizeof(path), &err) == 0) {
		char *args[] = { (char *)"bothy-vm", (char *)"--host",
				 (char *)(v[CLI_HOST_JSON].given ? "--json" : "--table"),
				 (char *)(v[CLI_HOST_FRESH].given ? "--fresh" : NULL), NULL };

		fflush(NULL);
		execv(path, args);
		err_set(&err, -errno, "'%s' cannot be started: %s", path, strerror(errno));
	}
	fprintf(stderr, "bothy: %s\n", err.text);
	return 1;
}
