/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A serial port. Source: National Semiconductor PC16550D data sheet.
 *
 * Bytes leave as fast as the back takes them, whatever the divisor says; the
 * receiver's time-out keeps the line's speed.
 */
#ifndef BOTHY_DEV_LEGACY_UART16550_H
#define BOTHY_DEV_LEGACY_UART16550_H

#include "src/dev/chardev.h"
#include "src/dev/dev.h"

#define UART16550_FIFO 16u

struct uart16550_fifo {
	uint8_t data[UART16550_FIFO];
	uint8_t head, count;
};

struct uart16550 {
	struct uart16550_fifo rx, tx;
	uint16_t divisor;
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	bool thre_pending;    /* transmitter-empty interrupt not yet acknowledged */
	bool timeout_pending; /* receiver time-out interrupt */
	struct vtimer timeout;
	struct chardev *back; /* not owned; NULL: nothing is connected */
	struct irq_line irq;
	const struct dev_env *env;
	struct bus_range ports;
};

/* @port: 3f8h, 2f8h, ...; @irq: copied; @back: stays the caller's, which closes it
 * after uart16550_fini(). */
int must_check uart16550_init(struct uart16550 *u, const struct dev_env *env, uint16_t port,
			      const struct irq_line *irq, struct chardev *back, struct err *err);
void uart16550_fini(struct uart16550 *u);

extern const struct state_desc uart16550_state;
extern const struct dev_desc uart16550_desc;

#endif
