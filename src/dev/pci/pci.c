/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions, configuration space, BARs and INTx. MSI and MSI-X are in pci_msi.c.
 */
#include "src/dev/pci/pci.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/pci/pci_priv.h"

/* BARs give way to what the board itself decodes, MSI-X tables stand over BARs. */
#define EXP_DEVICE_CONTROL 0x08u
#define EXP_LINK_CONTROL 0x10u
#define BAR_PRIORITY (-2)

static unsigned bar_offset(unsigned n)
{
	return n == PCI_ROM_BAR ? PCI_ROM_ADDRESS : PCI_BAR0 + 4 * n;
}

/*
 * INTx.
 */
static void line_change(struct pci_dev *d, int level)
{
	struct pci_bus *b = d->bus;
	unsigned slot = d->devfn >> 3, pin = (d->config[PCI_INTERRUPT_PIN] - 1u) & 3, line;

	while (b->bridge) { /* PCI-to-PCI bridge specification, table 9-1 */
		pin = (pin + slot) & 3;
		slot = b->bridge->devfn >> 3;
		b = b->bridge->bus;
	}
	if (!b->route)
		return;
	line = b->route(slot, pin) & 7;
	if (level ? b->pirq_count[line]++ == 0 : --b->pirq_count[line] == 0)
		if (b->set_pirq)
			b->set_pirq(b->pirq_opaque, line, level);
}

static void update_intx(struct pci_dev *d)
{
	uint8_t out = d->intx_level && !(ld_le16(d->config + PCI_COMMAND) & PCI_COMMAND_INTX_OFF);

	if (d->intx_level)
		d->config[PCI_STATUS] |= PCI_STATUS_INTX;
	else
		d->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
	if (out == d->intx_out)
		return;
	d->intx_out = out;
	line_change(d, out);
}

void pci_intx_set(struct pci_dev *d, int level)
{
	if (!d->config[PCI_INTERRUPT_PIN])
		return;
	d->intx_level = level != 0;
	update_intx(d);
}

/*
 * BARs.
 */

/* Where the registers put BAR @n; false: nowhere. */
static bool decoded_at(const struct pci_dev *d, unsigned n, uint64_t *addr)
{
	const struct pci_bar *bar = &d->bar[n];
	uint16_t command = ld_le16(d->config + PCI_COMMAND);
	uint32_t low = ld_le32(d->config + bar_offset(n));

	if (!bar->size)
		return false;
	if (bar->flags & PCI_BAR_IO) {
		*addr = low & ~3u & ~(bar->size - 1);
		return command & PCI_COMMAND_IO && *addr && *addr + bar->size <= 0x10000 &&
		       pci_bus_forwards(d->bus, true, *addr, bar->size);
	}
	if (n == PCI_ROM_BAR && !(low & 1))
		return false;
	*addr = low & ~(bar->size - 1) & ~0xfull;
	if (bar->flags & PCI_BAR_MEM64)
		*addr |= (uint64_t)ld_le32(d->config + bar_offset(n) + 4) << 32;
	*addr &= ~(bar->size - 1);
	/* Zero is "not assigned", the top of all addresses is a size inquiry. */
	return command & PCI_COMMAND_MEMORY && *addr && *addr + (bar->size - 1) >= *addr &&
	       *addr + (bar->size - 1) != (bar->flags & PCI_BAR_MEM64 ? UINT64_MAX : UINT32_MAX) &&
	       pci_bus_forwards(d->bus, false, *addr, bar->size);
}

bool pci_bar_address(const struct pci_dev *d, unsigned n, uint64_t *addr)
{
	*addr = d->bar[n].range.start;
	return d->bar[n].range.mapped;
}

static void map_bar(struct pci_dev *d, unsigned n)
{
	struct bus *bus = d->bus->env->bus;
	struct pci_bar *bar = &d->bar[n];
	bool io = bar->flags & PCI_BAR_IO;
	uint64_t addr;
	bool want = decoded_at(d, n, &addr);
	int r;

	if (!bar->size)
		return;
	if (want && bar->range.mapped && bar->range.start == addr)
		return;
	if (io)
		bus_del_pio(bus, &bar->range);
	else
		bus_del_mmio(bus, &bar->range);
	if (!want)
		return;
	bar->range.start = addr;
	r = io ? bus_add_pio(bus, &bar->range) : bus_add_mmio(bus, &bar->range);
	if (r != 0)
		log_warn(d->bus->env->log, "%s: cannot map BAR %u at %#llx", d->name, n,
			 (unsigned long long)addr);
}

void pci_bars_map(struct pci_dev *d)
{
	for (unsigned n = 0; n <= PCI_BARS; n++)
		map_bar(d, n);
	pci_msix_map(d);
}

int pci_bar_add(struct pci_dev *d, unsigned n, uint64_t size, uint8_t flags,
		const struct bus_ops *ops, void *dev, const char *name, struct err *err)
{
	unsigned off = bar_offset(n);
	bool io = flags & PCI_BAR_IO, wide = flags & PCI_BAR_MEM64;

	if (n > PCI_ROM_BAR || size & (size - 1) || size < (io ? 4 : 16) ||
	    (io && size > 0x100) || (!wide && size > 0x80000000u) ||
	    (wide && (io || n + 1 >= PCI_BARS)) || d->bar[n].size)
		return err_set(err, -EINVAL, "%s: BAR %u of %llu bytes is not possible",
			       d->name, n, (unsigned long long)size);
	d->bar[n] = (struct pci_bar){
		.size = size, .flags = flags,
		.range = { .len = size, .ops = ops, .dev = dev, .name = name,
			   .priority = BAR_PRIORITY },
	};
	st_le32(d->wmask + off, (uint32_t)~(size - 1));
	if (n == PCI_ROM_BAR) {
		d->wmask[off] |= 1;
		return 0;
	}
	d->config[off] = flags & (PCI_BAR_IO | PCI_BAR_MEM64 | PCI_BAR_PREFETCH);
	if (wide)
		st_le32(d->wmask + off + 4, (uint32_t)(~(size - 1) >> 32));
	return 0;
}

bool pci_may_dma(const struct pci_dev *d)
{
	/* A bridge lets it through whatever its own bit says: SeaBIOS never sets that. */
	return ld_le16(d->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

/*
 * Capabilities.
 */
unsigned pci_cap_add(struct pci_dev *d, uint8_t id, unsigned len)
{
	unsigned off = d->cap_end, size = (unsigned)align_up(len, 4);

	if (off + size > 0x100)
		return 0;
	d->config[off] = id;
	d->config[d->cap_last ? d->cap_last + 1u : PCI_CAPABILITIES] = (uint8_t)off;
	d->config[PCI_STATUS] |= PCI_STATUS_CAPS;
	d->cap_last = (uint8_t)off;
	d->cap_end = (uint16_t)(off + size);
	return off;
}

unsigned pci_ext_cap_add(struct pci_dev *d, uint16_t id, uint8_t version, unsigned len)
{
	unsigned off = 0x100, next;
	uint32_t header;

	/* Behind the last; a header with next 0 ends the list. */
	header = ld_le32(d->config + off);
	if (header) {
		while ((next = header >> 20) != 0) {
			off = next;
			header = ld_le32(d->config + off);
		}
		next = d->ext_cap_end;
	} else {
		next = off;
	}
	if (next + len > PCI_CONFIG_SIZE)
		return 0;
	if (header)
		st_le32(d->config + off, header | next << 20);
	st_le32(d->config + next, id | (uint32_t)version << 16);
	d->ext_cap_end = (uint16_t)align_up(next + len, 4);
	return next;
}

unsigned pci_exp_add(struct pci_dev *d, unsigned type)
{
	unsigned off = pci_cap_add(d, PCI_CAP_EXP, 0x3c);

	if (!off)
		return 0;
	d->exp_cap = (uint8_t)off;
	st_le16(d->config + off + 2, (uint16_t)(2 | type << 4));
	st_le32(d->config + off + 4, 0x8000); /* role-based error reporting */
	st_le16(d->wmask + off + EXP_DEVICE_CONTROL, 0x78ff);
	st_le16(d->w1c + off + 10, 0x000f);   /* device status */
	if (type != 9) { /* a link of one lane at 2.5 GT/s, which is up */
		st_le32(d->config + off + 0x0c, 0x11);
		st_le16(d->config + off + 0x12, 0x11);
		st_le16(d->wmask + off + EXP_LINK_CONTROL, 0x00c3);
	}
	return off;
}

unsigned pci_pm_add(struct pci_dev *d)
{
	unsigned off = pci_cap_add(d, PCI_CAP_PM, 8);

	if (!off)
		return 0;
	d->pm_cap = (uint8_t)off;
	st_le16(d->config + off + 2, 3);      /* version 1.2, D0 and D3hot */
	st_le16(d->config + off + 4, 0x0008); /* no soft reset on leaving D3hot */
	st_le16(d->wmask + off + 4, 0x0003);
	return off;
}

/*
 * Configuration cycles.
 */
static bool overlaps(unsigned off, unsigned size, unsigned start, unsigned len)
{
	return off < start + len && start < off + size;
}

uint32_t pci_config_read(struct pci_bus *b, uint8_t devfn, unsigned off, unsigned size)
{
	struct pci_dev *d = b->dev[devfn];
	uint32_t v = 0;

	if (!d || off + size > PCI_CONFIG_SIZE)
		return (uint32_t)low_mask(size * 8);
	if (d->ops && d->ops->config_read)
		d->ops->config_read(d, off, size);
	for (unsigned n = 0; n < size; n++)
		v |= (uint32_t)d->config[off + n] << (n * 8);
	return v;
}

void pci_config_write(struct pci_bus *b, uint8_t devfn, unsigned off, uint32_t val,
		      unsigned size)
{
	struct pci_dev *d = b->dev[devfn];

	if (!d || off + size > PCI_CONFIG_SIZE)
		return;
	for (unsigned n = 0; n < size; n++) {
		uint8_t byte = (uint8_t)(val >> (n * 8)), *c = &d->config[off + n];

		*c = (uint8_t)((*c & ~d->wmask[off + n]) | (byte & d->wmask[off + n]));
		*c &= (uint8_t)~(byte & d->w1c[off + n]);
	}
	if (overlaps(off, size, PCI_COMMAND, 2) || overlaps(off, size, PCI_BAR0, 24) ||
	    overlaps(off, size, PCI_ROM_ADDRESS, 4))
		pci_bars_map(d);
	if (overlaps(off, size, PCI_COMMAND, 2))
		update_intx(d);
	pci_msi_written(d, off, size);
	if (d->ops && d->ops->config_written)
		d->ops->config_written(d, off, size);
}

/*
 * Life.
 */
void pci_bus_init(struct pci_bus *b, const struct dev_env *env, uint8_t number)
{
	*b = (struct pci_bus){ .env = env, .number = number };
}

/* The multi-function bit of function 0 follows from who is there. */
static void update_multifunction(struct pci_bus *b, uint8_t devfn)
{
	struct pci_dev *zero = b->dev[devfn & 0xf8];
	bool more = false;

	if (!zero)
		return;
	for (unsigned fn = 1; fn < 8; fn++)
		more |= b->dev[(devfn & 0xf8) | fn] != NULL;
	zero->config[PCI_HEADER_TYPE] =
		(uint8_t)((zero->config[PCI_HEADER_TYPE] & 0x7f) | (more ? 0x80 : 0));
}

int pci_dev_init(struct pci_dev *d, struct pci_bus *bus, uint8_t devfn, const char *name,
		 const struct pci_ids *ids, const struct pci_ops *ops, struct err *err)
{
	memset(d, 0, sizeof(*d));
	if (bus->dev[devfn])
		return err_set(err, -EBUSY, "%s: PCI slot %02x:%02x.%u is taken by %s", name,
			       bus->number, devfn >> 3, devfn & 7, bus->dev[devfn]->name);
	d->name = name;
	d->bus = bus;
	d->devfn = devfn;
	d->ops = ops;
	d->cap_end = 0x40;
	st_le16(d->config + PCI_VENDOR_ID, ids->vendor);
	st_le16(d->config + PCI_DEVICE_ID, ids->device);
	st_le16(d->config + PCI_SUBSYSTEM_VENDOR, ids->subsystem_vendor);
	st_le16(d->config + PCI_SUBSYSTEM_ID, ids->subsystem);
	d->config[PCI_REVISION] = ids->revision;
	d->config[PCI_CLASS_PROG] = (uint8_t)ids->class;
	st_le16(d->config + PCI_CLASS_DEVICE, (uint16_t)(ids->class >> 8));
	d->config[PCI_INTERRUPT_PIN] = ids->int_pin;
	st_le16(d->wmask + PCI_COMMAND,
		PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
			PCI_COMMAND_SERR | PCI_COMMAND_INTX_OFF);
	st_le16(d->w1c + PCI_STATUS, 0xf900);
	d->wmask[PCI_CACHE_LINE] = 0xff;
	d->wmask[PCI_INTERRUPT_LINE] = 0xff;
	bus->dev[devfn] = d;
	update_multifunction(bus, devfn);
	return 0;
}

static void unmap(struct pci_dev *d)
{
	st_le16(d->config + PCI_COMMAND, 0);
	pci_bars_map(d);
}

void pci_dev_fini(struct pci_dev *d)
{
	if (!d->bus || d->bus->dev[d->devfn] != d)
		return;
	d->intx_level = 0;
	update_intx(d);
	unmap(d);
	d->bus->dev[d->devfn] = NULL;
	update_multifunction(d->bus, d->devfn);
}

void pci_dev_reset(struct pci_dev *d)
{
	d->intx_level = 0;
	update_intx(d);
	for (unsigned n = 0; n <= PCI_BARS; n++) {
		unsigned off = bar_offset(n);

		if (d->bar[n].size)
			st_le32(d->config + off, d->bar[n].flags);
		if (d->bar[n].size && d->bar[n].flags & PCI_BAR_MEM64)
			st_le32(d->config + off + 4, 0);
	}
	d->config[PCI_CACHE_LINE] = d->config[PCI_INTERRUPT_LINE] = 0;
	if (d->pm_cap)
		d->config[d->pm_cap + 4] &= (uint8_t)~3u;
	if (d->exp_cap) {
		st_le16(d->config + d->exp_cap + EXP_DEVICE_CONTROL, 0);
		st_le16(d->config + d->exp_cap + EXP_LINK_CONTROL, 0);
	}
	pci_msi_reset(d);
	unmap(d);
}

/*
 * State. Of configuration space only what can change comes from the stream.
 */
static void pre_save(void *obj)
{
	struct pci_dev *d = obj;

	memcpy(d->saved_config, d->config, sizeof(d->config));
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct pci_dev *d = obj;

	if (ld_le32(d->saved_config) != ld_le32(d->config))
		return err_set(err, -EINVAL,
			       "%s: the saved machine has a PCI device %04x:%04x in its place",
			       d->name, ld_le16(d->saved_config), ld_le16(d->saved_config + 2));
	for (unsigned n = 0; n < PCI_CONFIG_SIZE; n++) {
		uint8_t mask = d->wmask[n] | d->w1c[n];

		d->config[n] = (uint8_t)((d->config[n] & ~mask) | (d->saved_config[n] & mask));
	}
	d->intx_level = d->intx_level != 0;
	d->intx_out = d->intx_out != 0;
	if (d->intx_level)
		d->config[PCI_STATUS] |= PCI_STATUS_INTX;
	else
		d->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
	pci_msi_loaded(d);
	pci_bars_map(d);
	return 0;
}

static const struct state_field vector_fields[] = {
	STATE_U64(struct pci_msix_vector, addr, 1),
	STATE_U32(struct pci_msix_vector, data, 1),
	STATE_U32(struct pci_msix_vector, control, 1),
	STATE_END
};

static const struct state_desc vector_state = {
	.name = "msix-vector", .version = 1, .fields = vector_fields,
};

static const struct state_field fields[] = {
	STATE_BYTES(struct pci_dev, saved_config, 1),
	STATE_U8(struct pci_dev, intx_level, 1),
	STATE_U8(struct pci_dev, intx_out, 1),
	STATE_U32(struct pci_dev, msi_pending, 1),
	STATE_STRUCT_ARRAY(struct pci_dev, msix, 1, &vector_state),
	STATE_ARRAY(struct pci_dev, msix_pending, 1),
	STATE_END
};

const struct state_desc pci_dev_state = {
	.name = "pci", .version = 1, .fields = fields, .pre_save = pre_save,
	.post_load = post_load,
};
