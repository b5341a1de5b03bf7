/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A channel: the registers that two devices share, and how commands and PIO data pass
 * through them. ATA/ATAPI-7 volume 2, chapter 9. */
#include "src/base/bits.h"
#include "src/dev/storage/ide_priv.h"

#define CONTROL_NIEN 0x02u
#define CONTROL_SRST 0x04u
#define CONTROL_HOB 0x80u
#define REASON_COMMAND 0x01u
#define REASON_IN 0x02u
#define NO_DEVICE 0x7f /* what an empty cable reads as: DD7 is pulled down */

struct ata_dev *ide_dev(const struct ide_channel *ch, unsigned unit)
{
	return ch->ide->bus.dev[ch->n * 2 + unit];
}

static unsigned selected(const struct ide_channel *ch)
{
	return ch->select & ATA_DEV_SLAVE ? 1 : 0;
}

/*
 * The interrupt.
 */
static void update_irq(struct ide_channel *ch)
{
	bool level = ch->intrq && !(ch->control & CONTROL_NIEN);

	if (level && !ch->irq.level)
		ch->bm_status |= BM_IRQ;
	irq_set(&ch->irq, level);
}

static void set_intrq(struct ide_channel *ch, bool on)
{
	ch->intrq = on;
	update_irq(ch);
}

void ide_set_status(struct ide_channel *ch, uint8_t status)
{
	ch->tf[ch->unit].status = status;
}

/*
 * The command under way.
 */
void ide_channel_cancel(struct ide_channel *ch)
{
	xfer_cancel(&ch->cmd.x);
	ch->state = IDE_IDLE;
	ch->moving = false;
}

static void end_command(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;
	/* The last word of an ATA command's data is its end; there is no interrupt more. */
	bool silent = c->proto == ATA_PROTO_PIO && c->x.dir == XFER_IN && !c->in_packet &&
		      c->x.moved && !(c->tf.status & ATA_ST_ERR);

	ch->tf[ch->unit] = c->tf;
	ch->state = IDE_IDLE;
	ch->moving = false;
	c->x.phase = XFER_IDLE;
	if (!silent)
		set_intrq(ch, true);
}

/* A block of data is there, or wanted: DRQ. */
static void begin_block(struct ide_channel *ch, uint32_t total)
{
	struct ata_cmd *c = &ch->cmd;
	struct ata_tf *t = &ch->tf[ch->unit];
	bool in = c->x.dir == XFER_IN;
	uint32_t len = min_of(c->drq_len, total - ch->pos);

	ch->state = in ? IDE_PIO_IN : IDE_PIO_OUT;
	ch->block_end = ch->pos + len;
	if (c->in_packet) {
		t->count[0] = in ? REASON_IN : 0;
		t->lba[1] = (uint8_t)len;
		t->lba[2] = (uint8_t)(len >> 8);
	}
	ide_set_status(ch, ATA_ST_DRDY | ATA_ST_DSC | ATA_ST_DRQ);
	/* The first block of a write is announced by DRQ alone. */
	if (in || c->in_packet || !ch->first)
		set_intrq(ch, true);
	ch->first = false;
}

static void busy(struct ide_channel *ch)
{
	ch->state = IDE_BUSY;
	ide_set_status(ch, ATA_ST_DRDY | ATA_ST_BSY);
}

static void data_phase(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;
	struct xfer *x = &c->x;
	uint32_t n;

	if (c->proto == ATA_PROTO_PACKET && !c->in_packet) {
		ch->state = IDE_PACKET;
		ch->pos = 0;
		ch->tf[ch->unit].count[0] = REASON_COMMAND;
		ide_set_status(ch, ATA_ST_DRDY | ATA_ST_DRQ);
		return;
	}
	if (c->proto == ATA_PROTO_DMA) {
		ch->state = IDE_DMA;
		ide_set_status(ch, ATA_ST_DRDY | ATA_ST_DSC | ATA_ST_DRQ);
		ide_dma_run(ch);
		return;
	}
	if (x->dir == XFER_IN && ch->moving) {
		ch->pos = 0;
		begin_block(ch, x->buf_len);
		return;
	}
	n = xfer_next(x, IDE_CHUNK);
	if (!xfer_reserve(x, IDE_CHUNK)) {
		ata_fail(c, ATA_ER_ABRT);
		ide_step(ch);
		return;
	}
	if (x->dir == XFER_OUT) {
		ch->pos = 0;
		x->buf_len = n;
		begin_block(ch, n);
		return;
	}
	ch->moving = true;
	busy(ch);
	xfer_move(x, n);
	ide_step(ch);
}

void ide_step(struct ide_channel *ch)
{
	switch (ch->cmd.x.phase) {
	case XFER_IDLE:
		break;
	case XFER_BUSY:
		busy(ch);
		break;
	case XFER_DATA:
		data_phase(ch);
		break;
	case XFER_END:
		end_command(ch);
		break;
	}
}

static void on_ready(struct xfer *x)
{
	ide_step(container_of(x, struct ide_channel, cmd.x));
}

/* The host has taken the last byte of a block. */
static void block_read(struct ide_channel *ch)
{
	struct xfer *x = &ch->cmd.x;

	if (ch->pos < x->buf_len) {
		begin_block(ch, x->buf_len);
		return;
	}
	ch->moving = false;
	if (x->moved == x->len)
		xfer_finish(x);
	ide_step(ch);
}

/* The host has given the last byte of a block. */
static void block_written(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;
	struct xfer *x = &c->x;

	if (ch->state == IDE_PACKET) {
		busy(ch);
		ata_packet(c->dev, c);
	} else if (ch->pos < x->buf_len) {
		begin_block(ch, x->buf_len);
		return;
	} else {
		busy(ch);
		xfer_move(x, x->buf_len);
	}
	ide_step(ch);
}

/*
 * The data register.
 */
static uint32_t data_read(struct ide_channel *ch, unsigned size)
{
	struct xfer *x = &ch->cmd.x;
	uint32_t v = 0;

	if (ch->state != IDE_PIO_IN || selected(ch) != ch->unit)
		return 0;
	for (unsigned n = 0; n < size && ch->pos < ch->block_end; n++)
		v |= (uint32_t)x->buf->data[ch->pos++] << (8 * n);
	if (ch->pos == ch->block_end)
		block_read(ch);
	return v;
}

static void data_write(struct ide_channel *ch, uint32_t val, unsigned size)
{
	struct ata_cmd *c = &ch->cmd;
	uint8_t *to = ch->state == IDE_PACKET ? c->packet
		: ch->state == IDE_PIO_OUT ? c->x.buf->data : NULL;
	uint32_t end = ch->state == IDE_PACKET ? 12 : ch->block_end;

	if (!to || selected(ch) != ch->unit)
		return;
	for (unsigned n = 0; n < size && ch->pos < end; n++)
		to[ch->pos++] = (uint8_t)(val >> (8 * n));
	if (ch->pos == end)
		block_written(ch);
}

/*
 * Commands and resets.
 */
static void put_signatures(struct ide_channel *ch)
{
	for (unsigned u = 0; u < 2; u++) {
		if (ide_dev(ch, u))
			ata_signature(ide_dev(ch, u), &ch->tf[u]);
		else
			ch->tf[u] = (struct ata_tf){ 0 };
	}
	ch->select = 0;
}

static void reset_devices(struct ide_channel *ch, bool hard)
{
	ide_channel_cancel(ch);
	set_intrq(ch, false);
	for (unsigned u = 0; u < 2; u++)
		if (ide_dev(ch, u))
			ide_dev(ch, u)->ops->reset(ide_dev(ch, u), hard);
	put_signatures(ch);
}

void ide_channel_reset(struct ide_channel *ch)
{
	reset_devices(ch, false);
	ch->control = 0;
	ch->unit = 0;
	ch->first = false;
	ch->bm_command = ch->bm_status = 0;
	ch->bm_table = ch->prd_next = ch->prd_at = ch->prd_left = 0;
	ch->prd_last = false;
}

void ide_channel_plugged(struct ide_channel *ch, unsigned unit)
{
	if (ch->unit == unit)
		ide_channel_cancel(ch);
	if (ide_dev(ch, unit))
		ata_signature(ide_dev(ch, unit), &ch->tf[unit]);
	else
		ch->tf[unit] = (struct ata_tf){ 0 };
}

static void write_command(struct ide_channel *ch, uint8_t command)
{
	unsigned unit = selected(ch);
	struct ata_dev *d = ide_dev(ch, unit);

	if (command == ATA_CMD_DIAGNOSTIC) { /* for both devices, whichever is selected */
		reset_devices(ch, false);
		set_intrq(ch, true);
		return;
	}
	if (!d || ch->control & CONTROL_SRST)
		return;
	if (command == ATA_CMD_DEVICE_RESET && ata_is_packet(d)) {
		if (ch->unit == unit)
			ide_channel_cancel(ch);
		set_intrq(ch, false);
		d->ops->reset(d, false);
		ata_signature(d, &ch->tf[unit]);
		return;
	}
	if (ch->state == IDE_BUSY)
		return; /* 7.? : a busy device sees no command */
	ide_channel_cancel(ch); /* while it waits for data, a new command ends the old */
	set_intrq(ch, false);
	ch->unit = (uint8_t)unit;
	ch->first = true;
	ch->pos = ch->block_end = 0;
	ch->cmd.tf = ch->tf[unit];
	ch->cmd.tf.command = command;
	ch->cmd.tf.device = ch->select;
	ch->cmd.x.ready = on_ready;
	ata_start(d, &ch->cmd);
	ide_step(ch);
}

static void write_control(struct ide_channel *ch, uint8_t val)
{
	bool was = ch->control & CONTROL_SRST;

	ch->control = val;
	update_irq(ch);
	if (val & CONTROL_SRST && !was) {
		ide_channel_cancel(ch);
		set_intrq(ch, false);
		ch->tf[0].status = ch->tf[1].status = ATA_ST_BSY;
	} else if (!(val & CONTROL_SRST) && was) {
		reset_devices(ch, false);
	}
}

/*
 * The registers. A command that was under way when state was saved begins again at the
 * first access, should that come before the timer. Writes go to both devices, and push what stood there back.
 */
static void push(uint8_t *now, uint8_t *previous, uint8_t val)
{
	*previous = *now;
	*now = val;
}

static void write_reg(struct ide_channel *ch, unsigned off, uint8_t val)
{
	ch->control &= (uint8_t)~CONTROL_HOB;
	if (off == 7) {
		write_command(ch, val);
		return;
	}
	if (off == 6) {
		ch->select = val;
		return;
	}
	/* A device that works on a command takes nothing: 6.? "BSY". */
	if (ch->state == IDE_BUSY)
		return;
	for (unsigned u = 0; u < 2; u++) {
		struct ata_tf *t = &ch->tf[u];

		switch (off) {
		case 1: push(&t->feature[0], &t->feature[1], val); break;
		case 2: push(&t->count[0], &t->count[1], val); break;
		case 3: case 4: case 5: push(&t->lba[off - 3], &t->lba[off], val); break;
		}
	}
}

static uint8_t read_reg(struct ide_channel *ch, unsigned off)
{
	unsigned unit = selected(ch), hob = ch->control & CONTROL_HOB ? 1 : 0;
	const struct ata_tf *t = &ch->tf[unit];

	if (!ide_dev(ch, unit)) /* device 0 answers for a device 1 that is not there */
		return ide_dev(ch, unit ^ 1) ? 0 : NO_DEVICE;
	switch (off) {
	case 1: return t->error;
	case 2: return t->count[hob];
	case 3: case 4: case 5: return t->lba[off - 3 + 3 * hob];
	case 6: return ch->select | 0xa0;
	case 7: return t->status;
	}
	return 0;
}

static uint64_t command_read(void *dev, uint64_t off, unsigned size)
{
	struct ide_channel *ch = dev;
	uint32_t v = 0;

	ide_restart(ch);
	if (off == 0)
		return data_read(ch, size < 2 ? 2 : size);
	for (unsigned n = 0; n < size; n++)
		v |= (uint32_t)read_reg(ch, (unsigned)off + n) << (8 * n);
	if (off + size == 8 && ide_dev(ch, selected(ch)))
		set_intrq(ch, false); /* reading the status answers the interrupt */
	return v;
}

static void command_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct ide_channel *ch = dev;

	ide_restart(ch);
	if (off == 0) {
		data_write(ch, (uint32_t)val, size < 2 ? 2 : size);
		return;
	}
	for (unsigned n = 0; n < size; n++)
		write_reg(ch, (unsigned)off + n, (uint8_t)(val >> (8 * n)));
}

const struct bus_ops ide_command_ops = { command_read, command_write, 1, 4, false };

static uint64_t control_read(void *dev, uint64_t off, unsigned size)
{
	ide_restart(dev);
	return read_reg(dev, 7); /* alternate status: the interrupt stays */
}

static void control_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	ide_restart(dev);
	write_control(dev, (uint8_t)val);
}

const struct bus_ops ide_control_ops = { control_read, control_write, 1, 1, false };

/*
 * State: a command under way is saved as what was asked and how far it got.
 */
void ide_pre_save(struct ide_channel *ch)
{
	const struct ata_cmd *c = &ch->cmd;
	bool active = ch->state != IDE_IDLE;

	if (!active || c->x.phase == XFER_IDLE)
		return; /* nothing; or a restart that is still to come, as it was loaded */
	ch->saved_tf = c->tf;
	memcpy(ch->saved_packet, c->packet, sizeof(ch->saved_packet));
	ch->saved_len = c->x.len;
	ch->saved_moved = c->x.moved;
	ch->saved_block = c->x.block;
	ch->saved_buf_len = c->x.buf_len;
	ch->saved_drq_len = c->drq_len;
	ch->saved_dir = (uint8_t)c->x.dir;
	ch->saved_proto = (uint8_t)c->proto;
	ch->saved_in_packet = c->in_packet;
	memset(ch->saved_buf, 0, sizeof(ch->saved_buf));
	if (c->x.buf)
		memcpy(ch->saved_buf, c->x.buf->data, min_of(c->x.buf->cap, sizeof(ch->saved_buf)));
}

/* A reply that is all in the buffer needs nothing of the device any more. */
static bool restart_reply(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;

	if (!ch->moving || ch->saved_dir != XFER_IN || ch->saved_moved != ch->saved_len ||
	    (ch->state != IDE_PIO_IN && ch->state != IDE_DMA) ||
	    !ata_reply(c, (enum ata_proto)ch->saved_proto, ATA_SECTOR))
		return false;
	c->x.len = ch->saved_len;
	c->x.block = ch->saved_block;
	c->in_packet = ch->saved_in_packet;
	return true;
}

/* The device takes the command once more. false: it stands where it needs no data, or is
 * not what it was. */
static bool restart_command(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;
	struct xfer *x = &c->x;

	ata_start(c->dev, c);
	if (x->phase == XFER_DATA && ch->saved_in_packet) {
		c->again = true;
		ata_packet(c->dev, c);
		c->again = false;
	}
	if (x->phase != XFER_DATA || ch->state == IDE_PACKET) {
		if (x->phase != XFER_DATA || c->proto != ATA_PROTO_PACKET)
			ide_step(ch);
		return false;
	}
	if (x->dir == (enum xfer_dir)ch->saved_dir && c->proto == (enum ata_proto)ch->saved_proto &&
	    ch->saved_moved <= x->len)
		return true;
	ata_fail(c, ATA_ER_ABRT);
	ide_step(ch);
	return false;
}

static bool restart_data(struct ide_channel *ch)
{
	struct xfer *x = &ch->cmd.x;

	if (!xfer_reserve(x, IDE_CHUNK))
		return false;
	x->moved = ch->saved_moved;
	x->buf_len = ch->saved_buf_len;
	ch->cmd.drq_len = ch->saved_drq_len;
	memcpy(x->buf->data, ch->saved_buf, sizeof(ch->saved_buf));
	/* What is written must be what the command asks for next. */
	return x->dir == XFER_IN || (ch->state == IDE_DMA && !ch->moving) ||
	       x->buf_len == xfer_next(x, IDE_CHUNK);
}

void ide_restart(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;
	struct xfer *x = &c->x;

	if (ch->state == IDE_IDLE || x->phase != XFER_IDLE)
		return;
	c->dev = ide_dev(ch, ch->unit);
	if (!c->dev) {
		ch->state = IDE_IDLE;
		return;
	}
	c->tf = ch->saved_tf;
	memcpy(c->packet, ch->saved_packet, sizeof(c->packet));
	x->ready = on_ready;
	if (!restart_reply(ch) && !restart_command(ch))
		return;
	if (!restart_data(ch)) {
		ata_fail(c, ATA_ER_ABRT);
		ide_step(ch);
	} else if (ch->state == IDE_BUSY) { /* a move was under way: once more */
		ch->moving = x->dir == XFER_IN;
		xfer_move(x, xfer_next(x, IDE_CHUNK));
		ide_step(ch);
	} else if (ch->state == IDE_DMA) {
		ide_dma_run(ch);
	}
}
