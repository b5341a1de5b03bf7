/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A board: the parts of a PC, wired. */
#ifndef BOTHY_MACHINE_BOARD_H
#define BOTHY_MACHINE_BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/dev/dev.h"
#include "src/dev/firmware/boot.h"

struct board;
struct chario;
struct cpus;

struct board_config {
	uint64_t memory_bytes;
	struct cpus *cpus;
	struct dev_env env; /* mem, bus, vtime, log, power callbacks */
	/* The guest told of a panic through its pvpanic port. Any thread. */
	void (*panicked)(void *opaque);
	void *panicked_opaque;
};

/* How guest memory of @memory_bytes lies: low part from 0, the rest from 4 GiB. */
uint64_t board_low_memory(uint64_t memory_bytes);

/* Makes RAM and every device. Call without the device lock. */
int must_check board_new(const struct board_config *cfg, struct board **board, struct err *err);
void board_free(struct board *b);

/* Every device to its power-on state, in the table's order, and the tables that
 * the guest finds in memory written again. Device lock held. */
void board_reset(struct board *b);

/* What direct boot needs to know. Valid until board_free(). */
const struct e820_entry *board_map(const struct board *b, size_t *count);
gpa_t board_rsdp(const struct board *b);

/* The first serial port's far end. */
void board_serial_connect(struct board *b, struct chario *io);

void board_power_button(struct board *b);

#endif
