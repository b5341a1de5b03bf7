/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between fdc.c (registers, small commands), fdc_data.c (sectors) and floppy.c. */
#ifndef BOTHY_DEV_LEGACY_FDC_PRIV_H
#define BOTHY_DEV_LEGACY_FDC_PRIV_H

#include "src/dev/legacy/fdc.h"

#define FDC_RATE_500 0u
#define FDC_RATE_300 1u
#define FDC_RATE_250 2u
#define FDC_RATE_1000 3u

#define ST0_ABNORMAL 0x40u
#define ST0_INVALID 0x80u
#define ST0_SEEK_END 0x20u
#define ST0_EQUIPMENT 0x10u
#define ST1_MISSING_MARK 0x01u
#define ST1_WRITE_PROTECT 0x02u
#define ST1_NO_DATA 0x04u
#define ST1_DATA_ERROR 0x20u
#define ST1_END 0x80u
#define ST2_WRONG_CYLINDER 0x10u
#define ST2_DATA_ERROR 0x20u
#define ST2_CONTROL_MARK 0x40u

#define CONFIG_IMPLIED_SEEK 0x40u

void fdc_irq(struct fdc *f, int level);
/* The result phase: @len bytes of f->result. @irq: it is announced. */
void fdc_result(struct fdc *f, uint8_t len, bool irq);

void fdc_data_begin(struct fdc *f);  /* f->cmd: READ, WRITE, FORMAT, VERIFY, READ ID */
void fdc_data_stop(struct fdc *f);   /* forgets it */
void fdc_data_pump(struct fdc *f);   /* moves by DMA what can be moved */
void fdc_data_again(struct fdc *f);  /* after a restore */
uint8_t fdc_data_read(struct fdc *f);
void fdc_data_write(struct fdc *f, uint8_t val);
bool fdc_non_dma(const struct fdc *f);
void fdc_drive_gone(struct fdc *f, unsigned slot);

#endif
