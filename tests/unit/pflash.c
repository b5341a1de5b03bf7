/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flash memory: commands as the data sheet tells, what is kept, hostile sequences.
 * BOTHY_FUZZ_ROUNDS sets how many of those (default: quick). */
#include <errno.h>

#include "src/dev/firmware/pflash.h"
#include "tests/unit/dev_fixture.h"

#define BASE 0xffc00000u
#define LEN 0x10000u

struct rig {
	struct fixture f;
	struct pflash p;
	struct mem_block *block;
	uint8_t kept[LEN];
	unsigned stores, syncs;
	int store_error;
};

static int store(void *opaque, uint64_t off, const void *p, size_t len)
{
	struct rig *r = opaque;

	if (r->store_error)
		return r->store_error;
	assert_true(off < LEN && len <= LEN - off);
	memcpy(r->kept + off, p, len);
	r->stores++;
	return 0;
}

static int sync_store(void *opaque)
{
	((struct rig *)opaque)->syncs++;
	return 0;
}

static void rig_init(struct rig *r, bool read_only)
{
	uint8_t pattern[LEN];

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	r->f.env.mem = mem_new(16 * LEN, NULL);
	assert_non_null(r->f.env.mem);
	r->block = mem_block_new(r->f.env.mem, "flash", LEN, true, NULL);
	assert_non_null(r->block);
	for (unsigned n = 0; n < LEN; n++)
		pattern[n] = (uint8_t)(n ^ n >> 8 ^ 0xa5);
	memcpy(r->kept, pattern, LEN);
	assert_int_equal(mem_block_write(r->f.env.mem, r->block, 0, pattern, LEN), 0);
	assert_int_equal(pflash_init(&r->p, &r->f.env, &(struct pflash_config){
		.name = "flash", .block = r->block, .base = BASE, .read_only = read_only,
		.store = store, .sync = sync_store, .opaque = r }, NULL), 0);
}

static void rig_fini(struct rig *r)
{
	pflash_fini(&r->p);
	pflash_fini(&r->p);
	assert_memory_equal(r->kept, r->block->host, LEN);
	mem_free(r->f.env.mem);
	fixture_fini(&r->f);
}

static void wr(struct rig *r, uint32_t off, uint8_t v) { bus_mmio_write(r->f.bus, BASE + off, v, 1); }

/* As a guest reads: what the map shows, else what the bus gives. */
static uint8_t rd(struct rig *r, uint32_t off)
{
	uint8_t *p = mem_ptr(r->f.env.mem, BASE + off, 1, false);

	return p ? *p : (uint8_t)bus_mmio_read(r->f.bus, BASE + off, 1);
}

static bool shown(struct rig *r) { return mem_ptr(r->f.env.mem, BASE, LEN, false) != NULL; }

static void test_modes(void **state)
{
	struct rig r;

	rig_init(&r, false);
	assert_true(shown(&r));
	assert_null(mem_ptr(r.f.env.mem, BASE, 1, true));
	assert_int_equal(rd(&r, 0x123), 0x123 ^ 0x100 ^ 1 ^ 0xa5);
	wr(&r, 0, 0x70);
	assert_false(shown(&r));
	assert_int_equal(rd(&r, 0x1000), 0x80);
	/* How UEFI firmware tells flash from RAM and ROM. */
	wr(&r, 0x10, 0x50);
	assert_int_equal(rd(&r, 0x10), 0x10 ^ 0xa5);
	wr(&r, 0x10, 0x70);
	assert_int_equal(rd(&r, 0x10), 0);
	wr(&r, 0, 0x90);
	assert_int_equal(rd(&r, 0), 0x89);
	assert_int_equal(rd(&r, 1), 0x18);
	wr(&r, 0x55, 0x98);
	assert_int_equal(rd(&r, 0x10), 'Q');
	assert_int_equal(rd(&r, 0x11), 'R');
	assert_int_equal(rd(&r, 0x12), 'Y');
	assert_int_equal(rd(&r, 0x27), 16);
	assert_int_equal(rd(&r, 0x2a), 8);
	assert_int_equal((rd(&r, 0x2d) | rd(&r, 0x2e) << 8) + 1, LEN / PFLASH_SECTOR);
	assert_int_equal((rd(&r, 0x2f) | rd(&r, 0x30) << 8) * 256, PFLASH_SECTOR);
	wr(&r, 0, 0xff);
	assert_true(shown(&r));
	/* To and fro without end. */
	for (unsigned n = 0; n < 1000; n++) {
		wr(&r, 0, 0x70);
		wr(&r, 0, 0xff);
	}
	assert_true(shown(&r));
	/* An unknown command leads back to the array. */
	wr(&r, 0, 0x70);
	wr(&r, 0, 0x33);
	assert_true(shown(&r));
	assert_int_equal(r.stores + r.syncs, 0);
	rig_fini(&r);
}

static void test_program(void **state)
{
	struct rig r;

	rig_init(&r, false);
	/* Only bits that are set can be cleared. */
	wr(&r, 0x20, 0x10);
	wr(&r, 0x20, 0xf0);
	assert_int_equal(rd(&r, 0x20), 0x80);
	wr(&r, 0x21, 0x40);
	wr(&r, 0x21, 0x00);
	assert_int_equal(r.syncs, 0);
	wr(&r, 0, 0xff);
	assert_int_equal(r.syncs, 1);
	assert_int_equal(r.stores, 2);
	assert_int_equal(rd(&r, 0x20), (0x20 ^ 0xa5) & 0xf0);
	assert_int_equal(rd(&r, 0x21), 0);
	/* Erasing: the sector, and nothing beside it. */
	wr(&r, 0x1234, 0x20);
	wr(&r, 0x1234, 0xd0);
	assert_int_equal(rd(&r, 0), 0x80);
	wr(&r, 0, 0xff);
	for (unsigned n = 0x1000; n < 0x2000; n++)
		assert_int_equal(rd(&r, n), 0xff);
	assert_int_equal(rd(&r, 0xfff), (uint8_t)(0xfff ^ 0xf ^ 0xa5));
	assert_int_equal(rd(&r, 0x2000), (uint8_t)(0x20 ^ 0xa5));
	/* Not confirmed. */
	wr(&r, 0x3000, 0x20);
	wr(&r, 0x3000, 0x20);
	assert_int_equal(rd(&r, 0), 0xb0);
	wr(&r, 0, 0x50);
	assert_int_equal(rd(&r, 0x3000), (uint8_t)(0x30 ^ 0xa5));
	rig_fini(&r);
}

static void test_buffer(void **state)
{
	struct rig r;

	rig_init(&r, false);
	wr(&r, 0x1000, 0x20);
	wr(&r, 0x1000, 0xd0);
	wr(&r, 0x1000, 0xe8);
	assert_int_equal(rd(&r, 0x1000) & 0x80, 0x80);
	wr(&r, 0x1000, 3); /* four bytes, in any order */
	for (unsigned n = 0; n < 4; n++)
		wr(&r, 0x1013 - n, (uint8_t)(0x40 + n));
	wr(&r, 0x1000, 0xd0);
	assert_int_equal(rd(&r, 0), 0x80);
	wr(&r, 0, 0xff);
	assert_memory_equal(r.block->host + 0x100f, "\xff\x43\x42\x41\x40\xff", 6);
	/* A whole one. */
	wr(&r, 0x1100, 0xe8);
	wr(&r, 0x1100, 0xff);
	for (unsigned n = 0; n < 256; n++)
		wr(&r, 0x1100 + n, (uint8_t)n);
	wr(&r, 0x1100, 0xd0);
	wr(&r, 0, 0xff);
	for (unsigned n = 0; n < 256; n++)
		assert_int_equal(rd(&r, 0x1100 + n), n);
	/* Across its end; not confirmed: errors, and nothing changes. */
	for (unsigned k = 0; k < 2; k++) {
		wr(&r, 0x1200, 0xe8);
		wr(&r, 0x1200, 1);
		wr(&r, 0x12ff, 0);
		wr(&r, k ? 0x12fe : 0x1300, 0);
		wr(&r, 0x1200, k ? 0xff : 0xd0);
		assert_int_equal(rd(&r, 0), 0xb0);
		wr(&r, 0, 0x50);
	}
	assert_int_equal(rd(&r, 0x12ff), 0xff);
	rig_fini(&r);
}

static void test_protected(void **state)
{
	struct rig r;

	rig_init(&r, true);
	wr(&r, 0, 0x10);
	wr(&r, 0, 0);
	assert_int_equal(rd(&r, 0), 0x92);
	wr(&r, 0, 0x50);
	wr(&r, 0, 0x20);
	wr(&r, 0, 0xd0);
	assert_int_equal(rd(&r, 0), 0xa2);
	wr(&r, 0, 0xff);
	assert_int_equal(rd(&r, 0), 0xa5);
	assert_int_equal(r.stores, 0);
	rig_fini(&r);
	/* The host's disk is full: the guest is told, memory and file stay the same. */
	rig_init(&r, false);
	r.store_error = -ENOSPC;
	wr(&r, 0, 0x20);
	wr(&r, 0, 0xd0);
	assert_int_equal(rd(&r, 0), 0xa0);
	wr(&r, 0, 0xff);
	assert_int_equal(rd(&r, 0), 0xa5);
	rig_fini(&r);
}

static void poke(void *obj)
{
	struct pflash *p = obj;
	struct bus *b = p->env->bus;

	for (unsigned n = 0; n < 300; n++)
		bus_mmio_write(b, BASE + n * 7 % LEN, n == 299 ? 0xd0 : n, 1);
	bus_mmio_read(b, BASE, 4);
}

static void test_state(void **state)
{
	struct rig r;

	rig_init(&r, false);
	wr(&r, 0x1200, 0xe8);
	wr(&r, 0x1200, 2);
	wr(&r, 0x1203, 0);
	check_roundtrip(pflash_desc.state, &r.p);
	wr(&r, 0x1204, 0);
	wr(&r, 0x1205, 0);
	wr(&r, 0, 0xd0);
	assert_int_equal(rd(&r, 0), 0x80);
	assert_memory_equal(r.block->host + 0x1203, "\0\0\0", 3);
	check_hostile(pflash_desc.state, &r.p, poke, 500);
	pflash_desc.reset(&r.p);
	assert_true(shown(&r));
	rig_fini(&r);
}

/* Random commands, addresses and sizes: the file is always what the guest sees. */
static void test_fuzz(void **state)
{
	static const uint8_t commands[] = { 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xb0,
					    0xd0, 0xe8, 0xff, 0x00, 0x01, 0x05 };
	const char *env = getenv("BOTHY_FUZZ_ROUNDS");
	unsigned long rounds = env ? strtoul(env, NULL, 10) : 30000;
	uint64_t s = 0x9e3779b97f4a7c15ull;
	struct rig r;

	rig_init(&r, false);
	for (unsigned long n = 0; n < rounds; n++) {
		unsigned size = 1u << (s >> 60 & 3);
		uint32_t at;
		uint64_t v;

		s = s * 6364136223846793005ull + 1442695040888963407ull;
		at = (uint32_t)(s >> 33) % (s >> 20 & 1 ? LEN : 0x200) & ~(size - 1);
		v = s >> 21 & 3 ? commands[(s >> 24) % array_size(commands)] : s >> 40;
		if (s >> 19 & 1 || size == 1)
			bus_mmio_write(r.f.bus, BASE + at, v, s >> 16 & 7 ? 1 : size);
		else
			bus_mmio_read(r.f.bus, BASE + at, size);
		if ((n & 0xfff) == 0xfff)
			assert_memory_equal(r.kept, r.block->host, LEN);
	}
	assert_true(r.stores > 0 && r.syncs > 0);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes), cmocka_unit_test(test_program),
		cmocka_unit_test(test_buffer), cmocka_unit_test(test_protected),
		cmocka_unit_test(test_state), cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
