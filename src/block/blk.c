/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/blk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/dirty.h"

#define NS 1000000000ULL

struct blk *blk_new(const struct blk_config *c, struct err *err)
{
	struct blk *b = calloc(1, sizeof(*b));

	if (!b) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	b->c = *c;
	if (direct_init(b, err)) {
		free(b);
		return NULL;
	}
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->arrived, NULL);
	b->done_tail = &b->done_head;
	b->held_tail = &b->held_head;
	return b;
}

static void count(struct blk *b, const struct blk_req *r)
{
	struct blk_stats *s = &b->stats;
	uint64_t ns = (uint64_t)(block_now_ns() - r->start_ns), us = ns / 1000;
	unsigned bucket = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

	s->ops[r->op]++;
	s->bytes[r->op] += r->ret ? 0 : r->len;
	s->errors[r->op] += r->ret != 0;
	s->total_ns[r->op] += ns;
	s->max_ns[r->op] = max_of(s->max_ns[r->op], ns);
	s->histogram[r->op][min_of(bucket, BLK_HISTOGRAM - 1u)]++;
}

void blk_plug(struct blk *b) { b->plugs++; }

void blk_unplug(struct blk *b)
{
	if (--b->plugs == 0)
		direct_push(b);
}

static void deliver_all(struct blk *b)
{
	struct blk_req *r;

	pthread_mutex_lock(&b->lock);
	b->posted = false;
	while ((r = b->done_head)) {
		b->done_head = r->next;
		if (!b->done_head)
			b->done_tail = &b->done_head;
		count(b, r);
		b->in_flight--;
		pthread_mutex_unlock(&b->lock);
		r->done(r, r->ret);
		pthread_mutex_lock(&b->lock);
	}
	if (b->tell_stop) {
		enum blk_op op = b->stop_op;
		int error = b->stop_error;

		b->tell_stop = false;
		pthread_mutex_unlock(&b->lock);
		if (b->c.stopped)
			b->c.stopped(b->c.stopped_opaque, op, error);
		return;
	}
	pthread_mutex_unlock(&b->lock);
}

void blk_deliver(struct blk *b)
{
	blk_plug(b); /* answers bring requests */
	deliver_all(b);
	blk_unplug(b);
}

static void destroy(struct blk *b)
{
	pthread_cond_destroy(&b->arrived);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

static void on_post(void *opaque)
{
	struct blk *b = opaque;
	bool last;

	pthread_mutex_lock(&b->lock);
	b->posts--;
	last = b->dead && !b->posts;
	pthread_mutex_unlock(&b->lock);
	if (last)
		destroy(b);
	else if (!b->dead)
		blk_deliver(b);
}

/* Lock held. */
static void post(struct blk *b)
{
	pthread_cond_signal(&b->arrived);
	if (b->posted)
		return;
	b->posted = true;
	b->posts++;
	b->c.post(b->c.post_opaque, on_post, b);
}

static void hold_locked(struct blk *b, struct blk_req *r)
{
	r->next = NULL;
	*b->held_tail = r;
	b->held_tail = &r->next;
	b->stats.held++;
	b->in_flight--;
}

static bool must_stop(const struct blk *b, const struct blk_req *r, int rc)
{
	enum blk_on_error p = r->op == BLK_READ ? b->c.on_read_error : b->c.on_write_error;

	if (rc == -EINVAL || rc == -ENOMEDIUM || rc == -ECANCELED)
		return false; /* not the host's doing: trying again would not help */
	return p == BLK_ERROR_STOP ||
	       (p == BLK_ERROR_ENOSPC && (rc == -ENOSPC || rc == -EDQUOT));
}

void blk_finish(struct blk *b, struct blk_req *r, int rc)
{
	enum blk_on_error p = r->op == BLK_READ ? b->c.on_read_error : b->c.on_write_error;

	pthread_mutex_lock(&b->lock);
	if (rc && must_stop(b, r, rc)) {
		hold_locked(b, r);
		if (!b->stopped) {
			b->stopped = b->tell_stop = true;
			b->stop_op = r->op;
			b->stop_error = -rc;
		}
	} else {
		r->ret = p == BLK_ERROR_IGNORE ? 0 : rc;
		r->next = NULL;
		*b->done_tail = r;
		b->done_tail = &r->next;
	}
	post(b);
	pthread_mutex_unlock(&b->lock);
}

void blk_note_write(struct blk *b, const struct blk_req *r)
{
	if (r->op != BLK_WRITE && r->op != BLK_ZERO && r->op != BLK_DISCARD)
		return;
	for (unsigned i = 0; i < BLK_TRACKS; i++)
		if (b->tracks[i])
			dirty_set(b->tracks[i], r->off, r->len);
}

static int perform(struct block_node *n, const struct blk_req *r)
{
	struct block_vec v = { r->iov, r->niov };
	int rc;

	switch (r->op) {
	case BLK_READ: return block_preadv(n, r->off, r->len, &v, 0);
	case BLK_FLUSH: return block_flush(n);
	case BLK_DISCARD: return block_discard(n, r->off, r->len);
	case BLK_WRITE: rc = block_pwritev(n, r->off, r->len, &v, 0); break;
	case BLK_ZERO: rc = block_zero(n, r->off, r->len, r->flags & BLK_REQ_UNMAP); break;
	default: return -EINVAL;
	}
	return !rc && r->flags & BLK_REQ_FUA ? block_flush(n) : rc;
}

static void run(struct block_job *job)
{
	struct blk_req *r = container_of(job, struct blk_req, job);
	struct blk *b = r->blk;

	blk_note_write(b, r);
	blk_finish(b, r, b->c.node ? perform(b->c.node, r) : -ENOMEDIUM);
}

/* When the limits let this request go; 0: now. Lock held. */
static int64_t due(struct blk *b, const struct blk_req *r)
{
	int64_t at = 0, now = r->start_ns;

	if (b->c.max_iops && r->op != BLK_FLUSH) {
		at = max_of(b->next_op_ns, now);
		b->next_op_ns = at + (int64_t)(NS / b->c.max_iops);
	}
	if (b->c.max_bytes_per_s && (r->op == BLK_READ || r->op == BLK_WRITE)) {
		int64_t t = max_of(b->next_byte_ns, now);

		b->next_byte_ns = t + (int64_t)((__uint128_t)r->len * NS / b->c.max_bytes_per_s);
		at = max_of(at, t);
	}
	return at > now ? at : 0;
}

static void start(struct blk *b, struct blk_req *r, int64_t at)
{
	r->job.fn = run;
	if (!at && direct_start(b, r))
		return;
	if (at)
		block_pool_submit_at(b->c.pool, &r->job, at);
	else
		block_pool_submit(b->c.pool, &r->job);
}

void blk_submit(struct blk *b, struct blk_req *r)
{
	struct block_node *n = b->c.node;
	bool hold;
	int64_t at = 0;

	r->blk = b;
	r->start_ns = block_now_ns();
	pthread_mutex_lock(&b->lock);
	b->in_flight++;
	hold = b->stopped;
	if (hold)
		hold_locked(b, r);
	else
		at = due(b, r);
	pthread_mutex_unlock(&b->lock);
	if (hold)
		return;
	if (n && (r->len > n->len || r->off > n->len - r->len))
		blk_finish(b, r, -EINVAL);
	else
		start(b, r, at);
}

/* More than this is better copied by another thread. */
#define TRY_MAX 65536u

bool blk_try(struct blk *b, struct blk_req *r, int *ret)
{
	struct block_vec v = { r->iov, r->niov };
	struct block_node *n = b->c.node;

	if (r->op != BLK_READ || !n || r->len > TRY_MAX || b->c.max_iops || b->c.max_bytes_per_s)
		return false;
	r->start_ns = block_now_ns();
	/* Whatever goes wrong, the long way finds out why. */
	if (block_preadv_nowait(n, r->off, r->len, &v, 0))
		return false;
	r->ret = *ret = 0;
	pthread_mutex_lock(&b->lock);
	count(b, r);
	pthread_mutex_unlock(&b->lock);
	return true;
}

void blk_drain(struct blk *b)
{
	direct_push(b);
	pthread_mutex_lock(&b->lock);
	while (b->in_flight) {
		direct_wait(b);
		while (b->in_flight && !b->done_head)
			pthread_cond_wait(&b->arrived, &b->lock);
		pthread_mutex_unlock(&b->lock);
		blk_deliver(b);
		direct_push(b);
		pthread_mutex_lock(&b->lock);
	}
	while (b->writing || b->settling)
		pthread_cond_wait(&b->arrived, &b->lock);
	pthread_mutex_unlock(&b->lock);
}

static struct blk_req *take_held(struct blk *b)
{
	struct blk_req *list;

	pthread_mutex_lock(&b->lock);
	list = b->held_head;
	b->held_head = NULL;
	b->held_tail = &b->held_head;
	b->in_flight += b->stats.held;
	b->stats.held = 0;
	b->stopped = b->tell_stop = false;
	pthread_mutex_unlock(&b->lock);
	return list;
}

void blk_resume(struct blk *b)
{
	for (struct blk_req *r = take_held(b), *next; r; r = next) {
		next = r->next;
		start(b, r, 0);
	}
}

/* Held requests end with an error: there is no later. */
static void cancel_held(struct blk *b)
{
	for (struct blk_req *r = take_held(b), *next; r; r = next) {
		next = r->next;
		blk_finish(b, r, -ECANCELED);
	}
}

void blk_cancel(struct blk *b)
{
	blk_drain(b);
	cancel_held(b);
	blk_drain(b);
}

int blk_change(struct blk *b, struct block_node *node)
{
	int rc;

	blk_cancel(b);
	rc = block_close(b->c.node);
	b->c.node = node;
	return rc;
}

int blk_free(struct blk *b)
{
	bool now;
	int rc;

	if (!b)
		return 0;
	rc = blk_change(b, NULL);
	direct_fini(b);
	pthread_mutex_lock(&b->lock);
	b->dead = true;
	now = !b->posts;
	pthread_mutex_unlock(&b->lock);
	if (now)
		destroy(b);
	return rc;
}

uint64_t blk_len(const struct blk *b) { return b->c.node ? b->c.node->len : 0; }

bool blk_writable(const struct blk *b) { return b->c.node && b->c.node->writable; }

uint32_t blk_io_align(const struct blk *b)
{
	return b->c.node ? b->c.node->io_align : BLOCK_SECTOR;
}

struct block_node *blk_node(struct blk *b)
{
	struct block_node *n = b->c.node;

	while (n && n->desc->filter)
		n = n->file;
	return n;
}

struct block_node *blk_top(struct blk *b) { return b->c.node; }

void blk_set_top(struct blk *b, struct block_node *n) { b->c.node = n; }

void blk_on_resize(struct blk *b, void (*fn)(void *opaque), void *opaque)
{
	b->resized = fn;
	b->resized_opaque = opaque;
}

void blk_resized(struct blk *b)
{
	if (b->resized)
		b->resized(b->resized_opaque);
}

int blk_track(struct blk *b, struct dirty *d)
{
	for (unsigned i = 0; i < BLK_TRACKS; i++) {
		if (b->tracks[i])
			continue;
		b->tracks[i] = d;
		return 0;
	}
	return -ENOSPC;
}

void blk_untrack(struct blk *b, struct dirty *d)
{
	for (unsigned i = 0; i < BLK_TRACKS; i++)
		if (b->tracks[i] == d)
			b->tracks[i] = NULL;
}

void blk_set_limits(struct blk *b, uint64_t max_iops, uint64_t max_bytes_per_s)
{
	pthread_mutex_lock(&b->lock);
	b->c.max_iops = max_iops;
	b->c.max_bytes_per_s = max_bytes_per_s;
	b->next_op_ns = b->next_byte_ns = 0;
	pthread_mutex_unlock(&b->lock);
}

void blk_get_stats(struct blk *b, struct blk_stats *s)
{
	pthread_mutex_lock(&b->lock);
	*s = b->stats;
	s->in_flight = b->in_flight;
	pthread_mutex_unlock(&b->lock);
}

int blk_guest_ok(const struct block_node *n, bool format_given, struct err *err)
{
	if (format_given || !n->writable || strcmp(n->desc->name, "raw"))
		return 0;
	return err_set(err, -EINVAL,
		       "'%s' looks like a raw image, but a guest could make a raw disk look like "
		       "anything; say format=raw", n->path);
}
