/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that find and move sectors: data sheet 6.1. Sectors go through one buffer of
 * 512 bytes; positions in it never pass its end, whatever the host sends.
 */
#include "src/base/bits.h"
#include "src/dev/legacy/fdc_priv.h"

#define DMA_CHANNEL 2u
#define CMD_MT 0x80u
#define SIZE_512 2u
#define FORMAT_ID 4u /* bytes that the host gives for a sector */

static uint8_t opcode(const struct fdc *f) { return f->cmd[0] & 0x1f; }
static bool is_format(const struct fdc *f) { return opcode(f) == 0x0d; }
static bool is_verify(const struct fdc *f) { return opcode(f) == 0x16; }
static bool is_write(const struct fdc *f)
{
	return opcode(f) == 0x05 || opcode(f) == 0x09 || is_format(f);
}

static struct floppy *drive_of(const struct fdc *f)
{
	return f->unit < FDC_DRIVES ? f->drive[f->unit] : NULL;
}

bool fdc_non_dma(const struct fdc *f)
{
	return f->specify[1] & 1;
}

static uint16_t step_len(const struct fdc *f)
{
	return is_format(f) ? FORMAT_ID : FDC_SECTOR;
}

void fdc_data_stop(struct fdc *f)
{
	xfer_cancel(&f->x);
	f->step = FDC_NONE;
	f->pos = 0;
}

static void finish_on(struct fdc *f, uint8_t head, unsigned st0, unsigned st1, unsigned st2)
{
	uint8_t ids[4] = { f->cylinder, f->head, f->sector, SIZE_512 };

	fdc_data_stop(f);
	f->result[0] = (uint8_t)(st0 | (f->cmd[1] & 3) | head << 2);
	f->result[1] = (uint8_t)st1;
	f->result[2] = (uint8_t)st2;
	memcpy(f->result + 3, ids, 4);
	fdc_result(f, 7, true);
}

static void finish(struct fdc *f, unsigned st0, unsigned st1, unsigned st2)
{
	finish_on(f, f->head, st0, st1, st2);
}

/* To the sector after this one; false: there is none. Table 6-3 of the data sheet says
 * what the registers hold then. */
static bool advance(struct fdc *f)
{
	const struct floppy *d = drive_of(f);
	bool multi = f->cmd[0] & CMD_MT || is_verify(f);

	if (f->sector != f->cmd[6]) {
		f->sector++;
		return true;
	}
	f->sector = 1;
	if (multi && f->head == 0 && d && d->shape && d->shape->heads == 2) {
		f->head = 1;
		return true;
	}
	if (multi)
		f->head = 0;
	f->cylinder++;
	return false;
}

/* Is there such a sector? Ends the command if not. */
static bool find(struct fdc *f, uint64_t *off)
{
	struct floppy *d = drive_of(f);
	const struct floppy_shape *s = d ? d->shape : NULL;
	uint64_t n;

	if (!s || f->rate != s->rate || f->cylinder >= s->cylinders) {
		finish(f, ST0_ABNORMAL, ST1_MISSING_MARK, 0);
		return false;
	}
	if (f->cylinder != d->cylinder) {
		finish(f, ST0_ABNORMAL, ST1_NO_DATA, ST2_WRONG_CYLINDER);
		return false;
	}
	n = ((uint64_t)f->cylinder * s->heads + f->head) * s->track + f->sector - 1;
	*off = n * FDC_SECTOR;
	if (f->head >= s->heads || !f->sector || f->sector > s->track ||
	    *off + FDC_SECTOR > blk_len(d->blk)) {
		finish(f, ST0_ABNORMAL, ST1_NO_DATA, 0);
		return false;
	}
	if (is_write(f) && !blk_writable(d->blk)) {
		finish(f, ST0_ABNORMAL, ST1_WRITE_PROTECT, 0);
		return false;
	}
	return true;
}

static void next_sector(struct fdc *f);

/* A sector is done with. */
static void sector_over(struct fdc *f)
{
	uint8_t head = f->head; /* status tells of this sector, the other bytes of the next */

	f->pos = 0;
	if (is_format(f)) {
		if (f->left && --f->left && !f->end)
			next_sector(f);
		else
			finish(f, 0, 0, 0);
		return;
	}
	if (opcode(f) == 0x0c) { /* READ DELETED DATA: our sectors are not */
		advance(f);
		finish_on(f, head, 0, 0, ST2_CONTROL_MARK);
		return;
	}
	if (!advance(f)) {
		/* The host said no end before the track's: an error, but for VERIFY. */
		if (f->end || is_verify(f))
			finish_on(f, head, 0, 0, 0);
		else
			finish_on(f, head, ST0_ABNORMAL, ST1_END, 0);
		return;
	}
	if (f->end)
		finish_on(f, head, 0, 0, 0);
	else
		next_sector(f);
}

static void read_done(struct xfer *x, int ret)
{
	struct fdc *f = container_of(x, struct fdc, x);

	x->phase = XFER_IDLE;
	if (ret < 0) {
		finish(f, ST0_ABNORMAL, ST1_DATA_ERROR, ST2_DATA_ERROR);
		return;
	}
	memcpy(f->buf, x->buf->data, FDC_SECTOR);
	f->pos = 0;
	if (is_verify(f)) {
		f->step = FDC_NONE;
		sector_over(f);
		return;
	}
	f->step = FDC_DATA_IN;
	if (fdc_non_dma(f))
		fdc_irq(f, 1);
	else
		fdc_data_pump(f);
}

static void write_done(struct xfer *x, int ret)
{
	struct fdc *f = container_of(x, struct fdc, x);

	x->phase = XFER_IDLE;
	if (ret < 0)
		finish(f, ST0_ABNORMAL, ST1_DATA_ERROR, ST2_DATA_ERROR);
	else
		sector_over(f);
}

static void host_io(struct fdc *f, bool write)
{
	uint64_t off;

	f->step = write ? FDC_WRITING : FDC_READING;
	if (!find(f, &off))
		return;
	if (!xfer_reserve(&f->x, FDC_SECTOR)) {
		finish(f, ST0_ABNORMAL, ST1_DATA_ERROR, 0);
		return;
	}
	if (write && is_format(f))
		memset(f->x.buf->data, f->cmd[5], FDC_SECTOR);
	else if (write)
		memcpy(f->x.buf->data, f->buf, FDC_SECTOR);
	xfer_io(&f->x, &drive_of(f)->drive, write ? BLK_WRITE : BLK_READ, 0, off, FDC_SECTOR,
		write ? write_done : read_done);
}

/* All bytes for a sector have come. */
static void sector_given(struct fdc *f)
{
	f->pos = 0;
	if (is_format(f)) {
		f->cylinder = f->buf[0];
		f->sector = f->buf[2];
		if (f->buf[1] != f->head || f->buf[3] != SIZE_512) {
			finish(f, ST0_ABNORMAL, ST1_NO_DATA, 0); /* a disk that we cannot hold */
			return;
		}
	}
	host_io(f, true);
}

static void next_sector(struct fdc *f)
{
	uint64_t off;

	f->pos = 0;
	if (!is_write(f)) {
		host_io(f, false);
		return;
	}
	if (!is_format(f) && !find(f, &off))
		return;
	f->step = FDC_DATA_OUT;
	if (fdc_non_dma(f))
		fdc_irq(f, 1);
	else
		fdc_data_pump(f);
}

/* Buffer to host or back. The end of DMA within a sector: the rest of what is written is
 * zeroes. */
void fdc_data_pump(struct fdc *f)
{
	uint16_t len = step_len(f);
	bool in = f->step == FDC_DATA_IN, end = false;

	if (f->phase != FDC_EXEC || fdc_non_dma(f) || !(f->dor & 8) ||
	    (!in && f->step != FDC_DATA_OUT))
		return;
	f->pos = (uint16_t)(f->pos + i8237_move(f->dma, DMA_CHANNEL, f->buf + f->pos,
						len - f->pos, in, &end));
	if (end)
		f->end = true;
	if (f->pos < len && !f->end)
		return;
	if (in) {
		sector_over(f);
		return;
	}
	memset(f->buf + f->pos, 0, len - f->pos);
	f->pos = len;
	sector_given(f);
}

uint8_t fdc_data_read(struct fdc *f)
{
	uint8_t v;

	if (f->step != FDC_DATA_IN || !fdc_non_dma(f) || f->pos >= FDC_SECTOR)
		return 0;
	fdc_irq(f, 0);
	v = f->buf[f->pos++];
	if (f->pos == FDC_SECTOR)
		sector_over(f);
	return v;
}

void fdc_data_write(struct fdc *f, uint8_t val)
{
	if (f->step != FDC_DATA_OUT || !fdc_non_dma(f) || f->pos >= step_len(f))
		return;
	fdc_irq(f, 0);
	f->buf[f->pos++] = val;
	if (f->pos == step_len(f))
		sector_given(f);
}

/* READ ID: which sector passes the head. */
static void read_id(struct fdc *f)
{
	struct floppy *d = drive_of(f);

	f->cylinder = d ? d->cylinder : 0;
	f->sector = 1;
	if (!d || !d->shape || f->rate != d->shape->rate || f->head >= d->shape->heads ||
	    f->cylinder >= d->shape->cylinders)
		finish(f, ST0_ABNORMAL, ST1_MISSING_MARK, 0);
	else
		finish(f, 0, 0, 0);
}

void fdc_data_begin(struct fdc *f)
{
	struct floppy *d;

	f->phase = FDC_EXEC;
	f->unit = f->cmd[1] & 3;
	f->head = f->cmd[1] >> 2 & 1;
	f->end = false;
	f->left = 0;
	d = drive_of(f);
	if (opcode(f) == 0x0a) {
		read_id(f);
		return;
	}
	if (is_format(f)) {
		f->cylinder = d ? d->cylinder : 0;
		f->sector = 1;
		f->left = f->cmd[3];
		f->last_eot = f->cmd[3];
		if (f->cmd[2] != SIZE_512 || !f->left || !d || !d->shape ||
		    f->rate != d->shape->rate)
			finish(f, ST0_ABNORMAL, ST1_MISSING_MARK, 0);
		else
			next_sector(f);
		return;
	}
	f->cylinder = f->cmd[2];
	f->sector = opcode(f) == 0x02 ? 1 : f->cmd[4]; /* READ TRACK begins at its first */
	f->last_eot = f->cmd[6];
	if (f->config & CONFIG_IMPLIED_SEEK && d && d->shape) {
		d->cylinder = f->cylinder;
		d->changed = false;
	}
	if (f->cmd[3] != f->head || f->cmd[5] != SIZE_512)
		finish(f, ST0_ABNORMAL, d && d->shape ? ST1_NO_DATA : ST1_MISSING_MARK, 0);
	else
		next_sector(f);
}

void fdc_data_again(struct fdc *f)
{
	if (f->phase != FDC_EXEC || f->x.phase == XFER_BUSY)
		return;
	if (f->step == FDC_READING || f->step == FDC_WRITING)
		host_io(f, f->step == FDC_WRITING);
	else
		fdc_data_pump(f);
}

void fdc_drive_gone(struct fdc *f, unsigned slot)
{
	if (f->phase == FDC_EXEC && f->unit == slot)
		finish(f, ST0_ABNORMAL, ST1_MISSING_MARK, 0);
}
