/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC: 24 pins, each with a redirection entry. Interrupts go out as
 * messages (bus_msi). Source: Intel 82093AA data sheet (290566); ICH9 data sheet,
 * 13.5 "APIC registers" (version 20h with the EOI register).
 */
#ifndef BOTHY_DEV_LEGACY_IOAPIC_H
#define BOTHY_DEV_LEGACY_IOAPIC_H

#include "src/dev/dev.h"

#define IOAPIC_PINS 24u
#define IOAPIC_BASE 0xfec00000u

struct ioapic {
	uint64_t entry[IOAPIC_PINS]; /* redirection table as software reads it */
	uint32_t lines;              /* pin levels now */
	uint32_t irr;                /* asserted, not delivered yet */
	uint8_t index;               /* IOREGSEL */
	uint8_t id;                  /* IOAPICID bits 24-27 */
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

extern const struct dev_desc ioapic_desc;

#endif
