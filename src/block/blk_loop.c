/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/loop.h"
#include "src/block/blk.h"

void blk_post_loop(void *loop, void (*fn)(void *arg), void *arg)
{
	loop_post(loop, fn, arg);
}
