/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SCSI CD or DVD drive: "scsi-cd". Its commands are mmc.c's, which does one at a time;
 * the others wait here.
 */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/storage/mmc.h"
#include "src/dev/storage/scsi.h"

#define MOVE_MAX 65536u

struct scsi_cd {
	struct scsi_lu lu;
	struct blk *blk;
	const char *serial, *vendor, *product, *version;
	const char *id;
	struct mmc mmc;
	struct mmc_cmd cmd;
	struct xfer x;
	const struct medium_ops *mmc_medium;
	struct medium_ops medium;
	struct scsi_cmd *now;              /* the one mmc does */
	struct scsi_cmd *waiting, **tail;
	bool running; /* next() is on the stack */
};

/* What was fetched goes to guest memory, as far as that reaches. */
static void deliver(struct scsi_cd *d)
{
	struct scsi_cmd *c = d->now;

	c->moved += iov_from_buf(c->in, c->in_num, c->moved, d->x.buf->data, d->x.buf_len);
}

/* Does what can be done of the command now; true when it is over. */
static bool advance(struct scsi_cd *d)
{
	struct scsi_cmd *c = d->now;
	struct xfer *x = &d->x;

	while (x->phase == XFER_DATA) {
		uint32_t n = xfer_next(x, MOVE_MAX);

		if (x->dir == XFER_IN && n) {
			xfer_move(x, n);
			if (x->phase == XFER_DATA)
				deliver(d);
		} else if (x->dir == XFER_IN) {
			xfer_finish(x);
		} else if (!xfer_reserve(x, max_of(n, MMC_MOVE_MIN)) ||
			   iov_to_buf(c->out, c->out_num, c->moved, x->buf->data, n) != n) {
			/* The driver sent less than it said. */
			xfer_cancel(x);
			c->overrun = true;
			scsi_make_sense(d->cmd.sense, SCSI_PARAMETER_LENGTH);
			d->cmd.status = MMC_CHECK;
			return true;
		} else {
			c->moved += n;
			xfer_move(x, n);
		}
	}
	return x->phase == XFER_END;
}

static struct scsi_cmd *take_now(struct scsi_cd *d)
{
	struct scsi_cmd *c = d->now;

	d->now = NULL;
	return c;
}

static void end(struct scsi_cd *d)
{
	struct scsi_cmd *c = take_now(d);

	d->x.phase = XFER_IDLE;
	memcpy(c->sense, d->cmd.sense, min_of(SCSI_SENSE_LEN, MMC_SENSE_LEN));
	scsi_end(c, d->cmd.status);
}

/* Begins waiting commands until one takes longer. */
static void next(struct scsi_cd *d)
{
	if (d->running)
		return;
	d->running = true;
	while (!d->now && d->waiting) {
		struct scsi_cmd *c = d->waiting;

		d->waiting = c->next;
		if (!d->waiting)
			d->tail = &d->waiting;
		d->now = c;
		memcpy(d->cmd.cdb, c->cdb, sizeof(d->cmd.cdb));
		d->cmd.x = &d->x;
		mmc_start(&d->mmc, &d->cmd);
		if (advance(d))
			end(d);
	}
	d->running = false;
}

/* Host I/O has ended. */
static void ready(struct xfer *x)
{
	struct scsi_cd *d = container_of(x, struct scsi_cd, x);

	if (x->phase == XFER_DATA && x->dir == XFER_IN)
		deliver(d);
	if (advance(d)) {
		end(d);
		next(d);
	}
}

static void start(struct scsi_lu *lu, struct scsi_cmd *c)
{
	struct scsi_cd *d = container_of(lu, struct scsi_cd, lu);

	c->next = NULL;
	*d->tail = c;
	d->tail = &c->next;
	next(d);
}

static void unit_reset(struct scsi_lu *lu)
{
	mmc_reset(&container_of(lu, struct scsi_cd, lu)->mmc);
}

static void drain(struct scsi_lu *lu, bool cancel)
{
	struct scsi_cd *d = container_of(lu, struct scsi_cd, lu);

	if (!cancel) {
		if (d->blk)
			blk_drain(d->blk);
		return;
	}
	/* I/O under way keeps its buffer and touches no guest memory. */
	xfer_cancel(&d->x);
	if (d->now)
		scsi_end(take_now(d), SCSI_ABORTED);
	while (d->waiting) {
		struct scsi_cmd *c = d->waiting;

		d->waiting = c->next;
		scsi_end(c, SCSI_ABORTED);
	}
	d->tail = &d->waiting;
}

static const struct scsi_lu_ops ops = { start, unit_reset, drain };

/*
 * The medium: mmc makes a unit attention of it, the driver may want an event too.
 */
static void moved(struct medium *m)
{
	struct mmc *mmc = container_of(m, struct mmc, medium);
	struct scsi_cd *d = container_of(mmc, struct scsi_cd, mmc);

	d->mmc_medium->moved(m);
	if (d->lu.bus->changed)
		d->lu.bus->changed(d->lu.bus, d->lu.target, 0x28, 0x00);
}

static struct medium *medium(void *dev)
{
	return &((struct scsi_cd *)dev)->mmc.medium;
}

static void reset(void *dev)
{
	unit_reset(&((struct scsi_cd *)dev)->lu);
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct scsi_cd *d = dev;
	struct mmc_id id = { d->vendor, d->product, d->version,
			     d->serial ? d->serial : plug->id };
	int ret = scsi_lu_attach(&d->lu, &ops, "scsi-cd", plug, err);

	if (ret < 0)
		return ret;
	d->id = plug->id;
	d->tail = &d->waiting;
	mmc_init(&d->mmc, d->blk, &id);
	d->mmc_medium = d->mmc.medium.ops;
	d->medium = *d->mmc_medium;
	d->medium.moved = moved;
	d->mmc.medium.ops = &d->medium;
	d->x.ready = ready;
	return 0;
}

static void fini(void *dev)
{
	struct scsi_cd *d = dev;

	scsi_lu_detach(&d->lu);
	xfer_release(&d->x);
	mmc_fini(&d->mmc);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return scsi_fw_name(&((struct scsi_cd *)dev)->lu, buf, len);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct scsi_cd, mmc, 1, &mmc_state),
	STATE_END
};

static const struct state_desc state = {
	.name = "scsi-cd", .version = 1, .fields = fields,
};

#define AT(f) offsetof(struct scsi_cd, f)
static const struct dev_prop props[] = {
	{ "drive", DEV_PROP_DRIVE, AT(blk), NULL, false, 0, 0, NULL,
	  "the medium's image; without it the drive is always empty" },
	{ "serial", DEV_PROP_TEXT, AT(serial), NULL, false, 0, 36, NULL, "serial number" },
	{ "vendor", DEV_PROP_TEXT, AT(vendor), "BOTHY", false, 0, 8, NULL,
	  "vendor, up to 8 characters" },
	{ "product", DEV_PROP_TEXT, AT(product), "CD-ROM", false, 0, 16, NULL,
	  "product, up to 16 characters" },
	{ "ver", DEV_PROP_TEXT, AT(version), "1.0", false, 0, 0, NULL,
	  "revision, up to 4 characters" },
	DEV_PROP_END
};

const struct dev_desc scsi_cd_desc = {
	.name = "scsi-cd",
	.title = "SCSI CD or DVD drive",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct scsi_cd),
	.bus = DEV_BUS_SCSI,
	.props = props,
	.init = init,
	.fini = fini,
	.fw_name = fw_name,
	.medium = medium,
};
