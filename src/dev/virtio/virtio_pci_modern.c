/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The modern interface: four structures in a memory BAR and the capabilities that point
 * at them (4.1.4), and access to them through configuration space.
 */
#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/virtio/virtio_pci_priv.h"

/* The BAR, a page each. */
#define COMMON 0x0000u
#define ISR 0x1000u
#define CONFIG 0x2000u
#define NOTIFY VIRTIO_PCI_MODERN_NOTIFY
#define PART_LEN 0x1000u
#define BAR_LEN 0x4000u
#define NOTIFY_STEP VIRTIO_PCI_NOTIFY_STEP

/* Capability types (4.1.4). */
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI_CFG };
#define CAP_BAR 4u
#define CAP_OFFSET 8u
#define CAP_LENGTH 12u
#define CAP_DATA 16u /* of CAP_PCI_CFG; CAP_NOTIFY has its multiplier there */

/* The common structure (4.1.4.3). */
enum {
	OFFERED_SELECT = 0x00,
	OFFERED = 0x04,
	WANTED_SELECT = 0x08,
	WANTED = 0x0c,
	CONFIG_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	STATUS = 0x14,
	GENERATION = 0x15,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
	QUEUE_NOTIFY_DATA = 0x38,
	QUEUE_RESET = 0x3a,
	COMMON_LEN = 0x3c,
};

static uint64_t common_read(struct virtio_pci *p, unsigned off, unsigned size)
{
	struct virtio_dev *v = p->v;
	const struct virtq *q = virtio_pci_queue(p);
	uint8_t regs[COMMON_LEN + 8] = { 0 };

	if (off >= COMMON_LEN)
		return 0;
	st_le32(regs + OFFERED_SELECT, p->offered_select);
	if (p->offered_select < 2)
		st_le32(regs + OFFERED, (uint32_t)((v->offered & ~VIRTIO_F_ANY_LAYOUT) >>
						   (32 * p->offered_select)));
	st_le32(regs + WANTED_SELECT, p->wanted_select);
	if (p->wanted_select < 2)
		st_le32(regs + WANTED, (uint32_t)(p->wanted >> (32 * p->wanted_select)));
	st_le16(regs + CONFIG_VECTOR, p->config_vector);
	st_le16(regs + NUM_QUEUES, (uint16_t)v->nvq);
	regs[STATUS] = v->status;
	regs[GENERATION] = v->generation;
	st_le16(regs + QUEUE_SELECT, p->queue_select);
	if (q) {
		st_le16(regs + QUEUE_SIZE, q->size);
		st_le16(regs + QUEUE_VECTOR, q->vector);
		st_le16(regs + QUEUE_ENABLE, q->enabled);
		st_le16(regs + QUEUE_NOTIFY_OFF, q->index);
		st_le64(regs + QUEUE_DESC, q->desc);
		st_le64(regs + QUEUE_DRIVER, q->driver);
		st_le64(regs + QUEUE_DEVICE, q->device);
		st_le16(regs + QUEUE_NOTIFY_DATA, q->index);
	}
	return ld_le64(regs + off) & low_mask(size * 8);
}

static void set_half(uint64_t *reg, bool high, uint32_t val)
{
	*reg = high ? (uint32_t)*reg | (uint64_t)val << 32 : (*reg & ~0xffffffffull) | val;
}

static void reset_queue(struct virtio_pci *p, struct virtq *q)
{
	uint16_t vector = q->vector;

	if (!virtio_has(p->v, VIRTIO_F_RING_RESET) || !q->enabled)
		return;
	if (p->v->ops->queue_reset)
		p->v->ops->queue_reset(p->v, q);
	virtq_reset(q);
	q->vector = vector; /* 2.6.1: the rest of its set-up starts anew */
}

/* Registers of the selected queue. What describes a ring is final once it is enabled. */
static void queue_write(struct virtio_pci *p, struct virtq *q, unsigned off, uint32_t val)
{
	bool fixed = q->enabled;

	switch (off) {
	case QUEUE_SIZE:
		/* Bad sizes (and those that are no power of two, in a split ring) are found
		 * when the ring is used. */
		if (!fixed)
			q->size = (uint16_t)min_of(val, q->max_size);
		break;
	case QUEUE_VECTOR:
		q->vector = virtio_pci_vector(p, val);
		break;
	case QUEUE_ENABLE:
		if (val == 1 && !fixed && q->size)
			virtq_enable(q);
		break;
	case QUEUE_DESC:
	case QUEUE_DESC + 4:
		if (!fixed)
			set_half(&q->desc, off & 4, val);
		break;
	case QUEUE_DRIVER:
	case QUEUE_DRIVER + 4:
		if (!fixed)
			set_half(&q->driver, off & 4, val);
		break;
	case QUEUE_DEVICE:
	case QUEUE_DEVICE + 4:
		if (!fixed)
			set_half(&q->device, off & 4, val);
		break;
	case QUEUE_RESET:
		if (val == 1)
			reset_queue(p, q);
		break;
	default:
		break;
	}
}

static void set_wanted(struct virtio_pci *p, uint32_t val)
{
	struct virtio_dev *v = p->v;

	if (p->wanted_select >= 2 || v->status & VIRTIO_STATUS_FEATURES_OK)
		return; /* 2.2: not after they were accepted */
	set_half(&p->wanted, p->wanted_select == 1, val);
	virtio_set_features(v, p->wanted);
}

static void set_status(struct virtio_pci *p, uint8_t val)
{
	if (!val) {
		virtio_reset(p->v);
		p->wanted = 0;
		p->config_vector = VIRTIO_NO_VECTOR;
		virtio_pci_take_isr(p);
		return;
	}
	p->v->legacy = false;
	virtio_set_status(p->v, val);
}

static void common_write(struct virtio_pci *p, unsigned off, uint32_t val)
{
	struct virtq *q = virtio_pci_queue(p);

	switch (off) {
	case OFFERED_SELECT:
		p->offered_select = val;
		break;
	case WANTED_SELECT:
		p->wanted_select = val;
		break;
	case WANTED:
		set_wanted(p, val);
		break;
	case CONFIG_VECTOR:
		p->config_vector = virtio_pci_vector(p, (uint16_t)val);
		break;
	case STATUS:
		set_status(p, (uint8_t)val);
		break;
	case QUEUE_SELECT:
		p->queue_select = (uint16_t)val;
		break;
	default:
		if (q)
			queue_write(p, q, off, val);
		break;
	}
}

static uint64_t modern_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *p = dev;
	unsigned at = off & (PART_LEN - 1);

	switch (off & ~(uint64_t)(PART_LEN - 1)) {
	case COMMON: return common_read(p, at, size);
	case ISR: return at ? 0 : virtio_pci_take_isr(p);
	case CONFIG: return virtio_config_read(p->v, at, size);
	default: return 0;
	}
}

static void modern_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct virtio_pci *p = dev;
	unsigned at = off & (PART_LEN - 1);

	switch (off & ~(uint64_t)(PART_LEN - 1)) {
	case NOTIFY: /* the address says which queue; data, if any, is a hint */
		virtio_notify(p->v, at / NOTIFY_STEP);
		break;
	case COMMON:
		common_write(p, at, (uint32_t)(val & low_mask(size * 8)));
		break;
	case CONFIG:
		virtio_config_write(p->v, at, (uint32_t)val, size);
		break;
	default:
		break;
	}
}

static const struct bus_ops modern_ops = { modern_read, modern_write, 1, 4, false };

/*
 * Capabilities.
 */
static unsigned add_cap(struct virtio_pci *p, uint8_t type, uint32_t offset, uint32_t length,
			unsigned cap_len)
{
	unsigned off = pci_cap_add(&p->pci, PCI_CAP_VENDOR, cap_len);
	uint8_t *c = p->pci.config + off;

	if (!off)
		return 0;
	c[2] = (uint8_t)cap_len;
	c[3] = type;
	c[CAP_BAR] = MODERN_BAR;
	st_le32(c + CAP_OFFSET, offset);
	st_le32(c + CAP_LENGTH, length);
	return off;
}

int virtio_pci_modern_add(struct virtio_pci *p, struct err *err)
{
	unsigned notify, cfg;
	int ret = pci_bar_add(&p->pci, MODERN_BAR, BAR_LEN, PCI_BAR_MEM64 | PCI_BAR_PREFETCH,
			      &modern_ops, p, "virtio-modern", err);

	if (ret < 0)
		return ret;
	if (!add_cap(p, CAP_COMMON, COMMON, COMMON_LEN, 16) ||
	    !add_cap(p, CAP_ISR, ISR, 1, 16) ||
	    (p->v->config_len && !add_cap(p, CAP_DEVICE, CONFIG, p->v->config_len, 16)))
		goto full;
	notify = add_cap(p, CAP_NOTIFY, NOTIFY, NOTIFY_STEP * p->v->nvq, 20);
	if (!notify)
		goto full;
	st_le32(p->pci.config + notify + CAP_DATA, NOTIFY_STEP);
	cfg = add_cap(p, CAP_PCI_CFG, 0, 0, 20);
	if (!cfg)
		goto full;
	p->pci.config[cfg + CAP_BAR] = 0;
	p->pci.wmask[cfg + CAP_BAR] = 0xff;
	memset(p->pci.wmask + cfg + CAP_OFFSET, 0xff, 12);
	p->cfg_cap = cfg;
	return 0;
full:
	return err_set(err, -ENOSPC, "%s: no room for its capabilities", p->v->name);
}

void virtio_pci_modern_reset(struct virtio_pci *p)
{
	if (!p->cfg_cap)
		return;
	p->pci.config[p->cfg_cap + CAP_BAR] = 0;
	memset(p->pci.config + p->cfg_cap + CAP_OFFSET, 0, 12);
}

/* 4.1.4.9: an access to the data field is one to the place that the others name. */
void virtio_pci_cfg_access(struct virtio_pci *p, unsigned off, unsigned size, bool write)
{
	unsigned data = p->cfg_cap + CAP_DATA;
	uint8_t *c = p->pci.config + p->cfg_cap;
	uint32_t at, len;

	if (!p->cfg_cap || off >= data + 4 || off + size <= data)
		return;
	at = ld_le32(c + CAP_OFFSET);
	len = ld_le32(c + CAP_LENGTH);
	if (c[CAP_BAR] != MODERN_BAR || (len != 1 && len != 2 && len != 4) || at & (len - 1) ||
	    at >= BAR_LEN)
		return;
	if (write)
		modern_write(p, at, ld_le32(c + CAP_DATA), len);
	else
		st_le32(c + CAP_DATA, (uint32_t)modern_read(p, at, len));
}
