/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board's interrupt lines. Line n below 16 is ISA IRQ n: it goes to input n of
 * the 8259 pair and to pin n of the I/O APIC (IRQ 0 to pin 2, as the MADT's source
 * override says); lines 16..23 go to the I/O APIC alone. Every line is a wired OR.
 */
#ifndef BOTHY_DEV_LEGACY_GSI_H
#define BOTHY_DEV_LEGACY_GSI_H

#include "src/bus/irq_or.h"
#include "src/dev/legacy/i8259.h"
#include "src/dev/legacy/ioapic.h"

#define GSI_LINES IOAPIC_PINS

struct gsi {
	struct irq_or line[GSI_LINES];
	unsigned used[GSI_LINES]; /* inputs handed out */
	struct irq_line pic[16], pin[IOAPIC_PINS];
	struct irq_or pin2; /* lines 0 and 2 meet there */
};

/* Either may be NULL. */
void gsi_init(struct gsi *g, struct i8259_pair *pic, struct ioapic *ioapic);

/* A fresh input of line @n (below GSI_LINES) for one device to pull. Up to
 * IRQ_OR_INPUTS of them a line. */
struct irq_line gsi_line(struct gsi *g, unsigned n);

extern const struct dev_desc gsi_desc; /* lines have state, and nothing to reset */

#endif
