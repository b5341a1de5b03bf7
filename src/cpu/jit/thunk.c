/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways between C and translated code. Translated code runs with RSP aligned
 * to 16; a thunk that it calls finds RSP 8 off.
 */
#include <stddef.h>

#include "src/cpu/jit/emit.h"

static const uint8_t callee_saved[] = { H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15 };

static void push(struct asm_buf *a, unsigned r)
{
	if (r & 8)
		a_b(a, 0x41);
	a_b(a, 0x50 | (r & 7));
}

static void pop(struct asm_buf *a, unsigned r)
{
	if (r & 8)
		a_b(a, 0x41);
	a_b(a, 0x58 | (r & 7));
}

static void spill(struct asm_buf *a)
{
	for (unsigned g = 0; g < 16; g++)
		if (jit_home[g] >= 0)
			a_store(a, 8, A_GS(OFF_GPR(g)), jit_home[g]);
}

static bool is_callee_saved(unsigned h)
{
	for (unsigned n = 0; n < sizeof(callee_saved); n++)
		if (callee_saved[n] == h)
			return true;
	return false;
}

/* @all: else only those that a C function may have changed. */
static void reload(struct asm_buf *a, bool all)
{
	for (unsigned g = 0; g < 16; g++)
		if (jit_home[g] >= 0 && (all || !is_callee_saved((unsigned)jit_home[g])))
			a_load(a, 8, jit_home[g], A_GS(OFF_GPR(g)));
}

/* VMOVUPS or MOVUPS between register @n and its place in struct x86_cpu. */
static void move_vec(struct jit *j, bool store, unsigned n)
{
	struct asm_buf *a = &j->a;
	struct a_rm rm = A_GS(OFF(ymm) + 32 * (int)n);

	if (j->avx) {
		a_b(a, 0x65);
		a_b(a, 0xc5);
		a_b(a, (n & 8 ? 0 : 0x80) | 0x7c);
		a_b(a, store ? 0x11 : 0x10);
		a_modrm(a, n, rm);
	} else {
		a_rr(a, A_0F | (store ? 0x11 : 0x10), 4, n, rm);
	}
}

/* STMXCSR or LDMXCSR */
static void move_mxcsr(struct asm_buf *a, bool store, int32_t off)
{
	a_ext(a, A_0F | 0xae, 4, store ? 3 : 2, A_GS(off));
}

/* XSAVE or XRSTOR of the x87 state; clobbers RAX and RDX. */
static void move_x87(struct jit *j, bool store)
{
	struct asm_buf *a = &j->a;

	a_movi(a, H_RAX, 1);
	a_movi(a, H_RDX, 0);
	a_ext(a, A_0F | 0xae, 8, store ? 4 : 5, A_GS(OFF(fx)));
}

/* The pointers to the last instruction and operand are kept in memory whatever
 * the host thinks of them. Clobbers registers that C may. */
static void x87_out(struct jit *j)
{
	struct asm_buf *a = &j->a;

	a_movx(a, false, 4, H_RCX, 2, A_GS(OFF(fx.fop)));
	a_load(a, 8, H_R8, A_GS(OFF(fx.fip)));
	a_load(a, 8, H_R9, A_GS(OFF(fx.fdp)));
	move_x87(j, true);
	a_store(a, 2, A_GS(OFF(fx.fop)), H_RCX);
	a_store(a, 8, A_GS(OFF(fx.fip)), H_R8);
	a_store(a, 8, A_GS(OFF(fx.fdp)), H_R9);
	a_w(a, 0xe3db); /* FNINIT */
}

/* Jump if none of @bits is in the byte at GS:@off. */
static uint8_t *jump_unless(struct asm_buf *a, int32_t off, uint8_t bits)
{
	a_ext(a, 0xf6, 1, 0, A_GS(off)); /* TEST */
	a_b(a, bits);
	return a_jcc(a, CC_E);
}

/* The guest's vector and x87 registers to memory, if they are live; C's rules
 * after. What was live is left in vec_again. Clobbers RFLAGS, and registers that C
 * may but RSI, RDI. */
static void vec_out(struct jit *j)
{
	struct asm_buf *a = &j->a;
	uint8_t *none, *no_x87, *no_ymm;

	_Static_assert(offsetof(struct x86_cpu, fx_header) == offsetof(struct x86_cpu, fx) + 512,
		       "XSAVE's area");
	a_movx(a, false, 4, H_RAX, 1, A_GS(OFF(jit.vec_live)));
	a_store(a, 1, A_GS(OFF(jit.vec_again)), H_RAX);
	a_rr(a, 0x85, 4, H_RAX, A_REG(H_RAX));
	none = a_jcc(a, CC_E);
	no_x87 = jump_unless(a, OFF(jit.vec_live), JIT_VEC_X87);
	x87_out(j);
	a_set_rel(no_x87, a->p);
	no_ymm = jump_unless(a, OFF(jit.vec_live), JIT_VEC_YMM);
	for (unsigned n = 0; n < 16; n++)
		move_vec(j, true, n);
	move_mxcsr(a, true, OFF(fx.mxcsr));
	move_mxcsr(a, false, OFF(jit.host_mxcsr));
	if (j->avx) {
		a_b(a, 0xc5); /* VZEROUPPER */
		a_w(a, 0x77f8);
	}
	a_set_rel(no_ymm, a->p);
	a_ext(a, 0xc6, 1, 0, A_GS(OFF(jit.vec_live)));
	a_b(a, 0);
	a_set_rel(none, a->p);
}

/* ... and back; AL: what they may be used for. RAX and RFLAGS go; RDX is
 * reloaded if it was needed. */
static void vec_in(struct jit *j)
{
	struct asm_buf *a = &j->a;
	uint8_t *no_x87, *no_ymm;

	a_store(a, 1, A_GS(OFF(jit.vec_live)), H_RAX);
	no_ymm = jump_unless(a, OFF(jit.vec_live), JIT_VEC_YMM);
	for (unsigned n = 0; n < 16; n++)
		move_vec(j, false, n);
	move_mxcsr(a, false, OFF(fx.mxcsr));
	a_set_rel(no_ymm, a->p);
	no_x87 = jump_unless(a, OFF(jit.vec_live), JIT_VEC_X87);
	a_ext(a, 0xc7, 8, 0, A_GS(OFF(fx_header)));
	a_d(a, 1); /* not in its initial state */
	move_x87(j, false);
	a_load(a, 8, H_RDX, A_GS(OFF_GPR(X86_RDX)));
	a_set_rel(no_x87, a->p);
}

static void call_c(struct asm_buf *a, uintptr_t fn)
{
	a_movi(a, H_RAX, fn);
	a_ext(a, 0xff, 4, 2, A_REG(H_RAX)); /* CALL rax */
}

static void add_rsp(struct asm_buf *a, int v)
{
	a_lea(a, 8, H_RSP, A_MEM(H_RSP, v));
}

/* Back to jit_enter()'s caller; guest registers are in memory already. */
static void return_to_c(struct asm_buf *a)
{
	a_load(a, 8, H_RSP, A_GS(OFF(jit.host_rsp)));
	for (unsigned n = sizeof(callee_saved); n-- > 0;)
		pop(a, callee_saved[n]);
	a_b(a, 0xc3);
}

static const uint8_t *here(struct jit *j)
{
	while ((uintptr_t)j->a.p & 15)
		a_b(&j->a, 0xcc);
	return jit_rx(j, j->a.p);
}

/* void enter(const void *code): loads the guest's registers and jumps. */
static void emit_enter(struct jit *j)
{
	struct asm_buf *a = &j->a;

	j->enter = here(j);
	for (unsigned n = 0; n < sizeof(callee_saved); n++)
		push(a, callee_saved[n]);
	a_store(a, 8, A_GS(OFF(jit.host_rsp)), H_RSP);
	add_rsp(a, -8); /* six pushes and the return address: 8 off */
	a_mov(a, 8, H_RAX, H_RDI);
	reload(a, true);
	a_ext(a, 0xff, 4, 4, A_REG(H_RAX)); /* JMP rax */
}

/* Goes on with the code that @fn gives, or back to the run loop; guest registers
 * are in memory, RSP as in translated code. */
static void go_on(struct jit *j, const void *(*fn)(struct x86_cpu *c))
{
	struct asm_buf *a = &j->a;
	uint8_t *out;

	a_load(a, 8, H_RDI, A_GS(OFF(jit.self)));
	call_c(a, (uintptr_t)fn);
	a_rr(a, 0x85, 8, H_RAX, A_REG(H_RAX)); /* TEST */
	out = a_jcc(a, CC_E);
	reload(a, true);
	a_ext(a, 0xff, 4, 4, A_REG(H_RAX)); /* JMP */
	a_set_rel(out, a->p);
	return_to_c(a);
}

static void emit_leave(struct jit *j)
{
	/* Of slot 0 of the jump caches: the very address that it holds. */
	j->leave_slot0 = here(j);
	a_movi(&j->a, H_RAX, jit_no_jump(0));
	a_store(&j->a, 8, A_GS(OFF(rip)), H_RAX);
	j->leave_indirect = jit_rx(j, j->a.p);
	a_ext(&j->a, 0xc7, 8, 0, A_GS(OFF(jit.link)));
	a_d(&j->a, 0);
	j->leave = jit_rx(j, j->a.p);
	spill(&j->a);
	vec_out(j);
	go_on(j, jit_next);
	j->leave_plain = here(j);
	spill(&j->a);
	vec_out(j);
	go_on(j, jit_plain);
	j->leave_one = here(j);
	spill(&j->a);
	vec_out(j);
	go_on(j, jit_one);
}

/* RAX: struct jit_call, of an instruction that ends its block. */
static void emit_call_end(struct jit *j)
{
	struct asm_buf *a = &j->a;

	j->call_end = here(j);
	spill(a);
	a_mov(a, 8, H_RSI, H_RAX);
	vec_out(j);
	go_on(j, (const void *(*)(struct x86_cpu *))(uintptr_t)jit_call_end);
}

/* RAX: struct jit_block whose guest code is another now; flags are saved. */
static void emit_stale(struct jit *j)
{
	j->stale = here(j);
	spill(&j->a);
	a_mov(&j->a, 8, H_RSI, H_RAX);
	vec_out(j);
	go_on(j, (const void *(*)(struct x86_cpu *))(uintptr_t)jit_stale);
}

/* RAX: struct jit_call. Returns, or goes on at rip as C set it. */
static void emit_call_op(struct jit *j)
{
	struct asm_buf *a = &j->a;
	uint8_t *out;

	j->call_op = here(j);
	spill(a);
	a_load(a, 8, H_RDI, A_GS(OFF(jit.self)));
	a_mov(a, 8, H_RSI, H_RAX);
	vec_out(j);
	add_rsp(a, -8);
	call_c(a, (uintptr_t)jit_call_op);
	add_rsp(a, 8);
	a_rr(a, 0x85, 4, H_RAX, A_REG(H_RAX)); /* TEST */
	out = a_jcc(a, CC_NE);
	reload(a, true);
	a_b(a, 0xc3);
	a_set_rel(out, a->p);
	add_rsp(a, 8); /* not back */
	go_on(j, jit_next);
}

/* In a thunk that was called, registers in memory: the interpreter executes the
 * instruction at start_rip. */
static void one_at_start(struct jit *j)
{
	struct asm_buf *a = &j->a;

	add_rsp(a, 8);
	a_load(a, 8, H_RAX, A_GS(OFF(start_rip)));
	a_store(a, 8, A_GS(OFF(rip)), H_RAX);
	go_on(j, jit_one);
}

/* RCX: linear address, EAX: jit_miss()'s third argument. Returns with the host
 * address in RCX, or has the interpreter execute the instruction at start_rip. */
static void emit_miss(struct jit *j)
{
	struct asm_buf *a = &j->a;
	uint8_t *one, *no_vec;

	j->miss = here(j);
	spill(a);
	a_mov(a, 8, H_RSI, H_RCX);
	a_mov(a, 4, H_RDI, H_RAX);
	vec_out(j);
	a_mov(a, 4, H_RDX, H_RDI);
	a_load(a, 8, H_RDI, A_GS(OFF(jit.self)));
	add_rsp(a, -8);
	call_c(a, (uintptr_t)jit_miss);
	add_rsp(a, 8);
	a_rr(a, 0x85, 8, H_RAX, A_REG(H_RAX));
	one = a_jcc(a, CC_E);
	a_mov(a, 8, H_RCX, H_RAX);
	reload(a, false);
	a_movx(a, false, 4, H_RAX, 1, A_GS(OFF(jit.vec_again)));
	a_rr(a, 0x85, 4, H_RAX, A_REG(H_RAX));
	no_vec = a_jcc(a, CC_E);
	vec_in(j);
	a_set_rel(no_vec, a->p);
	a_b(a, 0xc3);
	a_set_rel(one, a->p);
	one_at_start(j);
}

/* EAX: JIT_VEC_* that the instruction at start_rip wants. Returns with the vector
 * registers in the host's, or has the interpreter execute the instruction. */
static void emit_vec_load(struct jit *j)
{
	struct asm_buf *a = &j->a;
	uint8_t *one;

	j->vec_load = here(j);
	spill(a);
	a_load(a, 8, H_RDI, A_GS(OFF(jit.self)));
	a_mov(a, 4, H_RSI, H_RAX);
	vec_out(j);
	add_rsp(a, -8);
	call_c(a, (uintptr_t)jit_vec_may);
	add_rsp(a, 8);
	a_rr(a, 0x85, 4, H_RAX, A_REG(H_RAX));
	one = a_jcc(a, CC_E);
	reload(a, false);
	vec_in(j);
	a_b(a, 0xc3);
	a_set_rel(one, a->p);
	one_at_start(j);
}

void jit_emit_thunks(struct jit *j)
{
	j->cpu->jit.host_mxcsr = 0x1f80;
	emit_enter(j);
	emit_leave(j);
	emit_call_op(j);
	emit_call_end(j);
	emit_stale(j);
	emit_miss(j);
	emit_vec_load(j);
	here(j);
}
