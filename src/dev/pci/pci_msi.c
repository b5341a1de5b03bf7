/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Message-signalled interrupts. PCI 3.0, 6.8.
 */
#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/pci/pci_priv.h"

/* The MSI capability, 64-bit with masks. */
#define MSI_CONTROL 0x02
#define MSI_ADDR 0x04
#define MSI_DATA 0x0c
#define MSI_MASK 0x10
#define MSI_PENDING 0x14
#define MSI_LEN 0x18
#define MSI_ENABLE 0x0001u
#define MSI_MME(control) ((control) >> 4 & 7u)
#define MSI_64BIT 0x0080u
#define MSI_MASKABLE 0x0100u

#define MSIX_CONTROL 0x02
#define MSIX_TABLE 0x04
#define MSIX_PBA 0x08
#define MSIX_LEN 0x0c
#define MSIX_ENABLE 0x8000u
#define MSIX_FUNCTION_MASK 0x4000u
#define MSIX_VECTOR_MASK 0x1u
#define MSIX_PRIORITY (-1)

/*
 * MSI.
 */
static uint16_t msi_control(const struct pci_dev *d)
{
	return ld_le16(d->config + d->msi_cap + MSI_CONTROL);
}

int pci_msi_add(struct pci_dev *d, unsigned vectors, struct err *err)
{
	unsigned off, log2 = 0;

	while (1u << log2 < vectors)
		log2++;
	if (vectors < 1 || log2 > 5 || 1u << log2 != vectors || d->msi_cap)
		return err_set(err, -EINVAL, "%s: MSI with %u vectors is not possible", d->name,
			       vectors);
	off = pci_cap_add(d, PCI_CAP_MSI, MSI_LEN);
	if (!off)
		return err_set(err, -ENOSPC, "%s: no room for MSI", d->name);
	d->msi_cap = (uint8_t)off;
	st_le16(d->config + off + MSI_CONTROL,
		(uint16_t)(MSI_64BIT | MSI_MASKABLE | log2 << 1));
	st_le16(d->wmask + off + MSI_CONTROL, 0x0071);
	st_le32(d->wmask + off + MSI_ADDR, 0xfffffffc);
	st_le32(d->wmask + off + MSI_ADDR + 4, 0xffffffff);
	st_le16(d->wmask + off + MSI_DATA, 0xffff);
	st_le32(d->wmask + off + MSI_MASK, (uint32_t)low_mask(vectors));
	return 0;
}

bool pci_msi_enabled(const struct pci_dev *d)
{
	return d->msi_cap && msi_control(d) & MSI_ENABLE;
}

/* How many vectors software granted; never more than were asked for. */
static unsigned msi_granted(const struct pci_dev *d)
{
	unsigned asked = msi_control(d) >> 1 & 7, granted = MSI_MME(msi_control(d));

	return 1u << min_of(asked, granted);
}

static void set_msi_pending(struct pci_dev *d, uint32_t pending)
{
	d->msi_pending = pending;
	st_le32(d->config + d->msi_cap + MSI_PENDING, pending);
}

void pci_msi_notify(struct pci_dev *d, unsigned vector)
{
	const uint8_t *cap = d->config + d->msi_cap;
	uint32_t data;

	if (!pci_msi_enabled(d))
		return;
	vector &= msi_granted(d) - 1;
	if (ld_le32(cap + MSI_MASK) >> vector & 1) {
		set_msi_pending(d, d->msi_pending | 1u << vector);
		return;
	}
	if (!pci_may_dma(d)) /* a message is a write by the device */
		return;
	data = ld_le16(cap + MSI_DATA);
	data = (data & ~(msi_granted(d) - 1)) | vector;
	bus_msi(d->bus->env->bus, ld_le64(cap + MSI_ADDR), data);
}

static void msi_flush(struct pci_dev *d)
{
	uint32_t due;

	if (!pci_msi_enabled(d))
		return;
	due = d->msi_pending & ~ld_le32(d->config + d->msi_cap + MSI_MASK);
	set_msi_pending(d, d->msi_pending & ~due);
	for (unsigned n = 0; n < 32; n++)
		if (due >> n & 1)
			pci_msi_notify(d, n);
}

/*
 * MSI-X.
 */
bool pci_msix_enabled(const struct pci_dev *d)
{
	return d->msix_cap && ld_le16(d->config + d->msix_cap + MSIX_CONTROL) & MSIX_ENABLE;
}

static bool msix_masked(const struct pci_dev *d, unsigned vector)
{
	return d->msix[vector].control & MSIX_VECTOR_MASK ||
	       ld_le16(d->config + d->msix_cap + MSIX_CONTROL) & MSIX_FUNCTION_MASK;
}

void pci_msix_notify(struct pci_dev *d, unsigned vector)
{
	if (!pci_msix_enabled(d) || vector >= d->msix_count)
		return;
	if (msix_masked(d, vector))
		d->msix_pending[vector / 64] |= 1ull << (vector & 63);
	else if (pci_may_dma(d))
		bus_msi(d->bus->env->bus, d->msix[vector].addr, d->msix[vector].data);
}

static void msix_flush(struct pci_dev *d)
{
	if (!pci_msix_enabled(d))
		return;
	for (unsigned n = 0; n < d->msix_count; n++) {
		if (!(d->msix_pending[n / 64] >> (n & 63) & 1) || msix_masked(d, n))
			continue;
		d->msix_pending[n / 64] &= ~(1ull << (n & 63));
		pci_msix_notify(d, n);
	}
}

static uint64_t table_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_dev *d = dev;
	const struct pci_msix_vector *v = &d->msix[off / 16 % PCI_MSIX_MAX];

	switch (off & 0xc) {
	case 0x0: return (uint32_t)v->addr;
	case 0x4: return v->addr >> 32;
	case 0x8: return v->data;
	default: return v->control;
	}
}

static void table_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct pci_dev *d = dev;
	struct pci_msix_vector *v = &d->msix[off / 16 % PCI_MSIX_MAX];

	if (size != 4 || off & 3)
		return; /* only whole aligned words are defined */
	switch (off & 0xc) {
	case 0x0:
		v->addr = (v->addr & ~0xffffffffull) | (val & ~3ull);
		break;
	case 0x4:
		v->addr = (uint32_t)v->addr | val << 32;
		break;
	case 0x8:
		v->data = (uint32_t)val;
		break;
	default:
		v->control = (uint32_t)val & MSIX_VECTOR_MASK;
		msix_flush(d);
		break;
	}
}

static uint64_t pba_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_dev *d = dev;
	uint64_t word = d->msix_pending[off / 8 % (PCI_MSIX_MAX / 64)];

	return off & 4 ? word >> 32 : (uint32_t)word;
}

static const struct bus_ops table_ops = { table_read, table_write, 4, 4, false };
static const struct bus_ops pba_ops = { pba_read, NULL, 4, 4, false };

int pci_msix_add(struct pci_dev *d, unsigned vectors, unsigned bar, uint32_t table_off,
		 uint32_t pba_off, struct err *err)
{
	uint64_t table_len = (uint64_t)vectors * 16, pba_len = align_up(vectors, 64) / 8, size;
	unsigned off;

	size = bar < PCI_BARS ? d->bar[bar].size : 0;
	if (vectors < 1 || vectors > PCI_MSIX_MAX || d->msix_cap || !size ||
	    d->bar[bar].flags & PCI_BAR_IO || (table_off | pba_off) & 7 ||
	    table_off + table_len > size || pba_off + pba_len > size ||
	    (table_off < pba_off + pba_len && pba_off < table_off + table_len))
		return err_set(err, -EINVAL, "%s: MSI-X with %u vectors in BAR %u is not possible",
			       d->name, vectors, bar);
	off = pci_cap_add(d, PCI_CAP_MSIX, MSIX_LEN);
	if (!off)
		return err_set(err, -ENOSPC, "%s: no room for MSI-X", d->name);
	d->msix_cap = (uint8_t)off;
	d->msix_count = (uint16_t)vectors;
	d->msix_bar = (uint8_t)bar;
	d->msix_off[0] = table_off;
	d->msix_off[1] = pba_off;
	d->msix_range[0] = (struct bus_range){ .len = table_len, .ops = &table_ops, .dev = d,
					       .name = "msix-table", .priority = MSIX_PRIORITY };
	d->msix_range[1] = (struct bus_range){ .len = pba_len, .ops = &pba_ops, .dev = d,
					       .name = "msix-pba", .priority = MSIX_PRIORITY };
	st_le16(d->config + off + MSIX_CONTROL, (uint16_t)(vectors - 1));
	st_le16(d->wmask + off + MSIX_CONTROL, MSIX_ENABLE | MSIX_FUNCTION_MASK);
	st_le32(d->config + off + MSIX_TABLE, table_off | bar);
	st_le32(d->config + off + MSIX_PBA, pba_off | bar);
	pci_msi_reset(d);
	return 0;
}

void pci_msix_map(struct pci_dev *d)
{
	struct bus *bus = d->bus->env->bus;
	uint64_t addr;
	bool mapped;

	if (!d->msix_cap)
		return;
	mapped = pci_bar_address(d, d->msix_bar, &addr);
	for (unsigned n = 0; n < 2; n++) {
		struct bus_range *r = &d->msix_range[n];

		if (mapped && r->mapped && r->start == addr + d->msix_off[n])
			continue;
		bus_del_mmio(bus, r);
		r->start = addr + d->msix_off[n];
		if (mapped && bus_add_mmio(bus, r) != 0)
			log_warn(d->bus->env->log, "%s: cannot map the MSI-X table", d->name);
	}
}

/*
 * Both.
 */
void pci_msi_written(struct pci_dev *d, unsigned off, unsigned size)
{
	if (d->msi_cap && off < d->msi_cap + (unsigned)MSI_LEN && off + size > d->msi_cap)
		msi_flush(d);
	if (d->msix_cap && off < d->msix_cap + (unsigned)MSIX_LEN && off + size > d->msix_cap)
		msix_flush(d);
}

void pci_msi_reset(struct pci_dev *d)
{
	if (d->msi_cap) {
		uint8_t *cap = d->config + d->msi_cap;

		st_le16(cap + MSI_CONTROL, msi_control(d) & ~0x0071u);
		st_le64(cap + MSI_ADDR, 0);
		st_le16(cap + MSI_DATA, 0);
		st_le32(cap + MSI_MASK, 0);
		set_msi_pending(d, 0);
	}
	if (d->msix_cap)
		st_le16(d->config + d->msix_cap + MSIX_CONTROL, (uint16_t)(d->msix_count - 1));
	memset(d->msix_pending, 0, sizeof(d->msix_pending));
	for (unsigned n = 0; n < PCI_MSIX_MAX; n++)
		d->msix[n] = (struct pci_msix_vector){ .control = MSIX_VECTOR_MASK };
}

void pci_msi_loaded(struct pci_dev *d)
{
	if (d->msi_cap)
		st_le32(d->config + d->msi_cap + MSI_PENDING, d->msi_pending);
	for (unsigned n = 0; n < PCI_MSIX_MAX; n++)
		d->msix[n].control &= MSIX_VECTOR_MASK;
}
