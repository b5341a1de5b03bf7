/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/torture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/memfile.h"

enum { MAX_IO = 200 * 1024, MAX_SNAPS = 4, MAX_FILE = 256 << 20, DEFAULT_DISK = 3 << 20 };

/* One thing the guest did, and when: events of the log before and after it. */
struct op {
	size_t begin, end; /* log length when it started and when it had returned */
	bool flush;        /* all that ended before @begin is safe from @end on */
	uint64_t off, len;
	uint8_t *data;     /* what the range reads as afterwards; NULL for a flush */
	bool snap_made, snap_gone;
	char snap[16];
	uint64_t disk_len; /* of the disk, afterwards */
};

struct run {
	const struct torture *t;
	struct torture_result *r;
	struct mem_host host;
	struct block_node *n;
	uint64_t rng, max_len;
	uint8_t *model; /* what the disk reads as now */
	struct op *ops;
	size_t nops, ops_cap;
	struct { char name[16]; uint8_t *data; uint64_t len; } snaps[MAX_SNAPS];
	unsigned nsnaps, next_snap;
	uint8_t *base;  /* contents at creation */
	uint64_t base_len;
};

static uint64_t rnd(struct run *u)
{
	u->rng ^= u->rng << 13;
	u->rng ^= u->rng >> 7;
	u->rng ^= u->rng << 17;
	return u->rng * 0x2545f4914f6cdd1dULL;
}

static struct op *begin(struct run *u)
{
	struct op *o;

	if (u->nops == u->ops_cap) {
		size_t cap = u->ops_cap ? u->ops_cap * 2 : 256;

		o = realloc(u->ops, cap * sizeof(*o));
		if (!o)
			return NULL;
		u->ops = o;
		u->ops_cap = cap;
	}
	o = &u->ops[u->nops++];
	memset(o, 0, sizeof(*o));
	o->begin = u->host.nlog;
	return o;
}

static int end(struct run *u, struct op *o, int rc)
{
	o->end = u->host.nlog;
	o->disk_len = u->n->len;
	if (rc || !o->len)
		return rc;
	o->data = malloc(o->len);
	if (!o->data)
		return -ENOMEM;
	memcpy(o->data, u->model + o->off, o->len);
	return 0;
}

static void pick(struct run *u, uint64_t *off, uint64_t *len)
{
	uint64_t unit = rnd(u) % 3 ? 512 : 4096;

	*off = rnd(u) % (u->n->len / unit) * unit;
	*len = (rnd(u) % (rnd(u) % 4 ? 16384 : MAX_IO) / unit + 1) * unit;
	*len = min_of(*len, u->n->len - *off);
}

static int do_write(struct run *u, bool packed)
{
	struct op *o = begin(u);
	struct block_info i;
	int rc;

	if (!o)
		return -ENOMEM;
	pick(u, &o->off, &o->len);
	if (packed) {
		rc = block_info(u->n, &i, NULL);
		o->off = i.cluster_bytes ? o->off / i.cluster_bytes * i.cluster_bytes : o->off;
		o->len = min_of(i.cluster_bytes ? i.cluster_bytes : o->len, u->n->len - o->off);
		block_info_fini(&i);
		if (rc)
			return rc;
	}
	/* Each sector says which write it comes from. */
	for (uint64_t s = 0; s < o->len; s += 8)
		st_le64(u->model + o->off + s, u->nops << 20 | (o->off + s) >> 9);
	rc = packed ? block_pwrite_compressed(u->n, o->off, u->model + o->off, o->len) : -ENOTSUP;
	if (rc == -ENOTSUP)
		rc = block_pwrite(u->n, o->off, u->model + o->off, o->len);
	return end(u, o, rc);
}

static int do_zero(struct run *u, bool discard)
{
	struct op *o = begin(u);
	int rc;

	if (!o)
		return -ENOMEM;
	pick(u, &o->off, &o->len);
	rc = discard ? block_discard(u->n, o->off, o->len)
		     : block_zero(u->n, o->off, o->len, rnd(u) % 2);
	if (!rc)
		rc = block_pread(u->n, o->off, u->model + o->off, o->len);
	return end(u, o, rc);
}

static int do_flush(struct run *u)
{
	struct op *o = begin(u);
	int rc;

	if (!o)
		return -ENOMEM;
	o->flush = true;
	rc = block_flush(u->n);
	if (u->t->plant)
		mem_host_log_flush(&u->host);
	return end(u, o, rc);
}

static int do_snapshot(struct run *u)
{
	struct block_snapshot s = { .date_s = 1 };
	struct op *o = begin(u);
	unsigned i;
	int rc;

	if (!o)
		return -ENOMEM;
	if (!u->nsnaps || (u->nsnaps < MAX_SNAPS && rnd(u) % 2)) {
		i = u->nsnaps;
		snprintf(s.name, sizeof(s.name), "s%u", u->next_snap);
		rc = u->n->desc->snap_create(u->n, &s, NULL);
		if (rc)
			return end(u, o, rc == -ERANGE ? 0 : rc);
		snprintf(u->snaps[i].name, sizeof(u->snaps[i].name), "s%u", u->next_snap++);
		u->snaps[i].len = u->n->len;
		u->snaps[i].data = malloc(u->n->len);
		if (!u->snaps[i].data)
			return -ENOMEM;
		memcpy(u->snaps[i].data, u->model, u->n->len);
		u->nsnaps++;
		o->snap_made = true;
		memcpy(o->snap, u->snaps[i].name, sizeof(o->snap));
		o->len = u->n->len;
		return end(u, o, 0);
	}
	i = (unsigned)(rnd(u) % u->nsnaps);
	if (rnd(u) % 2) {
		rc = u->n->desc->snap_apply(u->n, u->snaps[i].name, NULL);
		if (rc)
			return end(u, o, rc == -ERANGE ? 0 : rc);
		memset(u->model, 0, u->max_len);
		memcpy(u->model, u->snaps[i].data, u->snaps[i].len);
		o->len = u->max_len;
		return end(u, o, 0);
	}
	memcpy(o->snap, u->snaps[i].name, sizeof(o->snap));
	o->snap_gone = true;
	rc = u->n->desc->snap_delete(u->n, u->snaps[i].name, NULL);
	free(u->snaps[i].data);
	u->snaps[i] = u->snaps[--u->nsnaps];
	return end(u, o, rc);
}

static int do_resize(struct run *u)
{
	uint64_t old = u->n->len, len = (rnd(u) % u->max_len / 2 + u->max_len / 2) / 512 * 512;
	struct op *o = begin(u);
	int rc;

	if (!o)
		return -ENOMEM;
	rc = block_resize(u->n, len, BLOCK_PREALLOC_OFF, NULL);
	if (rc == -ENOTSUP)
		return end(u, o, 0);
	len = u->n->len;
	memset(u->model + min_of(old, len), 0, u->max_len - min_of(old, len));
	o->off = min_of(old, len);
	o->len = u->max_len - o->off;
	return end(u, o, rc);
}

static int work(struct run *u)
{
	int rc = 0;

	for (unsigned i = 0; i < u->t->steps && !rc; i++) {
		unsigned k = (unsigned)(rnd(u) % 100);

		if (k < 55)
			rc = do_write(u, false);
		else if (k < 60 && u->n->desc->pwrite_compressed)
			rc = do_write(u, true);
		else if (k < 68)
			rc = do_zero(u, false);
		else if (k < 78)
			rc = do_zero(u, true);
		else if (k < 81 && u->t->snapshots && u->n->desc->snap_create)
			rc = do_snapshot(u);
		else if (k < 83 && u->t->resize && u->n->desc->resize)
			rc = do_resize(u);
		else if (k < 97)
			rc = do_flush(u);
		if (u->t->progress &&
		    !u->t->progress->step(u->t->progress->opaque, i, u->t->steps))
			rc = -ECANCELED;
	}
	return rc ? rc : do_flush(u);
}

/* ---- cutting ---- */

struct cut {
	struct run *u;
	struct mem_data base[64]; /* each file with all that is flushed */
	size_t at;                /* base holds events below this */
	size_t *pending;          /* events below the cut that are not in base */
	size_t npending, cap;
};

static int add_pending(struct cut *c, size_t i)
{
	if (c->npending == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 256, *p;

		p = realloc(c->pending, cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		c->pending = p;
		c->cap = cap;
	}
	c->pending[c->npending++] = i;
	return 0;
}

/* Takes events up to @to into account: a flush makes its file's writes safe. */
static int advance(struct cut *c, size_t to)
{
	struct mem_host *h = &c->u->host;
	int rc = 0;

	for (; c->at < to && !rc; c->at++) {
		const struct mem_event *e = &h->log[c->at];
		size_t kept = 0;

		if (e->kind != MEM_FLUSH) {
			rc = add_pending(c, c->at);
			continue;
		}
		for (size_t i = 0; i < c->npending && !rc; i++) {
			const struct mem_event *p = &h->log[c->pending[i]];

			if (p->file == e->file)
				rc = mem_apply(&c->base[p->file], p);
			else
				c->pending[kept++] = c->pending[i];
		}
		c->npending = kept;
	}
	return rc;
}

enum way { WAY_ALL, WAY_NONE, WAY_TORN, WAY_SOME, WAYS };

/* A write of which only some sectors arrived. */
static int apply_torn(struct run *u, struct mem_data *d, const struct mem_event *e)
{
	int rc = 0;

	if (e->kind != MEM_WRITE)
		return rnd(u) % 2 ? mem_apply(d, e) : 0;
	for (uint64_t at = 0; at < e->len && !rc;) {
		uint64_t n = min_of(512 - ((e->off + at) & 511), e->len - at);
		struct mem_event s = { MEM_WRITE, e->file, e->off + at, n, e->data + at };

		if (rnd(u) % 2)
			rc = mem_apply(d, &s);
		at += n;
	}
	return rc;
}

static int make_state(struct cut *c, enum way way, struct mem_host *out)
{
	struct run *u = c->u;
	int rc = 0;

	for (unsigned i = 0; i < u->host.nfiles && !rc; i++) {
		struct mem_data d = { 0 };

		rc = mem_data_copy(&d, &c->base[i]);
		for (size_t k = 0; k < c->npending && !rc && way != WAY_NONE; k++) {
			const struct mem_event *e = &u->host.log[c->pending[k]];
			bool last = k + 1 == c->npending;

			if (e->file != i || (way == WAY_SOME && rnd(u) % 2))
				continue;
			rc = (way == WAY_TORN && last) || (way == WAY_SOME && rnd(u) % 8 == 0)
				     ? apply_torn(u, &d, e)
				     : mem_apply(&d, e);
		}
		if (!rc)
			rc = mem_host_add(out, u->host.files[i]->name, &d);
		if (rc)
			free(d.bytes);
	}
	return rc;
}

static void blame(struct run *u, size_t at, enum way way, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void blame(struct run *u, size_t at, enum way way, const char *fmt, ...)
{
	static const char *const ways[] = { "all written", "nothing since the flush",
					    "last write torn", "some written" };
	struct torture_result *r = u->r;
	va_list ap;
	int n;

	if (r->bad++)
		return;
	r->worst_cut = at;
	n = snprintf(r->reason, sizeof(r->reason), "cut at event %zu (%s): ", at, ways[way]);
	va_start(ap, fmt);
	vsnprintf(r->reason + n, sizeof(r->reason) - (size_t)n, fmt, ap);
	va_end(ap);
}

/* Is @got a value that sector @s may have after a cut at @at? The last flush that had
 * ended decides what must be there; what began since may be there. */
static bool allowed(const struct run *u, size_t first, size_t at, uint64_t s, const uint8_t *got)
{
	for (size_t i = first; i < u->nops && u->ops[i].begin <= at; i++) {
		const struct op *o = &u->ops[i];

		if (o->data && s >= o->off && s < o->off + o->len &&
		    !memcmp(o->data + (s - o->off), got, 512))
			return true;
	}
	return false;
}

/* The disk at the last flush: @first is the first op that it does not cover. */
static uint64_t safe_disk(const struct run *u, size_t at, uint8_t *disk, size_t *first)
{
	size_t last = 0, covered = 0;
	uint64_t len = u->base_len;

	memset(disk, 0, u->max_len);
	memcpy(disk, u->base, u->base_len);
	for (size_t i = 0; i < u->nops; i++)
		if (u->ops[i].flush && u->ops[i].end <= at)
			last = u->ops[i].begin;
	for (; covered < u->nops && u->ops[covered].end <= last; covered++) {
		const struct op *o = &u->ops[covered];

		if (o->data)
			memcpy(disk + o->off, o->data, o->len);
		len = o->disk_len;
	}
	*first = covered;
	return len;
}

static bool length_allowed(const struct run *u, size_t first, size_t at, uint64_t safe,
			   uint64_t got)
{
	bool ok = got == safe;

	for (size_t i = first; i < u->nops && u->ops[i].begin <= at && !ok; i++)
		ok = u->ops[i].disk_len == got;
	return ok;
}

static void check_disk(struct run *u, struct block_node *n, size_t at, enum way way)
{
	uint8_t *safe = malloc(u->max_len), *got = calloc(1, u->max_len);
	uint64_t len;
	size_t first;
	int rc;

	if (!safe || !got) {
		blame(u, at, way, "out of memory");
		goto out;
	}
	len = safe_disk(u, at, safe, &first);
	if (!length_allowed(u, first, at, len, n->len)) {
		blame(u, at, way, "the disk has %" PRIu64 " bytes, should have %" PRIu64, n->len, len);
		goto out;
	}
	rc = block_pread(n, 0, got, n->len);
	if (rc)
		blame(u, at, way, "cannot read: %s", strerror(-rc));
	for (uint64_t s = 0; !rc && s < n->len; s += 512) {
		if (!memcmp(safe + s, got + s, 512) || allowed(u, first, at, s, got + s))
			continue;
		blame(u, at, way, "sector %" PRIu64 " holds %016" PRIx64 ", flushed was %016" PRIx64,
		      s / 512, ld_le64(got + s), ld_le64(safe + s));
		break;
	}
out:
	free(safe);
	free(got);
}

/* A snapshot that was complete, and not being deleted, is there with its contents. */
static void check_snapshot(struct run *u, struct mem_host *h, const struct op *o, size_t at,
			   enum way way)
{
	struct block_open_opts bo = { .format = u->t->format, .host = &h->host };
	struct block_node *n;
	struct err err = { "" };
	uint8_t *got;
	int rc;

	for (const struct op *x = o; x < u->ops + u->nops && x->begin <= at; x++)
		if (x->snap_gone && !strcmp(x->snap, o->snap))
			return;
	rc = block_open("disk", &bo, &n, &err);
	if (!rc)
		rc = n->desc->snap_view(n, o->snap, &err);
	if (rc) {
		blame(u, at, way, "snapshot %s: %s", o->snap, err.text);
		block_close(n);
		return;
	}
	got = malloc(o->len + 1);
	rc = !got ? -ENOMEM : n->len != o->len ? -ERANGE : block_pread(n, 0, got, o->len);
	if (rc)
		blame(u, at, way, "snapshot %s cannot be read: %s", o->snap, strerror(-rc));
	else if (memcmp(got, o->data, o->len))
		blame(u, at, way, "snapshot %s has changed", o->snap);
	free(got);
	block_close(n);
}

static void tell(void *opaque, const char *line)
{
	char *first = opaque;

	if (!*first)
		snprintf(first, 200, "%s", line);
}

static void check_state(struct run *u, struct mem_host *h, size_t at, enum way way)
{
	struct block_open_opts o = { .format = u->t->format, .flags = BLOCK_OPEN_WRITE,
				     .host = &h->host };
	char first[200] = "";
	struct block_check k = { .report = tell, .opaque = first };
	struct block_node *n;
	struct err err = { "" };
	int rc = block_open("disk", &o, &n, &err);

	if (rc) {
		blame(u, at, way, "does not open: %s", err.text);
		return;
	}
	if (n->desc->check) {
		rc = n->desc->check(n, 0, &k, &err);
		if (rc || k.errors || k.check_errors)
			blame(u, at, way, "check finds %" PRIu64 " errors: %s", k.errors,
			      rc ? err.text : first);
		u->r->leaks += k.leaks;
	}
	check_disk(u, n, at, way);
	rc = block_close(n);
	if (rc)
		blame(u, at, way, "does not close: %s", strerror(-rc));
	for (size_t i = 0; i < u->nops && u->ops[i].end <= at; i++)
		if (u->ops[i].snap_made)
			check_snapshot(u, h, &u->ops[i], at, way);
}

static int cut_at(struct cut *c, size_t at, enum way way)
{
	struct mem_host h;
	int rc;

	mem_host_init(&h, MAX_FILE);
	rc = make_state(c, way, &h);
	if (!rc)
		check_state(c->u, &h, at, way);
	mem_host_fini(&h);
	c->u->r->cuts++;
	return rc;
}

static int cut_all(struct run *u, const struct mem_data *start)
{
	struct cut c = { .u = u };
	size_t n = u->host.nlog, step = 1;
	int rc = 0;

	memcpy(c.base, start, sizeof(c.base)); /* ours from here on */
	if (u->t->max_cuts && n * WAYS > u->t->max_cuts)
		step = n * WAYS / u->t->max_cuts + 1;
	for (size_t at = 0; at <= n && !rc; at++) {
		rc = advance(&c, at);
		if (step > 1 && rnd(u) % step)
			continue;
		for (int w = 0; w < WAYS && !rc; w++)
			rc = cut_at(&c, at, w);
		if (u->t->progress && !u->t->progress->step(u->t->progress->opaque, at, n))
			rc = -ECANCELED;
	}
	for (unsigned i = 0; i < array_size(c.base); i++)
		free(c.base[i].bytes);
	free(c.pending);
	return rc;
}

/* ---- the run ---- */

/* The other formats only stand on their own kind. */
static int make_typed_base(struct run *u)
{
	struct block_create c = { .path = "base", .len = u->base_len, .host = &u->host.host };
	struct block_open_opts o = { .format = u->t->format, .flags = BLOCK_OPEN_WRITE,
				     .host = &u->host.host };
	struct block_node *n;
	int rc = block_create(block_format(u->t->format), &c, NULL), rc2;

	if (!rc)
		rc = block_open("base", &o, &n, NULL);
	if (rc)
		return rc;
	rc = block_pwrite(n, 0, u->base, u->base_len);
	rc2 = block_close(n);
	return rc ? rc : rc2;
}

static int make_base(struct run *u)
{
	struct mem_data d = { 0 };

	if (!u->t->backing)
		return 0;
	d.bytes = malloc(u->base_len);
	if (!d.bytes)
		return -ENOMEM;
	d.len = d.cap = u->base_len;
	for (uint64_t i = 0; i < u->base_len; i += 8)
		st_le64(u->base + i, 0xbaULL << 56 | i >> 9);
	memcpy(d.bytes, u->base, u->base_len);
	if (!strcmp(u->t->format, "qcow2"))
		return mem_host_add(&u->host, "base", &d);
	free(d.bytes);
	return make_typed_base(u);
}

static int set_up(struct run *u, struct err *err)
{
	const struct block_format_desc *d = block_format(u->t->format);
	struct block_open_opts o = { .format = u->t->format, .flags = BLOCK_OPEN_WRITE,
				     .host = &u->host.host, .cache_bytes = 16384 };
	struct block_create c = { .path = "disk", .len = u->base_len, .opts = u->t->opts,
				  .nopts = u->t->nopts, .host = &u->host.host,
				  .backing_path = u->t->backing ? "base" : NULL,
				  .backing_format = !u->t->backing		     ? NULL
						    : strcmp(u->t->format, "qcow2") ? u->t->format
										     : "raw" };
	int rc;

	if (!d)
		return err_set(err, -EINVAL, "'%s' is not an image format that is known",
			       u->t->format);
	u->base = calloc(1, u->base_len);
	u->model = calloc(1, u->max_len);
	if (!u->base || !u->model)
		return err_set(err, -ENOMEM, "out of memory");
	rc = make_base(u);
	u->host.logging = true;
	if (!rc)
		rc = block_create(d, &c, err);
	if (!rc)
		rc = block_open("disk", &o, &u->n, err);
	if (rc)
		return rc;
	if (u->n->len != u->base_len)
		return err_set(err, -EINVAL, "format %s cannot have a disk of %" PRIu64 " bytes",
			       u->t->format, u->base_len);
	memcpy(u->model, u->base, u->base_len);
	/* The finished image is where the log begins. */
	for (size_t i = 0; i < u->host.nlog; i++)
		free(u->host.log[i].data);
	u->host.nlog = 0;
	u->host.drop_flushes = u->t->plant;
	return 0;
}

static int copy_start(struct run *u, struct mem_data *start)
{
	int rc = 0;

	for (unsigned i = 0; i < u->host.nfiles && !rc; i++)
		rc = mem_data_copy(&start[i], &u->host.files[i]->now);
	return rc;
}

static void run_fini(struct run *u)
{
	for (size_t i = 0; i < u->nops; i++)
		free(u->ops[i].data);
	for (unsigned i = 0; i < u->nsnaps; i++)
		free(u->snaps[i].data);
	free(u->ops);
	free(u->model);
	free(u->base);
	mem_host_fini(&u->host);
}

/* The work, its log, and all the cuts through it. */
static int torture_log(struct run *u, struct err *err)
{
	struct mem_data start[64] = { { 0 } };
	int rc = copy_start(u, start);

	if (!rc)
		rc = work(u);
	u->host.logging = false;
	u->r->events = u->host.nlog;
	for (size_t i = 0; i < u->host.nlog; i++)
		u->r->flushes += u->host.log[i].kind == MEM_FLUSH;
	if (!rc && u->host.failed)
		rc = -ENOMEM;
	if (rc) {
		for (unsigned i = 0; i < array_size(start); i++)
			free(start[i].bytes);
		return err_set(err, rc, "the work itself failed: %s", strerror(-rc));
	}
	rc = cut_all(u, start);
	return rc ? err_set(err, rc, "cutting failed: %s", strerror(-rc)) : 0;
}

int torture_run(const struct torture *t, struct torture_result *r, struct err *err)
{
	uint64_t len = t->disk_bytes ? t->disk_bytes / 512 * 512 : DEFAULT_DISK;
	struct run u = { .t = t, .r = r, .rng = t->seed * 0x9e3779b97f4a7c15ULL | 1,
			 .base_len = len, .max_len = len * 2 };
	int rc, rc2;

	memset(r, 0, sizeof(*r));
	mem_host_init(&u.host, MAX_FILE);
	rc = set_up(&u, err);
	if (!rc)
		rc = torture_log(&u, err);
	rc2 = block_close(u.n);
	if (!rc && rc2)
		rc = err_set(err, rc2, "the image does not close: %s", strerror(-rc2));
	run_fini(&u);
	return rc;
}
