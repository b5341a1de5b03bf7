/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multiboot 1 (specification 0.6.96): the header in the image's first 8 KiB
 * (3.1), the machine state at entry (3.2), the information structure (3.3).
 *
 * The kernel's command line begins with its file name, as other loaders do it;
 * a module's string is its entry of the --initrd list.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/dev/firmware/boot_priv.h"

#define MB_HEADER_MAGIC 0x1badb002u
#define MB_ENTRY_MAGIC 0x2badb002u
#define MB_SEARCH 8192u

/* Header flags. */
#define MB_PAGE_ALIGN 0x1u
#define MB_MEMORY_INFO 0x2u
#define MB_VIDEO_MODE 0x4u
#define MB_ADDRESSES 0x10000u
#define MB_MUST_KNOW 0xffffu

/* Information structure. */
#define MBI_SIZE 120
#define MBI_F_MEMORY 0x1u
#define MBI_F_CMDLINE 0x4u
#define MBI_F_MODULES 0x8u
#define MBI_F_MMAP 0x40u
#define MBI_F_LOADER 0x200u

static int header_offset(const struct boot_ctx *b)
{
	size_t end = min_of(b->head_len, (size_t)MB_SEARCH);

	for (size_t o = 0; o + 12 <= end; o += 4)
		if (ld_le32(b->head + o) == MB_HEADER_MAGIC &&
		    ld_le32(b->head + o) + ld_le32(b->head + o + 4) + ld_le32(b->head + o + 8) == 0)
			return (int)o;
	return -1;
}

bool boot_multiboot_probe(const struct boot_ctx *b)
{
	return header_offset(b) >= 0;
}

/* The address-field kind (3.1.3): the header says where each part goes. */
static int load_addresses(struct boot_ctx *b, unsigned off, struct boot_entry *e, gpa_t *end,
			  struct err *err)
{
	const struct boot_file *k = b->cfg->kernel;
	const uint8_t *h = b->head + off;
	uint32_t header, load, load_end, bss_end, entry;
	uint64_t from, len, mem_len;
	int ret;

	if (off + 32 > b->head_len)
		return err_set(err, -EINVAL, "kernel '%s' is truncated inside its Multiboot "
			       "header; copy or download it again", k->path);
	header = ld_le32(h + 12);
	load = ld_le32(h + 16);
	load_end = ld_le32(h + 20);
	bss_end = ld_le32(h + 24);
	entry = ld_le32(h + 28);
	if (header < load || header - load > off)
		return err_set(err, -EINVAL, "kernel '%s': its Multiboot load address 0x%x and "
			       "header address 0x%x do not match the header's place in the file",
			       k->path, load, header);
	from = off - (header - load);
	/* load_end 0: up to the end of the file; bss_end 0: no bss. */
	if (load_end && load_end < load)
		return err_set(err, -EINVAL, "kernel '%s': its Multiboot load end 0x%x lies "
			       "before its start 0x%x", k->path, load_end, load);
	len = load_end ? load_end - load : k->size - from;
	if (len > k->size - from)
		return err_set(err, -EINVAL, "kernel '%s' is truncated: it has %" PRIu64
			       " bytes, its Multiboot header promises %" PRIu64
			       "; copy or download it again", k->path, k->size, from + len);
	if (bss_end && bss_end < load + len)
		return err_set(err, -EINVAL, "kernel '%s': its Multiboot bss end 0x%x lies before "
			       "the end of its data 0x%" PRIx64, k->path, bss_end, load + len);
	mem_len = bss_end ? bss_end - load : len;
	if (entry < load || entry >= load + mem_len)
		return err_set(err, -EINVAL, "kernel '%s': its Multiboot entry 0x%x lies outside "
			       "of what it loads", k->path, entry);
	ret = boot_claim(b, load, mem_len);
	if (ret < 0 && load >= BOOT_MIB && load + mem_len < 0x80000000ull)
		return boot_too_small(b, "the kernel", load + mem_len, err);
	if (ret < 0)
		return err_set(err, ret, "kernel '%s' wants to be at 0x%x..0x%" PRIx64
			       ", where this machine has no memory", k->path, load,
			       load + mem_len);
	ret = boot_copy(b, k, from, load, len, err);
	if (ret == 0)
		ret = boot_zero(b, load + len, mem_len - len, err);
	e->rip = entry;
	*end = load + mem_len;
	return ret;
}

static int load_elf(struct boot_ctx *b, struct boot_entry *e, gpa_t *end, struct err *err)
{
	struct boot_elf elf;
	struct boot_phdr ph;
	int ret;

	if (!boot_elf_magic(b))
		return err_set(err, -EINVAL, "kernel '%s' has a Multiboot header without address "
			       "fields, but is not an ELF file", b->cfg->kernel->path);
	ret = boot_elf_open(b, &elf, err);
	if (ret < 0)
		return ret;
	ret = boot_elf_load(b, &elf, end, err);
	e->rip = elf.entry;
	/* The entry is a virtual address; paging is off, so it becomes physical. */
	for (unsigned i = 0; i < elf.phnum && ret == 0; i++) {
		boot_elf_phdr(&elf, i, &ph);
		if (ph.type == PT_LOAD && elf.entry >= ph.vaddr &&
		    elf.entry - ph.vaddr < ph.memsz) {
			e->rip = elf.entry - ph.vaddr + ph.paddr;
			break;
		}
	}
	boot_elf_close(&elf);
	if (ret == 0 && (e->rip > UINT32_MAX || !mem_ptr(b->cfg->mem, e->rip, 1, false)))
		return err_set(err, -EINVAL, "kernel '%s': its entry 0x%" PRIx64 " lies outside "
			       "memory; the file is damaged", b->cfg->kernel->path, e->rip);
	return ret;
}

/* Modules above the kernel, page-aligned whether asked for (flag 0) or not. */
static int put_modules(struct boot_ctx *b, uint8_t *mbi, gpa_t kernel_end, struct err *err)
{
	const struct boot_config *cfg = b->cfg;
	gpa_t list, at, text, min = max_of(kernel_end, BOOT_MIB);
	uint64_t total = 0;
	char what[96];
	int ret;

	st_le32(mbi, ld_le32(mbi) | MBI_F_MODULES);
	if (!cfg->module_count)
		return 0;
	ret = boot_alloc(b, cfg->module_count * 16, 16, 0x1000, BOOT_4GIB, false, &list);
	if (ret < 0)
		return err_set(err, ret, "no room for a list of %zu modules", cfg->module_count);
	st_le32(mbi + 20, (uint32_t)cfg->module_count);
	st_le32(mbi + 24, (uint32_t)list);
	for (size_t i = 0; i < cfg->module_count; i++) {
		const struct boot_file *m = &cfg->modules[i];
		uint8_t e[16] = { 0 };

		total += align_up(m->size, 4096);
		ret = boot_alloc(b, m->size, 4096, min, BOOT_4GIB, false, &at);
		if (ret < 0) {
			for (size_t j = i + 1; j < cfg->module_count; j++)
				total += align_up(cfg->modules[j].size, 4096);
			snprintf(what, sizeof(what), "the %zu module(s) of %" PRIu64 " KiB",
				 cfg->module_count, total / 1024);
			return boot_too_small(b, what, align_up(min, 4096) + total, err);
		}
		ret = boot_put_text(b, m->text, BOOT_4GIB, &text, err);
		if (ret == 0)
			ret = boot_copy(b, m, 0, at, m->size, err);
		st_le32(e, (uint32_t)at);
		st_le32(e + 4, (uint32_t)(at + m->size));
		st_le32(e + 8, (uint32_t)text);
		if (ret == 0)
			ret = boot_put(b, list + 16 * i, e, sizeof(e), err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int put_memory(struct boot_ctx *b, uint8_t *mbi, struct err *err)
{
	const struct boot_config *cfg = b->cfg;
	uint64_t lower = 0, upper = 0;
	gpa_t at;
	int ret = boot_alloc(b, cfg->map_count * 24, 16, 0x1000, BOOT_4GIB, false, &at);

	if (ret < 0)
		return err_set(err, ret, "no room for the memory map");
	for (size_t i = 0; i < cfg->map_count && ret == 0; i++) {
		const struct e820_entry *m = &cfg->map[i];
		uint8_t e[24];

		/* mem_lower counts from 0, mem_upper from 1 MiB to the first hole. */
		if (m->type == E820_RAM && m->start == 0)
			lower = min_of(m->len, 0xa0000ull) / 1024;
		if (m->type == E820_RAM && m->start == BOOT_MIB)
			upper = m->len / 1024;
		st_le32(e, 20); /* size of the rest */
		st_le64(e + 4, m->start);
		st_le64(e + 12, m->len);
		st_le32(e + 20, m->type);
		ret = boot_put(b, at + 24 * i, e, sizeof(e), err);
	}
	st_le32(mbi, ld_le32(mbi) | MBI_F_MEMORY | MBI_F_MMAP);
	st_le32(mbi + 4, (uint32_t)lower);
	st_le32(mbi + 8, (uint32_t)upper);
	st_le32(mbi + 44, (uint32_t)(24 * cfg->map_count));
	st_le32(mbi + 48, (uint32_t)at);
	return ret;
}

static int put_texts(struct boot_ctx *b, uint8_t *mbi, struct err *err)
{
	const struct boot_config *cfg = b->cfg;
	size_t len = strlen(cfg->kernel->path) + strlen(cfg->cmdline) + 2;
	char *line = malloc(len);
	gpa_t at;
	int ret;

	if (!line)
		return err_set(err, -ENOMEM, "out of memory while loading the kernel");
	snprintf(line, len, "%s%s%s", cfg->kernel->path, cfg->cmdline[0] ? " " : "", cfg->cmdline);
	ret = boot_put_text(b, line, BOOT_4GIB, &at, err);
	free(line);
	if (ret < 0)
		return ret;
	st_le32(mbi + 16, (uint32_t)at);
	ret = boot_put_text(b, "bothy", BOOT_4GIB, &at, err);
	st_le32(mbi + 64, (uint32_t)at);
	st_le32(mbi, ld_le32(mbi) | MBI_F_CMDLINE | MBI_F_LOADER);
	return ret;
}

int boot_multiboot_load(struct boot_ctx *b, struct boot_entry *e, struct err *err)
{
	int off = header_offset(b);
	uint8_t mbi[MBI_SIZE] = { 0 };
	uint32_t flags = ld_le32(b->head + off + 4);
	gpa_t end, at;
	int ret;

	if (flags & MB_MUST_KNOW & ~(MB_PAGE_ALIGN | MB_MEMORY_INFO | MB_VIDEO_MODE))
		return err_set(err, -EINVAL, "kernel '%s' demands Multiboot features (flags 0x%x) "
			       "that this loader does not know", b->cfg->kernel->path, flags);
	if (flags & MB_VIDEO_MODE)
		log_warn(b->cfg->log, "the kernel asks for a video mode; this machine has no "
				      "display, so it is told of none");
	if (flags & MB_ADDRESSES)
		ret = load_addresses(b, (unsigned)off, e, &end, err);
	else
		ret = load_elf(b, e, &end, err);
	if (ret < 0)
		return ret;
	ret = boot_alloc(b, sizeof(mbi), 16, 0x1000, BOOT_4GIB, false, &at);
	if (ret < 0)
		return err_set(err, ret, "no room for the Multiboot information");
	ret = put_memory(b, mbi, err);
	if (ret == 0)
		ret = put_texts(b, mbi, err);
	if (ret == 0)
		ret = put_modules(b, mbi, end, err);
	if (ret == 0)
		ret = boot_put(b, at, mbi, sizeof(mbi), err);
	e->mode = BOOT_PROT32;
	e->rax = MB_ENTRY_MAGIC;
	e->rbx = at;
	e->kind = flags & MB_ADDRESSES ? "Multiboot 1, address fields" : "Multiboot 1, ELF";
	return ret;
}
