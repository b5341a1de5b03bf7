/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers and sizes as people write them. */
#ifndef BOTHY_BASE_SIZE_H
#define BOTHY_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

/* "512M", "4G", "1.5G", "2048" (times @unit_bytes): bytes. Units K M G T (or
 * KiB, MB ... all of 1024). -EINVAL or -ERANGE with a sentence. */
int must_check parse_size(const char *text, uint64_t unit_bytes, uint64_t *bytes, struct err *err);

/* A whole decimal number. -EINVAL or -ERANGE with a sentence. */
int must_check parse_uint(const char *text, uint64_t *value, struct err *err);

/* "4 GiB", "512 MiB", "1536 KiB", "7 bytes": the largest unit that divides. */
const char *format_size(uint64_t bytes, char *buf, size_t len);

#endif
