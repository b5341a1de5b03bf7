/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector and x87 operations where user mode of a host cannot tell: availability
 * and the order of its faults, SIMD exceptions without OSXMMEXCPT, x87 errors by
 * IRQ 13, XCR0, privileged state images, layouts of other modes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>

#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/host_features.h"
#include "src/cpu/x86/host_stub.h"
#include "src/cpu/x86/vec.h"

#define RAM_GPA  0x10000u
#define NO_FAULT (-1)

struct fixture {
	struct x86_cpu *cpu;
	struct mem *mem;
	uint8_t *ram;
	unsigned irq13;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mem_block *b;
	struct err err = { 0 };

	f->mem = mem_new(1 << 20, &err);
	assert_non_null(f->mem);
	b = mem_block_new(f->mem, "ram", 0x4000, false, &err);
	assert_non_null(b);
	assert_int_equal(mem_map_set(f->mem, RAM_GPA, 0x4000, b, 0, true, true), 0);
	f->ram = b->host;
	f->cpu = x86_cpu_new(f->mem, NULL, NULL);
	assert_non_null(f->cpu);
	for (unsigned n = 0; n < X86_NFEATURES; n++)
		if (x86_host_has(n) && n != X86_F_NEVER)
			f->cpu->features[n / 64] |= 1ull << (n % 64);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	x86_cpu_free(f->cpu);
	mem_free(f->mem);
	free(f);
	return 0;
}

/* 64-bit code with everything enabled and RBX at the RAM. */
static void plain(struct fixture *f)
{
	struct x86_cpu *c = f->cpu;

	c->cr0 = X86_CR0_PE | X86_CR0_NE | X86_CR0_MP;
	c->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	c->xcr0 = 7;
	c->rflags = 2;
	c->cpl = 0;
	c->code64 = true;
	c->mode = X86_MODE_64;
	memset(&c->fx, 0, sizeof(c->fx));
	c->fx.fcw = 0x37f;
	c->fx.mxcsr = 0x1f80;
	memset(c->ymm, 0, sizeof(c->ymm));
	memset(c->gpr, 0, sizeof(c->gpr));
	c->gpr[X86_RBX] = RAM_GPA;
	memset(f->ram, 0, 0x4000);
}

/* Decodes and runs @bytes once; the vector raised or NO_FAULT. */
static int run_bytes(struct fixture *f, const uint8_t *bytes, size_t len)
{
	struct x86_cpu *c = f->cpu;
	uint8_t buf[16] = { 0 };
	struct x86_insn i;

	memcpy(buf, bytes, len);
	assert_int_equal(x86_decode(buf, 15, c->mode, c->features, &i), len);
	c->exc_vector = NO_FAULT;
	c->start_rip = 0x1000;
	c->rip = 0x1000 + len;
	if (_setjmp(c->fault_jmp))
		return c->exc_vector;
	i.fn(c, &i);
	return NO_FAULT;
}

#define RUN(f, ...) \
	run_bytes(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

#define ADDPS     0x0f, 0x58, 0xca
#define VADDPS    0xc5, 0xf0, 0x58, 0xca
#define PADDB_MMX 0x0f, 0xfc, 0xca
#define FADD      0xd8, 0xc1
#define FWAIT     0x9b
#define FNINIT    0xdb, 0xe3
#define MOVAPS_M  0x0f, 0x28, 0x03
#define MOVAPS_M1 0x0f, 0x28, 0x43, 0x01
#define FXSAVE_M  0x0f, 0xae, 0x03
#define FXSAVE_M8 0x0f, 0xae, 0x43, 0x08
#define XSAVE_M   0x0f, 0xae, 0x23
#define XSAVE_M16 0x0f, 0xae, 0x63, 0x10
#define XGETBV    0x0f, 0x01, 0xd0
#define XSETBV    0x0f, 0x01, 0xd1
#define XSAVES_M  0x0f, 0xc7, 0x2b
#define XRSTORS_M 0x0f, 0xc7, 0x1b
#define XRSTOR_M  0x0f, 0xae, 0x2b
#define XSAVEC_M  0x0f, 0xc7, 0x23
#define DIVPS     0x0f, 0x5e, 0xca
#define FNSTENV_M 0xd9, 0x33
#define FLDENV_M  0xd9, 0x23

static void test_sse_available(void **state)
{
	struct fixture *f = *state;

	plain(f);
	assert_int_equal(RUN(f, ADDPS), NO_FAULT);
	f->cpu->cr0 |= X86_CR0_TS;
	assert_int_equal(RUN(f, ADDPS), X86_EXC_NM);
	f->cpu->cr0 |= X86_CR0_EM;
	assert_int_equal(RUN(f, ADDPS), X86_EXC_UD);
	f->cpu->cr0 &= ~X86_CR0_EM;
	f->cpu->cr4 &= ~X86_CR4_OSFXSR;
	assert_int_equal(RUN(f, ADDPS), X86_EXC_UD);
	assert_int_equal(RUN(f, MOVAPS_M), X86_EXC_UD);
	plain(f);
	assert_int_equal(RUN(f, MOVAPS_M), NO_FAULT);
	assert_int_equal(RUN(f, MOVAPS_M1), X86_EXC_GP);
}

static void test_avx_available(void **state)
{
	struct fixture *f = *state;

	if (!x86_host_has(X86_F_AVX))
		skip();
	plain(f);
	f->cpu->cr0 |= X86_CR0_EM; /* of no concern to VEX */
	assert_int_equal(RUN(f, VADDPS), NO_FAULT);
	f->cpu->cr0 |= X86_CR0_TS;
	assert_int_equal(RUN(f, VADDPS), X86_EXC_NM);
	f->cpu->xcr0 = 3;
	assert_int_equal(RUN(f, VADDPS), X86_EXC_UD);
	plain(f);
	f->cpu->cr4 &= ~X86_CR4_OSXSAVE;
	assert_int_equal(RUN(f, VADDPS), X86_EXC_UD);
}

static void test_x87_available(void **state)
{
	struct fixture *f = *state;

	plain(f);
	assert_int_equal(RUN(f, FADD), NO_FAULT);
	f->cpu->cr0 |= X86_CR0_TS;
	assert_int_equal(RUN(f, FADD), X86_EXC_NM);
	assert_int_equal(RUN(f, FNINIT), X86_EXC_NM);
	assert_int_equal(RUN(f, FWAIT), X86_EXC_NM);
	assert_int_equal(RUN(f, FXSAVE_M), X86_EXC_NM);
	f->cpu->cr0 &= ~X86_CR0_MP;
	assert_int_equal(RUN(f, FWAIT), NO_FAULT);
	plain(f);
	f->cpu->cr0 |= X86_CR0_EM;
	assert_int_equal(RUN(f, FADD), X86_EXC_NM);
	assert_int_equal(RUN(f, FWAIT), NO_FAULT);
	assert_int_equal(RUN(f, PADDB_MMX), X86_EXC_UD);
}

static void irq13(void *opaque, unsigned vcpu)
{
	struct fixture *f = opaque;

	f->irq13++;
}

static void test_x87_pending(void **state)
{
	struct fixture *f = *state;
	struct cpus s = { .x87_error = irq13, .x87_opaque = f };
	struct x86_fx before;

	/* 0 / 0 with IE unmasked: pending, then #MF from what waits. */
	plain(f);
	assert_int_equal(RUN(f, 0xd9, 0xee), NO_FAULT); /* fldz */
	f->cpu->fx.fcw = 0x37e;
	assert_int_equal(RUN(f, 0xd8, 0xf0), NO_FAULT); /* fdiv st0, st0 */
	assert_int_equal(f->cpu->fx.fsw & 0x8081, 0x8081);
	before = f->cpu->fx;
	assert_int_equal(RUN(f, FADD), X86_EXC_MF);
	assert_int_equal(RUN(f, FWAIT), X86_EXC_MF);
	assert_int_equal(RUN(f, PADDB_MMX), X86_EXC_MF);
	assert_memory_equal(&before, &f->cpu->fx, sizeof(before));
	/* The PC's way: IRQ 13, and the instruction waits. */
	f->cpu->cr0 &= ~X86_CR0_NE;
	f->cpu->cpus = &s;
	f->irq13 = 0;
	assert_int_equal(RUN(f, FADD), NO_FAULT);
	f->cpu->cpus = NULL;
	assert_int_equal(f->irq13, 1);
	assert_int_equal(f->cpu->rip, f->cpu->start_rip);
	assert_memory_equal(&before, &f->cpu->fx, sizeof(before));
	/* Nobody listens: ignored, and the host does not fault. */
	assert_int_equal(RUN(f, FADD), NO_FAULT);
	assert_int_not_equal(f->cpu->rip, f->cpu->start_rip);
	assert_int_equal(RUN(f, FNINIT), NO_FAULT);
	assert_int_equal(f->cpu->fx.fsw, 0);
}

static void test_simd_exception(void **state)
{
	struct fixture *f = *state;
	union x86_vec one = { .d = { 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000, 7, 7, 7, 7 } };

	/* The test library handles SIGFPE since set-up; the table's handler again. */
	host_stubs_free(host_stubs_new());
	plain(f);
	f->cpu->ymm[1] = one;
	f->cpu->fx.mxcsr = 0x1d80; /* ZE unmasked */
	assert_int_equal(RUN(f, DIVPS), X86_EXC_XM);
	assert_memory_equal(&f->cpu->ymm[1], &one, sizeof(one));
	assert_int_equal(f->cpu->fx.mxcsr, 0x1d84);
	f->cpu->cr4 &= ~X86_CR4_OSXMMEXCPT;
	assert_int_equal(RUN(f, DIVPS), X86_EXC_UD);
	f->cpu->fx.mxcsr = 0x1f80;
	assert_int_equal(RUN(f, DIVPS), NO_FAULT);
	assert_int_equal(f->cpu->fx.mxcsr, 0x1f84);
	assert_int_equal(f->cpu->ymm[1].d[0], 0x7f800000);
	assert_int_equal(f->cpu->ymm[1].d[4], 7);
}

static void test_xcr0(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu;

	plain(f);
	c->xcr0 = 1;
	c->gpr[X86_RAX] = 3;
	assert_int_equal(RUN(f, XSETBV), NO_FAULT);
	assert_int_equal(c->xcr0, 3);
	assert_int_equal(RUN(f, XGETBV), NO_FAULT);
	assert_int_equal(c->gpr[X86_RAX], 3);
	for (uint64_t v = 0; v < 16; v++) {
		bool ok = v == 1 || v == 3 || (v == 7 && x86_has(c, X86_F_AVX));

		c->gpr[X86_RAX] = v;
		assert_int_equal(RUN(f, XSETBV), ok ? NO_FAULT : X86_EXC_GP);
	}
	c->gpr[X86_RAX] = 1;
	c->gpr[X86_RDX] = 1;
	assert_int_equal(RUN(f, XSETBV), X86_EXC_GP);
	c->gpr[X86_RDX] = 0;
	c->gpr[X86_RCX] = 1;
	assert_int_equal(RUN(f, XSETBV), X86_EXC_GP);
	c->gpr[X86_RCX] = 0;
	c->cpl = 3;
	assert_int_equal(RUN(f, XSETBV), X86_EXC_GP);
	c->cr4 &= ~X86_CR4_OSXSAVE;
	assert_int_equal(RUN(f, XSETBV), X86_EXC_UD);
	assert_int_equal(RUN(f, XGETBV), X86_EXC_UD);
	assert_int_equal(RUN(f, XSAVE_M), X86_EXC_UD);
	/* XGETBV with ECX 1: what is in use. */
	plain(f);
	c->gpr[X86_RCX] = 1;
	assert_int_equal(RUN(f, XGETBV), NO_FAULT);
	assert_int_equal(c->gpr[X86_RAX], 0);
	c->ymm[3].q[2] = 1;
	assert_int_equal(RUN(f, XGETBV), NO_FAULT);
	assert_int_equal(c->gpr[X86_RAX], 4);
	c->gpr[X86_RCX] = 2;
	assert_int_equal(RUN(f, XGETBV), X86_EXC_GP);
}

static void test_image_alignment(void **state)
{
	struct fixture *f = *state;

	plain(f);
	assert_int_equal(RUN(f, FXSAVE_M), NO_FAULT);
	assert_int_equal(RUN(f, FXSAVE_M8), X86_EXC_GP);
	f->cpu->gpr[X86_RAX] = 7;
	assert_int_equal(RUN(f, XSAVE_M), NO_FAULT);
	assert_int_equal(RUN(f, XSAVE_M16), X86_EXC_GP);
}

static void fill(struct x86_cpu *c, uint64_t seed)
{
	for (int n = 0; n < 16; n++)
		for (int k = 0; k < 4; k++)
			c->ymm[n].q[k] = seed = seed * 6364136223846793005u + 1442695040888963407u;
	for (int n = 0; n < 8; n++) {
		st_le64(c->fx.st[n], 1ull << 63 | (seed + n));
		st_le16(c->fx.st[n] + 8, 0x3fff);
	}
	c->fx.ftw = 0x5a;
	c->fx.fsw = 0x1800;
	c->fx.fop = 0x123;
	c->fx.fip = 0x1234;
	c->fx.fdp = 0x5678;
	c->fx.mxcsr = 0x9fc0;
}

/* XSAVES and XRSTORS: the same compact image as XSAVEC's, for CPL 0. */
static void test_supervisor_image(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu;
	uint8_t image[1024];
	struct x86_fx fx;
	union x86_vec ymm[16];

	plain(f);
	fill(c, 99);
	fx = c->fx;
	memcpy(ymm, c->ymm, sizeof(ymm));
	c->gpr[X86_RAX] = 7;
	assert_int_equal(RUN(f, XSAVEC_M), NO_FAULT);
	memcpy(image, f->ram, sizeof(image));
	memset(f->ram, 0, sizeof(image));
	assert_int_equal(RUN(f, XSAVES_M), NO_FAULT);
	assert_memory_equal(image, f->ram, sizeof(image));
	assert_true(ld_le64(image + 520) == (1ull << 63 | 7) && ld_le64(image + 512) == 7);
	plain(f);
	memcpy(f->ram, image, sizeof(image));
	c->gpr[X86_RAX] = 7;
	c->cpl = 3;
	assert_int_equal(RUN(f, XSAVES_M), X86_EXC_GP);
	assert_int_equal(RUN(f, XRSTORS_M), X86_EXC_GP);
	c->cpl = 0;
	assert_int_equal(RUN(f, XRSTORS_M), NO_FAULT);
	assert_memory_equal(&fx, &c->fx, 160);
	assert_memory_equal(ymm, c->ymm, sizeof(ymm));
	/* Only the compact format; and each check of the header. */
	st_le64(f->ram + 520, 0);
	assert_int_equal(RUN(f, XRSTORS_M), X86_EXC_GP);
	st_le64(f->ram + 520, 1ull << 63 | 3); /* XSTATE_BV has more */
	assert_int_equal(RUN(f, XRSTORS_M), X86_EXC_GP);
	st_le64(f->ram + 520, 1ull << 63 | 15);
	assert_int_equal(RUN(f, XRSTORS_M), X86_EXC_GP);
	st_le64(f->ram + 520, 1ull << 63 | 7);
	f->ram[512 + 63] = 1;
	assert_int_equal(RUN(f, XRSTORS_M), X86_EXC_GP);
	f->ram[512 + 63] = 0;
	/* What the image does not hold becomes its initial value. */
	st_le64(f->ram + 512, 0);
	assert_int_equal(RUN(f, XRSTORS_M), NO_FAULT);
	assert_int_equal(c->fx.fcw, 0x37f);
	assert_int_equal(c->fx.ftw, 0);
	assert_int_equal(c->fx.mxcsr, 0x1f80);
	assert_true(c->ymm[7].q[0] == 0 && c->ymm[7].q[3] == 0);
}

/* Outside 64-bit mode only eight registers are saved and restored. */
static void test_image_32(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu;

	plain(f);
	fill(c, 5);
	c->code64 = false;
	c->mode = X86_MODE_32;
	c->seg_flat = 0x3f;
	c->gpr[X86_RAX] = 7;
	memset(f->ram, 0xee, 1024);
	memset(f->ram + 512, 0, 64);
	assert_int_equal(RUN(f, XSAVE_M), NO_FAULT);
	assert_memory_equal(f->ram + 160 + 7 * 16, &c->ymm[7], 16);
	assert_int_equal(f->ram[160 + 8 * 16], 0xee);
	assert_memory_equal(f->ram + 576 + 7 * 16, &c->ymm[7].q[2], 16);
	assert_int_equal(f->ram[576 + 8 * 16], 0xee);
	memset(c->ymm, 0x11, sizeof(c->ymm));
	assert_int_equal(RUN(f, XRSTOR_M), NO_FAULT);
	assert_memory_equal(f->ram + 160 + 7 * 16, &c->ymm[7], 16);
	assert_int_equal(c->ymm[8].b[0], 0x11);
	c->ymm[9].q[3] = 1;
	assert_int_equal(RUN(f, 0xc5, 0xf8, 0x77), NO_FAULT); /* vzeroupper */
	assert_true(c->ymm[7].q[3] == 0 && c->ymm[9].q[3] == 1);
}

/* The environment in real mode: linear pointers, SDM vol. 1, figures 8-10, 8-12. */
static void test_real_environment(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu;

	plain(f);
	fill(c, 7);
	c->cr0 &= ~X86_CR0_PE;
	c->code64 = false;
	c->mode = X86_MODE_16 | X86_MODE_REAL;
	c->seg_flat = 0x3f;
	c->gpr[X86_RBX] = RAM_GPA;
	c->fx.fip = 0xabcde;
	c->fx.fdp = 0x54321;
	/* 67: [EBX]; 16-bit layout by default */
	assert_int_equal(RUN(f, 0x67, 0xd9, 0x33), NO_FAULT);
	assert_int_equal(ld_le16(f->ram + 6), 0xbcde);
	assert_int_equal(ld_le16(f->ram + 8), 0xa123);
	assert_int_equal(ld_le16(f->ram + 10), 0x4321);
	assert_int_equal(ld_le16(f->ram + 12), 0x5000);
	assert_int_equal(f->ram[14], 0);
	c->fx.fip = c->fx.fdp = c->fx.fop = 0;
	assert_int_equal(RUN(f, 0x67, 0xd9, 0x23), NO_FAULT);
	assert_int_equal(c->fx.fip, 0xabcde);
	assert_int_equal(c->fx.fdp, 0x54321);
	assert_int_equal(c->fx.fop, 0x123);
	/* 66: the 32-bit layout */
	c->fx.fip = 0x12345678;
	assert_int_equal(RUN(f, 0x66, 0x67, 0xd9, 0x33), NO_FAULT);
	assert_int_equal(ld_le32(f->ram + 12), 0xffff5678);
	assert_int_equal(ld_le32(f->ram + 16), 0x01234123);
	c->fx.fip = 0;
	assert_int_equal(RUN(f, 0x66, 0x67, 0xd9, 0x23), NO_FAULT);
	assert_int_equal(c->fx.fip, 0x12345678);
}

/* A gather that faults in the middle, here on a segment's limit, has done what
 * comes before; it then goes on from there. */
static void test_gather_fault(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu;

	if (!x86_host_has(X86_F_AVX2))
		skip();
	plain(f);
	c->code64 = false;
	c->mode = X86_MODE_32;
	c->seg_flat = 0;
	c->seg[X86_DS] = (struct x86_seg){ .sel = 0x10, .attr = 0x493, .limit = RAM_GPA + 0xff };
	for (int n = 0; n < 4; n++) {
		st_le32(f->ram + 4 * n, 100 + n);
		c->ymm[2].d[n] = n; /* index, scale 4 */
		c->ymm[3].d[n] = 0x80000000;
		c->ymm[1].d[n] = 7;
	}
	c->ymm[1].q[3] = 1;
	c->ymm[3].d[1] = 0; /* not loaded */
	c->ymm[2].d[2] = 0x800;
	assert_int_equal(RUN(f, 0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x93), X86_EXC_GP);
	assert_int_equal(c->ymm[1].d[0], 100);
	assert_int_equal(c->ymm[1].d[1], 7);
	assert_int_equal(c->ymm[1].d[2], 7);
	assert_int_equal(c->ymm[3].d[0], 0);
	assert_int_equal(c->ymm[3].d[2], 0x80000000);
	assert_int_equal(c->ymm[3].d[3], 0x80000000);
	c->seg[X86_DS].limit = 0xffffffff;
	assert_int_equal(RUN(f, 0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x93), NO_FAULT);
	assert_int_equal(c->ymm[1].d[2], 0);
	assert_int_equal(c->ymm[1].d[3], 103);
	assert_true(c->ymm[1].q[3] == 0 && c->ymm[3].q[0] == 0 && c->ymm[3].q[1] == 0);
	/* The same register twice */
	assert_int_equal(RUN(f, 0xc4, 0xe2, 0x71, 0x90, 0x0c, 0x93), X86_EXC_UD);
}

/* Stubs are shared: the same encoding in another register makes no new one. */
static void test_stubs_are_canonical(void **state)
{
	struct fixture *f = *state;
	unsigned n;

	plain(f);
	assert_int_equal(RUN(f, 0x0f, 0x5c, 0xca), NO_FAULT);
	n = host_stubs_count(f->cpu->stubs);
	assert_int_equal(RUN(f, 0x44, 0x0f, 0x5c, 0xc3), NO_FAULT);
	assert_int_equal(RUN(f, 0x0f, 0x5c, 0x03), NO_FAULT);
	assert_int_equal(host_stubs_count(f->cpu->stubs), n);
}

/* Many threads ask for the same stubs at once: each is made once, and works. */
struct asker {
	struct fixture *f;
	host_vec_fn fn[256];
};

static void *ask(void *opaque)
{
	struct asker *a = opaque;

	for (unsigned imm = 0; imm < 256; imm++) {
		const uint8_t pshufd[16] = { 0x66, 0x0f, 0x70, 0xca, (uint8_t)imm };
		union x86_vec from = { .d = { 10, 11, 12, 13 } }, to = { 0 };
		struct x86_insn i;

		if (x86_decode(pshufd, 15, X86_MODE_64, a->f->cpu->features, &i) != 5)
			return a;
		a->fn[imm] = host_stub_vec(a->f->cpu->stubs, &i);
		a->fn[imm](&to, &from, NULL, NULL, NULL, NULL);
		for (unsigned n = 0; n < 4; n++)
			if (to.d[n] != 10 + (imm >> 2 * n & 3))
				return a;
	}
	return NULL;
}

static void test_stubs_threads(void **state)
{
	struct fixture *f = *state;
	struct asker a[4];
	pthread_t t[4];
	void *bad;
	unsigned before = host_stubs_count(f->cpu->stubs);

	for (unsigned n = 0; n < 4; n++) {
		a[n].f = f;
		assert_int_equal(pthread_create(&t[n], NULL, ask, &a[n]), 0);
	}
	for (unsigned n = 0; n < 4; n++) {
		assert_int_equal(pthread_join(t[n], &bad), 0);
		assert_null(bad);
	}
	assert_int_equal(host_stubs_count(f->cpu->stubs), before + 256);
	for (unsigned n = 1; n < 4; n++)
		assert_memory_equal(a[n].fn, a[0].fn, sizeof(a[0].fn));
}

static void test_alignment_check(void **state)
{
	static const struct {
		uint8_t bytes[6];
		uint8_t len, align;
	} rows[] = {
		{ { 0x0f, 0x10, 0x03 }, 3, 16 },      /* movups */
		{ { 0xf2, 0x0f, 0x58, 0x03 }, 4, 8 }, /* addsd */
		{ { 0xf3, 0x0f, 0x10, 0x03 }, 4, 4 }, /* movss */
		{ { 0xdb, 0x2b }, 2, 8 },             /* fld m80 */
		{ { 0xd9, 0x33 }, 2, 4 },             /* fnstenv */
		{ { 0xdf, 0x03 }, 2, 2 },             /* fild m16 */
	};
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu;

	for (size_t r = 0; r < array_size(rows); r++) {
		for (unsigned off = 0; off < 16; off++) {
			plain(f);
			c->cpl = 3;
			c->cr0 |= X86_CR0_AM;
			c->rflags |= X86_FL_AC;
			c->tlb_class = X86_TLB_USER_AC;
			c->tlb = c->tlbs[X86_TLB_USER_AC];
			c->gpr[X86_RBX] += off;
			assert_int_equal(run_bytes(f, rows[r].bytes, rows[r].len),
					 off % rows[r].align ? X86_EXC_AC : NO_FAULT);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sse_available, setup, teardown),
		cmocka_unit_test_setup_teardown(test_avx_available, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x87_available, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x87_pending, setup, teardown),
		cmocka_unit_test_setup_teardown(test_simd_exception, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xcr0, setup, teardown),
		cmocka_unit_test_setup_teardown(test_image_alignment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_supervisor_image, setup, teardown),
		cmocka_unit_test_setup_teardown(test_image_32, setup, teardown),
		cmocka_unit_test_setup_teardown(test_real_environment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gather_fault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stubs_are_canonical, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stubs_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alignment_check, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
