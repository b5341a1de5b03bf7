/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy disk: finds the command, reads its words, calls its handler. */
#include "cmd/bothy/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/cli.h"
#include "api/disk.h"
#include "src/base/bits.h"

static const struct {
	int (*run)(struct disk_args *a, struct err *err);
	size_t min, max; /* operands */
} handlers[DISK_COMMANDS] = {
	[DISK_BENCH] = { disk_bench, 1, 1 },
	[DISK_CHECK] = { disk_check, 1, 1 },     [DISK_COMMIT] = { disk_commit, 1, 1 },
	[DISK_COMPARE] = { disk_compare, 2, 2 }, [DISK_CONVERT] = { disk_convert, 2, 2 },
	[DISK_CREATE] = { disk_create, 1, 2 },   [DISK_EXPORT] = { disk_export, 1, 1 },
	[DISK_FORMATS] = { disk_formats, 0, 0 },
	[DISK_INFO] = { disk_info, 1, 1 },       [DISK_MAP] = { disk_map, 1, 1 },
	[DISK_MEASURE] = { disk_measure, 0, 1 }, [DISK_REBASE] = { disk_rebase, 1, 1 },
	[DISK_RESIZE] = { disk_resize, 2, 2 },   [DISK_SNAPSHOT] = { disk_snapshot, 2, 3 },
	[DISK_TORTURE] = { disk_torture, 0, 0 }, [DISK_USAGE] = { disk_usage, 1, 1 },
};

/* Its name without the leading "disk ". */
static const char *short_name(int i) { return disk_commands[i].name + 5; }

static int find(const char *name)
{
	const char *names[DISK_COMMANDS], *near;

	for (int i = 0; i < DISK_COMMANDS; i++) {
		names[i] = short_name(i);
		if (!strcmp(names[i], name))
			return i;
	}
	near = opts_nearest(name, names, DISK_COMMANDS, sizeof(names[0]));
	if (near)
		fprintf(stderr, "bothy: unknown command 'disk %s'; did you mean 'disk %s'?\n", name,
			near);
	else
		fprintf(stderr, "bothy: unknown command 'disk %s'; bothy help disk lists them\n",
			name);
	return -1;
}

int disk_help(const char *command)
{
	int i;

	if (!command) {
		printf("usage: bothy disk COMMAND [options]\n\nMake, look at and change disk images."
		       "\n\ncommands:\n");
		for (i = 0; i < DISK_COMMANDS; i++)
			printf("  %-10s %s\n", short_name(i), disk_commands[i].summary);
		printf("\n'bothy disk COMMAND --help' shows each one's options.\n");
		return 0;
	}
	i = find(command);
	if (i < 0)
		return DISK_WRONG_USE;
	opts_print_help("bothy", &disk_commands[i], stdout);
	return 0;
}

int disk_split_options(struct disk_args *a, const char *list, struct err *err)
{
	char *p, *out;

	if (!list)
		return 0;
	p = a->opt_text = strdup(list);
	if (!p)
		return err_set(err, -ENOMEM, "out of memory");
	while (*p) {
		if (a->nopts == DISK_MAX_OPTS)
			return err_set(err, -E2BIG, "--options: more than %d options",
				       DISK_MAX_OPTS);
		a->opts[a->nopts++] = out = p;
		while (*p && !(p[0] == ',' && p[1] != ',')) {
			p += p[0] == ',';
			*out++ = *p++;
		}
		p += *p == ',';
		*out = '\0';
	}
	return 0;
}

int disk_add_option(struct disk_args *a, const char *key, const char *value, struct err *err)
{
	char *text;

	if (!value)
		return 0;
	if (a->nopts == DISK_MAX_OPTS || asprintf(&text, "%s=%s", key, value) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	a->opts[a->nopts++] = text; /* until the process ends */
	return 0;
}

/* The format that a file's ending stands for, NULL if none. */
static const char *format_of_ending(const char *path)
{
	static const char *const known[][2] = {
		{ ".raw", "raw" },   { ".img", "raw" },   { ".iso", "raw" },     { ".vdi", "vdi" },
		{ ".vmdk", "vmdk" }, { ".vhdx", "vhdx" }, { ".vhd", "vpc" },     { ".vpc", "vpc" },
		{ ".luks", "luks" }, { ".qcow2", "qcow2" },
	};
	const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');

	for (size_t i = 0; dot && i < array_size(known); i++)
		if (!strcasecmp(dot, known[i][0]) && block_format(known[i][1]))
			return known[i][1];
	return NULL;
}

const char *disk_format_of(const char *path)
{
	const char *f = format_of_ending(path);

	return f ? f : "qcow2";
}

void disk_note_ending(const char *path, const char *format)
{
	const char *f = format_of_ending(path);
	const struct block_format_desc *d = block_format(format);

	/* .img is anything's; who wrote a format this program does not know hears of that. */
	if (f && d && strcmp(f, "raw") && strcmp(f, d->name))
		fprintf(stderr, "bothy: note: '%s' is named like a %s image but is %s; programs that "
				"go by the name will not open it\n", path, f, d->name);
}

static int key_from_file(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err)
{
	const char *path = opaque;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return err_set(err, -errno, "cannot read the passphrase from '%s': %s", path,
			       strerror(errno));
	n = read(fd, buf, cap);
	close(fd);
	if (n < 0)
		return err_set(err, -EIO, "cannot read the passphrase from '%s'", path);
	if (n && buf[n - 1] == '\n') /* an editor's end of line is no part of it */
		n--;
	if (!n)
		return err_set(err, -EINVAL, "'%s' holds no passphrase", path);
	return (int)n;
}

static int key_from_terminal(void *opaque, const char *what, uint8_t *buf, size_t cap,
			     struct err *err)
{
	char prompt[256], *pass;
	size_t n;

	if (!isatty(STDIN_FILENO))
		return err_set(err, -EACCES, "'%s' is encrypted; give its passphrase with --key-file",
			       what);
	snprintf(prompt, sizeof(prompt), "Passphrase of %.200s: ", what);
	pass = getpass(prompt);
	n = pass ? strlen(pass) : 0;
	if (!n || n > cap)
		return err_set(err, -EACCES, "no passphrase for '%s'", what);
	memcpy(buf, pass, n);
	explicit_bzero(pass, n);
	return (int)n;
}

void disk_use_key(struct disk_args *a, const char *file)
{
	if (file)
		a->secret = (struct block_secret){ key_from_file, (void *)file };
}

int cmd_disk(int argc, char **argv)
{
	struct disk_args a = { .secret = { key_from_terminal, NULL } };
	struct err err = { "" };
	bool help;
	int i, rc;

	if (argc < 1) {
		fprintf(stderr, "bothy: disk needs a command; bothy help disk lists them\n");
		return DISK_WRONG_USE;
	}
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))
		return disk_help(NULL);
	i = find(argv[0]);
	if (i < 0)
		return DISK_WRONG_USE;
	a.cmd = &disk_commands[i];
	a.env.secret = &a.secret;
	rc = opts_parse_operands(a.cmd, argc - 1, argv + 1, a.v, a.operand, handlers[i].max,
				 &a.noperands, &help, &err);
	if (!rc && help)
		return disk_help(argv[0]);
	if (!rc && a.noperands < handlers[i].min)
		rc = err_set(&err, -EINVAL, "it is: bothy %s %s", a.cmd->name, a.cmd->operands);
	if (rc) {
		fprintf(stderr, "bothy: %s\n", err.text);
		return DISK_WRONG_USE;
	}
	out_progress_init(&a.progress, false, stderr);
	a.env.progress = &a.progress.step;
	rc = handlers[i].run(&a, &err);
	out_progress_end(&a.progress);
	if (err.text[0])
		fprintf(stderr, "bothy: %s\n", err.text);
	free(a.opt_text);
	return rc;
}
