/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locking between processes, with open file description locks on single
 * bytes of the image. The byte numbers are those that QEMU and qemu-img use, so
 * that their processes and ours see each other's locks: a lock on byte 100 + p
 * says "I use permission p", one on byte 200 + p "nobody else may".
 */
#ifndef BOTHY_BLOCK_LOCK_H
#define BOTHY_BLOCK_LOCK_H

#include <stdbool.h>

#include "src/base/err.h"

/* Locks @fd for reading (nobody may write) or writing (nobody else may write).
 * @share: others may write all the same. The lock goes with the open file. The
 * error names the holder where it can be known. File systems without locks: 0. */
int must_check block_lock_fd(int fd, const char *path, bool write, bool share, struct err *err);

#endif
