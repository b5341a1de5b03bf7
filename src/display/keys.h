/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys by their names. A key is the number that a PC keyboard gives it in scan code
 * set 1: 0x01..0x7f, | 0xe000 for the grey ones, 0xe11d for Pause (as
 * dev/input.h takes it).
 */
#ifndef BOTHY_DISPLAY_KEYS_H
#define BOTHY_DISPLAY_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By QMP's name (QKeyCode): "ret", "shift", "kp_7". 0: there is no such key. */
uint16_t key_from_qcode(const char *name);
/* The other way; NULL for a number without a name. */
const char *key_qcode(uint16_t key);
/* QMP's number of a key ({"type": "number"}) and that of the QEMU extended key event:
 * set 1, grey keys with bit 7 set or prefixed E0h. 0: no such key. */
uint16_t key_from_number(uint32_t number);

/* What a person of the US layout presses for a character; with shift or without.
 * 0: it is on no key. Newline and tab are keys too. */
uint16_t key_from_char(uint32_t ch, bool *shift);
/* By an X11 keysym (keysymdef.h), US layout. *shift only says what characters need. */
uint16_t key_from_keysym(uint32_t sym, bool *shift);

#endif
