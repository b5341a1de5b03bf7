/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between ata_disk.c (commands), ata_rw.c (what moves sectors) and ata_info.c (what is
 * told of the disk). */
#ifndef BOTHY_DEV_STORAGE_ATA_DISK_PRIV_H
#define BOTHY_DEV_STORAGE_ATA_DISK_PRIV_H

#include "src/dev/storage/ata_disk.h"

/* How a command wants its sectors. */
#define RW_EXT 0x01u      /* 48-bit */
#define RW_DMA 0x02u
#define RW_MULTIPLE 0x04u
#define RW_WRITE 0x08u
#define RW_FUA 0x10u
#define RW_VERIFY 0x20u   /* read, but no data moves */
#define RW_QUEUED 0x40u

typedef void ata_handler(struct ata_disk *d, struct ata_cmd *c, unsigned flags);
ata_handler ata_do_rw, ata_do_flush, ata_do_trim, ata_do_identify, ata_do_smart, ata_do_log;

uint64_t ata_disk_sectors(const struct ata_disk *d);

#endif
