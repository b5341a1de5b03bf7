/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is there room for what is going to be written? Said before it is begun, where it can be
 * known: a refusal is never a guess. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "src/base/bits.h"
#include "src/block/op.h"
#include "src/block/op_priv.h"

enum { STEP = 2 << 20, PART = 256 << 10, PAGE = 4096 };

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
}

/* Bytes that are free where @path is or shall be, UINT64_MAX: who knows. */
static uint64_t room_at(const char *path)
{
	char *dir = folder_of(path);
	struct statvfs v;
	int rc = dir ? statvfs(dir, &v) : -1;

	free(dir);
	return rc < 0 ? UINT64_MAX : (uint64_t)v.f_bavail * v.f_frsize;
}

static int no_room(const char *path, uint64_t bytes, bool or_more, uint64_t avail, struct err *err)
{
	return err_set(err, -ENOSPC, "no room for '%s': %llu bytes%s are needed, %llu are free", path,
		       (unsigned long long)bytes, or_more ? " or more" : "",
		       (unsigned long long)avail);
}

int op_room(const struct op_env *env, const char *path, uint64_t bytes, struct err *err)
{
	uint64_t avail = env->host ? UINT64_MAX : room_at(path);

	return avail >= bytes ? 0 : no_room(path, bytes, false, avail, err);
}

/* Does the file system there take as many bytes as are written? Others pack them. */
static bool plain_storage(const char *path)
{
	static const unsigned known[] = {
		0xef53,     /* ext2, ext3, ext4 */
		0x58465342, /* XFS */
		0x01021994, /* tmpfs */
		0x4d44,     /* FAT */
		0x2011bab0, /* exFAT */
	};
	char *dir = folder_of(path);
	struct statfs s;
	bool hit = false;

	if (dir && statfs(dir, &s) == 0)
		for (size_t i = 0; i < array_size(known); i++)
			hit |= (unsigned)s.f_type == known[i];
	free(dir);
	return hit;
}

struct count {
	struct block_node *src;
	const struct block_progress *progress;
	uint64_t unit, limit, total;
	pthread_mutex_t lock;
	uint64_t bytes; /* that are no zeroes, so far */
	struct op_bufs bufs;
};

/* How far this is is nobody's progress, but whoever wants to stop can. */
static bool still_wanted(void *opaque, uint64_t done, uint64_t total)
{
	struct count *k = opaque;

	return !k->progress || k->progress->step(k->progress->opaque, 0, k->total);
}

static int count_data(struct count *k, uint64_t off, uint64_t len, uint8_t *buf, uint64_t *sum)
{
	int rc = 0;

	for (uint64_t at = 0; at < len && !rc; at += PART) {
		uint64_t n = min_of((uint64_t)PART, len - at);

		rc = block_pread(k->src, off + at, buf, n);
		for (uint64_t i = 0; i < n && !rc; i += k->unit) {
			uint64_t piece = min_of(k->unit, n - i);

			*sum += block_is_zero(buf + i, piece) ? 0 : piece;
		}
	}
	return rc;
}

static int count_piece(void *opaque, uint64_t off, uint64_t len)
{
	struct count *k = opaque;
	uint8_t *buf = op_bufs_get(&k->bufs);
	uint64_t sum = 0;
	int rc = buf ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < len && !rc;) {
		struct block_extent e;

		rc = block_status_chain(k->src, NULL, off + at, len - at, &e);
		if (rc)
			break;
		e.len = min_of(e.len, len - at);
		if (!(e.flags & BLOCK_EXT_ZERO))
			rc = count_data(k, off + at, e.len, buf, &sum);
		at += e.len;
	}
	op_bufs_put(&k->bufs, buf);
	pthread_mutex_lock(&k->lock);
	k->bytes += sum;
	if (!rc && k->bytes > k->limit)
		rc = -ENOSPC;
	pthread_mutex_unlock(&k->lock);
	return rc;
}

/* What the source's tables call data: an upper bound, for nothing. */
static int most_data(struct block_node *src, uint64_t *bytes)
{
	int rc = 0;

	*bytes = 0;
	for (uint64_t off = 0; off < src->len && !rc;) {
		struct block_extent e;

		rc = block_status_chain(src, NULL, off, src->len - off, &e);
		if (!rc && !(e.flags & BLOCK_EXT_ZERO))
			*bytes += e.len;
		off += rc ? 0 : e.len;
	}
	return rc;
}

/* An existing target that is written over gives its room back. */
static uint64_t given_back(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
}

int op_room_for_copy(const struct op_env *env, const struct op_convert *c, struct block_node *src,
		     struct err *err)
{
	uint64_t avail = room_at(c->dst), most = src->len;
	struct count k = { .src = src, .progress = env->progress, .total = src->len };
	struct block_progress asks = { still_wanted, &k };
	struct op_env quiet = *env;
	struct op_work w = { .total = src->len, .step = STEP, .piece = count_piece, .opaque = &k };
	int rc = 0;

	if (env->host || strstr(c->dst, "://") || avail == UINT64_MAX || !plain_storage(c->dst))
		return 0;
	avail += given_back(c->dst);
	if (most <= avail)
		return 0;
	if (!c->sparse_bytes)
		return no_room(c->dst, most, false, avail, err);
	rc = most_data(src, &most);
	if (rc || most <= avail)
		return 0; /* or the copying will meet what is wrong */
	/* Data may be zeroes all the same: that is worth a look now, not after hours. */
	k.unit = align_up(max_of(c->sparse_bytes, (uint64_t)PAGE), PAGE);
	k.unit = min_of(k.unit, (uint64_t)PART);
	k.limit = avail;
	quiet.progress = &asks;
	pthread_mutex_init(&k.lock, NULL);
	op_bufs_init(&k.bufs, PART);
	rc = op_parallel(&quiet, &w);
	op_bufs_fini(&k.bufs);
	pthread_mutex_destroy(&k.lock);
	if (rc == -ENOSPC)
		return no_room(c->dst, k.bytes, true, avail, err);
	return rc == -ECANCELED ? err_set(err, rc, "stopped") : 0;
}
