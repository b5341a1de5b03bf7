/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables for firmware to place: the blob of acpi/tables.h as files for fw_cfg, with
 * the script that tells SeaBIOS and OVMF where pointers and checksums are. Source: the
 * linker/loader interface as SeaBIOS's romfile_loader.h and OVMF's QemuLoader.h have it.
 */
#ifndef BOTHY_DEV_ACPI_LOADER_H
#define BOTHY_DEV_ACPI_LOADER_H

#include "src/dev/acpi/tables.h"

#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP "etc/acpi/rsdp"
#define ACPI_FILE_LOADER "etc/table-loader"

#define ACPI_RSDP_LEN 36u
/* A script's length whatever is in it: guests learn a file's length before its contents
 * are final. Unused entries are zero, which loaders skip. */
#define ACPI_LOADER_LEN 8192u

struct acpi_files {
	uint8_t *tables; /* owned */
	size_t tables_len;
	uint8_t rsdp[ACPI_RSDP_LEN];
	uint8_t loader[ACPI_LOADER_LEN];
};

/* -EINVAL, -ENOMEM, -ENOSPC with @err set. */
int must_check acpi_files_init(struct acpi_files *f, const struct acpi_config *cfg,
			       struct err *err);
void acpi_files_fini(struct acpi_files *f);

#endif
