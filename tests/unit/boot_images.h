/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel images made by hand, for the loaders' tests and their fuzzer. */
#ifndef BOTHY_TESTS_UNIT_BOOT_IMAGES_H
#define BOTHY_TESTS_UNIT_BOOT_IMAGES_H

#include <elf.h>
#include <stdint.h>
#include <string.h>

#include "src/base/bits.h"

#define IMAGE_MAX 16384

struct image {
	uint8_t b[IMAGE_MAX];
	size_t len;
};

/* Two sectors of setup, then 8 KiB of code bytes 0xc0. */
static inline void image_bzimage(struct image *im, uint16_t version, uint16_t xloadflags)
{
	memset(im, 0, sizeof(*im));
	im->len = 2 * 512 + 8192;
	im->b[0x1f1] = 1;
	st_le32(im->b + 0x1f4, 8192 / 16);
	st_le16(im->b + 0x1fe, 0xaa55);
	im->b[0x200] = 0xeb;
	im->b[0x201] = 0x66; /* the header ends at 0x268 */
	memcpy(im->b + 0x202, "HdrS", 4);
	st_le16(im->b + 0x206, version);
	im->b[0x211] = 1; /* LOADED_HIGH */
	st_le32(im->b + 0x214, 0x100000);
	st_le32(im->b + 0x22c, 0x7fffffff);
	st_le32(im->b + 0x230, 0x200000);
	im->b[0x234] = 1;
	st_le16(im->b + 0x236, xloadflags);
	st_le32(im->b + 0x238, 2047);
	st_le64(im->b + 0x258, 0x400000);
	st_le32(im->b + 0x260, 0x100000); /* init_size: 1 MiB */
	memset(im->b + 1024, 0xc0, 8192);
}

/* ELF64 with one segment of 256 bytes (0xe1) and 256 of bss at 2 MiB, and a PVH
 * note with a 4-byte entry. */
static inline void image_pvh(struct image *im, uint32_t entry)
{
	Elf64_Ehdr *e = (Elf64_Ehdr *)im->b;
	Elf64_Phdr ph[2];

	memset(im, 0, sizeof(*im));
	im->len = 0x300;
	memcpy(e->e_ident, ELFMAG, SELFMAG);
	e->e_ident[EI_CLASS] = ELFCLASS64;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	e->e_ident[EI_VERSION] = 1;
	e->e_type = ET_EXEC;
	e->e_machine = EM_X86_64;
	e->e_version = 1;
	e->e_entry = 0xffffffff80200000ull;
	e->e_phoff = 0x40;
	e->e_ehsize = sizeof(*e);
	e->e_phentsize = sizeof(ph[0]);
	e->e_phnum = 2;
	memset(ph, 0, sizeof(ph));
	ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = 0x200, .p_filesz = 0x100,
			      .p_memsz = 0x200, .p_paddr = 0x200000,
			      .p_vaddr = 0xffffffff80200000ull };
	ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = 0x180, .p_filesz = 20,
			      .p_memsz = 20 };
	memcpy(im->b + 0x40, ph, sizeof(ph));
	st_le32(im->b + 0x180, 4);
	st_le32(im->b + 0x184, 4);
	st_le32(im->b + 0x188, 18);
	memcpy(im->b + 0x18c, "Xen", 4);
	st_le32(im->b + 0x190, entry);
	memset(im->b + 0x200, 0xe1, 0x100);
}

static inline void image_multiboot_header(uint8_t *h, uint32_t flags)
{
	st_le32(h, 0x1badb002);
	st_le32(h + 4, flags);
	st_le32(h + 8, (uint32_t)-(0x1badb002u + flags));
}

/* Address fields: header at byte 0x40 of the file, the image from byte 0x20 on
 * to 1 MiB, 0x400 bytes of it, and 0x100 of bss. */
static inline void image_multiboot_addr(struct image *im)
{
	uint8_t *h = im->b + 0x40;

	memset(im, 0, sizeof(*im));
	im->len = 0x420;
	memset(im->b + 0x20, 0x90, 0x400);
	image_multiboot_header(h, 0x10003);
	st_le32(h + 12, 0x100020); /* header */
	st_le32(h + 16, 0x100000); /* load */
	st_le32(h + 20, 0x100400); /* load end */
	st_le32(h + 24, 0x100500); /* bss end */
	st_le32(h + 28, 0x100100); /* entry */
}

/* ELF32 whose entry is a virtual address 3 GiB above the physical one. */
static inline void image_multiboot_elf(struct image *im)
{
	Elf32_Ehdr *e = (Elf32_Ehdr *)im->b;
	Elf32_Phdr ph = { .p_type = PT_LOAD, .p_offset = 0x100, .p_filesz = 0x200,
			  .p_memsz = 0x1200, .p_paddr = 0x100000, .p_vaddr = 0xc0100000 };

	memset(im, 0, sizeof(*im));
	im->len = 0x300;
	memcpy(e->e_ident, ELFMAG, SELFMAG);
	e->e_ident[EI_CLASS] = ELFCLASS32;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	e->e_type = ET_EXEC;
	e->e_machine = EM_386;
	e->e_entry = 0xc0100010;
	e->e_phoff = 0x34;
	e->e_phentsize = sizeof(ph);
	e->e_phnum = 1;
	memcpy(im->b + 0x34, &ph, sizeof(ph));
	memset(im->b + 0x100, 0x90, 0x200);
	image_multiboot_header(im->b + 0x120, 0x3);
}

#endif
