/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The high-precision event timer. Source: IA-PC HPET specification 1.0a.
 *
 * In legacy replacement mode timers 0 and 1 take the place of the PIT's and the
 * RTC's interrupts; so those two devices pull lines that lead through here.
 */
#ifndef BOTHY_DEV_LEGACY_HPET_H
#define BOTHY_DEV_LEGACY_HPET_H

#include "src/dev/dev.h"

#define HPET_BASE 0xfed00000u
#define HPET_TIMERS 3u
#define HPET_PERIOD_FS 10000000u /* 100 MHz */
#define HPET_GSIS 24u

struct hpet;

struct hpet_timer {
	struct hpet *hpet;
	struct vtimer timer;
	uint64_t config;
	uint64_t comparator;
	uint64_t period;  /* last value written to the accumulator */
	uint64_t fsb;     /* message data (low half), address (high half) */
	uint8_t index;
	uint8_t pulled;   /* 1 + the line that this timer holds high, 0 none */
};

struct hpet {
	struct hpet_timer timer[HPET_TIMERS];
	uint64_t config;
	uint64_t status;      /* level-triggered interrupts pending */
	uint64_t counter;     /* while halted: the value; while running: at base_ns */
	int64_t base_ns;
	struct irq_line gsi[HPET_GSIS]; /* of timers that route to the I/O APIC */
	struct irq_line legacy[2];      /* IRQ 0 and IRQ 8 */
	uint8_t legacy_in[2];           /* what PIT and RTC pull */
	const struct dev_env *env;
	struct bus_range mmio;
};

/* @gsi: HPET_GSIS lines, the timers' own inputs. @irq0, @irq8: where the PIT's and
 * the RTC's interrupts go. All copied. */
int must_check hpet_init(struct hpet *h, const struct dev_env *env, gpa_t base,
			 const struct irq_line *gsi, const struct irq_line *irq0,
			 const struct irq_line *irq8, struct err *err);
void hpet_fini(struct hpet *h);

/* The lines that the PIT (0) and the RTC (1) pull. */
struct irq_line hpet_legacy_in(struct hpet *h, unsigned n);

extern const struct dev_desc hpet_desc;

#endif
