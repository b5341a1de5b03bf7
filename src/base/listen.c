/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/size.h"

#define BACKLOG 16

static int listen_unix(const char *path, int *fd, char **unlink_path, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;

	if (!*path || strlen(path) >= sizeof(sa.sun_path))
		return err_set(err, -EINVAL, "a socket's path has 1 to %zu characters, '%s' has %zu",
			       sizeof(sa.sun_path) - 1, path, strlen(path));
	if (lstat(path, &st) == 0)
		return err_set(err, -EEXIST, "'%s' exists already; name a new file or remove it "
			       "first", path);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (bind(*fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_set(err, -errno, "the socket '%s' cannot be made: %s", path,
			       strerror(errno));
	*unlink_path = realpath(path, NULL);
	/* Only its owner: who may write to the socket may use the machine. */
	if (chmod(path, 0600) < 0 || listen(*fd, BACKLOG) < 0)
		return err_set(err, -errno, "'%s' cannot listen: %s", path, strerror(errno));
	return 0;
}

static int try_address(const struct addrinfo *ai, int *fd)
{
	int one = 1, ret;

	*fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return -errno;
	setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(*fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(*fd, BACKLOG) == 0)
		return 0;
	ret = -errno;
	close(*fd);
	*fd = -1;
	return ret;
}

static int listen_tcp(const char *host, const char *port, int *fd, struct err *err)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM }, *list;
	int ret = getaddrinfo(host, port, &hints, &list);

	if (ret != 0)
		return err_set(err, -EINVAL, "'%s' is no address of this host: %s", host,
			       gai_strerror(ret));
	ret = -EADDRNOTAVAIL;
	for (const struct addrinfo *ai = list; ai && ret < 0; ai = ai->ai_next)
		ret = try_address(ai, fd);
	freeaddrinfo(list);
	if (ret < 0)
		return err_set(err, ret, "cannot listen on %s port %s: %s", host, port,
			       strerror(-ret));
	return 0;
}

/* "ADDR:PORT", "[ADDR6]:PORT", "PORT". */
static int split(const char *where, char *host, size_t len, const char **port, struct err *err)
{
	const char *colon = strrchr(where, ':');
	const char *from = where, *to = colon;
	uint64_t n;

	snprintf(host, len, "127.0.0.1");
	*port = colon ? colon + 1 : where;
	if (parse_uint(*port, &n, NULL) < 0 || n > 65535)
		return err_set(err, -EINVAL, "'%s' is none of ADDR:PORT, PORT, unix:PATH; a port "
			       "is a number up to 65535", where);
	if (!colon || colon == where)
		return 0;
	if (*from == '[' && to[-1] == ']')
		from++, to--;
	if ((size_t)(to - from) >= len)
		return err_set(err, -EINVAL, "the address in '%s' is too long", where);
	memcpy(host, from, (size_t)(to - from));
	host[to - from] = '\0';
	return 0;
}

/* What it came to, with the port that the kernel chose. */
static char *bound_name(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char host[64], port[8], *name = NULL;

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return NULL;
	if (asprintf(&name, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port) < 0)
		return NULL;
	return name;
}

void listen_close(int *fd, char **name, char **unlink_path)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	if (*unlink_path)
		unlink(*unlink_path);
	free(*unlink_path);
	free(*name);
	*name = *unlink_path = NULL;
}

int listen_at(const char *where, int *fd, char **name, char **unlink_path, struct err *err)
{
	char host[256];
	const char *port;
	int ret;

	*fd = -1;
	*name = *unlink_path = NULL;
	if (!strncmp(where, "unix:", 5)) {
		ret = listen_unix(where + 5, fd, unlink_path, err);
		*name = strdup(where);
	} else {
		ret = split(where, host, sizeof(host), &port, err);
		if (ret == 0)
			ret = listen_tcp(host, port, fd, err);
		if (ret == 0)
			*name = bound_name(*fd);
	}
	if (ret == 0 && !*name)
		ret = err_set(err, -ENOMEM, "out of memory");
	if (ret < 0)
		listen_close(fd, name, unlink_path);
	return ret;
}
