/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying an image into another of any format. Several threads each take the next
 * piece of the disk: read what the source has there, leave out what reads as
 * zeroes (or what the target's backing file shows), write the rest.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/block/op.h"
#include "src/block/op_priv.h"
#include "src/block/pool.h"

/* Threads take STEP bytes at a time and copy them in parts that stay in a core's cache. */
enum { STEP = 2 << 20, PART = 512 << 10, ALIGN = 4096 };

struct copy {
	const struct op_env *env;
	const struct op_convert *c;
	struct block_node *src, *dst;
	struct block_node *base; /* the target's backing image: what it shows needs no copy */
	uint64_t unit;           /* zero runs are looked for in pieces of this */
	uint64_t pack;           /* compressed: the target's cluster size, else 0 */
	uint64_t part;           /* bytes read and written at once */
	bool zeroed;             /* the target reads as zeroes where nothing was written */
	pthread_mutex_t pace_lock;
	int64_t next_ns;
	struct op_journal *journal;
	struct block_made made;
	struct op_bufs bufs;
};

/* Sleeps so that no more than the asked-for bytes a second are copied. */
static void pace(struct copy *k, uint64_t len)
{
	int64_t now = block_now_ns(), at;
	struct timespec ts;

	if (!k->c->max_bytes_per_s)
		return;
	pthread_mutex_lock(&k->pace_lock);
	at = max_of(k->next_ns, now);
	k->next_ns = at + (int64_t)((__uint128_t)len * 1000000000u / k->c->max_bytes_per_s);
	pthread_mutex_unlock(&k->pace_lock);
	ts = (struct timespec){ at / 1000000000, at % 1000000000 };
	while (at > now && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int write_zeroes(struct copy *k, uint64_t off, uint64_t len)
{
	uint64_t in = off < k->dst->len ? min_of(len, k->dst->len - off) : 0;

	if (k->zeroed || !in)
		return 0;
	return block_zero(k->dst, off, in, true);
}

/* Writes the runs of @buf that are not zeroes. */
static int write_sparse(struct copy *k, uint64_t off, const uint8_t *buf, uint64_t len)
{
	uint64_t i = 0, j;
	int rc = 0;

	while (i < len && !rc) {
		bool zero = k->unit && block_is_zero(buf + i, min_of(k->unit, len - i));

		j = i;
		do
			j += min_of(k->unit ? k->unit : len, len - j);
		while (j < len && k->unit &&
		       block_is_zero(buf + j, min_of(k->unit, len - j)) == zero);
		rc = zero ? write_zeroes(k, off + i, j - i) : block_pwrite(k->dst, off + i, buf + i,
									   j - i);
		i = j;
	}
	return rc;
}

static int write_packed(struct copy *k, uint64_t off, const uint8_t *buf, uint64_t len)
{
	int rc = 0;

	for (uint64_t i = 0; i < len && !rc; i += k->pack) {
		uint64_t n = min_of(k->pack, len - i);

		if (block_is_zero(buf + i, n))
			rc = write_zeroes(k, off + i, n);
		else
			rc = block_pwrite_compressed(k->dst, off + i, buf + i, n);
	}
	return rc;
}

/* Over a backing image only what differs from it is written. */
static int write_different(struct copy *k, uint64_t off, const uint8_t *buf, uint64_t len)
{
	uint64_t step = max_of(k->unit, (uint64_t)ALIGN);
	uint64_t have = off < k->base->len ? min_of(len, k->base->len - off) : 0;
	uint8_t *old = calloc(1, len);
	int rc = old ? 0 : -ENOMEM;

	if (!rc && have)
		rc = block_pread(k->base, off, old, have);
	if (k->pack)
		step = k->pack;
	for (uint64_t i = 0; i < len && !rc; i += step) {
		uint64_t n = min_of(step, len - i);

		if (!memcmp(buf + i, old + i, n))
			continue;
		if (block_is_zero(buf + i, n))
			rc = block_zero(k->dst, off + i, n, true);
		else if (k->pack)
			rc = block_pwrite_compressed(k->dst, off + i, buf + i, n);
		else
			rc = block_pwrite(k->dst, off + i, buf + i, n);
	}
	free(old);
	return rc;
}

static int write_out(struct copy *k, uint64_t off, const uint8_t *buf, uint64_t len)
{
	if (k->base)
		return write_different(k, off, buf, len);
	return k->pack ? write_packed(k, off, buf, len) : write_sparse(k, off, buf, len);
}

/* Reads [off, off+len) into @buf, leaving out what is known to be zero. *zero: all is. */
static int read_known(struct copy *k, uint64_t off, uint64_t len, uint8_t *buf, bool *zero)
{
	uint64_t at = 0;
	int rc = 0;

	*zero = true;
	while (at < len && !rc) {
		struct block_extent e;

		rc = block_status_chain(k->src, NULL, off + at, len - at, &e);
		if (rc)
			break;
		e.len = min_of(e.len, len - at);
		if (e.flags & BLOCK_EXT_ZERO) {
			memset(buf + at, 0, e.len);
		} else {
			*zero = false;
			rc = block_pread(k->src, off + at, buf + at, e.len);
		}
		at += e.len;
	}
	return rc;
}

static int copy_zero_run(struct copy *k, uint64_t off, uint64_t len)
{
	if (!k->base && k->unit)
		return write_zeroes(k, off, len);
	return -ENOTSUP; /* has to be looked at byte by byte */
}

static int copy_part(struct copy *k, uint64_t off, uint64_t len, uint8_t *buf)
{
	bool zero;
	int rc = read_known(k, off, len, buf, &zero);

	if (rc)
		return rc;
	return zero && !k->base && k->unit ? write_zeroes(k, off, len)
					   : write_out(k, off, buf, len);
}

static int copy_piece(void *opaque, uint64_t off, uint64_t len)
{
	struct copy *k = opaque;
	struct block_extent e;
	uint8_t *buf;
	int rc;

	rc = block_status_chain(k->src, NULL, off, len, &e);
	if (!rc && e.flags & BLOCK_EXT_ZERO && e.len >= len) {
		rc = copy_zero_run(k, off, len);
		if (rc != -ENOTSUP)
			return rc;
		rc = 0;
	}
	if (rc)
		return rc;
	pace(k, len);
	buf = op_bufs_get(&k->bufs);
	if (!buf)
		return -ENOMEM;
	for (uint64_t at = 0; at < len && !rc; at += k->part)
		rc = copy_part(k, off + at, min_of(k->part, len - at), buf);
	op_bufs_put(&k->bufs, buf);
	return rc;
}

static void checkpoint(void *opaque, uint64_t low)
{
	struct copy *k = opaque;

	op_journal_save(k->journal, k->dst, low);
}

static int run(struct copy *k, uint64_t from, struct err *err)
{
	uint64_t len = k->src->len;
	struct op_work w = { .from = from, .total = len, .step = STEP, .piece = copy_piece,
			     .checkpoint = k->journal ? checkpoint : NULL, .opaque = k,
			     .low = from };
	int rc;

	pthread_mutex_init(&k->pace_lock, NULL);
	op_bufs_init(&k->bufs, k->part);
	rc = from < len ? op_parallel(k->env, &w) : 0;
	pthread_mutex_destroy(&k->pace_lock);
	op_bufs_fini(&k->bufs);
	/* A target that was there before may be longer: what is beyond becomes zeroes. */
	if (!rc && k->c->into_existing && k->dst->len > len && !k->base)
		rc = block_zero(k->dst, len, k->dst->len - len, true);
	if (!rc || k->c->resumable) {
		int rc2 = block_flush(k->dst);

		rc = rc ? rc : rc2;
	}
	if (rc && k->journal)
		op_journal_save(k->journal, k->dst, w.low);
	if (rc == -ECANCELED)
		return err_set(err, rc, "stopped");
	return rc ? err_set(err, rc, "cannot copy '%s' to '%s': %s%s", k->c->src, k->c->dst,
			    strerror(-rc),
			    rc != -ENOSPC	? ""
			    : k->c->resumable	? "; make room there and repeat, it goes on from here"
						: "; make room there and repeat")
		  : 0;
}

static int open_source(struct copy *k, struct err *err)
{
	struct block_open_opts o = op_open_opts(k->env, k->c->src_format, 0);
	int rc = block_open(k->c->src, &o, &k->src, err);

	if (rc || !k->c->snapshot)
		return rc;
	if (!k->src->desc->snap_view)
		return err_set(err, -ENOTSUP, "images of format %s have no snapshots",
			       k->src->desc->name);
	return k->src->desc->snap_view(k->src, k->c->snapshot, err);
}

/* Its data are all written, and into its own file? */
static bool takes_all_data(const struct op_convert *c)
{
	if (c->compress || c->backing_path)
		return false;
	for (size_t i = 0; i < c->nopts; i++)
		if (strstr(c->opts[i], "streamOptimized") || !strncmp(c->opts[i], "data_file", 9))
			return false;
	return true;
}

static int create_target(struct copy *k, struct err *err)
{
	const struct op_convert *c = k->c;
	struct op_create oc = { .path = c->dst, .format = c->dst_format, .len = k->src->len,
				.has_len = true, .round_up = true, .opts = c->opts,
				.nopts = c->nopts, .backing_path = c->backing_path,
				.backing_format = c->backing_format, .overwrite = c->overwrite,
				.unsynced = !c->resumable, .made = &k->made };
	const struct block_format_desc *d = block_format(c->dst_format);

	if (c->compress && d && !d->pwrite_compressed)
		return err_set(err, -ENOTSUP, "images of format %s are not compressed", d->name);
	if (takes_all_data(c) && d) {
		int rc = op_room_for_copy(k->env, c, k->src, err);

		if (rc)
			return rc;
	}
	return op_create(k->env, &oc, NULL, err);
}

static int open_target(struct copy *k, struct err *err)
{
	struct block_open_opts o = op_open_opts(k->env, k->c->dst_format, BLOCK_OPEN_WRITE);
	struct block_info i;
	bool packed;
	int rc;

	/* Until it is whole the target is nothing anyone relies on, and a failure removes it:
	 * its tables may be written in any order, and there is one sync, at the end. A
	 * resumable one keeps the order: what it holds is gone on from after a crash. */
	if (k->c->resumable || k->c->into_existing) {
		o.cache = k->env->cache;
	} else {
		o.cache = BLOCK_CACHE_UNSAFE;
		o.flags |= BLOCK_OPEN_FRESH;
	}
	rc = block_open(k->c->dst, &o, &k->dst, err);
	if (rc)
		return rc;
	if (k->c->into_existing && k->dst->len < k->src->len)
		return err_set(err, -ENOSPC, "'%s' holds %llu bytes, '%s' has %llu; resize it first",
			       k->c->dst, (unsigned long long)k->dst->len, k->c->src,
			       (unsigned long long)k->src->len);
	k->base = k->dst->backing;
	rc = block_info(k->dst, &i, err);
	if (rc)
		return rc;
	/* Some images hold nothing but compressed data. */
	packed = k->c->compress || i.compressed;
	k->pack = packed ? i.cluster_bytes : 0;
	block_info_fini(&i);
	/* A block that is written whole needs no zeroes around what it is given. */
	k->part = max_of((uint64_t)PART, k->pack);
	if (STEP % k->dst->io_align == 0)
		k->part = max_of(k->part, (uint64_t)k->dst->io_align);
	if (packed && (!k->pack || STEP % k->pack))
		rc = err_set(err, -ENOTSUP, "'%s' cannot hold compressed data", k->c->dst);
	return rc;
}

static bool same_image(const struct op_convert *c)
{
	return !strcmp(c->src, c->dst) || block_same_file(c->src, c->dst);
}

/* The target is made, or one that a resumable run left is taken up: then *from. */
static int prepare(struct copy *k, uint64_t *from, struct err *err)
{
	int rc = 0;

	*from = 0;
	if (k->c->resumable) {
		rc = op_journal_open(&k->journal, k->c, k->src, from, err);
		if (rc)
			return rc;
	}
	if (!k->c->into_existing && !*from)
		rc = create_target(k, err);
	if (!rc)
		rc = open_target(k, err);
	if (!rc)
		k->zeroed = !k->c->into_existing && !k->base && op_reads_zero(k->dst);
	return rc;
}

int op_convert(const struct op_env *env, const struct op_convert *c, struct err *err)
{
	struct copy k = { .env = env, .c = c, .unit = c->sparse_bytes };
	uint64_t from;
	int rc;

	if (same_image(c))
		return err_set(err, -EINVAL, "source and target are the same file, '%s'; give the "
					     "target another name", c->src);
	rc = open_source(&k, err);
	if (!rc)
		rc = prepare(&k, &from, err);
	if (!rc)
		rc = run(&k, from, err);
	if (k.dst && block_close(k.dst) && !rc)
		rc = err_set(err, -EIO, "cannot write '%s'", c->dst);
	block_close(k.src);
	if (!rc && env->cache != BLOCK_CACHE_UNSAFE)
		rc = op_sync_files(&k.made, env->host, err);
	if (rc && !c->resumable)
		block_made_remove(&k.made, env->host);
	block_made_fini(&k.made);
	op_journal_close(k.journal, !rc);
	return rc;
}
