/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What compare.c shares with the files that say what may differ. */
#ifndef BOTHY_TESTS_CPU_DIFF_COMPARE_PRIV_H
#define BOTHY_TESTS_CPU_DIFF_COMPARE_PRIV_H

#include "tests/cpu-diff/diff.h"

/* The instruction that completed last in a result, or NULL (it is not known, or
 * what came last faulted). (place.c) */
const struct diff_insn *cmp_last_done(const struct diff_case *d, const struct diff_result *r);
/* The instruction that a fault points at, and its row; NULL: not a fault, or not in the case. */
const struct diff_insn *cmp_faulted(const struct diff_case *d, const struct diff_result *r);
const struct x86_row *cmp_fault_row(const struct diff_case *d, const struct diff_result *r);
bool cmp_has_row(const struct diff_case *d, unsigned row);
/* Decodes one of the case's instructions; false: it does not decode. */
bool cmp_decode(const struct diff_case *d, const struct diff_insn *insn, struct x86_insn *i);
/* And works out the effective address of its memory operand from registers that it has
 * not changed. */
bool cmp_operand(const struct diff_case *d, const struct diff_regs *now,
		 const struct diff_insn *insn, struct x86_insn *i, uint64_t *ea);
/* Where in the region that is, and where the stack's top is; far above its end: nowhere. */
uint64_t cmp_operand_offset(const struct diff_case *d, const struct diff_regs *now,
			    const struct diff_insn *insn, unsigned *opsize);
uint64_t cmp_stack_offset(const struct diff_case *d, const struct diff_regs *now);
/* The byte at an offset in the region; NULL: not in the writable pages. */
uint8_t *cmp_mem_at(uint8_t *mem, uint64_t off);

/* May the host and the engine end differently, so that nothing is left to compare?
 * (vary.c) */
bool cmp_any_outcome(const struct diff_case *d, const struct diff_result *want,
		     const struct diff_result *got);
/* May they show these two faults? */
bool cmp_any_fault(const struct diff_case *d, const struct diff_result *want,
		   const struct diff_result *got);

/* Puts into the engine's result what the host is free to have in its place. (concede.c) */
void cmp_concede(const struct diff_case *d, const struct diff_result *want,
		 struct diff_result *got);

#endif
