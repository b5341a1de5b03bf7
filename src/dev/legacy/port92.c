/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/port92.h"

#include <errno.h>

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	struct port92 *p = dev;

	return p->reset_bit | p->a20->open << 1;
}

static void port_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct port92 *p = dev;
	bool rises = (val & 1) && !p->reset_bit;

	p->reset_bit = val & 1;
	a20_set(p->a20, val & 2);
	if (rises && p->env->reset)
		p->env->reset(p->env->power_opaque);
}

static const struct bus_ops ops = { port_read, port_write, 1, 1, false };

static void reset(void *dev)
{
	struct port92 *p = dev;

	p->reset_bit = false;
	a20_set(p->a20, true);
}

int port92_init(struct port92 *p, const struct dev_env *env, struct a20_gate *a20,
		struct err *err)
{
	int r;

	*p = (struct port92){ .env = env, .a20 = a20 };
	reset(p);
	p->ports = (struct bus_range){ 0x92, 1, &ops, p, "port92" };
	r = bus_add_pio(env->bus, &p->ports);
	if (r != 0)
		return err_set(err, r, "cannot place port 92h");
	return 0;
}

void port92_fini(struct port92 *p)
{
	bus_del_pio(p->env->bus, &p->ports);
}

static void pre_save(void *obj)
{
	struct port92 *p = obj;

	p->a20_open = p->a20->open;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct port92 *p = obj;

	a20_set(p->a20, p->a20_open);
	return 0;
}

static const struct state_field fields[] = {
	STATE_BOOL(struct port92, reset_bit, 1),
	STATE_BOOL(struct port92, a20_open, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "port92", .version = 1, .fields = fields,
	.pre_save = pre_save, .post_load = post_load,
};

const struct dev_desc port92_desc = {
	.name = "port92",
	.title = "system control port A",
	.reset = reset,
	.state = &state,
};
