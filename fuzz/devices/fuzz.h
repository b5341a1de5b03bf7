/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile guests against devices. A target is a device of devices.def; everything that a
 * run does follows from its seed.
 */
#ifndef BOTHY_FUZZ_DEVICES_FUZZ_H
#define BOTHY_FUZZ_DEVICES_FUZZ_H

#include <stdint.h>

/* The next of a run's numbers (xorshift64*). @seed: not 0. */
static inline uint64_t fuzz_next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dull;
}

/* A way of fuzzing: what is done to whom. @name: as in devices.def's descriptors. */
struct fuzz_target {
	const char *name;
	/* About @rounds accesses or requests; a failure ends the process. */
	void (*run)(const char *name, uint64_t seed, unsigned long rounds);
};

/* The whole board with everything plugged in, driven through the bus: registers and
 * configuration space at all sizes (board.c). */
void fuzz_board(const char *name, uint64_t seed, unsigned long rounds);
/* Disk controllers' command lists, PRD tables and packets (storage.c). */
void fuzz_storage(const char *name, uint64_t seed, unsigned long rounds);
/* virtio devices' rings (virtio.c). */
void fuzz_virtio(const char *name, uint64_t seed, unsigned long rounds);

#endif
