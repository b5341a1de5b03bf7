/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saved state of interrupt lines. A device saves the level it pulls its line to, and
 * whoever is pulled saves what it sees: so that after a restore both ends agree
 * without a word between them, in whatever order devices are restored.
 */
#ifndef BOTHY_DEV_IRQ_STATE_H
#define BOTHY_DEV_IRQ_STATE_H

#include "src/bus/irq_or.h"
#include "src/state/state.h"

extern const struct state_desc irq_line_state; /* struct irq_line */
extern const struct state_desc irq_or_state;   /* struct irq_or */

#define STATE_IRQ(s, f, v) STATE_STRUCT(s, f, v, &irq_line_state)

#endif
