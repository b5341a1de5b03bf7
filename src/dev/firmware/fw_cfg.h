/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The firmware configuration device: what the machine is, told to SeaBIOS and OVMF as
 * numbered items and as a directory of named files. Ports 510h-511h (selector, data)
 * and 514h-51bh (DMA). Source: QEMU's docs/specs/fw_cfg.
 *
 * The board adds items before the guest runs; the guest reads them, and writes those
 * files that are for writing. Everything is under the device lock.
 */
#ifndef BOTHY_DEV_FIRMWARE_FW_CFG_H
#define BOTHY_DEV_FIRMWARE_FW_CFG_H

#include "src/dev/dev.h"

#define FW_CFG_PORT 0x510u
#define FW_CFG_PORTS 0x0cu     /* selector, data, DMA: what the DSDT claims */
#define FW_CFG_FILES 64u       /* most named files */
#define FW_CFG_NAME 56u        /* bytes of a name with its end */
#define FW_CFG_POOL 0x10000u   /* bytes of all files together that can change */

/* Numbered items. */
enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_UUID = 0x02,
	FW_CFG_RAM_SIZE = 0x03,
	FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_NB_CPUS = 0x05,
	FW_CFG_NUMA = 0x0d,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_FILE_DIR = 0x19,
	FW_CFG_FILE_FIRST = 0x20,
};

struct fw_cfg_item {
	uint8_t *data;  /* owned, or in pool[] */
	uint32_t len;
	bool pooled;    /* in pool[]: it can change and is saved with the state */
	bool writable;  /* by the guest */
	bool made;      /* its contents are made when it is asked for */
	char name[FW_CFG_NAME]; /* "" for a numbered item */
};

struct fw_cfg {
	struct fw_cfg_item item[FW_CFG_FILE_FIRST + FW_CFG_FILES];
	unsigned files;
	uint32_t pool_used;
	uint8_t pool[FW_CFG_POOL];
	/* Called when the guest selects a file whose contents are made on demand, for the
	 * first time since the reset; it gives them all with fw_cfg_set_file(). */
	void (*make)(void *opaque);
	void *make_opaque;
	bool made;           /* was called */
	uint16_t selected;
	uint32_t offset;     /* in the selected item, of the next byte */
	uint32_t dma_high;   /* upper half of the descriptor's address */
	const struct dev_env *env;
	struct bus_range ports, dma_ports;
	struct log_limit limit;
};

int must_check fw_cfg_init(struct fw_cfg *f, const struct dev_env *env, struct err *err);
void fw_cfg_fini(struct fw_cfg *f);

/* A numbered item (not the directory), copied; replaces any. -ENOMEM. */
int must_check fw_cfg_add_item(struct fw_cfg *f, enum fw_cfg_key key, const void *data,
			       uint32_t len, struct err *err);

/* A named file, copied. -EEXIST: there is one of that name; -ENAMETOOLONG; -ENOSPC: too
 * many; -ENOMEM. */
int must_check fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data,
			       uint32_t len, struct err *err);
/* A file of @len zeroes that the guest may write. */
int must_check fw_cfg_add_writable(struct fw_cfg *f, const char *name, uint32_t len,
				   struct err *err);
/* A file whose contents (@data, to begin with) f->make makes when the guest asks for it:
 * what depends on what firmware has programmed by then. */
int must_check fw_cfg_add_made(struct fw_cfg *f, const char *name, const void *data,
			       uint32_t len, struct err *err);
/* New contents for such a file, copied; of the same length, which guests have read from
 * the directory: shorter contents are padded with zeroes. -ENOENT, -EFBIG. */
int must_check fw_cfg_set_file(struct fw_cfg *f, const char *name, const void *data,
			       uint32_t len);
/* NULL if there is none. */
const struct fw_cfg_item *fw_cfg_file(const struct fw_cfg *f, const char *name);

extern const struct dev_desc fw_cfg_desc;

#endif
