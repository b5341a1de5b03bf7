/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy disk controller "isa-fdc", an 82078 at 3f0h-3f7h with IRQ 6 and DMA channel
 * 2, and its drives "floppy". Source: Intel 82078 data sheet (290475).
 */
#ifndef BOTHY_DEV_LEGACY_FDC_H
#define BOTHY_DEV_LEGACY_FDC_H

#include "src/dev/legacy/gsi.h"
#include "src/dev/legacy/i8237.h"
#include "src/dev/storage/medium.h"
#include "src/dev/storage/xfer.h"

#define FDC_DRIVES 2u
#define FDC_SECTOR 512u

/* A disk's shape, told from the image's size. */
struct floppy_shape {
	uint16_t sectors; /* in all */
	uint8_t cylinders, heads, track; /* track: sectors of one */
	uint8_t rate;     /* as in the data rate register */
	uint8_t drive;    /* CMOS type of the drive that it is for */
};

struct fdc;

struct floppy {
	struct fdc *fdc;
	unsigned slot;
	/* Properties. */
	struct blk *blk;
	uint32_t type; /* choice; 0: as the first disk wants */

	struct medium medium;
	struct drive drive;
	const struct floppy_shape *shape; /* NULL: no disk */
	uint8_t cmos_type;
	uint8_t cylinder; /* where the heads are */
	bool changed;     /* the change line */
};

enum fdc_phase { FDC_IDLE, FDC_COMMAND, FDC_EXEC, FDC_RESULT, FDC_PHASES };
enum fdc_step { FDC_NONE, FDC_READING, FDC_DATA_IN, FDC_DATA_OUT, FDC_WRITING, FDC_STEPS };

struct fdc {
	struct floppy *drive[FDC_DRIVES]; /* must be first: drives know it by this */
	const struct dev_env *env;
	struct i8237 *dma;
	struct irq_line irq;
	struct bus_range ports, dir_port;
	uint8_t dor, tdr, rate;
	uint8_t specify[2], config, pretrack, perpendicular, last_eot;
	bool lock;
	uint8_t phase, cmd[9], cmd_len, cmd_pos;
	uint8_t result[10], result_len, result_pos;
	uint8_t reset_sense;          /* SENSE INTERRUPTs that tell of the reset */
	uint8_t seek_done;            /* bit n: drive n's seek is to be told */
	uint8_t seek_st0[4];
	/* A command that moves data. */
	uint8_t step, unit, head, cylinder, sector, left; /* left: sectors to format */
	bool end;                     /* TC came */
	uint8_t buf[FDC_SECTOR];
	uint16_t pos;
	struct xfer x;
	struct vtimer restart;
};

/* The CMOS types of drives 0 (high nibble) and 1. */
uint8_t fdc_cmos_types(const struct fdc *f);

extern const struct dev_desc isa_fdc_desc, floppy_desc;

#endif
