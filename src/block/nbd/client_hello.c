/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's side of the handshake. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/nbd/client.h"
#include "src/block/nbd/proto.h"

enum { HELLO_MS = 20000, MAX_REPLY = 65536, MAX_REPLIES = 1024 };

struct hello {
	struct nbd_conn *conn;
	const struct nbd_uri *uri;
	struct nbd_export_info *x;
	bool no_zeroes;
	struct err *err;
};

struct reply {
	uint32_t type, len;
	uint8_t data[MAX_REPLY + 1]; /* a 0 behind it */
};

static int lost(struct hello *h, int rc)
{
	return err_set(h->err, rc, "the server broke off the greeting: %s", strerror(-rc));
}

static int nonsense(struct hello *h)
{
	return err_set(h->err, -EPROTO, "the server does not keep to the NBD protocol");
}

static int send_opt(struct hello *h, uint32_t opt, const void *data, uint32_t len)
{
	uint8_t head[NBD_OPT_HEADER_BYTES];
	struct iovec iov[2] = { { head, sizeof(head) }, { (void *)data, len } };
	int rc;

	st_be64(head, NBD_OPT_MAGIC);
	st_be32(head + 8, opt);
	st_be32(head + 12, len);
	rc = nbd_conn_writev(h->conn, iov, len ? 2 : 1);
	return rc ? lost(h, rc) : 0;
}

static int read_reply(struct hello *h, uint32_t opt, struct reply *r)
{
	uint8_t head[NBD_REP_HEADER_BYTES];
	int rc = nbd_conn_read(h->conn, head, sizeof(head));

	if (rc)
		return lost(h, rc);
	r->type = ld_be32(head + 12);
	r->len = ld_be32(head + 16);
	if (ld_be64(head) != NBD_REP_MAGIC || ld_be32(head + 8) != opt || r->len > MAX_REPLY)
		return nonsense(h);
	rc = nbd_conn_read(h->conn, r->data, r->len);
	r->data[r->len] = '\0';
	return rc ? lost(h, rc) : 0;
}

static const char *reason(uint32_t type)
{
	switch (type) {
	case NBD_REP_ERR_UNSUP: return "it does not know the request";
	case NBD_REP_ERR_POLICY: return "its policy forbids it";
	case NBD_REP_ERR_INVALID: return "it calls the request invalid";
	case NBD_REP_ERR_TLS_REQD: return "it wants TLS; use nbds:// or nbds+unix://";
	case NBD_REP_ERR_UNKNOWN: return "it has no export of this name";
	default: return "it gives no reason";
	}
}

static int refused(struct hello *h, const struct reply *r)
{
	char said[200] = "";

	for (size_t i = 0; i < r->len && i + 1 < sizeof(said); i++) /* what goes to a terminal */
		said[i] = r->data[i] >= ' ' && r->data[i] < 127 ? (char)r->data[i] : '?';
	return err_set(h->err, r->type == NBD_REP_ERR_UNKNOWN ? -ENOENT : -EACCES,
		       "the server refuses export '%s': %s%s%s", h->uri->export_name, reason(r->type),
		       said[0] ? ": " : "", said);
}

static int ask_structured(struct hello *h, struct reply *r)
{
	int rc = send_opt(h, NBD_OPT_STRUCTURED_REPLY, NULL, 0);

	if (!rc)
		rc = read_reply(h, NBD_OPT_STRUCTURED_REPLY, r);
	if (!rc)
		h->x->structured = r->type == NBD_REP_ACK;
	return rc;
}

static int ask_allocation(struct hello *h, struct reply *r)
{
	uint32_t nlen = (uint32_t)strlen(h->uri->export_name), qlen = strlen(NBD_BASE_ALLOCATION);
	uint8_t *q = malloc(12 + nlen + qlen);
	int rc;

	if (!q)
		return err_set(h->err, -ENOMEM, "out of memory");
	st_be32(q, nlen);
	memcpy(q + 4, h->uri->export_name, nlen);
	st_be32(q + 4 + nlen, 1);
	st_be32(q + 8 + nlen, qlen);
	memcpy(q + 12 + nlen, NBD_BASE_ALLOCATION, qlen);
	rc = send_opt(h, NBD_OPT_SET_META_CONTEXT, q, 12 + nlen + qlen);
	free(q);
	for (unsigned i = 0; !rc; i++) {
		rc = read_reply(h, NBD_OPT_SET_META_CONTEXT, r);
		if (rc || r->type == NBD_REP_ACK || r->type & NBD_REP_ERR)
			break;
		if (r->type != NBD_REP_META_CONTEXT || r->len < 4 || i > MAX_REPLIES)
			return nonsense(h);
		if (!strcmp((char *)r->data + 4, NBD_BASE_ALLOCATION)) {
			h->x->has_allocation = true;
			h->x->allocation_id = ld_be32(r->data);
		}
	}
	return rc;
}

static bool pow2(uint32_t v) { return v && !(v & (v - 1)); }

static int take_info(struct hello *h, const struct reply *r, bool *have)
{
	struct nbd_export_info *x = h->x;
	unsigned what = r->len >= 2 ? ld_be16(r->data) : 0xffff;

	if (what == NBD_INFO_EXPORT) {
		if (r->len != 12)
			return nonsense(h);
		x->len = ld_be64(r->data + 2);
		x->flags = ld_be16(r->data + 10);
		*have = true;
	} else if (what == NBD_INFO_BLOCK_SIZE) {
		uint32_t min, pref, max;

		if (r->len != 14)
			return nonsense(h);
		min = ld_be32(r->data + 2);
		pref = ld_be32(r->data + 6);
		max = ld_be32(r->data + 10);
		if (!pow2(min) || min > 65536 || !pow2(pref) || pref < min || max < min)
			return nonsense(h);
		x->min_block = min;
		x->pref_block = pref;
		x->max_payload = (uint32_t)align_down(min_of(max, (uint32_t)NBD_MAX_PAYLOAD), min);
	}
	return 0;
}

/* Servers from before NBD_OPT_GO: the answer has no error, the server just hangs up. */
static int ask_by_name(struct hello *h)
{
	size_t pad = h->no_zeroes ? 0 : NBD_OLD_PAD_BYTES;
	uint8_t buf[10];
	int rc = send_opt(h, NBD_OPT_EXPORT_NAME, h->uri->export_name,
			  (uint32_t)strlen(h->uri->export_name));

	if (!rc && (nbd_conn_read(h->conn, buf, sizeof(buf)) || nbd_conn_skip(h->conn, pad)))
		rc = err_set(h->err, -ENOENT, "the server hangs up; it may have no export '%s'",
			     h->uri->export_name);
	if (rc)
		return rc;
	h->x->len = ld_be64(buf);
	h->x->flags = ld_be16(buf + 8);
	return 0;
}

static int ask_export(struct hello *h, struct reply *r)
{
	uint32_t nlen = (uint32_t)strlen(h->uri->export_name);
	uint8_t *q = malloc(nlen + 8);
	bool have = false;
	int rc;

	if (!q)
		return err_set(h->err, -ENOMEM, "out of memory");
	st_be32(q, nlen);
	memcpy(q + 4, h->uri->export_name, nlen);
	st_be16(q + 4 + nlen, 1);
	st_be16(q + 6 + nlen, NBD_INFO_BLOCK_SIZE);
	rc = send_opt(h, NBD_OPT_GO, q, nlen + 8);
	free(q);
	for (unsigned i = 0; !rc; i++) {
		rc = read_reply(h, NBD_OPT_GO, r);
		if (rc)
			return rc;
		if (r->type == NBD_REP_ERR_UNSUP)
			return ask_by_name(h);
		if (r->type & NBD_REP_ERR)
			return refused(h, r);
		if (r->type == NBD_REP_ACK)
			return have ? 0 : nonsense(h);
		if (r->type != NBD_REP_INFO || i > MAX_REPLIES)
			return nonsense(h);
		rc = take_info(h, r, &have);
	}
	return rc;
}

static int start_tls(struct hello *h, struct nbd_tls *tls, struct reply *r)
{
	const char *host = h->uri->tls_hostname ? h->uri->tls_hostname : h->uri->host;
	int rc = send_opt(h, NBD_OPT_STARTTLS, NULL, 0);

	if (!rc)
		rc = read_reply(h, NBD_OPT_STARTTLS, r);
	if (rc)
		return rc;
	if (r->type != NBD_REP_ACK)
		return err_set(h->err, -EACCES, "the server has no TLS; nbd:// would go without");
	return nbd_conn_start_tls(h->conn, tls, host, h->err);
}

static int greet(struct hello *h)
{
	uint8_t buf[NBD_HELLO_BYTES];
	unsigned flags, ours = NBD_FLAG_FIXED_NEWSTYLE;
	int rc = nbd_conn_read(h->conn, buf, sizeof(buf));

	if (rc)
		return lost(h, rc);
	if (ld_be64(buf) != NBD_MAGIC)
		return err_set(h->err, -EPROTO, "that is no NBD server");
	flags = ld_be16(buf + 16);
	if (ld_be64(buf + 8) != NBD_OPT_MAGIC || !(flags & NBD_FLAG_FIXED_NEWSTYLE))
		return err_set(h->err, -EPROTO, "the server speaks only the old style of NBD, which "
						"has no names and no errors");
	h->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
	if (h->no_zeroes)
		ours |= NBD_FLAG_NO_ZEROES;
	st_be32(buf, ours);
	rc = nbd_conn_write(h->conn, buf, 4);
	return rc ? lost(h, rc) : 0;
}

static int talk(struct hello *h, struct nbd_tls *tls)
{
	struct reply *r = malloc(sizeof(*r));
	int rc = r ? greet(h) : err_set(h->err, -ENOMEM, "out of memory");

	if (!rc && tls)
		rc = start_tls(h, tls, r);
	if (!rc)
		rc = ask_structured(h, r);
	if (!rc && h->x->structured)
		rc = ask_allocation(h, r);
	if (!rc)
		rc = ask_export(h, r);
	free(r);
	if (!rc && (h->x->len > BLOCK_MAX_BYTES || !(h->x->flags & NBD_HAS_FLAGS)))
		rc = nonsense(h);
	return rc;
}

int nbd_hello(const struct nbd_uri *u, struct nbd_tls *tls, struct nbd_conn *conn,
	      struct nbd_export_info *x, struct err *err)
{
	struct hello h = { .conn = conn, .uri = u, .x = x, .err = err };
	int fd = nbd_connect(u, HELLO_MS / 2, err), rc;

	if (fd < 0)
		return fd;
	memset(x, 0, sizeof(*x));
	x->min_block = 1;
	x->pref_block = 4096;
	x->max_payload = NBD_MAX_PAYLOAD;
	nbd_conn_init(conn, fd);
	nbd_conn_timeout(conn, HELLO_MS);
	rc = talk(&h, tls);
	if (rc)
		nbd_conn_close(conn);
	else
		nbd_conn_timeout(conn, 0);
	return rc;
}
