/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System control port A (92h): fast reset (bit 0) and fast A20 (bit 1).
 * Source: ICH9 data sheet, 13.7.
 */
#ifndef BOTHY_DEV_LEGACY_PORT92_H
#define BOTHY_DEV_LEGACY_PORT92_H

#include "src/dev/dev.h"
#include "src/dev/legacy/a20.h"

struct port92 {
	bool reset_bit; /* as written; the reset comes when it goes from 0 to 1 */
	bool a20_open;  /* the gate as saved */
	struct a20_gate *a20; /* not owned */
	const struct dev_env *env;
	struct bus_range ports;
};

int must_check port92_init(struct port92 *p, const struct dev_env *env, struct a20_gate *a20,
			   struct err *err);
void port92_fini(struct port92 *p);

extern const struct dev_desc port92_desc;

#endif
