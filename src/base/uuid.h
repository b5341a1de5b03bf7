/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs (RFC 9562), 16 bytes in the order in which they are written. */
#ifndef BOTHY_BASE_UUID_H
#define BOTHY_BASE_UUID_H

#include <stdint.h>

#include "src/base/err.h"

#define UUID_TEXT 37u /* characters of one as text, with its end */

/* 8-4-4-4-12 hexadecimal digits. -EINVAL. */
int must_check uuid_parse(const char *text, uint8_t uuid[16], struct err *err);
void uuid_print(const uint8_t uuid[16], char text[UUID_TEXT]);

/* Version 4. -errno where the host gives no random numbers. */
int must_check uuid_random(uint8_t uuid[16]);
/* Version 8: the same for the same text, on whichever host. */
void uuid_of_text(const char *text, uint8_t uuid[16]);

#endif
