/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's transmission phase: one client's requests. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/nbd/proto.h"
#include "src/block/nbd/server_priv.h"

enum { MAX_IN_FLIGHT = 64, MAX_BYTES_IN_FLIGHT = 64 << 20, MAX_EXTENTS = 1024, ALLOCATION_ID = 1 };

struct request {
	struct block_job job;
	struct nbd_peer *peer;
	unsigned flags, cmd;
	uint64_t cookie, off;
	uint32_t len;
	uint8_t *buf;    /* read, write: len bytes */
	uint64_t charge; /* of the client's memory */
	int early;       /* an error found before it began */
};

static uint32_t to_wire(int rc)
{
	switch (-rc) {
	case 0: return 0;
	case EPERM:
	case EROFS: return 1;
	case ENOMEM: return 12;
	case EINVAL: return 22;
	case ENOSPC:
	case EDQUOT:
	case EFBIG: return 28;
	case EOVERFLOW: return 75;
	case ENOTSUP: return 95;
	default: return 5;
	}
}

static void send_all(struct nbd_peer *p, struct iovec *iov, unsigned n)
{
	pthread_mutex_lock(&p->send_lock);
	if (!p->failed && nbd_conn_writev(&p->conn, iov, n)) {
		p->failed = true;
		nbd_conn_shutdown(&p->conn);
	}
	pthread_mutex_unlock(&p->send_lock);
}

static void send_simple(const struct request *r, int rc)
{
	uint8_t b[NBD_SIMPLE_BYTES];
	struct iovec iov[2] = { { b, sizeof(b) }, { r->buf, r->len } };

	st_be32(b, NBD_SIMPLE_MAGIC);
	st_be32(b + 4, to_wire(rc));
	st_be64(b + 8, r->cookie);
	send_all(r->peer, iov, !rc && r->cmd == NBD_CMD_READ ? 2 : 1);
}

/* One structured chunk: @extra (of the chunk's kind), then @data. */
static void send_chunk(const struct request *r, unsigned type, bool done, const void *extra,
		       size_t nextra, const void *data, size_t len)
{
	uint8_t b[NBD_CHUNK_BYTES];
	struct iovec iov[3] = { { b, sizeof(b) }, { (void *)extra, nextra }, { (void *)data, len } };

	st_be32(b, NBD_CHUNK_MAGIC);
	st_be16(b + 4, done ? NBD_CHUNK_FLAG_DONE : 0);
	st_be16(b + 6, (uint16_t)type);
	st_be64(b + 8, r->cookie);
	st_be32(b + 16, (uint32_t)(nextra + len));
	send_all(r->peer, iov, len ? 3 : nextra ? 2 : 1);
}

static void send_error(const struct request *r, int rc)
{
	uint8_t b[6];

	if (!r->peer->structured || (r->cmd != NBD_CMD_READ && r->cmd != NBD_CMD_BLOCK_STATUS)) {
		send_simple(r, rc);
		return;
	}
	st_be32(b, to_wire(rc));
	st_be16(b + 4, 0);
	send_chunk(r, NBD_CHUNK_ERROR, true, b, sizeof(b), NULL, 0);
}

struct piece { uint32_t at, len; bool zero; };
enum { MAX_PIECES = 64 };

/* Reads all of it; *n pieces of data and holes when the client understands them. */
static int read_pieces(const struct request *r, struct piece *pieces, unsigned *n)
{
	struct block_node *node = r->peer->export->node;
	bool one = !r->peer->structured || r->flags & NBD_CMD_FLAG_DF;
	uint32_t at = 0;
	int rc = 0;

	*n = 0;
	while (at < r->len && !rc) {
		struct block_extent e = { .len = r->len - at };

		if (!one && *n + 1 < MAX_PIECES)
			rc = block_status_chain(node, NULL, r->off + at, r->len - at, &e);
		if (rc)
			break;
		e.len = min_of(e.len, (uint64_t)r->len - at);
		if (!(e.flags & BLOCK_EXT_ZERO))
			rc = block_pread(node, r->off + at, r->buf + at, e.len);
		pieces[(*n)++] = (struct piece){ at, (uint32_t)e.len, e.flags & BLOCK_EXT_ZERO };
		at += (uint32_t)e.len;
	}
	return rc;
}

static void do_read(const struct request *r)
{
	struct piece pieces[MAX_PIECES];
	unsigned n;
	int rc = read_pieces(r, pieces, &n);

	if (rc) {
		send_error(r, rc);
		return;
	}
	if (!r->peer->structured) {
		send_simple(r, 0);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		uint8_t b[12];

		st_be64(b, r->off + pieces[i].at);
		st_be32(b + 8, pieces[i].len);
		if (pieces[i].zero)
			send_chunk(r, NBD_CHUNK_HOLE, i + 1 == n, b, 12, NULL, 0);
		else
			send_chunk(r, NBD_CHUNK_DATA, i + 1 == n, b, 8, r->buf + pieces[i].at,
				   pieces[i].len);
	}
}

static void do_status(const struct request *r)
{
	struct block_node *node = r->peer->export->node;
	unsigned max = r->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS, n = 0;
	uint8_t *out = malloc(max * 8), id[4];
	uint32_t at = 0;
	int rc = out ? 0 : -ENOMEM;

	while (at < r->len && !rc) {
		struct block_extent e;
		uint32_t state = 0;

		rc = block_status_chain(node, NULL, r->off + at, r->len - at, &e);
		if (rc)
			break;
		e.len = min_of(e.len, (uint64_t)r->len - at);
		if (!(e.flags & BLOCK_EXT_DATA))
			state |= NBD_STATE_HOLE;
		if (e.flags & BLOCK_EXT_ZERO)
			state |= NBD_STATE_ZERO;
		at += (uint32_t)e.len;
		if (n && ld_be32(out + n * 8 - 4) == state) {
			st_be32(out + n * 8 - 8, ld_be32(out + n * 8 - 8) + (uint32_t)e.len);
			continue;
		}
		if (n == max)
			break;
		st_be32(out + n * 8, (uint32_t)e.len);
		st_be32(out + n * 8 + 4, state);
		n++;
	}
	st_be32(id, ALLOCATION_ID);
	if (rc)
		send_error(r, rc);
	else
		send_chunk(r, NBD_CHUNK_STATUS, true, id, sizeof(id), out, n * 8);
	free(out);
}

static int perform(const struct request *r)
{
	struct block_node *n = r->peer->export->node;
	int rc;

	switch (r->cmd) {
	case NBD_CMD_WRITE: rc = block_pwrite(n, r->off, r->buf, r->len); break;
	case NBD_CMD_FLUSH: return block_flush(n);
	case NBD_CMD_TRIM: rc = block_discard(n, r->off, r->len); break;
	case NBD_CMD_WRITE_ZEROES:
		rc = block_zero(n, r->off, r->len, !(r->flags & NBD_CMD_FLAG_NO_HOLE));
		break;
	default: return -EINVAL;
	}
	return !rc && r->flags & NBD_CMD_FLAG_FUA ? block_flush(n) : rc;
}

static void request_done(struct request *r)
{
	struct nbd_peer *p = r->peer;

	pthread_mutex_lock(&p->lock);
	p->in_flight--;
	p->bytes_in_flight -= r->charge;
	pthread_cond_signal(&p->idle);
	pthread_mutex_unlock(&p->lock);
	free(r->buf);
	free(r);
}

static void run(struct block_job *job)
{
	struct request *r = container_of(job, struct request, job);

	if (r->early)
		send_error(r, r->early);
	else if (r->cmd == NBD_CMD_READ)
		do_read(r);
	else if (r->cmd == NBD_CMD_BLOCK_STATUS)
		do_status(r);
	else
		send_simple(r, perform(r));
	request_done(r);
}

/* What the client may not ask. */
static int check(const struct request *r)
{
	static const unsigned flags[] = {
		[NBD_CMD_READ] = NBD_CMD_FLAG_DF | NBD_CMD_FLAG_FUA,
		[NBD_CMD_WRITE] = NBD_CMD_FLAG_FUA,
		[NBD_CMD_FLUSH] = 0,
		[NBD_CMD_TRIM] = NBD_CMD_FLAG_FUA,
		[NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE,
		[NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_REQ_ONE,
	};
	const struct nbd_export *x = r->peer->export;
	bool write = r->cmd == NBD_CMD_WRITE || r->cmd == NBD_CMD_TRIM ||
		     r->cmd == NBD_CMD_WRITE_ZEROES;
	uint64_t len = x->node->len;

	if (r->cmd == NBD_CMD_DISC || r->cmd == 5 || r->cmd >= array_size(flags) ||
	    r->flags & ~flags[r->cmd])
		return -EINVAL;
	if (write && !x->writable)
		return -EPERM;
	if (r->cmd == NBD_CMD_FLUSH)
		return r->off || r->len ? -EINVAL : 0;
	if (r->len > len || r->off > len - r->len)
		return write ? -ENOSPC : -EINVAL;
	if (!r->len)
		return -EINVAL;
	if (r->cmd == NBD_CMD_BLOCK_STATUS && !r->peer->allocation)
		return -EINVAL;
	if ((r->cmd == NBD_CMD_READ || r->cmd == NBD_CMD_WRITE) && r->len > NBD_MAX_PAYLOAD)
		return r->cmd == NBD_CMD_READ ? -EOVERFLOW : -EINVAL;
	return 0;
}

/* Waits until the client's requests under way leave room for @bytes more. */
static void wait_room(struct nbd_peer *p, uint64_t bytes)
{
	pthread_mutex_lock(&p->lock);
	while (p->in_flight &&
	       (p->in_flight >= MAX_IN_FLIGHT || p->bytes_in_flight + bytes > MAX_BYTES_IN_FLIGHT))
		pthread_cond_wait(&p->idle, &p->lock);
	p->in_flight++;
	p->bytes_in_flight += bytes;
	pthread_mutex_unlock(&p->lock);
}

/* False: the connection is over. */
static bool take_request(struct nbd_peer *p)
{
	uint8_t b[NBD_REQUEST_BYTES];
	struct request *r;
	bool data;

	if (nbd_conn_read(&p->conn, b, sizeof(b)) || ld_be32(b) != NBD_REQUEST_MAGIC ||
	    ld_be16(b + 6) == NBD_CMD_DISC)
		return false;
	r = calloc(1, sizeof(*r));
	if (!r)
		return false;
	r->peer = p;
	r->flags = ld_be16(b + 4);
	r->cmd = ld_be16(b + 6);
	r->cookie = ld_be64(b + 8);
	r->off = ld_be64(b + 16);
	r->len = ld_be32(b + 24);
	r->early = check(r);
	r->job.fn = run;
	data = r->cmd == NBD_CMD_READ || r->cmd == NBD_CMD_WRITE;
	r->charge = data && !r->early ? r->len : 4096;
	wait_room(p, r->charge);
	if (data && !r->early) {
		r->buf = malloc(r->len);
		if (!r->buf)
			r->early = -ENOMEM;
	}
	if (r->cmd == NBD_CMD_WRITE) {
		/* Twice what is allowed is read over; more is no client's mistake. */
		int rc = r->early ? r->len > 2u * NBD_MAX_PAYLOAD ? -EPROTO
								 : nbd_conn_skip(&p->conn, r->len)
				  : nbd_conn_read(&p->conn, r->buf, r->len);

		if (rc) {
			request_done(r);
			return false;
		}
	}
	block_pool_submit(p->pool, &r->job);
	return true;
}

void nbd_peer_serve(struct nbd_peer *p)
{
	while (take_request(p))
		;
	nbd_conn_shutdown(&p->conn); /* replies to nobody must not hang */
	pthread_mutex_lock(&p->lock);
	while (p->in_flight)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
}
