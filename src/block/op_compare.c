/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Do two images hold the same disk? What both know to be zero is not read. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/op.h"
#include "src/block/op_priv.h"

enum { STEP = 2 << 20, PART = 256 << 10 };

struct compare {
	struct block_node *a, *b;
	pthread_mutex_t lock;
	struct op_bufs bufs;
	uint64_t at; /* lowest difference so far, UINT64_MAX: none */
};

/* @len is cut to what is alike in both. Past an image's end all is zero. */
static int both(struct compare *k, uint64_t off, uint64_t *len, bool *za, bool *zb)
{
	struct block_node *nodes[2] = { k->a, k->b };
	bool *zero[2] = { za, zb };

	for (int i = 0; i < 2; i++) {
		struct block_extent e = { .len = *len, .flags = BLOCK_EXT_ZERO };
		int rc = 0;

		if (off < nodes[i]->len)
			rc = block_status_chain(nodes[i], NULL, off,
						min_of(*len, nodes[i]->len - off), &e);
		if (rc)
			return rc;
		*len = min_of(*len, e.len);
		*zero[i] = e.flags & BLOCK_EXT_ZERO;
	}
	return 0;
}

static void differ(struct compare *k, uint64_t at)
{
	pthread_mutex_lock(&k->lock);
	k->at = min_of(k->at, at);
	pthread_mutex_unlock(&k->lock);
}

static int compare_run(struct compare *k, uint64_t off, uint64_t len, bool za, bool zb,
		       uint8_t *ba, uint8_t *bb, bool *same)
{
	int rc = 0;

	*same = true;
	if (za && zb)
		return 0;
	if (za)
		memset(ba, 0, len);
	else
		rc = block_pread(k->a, off, ba, len);
	if (!rc && zb)
		memset(bb, 0, len);
	else if (!rc)
		rc = block_pread(k->b, off, bb, len);
	if (rc || !memcmp(ba, bb, len))
		return rc;
	for (uint64_t i = 0; i < len; i++) {
		if (ba[i] != bb[i]) {
			differ(k, off + i);
			break;
		}
	}
	*same = false;
	return 0;
}

static int compare_piece(void *opaque, uint64_t off, uint64_t len)
{
	struct compare *k = opaque;
	uint8_t *buf = op_bufs_get(&k->bufs);
	uint64_t at = 0;
	bool same = true;
	int rc = buf ? 0 : -ENOMEM;

	while (at < len && !rc && same) {
		uint64_t n = len - at;
		bool za, zb;

		rc = both(k, off + at, &n, &za, &zb);
		if (!(za && zb))
			n = min_of(n, (uint64_t)PART);
		if (!rc)
			rc = compare_run(k, off + at, n, za, zb, buf, buf + PART, &same);
		at += n;
	}
	op_bufs_put(&k->bufs, buf);
	/* Pieces start in order, so all below this one are under way or done: whatever
	 * is found first from here on is the lowest. Ends the others. */
	return !rc && !same ? -EALREADY : rc;
}

int op_compare(const struct op_env *env, const char *a, const char *a_format, const char *b,
	       const char *b_format, bool strict, struct op_difference *out, struct err *err)
{
	struct block_open_opts oa = op_open_opts(env, a_format, 0);
	struct block_open_opts ob = op_open_opts(env, b_format, 0);
	struct compare k = { .at = UINT64_MAX };
	int rc;

	memset(out, 0, sizeof(*out));
	rc = block_open(a, &oa, &k.a, err);
	if (!rc)
		rc = block_open(b, &ob, &k.b, err);
	if (rc) {
		block_close(k.a);
		return rc;
	}
	out->len_a = k.a->len;
	out->len_b = k.b->len;
	out->sizes_differ = k.a->len != k.b->len;
	if (out->sizes_differ && strict) {
		out->differ = true;
		out->at = min_of(k.a->len, k.b->len);
	} else {
		struct op_work w = { .total = max_of(k.a->len, k.b->len), .step = STEP,
				     .piece = compare_piece, .opaque = &k };

		pthread_mutex_init(&k.lock, NULL);
		op_bufs_init(&k.bufs, 2 * PART);
		rc = op_parallel(env, &w);
		pthread_mutex_destroy(&k.lock);
		op_bufs_fini(&k.bufs);
		out->differ = k.at != UINT64_MAX;
		out->at = out->differ ? k.at : 0;
		if (rc == -EALREADY)
			rc = 0;
		if (rc == -ECANCELED)
			err_set(err, rc, "stopped");
		else if (rc)
			err_set(err, rc, "cannot compare '%s' with '%s': %s", a, b, strerror(-rc));
	}
	block_close(k.a);
	block_close(k.b);
	return rc;
}
