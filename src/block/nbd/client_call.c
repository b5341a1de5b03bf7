/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests and replies of the client. Any thread sends; of those that wait one
 * reads the replies, for all of them, until its own has come, and then hands that
 * on. A reply that makes no sense ends the connection: what follows it cannot be
 * trusted. The next request connects anew.
 */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/nbd/client.h"
#include "src/block/nbd/proto.h"
#include "src/block/pool.h"

enum { IOV = 64, MAX_STATUS_BYTES = 1 << 20 };
#define RETRY_NS 1000000000LL

static int to_errno(uint32_t e)
{
	switch (e) {
	case 0: return 0;
	case 1: return -EPERM;
	case 12: return -ENOMEM;
	case 22: return -EINVAL;
	case 28: return -ENOSPC;
	case 75: return -EOVERFLOW;
	case 95: return -ENOTSUP;
	default: return -EIO;
	}
}

/* Lock held. */
static void lose(struct nbd_client *k)
{
	if (k->lost)
		return;
	k->lost = true;
	k->lost_writes |= k->unflushed;
	nbd_conn_shutdown(&k->conn); /* whoever reads wakes up, and only then are others let go */
	pthread_cond_broadcast(&k->moved);
}

/* Lock held; given up while connecting. Nobody else is using the connection then. */
static int connect_again(struct nbd_client *k)
{
	struct nbd_export_info x;
	struct nbd_conn conn;
	int rc;

	while (k->connecting || (k->lost && (k->reading || k->calls)))
		pthread_cond_wait(&k->moved, &k->lock);
	if (!k->lost)
		return 0;
	if (k->tried_ns && block_now_ns() - k->tried_ns < RETRY_NS)
		return -EIO;
	k->connecting = true;
	pthread_mutex_unlock(&k->lock);
	pthread_mutex_lock(&k->send_lock); /* who was sending has given up by now */
	nbd_conn_close(&k->conn);
	pthread_mutex_unlock(&k->send_lock);
	rc = nbd_hello(&k->uri, k->tls, &conn, &x, NULL);
	if (!rc && (x.len != k->x.len || x.flags != k->x.flags || x.min_block > k->x.min_block ||
		    x.max_payload < k->x.max_payload || x.structured != k->x.structured ||
		    x.has_allocation != k->x.has_allocation)) {
		nbd_conn_close(&conn); /* not the same disk any more */
		rc = -EIO;
	}
	pthread_mutex_lock(&k->lock);
	k->connecting = false;
	k->tried_ns = rc ? block_now_ns() : 0;
	if (!rc) {
		k->conn = conn;
		k->x.allocation_id = x.allocation_id;
		k->lost = false;
	}
	pthread_cond_broadcast(&k->moved);
	return rc ? -EIO : 0;
}

static struct nbd_call *find(struct nbd_client *k, uint64_t cookie)
{
	struct nbd_call *c;

	pthread_mutex_lock(&k->lock);
	for (c = k->calls; c && (c->cookie != cookie || c->done); c = c->next)
		;
	pthread_mutex_unlock(&k->lock);
	return c; /* stays: its thread waits until it is done */
}

static void finish(struct nbd_client *k, struct nbd_call *c)
{
	pthread_mutex_lock(&k->lock);
	c->done = true;
	pthread_cond_broadcast(&k->moved);
	pthread_mutex_unlock(&k->lock);
}

static int read_data(struct nbd_client *k, struct nbd_call *c, size_t at, size_t len)
{
	struct iovec iov[IOV];
	int rc = 0;

	while (len && !rc) {
		size_t got;
		unsigned n = block_vec_slice(c->v, c->voff + at, len, iov, IOV, &got);

		for (unsigned i = 0; i < n && !rc; i++)
			rc = nbd_conn_read(&k->conn, iov[i].iov_base, iov[i].iov_len);
		at += got;
		len -= got;
	}
	return rc;
}

static int read_simple(struct nbd_client *k)
{
	uint8_t b[NBD_SIMPLE_BYTES - 4];
	struct nbd_call *c;
	int rc = nbd_conn_read(&k->conn, b, sizeof(b));

	if (rc)
		return rc;
	c = find(k, ld_be64(b + 4));
	/* Where structured replies were agreed on, reads and statuses come in them. */
	if (!c || (k->x.structured && (c->cmd == NBD_CMD_READ || c->cmd == NBD_CMD_BLOCK_STATUS)))
		return -EPROTO;
	c->error = to_errno(ld_be32(b));
	if (!c->error && c->cmd == NBD_CMD_READ)
		rc = read_data(k, c, 0, c->len);
	if (!rc)
		finish(k, c);
	return rc;
}

/* Where in the request the chunk's bytes are; *len of them. */
static int chunk_range(const struct nbd_call *c, uint64_t off, uint64_t len, size_t *at)
{
	if (c->cmd != NBD_CMD_READ || off < c->off || len > c->len || off - c->off > c->len - len ||
	    !len)
		return -EPROTO;
	*at = (size_t)(off - c->off);
	return 0;
}

static int read_status(struct nbd_client *k, struct nbd_call *c, uint32_t len)
{
	uint8_t b[8];
	int rc;

	if (c->cmd != NBD_CMD_BLOCK_STATUS || len < 12 || (len - 4) % 8 || len > MAX_STATUS_BYTES)
		return -EPROTO;
	rc = nbd_conn_read(&k->conn, b, 4);
	if (rc || ld_be32(b) != k->x.allocation_id)
		return rc ? rc : nbd_conn_skip(&k->conn, len - 4);
	for (len -= 4; len && !rc; len -= 8) {
		rc = nbd_conn_read(&k->conn, b, 8);
		if (!rc && !ld_be32(b))
			rc = -EPROTO;
		if (!rc && c->nextents < NBD_EXTENTS)
			c->extents[c->nextents++] =
				(struct nbd_extent){ ld_be32(b), ld_be32(b + 4) };
	}
	return rc;
}

static int read_error(struct nbd_client *k, struct nbd_call *c, unsigned type, uint32_t len)
{
	uint32_t tail = type == NBD_CHUNK_ERROR_OFFSET ? 8 : 0;
	uint8_t b[6];
	int rc;

	if (len < 6 + tail || len > 6 + tail + NBD_MAX_STRING)
		return -EPROTO;
	rc = nbd_conn_read(&k->conn, b, sizeof(b));
	if (rc || ld_be16(b + 4) > len - 6 - tail)
		return rc ? rc : -EPROTO;
	c->error = to_errno(ld_be32(b));
	if (!c->error)
		c->error = -EIO;
	return nbd_conn_skip(&k->conn, len - 6);
}

static int read_chunk_body(struct nbd_client *k, struct nbd_call *c, unsigned type, uint32_t len)
{
	uint8_t b[12];
	size_t at;
	int rc;

	switch (type) {
	case NBD_CHUNK_NONE: return len ? -EPROTO : 0;
	case NBD_CHUNK_DATA:
		if (len <= 8)
			return -EPROTO;
		rc = nbd_conn_read(&k->conn, b, 8);
		if (!rc)
			rc = chunk_range(c, ld_be64(b), len - 8, &at);
		c->got += len - 8;
		return rc ? rc : read_data(k, c, at, len - 8);
	case NBD_CHUNK_HOLE:
		if (len != 12)
			return -EPROTO;
		rc = nbd_conn_read(&k->conn, b, 12);
		if (!rc)
			rc = chunk_range(c, ld_be64(b), ld_be32(b + 8), &at);
		if (rc)
			return rc;
		block_vec_zero(c->v, c->voff + at, ld_be32(b + 8));
		c->got += ld_be32(b + 8);
		return 0;
	case NBD_CHUNK_STATUS: return read_status(k, c, len);
	default:
		if (!(type & 0x8000))
			return -EPROTO;
		return read_error(k, c, type, len);
	}
}

static int read_chunk(struct nbd_client *k)
{
	uint8_t b[NBD_CHUNK_BYTES - 4];
	struct nbd_call *c;
	int rc = nbd_conn_read(&k->conn, b, sizeof(b));

	if (rc)
		return rc;
	c = find(k, ld_be64(b + 4));
	if (!c || !k->x.structured)
		return -EPROTO;
	rc = read_chunk_body(k, c, ld_be16(b + 2), ld_be32(b + 12));
	if (rc || !(ld_be16(b) & NBD_CHUNK_FLAG_DONE))
		return rc;
	if (!c->error && c->cmd == NBD_CMD_READ && c->got != c->len)
		return -EPROTO; /* parts are missing, or came twice */
	if (!c->error && c->cmd == NBD_CMD_BLOCK_STATUS && !c->nextents)
		c->error = -EIO;
	finish(k, c);
	return 0;
}

static int read_one(struct nbd_client *k)
{
	uint8_t b[4];
	int rc = nbd_conn_read(&k->conn, b, 4);

	if (rc)
		return rc;
	switch (ld_be32(b)) {
	case NBD_SIMPLE_MAGIC: return read_simple(k);
	case NBD_CHUNK_MAGIC: return read_chunk(k);
	default: return -EPROTO;
	}
}

/* Lock held. */
static void await(struct nbd_client *k, struct nbd_call *c)
{
	while (!c->done) {
		int rc;

		if (k->reading) {
			pthread_cond_wait(&k->moved, &k->lock);
			continue;
		}
		if (k->lost) {
			c->error = -EIO;
			c->done = true;
			break;
		}
		k->reading = true;
		pthread_mutex_unlock(&k->lock);
		rc = read_one(k);
		pthread_mutex_lock(&k->lock);
		k->reading = false;
		if (rc)
			lose(k);
		if (rc || c->done)
			pthread_cond_broadcast(&k->moved); /* another one reads on */
	}
}

static int send_call(struct nbd_client *k, const struct nbd_call *c, unsigned flags,
		     const struct block_vec *v, size_t voff)
{
	size_t left = c->cmd == NBD_CMD_WRITE ? c->len : 0, got;
	uint8_t head[NBD_REQUEST_BYTES];
	struct iovec iov[IOV] = { { head, sizeof(head) } };
	unsigned n = 1;
	int rc;

	st_be32(head, NBD_REQUEST_MAGIC);
	st_be16(head + 4, (uint16_t)flags);
	st_be16(head + 6, (uint16_t)c->cmd);
	st_be64(head + 8, c->cookie);
	st_be64(head + 16, c->off);
	st_be32(head + 24, (uint32_t)c->len);
	do {
		if (left) {
			n += block_vec_slice(v, voff, left, iov + n, IOV - n, &got);
			voff += got;
			left -= got;
		}
		rc = nbd_conn_writev(&k->conn, iov, n);
		n = 0;
	} while (left && !rc);
	return rc;
}

static void unlist(struct nbd_client *k, struct nbd_call *c)
{
	struct nbd_call **p;

	for (p = &k->calls; *p != c; p = &(*p)->next)
		;
	*p = c->next;
}

int nbd_call(struct nbd_client *k, struct nbd_call *c, unsigned flags, const struct block_vec *v,
	     size_t voff)
{
	bool flush = c->cmd == NBD_CMD_FLUSH;
	int rc;

	pthread_mutex_lock(&k->lock);
	rc = k->lost ? connect_again(k) : 0;
	/* What the server had not flushed when it went away may be gone with it. */
	if (!rc && flush && k->lost_writes) {
		k->lost_writes = k->unflushed = false;
		rc = -EIO;
	}
	if (rc) {
		pthread_mutex_unlock(&k->lock);
		return rc;
	}
	if (flush)
		k->unflushed = false;
	else if (c->cmd != NBD_CMD_READ && c->cmd != NBD_CMD_BLOCK_STATUS)
		k->unflushed = true;
	c->cookie = ++k->next_cookie;
	c->next = k->calls;
	k->calls = c;
	pthread_mutex_unlock(&k->lock);

	pthread_mutex_lock(&k->send_lock);
	rc = send_call(k, c, flags, v, voff);
	pthread_mutex_unlock(&k->send_lock);

	pthread_mutex_lock(&k->lock);
	if (rc)
		lose(k);
	await(k, c);
	unlist(k, c);
	rc = c->error;
	if (flush && rc)
		k->unflushed = true;
	pthread_cond_broadcast(&k->moved); /* who wants to connect anew waits for us all */
	pthread_mutex_unlock(&k->lock);
	return rc;
}

void nbd_hang_up(struct nbd_client *k)
{
	uint8_t head[NBD_REQUEST_BYTES] = { 0 };

	if (!k->lost) {
		st_be32(head, NBD_REQUEST_MAGIC);
		st_be16(head + 6, NBD_CMD_DISC);
		if (nbd_conn_write(&k->conn, head, sizeof(head)))
			k->lost = true; /* gone before us: nothing is owed to it */
		nbd_conn_shutdown(&k->conn);
	}
	nbd_conn_close(&k->conn);
}
