/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks are runs of decoded instructions of one page, found by the backing page
 * and offset they were decoded from, so that every linear alias shares them. A
 * block is stale when the page's generation differs from the one it was decoded
 * at (mem.h). Two pages are touched only by a block of one straddling
 * instruction, which is checked against both at each use.
 */
#include "src/cpu/interp/interp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/cpu/x86/access.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/insn.h"

#define MAX_INSNS 32
#define TABLE_SLOTS 16384u
#define JUMP_SLOTS 4096u
#define ARENA_BYTES (16u << 20)

struct block {
	uint64_t page;   /* backing page of the first byte */
	uint64_t page2;  /* of a straddling instruction's second part, else page */
	uint32_t gen, gen2;
	uint16_t off;
	uint8_t mode;
	uint8_t count;
	uint16_t bytes;
	struct x86_insn insn[];
};

/* The last block run at a linear address: valid while no translation was
 * flushed since. */
struct jump_slot {
	uint64_t lin;
	uint32_t epoch;
	uint8_t key; /* mode and privilege */
	struct block *block;
};

struct interp {
	struct jump_slot jump[JUMP_SLOTS];
	struct block *table[TABLE_SLOTS];
	uint8_t *arena;
	size_t used;
};

static void cache_clear(struct interp *in)
{
	memset(in->jump, 0, sizeof(in->jump));
	memset(in->table, 0, sizeof(in->table));
	in->used = 0;
}

static uint64_t linear_pc(const struct x86_cpu *c)
{
	return c->code64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip);
}

static uint64_t mask_rip(const struct x86_cpu *c, uint64_t rip)
{
	if (c->code64)
		return rip;
	return c->mode & X86_MODE_32 ? (uint32_t)rip : (uint16_t)rip;
}

static bool block_fresh(const struct x86_cpu *c, const struct block *b)
{
	return atomic_load_explicit(&c->mem->page_gen[b->page], memory_order_relaxed) == b->gen &&
	       atomic_load_explicit(&c->mem->page_gen[b->page2], memory_order_relaxed) == b->gen2;
}

static uint64_t chunks_of(unsigned off, unsigned len)
{
	unsigned first = off / 64, last = (off + len - 1) / 64;

	return low_mask(last - first + 1) << first;
}

/* Decodes up to MAX_INSNS instructions from one page's bytes at @off; the count, with
 * the bytes used in *len. 0 if the first does not fit in what is there. A breakpoint,
 * whatever the page's linear address, ends the run in front of it. */
static unsigned decode_run(const struct x86_cpu *c, const uint8_t *bytes, unsigned off,
			   unsigned avail, struct x86_insn *out, unsigned *len)
{
	unsigned n = 0, at = 0;

	while (n < MAX_INSNS) {
		int r;

		if (unlikely(c->debug & X86_DEBUG_CODE) && n && cpu_debug_code_offset(c, off + at))
			break;
		r = x86_decode(bytes + at, avail - at, c->mode, c->features, &out[n]);
		if (r <= 0)
			break;
		at += r;
		n++;
		if (out[n - 1].row->attr & X86_A_END)
			break;
	}
	*len = at;
	return n;
}

static struct block *block_store(struct interp *in, const struct x86_insn *insns, unsigned n)
{
	size_t need = align_up(sizeof(struct block) + n * sizeof(insns[0]), 64);
	struct block *b;

	if (in->used + need > ARENA_BYTES)
		cache_clear(in);
	b = (struct block *)(in->arena + in->used);
	in->used += need;
	memcpy(b->insn, insns, n * sizeof(insns[0]));
	b->count = n;
	return b;
}

/* An instruction that straddles two pages, or too long: a block of its own. */
static struct block *decode_straddle(struct x86_cpu *c, struct interp *in, uint64_t lin,
				     const uint8_t *host, unsigned avail)
{
	uint64_t next = x86_lin_wrap(c, (lin & ~0xfffull) + 4096);
	uint8_t bytes[X86_MAX_INSN + 1];
	struct x86_insn insn;
	struct block *b;
	const uint8_t *host2 = x86_fetch_ptr(c, next);
	unsigned rest = sizeof(bytes) - avail;
	uint64_t page = mem_page_of(c->mem, host), page2;
	uint32_t gen, gen2;
	int r;

	if (!host2)
		x86_raise_gp0(c); /* code that runs from memory into a device */
	page2 = mem_page_of(c->mem, host2);
	gen = mem_watch_code(c->mem, page, chunks_of(lin & 0xfff, avail));
	gen2 = mem_watch_code(c->mem, page2, 1);
	memcpy(bytes, host, avail);
	memcpy(bytes + avail, host2, rest);
	r = x86_decode(bytes, sizeof(bytes), c->mode, c->features, &insn);
	if (r <= 0)
		x86_raise_gp0(c);
	b = block_store(in, &insn, 1);
	b->page = page;
	b->page2 = page2;
	b->gen = gen;
	b->gen2 = gen2;
	b->bytes = r;
	return b;
}

static struct block *decode_block(struct x86_cpu *c, struct interp *in, uint64_t lin,
				  const uint8_t *host)
{
	struct x86_insn insns[MAX_INSNS];
	uint8_t bytes[MAX_INSNS * X86_MAX_INSN];
	unsigned off = lin & 0xfff;
	unsigned avail = min_of(sizeof(bytes), 4096 - off), len, n;
	uint64_t page = mem_page_of(c->mem, host);
	struct block *b;
	uint32_t gen;

	do {
		memcpy(bytes, host, avail);
		n = decode_run(c, bytes, off, avail, insns, &len);
		if (n == 0)
			b = decode_straddle(c, in, lin, host, min_of(avail, (unsigned)X86_MAX_INSN));
		else
			gen = mem_watch_code(c->mem, page, chunks_of(off, len));
		/* What was read before the watch began may have changed. */
	} while (n && memcmp(bytes, host, len) != 0);
	if (n) {
		b = block_store(in, insns, n);
		b->page = b->page2 = page;
		b->gen = b->gen2 = gen;
		b->bytes = len;
	}
	b->off = off;
	b->mode = c->mode;
	return b;
}

static unsigned table_slot(uint64_t page, unsigned off, unsigned mode)
{
	uint64_t h = (page << 12 | off) * 0x9e3779b97f4a7c15ull + mode;

	return h >> 40 & (TABLE_SLOTS - 1);
}

/* The block at c->rip; raises if it cannot be fetched. NULL: code in MMIO. */
static struct block *find_block(struct x86_cpu *c, struct interp *in)
{
	uint64_t lin = linear_pc(c);
	uint8_t key = c->mode | (c->cpl == 3 ? 0x80 : 0x40);
	struct jump_slot *j = &in->jump[(lin ^ lin >> 12) & (JUMP_SLOTS - 1)];
	const uint8_t *host;
	struct block *b, **slot;
	uint64_t page;

	if (likely(j->lin == lin && j->key == key && j->epoch == c->tlb_epoch) &&
	    likely(block_fresh(c, j->block)))
		return j->block;
	if (unlikely(c->code64 && !x86_canonical(lin)))
		x86_raise_gp0(c);
	if (unlikely(!c->code64 && c->rip > c->seg[X86_CS].limit))
		x86_raise_gp0(c);
	host = x86_fetch_ptr(c, lin);
	if (unlikely(!host))
		return NULL;
	page = mem_page_of(c->mem, host);
	slot = &in->table[table_slot(page, lin & 0xfff, c->mode)];
	b = *slot;
	if (!b || b->page != page || b->off != (lin & 0xfff) || b->mode != c->mode ||
	    !block_fresh(c, b)) {
		b = decode_block(c, in, lin, host);
		*slot = b;
	} else if (b->page2 != page) {
		const uint8_t *host2 = x86_fetch_ptr(c, x86_lin_wrap(c, (lin | 0xfff) + 1));

		if (!host2 || mem_page_of(c->mem, host2) != b->page2) {
			b = decode_block(c, in, lin, host);
			*slot = b;
		}
	}
	*j = (struct jump_slot){ .lin = lin, .epoch = c->tlb_epoch, .key = key, .block = b };
	return b;
}

static inline void exec_insn(struct x86_cpu *c, const struct x86_insn *i)
{
	c->start_rip = c->rip;
	c->rip = mask_rip(c, c->rip + i->len);
	c->insn_count++;
	i->fn(c, i);
}

/* Fetching past the CS limit is a #GP of the instruction that does it. */
static void check_limit(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!c->code64 && c->rip + i->len - 1 > c->seg[X86_CS].limit)
		x86_raise_gp0(c);
}

/* One instruction from code that lies in a device's registers. */
static void exec_mmio_code(struct x86_cpu *c)
{
	uint8_t bytes[X86_MAX_INSN + 1];
	uint64_t lin = linear_pc(c);
	struct x86_insn insn;

	for (unsigned n = 0; n < sizeof(bytes);) {
		const uint8_t *host = x86_fetch_ptr(c, x86_lin_wrap(c, lin + n));
		int r;

		bytes[n] = host ? *host : x86_fetch_mmio(c, x86_lin_wrap(c, lin + n));
		r = x86_decode(bytes, ++n, c->mode, c->features, &insn);
		if (r > 0) {
			check_limit(c, &insn);
			exec_insn(c, &insn);
			return;
		}
		if (r < 0)
			break;
	}
	x86_raise_gp0(c);
}

/* One instruction with everything that a debugger may have asked for. */
void interp_exec_one(struct x86_cpu *c, struct interp *in)
{
	uint8_t shadow = c->int_shadow;
	struct block *b;

	c->start_rip = c->rip;
	x86_before_insn(c);
	b = find_block(c, in);
	if (b) {
		check_limit(c, &b->insn[0]);
		exec_insn(c, &b->insn[0]);
	} else {
		exec_mmio_code(c);
	}
	c->int_shadow &= ~shadow;
	x86_after_insn(c);
}

static void exec_block(struct x86_cpu *c, const struct block *b, unsigned max)
{
	const struct x86_insn *i = b->insn, *end = i + min_of((unsigned)b->count, max);

	if (unlikely(!c->code64 && c->rip + b->bytes - 1 > c->seg[X86_CS].limit)) {
		check_limit(c, i);
		end = i + 1;
	}
	c->stop_block = false;
	do {
		exec_insn(c, i);
	} while (++i < end && likely(!c->stop_block));
	if (unlikely(c->db_pending))
		x86_after_insn(c);
}

void interp_exec_run(struct x86_cpu *c, struct interp *in)
{
	interp_exec_some(c, in, MAX_INSNS);
}

void interp_exec_some(struct x86_cpu *c, struct interp *in, unsigned max)
{
	struct block *b = find_block(c, in);

	if (likely(b))
		exec_block(c, b, max);
	else
		interp_exec_one(c, in);
}

static void interp_run(struct vcpu *v)
{
	struct x86_cpu *c = v->x86;
	struct interp *in = c->engine_priv;

	if (_setjmp(c->fault_jmp))
		x86_deliver_exception(c);
	for (;;) {
		uint32_t req = atomic_load_explicit(&c->request, memory_order_relaxed);

		c->start_rip = c->rip;
		if (unlikely(c->debug) && cpu_debug_done(c))
			return;
		if (unlikely(req || c->halted || c->recheck)) {
			if (interp_takes_events(c) && x86_poll_events(c))
				cpu_debug_event(c);
			req = atomic_load_explicit(&c->request, memory_order_relaxed);
			if ((req & ~(X86_REQ_INTR | X86_REQ_NMI | X86_REQ_SMI)) || c->halted ||
			    c->wait_sipi)
				return;
		}
		if (unlikely(c->debug) && cpu_debug_at(c))
			return;
		if (unlikely(interp_must_step(c)))
			interp_exec_one(c, in);
		else
			interp_exec_run(c, in);
	}
}

struct interp *interp_new(void)
{
	struct interp *in = calloc(1, sizeof(*in));

	if (in)
		in->arena = malloc(ARENA_BYTES);
	if (in && !in->arena) {
		free(in);
		in = NULL;
	}
	return in;
}

void interp_drop_code(struct interp *in)
{
	cache_clear(in);
}

static void interp_debug_changed(struct vcpu *v, const struct cpu_point *p)
{
	if (!p || p->kind == CPU_POINT_CODE)
		interp_drop_code(v->x86->engine_priv);
}

static int interp_vcpu_init(struct vcpu *v, struct err *err)
{
	v->x86->engine_priv = interp_new();
	if (!v->x86->engine_priv)
		return err_set(err, -ENOMEM, "out of memory for the interpreter's code cache");
	return 0;
}

void interp_free(struct interp *in)
{
	if (in)
		free(in->arena);
	free(in);
}

static void interp_vcpu_fini(struct vcpu *v)
{
	interp_free(v->x86->engine_priv);
	v->x86->engine_priv = NULL;
}

static void step(struct x86_cpu *c)
{
	uint8_t bytes[X86_MAX_INSN + 1];
	uint64_t lin = linear_pc(c);
	struct x86_insn insn;
	int r = 0;

	if (c->code64 && !x86_canonical(lin))
		x86_raise_gp0(c);
	for (unsigned n = 0; n < sizeof(bytes) && r == 0;) {
		const uint8_t *host = x86_fetch_ptr(c, x86_lin_wrap(c, lin + n));

		bytes[n] = host ? *host : x86_fetch_mmio(c, x86_lin_wrap(c, lin + n));
		r = x86_decode(bytes, ++n, c->mode, c->features, &insn);
	}
	if (r <= 0)
		x86_raise_gp0(c);
	check_limit(c, &insn);
	exec_insn(c, &insn);
}

int interp_step(struct x86_cpu *c)
{
	c->start_rip = c->rip;
	if (_setjmp(c->fault_jmp))
		return 1;
	step(c);
	return 0;
}

void interp_step_whole(struct x86_cpu *c)
{
	uint8_t shadow = c->int_shadow;

	c->start_rip = c->rip;
	if (_setjmp(c->fault_jmp)) {
		x86_deliver_exception(c);
		return;
	}
	x86_before_insn(c);
	step(c);
	c->int_shadow &= ~shadow;
	x86_after_insn(c);
}

const struct engine_desc interp_engine = {
	.name = "interp",
	.title = "interpreter: every instruction by a plain C function (slow, the reference)",
	.vcpu_init = interp_vcpu_init,
	.vcpu_fini = interp_vcpu_fini,
	.run = interp_run,
	.debug_changed = interp_debug_changed,
};
