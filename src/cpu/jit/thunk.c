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
static void return_to_c(struct asm_buf *a, enum jit_exit why)
{
	a_ext(a, 0xc7, 4, 0, A_GS(OFF(jit.exit)));
	a_d(a, why);
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

static void emit_leave(struct jit *j)
{
	j->leave = here(j);
	spill(&j->a);
	return_to_c(&j->a, JIT_EXIT_BRANCH);
	j->leave_one = here(j);
	spill(&j->a);
	return_to_c(&j->a, JIT_EXIT_ONE);
}

/* RAX: struct jit_call. Returns, or leaves with rip as C set it. */
static void emit_call_op(struct jit *j)
{
	struct asm_buf *a = &j->a;
	uint8_t *out;

	j->call_op = here(j);
	spill(a);
	a_load(a, 8, H_RDI, A_GS(OFF(jit.self)));
	a_mov(a, 8, H_RSI, H_RAX);
	add_rsp(a, -8);
	call_c(a, (uintptr_t)jit_call_op);
	add_rsp(a, 8);
	a_rr(a, 0x85, 4, H_RAX, A_REG(H_RAX)); /* TEST */
	out = a_jcc(a, CC_NE);
	reload(a, true);
	a_b(a, 0xc3);
	a_set_rel(out, a->p);
	return_to_c(a, JIT_EXIT_BRANCH);
}

/* RCX: linear address, EAX: jit_miss()'s third argument. Returns with the host
 * address in RCX, or has the interpreter execute the instruction at start_rip. */
static const uint8_t *emit_miss(struct jit *j)
{
	struct asm_buf *a = &j->a;
	const uint8_t *entry = here(j);
	uint8_t *one;

	spill(a);
	a_load(a, 8, H_RDI, A_GS(OFF(jit.self)));
	a_mov(a, 8, H_RSI, H_RCX);
	a_mov(a, 4, H_RDX, H_RAX);
	add_rsp(a, -8);
	call_c(a, (uintptr_t)jit_miss);
	add_rsp(a, 8);
	a_rr(a, 0x85, 8, H_RAX, A_REG(H_RAX));
	one = a_jcc(a, CC_E);
	a_mov(a, 8, H_RCX, H_RAX);
	reload(a, false);
	a_b(a, 0xc3);
	a_set_rel(one, a->p);
	a_load(a, 8, H_RAX, A_GS(OFF(start_rip)));
	a_store(a, 8, A_GS(OFF(rip)), H_RAX);
	return_to_c(a, JIT_EXIT_ONE);
	return entry;
}

void jit_emit_thunks(struct jit *j)
{
	emit_enter(j);
	emit_leave(j);
	emit_call_op(j);
	j->miss_load = j->miss_store = emit_miss(j);
	here(j);
}
