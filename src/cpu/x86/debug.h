/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debug registers, single step and the slow loop that serves them. SDM vol. 3,
 * chapter 18.
 *
 * While x86_needs_single_step() an engine executes one instruction at a time:
 * x86_before_insn(), the instruction, the engine's clearing of int_shadow bits
 * that were set before it, x86_after_insn(). Traps gather in db_pending; any
 * event delivered in between drops them, the instruction will run again.
 */
#ifndef BOTHY_CPU_X86_DEBUG_H
#define BOTHY_CPU_X86_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

#include "src/cpu/x86/x86.h"

#define X86_DR6_BP 0xfull     /* B0..B3 */
#define X86_DR6_BD 0x2000ull
#define X86_DR6_BS 0x4000ull
#define X86_DR6_BT 0x8000ull
#define X86_DR6_FIXED 0xffff0ff0ull
#define X86_DR7_FIXED 0x400ull
#define X86_DR7_GD 0x2000ull
#define X86_DR7_LOCAL 0x155ull /* L0..L3, LE */

/* TF is set, RF waits for its one instruction, or a breakpoint is enabled. */
static inline bool x86_needs_single_step(const struct x86_cpu *c)
{
	return (c->rflags & (X86_FL_TF | X86_FL_RF)) || (c->dr[7] & 0xff);
}

/* Before the instruction at c->rip: notes TF as it stands, consumes RF, and
 * raises #DB (a fault) for an instruction breakpoint on its address. */
void x86_before_insn(struct x86_cpu *c);

/* After an instruction that completed: raises #DB (a trap) for what gathered in
 * db_pending, unless a MOV SS shadow defers it. Cheap to call when there is
 * nothing. */
void x86_after_insn(struct x86_cpu *c);

/* Called by mmu.c for a data access on a page with a data breakpoint: notes
 * those that match. Never raises. */
void x86_data_breakpoint(struct x86_cpu *c, uint64_t lin, unsigned len, bool write);

/* Does an enabled data breakpoint, the guest's or one from outside, touch the page at @lin_page? */
bool x86_debug_watches_page(const struct x86_cpu *c, uint64_t lin_page);

/* I/O breakpoints (CR4.DE), before the access to @port. */
void x86_io_breakpoint(struct x86_cpu *c, uint16_t port, unsigned size);

/* Raises #DB with @bits in DR6, to return to c->start_rip. */
_Noreturn void x86_raise_db(struct x86_cpu *c, uint64_t bits);

#endif
