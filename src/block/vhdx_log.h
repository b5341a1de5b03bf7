/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a VHDX image that was not closed: changes of its tables that may not have
 * reached their places. Source: Microsoft, [MS-VHDX] 2.3.
 */
#ifndef BOTHY_BLOCK_VHDX_LOG_H
#define BOTHY_BLOCK_VHDX_LOG_H

#include "src/block/block.h"

/* CRC-32C, the four bytes at @at taken as zero. */
uint32_t vhdx_crc32c(const uint8_t *p, size_t len, size_t at);

/* Does again what the log at [@off, @off + @len) of @file says, as far as it is of @guid,
 * and flushes; the log itself stays, and doing it twice is as good as once. -EINVAL: it
 * makes no sense, *what says why (a constant); nothing was written then. */
int must_check vhdx_log_replay(struct block_node *file, uint64_t off, uint64_t len,
			       const uint8_t guid[16], const char **what);

#endif
