/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The encrypted payload of a qcow2 image: LUKS, keyed by host offset. */
#ifndef BOTHY_BLOCK_QCOW2_CRYPT_H
#define BOTHY_BLOCK_QCOW2_CRYPT_H

#include "src/block/block.h"

struct qcow2;

int must_check qc_crypt_read(struct qcow2 *q, uint64_t host, size_t len,
			     const struct block_vec *v, size_t voff);
/* Merges partial sectors: then the caller holds the range exclusively. */
int must_check qc_crypt_write(struct qcow2 *q, uint64_t host, size_t len,
			      const struct block_vec *v, size_t voff);

#endif
