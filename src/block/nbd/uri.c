/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/nbd/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/nbd/proto.h"

static const struct scheme {
	const char *name;
	bool tls, local;
} schemes[] = {
	{ "nbd://", false, false },
	{ "nbds://", true, false },
	{ "nbd+unix://", false, true },
	{ "nbds+unix://", true, true },
};

static const struct scheme *scheme_of(const char *text)
{
	for (size_t i = 0; i < array_size(schemes); i++)
		if (!strncmp(text, schemes[i].name, strlen(schemes[i].name)))
			return &schemes[i];
	return NULL;
}

bool nbd_is_uri(const char *text) { return scheme_of(text); }

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* malloc'd, with %XX taken out. NULL: not right, or out of memory. */
static char *decode(const char *s, size_t len)
{
	char *out = malloc(len + 1), *p = out;

	for (size_t i = 0; out && i < len; i++) {
		int hi, lo;

		if (s[i] != '%') {
			*p++ = s[i];
			continue;
		}
		hi = i + 2 < len ? hex(s[i + 1]) : -1;
		lo = i + 2 < len ? hex(s[i + 2]) : -1;
		if (hi < 0 || lo < 0 || !(hi | lo)) {
			free(out);
			return NULL;
		}
		*p++ = (char)(hi << 4 | lo);
		i += 2;
	}
	if (out)
		*p = '\0';
	return out;
}

static int parse_query(const char *q, struct nbd_uri *u)
{
	while (q && *q) {
		const char *end = strchrnul(q, '&'), *eq = memchr(q, '=', (size_t)(end - q));
		size_t key = eq ? (size_t)(eq - q) : (size_t)(end - q);
		const struct { const char *name; char **to; } known[] = {
			{ "socket", &u->socket }, { "tls-certificates", &u->tls_dir },
			{ "tls-psk-file", &u->tls_psk_file }, { "tls-username", &u->tls_user },
			{ "tls-hostname", &u->tls_hostname },
		};

		for (size_t i = 0; eq && i < array_size(known); i++) {
			if (strlen(known[i].name) != key || strncmp(q, known[i].name, key))
				continue;
			free(*known[i].to);
			*known[i].to = decode(eq + 1, (size_t)(end - eq - 1));
			if (!*known[i].to)
				return -EINVAL;
		}
		q = *end ? end + 1 : NULL;
	}
	return 0;
}

/* "host", "host:port", "[v6]:port" */
static int parse_host(const char *s, size_t len, struct nbd_uri *u)
{
	const char *colon;

	if (len && s[0] == '[') {
		const char *close = memchr(s, ']', len);

		if (!close)
			return -EINVAL;
		u->host = strndup(s + 1, (size_t)(close - s - 1));
		colon = close + 1 < s + len && close[1] == ':' ? close + 1 : NULL;
	} else {
		colon = memrchr(s, ':', len);
		u->host = strndup(s, colon ? (size_t)(colon - s) : len);
	}
	if (colon && colon + 1 < s + len)
		u->port = strndup(colon + 1, (size_t)(s + len - colon - 1));
	else if (asprintf(&u->port, "%d", NBD_PORT) < 0)
		u->port = NULL;
	return u->host && u->port ? 0 : -ENOMEM;
}

int nbd_uri_parse(const char *text, struct nbd_uri *u, struct err *err)
{
	const struct scheme *s = scheme_of(text);
	const char *rest, *query, *slash;
	int rc = 0;

	memset(u, 0, sizeof(*u));
	if (!s)
		return err_set(err, -EINVAL, "'%s' is no address of an NBD export", text);
	rest = text + strlen(s->name);
	query = strchrnul(rest, '?');
	slash = memchr(rest, '/', (size_t)(query - rest));
	if (!slash)
		slash = query;
	u->tls = s->tls;
	if (!s->local)
		rc = parse_host(rest, (size_t)(slash - rest), u);
	else if (slash != rest)
		rc = -EINVAL;
	if (!rc) {
		slash += slash < query;
		u->export_name = decode(slash, (size_t)(query - slash));
		rc = u->export_name ? 0 : -EINVAL;
	}
	if (!rc)
		rc = parse_query(*query ? query + 1 : NULL, u);
	if (!rc && (s->local ? !u->socket : !u->host[0]))
		rc = -EINVAL;
	if (!rc && strlen(u->export_name) > NBD_MAX_STRING)
		rc = -EINVAL;
	if (!rc)
		return 0;
	nbd_uri_fini(u);
	return err_set(err, rc, s->local ? "'%s' is not as it must be: nbd+unix:///EXPORT?socket=PATH"
					 : "'%s' is not as it must be: nbd://HOST[:PORT]/EXPORT", text);
}

void nbd_uri_fini(struct nbd_uri *u)
{
	free(u->host);
	free(u->port);
	free(u->socket);
	free(u->export_name);
	free(u->tls_dir);
	free(u->tls_psk_file);
	free(u->tls_user);
	free(u->tls_hostname);
	memset(u, 0, sizeof(*u));
}

/* Connects @fd, or -errno after @timeout_ms. */
static int connect_by(int fd, const struct sockaddr *sa, socklen_t len, int timeout_ms)
{
	struct pollfd p = { fd, POLLOUT, 0 };
	int flags = fcntl(fd, F_GETFL), rc, e = 0;
	socklen_t elen = sizeof(e);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	rc = connect(fd, sa, len) < 0 ? -errno : 0;
	if (rc == -EINPROGRESS) {
		do
			rc = poll(&p, 1, timeout_ms);
		while (rc < 0 && errno == EINTR);
		if (rc == 0)
			rc = -ETIMEDOUT;
		else
			rc = getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &elen) < 0 ? -errno : -e;
	}
	fcntl(fd, F_SETFL, flags);
	return rc;
}

static int unix_addr(const char *path, struct sockaddr_un *sa, struct err *err)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sa->sun_path))
		return err_set(err, -ENAMETOOLONG, "socket path '%s' is longer than %zu bytes", path,
			       sizeof(sa->sun_path) - 1);
	memcpy(sa->sun_path, path, strlen(path) + 1);
	return 0;
}

static int connect_unix(const char *path, int timeout_ms, struct err *err)
{
	struct sockaddr_un sa;
	int fd, rc = unix_addr(path, &sa, err);

	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 ? -errno : connect_by(fd, (struct sockaddr *)&sa, sizeof(sa), timeout_ms);
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	return err_set(err, rc, "cannot connect to '%s': %s", path, strerror(-rc));
}

static int connect_tcp(const struct nbd_uri *u, int timeout_ms, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *a;
	int one = 1, fd, rc = getaddrinfo(u->host, u->port, &hints, &list);

	if (rc)
		return err_set(err, -EHOSTUNREACH, "cannot find host '%s': %s", u->host,
			       gai_strerror(rc));
	rc = -EHOSTUNREACH;
	for (a = list; a; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		rc = fd < 0 ? -errno : connect_by(fd, a->ai_addr, a->ai_addrlen, timeout_ms);
		if (!rc)
			break;
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	if (rc)
		return err_set(err, rc, "cannot connect to %s port %s: %s", u->host, u->port,
			       strerror(-rc));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	return fd;
}

int nbd_connect(const struct nbd_uri *u, int timeout_ms, struct err *err)
{
	return u->socket ? connect_unix(u->socket, timeout_ms, err) : connect_tcp(u, timeout_ms, err);
}

/* A socket file that nobody answers at was left by a process that died. */
static void remove_stale(const char *path, const struct sockaddr_un *sa)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	if (fd >= 0)
		close(fd);
}

int nbd_listen_unix(const char *path, struct err *err)
{
	struct sockaddr_un sa;
	int fd, rc = unix_addr(path, &sa, err);

	if (rc)
		return rc;
	remove_stale(path, &sa);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Whoever may connect may read the disk. The file gets the socket's mode. */
	rc = fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	     listen(fd, 64) < 0 ? -errno : 0;
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	return err_set(err, rc, "cannot listen at '%s': %s", path, strerror(-rc));
}

int nbd_listen_tcp(const char *addr, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
	struct nbd_uri u = { 0 };
	int one = 1, fd, rc = parse_host(addr, strlen(addr), &u);

	if (rc) {
		nbd_uri_fini(&u);
		return err_set(err, rc, "'%s' is not HOST:PORT", addr);
	}
	rc = getaddrinfo(u.host[0] ? u.host : NULL, u.port, &hints, &list);
	nbd_uri_fini(&u);
	if (rc)
		return err_set(err, -EINVAL, "cannot listen at '%s': %s", addr, gai_strerror(rc));
	fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC, list->ai_protocol);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	rc = fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, 64) < 0 ? -errno : 0;
	freeaddrinfo(list);
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	return err_set(err, rc, "cannot listen at '%s': %s", addr, strerror(-rc));
}
