/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's side of the handshake: options until the client chose an export. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/nbd/proto.h"
#include "src/block/nbd/server_priv.h"

enum { HELLO_MS = 20000, MAX_OPTIONS = 256, MAX_OPTION_BYTES = 16384, ALLOCATION_ID = 1 };

static int reply(struct nbd_peer *p, uint32_t opt, uint32_t type, const void *data, size_t len)
{
	uint8_t head[NBD_REP_HEADER_BYTES];
	struct iovec iov[2] = { { head, sizeof(head) }, { (void *)data, len } };

	st_be64(head, NBD_REP_MAGIC);
	st_be32(head + 8, opt);
	st_be32(head + 12, type);
	st_be32(head + 16, (uint32_t)len);
	return nbd_conn_writev(&p->conn, iov, len ? 2 : 1);
}

static int refuse(struct nbd_peer *p, uint32_t opt, uint32_t type, const char *why)
{
	return reply(p, opt, type, why, strlen(why));
}

unsigned nbd_export_flags(const struct nbd_export *x)
{
	unsigned f = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_DF | NBD_CAN_MULTI_CONN;

	if (!x->writable)
		return f | NBD_READ_ONLY;
	return f | NBD_SEND_FUA | NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES;
}

/* A counted string at @*at of the option's data. NULL: there is none. malloc'd. */
static char *take_string(const uint8_t *d, uint32_t len, uint32_t *at)
{
	uint32_t n;
	char *s;

	if (len - *at < 4)
		return NULL;
	n = ld_be32(d + *at);
	if (n > NBD_MAX_STRING || n > len - *at - 4 || memchr(d + *at + 4, '\0', n))
		return NULL;
	s = strndup((const char *)d + *at + 4, n);
	*at += 4 + n;
	return s;
}

static int send_info(struct nbd_peer *p, uint32_t opt, const struct nbd_export *x, unsigned what)
{
	uint8_t b[2 + NBD_MAX_STRING];
	const char *s = what == NBD_INFO_NAME ? x->name : x->description;
	size_t len = 0;

	st_be16(b, (uint16_t)what);
	switch (what) {
	case NBD_INFO_EXPORT:
		st_be64(b + 2, x->node->len);
		st_be16(b + 10, (uint16_t)nbd_export_flags(x));
		len = 12;
		break;
	case NBD_INFO_BLOCK_SIZE:
		st_be32(b + 2, NBD_SERVER_MIN_BLOCK);
		st_be32(b + 6, min_of(max_of(x->node->io_align, 4096u), (uint32_t)NBD_MAX_PAYLOAD));
		st_be32(b + 10, NBD_MAX_PAYLOAD);
		len = 14;
		break;
	case NBD_INFO_NAME:
	case NBD_INFO_DESCRIPTION:
		len = min_of(strlen(s), (size_t)NBD_MAX_STRING);
		memcpy(b + 2, s, len);
		len = len ? len + 2 : 0;
		break;
	default: break; /* what we do not know need not be answered */
	}
	return len ? reply(p, opt, NBD_REP_INFO, b, len) : 0;
}

/* INFO and GO. *chosen: transmission begins. */
static int opt_go(struct nbd_peer *p, uint32_t opt, const uint8_t *d, uint32_t len, bool *chosen)
{
	uint32_t at = 0, n;
	char *name = take_string(d, len, &at);
	struct nbd_export *x;
	int rc;

	if (!name || len - at < 2 || (n = ld_be16(d + at), len - at != 2 + 2 * n)) {
		free(name);
		return refuse(p, opt, NBD_REP_ERR_INVALID, "the option's data make no sense");
	}
	x = nbd_export_get(p->server, name);
	free(name);
	if (!x)
		return refuse(p, opt, NBD_REP_ERR_UNKNOWN, "there is no export of this name");
	rc = send_info(p, opt, x, NBD_INFO_EXPORT);
	/* Also to who did not ask: it costs nothing, and they may learn. */
	if (!rc)
		rc = send_info(p, opt, x, NBD_INFO_BLOCK_SIZE);
	for (uint32_t i = 0; i < n && !rc; i++) {
		unsigned what = ld_be16(d + at + 2 + 2 * i);

		if (what != NBD_INFO_EXPORT && what != NBD_INFO_BLOCK_SIZE)
			rc = send_info(p, opt, x, what);
	}
	if (!rc)
		rc = reply(p, opt, NBD_REP_ACK, NULL, 0);
	if (rc || opt == NBD_OPT_INFO) {
		nbd_export_put(p->server, x);
		return rc;
	}
	p->export = x;
	/* The context was set for one export; another has none. */
	p->allocation &= !strncmp(p->allocation_for, x->name, sizeof(p->allocation_for) - 1);
	*chosen = true;
	return 0;
}

static int opt_by_name(struct nbd_peer *p, const uint8_t *d, uint32_t len, bool *chosen)
{
	uint8_t b[10 + NBD_OLD_PAD_BYTES] = { 0 };
	char *name = len <= NBD_MAX_STRING ? strndup((const char *)d, len) : NULL;

	p->export = name ? nbd_export_get(p->server, name) : NULL;
	free(name);
	if (!p->export)
		return -ENOENT; /* this option has no way to say so but hanging up */
	st_be64(b, p->export->node->len);
	st_be16(b + 8, (uint16_t)nbd_export_flags(p->export));
	p->allocation = false;
	*chosen = true;
	return nbd_conn_write(&p->conn, b, p->no_zeroes ? 10 : sizeof(b));
}

static int opt_list(struct nbd_peer *p, uint32_t len)
{
	struct nbd_server *s = p->server;
	uint8_t *all = NULL;
	size_t n = 0;
	int rc = 0;

	if (len)
		return refuse(p, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "this option has no data");
	/* Collected first: nobody's slow reading may hold the server's lock. */
	pthread_mutex_lock(&s->lock);
	for (struct nbd_export *x = s->exports; x && !rc; x = x->next) {
		size_t nl = strlen(x->name), dl = min_of(strlen(x->description), (size_t)NBD_MAX_STRING);
		uint8_t *more = realloc(all, n + 8 + nl + dl);

		if (!more) {
			rc = -ENOMEM;
			break;
		}
		all = more;
		st_be32(all + n, (uint32_t)(4 + nl + dl)); /* ours: how long the reply is */
		st_be32(all + n + 4, (uint32_t)nl);
		memcpy(all + n + 8, x->name, nl);
		memcpy(all + n + 8 + nl, x->description, dl);
		n += 8 + nl + dl;
	}
	pthread_mutex_unlock(&s->lock);
	for (size_t at = 0; at < n && !rc; at += 4 + ld_be32(all + at))
		rc = reply(p, NBD_OPT_LIST, NBD_REP_SERVER, all + at + 4, ld_be32(all + at));
	free(all);
	return rc ? rc : reply(p, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0);
}

static bool wants_allocation(uint32_t opt, const char *query)
{
	return !strcmp(query, NBD_BASE_ALLOCATION) ||
	       (opt == NBD_OPT_LIST_META_CONTEXT && !strcmp(query, "base:"));
}

static int opt_contexts(struct nbd_peer *p, uint32_t opt, const uint8_t *d, uint32_t len)
{
	uint8_t b[4 + sizeof(NBD_BASE_ALLOCATION)];
	uint32_t at = 0, n;
	char *name = take_string(d, len, &at), *q;
	struct nbd_export *x;
	bool want, bad = !name || len - at < 4;
	int rc = 0;

	n = bad ? 0 : ld_be32(d + at);
	at += bad ? 0 : 4;
	want = opt == NBD_OPT_LIST_META_CONTEXT && !n;
	for (uint32_t i = 0; i < n && !bad; i++) {
		q = take_string(d, len, &at);
		bad = !q;
		want |= q && wants_allocation(opt, q);
		free(q);
	}
	if (bad || at != len || (opt == NBD_OPT_SET_META_CONTEXT && !p->structured)) {
		free(name);
		return refuse(p, opt, NBD_REP_ERR_INVALID, "the option's data make no sense");
	}
	x = nbd_export_get(p->server, name);
	if (opt == NBD_OPT_SET_META_CONTEXT) {
		p->allocation = x && want;
		memcpy(p->allocation_for, name,
		       min_of(strlen(name) + 1, sizeof(p->allocation_for) - 1));
	}
	free(name);
	if (!x)
		return refuse(p, opt, NBD_REP_ERR_UNKNOWN, "there is no export of this name");
	nbd_export_put(p->server, x);
	st_be32(b, opt == NBD_OPT_SET_META_CONTEXT ? ALLOCATION_ID : 0);
	memcpy(b + 4, NBD_BASE_ALLOCATION, strlen(NBD_BASE_ALLOCATION));
	if (want)
		rc = reply(p, opt, NBD_REP_META_CONTEXT, b, 4 + strlen(NBD_BASE_ALLOCATION));
	return rc ? rc : reply(p, opt, NBD_REP_ACK, NULL, 0);
}

static int opt_tls(struct nbd_peer *p, uint32_t len)
{
	int rc;

	if (!p->server->c.tls)
		return refuse(p, NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "this server has no TLS");
	if (len || p->conn.tls)
		return refuse(p, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "not now");
	rc = reply(p, NBD_OPT_STARTTLS, NBD_REP_ACK, NULL, 0);
	if (!rc)
		rc = nbd_conn_start_tls(&p->conn, p->server->c.tls, NULL, NULL);
	/* What was agreed before, in the clear, anyone may have said. */
	p->structured = p->allocation = false;
	return rc;
}

static int one_option(struct nbd_peer *p, uint32_t opt, const uint8_t *d, uint32_t len,
		      bool *chosen)
{
	if (p->server->c.tls && !p->conn.tls && opt != NBD_OPT_STARTTLS && opt != NBD_OPT_ABORT) {
		if (opt == NBD_OPT_EXPORT_NAME)
			return -EACCES;
		return refuse(p, opt, NBD_REP_ERR_TLS_REQD, "this server is for TLS only");
	}
	switch (opt) {
	case NBD_OPT_EXPORT_NAME: return opt_by_name(p, d, len, chosen);
	case NBD_OPT_ABORT: {
		int rc = reply(p, opt, NBD_REP_ACK, NULL, 0);

		return rc ? rc : -ECONNABORTED;
	}
	case NBD_OPT_LIST: return opt_list(p, len);
	case NBD_OPT_STARTTLS: return opt_tls(p, len);
	case NBD_OPT_INFO:
	case NBD_OPT_GO: return opt_go(p, opt, d, len, chosen);
	case NBD_OPT_STRUCTURED_REPLY:
		if (len)
			return refuse(p, opt, NBD_REP_ERR_INVALID, "this option has no data");
		p->structured = true;
		return reply(p, opt, NBD_REP_ACK, NULL, 0);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT: return opt_contexts(p, opt, d, len);
	default: return refuse(p, opt, NBD_REP_ERR_UNSUP, "this option is not known here");
	}
}

static int greet(struct nbd_peer *p)
{
	uint8_t b[NBD_HELLO_BYTES];
	uint32_t flags;
	int rc;

	st_be64(b, NBD_MAGIC);
	st_be64(b + 8, NBD_OPT_MAGIC);
	st_be16(b + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	rc = nbd_conn_write(&p->conn, b, sizeof(b));
	if (!rc)
		rc = nbd_conn_read(&p->conn, b, 4);
	if (rc)
		return rc;
	flags = ld_be32(b);
	p->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
	return flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES) ? -EPROTO : 0;
}

int nbd_peer_hello(struct nbd_peer *p)
{
	uint8_t head[NBD_OPT_HEADER_BYTES], *data;
	bool chosen = false;
	int rc;

	nbd_conn_timeout(&p->conn, HELLO_MS);
	rc = greet(p);
	data = rc ? NULL : malloc(MAX_OPTION_BYTES);
	if (!rc && !data)
		rc = -ENOMEM;
	for (unsigned i = 0; !rc && !chosen; i++) {
		uint32_t opt, len;

		rc = i < MAX_OPTIONS ? nbd_conn_read(&p->conn, head, sizeof(head)) : -EPROTO;
		if (rc)
			break;
		opt = ld_be32(head + 8);
		len = ld_be32(head + 12);
		if (ld_be64(head) != NBD_OPT_MAGIC || len > (1u << 20)) {
			rc = -EPROTO;
			break;
		}
		if (len > MAX_OPTION_BYTES) {
			rc = nbd_conn_skip(&p->conn, len);
			if (!rc)
				rc = refuse(p, opt, NBD_REP_ERR_TOO_BIG, "too long");
			continue;
		}
		rc = nbd_conn_read(&p->conn, data, len);
		if (!rc)
			rc = one_option(p, opt, data, len, &chosen);
	}
	free(data);
	nbd_conn_timeout(&p->conn, 0);
	return rc;
}
