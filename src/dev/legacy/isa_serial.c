/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/isa_serial.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/legacy/gsi.h"

/* Where a PC has them; COM1 is the board's own. */
static const struct {
	uint16_t port;
	uint8_t irq;
} places[] = { [2] = { 0x2f8, 3 }, [3] = { 0x3e8, 4 }, [4] = { 0x2e8, 3 } };

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct isa_serial *s = dev;
	struct irq_line irq = gsi_line(plug->gsi, places[s->port].irq);
	const char *owner = bus_pio_owner(plug->env->bus, places[s->port].port, 8);
	int ret;

	if (owner)
		return err_set(err, -EINVAL, "isa-serial: COM%u's ports belong to a %s already; give "
			       "this one another port=", s->port, owner);
	ret = uart16550_init(&s->uart, plug->env, places[s->port].port, &irq, s->back, err);

	return ret < 0 ? err_prefix(err, ret, "isa-serial: COM%u", s->port) : 0;
}

static void fini(void *dev)
{
	struct isa_serial *s = dev;

	uart16550_fini(&s->uart);
}

static void reset(void *dev)
{
	struct isa_serial *s = dev;

	uart16550_desc.reset(&s->uart);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct isa_serial, uart, 1, &uart16550_state),
	STATE_END
};

static const struct state_desc state = {
	.name = "isa-serial", .version = 1, .fields = fields,
};

static const struct dev_prop props[] = {
	{ .name = "chardev", .type = DEV_PROP_CHARDEV, .offset = offsetof(struct isa_serial, back),
	  .help = "what is connected; nothing if not given" },
	{ .name = "port", .type = DEV_PROP_UINT, .offset = offsetof(struct isa_serial, port),
	  .def = "2", .min = 2, .max = 4, .help = "which COM port" },
	DEV_PROP_END
};

const struct dev_desc isa_serial_desc = {
	.name = "isa-serial",
	.title = "16550A serial port (COM2 to COM4)",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct isa_serial),
	.bus = DEV_BUS_ISA,
	.props = props,
	.init = init,
	.fini = fini,
};
