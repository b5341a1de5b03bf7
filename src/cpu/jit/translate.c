/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a block: its guest code is read and watched, decoded, and host code emitted. */
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/jit/emit.h"
#include "src/cpu/x86/access.h"

#define REWRITE_BLOCKS 512 /* of a page that is rewritten often, before all are dropped */
#define MAX_BYTES (JIT_MAX_INSNS * X86_MAX_INSN)

static uint64_t chunks_of(unsigned off, unsigned len)
{
	unsigned first = off / 64, last = (off + len - 1) / 64;

	return low_mask(last - first + 1) << first;
}

/* A run of a page that is rewritten often. False: none that lies in the page. */
static bool read_checked_run(struct jit *j, const uint8_t *host, uint8_t *bytes, unsigned avail,
			     struct jit_block *b, struct jit_run *run)
{
	memcpy(bytes, host, avail);
	if (!jit_decode(j->cpu, bytes, avail, b->key, j->cpu->rip, run))
		return false;
	jit_limit_page(j, b->page, REWRITE_BLOCKS); /* stale ones do not go by themselves */
	jit_cut_at_store(run, b->key);
	b->chunks = chunks_of(b->lin & 0xfff, run->bytes);
	b->checked = true;
	b->code = bytes;
	return true;
}

/* Decodes at @host into @bytes with the page watched; false if one instruction
 * straddles into a page that is not memory. */
static bool read_run(struct jit *j, uint64_t lin, const uint8_t *host, uint8_t *bytes,
		     struct jit_block *b, struct jit_run *run)
{
	struct x86_cpu *c = j->cpu;
	unsigned off = lin & 0xfff, avail = min_of((unsigned)MAX_BYTES, 4096 - off);
	const uint8_t *host2;

	b->page = b->page2 = mem_page_of(c->mem, host);
	b->chunks2 = 0;
	if (jit_often_rewritten(j, b->page) && read_checked_run(j, host, bytes, avail, b, run))
		return true;
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

struct jit_block *jit_translate(struct jit *j, uint64_t lin, uint32_t key, const uint8_t *host,
				const struct fl_def *def)
{
	struct x86_cpu *c = j->cpu;
	uint8_t bytes[MAX_BYTES];
	struct jit_run run;
	struct jit_block head = { .rip = c->rip, .lin = lin, .key = key }, *b;

	if (!read_run(j, lin, host, bytes, &head, &run))
		return NULL;
	if (!c->code64 && c->rip + run.bytes - 1 > c->seg[X86_CS].limit)
		return NULL;
	head.bytes = (uint16_t)run.bytes;
	head.ninsns = (uint16_t)run.count;
	jit_plan_groups(&run, key);
	jit_analyse(&run);
	if (def) {
		if (head.checked || head.page != head.page2 || !jit_def_lasts(&run, def))
			return NULL;
		head.def = *def;
	}
	for (unsigned tries = 0; tries < 2; tries++) {
		uint8_t *start = j->a.p, *cold = j->cold.p;

		b = jit_meta(j, sizeof(*b));
		if (!b)
			return NULL;
		*b = head;
		if (jit_emit_block(j, b, &run)) {
			jit_insert(j, b);
			j->stats.translations++;
			j->stats.translated_insns += run.count;
			if (unlikely(j->trace))
				jit_trace_block(j, b, &run);
			return b;
		}
		j->a.p = start;
		j->cold.p = cold;
		jit_next_segment(j);
	}
	return NULL;
}
