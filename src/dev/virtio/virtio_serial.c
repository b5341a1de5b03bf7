/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial: a controller of consoles and named ports. Queues (5.3.2): port 0 in and
 * out, control in and out, then two for each further port.
 */
#include "src/dev/virtio/virtio_serial.h"

#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"

#define F_MULTIPORT VIRTIO_BIT(1)
#define CFG_MAX_PORTS 4u
#define CFG_LEN 12u
#define CONTROL_IN 2u
#define CONTROL_OUT 3u
#define MESSAGE_LEN 8u
#define NAME_MAX_LEN 128u
#define QUEUE_SIZE 128u

static struct virtio_serial *serial_of(struct virtio_dev *v)
{
	return container_of(v, struct virtio_serial, v);
}

bool virtio_serial_multiport(const struct virtio_serial *s)
{
	return virtio_has(&s->v, F_MULTIPORT);
}

static unsigned first_queue(unsigned port)
{
	return port ? 2 + port * 2 : 0;
}

struct virtq *virtio_serial_rx(struct virtio_port *p)
{
	return &p->s->v.vq[first_queue(p->slot)];
}

struct virtq *virtio_serial_tx(struct virtio_port *p)
{
	return &p->s->v.vq[first_queue(p->slot) + 1];
}

/*
 * Control messages to the guest: they wait for its buffers.
 */
static void flush(struct virtio_serial *s)
{
	struct virtq *q = &s->v.vq[CONTROL_IN];
	bool some = false;

	while (s->count) {
		const struct serial_message *m = &s->out[s->first];
		const char *name = m->port < SERIAL_PORTS_MAX && s->port[m->port]
			? s->port[m->port]->name : NULL;
		uint8_t raw[MESSAGE_LEN + NAME_MAX_LEN] = { 0 };
		size_t len = MESSAGE_LEN;
		struct virtq_elem *e = virtq_pop_or_listen(q, sizeof(*e));

		if (!e)
			break;
		st_le32(raw, m->port);
		st_le16(raw + 4, m->event);
		st_le16(raw + 6, m->value);
		if (m->event == SERIAL_PORT_NAME && name) {
			size_t n = min_of(strlen(name), (size_t)NAME_MAX_LEN - 1);

			memcpy(raw + MESSAGE_LEN, name, n);
			len += n + 1;
		}
		s->first = (s->first + 1) % SERIAL_MESSAGES_MAX;
		s->count--;
		virtq_push(e, (uint32_t)iov_from_buf(e->in, e->in_num, 0, raw, len));
		some = true;
	}
	if (some)
		virtq_interrupt(q);
}

void virtio_serial_send(struct virtio_serial *s, unsigned port, uint16_t event, uint16_t value)
{
	if (!virtio_running(&s->v) || !virtio_serial_multiport(s))
		return;
	if (s->count == SERIAL_MESSAGES_MAX) {
		log_guest(s->v.env->log, &s->v.limit, "virtio-serial: the driver gives no room for "
			  "control messages; one is lost");
		return;
	}
	s->out[(s->first + s->count++) % SERIAL_MESSAGES_MAX] =
		(struct serial_message){ port, event, value };
	flush(s);
}

/*
 * Control messages from the guest.
 */
static void announce(struct virtio_serial *s, unsigned port)
{
	virtio_serial_send(s, port, SERIAL_DEVICE_ADD, 1);
}

static void port_ready(struct virtio_serial *s, struct virtio_port *p, bool ok)
{
	if (!ok) {
		log_guest(s->v.env->log, &s->v.limit, "virtio-serial: the driver cannot add port %u",
			  p->slot);
		return;
	}
	p->ready = true;
	if (p->console)
		virtio_serial_send(s, p->slot, SERIAL_CONSOLE_PORT, 1);
	if (p->name)
		virtio_serial_send(s, p->slot, SERIAL_PORT_NAME, 1);
	virtio_serial_send(s, p->slot, SERIAL_PORT_OPEN, 1);
}

static void control(struct virtio_serial *s, uint32_t n, uint16_t event, uint16_t value)
{
	struct virtio_port *p = n < SERIAL_PORTS_MAX ? s->port[n] : NULL;

	if (event == SERIAL_DEVICE_READY) {
		for (unsigned i = 0; value && i < SERIAL_PORTS_MAX; i++)
			if (s->port[i])
				announce(s, i);
		return;
	}
	if (!p)
		return;
	if (event == SERIAL_PORT_READY) {
		port_ready(s, p, value);
	} else if (event == SERIAL_PORT_OPEN) {
		p->guest_open = value;
		if (value)
			virtio_port_room(p);
	}
}

static void handle_control(void *req)
{
	struct virtq_elem *e = req;
	struct virtio_serial *s = serial_of(e->q->dev);
	uint8_t raw[MESSAGE_LEN];

	/* Too short ones say nothing. */
	if (iov_to_buf(e->out, e->out_num, 0, raw, sizeof(raw)) == sizeof(raw))
		control(s, ld_le32(raw), ld_le16(raw + 4), ld_le16(raw + 6));
	virtq_push(e, 0);
	virtq_interrupt(&s->v.vq[CONTROL_OUT]);
}

static void notify(struct virtio_dev *v, struct virtq *q)
{
	struct virtio_serial *s = serial_of(v);
	unsigned n = q->index < 2 ? 0 : q->index / 2 - 1;
	struct virtio_port *p;

	if (q->index == CONTROL_IN) {
		flush(s);
		return;
	}
	if (q->index == CONTROL_OUT) {
		virtq_serve(q, sizeof(struct virtq_elem), handle_control);
		return;
	}
	p = n < SERIAL_PORTS_MAX ? s->port[n] : NULL;
	if (!p)
		return;
	if (q->index & 1)
		virtio_port_transmit(p);
	else
		virtio_port_room(p);
}

/*
 * Life.
 */
static void device_reset(struct virtio_dev *v)
{
	struct virtio_serial *s = serial_of(v);

	s->first = s->count = 0;
	for (unsigned n = 0; n < SERIAL_PORTS_MAX; n++) {
		if (!s->port[n])
			continue;
		s->port[n]->ready = s->port[n]->guest_open = s->port[n]->blocked = false;
		s->port[n]->sent = 0;
	}
	st_le32(v->config + CFG_MAX_PORTS, s->max_ports);
}

static void queue_reset(struct virtio_dev *v, struct virtq *q)
{
	unsigned n = q->index < 2 ? 0 : q->index / 2 - 1;
	struct virtio_port *p = n < SERIAL_PORTS_MAX && q->index != CONTROL_OUT
		? serial_of(v)->port[n] : NULL;

	if (p && q->index & 1) {
		p->sent = 0;
		p->blocked = false;
	}
}

static void status(struct virtio_dev *v, uint8_t old)
{
	struct virtio_serial *s = serial_of(v);

	/* Without the control queue there is port 0, and it is open. */
	if (v->status & ~old & VIRTIO_STATUS_DRIVER_OK && s->port[0])
		virtio_port_room(s->port[0]);
}

static const struct virtio_ops ops = {
	.notify = notify, .reset = device_reset, .queue_reset = queue_reset, .status = status,
};

int virtio_serial_attach(struct virtio_port *p, const struct dev_plug *plug, struct err *err)
{
	struct virtio_serial *s = plug->parent;

	if (!s || plug->slot >= s->max_ports)
		return err_set(err, -EINVAL, "a port needs a virtio-serial controller with room: its "
			       "max_ports is %u", s ? s->max_ports : 0);
	if (s->port[plug->slot])
		return err_set(err, -EBUSY, "virtio-serial: port %u is taken", plug->slot);
	if (p->name && strlen(p->name) >= NAME_MAX_LEN)
		return err_set(err, -EINVAL, "a port's name has at most %u characters",
			       NAME_MAX_LEN - 1);
	p->s = s;
	p->slot = plug->slot;
	s->port[p->slot] = p;
	announce(s, p->slot);
	return 0;
}

void virtio_serial_detach(struct virtio_port *p)
{
	if (!p->s)
		return;
	virtio_serial_send(p->s, p->slot, SERIAL_DEVICE_REMOVE, 1);
	p->s->port[p->slot] = NULL;
}

static void reset(void *dev)
{
	virtio_pci_reset(&((struct virtio_serial *)dev)->pci);
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct virtio_serial *s = dev;
	int ret;

	virtio_init(&s->v, &ops, VIRTIO_ID_CONSOLE, "virtio-serial", plug->env, F_MULTIPORT, CFG_LEN);
	for (unsigned n = 0; n < 2 + s->max_ports * 2; n++)
		virtio_queue_add(&s->v, QUEUE_SIZE);
	ret = virtio_pci_init(&s->pci, &s->v, plug, 0x078000, err);
	if (ret < 0)
		virtio_fini(&s->v);
	return ret;
}

static void fini(void *dev)
{
	struct virtio_serial *s = dev;

	virtio_pci_fini(&s->pci);
	virtio_fini(&s->v);
}

static int loaded(void *obj, unsigned version, struct err *err)
{
	struct virtio_serial *s = obj;

	if (s->first >= SERIAL_MESSAGES_MAX || s->count > SERIAL_MESSAGES_MAX)
		return err_set(err, -EINVAL, "virtio-serial: impossible message queue");
	return 0;
}

static const struct state_field message_fields[] = {
	STATE_U32(struct serial_message, port, 1),
	STATE_U16(struct serial_message, event, 1),
	STATE_U16(struct serial_message, value, 1),
	STATE_END
};

static const struct state_desc message_state = {
	.name = "serial-message", .version = 1, .fields = message_fields,
};

static const struct state_field fields[] = {
	STATE_STRUCT(struct virtio_serial, v, 1, &virtio_dev_state),
	STATE_STRUCT(struct virtio_serial, pci, 1, &virtio_pci_state),
	STATE_STRUCT_ARRAY(struct virtio_serial, out, 1, &message_state),
	STATE_U32(struct virtio_serial, first, 1),
	STATE_U32(struct virtio_serial, count, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "virtio-serial", .version = 1, .fields = fields, .post_load = loaded,
};

static const struct dev_prop props[] = {
	{ "max_ports", DEV_PROP_UINT, offsetof(struct virtio_serial, max_ports), "31", false, 1,
	  SERIAL_PORTS_MAX, NULL, "ports that it has room for" },
	VIRTIO_PCI_PROPS(struct virtio_serial, pci),
	DEV_PROP_END
};

const struct dev_desc virtio_serial_desc = {
	.name = "virtio-serial",
	.aliases = "virtio-serial-pci|virtio-serial-pci-transitional",
	.title = "virtio controller of consoles and named ports",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct virtio_serial),
	.bus = DEV_BUS_PCI,
	.provides = DEV_BUS_VIRTIO_SERIAL,
	.slots = SERIAL_PORTS_MAX,
	.props = props,
	.init = init,
	.fini = fini,
};
