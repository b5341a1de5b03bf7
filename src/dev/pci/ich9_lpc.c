/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/pci/ich9_lpc.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

#define PMBASE 0x40u
#define ACPI_CNTL 0x44u
#define ACPI_CNTL_ENABLE 0x80u
#define PIRQA_ROUT 0x60u /* A-D; E-H at 68h */
#define PIRQE_ROUT 0x68u
#define PIRQ_NOT_ISA 0x80u
#define RCBA 0xf0u

#define RST_FULL 0x08u
#define RST_CPU 0x04u
#define RST_SYSTEM 0x02u

/*
 * Interrupt routing: every PIRQ drives its own pin of the I/O APIC, and an ISA
 * interrupt where its routing register says so.
 */
static uint8_t rout(const struct ich9_lpc *l, unsigned n)
{
	return l->pci.config[(n < 4 ? PIRQA_ROUT : PIRQE_ROUT) + (n & 3)];
}

/* Only these may be chosen: ICH9 data sheet, 13.1.17. */
#define ISA_CHOICES 0xdef8u

static void update_pirqs(struct ich9_lpc *l)
{
	uint16_t isa = 0;

	for (unsigned n = 0; n < 8; n++) {
		uint8_t r = rout(l, n);

		if (l->pirq_level >> n & 1 && !(r & PIRQ_NOT_ISA))
			isa |= (uint16_t)(1u << (r & 15));
	}
	for (unsigned n = 0; n < 16; n++)
		if (ISA_CHOICES >> n & 1)
			irq_set(&l->isa[n], isa >> n & 1);
	for (unsigned n = 0; n < 8; n++)
		irq_set(&l->gsi[n], l->pirq_level >> n & 1);
}

static void set_pirq(void *opaque, unsigned n, int level)
{
	struct ich9_lpc *l = opaque;
	uint8_t mask = (uint8_t)(1u << (n & 7));

	l->pirq_level = level ? l->pirq_level | mask : l->pirq_level & (uint8_t)~mask;
	update_pirqs(l);
}

/* ACPI_CNTL's SCI_IRQ_SEL: 9, 10, 11, -, 20, 21. */
static void update_sci(struct ich9_lpc *l)
{
	static const int8_t choice[8] = { 0, 1, 2, -1, 3, 4, -1, -1 };
	int to = choice[l->pci.config[ACPI_CNTL] & 7];

	for (int n = 0; n < (int)array_size(l->sci); n++)
		irq_set(&l->sci[n], n == to && l->sci_level);
}

static void sci_set(void *opaque, int n, int level)
{
	struct ich9_lpc *l = opaque;

	l->sci_level = (uint8_t)level;
	update_sci(l);
}

/*
 * Port CF9h: a reset comes when bit 2 goes from 0 to 1.
 */
static uint8_t cf9_read(void *opaque)
{
	return ((struct ich9_lpc *)opaque)->rst_cnt;
}

static void cf9_write(void *opaque, uint8_t val)
{
	struct ich9_lpc *l = opaque;
	bool rises = val & RST_CPU && !(l->rst_cnt & RST_CPU);

	l->rst_cnt = val & (RST_FULL | RST_CPU | RST_SYSTEM);
	if (rises && l->env->reset)
		l->env->reset(l->env->power_opaque);
}

/*
 * APM ports. No SMI handler stands behind the command port; its two ACPI commands
 * are carried out right here.
 */
static uint64_t apm_read(void *dev, uint64_t off, unsigned size)
{
	struct ich9_lpc *l = dev;

	return l->apm[off & 1];
}

static void apm_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct ich9_lpc *l = dev;

	l->apm[off & 1] = (uint8_t)val;
	if (off == 0 && val == ICH9_APM_ACPI_ENABLE)
		acpi_pm_set_acpi_mode(&l->pm, true);
	else if (off == 0 && val == ICH9_APM_ACPI_DISABLE)
		acpi_pm_set_acpi_mode(&l->pm, false);
}

static const struct bus_ops apm_ops = { apm_read, apm_write, 1, 1, false };

/*
 * The root complex register block: memory.
 */
static uint64_t rcba_read(void *dev, uint64_t off, unsigned size)
{
	struct ich9_lpc *l = dev;
	uint64_t v = 0;

	memcpy(&v, l->rcrb + off, size);
	return v;
}

static void rcba_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct ich9_lpc *l = dev;

	memcpy(l->rcrb + off, &val, size);
}

static const struct bus_ops rcba_ops = { rcba_read, rcba_write, 1, 8, false };

static void map_rcba(struct ich9_lpc *l)
{
	uint32_t reg = ld_le32(l->pci.config + RCBA), base = reg & ~(ICH9_RCBA_SIZE - 1);

	if (reg & 1 && l->rcba.mapped && l->rcba.start == base)
		return;
	bus_del_mmio(l->env->bus, &l->rcba);
	l->rcba.start = base;
	if (reg & 1 && base && bus_add_mmio(l->env->bus, &l->rcba) != 0)
		log_warn(l->env->log, "cannot map the chipset's registers at %#x", base);
}

static void map_pm(struct ich9_lpc *l)
{
	acpi_pm_map(&l->pm, ld_le16(l->pci.config + PMBASE) & 0xff80,
		    l->pci.config[ACPI_CNTL] & ACPI_CNTL_ENABLE);
}

static bool hits(unsigned off, unsigned size, unsigned start, unsigned len)
{
	return off < start + len && start < off + size;
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct ich9_lpc *l = container_of(d, struct ich9_lpc, pci);

	if (hits(off, size, PMBASE, 5)) {
		map_pm(l);
		update_sci(l);
	}
	if (hits(off, size, PIRQA_ROUT, 12))
		update_pirqs(l);
	if (hits(off, size, RCBA, 4))
		map_rcba(l);
}

/*
 * Life.
 */
static void defaults(struct ich9_lpc *l)
{
	uint8_t *c = l->pci.config;

	memset(c + PIRQA_ROUT, PIRQ_NOT_ISA, 4);
	memset(c + PIRQE_ROUT, PIRQ_NOT_ISA, 4);
	memset(c + 0x80, 0, 0x14); /* LPC decode ranges */
	memset(c + 0xa0, 0, 0x10); /* power management configuration */
	st_le32(c + PMBASE, l->enable_pm ? ICH9_PMBASE | 1 : 1);
	c[ACPI_CNTL] = l->enable_pm ? ACPI_CNTL_ENABLE : 0;
	st_le32(c + RCBA, l->enable_pm ? ICH9_RCBA | 1 : 0);
	memset(l->rcrb, 0, sizeof(l->rcrb));
	/* Device interrupt routes, 3100h: pins A-D on PIRQs A-D for every device. */
	for (unsigned off = 0x3140; off < 0x3150; off += 2)
		st_le16(l->rcrb + off, 0x3210);
	/* As a board's strap has it; a driver of the watchdog clears it. */
	l->rcrb[ICH9_GCS] = ICH9_GCS_NO_REBOOT;
	l->rst_cnt = 0;
	l->apm[0] = l->apm[1] = 0;
}

static void apply(struct ich9_lpc *l)
{
	map_pm(l);
	map_rcba(l);
	update_pirqs(l);
	update_sci(l);
}

static void reset(void *dev)
{
	struct ich9_lpc *l = dev;

	pci_dev_reset(&l->pci);
	acpi_pm_reset(&l->pm);
	defaults(l);
	st_le16(l->pci.config + PCI_COMMAND, 0x0007);
	acpi_pm_set_acpi_mode(&l->pm, l->enable_pm);
	apply(l);
}

static void set_masks(struct ich9_lpc *l)
{
	uint8_t *w = l->pci.wmask;

	st_le16(w + PCI_COMMAND, 0x0100); /* the bridge always decodes */
	st_le16(w + PMBASE, 0xff80);
	w[ACPI_CNTL] = 0x87;
	memset(w + PIRQA_ROUT, 0x8f, 4);
	memset(w + PIRQE_ROUT, 0x8f, 4);
	memset(w + 0x80, 0xff, 0x14);
	memset(w + 0xa0, 0xff, 0x10);
	st_le32(w + RCBA, 0xffffc001);
}

int ich9_lpc_init(struct ich9_lpc *l, const struct dev_env *env, struct pci_bus *root,
		  struct gsi *gsi, bool enable_pm, struct err *err)
{
	struct q35 *host = container_of(root, struct q35, bus);
	static const struct pci_ids ids = {
		.vendor = 0x8086, .device = 0x2918, .class = 0x060100, .revision = 2,
	};
	static const struct pci_ops ops = { .config_written = config_written };
	static const uint8_t sci_gsi[5] = { 9, 10, 11, 20, 21 };
	struct irq_line sci = { .set = sci_set, .opaque = l };
	int r;

	memset(l, 0, sizeof(*l));
	l->env = env;
	l->enable_pm = enable_pm;
	r = pci_dev_init(&l->pci, root, PCI_DEVFN(31, 0), "ich9-lpc", &ids, &ops, err);
	if (r != 0)
		return r;
	set_masks(l);
	for (unsigned n = 0; n < 16; n++)
		if (ISA_CHOICES >> n & 1)
			l->isa[n] = gsi_line(gsi, n);
	for (unsigned n = 0; n < 8; n++)
		l->gsi[n] = gsi_line(gsi, 16 + n);
	for (unsigned n = 0; n < array_size(l->sci); n++)
		l->sci[n] = gsi_line(gsi, sci_gsi[n]);
	r = acpi_pm_init(&l->pm, env, &sci, err);
	if (r != 0) {
		pci_dev_fini(&l->pci);
		return r;
	}
	l->pm.tco.gcs = &l->rcrb[ICH9_GCS];
	l->rcba = (struct bus_range){ 0, ICH9_RCBA_SIZE, &rcba_ops, l, "rcba" };
	l->apm_ports = (struct bus_range){ ICH9_APM_CMD, 2, &apm_ops, l, "apm" };
	host->bus.set_pirq = set_pirq;
	host->bus.pirq_opaque = l;
	host->cf9_read = cf9_read;
	host->cf9_write = cf9_write;
	host->cf9_opaque = l;
	reset(l);
	r = bus_add_pio(env->bus, &l->apm_ports);
	if (r != 0) {
		ich9_lpc_fini(l);
		return err_set(err, r, "cannot place the south bridge's ports");
	}
	return 0;
}

void ich9_lpc_fini(struct ich9_lpc *l)
{
	struct q35 *host = container_of(l->pci.bus, struct q35, bus);

	host->bus.set_pirq = NULL;
	host->cf9_read = NULL;
	host->cf9_write = NULL;
	bus_del_pio(l->env->bus, &l->apm_ports);
	bus_del_mmio(l->env->bus, &l->rcba);
	acpi_pm_fini(&l->pm);
	pci_dev_fini(&l->pci);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct ich9_lpc *l = obj;

	l->sci_level &= 1;
	map_pm(l);
	map_rcba(l);
	return 0;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct ich9_lpc, pci, 1, &pci_dev_state),
	STATE_STRUCT(struct ich9_lpc, pm, 1, &acpi_pm_state),
	STATE_U8(struct ich9_lpc, rst_cnt, 1),
	STATE_ARRAY(struct ich9_lpc, apm, 1),
	STATE_BYTES(struct ich9_lpc, rcrb, 1),
	STATE_U8(struct ich9_lpc, pirq_level, 1),
	STATE_U8(struct ich9_lpc, sci_level, 1),
	STATE_STRUCT_ARRAY(struct ich9_lpc, isa, 1, &irq_line_state),
	STATE_STRUCT_ARRAY(struct ich9_lpc, gsi, 1, &irq_line_state),
	STATE_STRUCT_ARRAY(struct ich9_lpc, sci, 1, &irq_line_state),
	STATE_END
};

static const struct state_desc state = {
	.name = "ich9-lpc", .version = 1, .fields = fields, .post_load = post_load,
};

const struct dev_desc ich9_lpc_desc = {
	.name = "ich9-lpc",
	.title = "ICH9 south bridge",
	.reset = reset,
	.state = &state,
};
