/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A parallel flash chip with the Intel command set, eight bits wide: where UEFI firmware
 * lives and keeps its variables. Sources: Intel 28F320J3 data sheet (290667), table 4
 * "Command Bus Cycles" and 4.4 "Status Register"; JEDEC JESD68.01 (common flash interface).
 *
 * While it is read like an array the guest's map shows its contents and only writes come
 * to the bus; in every other mode reads come, too.
 */
#ifndef BOTHY_DEV_FIRMWARE_PFLASH_H
#define BOTHY_DEV_FIRMWARE_PFLASH_H

#include "src/dev/dev.h"

#define PFLASH_SECTOR 4096u  /* erased at once */
#define PFLASH_BUFFER 256u   /* programmed at once */

struct pflash_config {
	const char *name;        /* for people; static */
	struct mem_block *block; /* the contents; its length is a multiple of PFLASH_SECTOR */
	gpa_t base;
	bool read_only;          /* write-protected by its pin */
	/* Keeps bytes for good; -errno. Called for each change in the guest's order, and
	 * sync() when the guest is done with a run of them. NULL: nothing is kept. */
	int (*store)(void *opaque, uint64_t off, const void *p, size_t len);
	int (*sync)(void *opaque);
	void *opaque;
};

enum pflash_mode { /* what reads return */
	PFLASH_ARRAY, PFLASH_STATUS, PFLASH_ID, PFLASH_CFI,
};

struct pflash {
	struct pflash_config cfg;
	uint8_t mode;
	uint8_t command;    /* that waits for more cycles; 0: none */
	uint8_t status;
	bool unsynced;      /* stored since the last sync() */
	uint16_t expected;  /* bytes that a buffer command still waits for */
	uint32_t buffer_at; /* offset that the buffer goes to, aligned; UINT32_MAX: not said yet */
	uint8_t buffer[PFLASH_BUFFER];
	uint8_t filled[PFLASH_BUFFER / 8]; /* which of its bytes were given */
	bool buffer_bad;    /* an address outside the buffer's place */
	const struct dev_env *env;
	struct bus_range range;
	bool shown;         /* the map shows the contents */
	struct log_limit limit;
};

/* @p is zero. */
int must_check pflash_init(struct pflash *p, const struct dev_env *env,
			   const struct pflash_config *cfg, struct err *err);
void pflash_fini(struct pflash *p); /* idempotent */

extern const struct dev_desc pflash_desc;

#endif
