/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/acpi/tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/dev/acpi/aml.h"
#include "src/dev/acpi/dsdt.h"
#include "src/dev/acpi/pm.h"
#include "src/dev/legacy/hpet.h"
#include "src/dev/legacy/ioapic.h"
#include "src/dev/pci/ich9_lpc.h"

#define HEADER_LEN 36u
#define RSDP_LEN 36u
#define APIC_BASE 0xfee00000u

enum { TABLE_FADT, TABLE_MADT, TABLE_MCFG, TABLE_HPET, TABLES };

/* The blob grows in an aml buffer, which is just bytes. */
struct build {
	const struct acpi_config *cfg;
	struct aml out;
	struct acpi_reloc reloc[32];
	size_t nreloc;
	struct acpi_checksum checksum[16];
	size_t nchecksum;
	uint32_t facs, dsdt;
	uint32_t table[TABLES]; /* 0: not there */
};

/*
 * Bytes.
 */
static void zeroes(struct build *b, size_t len)
{
	static const uint8_t zero[64];

	for (; len > sizeof(zero); len -= sizeof(zero))
		aml_bytes(&b->out, zero, sizeof(zero));
	aml_bytes(&b->out, zero, len);
}

static uint32_t align(struct build *b, size_t to)
{
	zeroes(b, align_up(b->out.len, to) - b->out.len);
	return (uint32_t)b->out.len;
}

static void put8(struct build *b, uint8_t v) { aml_bytes(&b->out, &v, 1); }
static void put16(struct build *b, uint16_t v) { aml_bytes(&b->out, &v, 2); }
static void put32(struct build *b, uint32_t v) { aml_bytes(&b->out, &v, 4); }
static void put64(struct build *b, uint64_t v) { aml_bytes(&b->out, &v, 8); }

/* A pointer to offset @to of the blob. */
static void put_pointer(struct build *b, uint8_t width, uint32_t to)
{
	uint64_t v = to;

	if (b->nreloc == array_size(b->reloc)) {
		b->out.failed = true;
		return;
	}
	b->reloc[b->nreloc++] = (struct acpi_reloc){ (uint32_t)b->out.len, width };
	aml_bytes(&b->out, &v, width);
}

static void add_checksum(struct build *b, uint32_t at, uint32_t start, uint32_t len)
{
	if (b->nchecksum == array_size(b->checksum))
		b->out.failed = true;
	else
		b->checksum[b->nchecksum++] = (struct acpi_checksum){ at, start, len };
}

/* The header of ACPI 6.4, 5.2.6. */
static uint32_t table_begin(struct build *b, const char *signature, uint8_t revision)
{
	uint32_t start = align(b, 16);

	aml_bytes(&b->out, signature, 4);
	put32(b, 0); /* length, set at the end */
	put8(b, revision);
	put8(b, 0); /* checksum */
	aml_bytes(&b->out, "BOTHY ", 6);
	aml_bytes(&b->out, "BOTHYPC ", 8);
	put32(b, 1);
	aml_bytes(&b->out, "BTHY", 4);
	put32(b, 1);
	return start;
}

static void table_end(struct build *b, uint32_t start)
{
	uint32_t len = (uint32_t)b->out.len - start;

	if (b->out.failed)
		return;
	st_le32(b->out.data + start + 4, len);
	add_checksum(b, start + 9, start, len);
}

/* A generic address in port space (5.2.3.2). */
static void put_gas_io(struct build *b, uint16_t port, uint8_t bits, uint8_t access)
{
	put8(b, 1);
	put8(b, bits);
	put8(b, 0);
	put8(b, access);
	put64(b, port);
}

/*
 * Tables.
 */
static void facs(struct build *b)
{
	b->facs = align(b, 64);
	aml_bytes(&b->out, "FACS", 4);
	put32(b, 64);
	zeroes(b, 24);
	put8(b, 2); /* version */
	zeroes(b, 31);
}

static void dsdt(struct build *b)
{
	b->dsdt = table_begin(b, "DSDT", 2);
	acpi_dsdt_build(&b->out, b->cfg);
	table_end(b, b->dsdt);
}

#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_NO_SLEEP_BUTTON (1u << 5)
#define FADT_NO_FIXED_RTC (1u << 6)
#define FADT_RESET_REG (1u << 10)
#define BOOT_LEGACY (1u << 0)
#define BOOT_8042 (1u << 1)
#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_RTC (1u << 5)

/* 5.2.9, revision 5 (268 bytes). */
static void fadt(struct build *b)
{
	const struct acpi_config *cfg = b->cfg;
	uint32_t start = table_begin(b, "FACP", 5);
	uint16_t pm = cfg->pm_base;

	put_pointer(b, 4, b->facs);
	put_pointer(b, 4, b->dsdt);
	put8(b, 0);
	put8(b, 0); /* preferred profile: unspecified */
	put16(b, cfg->sci_irq);
	put32(b, ICH9_APM_CMD);
	put8(b, ICH9_APM_ACPI_ENABLE);
	put8(b, ICH9_APM_ACPI_DISABLE);
	put8(b, 0); /* S4BIOS */
	put8(b, 0); /* P-states */
	put32(b, pm);
	put32(b, 0);
	put32(b, pm + 4u);
	put32(b, 0);
	put32(b, 0); /* PM2 */
	put32(b, pm + 8u);
	put32(b, pm + ACPI_PM_GPE0);
	put32(b, 0);
	put8(b, 4); /* lengths: PM1 event, PM1 control, PM2, timer, GPE0, GPE1 */
	put8(b, 2);
	put8(b, 0);
	put8(b, 4);
	put8(b, ACPI_PM_GPE0_LEN);
	put8(b, 0);
	put8(b, 0);
	put8(b, 0);
	put16(b, 0xfff); /* C2 and C3: not there */
	put16(b, 0xfff);
	put16(b, 0);
	put16(b, 0);
	put8(b, 0);
	put8(b, 0);
	put8(b, 0); /* day and month alarm: not there */
	put8(b, 0);
	put8(b, cfg->rtc ? 0x32 : 0); /* the century in CMOS memory */
	put16(b, BOOT_LEGACY | (cfg->i8042 ? BOOT_8042 : 0) | (cfg->vga ? 0 : BOOT_NO_VGA) |
			 (cfg->rtc ? 0 : BOOT_NO_RTC));
	put8(b, 0);
	put32(b, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_FIXED_RTC | FADT_RESET_REG |
			 (cfg->sleep_button ? 0 : FADT_NO_SLEEP_BUTTON));
	put_gas_io(b, 0xcf9, 8, 1);
	put8(b, 0x06);
	put16(b, 0); /* ARM */
	put8(b, 1);  /* minor revision */
	put64(b, 0); /* the FACS by its 32-bit field alone */
	put_pointer(b, 8, b->dsdt);
	put_gas_io(b, pm, 32, 2);
	zeroes(b, 12);
	put_gas_io(b, pm + 4, 16, 2);
	zeroes(b, 12);
	zeroes(b, 12);
	put_gas_io(b, pm + 8, 32, 3);
	put_gas_io(b, pm + ACPI_PM_GPE0, ACPI_PM_GPE0_LEN * 8, 1);
	zeroes(b, 12);
	zeroes(b, 24); /* sleep control and status: hardware-reduced only */
	table_end(b, start);
	b->table[TABLE_FADT] = start;
}

static void source_override(struct build *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	put8(b, 2);
	put8(b, 10);
	put8(b, 0); /* ISA */
	put8(b, irq);
	put32(b, gsi);
	put16(b, flags);
}

/* 5.2.12. */
static void madt(struct build *b)
{
	uint32_t start = table_begin(b, "APIC", 3);

	put32(b, APIC_BASE);
	put32(b, 1); /* the 8259 pair is there, too */
	for (unsigned n = 0; n < b->cfg->cpus; n++) {
		put8(b, 0);
		put8(b, 8);
		put8(b, (uint8_t)n); /* UID, as in the DSDT */
		put8(b, (uint8_t)n);
		put32(b, 1);
	}
	put8(b, 1);
	put8(b, 12);
	put8(b, 0); /* ID */
	put8(b, 0);
	put32(b, IOAPIC_BASE);
	put32(b, 0);
	source_override(b, 0, 2, 0);
	source_override(b, b->cfg->sci_irq, b->cfg->sci_irq, 0x000d); /* level, high */
	put8(b, 4); /* NMI on LINT1 of every processor */
	put8(b, 6);
	put8(b, 0xff);
	put16(b, 0);
	put8(b, 1);
	table_end(b, start);
	b->table[TABLE_MADT] = start;
}

/* PCI firmware specification 3.2, 4.1.2. */
static void mcfg(struct build *b)
{
	uint32_t start;

	if (!b->cfg->ecam_base)
		return;
	start = table_begin(b, "MCFG", 1);
	put64(b, 0);
	put64(b, b->cfg->ecam_base);
	put16(b, 0);
	put8(b, 0);
	put8(b, b->cfg->ecam_len ? (uint8_t)((b->cfg->ecam_len >> 20) - 1) : 0xff);
	put32(b, 0);
	table_end(b, start);
	b->table[TABLE_MCFG] = start;
}

/* IA-PC HPET specification, 3.2.4. */
static void hpet(struct build *b)
{
	uint32_t start;

	if (!b->cfg->hpet_base)
		return;
	start = table_begin(b, "HPET", 1);
	put32(b, 0x8086u << 16 | 1u << 15 | 1u << 13 | (HPET_TIMERS - 1) << 8 | 1);
	put8(b, 0); /* memory */
	put8(b, 64);
	put8(b, 0);
	put8(b, 0);
	put64(b, b->cfg->hpet_base);
	put8(b, 0);
	put16(b, 100); /* periodic ticks shorter than this may be lost */
	put8(b, 0);
	table_end(b, start);
	b->table[TABLE_HPET] = start;
}

static uint32_t root_table(struct build *b, const char *signature, uint8_t width)
{
	uint32_t start = table_begin(b, signature, 1);

	for (unsigned n = 0; n < TABLES; n++)
		if (b->table[n])
			put_pointer(b, width, b->table[n]);
	table_end(b, start);
	return start;
}

/* The RSDP (5.2.5.3) was left room for at the blob's start. */
static void rsdp(struct build *b, uint32_t rsdt, uint32_t xsdt)
{
	uint8_t *p = b->out.data;

	if (b->out.failed)
		return;
	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, "BOTHY ", 6);
	p[15] = 2;
	st_le32(p + 16, rsdt);
	st_le32(p + 20, RSDP_LEN);
	st_le64(p + 24, xsdt);
	b->reloc[b->nreloc++] = (struct acpi_reloc){ 16, 4 };
	b->reloc[b->nreloc++] = (struct acpi_reloc){ 24, 8 };
	add_checksum(b, 8, 0, 20);
	add_checksum(b, 32, 0, RSDP_LEN);
}

static void build_all(struct build *b)
{
	uint32_t rsdt, xsdt;

	zeroes(b, RSDP_LEN);
	facs(b);
	dsdt(b);
	fadt(b);
	madt(b);
	mcfg(b);
	hpet(b);
	rsdt = root_table(b, "RSDT", 4);
	xsdt = root_table(b, "XSDT", 8);
	rsdp(b, rsdt, xsdt);
}

static bool window_ok(const struct acpi_window *w, uint64_t limit)
{
	return w->len == 0 || (w->base <= limit && w->len - 1 <= limit - w->base);
}

static int check(const struct acpi_config *cfg, struct err *err)
{
	if (cfg->cpus < 1 || cfg->cpus > 255)
		return err_set(err, -EINVAL, "ACPI tables for %u processors: 1 to 255 are possible",
			       cfg->cpus);
	if (cfg->serial_ports > 15 || cfg->sci_irq > 15 || cfg->ecam_base > 0xf0000000u ||
	    cfg->hpet_base > 0xfffff000u || !window_ok(&cfg->pci_mem32, 0xffffffff) ||
	    !window_ok(&cfg->pci_mem32_more, 0xffffffff) ||
	    !window_ok(&cfg->pci_mem64, UINT64_MAX))
		return err_set(err, -EINVAL, "ACPI tables for a board that cannot be");
	return 0;
}

static void *copy(const void *p, size_t len)
{
	void *q = malloc(len);

	if (q)
		memcpy(q, p, len);
	return q;
}

int acpi_blob_init(struct acpi_blob *blob, const struct acpi_config *cfg, struct err *err)
{
	struct build *b;
	int r = check(cfg, err);

	*blob = (struct acpi_blob){ 0 };
	if (r != 0)
		return r;
	b = calloc(1, sizeof(*b));
	if (!b)
		goto no_memory;
	b->cfg = cfg;
	build_all(b);
	blob->data = b->out.data;
	blob->len = b->out.len;
	blob->nreloc = b->nreloc;
	blob->nchecksum = b->nchecksum;
	blob->reloc = copy(b->reloc, b->nreloc * sizeof(*b->reloc));
	blob->checksum = copy(b->checksum, b->nchecksum * sizeof(*b->checksum));
	r = b->out.failed || !blob->reloc || !blob->checksum;
	free(b);
	if (!r)
		return 0;
	acpi_blob_fini(blob);
no_memory:
	return err_set(err, -ENOMEM, "out of memory for the ACPI tables");
}

void acpi_blob_fini(struct acpi_blob *b)
{
	free(b->data);
	free(b->reloc);
	free(b->checksum);
	*b = (struct acpi_blob){ 0 };
}

void acpi_blob_place(struct acpi_blob *b, gpa_t base)
{
	for (size_t n = 0; n < b->nreloc; n++) {
		uint8_t *p = b->data + b->reloc[n].at;

		if (b->reloc[n].width == 8)
			st_le64(p, ld_le64(p) + base);
		else
			st_le32(p, ld_le32(p) + (uint32_t)base);
	}
	for (size_t n = 0; n < b->nchecksum; n++) {
		const struct acpi_checksum *c = &b->checksum[n];
		uint8_t sum = 0;

		b->data[c->at] = 0;
		for (uint32_t k = 0; k < c->len; k++)
			sum += b->data[c->start + k];
		b->data[c->at] = (uint8_t)-sum;
	}
}

int acpi_tables_build(const struct acpi_config *cfg, uint8_t *buf, size_t cap, gpa_t base,
		      gpa_t *rsdp_gpa, struct err *err)
{
	struct acpi_blob b;
	int r = acpi_blob_init(&b, cfg, err);

	if (r != 0)
		return r;
	if (b.len > cap) {
		r = err_set(err, -ENOSPC, "the ACPI tables take %zu bytes, there is room for %zu",
			    b.len, cap);
	} else if (base & 63 || base > 0xffffffff - b.len) {
		r = err_set(err, -EINVAL, "the ACPI tables cannot stand at %#llx",
			    (unsigned long long)base);
	} else {
		acpi_blob_place(&b, base);
		memcpy(buf, b.data, b.len);
		*rsdp_gpa = base;
		r = (int)b.len;
	}
	acpi_blob_fini(&b);
	return r;
}
