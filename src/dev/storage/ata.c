/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ATA disks and ATAPI devices have in common. */
#include "src/dev/storage/ata.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"

int ata_dev_attach(struct ata_dev *d, const struct dev_plug *plug, struct err *err)
{
	struct ata_bus *b = plug->parent;

	if (plug->slot >= b->slots)
		return err_set(err, -EINVAL, "%s: there is no place %u", d->name, plug->slot);
	if (b->dev[plug->slot])
		return err_set(err, -EBUSY, "%s: place %u is taken", d->name, plug->slot);
	d->bus = b;
	d->slot = plug->slot;
	b->dev[plug->slot] = d;
	if (b->plugged)
		b->plugged(b, d->slot, true);
	return 0;
}

void ata_dev_detach(struct ata_dev *d)
{
	if (!d->bus || d->bus->dev[d->slot] != d)
		return;
	if (d->bus->plugged)
		d->bus->plugged(d->bus, d->slot, false);
	d->bus->dev[d->slot] = NULL;
}

/* SeaBIOS and OVMF count channels and units: a SATA port is a channel of one. */
int ata_fw_name(const struct ata_dev *d, char *buf, size_t len)
{
	unsigned channel = d->bus->sata ? d->slot : d->slot / 2;
	unsigned unit = d->bus->sata ? 0 : d->slot % 2;

	return snprintf(buf, len, "drive@%x/disk@%x", channel, unit) < (int)len ? 0 : -ENOSPC;
}

void ata_signature(const struct ata_dev *d, struct ata_tf *tf)
{
	bool packet = ata_is_packet(d);

	*tf = (struct ata_tf){
		.count = { 1 }, .lba = { 1, packet ? 0x14 : 0, packet ? 0xeb : 0 }, .error = 1,
		.status = packet ? 0 : ATA_ST_DRDY | ATA_ST_DSC,
	};
}

void ata_start(struct ata_dev *d, struct ata_cmd *c)
{
	struct xfer_buf *buf = c->x.buf;
	void (*ready)(struct xfer *) = c->x.ready;

	c->x = (struct xfer){ .ready = ready, .buf = buf, .phase = XFER_BUSY, .block = 1 };
	c->dev = d;
	c->proto = ATA_PROTO_NODATA;
	c->queued = c->fua = c->in_packet = false;
	c->tag = 0;
	c->drq_len = ATA_SECTOR;
	c->step = 0;
	d->ops->start(d, c);
}

void ata_packet(struct ata_dev *d, struct ata_cmd *c)
{
	c->x.phase = XFER_BUSY;
	c->in_packet = true;
	d->ops->packet(d, c);
}

void ata_ok(struct ata_cmd *c)
{
	c->tf.status = ATA_ST_DRDY | ATA_ST_DSC;
	c->tf.error = 0;
	xfer_end(&c->x);
}

void ata_fail(struct ata_cmd *c, uint8_t error)
{
	c->tf.status = ATA_ST_DRDY | ATA_ST_DSC | ATA_ST_ERR;
	c->tf.error = error;
	xfer_end(&c->x);
}

static void reply_move(struct xfer *x, uint32_t len)
{
	x->moved += len;
	x->phase = XFER_DATA;
}

static void reply_finish(struct xfer *x)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);

	c->tf.status = ATA_ST_DRDY | ATA_ST_DSC;
	c->tf.error = 0;
	if (c->in_packet) /* a packet's reply after a restore */
		c->tf.count[0] = 3;
}

uint8_t *ata_reply(struct ata_cmd *c, enum ata_proto proto, uint32_t len)
{
	static const struct xfer_ops ops = { reply_move, reply_finish };

	if (!xfer_reserve(&c->x, ATA_BLOCK_MAX)) {
		ata_fail(c, ATA_ER_ABRT);
		return NULL;
	}
	c->proto = proto;
	c->x.ops = &ops;
	c->x.dir = XFER_IN;
	c->x.len = c->x.block = len;
	c->x.phase = XFER_DATA;
	memset(c->x.buf->data, 0, len);
	return c->x.buf->data;
}

void ata_string(uint8_t *words, unsigned first, unsigned count, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	for (unsigned n = 0; n < count * 2; n++)
		words[first * 2 + (n ^ 1)] = (uint8_t)(n < len ? text[n] : ' ');
}

/* A cable of 80 wires, numbers by jumper. Device 0 saw device 1 pass its diagnostics, or
 * answers for one that is not there. */
uint16_t ata_reset_result(const struct ata_dev *d)
{
	if (d->slot & 1)
		return 0x6b00;
	return d->bus->dev[d->slot + 1] ? 0x603b : 0x604b;
}

void ata_identify_end(uint8_t *words)
{
	uint8_t sum = 0xa5;

	words[510] = 0xa5;
	for (unsigned n = 0; n < 510; n++)
		sum = (uint8_t)(sum + words[n]);
	words[511] = (uint8_t)-sum;
}

static const struct state_field tf_fields[] = {
	STATE_U8(struct ata_tf, command, 1),
	STATE_U8(struct ata_tf, device, 1),
	STATE_ARRAY(struct ata_tf, feature, 1),
	STATE_ARRAY(struct ata_tf, count, 1),
	STATE_ARRAY(struct ata_tf, lba, 1),
	STATE_U8(struct ata_tf, status, 1),
	STATE_U8(struct ata_tf, error, 1),
	STATE_END
};

const struct state_desc ata_tf_state = { .name = "ata-tf", .version = 1, .fields = tf_fields };
