/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/irq_state.h"

static int line_post_load(void *obj, unsigned version, struct err *err)
{
	struct irq_line *l = obj;

	l->level = l->level != 0;
	return 0;
}

static const struct state_field line_fields[] = {
	STATE_U32(struct irq_line, level, 1),
	STATE_END
};

const struct state_desc irq_line_state = {
	.name = "irq-line", .version = 1, .fields = line_fields, .post_load = line_post_load,
};

static const struct state_field or_fields[] = {
	STATE_IRQ(struct irq_or, out, 1),
	STATE_U64(struct irq_or, levels, 1),
	STATE_END
};

const struct state_desc irq_or_state = {
	.name = "irq-or", .version = 1, .fields = or_fields,
};
