/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI function behind both interfaces: identity, interrupts, state. */
#include "src/dev/virtio/virtio_pci.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/virtio/virtio_pci_priv.h"

#define ISR_QUEUE 1u
#define ISR_CONFIG 2u
#define MSIX_TABLE 0x000u
#define MSIX_PENDING 0x800u
#define MSIX_BAR_LEN 0x1000u

/*
 * Interrupts (4.1.5.3, 4.1.5.4).
 */
static void update_intx(struct virtio_pci *p)
{
	pci_intx_set(&p->pci, p->isr && !pci_msix_enabled(&p->pci));
}

static void interrupt(struct virtio_pci *p, uint16_t vector, uint8_t cause)
{
	if (pci_msix_enabled(&p->pci)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_notify(&p->pci, vector);
		return;
	}
	p->isr |= cause;
	update_intx(p);
}

static void queue_irq(void *transport, struct virtq *q)
{
	interrupt(transport, q->vector, ISR_QUEUE);
}

static void config_irq(void *transport)
{
	struct virtio_pci *p = transport;

	interrupt(p, p->config_vector, ISR_CONFIG);
}

static bool may_dma(void *transport)
{
	struct virtio_pci *p = transport;

	/* Legacy drivers did not all set the bit. */
	return p->v->legacy || pci_may_dma(&p->pci);
}

static const struct virtio_transport_ops transport_ops = { queue_irq, config_irq, may_dma };

uint8_t virtio_pci_take_isr(struct virtio_pci *p)
{
	uint8_t isr = p->isr;

	p->isr = 0;
	update_intx(p);
	return isr;
}

uint16_t virtio_pci_vector(const struct virtio_pci *p, uint32_t vector)
{
	return vector < p->pci.msix_count ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

struct virtq *virtio_pci_queue(struct virtio_pci *p)
{
	return p->queue_select < p->v->nvq ? &p->v->vq[p->queue_select] : NULL;
}

/*
 * Configuration space.
 */
static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct virtio_pci *p = container_of(d, struct virtio_pci, pci);

	update_intx(p); /* MSI-X may have come or gone */
	virtio_pci_cfg_access(p, off, size, true);
}

static void config_read(struct pci_dev *d, unsigned off, unsigned size)
{
	virtio_pci_cfg_access(container_of(d, struct virtio_pci, pci), off, size, false);
}

static const struct pci_ops pci_ops = {
	.config_written = config_written, .config_read = config_read,
};

static uint64_t nothing_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

static const struct bus_ops nothing_ops = { nothing_read, NULL, 4, 4, false };

static int add_msix(struct virtio_pci *p, struct err *err)
{
	unsigned vectors = p->vectors == VIRTIO_PCI_VECTORS_AUTO ? p->v->nvq + 1 : p->vectors;
	int ret;

	if (!vectors)
		return 0;
	ret = pci_bar_add(&p->pci, MSIX_BAR, MSIX_BAR_LEN, 0, &nothing_ops, p, "virtio-msix", err);
	if (ret < 0)
		return ret;
	if (vectors > PCI_MSIX_MAX)
		vectors = PCI_MSIX_MAX;
	return pci_msix_add(&p->pci, vectors, MSIX_BAR, MSIX_TABLE, MSIX_PENDING, err);
}

/* Transitional devices have the old numbers (4.1.2.1). */
static uint16_t device_id(const struct virtio_pci *p)
{
	static const uint16_t transitional[] = {
		[VIRTIO_ID_NET] = 0x1000, [VIRTIO_ID_BLOCK] = 0x1001, [VIRTIO_ID_CONSOLE] = 0x1003,
		[VIRTIO_ID_SCSI] = 0x1004, [VIRTIO_ID_RNG] = 0x1005,
	};
	unsigned id = p->v->id;

	if (p->has_legacy && id < array_size(transitional) && transitional[id])
		return transitional[id];
	return (uint16_t)(0x1040 + id);
}

static int add_function(struct virtio_pci *p, const struct dev_plug *plug, uint32_t class,
			struct err *err)
{
	struct pci_ids ids = {
		.vendor = VIRTIO_PCI_VENDOR, .device = device_id(p),
		.subsystem_vendor = VIRTIO_PCI_VENDOR,
		.subsystem = p->has_legacy ? (uint16_t)p->v->id : 0x1100,
		.class = class, .revision = p->has_legacy ? 0 : 1, .int_pin = 1,
	};

	return pci_dev_init(&p->pci, plug->pci, plug->devfn, p->v->name, &ids, &pci_ops, err);
}

static int add_capabilities(struct virtio_pci *p, struct err *err)
{
	bool behind_port = p->pci.bus->bridge != NULL;
	int ret = add_msix(p, err);

	if (ret == 0 && p->has_legacy)
		ret = virtio_pci_legacy_add(p, err);
	if (ret == 0 && p->has_modern)
		ret = virtio_pci_modern_add(p, err);
	/* On the root bus a device with ports is a conventional one: integrated endpoints
	 * have none (PCI Express 3.0, 1.3.2.3). */
	if (ret == 0 && (behind_port || !p->has_legacy) &&
	    (!pci_exp_add(&p->pci, behind_port ? 0 : 9) || !pci_pm_add(&p->pci)))
		ret = err_set(err, -ENOSPC, "%s: no room for its capabilities", p->v->name);
	return ret;
}

int virtio_pci_init(struct virtio_pci *p, struct virtio_dev *v, const struct dev_plug *plug,
		    uint32_t class, struct err *err)
{
	bool behind_port = plug->pci->bridge != NULL;
	int ret;

	p->v = v;
	p->has_modern = !p->disable_modern;
	p->has_legacy = p->disable_legacy == VIRTIO_LEGACY_ON ||
			(p->disable_legacy == VIRTIO_LEGACY_AUTO && !behind_port);
	if (!p->has_modern && !p->has_legacy)
		return err_set(err, -EINVAL, "%s: disable-legacy and disable-modern leave "
			       "nothing; set one of them off", v->name);
	v->offered |= VIRTIO_F_ANY_LAYOUT;
	if (p->has_modern)
		v->offered |= VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET |
			      (p->packed ? VIRTIO_F_RING_PACKED : 0);
	v->offered |= (p->event_idx ? VIRTIO_F_EVENT_IDX : 0) |
		      (p->indirect ? VIRTIO_F_INDIRECT_DESC : 0);
	ret = add_function(p, plug, class, err);
	if (ret < 0)
		return ret;
	ret = add_capabilities(p, err);
	if (ret < 0) {
		pci_dev_fini(&p->pci);
		return ret;
	}
	v->transport_ops = &transport_ops;
	v->transport = p;
	virtio_pci_bells_add(p);
	virtio_pci_reset(p);
	return 0;
}

void virtio_pci_fini(struct virtio_pci *p)
{
	virtio_reset(p->v);
	pci_dev_fini(&p->pci);
	virtio_pci_bells_del(p);
	p->v->transport = NULL;
}

void virtio_pci_reset(struct virtio_pci *p)
{
	virtio_reset(p->v);
	p->isr = 0;
	p->offered_select = p->wanted_select = 0;
	p->wanted = 0;
	p->queue_select = 0;
	p->config_vector = VIRTIO_NO_VECTOR;
	pci_dev_reset(&p->pci);
	virtio_pci_modern_reset(p);
}

int virtio_pci_fw_name(const struct virtio_pci *p, const char *node, const char *rest, char *buf,
		       size_t len)
{
	unsigned slot = p->pci.devfn >> 3, fn = p->pci.devfn & 7;

	if (fn)
		return snprintf(buf, len, "%s@%x,%x%s", node, slot, fn, rest);
	return snprintf(buf, len, "%s@%x%s", node, slot, rest);
}

/*
 * State.
 */
static int loaded(void *obj, unsigned version, struct err *err)
{
	struct virtio_pci *p = obj;

	p->config_vector = virtio_pci_vector(p, p->config_vector);
	for (unsigned n = 0; n < p->v->nvq; n++)
		p->v->vq[n].vector = virtio_pci_vector(p, p->v->vq[n].vector);
	p->isr &= ISR_QUEUE | ISR_CONFIG;
	virtio_pci_bells_ring(p);
	return 0;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct virtio_pci, pci, 1, &pci_dev_state),
	STATE_U32(struct virtio_pci, offered_select, 1),
	STATE_U32(struct virtio_pci, wanted_select, 1),
	STATE_U64(struct virtio_pci, wanted, 1),
	STATE_U16(struct virtio_pci, queue_select, 1),
	STATE_U16(struct virtio_pci, config_vector, 1),
	STATE_U8(struct virtio_pci, isr, 1),
	STATE_END
};

const struct state_desc virtio_pci_state = {
	.name = "virtio-pci", .version = 1, .fields = fields, .post_load = loaded,
};
