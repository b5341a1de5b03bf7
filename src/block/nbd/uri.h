/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of NBD exports, and sockets to and for them. Source of the form: the
 * NetworkBlockDevice project's doc/uri.md. */
#ifndef BOTHY_BLOCK_NBD_URI_H
#define BOTHY_BLOCK_NBD_URI_H

#include <stdbool.h>

#include "src/base/err.h"

struct nbd_uri {
	bool tls;
	char *host, *port; /* TCP; else */
	char *socket;      /* a unix socket's path */
	char *export_name; /* "" is the default export */
	char *tls_dir, *tls_psk_file, *tls_user, *tls_hostname; /* NULL: not given */
};

/* Is this an address of the kind, rather than a file's name? */
bool nbd_is_uri(const char *text);
int must_check nbd_uri_parse(const char *text, struct nbd_uri *u, struct err *err);
void nbd_uri_fini(struct nbd_uri *u);

/* A connected socket, or -errno. */
int must_check nbd_connect(const struct nbd_uri *u, int timeout_ms, struct err *err);

/* Listening sockets: a unix socket at @path (one that nobody listens at any more is
 * replaced), or TCP at "HOST:PORT", "[V6]:PORT", ":PORT", "HOST". -errno. */
int must_check nbd_listen_unix(const char *path, struct err *err);
int must_check nbd_listen_tcp(const char *addr, struct err *err);

#endif
