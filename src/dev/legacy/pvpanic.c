/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/pvpanic.h"

#include <string.h>

/* What the guest may tell: only that it panicked, not that it loaded a crash kernel. */
static uint64_t pvpanic_read(void *dev, uint64_t off, unsigned size)
{
	return PVPANIC_PANICKED;
}

static void pvpanic_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct pvpanic *p = dev;

	if (val & PVPANIC_PANICKED && p->panicked)
		p->panicked(p->opaque);
}

static const struct bus_ops ops = {
	.read = pvpanic_read,
	.write = pvpanic_write,
	.min_size = 1,
	.max_size = 1,
};

int pvpanic_init(struct pvpanic *p, const struct dev_env *env, void (*panicked)(void *opaque),
		 void *opaque, struct err *err)
{
	int ret;

	memset(p, 0, sizeof(*p));
	p->env = env;
	p->panicked = panicked;
	p->opaque = opaque;
	p->port = (struct bus_range){ .start = PVPANIC_PORT, .len = 1, .ops = &ops, .dev = p,
				      .name = "pvpanic" };
	ret = bus_add_pio(env->bus, &p->port);
	return ret < 0 ? err_set(err, ret, "out of memory for the panic port") : 0;
}

void pvpanic_fini(struct pvpanic *p)
{
	if (p->env)
		bus_del_pio(p->env->bus, &p->port);
}

/* Nothing to keep and nothing to reset. */
const struct dev_desc pvpanic_desc = {
	.name = "pvpanic",
	.title = "panic notification port",
};
