/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CPU_JIT_JIT_PRIV_H
#define BOTHY_CPU_JIT_JIT_PRIV_H

#include <pthread.h>
#include <stdio.h>

#include "src/cpu/interp/interp.h"
#include "src/cpu/jit/asm.h"
#include "src/cpu/jit/jit.h"
#include "src/cpu/x86/insn.h"
#include "src/cpu/x86/x86.h"

#define JIT_MAX_INSNS 48
#define JIT_MAX_EXITS 6u /* conditional jumps that a block goes on behind */
#define JIT_SEGMENTS 8u
#define JIT_HASH_SLOTS 524288u
#define JIT_NOTES 256u
#define JIT_CACHE_MIN (512u << 10) /* bytes: eight segments, each several of the longest blocks */

/* Block key: what the emitted code takes for granted. */
#define JIT_KEY_MODE 0x07u    /* X86_MODE_* */
#define JIT_KEY_USER 0x08u
#define JIT_KEY_CLASS(k) (((k) >> 4) & 3) /* enum x86_tlb_class */
#define JIT_KEY_STACK32 0x40u
#define JIT_KEY_CPL0 0x80u
#define JIT_KEY_PLAIN 0x10000u /* no groups of accesses */
#define JIT_KEY_FLAT(k, seg) ((k) >> (8 + (seg)) & 1)

/* jit.vec_live: the guest's vector registers and MXCSR (SSE, AVX) and its x87 state
 * (X87, MMX too) are in the host's, and which instructions may use them. */
#define JIT_VEC_SSE 1u
#define JIT_VEC_AVX 2u
#define JIT_VEC_X87 4u
#define JIT_VEC_YMM (JIT_VEC_SSE | JIT_VEC_AVX) /* those that share the vector registers */

/* An instruction whose flags can be had again from its operands. */
struct fl_def {
	enum { DEF_NONE, DEF_ADD, DEF_SUB, DEF_CMP, DEF_TEST } kind;
	uint8_t size, a; /* a: guest register; DEF_ADD, DEF_SUB: it holds the result */
	bool imm;
	uint8_t b;       /* guest register */
	int32_t value;   /* immediate */
};

struct jit_block;

/* One way out of a block that may be patched to jump straight to another. */
struct jit_link {
	uint64_t target;      /* linear address (= guest rip) */
	uint8_t *place;       /* the rel32 to patch, writable view */
	uint8_t *stub;        /* where it points while not linked */
	bool flags_live;      /* flags are in the host's RFLAGS there */
	struct fl_def def;    /* ... and from what they can be had again */
	struct jit_block *from;
	struct jit_block *to; /* NULL while not linked */
	struct jit_link *next_in; /* of ->to's incoming list */
	struct jit_link **in_at;  /* what points to this one there */
	struct jit_link *next;    /* of ->from's list */
};

struct jit_block {
	uint64_t rip;         /* guest rip of the first instruction */
	uint64_t lin;         /* its linear address */
	uint64_t page, page2; /* backing pages; equal unless the last instruction straddles */
	uint64_t chunks, chunks2; /* 64-byte chunks of each that were translated */
	uint32_t key;
	uint16_t bytes, ninsns;
	uint8_t *entry_saved; /* entry with flags in jit.flags_ax, writable view */
	uint8_t *entry_live;  /* entry with flags in RFLAGS */
	bool saves;           /* that one saves them first */
	/* Not DEF_NONE: a twin of the block of this address, for jumps that lead here with
	 * flags of this origin; entry_live is its only entry. */
	struct fl_def def;
	/* Its code, and what lies off the straight path; writable view. */
	uint8_t *start, *end, *cold, *cold_end;
	uint8_t segment;
	bool dead;
	const uint8_t *code;  /* while it is translated: the guest's bytes */
	bool checked;         /* compares its guest code each time; nobody watches that */
	struct jit_block *hash_next, *page_next, *page2_next, *segment_next;
	struct jit_block **page_at, **page2_at; /* what points to this one on those lists */
	struct jit_link *links; /* ways out of it */
	struct jit_link *in;    /* links that point here */
};

/* An instruction that C executes, kept for as long as its block's code. */
struct jit_call {
	struct x86_insn insn;
	uint64_t rip;
};

struct jit_segment {
	struct jit_block *blocks;
	uint8_t *start, *end;
	uint8_t *cold; /* from here on: code off the straight path */
	struct jit_arena *arena;
};

struct jit_arena { /* metadata of one segment, freed as a whole */
	struct jit_arena *next;
	size_t used, size;
	uint8_t data[];
};

/* Written by the vCPU's thread, read by any. */
struct jit_stats {
	uint64_t translations, translated_insns, links, evictions, invalidations, code_notes;
	uint64_t tlb_misses, helper_calls;
	/* Ways out of translated code: to a target that is not linked (or for a request);
	 * because C changed what the block takes for granted; by an exception. And to
	 * have one instruction interpreted, exits_one in all: its memory access is not
	 * plain; vector registers may not be used as they are. */
	uint64_t exits_branch, exits_helper, exits_raised;
	uint64_t exits_one, exits_access, exits_vector;
	/* Interpreted instructions: after an exit_*; code not hot yet; 16-bit code; single
	 * steps, breakpoints and shadows; what cannot be translated where it is. */
	uint64_t interp_one, interp_cold, interp_16bit, interp_step, interp_other;
};

/* What is written down about translations, for a whole VM. */
struct jit_trace {
	FILE *blocks, *perf; /* NULL: not asked for */
	bool made, used;     /* blocks is a file of ours; a block was written */
	pthread_mutex_t lock;
};

/* What other threads tell a vCPU about code pages. */
struct jit_note {
	uint64_t page;
	uint64_t chunks; /* written; 0: the page became watched */
};

#define JIT_JUMP_MARKS 2048u

/* What is known of the slots of a jump cache, x86_jit.jump. */
struct jit_jumps {
	uint32_t key;  /* block key that all entries have */
	/* Slots that have info, any order: of pages that are not global, that are. */
	unsigned used[2];
	uint16_t list[2][X86_JUMP_SLOTS + 1];
	uint8_t info[X86_JUMP_SLOTS + 1];  /* JIT_JUMP_*; 0: not in list */
	/* Of each list, by the lower bits of the page's number, and of the region's that
	 * a page of 2 MiB is: may an entry hang from it? huge: from larger ones. */
	uint64_t pages[2][JIT_JUMP_MARKS / 64], regions[2][JIT_JUMP_MARKS / 64];
	bool huge[2];
};
#define JIT_JUMP_SHIFT 0x3f    /* log2 of the page's size */
#define JIT_JUMP_STRADDLES 0x40 /* hangs from two pages: any flush drops it */
#define JIT_JUMP_GLOBAL 0x80

/* Jumps of an address space that is not the current one. */
#define JIT_SPACE_JUMPS 256u
struct jit_space_jump { struct x86_jump jump; uint16_t slot; uint8_t cls, info; };
struct jit_space {
	uint16_t pcid;
	uint16_t count; /* 0: the place is free */
	uint32_t deaths; /* jit.deaths then */
	uint64_t left;   /* when: jit.space_clock */
	uint32_t key[X86_TLB_CLASSES];
	struct jit_space_jump jump[JIT_SPACE_JUMPS];
};

struct jit {
	struct x86_cpu *cpu;
	struct interp *interp;
	uint8_t *rw, *rx;     /* the code cache's two views */
	size_t size;
	int fd;
	struct asm_buf a;     /* blocks' straight paths ... */
	struct asm_buf cold;  /* ... and the rest of them, apart: it would spread them thin */
	unsigned segment;     /* the one being filled */
	struct jit_segment seg[JIT_SEGMENTS];
	struct jit_block *hash[JIT_HASH_SLOTS];
	struct jit_block **by_page; /* per backing page: blocks that begin or end there */
	uint64_t npages;
	uint64_t *rewrites;   /* per backing page, see rewritten() */
	uint8_t *heat;        /* executions before translation, by address hash */
	/* Thunks, executable view. */
	const uint8_t *enter, *leave, *leave_indirect, *leave_slot0, *leave_one, *call_op, *call_end, *miss,
		*vec_load, *stale, *leave_plain;
	bool avx;             /* the host has AVX: whole YMM registers */
	bool xsave;           /* ... and XSAVE: x87 registers may be live */
	struct jit_stats stats;
	uint64_t *interp_why; /* the counter for what is interpreted now */
	uint64_t interp_seen; /* insn_count that the counters know of */
	bool in_code;         /* translated code runs, or C on its behalf */
	jit_follower follower; /* NULL: nobody checks */
	void *follower_opaque;
	enum jit_plant plant;
	struct jit_trace *trace; /* the VM's; NULL: nothing is written */
	pthread_mutex_t notes_lock;
	struct jit_note notes[JIT_NOTES];
	unsigned nnotes;      /* > JIT_NOTES: overflowed, drop everything */
	struct mem_listener listener;
	pthread_t thread;     /* the vCPU's, while it runs */
	struct jit_jumps jumps[X86_TLB_CLASSES];
	struct jit_space space[X86_SPACES];
	uint64_t space_clock;
	uint32_t deaths;      /* blocks that nothing may lead to any more */
	uint32_t last_key;    /* of the block that ran last */
	uint32_t epoch;       /* tlb_epoch that the jump caches know of */
};

/* Accesses that one check serves (group.c). */
struct jit_group {
	uint8_t base, index, scale; /* guest registers; index 16: none */
	uint8_t first;  /* instruction that checks */
	bool write;
	uint16_t span;  /* bytes from the lowest, */
	int32_t lo;     /* which lies so far from the base as the first sees it */
};
#define JIT_GROUPS 4u

/* A run of decoded instructions. */
struct jit_run {
	struct x86_insn insn[JIT_MAX_INSNS];
	uint64_t rip[JIT_MAX_INSNS + 1];
	uint16_t want[JIT_MAX_INSNS + 1]; /* flags still wanted in front of each */
	uint8_t group_of[JIT_MAX_INSNS];   /* number + 1 in group[]; 0: none */
	int32_t group_off[JIT_MAX_INSNS];  /* from the group's lowest byte */
	struct jit_group group[JIT_GROUPS];
	unsigned ngroups;
	unsigned count;
	unsigned bytes;
};

/* What lockstep notes in jit.ring: a block and how many of its instructions ran. */
#define JIT_RAN(block, ninsns) ((uint64_t)(uintptr_t)(block) | (uint64_t)(ninsns) << 48)
#define JIT_RAN_BLOCK(v) ((const struct jit_block *)(uintptr_t)((v) << 16 >> 16))
#define JIT_RAN_INSNS(v) ((unsigned)((v) >> 48))

/* jit.c: is the page's code rewritten again and again? Then nobody watches it. */
bool jit_often_rewritten(const struct jit *j, uint64_t page);

/* translate.c: the block of @key at c->rip, whose linear address is @lin and its code @host. NULL:
 * none can be made there. @def: NULL, or for a twin; then NULL, too, where such would not be
 * of use. */
struct jit_block *jit_translate(struct jit *j, uint64_t lin, uint32_t key, const uint8_t *host,
				const struct fl_def *def);

/* analyse.c */
unsigned jit_decode(const struct x86_cpu *c, const uint8_t *bytes, unsigned avail, unsigned key,
		    uint64_t rip, struct jit_run *run);
void jit_analyse(struct jit_run *run);
uint32_t jit_writes(const struct x86_insn *i); /* mask of guest GPRs, conservative */

/* A conditional jump that its block may go on behind: one that leads forward. */
bool jit_is_side_exit(const struct x86_insn *i, uint32_t key);
bool jit_writes_memory(const struct x86_insn *i); /* ... its memory operand, conservative */
void jit_plan_groups(struct jit_run *run, uint32_t key);
/* Is the instruction's access in a group, checked by an earlier one? */
bool jit_group_checked(const struct jit_run *run, unsigned n);

/* For a block that checks itself: the run ends behind the first instruction that
 * may store, since what it stores may be code that follows. */
void jit_cut_at_store(struct jit_run *run, uint32_t key);
/* ... whose last instruction bytes are taken from memory each time, not compared. */
bool jit_imm_from_memory(const struct x86_insn *i);

/* Can flags be had again from @def wherever the run's begin asks for them, without being
 * saved on the way? */
bool jit_def_lasts(const struct jit_run *run, const struct fl_def *def);

/* emit.c: false where the code cache is full. */
bool jit_emit_block(struct jit *j, struct jit_block *b, const struct jit_run *run);

/* cache.c */
int jit_cache_init(struct jit *j, size_t size, struct err *err);
void jit_cache_fini(struct jit *j);
uint64_t jit_cache_used(const struct jit *j);    /* bytes of code that may run; any thread */
void *jit_meta(struct jit *j, size_t size);      /* lives as long as the current segment */
void jit_next_segment(struct jit *j);            /* evicts the oldest code */
void jit_insert(struct jit *j, struct jit_block *b);
struct jit_block *jit_find(struct jit *j, uint64_t lin, uint32_t key, uint64_t page,
			   uint64_t page2);
/* The block's twin for @def. */
struct jit_block *jit_find_twin(struct jit *j, const struct jit_block *b,
				const struct fl_def *def);
bool jit_invalidate(struct jit *j, uint64_t page, uint64_t chunks); /* was there any? */
/* Drops all blocks of a page that has @most or more, none of which is running. */
void jit_limit_page(struct jit *j, uint64_t page, unsigned most);
void jit_discard(struct jit *j, struct jit_block *b);
void jit_drop_all(struct jit *j);
void jit_cut_at(struct jit *j, uint64_t lin); /* drops all blocks over @lin; none is running */
void jit_cache_trim(struct jit *j);
void jit_link_to(struct jit *j, struct jit_link *l, struct jit_block *b);
void jit_jump_add(struct jit *j, const struct jit_block *b);
/* Another address space's jumps: engine_desc.space_switched. */
void jit_jumps_switch(struct jit *j, unsigned from, unsigned to, bool keep);
void jit_jumps_flush(struct jit *j, enum cpu_flush what, uint64_t lin);
void jit_jumps_init(struct jit *j);

/* trace.c: written as soon as the block is made. */
int must_check jit_trace_open(struct cpus *s, struct err *err);
void jit_trace_close(struct cpus *s);
void jit_trace_thunks(struct jit *j, const uint8_t *start, const uint8_t *end);
void jit_trace_block(struct jit *j, const struct jit_block *b, const struct jit_run *run);
void jit_list_run(FILE *f, const struct jit_block *b, const struct jit_run *run);

/* thunk.c */
void jit_emit_thunks(struct jit *j);

/* Called by thunks. */
uint64_t jit_miss(struct x86_cpu *c, uint64_t lin, uint32_t what);
uint32_t jit_call_op(struct x86_cpu *c, const struct jit_call *call);
/* These give the host code to go on with, or NULL: back to the run loop. */
const void *jit_next(struct x86_cpu *c);
const void *jit_call_end(struct x86_cpu *c, const struct jit_call *call);
const void *jit_one(struct x86_cpu *c);
const void *jit_plain(struct x86_cpu *c); /* at rip, without groups */
const void *jit_stale(struct x86_cpu *c, struct jit_block *b);
uint32_t jit_vec_may(struct x86_cpu *c, uint32_t bit);

static inline void jit_tell(struct jit *j, enum jit_point p)
{
	if (unlikely(j->follower))
		j->follower(j->follower_opaque, p);
}

static inline const uint8_t *jit_rx(const struct jit *j, const uint8_t *rw)
{
	return j->rx + (rw - j->rw);
}

/* What an empty slot of the jump cache holds: an address that selects another one. So it
 * is 0 but for the slot of address 0; memory that is 0 from the start stays untouched. */
static inline uint64_t jit_no_jump(uint64_t slot)
{
	return slot == X86_JUMP_SLOTS;
}

static inline unsigned jit_jump_slot(uint64_t rip)
{
	/* Compilers align functions: four bits of the address alone would crowd a few slots. */
	uint32_t low = (uint32_t)rip;
	unsigned n = (low ^ (low << 7 | low >> 25)) >> 4 & (X86_JUMP_SLOTS - 1);

	return n ? n : X86_JUMP_SLOTS;
}

/* Arithmetic flags between c->rflags and the form LAHF and SETO give. */
static inline void jit_flags_to_ax(struct x86_cpu *c)
{
	c->jit.flags_ax = (uint16_t)((c->rflags & 0xd5) << 8 | 0x200 | (c->rflags >> 11 & 1));
}

static inline void jit_flags_from_ax(struct x86_cpu *c)
{
	uint64_t f = (c->jit.flags_ax >> 8 & 0xd5) | (uint64_t)(c->jit.flags_ax & 1) << 11;

	c->rflags = (c->rflags & ~X86_FL_ARITH) | f;
}

#endif
