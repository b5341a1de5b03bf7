/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/pci/q35.h"

#include <errno.h>

#include "src/base/bits.h"

#define PCIEXBAR 0x60u
#define PAM0 0x90u
#define SMRAM 0x9du
#define SMRAM_OPEN 0x40u
#define SMRAM_CLOSE 0x20u
#define SMRAM_LOCK 0x10u
#define SMRAM_ENABLE 0x08u
#define SMRAM_BITS (SMRAM_OPEN | SMRAM_CLOSE | SMRAM_LOCK | SMRAM_ENABLE)
#define ESMRAMC 0x9eu
#define ADDRESS_ENABLE 0x80000000u

/*
 * Ports CF8h and CFCh (PCI 3.0, 3.2.2.3.2).
 */
static uint64_t address_read(void *dev, uint64_t off, unsigned size)
{
	struct q35 *q = dev;

	if (size == 4 && off == 0)
		return q->address;
	if (size == 1 && off == 1 && q->cf9_read)
		return q->cf9_read(q->cf9_opaque);
	return low_mask(size * 8);
}

static void address_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct q35 *q = dev;

	if (size == 4 && off == 0)
		q->address = (uint32_t)val & ~3u & ~0x7f000000u;
	else if (size == 1 && off == 1 && q->cf9_write)
		q->cf9_write(q->cf9_opaque, (uint8_t)val);
}

/* The bus of the function that CF8h points at, or NULL, and the register. */
static struct pci_bus *selected(struct q35 *q, uint8_t *devfn, unsigned *reg)
{
	*devfn = (uint8_t)(q->address >> 8);
	*reg = q->address & 0xfc;
	if (!(q->address & ADDRESS_ENABLE))
		return NULL;
	return pci_bus_find(&q->bus, (uint8_t)(q->address >> 16));
}

static uint64_t data_read(void *dev, uint64_t off, unsigned size)
{
	struct q35 *q = dev;
	struct pci_bus *b;
	uint8_t devfn;
	unsigned reg;

	b = selected(q, &devfn, &reg);
	if (!b)
		return low_mask(size * 8);
	return pci_config_read(b, devfn, reg + (unsigned)off, size);
}

static void data_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct q35 *q = dev;
	struct pci_bus *b;
	uint8_t devfn;
	unsigned reg;

	b = selected(q, &devfn, &reg);
	if (b)
		pci_config_write(b, devfn, reg + (unsigned)off, (uint32_t)val, size);
}

static const struct bus_ops address_ops = { address_read, address_write, 1, 4, false };
static const struct bus_ops data_ops = { data_read, data_write, 1, 4, false };

/*
 * ECAM (PCI Express 3.0, 7.2.2).
 */
static uint64_t ecam_read(void *dev, uint64_t off, unsigned size)
{
	struct q35 *q = dev;
	struct pci_bus *b = pci_bus_find(&q->bus, (uint8_t)(off >> 20));

	if (!b)
		return low_mask(size * 8);
	return pci_config_read(b, (uint8_t)(off >> 12), off & 0xfff, size);
}

static void ecam_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct q35 *q = dev;
	struct pci_bus *b = pci_bus_find(&q->bus, (uint8_t)(off >> 20));

	if (b)
		pci_config_write(b, (uint8_t)(off >> 12), off & 0xfff, (uint32_t)val, size);
}

static const struct bus_ops ecam_ops = { ecam_read, ecam_write, 1, 4, false };

static void map_ecam(struct q35 *q)
{
	static const uint64_t lens[4] = { 0x10000000, 0x8000000, 0x4000000, 0 };
	uint64_t reg = ld_le64(q->mch.config + PCIEXBAR), len = lens[reg >> 1 & 3], base;

	base = len ? reg & 0xffffff000000ull & ~(len - 1) : 0;
	if (q->ecam.mapped && reg & 1 && q->ecam.start == base && q->ecam.len == len)
		return;
	bus_del_mmio(q->env->bus, &q->ecam);
	q->ecam.start = base;
	q->ecam.len = len;
	if (reg & 1 && len && bus_add_mmio(q->env->bus, &q->ecam) != 0)
		log_warn(q->env->log, "cannot map PCI configuration space at %#llx",
			 (unsigned long long)base);
}

/*
 * The bridge itself.
 */

/* Once locked the SMRAM register is read-only and the memory closed, to the next reset
 * (data sheet, 5.1.30). */
static void lock_smram(struct q35 *q)
{
	bool locked = q->mch.config[SMRAM] & SMRAM_LOCK;

	if (locked)
		q->mch.config[SMRAM] &= (uint8_t)~SMRAM_OPEN;
	q->mch.wmask[SMRAM] = locked ? SMRAM_CLOSE : SMRAM_BITS;
}

static void mch_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct q35 *q = container_of(d, struct q35, mch);

	if (off < PCIEXBAR + 8 && off + size > PCIEXBAR)
		map_ecam(q);
	lock_smram(q);
	if (off < ESMRAMC + 1 && off + size > PAM0 && q->shadow_changed)
		q->shadow_changed(q->shadow_opaque);
}

unsigned q35_pam(const struct q35 *q, unsigned n)
{
	/* PAM0's upper half is the segment at F0000h, PAM1 to PAM6 have two each. */
	if (n >= 12)
		return q->mch.config[PAM0] >> 4 & 3;
	return q->mch.config[PAM0 + 1 + n / 2] >> (n & 1 ? 4 : 0) & 3;
}

bool q35_smram_open(const struct q35 *q)
{
	return (q->mch.config[SMRAM] & (SMRAM_OPEN | SMRAM_ENABLE)) == (SMRAM_OPEN | SMRAM_ENABLE);
}

unsigned q35_route(unsigned slot, unsigned pin)
{
	return slot < 25 ? 4 + ((slot + pin) & 3) : pin & 3;
}

static void mch_defaults(struct q35 *q)
{
	uint8_t *c = q->mch.config;

	st_le64(c + PCIEXBAR, q->ecam_enabled ? Q35_ECAM_BASE | 1 : Q35_ECAM_BASE);
	memset(c + PAM0, 0, 7);
	c[SMRAM] = 0x02;
	q->mch.wmask[SMRAM] = SMRAM_BITS;
	c[ESMRAMC] = 0x38;
}

static void reset(void *dev)
{
	struct q35 *q = dev;

	q->address = 0;
	pci_dev_reset(&q->mch); /* other functions have a reset of their own */
	mch_defaults(q);
	map_ecam(q);
	if (q->shadow_changed)
		q->shadow_changed(q->shadow_opaque);
}

int q35_init(struct q35 *q, const struct dev_env *env, bool enable_ecam, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086, .device = 0x29c0, .class = 0x060000, .revision = 0,
	};
	static const struct pci_ops ops = { .config_written = mch_written };
	int r;

	memset(q, 0, sizeof(*q));
	q->env = env;
	q->ecam_enabled = enable_ecam;
	pci_bus_init(&q->bus, env, 0);
	q->bus.route = q35_route;
	r = pci_dev_init(&q->mch, &q->bus, PCI_DEVFN(0, 0), "q35", &ids, &ops, err);
	if (r != 0)
		return r;
	st_le64(q->mch.wmask + PCIEXBAR, 0x0000000ffc000007ull);
	q->mch.wmask[PAM0] = 0x30;
	memset(q->mch.wmask + PAM0 + 1, 0x33, 6);
	q->mch.wmask[ESMRAMC] = 0x87;
	q->ecam = (struct bus_range){ .ops = &ecam_ops, .dev = q, .name = "ecam" };
	mch_defaults(q);
	map_ecam(q);
	q->address_port = (struct bus_range){ 0xcf8, 4, &address_ops, q, "pci-address" };
	q->data_port = (struct bus_range){ 0xcfc, 4, &data_ops, q, "pci-data" };
	r = bus_add_pio(env->bus, &q->address_port);
	if (r == 0)
		r = bus_add_pio(env->bus, &q->data_port);
	if (r != 0) {
		q35_fini(q);
		return err_set(err, r, "cannot place the PCI host bridge's ports");
	}
	return 0;
}

void q35_fini(struct q35 *q)
{
	bus_del_pio(q->env->bus, &q->address_port);
	bus_del_pio(q->env->bus, &q->data_port);
	bus_del_mmio(q->env->bus, &q->ecam);
	pci_dev_fini(&q->mch);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct q35 *q = obj;

	map_ecam(q);
	lock_smram(q);
	if (q->shadow_changed)
		q->shadow_changed(q->shadow_opaque);
	return 0;
}

static const struct state_field bus_fields[] = {
	STATE_ARRAY(struct pci_bus, pirq_count, 1),
	STATE_END
};

static const struct state_desc bus_state = {
	.name = "pci-bus", .version = 1, .fields = bus_fields,
};

static const struct state_field fields[] = {
	STATE_STRUCT(struct q35, mch, 1, &pci_dev_state),
	STATE_STRUCT(struct q35, bus, 1, &bus_state),
	STATE_U32(struct q35, address, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "q35", .version = 1, .fields = fields, .post_load = post_load,
};

const struct dev_desc q35_desc = {
	.name = "q35",
	.title = "Q35 PCI Express host bridge",
	.reset = reset,
	.state = &state,
};
