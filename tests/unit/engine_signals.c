/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host signals that come at any instruction of translated code, with handlers that
 * use every register the ABI lets them: the guest must not notice.
 */
#include <signal.h>
#include <sys/time.h>

#include "tests/unit/cmocka_all.h"

#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/engines.h"
#include "src/cpu/x86/access.h"

#define RAM (2u << 20)
#define TABLES 0x1000u
#define CODE 0x10000u
#define DATA 0x20000u
#define STACK 0x30000u
#define ROUNDS 3000000u

/* The handler has nowhere else to write. */
static volatile sig_atomic_t signals;
static volatile double sum;

static void on_alarm(int sig)
{
	double x = signals + 0.5;
	long parts[4] = { signals, 3, 5, 7 };

	/* Flags, x87, vector and general registers. */
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0; movdqa %%xmm0, %%xmm7; movdqa %%xmm0, %%xmm15\n\t"
			 "fninit; fld1; fldpi; fsqrt; fstp %%st; fstp %%st; stc; std; cld\n\t"
			 "mov $-1, %%r8; mov $-1, %%r10; mov $-1, %%r11"
			 ::: "xmm0", "xmm7", "xmm15", "r8", "r10", "r11", "cc", "memory");
	for (unsigned n = 0; n < 4; n++)
		x = x * parts[n] + 1.0 / (1 + parts[n]);
	sum = x;
	signals = signals + 1;
}

static void put64(struct mem *m, gpa_t at, uint64_t v)
{
	assert_int_equal(mem_write(m, at, &v, 8), 0);
}

/*
 * mov ecx, ROUNDS; movd xmm1, ecx... one of each kind that lives in a host register:
 *   xor eax, eax; xor ebx, ebx; pxor xmm0, xmm0; pcmpeqd xmm1, xmm1; mov r10d, 1
 * 1: add rbx, rcx; adc rax, 0; psubd xmm0, xmm1; mov [DATA], rbx; add r11, [DATA];
 *   add r15, r10; sub ecx, 1; jnz 1b; hlt
 */
static const uint8_t code[] = {
	0xb9, ROUNDS & 255, ROUNDS >> 8 & 255, ROUNDS >> 16 & 255, 0,
	0x31, 0xc0, 0x31, 0xdb, 0x66, 0x0f, 0xef, 0xc0, 0x66, 0x0f, 0x76, 0xc9,
	0x41, 0xba, 1, 0, 0, 0,
	0x48, 0x01, 0xcb, 0x48, 0x83, 0xd0, 0, 0x66, 0x0f, 0xfa, 0xc1,
	0x48, 0x89, 0x1c, 0x25, 0, 0, 2, 0, 0x4c, 0x03, 0x1c, 0x25, 0, 0, 2, 0,
	0x4d, 0x01, 0xd7, 0x83, 0xe9, 1, 0x75, 0xdd, 0xf4,
};

static void enter_long_mode(struct mem *m, struct x86_cpu *c)
{
	struct x86_seg cs = { .sel = 8, .attr = 0xa9b, .limit = ~0u };
	struct x86_seg ds = { .sel = 16, .attr = 0xc93, .limit = ~0u };

	put64(m, TABLES, (TABLES + 0x1000) | 3);
	put64(m, TABLES + 0x1000, (TABLES + 0x2000) | 3);
	put64(m, TABLES + 0x2000, 0x83);
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = n == X86_CS ? cs : ds;
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

static void run(const struct engine_desc *e)
{
	struct cpus_config cfg = { .count = 1, .model = "x86-64-v2", .engine = e };
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART }, old;
	uint64_t n = ROUNDS, r11 = 0, rbx = 0;
	struct mem_block *ram;
	struct x86_cpu *c;
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
		fail_msg("%s: %s", e->name, err.text);
	c = s->vcpu[0].x86;
	assert_int_equal(mem_write(cfg.mem, CODE, code, sizeof(code)), 0);
	enter_long_mode(cfg.mem, c);
	c->gpr[X86_R15] = c->gpr[X86_R11] = 0;
	signals = 0;
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &often, NULL);
	/* As often as it takes for some to have come. */
	do {
		c->rip = CODE;
		c->halted = false;
		c->gpr[X86_R15] = c->gpr[X86_R11] = 0;
		e->run(&s->vcpu[0]);
		assert_true(c->halted);
		assert_int_equal(c->gpr[X86_R15], n);
		assert_int_equal(c->gpr[X86_RBX], n * (n + 1) / 2);
		assert_int_equal(c->gpr[X86_RAX], 0);
		assert_int_equal(c->gpr[X86_RCX], 0);
		for (unsigned k = 0; k < 4; k++)
			assert_int_equal(c->ymm[0].d[k], n);
		if (!r11)
			for (uint64_t k = n; k; k--)
				r11 += rbx += k;
		assert_int_equal(c->gpr[X86_R11], r11);
	} while (signals < 20);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	cpus_free(s);
	mem_free(cfg.mem);
	vtime_free(cfg.vtime);
	bus_free(cfg.bus);
}

static void every_engine(void **state)
{
	for (unsigned n = 0; engines[n]; n++)
		if (engines[n]->translates || !strcmp(engines[n]->name, "interp"))
			if (!engines[n]->usable || engines[n]->usable(NULL) == 0)
				run(engines[n]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_engine) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
