/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between mmc.c (commands, sense), mmc_info.c (what tells of drive and disc) and
 * mmc_read.c (sectors). */
#ifndef BOTHY_DEV_STORAGE_MMC_PRIV_H
#define BOTHY_DEV_STORAGE_MMC_PRIV_H

#include "src/dev/storage/mmc.h"

/* Sense keys and additional codes (key, asc, ascq). */
#define SENSE_NOT_READY_OPEN 0x02, 0x3a, 0x02
#define SENSE_NOT_READY_EMPTY 0x02, 0x3a, 0x01
#define SENSE_READ_ERROR 0x03, 0x11, 0x00
#define SENSE_NO_MEMORY 0x04, 0x44, 0x00
#define SENSE_INVALID_OPCODE 0x05, 0x20, 0x00
#define SENSE_LBA_RANGE 0x05, 0x21, 0x00
#define SENSE_INVALID_FIELD 0x05, 0x24, 0x00
#define SENSE_INVALID_PARAMETER 0x05, 0x26, 0x00
#define SENSE_PARAMETER_LENGTH 0x05, 0x1a, 0x00
#define SENSE_WRONG_MEDIUM 0x05, 0x30, 0x02
#define SENSE_NO_SAVING 0x05, 0x39, 0x00
#define SENSE_LOCKED 0x05, 0x53, 0x02
#define SENSE_WRONG_TRACK_MODE 0x05, 0x64, 0x00
#define SENSE_UA_MEDIUM 0x06, 0x28, 0x00
#define SENSE_UA_RESET 0x06, 0x29, 0x00

/* A reply is put together here; positions beyond it are our own mistake. */
struct reply {
	uint8_t b[4096];
	unsigned len;
};

void mmc_ok(struct mmc_cmd *c);
void mmc_fail(struct mmc_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq);
void mmc_send(struct mmc_cmd *c, const struct reply *r, uint32_t alloc);

uint32_t mmc_blocks(const struct mmc *m); /* 0 without a medium */
bool mmc_is_dvd(const struct mmc *m);

/* The medium in reach? Fails @c if not. */
bool mmc_need_medium(struct mmc *m, struct mmc_cmd *c);

typedef void mmc_handler(struct mmc *m, struct mmc_cmd *c);
mmc_handler mmc_do_inquiry, mmc_do_read_toc, mmc_do_get_configuration, mmc_do_events,
	mmc_do_mode_sense, mmc_do_mechanism, mmc_do_disc_info, mmc_do_track_info,
	mmc_do_dvd_structure, mmc_do_subchannel, mmc_do_format_capacities, mmc_do_performance,
	mmc_do_read, mmc_do_read_cd;

#endif
