/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ICH9's SATA controller in AHCI mode (8086:2922): "ahci". Source: Serial ATA
 * AHCI 1.3.1; ICH9 data sheet (316972), chapter 15.
 */
#ifndef BOTHY_DEV_STORAGE_AHCI_H
#define BOTHY_DEV_STORAGE_AHCI_H

#include "src/dev/pci/pci.h"
#include "src/dev/storage/ata.h"

#define AHCI_PORTS 6u
#define AHCI_SLOTS 32u

/* A command slot while its command runs. */
struct ahci_slot {
	struct ata_cmd cmd; /* must be first */
	struct ahci_port *port;
	bool active;
	bool moving;      /* a move was begun and its data is not yet delivered */
	gpa_t table;      /* command table */
	uint32_t prds, prd, prd_off; /* entries, the one to use next, bytes of it used */
	uint32_t bytes;   /* brought to or from memory: PRDBC */
};

struct ahci_port {
	struct ahci *hba;
	unsigned n;
	/* Registers: AHCI 3.3. */
	uint64_t clb, fb;
	uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
	uint8_t ccs;          /* slot that was taken last */
	bool halted;          /* an error: nothing is issued until ST goes to 0 */
	bool srst;            /* the device is held in software reset */
	bool sig_pending;     /* the signature's FIS waits for FRE */
	struct ata_tf sig_tf; /* that FIS */
	int busy;             /* slot of a command that is not queued, -1: none */
	uint32_t running;     /* as saved: slots whose commands must begin again */
	struct ahci_slot slot[AHCI_SLOTS];
};

struct ahci {
	struct ata_bus bus; /* must be first */
	struct pci_dev pci;
	const struct dev_env *env;
	uint32_t ghc, is, bohc, index;
	struct ahci_port port[AHCI_PORTS];
	struct vtimer restart; /* commands that were under way when state was saved */
	struct log_limit limit;
};

extern const struct dev_desc ahci_desc;

#endif
