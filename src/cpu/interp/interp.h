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

#endif
