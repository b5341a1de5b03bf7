/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot: a kernel file put into guest memory without firmware, and the
 * CPU state that its boot protocol wants at the first instruction.
 *
 * Kinds, told apart by the bytes: Linux bzImage (Documentation/arch/x86/boot.rst
 * of the Linux kernel), ELF with a PVH entry note (Xen docs/misc/pvh.pandoc),
 * Multiboot 1 (specification 0.6.96).
 */
#ifndef BOTHY_DEV_FIRMWARE_BOOT_H
#define BOTHY_DEV_FIRMWARE_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/mem/mem.h"

/* Address range types of the E820 interface (ACPI 6.4, table 15.4). */
enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
	gpa_t start;
	uint64_t len;
	uint32_t type;
};

/* A file to be loaded. It stays open, so that a reset loads the same inode. */
struct boot_file {
	char *path; /* as the person wrote it; owned */
	char *text; /* a Multiboot module's string; owned */
	int fd;
	uint64_t size; /* bytes when it was opened */
};

/* Opens @path for boot_load(). @what is how messages call it ("kernel",
 * "initrd"). Refuses what is missing, unreadable, no regular file, or empty.
 * On failure nothing needs closing. */
int must_check boot_file_open(struct boot_file *f, const char *what, const char *path,
			      struct err *err);
void boot_file_close(struct boot_file *f); /* idempotent on a zeroed struct with fd -1 */

/* Splits "A,B" (each "PATH" or "PATH TEXT") into opened files. A name that holds
 * a comma or a space is taken whole if such a file exists. *files is the
 * caller's, to be given to boot_files_free(). */
int must_check boot_files_open(const char *list, struct boot_file **files, size_t *count,
			       struct err *err);
void boot_files_free(struct boot_file *files, size_t count);

struct boot_config {
	struct mem *mem;
	const struct e820_entry *map; /* sorted, not overlapping */
	size_t map_count;
	gpa_t rsdp;          /* 0: no ACPI tables */
	const char *cmdline; /* "" for none */
	const struct boot_file *kernel;
	const struct boot_file *modules; /* initrds or Multiboot modules */
	size_t module_count;
	const struct log *log;
};

enum boot_mode {
	BOOT_PROT32, /* flat 32-bit protected mode, paging off */
	BOOT_LONG64, /* flat 64-bit mode, paging on with cr3 */
};

/* What the boot processor is at its first instruction. Selectors name entries of
 * a GDT that boot_load() left in guest memory. */
struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t rsp;
	uint64_t rax, rbx, rsi;
	uint64_t cr3; /* BOOT_LONG64 */
	gpa_t gdt;
	uint16_t gdt_limit;
	uint16_t cs, ds, tr; /* tr 0: none */
	const char *kind;    /* for people: "bzImage (64-bit entry)" */
};

/* Loads and describes. Every length in the file is checked against the file,
 * every address against the memory map. -ENOENT/-EINVAL/-ENOSPC/-EIO with a
 * sentence in @err. */
int must_check boot_load(const struct boot_config *cfg, struct boot_entry *entry, struct err *err);

#endif
