/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between piix_ide.c (PCI, bus master) and ide_channel.c (task file, PIO). */
#ifndef BOTHY_DEV_STORAGE_IDE_PRIV_H
#define BOTHY_DEV_STORAGE_IDE_PRIV_H

#include "src/dev/storage/piix_ide.h"

#define BM_START 0x01u
#define BM_TO_MEMORY 0x08u
#define BM_ACTIVE 0x01u
#define BM_ERROR 0x02u
#define BM_IRQ 0x04u

extern const struct bus_ops ide_command_ops, ide_control_ops;

void ide_channel_reset(struct ide_channel *ch); /* as by RESET- */
void ide_channel_cancel(struct ide_channel *ch);
void ide_channel_plugged(struct ide_channel *ch, unsigned unit);
void ide_step(struct ide_channel *ch); /* looks at the command's phase */
void ide_set_status(struct ide_channel *ch, uint8_t status);
void ide_restart(struct ide_channel *ch);
void ide_pre_save(struct ide_channel *ch);

/* In IDE_DMA: moves what the bus master lets through. */
void ide_dma_run(struct ide_channel *ch);

struct ata_dev *ide_dev(const struct ide_channel *ch, unsigned unit);

#endif
