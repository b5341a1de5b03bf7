/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The encryption of a qcow2 image: a LUKS header inside, data keyed by host offset. */
#ifndef BOTHY_BLOCK_QCOW2_CRYPT_H
#define BOTHY_BLOCK_QCOW2_CRYPT_H

#include "src/block/block.h"

struct qcow2;

/* Unlocks, unless the opener wants only the tables. */
int must_check qc_crypt_open(struct qcow2 *q, const struct block_open_opts *o, struct err *err);
/* Makes a new image encrypted; before anything is written to the disk. */
int must_check qc_crypt_create(struct qcow2 *q, const struct block_create *c, struct err *err);
void qc_crypt_close(struct qcow2 *q);

#endif
