/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img commit, rebase, resize, snapshot. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cmd/compat/qemu-img/front.h"

enum { OPT_SHRINK = 256, OPT_PREALLOC };

int front_commit(int argc, char **argv)
{
	struct op_env env = { .cache = BLOCK_CACHE_WRITEBACK };
	struct op_commit c = { .path = NULL };
	struct out_progress p;
	struct err err = { "" };
	bool progress = false, quiet = false;
	int k, rc;

	while ((k = getopt(argc, argv, "f:t:b:dpqr:")) != -1) {
		switch (k) {
		case 'f': c.format = optarg; break;
		case 't':
			if (front_cache(optarg, &env.cache))
				return 1;
			break;
		case 'b': c.base = optarg; c.keep = true; break;
		case 'd': c.keep = true; break;
		case 'p': progress = true; break;
		case 'q': quiet = true; break;
		case 'r': break;
		default: return front_usage("unrecognized option");
		}
	}
	if (argc - optind != 1)
		return front_usage("Expecting one image file name");
	c.path = argv[optind];
	out_progress_init(&p, progress, stdout);
	env.progress = &p.step;
	rc = op_commit(&env, &c, &err);
	out_progress_end(&p);
	if (rc)
		return front_fail(&err);
	if (!quiet)
		printf("Image committed.\n");
	return 0;
}

int front_rebase(int argc, char **argv)
{
	struct op_env env = { .cache = BLOCK_CACHE_WRITEBACK };
	struct op_rebase r = { .path = NULL };
	struct out_progress p;
	struct err err = { "" };
	bool progress = false;
	int k, rc;

	while ((k = getopt(argc, argv, "f:t:T:b:F:upqU")) != -1) {
		switch (k) {
		case 'f': r.format = optarg; break;
		case 't':
			if (front_cache(optarg, &env.cache))
				return 1;
			break;
		case 'b': r.backing_path = optarg; break;
		case 'F': r.backing_format = optarg; break;
		case 'u': r.unsafe = true; break;
		case 'p': progress = true; break;
		case 'T': case 'q': case 'U': break;
		default: return front_usage("unrecognized option");
		}
	}
	if (argc - optind != 1)
		return front_usage("Expecting one image file name");
	r.path = argv[optind];
	if (r.backing_path && !*r.backing_path)
		r.backing_path = NULL;
	out_progress_init(&p, progress, stdout);
	env.progress = &p.step;
	rc = op_rebase(&env, &r, &err);
	out_progress_end(&p);
	return rc ? front_fail(&err) : 0;
}

static int prealloc(const char *name, enum block_prealloc *out)
{
	static const char *const names[] = { "off", "metadata", "falloc", "full" };

	for (unsigned i = 0; i < 4; i++) {
		if (!strcmp(name, names[i])) {
			*out = i;
			return 0;
		}
	}
	return front_usage("Invalid preallocation mode '%s'", name);
}

int front_resize(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "shrink", no_argument, NULL, OPT_SHRINK },
		{ "preallocation", required_argument, NULL, OPT_PREALLOC },
		{ NULL, 0, NULL, 0 },
	};
	struct op_env env = { .cache = BLOCK_CACHE_WRITEBACK };
	struct op_resize r = { .path = NULL };
	struct err err = { "" };
	const char *size = NULL;
	bool quiet = false;
	int k, rc;

	/* The size comes last and may begin with a minus sign. */
	if (argc > 2 && (argv[argc - 1][0] == '-' || argv[argc - 1][0] == '+' ||
			 (argv[argc - 1][0] >= '0' && argv[argc - 1][0] <= '9')))
		size = argv[--argc];
	while ((k = getopt_long(argc, argv, "f:q", longs, NULL)) != -1) {
		switch (k) {
		case 'f': r.format = optarg; break;
		case 'q': quiet = true; break;
		case OPT_SHRINK: r.shrink = true; break;
		case OPT_PREALLOC:
			if (prealloc(optarg, &r.prealloc))
				return 1;
			break;
		default: return front_usage("unrecognized option");
		}
	}
	if (argc - optind != 1 || !size)
		return front_usage("Expecting image file name and size");
	r.path = argv[optind];
	if (*size == '+' || *size == '-')
		r.relative = *size++ == '+' ? 1 : -1;
	rc = block_parse_size(size, &r.len, &err);
	if (!rc)
		rc = op_resize(&env, &r, NULL, &err);
	if (rc)
		return front_fail(&err);
	if (!quiet)
		printf("Image resized.\n");
	return 0;
}

int front_snapshot(int argc, char **argv)
{
	struct op_env env = { .cache = BLOCK_CACHE_WRITEBACK };
	struct err err = { "" };
	const char *name = NULL, *format = NULL;
	int what = 0, k, rc;

	while ((k = getopt(argc, argv, "la:c:d:f:qU")) != -1) {
		switch (k) {
		case 'l': case 'a': case 'c': case 'd':
			if (what)
				return front_usage("Cannot mix '-l', '-a', '-c', '-d'");
			what = k;
			name = optarg;
			break;
		case 'f': format = optarg; break;
		case 'U': env.share = true; break;
		case 'q': break;
		default: return front_usage("unrecognized option");
		}
	}
	if (argc - optind != 1)
		return front_usage("Expecting one image file name");
	if (!what || what == 'l')
		rc = out_snapshot_list(&env, argv[optind], format, false, &err);
	else
		rc = op_snapshot(&env, argv[optind], format,
				 what == 'c'   ? OP_SNAP_ADD
				 : what == 'a' ? OP_SNAP_APPLY
					       : OP_SNAP_DELETE,
				 name, &err);
	return rc ? front_fail(&err) : 0;
}
