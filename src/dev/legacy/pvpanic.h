/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA pvpanic port: a guest kernel writes to it that it panicked. Source:
 * QEMU's docs/specs/pvpanic ("ISA variant").
 */
#ifndef BOTHY_DEV_LEGACY_PVPANIC_H
#define BOTHY_DEV_LEGACY_PVPANIC_H

#include "src/dev/dev.h"

#define PVPANIC_PORT 0x505u
#define PVPANIC_PANICKED 0x1u

struct pvpanic {
	void (*panicked)(void *opaque); /* device lock held */
	void *opaque;
	const struct dev_env *env;
	struct bus_range port;
};

int must_check pvpanic_init(struct pvpanic *p, const struct dev_env *env,
			    void (*panicked)(void *opaque), void *opaque, struct err *err);
void pvpanic_fini(struct pvpanic *p);

extern const struct dev_desc pvpanic_desc;

#endif
