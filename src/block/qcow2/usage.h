/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_BLOCK_QCOW2_USAGE_H
#define BOTHY_BLOCK_QCOW2_USAGE_H

#include "src/block/op.h"
#include "src/block/qcow2/qcow2.h"

/* For the descriptor. -ENOENT: one of the names is no snapshot's. */
int must_check qc_usage(struct block_node *n, const char *const *names, size_t nnames,
			struct block_usage *u);

#endif
