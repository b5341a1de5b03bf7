/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A case while it grows: gen.c adds instructions, prepare.c what they need. */
#ifndef BOTHY_TESTS_CPU_DIFF_GEN_PRIV_H
#define BOTHY_TESTS_CPU_DIFF_GEN_PRIV_H

#include "tests/cpu-diff/diff.h"

struct grow {
	struct diff_gen *g;
	struct diff_rng *r;
	struct diff_case *d;
	int row;              /* wanted; -1 any */
	struct diff_regs now; /* behind the last instruction */
	unsigned cond_until;  /* instructions below this index may be jumped over */
	unsigned want_target; /* where the instruction being prepared will go; 0: on */
	int loop_to;          /* where the next relative branch goes; -1: forward */
	bool faulted;
};

/* Room for one more instruction; NULL: full. */
struct diff_insn *gen_append(struct grow *w, int row);
/* mov reg, value (32 bits outside 64-bit code); w->now follows. */
void gen_mov(struct grow *w, unsigned reg, uint64_t value);
/* Puts before an instruction of @row what makes it do something, mostly: pointers
 * for string instructions, a divisor that fits, a target on the stack. */
void gen_prepare(struct grow *w, unsigned row, struct diff_enc *e);

#endif
