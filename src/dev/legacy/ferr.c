/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/ferr.h"

static void set(struct ferr *f, bool latched)
{
	f->latched = latched;
	irq_set(&f->irq, latched);
}

void ferr_assert(struct ferr *f)
{
	bus_lock(f->env->bus);
	set(f, true);
	bus_unlock(f->env->bus);
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	return 0xff;
}

static void port_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	set(dev, false);
}

static const struct bus_ops ops = { port_read, port_write, 1, 1, false };

static void reset(void *dev)
{
	set(dev, false);
}

int ferr_init(struct ferr *f, const struct dev_env *env, const struct irq_line *irq,
	      struct err *err)
{
	int r;

	*f = (struct ferr){ .env = env, .irq = *irq };
	f->ports = (struct bus_range){ 0xf0, 1, &ops, f, "ferr" };
	r = bus_add_pio(env->bus, &f->ports);
	return r == 0 ? 0 : err_set(err, r, "cannot place port F0h");
}

void ferr_fini(struct ferr *f)
{
	bus_del_pio(f->env->bus, &f->ports);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct ferr *f = obj;

	/* The interrupt controllers restore their own view of the line. */
	f->irq.level = f->latched;
	return 0;
}

static const struct state_field fields[] = {
	STATE_BOOL(struct ferr, latched, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "ferr", .version = 1, .fields = fields, .post_load = post_load,
};

const struct dev_desc ferr_desc = {
	.name = "ferr",
	.title = "x87 error interrupt (IRQ 13, port F0h)",
	.reset = reset,
	.state = &state,
};
