/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI power management as the ICH9 has it: PM1a event and control, PM timer, GPE0,
 * SMI enable and status; the SCI; soft off. Sources: ACPI 6.4, chapter 4.8; ICH9
 * data sheet (316972), 13.8.3.
 */
#ifndef BOTHY_DEV_ACPI_PM_H
#define BOTHY_DEV_ACPI_PM_H

#include "src/dev/acpi/tco.h"
#include "src/dev/dev.h"

#define ACPI_PM_SIZE 0x80u /* bytes of port space */
#define ACPI_PM_TIMER_HZ 3579545u
#define ACPI_PM_GPE0 0x20u /* offset of the GPE0 block */
#define ACPI_PM_GPE0_LEN 16u
#define ACPI_PM_S5_TYPE 0u /* SLP_TYP values that the DSDT's \_S5 and \_S3 name */
#define ACPI_PM_S3_TYPE 1u

/* General-purpose events, bits of GPE0. */
#define ACPI_GPE_CPU_HOTPLUG 2u
#define ACPI_GPE_PCI_HOTPLUG 1u

struct acpi_pm {
	uint16_t pm1_sts, pm1_en, pm1_cnt;
	uint8_t gpe_sts[ACPI_PM_GPE0_LEN / 2], gpe_en[ACPI_PM_GPE0_LEN / 2];
	uint32_t smi_en, smi_sts;
	struct acpi_tco tco;
	struct vtimer timer; /* the PM timer's carry, while its interrupt is enabled */
	uint32_t half_turns; /* of the PM timer, when it was looked at last */
	struct irq_line sci;
	const struct dev_env *env;
	struct bus_range ports;
	bool s3_enabled; /* the guest may suspend to RAM */
	void (*suspend)(void *opaque); /* S3 was asked for; NULL: ignored */
	void *suspend_opaque;
};

/* @sci: the line (GSI 9, level, high). Copied. */
int must_check acpi_pm_init(struct acpi_pm *pm, const struct dev_env *env,
			    const struct irq_line *sci, struct err *err);
void acpi_pm_fini(struct acpi_pm *pm);
void acpi_pm_reset(struct acpi_pm *pm);

/* Places the registers at port @base (a multiple of 128), or takes them away
 * (@enabled false). */
void acpi_pm_map(struct acpi_pm *pm, uint16_t base, bool enabled);

/* SMI_CMD stand-in: firmware's ACPI enable and disable (PM1_CNT.SCI_EN). */
void acpi_pm_set_acpi_mode(struct acpi_pm *pm, bool on);

/* The buttons on the case, and a general-purpose event @gpe 0..63. */
void acpi_pm_power_button(struct acpi_pm *pm);
void acpi_pm_sleep_button(struct acpi_pm *pm);
void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned gpe);

extern const struct state_desc acpi_pm_state; /* nested in the bridge's */

#endif
