/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy disk info, check, compare, map, measure, formats, torture. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "api/disk.h"
#include "cmd/bothy/disk.h"
#include "src/block/torture.h"

static int code(int rc) { return !rc ? 0 : rc == -EINVAL ? DISK_WRONG_USE : DISK_FAILED; }

int disk_info(struct disk_args *a, struct err *err)
{
	a->env.share = a->v[DISK_INFO_SHARE].given;
	return code(out_info(&a->env, a->operand[0], a->v[DISK_INFO_FORMAT].text,
			     a->v[DISK_INFO_CHAIN].given, a->v[DISK_INFO_JSON].given, err));
}

static void report(void *opaque, const char *line) { fprintf(stderr, "%s\n", line); }

int disk_check(struct disk_args *a, struct err *err)
{
	bool json = a->v[DISK_CHECK_JSON].given;
	const char *repair = a->v[DISK_CHECK_REPAIR].text;
	struct block_check c = { .report = json ? NULL : report };
	unsigned fix = 0;
	int rc;

	if (repair && !strcmp(repair, "leaks"))
		fix = BLOCK_FIX_LEAKS;
	else if (repair && !strcmp(repair, "all"))
		fix = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS;
	else if (repair)
		return code(err_set(err, -EINVAL, "--repair is leaks or all, not '%s'", repair));
	a->env.share = a->v[DISK_CHECK_SHARE].given;
	rc = op_check(&a->env, a->operand[0], a->v[DISK_CHECK_FORMAT].text, fix, &c, err);
	if (rc)
		return DISK_FAILED;
	out_check(&c, a->operand[0], a->v[DISK_CHECK_FORMAT].text ? a->v[DISK_CHECK_FORMAT].text : "",
		  fix, json);
	if (c.check_errors)
		return 1;
	if (c.errors > c.errors_fixed)
		return 2;
	return c.leaks > c.leaks_fixed ? 3 : 0;
}

int disk_compare(struct disk_args *a, struct err *err)
{
	struct op_difference d;
	int rc;

	a->env.share = a->v[DISK_COMPARE_SHARE].given;
	a->env.threads = (unsigned)a->v[DISK_COMPARE_THREADS].number;
	a->progress.show = !a->v[DISK_COMPARE_QUIET].given && isatty(STDERR_FILENO);
	rc = op_compare(&a->env, a->operand[0], a->v[DISK_COMPARE_FORMAT].text, a->operand[1],
			a->v[DISK_COMPARE_FORMAT2].text, a->v[DISK_COMPARE_STRICT].given, &d, err);
	if (rc)
		return 2;
	if (a->v[DISK_COMPARE_JSON].given) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "identical", json_object_new_boolean(!d.differ));
		if (d.differ)
			json_object_object_add(o, "offset", json_object_new_int64((int64_t)d.at));
		out_json(o);
	} else if (d.differ) {
		printf("They differ, first at byte %" PRIu64 ".\n", d.at);
	} else {
		printf(d.sizes_differ ? "The same, but for zeroes at the longer one's end.\n"
				      : "The same.\n");
	}
	return d.differ;
}

int disk_map(struct disk_args *a, struct err *err)
{
	a->env.share = a->v[DISK_MAP_SHARE].given;
	return code(out_map(&a->env, a->operand[0], a->v[DISK_MAP_FORMAT].text,
			    a->v[DISK_MAP_JSON].given, err));
}

int disk_measure(struct disk_args *a, struct err *err)
{
	uint64_t required, fully;
	int rc;

	if (!a->noperands == !a->v[DISK_MEASURE_SIZE].given)
		return code(err_set(err, -EINVAL, "give either a file or --size"));
	a->env.share = a->v[DISK_MEASURE_SHARE].given;
	rc = op_measure(&a->env, a->noperands ? a->operand[0] : NULL, a->v[DISK_MEASURE_FORMAT].text,
			a->v[DISK_MEASURE_SIZE].number, a->v[DISK_MEASURE_TO].text,
			a->v[DISK_MEASURE_CLUSTER_SIZE].number, &required, &fully, err);
	if (rc)
		return code(rc);
	if (a->v[DISK_MEASURE_JSON].given) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "required", json_object_new_int64((int64_t)required));
		json_object_object_add(o, "fully-allocated", json_object_new_int64((int64_t)fully));
		out_json(o);
		return 0;
	}
	printf("required: %" PRIu64 "\nif all is written: %" PRIu64 "\n", required, fully);
	return 0;
}

static void print_format(const struct block_format_desc *d, void *opaque)
{
	printf("%-8s %s%s\n", d->name, d->create ? "" : "(read) ", d->title);
}

int disk_formats(struct disk_args *a, struct err *err)
{
	const char *name = a->v[DISK_FORMATS_FORMAT].text;
	const struct block_format_desc *d;

	if (!name) {
		block_format_each(print_format, NULL);
		return 0;
	}
	d = block_format(name);
	if (!d)
		return code(err_set(err, -EINVAL, "'%s' is not an image format that is known; "
						  "'bothy disk formats' lists those", name));
	printf("%s: %s\n", d->name, d->title);
	for (const struct block_create_opt *o = d->create_opts; o && o->name; o++)
		printf("  %s=%s\n      %s\n", o->name, o->values, o->help);
	return 0;
}

static void torture_json(const struct torture *t, const struct torture_result *r)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "format", json_object_new_string(t->format));
	json_object_object_add(o, "seed", json_object_new_int64((int64_t)t->seed));
	json_object_object_add(o, "cuts", json_object_new_int64((int64_t)r->cuts));
	json_object_object_add(o, "events", json_object_new_int64((int64_t)r->events));
	json_object_object_add(o, "flushes", json_object_new_int64((int64_t)r->flushes));
	json_object_object_add(o, "bad", json_object_new_int64((int64_t)r->bad));
	json_object_object_add(o, "leaked-clusters", json_object_new_int64((int64_t)r->leaks));
	if (r->bad)
		json_object_object_add(o, "first", json_object_new_string(r->reason));
	out_json(o);
}

int disk_torture(struct disk_args *a, struct err *err)
{
	struct torture t = {
		.format = a->v[DISK_TORTURE_FORMAT].text, .opts = a->opts,
		.seed = a->v[DISK_TORTURE_SEED].number,
		.steps = (unsigned)a->v[DISK_TORTURE_STEPS].number,
		.max_cuts = a->v[DISK_TORTURE_CUTS].number,
		.backing = a->v[DISK_TORTURE_BACKING].given,
		.snapshots = a->v[DISK_TORTURE_SNAPSHOTS].given,
		.jobs = a->v[DISK_TORTURE_JOBS].given,
		.resize = a->v[DISK_TORTURE_RESIZE].given, .plant = a->v[DISK_TORTURE_PLANT].given,
		.progress = a->env.progress,
	};
	struct torture_result r;
	int rc = disk_split_options(a, a->v[DISK_TORTURE_OPTIONS].text, err);

	t.nopts = a->nopts;
	a->progress.show = !a->v[DISK_TORTURE_QUIET].given && isatty(STDERR_FILENO);
	if (!rc)
		rc = torture_run(&t, &r, err);
	if (rc)
		return code(rc);
	if (a->v[DISK_TORTURE_JSON].given)
		torture_json(&t, &r);
	else
		printf("%" PRIu64 " states of %" PRIu64 " writes and flushes: %" PRIu64 " not sound, %"
		       PRIu64 " clusters leaked in all\n%s%s", r.cuts, r.events, r.bad, r.leaks,
		       r.reason, r.bad ? "\n" : "");
	return t.plant ? !r.bad : r.bad != 0;
}
