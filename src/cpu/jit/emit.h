/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the emitters share: the translation in progress, operands, guest flags,
 * guest memory.
 */
#ifndef BOTHY_CPU_JIT_EMIT_H
#define BOTHY_CPU_JIT_EMIT_H

#include "src/cpu/jit/jit_priv.h"

/* Where the guest's arithmetic flags are at a point of the emitted code. */
enum fl_state {
	FL_LIVE,  /* in RFLAGS */
	FL_SAVED, /* in jit.flags_ax */
	FL_AGAIN, /* nowhere: the instruction that made them can be done again */
	FL_DEAD,  /* nobody wants them */
};

/* An instruction whose flags can be had again from its operands. */
struct fl_def {
	enum { DEF_NONE, DEF_ADD, DEF_SUB, DEF_CMP, DEF_TEST } kind;
	uint8_t size, a; /* a: guest register; DEF_ADD, DEF_SUB: it holds the result */
	bool imm;
	uint8_t b;       /* guest register */
	int32_t value;   /* immediate */
};

enum ool_kind { OOL_MISS, OOL_ONE, OOL_CALL, OOL_EXIT, OOL_GOTO, OOL_VEC };

struct ool { /* code that follows the block, off the straight path */
	enum ool_kind kind;
	uint8_t *from[2];   /* rel32 places that lead here; NULL: none */
	uint8_t *resume;    /* where to go back to */
	unsigned n;         /* instruction */
	enum fl_state fl;
	struct fl_def def;
	uint32_t what;      /* OOL_MISS: jit_miss()'s argument */
	bool stack;         /* OOL_MISS: the address is stack_disp off RSP or RBP */
	uint8_t stack_reg;
	int32_t stack_disp;
	uint64_t target;    /* OOL_EXIT, OOL_GOTO: guest rip */
	uint8_t vec;        /* tr.vec there */
	struct jit_link *link;
};

struct tr {
	struct jit *j;
	struct asm_buf *a;
	struct jit_block *b;
	const struct jit_run *run;
	const struct x86_insn *i; /* the instruction being emitted */
	unsigned n;               /* its number */
	uint32_t key;
	bool m64;
	enum fl_state fl;
	struct fl_def def;
	struct ool ool[JIT_MAX_INSNS * 3 + 8];
	unsigned nool;
	unsigned nlinks;
	uint8_t vec; /* JIT_VEC_*: known to be live here */
	bool ended; /* the block's end has been emitted */
};

typedef void (*emit_fn)(struct tr *t);

/* The row's emitter if it can do this instruction in this block, else NULL. */
emit_fn jit_emitter(const struct x86_insn *i, uint32_t key);
extern const emit_fn jit_emitters[X86_NOPS]; /* emit_int.c; one per row, or NULL */

/* May it fault or call C? (Not known for a key: asked for the worst.) */
bool jit_may_fault(const struct x86_insn *i);
/* Flags that the instruction reads, given what is wanted after it. */
uint16_t jit_flags_read(const struct x86_insn *i, uint16_t want_after);

/* Offsets from the GS base. */
#define OFF(field) ((int32_t)offsetof(struct x86_cpu, field))
#define OFF_GPR(g) (OFF(gpr) + 8 * (int)(g))

/* Host register of a guest register, -1: it lives in memory. */
extern const int8_t jit_home[16];

static inline struct a_rm g_rm(unsigned g)
{
	return jit_home[g] >= 0 ? A_REG(jit_home[g]) : A_GS(OFF_GPR(g));
}

/* Guest register into a host register and back; a 4-byte store zero-extends. */
void g_load(struct tr *t, unsigned size, unsigned host, unsigned g);
void g_store(struct tr *t, unsigned size, unsigned g, unsigned host);
/* A register with the guest register's value to operate on in place (its home, or
 * RAX), and writing it back where it is not the home. */
unsigned g_begin(struct tr *t, unsigned size, unsigned g);
void g_end(struct tr *t, unsigned size, unsigned g, unsigned host);

/* Host address of the instruction's memory operand (or of [stack_reg + disp])
 * into RCX, checked. Clobbers RAX and RFLAGS; guest flags are taken care of. */
void e_access(struct tr *t, unsigned size, enum x86_access acc);
/* ... of an operand that faults unless it is aligned to its size, which comes
 * before a page fault. */
void e_access_aligned(struct tr *t, unsigned size, enum x86_access acc);
void e_access_stack(struct tr *t, unsigned size, enum x86_access acc, unsigned g, int32_t disp);
#define RCX_MEM A_MEM(H_RCX, 0)

/* The instruction's effective address (no segment) into RCX; flags stay. */
void e_ea(struct tr *t);

/* In front of the operation proper, after any access: puts the flags it reads (or
 * leaves as they are) into RFLAGS, and saves what the writes to guest registers
 * in @writes would make unrecoverable. Clobbers RAX. */
void e_pre(struct tr *t, uint32_t writes);
/* In front of code that destroys RFLAGS. May clobber RAX. */
void e_clobber(struct tr *t);
/* After an operation that left the guest's flags in RFLAGS. */
void e_def(struct tr *t, struct fl_def def);
#define DEF_UNKNOWN ((struct fl_def){ .kind = DEF_NONE })

/* Vector instructions that run as themselves (emit_vec.c). */
bool jit_is_vec(const struct x86_insn *i);
void e_vec(struct tr *t);

/* Has C execute the instruction. */
void e_call_op(struct tr *t);
/* The interpreter executes this instruction if the jump at @from is taken. */
struct ool *e_ool(struct tr *t, enum ool_kind kind, uint8_t *from);
/* Goes on at guest @target. */
void e_goto(struct tr *t, uint64_t target);
void e_jcc(struct tr *t, enum host_cc cc, uint64_t target);
/* Goes on at the guest address in RCX, if the jump cache knows it; else the
 * interpreter executes the instruction. First half: looks up and leaves the host
 * address in RAX... */
void e_lookup(struct tr *t);

#endif
