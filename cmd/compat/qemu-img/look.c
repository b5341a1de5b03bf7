/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img check, compare, info, map. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "cmd/compat/qemu-img/front.h"

enum { OPT_OUTPUT = 256, OPT_CHAIN, OPT_IGNORED };

static const struct option longs[] = {
	{ "output", required_argument, NULL, OPT_OUTPUT },
	{ "backing-chain", no_argument, NULL, OPT_CHAIN },
	{ "force-share", no_argument, NULL, 'U' },
	{ "repair", required_argument, NULL, 'r' },
	{ "object", required_argument, NULL, FRONT_OBJECT },
	{ NULL, 0, NULL, 0 },
};

struct look {
	struct op_env env;
	const char *format;
	bool json, chain, quiet;
	unsigned fix;
};

static int parse(struct look *l, int argc, char **argv, const char *shorts)
{
	int k;

	front_secret_init(&l->env);
	while ((k = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		switch (k) {
		case 'f': l->format = optarg; break;
		case 'U': l->env.share = true; break;
		case 'q': l->quiet = true; break;
		case 'p': case 's': case 'T': break;
		case FRONT_OBJECT:
			if (front_secret_add(optarg))
				return 1;
			break;
		case OPT_OUTPUT: l->json = !strcmp(optarg, "json"); break;
		case OPT_CHAIN: l->chain = true; break;
		case 'r':
			if (!strcmp(optarg, "leaks"))
				l->fix = BLOCK_FIX_LEAKS;
			else if (!strcmp(optarg, "all"))
				l->fix = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS;
			else
				return front_usage("--repair option expects 'leaks' or 'all'");
			break;
		default: return front_usage("unrecognized option");
		}
	}
	if (optind >= argc)
		return front_usage("Expecting image file name");
	return 0;
}

int front_info(int argc, char **argv)
{
	struct look l = { .json = false };
	struct err err = { "" };

	if (parse(&l, argc, argv, "f:U"))
		return 1;
	return out_info(&l.env, argv[optind], l.format, l.chain, l.json, &err) ? front_fail(&err)
									       : 0;
}

int front_map(int argc, char **argv)
{
	struct look l = { .json = false };
	struct err err = { "" };

	if (parse(&l, argc, argv, "f:U"))
		return 1;
	return out_map(&l.env, argv[optind], l.format, l.json, &err) ? front_fail(&err) : 0;
}

static void report(void *opaque, const char *line)
{
	fprintf(stderr, "%s\n", line);
}

/* 0 clean, 1 could not check, 2 errors remain, 3 leaks remain, 63 no check for the format. */
int front_check(int argc, char **argv)
{
	struct look l = { .json = false };
	struct block_check c = { .report = report };
	struct err err = { "" };
	int rc;

	if (parse(&l, argc, argv, "f:r:qUT:"))
		return 1;
	if (l.json || l.quiet)
		c.report = NULL;
	rc = op_check(&l.env, argv[optind], l.format, l.fix, &c, &err);
	if (rc) {
		front_fail(&err);
		return rc == -ENOTSUP ? 63 : 1;
	}
	if (!l.quiet)
		out_check(&c, argv[optind], l.format ? l.format : "", l.fix, l.json);
	if (c.check_errors)
		return 1;
	if (c.errors > c.errors_fixed)
		return 2;
	return c.leaks > c.leaks_fixed ? 3 : 0;
}

/* 0 identical, 1 different, 2 and more: could not compare. */
int front_compare(int argc, char **argv)
{
	struct op_env env = { 0 };
	struct op_difference d;
	struct out_progress p;
	struct err err = { "" };
	const char *fa = NULL, *fb = NULL;
	bool strict = false, quiet = false, progress = false;
	int k, rc;

	front_secret_init(&env);
	while ((k = getopt_long(argc, argv, "f:F:psqUT:", longs, NULL)) != -1) {
		switch (k) {
		case 'f': fa = optarg; break;
		case 'F': fb = optarg; break;
		case 's': strict = true; break;
		case 'q': quiet = true; break;
		case 'p': progress = true; break;
		case 'U': env.share = true; break;
		case 'T': break;
		case FRONT_OBJECT:
			if (front_secret_add(optarg))
				return 2;
			break;
		default: front_usage("unrecognized option"); return 2;
		}
	}
	if (argc - optind != 2) {
		front_usage("Expecting two image file names");
		return 2;
	}
	out_progress_init(&p, progress && !quiet, stdout);
	env.progress = &p.step;
	rc = op_compare(&env, argv[optind], fa, argv[optind + 1], fb, strict, &d, &err);
	out_progress_end(&p);
	if (rc) {
		front_fail(&err);
		return 2;
	}
	if (d.sizes_differ && !quiet)
		printf(strict ? "Strict mode: Image size mismatch!\n"
			      : "Warning: Image size mismatch!\n");
	if (!quiet && d.differ && !(strict && d.sizes_differ))
		printf("Content mismatch at offset %" PRIu64 "!\n", d.at);
	if (!quiet && !d.differ)
		printf("Images are identical.\n");
	return d.differ;
}
