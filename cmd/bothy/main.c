/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy: the command line. Commands are api/cli/; each has a function here. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/cli.h"
#include "cmd/bothy/ctl.h"
#include "cmd/bothy/disk.h"
#include "cmd/bothy/host.h"
#include "cmd/bothy/run.h"
#include "src/base/bits.h"
#include "src/base/version.h"

static int (*const handlers[CLI_COMMANDS])(int argc, char **argv) = {
	[CLI_CTL] = cmd_ctl,
	[CLI_DISK] = cmd_disk,
	[CLI_HOST] = cmd_host,
	[CLI_RUN] = cmd_run,
};

static void usage(FILE *out)
{
	fputs("usage: bothy COMMAND [options]\n\nVirtual machines.\n\ncommands:\n", out);
	for (size_t i = 0; i < CLI_COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", cli_commands[i].name, cli_commands[i].summary);
	fputs("  help       show this, or one command's options: bothy help COMMAND\n\n"
	      "bothy --version shows the version.\n", out);
}

static int find(const char *name)
{
	const char *near;

	for (int i = 0; i < CLI_COMMANDS; i++)
		if (!strcmp(cli_commands[i].name, name))
			return i;
	near = opts_nearest(name, &cli_commands[0].name, CLI_COMMANDS, sizeof(cli_commands[0]));
	if (near)
		fprintf(stderr, "bothy: unknown command '%s'; did you mean '%s'?\n", name, near);
	else
		fprintf(stderr, "bothy: unknown command '%s'; bothy help lists them\n", name);
	return -1;
}

static int help(const char *topic, const char *sub)
{
	int i;

	if (!topic) {
		usage(stdout);
		return 0;
	}
	i = find(topic);
	if (i < 0)
		return 2;
	if (i == CLI_DISK)
		return disk_help(sub);
	opts_print_help("bothy", &cli_commands[i], stdout);
	return 0;
}

/* So that nothing that is opened later becomes a standard stream by accident. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int main(int argc, char **argv)
{
	int i;

	open_standard_streams();

	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("bothy " BOTHY_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help(NULL, NULL);
	if (!strcmp(argv[1], "help"))
		return help(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
	i = find(argv[1]);
	return i < 0 ? 2 : handlers[i](argc - 2, argv + 2);
}
