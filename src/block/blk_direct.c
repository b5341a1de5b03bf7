/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests whose bytes have a place in a host file (place.h), past the formats:
 *
 *  - What can go on by itself, in the kernel's ring: reads, and with O_DIRECT writes.
 *  - Writes into the host's page cache one after the other by one thread. They hardly ever
 *    wait, and file systems let one at a time into a file: more threads would only stand in
 *    each other's way, and the ring would wake threads of the kernel's in their place.
 *
 * Whatever does not succeed in full is done again the long way, which finds out why.
 *
 * While such a request is under way its place is held, and threads of the pool, all of them
 * perhaps, wait for it. So nothing here may need one of those to go on. Nor does the writer
 * wait: tables that are not free (a flush has them) are another thread's to tell.
 */
#include <errno.h>
#include <limits.h>
#include <sys/uio.h>

#include "src/base/bits.h"
#include "src/block/blk_priv.h"

/* SETTLE_MAX: of larger writes that make an image grow the host's part takes long enough for
 * the pool's threads to do the rest meanwhile. */
enum { RING_ENTRIES = 256, SETTLE_MAX = 16384 };

static bool all_done(const struct blk_req *r, ssize_t n)
{
	return n >= 0 && (uint64_t)n == r->len;
}

/*
 * The writer.
 */
static struct blk_req *next_write(struct blk *b)
{
	struct blk_req *r;

	pthread_mutex_lock(&b->lock);
	r = b->write_head;
	if (r) {
		b->write_head = r->next;
		if (!b->write_head)
			b->write_tail = &b->write_head;
	} else {
		b->writing = false;
		pthread_cond_signal(&b->arrived);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

static bool place(struct blk *b, struct blk_req *r)
{
	r->place.settles = r->len <= SETTLE_MAX;
	return !block_place(b->c.node, r->off, r->len, r->op == BLK_WRITE, &r->place);
}

/* It had no place when it came, but may by now: what it is next to was under way then. */
static bool place_late(struct blk *b, struct blk_req *r)
{
	if (!r->late)
		return true;
	r->late = false;
	if (!place(b, r))
		return false;
	if (r->place.direct) {
		(void)block_unplace(&r->place, false);
		return false;
	}
	blk_note_write(b, r);
	return true;
}

static void written(struct blk *b, struct blk_req *r, int rc)
{
	(void)block_unplace(&r->place, r->written);
	if (!rc && r->written)
		blk_finish(b, r, 0);
	else
		block_pool_submit(b->c.pool, &r->job);
}

static struct blk_req *next_settle(struct blk *b)
{
	struct blk_req *r;

	pthread_mutex_lock(&b->lock);
	r = b->settle_head;
	if (r) {
		b->settle_head = r->next;
	} else {
		b->settling = false;
		pthread_cond_signal(&b->arrived);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

static void settle_all(struct block_job *job)
{
	struct blk *b = container_of(job, struct blk, settler);
	struct blk_req *r;

	while ((r = next_settle(b)))
		written(b, r, block_place_settle(&r->place, r->written, true));
}

static void send_settler(struct blk *b, struct blk_req *r)
{
	bool send;

	pthread_mutex_lock(&b->lock);
	r->next = b->settle_head;
	b->settle_head = r;
	send = !b->settling;
	b->settling = true;
	pthread_mutex_unlock(&b->lock);
	if (send)
		block_pool_submit(b->settlers, &b->settler);
}

static void write_all(struct block_job *job)
{
	struct blk *b = container_of(job, struct blk, writer);
	struct blk_req *r;

	while ((r = next_write(b))) {
		ssize_t n;
		int rc;

		if (!place_late(b, r)) {
			block_pool_submit(b->c.pool, &r->job);
			continue;
		}
		n = pwritev(r->place.fd, r->iov, (int)r->niov, (off_t)r->place.off);
		r->written = all_done(r, n);
		rc = block_place_settle(&r->place, r->written, false);
		if (rc == -EBUSY)
			send_settler(b, r);
		else
			written(b, r, rc);
	}
}

/* @late: it has no place yet; false, and it is not added, if the writer has nothing to do. */
static bool add_write(struct blk *b, struct blk_req *r, bool late)
{
	bool added;

	pthread_mutex_lock(&b->lock);
	added = !late || b->writing || b->write_head;
	if (added) {
		r->late = late;
		r->next = NULL;
		*b->write_tail = r;
		b->write_tail = &r->next;
	}
	pthread_mutex_unlock(&b->lock);
	return added;
}

static void send_writer(struct blk *b)
{
	bool send;

	pthread_mutex_lock(&b->lock);
	send = b->write_head && !b->writing;
	b->writing |= send;
	pthread_mutex_unlock(&b->lock);
	if (send)
		block_pool_submit(b->writers, &b->writer);
}

/*
 * The ring.
 */
static void ring_done(struct ring_op *op, int res)
{
	struct blk_req *r = container_of(op, struct blk_req, ring);
	struct blk *b = r->blk;

	if (block_unplace(&r->place, all_done(r, res)) || !all_done(r, res)) {
		block_pool_submit(b->c.pool, &r->job);
		return;
	}
	pthread_mutex_lock(&b->lock);
	r->ret = 0;
	r->next = NULL;
	*b->done_tail = r;
	b->done_tail = &r->next;
	pthread_mutex_unlock(&b->lock);
}

static void on_ring(void *opaque, uint32_t events)
{
	struct blk *b = opaque;

	ring_reap(b->ring, false);
	blk_deliver(b);
}

void direct_wait(struct blk *b)
{
	while (b->ring && ring_busy(b->ring) && !b->done_head) {
		pthread_mutex_unlock(&b->lock);
		ring_reap(b->ring, true);
		pthread_mutex_lock(&b->lock);
	}
}

static int make_ring(struct blk *b, struct err *err)
{
	int rc;

	if (!b->c.watch)
		return err_set(err, -ENOTSUP, "io_uring cannot be waited for here");
	b->ring = ring_new(RING_ENTRIES, err);
	if (!b->ring)
		return -ENOSYS;
	rc = b->c.watch(b->c.post_opaque, ring_fd(b->ring), on_ring, b);
	if (!rc)
		return 0;
	ring_free(b->ring);
	b->ring = NULL;
	return err_set(err, rc, "io_uring cannot be waited for: %s", strerror(-rc));
}

int direct_init(struct blk *b, struct err *err)
{
	int rc = 0;

	b->writer.fn = write_all;
	b->settler.fn = settle_all;
	b->write_tail = &b->write_head;
	if (b->c.aio != BLK_AIO_THREADS)
		rc = make_ring(b, b->c.aio == BLK_AIO_AUTO ? NULL : err);
	if (!rc || b->c.aio == BLK_AIO_AUTO)
		return 0;
	err_append(err, "; aio=threads does without");
	return rc;
}

void direct_fini(struct blk *b)
{
	if (b->ring)
		(void)b->c.watch(b->c.post_opaque, ring_fd(b->ring), NULL, NULL);
	ring_free(b->ring);
	b->ring = NULL;
	block_pool_free(b->writers);
	block_pool_free(b->settlers);
}

/*
 * Which way?
 */
static bool memory_aligned(const struct blk_req *r, size_t align)
{
	for (unsigned i = 0; i < r->niov && align > 1; i++)
		if (((uintptr_t)r->iov[i].iov_base | r->iov[i].iov_len) & (align - 1))
			return false;
	return true;
}

static bool make_threads(struct blk *b)
{
	if (!b->settlers)
		b->settlers = block_pool_new(1);
	if (!b->writers && b->settlers)
		b->writers = block_pool_new(1);
	return b->writers;
}

static bool start_at(struct blk *b, struct blk_req *r, bool write)
{
	if (write && !r->place.direct) {
		if (!make_threads(b))
			return false;
		blk_note_write(b, r);
		return add_write(b, r, false);
	}
	if (!b->ring || !memory_aligned(r, r->place.align))
		return false;
	r->ring.done = ring_done;
	if (!ring_queue(b->ring, &r->ring, write, r->place.fd, r->iov, r->niov, r->place.off))
		return false;
	blk_note_write(b, r);
	return true;
}

bool direct_start(struct blk *b, struct blk_req *r)
{
	bool write = r->op == BLK_WRITE;

	if (!b->c.node || (r->op != BLK_READ && !write) || r->flags & BLK_REQ_FUA ||
	    r->niov > IOV_MAX)
		return false;
	if (!place(b, r)) {
		if (!write || !add_write(b, r, true))
			return false;
	} else if (!start_at(b, r, write)) {
		(void)block_unplace(&r->place, false);
		return false;
	}
	if (!b->plugs)
		direct_push(b);
	return true;
}

void direct_push(struct blk *b)
{
	if (b->ring)
		ring_submit(b->ring);
	send_writer(b);
}
