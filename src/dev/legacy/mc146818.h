/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real-time clock and CMOS memory: ports 70h-71h (and 72h-73h, the upper bank).
 * Source: Motorola MC146818A data sheet; ICH9 data sheet, 13.6.
 *
 * The clock shows the host's wall time plus whatever the guest has set it off by;
 * where the machine's clock is moved by hand it shows cfg.start_s plus that clock.
 */
#ifndef BOTHY_DEV_LEGACY_MC146818_H
#define BOTHY_DEV_LEGACY_MC146818_H

#include "src/dev/dev.h"

struct mc146818_config {
	bool local_time;      /* show local time, not UTC */
	int64_t start_s;      /* manual clock only: seconds since 1970 at virtual time 0 */
	uint64_t low_mem;     /* bytes of RAM below 4 GiB, for the CMOS size bytes */
	uint64_t high_mem;    /* bytes of RAM above 4 GiB */
};

struct mc146818 {
	struct mc146818_config cfg;
	uint8_t cmos[256];
	uint8_t index, index_high;
	int64_t offset_ns;    /* the guest's clock minus the host's */
	int64_t held_ns;      /* the guest's time while register B's SET or a stopped
			       * divider hold the clock */
	int64_t periodic_ns;  /* virtual time of the last periodic tick */
	int64_t periodic_age_ns; /* the same, as saved: before now */
	int64_t shown_s;      /* the second of the guest's clock that was handled last */
	bool held;
	struct vtimer periodic, update;
	struct irq_line irq;
	const struct dev_env *env;
	struct bus_range ports;
};

/* @irq: IRQ 8. Copied. */
int must_check mc146818_init(struct mc146818 *r, const struct dev_env *env,
			     const struct mc146818_config *cfg, const struct irq_line *irq,
			     struct err *err);
void mc146818_fini(struct mc146818 *r);

/* A byte of CMOS memory as the board sets it up (boot order and the like); @index
 * 0x0e..0xff. */
void mc146818_set_cmos(struct mc146818 *r, uint8_t index, uint8_t val);

extern const struct dev_desc mc146818_desc;

#endif
