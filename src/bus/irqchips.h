/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PC's 8259 pair and I/O APIC in a form that is neither the board's nor an engine's,
 * and how an engine that has such chips itself (KVM) stands in for the board's. Names
 * are those of the data sheets: Intel 8259A (231468), 82093AA (290566).
 */
#ifndef BOTHY_BUS_IRQCHIPS_H
#define BOTHY_BUS_IRQCHIPS_H

#include <stdbool.h>
#include <stdint.h>

#define IRQCHIPS_INPUTS 16u /* of the 8259 pair; 2 is the cascade */
#define IRQCHIPS_PINS 24u   /* of the I/O APIC */

struct irqchips_pic {
	uint8_t irr, imr, isr;
	uint8_t lines;    /* input levels */
	uint8_t elcr;     /* bit n: input n is level-triggered */
	uint8_t base;     /* ICW2: the vector of input 0 */
	uint8_t icw_next; /* 0: ready; 2, 3, 4: the ICW that is expected next */
	uint8_t lowest;   /* input with the lowest priority */
	bool icw4_wanted, auto_eoi, rotate_on_auto_eoi, fully_nested, special_mask, read_isr, poll;
};

struct irqchips_ioapic {
	uint64_t entry[IRQCHIPS_PINS]; /* redirection table */
	uint32_t irr;                  /* asserted, not delivered yet */
	uint32_t lines;                /* pin levels */
	uint8_t index, id;
};

struct irqchips_state {
	struct irqchips_pic pic[2];
	struct irqchips_ioapic ioapic;
};

/* Who has the chips instead of the board. Called under the device lock. */
struct irqchips_proxy {
	void (*pic_input)(void *opaque, unsigned n, int level);
	void (*ioapic_pin)(void *opaque, unsigned n, int level);
	/* A register of the board's chip is accessed all the same: before, the state comes
	 * back for a moment, and afterwards it goes there again. */
	void (*fetch)(void *opaque);
	void (*done)(void *opaque);
	void *opaque;
};

/* The board's side. Device lock held. */
struct irqchips_board {
	void (*get)(void *opaque, struct irqchips_state *st);
	void (*put)(void *opaque, const struct irqchips_state *st);
	/* The chips are with @p from now on; NULL: they are back, and what is pending goes
	 * out. @p outlives that. */
	void (*lend)(void *opaque, const struct irqchips_proxy *p);
	void *opaque;
};

#endif
