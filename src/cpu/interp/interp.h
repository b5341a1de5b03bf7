/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plain interpreter: the reference engine, and what the translator falls
 * back to. Decodes straight-line runs of code once and keeps them per vCPU.
 */
#ifndef BOTHY_CPU_INTERP_INTERP_H
#define BOTHY_CPU_INTERP_INTERP_H

#include "src/cpu/cpu.h"
#include "src/cpu/x86/x86.h"

extern const struct engine_desc interp_engine;

/* Executes exactly one instruction at c->rip, without looking at interrupts.
 * 0, or 1 if it raised: the exception is recorded in c->exc_* and cr2 and not
 * delivered. Uses c->fault_jmp. For tests and for engines that fall back. */
int interp_step(struct x86_cpu *c);

/* Executes one instruction as a processor does, with breakpoints, single step and
 * shadows, and delivers the exception that it raises. Looks at no interrupts, keeps
 * no decoded code: memory may have been written by others. Uses c->fault_jmp. */
void interp_step_whole(struct x86_cpu *c);

/*
 * The pieces that the translator borrows. All raise (c->fault_jmp), and expect
 * c->start_rip == c->rip.
 */
struct interp;
struct interp *interp_new(void); /* NULL when out of memory */
void interp_free(struct interp *in);
void interp_drop_code(struct interp *in); /* all that is decoded; not while it executes */

/* Must instructions run one at a time through interp_exec_one(): a debugger's
 * wish, or the shadow of STI and MOV SS? */
static inline bool interp_must_step(const struct x86_cpu *c)
{
	return (c->rflags & (X86_FL_TF | X86_FL_RF)) || (c->dr[7] & 0xff) || c->int_shadow ||
	       (c->debug & X86_DEBUG_SLOW);
}

/* May an event be delivered ahead of the next instruction? Not in a shadow, nor where a
 * debugger steps: it would see nothing but handlers. */
static inline bool interp_takes_events(const struct x86_cpu *c)
{
	return c->halted || !(c->int_shadow || (c->debug & X86_DEBUG_STEP));
}

/* One instruction with breakpoints, single step and shadows. */
void interp_exec_one(struct x86_cpu *c, struct interp *in);
/* A straight run of instructions; not when interp_must_step(). */
void interp_exec_run(struct x86_cpu *c, struct interp *in);
/* The same, at most @max (not 0) instructions. */
void interp_exec_some(struct x86_cpu *c, struct interp *in, unsigned max);

#endif
