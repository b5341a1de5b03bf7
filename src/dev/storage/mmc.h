/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD or DVD drive as a SCSI command processor: command block in, data through
 * xfer.h, status and sense out. ATAPI and SCSI controllers carry it. Source: MMC-6
 * (T10/1836-D), SPC-4, SFF-8020i for what MMC has dropped and systems still send.
 *
 * With a SCSI controller: embed a struct mmc in the device and a struct mmc_cmd (and
 * its struct xfer) in each request. One command of a drive is under way at a time.
 *
 *   cmd.x = &xfer; xfer.ready = ...; memcpy(cmd.cdb, ...); mmc_start(&mmc, &cmd);
 *   look at xfer.phase, move data as xfer.h says, until XFER_END; then cmd.status, and
 *   with MMC_CHECK the sense bytes.
 */
#ifndef BOTHY_DEV_STORAGE_MMC_H
#define BOTHY_DEV_STORAGE_MMC_H

#include "src/base/log.h"
#include "src/dev/storage/medium.h"
#include "src/dev/storage/xfer.h"
#include "src/state/state.h"

#define MMC_BLOCK 2048u
#define MMC_RAW 2352u
#define MMC_SENSE_LEN 18u
/* A buffer of this many bytes holds any one block or reply. */
#define MMC_MOVE_MIN 8192u

#define MMC_GOOD 0x00u
#define MMC_CHECK 0x02u

struct mmc;

struct mmc_cmd {
	struct xfer *x;      /* not owned; phase and data */
	uint8_t cdb[16];
	bool again;          /* begun once more after a restore: attentions can wait */
	uint8_t status;      /* MMC_GOOD, MMC_CHECK */
	uint8_t sense[MMC_SENSE_LEN]; /* fixed format; with MMC_CHECK */
	/* mmc's own. */
	struct mmc *mmc;
	uint32_t lba;        /* of the next block to read */
	uint8_t form;        /* READ CD: what of a sector is wanted */
};

struct mmc_id {
	const char *vendor, *product, *revision; /* 8, 16, 4 characters at most */
	const char *serial; /* NULL: none */
};

struct mmc {
	struct medium medium;
	struct drive drive;
	struct mmc_id id;
	bool sata;         /* ATAPI over SATA: what GET CONFIGURATION calls the interface */
	bool atapi;
	/* Sense that REQUEST SENSE will tell. */
	uint8_t key, asc, ascq;
	uint8_t attention; /* unit attentions pending, bits of MMC_UA_* */
	bool mounted;      /* what the guest was last told: a medium is there */
	bool media_event, eject_event; /* for GET EVENT STATUS NOTIFICATION */
	struct log_limit limit;
};

#define MMC_UA_RESET 0x1u
#define MMC_UA_MEDIUM 0x2u /* "not ready to ready change, medium may have changed" */

/* @blk: NULL: always empty. The texts of @id must outlive @m. */
void mmc_init(struct mmc *m, struct blk *blk, const struct mmc_id *id);
void mmc_fini(struct mmc *m);
/* Power-on or bus reset: a unit attention, tray unlocked. */
void mmc_reset(struct mmc *m);

/* Begins cmd->cdb. cmd->x->phase: XFER_BUSY, XFER_DATA (x->len bytes to move at most)
 * or XFER_END. */
void mmc_start(struct mmc *m, struct mmc_cmd *c);

/* The standard INQUIRY data; @len bytes written (36). For controllers that answer for it. */
unsigned mmc_inquiry(const struct mmc *m, uint8_t *buf);

extern const struct state_desc mmc_state;

#endif
