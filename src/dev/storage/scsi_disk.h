/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A SCSI disk: "scsi-hd". */
#ifndef BOTHY_DEV_STORAGE_SCSI_DISK_H
#define BOTHY_DEV_STORAGE_SCSI_DISK_H

#include "src/dev/storage/scsi.h"

struct scsi_disk {
	struct scsi_lu lu;
	/* Properties. */
	struct blk *blk;
	const char *serial, *vendor, *product, *version, *device_id;
	uint64_t wwn;
	uint32_t logical, physical, rotation_rate, min_io, opt_io;
	bool discard, write_cache_on;

	const char *id;   /* of the device, for want of a serial number */
	bool write_cache; /* what the guest has set */
};

extern const struct dev_desc scsi_hd_desc;

#endif
