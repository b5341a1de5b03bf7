/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The controller: registers, interrupts, and the commands that move no data. */
#include "src/dev/legacy/fdc.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"
#include "src/dev/legacy/fdc_priv.h"

#define DOR_RUN 0x04u /* not reset */
#define DOR_GATE 0x08u /* DMA and interrupts */
#define MSR_RQM 0x80u
#define MSR_DIO 0x40u /* to the host */
#define MSR_NON_DMA 0x20u
#define MSR_BUSY 0x10u
#define CONFIG_DEFAULT 0x20u /* no FIFO, polling */
#define CONFIG_NO_POLL 0x10u
#define DMA_CHANNEL 2u

/* The interrupt line is let go while the gate is shut. */
void fdc_irq(struct fdc *f, int level)
{
	irq_set(&f->irq, level && f->dor & DOR_GATE);
}

void fdc_result(struct fdc *f, uint8_t len, bool irq)
{
	f->phase = FDC_RESULT;
	f->result_len = len;
	f->result_pos = 0;
	if (irq)
		fdc_irq(f, 1);
}

static void idle(struct fdc *f)
{
	f->phase = FDC_IDLE;
	f->cmd_pos = f->cmd_len = f->result_pos = f->result_len = 0;
}

static void stop(struct fdc *f)
{
	fdc_data_stop(f);
	idle(f);
	f->seek_done = 0;
	f->reset_sense = 0;
	fdc_irq(f, 0);
}

/* Out of reset: the drives are polled, which SENSE INTERRUPT tells one by one (5.2.1). */
static void start(struct fdc *f)
{
	if (!f->lock) {
		f->config = CONFIG_DEFAULT;
		f->pretrack = 0;
	}
	f->perpendicular &= 0xfc;
	f->reset_sense = f->config & CONFIG_NO_POLL ? 0 : 4;
	if (f->reset_sense)
		fdc_irq(f, 1);
}

static struct floppy *drive_at(const struct fdc *f, unsigned n)
{
	return n < FDC_DRIVES ? f->drive[n] : NULL;
}

/*
 * Commands.
 */
static void invalid(struct fdc *f)
{
	f->result[0] = ST0_INVALID;
	fdc_result(f, 1, false);
}

static void do_data(struct fdc *f) { fdc_data_begin(f); }

static void do_specify(struct fdc *f)
{
	memcpy(f->specify, f->cmd + 1, 2);
	idle(f);
}

static void do_sense_drive(struct fdc *f)
{
	unsigned n = f->cmd[1] & 3;
	const struct floppy *d = drive_at(f, n);

	f->result[0] = (uint8_t)(0x28 | (f->cmd[1] & 7)); /* ready, two sides */
	if (d && d->cylinder == 0)
		f->result[0] |= 0x10;
	if (d && d->shape && !blk_writable(d->blk))
		f->result[0] |= 0x40;
	fdc_result(f, 1, false);
}

/* Heads have arrived. A step with a disk in the drive takes the change line back. */
static void arrived(struct fdc *f, unsigned n, uint8_t st0)
{
	struct floppy *d = drive_at(f, n);

	if (d && d->shape)
		d->changed = false;
	f->seek_st0[n] = (uint8_t)(st0 | n);
	f->seek_done |= (uint8_t)(1u << n);
	idle(f);
	fdc_irq(f, 1);
}

static void do_recalibrate(struct fdc *f)
{
	unsigned n = f->cmd[1] & 3;
	struct floppy *d = drive_at(f, n);

	if (d)
		d->cylinder = 0;
	arrived(f, n, d ? ST0_SEEK_END : ST0_SEEK_END | ST0_ABNORMAL | ST0_EQUIPMENT);
}

static void do_seek(struct fdc *f)
{
	unsigned n = f->cmd[1] & 3, to = f->cmd[2];
	struct floppy *d = drive_at(f, n);

	if (d && f->cmd[0] & 0x80) /* relative: in, or out */
		to = f->cmd[0] & 0x40 ? d->cylinder + to : d->cylinder > to ? d->cylinder - to : 0;
	if (d)
		d->cylinder = (uint8_t)min_of(to, 84u); /* where the heads meet their stop */
	arrived(f, n, (uint8_t)(ST0_SEEK_END | (f->cmd[1] & 4)));
}

static void do_sense_interrupt(struct fdc *f)
{
	unsigned n;

	fdc_irq(f, 0);
	if (f->reset_sense) {
		n = 4u - f->reset_sense--;
		f->result[0] = (uint8_t)(0xc0 | n);
	} else if (f->seek_done) {
		n = (unsigned)__builtin_ctz(f->seek_done);
		f->seek_done &= (uint8_t)(f->seek_done - 1);
		f->result[0] = f->seek_st0[n & 3];
	} else {
		invalid(f);
		return;
	}
	f->result[1] = drive_at(f, n) ? drive_at(f, n)->cylinder : 0;
	fdc_result(f, 2, false);
}

static void do_version(struct fdc *f)
{
	f->result[0] = 0x90; /* 82077AA and later */
	fdc_result(f, 1, false);
}

static void do_part_id(struct fdc *f)
{
	f->result[0] = 0x41; /* 82078, 44 pins */
	fdc_result(f, 1, false);
}

static void do_configure(struct fdc *f)
{
	f->config = f->cmd[2] & 0x7f;
	f->pretrack = f->cmd[3];
	idle(f);
}

static void do_perpendicular(struct fdc *f)
{
	/* Bits of drives change only with the overwrite bit: 6.2.9. */
	if (f->cmd[1] & 0x80)
		f->perpendicular = f->cmd[1] & 0x7f;
	else
		f->perpendicular = (f->perpendicular & 0x7c) | (f->cmd[1] & 3);
	idle(f);
}

static void do_lock(struct fdc *f)
{
	f->lock = f->cmd[0] & 0x80;
	f->result[0] = (uint8_t)(f->lock << 4);
	fdc_result(f, 1, false);
}

static void do_dump(struct fdc *f)
{
	for (unsigned n = 0; n < 4; n++)
		f->result[n] = drive_at(f, n) ? drive_at(f, n)->cylinder : 0;
	f->result[4] = f->specify[0];
	f->result[5] = f->specify[1];
	f->result[6] = f->last_eot;
	f->result[7] = (uint8_t)(f->lock << 7 | (f->perpendicular & 0x7f));
	f->result[8] = f->config;
	f->result[9] = f->pretrack;
	fdc_result(f, 10, false);
}

static const struct {
	uint8_t mask, value, len; /* of the first byte; bytes of the command in all */
	void (*fn)(struct fdc *f);
} commands[] = {
	{ 0x1f, 0x06, 9, do_data }, /* READ DATA */
	{ 0x3f, 0x05, 9, do_data }, /* WRITE DATA */
	{ 0x1f, 0x0c, 9, do_data }, /* READ DELETED DATA */
	{ 0x3f, 0x09, 9, do_data }, /* WRITE DELETED DATA */
	{ 0x9f, 0x02, 9, do_data }, /* READ TRACK */
	{ 0x1f, 0x16, 9, do_data }, /* VERIFY */
	{ 0xbf, 0x0d, 6, do_data }, /* FORMAT TRACK */
	{ 0xbf, 0x0a, 2, do_data }, /* READ ID */
	{ 0xff, 0x07, 2, do_recalibrate },
	{ 0xff, 0x08, 1, do_sense_interrupt },
	{ 0xff, 0x03, 3, do_specify },
	{ 0xff, 0x04, 2, do_sense_drive },
	{ 0xff, 0x0f, 3, do_seek },
	{ 0xbf, 0x8f, 3, do_seek }, /* RELATIVE SEEK */
	{ 0xff, 0x10, 1, do_version },
	{ 0xff, 0x18, 1, do_part_id },
	{ 0xff, 0x13, 4, do_configure },
	{ 0xff, 0x12, 2, do_perpendicular },
	{ 0x7f, 0x14, 1, do_lock },
	{ 0xff, 0x0e, 1, do_dump },
};

static void (*handler(uint8_t first, uint8_t *len))(struct fdc *f)
{
	for (size_t i = 0; i < array_size(commands); i++) {
		if ((first & commands[i].mask) == commands[i].value) {
			*len = commands[i].len;
			return commands[i].fn;
		}
	}
	*len = 1;
	return invalid;
}

/*
 * Registers.
 */
static void fifo_write(struct fdc *f, uint8_t val)
{
	void (*fn)(struct fdc *);

	if (!(f->dor & DOR_RUN))
		return;
	if (f->phase == FDC_EXEC) {
		fdc_data_write(f, val);
		return;
	}
	if (f->phase == FDC_RESULT)
		return; /* the result is read first */
	if (f->phase == FDC_IDLE) {
		f->phase = FDC_COMMAND;
		f->cmd_pos = 0;
	}
	if (f->cmd_pos >= sizeof(f->cmd)) /* cannot be: no command is longer */
		idle(f);
	f->cmd[f->cmd_pos++] = val;
	fn = handler(f->cmd[0], &f->cmd_len);
	if (f->cmd_pos >= f->cmd_len)
		fn(f);
}

static uint8_t fifo_read(struct fdc *f)
{
	uint8_t v;

	if (f->phase == FDC_EXEC)
		return fdc_data_read(f);
	if (f->phase != FDC_RESULT)
		return 0;
	fdc_irq(f, 0);
	v = f->result[f->result_pos++];
	if (f->result_pos >= f->result_len)
		idle(f);
	return v;
}

static uint8_t read_msr(const struct fdc *f)
{
	if (!(f->dor & DOR_RUN))
		return 0;
	switch (f->phase) {
	case FDC_IDLE: return MSR_RQM;
	case FDC_COMMAND: return MSR_RQM | MSR_BUSY;
	case FDC_RESULT: return MSR_RQM | MSR_DIO | MSR_BUSY;
	}
	if (!fdc_non_dma(f))
		return MSR_BUSY;
	if (f->step == FDC_DATA_IN)
		return MSR_RQM | MSR_DIO | MSR_NON_DMA | MSR_BUSY;
	return f->step == FDC_DATA_OUT ? MSR_RQM | MSR_NON_DMA | MSR_BUSY : MSR_NON_DMA | MSR_BUSY;
}

static void write_dor(struct fdc *f, uint8_t val)
{
	uint8_t was = f->dor;

	f->dor = val;
	if (!(val & DOR_GATE))
		irq_set(&f->irq, 0);
	if (!(val & DOR_RUN))
		stop(f);
	else if (!(was & DOR_RUN))
		start(f);
	fdc_data_pump(f);
}

static uint64_t reg_read(void *dev, uint64_t off, unsigned size)
{
	struct fdc *f = dev;

	fdc_data_again(f);
	switch (off) {
	case 2: return f->dor;
	case 3: return f->tdr | 0xfc;
	case 4: return read_msr(f);
	case 5: return fifo_read(f);
	}
	return 0xff; /* status A and B are not there in AT mode */
}

static void reg_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct fdc *f = dev;

	fdc_data_again(f);
	switch (off) {
	case 2:
		write_dor(f, (uint8_t)val);
		break;
	case 3:
		f->tdr = val & 3;
		break;
	case 4: /* DSR */
		f->rate = val & 3;
		if (val & 0x80 && f->dor & DOR_RUN) {
			stop(f);
			start(f);
		}
		break;
	case 5:
		fifo_write(f, (uint8_t)val);
		break;
	}
}

/* 3f7h: the change line of the selected drive; the data rate. */
static uint64_t dir_read(void *dev, uint64_t off, unsigned size)
{
	struct fdc *f = dev;
	const struct floppy *d = drive_at(f, f->dor & 3);

	return d && (d->changed || !d->shape) ? 0x80 : 0;
}

static void ccr_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	((struct fdc *)dev)->rate = val & 3;
}

static const struct bus_ops ops = { reg_read, reg_write, 1, 1, false };
static const struct bus_ops dir_ops = { dir_read, ccr_write, 1, 1, false };

/*
 * Life.
 */
static void dma_ready(void *opaque)
{
	fdc_data_pump(opaque);
}

static void restart(void *opaque)
{
	fdc_data_again(opaque);
}

static void settled(struct xfer *x)
{
	/* io_done has gone on already. */
}

static void reset(void *dev)
{
	struct fdc *f = dev;

	vtimer_cancel(&f->restart);
	f->lock = false;
	f->perpendicular = f->tdr = f->last_eot = 0;
	memset(f->specify, 0, sizeof(f->specify));
	f->rate = FDC_RATE_250;
	f->dor = 0;
	stop(f);
	f->config = CONFIG_DEFAULT;
	f->pretrack = 0;
	/* What commands left behind; a reset by the guest keeps it. */
	f->cmd_len = f->cmd_pos = f->result_len = f->result_pos = 0;
	f->unit = f->head = f->cylinder = f->sector = f->left = 0;
	f->pos = 0;
	f->end = false;
	memset(f->cmd, 0, sizeof(f->cmd));
	memset(f->result, 0, sizeof(f->result));
	memset(f->seek_st0, 0, sizeof(f->seek_st0));
	memset(f->buf, 0, sizeof(f->buf));
}

uint8_t fdc_cmos_types(const struct fdc *f)
{
	return (uint8_t)((f->drive[0] ? f->drive[0]->cmos_type << 4 : 0) |
			 (f->drive[1] ? f->drive[1]->cmos_type : 0));
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct fdc *f = dev;
	int ret;

	if (!plug->gsi || !plug->dma)
		return err_set(err, -EINVAL, "%s: this board has no ISA interrupts and DMA for it",
			       plug->id);
	f->env = plug->env;
	f->dma = plug->dma;
	f->irq = gsi_line(plug->gsi, 6);
	f->x.ready = settled;
	f->ports = (struct bus_range){ 0x3f0, 6, &ops, f, "fdc" };
	f->dir_port = (struct bus_range){ 0x3f7, 1, &dir_ops, f, "fdc" };
	vtimer_init(&f->restart, f->env->vtime, restart, f);
	reset(f);
	ret = bus_add_pio(f->env->bus, &f->ports);
	if (ret == 0)
		ret = bus_add_pio(f->env->bus, &f->dir_port);
	if (ret < 0) {
		bus_del_pio(f->env->bus, &f->ports);
		return err_set(err, ret, "%s: the ports of the floppy controller are taken",
			       plug->id);
	}
	i8237_connect(f->dma, DMA_CHANNEL, dma_ready, f);
	return 0;
}

static void fini(void *dev)
{
	struct fdc *f = dev;

	vtimer_cancel(&f->restart);
	stop(f);
	xfer_release(&f->x);
	i8237_connect(f->dma, DMA_CHANNEL, NULL, NULL);
	bus_del_pio(f->env->bus, &f->ports);
	bus_del_pio(f->env->bus, &f->dir_port);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return snprintf(buf, len, "fdc@03f0") < (int)len ? 0 : -ENOSPC;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct fdc *f = obj;

	if (f->phase >= FDC_PHASES || f->step >= FDC_STEPS || f->cmd_pos > sizeof(f->cmd) ||
	    f->result_len > sizeof(f->result) || f->pos >= FDC_SECTOR || f->reset_sense > 4 ||
	    f->seek_done > 15 || f->unit > 3 || f->head > 1 ||
	    (f->phase == FDC_RESULT && f->result_pos >= f->result_len) ||
	    (f->phase != FDC_EXEC && f->step != FDC_NONE) ||
	    (f->phase == FDC_EXEC && (f->step == FDC_NONE || f->cmd_pos < 2)) ||
	    ((f->cmd[0] & 0x1f) == 0x0d && f->step == FDC_DATA_OUT && f->pos >= 4))
		return err_set(err, -EINVAL, "a floppy controller's command makes no sense");
	xfer_cancel(&f->x);
	f->rate &= 3;
	vtimer_arm(&f->restart, vtime_now_ns(f->env->vtime));
	return 0;
}

#define F struct fdc
static const struct state_field fields[] = {
	STATE_IRQ(F, irq, 1),
	STATE_U8(F, dor, 1), STATE_U8(F, tdr, 1), STATE_U8(F, rate, 1),
	STATE_ARRAY(F, specify, 1), STATE_U8(F, config, 1), STATE_U8(F, pretrack, 1),
	STATE_U8(F, perpendicular, 1), STATE_U8(F, last_eot, 1), STATE_BOOL(F, lock, 1),
	STATE_U8(F, phase, 1), STATE_ARRAY(F, cmd, 1), STATE_U8(F, cmd_len, 1),
	STATE_U8(F, cmd_pos, 1), STATE_ARRAY(F, result, 1), STATE_U8(F, result_len, 1),
	STATE_U8(F, result_pos, 1), STATE_U8(F, reset_sense, 1), STATE_U8(F, seek_done, 1),
	STATE_ARRAY(F, seek_st0, 1), STATE_U8(F, step, 1), STATE_U8(F, unit, 1),
	STATE_U8(F, head, 1), STATE_U8(F, cylinder, 1), STATE_U8(F, sector, 1),
	STATE_U8(F, left, 1), STATE_BOOL(F, end, 1), STATE_BYTES(F, buf, 1), STATE_U16(F, pos, 1),
	STATE_END
};
#undef F

static const struct state_desc state = {
	.name = "isa-fdc", .version = 1, .fields = fields, .post_load = post_load,
};

static const struct dev_prop props[] = { DEV_PROP_END };

const struct dev_desc isa_fdc_desc = {
	.name = "isa-fdc", .title = "floppy controller (82078)", .single = true,
	.reset = reset, .state = &state,
	.size = sizeof(struct fdc), .bus = DEV_BUS_ISA, .provides = DEV_BUS_FLOPPY,
	.slots = FDC_DRIVES, .props = props, .init = init, .fini = fini, .fw_name = fw_name,
};
