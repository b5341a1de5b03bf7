/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between scsi_disk.c (commands), scsi_disk_rw.c (what moves blocks) and scsi_disk_info.c
 * (what is told of the disk). */
#ifndef BOTHY_DEV_STORAGE_SCSI_DISK_PRIV_H
#define BOTHY_DEV_STORAGE_SCSI_DISK_PRIV_H

#include "src/dev/storage/scsi_disk.h"

#define SCSI_DISK_UNMAP_RANGES 255u

typedef void scsi_disk_handler(struct scsi_disk *d, struct scsi_cmd *c);
scsi_disk_handler scsi_disk_inquiry, scsi_disk_mode_sense, scsi_disk_mode_select,
	scsi_disk_read_capacity10, scsi_disk_read_capacity16, scsi_disk_read, scsi_disk_write,
	scsi_disk_verify, scsi_disk_sync, scsi_disk_unmap, scsi_disk_write_same;

uint64_t scsi_disk_blocks(const struct scsi_disk *d);
/* Parameters of @len bytes into @buf. false: the command has failed. */
bool scsi_disk_parameters(struct scsi_cmd *c, void *buf, uint32_t len);

#endif
