/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's inside: one connection that many threads' requests share. */
#ifndef BOTHY_BLOCK_NBD_CLIENT_H
#define BOTHY_BLOCK_NBD_CLIENT_H

#include <pthread.h>

#include "src/block/block.h"
#include "src/block/nbd/conn.h"
#include "src/block/nbd/uri.h"
#include "src/block/range.h"

struct nbd_export_info {
	uint64_t len;
	unsigned flags;                       /* NBD_READ_ONLY ... */
	uint32_t min_block, max_payload, pref_block;
	bool structured, has_allocation;
	uint32_t allocation_id;
};

enum { NBD_EXTENTS = 64 };
struct nbd_extent { uint32_t len, flags; };

struct nbd_call { /* a request whose reply is awaited; on its thread's stack */
	uint64_t cookie, off;
	size_t len;
	unsigned cmd;
	const struct block_vec *v; /* read: where to */
	size_t voff, got;
	struct nbd_extent *extents; /* block status: NBD_EXTENTS of them */
	unsigned nextents;
	int error;
	bool done;
	struct nbd_call *next;
};

struct nbd_client {
	struct nbd_uri uri;
	struct nbd_tls *tls;
	struct nbd_conn conn;
	struct nbd_export_info x;
	struct range_set merges; /* writes of less than the server's smallest block */

	pthread_mutex_t lock;
	pthread_cond_t moved;
	struct nbd_call *calls;
	uint64_t next_cookie;
	bool reading;            /* a thread is reading replies for all */
	bool lost, connecting;
	int64_t tried_ns;        /* when connecting again last failed */
	bool unflushed;          /* something was written since the last flush */
	bool lost_writes;        /* ... and the connection broke: the next flush must say so */
	pthread_mutex_t send_lock;

	/* Answers of the last block status request; only of read-only exports. */
	pthread_mutex_t seen_lock;
	uint64_t seen_off;
	struct nbd_extent seen[NBD_EXTENTS];
	unsigned nseen;
};

/* client_hello.c: connects and negotiates. @conn and @x are set on success. */
int must_check nbd_hello(const struct nbd_uri *u, struct nbd_tls *tls, struct nbd_conn *conn,
			 struct nbd_export_info *x, struct err *err);

/* client_call.c: sends @c (with @len bytes of @v from @voff for a write) and waits for
 * its reply. */
int must_check nbd_call(struct nbd_client *k, struct nbd_call *c, unsigned flags,
			const struct block_vec *v, size_t voff);
void nbd_hang_up(struct nbd_client *k);

#endif
