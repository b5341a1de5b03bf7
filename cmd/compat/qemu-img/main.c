/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img's command line over our image library, for scripts that call it: the
 * same subcommands, options, output and exit codes where a script could look.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/compat/qemu-img/front.h"
#include "src/base/bits.h"
#include "src/base/version.h"

int front_fail(const struct err *err)
{
	fprintf(stderr, "qemu-img: %s\n", err->text[0] ? err->text : "failed");
	return 1;
}

int front_usage(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "qemu-img: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry 'qemu-img --help' for more information\n");
	return 1;
}

int front_opts_add(struct front_opts *o, const char *list)
{
	char *copy = strdup(list), *p = copy, *out;

	if (!copy || o->ncopies == FRONT_MAX_OPTS) {
		free(copy);
		return -1;
	}
	o->copies[o->ncopies++] = copy;
	/* "a=1,b=x,,y": a doubled comma stands for itself. */
	while (*p && o->n < FRONT_MAX_OPTS) {
		o->opts[o->n++] = out = p;
		while (*p && !(p[0] == ',' && p[1] != ',')) {
			p += p[0] == ',';
			*out++ = *p++;
		}
		if (*p)
			p++;
		*out = '\0';
	}
	return 0;
}

const char *front_opts_take(struct front_opts *o, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < o->n; i++) {
		const char *v = o->opts[i];

		if (strncmp(v, name, n) || v[n] != '=')
			continue;
		memmove(&o->opts[i], &o->opts[i + 1], (o->n - i - 1) * sizeof(o->opts[0]));
		o->n--;
		return v + n + 1;
	}
	return NULL;
}

void front_opts_fini(struct front_opts *o)
{
	for (size_t i = 0; i < o->ncopies; i++)
		free(o->copies[i]);
}

const struct option front_objects[] = {
	{ "object", required_argument, NULL, FRONT_OBJECT },
	{ NULL, 0, NULL, 0 },
};

static char *secret_file;

static int read_secret(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err)
{
	FILE *f;
	size_t n;

	if (!secret_file)
		return err_set(err, -EACCES, "'%s' is encrypted; give --object secret,id=ID,file=FILE",
			       what);
	f = fopen(secret_file, "re");
	if (!f)
		return err_set(err, -errno, "cannot read '%s': %s", secret_file, strerror(errno));
	n = fread(buf, 1, cap, f);
	fclose(f);
	return (int)n;
}

static const struct block_secret secret = { read_secret, NULL };

void front_secret_init(struct op_env *env) { env->secret = &secret; }

int front_secret_add(const char *text)
{
	const char *file = strstr(text, "file=");

	if (strncmp(text, "secret,", 7) || !file)
		return front_usage("--object: only secret,id=ID,file=FILE is supported");
	free(secret_file);
	secret_file = strndup(file + 5, strcspn(file + 5, ","));
	return secret_file ? 0 : 1;
}

int front_cache(const char *name, enum block_cache *out)
{
	static const char *const names[] = { "writeback", "writethrough", "none", "directsync",
					     "unsafe" };

	for (unsigned i = 0; i < array_size(names); i++) {
		if (!strcmp(name, names[i])) {
			*out = i;
			return 0;
		}
	}
	return front_usage("Invalid cache option: %s", name);
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "check", front_check },     { "commit", front_commit }, { "compare", front_compare },
	{ "convert", front_convert }, { "create", front_create }, { "info", front_info },
	{ "map", front_map },         { "measure", front_measure }, { "rebase", front_rebase },
	{ "resize", front_resize },   { "snapshot", front_snapshot },
};

static void print_format(const struct block_format_desc *d, void *opaque)
{
	printf(" %s", d->name);
}

static int help(void)
{
	printf("qemu-img front of bothy version " BOTHY_VERSION "\n"
	       "usage: qemu-img COMMAND [options]\n\ncommands:");
	for (size_t i = 0; i < array_size(commands); i++)
		printf(" %s", commands[i].name);
	printf("\n\nSupported formats:");
	block_format_each(print_format, NULL);
	printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return front_usage("Not enough arguments");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help();
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("qemu-img version 7.2.0 (bothy " BOTHY_VERSION ")\n");
		return 0;
	}
	for (size_t i = 0; i < array_size(commands); i++)
		if (!strcmp(commands[i].name, argv[1]))
			return commands[i].run(argc - 1, argv + 1);
	return front_usage("Command not found: %s", argv[1]);
}
