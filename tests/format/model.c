/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random operations on an image against a plain array as the model.
 *
 *   model FORMAT DIR SEED STEPS SIZE [OPTION=VALUE ...]
 *
 * Leaves DIR/image and DIR/model.raw, which must hold the same disk, for other
 * programs to look at. Exit code 0 when every read agreed.
 * Pseudo-options: backing=1 (over a random raw image), threads=N (parallel
 * writers on slices of their own), snapshots=0, cache=BYTES (metadata).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/block.h"

enum { MAX_OPTS = 16, MAX_SNAPS = 6, MAX_IO = 300 * 1024, MAX_DISK = 64 << 20 };

struct snap {
	char name[16];
	uint8_t *data;
	uint64_t len;
};

struct test {
	const char *format, *dir;
	char path[512], backing[512];
	const char *opts[MAX_OPTS];
	size_t nopts, cache;
	bool with_backing, with_snaps;
	unsigned threads;
	uint64_t seed;
	struct block_node *n;
	uint8_t *model;
	uint64_t len;
	struct snap snaps[MAX_SNAPS];
	unsigned nsnaps, nextsnap;
	uint64_t counts[16];
};

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x2545f4914f6cdd1dULL;
}

static int fail(const struct test *t, const char *what, int rc, const struct err *err)
{
	fprintf(stderr, "model %s seed %llu: %s: %s %s\n", t->format, (unsigned long long)t->seed,
		what, rc ? strerror(-rc) : "", err ? err->text : "");
	return 1;
}

static void fill(uint64_t *s, uint8_t *p, size_t n)
{
	unsigned kind = rnd(s) % 4;

	if (kind == 0) { /* compressible */
		memset(p, (int)(rnd(s) & 0xff), n);
		return;
	}
	for (size_t i = 0; i + 8 <= n; i += 8)
		st_le64(p + i, kind == 1 && i % 64 ? 0 : rnd(s));
}

/* A range with the shapes that matter: aligned, straddling, tiny. */
static void pick(uint64_t *s, uint64_t base, uint64_t len, uint64_t max, uint64_t *off, uint64_t *n)
{
	unsigned kind = rnd(s) % 4;
	uint64_t unit = kind == 0 ? 1 : kind == 1 ? 512 : kind == 2 ? 4096 : 65536;

	*off = rnd(s) % len / unit * unit;
	*n = (rnd(s) % max / unit + 1) * unit;
	*n = min_of(min_of(*n, max), len - *off);
	*off += base;
}

static int secret(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err)
{
	memcpy(buf, "model", 5);
	return 5;
}

static const struct block_secret key = { secret, NULL };

static int open_image(struct test *t)
{
	struct block_open_opts o = { .format = t->format, .flags = BLOCK_OPEN_WRITE,
				     .cache = BLOCK_CACHE_UNSAFE, .cache_bytes = t->cache,
				     .secret = &key };
	struct err err = { "" };
	int rc = block_open(t->path, &o, &t->n, &err);

	return rc ? fail(t, "open", rc, &err) : 0;
}

static int compare(struct test *t, uint64_t off, uint64_t len)
{
	uint8_t *buf = malloc(len + 1);
	struct iovec iov[3] = { { buf, len / 3 }, { buf + len / 3, 0 },
				{ buf + len / 3, len - len / 3 } };
	struct block_vec v = { iov, 3 };
	/* What can be had at once must be the same; it may have touched the memory if not. */
	int rc = off & 4096 ? block_preadv_nowait(t->n, off, len, &v, 0) : -EAGAIN;

	if (rc == -EAGAIN)
		rc = block_preadv(t->n, off, len, &v, 0);
	if (rc) {
		free(buf);
		return fail(t, "read", rc, NULL);
	}
	if (memcmp(buf, t->model + off, len)) {
		uint64_t i = 0;

		while (buf[i] == t->model[off + i])
			i++;
		fprintf(stderr, "at %llu (request %llu+%llu) is %02x, should be %02x\n",
			(unsigned long long)(off + i), (unsigned long long)off,
			(unsigned long long)len, buf[i], t->model[off + i]);
		free(buf);
		return fail(t, "contents differ", 0, NULL);
	}
	free(buf);
	return 0;
}

static int do_write(struct test *t, uint64_t *s, uint64_t base, uint64_t len)
{
	uint8_t *buf = malloc(MAX_IO);
	uint64_t off, n;
	int rc;

	pick(s, base, len, MAX_IO, &off, &n);
	fill(s, buf, n);
	{
		struct iovec iov[2] = { { buf, n / 2 }, { buf + n / 2, n - n / 2 } };
		struct block_vec v = { iov, 2 };

		rc = block_pwritev(t->n, off, n, &v, 0);
	}
	if (!rc)
		memcpy(t->model + off, buf, n);
	free(buf);
	return rc ? fail(t, "write", rc, NULL) : 0;
}

static int do_zero(struct test *t, uint64_t *s, uint64_t base, uint64_t len)
{
	uint64_t off, n;
	int rc;

	pick(s, base, len, MAX_IO * 3, &off, &n);
	rc = block_zero(t->n, off, n, rnd(s) & 1);
	if (rc)
		return fail(t, "zero", rc, NULL);
	memset(t->model + off, 0, n);
	return 0;
}

/* What a discarded range reads is the format's choice: old bytes or zeroes. */
static int do_discard(struct test *t, uint64_t *s, uint64_t base, uint64_t len)
{
	uint64_t off, n;
	uint8_t *buf;
	int rc;

	pick(s, base, len, MAX_IO * 3, &off, &n);
	buf = malloc(n);
	rc = block_discard(t->n, off, n);
	if (!rc)
		rc = block_pread(t->n, off, buf, n);
	for (uint64_t i = 0; i < n && !rc; i++)
		if (buf[i] && buf[i] != t->model[off + i])
			rc = -EILSEQ;
	if (!rc)
		memcpy(t->model + off, buf, n);
	free(buf);
	return rc ? fail(t, "discard", rc, NULL) : 0;
}

static int do_packed(struct test *t, uint64_t *s)
{
	struct block_info i;
	uint64_t cs, off, n;
	uint8_t *buf;
	int rc = block_info(t->n, &i, NULL);

	cs = i.cluster_bytes;
	block_info_fini(&i);
	if (rc || !cs || !t->n->desc->pwrite_compressed)
		return 0;
	off = rnd(s) % t->len / cs * cs;
	n = min_of(cs, t->len - off);
	buf = malloc(n);
	memset(buf, 0, n);
	fill(s, buf, n);
	rc = block_pwrite_compressed(t->n, off, buf, n);
	if (!rc)
		memcpy(t->model + off, buf, n);
	free(buf);
	return rc && rc != -ENOTSUP ? fail(t, "compressed write", rc, NULL) : 0;
}

static int do_status(struct test *t, uint64_t *s)
{
	uint64_t off = rnd(s) % t->len;
	struct block_extent e;
	int rc = block_status_chain(t->n, NULL, off, t->len - off, &e);

	if (rc)
		return fail(t, "status", rc, NULL);
	if (!e.len || e.len > t->len - off)
		return fail(t, "status gives a bad length", 0, NULL);
	if (e.flags & BLOCK_EXT_ZERO && !block_is_zero(t->model + off, e.len))
		return fail(t, "status says zero where data is", 0, NULL);
	return 0;
}

static int do_reopen(struct test *t)
{
	int rc = block_close(t->n);

	t->n = NULL;
	if (rc)
		return fail(t, "close", rc, NULL);
	return open_image(t);
}

static int snap_create(struct test *t)
{
	struct snap *x = &t->snaps[t->nsnaps];
	struct block_snapshot bs = { .vm_state_bytes = 0 };
	struct err err = { "" };
	int rc;

	snprintf(bs.name, sizeof(bs.name), "s%u", t->nextsnap);
	rc = t->n->desc->snap_create(t->n, &bs, &err);
	if (rc == -ERANGE || rc == -ENOTSUP)
		return 0;
	if (rc)
		return fail(t, "snapshot create", rc, &err);
	snprintf(x->name, sizeof(x->name), "s%u", t->nextsnap++);
	x->data = malloc(t->len);
	memcpy(x->data, t->model, t->len);
	x->len = t->len;
	t->nsnaps++;
	return 0;
}

static int do_snapshot(struct test *t, uint64_t *s)
{
	struct err err = { "" };
	unsigned i;
	int rc;

	if (!t->with_snaps || !t->n->desc->snap_create)
		return 0;
	if (!t->nsnaps || (t->nsnaps < MAX_SNAPS && rnd(s) % 2))
		return snap_create(t);
	i = (unsigned)(rnd(s) % t->nsnaps);
	if (rnd(s) % 2) {
		rc = t->n->desc->snap_apply(t->n, t->snaps[i].name, &err);
		if (rc == -ERANGE)
			return 0;
		if (rc)
			return fail(t, "snapshot apply", rc, &err);
		memcpy(t->model, t->snaps[i].data, t->snaps[i].len);
		t->len = t->snaps[i].len;
		return t->n->len == t->len ? 0 : fail(t, "size after apply", 0, NULL);
	}
	rc = t->n->desc->snap_delete(t->n, t->snaps[i].name, &err);
	if (rc)
		return fail(t, "snapshot delete", rc, &err);
	free(t->snaps[i].data);
	t->snaps[i] = t->snaps[--t->nsnaps];
	return 0;
}

static int do_resize(struct test *t, uint64_t *s)
{
	struct err err = { "" };
	uint64_t len = (rnd(s) % (MAX_DISK / 2) + 65536) / 512 * 512;
	int rc;

	if (!t->n->desc->resize)
		return 0;
	rc = block_resize(t->n, len, BLOCK_PREALLOC_OFF, &err);
	if (rc == -ENOTSUP)
		return 0;
	if (rc)
		return fail(t, "resize", rc, &err);
	len = t->n->len; /* some formats round up */
	if (len > t->len)
		memset(t->model + t->len, 0, len - t->len);
	t->len = len;
	return 0;
}

static void show(void *opaque, const char *line)
{
	unsigned *n = opaque;

	if ((*n)++ < 10)
		fprintf(stderr, "  %s\n", line);
}

static int do_check(struct test *t)
{
	unsigned shown = 0;
	struct block_check c = { .report = show, .opaque = &shown };
	struct err err = { "" };
	int rc;

	if (!t->n->desc->check)
		return 0;
	rc = t->n->desc->check(t->n, 0, &c, &err);
	if (rc)
		return fail(t, "check", rc, &err);
	if (c.errors || c.leaks || c.check_errors) {
		fprintf(stderr, "errors %llu leaks %llu\n", (unsigned long long)c.errors,
			(unsigned long long)c.leaks);
		return fail(t, "check finds damage", 0, NULL);
	}
	return 0;
}

static int step(struct test *t, uint64_t *s)
{
	unsigned k = (unsigned)(rnd(s) % 100);
	uint64_t off, n;

	if (k < 40)
		return do_write(t, s, 0, t->len);
	if (k < 60) {
		pick(s, 0, t->len, MAX_IO * 2, &off, &n);
		return compare(t, off, n);
	}
	if (k < 68)
		return do_zero(t, s, 0, t->len);
	if (k < 76)
		return do_discard(t, s, 0, t->len);
	if (k < 82)
		return do_packed(t, s);
	if (k < 88)
		return do_status(t, s);
	if (k < 91)
		return do_snapshot(t, s);
	if (k < 93)
		return do_resize(t, s);
	if (k < 95)
		return do_check(t);
	if (k < 97)
		return block_flush(t->n) ? fail(t, "flush", 0, NULL) : 0;
	return k < 98 ? do_reopen(t) : compare(t, 0, t->len);
}

struct worker {
	struct test *t;
	uint64_t seed, base, len;
	unsigned steps;
	int rc;
};

static void *work(void *opaque)
{
	struct worker *w = opaque;

	for (unsigned i = 0; i < w->steps && !w->rc; i++) {
		unsigned k = (unsigned)(rnd(&w->seed) % 10);
		uint64_t off, n;

		if (k < 5)
			w->rc = do_write(w->t, &w->seed, w->base, w->len);
		else if (k < 7)
			w->rc = do_zero(w->t, &w->seed, w->base, w->len);
		else if (k < 8)
			w->rc = do_discard(w->t, &w->seed, w->base, w->len);
		else if (k == 8 && rnd(&w->seed) % 8 == 0)
			w->rc = block_flush(w->t->n);
		else {
			pick(&w->seed, w->base, w->len, MAX_IO, &off, &n);
			w->rc = compare(w->t, off, n);
		}
	}
	return NULL;
}

/* Threads on slices that meet inside clusters: each must see its own bytes only. */
static int parallel(struct test *t, uint64_t *s, unsigned steps)
{
	struct worker w[16];
	pthread_t th[16];
	uint64_t slice = t->len / t->threads;
	int rc = 0;

	for (unsigned i = 0; i < t->threads; i++) {
		w[i] = (struct worker){ t, rnd(s) | 1, i * slice, slice, steps, 0 };
		pthread_create(&th[i], NULL, work, &w[i]);
	}
	for (unsigned i = 0; i < t->threads; i++) {
		pthread_join(th[i], NULL);
		rc |= w[i].rc;
	}
	return rc;
}

static int make_backing(struct test *t, uint64_t *s)
{
	uint64_t len = t->len / 4 * 3 / 512 * 512;
	FILE *f;

	snprintf(t->backing, sizeof(t->backing), "%s/backing.raw", t->dir);
	for (uint64_t i = 0; i + 4096 <= len; i += 4096)
		if (rnd(s) % 3)
			fill(s, t->model + i, 4096);
	f = fopen(t->backing, "wb");
	if (!f || fwrite(t->model, 1, len, f) != len)
		return fail(t, "cannot write the backing file", 0, NULL);
	fclose(f);
	return 0;
}

static int create(struct test *t)
{
	struct block_create c = { .path = t->path, .len = t->len, .opts = t->opts,
				  .nopts = t->nopts, .overwrite = true, .secret = &key };
	const struct block_format_desc *d = block_format(t->format);
	struct err err = { "" };
	int rc;

	if (!d)
		return fail(t, "no such format", 0, NULL);
	if (t->with_backing) {
		c.backing_path = "backing.raw";
		c.backing_format = "raw";
	}
	rc = block_create(d, &c, &err);
	return rc ? fail(t, "create", rc, &err) : 0;
}

static int dump(struct test *t)
{
	char path[600];
	FILE *f;

	snprintf(path, sizeof(path), "%s/model.raw", t->dir);
	f = fopen(path, "wb");
	if (!f || fwrite(t->model, 1, t->len, f) != t->len)
		return fail(t, "cannot write the model", 0, NULL);
	fclose(f);
	return 0;
}

static void parse(struct test *t, int argc, char **argv)
{
	for (int i = 6; i < argc && t->nopts < MAX_OPTS; i++) {
		if (!strncmp(argv[i], "backing=", 8))
			t->with_backing = atoi(argv[i] + 8);
		else if (!strncmp(argv[i], "threads=", 8))
			t->threads = (unsigned)atoi(argv[i] + 8);
		else if (!strncmp(argv[i], "snapshots=", 10))
			t->with_snaps = atoi(argv[i] + 10);
		else if (!strncmp(argv[i], "cache=", 6))
			t->cache = (size_t)atol(argv[i] + 6);
		else
			t->opts[t->nopts++] = argv[i];
	}
}

int main(int argc, char **argv)
{
	struct test t = { .with_snaps = true };
	uint64_t s;
	unsigned steps;
	int rc = 0;

	if (argc < 6) {
		fprintf(stderr, "usage: model FORMAT DIR SEED STEPS SIZE [OPTION=VALUE ...]\n");
		return 2;
	}
	t.format = argv[1];
	t.dir = argv[2];
	t.seed = strtoull(argv[3], NULL, 0);
	steps = (unsigned)atoi(argv[4]);
	t.len = strtoull(argv[5], NULL, 0);
	parse(&t, argc, argv);
	s = t.seed * 0x9e3779b97f4a7c15ULL | 1;
	snprintf(t.path, sizeof(t.path), "%s/image", t.dir);
	t.model = calloc(1, MAX_DISK);
	if (t.with_backing)
		rc = make_backing(&t, &s);
	if (!rc)
		rc = create(&t);
	if (!rc)
		rc = open_image(&t);
	if (!rc)
		t.len = t.n->len;
	if (t.threads > 1 && t.threads <= 16)
		rc = rc ? rc : parallel(&t, &s, steps);
	else
		for (unsigned i = 0; i < steps && !rc; i++)
			rc = step(&t, &s);
	if (!rc)
		rc = compare(&t, 0, t.len);
	if (!rc)
		rc = do_check(&t);
	if (t.n && block_close(t.n) && !rc)
		rc = fail(&t, "close", 0, NULL);
	if (!rc)
		rc = dump(&t);
	for (unsigned i = 0; i < t.nsnaps; i++)
		free(t.snaps[i].data);
	free(t.model);
	return rc;
}
