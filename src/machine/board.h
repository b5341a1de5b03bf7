/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A board: the parts of a PC, wired. */
#ifndef BOTHY_MACHINE_BOARD_H
#define BOTHY_MACHINE_BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/dev/chardev.h"
#include "src/dev/dev.h"
#include "src/dev/firmware/boot.h"
#include "src/dev/plug.h"

/* File names of UEFI firmware and of a fresh store for its variables. */
#define BOARD_UEFI_CODE "OVMF_CODE_4M.fd"
#define BOARD_UEFI_VARS "OVMF_VARS_4M.fd"

struct board;
struct cpus;

struct board_config {
	uint64_t memory_bytes;  /* a multiple of 4096, at least 1 MiB */
	struct cpus *cpus;      /* not owned */
	struct chardev *serial; /* COM1's far end, not owned; NULL: nothing connected */
	struct dev_env env;     /* copied */
	/* The guest told of a panic through its pvpanic port. Any thread. */
	void (*panicked)(void *opaque);
	void *panicked_opaque;
	const char *firmware;   /* "bios", "uefi", a file's path; NULL: direct boot */
	uint8_t uuid[16];       /* as it is written: big-endian fields (RFC 9562) */
	/* Files of the firmware configuration device: name, and file or string. They need
	 * firmware. */
	struct dev_items fw_cfg;
	int vars_fd;            /* UEFI's variables, not owned; -1: kept in memory alone */
	/* What is plugged in, in this order, and where its properties find what they name. */
	struct dev_items devices;
	struct dev_backends backends;
};

struct plugs;

/* How much of @memory_bytes lies below 4 GiB, from 0 on. The rest begins at 4 GiB. */
uint64_t board_low_memory(uint64_t memory_bytes);

/* Makes RAM and every device, in power-on state but for board_reset(). Call without
 * the device lock. */
int must_check board_new(const struct board_config *cfg, struct board **board, struct err *err);
void board_free(struct board *b); /* without the device lock */

/* Every device to its power-on state, in the table's order, and the tables that
 * the guest finds in memory written again. Device lock held. */
int must_check board_reset(struct board *b, struct err *err);

/* What direct boot needs to know. Valid until board_free(). */
const struct e820_entry *board_map(const struct board *b, size_t *count);
gpa_t board_rsdp(const struct board *b);

void board_power_button(struct board *b); /* device lock held */
void board_sleep_button(struct board *b); /* the same */

/* The plugged devices. Valid until board_free(). */
struct plugs *board_plugs(struct board *b);

/* Calls fn for each part and plugged device that has state, in the order of making (and
 * stops at its first failure, which is returned). @instance: how many of that kind came
 * before. */
int must_check board_each(struct board *b,
			  int (*fn)(void *opaque, const struct dev_desc *desc, void *dev,
				    unsigned instance),
			  void *opaque);

#endif
