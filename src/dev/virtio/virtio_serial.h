/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Consoles and named ports: virtio 1.2, 5.3. The controller (virtio_serial.c) speaks to the
 * driver; ports (virtio_port.c) are its children, each between two queues and a chardev.
 */
#ifndef BOTHY_DEV_VIRTIO_VIRTIO_SERIAL_H
#define BOTHY_DEV_VIRTIO_VIRTIO_SERIAL_H

#include "src/dev/chardev.h"
#include "src/dev/virtio/virtio_pci.h"

#define SERIAL_PORTS_MAX 31u

struct virtio_serial;

struct virtio_port {
	struct virtio_serial *s;
	unsigned slot;
	/* Properties. */
	struct chardev *chardev;
	const char *name;
	/* Kind. */
	bool console;

	bool ready;       /* the driver knows it */
	bool guest_open;  /* somebody in the guest has it open */
	bool blocked;     /* the far end has no room */
	uint32_t sent;    /* bytes of the buffer at the queue's head that went out already */
};

/* A control message waiting for a buffer of the driver's. */
#define SERIAL_MESSAGES_MAX 256u
struct serial_message {
	uint32_t port;
	uint16_t event, value;
};

struct virtio_serial {
	struct virtio_port *port[SERIAL_PORTS_MAX]; /* must be first; by slot */
	struct virtio_dev v;
	struct virtio_pci pci;
	uint32_t max_ports;
	struct serial_message out[SERIAL_MESSAGES_MAX];
	uint32_t first, count;
};

extern const struct state_desc virtio_port_state;

/* For ports. */
struct virtq *virtio_serial_rx(struct virtio_port *p); /* to the guest */
struct virtq *virtio_serial_tx(struct virtio_port *p);
bool virtio_serial_multiport(const struct virtio_serial *s);
void virtio_serial_send(struct virtio_serial *s, unsigned port, uint16_t event, uint16_t value);
int must_check virtio_serial_attach(struct virtio_port *p, const struct dev_plug *plug, struct err *err);
void virtio_serial_detach(struct virtio_port *p);

/* For the controller. */
void virtio_port_transmit(struct virtio_port *p); /* the guest has written */
void virtio_port_room(struct virtio_port *p);     /* the guest has room */

/* Events (5.3.6.2). */
enum {
	SERIAL_DEVICE_READY,
	SERIAL_DEVICE_ADD,
	SERIAL_DEVICE_REMOVE,
	SERIAL_PORT_READY,
	SERIAL_CONSOLE_PORT,
	SERIAL_RESIZE,
	SERIAL_PORT_OPEN,
	SERIAL_PORT_NAME,
};

#endif
