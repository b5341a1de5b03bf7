/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the loaders of this folder share. */
#ifndef BOTHY_DEV_FIRMWARE_BOOT_PRIV_H
#define BOTHY_DEV_FIRMWARE_BOOT_PRIV_H

#include "src/dev/firmware/boot.h"

#define BOOT_MAX_CLAIMS 128
#define BOOT_MIB ((uint64_t)0x100000)
#define BOOT_4GIB ((uint64_t)0x100000000)

/* One loading under way: which guest memory is spoken for. */
struct boot_ctx {
	const struct boot_config *cfg;
	uint8_t *head; /* the kernel file's first bytes */
	size_t head_len;
	struct {
		gpa_t start;
		uint64_t len;
	} claim[BOOT_MAX_CLAIMS];
	size_t nclaims;
};

#define BOOT_HEAD_MAX (64u * 1024)

/* Reads exactly @len bytes at @off of @f; a file that shrank is an error. */
int must_check boot_read(const struct boot_file *f, uint64_t off, void *buf, uint64_t len,
			 struct err *err);

/* Copies file bytes to guest memory, or zeroes it; the range must be claimed RAM. */
int must_check boot_copy(struct boot_ctx *b, const struct boot_file *f, uint64_t off, gpa_t to,
			 uint64_t len, struct err *err);
int must_check boot_zero(struct boot_ctx *b, gpa_t to, uint64_t len, struct err *err);
int must_check boot_put(struct boot_ctx *b, gpa_t to, const void *buf, uint64_t len,
			struct err *err);

/* Marks [start, start+len) as used. -ENOSPC if it is not all RAM, -EBUSY if some
 * of it is used already, -E2BIG for too many pieces. len 0 is fine. */
int must_check boot_claim(struct boot_ctx *b, gpa_t start, uint64_t len);

/* Finds and claims @len bytes of RAM inside [min, max), aligned to @align (a
 * power of two); the highest such place with @high, else the lowest. -ENOSPC. */
int must_check boot_alloc(struct boot_ctx *b, uint64_t len, uint64_t align, gpa_t min, gpa_t max,
			  bool high, gpa_t *at);

/* End of RAM that starts at or below 1 MiB and goes on; end of all RAM. */
gpa_t boot_low_end(const struct boot_ctx *b);
uint64_t boot_ram_total(const struct boot_ctx *b);

/* A GDT with flat 32-bit or 64-bit code at 0x10 and data at 0x18, and a 32-bit
 * TSS at 0x20; fills gdt, gdt_limit, cs, ds, tr. */
int must_check boot_put_gdt(struct boot_ctx *b, struct boot_entry *e, struct err *err);

/* Copies a string with its NUL to low memory. */
int must_check boot_put_text(struct boot_ctx *b, const char *text, gpa_t max, gpa_t *at,
			     struct err *err);

/* The word for "this machine is too small": says what would do. */
int boot_too_small(struct boot_ctx *b, const char *what, uint64_t need_bytes, struct err *err);

/* elf.c */
struct boot_elf {
	bool is64;
	uint64_t entry;
	uint16_t phnum;
	uint8_t *phdrs; /* phnum * phentsize bytes; owned */
	uint16_t phentsize;
};

struct boot_phdr {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz;
};

bool boot_elf_magic(const struct boot_ctx *b);
int must_check boot_elf_open(struct boot_ctx *b, struct boot_elf *elf, struct err *err);
void boot_elf_close(struct boot_elf *elf);
void boot_elf_phdr(const struct boot_elf *elf, unsigned n, struct boot_phdr *ph);
/* Loads every PT_LOAD to its physical address; *end is past the last byte. */
int must_check boot_elf_load(struct boot_ctx *b, const struct boot_elf *elf, gpa_t *end,
			     struct err *err);

/* Each loader: does the head look like mine; load it. */
bool boot_bzimage_probe(const struct boot_ctx *b);
int must_check boot_bzimage_load(struct boot_ctx *b, struct boot_entry *e, struct err *err);
bool boot_multiboot_probe(const struct boot_ctx *b);
int must_check boot_multiboot_load(struct boot_ctx *b, struct boot_entry *e, struct err *err);
int must_check boot_pvh_load(struct boot_ctx *b, struct boot_entry *e, struct err *err);

#endif
