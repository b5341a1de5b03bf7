/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A floppy drive: its disk's shape, the change line. The controller does the rest. */
#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/legacy/fdc_priv.h"

enum { DRIVE_360 = 1, DRIVE_1200, DRIVE_720, DRIVE_1440, DRIVE_2880 };

static const struct floppy_shape shapes[] = {
	{ 320, 40, 1, 8, FDC_RATE_250, DRIVE_360 },
	{ 360, 40, 1, 9, FDC_RATE_250, DRIVE_360 },
	{ 640, 40, 2, 8, FDC_RATE_250, DRIVE_360 },
	{ 720, 40, 2, 9, FDC_RATE_250, DRIVE_360 },
	{ 1440, 80, 2, 9, FDC_RATE_250, DRIVE_1440 },
	{ 2400, 80, 2, 15, FDC_RATE_500, DRIVE_1200 },
	{ 2880, 80, 2, 18, FDC_RATE_500, DRIVE_1440 },
	{ 3360, 80, 2, 21, FDC_RATE_500, DRIVE_1440 },
	{ 3444, 82, 2, 21, FDC_RATE_500, DRIVE_1440 },
	{ 5760, 80, 2, 36, FDC_RATE_1000, DRIVE_2880 },
};

/* The smallest that holds it; what an image lacks at its end cannot be read. */
static const struct floppy_shape *shape_of(const struct blk *blk)
{
	uint64_t sectors = blk_len(blk) / FDC_SECTOR;

	for (size_t i = 0; sectors && i < array_size(shapes); i++)
		if (sectors <= shapes[i].sectors)
			return &shapes[i];
	return NULL;
}

static void moved(struct medium *m)
{
	struct floppy *d = m->dev;

	d->changed = true;
	d->shape = medium_present(m) ? shape_of(m->blk) : NULL;
}

static void eject_request(struct medium *m)
{
	/* Nothing locks a floppy drive. */
}

static void reset(void *dev)
{
	struct floppy *d = dev;

	d->cylinder = 0;
	d->changed = true;
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	static const struct medium_ops ops = { moved, eject_request };
	struct floppy *d = dev;

	d->fdc = plug->parent;
	d->slot = plug->slot;
	if (d->slot >= FDC_DRIVES || d->fdc->drive[d->slot])
		return err_set(err, -EBUSY, "%s: drive %u is taken", plug->id, d->slot);
	if (d->blk && blk_node(d->blk) && !shape_of(d->blk))
		return err_set(err, -EINVAL, "%s: an image of %llu bytes is no floppy disk's; they "
			       "have up to 2880 KiB", plug->id,
			       (unsigned long long)blk_len(d->blk));
	d->medium = (struct medium){ .ops = &ops, .dev = d, .blk = d->blk };
	drive_init(&d->drive, d->blk);
	moved(&d->medium);
	d->cmos_type = d->type ? (uint8_t)d->type : d->shape ? d->shape->drive : DRIVE_1440;
	reset(d);
	d->fdc->drive[d->slot] = d;
	return 0;
}

static void fini(void *dev)
{
	struct floppy *d = dev;

	fdc_drive_gone(d->fdc, d->slot);
	d->fdc->drive[d->slot] = NULL;
	drive_fini(&d->drive);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return snprintf(buf, len, "floppy@%x", ((struct floppy *)dev)->slot) < (int)len
		? 0 : -ENOSPC;
}

static struct medium *medium(void *dev)
{
	return &((struct floppy *)dev)->medium;
}

static const struct state_field fields[] = {
	STATE_U8(struct floppy, cylinder, 1),
	STATE_BOOL(struct floppy, changed, 1),
	STATE_END
};

static const struct state_desc state = { .name = "floppy", .version = 1, .fields = fields };

static const struct dev_prop props[] = {
	{ .name = "drive", .type = DEV_PROP_DRIVE, .offset = offsetof(struct floppy, blk),
	  .help = "the drive that holds its disk; without one it is always empty" },
	{ .name = "type", .type = DEV_PROP_CHOICE, .offset = offsetof(struct floppy, type),
	  .def = "auto", .choices = "auto|360|1200|720|1440|2880",
	  .help = "what the drive is, in KiB; auto: as its first disk wants, else 1440" },
	DEV_PROP_END
};

const struct dev_desc floppy_desc = {
	.name = "floppy", .title = "floppy drive", .reset = reset, .state = &state,
	.size = sizeof(struct floppy), .bus = DEV_BUS_FLOPPY, .props = props, .init = init,
	.fini = fini, .fw_name = fw_name, .medium = medium,
};
