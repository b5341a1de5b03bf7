/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC board: the memory map for many sizes, who answers where, and that what
 * the guest asks of the board arrives. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/engines.h"
#include "src/machine/board.h"
#include "tests/unit/cmocka_all.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

struct world {
	struct bus *bus;
	struct vtime *vtime;
	struct mem *mem;
	struct cpus *cpus;
	struct board *board;
	struct err err;
	unsigned offs, resets, panics;
};

static void count_off(void *w) { ((struct world *)w)->offs++; }
static void count_reset(void *w) { ((struct world *)w)->resets++; }
static void count_panic(void *w) { ((struct world *)w)->panics++; }

static void world_init(struct world *w, uint64_t memory, unsigned cpus)
{
	struct cpus_config cc = { .count = cpus, .engine = engine_lookup("interp") };
	struct board_config bc = { .memory_bytes = memory };

	memset(w, 0, sizeof(*w));
	w->bus = bus_new(NULL, &w->err);
	assert_non_null(w->bus);
	w->vtime = vtime_new(&w->bus->lock, true);
	assert_non_null(w->vtime);
	w->mem = mem_new(memory + GIB, &w->err);
	assert_non_null(w->mem);
	cc.mem = w->mem;
	cc.bus = w->bus;
	cc.vtime = w->vtime;
	w->cpus = cpus_new(&cc, &w->err);
	assert_non_null(w->cpus);
	bc.cpus = w->cpus;
	bc.env = (struct dev_env){ .mem = w->mem, .bus = w->bus, .vtime = w->vtime,
				   .power_off = count_off, .reset = count_reset,
				   .power_opaque = w };
	bc.panicked = count_panic;
	bc.panicked_opaque = w;
	if (board_new(&bc, &w->board, &w->err) < 0)
		fail_msg("%s", w->err.text);
	bus_lock(w->bus);
	assert_int_equal(board_reset(w->board, &w->err), 0);
	bus_unlock(w->bus);
}

static void world_fini(struct world *w)
{
	board_free(w->board);
	cpus_free(w->cpus);
	vtime_free(w->vtime);
	mem_free(w->mem);
	bus_free(w->bus);
}

/* Sorted, apart from each other, RAM where the map says and only there. */
static void memory_maps(void **state)
{
	struct mem_slot slot;
	static const uint64_t sizes[] = {
		2 * MIB, 16 * MIB, 512 * MIB, 2816 * MIB, 2816 * MIB + 4096, 3 * GIB, 4 * GIB,
		5 * GIB, 600 * GIB, 1100 * GIB,
	};

	for (size_t s = 0; s < array_size(sizes); s++) {
		const struct e820_entry *map;
		uint64_t ram = 0, end = 0;
		struct world w;
		size_t n;

		world_init(&w, sizes[s], 1);
		map = board_map(w.board, &n);
		for (size_t i = 0; i < n; i++) {
			gpa_t last = map[i].start + map[i].len - 1;

			assert_true(map[i].start >= end && map[i].len);
			end = map[i].start + map[i].len;
			if (map[i].type != E820_RAM)
				continue;
			ram += map[i].len;
			assert_non_null(mem_ptr(w.mem, map[i].start, 1, true));
			assert_non_null(mem_ptr(w.mem, last, 1, true));
			assert_true(last < 1ull << w.mem->phys_bits);
			/* Nothing of it where chipset or PCI memory is. */
			assert_true(last < 0xb0000000 || map[i].start >= 4 * GIB);
		}
		/* All but the display's hole and what the tables' page range takes. */
		assert_int_equal(sizes[s] - ram, MIB - 0x9fc00);
		assert_false(mem_slot_at(w.mem, 0xa0000, &slot));
		assert_false(mem_slot_at(w.mem, 0xb0000000, &slot));
		assert_false(mem_slot_at(w.mem, 0xfee00000, &slot));
		assert_memory_equal(mem_ptr(w.mem, board_rsdp(w.board), 8, false), "RSD PTR ", 8);
		world_fini(&w);
	}
}

static void who_answers(void **state)
{
	struct world w;

	world_init(&w, 64 * MIB, 2);
	/* Host bridge and LPC through ports and through memory. */
	bus_pio_write(w.bus, 0xcf8, 0x80000000, 4);
	assert_int_equal(bus_pio_read(w.bus, 0xcfc, 4), 0x29c08086);
	assert_int_equal(bus_mmio_read(w.bus, 0xb0000000 + (0x1f << 15), 4), 0x29188086);
	assert_int_equal(bus_mmio_read(w.bus, 0xb0000000 + (0x05 << 15), 4), 0xffffffff);
	/* I/O APIC: version 0x20, 24 pins. */
	bus_mmio_write(w.bus, 0xfec00000, 1, 4);
	assert_int_equal(bus_mmio_read(w.bus, 0xfec00010, 4) & 0xff00ff, 0x170020);
	/* HPET: a period, and a vendor. */
	assert_true(bus_mmio_read(w.bus, 0xfed00000, 8) >> 32 > 0);
	assert_int_equal(bus_pio_read(w.bus, 0x3fd, 1), 0x60); /* COM1: ready to send */
	assert_int_equal(bus_pio_read(w.bus, 0x2fd, 1), 0xff); /* no COM2 */
	assert_int_equal(bus_pio_read(w.bus, 0x505, 1), 1);
	/* The PM timer runs with the machine's clock. */
	uint32_t before = bus_pio_read(w.bus, 0x608, 4);
	vtime_advance(w.vtime, 1000000);
	assert_in_range(bus_pio_read(w.bus, 0x608, 4) - before, 3579, 3580);
	world_fini(&w);
}

static void what_the_guest_asks(void **state)
{
	struct world w;

	world_init(&w, 64 * MIB, 1);
	bus_pio_write(w.bus, 0x505, 1, 1);
	assert_int_equal(w.panics, 1);
	bus_pio_write(w.bus, 0x505, 2, 1); /* a crash kernel was loaded: not a panic */
	assert_int_equal(w.panics, 1);
	bus_pio_write(w.bus, 0xcf9, 0x02, 1);
	assert_int_equal(w.resets, 0);
	bus_pio_write(w.bus, 0xcf9, 0x06, 1);
	assert_int_equal(w.resets, 1);
	bus_pio_write(w.bus, 0x64, 0xfe, 1); /* the keyboard controller's reset pulse */
	assert_int_equal(w.resets, 2);
	bus_pio_write(w.bus, 0x92, 0x01, 1);
	assert_int_equal(w.resets, 3);
	assert_int_equal(w.offs, 0);
	bus_pio_write(w.bus, 0x604, 0x2000, 2); /* S5 */
	assert_int_equal(w.offs, 1);
	world_fini(&w);
}

/* The A20 gate reaches the processors, and a reset opens it again. */
static void a20(void **state)
{
	struct world w;

	world_init(&w, 64 * MIB, 2);
	assert_true(w.cpus->a20_mask == ~0ull);
	bus_pio_write(w.bus, 0x92, 0x00, 1);
	assert_true(w.cpus->a20_mask == ~(1ull << 20));
	bus_lock(w.bus);
	assert_int_equal(board_reset(w.board, &w.err), 0);
	bus_unlock(w.bus);
	assert_true(w.cpus->a20_mask == ~0ull);
	world_fini(&w);
}

static int count_part(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	struct state_buf buf = { 0 };
	struct err err;
	unsigned *n = opaque;

	assert_non_null(dev);
	assert_int_equal(state_save(&buf, desc->state, dev, instance), 0);
	buf.pos = 0;
	if (state_load(&buf, desc->state, dev, instance, &err) < 0)
		fail_msg("%s: %s", desc->name, err.text);
	assert_int_equal(buf.pos, buf.len);
	state_buf_fini(&buf);
	(*n)++;
	return 0;
}

/* Every part with state takes back what it gave. */
static void parts_keep_their_state(void **state)
{
	struct world w;
	unsigned parts = 0;

	world_init(&w, 64 * MIB, 1);
	bus_lock(w.bus);
	assert_int_equal(board_each(w.board, count_part, &parts), 0);
	bus_unlock(w.bus);
	assert_true(parts >= 10);
	world_fini(&w);
}

/* A reset writes the tables again, whatever the guest did to them. */
static void tables_come_back(void **state)
{
	uint8_t junk[64], *p;
	struct world w;

	memset(junk, 0x55, sizeof(junk));
	world_init(&w, 64 * MIB, 1);
	assert_int_equal(mem_write(w.mem, board_rsdp(w.board), junk, sizeof(junk)), 0);
	bus_lock(w.bus);
	assert_int_equal(board_reset(w.board, &w.err), 0);
	bus_unlock(w.bus);
	p = mem_ptr(w.mem, board_rsdp(w.board), 20, false);
	assert_memory_equal(p, "RSD PTR ", 8);
	for (unsigned i = junk[0] = 0; i < 20; i++)
		junk[0] += p[i];
	assert_int_equal(junk[0], 0); /* its checksum */
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_maps),
		cmocka_unit_test(who_answers),
		cmocka_unit_test(what_the_guest_asks),
		cmocka_unit_test(a20),
		cmocka_unit_test(parts_keep_their_state),
		cmocka_unit_test(tables_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
