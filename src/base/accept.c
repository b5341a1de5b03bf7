/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static int spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void acceptor_init(struct acceptor *a, int fd)
{
	a->fd = fd;
	a->spare_fd = spare();
}

void acceptor_fini(struct acceptor *a)
{
	if (a->spare_fd >= 0)
		close(a->spare_fd);
	a->fd = a->spare_fd = -1;
}

int acceptor_take(struct acceptor *a, void (*refuse)(int fd))
{
	int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), why = errno;

	if (fd >= 0)
		return fd;
	if (why != EMFILE && why != ENFILE)
		return -why;
	if (a->spare_fd >= 0)
		close(a->spare_fd);
	fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		if (refuse)
			refuse(fd);
		close(fd);
	}
	a->spare_fd = spare();
	return -why;
}
