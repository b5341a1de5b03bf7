/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A port of a virtio serial controller: a console, or a named channel. */
#include <errno.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/virtio/virtio_serial.h"

static bool usable(const struct virtio_port *p)
{
	const struct virtio_serial *s = p->s;

	return virtio_running(&s->v) && (!virtio_serial_multiport(s) || p->ready);
}

/*
 * From the guest.
 */

/* How many bytes of @e from @off on went out. */
static size_t give(struct virtio_port *p, const struct virtq_elem *e, size_t off)
{
	struct iovec part[32];
	unsigned n = iov_slice(e->out, e->out_num, off, e->out_len - off, part, array_size(part));
	size_t done = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t took = chardev_write(p->chardev, part[i].iov_base, part[i].iov_len);

		done += took;
		if (took < part[i].iov_len)
			break;
	}
	return done;
}

void virtio_port_transmit(struct virtio_port *p)
{
	struct virtq *q = virtio_serial_tx(p);
	unsigned budget = q->size;
	struct virtq_elem *e;
	bool some = false;

	if (!usable(p))
		return;
	p->blocked = false;
	while (budget && !p->blocked && (e = virtq_pop_or_listen(q, sizeof(*e)))) {
		size_t done = p->sent, n;

		while (done < e->out_len && (n = give(p, e, done)) > 0)
			done += n;
		p->blocked = done < e->out_len;
		if (p->blocked) { /* the rest of it, once there is room */
			p->sent = (uint32_t)done;
			virtq_unpop(&e, 1);
			break;
		}
		p->sent = 0;
		virtq_push(e, 0);
		some = true;
		budget--;
	}
	if (some)
		virtq_interrupt(q);
	if (!budget)
		virtq_again(q);
}

static void writable(void *opaque)
{
	struct virtio_port *p = opaque;

	if (p->blocked)
		virtio_port_transmit(p);
}

/*
 * To the guest.
 */
static size_t can_receive(void *opaque)
{
	struct virtio_port *p = opaque;
	struct virtq *q = virtio_serial_rx(p);
	struct virtq_elem *e;
	size_t len;

	/* What nobody in the guest reads waits outside. */
	if (!usable(p) || (virtio_serial_multiport(p->s) && !p->guest_open))
		return 0;
	e = virtq_pop_or_listen(q, sizeof(*e));
	if (!e)
		return 0;
	len = e->in_len;
	virtq_unpop(&e, 1);
	return len;
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct virtq *q = virtio_serial_rx(opaque);

	while (len) {
		struct virtq_elem *e = virtq_pop(q, sizeof(*e));
		size_t n = e ? iov_from_buf(e->in, e->in_num, 0, buf, len) : 0;

		if (!e)
			break;
		virtq_push(e, (uint32_t)n);
		if (!n)
			break;
		buf += n;
		len -= n;
	}
	virtq_interrupt(q);
}

static const struct chardev_front front = { can_receive, receive, writable };

void virtio_port_room(struct virtio_port *p)
{
	if (usable(p))
		chardev_accept_input(p->chardev);
}

/*
 * Life.
 */
static void reset(void *dev) {}

static int port_init(struct virtio_port *p, bool console, const struct dev_plug *plug, struct err *err)
{
	int ret;

	p->console = console;
	ret = virtio_serial_attach(p, plug, err);
	if (ret == 0)
		chardev_attach(p->chardev, &front, p);
	return ret;
}

static int serialport_init(void *dev, const struct dev_plug *plug, struct err *err)
{
	return port_init(dev, false, plug, err);
}

static int console_init(void *dev, const struct dev_plug *plug, struct err *err)
{
	return port_init(dev, true, plug, err);
}

static void fini(void *dev)
{
	struct virtio_port *p = dev;

	chardev_attach(p->chardev, NULL, NULL);
	virtio_serial_detach(p);
}

static const struct state_field fields[] = {
	STATE_BOOL(struct virtio_port, ready, 1),
	STATE_BOOL(struct virtio_port, guest_open, 1),
	STATE_BOOL(struct virtio_port, blocked, 1),
	STATE_U32(struct virtio_port, sent, 1),
	STATE_END
};

const struct state_desc virtio_port_state = {
	.name = "virtio-port", .version = 1, .fields = fields,
};

static const struct dev_prop props[] = {
	{ "chardev", DEV_PROP_CHARDEV, offsetof(struct virtio_port, chardev), NULL, false, 0, 0, NULL,
	  "the far end" },
	{ "name", DEV_PROP_TEXT, offsetof(struct virtio_port, name), NULL, false, 0, 0, NULL,
	  "as the guest finds it in /dev/virtio-ports" },
	DEV_PROP_END
};

const struct dev_desc virtserialport_desc = {
	.name = "virtserialport",
	.title = "named port of a virtio serial controller",
	.reset = reset,
	.state = &virtio_port_state,
	.size = sizeof(struct virtio_port),
	.bus = DEV_BUS_VIRTIO_SERIAL,
	.props = props,
	.init = serialport_init,
	.fini = fini,
};

const struct dev_desc virtconsole_desc = {
	.name = "virtconsole",
	.title = "console of a virtio serial controller",
	.reset = reset,
	.state = &virtio_port_state,
	.size = sizeof(struct virtio_port),
	.bus = DEV_BUS_VIRTIO_SERIAL,
	.props = props,
	.init = console_init,
	.fini = fini,
};
