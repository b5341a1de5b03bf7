/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes between two ends of NBD: a stream socket, plain or under TLS. One
 * thread may read while another writes; each side's calls one at a time.
 */
#ifndef BOTHY_BLOCK_NBD_CONN_H
#define BOTHY_BLOCK_NBD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/err.h"

/* Who we are toward the other end, and whom we believe. */
struct nbd_tls_files {
	const char *dir;      /* ca-cert.pem and server- or client-cert.pem, -key.pem; or */
	const char *psk_file; /* lines "user:hex key" */
	const char *user;     /* client with psk_file; NULL: the file's first */
	bool verify_peer;     /* server: clients need a certificate of the CA; client: always */
};
struct nbd_tls;
struct tls_lib;
/* Reads the files. */
int must_check nbd_tls_new(const struct nbd_tls_files *f, bool server, struct nbd_tls **out,
			   struct err *err);
void nbd_tls_free(struct nbd_tls *t); /* after the last connection with it */

struct nbd_conn {
	int fd;              /* owned */
	void *tls;           /* gnutls_session_t, NULL: plain */
	const struct tls_lib *lib; /* with tls: its calls; the nbd_tls's */
	int64_t deadline_ns; /* reading ends with -ETIMEDOUT past it; 0: never */
};

void nbd_conn_init(struct nbd_conn *c, int fd);
void nbd_conn_close(struct nbd_conn *c);
/* Both directions end, in whatever thread they are waited for. */
void nbd_conn_shutdown(struct nbd_conn *c);
/* @timeout_ms from now for all reading; 0: no limit any more. */
void nbd_conn_timeout(struct nbd_conn *c, int timeout_ms);
/* Writing ends with -ETIMEDOUT when the other end takes nothing for so long. */
void nbd_conn_send_limit(struct nbd_conn *c, int seconds);
/* @host: whose certificate it must be (client), NULL on a server. */
int must_check nbd_conn_start_tls(struct nbd_conn *c, struct nbd_tls *t, const char *host,
				  struct err *err);

/* All of it or -errno; -ECONNRESET when the other end is gone. */
int must_check nbd_conn_read(struct nbd_conn *c, void *buf, size_t len);
int must_check nbd_conn_skip(struct nbd_conn *c, uint64_t len);
int must_check nbd_conn_write(struct nbd_conn *c, const void *buf, size_t len);
/* @iov is changed. */
int must_check nbd_conn_writev(struct nbd_conn *c, struct iovec *iov, unsigned n);

#endif
