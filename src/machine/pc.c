/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC board: which parts stand on it, where, and how they are wired. parts[] at
 * the file's end is the list; a part's init function is its wiring.
 *
 * The guest's physical addresses:
 *   0          low RAM; a hole for a display at 0xa0000..0xbffff
 *   0xe0000    ACPI tables (16 bit-searchable RSDP first)
 *   0xb0000000 PCI configuration space (ECAM), 256 MiB
 *   0xc0000000 PCI memory below 4 GiB, to 0xfebfffff
 *   0xfec00000 I/O APIC, HPET, root complex, local APICs
 *   4 GiB      high RAM, then PCI memory above 4 GiB
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/x86.h"
#include "src/dev/acpi/tables.h"
#include "src/dev/legacy/a20.h"
#include "src/dev/legacy/fdc.h"
#include "src/dev/legacy/gsi.h"
#include "src/dev/legacy/hpet.h"
#include "src/dev/legacy/i8042.h"
#include "src/dev/legacy/i8254.h"
#include "src/dev/legacy/i8259.h"
#include "src/dev/legacy/ioapic.h"
#include "src/dev/legacy/isa_serial.h"
#include "src/dev/legacy/mc146818.h"
#include "src/dev/legacy/ferr.h"
#include "src/dev/legacy/port92.h"
#include "src/dev/legacy/pvpanic.h"
#include "src/dev/legacy/uart16550.h"
#include "src/dev/pci/ich9_lpc.h"
#include "src/dev/pci/q35.h"
#include "src/machine/board.h"
#include "src/machine/firmware.h"
#include "src/machine/plugs.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define EBDA 0x9fc00u
#define DISPLAY_HOLE 0xa0000u
#define DISPLAY_HOLE_END 0xc0000u
#define TABLES 0xe0000u
#define TABLES_MAX 0x20000u
#define PCI_MEM32 (Q35_ECAM_BASE + Q35_ECAM_SIZE)
#define PCI_MEM32_END 0xfec00000u
#define PCI_MEM64_LEN (32 * GIB)
#define MAP_ENTRIES 8

struct board {
	struct board_config cfg;
	struct dev_env env;
	struct a20_gate a20;
	struct i8259_pair pic;
	struct ioapic ioapic;
	struct gsi gsi;
	struct i8237 dma;
	struct hpet hpet;
	struct i8254 pit;
	struct mc146818 rtc;
	struct i8042 kbc;
	struct port92 port92;
	struct ferr ferr;
	struct uart16550 com1;
	struct pvpanic pvpanic;
	struct q35 q35;
	struct ich9_lpc lpc;
	struct firmware fw;
	struct mem_block *ram;
	size_t parts; /* how many of parts[] were made */
	struct plugs plugs;
	uint64_t low, high; /* bytes of RAM below and above 4 GiB */
	struct e820_entry map[MAP_ENTRIES];
	size_t map_count;
	uint8_t *tables; /* as built; the guest may scribble on its copy */
	size_t tables_len;
	gpa_t rsdp;
};

/* One part of the board. */
struct part {
	const struct dev_desc *desc;
	size_t offset; /* in struct board */
	unsigned instance; /* among those of its kind */
	int (*init)(struct board *b, struct err *err);
	void (*fini)(struct board *b);
	bool (*present)(const struct board *b); /* NULL: on every board */
};

/*
 * Memory.
 */
uint64_t board_low_memory(uint64_t memory_bytes)
{
	/* All below the PCI hole while it fits; else a round 2 GiB, so that the rest
	 * starts on a gigabyte of the block and large pages fit. */
	return memory_bytes <= Q35_ECAM_BASE ? memory_bytes : 2 * GIB;
}

static void map_add(struct board *b, gpa_t start, gpa_t end, uint32_t type)
{
	if (end > start)
		b->map[b->map_count++] = (struct e820_entry){ start, end - start, type };
}

static int make_memory(struct board *b, struct err *err)
{
	struct mem *m = b->env.mem;
	uint64_t total = b->cfg.memory_bytes;
	int ret;

	b->low = board_low_memory(total);
	b->high = total - b->low;
	/* Room for what lies above high RAM (PCI memory) in the address width. */
	while (m->phys_bits < 52 && 4 * GIB + b->high + 2 * PCI_MEM64_LEN > 1ull << m->phys_bits)
		m->phys_bits++;
	b->ram = mem_block_new(m, "ram", total, false, err);
	if (!b->ram)
		return -ENOMEM;
	ret = mem_map_set(m, 0, min_of(b->low, (uint64_t)DISPLAY_HOLE), b->ram, 0, true, true);
	if (ret == 0 && b->low > DISPLAY_HOLE_END)
		ret = mem_map_set(m, DISPLAY_HOLE_END, b->low - DISPLAY_HOLE_END, b->ram,
				  DISPLAY_HOLE_END, true, true);
	if (ret == 0 && b->high)
		ret = mem_map_set(m, 4 * GIB, b->high, b->ram, b->low, true, true);
	if (ret < 0)
		return err_set(err, ret, "out of memory for the guest's memory map");
	map_add(b, 0, EBDA, E820_RAM);
	map_add(b, EBDA, DISPLAY_HOLE, E820_RESERVED);
	map_add(b, TABLES, TABLES + TABLES_MAX, E820_RESERVED);
	map_add(b, MIB, b->low, E820_RAM);
	/* Linux trusts ECAM only where the map reserves it. */
	map_add(b, Q35_ECAM_BASE, PCI_MEM32, E820_RESERVED);
	map_add(b, ICH9_RCBA, ICH9_RCBA + ICH9_RCBA_SIZE, E820_RESERVED);
	map_add(b, 4 * GIB, 4 * GIB + b->high, E820_RAM);
	return 0;
}

static bool asked_for(const struct board *b, const char *driver)
{
	for (size_t i = 0; i < b->cfg.devices.count; i++)
		if (dev_find(b->cfg.devices.item[i].driver) == dev_find(driver))
			return true;
	return false;
}

/* COM1 is the board's own; isa-serial's property 'port' says which others there are. */
static uint8_t serial_ports(const struct board *b)
{
	uint8_t ports = 1;

	for (size_t i = 0; i < b->cfg.devices.count; i++) {
		const struct dev_item *item = &b->cfg.devices.item[i];
		unsigned long n = 2;

		if (dev_find(item->driver) != &isa_serial_desc)
			continue;
		for (size_t k = 0; k < item->count; k++)
			if (!strcmp(item->props[k].name, "port"))
				n = strtoul(item->props[k].value, NULL, 0);
		if (n >= 2 && n <= 4) /* anything else is refused where it is made */
			ports |= (uint8_t)(1u << (n - 1));
	}
	return ports;
}

static struct acpi_config acpi_config(const struct board *b)
{
	uint64_t top = align_up(4 * GIB + b->high, PCI_MEM64_LEN);

	return (struct acpi_config){
		.cpus = b->cfg.cpus->count,
		.ecam_base = Q35_ECAM_BASE,
		.pci_mem32 = { PCI_MEM32, PCI_MEM32_END - PCI_MEM32 },
		.pci_mem64 = { top, PCI_MEM64_LEN },
		.pm_base = ICH9_PMBASE,
		.sci_irq = ICH9_SCI_IRQ,
		.hpet_base = HPET_BASE,
		.serial_ports = serial_ports(b),
		.i8042 = true,
		.rtc = true,
		.floppy = asked_for(b, "isa-fdc") || asked_for(b, "floppy"),
		.sleep_button = true,
		.pvpanic_port = PVPANIC_PORT,
		.fw_cfg_port = b->cfg.firmware ? FW_CFG_PORT : 0,
	};
}

static int make_tables(struct board *b, struct err *err)
{
	struct acpi_config ac = acpi_config(b);
	int ret;

	if (b->cfg.firmware)
		return 0; /* it places its own */

	b->tables = malloc(TABLES_MAX);
	if (!b->tables)
		return err_set(err, -ENOMEM, "out of memory for the ACPI tables");
	ret = acpi_tables_build(&ac, b->tables, TABLES_MAX, TABLES, &b->rsdp, err);
	if (ret < 0)
		return ret;
	b->tables_len = (size_t)ret;
	return 0;
}

/*
 * Wires.
 */
static void intr_set(void *opaque, int n, int level)
{
	apic_pic_changed(opaque);
}

static bool pic_pending(void *opaque) { return i8259_pending(opaque); }
static int pic_ack(void *opaque) { return i8259_ack(opaque); }
static void eoi(void *opaque, uint8_t vector) { ioapic_eoi(opaque, vector); }

static int pic_init(struct board *b, struct err *err)
{
	struct cpus *s = b->cfg.cpus;
	struct irq_line intr = { .set = intr_set, .opaque = s };

	s->pic_pending = pic_pending;
	s->pic_ack = pic_ack;
	s->pic_opaque = &b->pic;
	return i8259_init(&b->pic, &b->env, &intr, err);
}

static int ioapic_part_init(struct board *b, struct err *err)
{
	struct cpus *s = b->cfg.cpus;
	int ret = ioapic_init(&b->ioapic, &b->env, IOAPIC_BASE, 0, err);

	if (ret < 0)
		return ret;
	s->eoi = eoi;
	s->eoi_opaque = &b->ioapic;
	return 0;
}

/* For an engine that has such chips itself. */
static void chips_get(void *opaque, struct irqchips_state *st)
{
	const struct board *b = opaque;

	i8259_get(&b->pic, st->pic);
	ioapic_get(&b->ioapic, &st->ioapic);
}

static void chips_put(void *opaque, const struct irqchips_state *st)
{
	struct board *b = opaque;

	i8259_put(&b->pic, st->pic);
	ioapic_put(&b->ioapic, &st->ioapic);
}

static void chips_lend(void *opaque, const struct irqchips_proxy *p)
{
	struct board *b = opaque;

	i8259_lend(&b->pic, p);
	ioapic_lend(&b->ioapic, p);
}

static int gsi_part_init(struct board *b, struct err *err)
{
	b->cfg.cpus->chips = (struct irqchips_board){ chips_get, chips_put, chips_lend, b };
	gsi_init(&b->gsi, &b->pic, &b->ioapic);
	return 0;
}

static int dma_init(struct board *b, struct err *err)
{
	return i8237_init(&b->dma, &b->env, err);
}

static int hpet_part_init(struct board *b, struct err *err)
{
	struct irq_line gsi[HPET_GSIS], irq0 = gsi_line(&b->gsi, 0), irq8 = gsi_line(&b->gsi, 8);

	for (unsigned n = 0; n < HPET_GSIS; n++)
		gsi[n] = gsi_line(&b->gsi, n);
	return hpet_init(&b->hpet, &b->env, HPET_BASE, gsi, &irq0, &irq8, err);
}

static int pit_init(struct board *b, struct err *err)
{
	struct irq_line irq = hpet_legacy_in(&b->hpet, 0);

	return i8254_init(&b->pit, &b->env, &irq, err);
}

static int rtc_init(struct board *b, struct err *err)
{
	struct mc146818_config cfg = { .low_mem = b->low, .high_mem = b->high };
	struct irq_line irq = hpet_legacy_in(&b->hpet, 1);

	return mc146818_init(&b->rtc, &b->env, &cfg, &irq, err);
}

/* Every CPU's cached translations carry the gate's state. */
static void a20_changed(void *opaque, bool open)
{
	struct board *b = opaque;
	struct cpus *s = b->cfg.cpus;

	s->a20_mask = open ? ~0ull : ~(1ull << 20);
	for (unsigned n = 0; n < s->count; n++)
		vcpu_request(&s->vcpu[n], X86_REQ_FLUSH);
}

static int kbc_init(struct board *b, struct err *err)
{
	struct irq_line kbd = gsi_line(&b->gsi, 1), mouse = gsi_line(&b->gsi, 12);

	return i8042_init(&b->kbc, &b->env, &kbd, &mouse, &b->a20, err);
}

static int port92_part_init(struct board *b, struct err *err)
{
	return port92_init(&b->port92, &b->env, &b->a20, err);
}

static void x87_error(void *opaque, unsigned vcpu)
{
	struct board *b = opaque;

	ferr_assert(&b->ferr);
}

static int ferr_part_init(struct board *b, struct err *err)
{
	struct irq_line irq = gsi_line(&b->gsi, 13);

	b->cfg.cpus->x87_error = x87_error;
	b->cfg.cpus->x87_opaque = b;
	return ferr_init(&b->ferr, &b->env, &irq, err);
}

static int com1_init(struct board *b, struct err *err)
{
	struct irq_line irq = gsi_line(&b->gsi, 4);

	return uart16550_init(&b->com1, &b->env, 0x3f8, &irq, b->cfg.serial, err);
}

static int pvpanic_part_init(struct board *b, struct err *err)
{
	return pvpanic_init(&b->pvpanic, &b->env, b->cfg.panicked, b->cfg.panicked_opaque, err);
}

static int q35_part_init(struct board *b, struct err *err)
{
	return q35_init(&b->q35, &b->env, !b->cfg.firmware, err);
}

static int lpc_init(struct board *b, struct err *err)
{
	return ich9_lpc_init(&b->lpc, &b->env, &b->q35.bus, &b->gsi, !b->cfg.firmware, err);
}

static int firmware_part_init(struct board *b, struct err *err)
{
	struct firmware_config fc = {
		.kind = b->cfg.firmware, .vars_fd = b->cfg.vars_fd, .uuid = b->cfg.uuid,
		.fw_cfg = &b->cfg.fw_cfg, .env = &b->env, .cpus = b->cfg.cpus, .ram = b->ram,
		.low = b->low, .high = b->high, .q35 = &b->q35, .lpc = &b->lpc, .rtc = &b->rtc,
		.acpi = acpi_config(b),
	};

	return firmware_init(&b->fw, &fc, err);
}

static bool has_flash(const struct board *b) { return b->fw.flash; }
static bool has_firmware(const struct board *b) { return b->cfg.firmware; }

static void pic_fini(struct board *b) { i8259_fini(&b->pic); }
static void ioapic_part_fini(struct board *b) { ioapic_fini(&b->ioapic); }
static void gsi_part_fini(struct board *b) {}
static void dma_fini(struct board *b) { i8237_fini(&b->dma); }
static void hpet_part_fini(struct board *b) { hpet_fini(&b->hpet); }
static void pit_fini(struct board *b) { i8254_fini(&b->pit); }
static void rtc_fini(struct board *b) { mc146818_fini(&b->rtc); }
static void kbc_fini(struct board *b) { i8042_fini(&b->kbc); }
static void port92_part_fini(struct board *b) { port92_fini(&b->port92); }
static void ferr_part_fini(struct board *b) { ferr_fini(&b->ferr); }
static void com1_fini(struct board *b) { uart16550_fini(&b->com1); }
static void pvpanic_part_fini(struct board *b) { pvpanic_fini(&b->pvpanic); }
static void q35_part_fini(struct board *b) { q35_fini(&b->q35); }
static void lpc_fini(struct board *b) { ich9_lpc_fini(&b->lpc); }
static void firmware_part_fini(struct board *b) { firmware_fini(&b->fw); }

/* The order is that of making and resetting: who pulls a line comes after whom the
 * line leads to. */
#define PART_IF(field, desc, name, present) \
	{ &desc, offsetof(struct board, field), 0, name##_init, name##_fini, present }
#define PART(field, desc, name) PART_IF(field, desc, name, NULL)
static const struct part parts[] = {
	PART(pic, i8259_desc, pic),
	PART(ioapic, ioapic_desc, ioapic_part),
	PART(gsi, gsi_desc, gsi_part),
	PART(dma, i8237_desc, dma),
	PART(hpet, hpet_desc, hpet_part),
	PART(pit, i8254_desc, pit),
	PART(rtc, mc146818_desc, rtc),
	PART(kbc, i8042_desc, kbc),
	PART(port92, port92_desc, port92_part),
	PART(ferr, ferr_desc, ferr_part),
	PART(com1, uart16550_desc, com1),
	PART(pvpanic, pvpanic_desc, pvpanic_part),
	PART(q35, q35_desc, q35_part),
	PART(lpc, ich9_lpc_desc, lpc),
	PART_IF(fw.fw_cfg, fw_cfg_desc, firmware_part, has_firmware),
	/* Made with it. */
	{ &pflash_desc, offsetof(struct board, fw.code), 0, NULL, NULL, has_flash },
	{ &pflash_desc, offsetof(struct board, fw.vars), 1, NULL, NULL, has_flash },
};
#undef PART
#undef PART_IF

static bool part_present(const struct board *b, const struct part *p)
{
	return !p->present || p->present(b);
}

static void *part_dev(struct board *b, const struct part *p)
{
	return (char *)b + p->offset;
}

/* What CMOS memory tells of floppy drives: their types, and how many in the equipment
 * byte. */
static void set_floppies(struct board *b)
{
	for (size_t i = 0; i < b->plugs.count; i++) {
		uint8_t types;

		if (b->plugs.plug[i]->desc != &isa_fdc_desc)
			continue;
		types = fdc_cmos_types(b->plugs.plug[i]->dev);
		mc146818_set_cmos(&b->rtc, 0x10, types);
		mc146818_set_cmos(&b->rtc, 0x14,
				  (uint8_t)(0x06 | (types ? 0x01 : 0) | (types & 15 ? 0x40 : 0)));
	}
}

static int add_devices(struct board *b, struct err *err)
{
	const struct dev_items *list = &b->cfg.devices;
	int ret = 0;

	plugs_init(&b->plugs, &b->env, &b->q35.bus, &b->gsi, &b->dma, &b->cfg.backends);
	bus_lock(b->env.bus);
	for (size_t i = 0; ret == 0 && i < list->count; i++)
		ret = plugs_add(&b->plugs, &list->item[i], err);
	set_floppies(b);
	bus_unlock(b->env.bus);
	return ret;
}

static int finish_firmware(struct board *b, struct err *err)
{
	char *order = plugs_boot_order(&b->plugs);
	int ret = order ? firmware_finish(&b->fw, order, err)
			: err_set(err, -ENOMEM, "out of memory for the boot order");

	free(order);
	return ret;
}

int board_new(const struct board_config *cfg, struct board **out, struct err *err)
{
	struct board *b = calloc(1, sizeof(*b));
	int ret;

	*out = NULL;
	if (!b)
		return err_set(err, -ENOMEM, "out of memory for the machine's board");
	b->cfg = *cfg;
	b->env = cfg->env;
	b->a20 = (struct a20_gate){ .open = true, .set = a20_changed, .opaque = b };
	ret = make_memory(b, err);
	if (ret == 0 && cfg->fw_cfg.count && !cfg->firmware)
		ret = err_set(err, -EINVAL, "--fw-cfg needs firmware: a kernel that is started "
			      "without it has no firmware configuration device");
	if (ret == 0)
		ret = make_tables(b, err);
	while (ret == 0 && b->parts < array_size(parts)) {
		if (parts[b->parts].init && part_present(b, &parts[b->parts]))
			ret = parts[b->parts].init(b, err);
		if (ret == 0)
			b->parts++;
	}
	if (ret == 0)
		ret = add_devices(b, err);
	if (ret == 0 && b->cfg.firmware)
		ret = finish_firmware(b, err);
	if (ret < 0) {
		board_free(b);
		return ret;
	}
	*out = b;
	return 0;
}

void board_free(struct board *b)
{
	if (!b)
		return;
	bus_lock(b->env.bus);
	plugs_fini(&b->plugs);
	bus_unlock(b->env.bus);
	while (b->parts--)
		if (parts[b->parts].fini && part_present(b, &parts[b->parts]))
			parts[b->parts].fini(b);
	free(b->tables);
	free(b);
}

int board_reset(struct board *b, struct err *err)
{
	for (size_t i = 0; i < array_size(parts); i++)
		if (parts[i].desc->reset && part_present(b, &parts[i]))
			parts[i].desc->reset(part_dev(b, &parts[i]));
	plugs_reset(&b->plugs);
	/* What the lines did while those who pull them were reset is no interrupt. */
	i8259_desc.reset(&b->pic);
	ioapic_desc.reset(&b->ioapic);
	/* What a boot loader of our own finds: all address lines work. */
	a20_set(&b->a20, true);
	if (!b->cfg.firmware && mem_write(b->env.mem, TABLES, b->tables, b->tables_len) < 0)
		return err_set(err, -EFAULT, "the ACPI tables do not fit into guest memory; give "
			       "at least 1 MiB");
	return 0;
}

const struct e820_entry *board_map(const struct board *b, size_t *count)
{
	*count = b->map_count;
	return b->map;
}

gpa_t board_rsdp(const struct board *b)
{
	return b->rsdp;
}

void board_power_button(struct board *b)
{
	acpi_pm_power_button(&b->lpc.pm);
}

void board_sleep_button(struct board *b)
{
	acpi_pm_sleep_button(&b->lpc.pm);
}

struct plugs *board_plugs(struct board *b)
{
	return &b->plugs;
}

int board_each(struct board *b, int (*fn)(void *opaque, const struct dev_desc *desc, void *dev,
					  unsigned instance),
	       void *opaque)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < array_size(parts); i++)
		if (parts[i].desc->state && part_present(b, &parts[i]))
			ret = fn(opaque, parts[i].desc, part_dev(b, &parts[i]),
				 parts[i].instance);
	for (size_t i = 0; ret == 0 && i < b->plugs.count; i++) {
		struct plug *g = b->plugs.plug[i];

		if (g->desc->state)
			ret = fn(opaque, g->desc, g->dev, g->instance);
	}
	return ret;
}
