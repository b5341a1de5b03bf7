/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at what stands on the PCI buses, and what firmware made of it. */
#ifndef BOTHY_DEV_PCI_PCI_SCAN_H
#define BOTHY_DEV_PCI_PCI_SCAN_H

#include "src/dev/pci/pci.h"

/* Calls fn for every function on @b and on the buses behind its bridges. */
void pci_each(struct pci_bus *b, void (*fn)(void *opaque, struct pci_dev *d), void *opaque);

/* Whether a function of base class @class (PCI code and ID assignment specification,
 * 1.1: 3 is a display) is anywhere. */
bool pci_has_class(struct pci_bus *root, uint8_t class);

/* The lowest and the highest address at and above 4 GiB that a decoded BAR or a
 * bridge's window covers now. false: there are none. */
bool pci_mem64_span(struct pci_bus *root, uint64_t *first, uint64_t *last);

#endif
