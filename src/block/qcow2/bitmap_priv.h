/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What bitmap.c and bitmap_edit.c share. q->lock held in all of it. */
#ifndef BOTHY_BLOCK_QCOW2_BITMAP_PRIV_H
#define BOTHY_BLOCK_QCOW2_BITMAP_PRIV_H

#include "src/block/qcow2/qcow2.h"

enum {
	DIR_ENTRY_BYTES = 24,
	DIR_MAX_BYTES = 4 << 20,
	TABLE_MAX_ENTRIES = 4 << 20,
	CHUNK_BYTES = 4096,
	NAME_MAX_BYTES = 1023,
};
#define FLAG_IN_USE 1u
#define FLAG_AUTO 2u
#define TABLE_ALL_ONES 1u

struct qc_bitmap {
	struct qc_bitmap *next;
	uint64_t dir_pos; /* of the directory entry, in the file */
	uint64_t table_off;
	uint32_t table_size, flags;
	uint8_t granularity_bits;
	bool live; /* we marked it in use and keep it up to date */
	uint32_t extra_len; /* of data we do not know */
	char *name;
	uint8_t **chunks; /* what was newly marked */
	uint64_t nchunks;
};

void qcb_free(struct qc_bitmap *list);
/* Reads the directory. *out may be NULL with 0: there are no bitmaps to speak of. */
int must_check qcb_load(struct qcow2 *q, struct qc_bitmap **out);
int must_check qcb_make_chunks(const struct qcow2 *q, struct qc_bitmap *b);
int must_check qcb_mark(struct qc_bitmap *b, uint64_t off, uint64_t len);

#endif
