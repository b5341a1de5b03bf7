/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What reaches a processor from outside, for running two engines in lockstep: the
 * leader (c->tape set) records every input and output as it happens, the follower
 * (c->follows set too) takes the same in the same order instead of touching the
 * world. Processors that run alone have no tape and pay one test of a pointer.
 */
#ifndef BOTHY_CPU_X86_TAPE_H
#define BOTHY_CPU_X86_TAPE_H

#include "src/cpu/x86/x86.h"

enum x86_tape_kind {
	X86_TAPE_PORT_R,  /* what: port << 8 | size */
	X86_TAPE_PORT_W,
	X86_TAPE_MMIO_R,  /* what: gpa << 8 | size */
	X86_TAPE_MMIO_W,
	X86_TAPE_TIME,    /* what: 0 TSC, 1 machine's clock, 2 time of day */
	X86_TAPE_RANDOM,  /* what: size; two entries, the number and whether there was one */
	X86_TAPE_MSR_R,   /* what: MSR; two entries, the value and whether it was allowed */
	X86_TAPE_MSR_W,   /* value: what the APIC answered */
	X86_TAPE_CR8,
	X86_TAPE_EVENT,   /* what: 0 interrupt, 1 NMI; value: vector */
};

struct x86_tape_entry {
	uint64_t what, value;
	enum x86_tape_kind kind;
};

/* A range of the memory window. */
struct x86_tape_store {
	uint64_t off;
	uint32_t len;
};

#define X86_TAPE_STORES 4096u

struct x86_tape {
	struct x86_tape_entry *entry;
	size_t count, size, next; /* recorded, room, taken */
	bool lost;     /* the follower asked for something else than what is next, or there
			* was no memory: the two have parted */
	bool outside;  /* the leader is inside a device: what memory is written is a device's */
	/* The follower's stores to memory; one more than there is room for: too many. */
	struct x86_tape_store store[X86_TAPE_STORES];
	unsigned nstores;
	/* Entries of page tables in which either processor set accessed or dirty bits. */
	struct x86_tape_store entries[X86_TAPE_STORES];
	unsigned nentries;
};

static inline bool x86_follows(const struct x86_cpu *c)
{
	return unlikely(c->follows);
}

/* Records on a leader's tape; nothing without one. */
void x86_tape_record(struct x86_cpu *c, enum x86_tape_kind kind, uint64_t what, uint64_t value);
static inline void x86_tape_put(struct x86_cpu *c, enum x86_tape_kind kind, uint64_t what,
				uint64_t value)
{
	if (unlikely(c->tape))
		x86_tape_record(c, kind, what, value);
}

/* What the leader got there; ~0 where it did something else. The follower's. */
uint64_t x86_tape_take(struct x86_cpu *c, enum x86_tape_kind kind, uint64_t what);
/* The leader wrote @value too? Else the two have parted. */
void x86_tape_same(struct x86_cpu *c, enum x86_tape_kind kind, uint64_t what, uint64_t value);

/* Around a leader's access to a device. */
static inline void x86_tape_outside(struct x86_cpu *c, bool outside)
{
	if (unlikely(c->tape))
		c->tape->outside = outside;
}

/* The follower stored to [host, host + size). True: go on as for any store to a page
 * with flags. */
bool x86_tape_stored(struct x86_cpu *c, const void *host, unsigned size);
/* Accessed or dirty bits were set in the entry at @host. Which of two processors does
 * so when depends on what their TLBs hold. */
void x86_tape_page_entry(struct x86_cpu *c, const void *host, unsigned size);

struct x86_tape *x86_tape_new(void); /* NULL: out of memory */
void x86_tape_free(struct x86_tape *t);
void x86_tape_clear(struct x86_tape *t);

#endif
