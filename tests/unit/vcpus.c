/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCPU threads: pausing them, also while some have the complex to themselves or sleep. */
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

static struct cpus *started(const struct engine_desc *e, struct cpus_config *cfg)
{
	struct mem_block *ram;
	struct cpus *s;
	struct err err;

	*cfg = (struct cpus_config){ .count = CPUS, .model = "x86-64-v1", .engine = e };
	cfg->bus = bus_new(NULL, &err);
	cfg->vtime = vtime_new(&cfg->bus->lock, false);
	cfg->mem = mem_new(RAM, &err);
	ram = mem_block_new(cfg->mem, "ram", RAM, false, &err);
	assert_non_null(ram);
	assert_int_equal(mem_map_set(cfg->mem, 0, RAM, ram, 0, true, true), 0);
	s = cpus_new(cfg, &err);
	if (!s)
		fail_msg("%s", err.text);
	for (unsigned n = 0; n < CPUS; n++)
		s->vcpu[n].x86->wait_sipi = false;
	assert_int_equal(cpus_start(s, &err), 0);
	return s;
}

static void ended(struct cpus *s, struct cpus_config *cfg)
{
	cpus_free(s);
	mem_free(cfg->mem);
	vtime_free(cfg->vtime);
	bus_free(cfg->bus);
}

static void test_pause(void **state)
{
	struct cpus_config cfg;
	struct cpus *s = started(&engine, &cfg);

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
	ended(s, &cfg);
}

/*
 * Processors that only sleep: the engine is told after some seconds, and not while the
 * machine is paused, when it may be going away.
 */
static atomic_uint told, outside;

static void sleeps(struct vcpu *v) { v->x86->halted = true; }

static void hears(struct vcpu *v)
{
	struct cpus *s = v->cpus;

	pthread_mutex_lock(&s->gate);
	if (!s->inside)
		atomic_fetch_add(&outside, 1);
	pthread_mutex_unlock(&s->gate);
	atomic_fetch_add(&told, 1);
}

static void test_idle(void **state)
{
	static const struct engine_desc lazy = { .name = "lazy", .run = sleeps, .idle = hears };
	struct cpus_config cfg;
	struct cpus *s = started(&lazy, &cfg);

	for (unsigned n = 0; n < 300 && !atomic_load(&told); n++) {
		cpus_resume(s);
		usleep(100000);
		cpus_pause(s);
	}
	assert_true(atomic_load(&told) > 0);
	assert_int_equal(atomic_load(&outside), 0);
	ended(s, &cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_pause), cmocka_unit_test(test_idle) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
