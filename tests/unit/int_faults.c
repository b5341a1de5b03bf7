/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where integer operations stop half-way: faults that must leave the registers
 * alone, repeated strings that are left and resumed, locked accesses that no host
 * instruction can do. 32-bit protected mode without paging; one segment ends in
 * the middle of memory, so that its limit is where things fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "src/cpu/interp/interp.h"
#include "src/cpu/x86/access.h"

#define RAM_BYTES (1u << 20)
#define CODE 0x1000u
#define STACK 0x8000u
#define LIMIT 0x20fffu /* of ES, where a test shortens it */

struct fixture {
	struct mem *mem;
	struct bus *bus;
	struct vtime *vt;
	struct log log;
	struct x86_cpu *c;
	uint8_t *ram;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mem_block *b;
	struct x86_cpu *c;

	f->log.fd = 2;
	f->mem = mem_new(RAM_BYTES, NULL);
	b = mem_block_new(f->mem, "ram", RAM_BYTES, false, NULL);
	f->ram = b->host;
	assert_int_equal(mem_map_set(f->mem, 0, RAM_BYTES, b, 0, true, true), 0);
	f->bus = bus_new(&f->log, NULL);
	f->vt = vtime_new(&f->bus->lock, true);
	f->c = c = x86_cpu_new(f->mem, f->bus, f->vt);
	assert_non_null(c);
	c->cr0 |= X86_CR0_PE;
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = (struct x86_seg){ .sel = 8, .attr = 0xc93, .limit = ~0u };
	c->seg[X86_CS].attr = 0xc9b;
	c->gpr[X86_RSP] = STACK;
	x86_update_mode(c);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	x86_cpu_free(f->c);
	vtime_free(f->vt);
	bus_free(f->bus);
	mem_free(f->mem);
	free(f);
	return 0;
}

/* Runs one instruction; the vector of its exception, or -1. */
static int run(struct fixture *f, const uint8_t *bytes, size_t len)
{
	memcpy(f->ram + CODE, bytes, len);
	f->c->rip = CODE;
	f->c->exc_vector = -1;
	return interp_step(f->c) ? f->c->exc_vector : -1;
}
#define RUN(f, ...)                                                                               \
	run(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void shorten_es(struct fixture *f)
{
	f->c->seg[X86_ES].limit = LIMIT;
	x86_update_mode(f->c);
}

static void set_string(struct fixture *f, uint32_t si, uint32_t di, uint32_t count)
{
	f->c->gpr[X86_RSI] = si;
	f->c->gpr[X86_RDI] = di;
	f->c->gpr[X86_RCX] = count;
}

static void assert_string(const struct fixture *f, uint32_t si, uint32_t di, uint32_t count)
{
	assert_int_equal(f->c->gpr[X86_RSI], si);
	assert_int_equal(f->c->gpr[X86_RDI], di);
	assert_int_equal(f->c->gpr[X86_RCX], count);
}

static void fill(uint8_t *p, size_t len)
{
	for (size_t n = 0; n < len; n++)
		p[n] = (uint8_t)(n * 7 + (n >> 8));
}

static void test_rep_movs(void **state)
{
	struct fixture *f = *state;
	uint8_t want[10000];

	fill(f->ram + 0x10123, sizeof(want));
	memcpy(want, f->ram + 0x10123, sizeof(want));
	set_string(f, 0x10123, 0x20456, sizeof(want));
	assert_int_equal(RUN(f, 0xf3, 0xa4), -1);
	assert_string(f, 0x10123 + sizeof(want), 0x20456 + sizeof(want), 0);
	assert_memory_equal(f->ram + 0x20456, want, sizeof(want));
	assert_int_equal(f->c->rip, CODE + 2);

	/* Downwards. */
	memset(f->ram + 0x20000, 0, 0x4000);
	f->c->rflags |= X86_FL_DF;
	set_string(f, 0x10123 + sizeof(want) - 4, 0x20456 + sizeof(want) - 4, sizeof(want) / 4);
	assert_int_equal(RUN(f, 0xf3, 0xa5), -1);
	assert_string(f, 0x10123 - 4, 0x20456 - 4, 0);
	assert_memory_equal(f->ram + 0x20456, want, sizeof(want));
}

/* A copy onto itself one element further on repeats the first element. */
static void test_rep_movs_overlap(void **state)
{
	struct fixture *f = *state;

	fill(f->ram + 0x10ff0, 64);
	set_string(f, 0x10ff0, 0x10ff2, 20);
	assert_int_equal(RUN(f, 0x66, 0xf3, 0xa5), -1);
	for (int n = 0; n < 40; n += 2)
		assert_memory_equal(f->ram + 0x10ff2 + n, f->ram + 0x10ff0, 2);
	assert_string(f, 0x10ff0 + 40, 0x10ff2 + 40, 0);
}

static void test_rep_counts(void **state)
{
	struct fixture *f = *state;

	/* None at all touches nothing, not even an address that faults. */
	shorten_es(f);
	set_string(f, 0x10000, LIMIT + 100, 0);
	assert_int_equal(RUN(f, 0xf3, 0xa4), -1);
	assert_string(f, 0x10000, LIMIT + 100, 0);

	/* 16-bit addresses: CX counts, SI and DI wrap. */
	set_string(f, 0x5500fffe, 0x66001000, 0x77000004);
	fill(f->ram + 0xfffe, 2);
	fill(f->ram, 2);
	assert_int_equal(RUN(f, 0x67, 0xf3, 0xa4), -1);
	assert_string(f, 0x55000002, 0x66001004, 0x77000000);
	assert_memory_equal(f->ram + 0x1000, f->ram + 0xfffe, 2);
	assert_memory_equal(f->ram + 0x1002, f->ram, 2);
}

/* The iterations before the one that faults are done, in memory and registers. */
static void test_rep_fault(void **state)
{
	struct fixture *f = *state;
	uint32_t di = LIMIT + 1 - 40;

	shorten_es(f);
	memset(f->ram + 0x20000, 0, 0x2000);
	f->c->gpr[X86_RAX] = 0x11223344;
	set_string(f, 0, di, 100);
	assert_int_equal(RUN(f, 0xf3, 0xab), X86_EXC_GP);
	assert_string(f, 0, LIMIT + 1, 90);
	assert_int_equal(f->c->start_rip, CODE);
	for (uint32_t n = 0; n < 40; n += 4)
		assert_int_equal(ld_le32(f->ram + di + n), 0x11223344);
	assert_int_equal(ld_le32(f->ram + LIMIT + 1), 0);

	/* SCAS: flags as before the instruction. */
	f->c->rflags = X86_FL_FIXED | X86_FL_ARITH;
	f->c->gpr[X86_RAX] = 0x55;
	set_string(f, 0, LIMIT - 3, 100);
	memset(f->ram + LIMIT - 3, 0, 4);
	assert_int_equal(RUN(f, 0xf2, 0xae), X86_EXC_GP);
	assert_string(f, 0, LIMIT + 1, 96);
	assert_int_equal(f->c->rflags, X86_FL_FIXED | X86_FL_ARITH);
}

/* A request is seen between iterations; the instruction then goes on where it was. */
static void test_rep_is_left_and_resumed(void **state)
{
	static const uint8_t op[] = { 0xa4, 0xab, 0xad };
	struct fixture *f = *state;

	for (size_t n = 0; n < sizeof(op); n++) {
		unsigned left = 0, unit = op[n] == 0xa4 ? 1 : 4;

		set_string(f, 0x10000, 0x20000, 30000);
		atomic_store(&f->c->request, X86_REQ_EXIT);
		while (f->c->gpr[X86_RCX]) {
			uint64_t before = f->c->gpr[X86_RCX];

			f->c->stop_block = false;
			assert_int_equal(RUN(f, 0xf3, op[n]), -1);
			assert_true(f->c->gpr[X86_RCX] < before);
			if (f->c->gpr[X86_RCX]) {
				assert_int_equal(f->c->rip, CODE);
				assert_true(f->c->stop_block);
				left++;
			}
		}
		assert_int_equal(f->c->rip, CODE + 2);
		assert_true(left > 2);
		atomic_store(&f->c->request, 0);
		assert_int_equal(f->c->gpr[op[n] == 0xad ? X86_RSI : X86_RDI] & 0xffff,
				 30000 * unit & 0xffff);
	}
	/* With TF every iteration is a step. */
	f->c->rflags |= X86_FL_TF;
	set_string(f, 0x10000, 0x20000, 3);
	assert_int_equal(RUN(f, 0xf3, 0xa4), -1);
	assert_string(f, 0x10001, 0x20001, 2);
	assert_int_equal(f->c->rip, CODE);
}

static void test_compare_strings(void **state)
{
	struct fixture *f = *state;

	fill(f->ram + 0x10000, 6000);
	memcpy(f->ram + 0x20000, f->ram + 0x10000, 6000);
	f->ram[0x20000 + 5000] ^= 1;
	set_string(f, 0x10000, 0x20000, 6000);
	assert_int_equal(RUN(f, 0xf3, 0xa6), -1);
	assert_string(f, 0x10000 + 5001, 0x20000 + 5001, 999);
	assert_false(f->c->rflags & X86_FL_ZF);
	set_string(f, 0x10000, 0x20000, 5000);
	assert_int_equal(RUN(f, 0xf3, 0xa6), -1);
	assert_string(f, 0x10000 + 5000, 0x20000 + 5000, 0);
	assert_true(f->c->rflags & X86_FL_ZF);
}

/* Faults that must leave every register as it was. */
static void test_stack_faults(void **state)
{
	struct fixture *f = *state;
	uint64_t gpr[16];

	f->c->seg[X86_SS].limit = 0xfff;
	x86_update_mode(f->c);
	f->c->gpr[X86_RSP] = 0x2000;
	f->c->gpr[X86_RBP] = 0x3000;
	memcpy(gpr, f->c->gpr, sizeof(gpr));
	assert_int_equal(RUN(f, 0x50), X86_EXC_SS);                   /* push eax */
	assert_int_equal(RUN(f, 0x58), X86_EXC_SS);                   /* pop eax */
	assert_int_equal(RUN(f, 0x60), X86_EXC_SS);                   /* pusha */
	assert_int_equal(RUN(f, 0x61), X86_EXC_SS);                   /* popa */
	assert_int_equal(RUN(f, 0xe8, 0, 0, 0, 0), X86_EXC_SS);       /* call */
	assert_int_equal(RUN(f, 0xc3), X86_EXC_SS);                   /* ret */
	assert_int_equal(RUN(f, 0xc8, 0x10, 0, 3), X86_EXC_SS);       /* enter 16, 3 */
	assert_int_equal(RUN(f, 0xc9), X86_EXC_SS);                   /* leave */
	assert_int_equal(RUN(f, 0xff, 0x34, 0x24), X86_EXC_SS);       /* push [esp] */
	assert_memory_equal(gpr, f->c->gpr, sizeof(gpr));

	/* pop [es:...] whose store faults: the stack pointer is as it was. */
	f->c->seg[X86_SS].limit = ~0u;
	f->c->seg[X86_ES].limit = 0xfff;
	x86_update_mode(f->c);
	assert_int_equal(RUN(f, 0x26, 0x8f, 0x44, 0x24, 0x10), X86_EXC_GP);
	assert_memory_equal(gpr, f->c->gpr, sizeof(gpr));
	/* pop [esp]: at the address after the pop. */
	st_le32(f->ram + 0x2000, 0xcafe);
	assert_int_equal(RUN(f, 0x8f, 0x04, 0x24), -1);
	assert_int_equal(ld_le32(f->ram + 0x2004), 0xcafe);
	assert_int_equal(f->c->gpr[X86_RSP], 0x2004);
}

static void test_branch_faults(void **state)
{
	struct fixture *f = *state;
	uint64_t gpr[16];

	f->c->seg[X86_CS].limit = 0xffff;
	x86_update_mode(f->c);
	f->c->gpr[X86_RAX] = 0x10000;
	f->c->gpr[X86_RCX] = 5;
	memcpy(gpr, f->c->gpr, sizeof(gpr));
	assert_int_equal(RUN(f, 0xe9, 0, 0, 1, 0), X86_EXC_GP);
	assert_int_equal(RUN(f, 0xe8, 0, 0, 1, 0), X86_EXC_GP);
	assert_int_equal(RUN(f, 0xff, 0xe0), X86_EXC_GP);
	assert_int_equal(RUN(f, 0xff, 0xd0), X86_EXC_GP);
	f->c->rflags &= ~X86_FL_ZF;
	assert_int_equal(RUN(f, 0x0f, 0x85, 0, 0, 1, 0), X86_EXC_GP);
	assert_int_equal(RUN(f, 0x0f, 0x84, 0, 0, 1, 0), -1); /* not taken */
	f->c->seg[X86_CS].limit = CODE + 2;
	x86_update_mode(f->c);
	assert_int_equal(RUN(f, 0xe2, 0x70), X86_EXC_GP); /* loop: the count stays */
	assert_memory_equal(gpr, f->c->gpr, sizeof(gpr));
	/* A 16-bit operand size keeps 16 bits of the target. */
	f->c->seg[X86_CS].limit = ~0u;
	x86_update_mode(f->c);
	f->c->gpr[X86_RAX] = 0x12345678;
	assert_int_equal(RUN(f, 0x66, 0xff, 0xe0), -1);
	assert_int_equal(f->c->rip, 0x5678);
}

/* Across a page no host instruction is atomic: the slow way gives the same. */
static void test_locked_across_pages(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = f->ram + 0x10ffe;

	f->c->gpr[X86_RBX] = 0x10ffe;
	st_le32(p, 0x7fffffff);
	assert_int_equal(RUN(f, 0xf0, 0x83, 0x03, 1), -1); /* lock add [ebx], 1 */
	assert_int_equal(ld_le32(p), 0x80000000);
	assert_true(f->c->rflags & X86_FL_OF);
	f->c->gpr[X86_RCX] = 0x11111111;
	assert_int_equal(RUN(f, 0x87, 0x0b), -1); /* xchg [ebx], ecx */
	assert_int_equal(ld_le32(p), 0x11111111);
	assert_int_equal(f->c->gpr[X86_RCX], 0x80000000);
	f->c->gpr[X86_RAX] = 0x11111111;
	assert_int_equal(RUN(f, 0xf0, 0x0f, 0xb1, 0x0b), -1); /* lock cmpxchg [ebx], ecx */
	assert_int_equal(ld_le32(p), 0x80000000);
	assert_true(f->c->rflags & X86_FL_ZF);
	assert_int_equal(RUN(f, 0xf0, 0x0f, 0xc1, 0x0b), -1); /* lock xadd [ebx], ecx */
	assert_int_equal(ld_le32(p), 0);
	assert_int_equal(f->c->gpr[X86_RCX], 0x80000000);
	f->c->gpr[X86_RBX] = 0x10ffa;
	st_le64(p - 4, 0x0123456789abcdefull);
	f->c->gpr[X86_RAX] = f->c->gpr[X86_RDX] = 0;
	assert_int_equal(RUN(f, 0xf0, 0x0f, 0xc7, 0x0b), -1); /* lock cmpxchg8b [ebx] */
	assert_false(f->c->rflags & X86_FL_ZF);
	assert_int_equal(f->c->gpr[X86_RAX], 0x89abcdef);
	assert_int_equal(f->c->gpr[X86_RDX], 0x01234567);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_rep_movs),	    TEST(test_rep_movs_overlap),
		TEST(test_rep_counts),	    TEST(test_rep_fault),
		TEST(test_compare_strings), TEST(test_rep_is_left_and_resumed),
		TEST(test_stack_faults),    TEST(test_branch_faults),
		TEST(test_locked_across_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
