/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_BLOCK_NODE_PRIV_H
#define BOTHY_BLOCK_NODE_PRIV_H

#include "src/block/block.h"

/* A node with its common fields set, not yet opened. NULL: out of memory. */
struct block_node *block_node_new(const struct block_format_desc *d, const char *path,
				  const struct block_open_opts *o);
void block_node_free(struct block_node *n); /* the struct alone */

#endif
