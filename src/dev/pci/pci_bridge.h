/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI-to-PCI bridges: a bus behind a function, reached through the bridge's bus numbers
 * and windows. Source: PCI-to-PCI Bridge Architecture specification 1.2, chapter 3.
 */
#ifndef BOTHY_DEV_PCI_PCI_BRIDGE_H
#define BOTHY_DEV_PCI_PCI_BRIDGE_H

#include "src/dev/pci/pci.h"

/* Makes a function that pci_dev_init() has put on a bus a bridge to @behind, which is
 * initialised here. The device's pci_ops must call pci_bridge_written() from
 * config_written, its reset pci_bridge_reset(), its state's post_load
 * pci_bridge_loaded(). */
void pci_bridge_init(struct pci_dev *d, struct pci_bus *behind);
void pci_bridge_fini(struct pci_dev *d); /* nothing may be behind it any more */

void pci_bridge_written(struct pci_dev *d, unsigned off, unsigned size);
void pci_bridge_reset(struct pci_dev *d); /* after pci_dev_reset() */
void pci_bridge_loaded(struct pci_dev *d);

#endif
