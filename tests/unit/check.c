/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine that checks the translator: agrees where both are right, with inputs
 * and devices' stores about, and notices every planted mistake.
 */
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/check/check.h"
#include "src/cpu/jit/jit.h"
#include "src/cpu/x86/access.h"

#define RAM (2u << 20)
#define TABLES 0x1000u
#define CODE 0x10000u
#define DATA 0x20000u
#define STACK 0x30000u

struct rig {
	struct bus *bus;
	struct vtime *vt;
	struct mem *mem;
	struct cpus *s;
	struct log log;
	bool failed;
	char said[65536];
};

static void failed(void *opaque, unsigned vcpu)
{
	((struct rig *)opaque)->failed = true;
}

static void put64(struct rig *r, gpa_t at, uint64_t v)
{
	assert_int_equal(mem_write(r->mem, at, &v, 8), 0);
}

/* 64-bit code at CPL 0, the first 2 MiB mapped to themselves. */
static void enter_long_mode(struct rig *r, struct x86_cpu *c)
{
	struct x86_seg code = { .sel = 8, .attr = 0xa9b, .limit = ~0u };
	struct x86_seg data = { .sel = 16, .attr = 0xc93, .limit = ~0u };

	put64(r, TABLES, (TABLES + 0x1000) | 3);
	put64(r, TABLES + 0x1000, (TABLES + 0x2000) | 3);
	put64(r, TABLES + 0x2000, 0x83);
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = n == X86_CS ? code : data;
	c->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
	c->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR;
	c->efer = X86_EFER_LME | X86_EFER_LMA;
	c->cr3 = TABLES;
	c->rip = CODE;
	c->gpr[X86_RSP] = STACK;
	c->rflags = X86_FL_FIXED;
	x86_tlb_flush_all(c);
	x86_update_mode(c);
}

static void rig_init(struct rig *r, const uint8_t *code, size_t len)
{
	struct cpus_config cfg = { .count = 1, .model = "host", .engine = &check_engine };
	struct mem_block *ram;
	struct err err;

	memset(r, 0, sizeof(*r));
	r->log.fd = memfd_create("said", 0);
	r->bus = bus_new(&r->log, &err);
	r->vt = vtime_new(&r->bus->lock, false);
	r->mem = mem_new(RAM, &err);
	ram = mem_block_new(r->mem, "ram", RAM, false, &err);
	assert_non_null(ram);
	assert_int_equal(mem_map_set(r->mem, 0, RAM, ram, 0, true, true), 0);
	cfg.mem = r->mem;
	cfg.bus = r->bus;
	cfg.vtime = r->vt;
	cfg.log = &r->log;
	r->s = cpus_new(&cfg, &err);
	if (!r->s)
		fail_msg("%s", err.text);
	r->s->engine_broken = failed;
	r->s->vm_opaque = r;
	assert_int_equal(mem_write(r->mem, CODE, code, len), 0);
	enter_long_mode(r, r->s->vcpu[0].x86);
}

static void rig_fini(struct rig *r)
{
	cpus_free(r->s);
	mem_free(r->mem);
	vtime_free(r->vt);
	bus_free(r->bus);
	close(r->log.fd);
}

/* Until HLT, or until the engine gives up. */
static void run(struct rig *r)
{
	ssize_t n;

	check_engine.run(&r->s->vcpu[0]);
	n = pread(r->log.fd, r->said, sizeof(r->said) - 1, 0);
	r->said[n > 0 ? n : 0] = 0;
	if (!r->failed)
		assert_true(r->s->vcpu[0].x86->halted);
}

static uint64_t counter(struct rig *r, const char *name)
{
	struct engine_stat st[ENGINE_STATS_MAX];
	unsigned n = cpus_stats(r->s, 0, st);

	for (unsigned k = 0; k < n; k++)
		if (!strcmp(st[k].name, name))
			return st[k].value;
	fail_msg("no counter %s", name);
	return 0;
}

/* mov ecx, 2000; 1: mov rax, rcx; mov [DATA], rax; add rbx, [DATA];
 * sub ecx, 1; mov rdx, rcx; jnz 1b; hlt */
static const uint8_t plain[] = {
	0xb9, 0xd0, 0x07, 0, 0,
	0x48, 0x89, 0xc8, 0x48, 0x89, 0x04, 0x25, 0, 0, 2, 0, 0x48, 0x03, 0x1c, 0x25, 0, 0, 2, 0,
	0x83, 0xe9, 1, 0x48, 0x89, 0xca, 0x75, 0xe5, 0xf4,
};

static void agree(void **state)
{
	struct rig r;

	rig_init(&r, plain, sizeof(plain));
	run(&r);
	assert_string_equal(r.said, "");
	assert_false(r.failed);
	assert_int_equal(r.s->vcpu[0].x86->gpr[X86_RBX], 2000 * 2001 / 2);
	assert_int_equal(counter(&r, "check-instructions"), 2 + 2000 * 6);
	assert_true(counter(&r, "translations") > 0);
	assert_int_equal(counter(&r, "check-taken-over"), 0);
	rig_fini(&r);
}

/* rdtsc; mov r8, rax; in al, 0x61; rdrand r9; mov ecx, 0x1b; rdmsr, 300 times */
static const uint8_t inputs[] = {
	0xbd, 0x2c, 0x01, 0, 0,
	0x0f, 0x31, 0x49, 0x89, 0xc0, 0xe4, 0x61, 0x49, 0x0f, 0xc7, 0xf1, 0xb9, 0x1b, 0, 0, 0,
	0x0f, 0x32, 0x83, 0xed, 1, 0x75, 0xe9, 0xf4,
};

static void inputs_are_the_same(void **state)
{
	struct rig r;

	rig_init(&r, inputs, sizeof(inputs));
	if (!x86_has(r.s->vcpu[0].x86, X86_F_RDRAND)) {
		rig_fini(&r);
		skip(); /* the model is the host's */
	}
	run(&r);
	assert_string_equal(r.said, "");
	assert_int_equal(counter(&r, "check-instructions"), 2 + 300 * 8);
	rig_fini(&r);
}

static void planted(const uint8_t *code, size_t len, enum jit_plant what, const char *mark)
{
	struct rig r;

	rig_init(&r, code, len);
	jit_plant_bug(&r.s->vcpu[0], what);
	run(&r);
	assert_true(r.failed);
	if (!strstr(r.said, mark) || !strstr(r.said, "differ") || !strstr(r.said, "mov rdx, rcx") ||
	    !strstr(r.said, "block 0000000000010005 64-bit kernel"))
		fail_msg("no '%s' or no listing in: %s", mark, r.said);
	/* Nothing runs any more. */
	check_engine.run(&r.s->vcpu[0]);
	assert_true(r.s->vcpu[0].x86->wait_sipi);
	rig_fini(&r);
}

static void wrong_register_is_noticed(void **state)
{
	planted(plain, sizeof(plain), JIT_PLANT_REGISTER, "\n* rbx ");
}

static void wrong_flag_is_noticed(void **state)
{
	planted(plain, sizeof(plain), JIT_PLANT_FLAG, "\n* rflags ");
}

static void wrong_store_is_noticed(void **state)
{
	planted(plain, sizeof(plain), JIT_PLANT_STORE, "* memory at physical 0x20000: translator ");
}

/* Memory that changes behind everybody's back, and by a device that says so. */
struct writer {
	struct rig *r;
	bool tells;
	_Atomic bool stop, began;
};

static void *write_memory(void *opaque)
{
	struct writer *w = opaque;

	for (uint64_t v = 1; !atomic_load(&w->stop); v++) {
		if (w->tells)
			assert_int_equal(mem_write(w->r->mem, DATA, &v, 8), 0);
		else
			memcpy(w->r->mem->window + DATA, &v, 8);
		atomic_store(&w->began, true);
	}
	return NULL;
}

/* mov ecx, 300000; 1: mov rax, [DATA]; add rbx, rax; sub ecx, 1; jnz 1b; hlt */
static const uint8_t reader[] = {
	0xb9, 0xe0, 0x93, 0x04, 0, 0x48, 0x8b, 0x04, 0x25, 0, 0, 2, 0, 0x48, 0x01, 0xc3,
	0x83, 0xe9, 1, 0x75, 0xf0, 0xf4,
};

static void run_beside_writer(struct rig *r, bool tells)
{
	struct writer w = { .r = r, .tells = tells };
	pthread_t t;

	rig_init(r, reader, sizeof(reader));
	assert_int_equal(pthread_create(&t, NULL, write_memory, &w), 0);
	while (!atomic_load(&w.began))
		sched_yield();
	run(r);
	atomic_store(&w.stop, true);
	pthread_join(t, NULL);
}

static void device_may_write(void **state)
{
	struct rig r;

	run_beside_writer(&r, true);
	assert_string_equal(r.said, "");
	assert_false(r.failed);
	assert_true(counter(&r, "check-stretches") > 1000);
	rig_fini(&r);
}

static void silent_store_is_noticed(void **state)
{
	struct rig r;

	run_beside_writer(&r, false);
	assert_true(r.failed);
	assert_non_null(strstr(r.said, "* rbx "));
	rig_fini(&r);
}

/* cld; mov edi, DATA + 0xf80; mov ecx, 0x100; rep stosb, the second page absent: a
 * fault in the middle, with no IDT a triple fault. */
static const uint8_t fault[] = {
	0xfc, 0xbf, 0x80, 0xff, 0x1f, 0, 0xb9, 0, 1, 0, 0, 0xf3, 0xaa, 0xf4,
};

static void faults_are_the_same(void **state)
{
	struct rig r;

	rig_init(&r, fault, sizeof(fault));
	check_engine.run(&r.s->vcpu[0]);
	assert_false(r.failed);
	assert_true(r.s->vcpu[0].x86->wait_sipi); /* shut down */
	assert_int_equal(r.s->vcpu[0].x86->cr2, RAM);
	rig_fini(&r);
}

static void one_cpu_only(void **state)
{
	struct cpus_config cfg = { .count = 2, .model = "host", .engine = &check_engine };
	struct err err;

	assert_null(cpus_new(&cfg, &err));
	assert_non_null(strstr(err.text, "--cpus 1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agree),
		cmocka_unit_test(inputs_are_the_same),
		cmocka_unit_test(wrong_register_is_noticed),
		cmocka_unit_test(wrong_flag_is_noticed),
		cmocka_unit_test(wrong_store_is_noticed),
		cmocka_unit_test(device_may_write),
		cmocka_unit_test(silent_store_is_noticed),
		cmocka_unit_test(faults_are_the_same),
		cmocka_unit_test(one_cpu_only),
	};

	if (jit_engine.usable && jit_engine.usable(NULL) != 0)
		return 77; /* skipped */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
