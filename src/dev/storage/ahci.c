/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The controller: its registers, interrupts and life. Commands are ahci_port.c's. */
#include "src/dev/storage/ahci.h"

#include <errno.h>
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/storage/ahci_priv.h"

#define ABAR 5u
#define ABAR_SIZE 0x1000u
#define IDP_BAR 4u     /* index and data ports: 2.1.11, and the ICH9's BAR of ports */
#define IDP_INDEX 0x10u
#define IDP_DATA 0x14u
#define PORT_REGS 0x100u
#define PORT_SIZE 0x80u
#define PORT_CONTROL 0x92u /* PCS: which ports are on; above it which are there */
#define PORT_IMPLEMENTED ((1u << AHCI_PORTS) - 1)

/* 64-bit addresses, NCQ, command list override, generation 3, AHCI only, several DRQ
 * blocks for a PIO command, 32 slots. */
#define CAP (0x80000000u | 1u << 30 | 1u << 24 | 3u << 20 | 1u << 18 | 1u << 15 | \
	     (AHCI_SLOTS - 1) << 8 | (AHCI_PORTS - 1))
#define CAP2 0x1u /* handoff between BIOS and system */
#define BOHC_BOS 0x1u
#define BOHC_OOS 0x2u
#define BOHC_OOC 0x8u

/*
 * Interrupts: 10.7. @news: something that a message has not told yet.
 */
static void update_irq(struct ahci *h, bool news)
{
	bool level;

	for (unsigned n = 0; n < AHCI_PORTS; n++) {
		struct ahci_port *p = &h->port[n];

		if (p->is & p->ie && !(h->is >> n & 1)) {
			h->is |= 1u << n;
			news = true;
		}
	}
	level = h->ghc & GHC_IE && h->is;
	if (!pci_msi_enabled(&h->pci)) {
		pci_intx_set(&h->pci, level);
		return;
	}
	pci_intx_set(&h->pci, 0);
	if (level && news)
		pci_msi_notify(&h->pci, 0);
}

void ahci_raise(struct ahci_port *p, uint32_t bits)
{
	bool news = bits & p->ie & ~p->is;

	p->is |= bits;
	update_irq(p->hba, news);
}

void ahci_serr_changed(struct ahci_port *p)
{
	uint32_t bits = (p->serr & SERR_DIAG_X ? IS_PCS : 0) | (p->serr & SERR_DIAG_N ? IS_PRCS : 0);

	p->is &= ~(IS_PCS | IS_PRCS);
	p->is |= bits;
	update_irq(p->hba, bits & p->ie);
}

/*
 * A port's registers: 3.3.
 */
static void port_reset(struct ahci_port *p)
{
	struct ata_dev *d = ahci_dev(p);

	ahci_port_cancel(p);
	p->clb = p->fb = 0;
	p->is = p->ie = p->sctl = p->serr = p->sact = p->ci = 0;
	p->cmd = CMD_SUD | CMD_POD;
	p->ccs = 0;
	p->halted = p->srst = false;
	if (d) {
		d->ops->reset(d, false);
		p->serr = SERR_DIAG_X;
	}
	ahci_port_link(p);
	ahci_serr_changed(p);
}

/* Stopping forgets all commands: 10.3.2, 5.3.2. */
static void port_stop(struct ahci_port *p)
{
	ahci_port_cancel(p);
	p->ci = p->sact = 0;
	p->ccs = 0;
	p->halted = false;
}

static void write_cmd(struct ahci_port *p, uint32_t val)
{
	uint32_t keep = CMD_ST | CMD_FRE | CMD_ATAPI | CMD_DLAE | CMD_ALPE | CMD_ASP;
	bool was = p->cmd & CMD_ST, stands = p->cmd & CMD_FRE;

	if (val & CMD_CLO && !was)
		p->tfd &= ~(uint32_t)(ATA_ST_BSY | ATA_ST_DRQ);
	p->cmd = (val & keep) | CMD_SUD | CMD_POD;
	if (was && !(val & CMD_ST))
		port_stop(p);
	if (!stands && val & CMD_FRE)
		ahci_post_signature(p);
	ahci_port_run(p);
}

static uint32_t read_cmd(const struct ahci_port *p)
{
	return p->cmd | (p->cmd & CMD_ST ? CMD_CR : 0) | (p->cmd & CMD_FRE ? CMD_FR : 0) |
	       (uint32_t)p->ccs << 8;
}

/* COMRESET, offline: 3.3.11. */
static void write_sctl(struct ahci_port *p, uint32_t val)
{
	uint32_t was = p->sctl & 15, det = val & 15;
	struct ata_dev *d = ahci_dev(p);

	p->sctl = val & 0xfff;
	if (det == was)
		return;
	if (det == 1 || det == 4) {
		ahci_port_cancel(p);
		p->ci = p->sact = 0;
		p->ssts = det == 4 ? 4 : 0;
		p->tfd = 0x7f;
		p->srst = p->sig_pending = false;
		return;
	}
	if (det == 0 && (was == 1 || was == 4)) {
		if (d) {
			d->ops->reset(d, true);
			p->serr |= SERR_DIAG_X;
		}
		ahci_port_link(p);
		ahci_serr_changed(p);
	}
}

static uint32_t port_read(struct ahci_port *p, unsigned off)
{
	switch (off) {
	case 0x00: return (uint32_t)p->clb;
	case 0x04: return (uint32_t)(p->clb >> 32);
	case 0x08: return (uint32_t)p->fb;
	case 0x0c: return (uint32_t)(p->fb >> 32);
	case 0x10: return p->is;
	case 0x14: return p->ie;
	case 0x18: return read_cmd(p);
	case 0x20: return p->tfd;
	case 0x24: return p->sig;
	case 0x28: return p->ssts;
	case 0x2c: return p->sctl;
	case 0x30: return p->serr;
	case 0x34: return p->sact;
	case 0x38: return p->ci;
	}
	return 0;
}

static void port_write(struct ahci_port *p, unsigned off, uint32_t val)
{
	switch (off) {
	case 0x00:
		p->clb = (p->clb & ~0xffffffffull) | (val & ~0x3ffu);
		break;
	case 0x04:
		p->clb = (uint32_t)p->clb | (uint64_t)val << 32;
		break;
	case 0x08:
		p->fb = (p->fb & ~0xffffffffull) | (val & ~0xffu);
		break;
	case 0x0c:
		p->fb = (uint32_t)p->fb | (uint64_t)val << 32;
		break;
	case 0x10:
		p->is &= ~(val & ~(IS_PCS | IS_PRCS));
		update_irq(p->hba, false);
		break;
	case 0x14:
		p->ie = val & IS_ALL;
		update_irq(p->hba, false);
		break;
	case 0x18:
		write_cmd(p, val);
		break;
	case 0x2c:
		write_sctl(p, val);
		break;
	case 0x30:
		p->serr &= ~val;
		ahci_serr_changed(p);
		break;
	case 0x34:
		if (p->cmd & CMD_ST)
			p->sact |= val;
		break;
	case 0x38:
		if (p->cmd & CMD_ST)
			p->ci |= val;
		ahci_port_run(p);
		break;
	}
}

/*
 * The controller's registers: 3.1.
 */
static void hba_reset(struct ahci *h)
{
	h->ghc = GHC_AE;
	for (unsigned n = 0; n < AHCI_PORTS; n++)
		port_reset(&h->port[n]);
	h->is = 0;
	update_irq(h, false);
}

static uint32_t reg_read(struct ahci *h, unsigned off)
{
	if (off >= PORT_REGS) {
		unsigned n = (off - PORT_REGS) / PORT_SIZE;

		return n < AHCI_PORTS ? port_read(&h->port[n], (off - PORT_REGS) % PORT_SIZE) : 0;
	}
	switch (off) {
	case 0x00: return CAP;
	case 0x04: return h->ghc;
	case 0x08: return h->is;
	case 0x0c: return PORT_IMPLEMENTED;
	case 0x10: return 0x00010300;
	case 0x24: return CAP2;
	case 0x28: return h->bohc;
	}
	return 0;
}

/* No firmware of ours runs in system management mode, which would let go of the
 * controller when the system asks: it has let go at once. 10.6. */
static void write_bohc(struct ahci *h, uint32_t val)
{
	bool rises = val & BOHC_OOS && !(h->bohc & BOHC_OOS);

	h->bohc = (val & (BOHC_BOS | BOHC_OOS | 0x4u)) | (h->bohc & BOHC_OOC & ~val);
	if (rises) {
		h->bohc |= BOHC_OOC;
		h->bohc &= ~BOHC_BOS;
	}
}

static void reg_write(struct ahci *h, unsigned off, uint32_t val)
{
	if (off >= PORT_REGS) {
		unsigned n = (off - PORT_REGS) / PORT_SIZE;

		if (n < AHCI_PORTS)
			port_write(&h->port[n], (off - PORT_REGS) % PORT_SIZE, val);
		return;
	}
	switch (off) {
	case 0x04:
		if (val & GHC_HR) {
			hba_reset(h);
			break;
		}
		h->ghc = GHC_AE | (val & GHC_IE);
		update_irq(h, true);
		break;
	case 0x08:
		h->is &= ~val;
		/* What is still there, or there again, needs a message of its own. */
		update_irq(h, true);
		break;
	case 0x28:
		write_bohc(h, val);
		break;
	}
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
	return reg_read(dev, (unsigned)off & ~3u);
}

static void mmio_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct ahci *h = dev;

	/* 3: registers are written whole. */
	if (size != 4 || off & 3)
		log_guest(h->env->log, &h->limit, "ahci: a write of %u bytes at %#llx is ignored",
			  size, (unsigned long long)off);
	else
		reg_write(h, (unsigned)off, (uint32_t)val);
}

static const struct bus_ops mmio_ops = { mmio_read, mmio_write, 4, 4, false };

static uint64_t idp_read(void *dev, uint64_t off, unsigned size)
{
	struct ahci *h = dev;

	if (off == IDP_INDEX)
		return h->index;
	return off == IDP_DATA ? reg_read(h, h->index) : 0;
}

static void idp_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct ahci *h = dev;

	if (size != 4)
		return;
	if (off == IDP_INDEX)
		h->index = (uint32_t)val & (ABAR_SIZE - 4);
	else if (off == IDP_DATA)
		reg_write(h, h->index, (uint32_t)val);
}

static const struct bus_ops idp_ops = { idp_read, idp_write, 4, 4, false };

/*
 * Life.
 */
static void plugged(struct ata_bus *b, unsigned slot, bool here)
{
	struct ahci *h = container_of(b, struct ahci, bus);
	struct ahci_port *p = &h->port[slot];
	struct ata_dev *d = b->dev[slot];

	ahci_port_cancel(p);
	p->ci = p->sact = 0;
	if (!here)
		b->dev[slot] = NULL;
	ahci_port_link(p);
	b->dev[slot] = d;
	p->serr |= here ? SERR_DIAG_N | SERR_DIAG_X : SERR_DIAG_N;
	ahci_serr_changed(p);
}

static void reset(void *dev)
{
	struct ahci *h = dev;

	vtimer_cancel(&h->restart);
	pci_dev_reset(&h->pci);
	h->pci.config[PORT_CONTROL] = 0;
	h->bohc = h->index = 0;
	hba_reset(h);
}

static void restart(void *opaque)
{
	struct ahci *h = opaque;

	for (unsigned n = 0; n < AHCI_PORTS; n++)
		ahci_port_restart(&h->port[n]);
}

/* The ICH9's own: SATA capability (index and data ports in BAR 4), mode AHCI, ports on. */
static void set_config(struct ahci *h)
{
	uint8_t *c = h->pci.config;
	unsigned cap = pci_cap_add(&h->pci, 0x12, 8);

	c[cap + 2] = 0x10;
	st_le32(c + cap + 4, (IDP_BAR + 4) | IDP_INDEX / 4 << 4);
	c[0x90] = 0x40;
	c[PORT_CONTROL + 1] = PORT_IMPLEMENTED;
	h->pci.wmask[PORT_CONTROL] = PORT_IMPLEMENTED;
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086, .device = 0x2922, .class = 0x010601, .revision = 2, .int_pin = 1,
		.subsystem_vendor = 0x8086, .subsystem = 0x2922,
	};
	struct ahci *h = dev;
	int ret;

	h->env = plug->env;
	h->bus = (struct ata_bus){ .slots = AHCI_PORTS, .sata = true, .plugged = plugged };
	for (unsigned n = 0; n < AHCI_PORTS; n++) {
		h->port[n].hba = h;
		h->port[n].n = n;
		h->port[n].busy = -1;
		for (unsigned s = 0; s < AHCI_SLOTS; s++)
			h->port[n].slot[s].port = &h->port[n];
	}
	vtimer_init(&h->restart, h->env->vtime, restart, h);
	ret = pci_dev_init(&h->pci, plug->pci, plug->devfn, "ahci", &ids, NULL, err);
	if (ret < 0)
		return ret;
	ret = pci_msi_add(&h->pci, 1, err);
	if (ret == 0)
		ret = pci_bar_add(&h->pci, ABAR, ABAR_SIZE, 0, &mmio_ops, h, "ahci", err);
	if (ret == 0)
		ret = pci_bar_add(&h->pci, IDP_BAR, 32, PCI_BAR_IO, &idp_ops, h, "ahci-ports", err);
	if (ret < 0) {
		pci_dev_fini(&h->pci);
		return ret;
	}
	set_config(h);
	reset(h);
	return 0;
}

static void fini(void *dev)
{
	struct ahci *h = dev;

	vtimer_cancel(&h->restart);
	for (unsigned n = 0; n < AHCI_PORTS; n++)
		ahci_port_cancel(&h->port[n]);
	pci_dev_fini(&h->pci);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	const struct ahci *h = dev;
	unsigned slot = h->pci.devfn >> 3, fn = h->pci.devfn & 7;
	int n = fn ? snprintf(buf, len, "pci8086,2922@%x,%x", slot, fn)
		   : snprintf(buf, len, "pci8086,2922@%x", slot);

	return n < (int)len ? 0 : -ENOSPC;
}

/*
 * State. Commands under way are not saved: they begin again from what stands in guest
 * memory, which reading and writing sectors may.
 */
static void port_pre_save(void *obj)
{
	struct ahci_port *p = obj;

	for (unsigned n = 0; n < AHCI_SLOTS; n++)
		if (p->slot[n].active)
			p->running |= 1u << n;
}

static int port_post_load(void *obj, unsigned version, struct err *err)
{
	struct ahci_port *p = obj;
	uint32_t running = p->running;

	ahci_port_cancel(p);
	p->running = running;
	p->ccs &= 31;
	p->clb &= ~0x3ffull;
	p->fb &= ~0xffull;
	p->cmd &= CMD_ST | CMD_FRE | CMD_ATAPI | CMD_DLAE | CMD_ALPE | CMD_ASP | CMD_SUD | CMD_POD;
	vtimer_arm(&p->hba->restart, vtime_now_ns(p->hba->env->vtime));
	return 0;
}

static const struct state_field port_fields[] = {
	STATE_U64(struct ahci_port, clb, 1),
	STATE_U64(struct ahci_port, fb, 1),
	STATE_U32(struct ahci_port, is, 1),
	STATE_U32(struct ahci_port, ie, 1),
	STATE_U32(struct ahci_port, cmd, 1),
	STATE_U32(struct ahci_port, tfd, 1),
	STATE_U32(struct ahci_port, sig, 1),
	STATE_U32(struct ahci_port, ssts, 1),
	STATE_U32(struct ahci_port, sctl, 1),
	STATE_U32(struct ahci_port, serr, 1),
	STATE_U32(struct ahci_port, sact, 1),
	STATE_U32(struct ahci_port, ci, 1),
	STATE_U8(struct ahci_port, ccs, 1),
	STATE_BOOL(struct ahci_port, halted, 1),
	STATE_BOOL(struct ahci_port, srst, 1),
	STATE_BOOL(struct ahci_port, sig_pending, 1),
	STATE_STRUCT(struct ahci_port, sig_tf, 1, &ata_tf_state),
	STATE_U32(struct ahci_port, running, 1),
	STATE_END
};

static const struct state_desc port_state = {
	.name = "ahci-port", .version = 1, .fields = port_fields, .pre_save = port_pre_save,
	.post_load = port_post_load,
};

static const struct state_field fields[] = {
	STATE_STRUCT(struct ahci, pci, 1, &pci_dev_state),
	STATE_U32(struct ahci, ghc, 1),
	STATE_U32(struct ahci, is, 1),
	STATE_U32(struct ahci, bohc, 1),
	STATE_U32(struct ahci, index, 1),
	STATE_STRUCT_ARRAY(struct ahci, port, 1, &port_state),
	STATE_END
};

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct ahci *h = obj;

	h->ghc = GHC_AE | (h->ghc & GHC_IE);
	h->index &= ABAR_SIZE - 4;
	return 0;
}

static const struct state_desc state = {
	.name = "ahci", .version = 1, .fields = fields, .post_load = post_load,
};

static const struct dev_prop props[] = { DEV_PROP_END };

const struct dev_desc ahci_desc = {
	.name = "ahci",
	.aliases = "ich9-ahci",
	.title = "SATA controller (ICH9, AHCI)", .reset = reset, .state = &state,
	.size = sizeof(struct ahci), .bus = DEV_BUS_PCI, .provides = DEV_BUS_SATA,
	.slots = AHCI_PORTS, .props = props, .init = init, .fini = fini, .fw_name = fw_name,
};
