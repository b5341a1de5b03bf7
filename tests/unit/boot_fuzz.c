/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loaders against damaged images: whatever the bytes, an error or a boot
 * entry inside guest memory. BOTHY_FUZZ_ROUNDS sets how many (default: quick);
 * BOTHY_FUZZ_SEED where it begins.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/dev/firmware/boot.h"
#include "tests/unit/boot_images.h"

#define RAM (8u << 20)

static uint64_t next(uint64_t *s) /* xorshift64* */
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1dull;
}

static void make(struct image *im, unsigned kind)
{
	switch (kind % 5) {
	case 0: image_bzimage(im, 0x20f, 3); break;
	case 1: image_bzimage(im, 0x204, 0); break;
	case 2: image_pvh(im, 0x200010); break;
	case 3: image_multiboot_addr(im); break;
	default: image_multiboot_elf(im); break;
	}
}

/* A few bytes become random, extreme or each other; sometimes the end is cut. */
static void damage(struct image *im, uint64_t *seed)
{
	static const uint32_t extremes[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff,
					     0xfffff000, 0x100000, 0x9fc00, RAM };
	unsigned n = 1 + next(seed) % 6;

	while (n--) {
		size_t hot = next(seed) % 2 ? 0x290 : im->len;
		size_t at = next(seed) % hot;

		if (next(seed) % 2)
			im->b[at] = (uint8_t)next(seed);
		else
			st_le32(im->b + (at & ~3ull), extremes[next(seed) % array_size(extremes)]);
	}
	if (next(seed) % 8 == 0)
		im->len = 1 + next(seed) % im->len;
}

int main(void)
{
	const char *env = getenv("BOTHY_FUZZ_ROUNDS"), *start = getenv("BOTHY_FUZZ_SEED");
	unsigned long rounds = env ? strtoul(env, NULL, 10) : 4000, booted = 0;
	uint64_t seed = start ? strtoull(start, NULL, 0) : 0x9e3779b97f4a7c15ull;
	struct e820_entry map[] = { { 0, 0x9fc00, E820_RAM }, { 0xe0000, 0x20000, E820_RESERVED },
				    { 0x100000, RAM - 0x100000, E820_RAM } };
	struct image im, initrd = { .len = 5000 };
	struct boot_file kernel = { .path = (char *)"k", .text = (char *)"k" };
	struct boot_file module = { .path = (char *)"m", .text = (char *)"m t" };
	struct err err;
	struct mem *mem = mem_new(2 * RAM, &err);
	struct mem_block *ram = mem ? mem_block_new(mem, "ram", RAM, false, &err) : NULL;
	struct boot_config cfg = { .mem = mem, .map = map, .map_count = 3, .rsdp = 0xe0000,
				   .cmdline = "x", .kernel = &kernel, .modules = &module,
				   .module_count = 1 };

	kernel.fd = memfd_create("k", 0);
	module.fd = memfd_create("m", 0);
	module.size = initrd.len;
	if (!ram || mem_map_set(mem, 0, RAM, ram, 0, true, true) < 0 || kernel.fd < 0 ||
	    pwrite(module.fd, initrd.b, initrd.len, 0) != (ssize_t)initrd.len) {
		perror("set-up");
		return 1;
	}
	for (unsigned long i = 0; i < rounds; i++) {
		struct boot_entry e;

		make(&im, (unsigned)i);
		damage(&im, &seed);
		if (ftruncate(kernel.fd, 0) < 0 ||
		    pwrite(kernel.fd, im.b, im.len, 0) != (ssize_t)im.len)
			return 1;
		kernel.size = im.len;
		err.text[0] = '\0';
		if (boot_load(&cfg, &e, &err) < 0) {
			if (!err_is_set(&err)) {
				fprintf(stderr, "round %lu: a failure without a word\n", i);
				return 1;
			}
			continue;
		}
		booted++;
		if (e.rip >= RAM || e.gdt >= RAM || e.cr3 >= RAM || e.rsi >= RAM || e.rbx >= RAM) {
			fprintf(stderr, "round %lu: an entry outside memory\n", i);
			return 1;
		}
	}
	printf("%lu images, %lu of them bootable\n", rounds, booted);
	close(kernel.fd);
	close(module.fd);
	mem_free(mem);
	return booted && booted < rounds ? 0 : 1;
}
