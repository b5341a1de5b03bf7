/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The legacy interface: a block of ports (4.1.4.10). Numbers are little-endian as the
 * guest is; the device's configuration follows the header, whose length depends on
 * whether MSI-X is on.
 */
#include "src/base/bits.h"
#include "src/dev/virtio/virtio_pci_priv.h"

#define OFFERED 0u
#define WANTED 4u
#define QUEUE_PFN 8u
#define QUEUE_SIZE 12u
#define QUEUE_SELECT 14u
#define QUEUE_NOTIFY VIRTIO_PCI_LEGACY_NOTIFY
#define STATUS 18u
#define ISR 19u
#define CONFIG_VECTOR 20u /* with MSI-X only */
#define QUEUE_VECTOR 22u
#define PAGE 4096u

static unsigned header_len(const struct virtio_pci *p)
{
	return pci_msix_enabled(&p->pci) ? 24 : 20;
}

static uint64_t legacy_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *p = dev;
	struct virtio_dev *v = p->v;
	struct virtq *q = virtio_pci_queue(p);

	if (off >= header_len(p))
		return virtio_config_read(v, (unsigned)off - header_len(p), size);
	switch (off) {
	case OFFERED: return (uint32_t)v->offered;
	case WANTED: return (uint32_t)v->features;
	case QUEUE_PFN: return q && q->enabled ? q->desc / PAGE : 0;
	case QUEUE_SIZE: return q ? q->max_size : 0;
	case QUEUE_SELECT: return p->queue_select;
	case QUEUE_NOTIFY: return 0;
	case STATUS: return v->status;
	case ISR: return virtio_pci_take_isr(p);
	case CONFIG_VECTOR: return p->config_vector;
	case QUEUE_VECTOR: return q ? q->vector : VIRTIO_NO_VECTOR;
	default: return low_mask(size * 8);
	}
}

/* Where the parts of a ring stand is fixed by its first page (2.7.2). */
static void set_pfn(struct virtio_pci *p, uint32_t pfn)
{
	struct virtq *q = virtio_pci_queue(p);

	if (!q)
		return;
	if (!pfn) { /* the driver gives it up: it has stopped using the device */
		virtio_reset(p->v);
		return;
	}
	q->size = q->max_size;
	q->desc = (gpa_t)pfn * PAGE;
	q->driver = q->desc + 16ull * q->size;
	q->device = align_up(q->driver + 4 + 2ull * q->size + 2, PAGE);
	virtq_enable(q);
}

static void legacy_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct virtio_pci *p = dev;
	struct virtio_dev *v = p->v;
	struct virtq *q = virtio_pci_queue(p);

	if (off >= header_len(p)) {
		virtio_config_write(v, (unsigned)off - header_len(p), (uint32_t)val, size);
		return;
	}
	switch (off) {
	case WANTED:
		v->legacy = true;
		/* VERSION_1 and what came with it cannot be asked for here. */
		virtio_set_features(v, (uint32_t)val & v->offered);
		break;
	case QUEUE_PFN:
		v->legacy = true;
		set_pfn(p, (uint32_t)val);
		break;
	case QUEUE_SELECT:
		p->queue_select = (uint16_t)val;
		break;
	case QUEUE_NOTIFY:
		virtio_notify(v, (uint16_t)val);
		break;
	case STATUS:
		v->legacy = val & 0xff;
		virtio_set_status(v, (uint8_t)val);
		break;
	case CONFIG_VECTOR:
		p->config_vector = virtio_pci_vector(p, (uint16_t)val);
		break;
	case QUEUE_VECTOR:
		if (q)
			q->vector = virtio_pci_vector(p, (uint16_t)val);
		break;
	default:
		break;
	}
}

static const struct bus_ops legacy_ops = { legacy_read, legacy_write, 1, 4, false };

int virtio_pci_legacy_add(struct virtio_pci *p, struct err *err)
{
	unsigned len = 32;

	while (len < 24 + p->v->config_len)
		len *= 2;
	return pci_bar_add(&p->pci, LEGACY_BAR, len, PCI_BAR_IO, &legacy_ops, p, "virtio-legacy",
			   err);
}
