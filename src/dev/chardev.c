/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/chardev.h"

void chardev_attach(struct chardev *c, const struct chardev_front *front, void *opaque)
{
	if (!c)
		return;
	c->front = front;
	c->front_opaque = opaque;
	chardev_accept_input(c);
}

size_t chardev_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	return c ? c->ops->write(c, buf, len) : len;
}

void chardev_accept_input(struct chardev *c)
{
	if (c && c->ops->accept_input)
		c->ops->accept_input(c);
}

void chardev_close(struct chardev *c)
{
	if (c)
		c->ops->close(c);
}

size_t chardev_can_receive(struct chardev *c)
{
	return c->front ? c->front->can_receive(c->front_opaque) : 0;
}

void chardev_receive(struct chardev *c, const uint8_t *buf, size_t len)
{
	if (c->front && len)
		c->front->receive(c->front_opaque, buf, len);
}

void chardev_writable(struct chardev *c)
{
	if (c->front)
		c->front->writable(c->front_opaque);
}
