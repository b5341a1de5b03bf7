/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent dirty bitmaps inside a qcow2 image. */
#ifndef BOTHY_BLOCK_QCOW2_BITMAP_H
#define BOTHY_BLOCK_QCOW2_BITMAP_H

#include "src/block/block.h"

struct qcow2;

/* Before the image's first change: bitmaps are marked as in use on storage, so that a
 * crash leaves them known to be incomplete. q->lock held. */
int must_check qc_bitmaps_begin(struct qcow2 *q);
/* Guest bytes are about to change. q->lock held. */
int must_check qc_bitmaps_mark(struct qcow2 *q, uint64_t off, uint64_t len);
/* Stores what was marked and takes the in-use mark off. q->lock held. */
int must_check qc_bitmaps_store(struct qcow2 *q);
void qc_bitmaps_free(struct qcow2 *q);
int must_check qc_bitmaps_info(struct qcow2 *q, struct block_info *i);
/* Calls @fn for each host range the bitmaps occupy; for check. */
int must_check qc_bitmaps_refs(struct qcow2 *q,
			       int (*fn)(void *opaque, uint64_t off, uint64_t len), void *opaque);


/* For the descriptor: see struct block_format_desc. */
int must_check qc_bitmap_add(struct block_node *n, const char *name, uint32_t granularity,
			     struct err *err);
int must_check qc_bitmap_remove(struct block_node *n, const char *name, struct err *err);
int must_check qc_bitmap_read(struct block_node *n, const char *name, struct dirty *out);
int must_check qc_bitmap_write(struct block_node *n, const char *name, struct dirty *with);

#endif
