/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CPU_CHECK_PRIV_H
#define BOTHY_CPU_CHECK_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "src/cpu/cpu.h"
#include "src/cpu/interp/interp.h"
#include "src/cpu/x86/tape.h"
#include "src/cpu/x86/x86.h"

#define CHECK_DMA_MAX 256u

struct check {
	struct vcpu *v;
	struct x86_cpu *lead;   /* the VM's own processor: translated code */
	struct x86_cpu *follow; /* interpreted */
	struct cpus world;      /* what the follower takes for its complex */
	struct mem *mirror;     /* its memory */
	struct interp *interp;
	struct x86_tape *tape;
	struct mem_listener listener;
	_Atomic bool map_changed;
	pthread_t thread;       /* the vCPU's */
	unsigned budget;        /* blocks that the leader was allowed, and has not used for
				 * what the follower knows of */
	uint64_t lead_insns;    /* its insn_count that the follower knows of */
	uint64_t random;
	int64_t whole_ns;       /* when all memory is to be compared next */
	bool started, failed;
	bool slowly;            /* the follower has TF set for one instruction */
	/* Memory that devices wrote since the follower was last where the leader is. */
	pthread_mutex_t dma_lock;
	struct x86_tape_store dma[CHECK_DMA_MAX];
	unsigned ndma;          /* > CHECK_DMA_MAX: all of memory */
	/* Counters. */
	uint64_t stretches, insns, taken_over;
};

/* compare.c */
enum { CHECK_RIP = 1 }; /* flags: compare rip too */
bool check_same_state(const struct x86_cpu *a, const struct x86_cpu *b, unsigned flags);
/* What is to be delivered. */
bool check_same_exception(const struct x86_cpu *a, const struct x86_cpu *b);
bool check_same_stores(const struct check *k);
/* Takes over what makes no difference to a guest: accessed and dirty bits. */
void check_page_entries(struct check *k);
void check_copy_state(struct x86_cpu *to, const struct x86_cpu *from);
/* A table of both states, and the memory that differs, into @f. */
void check_print(const struct check *k, FILE *f);

/* follow.c: the jit_follower. */
void check_point(void *opaque, int point);


/* check.c: tells, and ends the machine. */
void check_failed(struct check *k, const char *why);

#endif
