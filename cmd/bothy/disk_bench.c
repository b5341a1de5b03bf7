/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy disk bench: requests on an image as a disk device makes them, timed. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "api/disk.h"
#include "cmd/bothy/disk.h"
#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/block/blk.h"

enum { MAX_DEPTH = 256 };

struct bench {
	struct blk *blk;
	struct loop *loop;
	bool write, random;
	uint64_t block, count, started, ended, at, rng;
	int rc;
	struct blk_req req[MAX_DEPTH];
	struct iovec iov[MAX_DEPTH];
};

static void start(struct bench *b, struct blk_req *r);

static void done(struct blk_req *r, int ret)
{
	struct bench *b = r->opaque;

	b->ended++;
	if (ret && !b->rc)
		b->rc = ret;
	if (b->started < b->count && !b->rc)
		start(b, r);
	if (b->ended == b->started)
		loop_stop(b->loop);
}

static void prepare(struct bench *b, struct blk_req *r)
{
	uint64_t blocks = blk_len(b->blk) / b->block;
	struct iovec *iov = &b->iov[r - b->req];

	b->rng = b->rng * 6364136223846793005ULL + 1442695040888963407ULL;
	*r = (struct blk_req){ .op = b->write ? BLK_WRITE : BLK_READ, .len = b->block, .iov = iov,
			       .niov = 1, .done = done, .opaque = b };
	r->off = (b->random ? (b->rng >> 20) % blocks : b->at % blocks) * b->block;
	b->at++;
	b->started++;
}

/* As devices do it: what the host's cache has is there at once, the rest is waited for. */
static void start(struct bench *b, struct blk_req *r)
{
	int ret;

	prepare(b, r);
	while (blk_try(b->blk, r, &ret)) {
		b->ended++;
		if (b->started == b->count)
			return;
		prepare(b, r);
	}
	blk_submit(b->blk, r);
}

static int run(struct bench *b, unsigned depth, int64_t *ns)
{
	int64_t from = block_now_ns();

	for (unsigned i = 0; i < depth && b->started < b->count; i++)
		start(b, &b->req[i]);
	if (b->ended < b->started)
		loop_run(b->loop);
	*ns = block_now_ns() - from;
	return b->rc;
}

static void report(struct disk_args *a, const struct bench *b, int64_t ns)
{
	double s = (double)ns / 1e9;

	if (!a->v[DISK_BENCH_JSON].given) {
		printf("%" PRIu64 " requests of %" PRIu64 " bytes in %.3f s: %.0f a second, %.1f MiB/s\n",
		       b->ended, b->block, s, (double)b->ended / s,
		       (double)(b->ended * b->block) / s / (1 << 20));
		return;
	}
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "requests", json_object_new_int64((int64_t)b->ended));
	json_object_object_add(o, "seconds", json_object_new_double(s));
	json_object_object_add(o, "requests-per-second", json_object_new_double((double)b->ended / s));
	out_json(o);
}

static void stop(void *loop) { loop_stop(loop); }

int disk_bench(struct disk_args *a, struct err *err)
{
	static const char *const caches[] = { "writeback", "writethrough", "none", "directsync",
					      "unsafe" };
	static const char *const aios[] = { "auto", "io_uring", "threads" };
	struct bench *b = calloc(1, sizeof(*b));
	unsigned depth = (unsigned)a->v[DISK_BENCH_DEPTH].number;
	struct blk_config bc = { .post = blk_post_loop, .watch = blk_watch_loop };
	struct block_open_opts o;
	uint8_t *mem = NULL;
	int64_t ns = 1;
	int rc;

	if (!b)
		return DISK_FAILED;
	b->loop = loop_new(NULL, err);
	if (!b->loop) {
		free(b);
		return DISK_FAILED;
	}
	bc.post_opaque = b->loop;
	for (unsigned i = 0; i < array_size(aios); i++)
		if (!strcmp(aios[i], a->v[DISK_BENCH_AIO].text))
			bc.aio = (enum blk_aio)i;
	for (unsigned i = 0; i < array_size(caches); i++)
		if (!strcmp(caches[i], a->v[DISK_BENCH_CACHE].text))
			a->env.cache = (enum block_cache)i;
	b->write = a->v[DISK_BENCH_WRITE].given;
	b->random = a->v[DISK_BENCH_RANDOM].given;
	b->block = a->v[DISK_BENCH_BLOCK_SIZE].number;
	b->count = a->v[DISK_BENCH_COUNT].number;
	b->rng = 1;
	o = op_open_opts(&a->env, a->v[DISK_BENCH_FORMAT].text, b->write ? BLOCK_OPEN_WRITE : 0);
	rc = block_open(a->operand[0], &o, &bc.node, err);
	if (!rc && (b->block % BLOCK_SECTOR || bc.node->len < b->block)) {
		block_close(bc.node);
		rc = err_set(err, -EINVAL, "--block-size is a multiple of 512, no more than the disk");
	}
	if (!rc) {
		bc.pool = block_pool_new(min_of(depth, 16u));
		b->blk = blk_new(&bc, err);
		if (!b->blk) {
			block_close(bc.node);
			rc = -ENOSYS;
		}
		if (!rc && posix_memalign((void **)&mem, 4096, depth * b->block))
			rc = -ENOMEM;
		for (unsigned i = 0; i < depth && !rc; i++) {
			b->iov[i] = (struct iovec){ mem + i * b->block, b->block };
			memset(b->iov[i].iov_base, 0x5a, b->block);
		}
		if (!rc)
			rc = run(b, depth, &ns);
		if (rc && b->blk)
			err_set(err, rc, "a request failed: %s", strerror(-rc));
		if (blk_free(b->blk) && !rc)
			rc = err_set(err, -EIO, "cannot write '%s'", a->operand[0]);
		block_pool_free(bc.pool);
	}
	if (!rc)
		report(a, b, ns);
	free(mem);
	/* What is posted still gives back the last memory. */
	loop_post(b->loop, stop, b->loop);
	loop_run(b->loop);
	loop_free(b->loop);
	free(b);
	return !rc ? 0 : rc == -EINVAL ? DISK_WRONG_USE : DISK_FAILED;
}
