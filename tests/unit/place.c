/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where formats say that bytes are, what is held meanwhile, and the kernel's ring. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/block/dirty.h"
#include "src/block/op.h"
#include "src/block/place.h"
#include "src/block/qcow2/qcow2.h"
#include "src/block/ring.h"
#include "tests/unit/cmocka_all.h"

enum { MIB = 1 << 20, DISK = 8 * MIB };

static char dir[] = "/tmp/bothy-place-XXXXXX";

struct image {
	const char *format, *opt;
	bool unplaced; /* nothing of it has a place */
};

static const struct image images[] = {
	{ "raw", NULL, false },
	{ "qcow2", NULL, false },
	{ "qcow2", "cluster_size=512", false },
	{ "qcow2", "extended_l2=on", false },
	{ "qcow2", "lazy_refcounts=on", false },
	{ "qcow2", "data_file=ext", false },
	{ "vdi", NULL, false },
	{ "vdi", "static=on", false },
	{ "vmdk", NULL, false },
	{ "vmdk", "subformat=monolithicFlat", false },
	{ "vmdk", "subformat=twoGbMaxExtentSparse", false },
	{ "vpc", NULL, false },
	{ "vpc", "subformat=fixed", false },
	{ "vhdx", NULL, false },
	{ "qcow2", "encrypt.format=luks", true },
	{ "luks", NULL, true },
};

static int secret_get(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err)
{
	memcpy(buf, "word", 4);
	return 4;
}

static const struct block_secret secret = { secret_get, NULL };

static struct block_node *reopen(const char *path, const char *format, unsigned flags,
				 enum block_cache cache)
{
	struct block_open_opts o = { .format = format, .flags = flags, .cache = cache, .secret = &secret };
	struct block_node *n = NULL;
	struct err err = { "" };

	if (block_open(path, &o, &n, &err))
		fail_msg("%s", err.text);
	return n;
}

static struct block_node *make(const struct image *im, char path[256])
{
	const char *opts[] = { im->opt ? im->opt : "iter-time=1", "encrypt.iter-time=1" };
	struct op_env env = { .secret = &secret };
	struct op_create c = { .path = path, .format = im->format, .len = DISK, .has_len = true,
			       .opts = opts, .nopts = (im->opt != NULL) + im->unplaced };
	static unsigned count;
	struct err err = { "" };

	snprintf(path, 256, "%s/%u.%s", dir, count++, im->format);
	if (op_create(&env, &c, NULL, &err))
		fail_msg("%s %s: %s", im->format, im->opt ? im->opt : "", err.text);
	return reopen(path, im->format, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK);
}

static bool has_place(struct block_node *n, uint64_t off, size_t len, bool write)
{
	struct block_place p = { .settles = true };

	if (block_place(n, off, len, write, &p))
		return false;
	assert_int_equal(block_unplace(&p, false), 0);
	return true;
}

static void fill(uint8_t *buf, size_t len, uint8_t with)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + i / 512 + with);
}

/* What is there is what the node reads; what is put there it reads too. */
static void test_bytes(void **state)
{
	static uint8_t want[65536], got[65536];

	for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++) {
		char path[256];
		struct block_node *n = make(&images[i], path);
		struct block_place p = { .settles = true };

		fill(want, sizeof(want), (uint8_t)i);
		assert_int_equal(block_pwrite(n, 3 * MIB, want, sizeof(want)), 0);
		assert_int_equal(has_place(n, 3 * MIB + 512, 512, false), !images[i].unplaced);
		if (images[i].unplaced) {
			assert_int_equal(block_close(n), 0);
			continue;
		}
		assert_int_equal(block_place(n, 3 * MIB + 1024, 512, false, &p), 0);
		assert_int_equal(pread(p.fd, got, 512, (off_t)p.off), 512);
		block_unplace(&p, true);
		assert_memory_equal(got, want + 1024, 512);

		assert_int_equal(block_place(n, 3 * MIB + 1024, 512, true, &p), 0);
		fill(want + 1024, 512, 99);
		assert_int_equal(pwrite(p.fd, want + 1024, 512, (off_t)p.off), 512);
		block_unplace(&p, true);
		assert_int_equal(block_pread(n, 3 * MIB, got, sizeof(got)), 0);
		assert_memory_equal(got, want, sizeof(want));

		assert_false(has_place(n, DISK, 512, false)); /* beyond the end */
		assert_false(has_place(n, DISK - 512, 1024, true));
		assert_false(has_place(n, 3 * MIB, 0, false));
		assert_int_equal(block_close(n), 0);

		/* Not before the first write of an opening, which may have to say so first. */
		n = reopen(path, images[i].format, 0, BLOCK_CACHE_WRITEBACK);
		assert_int_equal(block_pread(n, 3 * MIB, got, 512), 0); /* the tables are in memory */
		assert_true(has_place(n, 3 * MIB, 512, false));
		assert_false(has_place(n, 3 * MIB, 512, true));
		assert_int_equal(block_close(n), 0);
		n = reopen(path, images[i].format, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITETHROUGH);
		assert_int_equal(block_pwrite(n, 3 * MIB, want, 512), 0);
		assert_false(has_place(n, 3 * MIB, 512, true)); /* a flush belongs to it */
		assert_int_equal(block_close(n), 0);
	}
}

/* Where the tables would have to be changed first, or something copied, a write has no place. */
static void test_tables(void **state)
{
	static const struct image plain = { "qcow2", NULL, false };
	struct block_snapshot s = { .name = "s", .disk_bytes = DISK, .icount = UINT64_MAX };
	static uint8_t buf[65536];
	struct err err = { "" };
	char path[256];
	struct block_node *n = make(&plain, path);

	assert_false(has_place(n, 0, 512, false)); /* nothing is there */
	assert_false(has_place(n, 0, 512, true));
	fill(buf, sizeof(buf), 1);
	assert_int_equal(block_pwrite(n, 0, buf, sizeof(buf)), 0);
	assert_true(has_place(n, 0, 4096, true));
	assert_false(has_place(n, 65536 - 512, 1024, true)); /* half of it is nowhere */
	assert_int_equal(n->desc->snap_create(n, &s, &err), 0);
	assert_true(has_place(n, 0, 4096, false)); /* the snapshot's and ours */
	assert_false(has_place(n, 0, 4096, true));
	assert_int_equal(block_pwrite(n, 0, buf, 512), 0);
	assert_true(has_place(n, 0, 4096, true)); /* a copy of our own */
	assert_int_equal(block_zero(n, 0, 65536, false), 0);
	assert_false(has_place(n, 0, 4096, false));
	assert_int_equal(block_pwrite(n, 0, buf, sizeof(buf)), 0);
	assert_int_equal(n->desc->bitmap_add(n, "b", 65536, &err), 0);
	assert_false(has_place(n, 0, 4096, true)); /* the bitmap must hear of it */
	assert_true(has_place(n, 0, 4096, false));
	assert_int_equal(block_close(n), 0);

	/* Packed clusters. */
	n = make(&plain, path);
	memset(buf, 7, sizeof(buf));
	assert_int_equal(block_pwrite_compressed(n, 0, buf, sizeof(buf)), 0);
	assert_false(has_place(n, 0, 512, false));
	assert_int_equal(block_close(n), 0);
}

struct zeroing {
	struct block_node *n;
	_Atomic bool done;
};

static void *zero(void *opaque)
{
	struct zeroing *z = opaque;

	if (block_zero(z->n, 0, MIB, true))
		abort();
	z->done = true;
	return NULL;
}

/* Who holds a place has it until it is given up. */
static void test_held(void **state)
{
	static const struct image held[] = { { "qcow2", NULL, false }, { "vdi", NULL, false },
					     { "vmdk", NULL, false } };
	static uint8_t buf[MIB];

	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
		char path[256];
		struct zeroing z = { make(&held[i], path), false };
		struct block_place p = { .settles = true };
		pthread_t t;

		assert_int_equal(block_pwrite(z.n, 0, buf, sizeof(buf)), 0);
		assert_int_equal(block_place(z.n, 4096, 512, true, &p), 0);
		assert_int_equal(pthread_create(&t, NULL, zero, &z), 0);
		usleep(30000);
		assert_false(z.done);
		/* Nobody overtakes who waits. */
		while (has_place(z.n, 4096, 512, false))
			usleep(1000);
		block_unplace(&p, true);
		pthread_join(t, NULL);
		assert_true(z.done);
		assert_int_equal(block_close(z.n), 0);
	}
}

static void test_chain(void **state)
{
	static const struct image base = { "qcow2", NULL, false };
	static uint8_t buf[65536], got[512];
	struct op_create c = { .format = "qcow2", .backing_format = "qcow2" };
	struct err err = { "" };
	struct op_env env = { 0 };
	char path[2][256];
	struct block_node *n = make(&base, path[0]);
	struct block_place p = { .settles = true };

	fill(buf, sizeof(buf), 5);
	assert_int_equal(block_pwrite(n, 65536, buf, sizeof(buf)), 0);
	assert_int_equal(block_close(n), 0);
	snprintf(path[1], sizeof(path[1]), "%s/over.qcow2", dir);
	c.path = path[1];
	c.backing_path = path[0];
	if (op_create(&env, &c, NULL, &err))
		fail_msg("%s", err.text);
	n = reopen(path[1], "qcow2", BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK);
	assert_false(has_place(n, 65536, 512, true));
	assert_false(has_place(n, 65536, 512, false)); /* tables that must be read first */
	assert_int_equal(block_pread(n, 65536, got, 512), 0);
	assert_int_equal(block_place(n, 65536 + 512, 512, false, &p), 0);
	assert_int_equal(pread(p.fd, got, 512, (off_t)p.off), 512);
	block_unplace(&p, true);
	assert_memory_equal(got, buf + 512, 512);
	assert_int_equal(block_close(n), 0);
}

/*
 * Clusters that are not there yet.
 */
static void put(struct block_node *n, uint64_t off, const uint8_t *buf, size_t len)
{
	struct block_place p = { .settles = true };

	assert_int_equal(block_place(n, off, len, true, &p), 0);
	assert_int_equal(pwrite(p.fd, buf, len, (off_t)p.off), (ssize_t)len);
	assert_int_equal(block_unplace(&p, true), 0);
}

static void reads(struct block_node *n, uint64_t off, const uint8_t *want, size_t len)
{
	static uint8_t got[MIB];

	assert_int_equal(block_pread(n, off, got, len), 0);
	assert_memory_equal(got, want, len);
}

static void closed_clean(struct block_node *n, const char *path)
{
	struct block_check c = { .errors = 0 };
	struct op_env env = { 0 };
	struct err err = { "" };

	assert_int_equal(block_close(n), 0);
	if (op_check(&env, path, "qcow2", 0, &c, &err))
		fail_msg("%s", err.text);
	assert_int_equal(c.errors, 0);
	assert_int_equal(c.leaks, 0);
}

static void test_fresh(void **state)
{
	static const struct image kinds[] = { { "qcow2", NULL, false },
					      { "qcow2", "cluster_size=4096", false },
					      { "qcow2", "lazy_refcounts=on", false } };
	static const uint8_t zeroes[65536];
	static uint8_t buf[3 * 65536];

	fill(buf, sizeof(buf), 7);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct block_place p = { .settles = true }, q = p;
		char path[256];
		struct block_node *n = make(&kinds[i], path);

		assert_int_equal(block_pwrite(n, 0, buf, 512), 0);
		put(n, 65536, buf, sizeof(buf));
		reads(n, 65536, buf, sizeof(buf));
		/* A part of one: what is around it is zeroes. */
		put(n, MIB + 1024, buf, 512);
		reads(n, MIB + 1024, buf, 512);
		reads(n, MIB, zeroes, 1024);
		reads(n, MIB + 1536, zeroes, 512);
		/* ... and of several, up to the file's end. */
		put(n, MIB + 65536 + 512, buf, 65536);
		reads(n, MIB + 65536, zeroes, 512);
		reads(n, MIB + 65536 + 512, buf, 65536);
		reads(n, MIB + 2 * 65536 + 512, zeroes, 65536 - 512);
		assert_true(has_place(n, MIB + 1024, 512, false));
		/* Meanwhile nobody else gets it, nor what is next to it in the cluster. */
		assert_int_equal(block_place(n, MIB / 2, 512, true, &p), 0);
		assert_false(has_place(n, MIB / 2, 512, false));
		assert_false(has_place(n, MIB / 2 + 1024, 512, true));
		assert_int_equal(block_place(n, MIB / 2 + 65536, 512, true, &q), 0);
		assert_true(p.off != q.off);
		/* Written or not: the tables know of one only. */
		assert_int_equal(pwrite(p.fd, buf, 512, (off_t)p.off), 512);
		assert_int_equal(pwrite(q.fd, buf, 512, (off_t)q.off), 512);
		assert_int_equal(block_unplace(&q, false), 0);
		assert_int_equal(block_unplace(&p, true), 0);
		reads(n, MIB / 2, buf, 512);
		reads(n, MIB / 2 + 65536, zeroes, 4096);
		/* What was given back holds bytes now, and is not for parts of clusters. */
		assert_false(has_place(n, MIB / 2 + 65536, 512, true));
		put(n, MIB / 2 + 65536, buf, 65536);
		reads(n, MIB / 2 + 65536, buf, 65536);
		closed_clean(n, path);
	}
}

/* What must be made first, and kinds that it is not for. */
static void test_no_fresh(void **state)
{
	static const struct image small = { "qcow2", "cluster_size=512", false },
		others[] = { { "qcow2", "extended_l2=on", false }, { "qcow2", "data_file=ext2", false },
			     { "vdi", NULL, false }, { "vmdk", NULL, false } };
	static uint8_t buf[65536];
	char path[256];
	struct block_node *n = make(&small, path);

	assert_int_equal(block_pwrite(n, 0, buf, 512), 0);
	assert_true(has_place(n, 1024, 512, true));
	assert_false(has_place(n, 1024, 65536, true)); /* past the first of the tables */
	assert_false(has_place(n, 32768, 512, true));
	assert_false(has_place(n, 2 * MIB, 512, true));
	/* A block of counts is full after 256 clusters. */
	for (unsigned i = 1; i < 64; i++)
		assert_int_equal(block_pwrite(n, i * 32768, buf, 512), 0);
	for (unsigned i = 0; i < 64; i++)
		for (unsigned k = 2; k < 12; k++)
			if (has_place(n, i * 32768 + k * 512, 512, true))
				put(n, i * 32768 + k * 512, buf, 512);
			else
				assert_int_equal(block_pwrite(n, i * 32768 + k * 512, buf, 512), 0);
	closed_clean(n, path);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		n = make(&others[i], path);
		assert_int_equal(block_pwrite(n, 0, buf, sizeof(buf)), 0);
		assert_false(has_place(n, MIB, 65536, true));
		assert_int_equal(block_close(n), 0);
	}
}

/* Who asks in vain leaves nothing behind: a part of a cluster stays a small write. */
static void test_asked_in_vain(void **state)
{
	static const struct image plain = { "qcow2", NULL, false };
	static uint8_t buf[65536];
	char path[256];
	struct block_node *n = make(&plain, path);
	uint64_t before, after;

	assert_int_equal(block_pwrite(n, 2 * 65536, buf, 512), 0);
	assert_int_equal(block_host_bytes(n, &before), 0);
	assert_false(has_place(n, 65536, 2 * 65536, true)); /* fresh, and there */
	fill(buf, sizeof(buf), 3);
	put(n, 4 * 65536, buf, 512);
	assert_int_equal(block_host_bytes(n, &after), 0);
	assert_true(after - before < 65536);
	closed_clean(n, path);
}

/* The tables are not free: that can be left for later. */
static void test_settle_later(void **state)
{
	static const struct image plain = { "qcow2", NULL, false };
	static uint8_t buf[65536];
	struct block_place p = { .settles = true };
	struct qcow2 *q;
	char path[256];
	struct block_node *n = make(&plain, path);

	q = n->priv;
	fill(buf, sizeof(buf), 4);
	assert_int_equal(block_pwrite(n, 0, buf, 512), 0);
	assert_int_equal(block_place(n, 65536, 65536, true, &p), 0);
	assert_int_equal(pwrite(p.fd, buf, 65536, (off_t)p.off), 65536);
	pthread_mutex_lock(&q->lock);
	assert_int_equal(block_place_settle(&p, true, false), -EBUSY);
	assert_false(has_place(n, 65536, 512, false));
	pthread_mutex_unlock(&q->lock);
	assert_int_equal(block_place_settle(&p, true, false), 0);
	assert_int_equal(block_unplace(&p, true), 0);
	reads(n, 65536, buf, 65536);
	closed_clean(n, path);
}

/* What is shared with a snapshot, or shows from below. */
static void test_fresh_over(void **state)
{
	static const struct image plain = { "qcow2", NULL, false };
	struct block_snapshot s = { .name = "s", .disk_bytes = DISK, .icount = UINT64_MAX };
	struct op_create c = { .format = "qcow2", .backing_format = "qcow2" };
	static uint8_t buf[65536], old[65536];
	struct op_env env = { 0 };
	struct err err = { "" };
	char path[256], over[256];
	struct block_node *n = make(&plain, path);

	fill(buf, sizeof(buf), 1);
	fill(old, sizeof(old), 2);
	assert_int_equal(block_pwrite(n, 65536, old, sizeof(old)), 0);
	assert_int_equal(block_pwrite(n, 2 * 65536, old, sizeof(old)), 0);
	assert_int_equal(n->desc->snap_create(n, &s, &err), 0);
	assert_false(has_place(n, 65536, 65536, true)); /* the table is shared, too */
	assert_int_equal(block_pwrite(n, 2 * 65536, buf, 512), 0);
	assert_false(has_place(n, 65536, 512, true));
	put(n, 65536, buf, sizeof(buf));
	reads(n, 65536, buf, sizeof(buf));
	assert_int_equal(n->desc->snap_apply(n, "s", &err), 0);
	reads(n, 65536, old, sizeof(old));
	closed_clean(n, path);

	snprintf(over, sizeof(over), "%s/fresh-over.qcow2", dir);
	c.path = over;
	c.backing_path = path;
	if (op_create(&env, &c, NULL, &err))
		fail_msg("%s", err.text);
	n = reopen(over, "qcow2", BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK);
	assert_int_equal(block_pwrite(n, 0, buf, 512), 0);
	assert_false(has_place(n, 65536, 512, true));
	assert_false(has_place(n, 65536 + 512, 65536 - 512, true));
	assert_false(has_place(n, 4 * 65536 + 512, 65536, true));
	put(n, 65536, buf, sizeof(buf));
	reads(n, 65536, buf, sizeof(buf));
	reads(n, 2 * 65536, old, sizeof(old));
	/* Cleared, so that nothing shows from below any more. */
	assert_int_equal(block_zero(n, 2 * 65536, 65536, true), 0);
	put(n, 2 * 65536 + 512, buf, 512);
	memset(old, 0, 512);
	reads(n, 2 * 65536, old, 512);
	reads(n, 2 * 65536 + 512, buf, 512);
	closed_clean(n, over);

	/* Where a flush belongs to every write, and past the host's cache. */
	for (int cache = BLOCK_CACHE_WRITETHROUGH; cache <= BLOCK_CACHE_DIRECTSYNC; cache++) {
		n = reopen(over, "qcow2", BLOCK_OPEN_WRITE, (enum block_cache)cache);
		assert_int_equal(block_pwrite(n, 0, buf, 4096), 0);
		assert_false(has_place(n, 8 * 65536, 65536, true));
		assert_int_equal(block_close(n), 0);
	}
}

/*
 * The ring.
 */
struct answer {
	struct ring_op op;
	int res;
	unsigned times;
};

static void answered(struct ring_op *op, int res)
{
	struct answer *a = (struct answer *)op;

	a->res = res;
	a->times++;
}

static void test_ring(void **state)
{
	struct answer a[9] = { 0 };
	uint8_t out[2][512], in[1024];
	struct iovec iov[2] = { { out[0], 512 }, { out[1], 512 } }, back = { in, sizeof(in) };
	struct err err = { "" };
	struct ring *r = ring_new(8, &err);
	char path[256];
	int fd;

	if (!r) {
		print_message("no ring here: %s\n", err.text);
		assert_non_null(strstr(err.text, "io_uring"));
		skip();
	}
	snprintf(path, sizeof(path), "%s/ring", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 9; i++)
		a[i].op.done = answered;
	fill(out[0], sizeof(out), 3);
	assert_true(ring_queue(r, &a[0].op, true, fd, iov, 2, 4096));
	assert_int_equal(a[0].times, 0); /* not by itself */
	ring_reap(r, true);
	assert_true(a[0].times == 1 && a[0].res == 1024);
	assert_int_equal(ring_busy(r), 0);
	assert_true(ring_queue(r, &a[1].op, false, fd, &back, 1, 4096));
	assert_true(ring_queue(r, &a[2].op, false, fd, &back, 1, 4096 + 512)); /* half of it */
	assert_true(ring_queue(r, &a[3].op, false, -1, &back, 1, 0));
	ring_submit(r);
	while (ring_busy(r))
		ring_reap(r, true);
	assert_true(a[1].res == 1024 && a[2].res == 512 && a[3].res == -EBADF);
	for (unsigned i = 0; i < 8; i++)
		assert_true(ring_queue(r, &a[i].op, false, fd, &back, 1, 4096));
	assert_false(ring_queue(r, &a[8].op, false, fd, &back, 1, 4096)); /* full */
	while (ring_busy(r))
		ring_reap(r, true);
	ring_reap(r, true); /* nothing to wait for */
	for (unsigned i = 0; i < 8; i++)
		assert_true(a[i].res == 1024);
	assert_int_equal(a[8].times, 0);
	close(fd);
	ring_free(r);
}

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes), cmocka_unit_test(test_tables),
		cmocka_unit_test(test_held), cmocka_unit_test(test_chain),
		cmocka_unit_test(test_fresh), cmocka_unit_test(test_fresh_over),
		cmocka_unit_test(test_no_fresh), cmocka_unit_test(test_asked_in_vain),
		cmocka_unit_test(test_settle_later),
		cmocka_unit_test(test_ring),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
