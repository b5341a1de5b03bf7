/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The direct-boot loaders: what they put where, and what they refuse. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/dev/firmware/boot.h"
#include "tests/unit/boot_images.h"
#include "tests/unit/cmocka_all.h"

#define MIB 0x100000ull
#define GIB 0x40000000ull

struct world {
	struct mem *mem;
	struct e820_entry map[8];
	size_t map_count;
	struct boot_file kernel, mods[4];
	size_t nmods;
	struct boot_entry entry;
	struct err err;
	const char *cmdline;
};

/* RAM below 640 KiB and from 1 MiB to @low_mib, the last 64 KiB for tables; @high_mib above 4 GiB. */
static void world_init(struct world *w, uint64_t low_mib, uint64_t high_mib)
{
	struct mem_block *b;
	size_t n = 0;

	memset(w, 0, sizeof(*w));
	w->cmdline = "";
	w->mem = mem_new((low_mib + high_mib) * MIB + 16 * MIB, &w->err);
	assert_non_null(w->mem);
	b = mem_block_new(w->mem, "low", low_mib * MIB, false, &w->err);
	assert_non_null(b);
	assert_int_equal(mem_map_set(w->mem, 0, low_mib * MIB, b, 0, true, true), 0);
	w->map[n++] = (struct e820_entry){ 0, 0x9fc00, E820_RAM };
	w->map[n++] = (struct e820_entry){ 0x9fc00, 0x400, E820_RESERVED };
	w->map[n++] = (struct e820_entry){ 0xe0000, 0x20000, E820_RESERVED };
	w->map[n++] = (struct e820_entry){ MIB, (low_mib - 1) * MIB - 0x10000, E820_RAM };
	w->map[n++] = (struct e820_entry){ low_mib * MIB - 0x10000, 0x10000, E820_ACPI };
	if (high_mib) {
		b = mem_block_new(w->mem, "high", high_mib * MIB, false, &w->err);
		assert_non_null(b);
		assert_int_equal(mem_map_set(w->mem, 4 * GIB, high_mib * MIB, b, 0, true, true),
				 0);
		w->map[n++] = (struct e820_entry){ 4 * GIB, high_mib * MIB, E820_RAM };
	}
	w->map_count = n;
	w->kernel.fd = -1;
}

static void world_fini(struct world *w)
{
	boot_file_close(&w->kernel);
	for (size_t i = 0; i < w->nmods; i++)
		boot_file_close(&w->mods[i]);
	mem_free(w->mem);
}

static void make_file(struct boot_file *f, const char *name, const void *data, size_t len)
{
	f->fd = memfd_create(name, MFD_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(write(f->fd, data, len), (ssize_t)len);
	f->size = len;
	f->path = strdup(name);
	f->text = strdup(name);
}

static void add_module(struct world *w, const char *name, const void *data, size_t len)
{
	make_file(&w->mods[w->nmods++], name, data, len);
}

static int load(struct world *w, const void *data, size_t len)
{
	struct boot_config cfg = {
		.mem = w->mem, .map = w->map, .map_count = w->map_count, .rsdp = 0xe0010,
		.cmdline = w->cmdline, .kernel = &w->kernel, .modules = w->mods,
		.module_count = w->nmods,
	};

	boot_file_close(&w->kernel);
	make_file(&w->kernel, "kernel", data, len);
	w->err.text[0] = '\0';
	return boot_load(&cfg, &w->entry, &w->err);
}

static int load_image(struct world *w, const struct image *im)
{
	return load(w, im->b, im->len);
}

static const uint8_t *at(struct world *w, gpa_t gpa, uint64_t len)
{
	const uint8_t *p = mem_ptr(w->mem, gpa, len, false);

	assert_non_null(p);
	return p;
}

/* Loading failed, and its one sentence has @word in it. */
static void refused(struct world *w, int ret, const char *word)
{
	if (ret >= 0 || !strstr(w->err.text, word))
		fail_msg("ret %d, expected '%s' in '%s'", ret, word, w->err.text);
	assert_null(strchr(w->err.text, '\n'));
}

static void check_gdt(struct world *w, uint64_t code)
{
	const uint8_t *g = at(w, w->entry.gdt, 40);

	assert_int_equal(w->entry.gdt_limit, 39);
	assert_int_equal(w->entry.cs, 0x10);
	assert_int_equal(w->entry.ds, 0x18);
	assert_true(ld_le64(g + 16) == code);
	assert_true(ld_le64(g + 24) == 0x00cf93000000ffffull);
}

/* Walks the boot page tables for @lin. */
static uint64_t walk(struct world *w, uint64_t lin)
{
	uint64_t e = w->entry.cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		e = ld_le64(at(w, (e & ~0xfffull) + 8 * (lin >> shift & 511), 8));
		assert_int_equal(e & 3, 3);
	}
	assert_true(e & 0x80);
	return (e & ~0x1fffffull) | (lin & 0x1fffff);
}

static void bzimage_64(void **state)
{
	struct image im;
	struct world w;
	const uint8_t *bp;
	uint32_t rd;

	world_init(&w, 64, 0);
	image_bzimage(&im, 0x20f, 3);
	w.cmdline = "console=ttyS0 x=y";
	add_module(&w, "a", "hello", 5);
	add_module(&w, "b", "world!", 6);
	if (load_image(&w, &im) < 0)
		fail_msg("%s", w.err.text);
	assert_int_equal(w.entry.mode, BOOT_LONG64);
	assert_true(w.entry.rip == 0x400200);
	assert_memory_equal(at(&w, 0x400000, 8192), im.b + 1024, 8192);
	bp = at(&w, w.entry.rsi, 4096);
	assert_int_equal(bp[0x1ef], 0); /* sentinel */
	assert_memory_equal(bp + 0x202, "HdrS", 4);
	assert_int_equal(bp[0x210], 0xff);
	assert_true(ld_le64(bp + 0x70) == 0xe0010);
	assert_int_equal(bp[0x1e8], w.map_count);
	for (size_t i = 0; i < w.map_count; i++) {
		assert_true(ld_le64(bp + 0x2d0 + 20 * i) == w.map[i].start);
		assert_true(ld_le64(bp + 0x2d8 + 20 * i) == w.map[i].len);
		assert_int_equal(ld_le32(bp + 0x2e0 + 20 * i), w.map[i].type);
	}
	assert_string_equal((const char *)at(&w, ld_le32(bp + 0x228), 18), w.cmdline);
	rd = ld_le32(bp + 0x218);
	assert_int_equal(ld_le32(bp + 0x21c), 14);
	assert_memory_equal(at(&w, rd, 14), "hello\0\0\0world!", 14);
	assert_true(rd + 14 <= 64 * MIB - 0x10000);
	assert_true(rd >= 0x500000);
	check_gdt(&w, 0x00af9b000000ffffull);
	assert_true(walk(&w, 0x400200) == 0x400200);
	assert_true(walk(&w, w.entry.rsi) == w.entry.rsi);
	assert_true(walk(&w, 0xfffff123) == 0xfffff123);
	world_fini(&w);
}

static void bzimage_32(void **state)
{
	struct image im;
	struct world w;

	world_init(&w, 64, 0);
	image_bzimage(&im, 0x20f, 0);
	im.b[0x234] = 0; /* not relocatable: 1 MiB */
	assert_int_equal(load_image(&w, &im), 0);
	assert_int_equal(w.entry.mode, BOOT_PROT32);
	assert_true(w.entry.rip == 0x100000);
	assert_memory_equal(at(&w, 0x100000, 8192), im.b + 1024, 8192);
	assert_int_equal(ld_le32(at(&w, w.entry.rsi, 4096) + 0x214), 0x100000);
	check_gdt(&w, 0x00cf9b000000ffffull);
	world_fini(&w);
}

/* An old kernel's initrd stays below the limit in its header; a new one's may
 * lie above 4 GiB. */
static void bzimage_initrd_limit(void **state)
{
	struct image im;
	struct world w;
	const uint8_t *bp;
	uint8_t *big = calloc(1, 40 * MIB);

	world_init(&w, 64, 0);
	image_bzimage(&im, 0x20f, 1);
	st_le32(im.b + 0x22c, 0xffffff); /* 16 MiB */
	add_module(&w, "rd", big, 3 * MIB);
	assert_int_equal(load_image(&w, &im), 0);
	bp = at(&w, w.entry.rsi, 4096);
	assert_true(ld_le32(bp + 0x218) + 3 * MIB <= 16 * MIB);
	world_fini(&w);

	world_init(&w, 64, 0);
	add_module(&w, "rd", big, 30 * MIB);
	refused(&w, load_image(&w, &im), "below 0xffffff");
	world_fini(&w);

	world_init(&w, 16, 64);
	image_bzimage(&im, 0x20f, 3);
	big[0] = 0x5a;
	add_module(&w, "rd", big, 40 * MIB);
	assert_int_equal(load_image(&w, &im), 0);
	bp = at(&w, w.entry.rsi, 4096);
	assert_true(((uint64_t)ld_le32(bp + 0xc0) << 32 | ld_le32(bp + 0x218)) >= 4 * GIB);
	assert_int_equal(*at(&w, (uint64_t)ld_le32(bp + 0xc0) << 32 | ld_le32(bp + 0x218), 1),
			 0x5a);
	world_fini(&w);
	free(big);
}

/* The message names an amount that is then enough. */
static void too_small_says_how_much(void **state)
{
	struct image im;
	struct world w;
	uint8_t *big = calloc(1, 40 * MIB);
	const char *p;
	unsigned long mib;

	image_bzimage(&im, 0x20f, 3);
	world_init(&w, 16, 0);
	add_module(&w, "rd", big, 40 * MIB);
	refused(&w, load_image(&w, &im), "--memory ");
	p = strstr(w.err.text, "--memory ");
	mib = strtoul(p + 9, NULL, 10);
	assert_in_range(mib, 40, 64);
	world_fini(&w);

	world_init(&w, mib, 0);
	add_module(&w, "rd", big, 40 * MIB);
	assert_int_equal(load_image(&w, &im), 0);
	world_fini(&w);
	free(big);

	world_init(&w, 2, 0);
	st_le32(im.b + 0x260, 8 * MIB);
	refused(&w, load_image(&w, &im), "the kernel does not fit into");
	world_fini(&w);
}

static void bzimage_refusals(void **state)
{
	struct image im;
	struct world w;

	world_init(&w, 64, 0);
	image_bzimage(&im, 0x201, 0);
	refused(&w, load_image(&w, &im), "2.01");
	image_bzimage(&im, 0x20f, 1);
	im.b[0x211] = 0;
	refused(&w, load_image(&w, &im), "zImage");
	image_bzimage(&im, 0x20f, 1);
	im.b[0x201] = 0x10;
	refused(&w, load_image(&w, &im), "setup header ends");
	image_bzimage(&im, 0x20f, 1);
	im.len -= 100;
	refused(&w, load_image(&w, &im), "truncated");
	im.len = 900;
	refused(&w, load_image(&w, &im), "truncated");
	image_bzimage(&im, 0x20f, 1);
	st_le32(im.b + 0x238, 4);
	w.cmdline = "12345";
	refused(&w, load_image(&w, &im), "shorten --append");
	world_fini(&w);
}

static void pvh(void **state)
{
	struct image im;
	struct world w;
	const uint8_t *si, *mod, *map;

	world_init(&w, 64, 0);
	image_pvh(&im, 0x200010);
	w.cmdline = "quiet";
	add_module(&w, "rd text", "initrd", 6);
	if (load_image(&w, &im) < 0)
		fail_msg("%s", w.err.text);
	assert_int_equal(w.entry.mode, BOOT_PROT32);
	assert_true(w.entry.rip == 0x200010);
	assert_int_equal(*at(&w, 0x2000ff, 1), 0xe1);
	assert_int_equal(*at(&w, 0x200100, 1), 0);
	si = at(&w, w.entry.rbx, 56);
	assert_int_equal(ld_le32(si), 0x336ec578);
	assert_int_equal(ld_le32(si + 4), 1);
	assert_int_equal(ld_le32(si + 12), 1);
	mod = at(&w, ld_le64(si + 16), 32);
	assert_memory_equal(at(&w, ld_le64(mod), 6), "initrd", 6);
	assert_true(ld_le64(mod + 8) == 6);
	assert_string_equal((const char *)at(&w, ld_le64(mod + 16), 8), "rd text");
	assert_string_equal((const char *)at(&w, ld_le64(si + 24), 6), "quiet");
	assert_true(ld_le64(si + 32) == 0xe0010);
	assert_int_equal(ld_le32(si + 48), w.map_count);
	map = at(&w, ld_le64(si + 40), 24 * w.map_count);
	assert_true(ld_le64(map + 24 * 3) == MIB);
	assert_int_equal(ld_le32(map + 24 * 4 + 16), E820_ACPI);
	assert_int_equal(w.entry.tr, 0x20);
	world_fini(&w);
}

static void elf_refusals(void **state)
{
	struct image im;
	struct world w;
	Elf64_Ehdr *e = (Elf64_Ehdr *)im.b;
	Elf64_Phdr *ph = (Elf64_Phdr *)(im.b + 0x40);

	world_init(&w, 64, 0);
	image_pvh(&im, 0x200010);
	e->e_machine = EM_AARCH64;
	refused(&w, load_image(&w, &im), "arm64");
	image_pvh(&im, 0x200010);
	e->e_type = ET_REL;
	refused(&w, load_image(&w, &im), "object file");
	image_pvh(&im, 0x200010);
	ph[1].p_type = PT_NULL;
	refused(&w, load_image(&w, &im), "without a PVH entry note");
	image_pvh(&im, 0x7fffffff);
	refused(&w, load_image(&w, &im), "entry");
	image_pvh(&im, 0x200010);
	ph[0].p_filesz = 0x300;
	refused(&w, load_image(&w, &im), "more bytes in the file than in memory");
	image_pvh(&im, 0x200010);
	ph[0].p_filesz = ph[0].p_memsz = 0x101;
	refused(&w, load_image(&w, &im), "truncated");
	image_pvh(&im, 0x200010);
	ph[0].p_paddr = 0xb0000;
	refused(&w, load_image(&w, &im), "no memory");
	image_pvh(&im, 0x200010);
	ph[0].p_memsz = UINT64_MAX - 10;
	refused(&w, load_image(&w, &im), "kernel");
	image_pvh(&im, 0x200010);
	ph[0].p_paddr = 100 * MIB;
	refused(&w, load_image(&w, &im), "--memory 103M would do");
	image_pvh(&im, 0x200010);
	ph[1].p_type = PT_LOAD;
	ph[1].p_paddr = 0x200080;
	refused(&w, load_image(&w, &im), "PVH");
	image_pvh(&im, 0x200010);
	st_le32(im.b + 0x180, 0xfffffff0);
	refused(&w, load_image(&w, &im), "note");
	image_pvh(&im, 0x200010);
	e->e_phoff = 0x10000;
	refused(&w, load_image(&w, &im), "truncated");
	image_pvh(&im, 0x200010);
	e->e_phentsize = 8;
	refused(&w, load_image(&w, &im), "too few");
	world_fini(&w);
}

static void check_multiboot_info(struct world *w)
{
	const uint8_t *i = at(w, w->entry.rbx, 120), *m, *map;

	assert_true(w->entry.rax == 0x2badb002);
	assert_int_equal(w->entry.mode, BOOT_PROT32);
	assert_int_equal(ld_le32(i), 0x1 | 0x4 | 0x8 | 0x40 | 0x200);
	assert_int_equal(ld_le32(i + 4), 639);
	assert_int_equal(ld_le32(i + 8), (63 * MIB - 0x10000) / 1024);
	assert_string_equal((const char *)at(w, ld_le32(i + 16), 16), "kernel one two");
	assert_int_equal(ld_le32(i + 20), 2);
	m = at(w, ld_le32(i + 24), 32);
	assert_int_equal(ld_le32(m) % 4096, 0);
	assert_memory_equal(at(w, ld_le32(m), 5), "first", 5);
	assert_int_equal(ld_le32(m + 4) - ld_le32(m), 5);
	assert_string_equal((const char *)at(w, ld_le32(m + 8), 2), "A");
	assert_memory_equal(at(w, ld_le32(m + 16), 6), "second", 6);
	assert_string_equal((const char *)at(w, ld_le32(m + 24), 6), "B arg");
	assert_int_equal(ld_le32(i + 44), 24 * w->map_count);
	map = at(w, ld_le32(i + 48), 24 * w->map_count);
	assert_int_equal(ld_le32(map), 20);
	assert_true(ld_le64(map + 24 * 3 + 4) == MIB);
	assert_int_equal(ld_le32(map + 24 * 4 + 20), E820_ACPI);
	assert_string_equal((const char *)at(w, ld_le32(i + 64), 6), "bothy");
}

static void multiboot(void **state)
{
	struct image im;
	struct world w;

	for (int elf = 0; elf < 2; elf++) {
		world_init(&w, 64, 0);
		w.cmdline = "one two";
		add_module(&w, "A", "first", 5);
		add_module(&w, "B arg", "second", 6);
		(elf ? image_multiboot_elf : image_multiboot_addr)(&im);
		if (load_image(&w, &im) < 0)
			fail_msg("%s", w.err.text);
		check_multiboot_info(&w);
		assert_true(w.entry.rip == (elf ? 0x100010 : 0x100100));
		assert_int_equal(*at(&w, elf ? 0x100000 : 0x100040, 1), 0x90);
		assert_int_equal(*at(&w, elf ? 0x1011ff : 0x1004ff, 1), 0);
		world_fini(&w);
	}
}

static void multiboot_refusals(void **state)
{
	struct image im;
	struct world w;
	uint8_t *h = im.b + 0x40;

	world_init(&w, 64, 0);
	image_multiboot_addr(&im);
	image_multiboot_header(h, 0x10003 | 0x100);
	refused(&w, load_image(&w, &im), "demands Multiboot features");
	image_multiboot_addr(&im);
	st_le32(h + 12, 0x100100);
	refused(&w, load_image(&w, &im), "do not match");
	image_multiboot_addr(&im);
	st_le32(h + 20, 0x200400);
	refused(&w, load_image(&w, &im), "truncated");
	image_multiboot_addr(&im);
	st_le32(h + 24, 0x100300);
	refused(&w, load_image(&w, &im), "bss end");
	image_multiboot_addr(&im);
	st_le32(h + 28, 0x200000);
	refused(&w, load_image(&w, &im), "entry");
	image_multiboot_addr(&im);
	st_le32(h + 20, 0);
	st_le32(h + 24, 0xf0000000);
	refused(&w, load_image(&w, &im), "no memory");
	image_multiboot_addr(&im);
	im.len = 0x50;
	refused(&w, load_image(&w, &im), "truncated");
	image_multiboot_elf(&im);
	im.b[0] = 0;
	refused(&w, load_image(&w, &im), "not an ELF");
	world_fini(&w);
}

static void recognised(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *word;
	} files[] = {
		{ "\x1f\x8b\x08\x00", 4, "gzip" }, { "\xfd" "7zXZ\0", 6, "xz" },
		{ "070701000", 9, "--initrd" }, { "!<arch>\ndebian-binary", 21, "Debian package" },
		{ "QFI\xfb\0\0\0\3", 8, "qcow2" }, { "#!/bin/sh\n", 10, "script" },
		{ "MZ\x90\0", 4, "PE/EFI" }, { "hello world\n", 12, "text file" },
		{ "\x01\x02\x03\x04", 4, "neither" }, { "\x7f" "EL", 3, "neither" },
		{ "\x7f" "ELF", 4, "truncated" },
	};
	struct world w;

	world_init(&w, 16, 0);
	for (size_t i = 0; i < array_size(files); i++)
		refused(&w, load(&w, files[i].bytes, files[i].len), files[i].word);
	world_fini(&w);
}

/* Every shorter file: an error or a smaller image, never more than is there. */
static void every_truncation(void **state)
{
	struct image im;
	struct world w;

	world_init(&w, 16, 0);
	for (unsigned kind = 0; kind < 4; kind++) {
		if (kind == 0)
			image_bzimage(&im, 0x20f, 3);
		else if (kind == 1)
			image_pvh(&im, 0x200010);
		else if (kind == 2)
			image_multiboot_addr(&im);
		else
			image_multiboot_elf(&im);
		for (size_t len = 1; len < im.len; len += len < 0x400 ? 1 : 97)
			assert_true(load(&w, im.b, len) < 0);
	}
	world_fini(&w);
}

static void opening(void **state)
{
	char dir[] = "/tmp/bothy-boot-XXXXXX", path[128], list[400];
	struct boot_file f, *files;
	struct err err = { "" };
	size_t n;
	int fd;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(boot_file_open(&f, "kernel", "/nonexistent/x", &err), -ENOENT);
	assert_non_null(strstr(err.text, "no such file"));
	assert_true(boot_file_open(&f, "kernel", dir, &err) < 0);
	assert_non_null(strstr(err.text, "a directory"));
	snprintf(path, sizeof(path), "%s/a", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(boot_file_open(&f, "kernel", path, &err) < 0);
	assert_non_null(strstr(err.text, "is empty"));
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	snprintf(list, sizeof(list), "%s,%s some text", path, path);
	assert_int_equal(boot_files_open(list, &files, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(files[0].text, path);
	assert_string_equal(files[1].path, path);
	assert_non_null(strstr(files[1].text, " some text"));
	boot_files_free(files, n);
	snprintf(list, sizeof(list), "%s,,%s", path, path);
	assert_true(boot_files_open(list, &files, &n, &err) < 0);
	assert_non_null(strstr(err.text, "empty name"));
	snprintf(list, sizeof(list), "%s,/nonexistent/y", path);
	assert_int_equal(boot_files_open(list, &files, &n, &err), -ENOENT);
	unlink(path);
	/* One file whose name has a comma and a space. */
	snprintf(path, sizeof(path), "%s/b,c d", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	assert_int_equal(boot_files_open(path, &files, &n, &err), 0);
	assert_int_equal(n, 1);
	boot_files_free(files, n);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bzimage_64),
		cmocka_unit_test(bzimage_32),
		cmocka_unit_test(bzimage_initrd_limit),
		cmocka_unit_test(too_small_says_how_much),
		cmocka_unit_test(bzimage_refusals),
		cmocka_unit_test(pvh),
		cmocka_unit_test(elf_refusals),
		cmocka_unit_test(multiboot),
		cmocka_unit_test(multiboot_refusals),
		cmocka_unit_test(recognised),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(opening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
