/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guests that do everything wrong: random descriptor tables, task segments, page
 * tables and system instructions in every mode. Whatever comes out, the processor
 * must stay in a state that it can be in (its own state table says) and the host
 * must not notice. Run it under the sanitizers; an argument is a seed, a second
 * the number of rounds.
 */
#include <stdio.h>

#include "src/cpu/x86/cpu_state.h"
#include "src/cpu/x86/insn.h"
#include "tests/unit/sys_rig.h"

#define STEPS 60

static uint64_t seed = 0x9e3779b97f4a7c15ull;
static unsigned rounds = 3000;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static bool chance(unsigned percent) { return rnd() % 100 < percent; }

/* Addresses, selectors and numbers that mean something. */
static uint64_t value(void)
{
	static const uint64_t some[] = { GDT, IDT, TSS, TSS2, HANDLERS, CODE, USER_CODE, STACK0, STACK3,
					 PML4, PD32, FAR_STACK, RAM - 4, 0, ~0ull, 0x800000000000ull };
	uint64_t r = rnd();

	switch (r % 5) {
	case 0: return some[(r >> 8) % array_size(some)] + (r >> 32) % 9 - 4;
	case 1: return (r >> 8) % 0x90; /* selectors */
	case 2: return 1ull << (r >> 8) % 64;
	case 3: return (r >> 8) % RAM;
	default: return rnd();
	}
}

static void random_desc(struct rig *r, unsigned slot)
{
	static const uint8_t types[] = { 0x9b, 0xfb, 0x93, 0xf3, 0x9f, 0xff, 0x97, 0xf7, 0x82, 0x89,
					 0xe9, 0x8b, 0x81, 0x83, 0x84, 0x8c, 0xec, 0xe5, 0x85, 0xb3 };
	uint64_t access = chance(90) ? types[rnd() % array_size(types)] : rnd() & 0xff;
	uint64_t base = chance(50) ? 0 : value() & 0xffffffff, limit = chance(60) ? 0xfffff : rnd();
	uint64_t flags = chance(60) ? 0xc : rnd() & 0xf;

	if ((access & 0x10) == 0) {
		base = chance(50) ? TSS : TSS2;
		limit = chance(70) ? 0x67 : rnd() & 0x1ff;
		flags = 0;
	}
	if ((access & 0x1f) == 0x0c || (access & 0x1f) == 4 || (access & 0x1f) == 5)
		rig_put(r, GDT + slot * 8,
			(HANDLERS + rnd() % 256) | (value() & 0xffff) << 16 |
				(uint64_t)(rnd() & 0x1f) << 32 | access << 40,
			8);
	else
		rig_put(r, GDT + slot * 8,
			(limit & 0xffff) | (base & 0xffffff) << 16 | access << 40 |
				(limit >> 16 & 0xf) << 48 | flags << 52 | (base >> 24 & 0xff) << 56,
			8);
}

static void random_tables(struct rig *r)
{
	for (unsigned n = 10; n < 32; n++)
		random_desc(r, n);
	if (chance(30))
		random_desc(r, 1 + rnd() % 8);
	for (unsigned n = 0; n < 8; n++)
		rig_gate(r, rnd() % 40, value() & 0xff, HANDLERS + rnd() % 256, rnd() & 0xf, rnd() & 3,
			 rnd() & 7);
	for (unsigned n = 0; n < 30; n++) {
		rig_put(r, TSS + rnd() % 0x100, value(), chance(50) ? 2 : 4);
		rig_put(r, TSS2 + rnd() % 0x100, value(), chance(50) ? 2 : 4);
	}
	for (unsigned n = 0; n < 4; n++)
		if (chance(30))
			rig_put(r, PML4 + (rnd() % 0x7000 & ~7ull), value(), 8);
}

/* One instruction: a system row's bytes more often than not. */
static unsigned random_insn(uint8_t *p)
{
	static const uint8_t one[] = { 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x6c, 0x6d, 0x6e, 0x6f,
				       0x8c, 0x8e, 0x9a, 0x9c, 0x9d, 0xc4, 0xc5, 0xca, 0xcb, 0xcc, 0xcd,
				       0xce, 0xcf, 0xe4, 0xe7, 0xea, 0xec, 0xef, 0xf1, 0xfa, 0xfb, 0xff,
				       0x50, 0x58, 0xc8, 0xc9, 0x60, 0x61, 0xa5, 0xab };
	static const uint8_t two[] = { 0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x09, 0x20, 0x21,
				       0x22, 0x23, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0xa0, 0xa1, 0xa2,
				       0xa8, 0xa9, 0xaa, 0xb2, 0xb4, 0xb5, 0xae, 0xc7 };
	unsigned n = 0;

	if (chance(20))
		p[n++] = 0x66;
	if (chance(10))
		p[n++] = 0x67;
	if (chance(15))
		p[n++] = (const uint8_t[]){ 0x26, 0x2e, 0x36, 0x64, 0x65, 0xf2, 0xf3, 0xf0 }[rnd() & 7];
	if (chance(20))
		p[n++] = 0x40 | (rnd() & 0xf);
	if (chance(45)) {
		p[n++] = one[rnd() % array_size(one)];
	} else if (chance(85)) {
		p[n++] = 0x0f;
		p[n++] = two[rnd() % array_size(two)];
	} else if (chance(30)) {
		p[n++] = 0x0f;
		p[n++] = 0x38;
		p[n++] = 0x82;
	}
	p[n++] = rnd();
	for (unsigned k = 0; k < 5; k++)
		p[n++] = chance(50) ? 0 : rnd();
	if (chance(50)) { /* a far pointer's selector */
		p[n - 2] = rnd() & 0xff;
		p[n - 1] = 0;
	}
	return n;
}

static void random_start(struct rig *r)
{
	struct x86_cpu *c = r->c;

	c->amd = rnd() & 1;
	switch (rnd() % 5) {
	case 0: rig_protected(r); break;
	case 1:
		rig_protected(r);
		rig_paging32(r);
		break;
	case 2: rig_long(r); break;
	case 3:
		rig_long(r);
		rig_user(r, rnd() & 1);
		break;
	default:
		rig_protected(r);
		if (chance(50)) {
			rig_user(r, false);
		} else {
			c->cr0 &= ~X86_CR0_PE;
			for (unsigned n = 0; n < X86_NSEGS; n++)
				c->seg[n].attr = n == X86_CS ? 0x9b : 0x93;
		}
	}
	random_tables(r);
	for (unsigned n = 0; n < 16; n++)
		if (n != X86_RSP || chance(20))
			c->gpr[n] = value();
	if (chance(30))
		c->rflags |= rnd() & (X86_FL_TF | X86_FL_NT | X86_FL_IOPL | X86_FL_AC | X86_FL_DF);
	if (chance(20) && x86_protected(c) && !x86_long(c)) {
		c->rflags |= X86_FL_VM;
		c->cpl = 3;
	}
	c->cr4 |= rnd() & x86_cr4_valid(c) & ~(X86_CR4_PCIDE | (x86_long(c) ? 0 : X86_CR4_PAE));
	c->gdtr.limit = chance(80) ? 0xff : rnd();
	c->tr.limit = chance(80) ? 0x67 : rnd() & 0x1ff;
	c->star = value() << 32;
	c->lstar = HANDLERS;
	c->sysenter_cs = value() & 0xff;
	if (chance(20)) {
		c->dr[0] = value();
		c->dr[7] = X86_DR7_FIXED | (rnd() & 0xf30ff);
	}
	x86_tlb_flush_all(c);
	x86_update_mode(c);
	for (uint64_t at = c->cpl == 3 && !x86_v86(c) ? USER_CODE : CODE, end = at + 0x400; at < end;) {
		uint8_t insn[24];
		unsigned n = random_insn(insn);

		rig_bytes(r, at, insn, n);
		at += n;
	}
	/* Handlers do something too. */
	for (unsigned n = 0; n < 256; n += 16)
		RIG_CODE(r, HANDLERS + n, chance(50) ? 0xcf : 0x90, chance(50) ? 0x48 : 0xcf, 0xcf);
}

/* One step as the run loop takes it, with events. */
static void step(struct x86_cpu *c)
{
	uint8_t shadow = c->int_shadow;

	c->start_rip = c->rip;
	if (!shadow && chance(3))
		atomic_fetch_or(&c->request, X86_REQ_NMI);
	if (!shadow && (atomic_load(&c->request) & X86_REQ_NMI || c->recheck))
		x86_poll_events(c);
	/* Repeated instructions leave after an iteration while a request waits. */
	atomic_fetch_or(&c->request, X86_REQ_INTR);
	c->start_rip = c->rip;
	if (_setjmp(c->fault_jmp)) {
		x86_deliver_exception(c);
		return;
	}
	x86_before_insn(c);
	if (interp_step(c)) {
		x86_deliver_exception(c);
		return;
	}
	c->int_shadow &= ~shadow;
	if (_setjmp(c->fault_jmp)) {
		x86_deliver_exception(c);
		return;
	}
	x86_after_insn(c);
}

/* The state table's own check is the judge of what a processor can be in. */
static void assert_possible(struct x86_cpu *c, uint64_t round_seed)
{
	struct err err = { 0 };

	if (x86_cpu_state.post_load(c, 1, &err) != 0)
		fail_msg("seed %#llx: %s", (unsigned long long)round_seed, err.text);
}

static void fuzz(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;
	unsigned delivered = 0, shutdowns = 0;
	bool amd = c->amd;

	for (unsigned n = 0; n < rounds; n++) {
		uint64_t round_seed = seed;

		random_start(r);
		for (unsigned k = 0; k < STEPS && !c->wait_sipi; k++) {
			step(c);
			c->halted = false;
			delivered += c->rip >= HANDLERS && c->rip < HANDLERS + 256;
		}
		shutdowns += c->wait_sipi;
		assert_possible(c, round_seed);
		assert_true(c->cpl == 3 || !x86_v86(c));
		assert_int_equal(c->exc_vector, -1);
	}
	c->amd = amd;
	/* It did get somewhere. */
	assert_true(delivered > rounds);
	assert_true(shutdowns > 0 && shutdowns < rounds);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(fuzz) };

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		rounds = (unsigned)strtoul(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
