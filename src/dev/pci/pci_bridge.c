/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/pci/pci_bridge.h"

#include "src/base/bits.h"
#include "src/dev/pci/pci_priv.h"
#include "src/dev/pci/pci_scan.h"

#define HEADER_TYPE_BRIDGE 1
#define PREF_64BIT 1u        /* low bits of the prefetchable base and limit */
#define CONTROL_RESET 0x40u
#define CONTROL_BITS 0x005fu /* parity, SERR, ISA, VGA, 16-bit VGA, reset */

/*
 * Windows (3.2.5.6 - 3.2.5.9). A limit below the base closes one.
 */
static bool within(uint64_t first, uint64_t last, uint64_t addr, uint64_t size)
{
	return first <= last && addr >= first && size - 1 <= last - addr && addr <= last;
}

static bool io_forwards(const struct pci_dev *d, uint64_t addr, uint64_t size)
{
	const uint8_t *c = d->config;

	return c[PCI_COMMAND] & PCI_COMMAND_IO &&
	       within((uint64_t)(c[PCI_IO_BASE] & 0xf0) << 8,
		      (uint64_t)(c[PCI_IO_LIMIT] & 0xf0) << 8 | 0xfff, addr, size);
}

static bool mem_forwards(const struct pci_dev *d, uint64_t addr, uint64_t size)
{
	const uint8_t *c = d->config;
	uint64_t first, last;

	if (!(c[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		return false;
	/* Prefetchable or not is for the bridge's reads ahead; both forward. */
	if (pci_bridge_prefetch_window(d, &first, &last) && within(first, last, addr, size))
		return true;
	return within((uint64_t)(ld_le16(c + PCI_MEM_BASE) & 0xfff0) << 16,
		      (uint64_t)(ld_le16(c + PCI_MEM_LIMIT) & 0xfff0) << 16 | 0xfffff, addr,
		      size);
}

bool pci_bus_forwards(const struct pci_bus *b, bool io, uint64_t addr, uint64_t size)
{
	for (; b->bridge; b = b->bridge->bus)
		if (!(io ? io_forwards : mem_forwards)(b->bridge, addr, size))
			return false;
	return true;
}

bool pci_bridge_prefetch_window(const struct pci_dev *d, uint64_t *first, uint64_t *last)
{
	const uint8_t *c = d->config;

	*first = (uint64_t)(ld_le16(c + PCI_PREF_BASE) & 0xfff0) << 16 |
		 (uint64_t)ld_le32(c + PCI_PREF_BASE_UPPER) << 32;
	*last = (uint64_t)(ld_le16(c + PCI_PREF_LIMIT) & 0xfff0) << 16 | 0xfffff |
		(uint64_t)ld_le32(c + PCI_PREF_LIMIT_UPPER) << 32;
	return c[PCI_COMMAND] & PCI_COMMAND_MEMORY && *first <= *last;
}

/*
 * Bus numbers (3.2.5.3 - 3.2.5.5).
 */
struct pci_bus *pci_bus_find(struct pci_bus *b, uint8_t number)
{
	if (number == 0)
		return b->bridge ? NULL : b;
	for (unsigned n = 0; n < 256; n++) {
		struct pci_dev *d = b->dev[n];

		/* A secondary bus must have a higher number than what is above it: else
		 * the search would have no end. */
		if (!d || !d->behind || d->config[PCI_SECONDARY_BUS] <= b->number ||
		    number < d->config[PCI_SECONDARY_BUS] ||
		    number > d->config[PCI_SUBORDINATE_BUS])
			continue;
		if (d->config[PCI_SECONDARY_BUS] == number)
			return d->behind;
		return pci_bus_find(d->behind, number);
	}
	return NULL;
}

/*
 * Registers.
 */
static bool hits(unsigned off, unsigned size, unsigned first, unsigned end)
{
	return off < end && off + size > first;
}

static void remap(void *opaque, struct pci_dev *d)
{
	pci_bars_map(d);
}

static void reset_one(void *opaque, struct pci_dev *d)
{
	pci_dev_reset(d);
	if (d->behind)
		pci_bridge_reset(d);
	if (d->ops && d->ops->bus_reset)
		d->ops->bus_reset(d);
}

static void follow(struct pci_dev *d)
{
	d->behind->number = d->config[PCI_SECONDARY_BUS];
	pci_each(d->behind, remap, NULL);
}

void pci_bridge_written(struct pci_dev *d, unsigned off, unsigned size)
{
	bool in_reset = d->config[PCI_BRIDGE_CONTROL] & CONTROL_RESET;

	if (hits(off, size, PCI_COMMAND, PCI_COMMAND + 2) ||
	    hits(off, size, PCI_PRIMARY_BUS, PCI_IO_LIMIT_UPPER + 2))
		follow(d);
	if (hits(off, size, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CONTROL + 1) && in_reset)
		pci_each(d->behind, reset_one, NULL);
}

void pci_bridge_reset(struct pci_dev *d)
{
	uint8_t *c = d->config;

	memset(c + PCI_PRIMARY_BUS, 0, 4);
	st_le16(c + PCI_IO_BASE, 0);
	st_le32(c + PCI_MEM_BASE, 0);
	st_le16(c + PCI_PREF_BASE, PREF_64BIT);
	st_le16(c + PCI_PREF_LIMIT, PREF_64BIT);
	memset(c + PCI_PREF_BASE_UPPER, 0, 8);
	st_le16(c + PCI_BRIDGE_CONTROL, 0);
	follow(d);
}

void pci_bridge_loaded(struct pci_dev *d)
{
	follow(d);
}

void pci_bridge_init(struct pci_dev *d, struct pci_bus *behind)
{
	uint8_t *w = d->wmask;

	pci_bus_init(behind, d->bus->env, 0);
	behind->bridge = d;
	d->behind = behind;
	d->config[PCI_HEADER_TYPE] |= HEADER_TYPE_BRIDGE;
	memset(w + PCI_PRIMARY_BUS, 0xff, 3);
	w[PCI_IO_BASE] = w[PCI_IO_LIMIT] = 0xf0; /* 16 bits of port addresses */
	st_le16(d->w1c + PCI_SECONDARY_STATUS, 0xf900);
	st_le16(w + PCI_MEM_BASE, 0xfff0);
	st_le16(w + PCI_MEM_LIMIT, 0xfff0);
	st_le16(w + PCI_PREF_BASE, 0xfff0);
	st_le16(w + PCI_PREF_LIMIT, 0xfff0);
	memset(w + PCI_PREF_BASE_UPPER, 0xff, 8);
	st_le16(w + PCI_BRIDGE_CONTROL, CONTROL_BITS);
	pci_bridge_reset(d);
}

void pci_bridge_fini(struct pci_dev *d)
{
	d->behind = NULL;
}
