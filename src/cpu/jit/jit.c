/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: the run loop around translated code, translating, and what other
 * threads' stores to code do to it.
 */
#include "src/cpu/jit/jit.h"

#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/cpu/jit/emit.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/vec.h"

#define HEAT_SLOTS 65536u
#define HEAT_ENOUGH 2u
#define DEFAULT_CACHE_MIB 128u

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
		atomic_store(&j->cpu->jit.run_ok, 0);
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

	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++) {
		for (unsigned n = 0; n < c->tlb_used[cls]; n++) {
			unsigned index = c->tlb_list[cls][n];
			struct x86_tlb_entry *t = &c->tlbs[cls][index];

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

		if (notes[k].chunks)
			jit_invalidate(j, notes[k].page, notes[k].chunks);
		else if (drop_writable(j->cpu, notes[k].page))
			mem_written(j->cpu->mem, host, MEM_PAGE_SIZE);
	}
}

/*
 * Called from translated code.
 */
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

	j->stats.tlb_misses++;
	jit_flags_from_ax(c);
	if ((c->code64 && !x86_canonical(lin)) || (lin & 0xfff) + size > 4096 ||
	    cls == X86_TLB_USER_AC)
		return 0;
	if (side->page != (lin & ~0xfffull) || !(side->flags & right))
		x86_tlb_fill(c, cls, lin, acc);
	if (side->flags & slow)
		return 0;
	if (acc == X86_ACC_W && t->tag_w != (lin & ~0xfffull)) {
		if (x86_has_code(c, t->host))
			return 0;
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
	return c->stop_block || c->recheck || c->db_pending || c->halted || c->rip != next;
}

/* May vector instructions run as themselves? Not where they would be refused, nor
 * where one may raise #XM: those are the interpreter's. */
uint32_t jit_vec_may(struct x86_cpu *c, uint32_t bit)
{
	uint32_t may = 0;

	if ((c->fx.mxcsr & X86_MXCSR_MASKS) != X86_MXCSR_MASKS || c->cr0 & X86_CR0_TS)
		return 0;
	if (c->cr4 & X86_CR4_OSFXSR && !(c->cr0 & X86_CR0_EM))
		may |= JIT_VEC_SSE;
	if ((c->xcr0 & 6) == 6 && c->cr4 & X86_CR4_OSXSAVE)
		may |= JIT_VEC_AVX;
	return (may & bit) == bit ? may : 0;
}

/*
 * Translating.
 */
static uint32_t block_key(const struct x86_cpu *c)
{
	return c->mode | (c->cpl == 3 ? JIT_KEY_USER : 0) | (uint32_t)c->tlb_class << 4 |
	       (c->code64 ? 0 : (c->stack32 ? JIT_KEY_STACK32 : 0) | (uint32_t)c->seg_flat << 8);
}

static uint64_t linear_pc(const struct x86_cpu *c)
{
	return c->code64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip);
}

static uint64_t chunks_of(unsigned off, unsigned len)
{
	unsigned first = off / 64, last = (off + len - 1) / 64;

	return low_mask(last - first + 1) << first;
}

/* Decodes at @host with the page watched; false if one instruction straddles into
 * a page that is not memory. */
static bool read_run(struct jit *j, uint64_t lin, const uint8_t *host, struct jit_block *b,
		     struct jit_run *run)
{
	struct x86_cpu *c = j->cpu;
	uint8_t bytes[JIT_MAX_INSNS * X86_MAX_INSN];
	unsigned off = lin & 0xfff, avail = min_of(sizeof(bytes), 4096 - off);
	const uint8_t *host2;

	b->page = b->page2 = mem_page_of(c->mem, host);
	b->chunks2 = 0;
	do {
		memcpy(bytes, host, avail);
		if (!jit_decode(c, bytes, avail, b->key, c->rip, run))
			break;
		b->chunks = chunks_of(off, run->bytes);
		mem_watch_code(c->mem, b->page, b->chunks);
	} while (memcmp(bytes, host, run->bytes) != 0);
	if (run->count)
		return true;
	if (avail >= X86_MAX_INSN)
		return false; /* too long: the interpreter raises */
	host2 = x86_fetch_ptr(c, x86_lin_wrap(c, (lin | 0xfff) + 1));
	if (!host2)
		return false;
	b->page2 = mem_page_of(c->mem, host2);
	b->chunks = chunks_of(off, avail);
	b->chunks2 = 1;
	mem_watch_code(c->mem, b->page, b->chunks);
	mem_watch_code(c->mem, b->page2, 1);
	memcpy(bytes, host, avail);
	memcpy(bytes + avail, host2, X86_MAX_INSN - avail);
	jit_decode(c, bytes, X86_MAX_INSN, b->key, c->rip, run);
	if (!run->count)
		return false;
	run->rip[1] = run->rip[0] + run->insn[0].len;
	run->count = 1;
	run->bytes = run->insn[0].len;
	return true;
}

static struct jit_block *translate(struct jit *j, uint64_t lin, uint32_t key, const uint8_t *host)
{
	struct x86_cpu *c = j->cpu;
	struct jit_run run;
	struct jit_block head = { .rip = c->rip, .lin = lin, .key = key }, *b;

	if (!read_run(j, lin, host, &head, &run))
		return NULL;
	if (!c->code64 && c->rip + run.bytes - 1 > c->seg[X86_CS].limit)
		return NULL;
	head.bytes = (uint16_t)run.bytes;
	head.ninsns = (uint16_t)run.count;
	jit_analyse(&run);
	for (unsigned tries = 0; tries < 2; tries++) {
		uint8_t *start = j->a.p;

		b = jit_meta(j, sizeof(*b));
		if (!b)
			return NULL;
		*b = head;
		if (jit_emit_block(j, b, &run)) {
			jit_insert(j, b);
			j->stats.translations++;
			j->stats.translated_insns += run.count;
			return b;
		}
		j->a.p = start;
		jit_next_segment(j);
	}
	return NULL;
}

/* The block at c->rip; NULL: the interpreter's turn. Raises if the code cannot be
 * fetched. */
static struct jit_block *lookup(struct jit *j)
{
	struct x86_cpu *c = j->cpu;
	uint64_t lin = linear_pc(c), page;
	uint32_t key = block_key(c);
	const uint8_t *host;
	struct jit_block *b;
	uint8_t *heat;

	if (!(key & (X86_MODE_32 | X86_MODE_64)) || (c->code64 && !x86_canonical(lin)))
		return NULL;
	if (!c->code64 && (c->seg[X86_CS].base || c->rip > c->seg[X86_CS].limit))
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
	if (*heat < HEAT_ENOUGH) {
		(*heat)++;
		return NULL;
	}
	return translate(j, lin, key, host);
}

/* One jump cache per TLB class; it holds blocks of one key (another mode or
 * another set of flat segments at the same address is another block). */
static void jump_cache_add(struct jit *j, const struct jit_block *b)
{
	unsigned cls = JIT_KEY_CLASS(b->key);

	if (j->jump_key[cls] != b->key) {
		jit_clear_jumps_of(j, cls);
		j->jump_key[cls] = b->key;
	}
	j->cpu->jit.jump[cls][b->rip & (X86_JUMP_SLOTS - 1)] =
		(struct x86_jump){ .rip = b->rip, .entry = jit_rx(j, b->entry_saved) };
}

static void run_block(struct jit *j, const struct jit_block *b)
{
	struct x86_cpu *c = j->cpu;
	void (*enter)(const void *) = (void (*)(const void *))(uintptr_t)j->enter;

	jit_flags_to_ax(c);
	c->jit.link = 0;
	enter(jit_rx(j, b->entry_saved));
	jit_flags_from_ax(c);
}

/* One turn of the run loop, at an instruction boundary. */
static void turn(struct jit *j)
{
	struct x86_cpu *c = j->cpu;
	struct jit_link *l = (struct jit_link *)(uintptr_t)c->jit.link;
	uint32_t key = j->last_key;
	struct jit_block *b;

	if (unlikely(interp_must_step(c))) {
		c->jit.link = 0;
		interp_exec_one(c, j->interp);
		return;
	}
	b = lookup(j);
	if (!b) {
		c->jit.link = 0;
		j->stats.interp_runs++;
		interp_exec_run(c, j->interp);
		return;
	}
	jump_cache_add(j, b);
	l = (struct jit_link *)(uintptr_t)c->jit.link; /* gone if code was evicted */
	if (l && l->target == b->rip && key == b->key && b->page == b->page2 &&
	    l->from->page == b->page)
		jit_link_to(j, l, b);
	j->last_key = b->key;
	run_block(j, b);
	if (c->jit.exit == JIT_EXIT_ONE) {
		j->stats.exits_one++;
		c->jit.link = 0;
		c->start_rip = c->rip;
		interp_exec_one(c, j->interp);
	} else {
		j->stats.exits_branch++;
		if (unlikely(c->db_pending))
			x86_after_insn(c);
	}
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
	if (_setjmp(c->fault_jmp)) {
		c->jit.link = 0;
		x86_deliver_exception(c);
	}
	for (;;) {
		uint32_t req;

		c->start_rip = c->rip;
		/* First allowed, then looked: a request that comes in between
		 * forbids again. */
		atomic_store(&c->jit.run_ok, 1);
		req = atomic_load(&c->request);
		if (unlikely(req || c->halted || c->recheck)) {
			if (req & X86_REQ_CODE)
				take_notes(j);
			if (!c->int_shadow || c->halted)
				x86_poll_events(c);
			req = atomic_load(&c->request);
			if ((req & ~(X86_REQ_INTR | X86_REQ_NMI | X86_REQ_SMI | X86_REQ_CODE)) ||
			    c->halted || c->wait_sipi)
				return;
		}
		if (unlikely(j->epoch != c->tlb_epoch)) {
			jit_clear_jumps(j);
			j->epoch = c->tlb_epoch;
		}
		turn(j);
	}
}

/*
 * The engine.
 */
static int jit_usable(struct err *err)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("bmi2"))
		return err_set(err, -ENOTSUP,
			       "the translator needs a processor with BMI2 (2013 and later); "
			       "use --engine interp");
	return 0;
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
	r = jit_cache_init(j, (size_t)DEFAULT_CACHE_MIB * 1024 * 1024 / max_of(1u, v->cpus->total),
			   err);
	if (r != 0)
		goto fail;
	jit_clear_jumps(j);
	c->tag_code = true;
	return 0;

fail:
	jit_vcpu_fini(v);
	return r;
}

const struct engine_desc jit_engine = {
	.name = "jit",
	.title = "translator: guest code to host code",
	.usable = jit_usable,
	.vcpu_init = jit_vcpu_init,
	.vcpu_fini = jit_vcpu_fini,
	.run = jit_run,
};
