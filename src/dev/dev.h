/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device is. A device is one file that ends in its descriptor; devices.def
 * lists the descriptors; machine/ puts devices on a board.
 */
#ifndef BOTHY_DEV_DEV_H
#define BOTHY_DEV_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/mem/mem.h"
#include "src/state/state.h"

/* What every device may reach. Owned by the VM, outlives its devices. */
struct dev_env {
	struct mem *mem;
	struct bus *bus;
	struct vtime *vtime;
	struct loop *loop; /* NULL in unit tests that need none */
	const struct log *log;
	/* The guest asked for the machine's end or a reset. Any thread. */
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	void *power_opaque;
};

struct dev_desc {
	const char *name;  /* as in --device NAME and in saved state */
	const char *title; /* one line for people */
	void (*reset)(void *dev);
	const struct state_desc *state;
};

#endif
