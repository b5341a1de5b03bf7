/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The debug port: what firmware writes there byte by byte goes to a byte stream. SeaBIOS
 * and OVMF write their logs to 402h; a read tells them that somebody listens. The port
 * Bochs had first (e9h) is a property away.
 */
#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/chardev.h"
#include "src/dev/dev.h"

#define PRESENT 0xe9u /* what a read returns */

struct debugcon {
	uint32_t iobase;
	struct chardev *back;
	const struct dev_env *env;
	struct bus_range port;
};

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	return PRESENT;
}

static void port_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct debugcon *d = dev;
	uint8_t byte = (uint8_t)val;

	/* There is no way to hold the guest back; a reader that is slow loses bytes. */
	chardev_write(d->back, &byte, 1);
}

static const struct bus_ops port_ops = { port_read, port_write, 1, 1, false };

static size_t can_receive(void *opaque) { return 0; }
static void receive(void *opaque, const uint8_t *buf, size_t len) {}
static void writable(void *opaque) {}
static const struct chardev_front front = { can_receive, receive, writable };

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct debugcon *d = dev;
	int ret;

	d->env = plug->env;
	/* POST codes go to a port (80h) that the DMA controller has, too. */
	d->port = (struct bus_range){ d->iobase, 1, &port_ops, d, "debugcon", .priority = 1 };
	ret = bus_add_pio(d->env->bus, &d->port);
	if (ret < 0)
		return err_set(err, ret, "debugcon: port %#x cannot be had", d->iobase);
	chardev_attach(d->back, &front, d);
	return 0;
}

static void fini(void *dev)
{
	struct debugcon *d = dev;

	chardev_attach(d->back, NULL, NULL);
	bus_del_pio(d->env->bus, &d->port);
}

static const struct dev_prop props[] = {
	{ .name = "chardev", .type = DEV_PROP_CHARDEV, .offset = offsetof(struct debugcon, back),
	  .required = true, .help = "where the bytes go" },
	{ .name = "iobase", .type = DEV_PROP_UINT, .offset = offsetof(struct debugcon, iobase),
	  .def = "0x402", .min = 1, .max = 0xffff, .help = "the port; 0x80 for POST codes" },
	DEV_PROP_END
};

/* Nothing to keep and nothing to reset. */
const struct dev_desc debugcon_desc = {
	.name = "debugcon",
	.aliases = "isa-debugcon",
	.title = "debug port that firmware writes its log to",
	.size = sizeof(struct debugcon),
	.bus = DEV_BUS_ISA,
	.props = props,
	.init = init,
	.fini = fini,
};
