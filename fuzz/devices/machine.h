/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A board with everything plugged in, for the fuzzer: what firmware would have set up is
 * set up, and each device's windows are known. */
#ifndef BOTHY_FUZZ_DEVICES_MACHINE_H
#define BOTHY_FUZZ_DEVICES_MACHINE_H

#include <pthread.h>

#include "src/cpu/cpu.h"
#include "src/dev/input.h"
#include "src/dev/legacy/gsi.h"
#include "src/display/surface.h"
#include "src/machine/board.h"
#include "src/machine/plugs.h"
#include "src/net/net.h"
#include "tests/unit/disk_rig.h"

#define FZ_RAM (16u << 20)
#define FZ_DISKS 8u
#define FZ_WINDOWS 160u

enum fz_space { FZ_PIO, FZ_MMIO, FZ_CONFIG };

struct fz_window {
	const char *dev; /* its name */
	enum fz_space space;
	uint64_t base, len; /* FZ_CONFIG: bus << 8 | devfn, bytes */
	uint8_t index, data; /* index and data register, where index != data, in offsets */
	uint8_t width;       /* bytes of each; 0: no such pair */
};

struct fz_call {
	void (*fn)(void *);
	void *arg;
};

struct fz {
	uint64_t seed;
	bool flips; /* damaged snapshots are loaded */
	struct bus *bus;
	struct vtime *vt;
	struct mem *mem;
	struct cpus *cpus;
	struct board *board;
	struct screens screens;
	struct input *input;
	struct net_peer far;
	struct chardev chardev[8];
	unsigned chardevs;
	struct fake_disk *disk[FZ_DISKS];
	unsigned disks;
	int vars_fd;
	pthread_mutex_t lock;
	struct fz_call call[4096];
	unsigned calls;
	struct fz_window window[FZ_WINDOWS];
	unsigned windows;
	struct irq_line gsi[GSI_LINES]; /* of the fuzzer's own, once made */
	struct state_buf fresh; /* every device's state after the first reset */
	unsigned resets, offs, panics, ends;
};

void fz_machine_init(struct fz *f);
void fz_machine_fini(struct fz *f);
/* BARs, bridges, and what else must be right for devices to answer. */
void fz_machine_enable(struct fz *f);
void fz_machine_reset(struct fz *f);
/* Makes the calls that waited for the loop; with @all waits for the disks' work. */
void fz_machine_turn(struct fz *f, bool all);
/* Time passes: timers and all. A timer that comes again and again without time going on
 * fails the run. */
void fz_machine_pass(struct fz *f, int64_t ns);
/* Every part's state, one after the other. */
void fz_machine_save(struct fz *f, struct state_buf *b);

/* As an instruction would: memory where there is memory, else the bus. */
uint64_t fz_read(struct fz *f, enum fz_space space, uint64_t at, unsigned size);
void fz_write(struct fz *f, enum fz_space space, uint64_t at, uint64_t val, unsigned size);
/* Configuration space; @where: bus << 8 | devfn. */
uint32_t fz_config_read(struct fz *f, unsigned where, unsigned off, unsigned size);
void fz_config_write(struct fz *f, unsigned where, unsigned off, uint32_t val, unsigned size);

#endif
