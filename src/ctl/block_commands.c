/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that work on drives: snapshots, jobs, dirty bitmaps, resizing. */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/job.h"
#include "src/ctl/ctl_priv.h"
#include "src/vm/vm.h"

/* The drive of the argument @name, fit for work on its images. */
static struct vm_drive *drive_of(struct vm *vm, struct json_object *args, const char *name,
				 struct err *err)
{
	const char *id = ctl_arg_text(args, name);
	struct vm_drive *d = id ? vm_drive_find(vm, id) : NULL;

	if (!d)
		err_set(err, -ENOENT, "there is no drive '%s'", id ? id : "");
	else if (d->removable)
		err_set(err, -ENOTSUP, "drive '%s' holds a medium that can be changed; this is for "
				       "disks", id);
	else
		return d;
	return NULL;
}

/* @text's place in @names; -1 with the reason. NULL: @def. */
static int choice(const char *what, const char *text, const char *const *names, int def,
		  struct err *err)
{
	if (!text)
		return def;
	for (int i = 0; names[i]; i++)
		if (!strcmp(names[i], text))
			return i;
	err_set(err, -EINVAL, "%s cannot be '%s'", what, text);
	return -1;
}

static int number(struct json_object *args, const char *name, uint64_t *out, struct err *err)
{
	int64_t v = ctl_arg_int(args, name, 0);

	if (v < 0)
		return err_set(err, -EINVAL, "%s cannot be negative", name);
	*out = (uint64_t)v;
	return 0;
}

static int common_of(struct vm *vm, struct json_object *args, const char *on_error,
		     struct job_common *c, struct err *err)
{
	static const char *const policies[] = { "report", "ignore", "stop", "enospc", NULL };
	struct vm_drive *d = drive_of(vm, args, "device", err);
	const char *id = ctl_arg_text(args, "job-id");
	int p;

	if (!d)
		return -ENOENT;
	memset(c, 0, sizeof(*c));
	c->id = id ? id : d->id;
	c->blk = d->blk;
	vm_drive_open_opts(d, &c->open);
	p = choice(on_error, ctl_arg_text(args, on_error), policies, JOB_REPORT, err);
	if (p < 0)
		return -EINVAL;
	c->on_error = (enum job_on_error)p;
	return number(args, "speed", &c->speed, err);
}

static int existing_of(struct json_object *args, bool must, bool *out, struct err *err)
{
	static const char *const modes[] = { "absolute-paths", "existing", NULL };
	int m = choice("mode", ctl_arg_text(args, "mode"), modes, must, err);

	*out = m == 1;
	return m < 0 ? -EINVAL : 0;
}

int ctl_blockdev_snapshot_sync(struct vm *vm, struct json_object *args, struct json_object **ret,
			       struct err *err)
{
	struct vm_drive *d = drive_of(vm, args, "device", err);
	struct block_open_opts o;
	bool existing;
	int rc;

	if (!d)
		return -ENOENT;
	vm_drive_open_opts(d, &o);
	rc = existing_of(args, false, &existing, err);
	return rc ? rc : blk_snapshot(vm_jobs(vm), d->blk, &o, ctl_arg_text(args, "snapshot-file"),
				       ctl_arg_text(args, "format"), existing, err);
}

int ctl_block_commit(struct vm *vm, struct json_object *args, struct json_object **ret,
		     struct err *err)
{
	struct job_common c;
	int rc = common_of(vm, args, "on-error", &c, err);

	return rc ? rc : job_commit(vm_jobs(vm), &c, ctl_arg_text(args, "top"),
				    ctl_arg_text(args, "base"), err);
}

int ctl_block_stream(struct vm *vm, struct json_object *args, struct json_object **ret,
		     struct err *err)
{
	struct job_common c;
	int rc = common_of(vm, args, "on-error", &c, err);

	return rc ? rc : job_stream(vm_jobs(vm), &c, ctl_arg_text(args, "base"), err);
}

static int target_of(struct json_object *args, bool existing, struct job_target *t, struct err *err)
{
	static const char *const syncs[] = { "full", "top", "none", "incremental", "bitmap", NULL };
	int sync = choice("sync", ctl_arg_text(args, "sync"), syncs, 0, err), rc;
	uint64_t g = 0;

	memset(t, 0, sizeof(*t));
	t->path = ctl_arg_text(args, "target");
	t->format = ctl_arg_text(args, "format");
	t->bitmap = ctl_arg_text(args, "bitmap");
	t->resume = ctl_arg_bool(args, "x-resume");
	t->sync = (enum job_sync)min_of(sync, (int)JOB_INCREMENTAL);
	rc = sync < 0 ? -EINVAL : existing_of(args, existing, &t->existing, err);
	if (!rc)
		rc = number(args, "granularity", &g, err);
	if (!rc && g > UINT32_MAX)
		rc = err_set(err, -EINVAL, "a granularity of %llu bytes is too much",
			     (unsigned long long)g);
	t->granularity = (uint32_t)g;
	return rc;
}

static int mirror(struct vm *vm, struct json_object *args, bool existing, struct err *err)
{
	static const char *const modes[] = { "background", "write-blocking", NULL };
	struct job_target t;
	struct job_common c;
	int m, rc = common_of(vm, args, "on-target-error", &c, err);

	if (!rc)
		rc = target_of(args, existing, &t, err);
	if (rc)
		return rc;
	m = choice("copy-mode", ctl_arg_text(args, "copy-mode"), modes, 0, err);
	t.at_once = m == 1;
	return m < 0 ? -EINVAL : job_mirror(vm_jobs(vm), &c, &t, err);
}

static int backup(struct vm *vm, struct json_object *args, bool existing, struct err *err)
{
	struct job_target t;
	struct job_common c;
	int rc = common_of(vm, args, "on-target-error", &c, err);

	if (!rc)
		rc = target_of(args, existing, &t, err);
	return rc ? rc : job_backup(vm_jobs(vm), &c, &t, err);
}

int ctl_drive_mirror(struct vm *vm, struct json_object *args, struct json_object **ret,
		     struct err *err)
{
	return mirror(vm, args, false, err);
}

int ctl_blockdev_mirror(struct vm *vm, struct json_object *args, struct json_object **ret,
			struct err *err)
{
	return mirror(vm, args, true, err);
}

int ctl_drive_backup(struct vm *vm, struct json_object *args, struct json_object **ret,
		     struct err *err)
{
	return backup(vm, args, false, err);
}

int ctl_blockdev_backup(struct vm *vm, struct json_object *args, struct json_object **ret,
			struct err *err)
{
	return backup(vm, args, true, err);
}

int ctl_block_dirty_bitmap_add(struct vm *vm, struct json_object *args, struct json_object **ret,
			       struct err *err)
{
	struct vm_drive *d = drive_of(vm, args, "node", err);
	uint64_t g = 0;
	int rc = d ? number(args, "granularity", &g, err) : -ENOENT;

	if (!rc && g > UINT32_MAX)
		rc = err_set(err, -EINVAL, "a granularity of %llu bytes is too much",
			     (unsigned long long)g);
	return rc ? rc : blk_bitmap_add(vm_jobs(vm), d->blk, ctl_arg_text(args, "name"), (uint32_t)g,
					 ctl_arg_bool(args, "persistent"), err);
}

int ctl_block_dirty_bitmap_remove(struct vm *vm, struct json_object *args,
				  struct json_object **ret, struct err *err)
{
	struct vm_drive *d = drive_of(vm, args, "node", err);

	return d ? blk_bitmap_remove(vm_jobs(vm), d->blk, ctl_arg_text(args, "name"), err) : -ENOENT;
}

int ctl_block_dirty_bitmap_clear(struct vm *vm, struct json_object *args, struct json_object **ret,
				 struct err *err)
{
	struct vm_drive *d = drive_of(vm, args, "node", err);

	return d ? blk_bitmap_clear(vm_jobs(vm), d->blk, ctl_arg_text(args, "name"), err) : -ENOENT;
}

static void list_job(void *opaque, const struct job_info *i)
{
	static const char *const types[] = { "commit", "stream", "mirror", "backup" };
	struct json_object *o = json_object_new_object();

	ctl_add_text(o, "type", types[i->type]);
	ctl_add_text(o, "device", i->id);
	ctl_add_int(o, "len", (int64_t)i->total);
	ctl_add_int(o, "offset", (int64_t)i->done);
	ctl_add_int(o, "speed", (int64_t)i->speed);
	ctl_add_bool(o, "busy", i->busy);
	ctl_add_bool(o, "paused", i->paused);
	ctl_add_bool(o, "ready", i->ready);
	ctl_add_text(o, "io-status", !i->io_error ? "ok" : i->io_nospace ? "nospace" : "failed");
	ctl_add_text(o, "status", i->paused ? "paused" : i->ready ? "ready" : "running");
	json_object_array_add(opaque, o);
}

int ctl_query_block_jobs(struct vm *vm, struct json_object *args, struct json_object **ret,
			 struct err *err)
{
	*ret = json_object_new_array();
	if (vm_jobs(vm))
		jobs_each(vm_jobs(vm), list_job, *ret);
	return 0;
}

/* The job of the argument "device"; NULL: there is none. */
static const char *job_of(struct vm *vm, struct json_object *args, struct err *err)
{
	const char *id = ctl_arg_text(args, "device");

	if (vm_jobs(vm))
		return id;
	err_set(err, -ENOENT, "there is no job '%s'", id);
	return NULL;
}

int ctl_block_job_cancel(struct vm *vm, struct json_object *args, struct json_object **ret,
			 struct err *err)
{
	const char *id = job_of(vm, args, err);

	return id ? job_cancel(vm_jobs(vm), id, ctl_arg_bool(args, "force"), err) : -ENOENT;
}

int ctl_block_job_pause(struct vm *vm, struct json_object *args, struct json_object **ret,
			struct err *err)
{
	const char *id = job_of(vm, args, err);

	return id ? job_pause(vm_jobs(vm), id, err) : -ENOENT;
}

int ctl_block_job_resume(struct vm *vm, struct json_object *args, struct json_object **ret,
			 struct err *err)
{
	const char *id = job_of(vm, args, err);

	return id ? job_resume(vm_jobs(vm), id, err) : -ENOENT;
}

int ctl_block_job_complete(struct vm *vm, struct json_object *args, struct json_object **ret,
			   struct err *err)
{
	const char *id = job_of(vm, args, err);

	return id ? job_complete(vm_jobs(vm), id, err) : -ENOENT;
}

int ctl_block_job_set_speed(struct vm *vm, struct json_object *args, struct json_object **ret,
			    struct err *err)
{
	const char *id = job_of(vm, args, err);
	uint64_t speed = 0;
	int rc = id ? number(args, "speed", &speed, err) : -ENOENT;

	return rc ? rc : job_set_speed(vm_jobs(vm), id, speed, err);
}

int ctl_block_resize(struct vm *vm, struct json_object *args, struct json_object **ret,
		     struct err *err)
{
	struct vm_drive *d = drive_of(vm, args, "device", err);
	uint64_t len = 0;
	int rc = d ? number(args, "size", &len, err) : -ENOENT;

	return rc ? rc : blk_resize(vm_jobs(vm), d->blk, len, ctl_arg_bool(args, "x-shrink"), err);
}
