/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC: 24 pins, each with a redirection entry. Interrupts go out as
 * messages (bus_msi). Source: Intel 82093AA data sheet (290566); ICH9 data sheet,
 * 13.5 "APIC registers" (version 20h with the EOI register).
 */
#ifndef BOTHY_DEV_LEGACY_IOAPIC_H
#define BOTHY_DEV_LEGACY_IOAPIC_H

#include "src/bus/irqchips.h"
#include "src/dev/dev.h"

#define IOAPIC_PINS IRQCHIPS_PINS
#define IOAPIC_BASE 0xfec00000u

struct ioapic {
	uint64_t entry[IOAPIC_PINS]; /* redirection table as software reads it */
	uint32_t lines;              /* pin levels now */
	uint32_t irr;                /* asserted, not delivered yet */
	uint8_t index;               /* IOREGSEL */
	uint8_t id, first_id;        /* IOAPICID bits 24-27, now and after a reset */
	const struct irqchips_proxy *away; /* who has the chip; NULL: it is here */
	gpa_t base;
	const struct dev_env *env;
	struct bus_range mmio;
};

/* @id: the boot-time APIC ID, 0..15. */
int must_check ioapic_init(struct ioapic *io, const struct dev_env *env, gpa_t base, uint8_t id,
			   struct err *err);
void ioapic_fini(struct ioapic *io);

/* Pin @n below IOAPIC_PINS. */
struct irq_line ioapic_pin(struct ioapic *io, unsigned n);

/* A local APIC's EOI broadcast. Any thread; takes the device lock: for cpus->eoi. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

/* For an engine that has such a chip itself (irqchips.h). Device lock held. */
void ioapic_get(const struct ioapic *io, struct irqchips_ioapic *st);
void ioapic_put(struct ioapic *io, const struct irqchips_ioapic *st);
void ioapic_lend(struct ioapic *io, const struct irqchips_proxy *to);

extern const struct dev_desc ioapic_desc;

#endif
