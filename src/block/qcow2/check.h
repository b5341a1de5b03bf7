/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between check.c, which counts references, and rebuild.c, which writes them down. */
#ifndef BOTHY_BLOCK_QCOW2_CHECK_H
#define BOTHY_BLOCK_QCOW2_CHECK_H

#include "src/block/qcow2/qcow2.h"

#define QC_MAP_CHUNK 65536u /* clusters */

struct check {
	struct qcow2 *q;
	struct block_check *c;
	uint64_t file_clusters;
	uint32_t **chunks; /* references counted, by cluster */
	uint64_t nchunks;
	uint64_t next_host; /* where the next data cluster would be if nothing is fragmented */
	bool rebuild;       /* the refcount structure itself is beyond single corrections */
	bool no_refcounts;  /* leave the old refcount structure out */
};

uint32_t qc_check_refs(const struct check *k, uint64_t cluster);

/* Writes a whole new refcount structure behind everything that is referred to, and
 * switches the header over to it. */
int must_check qc_rebuild(struct check *k);

#endif
