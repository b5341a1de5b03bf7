/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the two interfaces of the PCI transport. */
#ifndef BOTHY_DEV_VIRTIO_VIRTIO_PCI_PRIV_H
#define BOTHY_DEV_VIRTIO_VIRTIO_PCI_PRIV_H

#include "src/dev/virtio/virtio_pci.h"

#define LEGACY_BAR 0u
#define MSIX_BAR 1u
#define MODERN_BAR 4u

/* The legacy interface in port BAR 0; the modern one in memory BAR 4, with its
 * capabilities. */
int must_check virtio_pci_legacy_add(struct virtio_pci *p, struct err *err);
int must_check virtio_pci_modern_add(struct virtio_pci *p, struct err *err);
/* The configuration access capability was touched: [off, off+size). */
void virtio_pci_cfg_access(struct virtio_pci *p, unsigned off, unsigned size, bool write);

void virtio_pci_modern_reset(struct virtio_pci *p);
/* Doorbells for whoever catches notifications before the bus (bus.h); without them the
 * device works all the same. After the BARs were added. */
void virtio_pci_bells_add(struct virtio_pci *p);
void virtio_pci_bells_del(struct virtio_pci *p);
/* One that nobody had answered yet is not in the state: after a restore every queue is
 * looked at. */
void virtio_pci_bells_ring(struct virtio_pci *p);
#define VIRTIO_PCI_LEGACY_NOTIFY 16u   /* in its BAR */
#define VIRTIO_PCI_MODERN_NOTIFY 0x3000u
#define VIRTIO_PCI_NOTIFY_STEP 4u /* bytes between two queues' addresses */

uint8_t virtio_pci_take_isr(struct virtio_pci *p); /* reading clears */
/* @vector as the driver wrote it: as it reads back then (4.1.5.1.2). */
uint16_t virtio_pci_vector(const struct virtio_pci *p, uint32_t vector);
/* The selected queue, or NULL. */
struct virtq *virtio_pci_queue(struct virtio_pci *p);

#endif
