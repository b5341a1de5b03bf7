/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packing and unpacking of clusters. What the libraries need for it is large, and to
 * find memory for it anew would take as long as the packing: each packer is kept for
 * the next who needs one. Any number of threads.
 */
#ifndef BOTHY_BLOCK_PACKER_H
#define BOTHY_BLOCK_PACKER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/base/err.h"

enum pack_kind {
	PACK_DEFLATE_4K, /* a bare deflate stream that looks back 4 KiB at most: qcow2 */
	PACK_ZLIB,       /* with zlib's header and checksum: VMDK */
	PACK_ZSTD,
};

struct packer;
struct packers {
	pthread_mutex_t lock;
	struct packer *idle;
};

void packers_init(struct packers *p);
void packers_fini(struct packers *p);

/* The packed length; 0: it would be more than @cap; or -errno. */
ssize_t must_check pack(struct packers *p, enum pack_kind k, void *dst, size_t cap,
			const void *src, size_t len);
/* How many bytes came out of what @src begins with, the first @len at most; -EIO: it is
 * not packed data, or is cut short. */
ssize_t must_check unpack(struct packers *p, enum pack_kind k, void *dst, size_t len,
			  const void *src, size_t src_len);

#endif
