/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The follower: at every point where the translator's run loop stands at an
 * instruction boundary (or has raised), the interpreter is brought to the same
 * instruction on its own processor and memory, and the two are compared.
 *
 * How far the leader got is known for interpreted instructions by their count, for
 * translated blocks up to the last one; within that one the follower goes on,
 * instruction by instruction, until the states agree.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "src/cpu/check/check_priv.h"
#include "src/cpu/jit/jit.h"
#include "src/cpu/x86/access.h"

#define WHOLE_EVERY_NS 10000000000 /* of all memory */
#define DEVICE_WAIT_NS 100000000   /* for a device to say that it wrote */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/*
 * What devices wrote.
 */
static bool devices_wrote(struct check *k)
{
	bool any;

	pthread_mutex_lock(&k->dma_lock);
	any = k->ndma != 0;
	pthread_mutex_unlock(&k->dma_lock);
	return any;
}

static void copy_all(struct check *k)
{
	uint64_t at = 0;

	while (mem_mirror_differs(k->mirror, k->lead->mem, &at))
		mem_mirror_copy(k->mirror, k->lead->mem, at & ~(uint64_t)(MEM_PAGE_SIZE - 1),
				MEM_PAGE_SIZE);
}

static void take_devices(struct check *k)
{
	struct x86_tape_store dma[CHECK_DMA_MAX];
	unsigned n;

	pthread_mutex_lock(&k->dma_lock);
	n = k->ndma;
	memcpy(dma, k->dma, min_of(n, CHECK_DMA_MAX) * sizeof(dma[0]));
	k->ndma = 0;
	pthread_mutex_unlock(&k->dma_lock);
	if (n > CHECK_DMA_MAX)
		copy_all(k);
	else
		for (unsigned i = 0; i < n; i++)
			mem_mirror_copy(k->mirror, k->lead->mem, dma[i].off, dma[i].len);
}

/*
 * Agreement.
 */

/* Both stand at the same place with the same state and memory. */
static bool agree(struct check *k, bool raised)
{
	const struct x86_tape *t = k->tape;

	if (t->lost || t->next != t->count)
		return false;
	check_page_entries(k);
	if (raised && !check_same_exception(k->lead, k->follow))
		return false;
	return check_same_state(k->lead, k->follow, raised ? 0 : CHECK_RIP) && check_same_stores(k);
}

/* The follower is where the leader is: on to the next stretch. */
static void settle(struct check *k)
{
	struct x86_cpu *c = k->lead, *s = k->follow;

	s->nmi_pending = c->nmi_pending;
	s->recheck = false;
	c->again = false;
	k->budget = c->jit.budget;
	k->lead_insns = c->insn_count;
	take_devices(k);
	x86_tape_clear(k->tape);
	k->stretches++;
}

/* A device may have written what one of the two read before and the other after: then
 * nobody can say who is right, and the follower takes the leader's word. */
static void part(struct check *k, const char *why, bool raised)
{
	struct x86_cpu *c = k->lead, *s = k->follow;
	int64_t end = now_ns() + DEVICE_WAIT_NS;

	/* Its words may come a moment after its bytes. */
	while (!devices_wrote(k) && now_ns() < end) {
		struct timespec ms = { 0, 1000000 };

		nanosleep(&ms, NULL);
	}
	if (!devices_wrote(k)) {
		check_failed(k, why);
		return;
	}
	k->taken_over++;
	check_copy_state(s, c);
	if (raised) {
		s->exc_vector = c->exc_vector;
		s->exc_error = c->exc_error;
		s->exc_has_error = c->exc_has_error;
		s->exc_soft = c->exc_soft;
		s->exc_ext = c->exc_ext;
		s->start_rip = c->start_rip;
	}
	copy_all(k);
}

/*
 * Catching up.
 */

/* Up to @max instructions; how many. May raise. */
static unsigned step(struct check *k, uint64_t max)
{
	struct x86_cpu *s = k->follow;
	uint64_t before = s->insn_count;

	s->again = false;
	s->start_rip = s->rip;
	if (unlikely(interp_must_step(s)))
		interp_exec_one(s, k->interp);
	else
		interp_exec_some(s, k->interp, (unsigned)min_of(max, (uint64_t)1000));
	k->insns += s->insn_count - before;
	return (unsigned)(s->insn_count - before);
}

/* One instruction; or, where the leader gave way in a repeated one, one iteration of
 * it, which does not count unless it is the last. */
static unsigned step_one(struct check *k)
{
	struct x86_cpu *c = k->lead, *s = k->follow;

	if (!c->again || s->rip != c->rip)
		return step(k, 1);
	if (interp_must_step(s)) {
		/* A debugger's breakpoints: TF would count. */
		unsigned n;

		atomic_store(&s->request, X86_REQ_EXIT);
		n = step(k, 1) && !s->again;
		atomic_store(&s->request, 0);
		return n;
	}
	/* String operations look at TF after each iteration; nobody else sees it. */
	s->again = false;
	s->start_rip = s->rip;
	s->rflags |= X86_FL_TF;
	k->slowly = true;
	interp_exec_some(s, k->interp, 1);
	k->slowly = false;
	s->rflags &= ~X86_FL_TF;
	return !s->again;
}

/* @exactly instructions. True: the last is a repeated one and stands where the leader
 * left it. */
static bool go(struct check *k, uint64_t exactly)
{
	uint64_t done = 0;

	while (done + 1 < exactly)
		done += step(k, exactly - 1 - done);
	while (done < exactly) {
		done += step_one(k);
		if (k->follow->again && k->lead->again && agree(k, false))
			return true;
	}
	return false;
}

/* The leader completed (or, @raised, began) @exactly to @at_most instructions. */
static const char *catch_up(struct check *k, uint64_t exactly, uint64_t at_most, bool raised)
{
	struct x86_cpu *c = k->lead, *s = k->follow;

	s->exc_vector = -1;
	if (_setjmp(s->fault_jmp)) {
		if (k->slowly)
			s->rflags &= ~X86_FL_TF;
		k->slowly = false;
		atomic_store(&s->request, 0);
		return !raised ? "the interpreter raised an exception, the translator did not" :
		       !agree(k, true) ? "the states differ where both raised an exception" : NULL;
	}
	if (go(k, exactly))
		return NULL;
	if (raised) {
		/* One more: what cannot even be fetched is not counted. */
		for (uint64_t n = exactly; n <= at_most; n++)
			while (!step_one(k) && s->again)
				;
		return "the translator raised an exception, the interpreter did not";
	}
	for (uint64_t n = exactly;;) {
		if (s->rip == c->rip && agree(k, false))
			return NULL;
		if (n >= at_most)
			return "the states differ";
		n += step_one(k);
	}
}

static void follow(struct check *k, bool raised)
{
	uint64_t before, interpreted = k->lead->insn_count - k->lead_insns;
	/* Between two blocks all of the last one was done. Registers alone would not tell a
	 * loop's turn that changes memory only from none. */
	bool whole = k->lead->jit.whole && !raised;
	unsigned last;
	const char *why;

	k->lead->jit.whole = 0;
	jit_ran(k->v, k->budget, &before, &last);
	/* Translated blocks are told before the interpreter's turn comes. */
	if (before + last)
		why = catch_up(k, whole ? before + last : before, before + last, raised);
	else
		why = catch_up(k, interpreted, interpreted, raised);
	if (unlikely(why != NULL))
		part(k, why, raised);
	if (!k->failed)
		settle(k);
}

static void check_whole(struct check *k)
{
	uint64_t at = 0;

	if ((k->stretches & 0xfff) || now_ns() < k->whole_ns)
		return;
	if (mem_mirror_differs(k->mirror, k->lead->mem, &at))
		part(k, "memory differs that the interpreter did not write to just now", false);
	take_devices(k);
	k->whole_ns = now_ns() + WHOLE_EVERY_NS;
}

/* The follower does what the leader did: delivering. */
static void deliver(struct check *k, bool exception)
{
	if (exception)
		x86_deliver_exception(k->follow);
	else
		x86_poll_events(k->follow);
	if (!agree(k, false))
		part(k, exception ? "the states differ after an exception was delivered"
				  : "the states differ after an interrupt was delivered", false);
	if (!k->failed)
		settle(k);
}

static void x87_error_is_told(void *opaque, unsigned vcpu) {}

/* Whatever may have changed the processor or its memory from outside. */
static void begin(struct check *k)
{
	struct x86_cpu *c = k->lead, *s = k->follow;
	const struct cpus *all = c->cpus;
	struct err err;
	bool flush = k->world.a20_mask != all->a20_mask;

	k->thread = pthread_self();
	if (!k->started || atomic_exchange(&k->map_changed, false)) {
		if (mem_mirror_update(k->mirror, c->mem, &err) != 0) {
			check_failed(k, err.text);
			return;
		}
		flush = true;
	}
	/* Reset, or another machine's state loaded: memory may be anything too. */
	if (!k->started || !check_same_state(c, s, CHECK_RIP)) {
		copy_all(k);
		flush = true;
	}
	k->started = true;
	k->world.a20_mask = all->a20_mask;
	k->world.count = all->count;
	k->world.total = all->total;
	k->world.tsc_hz = all->tsc_hz;
	k->world.x87_error = all->x87_error ? x87_error_is_told : NULL;
	if (flush)
		check_copy_state(s, c);
	settle(k);
}

/* Where the leader may be stopped next: after 1 to X86_JIT_RING blocks. */
static void allow(struct check *k)
{
	k->random ^= k->random << 13;
	k->random ^= k->random >> 7;
	k->random ^= k->random << 17;
	k->budget = k->lead->jit.budget = 1 + k->random % X86_JIT_RING;
}

void check_point(void *opaque, int point)
{
	struct check *k = opaque;

	if (unlikely(k->failed))
		return;
	switch ((enum jit_point)point) {
	case JIT_POINT_BEGIN:
		begin(k);
		break;
	case JIT_POINT_TRANSLATED:
		follow(k, false);
		break;
	case JIT_POINT_RAISED:
		follow(k, true);
		break;
	case JIT_POINT_DELIVERED:
		deliver(k, true);
		break;
	case JIT_POINT_EVENT:
		deliver(k, false);
		break;
	case JIT_POINT_LOOP:
		if (k->lead->insn_count != k->lead_insns || k->lead->jit.budget != k->budget)
			follow(k, false);
		if (!k->failed)
			check_whole(k);
		allow(k);
		break;
	}
}
