/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/acpi/dsdt.h"

#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/acpi/pm.h"
#include "src/dev/firmware/fw_cfg.h"
#include "src/dev/pci/ich9_lpc.h"

static void name_int(struct aml *a, const char *name, uint64_t v)
{
	aml_name(a, name);
	aml_int(a, v);
}

static void name_eisaid(struct aml *a, const char *name, const char *id)
{
	aml_name(a, name);
	aml_eisaid(a, id);
}

static size_t crs_begin(struct aml *a)
{
	aml_name(a, "_CRS");
	return aml_resources_begin(a);
}

/* Name(_Sx, Package () { type, type, 0, 0 }) */
static void sleep_state(struct aml *a, const char *name, unsigned type)
{
	size_t p;

	aml_name(a, name);
	p = aml_package_begin(a, 4);
	aml_int(a, type);
	aml_int(a, type);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a, p);
}

/*
 * The root bridge.
 */
static void memory_window(struct aml *a, const struct acpi_window *w, bool prefetch)
{
	if (w->len)
		aml_res_memory_window(a, w->base, w->base + w->len - 1, prefetch);
}

static void root_crs(struct aml *a, const struct acpi_config *cfg)
{
	size_t r = crs_begin(a);

	aml_res_word_bus(a, 0, 0xff);
	aml_res_io(a, 0xcf8, 8);
	aml_res_io_window(a, 0x0000, 0x0cf7);
	aml_res_io_window(a, 0x0d00, 0xffff);
	aml_res_memory_window(a, 0xa0000, 0xbffff, false);
	memory_window(a, &cfg->pci_mem32, false);
	memory_window(a, &cfg->pci_mem32_more, false);
	memory_window(a, &cfg->pci_mem64, true);
	aml_resources_end(a, r);
}

/* Every pin of every slot, straight to the I/O APIC: PIRQA is GSI 16. */
static void root_prt(struct aml *a)
{
	size_t prt, entry;

	aml_name(a, "_PRT");
	prt = aml_package_begin(a, 32 * 4);
	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			entry = aml_package_begin(a, 4);
			aml_int(a, slot << 16 | 0xffff);
			aml_int(a, pin);
			aml_int(a, 0);
			aml_int(a, 16 + q35_route(slot, pin));
			aml_end(a, entry);
		}
	}
	aml_end(a, prt);
}

/* Store(Or(CDW1, bits), CDW1) as one operation. */
static void or_status(struct aml *a, unsigned bits)
{
	aml_op(a, AML_OP_OR);
	aml_ref(a, "CDW1");
	aml_int(a, bits);
	aml_ref(a, "CDW1");
}

/* _OSC (PCI firmware specification 3.2, 4.5.1): native control of hot-plug, power
 * management events, error reporting and the PCI Express capability. */
static void root_osc(struct aml *a)
{
	size_t method = aml_method_begin(a, "_OSC", 4, false), block;

	aml_op(a, AML_OP_CREATE_DWORD_FIELD);
	aml_op(a, AML_OP_ARG(3));
	aml_int(a, 0);
	aml_ref(a, "CDW1");

	block = aml_if_begin(a);
	aml_op(a, AML_OP_LEQUAL);
	aml_op(a, AML_OP_ARG(0));
	aml_uuid(a, "33DB4D5B-1FF7-401C-9657-7441C03DD766");
	{
		size_t inner;

		aml_op(a, AML_OP_CREATE_DWORD_FIELD);
		aml_op(a, AML_OP_ARG(3));
		aml_int(a, 8);
		aml_ref(a, "CDW3");
		aml_op(a, AML_OP_STORE);
		aml_ref(a, "CDW3");
		aml_op(a, AML_OP_LOCAL(0));
		aml_op(a, AML_OP_AND);
		aml_op(a, AML_OP_LOCAL(0));
		aml_int(a, 0x1f);
		aml_op(a, AML_OP_LOCAL(0));

		inner = aml_if_begin(a); /* an unknown revision */
		aml_op(a, AML_OP_LNOT);
		aml_op(a, AML_OP_LEQUAL);
		aml_op(a, AML_OP_ARG(1));
		aml_int(a, 1);
		or_status(a, 0x08);
		aml_end(a, inner);

		inner = aml_if_begin(a); /* not everything was granted */
		aml_op(a, AML_OP_LNOT);
		aml_op(a, AML_OP_LEQUAL);
		aml_ref(a, "CDW3");
		aml_op(a, AML_OP_LOCAL(0));
		or_status(a, 0x10);
		aml_end(a, inner);

		aml_op(a, AML_OP_STORE);
		aml_op(a, AML_OP_LOCAL(0));
		aml_ref(a, "CDW3");
	}
	aml_end(a, block);

	block = aml_else_begin(a); /* an unknown UUID */
	or_status(a, 0x04);
	aml_end(a, block);
	aml_op(a, AML_OP_RETURN);
	aml_op(a, AML_OP_ARG(3));
	aml_end(a, method);
}

/*
 * What stands behind the LPC bridge.
 */
static void serial_port(struct aml *a, unsigned n)
{
	static const struct {
		const char *name;
		uint16_t port;
		uint8_t irq;
	} com[4] = { { "COM1", 0x3f8, 4 }, { "COM2", 0x2f8, 3 }, { "COM3", 0x3e8, 4 },
		     { "COM4", 0x2e8, 3 } };
	size_t d = aml_device_begin(a, com[n].name), r;

	name_eisaid(a, "_HID", "PNP0501");
	name_int(a, "_UID", n + 1);
	name_int(a, "_STA", 0xf);
	r = crs_begin(a);
	aml_res_io(a, com[n].port, 8);
	aml_res_irq(a, com[n].irq);
	aml_resources_end(a, r);
	aml_end(a, d);
}

static void keyboard_and_mouse(struct aml *a)
{
	size_t d = aml_device_begin(a, "KBD"), r;

	name_eisaid(a, "_HID", "PNP0303");
	name_int(a, "_STA", 0xf);
	r = crs_begin(a);
	aml_res_io(a, 0x60, 1);
	aml_res_io(a, 0x64, 1);
	aml_res_irq(a, 1);
	aml_resources_end(a, r);
	aml_end(a, d);

	d = aml_device_begin(a, "MOU");
	name_eisaid(a, "_HID", "PNP0F13");
	name_int(a, "_STA", 0xf);
	r = crs_begin(a);
	aml_res_irq(a, 12);
	aml_resources_end(a, r);
	aml_end(a, d);
}

static void rtc(struct aml *a)
{
	size_t d = aml_device_begin(a, "RTC"), r;

	name_eisaid(a, "_HID", "PNP0B00");
	r = crs_begin(a);
	aml_res_io(a, 0x70, 8);
	aml_res_irq(a, 8);
	aml_resources_end(a, r);
	aml_end(a, d);
}

static void floppy(struct aml *a)
{
	size_t d = aml_device_begin(a, "FDC0"), r;

	name_eisaid(a, "_HID", "PNP0700");
	name_int(a, "_STA", 0xf);
	r = crs_begin(a);
	aml_res_io(a, 0x3f0, 6);
	aml_res_io(a, 0x3f7, 1);
	aml_res_irq(a, 6);
	aml_res_dma(a, 2);
	aml_resources_end(a, r);
	aml_end(a, d);
}

/* The kernel's panic notifier writes to this port. */
static void pvpanic(struct aml *a, const struct acpi_config *cfg)
{
	size_t d = aml_device_begin(a, "PEVT"), r;

	aml_name(a, "_HID");
	aml_string(a, "QEMU0001");
	name_int(a, "_STA", 0xf);
	r = crs_begin(a);
	aml_res_io(a, cfg->pvpanic_port, 1);
	aml_resources_end(a, r);
	aml_end(a, d);
}

static void root_bridge(struct aml *a, const struct acpi_config *cfg)
{
	size_t bridge = aml_device_begin(a, "PCI0"), isa;

	name_eisaid(a, "_HID", "PNP0A08");
	name_eisaid(a, "_CID", "PNP0A03");
	name_int(a, "_UID", 0);
	name_int(a, "_SEG", 0);
	name_int(a, "_BBN", 0);
	root_crs(a, cfg);
	root_prt(a);
	root_osc(a);

	isa = aml_device_begin(a, "ISA");
	name_int(a, "_ADR", 0x1f0000);
	for (unsigned n = 0; n < 4; n++)
		if (cfg->serial_ports >> n & 1)
			serial_port(a, n);
	if (cfg->i8042)
		keyboard_and_mouse(a);
	if (cfg->rtc)
		rtc(a);
	if (cfg->floppy)
		floppy(a);
	if (cfg->pvpanic_port)
		pvpanic(a, cfg);
	aml_end(a, isa);
	aml_end(a, bridge);
}

/*
 * The rest of the board.
 */

/* Addresses that no PCI device may be given: configuration space, chipset. */
static void reserved(struct aml *a, const struct acpi_config *cfg)
{
	size_t d = aml_device_begin(a, "MBRD"), r;

	name_eisaid(a, "_HID", "PNP0C02");
	name_int(a, "_UID", 1);
	r = crs_begin(a);
	if (cfg->ecam_base)
		aml_res_memory32(a, true, (uint32_t)cfg->ecam_base,
				 cfg->ecam_len ? cfg->ecam_len : Q35_ECAM_SIZE);
	aml_res_memory32(a, true, ICH9_RCBA, ICH9_RCBA_SIZE);
	aml_resources_end(a, r);
	aml_end(a, d);
}

/* The guest's drivers find firmware's files, too. */
static void fw_cfg(struct aml *a, const struct acpi_config *cfg)
{
	size_t d = aml_device_begin(a, "FWCF"), r;

	aml_name(a, "_HID");
	aml_string(a, "QEMU0002");
	name_int(a, "_STA", 0xb);
	r = crs_begin(a);
	aml_res_io(a, cfg->fw_cfg_port, FW_CFG_PORTS);
	aml_resources_end(a, r);
	aml_end(a, d);
}

static void hpet(struct aml *a, const struct acpi_config *cfg)
{
	size_t d = aml_device_begin(a, "HPET"), r;

	name_eisaid(a, "_HID", "PNP0103");
	name_int(a, "_UID", 0);
	r = crs_begin(a);
	aml_res_memory32(a, false, (uint32_t)cfg->hpet_base, 0x400);
	aml_resources_end(a, r);
	aml_end(a, d);
}

static void processors(struct aml *a, const struct acpi_config *cfg)
{
	size_t container = aml_device_begin(a, "CPUS"), d;
	char name[8];

	aml_name(a, "_HID");
	aml_string(a, "ACPI0010");
	name_eisaid(a, "_CID", "PNP0A05");
	for (unsigned n = 0; n < cfg->cpus; n++) {
		snprintf(name, sizeof(name), "C%03X", n & 0xfff);
		d = aml_device_begin(a, name);
		aml_name(a, "_HID");
		aml_string(a, "ACPI0007");
		name_int(a, "_UID", n);
		aml_end(a, d);
	}
	aml_end(a, container);
}

void acpi_dsdt_build(struct aml *a, const struct acpi_config *cfg)
{
	size_t sb;

	sleep_state(a, "\\_S5", ACPI_PM_S5_TYPE);
	if (cfg->s3)
		sleep_state(a, "\\_S3", ACPI_PM_S3_TYPE);
	sb = aml_scope_begin(a, "\\_SB");
	root_bridge(a, cfg);
	reserved(a, cfg);
	if (cfg->hpet_base)
		hpet(a, cfg);
	if (cfg->fw_cfg_port)
		fw_cfg(a, cfg);
	processors(a, cfg);
	aml_end(a, sb);
}
