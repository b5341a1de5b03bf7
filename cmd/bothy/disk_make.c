/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy disk create, convert, resize, snapshot, rebase, commit. */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "api/disk.h"
#include "cmd/bothy/disk.h"
#include "src/base/bits.h"

static void show_progress(struct disk_args *a, bool quiet)
{
	a->progress.show = !quiet && isatty(STDERR_FILENO);
}

/* Wrong use or failure: what was said decides. */
static int code(int rc)
{
	if (!rc)
		return 0;
	return rc == -EINVAL ? DISK_WRONG_USE : DISK_FAILED;
}

/* One line of advice where the choice matters. */
static void advise(const char *format, const char *prealloc)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (!prealloc || !strcmp(prealloc, "off"))
		fprintf(stderr, "Thin: it takes room as it is written. For a database, "
				"--preallocation falloc%s writes faster and cannot run out of room.\n",
			strcmp(format, "raw") ? " or --format raw" : "");
}

int disk_create(struct disk_args *a, struct err *err)
{
	struct op_create c = {
		.path = a->operand[0],
		.format = a->v[DISK_CREATE_FORMAT].text ? a->v[DISK_CREATE_FORMAT].text
							: disk_format_of(a->operand[0]),
		.backing_path = a->v[DISK_CREATE_BACKING].text,
		.backing_format = a->v[DISK_CREATE_BACKING_FORMAT].text,
		.overwrite = a->v[DISK_CREATE_FORCE].given,
	};
	const char *prealloc = a->v[DISK_CREATE_PREALLOCATION].text;
	char size[32];
	uint64_t len;
	int rc = 0;

	disk_use_key(a, a->v[DISK_CREATE_KEY_FILE].text);
	if (a->noperands > 1) {
		rc = block_parse_size(a->operand[1], &c.len, err);
		c.has_len = true;
	}
	if (!rc)
		rc = disk_split_options(a, a->v[DISK_CREATE_OPTIONS].text, err);
	if (!rc)
		rc = disk_add_option(a, "preallocation", prealloc, err);
	c.opts = a->opts;
	c.nopts = a->nopts;
	if (!rc)
		rc = op_create(&a->env, &c, &len, err);
	if (rc)
		return code(rc);
	disk_note_ending(c.path, c.format);
	if (a->v[DISK_CREATE_JSON].given) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "filename", json_object_new_string(c.path));
		json_object_object_add(o, "format", json_object_new_string(c.format));
		json_object_object_add(o, "virtual-size", json_object_new_int64((int64_t)len));
		out_json(o);
		return 0;
	}
	printf("Created %s: %s, %s\n", c.path, c.format, out_size(len, size, sizeof(size)));
	advise(c.format, prealloc);
	return 0;
}

int disk_convert(struct disk_args *a, struct err *err)
{
	struct op_convert c = {
		.src = a->operand[0], .src_format = a->v[DISK_CONVERT_FROM].text,
		.dst = a->operand[1],
		.dst_format = a->v[DISK_CONVERT_TO].text ? a->v[DISK_CONVERT_TO].text
							 : disk_format_of(a->operand[1]),
		.snapshot = a->v[DISK_CONVERT_SNAPSHOT].text,
		.backing_path = a->v[DISK_CONVERT_BACKING].text,
		.backing_format = a->v[DISK_CONVERT_BACKING_FORMAT].text,
		.compress = a->v[DISK_CONVERT_COMPRESS].given,
		.overwrite = a->v[DISK_CONVERT_FORCE].given,
		.into_existing = a->v[DISK_CONVERT_INTO].given,
		.resumable = a->v[DISK_CONVERT_RESUME].given,
		.sparse_bytes = a->v[DISK_CONVERT_SPARSE].number,
		.max_bytes_per_s = a->v[DISK_CONVERT_LIMIT].number,
	};
	int rc;

	disk_use_key(a, a->v[DISK_CONVERT_KEY_FILE].text);
	a->env.threads = (unsigned)a->v[DISK_CONVERT_THREADS].number;
	a->env.share = a->v[DISK_CONVERT_SHARE].given;
	if (a->v[DISK_CONVERT_NO_SYNC].given)
		a->env.cache = BLOCK_CACHE_UNSAFE;
	show_progress(a, a->v[DISK_CONVERT_QUIET].given);
	rc = disk_split_options(a, a->v[DISK_CONVERT_OPTIONS].text, err);
	c.opts = a->opts;
	c.nopts = a->nopts;
	if (!rc)
		rc = op_convert(&a->env, &c, err);
	if (!rc)
		disk_note_ending(c.dst, c.dst_format);
	return code(rc);
}

int disk_resize(struct disk_args *a, struct err *err)
{
	static const char *const names[] = { "off", "metadata", "falloc", "full" };
	struct op_resize r = { .path = a->operand[0], .format = a->v[DISK_RESIZE_FORMAT].text,
			       .shrink = a->v[DISK_RESIZE_SHRINK].given };
	const char *size = a->operand[1], *p = a->v[DISK_RESIZE_PREALLOCATION].text;
	char text[32];
	uint64_t len;
	int rc;

	disk_use_key(a, a->v[DISK_RESIZE_KEY_FILE].text);
	if (*size == '+' || *size == '-')
		r.relative = *size++ == '+' ? 1 : -1;
	rc = block_parse_size(size, &r.len, err);
	while (!rc && p && r.prealloc < array_size(names) && strcmp(p, names[r.prealloc]))
		r.prealloc++;
	if (!rc && r.prealloc == array_size(names))
		rc = err_set(err, -EINVAL, "--preallocation is off, metadata, falloc or full");
	if (!rc)
		rc = op_resize(&a->env, &r, &len, err);
	if (!rc)
		printf("%s has %s (%llu bytes)\n", r.path, out_size(len, text, sizeof(text)),
		       (unsigned long long)len);
	return code(rc);
}

int disk_snapshot(struct disk_args *a, struct err *err)
{
	const char *verb = a->operand[0], *path = a->operand[1], *name = a->operand[2];
	const char *format = a->v[DISK_SNAPSHOT_FORMAT].text;
	enum op_snap what;

	if (!strcmp(verb, "list"))
		return code(out_snapshot_list(&a->env, path, format, a->v[DISK_SNAPSHOT_JSON].given,
					      err));
	if (!strcmp(verb, "create"))
		what = OP_SNAP_CREATE;
	else if (!strcmp(verb, "apply"))
		what = OP_SNAP_APPLY;
	else if (!strcmp(verb, "delete"))
		what = OP_SNAP_DELETE;
	else
		return code(err_set(err, -EINVAL, "'%s' is not list, create, apply or delete", verb));
	if (!name)
		return code(err_set(err, -EINVAL, "snapshot %s needs a name", verb));
	return code(op_snapshot(&a->env, path, format, what, name, err));
}

int disk_rebase(struct disk_args *a, struct err *err)
{
	struct op_rebase r = { .path = a->operand[0], .format = a->v[DISK_REBASE_FORMAT].text,
			       .backing_path = a->v[DISK_REBASE_BACKING].text,
			       .backing_format = a->v[DISK_REBASE_BACKING_FORMAT].text,
			       .unsafe = a->v[DISK_REBASE_NAME_ONLY].given };

	if (!r.backing_path == !a->v[DISK_REBASE_NONE].given)
		return code(err_set(err, -EINVAL, "give either --backing FILE or --none"));
	a->env.threads = (unsigned)a->v[DISK_REBASE_THREADS].number;
	show_progress(a, a->v[DISK_REBASE_QUIET].given);
	return code(op_rebase(&a->env, &r, err));
}

int disk_commit(struct disk_args *a, struct err *err)
{
	struct op_commit c = { .path = a->operand[0], .format = a->v[DISK_COMMIT_FORMAT].text,
			       .base = a->v[DISK_COMMIT_BASE].text,
			       .keep = a->v[DISK_COMMIT_KEEP].given };

	a->env.threads = (unsigned)a->v[DISK_COMMIT_THREADS].number;
	show_progress(a, a->v[DISK_COMMIT_QUIET].given);
	return code(op_commit(&a->env, &c, err));
}
