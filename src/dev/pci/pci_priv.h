/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between pci.c and pci_msi.c. */
#ifndef BOTHY_DEV_PCI_PCI_PRIV_H
#define BOTHY_DEV_PCI_PCI_PRIV_H

#include "src/dev/pci/pci.h"

/* Configuration bytes [off, off+size) were written: masks may have been lifted. */
void pci_msi_written(struct pci_dev *d, unsigned off, unsigned size);
void pci_msi_reset(struct pci_dev *d);
void pci_msi_loaded(struct pci_dev *d);
/* The table and the pending bits follow their BAR. */
void pci_msix_map(struct pci_dev *d);

#endif
