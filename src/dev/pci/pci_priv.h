/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between pci.c, pci_msi.c and pci_bridge.c. */
#ifndef BOTHY_DEV_PCI_PCI_PRIV_H
#define BOTHY_DEV_PCI_PCI_PRIV_H

#include "src/dev/pci/pci.h"

/* BARs on the bus as the registers say now. */
void pci_bars_map(struct pci_dev *d);
/* The bridges between the root and @b let [addr, addr+size) through. */
bool pci_bus_forwards(const struct pci_bus *b, bool io, uint64_t addr, uint64_t size);

/* Configuration bytes [off, off+size) were written: masks may have been lifted. */
void pci_msi_written(struct pci_dev *d, unsigned off, unsigned size);
void pci_msi_reset(struct pci_dev *d);
void pci_msi_loaded(struct pci_dev *d);
/* The table and the pending bits follow their BAR. */
void pci_msix_map(struct pci_dev *d);

#endif
