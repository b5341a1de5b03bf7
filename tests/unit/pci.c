/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration space, BARs, interrupts, the two bridges and ACPI's registers. */
#include <stdio.h>

#include "src/dev/acpi/pm.h"
#include "src/dev/legacy/gsi.h"
#include "src/dev/pci/ich9_lpc.h"
#include "src/dev/pci/q35.h"
#include "tests/unit/dev_fixture.h"

#define VEC 3u

struct card {
	struct pci_dev pci;
	unsigned reads, writes;
};

struct rig {
	struct fixture f;
	struct i8259_pair pic;
	struct ioapic io;
	struct gsi gsi;
	struct probe intr;
	struct q35 host;
	struct ich9_lpc lpc;
	struct card card;
};

static uint64_t card_read(void *dev, uint64_t off, unsigned size)
{
	((struct card *)dev)->reads++;
	return 0xc0ffee00 + off;
}

static void card_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	((struct card *)dev)->writes++;
}

static const struct bus_ops card_ops = { card_read, card_write, 1, 4, false };

static void rig_init(struct rig *r)
{
	static const struct pci_ids ids = {
		.vendor = 0x1af4, .device = 0x1234, .subsystem_vendor = 0x1af4,
		.subsystem = 0x0001, .class = 0x020000, .revision = 7, .int_pin = 1,
	};
	struct irq_line intr;

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	intr = probe_line(&r->intr);
	assert_int_equal(i8259_init(&r->pic, &r->f.env, &intr, NULL), 0);
	assert_int_equal(ioapic_init(&r->io, &r->f.env, IOAPIC_BASE, 0, NULL), 0);
	gsi_init(&r->gsi, &r->pic, &r->io);
	assert_int_equal(q35_init(&r->host, &r->f.env, true, NULL), 0);
	assert_int_equal(ich9_lpc_init(&r->lpc, &r->f.env, &r->host.bus, &r->gsi, true, NULL), 0);
	assert_int_equal(pci_dev_init(&r->card.pci, &r->host.bus, PCI_DEVFN(3, 0), "card", &ids,
				      NULL, NULL), 0);
	assert_int_equal(pci_bar_add(&r->card.pci, 0, 0x4000, 0, &card_ops, &r->card, "bar0",
				     NULL), 0);
	assert_int_equal(pci_bar_add(&r->card.pci, 1, 0x20, PCI_BAR_IO, &card_ops, &r->card,
				     "bar1", NULL), 0);
	assert_int_equal(pci_bar_add(&r->card.pci, 2, 0x100000000, PCI_BAR_MEM64 |
				     PCI_BAR_PREFETCH, &card_ops, &r->card, "bar2", NULL), 0);
	assert_int_equal(pci_bar_add(&r->card.pci, PCI_ROM_BAR, 0x10000, 0, &card_ops, &r->card,
				     "rom", NULL), 0);
	assert_int_equal(pci_msi_add(&r->card.pci, 4, NULL), 0);
	assert_int_equal(pci_msix_add(&r->card.pci, VEC, 0, 0x2000, 0x3000, NULL), 0);
	assert_true(pci_pm_add(&r->card.pci) != 0);
	assert_true(pci_exp_add(&r->card.pci, 9) != 0);
}

static void rig_fini(struct rig *r)
{
	pci_dev_fini(&r->card.pci);
	ich9_lpc_fini(&r->lpc);
	q35_fini(&r->host);
	ioapic_fini(&r->io);
	i8259_fini(&r->pic);
	fixture_fini(&r->f);
}

static uint32_t cfg(struct rig *r, unsigned dev, unsigned off)
{
	outl(&r->f, 0xcf8, 0x80000000 | dev << 11 | (off & 0xfc));
	return inl(&r->f, 0xcfc) >> (off & 3) * 8;
}

static void set_cfg(struct rig *r, unsigned dev, unsigned off, uint32_t val)
{
	outl(&r->f, 0xcf8, 0x80000000 | dev << 11 | (off & 0xfc));
	outl(&r->f, 0xcfc, val);
}

static void set_cfg16(struct rig *r, unsigned dev, unsigned off, uint16_t val)
{
	outl(&r->f, 0xcf8, 0x80000000 | dev << 11 | (off & 0xfc));
	bus_pio_write(r->f.bus, (uint16_t)(0xcfc + (off & 2)), val, 2);
}

static uint64_t ecam(unsigned dev, unsigned off)
{
	return Q35_ECAM_BASE + (dev << 15) + off;
}

static void test_config(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(cfg(&r, 0, 0), 0x29c08086);
	assert_int_equal(cfg(&r, 31, 0), 0x29188086);
	assert_int_equal(cfg(&r, 31, 8), 0x06010002);
	assert_int_equal(cfg(&r, 3, 0), 0x12341af4);
	assert_int_equal(cfg(&r, 3, 8), 0x02000007);
	assert_int_equal(cfg(&r, 3, 0x2c), 0x00011af4);
	assert_int_equal(cfg(&r, 5, 0), 0xffffffff);
	assert_int_equal(rd32(&r.f, ecam(3, 0)), 0x12341af4);
	assert_int_equal(rd32(&r.f, ecam(5, 0)), 0xffffffff);
	assert_int_equal(rd32(&r.f, ecam(32 * 8, 0)), 0xffffffff); /* bus 1 */
	assert_int_equal(bus_mmio_read(r.f.bus, ecam(3, 2), 2), 0x1234);
	assert_int_equal(bus_mmio_read(r.f.bus, ecam(3, 0xffe), 4), 0xffffffff);
	outl(&r.f, 0xcf8, 0x80010000);
	assert_int_equal(inl(&r.f, 0xcfc), 0xffffffff); /* bus 1 */
	outl(&r.f, 0xcf8, 0x00001800);
	assert_int_equal(inl(&r.f, 0xcfc), 0xffffffff); /* not enabled */
	outl(&r.f, 0xcf8, 0x80000000);
	outb(&r.f, 0xcfb, 1); /* bytes do not reach the address */
	assert_int_equal(inl(&r.f, 0xcf8), 0x80000000);
	/* What is read-only stays. */
	set_cfg(&r, 3, 0, 0);
	set_cfg(&r, 3, 8, 0);
	assert_int_equal(cfg(&r, 3, 0), 0x12341af4);
	set_cfg(&r, 3, 0x3c, 0xffffffff);
	assert_int_equal(cfg(&r, 3, 0x3c), 0x000001ff);
	rig_fini(&r);
}

static void test_capabilities(void **state)
{
	struct rig r;
	unsigned ids[8], n = 0, ext;

	rig_init(&r);
	assert_true(cfg(&r, 3, 4) >> 16 & PCI_STATUS_CAPS);
	for (unsigned off = cfg(&r, 3, 0x34) & 0xff; off && n < 8;
	     off = cfg(&r, 3, off) >> 8 & 0xff)
		ids[n++] = cfg(&r, 3, off) & 0xff;
	assert_int_equal(n, 4);
	assert_int_equal(ids[0], PCI_CAP_MSI);
	assert_int_equal(ids[1], PCI_CAP_MSIX);
	assert_int_equal(ids[2], PCI_CAP_PM);
	assert_int_equal(ids[3], PCI_CAP_EXP);
	ext = pci_ext_cap_add(&r.card.pci, 3, 1, 12);
	assert_int_equal(ext, 0x100);
	ext = pci_ext_cap_add(&r.card.pci, 1, 2, 0x48);
	assert_int_equal(ext, 0x10c);
	assert_int_equal(rd32(&r.f, ecam(3, 0x100)), 0x10c10003);
	assert_int_equal(rd32(&r.f, ecam(3, 0x10c)), 0x00020001);
	assert_int_equal(pci_ext_cap_add(&r.card.pci, 1, 2, 0xf00), 0);
	/* Full. */
	while (pci_cap_add(&r.card.pci, PCI_CAP_VENDOR, 16))
		n++;
	assert_in_range(n, 5, 12);
	rig_fini(&r);
}

static void test_bars(void **state)
{
	struct rig r;
	uint64_t addr;

	rig_init(&r);
	/* Sizes. */
	for (unsigned off = 0x10; off <= 0x1c; off += 4)
		set_cfg(&r, 3, off, 0xffffffff);
	assert_int_equal(cfg(&r, 3, 0x10), 0xffffc000);
	assert_int_equal(cfg(&r, 3, 0x14), 0xffffffe1);
	assert_int_equal(cfg(&r, 3, 0x18), 0x0000000c);
	assert_int_equal(cfg(&r, 3, 0x1c), 0xffffffff);
	set_cfg(&r, 3, 0x20, 0xffffffff);
	assert_int_equal(cfg(&r, 3, 0x20), 0);
	set_cfg(&r, 3, 0x30, 0xfffffffe);
	assert_int_equal(cfg(&r, 3, 0x30), 0xffff0000);
	/* Places. */
	set_cfg(&r, 3, 0x10, 0xc0000000);
	set_cfg(&r, 3, 0x14, 0xc000);
	set_cfg(&r, 3, 0x18, 0);
	set_cfg(&r, 3, 0x1c, 0x8);
	set_cfg(&r, 3, 0x30, 0xc1000001);
	assert_false(pci_bar_address(&r.card.pci, 0, &addr));
	assert_int_equal(rd32(&r.f, 0xc0000000), 0xffffffff);
	set_cfg16(&r, 3, 4, PCI_COMMAND_MEMORY);
	assert_true(pci_bar_address(&r.card.pci, 0, &addr));
	assert_int_equal(addr, 0xc0000000);
	assert_int_equal(rd32(&r.f, 0xc0000010), 0xc0ffee10);
	assert_int_equal(rd32(&r.f, 0x8c0000004), 0x80ffee04);
	assert_int_equal(rd32(&r.f, 0xc1000004), 0xc0ffee04);
	assert_int_equal(inl(&r.f, 0xc004), 0xffffffff);
	set_cfg16(&r, 3, 4, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	assert_int_equal(inl(&r.f, 0xc004), 0xc0ffee04);
	/* Moved. */
	set_cfg(&r, 3, 0x10, 0xd0000000);
	assert_int_equal(rd32(&r.f, 0xc0000010), 0xffffffff);
	assert_int_equal(rd32(&r.f, 0xd0000010), 0xc0ffee10);
	/* Over the chipset: that keeps its place. */
	set_cfg(&r, 3, 0x10, IOAPIC_BASE);
	wr32(&r.f, IOAPIC_BASE, 1);
	assert_int_equal(rd32(&r.f, IOAPIC_BASE + 0x10), 0x00170020);
	/* Over and over: nothing grows without end. */
	for (unsigned n = 0; n < 2000; n++)
		set_cfg16(&r, 3, 4, n & 1 ? PCI_COMMAND_MEMORY : 0);
	pci_dev_reset(&r.card.pci);
	assert_int_equal(cfg(&r, 3, 0x10), 0);
	assert_int_equal(cfg(&r, 3, 0x18), 0xc);
	assert_int_equal(cfg(&r, 3, 4) & 0xffff, 0);
	rig_fini(&r);
}

static void test_impossible(void **state)
{
	static const struct pci_ids ids = { .vendor = 1, .device = 2 };
	struct rig r;
	struct pci_dev other;
	struct err err = { "" };

	rig_init(&r);
	assert_int_not_equal(pci_dev_init(&other, &r.host.bus, PCI_DEVFN(3, 0), "other", &ids,
					  NULL, &err), 0);
	assert_string_equal(err.text, "other: PCI slot 00:03.0 is taken by card");
	pci_dev_fini(&other);
	assert_int_equal(cfg(&r, 3, 0), 0x12341af4);
	assert_int_equal(cfg(&r, 3, 0xe) & 0x80, 0);
	assert_int_equal(pci_dev_init(&other, &r.host.bus, PCI_DEVFN(3, 1), "other", &ids, NULL,
				      &err), 0);
	assert_int_equal(cfg(&r, 3, 0xe) & 0x80, 0x80); /* several functions */
	assert_int_not_equal(pci_bar_add(&other, 0, 24, 0, &card_ops, NULL, "x", &err), 0);
	assert_int_not_equal(pci_bar_add(&other, 7, 32, 0, &card_ops, NULL, "x", &err), 0);
	assert_int_not_equal(pci_bar_add(&other, 5, 32, PCI_BAR_MEM64, &card_ops, NULL, "x",
					 &err), 0);
	assert_int_not_equal(pci_msix_add(&other, 4, 0, 0, 0x800, &err), 0);
	assert_int_equal(pci_bar_add(&other, 0, 0x1000, 0, &card_ops, NULL, "x", &err), 0);
	assert_int_not_equal(pci_msix_add(&other, 4, 0, 0, 0x20, &err), 0); /* overlap */
	assert_int_not_equal(pci_msix_add(&other, 4, 0, 0xff0, 0, &err), 0);
	assert_int_not_equal(pci_msix_add(&other, 1000, 0, 0, 0x800, &err), 0);
	assert_int_not_equal(pci_msi_add(&other, 3, &err), 0);
	pci_dev_fini(&other);
	assert_int_equal(cfg(&r, 3, 0xe) & 0x80, 0);
	rig_fini(&r);
}

static void test_intx(void **state)
{
	struct rig r;

	rig_init(&r);
	/* Slot 3, INTA: PIRQH, GSI 23. */
	assert_int_equal(q35_route(3, 0), 7);
	assert_int_equal(q35_route(31, 2), 2);
	wr32(&r.f, IOAPIC_BASE, 0x10 + 23 * 2);
	wr32(&r.f, IOAPIC_BASE + 0x10, 0x8055);
	pci_intx_set(&r.card.pci, 1);
	assert_int_equal(r.f.msis, 1);
	assert_int_equal(r.f.msi_data & 0xff, 0x55);
	assert_int_equal(cfg(&r, 3, 4) >> 16 & PCI_STATUS_INTX, PCI_STATUS_INTX);
	set_cfg16(&r, 3, 4, PCI_COMMAND_INTX_OFF);
	ioapic_eoi(&r.io, 0x55);
	assert_int_equal(r.f.msis, 1); /* the line fell */
	set_cfg16(&r, 3, 4, 0);
	assert_int_equal(r.f.msis, 2);
	/* Through the 8259s, to IRQ 11. */
	outb(&r.f, 0x20, 0x11), outb(&r.f, 0x21, 0x30), outb(&r.f, 0x21, 4), outb(&r.f, 0x21, 1);
	outb(&r.f, 0xa0, 0x11), outb(&r.f, 0xa1, 0x38), outb(&r.f, 0xa1, 2), outb(&r.f, 0xa1, 1);
	outb(&r.f, 0x4d1, 0x08);
	assert_false(i8259_pending(&r.pic));
	set_cfg(&r, 31, 0x68, 0x0b808080);
	assert_true(i8259_pending(&r.pic));
	assert_int_equal(i8259_ack(&r.pic), 0x3b);
	pci_intx_set(&r.card.pci, 0);
	outb(&r.f, 0xa0, 0x20), outb(&r.f, 0x20, 0x20);
	assert_false(i8259_pending(&r.pic));
	/* A choice that does not exist. */
	set_cfg(&r, 31, 0x68, 0x00808080);
	pci_intx_set(&r.card.pci, 1);
	assert_false(i8259_pending(&r.pic));
	rig_fini(&r);
}

/* A bridge between: pins are rotated once more. */
static void test_swizzle(void **state)
{
	static const struct pci_ids ids = { .vendor = 1, .device = 2, .int_pin = 2 };
	struct rig r;
	struct pci_bus second;
	struct pci_dev d;

	rig_init(&r);
	pci_bus_init(&second, &r.f.env, 1);
	second.bridge = &r.card.pci; /* as if it were one, at slot 3 */
	assert_int_equal(pci_dev_init(&d, &second, PCI_DEVFN(2, 0), "behind", &ids, NULL, NULL), 0);
	pci_intx_set(&d, 1); /* INTB of slot 2: pin 3; at slot 3: 4 + (3 + 3) % 4 */
	assert_int_equal(r.lpc.pirq_level, 1u << 6);
	pci_dev_fini(&d);
	assert_int_equal(r.lpc.pirq_level, 0);
	rig_fini(&r);
}

static void test_msi(void **state)
{
	struct rig r;
	unsigned c;

	rig_init(&r);
	c = r.card.pci.msi_cap;
	pci_msi_notify(&r.card.pci, 0);
	assert_int_equal(r.f.msis, 0);
	set_cfg(&r, 3, c + 4, 0xfee01003);
	set_cfg(&r, 3, c + 12, 0x4057);
	set_cfg(&r, 3, c, 0x00610000); /* enabled, 64 vectors asked for: four are had */
	assert_true(pci_msi_enabled(&r.card.pci));
	pci_msi_notify(&r.card.pci, 1);
	assert_int_equal(r.f.msis, 0); /* not a bus master */
	set_cfg16(&r, 3, 4, PCI_COMMAND_MASTER);
	pci_msi_notify(&r.card.pci, 1);
	assert_int_equal(r.f.msi_addr, 0xfee01000);
	assert_int_equal(r.f.msi_data, 0x4055);
	set_cfg(&r, 3, c + 16, 0x4);
	pci_msi_notify(&r.card.pci, 2);
	assert_int_equal(r.f.msis, 1);
	assert_int_equal(cfg(&r, 3, c + 20), 0x4);
	set_cfg(&r, 3, c + 16, 0);
	assert_int_equal(r.f.msis, 2);
	assert_int_equal(r.f.msi_data, 0x4056);
	assert_int_equal(cfg(&r, 3, c + 20), 0);
	rig_fini(&r);
}

static void test_msix(void **state)
{
	struct rig r;
	unsigned c;

	rig_init(&r);
	c = r.card.pci.msix_cap;
	assert_int_equal(cfg(&r, 3, c) >> 16, VEC - 1);
	assert_int_equal(cfg(&r, 3, c + 4), 0x2000);
	assert_int_equal(cfg(&r, 3, c + 8), 0x3000);
	set_cfg(&r, 3, 0x10, 0xc0000000);
	set_cfg16(&r, 3, 4, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(rd32(&r.f, 0xc000200c), 1); /* masked */
	for (unsigned n = 0; n < VEC; n++) {
		wr32(&r.f, 0xc0002000 + n * 16, 0xfee00000 + (n << 12));
		wr32(&r.f, 0xc0002008 + n * 16, 0x40 + n);
	}
	bus_mmio_write(r.f.bus, 0xc0002010, 0x00000000fee05000ull, 8);
	assert_int_equal(rd32(&r.f, 0xc0002030), 0xc0ffee00 + 0x2030); /* the device again */
	pci_msix_notify(&r.card.pci, 0);
	set_cfg16(&r, 3, c + 2, 0x8000);
	pci_msix_notify(&r.card.pci, 1);
	pci_msix_notify(&r.card.pci, 99);
	assert_int_equal(r.f.msis, 0);
	assert_int_equal(rd32(&r.f, 0xc0003000), 2); /* pending */
	wr32(&r.f, 0xc000201c, 0);
	assert_int_equal(r.f.msis, 1);
	assert_int_equal(r.f.msi_addr, 0xfee05000);
	assert_int_equal(r.f.msi_data, 0x41);
	assert_int_equal(rd32(&r.f, 0xc0003000), 0);
	set_cfg16(&r, 3, c + 2, 0xc000); /* all masked */
	pci_msix_notify(&r.card.pci, 1);
	assert_int_equal(r.f.msis, 1);
	set_cfg16(&r, 3, c + 2, 0x8000);
	assert_int_equal(r.f.msis, 2);
	/* The table moves with its BAR. */
	set_cfg(&r, 3, 0x10, 0xd0000000);
	assert_int_equal(rd32(&r.f, 0xc0002018), 0xffffffff);
	assert_int_equal(rd32(&r.f, 0xd0002018), 0x41);
	check_roundtrip(&pci_dev_state, &r.card.pci);
	assert_int_equal(rd32(&r.f, 0xd0002018), 0x41);
	pci_dev_reset(&r.card.pci);
	check_hostile(&pci_dev_state, &r.card.pci, NULL, 1000);
	rig_fini(&r);
}

static void test_q35(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(cfg(&r, 0, 0x60), Q35_ECAM_BASE | 1);
	set_cfg(&r, 0, 0x60, 0xe0000001);
	assert_int_equal(rd32(&r.f, ecam(3, 0)), 0xffffffff);
	assert_int_equal(rd32(&r.f, 0xe0000000 + (3 << 15)), 0x12341af4);
	set_cfg(&r, 0, 0x60, 0xe8000005); /* 64 MiB */
	assert_int_equal(rd32(&r.f, 0xe8000000 + (3 << 15)), 0x12341af4);
	set_cfg(&r, 0, 0x60, 0xe0000007); /* a size that does not exist */
	set_cfg(&r, 0, 0x60, 0xe0000000);
	assert_int_equal(rd32(&r.f, 0xe0000000 + (3 << 15)), 0xffffffff);
	set_cfg(&r, 0, 0x90, 0x31203313);
	assert_int_equal(q35_pam(&r.host, 12), 1);
	assert_int_equal(q35_pam(&r.host, 0), 3);
	assert_int_equal(q35_pam(&r.host, 1), 3);
	assert_int_equal(q35_pam(&r.host, 2), 0);
	assert_int_equal(q35_pam(&r.host, 3), 2);
	assert_int_equal(q35_pam(&r.host, 4), 1);
	check_roundtrip(q35_desc.state, &r.host);
	check_hostile(q35_desc.state, &r.host, NULL, 500);
	q35_desc.reset(&r.host);
	assert_int_equal(q35_pam(&r.host, 0), 0);
	assert_int_equal(rd32(&r.f, ecam(3, 0)), 0x12341af4);
	storm_pio(&r.f, 0xcf8, 8, 20000);
	q35_desc.reset(&r.host);
	storm_mmio(&r.f, Q35_ECAM_BASE, 0x100000, 20000);
	rig_fini(&r);
}

#define PM ICH9_PMBASE

static uint16_t inw(struct rig *r, uint16_t port)
{
	return (uint16_t)bus_pio_read(r->f.bus, port, 2);
}

static void outw(struct rig *r, uint16_t port, uint16_t val)
{
	bus_pio_write(r->f.bus, port, val, 2);
}

static void test_pm(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(inw(&r, PM + 4) & 1, 1); /* ACPI mode from the start */
	outb(&r.f, 0xb2, 3);
	assert_int_equal(inw(&r, PM + 4) & 1, 0);
	outb(&r.f, 0xb2, 2);
	assert_int_equal(inw(&r, PM + 4) & 1, 1);
	/* The timer. */
	pass(&r.f, 1000000000);
	assert_int_equal(inl(&r.f, PM + 8), 3579545);
	pass(&r.f, 4000000000);
	assert_int_equal(inl(&r.f, PM + 8), 5 * 3579545 % 0x1000000);
	/* Power button: status, then an SCI on GSI 9. */
	wr32(&r.f, IOAPIC_BASE, 0x10 + 9 * 2);
	wr32(&r.f, IOAPIC_BASE + 0x10, 0x8039);
	acpi_pm_power_button(&r.lpc.pm);
	assert_int_equal(inw(&r, PM) & 0x100, 0x100);
	assert_int_equal(r.f.msis, 0);
	outw(&r, PM + 2, 0x100);
	assert_int_equal(r.f.msis, 1);
	outw(&r, PM, 0x100);
	assert_int_equal(inw(&r, PM) & 0x100, 0);
	ioapic_eoi(&r.io, 0x39);
	assert_int_equal(r.f.msis, 1);
	acpi_pm_sleep_button(&r.lpc.pm);
	outw(&r, PM, 0xffff);
	/* The timer's carry: every 2.34 s. */
	outw(&r, PM + 2, 0x001);
	pass(&r.f, 2400000000);
	assert_int_equal(inw(&r, PM) & 1, 1);
	assert_int_equal(r.f.msis, 2);
	outw(&r, PM, 1);
	assert_int_equal(inw(&r, PM) & 1, 0);
	outw(&r, PM + 2, 0);
	/* General-purpose events. */
	acpi_pm_raise_gpe(&r.lpc.pm, 10);
	assert_int_equal(inb(&r.f, PM + 0x21), 0x04);
	outb(&r.f, PM + 0x29, 0x04);
	ioapic_eoi(&r.io, 0x39);
	assert_int_equal(r.f.msis, 3);
	outb(&r.f, PM + 0x21, 0x04);
	assert_int_equal(inb(&r.f, PM + 0x21), 0);
	/* Soft off; the reset register. */
	outw(&r, PM + 4, 0x0001);
	assert_int_equal(r.f.power_offs, 0);
	outw(&r, PM + 4, 0x3001); /* a type that is nothing here */
	assert_int_equal(r.f.power_offs, 0);
	outw(&r, PM + 4, 0x2001);
	assert_int_equal(r.f.power_offs, 1);
	outb(&r.f, 0xcf9, 0x02);
	assert_int_equal(r.f.resets, 0);
	outb(&r.f, 0xcf9, 0x06);
	assert_int_equal(r.f.resets, 1);
	assert_int_equal(inb(&r.f, 0xcf9), 0x06);
	rig_fini(&r);
}

static void test_lpc(void **state)
{
	struct rig r;

	rig_init(&r);
	set_cfg(&r, 31, 0x40, 0xb000);
	assert_int_equal(cfg(&r, 31, 0x40), 0xb001);
	assert_int_equal(inw(&r, PM + 4), 0xffff);
	assert_int_equal(inw(&r, 0xb004), 1);
	set_cfg(&r, 31, 0x44, 0x00);
	assert_int_equal(inw(&r, 0xb004), 0xffff);
	/* The SCI elsewhere. */
	set_cfg(&r, 31, 0x44, 0x84);
	wr32(&r.f, IOAPIC_BASE, 0x10 + 20 * 2);
	wr32(&r.f, IOAPIC_BASE + 0x10, 0x8038);
	outw(&r, 0xb002, 0x100);
	acpi_pm_power_button(&r.lpc.pm);
	assert_int_equal(r.f.msi_data & 0xff, 0x38);
	/* The root complex block. */
	assert_int_equal(bus_mmio_read(r.f.bus, ICH9_RCBA + 0x3140, 2), 0x3210);
	wr32(&r.f, ICH9_RCBA + 0x3ffc, 0x12345678);
	assert_int_equal(bus_mmio_read(r.f.bus, ICH9_RCBA + 0x3ff8, 8) >> 32, 0x12345678);
	set_cfg(&r, 31, 0xf0, 0xfe000000);
	assert_int_equal(rd32(&r.f, ICH9_RCBA + 0x3ffc), 0xffffffff);
	set_cfg(&r, 31, 0xf0, ICH9_RCBA | 1);
	pci_intx_set(&r.card.pci, 1);
	check_roundtrip(ich9_lpc_desc.state, &r.lpc);
	assert_int_equal(inw(&r, 0xb002), 0x100);
	check_hostile(ich9_lpc_desc.state, &r.lpc, NULL, 300);
	ich9_lpc_desc.reset(&r.lpc);
	assert_int_equal(inw(&r, PM + 4) & 1, 1);
	storm_pio(&r.f, PM, 0x80, 20000);
	ich9_lpc_desc.reset(&r.lpc);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config), cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_bars), cmocka_unit_test(test_impossible),
		cmocka_unit_test(test_intx), cmocka_unit_test(test_swizzle),
		cmocka_unit_test(test_msi), cmocka_unit_test(test_msix),
		cmocka_unit_test(test_q35), cmocka_unit_test(test_pm),
		cmocka_unit_test(test_lpc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
