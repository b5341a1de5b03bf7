/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware on the board: the ROM or flash that the processor starts from, and what the
 * firmware configuration device tells it.
 */
#ifndef BOTHY_MACHINE_FIRMWARE_H
#define BOTHY_MACHINE_FIRMWARE_H

#include "src/dev/acpi/tables.h"
#include "src/dev/firmware/fw_cfg.h"
#include "src/dev/firmware/pflash.h"
#include "src/machine/shadow.h"

struct cpus;
struct ich9_lpc;
struct mc146818;

struct firmware_config {
	const char *kind;      /* "bios", "uefi", or a file's path */
	int vars_fd;           /* as in board.h */
	const uint8_t *uuid;
	const struct dev_items *fw_cfg;
	const struct dev_env *env;
	struct cpus *cpus;
	struct mem_block *ram;
	uint64_t low, high;    /* bytes of it below and above 4 GiB */
	struct q35 *q35;
	struct ich9_lpc *lpc;
	struct mc146818 *rtc;
	struct acpi_config acpi; /* but for what firmware programs */
};

struct firmware {
	struct firmware_config cfg;
	struct fw_cfg fw_cfg;
	struct shadow shadow;
	struct mem_block *rom;  /* its end is at 4 GiB */
	bool flash;             /* it is a flash chip, write-protected, and so is ... */
	struct pflash code;
	struct mem_block *vars_block; /* ... what is below it, for variables; or NULL */
	struct pflash vars;
	struct log_limit limit;
};

/* @f is zero. On failure nothing is left. */
int must_check firmware_init(struct firmware *f, const struct firmware_config *cfg,
			     struct err *err);
void firmware_fini(struct firmware *f);

/* Once everything is plugged in: tables and items that tell of it. @boot_order: as the
 * file "bootorder", NULL for none. */
int must_check firmware_finish(struct firmware *f, const char *boot_order, struct err *err);

#endif
