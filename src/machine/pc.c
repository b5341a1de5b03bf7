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
#include "src/dev/legacy/gsi.h"
#include "src/dev/legacy/hpet.h"
#include "src/dev/legacy/i8042.h"
#include "src/dev/legacy/i8254.h"
#include "src/dev/legacy/i8259.h"
#include "src/dev/legacy/ioapic.h"
#include "src/dev/legacy/mc146818.h"
#include "src/dev/legacy/ferr.h"
#include "src/dev/legacy/port92.h"
#include "src/dev/legacy/pvpanic.h"
#include "src/dev/legacy/uart16550.h"
#include "src/dev/pci/ich9_lpc.h"
#include "src/dev/pci/q35.h"
#include "src/machine/board.h"

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
	size_t parts; /* how many of parts[] were made */
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
	int (*init)(struct board *b, struct err *err);
	void (*fini)(struct board *b);
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
	struct mem_block *ram;
	int ret;

	b->low = board_low_memory(total);
	b->high = total - b->low;
	/* Room for what lies above high RAM (PCI memory) in the address width. */
	while (m->phys_bits < 52 && 4 * GIB + b->high + 2 * PCI_MEM64_LEN > 1ull << m->phys_bits)
		m->phys_bits++;
	ram = mem_block_new(m, "ram", total, false, err);
	if (!ram)
		return -ENOMEM;
	ret = mem_map_set(m, 0, min_of(b->low, (uint64_t)DISPLAY_HOLE), ram, 0, true, true);
	if (ret == 0 && b->low > DISPLAY_HOLE_END)
		ret = mem_map_set(m, DISPLAY_HOLE_END, b->low - DISPLAY_HOLE_END, ram,
				  DISPLAY_HOLE_END, true, true);
	if (ret == 0 && b->high)
		ret = mem_map_set(m, 4 * GIB, b->high, ram, b->low, true, true);
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

static int make_tables(struct board *b, struct err *err)
{
	uint64_t top = align_up(4 * GIB + b->high, PCI_MEM64_LEN);
	struct acpi_config ac = {
		.cpus = b->cfg.cpus->count,
		.ecam_base = Q35_ECAM_BASE,
		.pci_mem32 = { PCI_MEM32, PCI_MEM32_END - PCI_MEM32 },
		.pci_mem64 = { top, PCI_MEM64_LEN },
		.pm_base = ICH9_PMBASE,
		.sci_irq = ICH9_SCI_IRQ,
		.hpet_base = HPET_BASE,
		.serial_ports = 1,
		.i8042 = true,
		.rtc = true,
		.pvpanic_port = PVPANIC_PORT,
	};
	int ret;

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

static int gsi_part_init(struct board *b, struct err *err)
{
	gsi_init(&b->gsi, &b->pic, &b->ioapic);
	return 0;
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
	return q35_init(&b->q35, &b->env, true, err);
}

static int lpc_init(struct board *b, struct err *err)
{
	return ich9_lpc_init(&b->lpc, &b->env, &b->q35.bus, &b->gsi, true, err);
}

static void pic_fini(struct board *b) { i8259_fini(&b->pic); }
static void ioapic_part_fini(struct board *b) { ioapic_fini(&b->ioapic); }
static void gsi_part_fini(struct board *b) {}
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

/* The order is that of making and resetting: who pulls a line comes after whom the
 * line leads to. */
#define PART(field, desc, name) { &desc, offsetof(struct board, field), name##_init, name##_fini }
static const struct part parts[] = {
	PART(pic, i8259_desc, pic),
	PART(ioapic, ioapic_desc, ioapic_part),
	PART(gsi, gsi_desc, gsi_part),
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
};
#undef PART

static void *part_dev(struct board *b, const struct part *p)
{
	return (char *)b + p->offset;
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
	if (ret == 0)
		ret = make_tables(b, err);
	while (ret == 0 && b->parts < array_size(parts)) {
		ret = parts[b->parts].init(b, err);
		if (ret == 0)
			b->parts++;
	}
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
	while (b->parts)
		parts[--b->parts].fini(b);
	free(b->tables);
	free(b);
}

int board_reset(struct board *b, struct err *err)
{
	for (size_t i = 0; i < array_size(parts); i++)
		if (parts[i].desc->reset)
			parts[i].desc->reset(part_dev(b, &parts[i]));
	/* What a boot loader of our own finds: all address lines work. */
	a20_set(&b->a20, true);
	if (mem_write(b->env.mem, TABLES, b->tables, b->tables_len) < 0)
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

int board_each(struct board *b, int (*fn)(void *opaque, const struct dev_desc *desc, void *dev),
	       void *opaque)
{
	for (size_t i = 0; i < array_size(parts); i++) {
		int ret = parts[i].desc->state ? fn(opaque, parts[i].desc, part_dev(b, &parts[i]))
					       : 0;

		if (ret)
			return ret;
	}
	return 0;
}
