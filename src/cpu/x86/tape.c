/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cpu/x86/tape.h"

#include <stdlib.h>

struct x86_tape *x86_tape_new(void)
{
	return calloc(1, sizeof(struct x86_tape));
}

void x86_tape_free(struct x86_tape *t)
{
	if (t)
		free(t->entry);
	free(t);
}

void x86_tape_clear(struct x86_tape *t)
{
	t->count = t->next = 0;
	t->nstores = t->nentries = 0;
	t->lost = false;
}

void x86_tape_record(struct x86_cpu *c, enum x86_tape_kind kind, uint64_t what, uint64_t value)
{
	struct x86_tape *t = c->tape;

	if (t->count == t->size) {
		size_t size = t->size ? 2 * t->size : 1024;
		struct x86_tape_entry *e = realloc(t->entry, size * sizeof(*e));

		if (!e) {
			t->lost = true;
			return;
		}
		t->entry = e;
		t->size = size;
	}
	t->entry[t->count++] = (struct x86_tape_entry){ what, value, kind };
}

uint64_t x86_tape_take(struct x86_cpu *c, enum x86_tape_kind kind, uint64_t what)
{
	struct x86_tape *t = c->tape;
	const struct x86_tape_entry *e = &t->entry[t->next];

	if (t->next == t->count || e->kind != kind || e->what != what) {
		t->lost = true;
		return ~0ull;
	}
	t->next++;
	return e->value;
}

void x86_tape_same(struct x86_cpu *c, enum x86_tape_kind kind, uint64_t what, uint64_t value)
{
	bool there = c->tape->next < c->tape->count;

	if (x86_tape_take(c, kind, what) != value || !there)
		c->tape->lost = true;
}

static struct x86_tape_store range_of(const struct x86_cpu *c, const void *host, unsigned size)
{
	return (struct x86_tape_store){ (uint64_t)((const uint8_t *)host - c->mem->window), size };
}

bool x86_tape_stored(struct x86_cpu *c, const void *host, unsigned size)
{
	struct x86_tape *t = c->tape;
	uint64_t page = mem_page_of(c->mem, host);

	if (!c->follows)
		return true;
	if (t->nstores < X86_TAPE_STORES)
		t->store[t->nstores] = range_of(c, host, size);
	if (t->nstores <= X86_TAPE_STORES)
		t->nstores++;
	return atomic_load_explicit(&c->mem->page_flags[page], memory_order_relaxed) &
	       MEM_PAGE_CODE;
}

void x86_tape_page_entry(struct x86_cpu *c, const void *host, unsigned size)
{
	struct x86_tape *t = c->tape;

	/* Not one of the follower's own stores, then. */
	if (c->follows && t->nstores && t->nstores <= X86_TAPE_STORES)
		t->nstores--;
	if (t->nentries < X86_TAPE_STORES)
		t->entries[t->nentries++] = range_of(c, host, size);
	else
		t->nstores = X86_TAPE_STORES + 1;
}
