/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The translating engine: guest code to host code, one block at a time.
 *
 *   decode   analyse.c   a run of guest instructions, with what each reads,
 *                        writes and may fault on
 *   analyse  analyse.c   which flags are still wanted in front of each
 *   emit     emit*.c     host code; what has no emitter calls the interpreter's
 *                        C function (thunk.c)
 *   link     cache.c     blocks to each other, and apart again
 *
 * Every vCPU has code of its own: nothing that a running vCPU executes is ever
 * patched by another thread. Stores to code of another vCPU's translating reach
 * it as a request (X86_REQ_CODE).
 *
 * Where guest state lives while translated code runs:
 *   GS base            struct x86_cpu
 *   RDX RBX RBP RSI RDI R8 R9 R12 R13 R14   the guest's of the same name
 *   R10, R11, R15      the guest's RAX, RCX, RSP
 *   memory             the guest's R10, R11, R15
 *   RAX, RCX           scratch
 *   RFLAGS             the guest's arithmetic flags, where the emitter says so
 */
#ifndef BOTHY_CPU_JIT_JIT_H
#define BOTHY_CPU_JIT_JIT_H

#include <stdio.h>

#include "src/cpu/cpu.h"

extern const struct engine_desc jit_engine;

/*
 * For the engine that checks this one (cpu/check): it follows at these points of the
 * run loop. The translator then counts blocks, and comes back to the loop after as
 * many as x86->jit.budget (1..X86_JIT_RING) allows.
 */
enum jit_point {
	JIT_POINT_BEGIN,     /* engine->run() was entered */
	JIT_POINT_TRANSLATED,/* translated code gives way to the interpreter, at x86->rip */
	JIT_POINT_RAISED,    /* an exception was raised, in translated code or out of it */
	JIT_POINT_DELIVERED, /* ... and delivered */
	JIT_POINT_EVENT,     /* x86_poll_events() delivered something */
	JIT_POINT_LOOP,      /* an instruction boundary, everything before it was told */
};
typedef void (*jit_follower)(void *opaque, enum jit_point p);
/* Between vcpu_init() and the first run(). */
void jit_follow(struct vcpu *v, jit_follower fn, void *opaque);
/* The blocks that ran since the budget was @budget: instructions of all but the last,
 * and of the last. */
void jit_ran(const struct vcpu *v, unsigned budget, uint64_t *before, unsigned *last);
/* ... as a listing, oldest first. */
void jit_list(const struct vcpu *v, unsigned budget, FILE *f);

/* Mistakes for tests of whoever should notice: from now on translated code does one
 * thing wrong after every `mov r, r/m` or `mov r/m, r` of 64-bit code. */
enum jit_plant { JIT_PLANT_NONE, JIT_PLANT_REGISTER, JIT_PLANT_FLAG, JIT_PLANT_STORE };
void jit_plant_bug(struct vcpu *v, enum jit_plant what);

#endif
