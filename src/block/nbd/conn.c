/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/nbd/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/nbd/tls_lib.h"
#include "src/block/pool.h"

enum { SLICE_MS = 1000, MAX_IOV = 64, ONE_RECORD = 16000 };

void nbd_conn_init(struct nbd_conn *c, int fd)
{
	struct timeval slice = { SLICE_MS / 1000, 0 };

	memset(c, 0, sizeof(*c));
	c->fd = fd;
	/* Reading wakes now and then to look at the deadline. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice));
}

void nbd_conn_close(struct nbd_conn *c)
{
	if (c->tls)
		c->lib->deinit(c->tls);
	if (c->fd >= 0)
		close(c->fd);
	c->tls = NULL;
	c->fd = -1;
}

void nbd_conn_shutdown(struct nbd_conn *c)
{
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
}

void nbd_conn_timeout(struct nbd_conn *c, int timeout_ms)
{
	c->deadline_ns = timeout_ms ? block_now_ns() + timeout_ms * 1000000LL : 0;
}

void nbd_conn_send_limit(struct nbd_conn *c, int seconds)
{
	struct timeval limit = { seconds, 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static bool late(const struct nbd_conn *c)
{
	return c->deadline_ns && block_now_ns() > c->deadline_ns;
}

/* Bytes read, 0: try again, or -errno. */
static ssize_t read_some(struct nbd_conn *c, void *buf, size_t len)
{
	ssize_t n;

	if (late(c))
		return -ETIMEDOUT;
	if (c->tls) {
		n = c->lib->record_recv(c->tls, buf, len);
		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED || n == GNUTLS_E_REHANDSHAKE)
			return 0;
		return n > 0 ? n : -ECONNRESET;
	}
	n = recv(c->fd, buf, len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return -errno;
	return n ? n : -ECONNRESET;
}

int nbd_conn_read(struct nbd_conn *c, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = read_some(c, p, len);

		if (n < 0)
			return (int)n;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int nbd_conn_skip(struct nbd_conn *c, uint64_t len)
{
	uint8_t buf[4096];
	int rc = 0;

	while (len && !rc) {
		size_t n = min_of(len, sizeof(buf));

		rc = nbd_conn_read(c, buf, n);
		len -= n;
	}
	return rc;
}

static int write_tls(struct nbd_conn *c, const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = c->lib->record_send(c->tls, p, len);

		if (n == GNUTLS_E_INTERRUPTED)
			continue;
		if (n < 0)
			return n == GNUTLS_E_AGAIN ? -ETIMEDOUT : -ECONNRESET;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int writev_tls(struct nbd_conn *c, const struct iovec *iov, unsigned n)
{
	size_t total = 0;
	int rc = 0;

	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	/* Small pieces (a header) go out in one record with what follows. */
	if (total <= ONE_RECORD)
		c->lib->record_cork(c->tls);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = write_tls(c, iov[i].iov_base, iov[i].iov_len);
	if (total <= ONE_RECORD && c->lib->record_uncork(c->tls, 0) < 0)
		rc = -ECONNRESET;
	return rc;
}

int nbd_conn_write(struct nbd_conn *c, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };

	return nbd_conn_writev(c, &iov, 1);
}

int nbd_conn_writev(struct nbd_conn *c, struct iovec *iov, unsigned n)
{
	if (c->tls)
		return writev_tls(c, iov, n);
	while (n) {
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = min_of(n, (unsigned)MAX_IOV) };
		ssize_t did = sendmsg(c->fd, &m, MSG_NOSIGNAL);

		if (did < 0 && errno == EINTR)
			continue;
		if (did < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		while (n && (size_t)did >= iov->iov_len) {
			did -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (uint8_t *)iov->iov_base + did;
			iov->iov_len -= (size_t)did;
		}
	}
	return 0;
}
