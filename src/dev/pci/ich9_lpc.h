/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The south bridge: an ICH9 LPC interface (8086:2918) at 00:1f.0 with interrupt
 * routing, power management, root complex registers, reset control (CF9h) and the
 * APM ports (B2h-B3h). Source: ICH9 data sheet (316972), chapters 10 and 13.
 */
#ifndef BOTHY_DEV_PCI_ICH9_LPC_H
#define BOTHY_DEV_PCI_ICH9_LPC_H

#include "src/dev/acpi/pm.h"
#include "src/dev/legacy/gsi.h"
#include "src/dev/pci/q35.h"

#define ICH9_PMBASE 0x600u     /* where direct boot has it */
#define ICH9_SCI_IRQ 9u
#define ICH9_RCBA 0xfed1c000u
#define ICH9_RCBA_SIZE 0x4000u
#define ICH9_APM_CMD 0xb2u
#define ICH9_APM_ACPI_ENABLE 0x02u
#define ICH9_APM_ACPI_DISABLE 0x03u

struct ich9_lpc {
	struct pci_dev pci;
	struct acpi_pm pm;
	uint8_t rst_cnt;      /* CF9h */
	uint8_t apm[2];
	uint8_t rcrb[ICH9_RCBA_SIZE]; /* root complex register block, kept as written */
	uint8_t pirq_level;   /* bit n: PIRQ A+n is pulled */
	bool enable_pm;       /* PMBASE and RCBA are set up without firmware */
	uint8_t sci_level;
	struct irq_line isa[16]; /* inputs of GSI 0..15, for PIRQs routed to the 8259s */
	struct irq_line gsi[8];  /* inputs of GSI 16..23 */
	struct irq_line sci[5];  /* inputs of GSI 9, 10, 11, 20, 21 */
	const struct dev_env *env;
	struct bus_range apm_ports, rcba;
};

/* On @root, which is a struct q35's; takes over its PIRQ lines and port CF9h.
 * @enable_pm: PMBASE stands at ICH9_PMBASE and RCBA at ICH9_RCBA, enabled, and ACPI
 * mode is on, from the start and after every reset (direct boot without firmware). */
int must_check ich9_lpc_init(struct ich9_lpc *l, const struct dev_env *env,
			     struct pci_bus *root, struct gsi *gsi, bool enable_pm,
			     struct err *err);
void ich9_lpc_fini(struct ich9_lpc *l);

extern const struct dev_desc ich9_lpc_desc;

#endif
