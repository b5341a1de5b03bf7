/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio over PCI: modern and transitional devices, MSI-X and INTx. Source: virtio 1.2,
 * 4.1; the legacy interface is 4.1.4.10 and its kin.
 */
#ifndef BOTHY_DEV_VIRTIO_VIRTIO_PCI_H
#define BOTHY_DEV_VIRTIO_VIRTIO_PCI_H

#include "src/dev/pci/pci.h"
#include "src/dev/virtio/virtio.h"

#define VIRTIO_PCI_VENDOR 0x1af4
#define VIRTIO_PCI_VECTORS_AUTO 65535u

enum virtio_pci_legacy { VIRTIO_LEGACY_ON, VIRTIO_LEGACY_OFF, VIRTIO_LEGACY_AUTO };

struct virtio_pci {
	struct pci_dev pci;
	struct virtio_dev *v;
	/* Properties. */
	uint32_t disable_legacy; /* enum virtio_pci_legacy */
	bool disable_modern, packed, event_idx, indirect;
	uint32_t vectors;
	/* Registers. */
	uint32_t offered_select, wanted_select;
	uint64_t wanted;         /* features as the driver writes them */
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t isr;
	bool has_legacy, has_modern;
	int bell_fd;             /* an eventfd: some queue was notified; -1: none */
	struct bus_doorbell *bells; /* at each queue's address, and the legacy port */
	unsigned cfg_cap;        /* offset of the configuration access capability, 0 none */
};

/* Properties of every virtio PCI device: rows for a dev_prop table. @s: the device's
 * struct, @f its struct virtio_pci. */
#define VIRTIO_PCI_PROPS(s, f)                                                             \
	{ "disable-legacy", DEV_PROP_CHOICE, offsetof(s, f.disable_legacy), "auto", false, \
	  0, 0, "off|on|auto", "no legacy interface; auto: none behind a PCI Express port" }, \
	{ "disable-modern", DEV_PROP_BOOL, offsetof(s, f.disable_modern), "off", false,    \
	  0, 0, NULL, "only the legacy interface" },                                       \
	{ "vectors", DEV_PROP_UINT, offsetof(s, f.vectors), "65535", false, 0, 65535, NULL, \
	  "MSI-X vectors; 0: none, 65535: one for each queue and one more" },              \
	{ "packed", DEV_PROP_BOOL, offsetof(s, f.packed), "off", false, 0, 0, NULL,        \
	  "offer packed rings" },                                                          \
	{ "event_idx", DEV_PROP_BOOL, offsetof(s, f.event_idx), "on", false, 0, 0, NULL,   \
	  "offer interrupt and notification suppression by index" },                       \
	{ "indirect_desc", DEV_PROP_BOOL, offsetof(s, f.indirect), "on", false, 0, 0, NULL, \
	  "offer indirect descriptors" }

/* Shows @v, which has its queues, at plug's place. @class: as in struct pci_ids. Device
 * lock held. */
int must_check virtio_pci_init(struct virtio_pci *p, struct virtio_dev *v,
			       const struct dev_plug *plug, uint32_t class, struct err *err);
void virtio_pci_fini(struct virtio_pci *p); /* resets the device */
void virtio_pci_reset(struct virtio_pci *p);
/* "scsi@4" or "scsi@4,1" and what follows. Returns the length. */
int virtio_pci_fw_name(const struct virtio_pci *p, const char *node, const char *rest, char *buf,
		       size_t len);

extern const struct state_desc virtio_pci_state;

#endif
