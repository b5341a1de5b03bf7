/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saving and restoring a machine in memory, and what hostile files do: payloads are
 * changed under checksums that are right, so that every section's own checks are
 * reached. BOTHY_FUZZ_ROUNDS sets how many; a seed is printed for what fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/engines.h"
#include "src/cpu/x86/x86.h"
#include "src/machine/board.h"
#include "src/vm/save.h"
#include "src/vm/save_file.h"
#include "tests/unit/cmocka_all.h"

#define MIB ((uint64_t)1 << 20)
#define HEADER 64u

struct world {
	struct bus *bus;
	struct vtime *vtime;
	struct mem *mem;
	struct cpus *cpus;
	struct board *board;
	struct save_machine parts;
	struct err err;
};

static void nothing(void *opaque) { }

static void world_init(struct world *w)
{
	struct cpus_config cc = { .count = 2, .engine = engine_lookup("interp") };
	struct board_config bc = { .memory_bytes = 4 * MIB, .vars_fd = -1 };

	memset(w, 0, sizeof(*w));
	w->bus = bus_new(NULL, &w->err);
	w->vtime = vtime_new(&w->bus->lock, true);
	w->mem = mem_new(1024 * MIB, &w->err);
	assert_true(w->bus && w->vtime && w->mem);
	cc.mem = w->mem;
	cc.bus = w->bus;
	cc.vtime = w->vtime;
	w->cpus = cpus_new(&cc, &w->err);
	assert_non_null(w->cpus);
	bc.cpus = w->cpus;
	bc.env = (struct dev_env){ .mem = w->mem, .bus = w->bus, .vtime = w->vtime,
				   .power_off = nothing, .reset = nothing };
	bc.panicked = nothing;
	if (board_new(&bc, &w->board, &w->err) < 0)
		fail_msg("%s", w->err.text);
	w->parts = (struct save_machine){ .mem = w->mem, .cpus = w->cpus, .board = w->board,
					  .vtime = w->vtime, .config = "{}" };
}

static void world_fini(struct world *w)
{
	board_free(w->board);
	cpus_free(w->cpus);
	vtime_free(w->vtime);
	mem_free(w->mem);
	bus_free(w->bus);
}

static void reset(struct world *w)
{
	bus_lock(w->bus);
	assert_int_equal(board_reset(w->board, &w->err), 0);
	cpus_reset(w->cpus);
	bus_unlock(w->bus);
}

static uint8_t *save(struct world *w, size_t *len)
{
	char path[] = "/tmp/bothy-save-XXXXXX";
	int fd = mkstemp(path);
	struct save_writer *s;
	uint8_t *data;

	assert_true(fd >= 0);
	s = save_writer_new(path, &w->err);
	assert_non_null(s);
	bus_lock(w->bus);
	vtime_pause(w->vtime);
	if (save_write(&w->parts, s, &w->err) < 0 || save_writer_finish(s, &w->err) < 0)
		fail_msg("%s", w->err.text);
	bus_unlock(w->bus);
	save_writer_free(s);
	close(fd);
	fd = open(path, O_RDONLY);
	*len = (size_t)lseek(fd, 0, SEEK_END);
	data = malloc(*len);
	assert_int_equal(pread(fd, data, *len, 0), *len);
	close(fd);
	unlink(path);
	return data;
}

static int load(struct world *w, const uint8_t *data, size_t len)
{
	struct save_reader *r;
	int ret = -EINVAL;

	reset(w);
	w->err.text[0] = '\0';
	r = save_reader_mem(data, len, &w->err);
	if (r) {
		bus_lock(w->bus);
		vtime_pause(w->vtime);
		ret = save_read(&w->parts, r, &w->err);
		bus_unlock(w->bus);
		save_reader_free(r);
	}
	/* Whatever fails says what. */
	assert_true(ret == 0 || w->err.text[0]);
	return ret;
}

/* What may differ from one save to the next: the real-time clock follows the host's,
 * and a processor's requests hold some of this process's own (a byte). */
static bool may_differ(const uint8_t *a, const uint8_t *b)
{
	const char *name = (const char *)a + 8;
	unsigned differ = 0;

	for (uint32_t n = 0; n < ld_le32(a + 52); n++)
		differ += a[HEADER + n] != b[HEADER + n];
	return strcmp(name, "mc146818") == 0 || (strcmp(name, "x86-cpu") == 0 && differ <= 1);
}

static void there_and_back(void **state)
{
	struct world a, b;
	uint8_t *one, *two;
	size_t len, len2;

	world_init(&a);
	world_init(&b);
	reset(&a);
	assert_int_equal(mem_write(a.mem, 0x12345, "hello", 5), 0);
	assert_int_equal(mem_write(b.mem, 0x300000, "goes", 4), 0);
	a.cpus->vcpu[1].x86->gpr[3] = 0x1234567890;
	atomic_store(&a.cpus->vcpu[1].sipi_vector, 0x9a);
	vtime_advance(a.vtime, 123456789);
	one = save(&a, &len);
	assert_int_equal(load(&b, one, len), 0);
	assert_memory_equal(mem_ptr(b.mem, 0x12345, 5, false), "hello", 5);
	assert_memory_equal(mem_ptr(b.mem, 0x300000, 4, false), "\0\0\0\0", 4);
	assert_int_equal(b.cpus->vcpu[1].x86->gpr[3], 0x1234567890);
	assert_int_equal(atomic_load(&b.cpus->vcpu[1].sipi_vector), 0x9a);
	assert_int_equal(vtime_now_ns(b.vtime), 123456789);
	/* Saved again it is the same file but for the time in its header. */
	two = save(&b, &len2);
	assert_int_equal(len, len2);
	for (size_t at = HEADER; at < len; at += HEADER + ld_le32(one + at + 52))
		if (memcmp(one + at, two + at, HEADER + ld_le32(one + at + 52)) != 0)
			assert_true(may_differ(one + at, two + at));
	free(one);
	free(two);
	world_fini(&a);
	world_fini(&b);
}

/*
 * The fuzzer.
 */
static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void seal(uint8_t *h)
{
	st_le32(h + 60, (uint32_t)crc32(0, h + HEADER, ld_le32(h + 52)));
	st_le32(h + 4, 0);
	st_le32(h + 4, (uint32_t)crc32(0, h, HEADER));
}

/* Changes some bytes of one section, its header's now and then too. */
static void mutate(uint8_t *data, size_t len, uint64_t *seed)
{
	static const uint8_t interesting[] = { 0, 1, 0x7f, 0x80, 0xff, 0x10, 0x40 };
	size_t at = HEADER, count = 0, want;

	for (at = HEADER; at < len; at += HEADER + ld_le32(data + at + 52))
		count++;
	want = rnd(seed) % count;
	for (at = HEADER; want--; at += HEADER + ld_le32(data + at + 52))
		;
	for (unsigned n = rnd(seed) % 4 + 1; n; n--) {
		uint32_t stored = ld_le32(data + at + 52);

		if (stored && rnd(seed) % 8)
			data[at + HEADER + rnd(seed) % stored] =
				rnd(seed) % 2 ? interesting[rnd(seed) % sizeof(interesting)]
					      : (uint8_t)rnd(seed);
		else /* not the stored length: the sections behind stay where they are */
			data[at + 40 + rnd(seed) % 12] ^= (uint8_t)(1u << rnd(seed) % 8);
	}
	seal(data + at);
}

static void hostile(void **state)
{
	const char *env = getenv("BOTHY_FUZZ_ROUNDS");
	unsigned rounds = env ? (unsigned)strtoul(env, NULL, 10) : 3000, loaded = 0;
	uint8_t *data, *copy;
	struct world w;
	size_t len;

	world_init(&w);
	reset(&w);
	assert_int_equal(mem_write(w.mem, 0x8000, "code", 4), 0);
	data = save(&w, &len);
	copy = malloc(len);
	for (unsigned n = 0; n < rounds; n++) {
		uint64_t seed = n * 0x9e3779b97f4a7c15ull + 1;

		memcpy(copy, data, len);
		for (unsigned k = rnd(&seed) % 3 + 1; k; k--)
			mutate(copy, len, &seed);
		if (load(&w, copy, rnd(&seed) % 16 ? len : rnd(&seed) % len) == 0) {
			loaded++;
			/* What was believed must be safe to run and to save. */
			for (uint16_t port = 0x20; port < 0x22; port++)
				bus_pio_read(w.bus, port, 1);
			vtime_resume(w.vtime);
			vtime_advance(w.vtime, 1000000);
			vtime_run(w.vtime);
			if (n % 16 == 0) {
				size_t again;

				free(save(&w, &again));
			}
		}
	}
	print_message("%u of %u hostile files were restored\n", loaded, rounds);
	assert_true(loaded > 0 && loaded < rounds);
	/* The machine can still take a good one. */
	assert_int_equal(load(&w, data, len), 0);
	free(copy);
	free(data);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
