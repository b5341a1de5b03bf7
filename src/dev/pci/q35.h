/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host bridge: an Intel Q35 memory controller hub (8086:29c0) at 00:00.0, the
 * root bus, configuration access through ports CF8h/CFCh and through the memory
 * window that PCIEXBAR places (ECAM). Source: Intel 3 Series Express Chipset Family
 * data sheet (316966), chapter 5.
 */
#ifndef BOTHY_DEV_PCI_Q35_H
#define BOTHY_DEV_PCI_Q35_H

#include "src/dev/pci/pci.h"

#define Q35_ECAM_BASE 0xb0000000u
#define Q35_ECAM_SIZE 0x10000000u

struct q35 {
	struct pci_bus bus; /* bus 0 */
	struct pci_dev mch;
	uint32_t address;   /* CF8h */
	bool ecam_enabled;  /* from the start */
	const struct dev_env *env;
	struct bus_range address_port, data_port, ecam;
	/* Port CF9h lies within CF8h's four; byte accesses to it go here. */
	uint8_t (*cf9_read)(void *opaque);
	void (*cf9_write)(void *opaque, uint8_t val);
	void *cf9_opaque;
	/* The PAM registers (90h-96h), SMRAM and friends changed: firmware shadowing.
	 * May be NULL. Set by the board after q35_init(). */
	void (*shadow_changed)(void *opaque);
	void *shadow_opaque;
};

/* @enable_ecam: PCIEXBAR stands at Q35_ECAM_BASE, enabled, from the start (direct
 * boot without firmware); else it is off until firmware programs it. A reset
 * returns to the same. */
int must_check q35_init(struct q35 *q, const struct dev_env *env, bool enable_ecam,
			struct err *err);
void q35_fini(struct q35 *q);

/* Shadow attributes of one 16 KiB segment (0xc0000 + 0x4000 n, n 0..11; 12 is the
 * 64 KiB at 0xf0000): bit 0 reads come from RAM, bit 1 writes go to RAM. */
unsigned q35_pam(const struct q35 *q, unsigned n);

/* Whether the memory at A0000h-BFFFFh shows: the SMRAM register enables and opens it,
 * as firmware does while it sets up an SMI handler. */
bool q35_smram_open(const struct q35 *q);

/* The line that pin @pin (0..3) of @slot pulls: 0..7 for PIRQA..PIRQH. Slots 0-24
 * rotate over E-H, 25-31 stand straight on A-D. */
unsigned q35_route(unsigned slot, unsigned pin);

extern const struct dev_desc q35_desc;

#endif
