/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The debug exit port: a guest made for tests ends the machine by writing a number to
 * it; the program's exit code is twice that number plus one. Only there when asked for.
 */
#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/dev.h"

struct debug_exit {
	uint32_t iobase, iosize;
	const struct dev_env *env;
	struct bus_range ports;
};

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

static void ports_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct debug_exit *d = dev;

	if (d->env->end)
		d->env->end(d->env->power_opaque, (int)((val << 1 | 1) & 0xff));
}

static const struct bus_ops ports_ops = { ports_read, ports_write, 1, 4, false };

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct debug_exit *d = dev;
	int ret;

	d->env = plug->env;
	d->ports = (struct bus_range){ d->iobase, d->iosize, &ports_ops, d, "isa-debug-exit" };
	ret = bus_add_pio(d->env->bus, &d->ports);
	return ret < 0 ? err_set(err, ret, "isa-debug-exit: ports %#x to %#x cannot be had",
				 d->iobase, d->iobase + d->iosize - 1) : 0;
}

static void fini(void *dev)
{
	struct debug_exit *d = dev;

	bus_del_pio(d->env->bus, &d->ports);
}

static const struct dev_prop props[] = {
	{ .name = "iobase", .type = DEV_PROP_UINT, .offset = offsetof(struct debug_exit, iobase),
	  .def = "0x501", .min = 1, .max = 0xffff, .help = "the first port" },
	{ .name = "iosize", .type = DEV_PROP_UINT, .offset = offsetof(struct debug_exit, iosize),
	  .def = "2", .min = 1, .max = 8, .help = "how many ports" },
	DEV_PROP_END
};

/* Nothing to keep and nothing to reset. */
const struct dev_desc debug_exit_desc = {
	.name = "isa-debug-exit",
	.title = "port that ends the machine with an exit code",
	.size = sizeof(struct debug_exit),
	.bus = DEV_BUS_ISA,
	.props = props,
	.init = init,
	.fini = fini,
};
