/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The controller: configuration, bus master, life. Its channels are ide_channel.c's. */
#include "src/dev/storage/piix_ide.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"
#include "src/dev/storage/ide_priv.h"

#define IDETIM 0x40u /* one word a channel */
#define IDETIM_DECODE 0x8000u
#define BM_BAR 4u

static const uint16_t ports[2][2] = { { 0x1f0, 0x3f6 }, { 0x170, 0x376 } };

/*
 * Bus mastering: a PRD table of addresses and lengths of memory.
 */
static void stop(struct ide_channel *ch, bool error)
{
	ch->bm_status &= (uint8_t)~BM_ACTIVE;
	if (error)
		ch->bm_status |= BM_ERROR;
}

/* Moves up to @len bytes between @buf and the memory that the table names next, and
 * returns their number. Less: the table is at its end, or names no memory. */
static uint32_t prd_copy(struct ide_channel *ch, uint8_t *buf, uint32_t len, bool to_memory)
{
	struct mem *mem = ch->ide->env->mem;
	uint32_t done = 0;

	while (done < len) {
		uint32_t n;
		int ret;

		if (!ch->prd_left) {
			uint8_t e[8];

			if (ch->prd_last)
				break;
			if (mem_read(mem, ch->prd_next, e, sizeof(e)) < 0) {
				stop(ch, true);
				break;
			}
			ch->prd_next += 8;
			ch->prd_at = ld_le32(e) & ~1u;
			ch->prd_left = ld_le16(e + 4) & 0xfffeu;
			ch->prd_left = ch->prd_left ? ch->prd_left : 0x10000;
			ch->prd_last = e[7] & 0x80;
		}
		n = min_of(len - done, ch->prd_left);
		ret = to_memory ? mem_write(mem, ch->prd_at, buf + done, n)
				: mem_read(mem, ch->prd_at, buf + done, n);
		if (ret < 0) {
			stop(ch, true);
			break;
		}
		done += n;
		ch->prd_at += n;
		ch->prd_left -= n;
	}
	return done;
}

/* One chunk in; false: no more can be done now. */
static bool dma_in(struct ide_channel *ch)
{
	struct xfer *x = &ch->cmd.x;

	if (ch->moving) {
		ch->pos += prd_copy(ch, x->buf->data + ch->pos, x->buf_len - ch->pos, true);
		if (ch->pos < x->buf_len) {
			stop(ch, false); /* the table is too short: the device is left waiting */
			return false;
		}
		ch->moving = false;
		if (x->moved == x->len) {
			xfer_finish(x);
			return true;
		}
	}
	ch->moving = true;
	ch->pos = 0;
	xfer_move(x, xfer_next(x, IDE_CHUNK));
	return true;
}

static bool dma_out(struct ide_channel *ch)
{
	struct xfer *x = &ch->cmd.x;

	if (!ch->moving) { /* a new chunk to fill */
		ch->moving = true;
		ch->pos = 0;
		x->buf_len = xfer_next(x, IDE_CHUNK);
	}
	ch->pos += prd_copy(ch, x->buf->data + ch->pos, x->buf_len - ch->pos, false);
	if (ch->pos < x->buf_len) {
		stop(ch, false);
		return false;
	}
	ch->moving = false;
	xfer_move(x, x->buf_len);
	return true;
}

void ide_dma_run(struct ide_channel *ch)
{
	struct ata_cmd *c = &ch->cmd;
	bool in = c->x.dir == XFER_IN;

	while (ch->state == IDE_DMA && c->x.phase == XFER_DATA && ch->bm_status & BM_ACTIVE) {
		if (!pci_may_dma(&ch->ide->pci))
			return;
		if (in != !!(ch->bm_command & BM_TO_MEMORY)) {
			log_guest(ch->ide->env->log, &ch->ide->limit,
				  "ide: the bus master was started in the wrong direction");
			stop(ch, true);
			return;
		}
		if (!xfer_reserve(&c->x, IDE_CHUNK)) {
			ata_fail(c, ATA_ER_ABRT);
			break;
		}
		if (!(in ? dma_in(ch) : dma_out(ch)))
			return;
	}
	/* The controller is done when the table is. */
	if (c->x.phase == XFER_END && ch->prd_last && !ch->prd_left)
		stop(ch, false);
	if (c->x.phase != XFER_DATA)
		ide_step(ch);
}

static uint64_t bm_read(void *dev, uint64_t off, unsigned size)
{
	struct piix_ide *h = dev;
	const struct ide_channel *ch = &h->channel[off >> 3 & 1];

	switch (off & 7) {
	case 0: return ch->bm_command;
	case 2: return ch->bm_status;
	case 4: case 5: case 6: case 7: return ch->bm_table >> (8 * (off & 3)) & 0xff;
	}
	return 0;
}

static void bm_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct piix_ide *h = dev;
	struct ide_channel *ch = &h->channel[off >> 3 & 1];
	unsigned shift = 8 * (off & 3);
	uint8_t was = ch->bm_command;

	ide_restart(ch);
	switch (off & 7) {
	case 0:
		ch->bm_command = val & (BM_START | BM_TO_MEMORY);
		if (val & BM_START && !(was & BM_START)) {
			ch->prd_next = ch->bm_table;
			ch->prd_left = 0;
			ch->prd_last = false;
			ch->bm_status |= BM_ACTIVE;
			if (ch->state == IDE_DMA)
				ide_dma_run(ch);
		} else if (!(val & BM_START)) {
			stop(ch, false);
		}
		break;
	case 2: /* drives' DMA capability: kept for software; error, interrupt: cleared by 1 */
		ch->bm_status = (uint8_t)((ch->bm_status & BM_ACTIVE) | (val & 0x60) |
					  (ch->bm_status & ~val & (BM_ERROR | BM_IRQ)));
		break;
	case 4: case 5: case 6: case 7:
		ch->bm_table = (ch->bm_table & ~(0xffu << shift)) | (uint32_t)(val & 0xff) << shift;
		ch->bm_table &= ~3u;
		break;
	}
}

static const struct bus_ops bm_ops = { bm_read, bm_write, 1, 1, false };

/*
 * Ports: decoded while the function's I/O and the channel are enabled.
 */
static void map_one(struct piix_ide *h, struct bus_range *r, bool on)
{
	if (on == r->mapped)
		return;
	if (!on)
		bus_del_pio(h->env->bus, r);
	else if (bus_add_pio(h->env->bus, r) != 0)
		log_warn(h->env->log, "ide: cannot map port %#llx", (unsigned long long)r->start);
}

static void map_ports(struct piix_ide *h)
{
	bool io = ld_le16(h->pci.config + PCI_COMMAND) & PCI_COMMAND_IO;

	for (unsigned n = 0; n < 2; n++) {
		bool on = io && ld_le16(h->pci.config + IDETIM + 2 * n) & IDETIM_DECODE;

		map_one(h, &h->channel[n].command_ports, on);
		map_one(h, &h->channel[n].control_port, on);
	}
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct piix_ide *h = container_of(d, struct piix_ide, pci);

	map_ports(h);
	for (unsigned n = 0; n < 2; n++)
		if (h->channel[n].state == IDE_DMA && h->channel[n].cmd.x.phase == XFER_DATA)
			ide_dma_run(&h->channel[n]); /* it may be a bus master now */
}

/*
 * Life.
 */
static void plugged(struct ata_bus *b, unsigned slot, bool here)
{
	struct piix_ide *h = container_of(b, struct piix_ide, bus);
	struct ata_dev *d = b->dev[slot];

	if (!here)
		b->dev[slot] = NULL;
	ide_channel_plugged(&h->channel[slot / 2], slot % 2);
	b->dev[slot] = d;
}

static void reset(void *dev)
{
	struct piix_ide *h = dev;

	vtimer_cancel(&h->restart);
	pci_dev_reset(&h->pci);
	/* Firmware enables the channels; without firmware they must be on already. */
	st_le16(h->pci.config + IDETIM, IDETIM_DECODE);
	st_le16(h->pci.config + IDETIM + 2, IDETIM_DECODE);
	h->pci.config[0x44] = 0;
	for (unsigned n = 0; n < 2; n++)
		ide_channel_reset(&h->channel[n]);
	map_ports(h);
}

static void restart(void *opaque)
{
	struct piix_ide *h = opaque;

	for (unsigned n = 0; n < 2; n++)
		ide_restart(&h->channel[n]);
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086, .device = 0x7010, .class = 0x010180,
	};
	static const struct pci_ops ops = { .config_written = config_written };
	struct piix_ide *h = dev;
	int ret;

	if (!plug->gsi)
		return err_set(err, -EINVAL, "%s: this board has no ISA interrupts for it", plug->id);
	h->env = plug->env;
	h->bus = (struct ata_bus){ .slots = 4, .plugged = plugged };
	vtimer_init(&h->restart, h->env->vtime, restart, h);
	ret = pci_dev_init(&h->pci, plug->pci, plug->devfn, "piix-ide", &ids, &ops, err);
	if (ret < 0)
		return ret;
	ret = pci_bar_add(&h->pci, BM_BAR, 16, PCI_BAR_IO, &bm_ops, h, "ide-bus-master", err);
	if (ret < 0) {
		pci_dev_fini(&h->pci);
		return ret;
	}
	st_le32(h->pci.wmask + IDETIM, 0xffffffff);
	h->pci.wmask[0x44] = 0xff;
	for (unsigned n = 0; n < 2; n++) {
		struct ide_channel *ch = &h->channel[n];

		ch->ide = h;
		ch->n = n;
		ch->irq = gsi_line(plug->gsi, 14 + n);
		ch->command_ports = (struct bus_range){ ports[n][0], 8, &ide_command_ops, ch, "ide" };
		ch->control_port = (struct bus_range){ ports[n][1], 1, &ide_control_ops, ch,
						       "ide-control" };
	}
	reset(h);
	return 0;
}

static void fini(void *dev)
{
	struct piix_ide *h = dev;

	vtimer_cancel(&h->restart);
	for (unsigned n = 0; n < 2; n++) {
		struct ide_channel *ch = &h->channel[n];

		ide_channel_cancel(ch);
		xfer_release(&ch->cmd.x);
		irq_set(&ch->irq, 0);
		bus_del_pio(h->env->bus, &ch->command_ports);
		bus_del_pio(h->env->bus, &ch->control_port);
	}
	pci_dev_fini(&h->pci);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	const struct piix_ide *h = dev;
	unsigned slot = h->pci.devfn >> 3, fn = h->pci.devfn & 7;
	int n = fn ? snprintf(buf, len, "ide@%x,%x", slot, fn) : snprintf(buf, len, "ide@%x", slot);

	return n < (int)len ? 0 : -ENOSPC;
}

/*
 * State.
 */
static void channel_pre_save(void *obj)
{
	ide_pre_save(obj);
}

/* Where in the buffer may a command stand? */
static bool position_ok(const struct ide_channel *ch)
{
	if (ch->state != IDE_IDLE &&
	    (ch->saved_buf_len > IDE_CHUNK || ch->saved_dir > XFER_OUT ||
	     ch->saved_proto > ATA_PROTO_PACKET || !ch->saved_block || !ch->saved_drq_len))
		return false;
	switch (ch->state) {
	case IDE_IDLE:
	case IDE_BUSY:
		return true;
	case IDE_PACKET:
		return ch->pos < 12;
	case IDE_PIO_IN:
	case IDE_PIO_OUT:
		return ch->saved_dir == (ch->state == IDE_PIO_IN ? XFER_IN : XFER_OUT) &&
		       ch->moving == (ch->state == IDE_PIO_IN) && ch->pos < ch->block_end &&
		       ch->block_end <= ch->saved_buf_len;
	case IDE_DMA:
		return ch->pos <= ch->saved_buf_len;
	}
	return false;
}

static int channel_post_load(void *obj, unsigned version, struct err *err)
{
	struct ide_channel *ch = obj;
	uint8_t state = ch->state;
	bool moving = ch->moving;

	if (ch->unit > 1 || ch->prd_left > 0x10000 || !position_ok(ch))
		return err_set(err, -EINVAL, "an IDE channel's command makes no sense");
	ide_channel_cancel(ch);
	ch->state = state;
	ch->moving = moving;
	ch->bm_table &= ~3u;
	vtimer_arm(&ch->ide->restart, vtime_now_ns(ch->ide->env->vtime));
	return 0;
}

#define CH struct ide_channel
static const struct state_field channel_fields[] = {
	STATE_STRUCT_ARRAY(CH, tf, 1, &ata_tf_state),
	STATE_U8(CH, select, 1),
	STATE_U8(CH, control, 1),
	STATE_BOOL(CH, intrq, 1),
	STATE_IRQ(CH, irq, 1),
	STATE_U8(CH, state, 1),
	STATE_U8(CH, unit, 1),
	STATE_BOOL(CH, moving, 1),
	STATE_BOOL(CH, first, 1),
	STATE_U32(CH, pos, 1),
	STATE_U32(CH, block_end, 1),
	STATE_U8(CH, bm_command, 1),
	STATE_U8(CH, bm_status, 1),
	STATE_U32(CH, bm_table, 1),
	STATE_U32(CH, prd_next, 1),
	STATE_U32(CH, prd_at, 1),
	STATE_U32(CH, prd_left, 1),
	STATE_BOOL(CH, prd_last, 1),
	STATE_BYTES(CH, saved_buf, 1),
	STATE_BYTES(CH, saved_packet, 1),
	STATE_STRUCT(CH, saved_tf, 1, &ata_tf_state),
	STATE_U32(CH, saved_buf_len, 1),
	STATE_U32(CH, saved_block, 1),
	STATE_U32(CH, saved_drq_len, 1),
	STATE_U64(CH, saved_len, 1),
	STATE_U64(CH, saved_moved, 1),
	STATE_U8(CH, saved_dir, 1),
	STATE_U8(CH, saved_proto, 1),
	STATE_BOOL(CH, saved_in_packet, 1),
	STATE_END
};
#undef CH

static const struct state_desc channel_state = {
	.name = "ide-channel", .version = 1, .fields = channel_fields,
	.pre_save = channel_pre_save, .post_load = channel_post_load,
};

static const struct state_field fields[] = {
	STATE_STRUCT(struct piix_ide, pci, 1, &pci_dev_state),
	STATE_STRUCT_ARRAY(struct piix_ide, channel, 1, &channel_state),
	STATE_END
};

static int post_load(void *obj, unsigned version, struct err *err)
{
	map_ports(obj);
	return 0;
}

static const struct state_desc state = {
	.name = "piix-ide", .version = 1, .fields = fields, .post_load = post_load,
};

static const struct dev_prop props[] = { DEV_PROP_END };

const struct dev_desc piix_ide_desc = {
	.name = "piix-ide",
	.aliases = "piix3-ide",
	.title = "IDE controller (PIIX3)", .single = true, .reset = reset, .state = &state,
	.size = sizeof(struct piix_ide), .bus = DEV_BUS_PCI, .provides = DEV_BUS_IDE, .slots = 4,
	.props = props, .init = init, .fini = fini, .fw_name = fw_name,
};
