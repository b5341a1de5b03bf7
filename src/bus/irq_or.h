/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A wired OR: several devices pull one interrupt line, which is high while any of
 * them pulls it. Each device gets an input of its own. Under the device lock.
 */
#ifndef BOTHY_BUS_IRQ_OR_H
#define BOTHY_BUS_IRQ_OR_H

#include <stdint.h>

#include "src/bus/bus.h"

#define IRQ_OR_INPUTS 64u

struct irq_or {
	struct irq_line out;
	uint64_t levels; /* bit n: input n is high */
};

/* @out is copied; input lines are low. */
void irq_or_init(struct irq_or *o, const struct irq_line *out);

/* The line that a device pulls as input @n (below IRQ_OR_INPUTS) of @o. */
struct irq_line irq_or_input(struct irq_or *o, unsigned n);

#endif
