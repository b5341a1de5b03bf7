/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drives of a VM: images opened as configured, and what happens when one fails. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/block/blk.h"
#include "src/block/block.h"
#include "src/block/job.h"
#include "src/dev/storage/medium.h"
#include "src/machine/board.h"
#include "src/machine/plugs.h"
#include "src/vm/vm_priv.h"

#define POOL_THREADS 16
#define PROBE_BYTES 65536
#define KEY_MAX 512

#define D(f) offsetof(struct vm_drive, f)
static const struct dev_prop drive_props[] = {
	{ .name = "file", .type = DEV_PROP_TEXT, .offset = D(file), .help = "the image" },
	{ .name = "format", .type = DEV_PROP_TEXT, .offset = D(format),
	  .help = "its format; told from its name and first bytes if not given" },
	{ .name = "readonly", .type = DEV_PROP_BOOL, .offset = D(readonly),
	  .help = "the guest cannot write" },
	{ .name = "removable", .type = DEV_PROP_BOOL, .offset = D(removable),
	  .help = "a drive whose medium can be changed" },
	{ .name = "cache", .type = DEV_PROP_CHOICE, .offset = D(cache), .def = "writeback",
	  .choices = "writeback|writethrough|none|directsync|unsafe",
	  .help = "what the host may hold back" },
	{ .name = "aio", .type = DEV_PROP_CHOICE, .offset = D(aio), .def = "auto",
	  .choices = "auto|io_uring|threads",
	  .help = "who reads and writes while the guest goes on; auto: io_uring where it may be used" },
	{ .name = "rerror", .type = DEV_PROP_CHOICE, .offset = D(read_error), .def = "report",
	  .choices = "report|ignore|stop", .help = "when reading fails" },
	{ .name = "werror", .type = DEV_PROP_CHOICE, .offset = D(write_error), .def = "enospc",
	  .choices = "report|ignore|stop|enospc", .help = "when writing fails" },
	{ .name = "iops", .type = DEV_PROP_UINT, .offset = D(max_iops),
	  .help = "requests a second, 0: no limit" },
	{ .name = "bps", .type = DEV_PROP_SIZE, .offset = D(max_bytes_per_s),
	  .help = "bytes a second, 0: no limit" },
	{ .name = "key-file", .type = DEV_PROP_TEXT, .offset = D(key_file),
	  .help = "a file with the passphrase of an encrypted image" },
	DEV_PROP_END
};
#undef D
static const struct dev_desc drive_desc = { .name = "drive", .props = drive_props };

struct vm_drive *vm_drives(struct vm *vm) { return vm->drives; }

struct vm_drive *vm_drive_find(struct vm *vm, const char *id)
{
	for (struct vm_drive *d = vm->drives; d; d = d->next)
		if (!strcmp(d->id, id))
			return d;
	return NULL;
}

struct blk *vm_drive_claim(struct vm *vm, const char *id, struct err *err)
{
	struct vm_drive *d = vm_drive_find(vm, id);

	if (!d) {
		err_set(err, -ENOENT, "there is no drive '%s'", id);
		return NULL;
	}
	if (d->claimed) {
		err_set(err, -EBUSY, "drive '%s' belongs to another device already", id);
		return NULL;
	}
	d->claimed = true;
	return d->blk;
}

/*
 * The format.
 */
static bool has_suffix(const char *path, const char *suffixes)
{
	const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');

	if (!dot || (slash && dot < slash))
		return false;
	for (const char *s = suffixes ? suffixes : ""; *s; s += strspn(s, " ")) {
		size_t n = strcspn(s, " ");

		if (strlen(dot + 1) == n && !strncasecmp(dot + 1, s, n))
			return true;
		s += n;
	}
	return false;
}

struct name_match {
	const char *path;
	const struct block_format_desc *found;
};

static void match_name(const struct block_format_desc *d, void *opaque)
{
	struct name_match *m = opaque;

	if (!m->found && !d->protocol && strcmp(d->name, "raw") && has_suffix(m->path, d->suffixes))
		m->found = d;
}

/*
 * A guest can write any header into a raw disk, to have it taken for an image of another
 * format, with names of host files in it, the next time. So the first bytes alone decide
 * nothing: the file's name must agree with them.
 */
static int guess_format(const char *path, const char **format, struct err *err)
{
	struct name_match m = { .path = path };
	const struct block_format_desc *d;
	uint8_t *buf;
	struct stat st;
	ssize_t n;
	int fd;

	if (strstr(path, "://"))
		return 0; /* a protocol's name; raw until told otherwise */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
		if (fd >= 0)
			close(fd);
		return 0; /* opening it says what is wrong */
	}
	buf = malloc(PROBE_BYTES);
	n = buf ? pread(fd, buf, PROBE_BYTES, 0) : -1;
	d = n >= 0 ? block_probe(buf, (size_t)n, path) : NULL;
	free(buf);
	close(fd);
	if (!d)
		return err_set(err, -EIO, "'%s' cannot be read", path);
	block_format_each(match_name, &m);
	if (m.found == d || (!m.found && !strcmp(d->name, "raw"))) {
		*format = d->name;
		return 0;
	}
	if (!strcmp(d->name, "raw"))
		return err_set(err, -EINVAL, "'%s' is named like a %s image but is none; say "
			       "format=raw if its bytes are the disk's", path, m.found->name);
	return err_set(err, -EINVAL, "'%s' holds a %s image but is not named so; say format=%s, or "
		       "format=raw if its bytes are the disk's own", path, d->name, d->name);
}

/*
 * Encrypted images.
 */
static int key_from_file(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err)
{
	const struct vm_drive *d = opaque;
	int fd, len = 0;
	ssize_t n;

	if (!d->key_file)
		return err_set(err, -ENOKEY, "'%s' is encrypted; give its passphrase with "
			       "key-file=FILE", what);
	fd = open(d->key_file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "the key file '%s' cannot be read: %s", d->key_file,
			       strerror(errno));
	while ((size_t)len < cap && (n = read(fd, buf + len, cap - (size_t)len)) > 0)
		len += (int)n;
	close(fd);
	/* An editor's last newline is no part of it. */
	if (len > 0 && buf[len - 1] == '\n')
		len--;
	return len ? len : err_set(err, -ENOKEY, "the key file '%s' is empty", d->key_file);
}

int vm_drive_open(struct vm_drive *d, const char *file, const char *format,
		  struct block_node **node, struct err *err)
{
	struct block_secret secret = { key_from_file, d };
	struct block_open_opts o = {
		.format = format,
		.flags = d->readonly ? 0 : BLOCK_OPEN_WRITE,
		.cache = (enum block_cache)d->cache,
		.secret = &secret,
	};
	int ret = 0;

	*node = NULL;
	if (!o.format)
		ret = guess_format(file, &o.format, err);
	if (ret == 0 && !o.format)
		o.format = "raw";
	if (ret == 0)
		ret = block_open(file, &o, node, err);
	if ((ret == -EACCES || ret == -EROFS || ret == -EPERM) && !d->readonly)
		err_append(err, "; with 'readonly' it need not be writable");
	if (ret == 0 && (*node)->len == 0) {
		block_close(*node);
		*node = NULL;
		ret = err_set(err, -EIO, "'%s' is empty, and no guest has use for a disk without a "
			      "sector; bothy disk create makes one", file);
	}
	return ret < 0 ? err_prefix(err, ret, "drive '%s'", d->id) : 0;
}

/*
 * When the host cannot go on: the machine pauses with nothing lost, and 'cont' tries
 * again.
 */
static void pause_now(void *opaque)
{
	vm_pause(opaque);
}

static void stopped(void *opaque, enum blk_op op, int error)
{
	struct vm_drive *d = opaque;
	struct vm *vm = d->vm;
	struct json_object *data = json_object_new_object();

	json_object_object_add(data, "device", json_object_new_string(d->id));
	json_object_object_add(data, "node-name", json_object_new_string(d->id));
	json_object_object_add(data, "operation",
			       json_object_new_string(op == BLK_READ ? "read" : "write"));
	json_object_object_add(data, "action", json_object_new_string("stop"));
	json_object_object_add(data, "nospace", json_object_new_boolean(error == ENOSPC ||
									error == -ENOSPC));
	json_object_object_add(data, "reason", json_object_new_string(strerror(abs(error))));
	log_error(vm->log, "drive '%s' (%s): %s; the machine is paused, and goes on with 'cont' when "
		  "the cause is gone", d->id, d->path ? d->path : "empty", strerror(abs(error)));
	vm_tell_named(vm, "BLOCK_IO_ERROR", data);
	/* Whoever waits for requests to end may stand on the stack. */
	if (!vm->io_error)
		loop_post(vm->loop, pause_now, vm);
	vm->io_error = true;
}

void vm_drives_drain(struct vm *vm)
{
	for (struct vm_drive *d = vm->drives; d; d = d->next)
		if (d->blk)
			blk_drain(d->blk);
}

void vm_drives_resume(struct vm *vm)
{
	for (struct vm_drive *d = vm->drives; d; d = d->next)
		if (d->blk)
			blk_resume(d->blk);
}

/*
 * Jobs.
 */
struct jobs *vm_jobs(struct vm *vm) { return vm->jobs; }

void vm_drive_open_opts(struct vm_drive *d, struct block_open_opts *o)
{
	*o = (struct block_open_opts){ .cache = (enum block_cache)d->cache, .secret = d->secret };
}

static struct json_object *job_data(const struct job_info *i)
{
	static const char *const types[] = { "commit", "stream", "mirror", "backup" };
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "type", json_object_new_string(types[i->type]));
	json_object_object_add(o, "device", json_object_new_string(i->id));
	json_object_object_add(o, "len", json_object_new_int64((int64_t)i->total));
	json_object_object_add(o, "offset", json_object_new_int64((int64_t)i->done));
	json_object_object_add(o, "speed", json_object_new_int64((int64_t)i->speed));
	return o;
}

static void job_event(void *opaque, const struct job_info *i, enum job_event e)
{
	static const char *const names[] = { "BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED",
					     "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR" };
	struct vm *vm = opaque;
	struct json_object *o = job_data(i);

	if (e == JOB_COMPLETED && i->error) {
		json_object_object_add(o, "error", json_object_new_string(i->text));
		log_error(vm->log, "job '%s': %s", i->id, i->text);
	}
	if (e == JOB_ERROR) {
		json_object_object_add(o, "operation", json_object_new_string("write"));
		json_object_object_add(o, "action",
				       json_object_new_string(i->paused ? "stop" : "ignore"));
		json_object_object_add(o, "nospace", json_object_new_boolean(i->io_nospace));
	}
	vm_tell_named(vm, names[e], o);
}

static void job_switched(void *opaque, struct blk *b, const char *path)
{
	struct vm *vm = opaque;

	for (struct vm_drive *d = vm->drives; d; d = d->next) {
		char *copy = d->blk == b ? strdup(path) : NULL;

		if (!copy)
			continue;
		free(d->path);
		d->path = copy;
	}
}

static int drive_init(struct vm *vm, const struct dev_item *item, struct vm_drive *d,
		      struct err *err)
{
	struct blk_config bc = {
		.post = blk_post_loop, .watch = blk_watch_loop, .post_opaque = vm->loop,
		.stopped = stopped, .stopped_opaque = d,
	};
	int ret;

	d->vm = vm;
	d->id = item->id;
	/* Its own: threads of one drive's may all wait for what this drive has under way. */
	d->pool = bc.pool = block_pool_new(POOL_THREADS);
	if (!d->pool)
		return err_set(err, -ENOMEM, "no memory, or no thread, for the drives");
	d->secret = malloc(sizeof(*d->secret));
	if (!d->secret)
		return err_set(err, -ENOMEM, "out of memory for the drives");
	*d->secret = (struct block_secret){ key_from_file, d };
	ret = dev_set_props(&drive_desc, d, item->props, item->count, NULL, err);
	if (ret < 0)
		return ret;
	if (d->file && *d->file) {
		ret = vm_drive_open(d, d->file, d->format, &bc.node, err);
		if (ret < 0)
			return ret;
		d->path = strdup(d->file);
	} else if (!d->removable) {
		return err_set(err, -EINVAL, "drive '%s' needs file=FILE", d->id);
	}
	bc.on_read_error = (enum blk_on_error)d->read_error;
	bc.on_write_error = (enum blk_on_error)d->write_error;
	bc.aio = (enum blk_aio)d->aio;
	bc.max_iops = d->max_iops;
	bc.max_bytes_per_s = d->max_bytes_per_s;
	d->blk = blk_new(&bc, err);
	if (d->blk)
		return 0;
	if (bc.node)
		block_close(bc.node);
	return err_prefix(err, -ENOMEM, "drive '%s'", d->id);
}

/* A tray has moved, by the guest's doing or a person's. */
static void tray_moved(void *opaque, struct medium *m, bool open)
{
	struct vm *vm = opaque;
	struct plugs *p = board_plugs(vm->board);
	struct json_object *data = json_object_new_object();

	for (size_t i = 0; i < p->count; i++)
		if (p->plug[i]->desc->medium && p->plug[i]->desc->medium(p->plug[i]->dev) == m)
			json_object_object_add(data, "id", json_object_new_string(p->plug[i]->id));
	for (struct vm_drive *d = vm->drives; d; d = d->next)
		if (d->blk == m->blk)
			json_object_object_add(data, "device", json_object_new_string(d->id));
	json_object_object_add(data, "tray-open", json_object_new_boolean(open));
	vm_tell_named(vm, "DEVICE_TRAY_MOVED", data);
}

void vm_drives_watch(struct vm *vm)
{
	struct plugs *p = board_plugs(vm->board);

	for (size_t i = 0; i < p->count; i++) {
		struct plug *g = p->plug[i];
		struct medium *m = g->desc->medium ? g->desc->medium(g->dev) : NULL;

		if (!m)
			continue;
		m->tray_moved = tray_moved;
		m->tray_opaque = vm;
	}
}

int vm_drives_init(struct vm *vm, struct err *err)
{
	struct jobs_config jc = { .post_opaque = vm->loop, .event = job_event,
				  .switched = job_switched, .opaque = vm };
	struct vm_drive **end = &vm->drives;

	if (vm->cfg.drives.count) {
		vm->jobs = jobs_new(&jc, err);
		if (!vm->jobs)
			return -ENOMEM;
	}
	for (size_t i = 0; i < vm->cfg.drives.count; i++) {
		const struct dev_item *item = &vm->cfg.drives.item[i];
		struct vm_drive *d;
		int ret;

		if (!item->id || !*item->id)
			return err_set(err, -EINVAL, "a drive has no id");
		if (vm_drive_find(vm, item->id))
			return err_set(err, -EINVAL, "two drives have the id '%s'", item->id);
		d = calloc(1, sizeof(*d));
		if (!d)
			return err_set(err, -ENOMEM, "out of memory for the drives");
		*end = d;
		end = &d->next;
		ret = drive_init(vm, item, d, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

void vm_drives_fini(struct vm *vm)
{
	jobs_free(vm->jobs);
	vm->jobs = NULL;
	for (struct vm_drive *d = vm->drives, *next; d; d = next) {
		int ret = d->blk ? blk_free(d->blk) : 0;

		next = d->next;
		if (ret < 0)
			log_error(vm->log, "drive '%s' (%s): closing it failed: %s; what was not "
				  "flushed may be missing", d->id, d->path ? d->path : "empty",
				  strerror(-ret));
		block_pool_free(d->pool);
		free(d->path);
		free(d->secret);
		free(d);
	}
	vm->drives = NULL;
}
