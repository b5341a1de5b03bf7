/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ATA disk. Source: ACS-3 (T13/2161-D); command numbers that ACS has dropped are
 * those of ATA/ATAPI-4.
 */
#include "src/dev/storage/ata_disk.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/storage/ata_disk_priv.h"

uint64_t ata_disk_sectors(const struct ata_disk *d)
{
	return min_of(blk_len(d->blk) / ATA_SECTOR, 1ull << 48);
}

/*
 * Small commands.
 */
static void do_nothing(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	ata_ok(c);
}

static void do_diagnostic(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	ata_signature(&d->ata, &c->tf);
	c->tf.status = ATA_ST_DRDY | ATA_ST_DSC;
	xfer_end(&c->x);
}

static void do_init_params(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	if (!c->tf.count[0] || c->tf.count[0] > 63) {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	d->heads = (uint8_t)((c->tf.device & 15) + 1);
	d->sectors = c->tf.count[0];
	ata_ok(c);
}

static void do_set_multiple(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	uint8_t n = c->tf.count[0];

	if (n > ATA_MULTIPLE_MAX || n & (n - 1)) {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	d->multiple = n;
	ata_ok(c);
}

static void do_power(struct ata_disk *d, struct ata_cmd *c, unsigned mode)
{
	d->power = (uint8_t)mode;
	if (mode == ATA_POWER_IDLE)
		ata_ok(c);
	else /* the platters stop: all must be on them */
		ata_do_flush(d, c, 0);
}

static void do_check_power(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	c->tf.count[0] = d->power;
	ata_ok(c);
}

static bool set_transfer_mode(struct ata_disk *d, uint8_t mode)
{
	uint8_t n = mode & 7;

	switch (mode >> 3) {
	case 0:
		return mode <= 1; /* default PIO mode */
	case 1:
		d->pio_mode = n;
		return n <= 4;
	case 4:
		d->mwdma_mode = n;
		d->udma_mode = 0xff;
		return n <= 2;
	case 8:
		d->udma_mode = n;
		d->mwdma_mode = 0xff;
		return n <= 5 + (unsigned)d->ata.bus->sata;
	}
	return false;
}

/* SET FEATURES: 7.45. */
static void do_set_features(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	struct ata_disk before = *d;
	bool ok = true;

	switch (c->tf.feature[0]) {
	case 0x02: d->write_cache = true; break;
	case 0x82: /* what is cached is written first */
		d->write_cache = false;
		ata_do_flush(d, c, 0);
		return;
	case 0x03: ok = set_transfer_mode(d, c->tf.count[0]); break;
	case 0x55: d->look_ahead = false; break;
	case 0xaa: d->look_ahead = true; break;
	case 0x05: case 0x85: /* advanced power management */
	case 0x66: case 0xcc: /* settings over SRST: kept or not */
		break;
	default: ok = false; break;
	}
	if (ok) {
		ata_ok(c);
		return;
	}
	d->pio_mode = before.pio_mode;
	d->mwdma_mode = before.mwdma_mode;
	d->udma_mode = before.udma_mode;
	ata_fail(c, ATA_ER_ABRT);
}

/* An IDENTIFY for the other kind of device, DEVICE RESET: aborted by a disk. */
static const struct {
	uint8_t first, last;
	ata_handler *fn;
	unsigned flags;
} commands[] = {
	{ 0x06, 0x06, ata_do_trim, 0 },
	{ 0x10, 0x1f, do_nothing, 0 }, /* RECALIBRATE */
	{ 0x20, 0x21, ata_do_rw, 0 },
	{ 0x24, 0x24, ata_do_rw, RW_EXT },
	{ 0x25, 0x25, ata_do_rw, RW_EXT | RW_DMA },
	{ 0x29, 0x29, ata_do_rw, RW_EXT | RW_MULTIPLE },
	{ 0x2f, 0x2f, ata_do_log, 0 },
	{ 0x30, 0x31, ata_do_rw, RW_WRITE },
	{ 0x34, 0x34, ata_do_rw, RW_WRITE | RW_EXT },
	{ 0x35, 0x35, ata_do_rw, RW_WRITE | RW_EXT | RW_DMA },
	{ 0x39, 0x39, ata_do_rw, RW_WRITE | RW_EXT | RW_MULTIPLE },
	{ 0x3d, 0x3d, ata_do_rw, RW_WRITE | RW_EXT | RW_DMA | RW_FUA },
	{ 0x40, 0x41, ata_do_rw, RW_VERIFY },
	{ 0x42, 0x42, ata_do_rw, RW_VERIFY | RW_EXT },
	{ 0x47, 0x47, ata_do_log, RW_DMA },
	{ 0x60, 0x60, ata_do_rw, RW_EXT | RW_DMA | RW_QUEUED },
	{ 0x61, 0x61, ata_do_rw, RW_WRITE | RW_EXT | RW_DMA | RW_QUEUED },
	{ 0x70, 0x7f, do_nothing, 0 }, /* SEEK */
	{ 0x90, 0x90, do_diagnostic, 0 },
	{ 0x91, 0x91, do_init_params, 0 },
	{ 0x94, 0x94, do_power, ATA_POWER_STANDBY },
	{ 0x95, 0x95, do_power, ATA_POWER_IDLE },
	{ 0x96, 0x96, do_power, ATA_POWER_STANDBY },
	{ 0x97, 0x97, do_power, ATA_POWER_IDLE },
	{ 0x98, 0x98, do_check_power, 0 },
	{ 0x99, 0x99, do_power, ATA_POWER_SLEEP },
	{ 0xb0, 0xb0, ata_do_smart, 0 },
	{ 0xc4, 0xc4, ata_do_rw, RW_MULTIPLE },
	{ 0xc5, 0xc5, ata_do_rw, RW_WRITE | RW_MULTIPLE },
	{ 0xc6, 0xc6, do_set_multiple, 0 },
	{ 0xc8, 0xc9, ata_do_rw, RW_DMA },
	{ 0xca, 0xcb, ata_do_rw, RW_WRITE | RW_DMA },
	{ 0xce, 0xce, ata_do_rw, RW_WRITE | RW_EXT | RW_MULTIPLE | RW_FUA },
	{ 0xe0, 0xe0, do_power, ATA_POWER_STANDBY },
	{ 0xe1, 0xe1, do_power, ATA_POWER_IDLE },
	{ 0xe2, 0xe2, do_power, ATA_POWER_STANDBY },
	{ 0xe3, 0xe3, do_power, ATA_POWER_IDLE },
	{ 0xe5, 0xe5, do_check_power, 0 },
	{ 0xe6, 0xe6, do_power, ATA_POWER_SLEEP },
	{ 0xe7, 0xe7, ata_do_flush, 0 },
	{ 0xea, 0xea, ata_do_flush, RW_EXT },
	{ 0xec, 0xec, ata_do_identify, 0 },
	{ 0xef, 0xef, do_set_features, 0 },
};

static void disk_start(struct ata_dev *dev, struct ata_cmd *c)
{
	struct ata_disk *d = container_of(dev, struct ata_disk, ata);
	uint8_t cmd = c->tf.command;

	c->ext = false;
	for (size_t i = 0; i < array_size(commands); i++) {
		if (cmd < commands[i].first || cmd > commands[i].last)
			continue;
		if (commands[i].flags & RW_QUEUED && commands[i].fn == ata_do_rw &&
		    !dev->bus->sata)
			break;
		if (d->power == ATA_POWER_SLEEP)
			break;
		if (commands[i].fn == ata_do_rw)
			d->power = ATA_POWER_ACTIVE;
		commands[i].fn(d, c, commands[i].flags);
		return;
	}
	ata_fail(c, ATA_ER_ABRT);
}

/*
 * Life.
 */
static void disk_reset(struct ata_dev *dev, bool hard)
{
	struct ata_disk *d = container_of(dev, struct ata_disk, ata);

	d->power = ATA_POWER_ACTIVE;
	d->ncq_error = (struct ata_ncq_error){ 0 };
	if (!hard)
		return;
	d->multiple = ATA_MULTIPLE_MAX;
	d->heads = 16;
	d->sectors = 63;
	d->pio_mode = 4;
	d->mwdma_mode = 0xff;
	d->udma_mode = 5;
	d->write_cache = d->write_cache_on;
	d->look_ahead = d->smart = d->smart_autosave = true;
}

static void reset(void *dev)
{
	struct ata_disk *d = dev;

	disk_reset(&d->ata, true);
}

static const struct ata_dev_ops disk_ops = { .start = disk_start, .reset = disk_reset };

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct ata_disk *d = dev;

	d->env = plug->env;
	d->ata.ops = &disk_ops;
	d->ata.name = plug->id;
	if (!blk_node(d->blk))
		return err_set(err, -EINVAL, "%s: a disk needs an image; its drive is empty",
			       plug->id);
	if (blk_len(d->blk) < ATA_SECTOR)
		return err_set(err, -EINVAL, "%s: the image is shorter than one sector", plug->id);
	snprintf(d->serial_text, sizeof(d->serial_text), "%s", d->serial ? d->serial : plug->id);
	drive_init(&d->drive, d->blk);
	reset(d);
	return ata_dev_attach(&d->ata, plug, err);
}

static void fini(void *dev)
{
	struct ata_disk *d = dev;

	ata_dev_detach(&d->ata);
	drive_fini(&d->drive);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return ata_fw_name(&((struct ata_disk *)dev)->ata, buf, len);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct ata_disk *d = obj;

	if (d->multiple > ATA_MULTIPLE_MAX || d->multiple & (d->multiple - 1) || !d->heads ||
	    d->heads > 16 || !d->sectors || d->sectors > 63)
		return err_set(err, -EINVAL, "a disk's geometry makes no sense");
	if ((d->mwdma_mode > 2 && d->mwdma_mode != 0xff) ||
	    (d->udma_mode > 6 && d->udma_mode != 0xff))
		return err_set(err, -EINVAL, "a disk's transfer mode makes no sense");
	return 0;
}

static const struct state_field error_fields[] = {
	STATE_BOOL(struct ata_ncq_error, valid, 1),
	STATE_U8(struct ata_ncq_error, tag, 1),
	STATE_U8(struct ata_ncq_error, status, 1),
	STATE_U8(struct ata_ncq_error, error, 1),
	STATE_U8(struct ata_ncq_error, device, 1),
	STATE_U64(struct ata_ncq_error, lba, 1),
	STATE_ARRAY(struct ata_ncq_error, count, 1),
	STATE_END
};

static const struct state_desc error_state = {
	.name = "ata-ncq-error", .version = 1, .fields = error_fields,
};

static const struct state_field fields[] = {
	STATE_U8(struct ata_disk, multiple, 1),
	STATE_U8(struct ata_disk, heads, 1),
	STATE_U8(struct ata_disk, sectors, 1),
	STATE_U8(struct ata_disk, pio_mode, 1),
	STATE_U8(struct ata_disk, mwdma_mode, 1),
	STATE_U8(struct ata_disk, udma_mode, 1),
	STATE_BOOL(struct ata_disk, write_cache, 1),
	STATE_BOOL(struct ata_disk, look_ahead, 1),
	STATE_BOOL(struct ata_disk, smart, 1),
	STATE_BOOL(struct ata_disk, smart_autosave, 1),
	STATE_U8(struct ata_disk, power, 1),
	STATE_STRUCT(struct ata_disk, ncq_error, 1, &error_state),
	STATE_END
};

static const struct state_desc sata_state = {
	.name = "sata-disk", .version = 1, .fields = fields, .post_load = post_load,
};

static const struct state_desc ide_state = {
	.name = "ide-disk", .version = 1, .fields = fields, .post_load = post_load,
};

#define D(f) offsetof(struct ata_disk, f)
static const struct dev_prop props[] = {
	{ .name = "drive", .type = DEV_PROP_DRIVE, .offset = D(blk), .required = true,
	  .help = "the drive whose image it shows" },
	{ .name = "serial", .type = DEV_PROP_TEXT, .offset = D(serial), .max = 20,
	  .help = "its serial number, 20 characters at most" },
	{ .name = "model", .type = DEV_PROP_TEXT, .offset = D(model), .def = "BOTHY HARDDISK", .max = 40,
	  .help = "its model, 40 characters at most" },
	{ .name = "firmware", .type = DEV_PROP_TEXT, .offset = D(firmware), .def = "1.0", .max = 8,
	  .help = "its firmware's revision, 8 characters at most" },
	{ .name = "rotation-rate", .type = DEV_PROP_UINT, .offset = D(rotation_rate), .def = "1",
	  .max = 0xfffe, .help = "turns a minute; 1: solid state, 0: not told" },
	{ .name = "discard", .type = DEV_PROP_BOOL, .offset = D(discard), .def = "on",
	  .help = "the guest may give space back (TRIM)" },
	{ .name = "write-cache", .type = DEV_PROP_BOOL, .offset = D(write_cache_on), .def = "on",
	  .help = "on at power-on; off: each write reaches the host's storage first" },
	DEV_PROP_END
};
#undef D

const struct dev_desc sata_disk_desc = {
	.name = "sata-disk", .title = "SATA disk", .reset = reset, .state = &sata_state,
	.size = sizeof(struct ata_disk), .bus = DEV_BUS_SATA, .props = props, .init = init,
	.fini = fini, .fw_name = fw_name,
};

const struct dev_desc ide_disk_desc = {
	.name = "ide-disk", .title = "IDE disk", .reset = reset, .state = &ide_state,
	.size = sizeof(struct ata_disk), .bus = DEV_BUS_IDE, .props = props, .init = init,
	.fini = fini, .fw_name = fw_name,
};
