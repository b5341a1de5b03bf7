/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that move sectors: ACS-3, chapter 7; NCQ: 7.16 and Serial ATA 3.1, 13.6. */
#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/storage/ata_disk_priv.h"

#define LBA28_MAX (1ull << 28)
/* The most that one step of a command without data may look at. */
#define VERIFY_STEP (256u << 10)

static void set_lba(struct ata_cmd *c, uint64_t lba)
{
	for (unsigned n = 0; n < 6; n++)
		c->tf.lba[n] = (uint8_t)(lba >> (8 * n));
}

/* An error in the middle: where, in the registers that the command uses. */
static void fail_at(struct ata_disk *d, struct ata_cmd *c, uint8_t error, uint64_t lba)
{
	if (c->queued) {
		if (!d->ncq_error.valid)
			d->ncq_error = (struct ata_ncq_error){
				.valid = true, .tag = c->tag,
				.status = ATA_ST_DRDY | ATA_ST_DSC | ATA_ST_ERR, .error = error,
				.device = c->tf.device, .lba = lba,
				.count = { c->tf.count[0], c->tf.count[1] },
			};
	} else if (c->ext || c->tf.device & ATA_DEV_LBA) {
		set_lba(c, lba);
		if (!c->ext)
			c->tf.device = (uint8_t)((c->tf.device & 0xf0) | (lba >> 24 & 15));
	}
	ata_fail(c, error);
}

static void io_failed(struct ata_disk *d, struct ata_cmd *c, int ret)
{
	uint64_t lba = c->lba + c->x.moved / ATA_SECTOR;

	log_guest(d->env->log, &d->limit, "%s: %s sector %llu failed: %s", d->ata.name,
		  c->x.dir == XFER_OUT ? "writing" : "reading", (unsigned long long)lba,
		  strerror(-ret));
	if (ret == -ENOMEM || ret == -ECANCELED || ret == -EROFS)
		fail_at(d, c, ATA_ER_ABRT, lba);
	else
		fail_at(d, c, ret == -EINVAL ? ATA_ER_IDNF : ATA_ER_UNC, lba);
}

/*
 * Data.
 */
static struct ata_disk *disk_of(struct ata_cmd *c)
{
	return container_of(c->dev, struct ata_disk, ata);
}

static void rw_done(struct xfer *x, int ret)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);
	struct ata_disk *d = disk_of(c);

	if (ret < 0 && x->dir == XFER_IN && x->buf_len > ATA_SECTOR &&
	    ret != -ENOMEM && ret != -ECANCELED) {
		/* Which sector is it? What can be read before it is delivered. */
		x->buf_len = (uint32_t)align_up(x->buf_len / 2, ATA_SECTOR);
		xfer_io(x, &d->drive, BLK_READ, 0, c->lba * ATA_SECTOR + x->moved, x->buf_len,
			rw_done);
		return;
	}
	if (ret < 0) {
		io_failed(d, c, ret);
		return;
	}
	x->moved += x->buf_len;
	if (x->dir == XFER_OUT && x->moved == x->len)
		ata_ok(c);
	else
		x->phase = XFER_DATA;
}

static void rw_move(struct xfer *x, uint32_t len)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);
	struct ata_disk *d = disk_of(c);

	if (!xfer_reserve(x, len)) {
		io_failed(d, c, -ENOMEM);
		return;
	}
	xfer_io(x, &d->drive, x->dir == XFER_OUT ? BLK_WRITE : BLK_READ, c->fua ? BLK_REQ_FUA : 0,
		c->lba * ATA_SECTOR + x->moved, len, rw_done);
}

static void rw_finish(struct xfer *x)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);

	c->tf.status = ATA_ST_DRDY | ATA_ST_DSC;
	c->tf.error = 0;
}

/* READ VERIFY: sectors are read, to nowhere. */
static void verify_step(struct xfer *x, int ret)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);
	struct ata_disk *d = disk_of(c);

	if (ret < 0 && x->buf_len > ATA_SECTOR && ret != -ENOMEM && ret != -ECANCELED) {
		x->buf_len = (uint32_t)align_up(x->buf_len / 2, ATA_SECTOR);
	} else if (ret < 0) {
		io_failed(d, c, ret);
		return;
	} else {
		x->moved += x->buf_len;
		x->buf_len = (uint32_t)min_of(x->len - x->moved, (uint64_t)VERIFY_STEP);
	}
	if (!x->buf_len)
		ata_ok(c);
	else
		xfer_io(x, &d->drive, BLK_READ, 0, c->lba * ATA_SECTOR + x->moved, x->buf_len,
			verify_step);
}

/*
 * Where: LBA28, LBA48 or cylinder, head, sector.
 */
static bool take_address(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	const struct ata_tf *t = &c->tf;
	const uint8_t *count = flags & RW_QUEUED ? t->feature : t->count;
	uint64_t lba = (uint64_t)t->lba[0] | (uint64_t)t->lba[1] << 8 | (uint64_t)t->lba[2] << 16;

	c->ext = flags & RW_EXT;
	if (c->ext) {
		lba |= (uint64_t)t->lba[3] << 24 | (uint64_t)t->lba[4] << 32 |
		       (uint64_t)t->lba[5] << 40;
		c->sectors = (uint32_t)count[0] | (uint32_t)count[1] << 8;
		c->sectors = c->sectors ? c->sectors : 65536;
	} else {
		c->sectors = count[0] ? count[0] : 256;
		if (t->device & ATA_DEV_LBA) {
			lba |= (uint64_t)(t->device & 15) << 24;
		} else {
			uint32_t cylinder = t->lba[1] | (uint32_t)t->lba[2] << 8;
			uint8_t head = t->device & 15, sector = t->lba[0];

			if (!sector || sector > d->sectors || head >= d->heads)
				return false;
			lba = ((uint64_t)cylinder * d->heads + head) * d->sectors + sector - 1;
		}
	}
	c->lba = lba;
	return lba + c->sectors <= ata_disk_sectors(d) && (c->ext || lba < LBA28_MAX);
}

void ata_do_rw(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	static const struct xfer_ops ops = { rw_move, rw_finish };
	struct xfer *x = &c->x;

	if (flags & RW_QUEUED) {
		c->queued = true;
		c->tag = c->tf.count[0] >> 3;
	}
	if (flags & RW_MULTIPLE && !d->multiple) {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	if (!take_address(d, c, flags)) {
		fail_at(d, c, ATA_ER_IDNF, c->lba);
		return;
	}
	if (flags & RW_WRITE && !blk_writable(d->blk)) {
		io_failed(d, c, -EROFS);
		return;
	}
	c->fua = flags & RW_WRITE && (flags & RW_FUA || !d->write_cache ||
				      (flags & RW_QUEUED && c->tf.device & 0x80));
	c->proto = flags & RW_DMA ? ATA_PROTO_DMA : ATA_PROTO_PIO;
	c->drq_len = ATA_SECTOR * (flags & RW_MULTIPLE ? d->multiple : 1);
	x->ops = &ops;
	x->block = ATA_SECTOR;
	x->len = (uint64_t)c->sectors * ATA_SECTOR;
	if (flags & RW_VERIFY) {
		c->proto = ATA_PROTO_NODATA;
		if (!xfer_reserve(x, (uint32_t)min_of(x->len, (uint64_t)VERIFY_STEP))) {
			io_failed(d, c, -ENOMEM);
			return;
		}
		verify_step(x, 0);
		return;
	}
	x->dir = flags & RW_WRITE ? XFER_OUT : XFER_IN;
	x->phase = XFER_DATA;
}

/*
 * FLUSH CACHE.
 */
static void flush_done(struct xfer *x, int ret)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);

	if (ret < 0)
		io_failed(disk_of(c), c, ret);
	else
		ata_ok(c);
}

void ata_do_flush(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	c->lba = 0;
	xfer_io(&c->x, &d->drive, BLK_FLUSH, 0, 0, 0, flush_done);
}

/*
 * DATA SET MANAGEMENT, TRIM: 7.5. Ranges of 8 bytes, 48 bits of LBA and 16 of length.
 */
static void trim_next(struct xfer *x, int ret)
{
	struct ata_cmd *c = container_of(x, struct ata_cmd, x);
	struct ata_disk *d = disk_of(c);
	const uint8_t *ranges = x->buf->data;

	if (ret < 0 && ret != -EOPNOTSUPP) {
		io_failed(d, c, ret);
		return;
	}
	/* c->step: the next of the ranges. */
	for (; c->step < x->len / 8; c->step++) {
		uint64_t range = ld_le64(ranges + c->step * 8), lba = range & low_mask(48);
		uint64_t count = range >> 48;

		if (!count)
			continue;
		c->lba = lba;
		if (lba + count > ata_disk_sectors(d)) {
			fail_at(d, c, ATA_ER_IDNF, lba);
			return;
		}
		c->step++;
		xfer_io(x, &d->drive, BLK_DISCARD, 0, lba * ATA_SECTOR, count * ATA_SECTOR, trim_next);
		return;
	}
	ata_ok(c);
}

static void trim_move(struct xfer *x, uint32_t len)
{
	x->moved += len;
	trim_next(x, 0);
}

void ata_do_trim(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	static const struct xfer_ops ops = { trim_move, NULL };
	uint32_t blocks = c->tf.count[0] | (uint32_t)c->tf.count[1] << 8;

	if (!d->discard || !(c->tf.feature[0] & 1) || !blocks || blocks > ATA_TRIM_BLOCKS ||
	    !blk_writable(d->blk) || !xfer_reserve(&c->x, ATA_BLOCK_MAX)) {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	c->proto = ATA_PROTO_DMA;
	c->ext = true;
	c->x.ops = &ops;
	c->x.dir = XFER_OUT;
	c->x.len = c->x.block = blocks * ATA_SECTOR;
	c->x.phase = XFER_DATA;
}
