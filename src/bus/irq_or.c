/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/bus/irq_or.h"

#include <assert.h>

static void input_set(void *opaque, int n, int level)
{
	struct irq_or *o = opaque;

	if (level)
		o->levels |= 1ull << n;
	else
		o->levels &= ~(1ull << n);
	irq_set(&o->out, o->levels != 0);
}

void irq_or_init(struct irq_or *o, const struct irq_line *out)
{
	*o = (struct irq_or){ .out = *out };
}

struct irq_line irq_or_input(struct irq_or *o, unsigned n)
{
	assert(n < IRQ_OR_INPUTS);
	return (struct irq_line){ .set = input_set, .opaque = o, .n = (int)n };
}
