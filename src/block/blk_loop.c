/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/epoll.h>

#include "src/base/loop.h"
#include "src/block/blk.h"

void blk_post_loop(void *loop, void (*fn)(void *arg), void *arg)
{
	loop_post(loop, fn, arg);
}

int blk_watch_loop(void *loop, int fd, void (*fn)(void *arg, uint32_t events), void *arg)
{
	if (fn)
		return loop_fd_set(loop, fd, EPOLLIN, fn, arg);
	loop_fd_del(loop, fd);
	return 0;
}
