/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A CD or DVD drive behind the PACKET command: "sata-cd" and "ide-cd". */
#ifndef BOTHY_DEV_STORAGE_ATA_CD_H
#define BOTHY_DEV_STORAGE_ATA_CD_H

#include "src/dev/storage/ata.h"

struct ata_cd {
	struct ata_dev ata;
	/* Properties. */
	struct blk *blk;
	const char *serial, *model, *firmware;

	char serial_text[21];
	struct mmc mmc;
	uint8_t pio_mode, mwdma_mode, udma_mode; /* 0xff: not that kind */
};

extern const struct dev_desc sata_cd_desc, ide_cd_desc;

#endif
