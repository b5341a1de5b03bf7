/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: the run loop around translated code, finding it, and what other
 * threads' stores to code do to it.
 */
#include "src/cpu/jit/jit.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/size.h"
#include "src/cpu/jit/emit.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/host_features.h"
#include "src/cpu/x86/vec.h"

#define HEAT_SLOTS 65536u
#define HEAT_ENOUGH 2u
#define DEFAULT_CACHE_BYTES (128ull << 20)
#define REWRITE_SHIFT 20     /* time stamps to ticks of well below a millisecond */
#define REWRITE_SOON 2       /* ticks; of 1, two in a row would have to hit the same */
#define REWRITE_OFTEN 24     /* such that follow soon */
#define REWRITE_FORGET 4096  /* ticks */

/*
 * What other threads say.
 */
static void note(struct jit *j, uint64_t page, uint64_t chunks)
{
	pthread_mutex_lock(&j->notes_lock);
	if (j->nnotes < JIT_NOTES)
		j->notes[j->nnotes] = (struct jit_note){ .page = page, .chunks = chunks };
	if (j->nnotes <= JIT_NOTES)
		j->nnotes++;
	pthread_mutex_unlock(&j->notes_lock);
	if (j->cpu->vcpu) {
		vcpu_request(j->cpu->vcpu, X86_REQ_CODE);
	} else {
		atomic_fetch_or(&j->cpu->request, X86_REQ_CODE);
		x86_jit_stop(j->cpu);
	}
}

static void code_written(void *opaque, uint64_t page, uint64_t chunks)
{
	note(opaque, page, chunks);
}

/* Takes the page's writable translations away, so that stores take the slow path
 * from now on. True if there were any. */
static bool drop_writable(struct x86_cpu *c, uint64_t page)
{
	uint64_t host = (uint64_t)(uintptr_t)c->mem->window + (page << MEM_PAGE_SHIFT);
	bool any = false;

	for (unsigned n = 0; n < 2 * X86_TLB_CLASSES; n++) {
		const struct x86_tlb_set *s = &c->tlb_set[n / 2];

		for (unsigned k = 0; k < s->used[n % 2]; k++) {
			unsigned index = s->list[n % 2][k];
			struct x86_tlb_entry *t = &c->tlbs[n / 2][index];

			if (t->host == host && t->tag_w != X86_TLB_NONE(index)) {
				t->tag_w = X86_TLB_NONE(index);
				any = true;
			}
		}
	}
	return any;
}

static void code_marked(void *opaque, uint64_t page)
{
	struct jit *j = opaque;

	if (pthread_equal(j->thread, pthread_self()))
		drop_writable(j->cpu, page);
	else
		note(j, page, 0);
}

/*
 * Pages whose code is rewritten again and again. rewrites[page] holds a tick count
 * above, and how many rewrites followed each other soon in the low byte. Blocks of
 * such a page are not watched: they compare their guest code on every entry.
 */
static uint64_t ticks(void)
{
	return __builtin_ia32_rdtsc() >> REWRITE_SHIFT;
}

bool jit_often_rewritten(const struct jit *j, uint64_t page)
{
	uint64_t v = j->rewrites[page];

	return (v & 0xff) >= REWRITE_OFTEN && ticks() - (v >> 8) < REWRITE_FORGET;
}

static void rewritten(struct jit *j, uint64_t page)
{
	uint64_t v = j->rewrites[page], n = v & 0xff, now = ticks();

	if (n < REWRITE_OFTEN)
		n = now - (v >> 8) < REWRITE_SOON ? n + 1 : 1;
	j->rewrites[page] = now << 8 | n;
	if (n == REWRITE_OFTEN && (v & 0xff) != n) {
		/* Now nothing of it is watched any more, by anybody. */
		mem_written(j->cpu->mem, j->cpu->mem->window + (page << MEM_PAGE_SHIFT),
			    MEM_PAGE_SIZE);
		jit_invalidate(j, page, ~0ull);
	}
}

const void *jit_stale(struct x86_cpu *c, struct jit_block *b)
{
	struct jit *j = c->engine_priv;

	c->rip = b->rip;
	c->jit.link = 0;
	rewritten(j, b->page);
	jit_discard(j, b);
	return jit_next(c);
}

/* Had this vCPU a writable translation of a page when another began to watch it,
 * it may have stored there unnoticed: that counts as a store to all of it. */
static void take_notes(struct jit *j)
{
	struct jit_note notes[JIT_NOTES];
	unsigned n;

	atomic_fetch_and(&j->cpu->request, ~(uint32_t)X86_REQ_CODE);
	pthread_mutex_lock(&j->notes_lock);
	n = j->nnotes;
	j->nnotes = 0;
	memcpy(notes, j->notes, min_of(n, JIT_NOTES) * sizeof(notes[0]));
	pthread_mutex_unlock(&j->notes_lock);
	if (n > JIT_NOTES) {
		jit_drop_all(j);
		x86_tlb_flush_all(j->cpu);
		return;
	}
	for (unsigned k = 0; k < n; k++) {
		uint8_t *host = j->cpu->mem->window + (notes[k].page << MEM_PAGE_SHIFT);

		if (notes[k].chunks) {
			if (jit_invalidate(j, notes[k].page, notes[k].chunks))
				rewritten(j, notes[k].page);
		} else if (drop_writable(j->cpu, notes[k].page))
			mem_written(j->cpu->mem, host, MEM_PAGE_SIZE);
	}
}

static bool has_notes(const struct x86_cpu *c)
{
	return atomic_load_explicit(&c->request, memory_order_relaxed) & X86_REQ_CODE;
}

/*
 * Called from translated code.
 */
static uint64_t not_plain(struct jit *j)
{
	j->stats.exits_access++;
	return 0;
}

uint64_t jit_miss(struct x86_cpu *c, uint64_t lin, uint32_t what)
{
	struct jit *j = c->engine_priv;
	unsigned size = what & 0xff, cls = what >> 12 & 3;
	enum x86_access acc = (enum x86_access)(what >> 8 & 3);
	unsigned index = lin >> 12 & (X86_TLB_ENTRIES - 1);
	struct x86_tlb_side *side = &c->tlb_side[cls][index];
	struct x86_tlb_entry *t = &c->tlbs[cls][index];
	uint32_t right = acc == X86_ACC_W ? X86_TLBF_W : X86_TLBF_R;
	uint32_t slow = X86_TLBF_WATCH | (acc == X86_ACC_W ? X86_TLBF_MMIO_W : X86_TLBF_MMIO_R);

	jit_flags_from_ax(c);
	if (!atomic_load_explicit(&c->jit.run_ok, memory_order_relaxed))
		return 0; /* one instruction more, and the request is seen to */
	j->stats.tlb_misses++;
	if ((c->code64 && !x86_canonical(lin)) || (lin & 0xfff) + size > 4096 ||
	    cls == X86_TLB_USER_AC)
		return not_plain(j);
	if (side->page != (lin & ~0xfffull) || !(side->flags & right))
		x86_tlb_fill(c, cls, lin, acc);
	if (side->flags & slow)
		return not_plain(j);
	if (acc == X86_ACC_W && t->tag_w != (lin & ~0xfffull)) {
		/* Another vCPU's store may have ended the watch just now: what this one
		 * has of the page is stale, and it has yet to be told so. */
		if (x86_has_code(c, t->host) || has_notes(c))
			return not_plain(j);
		t->tag_w = lin & ~0xfffull; /* its code is gone */
	}
	return t->host + (lin & 0xfff);
}

uint32_t jit_call_op(struct x86_cpu *c, const struct jit_call *call)
{
	struct jit *j = c->engine_priv;
	uint64_t next = call->rip + call->insn.len;

	j->stats.helper_calls++;
	jit_flags_from_ax(c);
	c->jit.link = 0;
	c->start_rip = call->rip;
	c->rip = c->code64 ? next : (uint32_t)next;
	c->stop_block = false;
	call->insn.fn(c, &call->insn);
	jit_flags_to_ax(c);
	/* A repeated string operation that gave way to a request has rip on itself. */
	if (!(c->stop_block || c->recheck || c->db_pending || c->halted || c->rip != next ||
	      has_notes(c)))
		return 0;
	j->stats.exits_helper++;
	return 1;
}

/* May vector and x87 instructions run as themselves? Not where they would be
 * refused, nor where one may raise #XM or #MF: those are the interpreter's. What
 * was live before stays so. */
uint32_t jit_vec_may(struct x86_cpu *c, uint32_t bit)
{
	struct jit *j = c->engine_priv;
	uint32_t may = 0, want = bit | c->jit.vec_again;

	j->stats.exits_vector++;
	if (c->cr0 & X86_CR0_TS)
		return 0;
	if ((c->fx.mxcsr & X86_MXCSR_MASKS) == X86_MXCSR_MASKS) {
		if (c->cr4 & X86_CR4_OSFXSR && !(c->cr0 & X86_CR0_EM))
			may |= JIT_VEC_SSE;
		if ((c->xcr0 & 6) == 6 && c->cr4 & X86_CR4_OSXSAVE)
			may |= JIT_VEC_AVX;
	}
	if (j->xsave && !(c->cr0 & X86_CR0_EM) && (c->fx.fcw & 0x3f) == 0x3f)
		may |= JIT_VEC_X87;
	if ((may & bit) != bit)
		return 0;
	j->stats.exits_vector--;
	return may & ((want & JIT_VEC_YMM ? JIT_VEC_YMM : 0) | (want & JIT_VEC_X87));
}

/*
 * Translating.
 */
static uint32_t block_key(const struct x86_cpu *c)
{
	return c->mode | (c->cpl == 3 ? JIT_KEY_USER : 0) |
	       (c->cpl == 0 ? JIT_KEY_CPL0 : 0) | (uint32_t)c->tlb_class << 4 |
	       (c->code64 ? 0 : (c->stack32 ? JIT_KEY_STACK32 : 0) | (uint32_t)c->seg_flat << 8);
}

static uint64_t linear_pc(const struct x86_cpu *c)
{
	return c->code64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip);
}

/* The block of @key at c->rip; NULL: the interpreter's turn, *why its counter. Raises
 * if the code cannot be fetched. */
static struct jit_block *lookup(struct jit *j, uint32_t key, uint64_t **why)
{
	struct x86_cpu *c = j->cpu;
	uint64_t lin = linear_pc(c), page;
	const uint8_t *host;
	struct jit_block *b;
	uint8_t *heat;

	*why = &j->stats.interp_other;
	if (!(key & (X86_MODE_32 | X86_MODE_64)))
		return NULL;
	if ((c->code64 && !x86_canonical(lin)))
		return NULL;
	if (!c->code64 && (c->seg[X86_CS].base || c->rip > c->seg[X86_CS].limit))
		return NULL;
	/* The run loop is where somebody looks. */
	if (unlikely(c->debug & X86_DEBUG_CODE) && cpu_debug_code(c, lin))
		return NULL;
	host = x86_fetch_ptr(c, lin);
	if (!host)
		return NULL;
	page = mem_page_of(c->mem, host);
	b = jit_find(j, lin, key, page, ~0ull);
	if (b && b->page2 != b->page) {
		const uint8_t *host2 = x86_fetch_ptr(c, x86_lin_wrap(c, (lin | 0xfff) + 1));

		if (!host2)
			return NULL;
		b = jit_find(j, lin, key, page, mem_page_of(c->mem, host2));
	}
	if (b)
		return b;
	heat = &j->heat[(lin ^ lin >> 16) & (HEAT_SLOTS - 1)];
	if (*heat < HEAT_ENOUGH && !(key & JIT_KEY_PLAIN) && !jit_often_rewritten(j, page)) {
		(*heat)++;
		*why = &j->stats.interp_cold;
		return NULL;
	}
	return jit_translate(j, lin, key, host, NULL);
}

/* A loop that begins with a memory access would save its flags in every turn, though what
 * made them is known: it gets a twin that need not. NULL: none, or the cache is full. */
static struct jit_block *twin_for(struct jit *j, const struct jit_link *l,
				  const struct jit_block *b)
{
	struct jit_block *t;

	if (l->def.kind == DEF_NONE || !b->saves || l->target > l->from->rip)
		return NULL;
	t = jit_find_twin(j, b, &l->def);
	return t ? t : jit_translate(j, b->lin, b->key,
				     j->cpu->mem->window + (b->page << MEM_PAGE_SHIFT) +
					     (b->lin & 0xfff), &l->def);
}

/* Leads the way out @l to @b or its twin. False: that evicted code, which may have been
 * theirs. */
static bool link_to(struct jit *j, struct jit_link *l, struct jit_block *b)
{
	uint64_t before = j->stats.evictions;
	struct jit_block *t = twin_for(j, l, b);

	if (j->stats.evictions != before)
		return false;
	jit_link_to(j, l, t ? t : b);
	return true;
}

/* Host code for c->rip, at an instruction boundary; NULL: the interpreter's turn.
 * The exit in jit.link, if any, is linked to it. */
static const void *find_code(struct jit *j, uint64_t **why)
{
	struct x86_cpu *c = j->cpu;
	uint32_t key = block_key(c);
	struct x86_jump *jump = &c->jit.jump[JIT_KEY_CLASS(key)][jit_jump_slot(c->rip)];
	struct jit_link *l;
	struct jit_block *b;

	if (c->code64 && !c->jit.link && jump->rip == c->rip && j->jumps[JIT_KEY_CLASS(key)].key == key) {
		j->last_key = key;
		return jump->entry;
	}
	b = lookup(j, key, why);
	l = (struct jit_link *)(uintptr_t)c->jit.link; /* gone if code was evicted */
	c->jit.link = 0;
	if (!b)
		return NULL;
	jit_jump_add(j, b);
	if (l && l->target == b->rip && j->last_key == b->key && b->page == b->page2 &&
	    l->from->page == b->page && !link_to(j, l, b))
		return find_code(j, why);
	j->last_key = b->key;
	return jit_rx(j, b->entry_saved);
}

/* Is there anything but guest code to see to? */
static bool has_business(const struct x86_cpu *c)
{
	return !atomic_load_explicit(&c->jit.run_ok, memory_order_relaxed) || c->recheck ||
	       c->halted || c->db_pending || interp_must_step(c);
}

/* Instructions interpreted since the last call go to the counter of their reason; from
 * here on it is @why. Not done right after the interpreter: it may leave by raising. */
static void interp_count(struct jit *j, uint64_t *why)
{
	*j->interp_why += j->cpu->insn_count - j->interp_seen;
	j->interp_seen = j->cpu->insn_count;
	j->interp_why = why;
}

const void *jit_next(struct x86_cpu *c)
{
	struct jit *j = c->engine_priv;
	uint64_t *why;

	j->stats.exits_branch++;
	jit_flags_from_ax(c);
	c->start_rip = c->rip;
	if (unlikely(has_business(c)))
		return NULL;
	jit_tell(j, JIT_POINT_LOOP);
	return find_code(j, &why);
}

const void *jit_plain(struct x86_cpu *c)
{
	struct jit *j = c->engine_priv;
	uint64_t *why;
	struct jit_block *b;

	jit_flags_from_ax(c);
	c->start_rip = c->rip;
	c->jit.link = 0;
	if (unlikely(has_business(c)))
		return NULL;
	jit_tell(j, JIT_POINT_LOOP); /* in the middle of a block */
	j->last_key = block_key(c);
	jit_tell(j, JIT_POINT_LOOP);
	b = lookup(j, j->last_key | JIT_KEY_PLAIN, &why);
	return b ? jit_rx(j, b->entry_saved) : NULL;
}

const void *jit_call_end(struct x86_cpu *c, const struct jit_call *call)
{
	jit_call_op(c, call);
	return jit_next(c);
}

const void *jit_one(struct x86_cpu *c)
{
	struct jit *j = c->engine_priv;

	j->stats.exits_one++;
	jit_flags_from_ax(c);
	c->jit.link = 0;
	c->start_rip = c->rip;
	jit_tell(j, JIT_POINT_TRANSLATED);
	interp_count(j, &j->stats.interp_one);
	interp_exec_one(c, j->interp);
	jit_flags_to_ax(c);
	return jit_next(c);
}

/* One turn of the run loop, at an instruction boundary. */
static void turn(struct jit *j)
{
	struct x86_cpu *c = j->cpu;
	void (*enter)(const void *) = (void (*)(const void *))(uintptr_t)j->enter;
	const void *code;
	uint64_t *why;

	if (unlikely(interp_must_step(c))) {
		c->jit.link = 0;
		interp_count(j, &j->stats.interp_step);
		interp_exec_one(c, j->interp);
	} else {
		code = find_code(j, &why);
		if (code) {
			jit_flags_to_ax(c);
			j->in_code = true;
			enter(code);
			j->in_code = false;
			if (unlikely(c->db_pending))
				x86_after_insn(c);
		} else {
			interp_count(j, c->mode & X86_MODE_SIZE ? why : &j->stats.interp_16bit);
			interp_exec_run(c, j->interp);
		}
	}
}

static void tlb_flushed(struct x86_cpu *c, enum cpu_flush what, uint64_t lin)
{
	struct jit *j = c->engine_priv;

	if (!j)
		return;
	jit_jumps_flush(j, what, lin);
	if (what != CPU_FLUSH_SPACE)
		j->epoch++;
}

static void space_switched(struct x86_cpu *c, unsigned from, unsigned to, bool keep)
{
	struct jit *j = c->engine_priv;

	if (!j)
		return;
	jit_jumps_switch(j, from, to, keep);
	j->epoch++;
}

static void set_gs_base(const void *p)
{
	syscall(SYS_arch_prctl, ARCH_SET_GS, p);
}

static void jit_run(struct vcpu *v)
{
	struct x86_cpu *c = v->x86;
	struct jit *j = c->engine_priv;

	j->thread = pthread_self();
	c->jit.self = (uint64_t)(uintptr_t)c;
	set_gs_base(c);
	jit_tell(j, JIT_POINT_BEGIN);
	if (_setjmp(c->fault_jmp)) {
		c->jit.link = 0;
		j->stats.exits_raised += j->in_code;
		jit_tell(j, JIT_POINT_RAISED);
		j->in_code = false;
		x86_deliver_exception(c);
		jit_tell(j, JIT_POINT_DELIVERED);
	}
	for (;;) {
		uint32_t req;

		c->start_rip = c->rip;
		jit_tell(j, JIT_POINT_LOOP);
		if (unlikely(c->debug) && cpu_debug_done(c))
			return;
		/* First allowed, then looked: a request that comes in between
		 * forbids again. */
		if (!atomic_load(&c->jit.run_ok))
			x86_jit_allow(c);
		req = atomic_load(&c->request);
		if (unlikely(req || c->halted || c->recheck)) {
			if (req & X86_REQ_CODE) {
				j->stats.code_notes++;
				take_notes(j);
			}
			if (interp_takes_events(c) && x86_poll_events(c)) {
				jit_tell(j, JIT_POINT_EVENT);
				cpu_debug_event(c);
			}
			req = atomic_load(&c->request);
			if ((req & ~(X86_REQ_INTR | X86_REQ_NMI | X86_REQ_SMI | X86_REQ_CODE)) ||
			    c->halted || c->wait_sipi)
				return;
		}
		if (unlikely(j->epoch != c->tlb_epoch)) {
			jit_jumps_flush(j, CPU_FLUSH_ALL, 0); /* not told: no complex */
			j->epoch = c->tlb_epoch;
		}
		if (unlikely(c->debug) && cpu_debug_at(c))
			return;
		turn(j);
	}
}

/*
 * The engine.
 */
static int jit_usable(struct err *err)
{
	uint32_t eax, ebx, ecx = 0, edx;

	__builtin_cpu_init();
	if (!__builtin_cpu_supports("bmi2"))
		return err_set(err, -ENOTSUP,
			       "the translator needs a processor with BMI2 (2013 and later); "
			       "use --engine interp");
	/* Every such processor has it; a virtual one may hide it. */
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
		return err_set(err, -ENOTSUP,
			       "the translator needs a processor and a kernel with XSAVE; "
			       "use --engine interp");
	return 0;
}

/* Each vCPU's part, in whole pages. */
static size_t cache_bytes(const struct cpus *s)
{
	uint64_t all = s->options.cache_bytes ? s->options.cache_bytes : DEFAULT_CACHE_BYTES;

	/* Jumps in it reach 2 GiB. */
	return align_down(min_of(all / max_of(1u, s->total), 1ull << 30), MEM_PAGE_SIZE);
}

static int jit_vm_init(struct cpus *s, struct err *err)
{
	char need[32], have[32];

	if (cache_bytes(s) < JIT_CACHE_MIN)
		return err_set(err, -EINVAL, "--translation-cache %s is too little for %u virtual "
			       "CPUs; give at least %s",
			       format_size(s->options.cache_bytes, have, sizeof(have)), s->total,
			       format_size((uint64_t)s->total * JIT_CACHE_MIN, need, sizeof(need)));
	return jit_trace_open(s, err);
}

static unsigned jit_stats(const struct vcpu *v, struct engine_stat *st)
{
	const struct jit *j = v->x86->engine_priv;
	const struct jit_stats *n = &j->stats;
	const struct engine_stat all[] = {
		{ "interpreted-cold", n->interp_cold },
		{ "interpreted-after-exit", n->interp_one },
		{ "interpreted-16-bit", n->interp_16bit },
		{ "interpreted-stepping", n->interp_step },
		{ "interpreted-other", n->interp_other },
		{ "translations", n->translations },
		{ "translated-instructions", n->translated_insns },
		{ "links", n->links },
		{ "invalidations", n->invalidations },
		{ "code-notes", n->code_notes },
		{ "evictions", n->evictions },
		{ "cache-bytes", jit_cache_used(j) },
		{ "cache-size-bytes", j->size },
		{ "tlb-misses", n->tlb_misses },
		{ "tlb-flushes", v->x86->tlb_epoch },
		{ "helper-calls", n->helper_calls },
		{ "exits-branch", n->exits_branch },
		{ "exits-helper", n->exits_helper },
		{ "exits-exception", n->exits_raised },
		{ "exits-access", n->exits_access },
		{ "exits-vector", n->exits_vector },
		{ "exits-other", n->exits_one - n->exits_access - n->exits_vector },
	};

	_Static_assert(array_size(all) <= ENGINE_STATS_MAX, "engine_desc.stats");
	memcpy(st, all, sizeof(all));
	return array_size(all);
}

static void jit_vcpu_fini(struct vcpu *v)
{
	struct jit *j = v->x86->engine_priv;

	if (!j)
		return;
	mem_listener_del(v->x86->mem, &j->listener);
	jit_cache_fini(j);
	interp_free(j->interp);
	free(j->heat);
	pthread_mutex_destroy(&j->notes_lock);
	free(j);
	v->x86->engine_priv = NULL;
}

static int jit_vcpu_init(struct vcpu *v, struct err *err)
{
	struct x86_cpu *c = v->x86;
	struct jit *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return err_set(err, -ENOMEM, "out of memory for the translator");
	j->cpu = c;
	j->fd = -1;
	j->npages = c->mem->window_len >> MEM_PAGE_SHIFT;
	pthread_mutex_init(&j->notes_lock, NULL);
	c->engine_priv = j;
	j->listener = (struct mem_listener){ .code_marked = code_marked,
					     .code_written = code_written, .opaque = j };
	mem_listener_add(c->mem, &j->listener);
	j->heat = calloc(HEAT_SLOTS, 1);
	j->interp = interp_new();
	if (!j->heat || !j->interp) {
		r = err_set(err, -ENOMEM, "out of memory for the translator");
		goto fail;
	}
	j->xsave = x86_host_has_xsave() && !v->cpus->options.without_xsave;
	j->avx = j->xsave && x86_host_has(X86_F_AVX) && !v->cpus->options.without_avx;
	j->interp_why = &j->stats.interp_other;
	j->trace = v->cpus->engine_priv;
	r = jit_cache_init(j, cache_bytes(v->cpus), err);
	if (r != 0)
		goto fail;
	jit_jumps_init(j);
	c->tag_code = true;
	return 0;

fail:
	jit_vcpu_fini(v);
	return r;
}

static void jit_debug_changed(struct vcpu *v, const struct cpu_point *p)
{
	struct jit *j = v->x86->engine_priv;
	const struct cpus_debug *d = &v->cpus->debug;

	if (!j || (p && p->kind != CPU_POINT_CODE))
		return;
	interp_drop_code(j->interp);
	if (p)
		jit_cut_at(j, p->lin);
	for (unsigned n = 0; !p && n < d->count; n++)
		if (d->point[n].kind == CPU_POINT_CODE)
			jit_cut_at(j, d->point[n].lin);
}

static void jit_idle(struct vcpu *v)
{
	struct jit *j = v->x86->engine_priv;

	if (j)
		jit_cache_trim(j);
}

const struct engine_desc jit_engine = {
	.name = "jit",
	.title = "translator: guest code to host code",
	.usable = jit_usable,
	.vm_init = jit_vm_init,
	.vm_fini = jit_trace_close,
	.vcpu_init = jit_vcpu_init,
	.vcpu_fini = jit_vcpu_fini,
	.run = jit_run,
	.tlb_flushed = tlb_flushed,
	.space_switched = space_switched,
	.stats = jit_stats,
	.idle = jit_idle,
	.debug_changed = jit_debug_changed,
	.translates = true,
};
