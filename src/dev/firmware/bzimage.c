/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux bzImage. Offsets and rules: the kernel's Documentation/arch/x86/boot.rst
 * ("The Linux/x86 Boot Protocol") and zero-page.rst.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/dev/firmware/boot_priv.h"

/* struct boot_params ("zero page"), one page. */
#define BP_SIZE 4096
#define BP_ACPI_RSDP 0x070
#define BP_EXT_RAMDISK_IMAGE 0x0c0
#define BP_EXT_RAMDISK_SIZE 0x0c4
#define BP_E820_COUNT 0x1e8
#define BP_HEADER 0x1f1
#define BP_E820 0x2d0
#define BP_E820_MAX 128

/* struct setup_header, at the same offsets in the file and in boot_params. */
#define H_SETUP_SECTS 0x1f1
#define H_SYSSIZE 0x1f4
#define H_BOOT_FLAG 0x1fe
#define H_JUMP 0x200 /* its second byte gives the header's end: 0x202 + value */
#define H_MAGIC 0x202
#define H_VERSION 0x206
#define H_LOADER 0x210
#define H_LOADFLAGS 0x211
#define H_CODE32_START 0x214
#define H_RAMDISK_IMAGE 0x218
#define H_RAMDISK_SIZE 0x21c
#define H_CMDLINE_PTR 0x228
#define H_INITRD_MAX 0x22c
#define H_KERNEL_ALIGN 0x230
#define H_RELOCATABLE 0x234
#define H_XLOADFLAGS 0x236
#define H_CMDLINE_SIZE 0x238
#define H_SETUP_DATA 0x250
#define H_PREF_ADDRESS 0x258
#define H_INIT_SIZE 0x260
#define H_END_MAX 0x290 /* E820 scratch of the setup code begins here */

#define LOADED_HIGH 0x01
#define CAN_USE_HEAP 0x80
#define XLF_KERNEL_64 0x1
#define XLF_CAN_BE_LOADED_ABOVE_4G 0x2

#define LOW_MIN 0x1000
#define LOW_MAX 0x9f000

struct bzimage {
	uint16_t version;
	uint16_t xloadflags;
	uint32_t header_end;
	uint64_t code_off, code_len; /* the protected-mode part, in the file */
	uint64_t init_size;          /* memory it wants from its load address on */
	gpa_t load;
	gpa_t initrd_max; /* last usable address */
	uint32_t cmdline_max;
	bool relocatable;
};

bool boot_bzimage_probe(const struct boot_ctx *b)
{
	return b->head_len > H_VERSION + 2 && !memcmp(b->head + H_MAGIC, "HdrS", 4) &&
	       ld_le16(b->head + H_BOOT_FLAG) == 0xaa55;
}

static int parse(struct boot_ctx *b, struct bzimage *z, struct err *err)
{
	const uint8_t *h = b->head;
	const struct boot_file *k = b->cfg->kernel;
	unsigned sects = h[H_SETUP_SECTS] ? h[H_SETUP_SECTS] : 4;

	z->version = ld_le16(h + H_VERSION);
	if (z->version < 0x202)
		return err_set(err, -EINVAL,
			       "kernel '%s' uses boot protocol %u.%02u; 2.02 (Linux 2.4) is the "
			       "oldest that is supported", k->path, z->version >> 8,
			       z->version & 0xff);
	z->header_end = 0x202 + h[H_JUMP + 1];
	if (z->header_end < H_CMDLINE_PTR + 4 || z->header_end > H_END_MAX)
		return err_set(err, -EINVAL, "kernel '%s': its setup header ends at 0x%x, which no "
			       "boot protocol does; the file is damaged", k->path, z->header_end);
	if (!(h[H_LOADFLAGS] & LOADED_HIGH))
		return err_set(err, -EINVAL, "kernel '%s' is a zImage, which loads low; only "
			       "bzImage kernels are supported", k->path);
	z->code_off = (uint64_t)(sects + 1) * 512;
	/* Before 2.04 only the low 16 bits of syssize mean something. */
	z->code_len = z->version >= 0x204 ? (uint64_t)ld_le32(h + H_SYSSIZE) * 16 : 0;
	if (k->size <= z->code_off)
		return err_set(err, -EINVAL, "kernel '%s' is truncated: it has %" PRIu64
			       " bytes, its setup part alone has %" PRIu64
			       "; copy or download it again", k->path, k->size, z->code_off);
	/* syssize counts paragraphs and may round the last one up. */
	if (z->code_len > k->size - z->code_off + 15)
		return err_set(err, -EINVAL, "kernel '%s' is truncated: it has %" PRIu64
			       " bytes where its header says %" PRIu64
			       "; copy or download it again", k->path, k->size,
			       z->code_off + z->code_len);
	/* What follows (signatures, the EFI parts) belongs to the image too. */
	z->code_len = k->size - z->code_off;
	z->initrd_max = 0x37ffffff;
	z->cmdline_max = 255;
	z->init_size = z->code_len;
	if (z->version >= 0x203 && z->header_end >= H_INITRD_MAX + 4)
		z->initrd_max = ld_le32(h + H_INITRD_MAX);
	if (z->version >= 0x205 && z->header_end >= H_RELOCATABLE + 1)
		z->relocatable = h[H_RELOCATABLE];
	if (z->version >= 0x206 && z->header_end >= H_CMDLINE_SIZE + 4)
		z->cmdline_max = ld_le32(h + H_CMDLINE_SIZE);
	if (z->version >= 0x20a && z->header_end >= H_INIT_SIZE + 4)
		z->init_size = max_of((uint64_t)ld_le32(h + H_INIT_SIZE), z->code_len);
	if (z->version >= 0x20c && z->header_end >= H_XLOADFLAGS + 2)
		z->xloadflags = ld_le16(h + H_XLOADFLAGS);
	return 0;
}

/* The address the kernel prefers, if it is relocatable and says so; 1 MiB else,
 * or if memory ends before. */
static int place_kernel(struct boot_ctx *b, struct bzimage *z, struct err *err)
{
	uint64_t pref = BOOT_MIB;
	int ret;

	if (z->relocatable && z->version >= 0x20a && z->header_end >= H_PREF_ADDRESS + 8)
		pref = ld_le64(b->head + H_PREF_ADDRESS);
	z->load = pref;
	if (pref < BOOT_MIB || pref > BOOT_4GIB - 1 || boot_claim(b, pref, z->init_size) < 0) {
		z->load = BOOT_MIB;
		ret = boot_claim(b, z->load, z->init_size);
		if (ret < 0)
			return boot_too_small(b, "the kernel", z->load + z->init_size, err);
	}
	return boot_copy(b, b->cfg->kernel, z->code_off, z->load, z->code_len, err);
}

/* All initrds as one: the kernel unpacks cpio archives one after the other; each
 * begins on four bytes. */
static int place_initrd(struct boot_ctx *b, const struct bzimage *z, uint8_t *bp, struct err *err)
{
	const struct boot_config *cfg = b->cfg;
	bool above = z->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G;
	uint64_t total = 0, max = z->initrd_max + 1, at;
	char what[96];
	int ret;

	for (size_t i = 0; i < cfg->module_count; i++)
		total = align_up(total, 4) + cfg->modules[i].size;
	if (!total)
		return 0;
	if (above)
		max = BOOT_4GIB;
	ret = boot_alloc(b, total, 4096, BOOT_MIB, max, true, &at);
	if (ret == -ENOSPC && above)
		ret = boot_alloc(b, total, 4096, BOOT_4GIB, UINT64_MAX, false, &at);
	if (ret == -ENOSPC && boot_low_end(b) >= max && !above)
		return err_set(err, ret, "the initrd of %" PRIu64 " MiB does not fit below 0x%"
			       PRIx64 ", the highest address this kernel accepts for it; use a "
			       "smaller initrd", (total + BOOT_MIB - 1) / BOOT_MIB, z->initrd_max);
	if (ret < 0) {
		snprintf(what, sizeof(what), "the initrd of %" PRIu64 " KiB",
			 (total + 1023) / 1024);
		return boot_too_small(b, what, z->load + z->init_size + total, err);
	}
	st_le32(bp + H_RAMDISK_IMAGE, (uint32_t)at);
	st_le32(bp + H_RAMDISK_SIZE, (uint32_t)total);
	st_le32(bp + BP_EXT_RAMDISK_IMAGE, (uint32_t)(at >> 32));
	st_le32(bp + BP_EXT_RAMDISK_SIZE, (uint32_t)(total >> 32));
	total = 0;
	for (size_t i = 0; i < cfg->module_count; i++) {
		uint64_t from = align_up(total, 4);

		ret = boot_zero(b, at + total, from - total, err);
		if (ret == 0)
			ret = boot_copy(b, &cfg->modules[i], 0, at + from, cfg->modules[i].size,
					err);
		if (ret < 0)
			return ret;
		total = from + cfg->modules[i].size;
	}
	return 0;
}

static void fill_e820(const struct boot_ctx *b, uint8_t *bp)
{
	size_t n = min_of(b->cfg->map_count, (size_t)BP_E820_MAX);

	bp[BP_E820_COUNT] = (uint8_t)n;
	for (size_t i = 0; i < n; i++) {
		uint8_t *e = bp + BP_E820 + 20 * i;

		st_le64(e, b->cfg->map[i].start);
		st_le64(e + 8, b->cfg->map[i].len);
		st_le32(e + 16, b->cfg->map[i].type);
	}
}

/* Identity map of the first 4 GiB in 2 MiB pages: what the 64-bit entry wants. */
static int put_page_tables(struct boot_ctx *b, struct boot_entry *e, struct err *err)
{
	uint64_t page[512];
	gpa_t at;
	int ret = boot_alloc(b, 6 * 4096, 4096, LOW_MIN, LOW_MAX, false, &at);

	if (ret < 0)
		return err_set(err, ret, "no room below 640 KiB for the boot page tables");
	memset(page, 0, sizeof(page));
	page[0] = (at + 4096) | 3; /* present, writable */
	ret = boot_put(b, at, page, sizeof(page), err);
	for (unsigned i = 0; i < 4; i++)
		page[i] = (at + (2 + i) * 4096) | 3;
	if (ret == 0)
		ret = boot_put(b, at + 4096, page, sizeof(page), err);
	for (unsigned t = 0; t < 4 && ret == 0; t++) {
		for (unsigned i = 0; i < 512; i++)
			page[i] = ((uint64_t)t << 30 | (uint64_t)i << 21) | 0x83; /* PS */
		ret = boot_put(b, at + (2 + t) * 4096, page, sizeof(page), err);
	}
	e->cr3 = at;
	return ret;
}

static int put_cmdline(struct boot_ctx *b, const struct bzimage *z, uint8_t *bp, struct err *err)
{
	size_t len = strlen(b->cfg->cmdline);
	gpa_t at;
	int ret;

	if (len > z->cmdline_max)
		return err_set(err, -EINVAL, "the command line has %zu characters; this kernel "
			       "takes %u; shorten --append", len, z->cmdline_max);
	ret = boot_put_text(b, b->cfg->cmdline, LOW_MAX, &at, err);
	if (ret == 0)
		st_le32(bp + H_CMDLINE_PTR, (uint32_t)at);
	return ret;
}

int boot_bzimage_load(struct boot_ctx *b, struct boot_entry *e, struct err *err)
{
	uint8_t bp[BP_SIZE];
	struct bzimage z;
	gpa_t at;
	int ret;

	memset(&z, 0, sizeof(z));
	memset(bp, 0, sizeof(bp));
	ret = parse(b, &z, err);
	if (ret == 0)
		ret = place_kernel(b, &z, err);
	if (ret < 0)
		return ret;
	memcpy(bp + BP_HEADER, b->head + BP_HEADER, z.header_end - BP_HEADER);
	bp[H_LOADER] = 0xff; /* a loader without an assigned number */
	bp[H_LOADFLAGS] &= (uint8_t)~CAN_USE_HEAP; /* the real-mode part never runs */
	st_le32(bp + H_CODE32_START, (uint32_t)z.load);
	st_le32(bp + H_RAMDISK_IMAGE, 0);
	st_le32(bp + H_RAMDISK_SIZE, 0);
	if (z.header_end >= H_SETUP_DATA + 8)
		st_le64(bp + H_SETUP_DATA, 0);
	st_le64(bp + BP_ACPI_RSDP, b->cfg->rsdp);
	fill_e820(b, bp);
	ret = boot_alloc(b, BP_SIZE, 4096, LOW_MIN, LOW_MAX, false, &at);
	if (ret < 0)
		return err_set(err, ret, "no room below 640 KiB for the boot parameters");
	ret = put_cmdline(b, &z, bp, err);
	if (ret == 0)
		ret = place_initrd(b, &z, bp, err);
	if (ret == 0)
		ret = boot_put(b, at, bp, sizeof(bp), err);
	if (ret < 0)
		return ret;
	e->rsi = at;
	if (z.xloadflags & XLF_KERNEL_64) {
		e->mode = BOOT_LONG64;
		e->rip = z.load + 0x200;
		e->kind = "bzImage, 64-bit entry";
		return put_page_tables(b, e, err);
	}
	e->mode = BOOT_PROT32;
	e->rip = z.load;
	e->kind = "bzImage, 32-bit entry";
	return 0;
}
