/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard controller: ports 60h and 64h, a keyboard and a mouse, the reset
 * pulse and the A20 gate. Source: IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboard and Auxiliary Device Controller".
 */
#ifndef BOTHY_DEV_LEGACY_I8042_H
#define BOTHY_DEV_LEGACY_I8042_H

#include "src/dev/dev.h"
#include "src/dev/input.h"
#include "src/dev/legacy/a20.h"
#include "src/dev/legacy/ps2.h"

struct i8042 {
	struct ps2_kbd kbd;
	struct ps2_mouse mouse;
	uint8_t status;
	uint8_t out;       /* output buffer, full when status says so */
	uint8_t command;   /* awaiting its argument at port 60h, 0 none */
	uint8_t reply;     /* a byte of the controller's own, waiting for the output buffer */
	bool reply_pending, reply_aux;
	bool release_next; /* translation: a release prefix has come */
	uint8_t ram[32];   /* [0]: the command byte */
	struct irq_line irq_kbd, irq_mouse;
	struct a20_gate *a20; /* not owned */
	const struct dev_env *env;
	struct bus_range ports[2]; /* 60h, 64h */
	struct input_dev input_kbd, input_mouse;
};

/* @irq_kbd: IRQ 1, @irq_mouse: IRQ 12; copied. */
int must_check i8042_init(struct i8042 *k, const struct dev_env *env,
			  const struct irq_line *irq_kbd, const struct irq_line *irq_mouse,
			  struct a20_gate *a20, struct err *err);
void i8042_fini(struct i8042 *k);

/* Keys and movement from the screen; see ps2.h. Under the device lock. */
void i8042_key(struct i8042 *k, uint16_t code, bool down);
void i8042_mouse(struct i8042 *k, int dx, int dy, int dz, unsigned buttons);

extern const struct dev_desc i8042_desc;

#endif
