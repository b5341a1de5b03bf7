/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CPU_JIT_JIT_PRIV_H
#define BOTHY_CPU_JIT_JIT_PRIV_H

#include <pthread.h>

#include "src/cpu/interp/interp.h"
#include "src/cpu/jit/asm.h"
#include "src/cpu/x86/insn.h"
#include "src/cpu/x86/x86.h"

#define JIT_MAX_INSNS 48
#define JIT_SEGMENTS 8u
#define JIT_HASH_SLOTS 16384u
#define JIT_NOTES 256u

/* Why translated code came back to the run loop. */
enum jit_exit {
	JIT_EXIT_BRANCH,  /* rip is where to go on; link says which exit may be linked */
	JIT_EXIT_ONE,     /* the instruction at rip wants the interpreter */
};

/* Block key: what the emitted code takes for granted. */
#define JIT_KEY_MODE 0x07u    /* X86_MODE_* */
#define JIT_KEY_USER 0x08u
#define JIT_KEY_CLASS(k) (((k) >> 4) & 3) /* enum x86_tlb_class */
#define JIT_KEY_STACK32 0x40u
#define JIT_KEY_FLAT(k, seg) ((k) >> (8 + (seg)) & 1)

/* jit.vec_live: the guest's vector registers and MXCSR are in the host's, and
 * which instructions may use them. */
#define JIT_VEC_SSE 1u
#define JIT_VEC_AVX 2u

struct jit_block;

/* One way out of a block that may be patched to jump straight to another. */
struct jit_link {
	uint64_t target;      /* linear address (= guest rip) */
	uint8_t *place;       /* the rel32 to patch, writable view */
	uint8_t *stub;        /* where it points while not linked */
	bool flags_live;      /* flags are in the host's RFLAGS there */
	struct jit_block *from;
	struct jit_block *to; /* NULL while not linked */
	struct jit_link *next_in; /* of ->to's incoming list */
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
	uint8_t segment;
	bool dead;
	struct jit_block *hash_next, *page_next, *page2_next, *segment_next;
	struct jit_link link[2];
	struct jit_link *in; /* links that point here */
};

/* An instruction that C executes, kept for as long as its block's code. */
struct jit_call {
	struct x86_insn insn;
	uint64_t rip;
};

struct jit_segment {
	struct jit_block *blocks;
	uint8_t *start, *end;
	struct jit_arena *arena;
};

struct jit_arena { /* metadata of one segment, freed as a whole */
	struct jit_arena *next;
	size_t used, size;
	uint8_t data[];
};

struct jit_stats {
	uint64_t translations, translated_insns, links, evictions, invalidations;
	uint64_t exits_branch, exits_one, exits_miss, helper_calls, interp_runs;
	uint64_t tlb_misses, flushes;
};

/* What other threads tell a vCPU about code pages. */
struct jit_note {
	uint64_t page;
	uint64_t chunks; /* written; 0: the page became watched */
};

struct jit {
	struct x86_cpu *cpu;
	struct interp *interp;
	uint8_t *rw, *rx;     /* the code cache's two views */
	size_t size;
	int fd;
	struct asm_buf a;
	unsigned segment;     /* the one being filled */
	struct jit_segment seg[JIT_SEGMENTS];
	struct jit_block *hash[JIT_HASH_SLOTS];
	struct jit_block **by_page; /* per backing page: blocks that begin or end there */
	uint64_t npages;
	uint8_t *heat;        /* executions before translation, by address hash */
	/* Thunks, executable view. */
	const uint8_t *enter, *leave, *leave_one, *call_op, *miss_load, *miss_store, *vec_load;
	bool avx;             /* the host has AVX: whole YMM registers */
	struct jit_stats stats;
	pthread_mutex_t notes_lock;
	struct jit_note notes[JIT_NOTES];
	unsigned nnotes;      /* > JIT_NOTES: overflowed, drop everything */
	struct mem_listener listener;
	pthread_t thread;     /* the vCPU's, while it runs */
	uint32_t jump_key[X86_TLB_CLASSES]; /* block key that each jump cache holds */
	uint32_t last_key;    /* of the block that ran last */
	uint32_t epoch;       /* tlb_epoch that the jump cache was last emptied at */
};

/* A run of decoded instructions. */
struct jit_run {
	struct x86_insn insn[JIT_MAX_INSNS];
	uint64_t rip[JIT_MAX_INSNS + 1];
	uint16_t want[JIT_MAX_INSNS + 1]; /* flags still wanted in front of each */
	unsigned count;
	unsigned bytes;
	bool straddles;
};

/* analyse.c */
unsigned jit_decode(struct x86_cpu *c, const uint8_t *bytes, unsigned avail, unsigned key,
		    uint64_t rip, struct jit_run *run);
void jit_analyse(struct jit_run *run);
uint32_t jit_writes(const struct x86_insn *i); /* mask of guest GPRs, conservative */

/* emit.c: false where the code cache is full. */
bool jit_emit_block(struct jit *j, struct jit_block *b, const struct jit_run *run);

/* cache.c */
int jit_cache_init(struct jit *j, size_t size, struct err *err);
void jit_cache_fini(struct jit *j);
void *jit_meta(struct jit *j, size_t size);      /* lives as long as the current segment */
void jit_next_segment(struct jit *j);            /* evicts the oldest code */
void jit_insert(struct jit *j, struct jit_block *b);
struct jit_block *jit_find(struct jit *j, uint64_t lin, uint32_t key, uint64_t page,
			   uint64_t page2);
void jit_invalidate(struct jit *j, uint64_t page, uint64_t chunks);
void jit_drop_all(struct jit *j);
void jit_link_to(struct jit *j, struct jit_link *l, struct jit_block *b);
void jit_clear_jumps_of(struct jit *j, unsigned cls); /* enum x86_tlb_class */
void jit_clear_jumps(struct jit *j);

/* thunk.c */
void jit_emit_thunks(struct jit *j);

/* Called by thunks. */
uint64_t jit_miss(struct x86_cpu *c, uint64_t lin, uint32_t what);
uint32_t jit_call_op(struct x86_cpu *c, const struct jit_call *call);
uint32_t jit_vec_may(struct x86_cpu *c, uint32_t bit);

static inline const uint8_t *jit_rx(const struct jit *j, const uint8_t *rw)
{
	return j->rx + (rw - j->rw);
}

/* What an empty slot of the jump cache holds: an address that selects another. */
static inline uint64_t jit_no_jump(uint64_t slot)
{
	return slot ^ 1;
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
