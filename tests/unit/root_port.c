/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Root ports: buses behind buses, windows, interrupts, state, hostile registers. */
#include "src/dev/pci/pci_scan.h"
#include "src/dev/pci/q35.h"
#include "src/dev/pci/root_port.h"
#include "src/dev/plug.h"
#include "tests/unit/dev_fixture.h"

struct rig {
	struct fixture f;
	struct q35 host;
	void *port, *deep; /* deep is behind port */
	struct pci_dev card; /* behind deep */
	unsigned line;
	int level;
	unsigned bus_resets;
};

static uint64_t card_read(void *dev, uint64_t off, unsigned size) { return 0xca4d0000 + off; }
static void card_write(void *dev, uint64_t off, uint64_t val, unsigned size) {}
static const struct bus_ops card_ops = { card_read, card_write, 4, 4, false };

static void card_bus_reset(struct pci_dev *d)
{
	container_of(d, struct rig, card)->bus_resets++;
}

static void set_pirq(void *opaque, unsigned n, int level)
{
	struct rig *r = opaque;

	r->line = n;
	r->level = level;
}

static void *new_port(struct rig *r, struct pci_bus *bus, uint8_t devfn)
{
	static const struct dev_prop_text slot = { "slot-number", "7" };
	struct dev_plug plug = { .env = &r->f.env, .pci = bus, .devfn = devfn };
	void *dev;

	assert_int_equal(dev_new(&root_port_desc, &plug, &slot, 1, NULL, &dev, NULL), 0);
	root_port_desc.reset(dev);
	return dev;
}

static void rig_init(struct rig *r)
{
	static const struct pci_ids ids = { .vendor = 0x1234, .device = 0x5678, .int_pin = 1 };
	static const struct pci_ops ops = { .bus_reset = card_bus_reset };

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	assert_int_equal(q35_init(&r->host, &r->f.env, true, NULL), 0);
	r->host.bus.set_pirq = set_pirq;
	r->host.bus.pirq_opaque = r;
	r->port = new_port(r, &r->host.bus, PCI_DEVFN(0x1c, 0));
	r->deep = new_port(r, root_port_desc.pci_bus(r->port), 0);
	assert_int_equal(pci_dev_init(&r->card, root_port_desc.pci_bus(r->deep), 0, "card", &ids,
				      &ops, NULL), 0);
	assert_int_equal(pci_bar_add(&r->card, 0, 0x1000, 0, &card_ops, NULL, "card", NULL), 0);
	assert_int_equal(pci_bar_add(&r->card, 1, 16, PCI_BAR_IO, &card_ops, NULL, "card", NULL), 0);
	assert_int_equal(pci_bar_add(&r->card, 2, 0x1000, PCI_BAR_MEM64 | PCI_BAR_PREFETCH,
				     &card_ops, NULL, "card", NULL), 0);
}

static void rig_fini(struct rig *r)
{
	pci_dev_fini(&r->card);
	dev_free(&root_port_desc, r->deep);
	dev_free(&root_port_desc, r->port);
	q35_fini(&r->host);
	fixture_fini(&r->f);
}

static uint64_t at(unsigned bus, unsigned dev, unsigned off)
{
	return Q35_ECAM_BASE + (bus << 20 | dev << 15 | off);
}

static void wr(struct rig *r, unsigned bus, unsigned dev, unsigned off, uint32_t v, unsigned size)
{
	bus_mmio_write(r->f.bus, at(bus, dev, off), v, size);
}

static uint32_t cf8(struct rig *r, unsigned bus, unsigned dev, unsigned off)
{
	outl(&r->f, 0xcf8, 0x80000000 | bus << 16 | dev << 11 | off);
	return inl(&r->f, 0xcfc);
}

/* Bus 5 behind the port, 6 behind the deep one; windows open. */
static void program(struct rig *r)
{
	wr(r, 0, 0x1c, PCI_PRIMARY_BUS, 0x060500, 4);
	wr(r, 5, 0, PCI_PRIMARY_BUS, 0x060605, 4);
	for (unsigned k = 0; k < 2; k++) {
		unsigned bus = k ? 5 : 0, dev = k ? 0 : 0x1c;

		wr(r, bus, dev, PCI_IO_BASE, 0xd0d0, 2);
		wr(r, bus, dev, PCI_MEM_BASE, 0xc010c000, 4);
		wr(r, bus, dev, PCI_PREF_BASE, 0x00100000, 4);
		wr(r, bus, dev, PCI_PREF_BASE_UPPER, 8, 4);
		wr(r, bus, dev, PCI_PREF_LIMIT_UPPER, 8, 4);
		wr(r, bus, dev, PCI_COMMAND, 7, 2);
	}
	wr(r, 6, 0, PCI_BAR0, 0xc0100000, 4);
	wr(r, 6, 0, PCI_BAR0 + 4, 0xd000, 4);
	wr(r, 6, 0, PCI_BAR0 + 8, 0x00100000, 4);
	wr(r, 6, 0, PCI_BAR0 + 12, 8, 4);
	wr(r, 6, 0, PCI_COMMAND, 7, 2);
}

static void test_buses(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(rd32(&r.f, at(0, 0x1c, 0)), 0x000c1b36);
	assert_int_equal(rd32(&r.f, at(0, 0x1c, 0xc)) >> 16 & 0xff, 1);
	assert_int_equal(rd32(&r.f, at(5, 0, 0)), 0xffffffff); /* no numbers yet */
	program(&r);
	assert_int_equal(rd32(&r.f, at(5, 0, 0)), 0x000c1b36);
	assert_int_equal(rd32(&r.f, at(6, 0, 0)), 0x56781234);
	assert_int_equal(cf8(&r, 6, 0, 0), 0x56781234);
	assert_int_equal(cf8(&r, 6, 1, 0), 0xffffffff);
	assert_int_equal(rd32(&r.f, at(7, 0, 0)), 0xffffffff);
	/* A slot with a card: present, its link up; its number. */
	assert_int_equal(cf8(&r, 0, 0x1c, 0x40) >> 16 & 0x1f0, 0x140);
	assert_int_equal(cf8(&r, 0, 0x1c, 0x54) >> 19, 7);
	assert_int_equal(cf8(&r, 0, 0x1c, 0x54) & 0x60, 0); /* no hot-plug */
	assert_int_equal(cf8(&r, 0, 0x1c, 0x58) >> 16, 0x40);
	assert_int_equal(cf8(&r, 0, 0x1c, 0x50) >> 16 & 0x2000, 0x2000);
	/* Numbers that make no tree. */
	wr(&r, 0, 0x1c, PCI_SUBORDINATE_BUS, 5, 1);
	assert_int_equal(cf8(&r, 6, 0, 0), 0xffffffff);
	wr(&r, 0, 0x1c, PCI_SUBORDINATE_BUS, 255, 1);
	wr(&r, 5, 0, PCI_SECONDARY_BUS, 4, 1);
	assert_int_equal(cf8(&r, 4, 0, 0), 0xffffffff);
	assert_int_equal(cf8(&r, 6, 0, 0), 0xffffffff);
	wr(&r, 5, 0, PCI_SECONDARY_BUS, 5, 1);
	assert_int_equal(cf8(&r, 5, 0, 0), 0x000c1b36);
	wr(&r, 0, 0x1c, PCI_SECONDARY_BUS, 0, 1);
	assert_int_equal(cf8(&r, 0, 0, 0), 0x29c08086);
	rig_fini(&r);
}

static void test_windows(void **state)
{
	struct rig r;
	uint64_t first, last;

	rig_init(&r);
	program(&r);
	assert_int_equal(rd32(&r.f, 0xc0100010), 0xca4d0010);
	assert_int_equal(rd32(&r.f, 0x800100010), 0xca4d0010);
	assert_int_equal(inl(&r.f, 0xd004), 0xca4d0004);
	assert_true(pci_mem64_span(&r.host.bus, &first, &last));
	assert_int_equal(first, 0x800000000);
	assert_int_equal(last, 0x8001fffff);
	/* Each bridge on the way can close each window. */
	for (unsigned k = 0; k < 2; k++) {
		unsigned bus = k ? 5 : 0, dev = k ? 0 : 0x1c;

		wr(&r, bus, dev, PCI_COMMAND, 6, 2);
		assert_int_equal(inl(&r.f, 0xd004), 0xffffffff);
		assert_int_equal(rd32(&r.f, 0xc0100010), 0xca4d0010);
		wr(&r, bus, dev, PCI_COMMAND, 5, 2);
		assert_int_equal(rd32(&r.f, 0xc0100010), 0xffffffff);
		assert_int_equal(rd32(&r.f, 0x800100010), 0xffffffff);
		wr(&r, bus, dev, PCI_COMMAND, 7, 2);
		wr(&r, bus, dev, PCI_MEM_LIMIT, 0xbff0, 2);
		assert_int_equal(rd32(&r.f, 0xc0100010), 0xffffffff);
		assert_int_equal(rd32(&r.f, 0x800100010), 0xca4d0010);
		wr(&r, bus, dev, PCI_MEM_LIMIT, 0xc010, 2);
		assert_int_equal(rd32(&r.f, 0xc0100010), 0xca4d0010);
		wr(&r, bus, dev, PCI_PREF_BASE_UPPER, 9, 4);
		assert_int_equal(rd32(&r.f, 0x800100010), 0xffffffff);
		wr(&r, bus, dev, PCI_PREF_BASE_UPPER, 8, 4);
	}
	assert_int_equal(rd32(&r.f, 0x800100010), 0xca4d0010);
	rig_fini(&r);
}

static void test_interrupts(void **state)
{
	struct rig r;

	rig_init(&r);
	program(&r);
	/* INTA of device 0, twice through slot 0, at slot 1ch: pin A, PIRQA. */
	pci_intx_set(&r.card, 1);
	assert_int_equal(r.level, 1);
	assert_int_equal(r.line, q35_route(0x1c, 0));
	/* The secondary bus's reset takes the card along. */
	wr(&r, 0, 0x1c, PCI_BRIDGE_CONTROL, 0x40, 2);
	wr(&r, 0, 0x1c, PCI_BRIDGE_CONTROL, 0, 2);
	assert_int_equal(r.bus_resets, 1);
	assert_int_equal(r.level, 0);
	assert_int_equal(rd32(&r.f, at(6, 0, 0)), 0xffffffff);
	program(&r);
	assert_int_equal(rd32(&r.f, at(6, 0, 0)), 0x56781234);
	rig_fini(&r);
}

static void test_state(void **state)
{
	struct rig r;

	rig_init(&r);
	program(&r);
	check_roundtrip(root_port_desc.state, r.port);
	assert_int_equal(rd32(&r.f, 0xc0100010), 0xca4d0010);
	check_hostile(root_port_desc.state, r.port, NULL, 300);
	root_port_desc.reset(r.port);
	assert_int_equal(rd32(&r.f, at(5, 0, 0)), 0xffffffff);
	assert_int_equal(rd32(&r.f, 0xc0100010), 0xffffffff);
	rig_fini(&r);
}

/* Configuration accesses of all sizes to every register of both ports and the card;
 * BOTHY_FUZZ_ROUNDS sets how many. */
static void test_fuzz(void **state)
{
	const char *env = getenv("BOTHY_FUZZ_ROUNDS");
	unsigned long rounds = env ? strtoul(env, NULL, 10) : 20000;
	uint64_t s = 0x9e3779b97f4a7c15ull;
	struct rig r;

	rig_init(&r);
	for (unsigned long n = 0; n < rounds; n++) {
		unsigned size = 1u << (s >> 62 & 1 ? s >> 60 & 1 : 2), off, bus;

		if (n % 64 == 0)
			program(&r);
		s = s * 6364136223846793005ull + 1442695040888963407ull;
		off = (s >> 33 & (s >> 20 & 1 ? 0xfff : 0x7f)) & ~(size - 1);
		bus = s >> 50 & 1 ? 0 : s >> 51 & 1 ? 5 : s >> 52 & 7;
		wr(&r, bus, bus ? 0 : 0x1c, off, (uint32_t)(s >> 17), size);
		bus_mmio_read(r.f.bus, at(s >> 56, s >> 45 & 31, off), size);
		cf8(&r, s >> 56, s >> 45 & 31, off & 0xfc);
		pci_intx_set(&r.card, s >> 48 & 1);
		rd32(&r.f, 0xc0100010);
	}
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buses), cmocka_unit_test(test_windows),
		cmocka_unit_test(test_interrupts), cmocka_unit_test(test_state),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
