/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stays of a TLB while another address space is the current one (PCIDs: SDM vol. 3,
 * 4.10.1). The tables hold the current space only. A switch puts the entries that were
 * filled last aside and fetches those of the space that comes, if it was told to keep
 * them: a few dozen copies instead of as many page walks. Global entries stay where they
 * are.
 */
#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/x86.h"

static struct x86_space *find(struct x86_cpu *c, unsigned pcid)
{
	for (unsigned n = 0; n < X86_SPACES; n++)
		if (c->space[n].count && c->space[n].pcid == pcid)
			return &c->space[n];
	return NULL;
}

/* The space's place, an empty one, or that of the space that is gone longest. */
static struct x86_space *place_for(struct x86_cpu *c, unsigned pcid)
{
	struct x86_space *s = find(c, pcid), *best = &c->space[0];

	if (s)
		return s;
	for (unsigned n = 0; n < X86_SPACES; n++) {
		s = &c->space[n];
		if (!s->count)
			return s;
		if (s->left < best->left)
			best = s;
	}
	return best;
}

static void put_aside(struct x86_cpu *c, unsigned pcid)
{
	struct x86_space *s = place_for(c, pcid);
	unsigned room = X86_SPACE_ENTRIES;

	s->pcid = (uint16_t)pcid;
	s->left = ++c->space_clock;
	s->count = 0;
	/* Each class may have half of what is left, the last one all. */
	for (unsigned cls = X86_TLB_CLASSES; cls-- > 0;) {
		const struct x86_tlb_set *set = &c->tlb_set[cls];
		unsigned share = cls == X86_TLB_KERNEL ? room : room / 2;
		unsigned take = min_of(set->used[0], share);

		for (unsigned k = set->used[0] - take; k < set->used[0]; k++) {
			unsigned index = set->list[0][k];

			s->entry[s->count++] = (struct x86_space_entry){
				.tlb = c->tlbs[cls][index], .side = c->tlb_side[cls][index],
				.cls = (uint8_t)cls,
			};
		}
		room -= take;
	}
}

static void fetch(struct x86_cpu *c, struct x86_space *s)
{
	for (unsigned k = 0; k < s->count; k++) {
		const struct x86_space_entry *e = &s->entry[k];
		unsigned index = e->side.page >> 12 & (X86_TLB_ENTRIES - 1);
		struct x86_tlb_entry *t = &c->tlbs[e->cls][index];

		if (c->tlb_side[e->cls][index].flags)
			continue; /* a global one lives there now */
		x86_tlb_put(c, e->cls, index, &e->tlb, &e->side);
		/* Code may have been found in the page meanwhile. */
		if (t->tag_w == e->side.page && c->tag_code && x86_has_code(c, t->host))
			t->tag_w = X86_TLB_NONE(index);
	}
	s->count = 0;
}

void x86_space_switch(struct x86_cpu *c, unsigned from, unsigned to, bool keep)
{
	const struct engine_desc *engine = c->cpus ? c->cpus->engine : NULL;
	struct x86_space *s;

	if (from == to && keep)
		return;
	if (from != to)
		put_aside(c, from);
	x86_tlb_drop(c);
	s = find(c, to);
	if (s && keep)
		fetch(c, s);
	else if (s)
		s->count = 0;
	c->tlb_epoch++;
	if (engine && engine->space_switched)
		engine->space_switched(c, from, to, keep);
	else if (engine && engine->tlb_flushed)
		engine->tlb_flushed(c, CPU_FLUSH_NONGLOBAL, 0);
}

void x86_space_forget(struct x86_cpu *c, unsigned pcid)
{
	const struct engine_desc *engine = c->cpus ? c->cpus->engine : NULL;

	for (unsigned n = 0; n < X86_SPACES; n++)
		if (pcid == X86_SPACE_ALL || c->space[n].pcid == pcid)
			c->space[n].count = 0;
	if (engine && engine->space_switched)
		engine->tlb_flushed(c, CPU_FLUSH_SPACE, pcid);
}
