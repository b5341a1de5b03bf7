/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PVH: an ELF kernel that says in a note where its 32-bit entry is
 * (Xen docs/misc/pvh.pandoc; struct hvm_start_info in Xen's
 * public/arch-x86/hvm/start_info.h, version 1).
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/dev/firmware/boot_priv.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define START_MAGIC 0x336ec578
#define START_SIZE 56
#define NOTES_MAX (1u << 20)

/* Looks through one PT_NOTE segment. 1 found, 0 not, -EINVAL ill-formed. */
static int find_note(const uint8_t *p, uint64_t len, uint64_t *entry)
{
	while (len >= 12) {
		uint32_t namesz = ld_le32(p), descsz = ld_le32(p + 4), type = ld_le32(p + 8);
		uint64_t name_len = align_up((uint64_t)namesz, 4);
		uint64_t desc_len = align_up((uint64_t)descsz, 4);

		p += 12;
		len -= 12;
		if (name_len > len || descsz > len - name_len)
			return -EINVAL;
		if (type == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 && !memcmp(p, "Xen", 4) &&
		    (descsz == 4 || descsz == 8)) {
			*entry = descsz == 8 ? ld_le64(p + name_len) : ld_le32(p + name_len);
			return 1;
		}
		desc_len = min_of(desc_len, len - name_len); /* the last may lack padding */
		p += name_len + desc_len;
		len -= name_len + desc_len;
	}
	return 0;
}

static int find_entry(struct boot_ctx *b, const struct boot_elf *elf, uint64_t *entry,
		      struct err *err)
{
	const struct boot_file *k = b->cfg->kernel;
	struct boot_phdr ph;
	uint8_t *buf;
	int ret;

	for (unsigned i = 0; i < elf->phnum; i++) {
		boot_elf_phdr(elf, i, &ph);
		if (ph.type != PT_NOTE || !ph.filesz)
			continue;
		if (ph.filesz > NOTES_MAX)
			return err_set(err, -EINVAL, "kernel '%s': its ELF notes are larger than "
				       "1 MiB; the file is damaged", k->path);
		buf = malloc(ph.filesz);
		if (!buf)
			return err_set(err, -ENOMEM, "out of memory while loading the kernel");
		ret = boot_read(k, ph.offset, buf, ph.filesz, err);
		if (ret == 0) {
			ret = find_note(buf, ph.filesz, entry);
			if (ret < 0)
				err_set(err, ret, "kernel '%s': an ELF note reaches beyond its "
					"segment; the file is damaged", k->path);
		}
		free(buf);
		if (ret < 0)
			return ret;
		if (ret > 0)
			return 0;
	}
	return err_set(err, -EINVAL,
		       "'%s' is an ELF program without a PVH entry note or a Multiboot 1 header; "
		       "give a bzImage, or a vmlinux built with CONFIG_PVH", k->path);
}

static int put_modules(struct boot_ctx *b, gpa_t *list, struct err *err)
{
	const struct boot_config *cfg = b->cfg;
	gpa_t at, text;
	int ret;

	*list = 0;
	if (!cfg->module_count)
		return 0;
	ret = boot_alloc(b, cfg->module_count * 32, 8, 0x1000, 0x9f000, false, list);
	if (ret < 0)
		return err_set(err, ret, "no room below 640 KiB for a list of %zu modules",
			       cfg->module_count);
	for (size_t i = 0; i < cfg->module_count; i++) {
		const struct boot_file *m = &cfg->modules[i];
		uint8_t e[32] = { 0 };

		ret = boot_alloc(b, m->size, 4096, BOOT_MIB, BOOT_4GIB, true, &at);
		if (ret < 0)
			return boot_too_small(b, "the initrd", boot_low_end(b) + m->size, err);
		ret = boot_put_text(b, m->text, 0x9f000, &text, err);
		if (ret == 0)
			ret = boot_copy(b, m, 0, at, m->size, err);
		st_le64(e, at);
		st_le64(e + 8, m->size);
		st_le64(e + 16, text);
		if (ret == 0)
			ret = boot_put(b, *list + 32 * i, e, sizeof(e), err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int put_memmap(struct boot_ctx *b, gpa_t *at, struct err *err)
{
	const struct boot_config *cfg = b->cfg;
	int ret = boot_alloc(b, cfg->map_count * 24, 8, 0x1000, 0x9f000, false, at);

	if (ret < 0)
		return err_set(err, ret, "no room below 640 KiB for the memory map");
	for (size_t i = 0; i < cfg->map_count && ret == 0; i++) {
		uint8_t e[24] = { 0 };

		st_le64(e, cfg->map[i].start);
		st_le64(e + 8, cfg->map[i].len);
		st_le32(e + 16, cfg->map[i].type);
		ret = boot_put(b, *at + 24 * i, e, sizeof(e), err);
	}
	return ret;
}

static int put_start_info(struct boot_ctx *b, struct boot_entry *e, struct err *err)
{
	uint8_t si[START_SIZE] = { 0 };
	gpa_t at, modules, cmdline, map;
	int ret = boot_alloc(b, sizeof(si), 16, 0x1000, 0x9f000, false, &at);

	if (ret < 0)
		return err_set(err, ret, "no room below 640 KiB for the start information");
	ret = put_modules(b, &modules, err);
	if (ret == 0)
		ret = boot_put_text(b, b->cfg->cmdline, 0x9f000, &cmdline, err);
	if (ret == 0)
		ret = put_memmap(b, &map, err);
	if (ret < 0)
		return ret;
	st_le32(si, START_MAGIC);
	st_le32(si + 4, 1); /* version */
	st_le32(si + 12, (uint32_t)b->cfg->module_count);
	st_le64(si + 16, modules);
	st_le64(si + 24, cmdline);
	st_le64(si + 32, b->cfg->rsdp);
	st_le64(si + 40, map);
	st_le32(si + 48, (uint32_t)b->cfg->map_count);
	e->rbx = at;
	return boot_put(b, at, si, sizeof(si), err);
}

int boot_pvh_load(struct boot_ctx *b, struct boot_entry *e, struct err *err)
{
	struct boot_elf elf;
	uint64_t entry = 0;
	gpa_t end;
	int ret = boot_elf_open(b, &elf, err);

	if (ret < 0)
		return ret;
	ret = find_entry(b, &elf, &entry, err);
	if (ret == 0)
		ret = boot_elf_load(b, &elf, &end, err);
	boot_elf_close(&elf);
	if (ret < 0)
		return ret;
	if (entry > UINT32_MAX || !mem_ptr(b->cfg->mem, entry, 1, false))
		return err_set(err, -EINVAL, "kernel '%s': its PVH entry 0x%llx lies outside "
			       "memory; the file is damaged", b->cfg->kernel->path,
			       (unsigned long long)entry);
	e->mode = BOOT_PROT32;
	e->rip = entry;
	e->kind = "ELF, PVH entry";
	return put_start_info(b, e, err);
}
