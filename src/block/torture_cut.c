/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cutting a log of writes and flushes: at each event, and with what was not flushed there
 * in full, not at all, torn or in random part; before each flush also in every
 * combination where they are few. What the host then finds is opened, checked and read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/torture_priv.h"

enum { SUBSETS_OF = 5 }; /* so many unflushed writes are left out in every combination */

struct cut {
	struct run *u;
	struct mem_data base[TORTURE_FILES]; /* each file with all that is flushed */
	size_t at;                /* base holds events below this */
	size_t *pending;          /* events below the cut that are not in base */
	size_t npending, cap;
	uint64_t subset;          /* WAY_SUBSET: which of the pending arrived */
	/* Memory of the cut before, for the next: to have it given anew, page by page, takes
	 * longer than all else. */
	struct mem_data spare[TORTURE_FILES];
	uint8_t *got;
	uint8_t *safe;            /* the disk as ops below covered leave it */
	uint64_t safe_len;
	size_t covered;
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

enum way { WAY_ALL, WAY_NONE, WAY_TORN, WAY_SOME, WAYS, WAY_SUBSET = WAYS };

/* A write of which only some sectors arrived. */
static int apply_torn(struct run *u, struct mem_data *d, const struct mem_event *e)
{
	int rc = 0;

	if (e->kind != MEM_WRITE)
		return torture_rnd(u) % 2 ? mem_apply(d, e) : 0;
	for (uint64_t at = 0; at < e->len && !rc;) {
		uint64_t n = min_of(512 - ((e->off + at) & 511), e->len - at);
		struct mem_event s = { MEM_WRITE, e->file, e->off + at, n, e->data + at };

		if (torture_rnd(u) % 2)
			rc = mem_apply(d, &s);
		at += n;
	}
	return rc;
}

/* @from's contents in the memory that @d has, if it has enough. */
static int refill(struct mem_data *d, const struct mem_data *from)
{
	if (d->cap < from->len) {
		free(d->bytes);
		return mem_data_copy(d, from);
	}
	if (from->len)
		memcpy(d->bytes, from->bytes, from->len);
	/* Behind the end all is zero. */
	if (d->len > from->len)
		memset(d->bytes + from->len, 0, d->len - from->len);
	d->len = from->len;
	return 0;
}

static void keep_memory(struct cut *c, struct mem_host *h)
{
	for (unsigned i = 0; i < h->nfiles && i < TORTURE_FILES; i++) {
		c->spare[i] = h->files[i]->now;
		h->files[i]->now = (struct mem_data){ 0 };
	}
}

static int make_state(struct cut *c, enum way way, struct mem_host *out)
{
	struct run *u = c->u;
	int rc = 0;

	for (unsigned i = 0; i < u->host.nfiles && !rc; i++) {
		struct mem_data d = c->spare[i];

		c->spare[i] = (struct mem_data){ 0 };
		rc = refill(&d, &c->base[i]);
		for (size_t k = 0; k < c->npending && !rc && way != WAY_NONE; k++) {
			const struct mem_event *e = &u->host.log[c->pending[k]];
			bool last = k + 1 == c->npending;

			if (e->file != i || (way == WAY_SOME && torture_rnd(u) % 2) ||
			    (way == WAY_SUBSET && !(c->subset >> k & 1)))
				continue;
			rc = (way == WAY_TORN && last) || (way == WAY_SOME && torture_rnd(u) % 8 == 0)
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
					    "last write torn", "some written",
					    "a choice written" };
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

/* The disk at the last flush, into c->safe; @at never goes back. */
static void safe_disk(struct cut *c, size_t at)
{
	const struct run *u = c->u;
	size_t last = 0;

	for (size_t i = 0; i < u->nops; i++)
		if (u->ops[i].flush && u->ops[i].end <= at)
			last = u->ops[i].begin;
	for (; c->covered < u->nops && u->ops[c->covered].end <= last; c->covered++) {
		const struct op *o = &u->ops[c->covered];

		if (o->data)
			memcpy(c->safe + o->off, o->data, o->len);
		c->safe_len = o->disk_len;
	}
}

static bool length_allowed(const struct run *u, size_t first, size_t at, uint64_t safe,
			   uint64_t got)
{
	bool ok = got == safe;

	for (size_t i = first; i < u->nops && u->ops[i].begin <= at && !ok; i++)
		ok = u->ops[i].disk_len == got;
	return ok;
}

static void check_disk(struct cut *c, struct block_node *n, size_t at, enum way way)
{
	uint8_t *safe = c->safe, *got = c->got;
	struct run *u = c->u;
	int rc;

	safe_disk(c, at);
	if (!length_allowed(u, c->covered, at, c->safe_len, n->len)) {
		blame(u, at, way, "the disk has %" PRIu64 " bytes, should have %" PRIu64, n->len,
		      c->safe_len);
		return;
	}
	memset(got, 0xee, n->len); /* what is not read is noticed */
	rc = block_pread(n, 0, got, n->len);
	if (rc)
		blame(u, at, way, "cannot read: %s", strerror(-rc));
	if (rc || !memcmp(safe, got, n->len))
		return;
	for (uint64_t s = 0; s < n->len; s += 512) {
		if (!memcmp(safe + s, got + s, 512) || allowed(u, c->covered, at, s, got + s))
			continue;
		blame(u, at, way, "sector %" PRIu64 " holds %016" PRIx64 ", flushed was %016" PRIx64,
		      s / 512, ld_le64(got + s), ld_le64(safe + s));
		break;
	}
}

/* A snapshot that was complete, and not being deleted, is there with its contents. */
static void check_snapshot(struct run *u, struct mem_host *h, const struct op *o, size_t at,
			   enum way way)
{
	struct block_open_opts bo = { .format = u->t->format, .host = &h->host,
				      .secret = &u->secret };
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

/* The image that is the disk's top to who was told of all that ended by @at. */
static const char *top_at(const struct run *u, size_t at)
{
	const char *top = "disk";

	for (size_t i = 0; i < u->nops; i++)
		if (u->ops[i].top && u->ops[i].end <= at)
			top = u->ops[i].top;
	return top;
}

/* Images that jobs made are qcow2 or raw; the disk's data never look like a header. */
static const char *top_format(struct mem_host *h, const char *top, const char *format)
{
	for (unsigned i = 0; i < h->nfiles && strcmp(top, "disk"); i++)
		if (!strcmp(h->files[i]->name, top))
			return h->files[i]->now.len >= 4 &&
					       ld_be32(h->files[i]->now.bytes) == 0x514649fbu
				       ? "qcow2" : "raw";
	return format;
}

static void check_below(struct run *u, const struct block_node *n, size_t at, enum way way)
{
	for (struct block_node *b = n->backing; b; b = b->backing) {
		struct block_check k = { 0 };
		int rc = b->desc->check ? b->desc->check(b, 0, &k, NULL) : 0;

		if (rc || k.errors || k.check_errors)
			blame(u, at, way, "check of '%s' finds %" PRIu64 " errors", b->path, k.errors);
	}
}

static void check_state(struct cut *c, struct mem_host *h, size_t at, enum way way)
{
	struct run *u = c->u;
	struct block_open_opts o = { .format = u->t->format, .flags = BLOCK_OPEN_WRITE,
				     .host = &h->host, .secret = &u->secret };
	char first[200] = "";
	struct block_check k = { .report = tell, .opaque = first };
	struct block_node *n;
	struct err err = { "" };
	const char *top = top_at(u, at);
	int rc;

	if (u->t->jobs)
		o.format = top_format(h, top, o.format);
	rc = block_open(top, &o, &n, &err);
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
	if (u->t->jobs)
		check_below(u, n, at, way);
	check_disk(c, n, at, way);
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

	mem_host_init(&h, TORTURE_FILE_MAX);
	rc = make_state(c, way, &h);
	if (!rc)
		check_state(c, &h, at, way);
	keep_memory(c, &h);
	mem_host_fini(&h);
	c->u->r->cuts++;
	return rc;
}

/* Just before a flush: no order in which the host wrote what was pending is left out. */
static int cut_subsets(struct cut *c, size_t at)
{
	int rc = 0;

	if (at >= c->u->host.nlog || c->u->host.log[at].kind != MEM_FLUSH ||
	    c->npending < 2 || c->npending > SUBSETS_OF)
		return 0;
	/* None and all of them are states that every cut has. */
	for (c->subset = 1; c->subset + 1 < 1ULL << c->npending && !rc; c->subset++)
		rc = cut_at(c, at, WAY_SUBSET);
	return rc;
}

int torture_cut(struct run *u, const struct mem_data *start)
{
	struct cut c = { .u = u, .safe_len = u->base_len };
	size_t n = u->host.nlog, step = 1;
	int rc = 0;

	memcpy(c.base, start, sizeof(c.base)); /* ours from here on */
	c.safe = calloc(1, u->max_len);
	c.got = malloc(u->max_len);
	if (c.safe && c.got)
		memcpy(c.safe, u->base, u->base_len);
	else
		rc = -ENOMEM;
	if (u->t->max_cuts && n * WAYS > u->t->max_cuts)
		step = n * WAYS / u->t->max_cuts + 1;
	for (size_t at = 0; at <= n && !rc; at++) {
		rc = advance(&c, at);
		if (step > 1 && torture_rnd(u) % step)
			continue;
		for (int w = 0; w < WAYS && !rc; w++)
			rc = cut_at(&c, at, w);
		if (!rc)
			rc = cut_subsets(&c, at);
		if (u->t->progress && !u->t->progress->step(u->t->progress->opaque, at, n))
			rc = -ECANCELED;
	}
	for (unsigned i = 0; i < array_size(c.base); i++) {
		free(c.base[i].bytes);
		free(c.spare[i].bytes);
	}
	free(c.pending);
	free(c.safe);
	free(c.got);
	return rc;
}
