/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks over the network: the protocol node that is an NBD client, and a server
 * that exports any open image.
 */
#ifndef BOTHY_BLOCK_NBD_NBD_H
#define BOTHY_BLOCK_NBD_NBD_H

#include "src/block/block.h"
#include "src/block/nbd/conn.h"

extern const struct block_format_desc block_nbd;

struct nbd_server;

struct nbd_server_config {
	struct nbd_tls *tls;  /* NULL: none. Else clients must use it. Not owned. */
	unsigned max_clients; /* 0: 64 */
	/* A client came (+1) or went (-1), @clients are there now; any thread, may be NULL. */
	void (*changed)(void *opaque, int by, unsigned clients);
	void *opaque;
};

struct nbd_server *nbd_server_new(const struct nbd_server_config *c, struct err *err);
/* Ends all connections, waits for them; the exports' nodes are the caller's again. */
void nbd_server_free(struct nbd_server *s);

/* Offers @n, which stays the caller's, as @name ("": the default export). -EEXIST. */
int must_check nbd_server_add(struct nbd_server *s, const char *name, const char *description,
			      struct block_node *n, bool writable, struct err *err);
/* Ends the connections to @name and takes it back. -ENOENT. */
int must_check nbd_server_remove(struct nbd_server *s, const char *name, struct err *err);

/* Accepts at @fd, a listening socket that becomes the server's. */
int must_check nbd_server_listen(struct nbd_server *s, int fd, struct err *err);
/* Serves one connected socket, which becomes the server's. -EUSERS: there are too many. */
int must_check nbd_server_accept(struct nbd_server *s, int fd);

#endif
