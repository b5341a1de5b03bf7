/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_BLOCK_NBD_SERVER_PRIV_H
#define BOTHY_BLOCK_NBD_SERVER_PRIV_H

#include <pthread.h>

#include "src/block/nbd/nbd.h"
#include "src/block/pool.h"

struct nbd_export {
	char *name, *description;
	struct block_node *node;
	bool writable, closing;
	unsigned users; /* connections */
	struct nbd_export *next;
};

struct nbd_listener {
	int fd;
	pthread_t thread;
	struct nbd_server *server;
	struct nbd_listener *next;
};

struct nbd_peer { /* one client */
	struct nbd_server *server;
	struct nbd_conn conn;
	struct block_pool *pool;   /* its own: who stops reading holds up nobody else */
	struct nbd_export *export; /* counted; NULL until one is chosen */
	bool no_zeroes, structured, allocation;
	char allocation_for[256];  /* the export the metadata context was set for */
	pthread_mutex_t send_lock;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	unsigned in_flight;
	uint64_t bytes_in_flight;
	bool failed; /* sending failed: nothing more is sent */
	struct nbd_peer *next;
};

struct nbd_server {
	struct nbd_server_config c;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct nbd_export *exports;
	struct nbd_peer *peers;
	struct nbd_listener *listeners;
	unsigned npeers;
	bool ending;
};

/* server_hello.c: 0: an export was chosen, transmission begins. */
int must_check nbd_peer_hello(struct nbd_peer *p);
/* server.c: the export, counted as used; NULL: there is none of that name. */
struct nbd_export *nbd_export_get(struct nbd_server *s, const char *name);
void nbd_export_put(struct nbd_server *s, struct nbd_export *x);
/* server_io.c: until the client leaves. */
void nbd_peer_serve(struct nbd_peer *p);
unsigned nbd_export_flags(const struct nbd_export *x);

enum { NBD_SERVER_MIN_BLOCK = 1 };

#endif
