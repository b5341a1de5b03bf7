/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables of a PC: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, MCFG, HPET.
 * Source: ACPI 6.4, chapter 5 (and the PCI firmware and HPET specifications).
 */
#ifndef BOTHY_DEV_ACPI_TABLES_H
#define BOTHY_DEV_ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/mem/mem.h"

struct acpi_window {
	uint64_t base, len; /* len 0: none */
};

struct acpi_config {
	unsigned cpus;          /* 1..255, APIC IDs 0..cpus-1 */
	uint64_t ecam_base;     /* 0: none */
	uint32_t ecam_len;      /* a MiB a bus; 0: 256 MiB */
	struct acpi_window pci_mem32; /* below 4 GiB, for BARs */
	struct acpi_window pci_mem32_more; /* a second, above the first */
	struct acpi_window pci_mem64; /* above 4 GiB */
	uint16_t pm_base;       /* of acpi/pm.h's registers */
	uint8_t sci_irq;
	uint64_t hpet_base;     /* 0: none */
	uint8_t serial_ports;   /* bit n: COM(n + 1), up to COM4 */
	bool i8042;             /* keyboard controller with a keyboard and a mouse */
	bool rtc;
	bool floppy;            /* a floppy controller at 3f0h */
	bool vga;               /* a VGA adapter may be there: worth probing */
	bool s3;                /* offer suspend to RAM */
	bool sleep_button;      /* a fixed one, beside the power button */
	uint16_t fw_cfg_port;   /* firmware configuration device; 0: none */
	uint16_t pvpanic_port;  /* 0: none */
};

/* A 4- or 8-byte field at @at that holds an offset into the blob as built for base 0:
 * placing the blob at gpa B means adding B. */
struct acpi_reloc {
	uint32_t at;
	uint8_t width;
};

/* A table's checksum byte, over [start, start+len): what a loader that relocates
 * must set again afterwards. The RSDP has two. In the order to be applied. */
struct acpi_checksum {
	uint32_t at, start, len;
};

/* All tables in one run of bytes. The RSDP is the first 36 bytes; every table is
 * 16-byte aligned, the FACS 64-byte aligned (so the blob must be, too). */
struct acpi_blob {
	uint8_t *data; /* owned */
	size_t len;
	struct acpi_reloc *reloc; /* owned */
	size_t nreloc;
	struct acpi_checksum *checksum; /* owned */
	size_t nchecksum;
};

/* Builds for base 0, checksums not set. -EINVAL, -ENOMEM with @err set. */
int must_check acpi_blob_init(struct acpi_blob *b, const struct acpi_config *cfg,
			      struct err *err);
void acpi_blob_fini(struct acpi_blob *b);
/* Applies relocations for @base (64-byte aligned) and sets the checksums. */
void acpi_blob_place(struct acpi_blob *b, gpa_t base);

/* All in one: the tables for guest address @base (64-byte aligned, the whole below
 * 4 GiB), put into buf[0, cap). Returns the number of bytes, or -ENOSPC, -EINVAL,
 * -ENOMEM with @err set. *rsdp: the RSDP's guest address. About 1 KiB and 60 bytes a
 * processor; 64 KiB is enough for any machine. */
int must_check acpi_tables_build(const struct acpi_config *cfg, uint8_t *buf, size_t cap,
				 gpa_t base, gpa_t *rsdp, struct err *err);

#endif
