/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/pci/root_port.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/pci/pci_bridge.h"

#define EXP_ROOT_PORT 4u
/* Registers of the PCI Express capability, from its start. */
#define EXP_FLAGS 0x02u
#define EXP_FLAGS_SLOT 0x0100u
#define EXP_LINK_CAP 0x0cu
#define EXP_LINK_CAP_ACTIVE 0x00100000u /* tells when the link is up */
#define EXP_LINK_STATUS 0x12u
#define EXP_LINK_ACTIVE 0x2000u
#define EXP_SLOT_CAP 0x14u
#define EXP_SLOT_NUMBER(n) ((uint32_t)(n) << 19)
#define EXP_SLOT_STATUS 0x1au
#define EXP_SLOT_PRESENT 0x0040u
#define EXP_ROOT_CONTROL 0x1cu

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	pci_bridge_written(d, off, size);
}

static bool occupied(const struct root_port *r)
{
	for (unsigned n = 0; n < 8; n++)
		if (r->bus.dev[n])
			return true;
	return false;
}

/* What the slot and the link say follows from whether a card is there. */
static void config_read(struct pci_dev *d, unsigned off, unsigned size)
{
	struct root_port *r = container_of(d, struct root_port, pci);
	uint8_t *exp = d->config + d->exp_cap;
	bool there = occupied(r);

	st_le16(exp + EXP_SLOT_STATUS, there ? EXP_SLOT_PRESENT : 0);
	st_le16(exp + EXP_LINK_STATUS, (uint16_t)(0x11 | (there ? EXP_LINK_ACTIVE : 0)));
}

static const struct pci_ops ops = {
	.config_written = config_written, .config_read = config_read,
};

static void add_slot(struct root_port *r, unsigned exp)
{
	uint8_t *c = r->pci.config + exp;

	st_le16(c + EXP_FLAGS, ld_le16(c + EXP_FLAGS) | EXP_FLAGS_SLOT);
	st_le32(c + EXP_LINK_CAP, ld_le32(c + EXP_LINK_CAP) | EXP_LINK_CAP_ACTIVE |
				  r->slot << 24);
	st_le32(c + EXP_SLOT_CAP, EXP_SLOT_NUMBER(r->slot));
	st_le16(r->pci.wmask + exp + EXP_ROOT_CONTROL, 0x000f); /* system errors, PME */
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = 0x1b36, .device = 0x000c, .class = 0x060400, .int_pin = 1,
	};
	struct root_port *r = dev;
	unsigned exp;
	int ret = pci_dev_init(&r->pci, plug->pci, plug->devfn, "pcie-root-port", &ids, &ops, err);

	if (ret < 0)
		return ret;
	pci_bridge_init(&r->pci, &r->bus);
	exp = pci_exp_add(&r->pci, EXP_ROOT_PORT);
	if (exp)
		add_slot(r, exp);
	ret = pci_msi_add(&r->pci, 1, err);
	if (ret == 0 && (!exp || !pci_pm_add(&r->pci)))
		ret = err_set(err, -ENOSPC, "pcie-root-port: no room for capabilities");
	if (ret < 0)
		pci_dev_fini(&r->pci);
	return ret;
}

static void fini(void *dev)
{
	struct root_port *r = dev;

	pci_bridge_fini(&r->pci);
	pci_dev_fini(&r->pci);
}

static void reset(void *dev)
{
	struct root_port *r = dev;

	pci_dev_reset(&r->pci);
	st_le16(r->pci.config + r->pci.exp_cap + EXP_ROOT_CONTROL, 0);
	pci_bridge_reset(&r->pci);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	struct root_port *r = dev;
	unsigned fn = r->pci.devfn & 7;
	int n = snprintf(buf, len, fn ? "pci-bridge@%x,%x" : "pci-bridge@%x", r->pci.devfn >> 3,
			 fn);

	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

static struct pci_bus *bus_of(void *dev)
{
	return &((struct root_port *)dev)->bus;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	pci_bridge_loaded(&((struct root_port *)obj)->pci);
	return 0;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct root_port, pci, 1, &pci_dev_state),
	STATE_END
};

static const struct state_desc state = {
	.name = "pcie-root-port", .version = 1, .fields = fields, .post_load = post_load,
};

static const struct dev_prop props[] = {
	{ .name = "slot-number", .type = DEV_PROP_UINT, .offset = offsetof(struct root_port, slot),
	  .max = 255, .help = "the physical slot's number that the guest reads" },
	DEV_PROP_END
};

const struct dev_desc root_port_desc = {
	.name = "pcie-root-port",
	.title = "PCI Express root port with a slot for one card",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct root_port),
	.bus = DEV_BUS_PCI,
	.provides = DEV_BUS_PCI,
	.slots = 1,
	.props = props,
	.init = init,
	.fini = fini,
	.fw_name = fw_name,
	.pci_bus = bus_of,
};
