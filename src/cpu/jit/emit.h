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

enum ool_kind { OOL_MISS, OOL_ONE, OOL_CALL, OOL_EXIT, OOL_GOTO, OOL_VEC, OOL_LOOKUP,
		OOL_PLAIN, OOL_LEFT };

struct ool { /* code that follows the block, off the straight path */
	enum ool_kind kind;
	uint8_t *from[2];   /* rel32 places that lead here; NULL: none */
	uint8_t *resume;    /* where to go back to */
	unsigned n;         /* instruction */
	enum fl_state fl;
	struct fl_def def;
	uint32_t what;      /* OOL_MISS: jit_miss()'s argument */
	bool stack;         /* OOL_MISS: the address is stack_disp off RSP or RBP */
	bool kept;          /* OOL_MISS: the address is in jit.tmp1 */
	uint8_t stack_reg;
	int32_t stack_disp;
	uint64_t target;    /* OOL_EXIT, OOL_GOTO: guest rip */
	bool within;        /* OOL_EXIT: the instruction has not been executed */
	uint8_t vec;        /* tr.vec there */
	int x87_open;       /* tr.x87_open there */
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
	uint8_t vec; /* JIT_VEC_*: known to be live here */
	int x87_open; /* x87 instruction whose address is not in fx.fip yet; -1 none */
	int32_t off;        /* the memory operand lies so far from RCX (RCX_MEM) */
	unsigned rcx_group; /* RCX holds this group's address ... */
	unsigned rcx_n;     /* ... in front of this instruction */
	/* Where nothing has been emitted since then, RAX holds this guest register, all 64
	 * bits of it; one that lives in memory. */
	const uint8_t *rax_at;
	uint8_t rax_is;
	int32_t sp;  /* H_R15 is to be moved by so much: pushes and pops in a row move it once */
	bool looks;  /* it ends in a jump backward, in front of which it looks for requests ... */
	bool looked; /* ... and an access has done that */
	bool ended; /* the block's end has been emitted */
};

typedef void (*emit_fn)(struct tr *t);

/* The row's emitter if it can do this instruction in this block, else NULL. */
emit_fn jit_emitter(const struct x86_insn *i, uint32_t key);
extern const emit_fn jit_emitters[X86_NOPS]; /* emit_int.c; one per row, or NULL */

/* May it fault or call C? (Not known for a key: asked for the worst.) */
bool jit_may_fault(const struct x86_insn *i);
/* ... and if so, only because of its memory operand or the stack? */
bool jit_only_access_faults(const struct x86_insn *i);
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
/* Does RAX hold the guest register, just now? */
bool g_in_rax(const struct tr *t, unsigned g);

/* Host address of the instruction's memory operand (or of [stack_reg + disp])
 * into RCX, checked. Clobbers RAX and RFLAGS; guest flags are taken care of. */
void e_access(struct tr *t, unsigned size, enum x86_access acc);
/* ... of an operand that faults unless it is aligned to its size, which comes
 * before a page fault. */
void e_access_aligned(struct tr *t, unsigned size, enum x86_access acc);
void e_access_stack(struct tr *t, unsigned size, enum x86_access acc, unsigned g, int32_t disp);
/* For an address that is more than the memory operand's: e_lin() gives that, linear,
 * in RCX; flags stay, RAX may go. e_access_rcx() checks whatever is in RCX. */
void e_lin(struct tr *t);
void e_access_rcx(struct tr *t, unsigned size, enum x86_access acc);
/* Where e_access() and e_access_stack() leave the operand; for who cannot encode a
 * displacement e_rcx_exact() makes it [RCX]. */
#define RCX_MEM A_MEM(H_RCX, t->off)
void e_rcx_exact(struct tr *t);
/* For members of groups (group.c). e_rcx_after(): the instruction is emitted; notes
 * whether RCX holds a group's address still. */
void e_group_access(struct tr *t);
void e_rcx_after(struct tr *t);
/* Checks @span bytes at the linear address in RCX; the block goes on without groups
 * if they do not lie in one page that allows @acc. */
void e_check_group(struct tr *t, unsigned span, enum x86_access acc);

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
/* The guest's flags from RFLAGS to memory and back. Clobber RAX. */
void e_save_flags(struct tr *t);
void e_restore_flags(struct tr *t);
/* ... and to where t->fl says then, from wherever they are. */
void e_make_live(struct tr *t);
void e_make_saved(struct tr *t);
/* Off the straight path: flags that somebody may look at go to memory. */
void e_make_saved_if(struct tr *t, const struct ool *o);
#define DEF_UNKNOWN ((struct fl_def){ .kind = DEF_NONE })
/* The guest registers from which the flags can be had again. */
uint32_t e_def_uses(const struct fl_def *d);

/* Vector instructions that run as themselves (emit_vec.c). */
bool jit_is_vec(const struct x86_insn *i);
void e_vec(struct tr *t);
/* The guest's registers of @bit (JIT_VEC_*) into the host's, unless they are there. */
void e_vec_live(struct tr *t, uint8_t bit);
/* x87 and MMX (emit_x87.c). */
bool jit_is_x87(const struct x86_insn *i);
void e_x87(struct tr *t);
void e_x87_pointers(struct tr *t, unsigned n);

/* Host address of the guest code of instruction @n of the block. */
const uint8_t *e_code_at(const struct tr *t, unsigned n);

/* Has C execute the instruction. */
void e_call_op(struct tr *t);
/* The interpreter executes this instruction if the jump at @from is taken. */
struct ool *e_ool(struct tr *t, enum ool_kind kind, uint8_t *from);
/* It comes back here. */
static inline void e_resume(struct tr *t, struct ool *o)
{
	o->resume = t->a->p;
	t->rax_at = NULL;
}
/* Goes on at guest @target. */
void e_goto(struct tr *t, uint64_t target);
/* ... if the jump is taken that @jump emits, whose rel32 place it returns; else behind the
 * instruction. Flags are not FL_AGAIN; @jump leaves them as they are. */
void e_branch(struct tr *t, uint8_t *(*jump)(struct tr *t), uint64_t target);
/* ... if @cc holds; else the block goes on. Flags are live, and stay. */
void e_side_exit(struct tr *t, enum host_cc cc, uint64_t target);
/* The guest address in RCX becomes the host address to go on at, in RAX: from the
 * jump cache, or of a thunk that looks further. If the instruction must raise
 * because of that address, the interpreter executes it. Flags are saved. */
void e_lookup(struct tr *t);
/* ... and goes on there, having moved RSP by @pop. */
void e_jump_to_rcx(struct tr *t, int32_t pop);
/* RSP becomes what it should be. Flags stay. */
void e_move_sp(struct tr *t);
/* May RSP be behind while the instruction is emitted? Where nothing looks at it. */
bool e_may_lag(const struct tr *t);

#endif
