/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firmware configuration device: items, directory, DMA, and hostile descriptors.
 * BOTHY_FUZZ_ROUNDS sets how many of those (default: quick). */
#include <errno.h>
#include <stdio.h>

#include "src/dev/firmware/fw_cfg.h"
#include "tests/unit/dev_fixture.h"

#define RAM 0x100000u
#define DESC 0x1000u

struct rig {
	struct fixture f;
	struct fw_cfg c;
	unsigned makes;
};

static void make(void *opaque)
{
	struct rig *r = opaque;
	char text[11];

	snprintf(text, sizeof(text), "made %u", ++r->makes);
	assert_int_equal(fw_cfg_set_file(&r->c, "etc/made", text, (uint32_t)strlen(text)), 0);
}

static void rig_init(struct rig *r)
{
	struct mem_block *ram;

	fixture_init(&r->f);
	r->makes = 0;
	r->f.env.mem = mem_new(2 * RAM, NULL);
	assert_non_null(r->f.env.mem);
	ram = mem_block_new(r->f.env.mem, "ram", RAM, false, NULL);
	assert_non_null(ram);
	assert_int_equal(mem_map_set(r->f.env.mem, 0, RAM, ram, 0, true, true), 0);
	assert_int_equal(fw_cfg_init(&r->c, &r->f.env, NULL), 0);
	assert_int_equal(fw_cfg_add_file(&r->c, "etc/one", "first file", 10, NULL), 0);
	assert_int_equal(fw_cfg_add_writable(&r->c, "etc/rw", 16, NULL), 0);
	assert_int_equal(fw_cfg_add_file(&r->c, "etc/empty", NULL, 0, NULL), 0);
	assert_int_equal(fw_cfg_add_made(&r->c, "etc/made", "not yet\0\0", 10, NULL), 0);
	r->c.make = make;
	r->c.make_opaque = r;
}

static void rig_fini(struct rig *r)
{
	fw_cfg_fini(&r->c);
	mem_free(r->f.env.mem);
	fixture_fini(&r->f);
}

static void select_key(struct rig *r, uint16_t key)
{
	bus_pio_write(r->f.bus, FW_CFG_PORT, key, 2);
}

static void read_bytes(struct rig *r, void *buf, size_t len)
{
	for (size_t n = 0; n < len; n++)
		((uint8_t *)buf)[n] = inb(&r->f, FW_CFG_PORT + 1);
}

/* The key of a file by reading the directory as a guest does; 0: not there. */
static uint16_t lookup(struct rig *r, const char *name, uint32_t *len)
{
	uint8_t e[64];
	uint32_t count;

	select_key(r, FW_CFG_FILE_DIR);
	read_bytes(r, e, 4);
	count = ld_be32(e);
	while (count--) {
		read_bytes(r, e, 64);
		if (strcmp((char *)e + 8, name))
			continue;
		*len = ld_be32(e);
		return ld_be16(e + 4);
	}
	return 0;
}

static uint32_t dma(struct rig *r, uint32_t control, uint32_t len, uint64_t addr)
{
	uint8_t d[16];

	st_be32(d, control);
	st_be32(d + 4, len);
	st_be64(d + 8, addr);
	assert_int_equal(mem_write(r->f.env.mem, DESC, d, sizeof(d)), 0);
	outl(&r->f, FW_CFG_PORT + 4, 0);
	outl(&r->f, FW_CFG_PORT + 8, __builtin_bswap32(DESC));
	assert_int_equal(mem_read(r->f.env.mem, DESC, d, sizeof(d)), 0);
	return ld_be32(d);
}

static void test_items(void **state)
{
	struct rig r;
	char text[16] = "";
	uint32_t len = 0, id;
	uint16_t key;

	rig_init(&r);
	read_bytes(&r, text, 6);
	assert_memory_equal(text, "QEMU\0\0", 6); /* selected after a reset; zeroes follow */
	select_key(&r, FW_CFG_ID);
	read_bytes(&r, &id, 4);
	assert_int_equal(id, 3);
	key = lookup(&r, "etc/one", &len);
	assert_int_equal(len, 10);
	select_key(&r, key);
	read_bytes(&r, text, 11);
	assert_string_equal(text, "first file");
	assert_int_equal(lookup(&r, "etc/two", &len), 0);
	/* Not there, beyond all tables, the write channel. */
	for (unsigned k = 0x30; k < 0x10000; k += 0x333) {
		select_key(&r, (uint16_t)k);
		assert_int_equal(inb(&r.f, FW_CFG_PORT + 1), 0);
	}
	select_key(&r, key | 0x4000);
	assert_int_equal(inb(&r.f, FW_CFG_PORT + 1), 'f');
	/* Writes to data and odd sizes do nothing. */
	outb(&r.f, FW_CFG_PORT + 1, 0x19);
	outb(&r.f, FW_CFG_PORT, 0x19);
	assert_int_equal(inb(&r.f, FW_CFG_PORT + 1), 'i');
	assert_int_equal(bus_pio_read(r.f.bus, FW_CFG_PORT, 2), 0);
	rig_fini(&r);
}

static void test_refusals(void **state)
{
	struct rig r;
	struct err err = { "" };
	char name[80];

	rig_init(&r);
	assert_int_equal(fw_cfg_add_file(&r.c, "etc/one", "", 0, &err), -EEXIST);
	assert_string_equal(err.text, "there are two firmware files 'etc/one'");
	assert_int_equal(fw_cfg_add_file(&r.c, "", "", 0, &err), -ENAMETOOLONG);
	memset(name, 'x', sizeof(name));
	name[56] = '\0';
	assert_int_equal(fw_cfg_add_file(&r.c, name, "", 0, &err), -ENAMETOOLONG);
	name[55] = '\0';
	assert_int_equal(fw_cfg_add_file(&r.c, name, "", 0, &err), 0);
	assert_int_equal(fw_cfg_add_writable(&r.c, "big", FW_CFG_POOL, &err), -ENOSPC);
	assert_int_equal(fw_cfg_set_file(&r.c, "etc/made", "0123456789a", 11), -EFBIG);
	assert_int_equal(fw_cfg_set_file(&r.c, "etc/one", "x", 1), -ENOENT);
	assert_int_equal(fw_cfg_set_file(&r.c, "etc/two", "", 0), -ENOENT);
	for (unsigned n = 5; n < FW_CFG_FILES; n++) {
		snprintf(name, sizeof(name), "f%u", n);
		assert_int_equal(fw_cfg_add_file(&r.c, name, name, 3, &err), 0);
	}
	assert_int_equal(fw_cfg_add_file(&r.c, "more", "", 0, &err), -ENOSPC);
	rig_fini(&r);
}

static void test_dma(void **state)
{
	struct rig r;
	uint16_t key, rw;
	uint32_t len = 0;
	char text[32] = "";

	rig_init(&r);
	assert_int_equal(inl(&r.f, FW_CFG_PORT + 4), __builtin_bswap32(0x51454d55));
	assert_int_equal(inl(&r.f, FW_CFG_PORT + 8), __builtin_bswap32(0x20434647));
	assert_int_equal(inb(&r.f, FW_CFG_PORT + 11), 'G');
	key = lookup(&r, "etc/one", &len);
	rw = lookup(&r, "etc/rw", &len);
	memset(mem_ptr(r.f.env.mem, 0x2000, 32, true), 0xaa, 32);
	/* Select and read, beyond the end as zeroes. */
	assert_int_equal(dma(&r, (uint32_t)key << 16 | 0x0a, 12, 0x2000), 0);
	assert_int_equal(mem_read(r.f.env.mem, 0x2000, text, 13), 0);
	assert_memory_equal(text, "first file\0\0\xaa", 13);
	/* Skip; a nothing. */
	assert_int_equal(dma(&r, (uint32_t)key << 16 | 0x0c, 6, 0), 0);
	assert_int_equal(dma(&r, 0, 6, 0), 0);
	assert_int_equal(inb(&r.f, FW_CFG_PORT + 1), 'f');
	assert_int_equal(dma(&r, 4, 0xffffffff, 0), 0);
	assert_int_equal(inb(&r.f, FW_CFG_PORT + 1), 0);
	/* Writing. */
	assert_int_equal(dma(&r, (uint32_t)rw << 16 | 0x18, 10, 0x2000), 0);
	assert_int_equal(dma(&r, 0x10, 7, 0x2000), 1); /* more than there is */
	assert_int_equal(dma(&r, (uint32_t)key << 16 | 0x18, 1, 0x2000), 1); /* not for that */
	assert_int_equal(dma(&r, (uint32_t)rw << 16 | 0x0a, 16, 0x3000), 0);
	assert_memory_equal(mem_ptr(r.f.env.mem, 0x3000, 16, false), "first file\0\0\0\0\0\0", 16);
	/* Contents made on demand, once between resets. */
	key = lookup(&r, "etc/made", &len);
	assert_int_equal(r.makes, 0);
	for (unsigned n = 1; n < 3; n++) {
		select_key(&r, key);
		read_bytes(&r, text, 10);
		assert_memory_equal(text, n == 1 ? "made 1\0\0\0" : "made 2\0\0\0", 10);
		assert_int_equal(dma(&r, (uint32_t)key << 16 | 0x0a, 10, 0x2000), 0);
		assert_memory_equal(mem_ptr(r.f.env.mem, 0x2000, 10, false), text, 10);
		fw_cfg_desc.reset(&r.c);
	}
	rig_fini(&r);
}

static void test_hostile(void **state)
{
	struct rig r;
	uint16_t key;
	uint32_t len = 0;

	rig_init(&r);
	key = lookup(&r, "etc/one", &len);
	select_key(&r, key);
	assert_int_equal(dma(&r, 2, 0xffffffff, 0), 1);
	assert_int_equal(dma(&r, 2, 10, RAM - 4), 1);
	assert_int_equal(dma(&r, 2, 10, UINT64_MAX - 3), 1);
	assert_int_equal(dma(&r, 2, 10, 0x4000000000000000), 1);
	assert_int_equal(dma(&r, 0x10, 0, UINT64_MAX), 1);
	assert_int_equal(dma(&r, 0xffffffff, 0xffffffff, 0xffffffffffffffff), 1);
	/* The descriptor outside memory, across its end, at the top of all addresses. */
	outl(&r.f, FW_CFG_PORT + 8, __builtin_bswap32(RAM - 8));
	outl(&r.f, FW_CFG_PORT + 8, 0xffffffff);
	outl(&r.f, FW_CFG_PORT + 4, 0xffffffff);
	outl(&r.f, FW_CFG_PORT + 8, 0xffffffff);
	/* Onto itself. */
	select_key(&r, key);
	dma(&r, 2, 16, DESC);
	rig_fini(&r);
}

static void test_state(void **state)
{
	struct rig r;
	uint32_t len = 0;

	rig_init(&r);
	select_key(&r, lookup(&r, "etc/one", &len));
	inb(&r.f, FW_CFG_PORT + 1);
	memcpy(r.c.pool, "written", 7);
	memcpy(r.c.pool + 16, "made", 5);
	outl(&r.f, FW_CFG_PORT + 4, 0x12345678);
	check_roundtrip(fw_cfg_desc.state, &r.c);
	assert_int_equal(inb(&r.f, FW_CFG_PORT + 1), 'i');
	assert_memory_equal(fw_cfg_file(&r.c, "etc/rw")->data, "written", 7);
	assert_string_equal(fw_cfg_file(&r.c, "etc/made")->data, "made");
	check_hostile(fw_cfg_desc.state, &r.c, NULL, 500);
	fw_cfg_desc.reset(&r.c);
	assert_int_equal(fw_cfg_file(&r.c, "etc/rw")->data[0], 0);
	assert_int_equal(inb(&r.f, FW_CFG_PORT + 1), 'Q');
	rig_fini(&r);
}

/* Random descriptors, keys and accesses of all sizes. */
static void test_fuzz(void **state)
{
	static const uint64_t addrs[] = { 0, DESC, RAM - 1, RAM - 16, RAM, UINT32_MAX, UINT64_MAX,
					  0x2000 };
	static const uint32_t lens[] = { 0, 1, 10, 16, 17, 0x10000, 0x10010, 0x10011, 0x7fffffff,
					 0xffffffff };
	const char *env = getenv("BOTHY_FUZZ_ROUNDS");
	unsigned long rounds = env ? strtoul(env, NULL, 10) : 20000;
	uint64_t s = 0x9e3779b97f4a7c15ull;
	struct rig r;

	rig_init(&r);
	for (unsigned long n = 0; n < rounds; n++) {
		uint8_t d[16];

		s = s * 6364136223846793005ull + 1442695040888963407ull;
		st_be32(d, (uint32_t)(s >> 33) & (n & 1 ? 0x003fffff : 0xffffffff));
		st_be32(d + 4, s >> 20 & 3 ? lens[(s >> 24) % array_size(lens)]
						: (uint32_t)(s >> 11));
		st_be64(d + 8, s & 0x100 ? addrs[s >> 5 & 7] : (s >> 17 & 0x1fffff));
		assert_int_equal(mem_write(r.f.env.mem, DESC, d, sizeof(d)), 0);
		outl(&r.f, FW_CFG_PORT + 8, __builtin_bswap32(DESC + (s >> 60 ? 0 : s >> 50 & 63)));
		bus_pio_write(r.f.bus, (uint16_t)(FW_CFG_PORT + (s >> 40) % 12), (uint32_t)s,
			      1u << (s >> 44) % 3);
		bus_pio_read(r.f.bus, (uint16_t)(FW_CFG_PORT + (s >> 48) % 12),
			     1u << (s >> 52) % 3);
		assert_true(r.c.offset <= 0x10000);
	}
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_dma), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_state), cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
