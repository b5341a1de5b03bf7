/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ELF executables (System V ABI, chapter 4 and 5) as kernels: PT_LOAD segments
 * to their physical addresses. */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/dev/firmware/boot_priv.h"

bool boot_elf_magic(const struct boot_ctx *b)
{
	return b->head_len >= 4 && !memcmp(b->head, ELFMAG, SELFMAG);
}

static const char *machine_name(unsigned m)
{
	static const struct { unsigned m; const char *name; } names[] = {
		{ EM_AARCH64, "arm64" }, { EM_ARM, "arm" }, { EM_RISCV, "riscv" },
		{ EM_PPC64, "ppc64" }, { EM_S390, "s390x" }, { EM_MIPS, "mips" },
	};

	for (size_t i = 0; i < array_size(names); i++)
		if (names[i].m == m)
			return names[i].name;
	return "another machine";
}

static int check_header(struct boot_ctx *b, struct boot_elf *elf, uint64_t *phoff,
			struct err *err)
{
	const char *path = b->cfg->kernel->path;
	const uint8_t *h = b->head;
	unsigned machine;

	if (b->head_len < sizeof(Elf32_Ehdr) ||
	    (h[EI_CLASS] == ELFCLASS64 && b->head_len < sizeof(Elf64_Ehdr)))
		return err_set(err, -EINVAL, "kernel '%s' is truncated: %zu bytes hold no ELF "
			       "header; copy or download it again", path, b->head_len);
	if ((h[EI_CLASS] != ELFCLASS32 && h[EI_CLASS] != ELFCLASS64) || h[EI_DATA] != ELFDATA2LSB)
		return err_set(err, -EINVAL, "'%s' is an ELF file of another byte order or class; "
			       "this machine is x86-64", path);
	elf->is64 = h[EI_CLASS] == ELFCLASS64;
	machine = ld_le16(h + offsetof(Elf32_Ehdr, e_machine));
	if (machine != EM_386 && machine != EM_X86_64)
		return err_set(err, -EINVAL, "'%s' is an ELF program for %s; this machine is "
			       "x86-64", path, machine_name(machine));
	if (ld_le16(h + offsetof(Elf32_Ehdr, e_type)) == ET_REL)
		return err_set(err, -EINVAL, "'%s' is an ELF object file, not a linked kernel",
			       path);
	if (elf->is64) {
		elf->entry = ld_le64(h + offsetof(Elf64_Ehdr, e_entry));
		*phoff = ld_le64(h + offsetof(Elf64_Ehdr, e_phoff));
		elf->phentsize = ld_le16(h + offsetof(Elf64_Ehdr, e_phentsize));
		elf->phnum = ld_le16(h + offsetof(Elf64_Ehdr, e_phnum));
	} else {
		elf->entry = ld_le32(h + offsetof(Elf32_Ehdr, e_entry));
		*phoff = ld_le32(h + offsetof(Elf32_Ehdr, e_phoff));
		elf->phentsize = ld_le16(h + offsetof(Elf32_Ehdr, e_phentsize));
		elf->phnum = ld_le16(h + offsetof(Elf32_Ehdr, e_phnum));
	}
	if (!elf->phnum)
		return err_set(err, -EINVAL, "'%s' is an ELF file without program headers, not a "
			       "kernel", path);
	if (elf->phentsize < (elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return err_set(err, -EINVAL, "kernel '%s': its ELF program headers have %u bytes "
			       "each, too few; the file is damaged", path, elf->phentsize);
	return 0;
}

int boot_elf_open(struct boot_ctx *b, struct boot_elf *elf, struct err *err)
{
	uint64_t phoff = 0, len;
	int ret;

	memset(elf, 0, sizeof(*elf));
	ret = check_header(b, elf, &phoff, err);
	if (ret < 0)
		return ret;
	len = (uint64_t)elf->phnum * elf->phentsize;
	if (phoff > b->cfg->kernel->size || len > b->cfg->kernel->size - phoff)
		return err_set(err, -EINVAL, "kernel '%s' is truncated: its ELF program headers "
			       "lie beyond its end; copy or download it again",
			       b->cfg->kernel->path);
	elf->phdrs = malloc(len);
	if (!elf->phdrs)
		return err_set(err, -ENOMEM, "out of memory while loading the kernel");
	ret = boot_read(b->cfg->kernel, phoff, elf->phdrs, len, err);
	if (ret < 0)
		boot_elf_close(elf);
	return ret;
}

void boot_elf_close(struct boot_elf *elf)
{
	free(elf->phdrs);
	elf->phdrs = NULL;
}

void boot_elf_phdr(const struct boot_elf *elf, unsigned n, struct boot_phdr *ph)
{
	const uint8_t *p = elf->phdrs + (size_t)n * elf->phentsize;

	ph->type = ld_le32(p);
	if (elf->is64) {
		ph->offset = ld_le64(p + offsetof(Elf64_Phdr, p_offset));
		ph->vaddr = ld_le64(p + offsetof(Elf64_Phdr, p_vaddr));
		ph->paddr = ld_le64(p + offsetof(Elf64_Phdr, p_paddr));
		ph->filesz = ld_le64(p + offsetof(Elf64_Phdr, p_filesz));
		ph->memsz = ld_le64(p + offsetof(Elf64_Phdr, p_memsz));
	} else {
		ph->offset = ld_le32(p + offsetof(Elf32_Phdr, p_offset));
		ph->vaddr = ld_le32(p + offsetof(Elf32_Phdr, p_vaddr));
		ph->paddr = ld_le32(p + offsetof(Elf32_Phdr, p_paddr));
		ph->filesz = ld_le32(p + offsetof(Elf32_Phdr, p_filesz));
		ph->memsz = ld_le32(p + offsetof(Elf32_Phdr, p_memsz));
	}
}

static int load_segment(struct boot_ctx *b, const struct boot_phdr *ph, struct err *err)
{
	const struct boot_file *k = b->cfg->kernel;
	int ret;

	if (ph->filesz > ph->memsz)
		return err_set(err, -EINVAL, "kernel '%s': an ELF segment has more bytes in the "
			       "file than in memory; the file is damaged", k->path);
	if (ph->offset > k->size || ph->filesz > k->size - ph->offset)
		return err_set(err, -EINVAL, "kernel '%s' is truncated: an ELF segment reaches to "
			       "byte %" PRIu64 " of %" PRIu64 "; copy or download it again",
			       k->path, ph->offset + ph->filesz, k->size);
	ret = boot_claim(b, ph->paddr, ph->memsz);
	if (ret == -EBUSY)
		return err_set(err, ret, "kernel '%s': its ELF segments overlap at 0x%" PRIx64
			       "; the file is damaged", k->path, ph->paddr);
	if (ret == -E2BIG)
		return err_set(err, ret, "kernel '%s' has more ELF segments than %d", k->path,
			       BOOT_MAX_CLAIMS);
	if (ret < 0) {
		uint64_t end = ph->paddr + ph->memsz;

		if (ph->paddr >= BOOT_MIB && end > ph->paddr && end < 0x80000000ull)
			return boot_too_small(b, "the kernel", end, err);
		return err_set(err, ret, "kernel '%s' wants to be at 0x%" PRIx64 "..0x%" PRIx64
			       ", where this machine has no memory", k->path, ph->paddr, end);
	}
	ret = boot_copy(b, k, ph->offset, ph->paddr, ph->filesz, err);
	if (ret == 0)
		ret = boot_zero(b, ph->paddr + ph->filesz, ph->memsz - ph->filesz, err);
	return ret;
}

int boot_elf_load(struct boot_ctx *b, const struct boot_elf *elf, gpa_t *end, struct err *err)
{
	struct boot_phdr ph;
	unsigned loaded = 0;
	int ret;

	*end = 0;
	for (unsigned i = 0; i < elf->phnum; i++) {
		boot_elf_phdr(elf, i, &ph);
		if (ph.type != PT_LOAD || !ph.memsz)
			continue;
		ret = load_segment(b, &ph, err);
		if (ret < 0)
			return ret;
		*end = max_of(*end, ph.paddr + ph.memsz);
		loaded++;
	}
	if (!loaded)
		return err_set(err, -EINVAL, "'%s' is an ELF file with nothing to load, not a "
			       "kernel", b->cfg->kernel->path);
	return 0;
}
