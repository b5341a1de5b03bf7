/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An ATA disk: "sata-disk" and "ide-disk". */
#ifndef BOTHY_DEV_STORAGE_ATA_DISK_H
#define BOTHY_DEV_STORAGE_ATA_DISK_H

#include "src/dev/storage/ata.h"

#define ATA_MULTIPLE_MAX 16u /* sectors for one DRQ */
#define ATA_TRIM_BLOCKS 8u   /* 512-byte blocks of ranges in one command */

/* What the NCQ error log (page 10h) tells of the first command that failed. */
struct ata_ncq_error {
	bool valid;
	uint8_t tag, status, error, device;
	uint64_t lba;
	uint8_t count[2];
};

struct ata_disk {
	struct ata_dev ata;
	/* Properties. */
	struct blk *blk;
	const char *serial, *model, *firmware;
	uint32_t rotation_rate;
	bool discard, write_cache_on;

	char serial_text[21];
	const struct dev_env *env;
	struct drive drive;
	/* What the guest has set. */
	uint8_t multiple;      /* sectors for one DRQ, 0: READ MULTIPLE is off */
	uint8_t heads, sectors; /* INITIALIZE DEVICE PARAMETERS */
	uint8_t pio_mode, mwdma_mode, udma_mode; /* 0xff: not that kind */
	bool write_cache, look_ahead, smart, smart_autosave;
	uint8_t power;         /* as CHECK POWER MODE tells; 0x01: asleep until a reset */
	struct ata_ncq_error ncq_error;
	struct log_limit limit;
};

#define ATA_POWER_STANDBY 0x00u
#define ATA_POWER_SLEEP 0x01u
#define ATA_POWER_IDLE 0x80u
#define ATA_POWER_ACTIVE 0xffu

extern const struct dev_desc sata_disk_desc, ide_disk_desc;

#endif
