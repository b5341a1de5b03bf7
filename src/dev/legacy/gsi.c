/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/gsi.h"

#include <assert.h>

#include "src/dev/irq_state.h"

static void line_set(void *opaque, int n, int level)
{
	struct gsi *g = opaque;

	if (n < 16)
		irq_set(&g->pic[n], level);
	irq_set(&g->pin[n], level);
}

void gsi_init(struct gsi *g, struct i8259_pair *pic, struct ioapic *ioapic)
{
	*g = (struct gsi){ 0 };
	for (unsigned n = 0; n < GSI_LINES; n++) {
		struct irq_line out = { .set = line_set, .opaque = g, .n = (int)n };

		irq_or_init(&g->line[n], &out);
		if (pic && n < 16 && n != 2) /* input 2 is the cascade */
			g->pic[n] = i8259_input(pic, n);
		if (ioapic && n != 0 && n != 2)
			g->pin[n] = ioapic_pin(ioapic, n);
	}
	if (ioapic) {
		struct irq_line pin2 = ioapic_pin(ioapic, 2);

		irq_or_init(&g->pin2, &pin2);
		g->pin[0] = irq_or_input(&g->pin2, 0);
		g->pin[2] = irq_or_input(&g->pin2, 1);
	}
}

struct irq_line gsi_line(struct gsi *g, unsigned n)
{
	assert(n < GSI_LINES && g->used[n] < IRQ_OR_INPUTS);
	return irq_or_input(&g->line[n], g->used[n]++);
}

static const struct state_field fields[] = {
	STATE_STRUCT_ARRAY(struct gsi, line, 1, &irq_or_state),
	STATE_STRUCT_ARRAY(struct gsi, pic, 1, &irq_line_state),
	STATE_STRUCT_ARRAY(struct gsi, pin, 1, &irq_line_state),
	STATE_STRUCT(struct gsi, pin2, 1, &irq_or_state),
	STATE_END
};

static const struct state_desc state = { .name = "gsi", .version = 1, .fields = fields };

const struct dev_desc gsi_desc = {
	.name = "gsi",
	.title = "interrupt lines of the board",
	.state = &state,
};
