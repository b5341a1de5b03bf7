/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the parts of the virtio core. */
#ifndef BOTHY_DEV_VIRTIO_VIRTIO_PRIV_H
#define BOTHY_DEV_VIRTIO_VIRTIO_PRIV_H

#include "src/dev/virtio/virtio.h"

#define VIRTQ_DESC_F_NEXT 0x1u
#define VIRTQ_DESC_F_WRITE 0x2u
#define VIRTQ_DESC_F_INDIRECT 0x4u
#define VIRTQ_DESC_F_AVAIL 0x80u   /* packed */
#define VIRTQ_DESC_F_USED 0x8000u
#define VIRTQ_DESC_LEN 16u

/* A descriptor, copied out of guest memory. @id: packed rings; @next: split ones. */
struct virtq_desc {
	gpa_t addr;
	uint32_t len;
	uint16_t flags, next, id;
};

/* A chain being gathered. */
struct virtq_chain {
	struct virtq *q;
	unsigned out_num, in_num, ndesc;
	uint64_t out_len, in_len;
	const char *why; /* what is wrong with it */
	struct iovec iov[VIRTQ_MAX_SIZE + 8]; /* out, then in */
};

struct virtq_desc virtq_desc_split(const uint8_t *at);
struct virtq_desc virtq_desc_packed(const uint8_t *at);
/* Follows the chain that begins with ring descriptor @head. False: c->why. */
bool virtq_gather_split(struct virtq_chain *c, uint16_t head);
/* The same; *id is the buffer's, *taken how many ring descriptors it has. */
bool virtq_gather_packed(struct virtq_chain *c, uint16_t head, uint16_t *id, uint16_t *taken);

/* -EINVAL: indices that no run could have led to. */

#endif
