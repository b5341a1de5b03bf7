/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Integer operations, each row of ops_int.def that computes: random encodings of
 * it run on the host's CPU and through decoder and C function; registers, flags
 * and memory must agree. No MMU: one page of memory, at the same address for
 * both, stands in the TLB. Faults, addressing and whole sequences are cpu-diff's.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "src/cpu/x86/access.h"
#include "src/cpu/x86/insn.h"

#define ROUNDS 400
#define PAGE 4096
#define BASE_REG X86_RBX /* points into the page in every run */

struct regs {
	uint64_t gpr[16], flags, host_rsp;
};

struct fixture {
	struct x86_cpu *cpu;
	struct mem mem;
	_Atomic uint8_t page_flags[1];
	uint8_t *code, *data;
	struct regs regs;
	uint64_t seed;
	uint64_t features[(X86_NFEATURES + 63) / 64];
};

/* The signal handler has no argument of ours to find its way by. */
static sigjmp_buf native_fault;

static void on_fault(int sig) { siglongjmp(native_fault, 1); }

static uint64_t rnd(struct fixture *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed;
}

/* Values that make flags interesting more often than random ones do. */
static uint64_t value(struct fixture *f)
{
	static const uint64_t corner[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
					   0x7fffffff, 0x80000000, 0xffffffff, 1ull << 63,
					   ~0ull, ~0ull >> 1, 0x100, 0x10000, 0x100000000 };
	uint64_t r = rnd(f);

	switch (r & 3) {
	case 0: return corner[(r >> 8) % array_size(corner)];
	case 1: return rnd(f) >> (r >> 8 & 63);
	default: return rnd(f);
	}
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

#define PUT(p, ...)                                                                               \
	put(p, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* mov reg, [r15 + 8 * slot] (0x8b) or back (0x89) */
static uint8_t *put_mov(uint8_t *p, uint8_t opcode, unsigned reg, unsigned slot)
{
	return PUT(p, 0x49 | (reg & 8 ? 4 : 0), opcode, 0x87 | (reg & 7) << 3, slot * 8, 0, 0, 0);
}

/* A function that loads the registers but RSP, runs the instruction and stores
 * them again. */
static void native_run(struct fixture *f, const uint8_t *insn, unsigned len)
{
	uint64_t regs = (uintptr_t)&f->regs, spill = (uintptr_t)f->code + PAGE - 8;
	uint8_t *p = f->code;

	p = PUT(p, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x49, 0xbf);
	p = put(p, &regs, 8);
	p = put_mov(p, 0x89, X86_RSP, 17);
	p = PUT(p, 0x41, 0xff, 0xb7, 16 * 8, 0, 0, 0, 0x9d); /* push [flags]; popf */
	for (unsigned r = 0; r < 15; r++)
		if (r != X86_RSP)
			p = put_mov(p, 0x8b, r, r);
	p = put_mov(p, 0x8b, 15, 15);
	p = put(p, insn, len);
	{
		int32_t disp = (int32_t)(spill - ((uintptr_t)p + 7));

		p = PUT(p, 0x4c, 0x89, 0x3d); /* mov [rip + disp], r15 */
		p = put(p, &disp, 4);
	}
	p = PUT(p, 0x49, 0xbf);
	p = put(p, &regs, 8);
	p = PUT(p, 0x9c, 0x41, 0x8f, 0x87, 16 * 8, 0, 0, 0); /* pushf; pop [flags] */
	for (unsigned r = 0; r < 15; r++)
		if (r != X86_RSP)
			p = put_mov(p, 0x89, r, r);
	p = PUT(p, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xfc, 0xc3);
	((void (*)(void))(uintptr_t)f->code)();
	memcpy(&f->regs.gpr[15], f->code + PAGE - 8, 8);
}

static bool operand_is(const struct x86_row *r, unsigned kind)
{
	return r->opnd[0] == kind || r->opnd[1] == kind || r->opnd[2] == kind;
}

/* Rows this test can run: no stack, no branch, no string, no address of its own. */
static bool wanted(const struct fixture *f, const struct x86_row *r)
{
	if (r->id > X86_OP_RORX || (r->attr & (X86_A_END | X86_A_NO64 | X86_A_REP)))
		return false;
	if (r->feature && !(f->features[r->feature / 64] >> (r->feature % 64) & 1))
		return false;
	return !operand_is(r, X86_O_Ob) && !operand_is(r, X86_O_Ov) &&
	       strncmp(r->name, "rd", 2) && strcmp(r->name, "xlat") && strcmp(r->name, "push") &&
	       strcmp(r->name, "pop") && strcmp(r->name, "enter") && strcmp(r->name, "leave") &&
	       strcmp(r->name, "std");
}

static bool has_modrm(const struct x86_row *r)
{
	for (int k = 0; k < 3; k++)
		if ((r->opnd[k] >= X86_O_Eb && r->opnd[k] <= X86_O_Gy))
			return true;
	return r->ext != X86_EXT_ANY || r->mod != X86_MOD_ANY;
}

/* Any register but RSP and the base, with the REX bit it needs. */
static unsigned pick_reg(struct fixture *f)
{
	unsigned r;

	do
		r = rnd(f) & 15;
	while (r == X86_RSP || r == BASE_REG);
	return r;
}

static unsigned encode(struct fixture *f, const struct x86_row *r, uint8_t *out)
{
	unsigned reg = r->ext != X86_EXT_ANY ? r->ext : pick_reg(f), rm = pick_reg(f);
	bool mem = rnd(f) & 1, w = rnd(f) % 3 == 0 || r->vw == X86_W_1;
	uint64_t imm = value(f);
	uint8_t *p = out;

	if (r->vw == X86_W_0)
		w = false;
	mem = r->mod == X86_MOD_MEM || (mem && r->mod == X86_MOD_ANY) || operand_is(r, X86_O_M);
	if (mem)
		rm = BASE_REG;
	if (r->vex == X86_LEGACY) {
		if (mem && (r->attr & X86_A_LOCK) && !(rnd(f) & 3))
			*p++ = 0xf0;
		if (r->pp == X86_PP_66 || (r->pp != X86_PP_NONE && rnd(f) % 3 == 0))
			*p++ = 0x66;
		if (r->pp == X86_PP_F3 || r->pp == X86_PP_F2)
			*p++ = r->pp == X86_PP_F3 ? 0xf3 : 0xf2;
		if (w || (reg | rm) & 8 || rnd(f) & 1)
			*p++ = 0x40 | w << 3 | (reg & 8) >> 1 | rm >> 3;
		if (r->map != X86_MAP_1)
			*p++ = 0x0f;
		if (r->map >= X86_MAP_0F38)
			*p++ = r->map == X86_MAP_0F38 ? 0x38 : 0x3a;
	} else {
		static const uint8_t pp[] = { [X86_PP_NONE] = 0, [X86_PP_66] = 1,
					      [X86_PP_F3] = 2, [X86_PP_F2] = 3 };
		bool v = operand_is(r, X86_O_By);

		*p++ = 0xc4;
		*p++ = (reg & 8 ? 0 : 0x80) | 0x40 | (rm & 8 ? 0 : 0x20) | r->map;
		*p++ = w << 7 | (v ? ~pick_reg(f) & 15 : 15) << 3 | pp[r->pp];
	}
	*p = r->opcode;
	if (operand_is(r, X86_O_Zb) || operand_is(r, X86_O_Zv))
		*p |= rm & 7;
	p++;
	if (has_modrm(r)) {
		*p++ = (mem ? 0x40 : 0xc0) | (reg & 7) << 3 | (rm & 7);
		if (mem)
			*p++ = (uint8_t)rnd(f) & 0x70;
	}
	p = put(p, &imm, 8);
	return p - out;
}

/* Bit-string addressing reaches far: keep bit numbers within the page. */
static void tame(struct fixture *f, const struct x86_insn *i)
{
	bool bits = i->mem && !strncmp(i->row->name, "bt", 2) && i->row->opnd[1] == X86_O_Gv;

	if (bits)
		f->regs.gpr[i->reg] &= 0xfff;
}

static bool run_engine(struct fixture *f, const struct x86_insn *i)
{
	struct x86_cpu *c = f->cpu;

	memcpy(c->gpr, f->regs.gpr, sizeof(c->gpr));
	c->rflags = f->regs.flags;
	c->rip = c->start_rip = 0x1000;
	if (_setjmp(c->fault_jmp))
		return false;
	i->fn(c, i);
	return true;
}

static void report(const struct fixture *f, const struct x86_insn *i, const uint8_t *bytes,
		   const char *what, uint64_t native, uint64_t ours)
{
	char hex[64] = "";

	for (unsigned k = 0; k < i->len; k++)
		sprintf(hex + 3 * k, "%02x ", bytes[k]);
	fail_msg("%s (%s): %s is %#llx on the host, %#llx here", i->row->name, hex, what,
		 (unsigned long long)native, (unsigned long long)ours);
}

static void run_both(struct fixture *f, const struct x86_row *r)
{
	uint8_t bytes[32], before[PAGE], ours[PAGE];
	struct x86_insn i;
	bool ok;

	encode(f, r, bytes);
	assert_true(x86_decode(bytes, 15, X86_MODE_64, f->features, &i) > 0);
	if (i.row->id == X86_OP_UD || (i.row->id != r->id && i.row->id > X86_OP_RORX))
		return; /* the random prefixes made something else of it */
	for (int n = 0; n < 16; n++)
		f->regs.gpr[n] = value(f);
	for (int n = 0; n < PAGE; n += 8)
		st_le64(f->data + n, value(f));
	f->regs.gpr[BASE_REG] = (uintptr_t)f->data + PAGE / 2;
	f->regs.flags = 0x202 | (rnd(f) & X86_FL_ARITH);
	tame(f, &i);
	memcpy(before, f->data, PAGE);
	ok = run_engine(f, &i);
	memcpy(ours, f->data, PAGE);
	memcpy(f->data, before, PAGE);
	if (sigsetjmp(native_fault, 1)) {
		if (ok)
			report(f, &i, bytes, "fault", 1, 0);
		return;
	}
	native_run(f, bytes, i.len);
	if (!ok)
		report(f, &i, bytes, "fault", 0, 1);
	for (int n = 0; n < 16; n++)
		if (n != X86_RSP && f->regs.gpr[n] != f->cpu->gpr[n])
			report(f, &i, bytes, "a register", f->regs.gpr[n], f->cpu->gpr[n]);
	if (f->regs.flags != f->cpu->rflags)
		report(f, &i, bytes, "RFLAGS", f->regs.flags, f->cpu->rflags);
	assert_memory_equal(ours, f->data, PAGE);
}

static void test_against_host(void **state)
{
	struct fixture *f = *state;
	struct sigaction sa = { .sa_handler = on_fault };
	unsigned rows = 0;

	sigaction(SIGFPE, &sa, NULL); /* in place of the test library's own */
	for (size_t n = 0; n < x86_nrows; n++) {
		if (!wanted(f, &x86_rows[n]))
			continue;
		rows++;
		for (int k = 0; k < ROUNDS; k++)
			run_both(f, &x86_rows[n]);
	}
	assert_true(rows > 250);
}

static void host_features(struct fixture *f)
{
	struct { enum x86_feature feature; unsigned leaf, reg, bit; } const want[] = {
		{ X86_F_SSE4_2, 1, 2, 20 }, { X86_F_MOVBE, 1, 2, 22 }, { X86_F_POPCNT, 1, 2, 23 },
		{ X86_F_CX16, 1, 2, 13 }, { X86_F_BMI1, 7, 1, 3 }, { X86_F_BMI2, 7, 1, 8 },
		{ X86_F_ADX, 7, 1, 19 }, { X86_F_LAHF_LM, 0x80000001, 2, 0 },
		{ X86_F_LZCNT, 0x80000001, 2, 5 },
	};

	for (size_t n = 0; n < array_size(want); n++) {
		unsigned out[4] = { 0 };

		__get_cpuid_count(want[n].leaf, 0, &out[0], &out[1], &out[2], &out[3]);
		if (out[want[n].reg] >> want[n].bit & 1)
			f->features[want[n].feature / 64] |= 1ull << (want[n].feature % 64);
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct x86_tlb_entry *t;
	uint64_t page;

	f->cpu = aligned_alloc(PAGE, align_up(sizeof(struct x86_cpu), PAGE));
	memset(f->cpu, 0, sizeof(*f->cpu));
	f->code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	f->data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(f->code != MAP_FAILED && f->data != MAP_FAILED);
	f->seed = 0x2545f4914f6cdd1d;
	f->mem.window = f->data;
	f->mem.page_flags = f->page_flags;
	f->cpu->mem = &f->mem;
	f->cpu->code64 = true;
	f->cpu->mode = X86_MODE_64;
	f->cpu->tlb = f->cpu->tlbs[0];
	memset(f->cpu->tlbs, 0xff, sizeof(f->cpu->tlbs));
	page = (uintptr_t)f->data;
	t = &f->cpu->tlbs[0][page >> 12 & (X86_TLB_ENTRIES - 1)];
	*t = (struct x86_tlb_entry){ .tag_r = page, .tag_w = page, .tag_x = ~0ull, .host = page };
	f->cpu->tlb_side[0][t - f->cpu->tlbs[0]] =
		(struct x86_tlb_side){ .page = page, .flags = X86_TLBF_R | X86_TLBF_W };
	host_features(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	munmap(f->code, PAGE);
	munmap(f->data, PAGE);
	free(f->cpu);
	free(f);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_host),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
