/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One CPU with descriptor tables, a TSS and page tables in guest memory, for
 * tests that run a few bytes of code through the interpreter and look at what the
 * guest would see.
 *
 * Every vector's handler is one HLT at HANDLERS + vector, so that where the CPU
 * halted tells what was delivered and RSP points at the frame.
 */
#ifndef BOTHY_TESTS_UNIT_SYS_RIG_H
#define BOTHY_TESTS_UNIT_SYS_RIG_H

#include <stdlib.h>
#include <string.h>

#include "src/cpu/cpu.h"
#include "src/cpu/engines.h"
#include "src/cpu/interp/interp.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/x86.h"
#include "tests/unit/cmocka_all.h"

enum {
	GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, TSS2 = 0x3800, HANDLERS = 0x4000, CODE = 0x8000,
	USER_CODE = 0x9000, STACK0 = 0x7000, STACK3 = 0xb000, IST1 = 0xd000, PML4 = 0x10000,
	PDPT = 0x11000, PD = 0x12000, PT0 = 0x13000, PD32 = 0x15000, PT32 = 0x16000,
	FAR_STACK = 0x20000, RAM = 4 << 20,
};
/* Selectors. */
enum { CS32 = 0x08, DS0 = 0x10, CS64 = 0x18, UCS32 = 0x23, UDS = 0x2b, UCS64 = 0x33, TSS_SEL = 0x38,
       SPARE = 0x48 };

#define DESC_CODE32 0x00cf9b000000ffffull
#define DESC_DATA 0x00cf93000000ffffull
#define DESC_CODE64 0x00af9b000000ffffull
#define DESC_USER 0x0000600000000000ull

struct rig {
	struct mem *mem;
	struct x86_cpu *c;
	struct vcpu vcpu;
	struct cpus cpus;
	struct engine_desc engine;
	unsigned triple_faults;
};

static inline uint8_t *rig_at(struct rig *r, uint64_t gpa)
{
	uint8_t *p = mem_ptr(r->mem, gpa, 1, true);

	assert_non_null(p);
	return p;
}

static inline void rig_put(struct rig *r, uint64_t gpa, uint64_t v, unsigned bytes)
{
	uint8_t *p = rig_at(r, gpa);

	memcpy(p, &v, bytes);
	mem_written(r->mem, p, bytes);
}

static inline uint64_t rig_get(struct rig *r, uint64_t gpa, unsigned bytes)
{
	uint64_t v = 0;

	memcpy(&v, rig_at(r, gpa), bytes);
	return v;
}

static inline void rig_bytes(struct rig *r, uint64_t gpa, const void *bytes, size_t n)
{
	memcpy(rig_at(r, gpa), bytes, n);
	mem_written(r->mem, rig_at(r, gpa), n);
}
#define RIG_CODE(r, gpa, ...)                                                                     \
	rig_bytes(r, gpa, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static inline void rig_desc(struct rig *r, unsigned sel, uint64_t d)
{
	rig_put(r, GDT + (sel & ~7u), d, 8);
}

/* A gate at @vector: type 0xe interrupt, 0xf trap, 5 task, ... */
static inline void rig_gate(struct rig *r, unsigned vector, unsigned sel, uint64_t off, unsigned type,
			    unsigned dpl, unsigned ist)
{
	uint64_t d = (off & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
		     (uint64_t)(0x80 | dpl << 5 | type) << 40 | (off & 0xffff0000) << 32;

	if (x86_long(r->c)) {
		rig_put(r, IDT + vector * 16, d, 8);
		rig_put(r, IDT + vector * 16 + 8, off >> 32, 8);
	} else {
		rig_put(r, IDT + vector * 8, d, 8);
	}
}

static inline void rig_triple(void *opaque, unsigned vcpu)
{
	((struct rig *)opaque)->triple_faults++;
}

static inline int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct mem_block *b;
	struct err err = { 0 };

	r->mem = mem_new(64 << 20, &err);
	assert_non_null(r->mem);
	b = mem_block_new(r->mem, "ram", RAM, false, &err);
	assert_non_null(b);
	assert_int_equal(mem_map_set(r->mem, 0, RAM, b, 0, true, true), 0);
	r->c = x86_cpu_new(r->mem, NULL, NULL);
	assert_non_null(r->c);
	r->engine = interp_engine;
	r->cpus = (struct cpus){ .count = 1, .vcpu = &r->vcpu, .engine = &r->engine, .mem = r->mem,
				 .tsc_hz = 2000000000u, .triple_fault = rig_triple, .vm_opaque = r,
				 .a20_mask = ~0ull };
	pthread_mutex_init(&r->cpus.gate, NULL);
	r->vcpu.x86 = r->c;
	r->vcpu.cpus = &r->cpus;
	r->c->vcpu = &r->vcpu;
	r->c->cpus = &r->cpus;
	assert_int_equal(r->engine.vcpu_init(&r->vcpu, &err), 0);
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *r = *state;

	r->engine.vcpu_fini(&r->vcpu);
	x86_cpu_free(r->c);
	mem_free(r->mem);
	free(r);
	return 0;
}

/* Tables and registers of protected mode at CPL 0, flat 32-bit, no paging. */
static inline void rig_protected(struct rig *r)
{
	struct x86_cpu *c = r->c;

	x86_reset(c, false);
	c->wait_sipi = false;
	atomic_store(&c->request, 0);
	r->triple_faults = 0;
	memset(rig_at(r, 0), 0, 0x40000);
	rig_desc(r, CS32, DESC_CODE32);
	rig_desc(r, DS0, DESC_DATA);
	rig_desc(r, CS64, DESC_CODE64);
	rig_desc(r, UCS32, DESC_CODE32 | DESC_USER);
	rig_desc(r, UDS, DESC_DATA | DESC_USER);
	rig_desc(r, UCS64, DESC_CODE64 | DESC_USER);
	rig_desc(r, TSS_SEL, 0x00008b0000000067ull | (uint64_t)TSS << 16);
	memset(rig_at(r, HANDLERS), 0xf4, 256);
	rig_put(r, TSS + 4, STACK0, 4);
	rig_put(r, TSS + 8, DS0, 2);
	rig_put(r, TSS + 0x66, 0x68, 2); /* no I/O map */
	c->gdtr = (struct x86_dtable){ GDT, 0xff };
	c->idtr = (struct x86_dtable){ IDT, 256 * 8 - 1 };
	c->tr = (struct x86_seg){ .sel = TSS_SEL, .attr = 0x8b, .limit = 0x67, .base = TSS };
	c->ldtr = (struct x86_seg){ .attr = X86_SEG_NULL };
	c->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = (struct x86_seg){ .sel = DS0, .attr = 0xc93, .limit = ~0u };
	c->seg[X86_CS] = (struct x86_seg){ .sel = CS32, .attr = 0xc9b, .limit = ~0u };
	x86_update_mode(c);
	for (unsigned n = 0; n < 256; n++)
		rig_gate(r, n, CS32, HANDLERS + n, 0xe, 0, 0);
	c->gpr[X86_RSP] = STACK0;
	c->rip = CODE;
}

/* 32-bit two-level paging on, all RAM mapped to itself for the user too. */
static inline void rig_paging32(struct rig *r)
{
	rig_put(r, PD32, PT32 | 7, 4);
	for (unsigned n = 0; n < 1024; n++)
		rig_put(r, PT32 + n * 4, n << 12 | 7, 4);
	r->c->cr3 = PD32;
	r->c->cr0 |= X86_CR0_PG | X86_CR0_WP;
	x86_tlb_flush_all(r->c);
}

/* Long mode, 64-bit code at CPL 0; RAM by 4 KiB user pages. */
static inline void rig_long(struct rig *r)
{
	struct x86_cpu *c = r->c;

	rig_protected(r);
	rig_put(r, PML4, PDPT | 7, 8);
	rig_put(r, PDPT, PD | 7, 8);
	for (unsigned n = 0; n < 2; n++)
		rig_put(r, PD + n * 8, (PT0 + n * 0x1000) | 7, 8);
	for (unsigned n = 0; n < 1024; n++)
		rig_put(r, PT0 + n * 8, n << 12 | 7, 8);
	c->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE | X86_EFER_NX;
	c->cr4 = X86_CR4_PAE;
	c->cr3 = PML4;
	c->cr0 |= X86_CR0_PG | X86_CR0_WP;
	c->seg[X86_CS] = (struct x86_seg){ .sel = CS64, .attr = 0xa9b, .limit = ~0u };
	c->idtr.limit = 256 * 16 - 1;
	x86_tlb_flush_all(c);
	x86_update_mode(c);
	for (unsigned n = 0; n < 256; n++)
		rig_gate(r, n, CS64, HANDLERS + n, 0xe, 0, 0);
	memset(rig_at(r, TSS), 0, 0x68);
	rig_put(r, TSS + 4, STACK0, 8);
	rig_put(r, TSS + 0x24, IST1, 8);
	rig_put(r, TSS + 0x66, 0x68, 2);
}

/* CPL 3 at USER_CODE, 64-bit or not. */
static inline void rig_user(struct rig *r, bool m64)
{
	struct x86_cpu *c = r->c;

	c->seg[X86_CS] = (struct x86_seg){ .sel = m64 ? UCS64 : UCS32, .limit = ~0u,
					   .attr = m64 ? 0xafb : 0xcfb };
	for (unsigned n = 0; n < X86_NSEGS; n++)
		if (n != X86_CS)
			c->seg[n] = (struct x86_seg){ .sel = UDS, .attr = 0xcf3, .limit = ~0u };
	c->cpl = 3;
	c->gpr[X86_RSP] = STACK3;
	c->rip = USER_CODE;
	x86_update_mode(c);
}

/* Page @lin present or not, in both kinds of tables. */
static inline void rig_present(struct rig *r, uint64_t lin, bool present)
{
	uint64_t pte = x86_long(r->c) ? PT0 + (lin >> 12) * 8 : PT32 + (lin >> 12) * 4;

	rig_put(r, pte, (rig_get(r, pte, 4) & ~1ull) | present, 4);
	x86_tlb_flush_all(r->c);
}

/* Runs until HLT or shutdown: the vector whose handler halted, -1 for any other
 * HLT, -2 for a triple fault. */
static inline int rig_run(struct rig *r)
{
	struct x86_cpu *c = r->c;
	unsigned tries = 0;

	c->halted = false;
	do {
		atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_EXIT);
		r->engine.run(&r->vcpu);
	} while (!c->halted && !c->wait_sipi && ++tries < 100);
	assert_true(tries < 100);
	if (r->triple_faults)
		return -2;
	if (c->rip > HANDLERS && c->rip <= HANDLERS + 256)
		return (int)(c->rip - HANDLERS - 1);
	return -1;
}

/* Item @n of the frame at RSP. */
static inline uint64_t rig_frame(struct rig *r, unsigned n)
{
	unsigned size = x86_long(r->c) ? 8 : 4;

	return rig_get(r, r->c->gpr[X86_RSP] + n * size, size);
}

#endif
