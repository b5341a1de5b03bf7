/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What firmware is given: the table loader's script carried out, SMBIOS structures
 * walked, and the board's ROM, shadow memory and files. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/engines.h"
#include "src/dev/acpi/loader.h"
#include "src/dev/firmware/fw_cfg.h"
#include "src/dev/firmware/rom.h"
#include "src/dev/firmware/smbios.h"
#include "src/machine/board.h"
#include "tests/unit/cmocka_all.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

/*
 * The script, as firmware carries it out: tables at 0x7f000000.
 */
#define PLACE 0x7f000000u

static uint8_t *file_named(struct acpi_files *f, const char *name, size_t *len)
{
	if (!strcmp(name, ACPI_FILE_RSDP)) {
		*len = sizeof(f->rsdp);
		return f->rsdp;
	}
	assert_string_equal(name, ACPI_FILE_TABLES);
	*len = f->tables_len;
	return f->tables;
}

static unsigned run_script(struct acpi_files *f)
{
	unsigned allocated = 0;

	for (const uint8_t *e = f->loader; e < f->loader + sizeof(f->loader); e += 128) {
		const char *name = (const char *)e + 4;
		size_t len;
		uint8_t *p;
		uint32_t at, start, n;

		switch (ld_le32(e)) {
		case 0:
			break;
		case 1:
			file_named(f, name, &len);
			assert_int_equal(ld_le32(e + 60) & (ld_le32(e + 60) - 1), 0);
			allocated++;
			break;
		case 2:
			assert_int_equal(allocated, 2);
			assert_string_equal((const char *)e + 60, ACPI_FILE_TABLES);
			p = file_named(f, name, &len);
			at = ld_le32(e + 116);
			assert_true(e[120] == 4 || e[120] == 8);
			assert_true(at <= len - e[120]);
			assert_true(ld_le32(p + at) < f->tables_len);
			st_le32(p + at, ld_le32(p + at) + PLACE);
			break;
		case 3:
			p = file_named(f, name, &len);
			at = ld_le32(e + 60), start = ld_le32(e + 64), n = ld_le32(e + 68);
			assert_true(at < len && start <= len && n <= len - start);
			p[at] = 0;
			p[at] = (uint8_t)-sum(p + start, n);
			break;
		default:
			fail_msg("command %u", ld_le32(e));
		}
	}
	return allocated;
}

static void test_loader(void **state)
{
	struct acpi_config cfg = {
		.cpus = 255, .ecam_base = 0xe0000000, .pci_mem32 = { 0x80000000, 0x60000000 },
		.pci_mem32_more = { 0xf0000000, 0xec00000 }, .pci_mem64 = { 8 * GIB, 32 * GIB },
		.pm_base = 0x600, .sci_irq = 9, .hpet_base = 0xfed00000, .serial_ports = 1,
		.rtc = true, .fw_cfg_port = FW_CFG_PORT,
	};
	struct acpi_files f;
	const uint8_t *xsdt;
	unsigned tables;

	assert_int_equal(acpi_files_init(&f, &cfg, NULL), 0);
	assert_int_equal(run_script(&f), 2);
	assert_memory_equal(f.rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(f.rsdp, 20), 0);
	assert_int_equal(sum(f.rsdp, 36), 0);
	xsdt = f.tables + (ld_le64(f.rsdp + 24) - PLACE);
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, ld_le32(xsdt + 4)), 0);
	tables = (ld_le32(xsdt + 4) - 36) / 8;
	assert_int_equal(tables, 4);
	for (unsigned n = 0; n < tables; n++) {
		const uint8_t *t = f.tables + (ld_le64(xsdt + 36 + n * 8) - PLACE);

		assert_true(t >= f.tables && t + ld_le32(t + 4) <= f.tables + f.tables_len);
		assert_int_equal(sum(t, ld_le32(t + 4)), 0);
		if (!memcmp(t, "FACP", 4)) {
			assert_memory_equal(f.tables + (ld_le32(t + 36) - PLACE), "FACS", 4);
			assert_memory_equal(f.tables + (ld_le32(t + 40) - PLACE), "DSDT", 4);
			assert_int_equal(ld_le64(t + 140), ld_le32(t + 40));
		}
	}
	acpi_files_fini(&f);
	acpi_files_fini(&f);
}

/* Structures from the first to type 127, each with its strings. */
static unsigned walk(const struct smbios *s, uint64_t *memory_kib, unsigned seen[128])
{
	size_t at = 0;
	unsigned count = 0;

	memset(seen, 0, 128 * sizeof(seen[0]));
	*memory_kib = 0;
	for (;;) {
		const uint8_t *p = s->tables + at;
		unsigned type = p[0], strings = 0;

		assert_true(at + 6 <= s->len && p[1] >= 4 && type < 128);
		seen[type]++;
		count++;
		if (type == 17)
			*memory_kib += ld_le16(p + 12) == 0x7fff ? (uint64_t)ld_le32(p + 28) << 10
								 : (uint64_t)ld_le16(p + 12) << 10;
		at += p[1];
		while (s->tables[at]) {
			at += strlen((char *)s->tables + at) + 1;
			strings++;
		}
		at += strings ? 1 : 2;
		assert_true(at <= s->len);
		if (type == 127)
			break;
	}
	assert_int_equal(at, s->len);
	return count;
}

static void test_smbios(void **state)
{
	static const struct { uint64_t low, high; } sizes[] = {
		{ 2 * MIB, 0 }, { 512 * MIB, 0 }, { 2 * GIB, 3 * GIB }, { 2 * GIB, 1022 * GIB },
		{ 2 * GIB, 64 * 1024 * GIB },
	};

	for (unsigned n = 0; n < 2 * array_size(sizes); n++) {
		struct smbios_config cfg = {
			.v3 = n & 1, .cpus = 255, .low_mem = sizes[n / 2].low,
			.high_mem = sizes[n / 2].high, .cpu_vendor = "GenuineIntel",
			.cpu_name = "A processor", .version = "1",
			.uuid = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
		};
		static const uint8_t uuid[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
		unsigned seen[128], count;
		uint64_t kib;
		struct smbios s;

		assert_int_equal(smbios_init(&s, &cfg, NULL), 0);
		count = walk(&s, &kib, seen);
		assert_non_null(memmem(s.tables, s.len, uuid, 16));
		assert_int_equal(kib, (cfg.low_mem + cfg.high_mem) >> 10);
		assert_true(seen[0] == 1 && seen[1] == 1 && seen[3] == 1 && seen[4] == 1 &&
			    seen[16] == 1 && seen[17] >= 1 && seen[19] == (cfg.high_mem ? 2 : 1) &&
			    seen[32] == 1);
		assert_int_equal(sum(s.anchor, s.anchor_len), 0);
		if (cfg.v3) {
			assert_memory_equal(s.anchor, "_SM3_", 5);
			assert_int_equal(ld_le32(s.anchor + 12), s.len);
		} else {
			assert_memory_equal(s.anchor, "_SM_", 4);
			assert_int_equal(ld_le16(s.anchor + 22), s.len);
			assert_int_equal(ld_le16(s.anchor + 28), count);
		}
		smbios_fini(&s);
	}
}

static void test_rom_files(void **state)
{
	struct err err = { "" };
	char path[64];
	uint8_t *data;
	size_t len;

	assert_int_equal(rom_find("bios-not-there.bin", path, sizeof(path), &err), -ENOENT);
	assert_non_null(strstr(err.text, "apt-get install seabios"));
	assert_int_equal(rom_find("OVMF_nothing.fd", path, sizeof(path), &err), -ENOENT);
	assert_non_null(strstr(err.text, "apt-get install ovmf"));
	assert_int_not_equal(rom_read("firmware", "/dev", 100, &data, &len, &err), 0);
	assert_int_not_equal(rom_read("firmware", "/dev/zero", 100, &data, &len, &err), 0);
	assert_int_not_equal(rom_read("firmware", "/nowhere", 100, &data, &len, &err), 0);
	assert_null(data);
}

/*
 * A board with a ROM of our own: each 4 KiB page of it holds its number.
 */
struct world {
	struct bus *bus;
	struct vtime *vtime;
	struct mem *mem;
	struct cpus *cpus;
	struct board *board;
	char path[64];
	int fd;
};

static void world_init(struct world *w, size_t pages)
{
	struct cpus_config cc = { .count = 2, .engine = engine_lookup("interp") };
	static const struct dev_prop_text own[] = {
		{ "name", "opt/org.example/greeting" }, { "string", "hello" },
	};
	static const struct dev_item own_file = { .driver = "", .props = own, .count = 2 };
	struct board_config bc = {
		.memory_bytes = 64 * MIB, .vars_fd = -1,
		.fw_cfg = { (struct dev_item *)&own_file, 1 }, .uuid = { 1, 2, 3, [15] = 16 },
	};
	struct err err = { "" };

	w->fd = memfd_create("rom", 0);
	for (size_t n = 0; n < pages; n++) {
		uint8_t page[4096];

		memset(page, (int)n, sizeof(page));
		assert_int_equal(write(w->fd, page, sizeof(page)), sizeof(page));
	}
	snprintf(w->path, sizeof(w->path), "/proc/self/fd/%d", w->fd);
	w->bus = bus_new(NULL, NULL);
	w->vtime = vtime_new(&w->bus->lock, true);
	w->mem = mem_new(2 * GIB, NULL);
	cc.mem = w->mem;
	cc.bus = w->bus;
	cc.vtime = w->vtime;
	w->cpus = cpus_new(&cc, NULL);
	bc.cpus = w->cpus;
	bc.firmware = w->path;
	bc.env = (struct dev_env){ .mem = w->mem, .bus = w->bus, .vtime = w->vtime };
	if (board_new(&bc, &w->board, &err) < 0)
		fail_msg("%s", err.text);
	bus_lock(w->bus);
	assert_int_equal(board_reset(w->board, &err), 0);
	bus_unlock(w->bus);
}

static void world_fini(struct world *w)
{
	board_free(w->board);
	cpus_free(w->cpus);
	vtime_free(w->vtime);
	mem_free(w->mem);
	bus_free(w->bus);
	close(w->fd);
}

/* As a guest accesses memory: through the map, else over the bus. */
static uint8_t rd(struct world *w, gpa_t gpa)
{
	uint8_t *p = mem_ptr(w->mem, gpa, 1, false);

	return p ? *p : (uint8_t)bus_mmio_read(w->bus, gpa, 1);
}

static void wr(struct world *w, gpa_t gpa, uint8_t v)
{
	if (mem_write(w->mem, gpa, &v, 1) < 0)
		bus_mmio_write(w->bus, gpa, v, 1);
}

static void mch(struct world *w, unsigned off, uint8_t v)
{
	bus_pio_write(w->bus, 0xcf8, 0x80000000 | (off & 0xfc), 4);
	bus_pio_write(w->bus, (uint16_t)(0xcfc + (off & 3)), v, 1);
}

static void fw_cfg_select(struct world *w, uint16_t key)
{
	bus_pio_write(w->bus, 0x510, key, 2);
}

static void fw_cfg_bytes(struct world *w, void *p, size_t len)
{
	for (size_t n = 0; n < len; n++)
		((uint8_t *)p)[n] = (uint8_t)bus_pio_read(w->bus, 0x511, 1);
}

/* What people gave reaches the guest: the UUID, a file of their own. */
static void test_given(void **state)
{
	uint8_t uuid[16], count[4], entry[64];
	uint16_t key = 0;
	char text[5];
	struct world w;

	world_init(&w, 64);
	fw_cfg_select(&w, 2);
	fw_cfg_bytes(&w, uuid, sizeof(uuid));
	assert_memory_equal(uuid, "\1\2\3", 3);
	assert_int_equal(uuid[15], 16);
	fw_cfg_select(&w, 0x19);
	fw_cfg_bytes(&w, count, sizeof(count));
	for (uint32_t n = __builtin_bswap32(ld_le32(count)); n; n--) {
		fw_cfg_bytes(&w, entry, sizeof(entry));
		if (strcmp((char *)entry + 8, "opt/org.example/greeting"))
			continue;
		assert_int_equal(__builtin_bswap32(ld_le32(entry)), 5);
		key = __builtin_bswap16(ld_le16(entry + 4));
	}
	assert_true(key >= 0x20);
	fw_cfg_select(&w, key);
	fw_cfg_bytes(&w, text, sizeof(text));
	assert_memory_equal(text, "hello", 5);
	world_fini(&w);
}

static void test_shadow(void **state)
{
	struct world w;

	world_init(&w, 64); /* 256 KiB */
	assert_int_equal(rd(&w, 0xffffffff), 63);
	assert_int_equal(rd(&w, 0xfffc0000), 0);
	assert_int_equal(rd(&w, 0xfffff), 63);
	assert_int_equal(rd(&w, 0xe0000), 32);
	assert_int_equal(rd(&w, 0xdffff), 0xff);
	wr(&w, 0xf0000, 0xaa);
	wr(&w, 0xc0000, 0xaa);
	wr(&w, 0xffff0000, 0xaa);
	assert_int_equal(rd(&w, 0xf0000), 48);
	assert_int_equal(rd(&w, 0xc0000), 0xff);
	assert_int_equal(rd(&w, 0xffff0000), 48);
	/* Reads from ROM, writes to RAM; then RAM alone; then RAM that cannot be written. */
	mch(&w, 0x90, 0x20);
	mch(&w, 0x91, 0x22);
	wr(&w, 0xf0000, 0xaa);
	wr(&w, 0xc0000, 0xbb);
	assert_int_equal(rd(&w, 0xf0000), 48);
	assert_int_equal(rd(&w, 0xc0000), 0xff);
	mch(&w, 0x90, 0x30);
	mch(&w, 0x91, 0x33);
	assert_int_equal(rd(&w, 0xf0000), 0xaa);
	assert_int_equal(rd(&w, 0xc0000), 0xbb);
	wr(&w, 0xf0000, 0xcc);
	mch(&w, 0x90, 0x10);
	mch(&w, 0x91, 0x13); /* C4000h: read-only; C0000h: RAM */
	wr(&w, 0xf0000, 0xdd);
	wr(&w, 0xc4000, 0xdd);
	wr(&w, 0xc0000, 0xdd);
	assert_int_equal(rd(&w, 0xf0000), 0xcc);
	assert_int_equal(rd(&w, 0xc4000), 0);
	assert_int_equal(rd(&w, 0xc0000), 0xdd);
	/* SMRAM: opened, closed, locked. */
	assert_null(mem_ptr(w.mem, 0xa0000, 1, false));
	mch(&w, 0x9d, 0x48);
	assert_non_null(mem_ptr(w.mem, 0xa0000, 0x20000, true));
	mch(&w, 0x9d, 0x08);
	assert_null(mem_ptr(w.mem, 0xa0000, 1, false));
	mch(&w, 0x9d, 0x58);
	assert_null(mem_ptr(w.mem, 0xa0000, 1, false));
	mch(&w, 0x9d, 0x48);
	assert_null(mem_ptr(w.mem, 0xa0000, 1, false));
	/* A reset ends all of it. */
	bus_lock(w.bus);
	assert_int_equal(board_reset(w.board, NULL), 0);
	bus_unlock(w.bus);
	assert_int_equal(rd(&w, 0xf0000), 48);
	assert_int_equal(rd(&w, 0xc0000), 0xff);
	mch(&w, 0x9d, 0x48);
	assert_non_null(mem_ptr(w.mem, 0xa0000, 1, true));
	world_fini(&w);
}

/* No set of attributes grows the map without end or breaks it. */
static void test_shadow_fuzz(void **state)
{
	uint64_t s = 1;
	struct world w;

	world_init(&w, 16); /* 64 KiB: shown from F0000h alone */
	assert_int_equal(rd(&w, 0xeffff), 0xff);
	for (unsigned n = 0; n < 3000; n++) {
		s = s * 6364136223846793005ull + 1442695040888963407ull;
		mch(&w, 0x90 + (s >> 40) % 15, (uint8_t)(s >> 33));
		wr(&w, 0xa0000 + (s >> 20) % 0x60000, (uint8_t)s);
		rd(&w, 0xa0000 + (s >> 22) % 0x60000);
		bus_mmio_read(w.bus, 0xc0000 + ((s >> 21) % 0x40000 & ~7ull), 8);
	}
	for (unsigned off = 0x90; off < 0x97; off++)
		mch(&w, off, 0);
	assert_int_equal(rd(&w, 0xf0000), 0);
	assert_int_equal(rd(&w, 0xfffff), 15);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loader), cmocka_unit_test(test_smbios),
		cmocka_unit_test(test_rom_files), cmocka_unit_test(test_given), cmocka_unit_test(test_shadow),
		cmocka_unit_test(test_shadow_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
