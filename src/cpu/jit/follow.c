/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the engine that checks this one asks of it; see jit.h. */
#include "src/cpu/jit/jit_priv.h"

void jit_follow(struct vcpu *v, jit_follower fn, void *opaque)
{
	struct jit *j = v->x86->engine_priv;

	j->follower = fn;
	j->follower_opaque = opaque;
}

void jit_plant_bug(struct vcpu *v, enum jit_plant what)
{
	struct jit *j = v->x86->engine_priv;

	j->plant = what;
}

static uint64_t ring(const struct vcpu *v, unsigned n)
{
	return v->x86->jit.ring[n];
}

void jit_ran(const struct vcpu *v, unsigned budget, uint64_t *before, unsigned *last)
{
	unsigned left = v->x86->jit.budget;

	*before = 0;
	*last = left < budget ? JIT_RAN_INSNS(ring(v, left)) : 0;
	for (unsigned n = left + 1; n < budget; n++)
		*before += JIT_RAN_INSNS(ring(v, n));
}

/* Decoded once more, from what stands in memory now. */
static void list_block(const struct x86_cpu *c, const struct jit_block *b, FILE *f)
{
	const uint8_t *page = c->mem->window + (b->page << MEM_PAGE_SHIFT);
	const uint8_t *page2 = c->mem->window + (b->page2 << MEM_PAGE_SHIFT);
	uint8_t bytes[2 * X86_MAX_INSN * JIT_MAX_INSNS];
	unsigned off = b->lin & 0xfff, first = min_of((unsigned)b->bytes, 4096 - off);
	struct jit_run run;

	memcpy(bytes, page + off, first);
	memcpy(bytes + first, page2, b->bytes - first);
	jit_decode(c, bytes, b->bytes, b->key, b->rip, &run);
	jit_list_run(f, b, &run);
}

void jit_list(const struct vcpu *v, unsigned budget, FILE *f)
{
	for (unsigned n = budget; n-- > v->x86->jit.budget;)
		list_block(v->x86, JIT_RAN_BLOCK(ring(v, n)), f);
}
