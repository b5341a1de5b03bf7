/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI Express root port: a bridge to one slot. Source: PCI Express Base specification
 * 3.0, 7.8 (capability) and 7.5.3 (type 1 header). Cards stay where they were when the
 * machine was built: the slot does not offer hot-plug.
 */
#ifndef BOTHY_DEV_PCI_ROOT_PORT_H
#define BOTHY_DEV_PCI_ROOT_PORT_H

#include "src/dev/pci/pci.h"

struct root_port {
	struct pci_dev pci;
	struct pci_bus bus; /* the slot */
	uint32_t slot; /* property: what the slot capability tells */
};

extern const struct dev_desc root_port_desc;

#endif
