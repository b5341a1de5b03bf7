/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCPU threads: pausing them, also while some have the complex to themselves. */
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/access.h"

enum { RAM = 1 << 20, CPUS = 3, ROUNDS = 300 };

static atomic_uint running, alone;
static atomic_ulong turns, sections;
static atomic_bool met;

/* An engine whose every other instruction wants the other processors away. */
static void run(struct vcpu *v)
{
	struct x86_cpu *c = v->x86;

	atomic_fetch_add(&running, 1);
	do {
		atomic_fetch_add(&turns, 1);
		if (atomic_load(&turns) & 1)
			continue;
		x86_exclusive_begin(c);
		if (atomic_fetch_add(&alone, 1))
			atomic_store(&met, true);
		usleep(50);
		atomic_fetch_add(&sections, 1);
		atomic_fetch_sub(&alone, 1);
		x86_exclusive_end(c);
	} while (!(atomic_load(&c->request) & X86_REQ_EXIT));
	atomic_fetch_sub(&running, 1);
}

static const struct engine_desc engine = { .name = "sections", .run = run };

static void test_pause(void **state)
{
	struct cpus_config cfg = { .count = CPUS, .model = "x86-64-v1", .engine = &engine };
	struct mem_block *ram;
	struct cpus *s;
	struct err err;

	cfg.bus = bus_new(NULL, &err);
	cfg.vtime = vtime_new(&cfg.bus->lock, false);
	cfg.mem = mem_new(RAM, &err);
	ram = mem_block_new(cfg.mem, "ram", RAM, false, &err);
	assert_non_null(ram);
	assert_int_equal(mem_map_set(cfg.mem, 0, RAM, ram, 0, true, true), 0);
	s = cpus_new(&cfg, &err);
	if (!s)
		fail_msg("%s", err.text);
	for (unsigned n = 0; n < CPUS; n++)
		s->vcpu[n].x86->wait_sipi = false;
	assert_int_equal(cpus_start(s, &err), 0);
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned long then;

		cpus_resume(s);
		usleep(n * 7 % 400);
		cpus_pause(s);
		assert_int_equal(atomic_load(&running), 0);
		assert_int_equal(atomic_load(&alone), 0);
		then = atomic_load(&turns);
		usleep(100);
		assert_int_equal(atomic_load(&turns), then);
	}
	assert_true(atomic_load(&sections) > ROUNDS);
	assert_false(atomic_load(&met));
	cpus_free(s);
	mem_free(cfg.mem);
	vtime_free(cfg.vtime);
	bus_free(cfg.bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_pause) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
