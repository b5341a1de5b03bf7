/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two devices behind a keyboard controller: a keyboard (scan code set 2 by
 * default, 1 or 3) and a mouse (standard, wheel, five buttons).
 * Source: IBM PS/2 Hardware Interface Technical Reference, keyboard and auxiliary
 * device sections.
 */
#ifndef BOTHY_DEV_LEGACY_PS2_H
#define BOTHY_DEV_LEGACY_PS2_H

#include <stdbool.h>
#include <stdint.h>

#include "src/state/state.h"

#define PS2_QUEUE 64u

struct ps2_queue {
	uint8_t data[PS2_QUEUE];
	uint8_t head, count;
};

struct ps2_kbd {
	struct ps2_queue out;
	uint8_t command;  /* awaiting its argument, 0 none */
	uint8_t last;     /* last byte sent, for RESEND */
	uint8_t set;      /* scan code set, 1 to 3 */
	uint8_t leds, rate;
	bool scanning;
};

struct ps2_mouse {
	struct ps2_queue out;
	uint8_t command, last;
	uint8_t rate, resolution;
	uint8_t rates[3];  /* the last three, for the wheel's magic knock */
	uint8_t id;        /* 0, 3 or 4 */
	uint8_t buttons, sent_buttons; /* bits 0-4 */
	bool reporting, remote, wrap, scale21;
	int32_t dx, dy, dz;
};

/* What the keyboard controller's translation makes of a byte of set 2: the set 1
 * code (without the release bit). */
uint8_t ps2_translate(uint8_t set2);

void ps2_kbd_reset(struct ps2_kbd *k);
void ps2_kbd_write(struct ps2_kbd *k, uint8_t val); /* a byte from the host */
/* A key, by its set 1 make code: 0x01..0x7f, | 0xe000 for the grey ones; 0xe11d for
 * Pause. Dropped while scanning is off or the queue is full. */
void ps2_kbd_key(struct ps2_kbd *k, uint16_t code, bool down);
/* Would a key find room? Also true while it would be dropped for another reason. */
bool ps2_kbd_room(const struct ps2_kbd *k);

void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, uint8_t val);
/* Movement since the last call, y up; @buttons: bit 0 left, 1 right, 2 middle, 3-4. */
void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, unsigned buttons);

/* The next byte to the host, -1 none. */
int ps2_queue_get(struct ps2_queue *q);

extern const struct state_desc ps2_kbd_state, ps2_mouse_state;

#endif
