/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chipset's watchdog ("TCO timer") as the guest's iTCO_wdt drives it: a timer of
 * 0.6 s ticks which, left alone, raises its status the first time it runs out and resets
 * the machine the second time, unless NO_REBOOT forbids it. Source: Intel I/O Controller
 * Hub 9 data sheet, 13.9 (registers, at PMBASE + 60h), 5.15.1 (theory), 10.1.75 (GCS).
 *
 * There is no system management mode in this machine, so nobody answers the SMI that the
 * first time-out would raise: its status bits are set, and that is all. And the timer
 * stands still until it is loaded for the first time, as firmware that knows nothing of it
 * leaves it running from power-on.
 */
#ifndef BOTHY_DEV_ACPI_TCO_H
#define BOTHY_DEV_ACPI_TCO_H

#include "src/dev/dev.h"

#define ACPI_TCO_BASE 0x60u /* in the ACPI ports */
#define ACPI_TCO_SIZE 0x20u
#define ACPI_TCO_TICK_NS 600000000ll

/* Bits of the ports around it. */
#define ICH9_GCS 0x3410u          /* general control and status, in the root complex block */
#define ICH9_GCS_NO_REBOOT 0x20u
#define ACPI_SMI_TCO 0x2000u      /* TCO_EN, TCO_STS in SMI_EN, SMI_STS */

struct acpi_tco {
	uint8_t dat_in, dat_out;
	uint16_t sts1, sts2, cnt1, cnt2;
	uint8_t message[2], wdcnt, irq_gen;
	uint16_t initial;    /* TCO_TMR: ticks that a reload gives */
	uint16_t left;       /* ticks when the timer stands still */
	bool loaded;         /* it was, since the reset */
	bool once;           /* it ran out once, unheard */
	struct vtimer timer; /* when it runs out next */
	uint32_t *smi_sts;         /* the ports' SMI_STS */
	const uint8_t *gcs;        /* low byte of GCS; NULL: reboots are allowed */
	const struct dev_env *env;
};

void acpi_tco_init(struct acpi_tco *t, const struct dev_env *env, uint32_t *smi_sts);
void acpi_tco_fini(struct acpi_tco *t);
/* Platform reset. That the watchdog did it stays to be read (SECOND_TO_STS, BOOT_STS). */
void acpi_tco_reset(struct acpi_tco *t);

/* Registers, byte by byte; @off: 0..ACPI_TCO_SIZE-1. */
uint8_t acpi_tco_read(struct acpi_tco *t, unsigned off);
void acpi_tco_write(struct acpi_tco *t, unsigned off, uint8_t val);
/* Is SMI_EN's TCO_EN locked as it is? */
bool acpi_tco_locked(const struct acpi_tco *t);

extern const struct state_desc acpi_tco_state; /* nested in acpi/pm.c's */

#endif
