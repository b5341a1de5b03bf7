/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC's way of x87 errors: FERR# latches IRQ 13, a write to port F0h lets go
 * of it. Source: ICH9 data sheet, 5.12 "Numeric error (FERR#)", port F0h.
 */
#ifndef BOTHY_DEV_LEGACY_FERR_H
#define BOTHY_DEV_LEGACY_FERR_H

#include "src/dev/dev.h"

struct ferr {
	bool latched;
	struct irq_line irq; /* IRQ 13 */
	const struct dev_env *env;
	struct bus_range ports;
};

/* @irq: the line, copied. */
int must_check ferr_init(struct ferr *f, const struct dev_env *env, const struct irq_line *irq,
			 struct err *err);
void ferr_fini(struct ferr *f);

/* A processor met an unmasked x87 exception with CR0.NE clear. Any thread. */
void ferr_assert(struct ferr *f);

extern const struct dev_desc ferr_desc;

#endif
