/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img create, convert, measure. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/compat/qemu-img/front.h"

enum { OPT_OUTPUT = 256, OPT_SIZE, OPT_IGNORED };

int front_create(int argc, char **argv)
{
	struct op_env env = { .cache = BLOCK_CACHE_WRITEBACK };
	struct op_create c = { .format = "raw", .round_up = true, .overwrite = true };
	struct front_opts o = { .n = 0 };
	struct err err = { "" };
	const char *v;
	bool quiet = false;
	uint64_t len;
	int k, rc;

	front_secret_init(&env);
	while ((k = getopt_long(argc, argv, "f:b:F:o:uq6e", front_objects, NULL)) != -1) {
		switch (k) {
		case 'f': c.format = optarg; break;
		case 'b': c.backing_path = optarg; break;
		case 'F': c.backing_format = optarg; break;
		case 'o': front_opts_add(&o, optarg); break;
		case 'u': c.backing_unchecked = true; break;
		case 'q': quiet = true; break;
		case FRONT_OBJECT:
			if (front_secret_add(optarg))
				return 1;
			break;
		default: return front_usage("unrecognized option for create");
		}
	}
	if (optind >= argc)
		return front_usage("Expecting image file name");
	c.path = argv[optind];
	if ((v = front_opts_take(&o, "size")) || (v = argv[optind + 1])) {
		rc = block_parse_size(v, &c.len, &err);
		if (rc)
			return front_fail(&err);
		c.has_len = true;
	}
	if ((v = front_opts_take(&o, "backing_file")))
		c.backing_path = v;
	if ((v = front_opts_take(&o, "backing_fmt")))
		c.backing_format = v;
	c.opts = o.opts;
	c.nopts = o.n;
	rc = op_create(&env, &c, &len, &err);
	if (!rc && !quiet)
		printf("Formatting '%s', fmt=%s size=%" PRIu64 "\n", c.path, c.format, len);
	front_opts_fini(&o);
	return rc ? front_fail(&err) : 0;
}

struct convert_args {
	struct op_env env;
	struct op_convert c;
	struct front_opts o;
	bool progress;
};

static int convert_option(struct convert_args *a, int k, struct err *err)
{
	const char *v = optarg;

	switch (k) {
	case 'f': a->c.src_format = v; return 0;
	case 'O': a->c.dst_format = v; return 0;
	case 'B': a->c.backing_path = v; return 0;
	case 'F': a->c.backing_format = v; return 0;
	case 'c': a->c.compress = true; return 0;
	case 'o': return front_opts_add(&a->o, v);
	case 'l':
		a->c.snapshot = !strncmp(v, "snapshot.id=", 12)   ? v + 12
				: !strncmp(v, "snapshot.name=", 14) ? v + 14
								    : v;
		return 0;
	case 'S': return block_parse_size(v, &a->c.sparse_bytes, err) ? front_fail(err) : 0;
	case 'p': a->progress = true; return 0;
	case 'q': a->progress = false; return 0;
	case 'n': a->c.into_existing = true; return 0;
	case 't': return front_cache(v, &a->env.cache);
	case 'T': return 0;
	case 'm': a->env.threads = (unsigned)strtoul(v, NULL, 10); return 0;
	case 'r': return block_parse_size(v, &a->c.max_bytes_per_s, err) ? front_fail(err) : 0;
	case 'U': a->env.share = true; return 0;
	case FRONT_OBJECT: return front_secret_add(v);
	case 'W': case 'C': case OPT_IGNORED: return 0;
	default: return front_usage("unrecognized option for convert");
	}
}

int front_convert(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "target-is-zero", no_argument, NULL, OPT_IGNORED },
		{ "force-share", no_argument, NULL, 'U' },
		{ "object", required_argument, NULL, FRONT_OBJECT },
		{ NULL, 0, NULL, 0 },
	};
	struct convert_args a = { .env.cache = BLOCK_CACHE_UNSAFE,
				  .c = { .dst_format = "raw", .overwrite = true,
					 .sparse_bytes = 4096 } };
	struct out_progress p;
	struct err err = { "" };
	const char *v;
	int k, rc;

	front_secret_init(&a.env);
	while ((k = getopt_long(argc, argv, "f:O:B:F:co:l:S:pqnt:T:m:r:UWC", longs, NULL)) != -1)
		if (convert_option(&a, k, &err))
			return 1;
	if (argc - optind < 2)
		return front_usage("Must specify image file name");
	if (argc - optind > 2)
		return front_usage("Concatenating several images is not supported");
	a.c.src = argv[optind];
	a.c.dst = argv[optind + 1];
	if ((v = front_opts_take(&a.o, "backing_file")))
		a.c.backing_path = v;
	if ((v = front_opts_take(&a.o, "backing_fmt")))
		a.c.backing_format = v;
	a.c.opts = a.o.opts;
	a.c.nopts = a.o.n;
	out_progress_init(&p, a.progress, stdout);
	a.env.progress = &p.step;
	rc = op_convert(&a.env, &a.c, &err);
	out_progress_end(&p);
	front_opts_fini(&a.o);
	return rc ? front_fail(&err) : 0;
}

int front_measure(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "output", required_argument, NULL, OPT_OUTPUT },
		{ "size", required_argument, NULL, OPT_SIZE },
		{ "force-share", no_argument, NULL, 'U' },
		{ NULL, 0, NULL, 0 },
	};
	struct op_env env = { 0 };
	struct front_opts o = { .n = 0 };
	struct err err = { "" };
	const char *in = NULL, *out = "raw", *size = NULL, *v;
	uint64_t len = 0, cluster = 0, required, fully;
	bool json = false;
	int k, rc = 0;

	while ((k = getopt_long(argc, argv, "f:O:o:U", longs, NULL)) != -1) {
		switch (k) {
		case 'f': in = optarg; break;
		case 'O': out = optarg; break;
		case 'o': front_opts_add(&o, optarg); break;
		case 'U': env.share = true; break;
		case OPT_OUTPUT: json = !strcmp(optarg, "json"); break;
		case OPT_SIZE: size = optarg; break;
		default: return front_usage("unrecognized option for measure");
		}
	}
	if (!size && optind >= argc)
		return front_usage("Either --size N or one filename must be specified.");
	if ((v = front_opts_take(&o, "cluster_size")))
		rc = block_parse_size(v, &cluster, &err);
	if (!rc && size)
		rc = block_parse_size(size, &len, &err);
	if (!rc)
		rc = op_measure(&env, size ? NULL : argv[optind], in, len, out, cluster, &required,
				&fully, &err);
	front_opts_fini(&o);
	if (rc)
		return front_fail(&err);
	if (json) {
		struct json_object *j = json_object_new_object();

		json_object_object_add(j, "required", json_object_new_int64((int64_t)required));
		json_object_object_add(j, "fully-allocated", json_object_new_int64((int64_t)fully));
		out_json(j);
	} else {
		printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required,
		       fully);
	}
	return 0;
}
