/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ATA side of a CD or DVD drive: PACKET and the few commands beside it. Source:
 * ATA/ATAPI-7 volume 1 (T13/1532D), the last to have them; what the packets say is mmc.c's.
 */
#include "src/dev/storage/ata_cd.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"

#define REASON_COMMAND 0x01u /* interrupt reason: C/D */
#define REASON_IN 0x02u      /* I/O */

static void put(uint8_t *words, unsigned n, uint32_t v)
{
	st_le16(words + n * 2, (uint16_t)v);
}

static void identify(struct ata_cd *d, struct ata_cmd *c)
{
	uint8_t *w = ata_reply(c, ATA_PROTO_PIO, 512);
	bool sata = d->ata.bus->sata;

	if (!w)
		return;
	put(w, 0, 0x85c0); /* a removable CD drive, packets of 12 bytes, DRQ within 50 us */
	ata_string(w, 10, 10, d->serial_text);
	ata_string(w, 23, 4, d->firmware);
	ata_string(w, 27, 20, d->model);
	put(w, 49, 0x0f00); /* DMA, LBA, IORDY */
	put(w, 50, 0x4000);
	put(w, 53, 0x0007);
	put(w, 63, 7u | (d->mwdma_mode == 0xff ? 0 : 0x100u << d->mwdma_mode));
	put(w, 64, 0x0003);
	for (unsigned n = 65; n <= 68; n++)
		put(w, n, 120);
	put(w, 71, 30); /* ns: PACKET to bus release, SERVICE to BSY */
	put(w, 72, 30);
	put(w, 80, 0x00f0); /* ATA/ATAPI-4 to -7 */
	put(w, 82, 0x4218); /* NOP, DEVICE RESET, PACKET, power management */
	put(w, 83, 0x4000);
	put(w, 84, 0x4000);
	put(w, 85, 0x4218);
	put(w, 87, 0x4000);
	put(w, 88, (sata ? 0x7fu : 0x3fu) | (d->udma_mode == 0xff ? 0 : 0x100u << d->udma_mode));
	if (sata) {
		put(w, 76, 0x000e); /* generations 1 to 3 */
		put(w, 77, 0x0006);
		put(w, 222, 0x107f);
	} else {
		put(w, 93, ata_reset_result(&d->ata));
	}
	ata_identify_end(w);
}

static void set_features(struct ata_cd *d, struct ata_cmd *c)
{
	uint8_t mode = c->tf.count[0], n = mode & 7;
	bool ok = c->tf.feature[0] == 0x03;

	if (c->tf.feature[0] == 0x66 || c->tf.feature[0] == 0xcc) {
		ata_ok(c);
		return;
	}
	if (ok && (mode <= 1 || (mode >> 3 == 1 && n <= 4))) {
		d->pio_mode = mode <= 1 ? 4 : n;
	} else if (ok && mode >> 3 == 4 && n <= 2) {
		d->mwdma_mode = n;
		d->udma_mode = 0xff;
	} else if (ok && mode >> 3 == 8 && n <= 5 + (unsigned)d->ata.bus->sata) {
		d->udma_mode = n;
		d->mwdma_mode = 0xff;
	} else {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	ata_ok(c);
}

/* Commands of disks tell the host what this is: the signature stands in the registers. */
static void not_a_disk(struct ata_cd *d, struct ata_cmd *c)
{
	ata_signature(&d->ata, &c->tf);
	ata_fail(c, ATA_ER_ABRT);
}

static void cd_start(struct ata_dev *dev, struct ata_cmd *c)
{
	struct ata_cd *d = container_of(dev, struct ata_cd, ata);

	switch (c->tf.command) {
	case ATA_CMD_PACKET:
		c->proto = ATA_PROTO_PACKET;
		c->x.dir = XFER_OUT;
		c->tf.count[0] = REASON_COMMAND;
		c->x.phase = XFER_DATA;
		break;
	case 0xa1:
		identify(d, c);
		break;
	case ATA_CMD_DEVICE_RESET:
	case ATA_CMD_DIAGNOSTIC:
		ata_signature(dev, &c->tf);
		xfer_end(&c->x);
		break;
	case 0xef:
		set_features(d, c);
		break;
	case 0x94: case 0x95: case 0x96: case 0x97: case 0x99:
	case 0xe0: case 0xe1: case 0xe2: case 0xe3: case 0xe6: case 0xe7:
		ata_ok(c); /* power, FLUSH CACHE */
		break;
	case 0x98: case 0xe5:
		c->tf.count[0] = 0xff; /* active */
		ata_ok(c);
		break;
	case 0x20: case 0x21: case 0xec:
		not_a_disk(d, c);
		break;
	default:
		ata_fail(c, ATA_ER_ABRT);
		break;
	}
}

static void packet_ended(struct xfer *x)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);

	c->tf.count[0] = REASON_COMMAND | REASON_IN;
	c->tf.status = ATA_ST_DRDY | ATA_ST_DSC;
	c->tf.error = 0;
	if (c->scsi.status != MMC_GOOD) {
		c->tf.status = ATA_ST_DRDY | ATA_ST_ERR;
		c->tf.error = (uint8_t)(c->scsi.sense[2] << 4);
		if ((c->scsi.sense[2] & 15) == 5)
			c->tf.error |= ATA_ER_ABRT;
	}
}

static void cd_packet(struct ata_dev *dev, struct ata_cmd *c)
{
	struct ata_cd *d = container_of(dev, struct ata_cd, ata);
	uint32_t limit = c->tf.lba[1] | (uint32_t)c->tf.lba[2] << 8;

	memset(&c->scsi, 0, sizeof(c->scsi));
	c->scsi.x = &c->x;
	memcpy(c->scsi.cdb, c->packet, 12);
	c->scsi.again = c->again;
	c->x.ended = packet_ended;
	mmc_start(&d->mmc, &c->scsi);
	if (c->x.phase != XFER_DATA)
		return;
	if (c->tf.feature[0] & 1) {
		c->proto = ATA_PROTO_DMA;
		return;
	}
	c->proto = ATA_PROTO_PIO;
	/* Only the last block of data may be odd. */
	c->drq_len = max_of(min_of(limit, 0xfffeu) & ~1u, 2u);
	if (!limit && !d->ata.bus->sata) { /* no room for any data */
		c->x.ended = NULL;
		c->tf.count[0] = REASON_COMMAND | REASON_IN;
		ata_fail(c, ATA_ER_ABRT);
	}
}

static void cd_reset(struct ata_dev *dev, bool hard)
{
	struct ata_cd *d = container_of(dev, struct ata_cd, ata);

	if (!hard) { /* SRST leaves the drive's own state alone, but for the lock */
		d->mmc.medium.locked = false;
		return;
	}
	mmc_reset(&d->mmc);
	d->pio_mode = 4;
	d->mwdma_mode = 0xff;
	d->udma_mode = 5;
}

static void reset(void *dev)
{
	struct ata_cd *d = dev;

	cd_reset(&d->ata, true);
}

static const struct ata_dev_ops cd_ops = {
	.start = cd_start, .packet = cd_packet, .reset = cd_reset,
};

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct ata_cd *d = dev;
	struct mmc_id id = { .vendor = "BOTHY", .product = "DVD-ROM", .revision = d->firmware };

	d->ata.ops = &cd_ops;
	d->ata.name = plug->id;
	snprintf(d->serial_text, sizeof(d->serial_text), "%s", d->serial ? d->serial : plug->id);
	id.serial = d->serial_text;
	mmc_init(&d->mmc, d->blk, &id);
	d->mmc.atapi = true;
	reset(d);
	if (ata_dev_attach(&d->ata, plug, err) < 0) {
		mmc_fini(&d->mmc);
		return -EINVAL;
	}
	d->mmc.sata = d->ata.bus->sata;
	return 0;
}

static void fini(void *dev)
{
	struct ata_cd *d = dev;

	ata_dev_detach(&d->ata);
	mmc_fini(&d->mmc);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return ata_fw_name(&((struct ata_cd *)dev)->ata, buf, len);
}

static struct medium *medium(void *dev)
{
	return &((struct ata_cd *)dev)->mmc.medium;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct ata_cd, mmc, 1, &mmc_state),
	STATE_U8(struct ata_cd, pio_mode, 1),
	STATE_U8(struct ata_cd, mwdma_mode, 1),
	STATE_U8(struct ata_cd, udma_mode, 1),
	STATE_END
};

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct ata_cd *d = obj;

	if ((d->mwdma_mode > 2 && d->mwdma_mode != 0xff) ||
	    (d->udma_mode > 6 && d->udma_mode != 0xff))
		return err_set(err, -EINVAL, "a CD drive's transfer mode makes no sense");
	return 0;
}

static const struct state_desc sata_state = {
	.name = "sata-cd", .version = 1, .fields = fields, .post_load = post_load,
};

static const struct state_desc ide_state = {
	.name = "ide-cd", .version = 1, .fields = fields, .post_load = post_load,
};

#define D(f) offsetof(struct ata_cd, f)
static const struct dev_prop props[] = {
	{ .name = "drive", .type = DEV_PROP_DRIVE, .offset = D(blk),
	  .help = "the drive that holds its disc; without one it is always empty" },
	{ .name = "serial", .type = DEV_PROP_TEXT, .offset = D(serial), .max = 20,
	  .help = "its serial number, 20 characters at most" },
	{ .name = "model", .type = DEV_PROP_TEXT, .offset = D(model), .def = "BOTHY DVD-ROM", .max = 40,
	  .help = "its model, 40 characters at most" },
	{ .name = "firmware", .type = DEV_PROP_TEXT, .offset = D(firmware), .def = "1.0", .max = 8,
	  .help = "its firmware's revision, 8 characters at most" },
	DEV_PROP_END
};
#undef D

const struct dev_desc sata_cd_desc = {
	.name = "sata-cd", .title = "SATA CD/DVD drive", .reset = reset, .state = &sata_state,
	.size = sizeof(struct ata_cd), .bus = DEV_BUS_SATA, .props = props, .init = init,
	.fini = fini, .fw_name = fw_name, .medium = medium,
};

const struct dev_desc ide_cd_desc = {
	.name = "ide-cd", .title = "IDE CD/DVD drive", .reset = reset, .state = &ide_state,
	.size = sizeof(struct ata_cd), .bus = DEV_BUS_IDE, .props = props, .init = init,
	.fini = fini, .fw_name = fw_name, .medium = medium,
};
