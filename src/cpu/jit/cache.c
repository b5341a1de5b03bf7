/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The code cache of one vCPU: memory with a writable and an executable view,
 * filled in segments that are evicted oldest first; the blocks in it, found by
 * address, by backing page, and by the jumps that lead to them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/cpu/jit/jit_priv.h"

#define ARENA_BYTES (64u << 10)

int jit_cache_init(struct jit *j, size_t size, struct err *err)
{
	size_t part;

	j->size = size;
	j->fd = memfd_create("bothy-jit", MFD_CLOEXEC);
	if (j->fd < 0 || ftruncate(j->fd, (off_t)size) != 0)
		return err_set(err, -errno, "cannot make the code cache: %s", strerror(errno));
	j->rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, j->fd, 0);
	j->rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, j->fd, 0);
	j->by_page = mmap(NULL, j->npages * sizeof(*j->by_page), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (j->rw == MAP_FAILED || j->rx == MAP_FAILED || j->by_page == MAP_FAILED)
		return err_set(err, -errno,
			       "cannot map the code cache (%zu KiB): %s; a policy that forbids "
			       "executable memory makes --engine interp the only choice",
			       size >> 10, strerror(errno));
	j->a = (struct asm_buf){ .p = j->rw, .end = j->rw + size, .rx = j->rx - j->rw };
	jit_emit_thunks(j);
	part = (size_t)(j->rw + size - j->a.p) / JIT_SEGMENTS;
	for (unsigned n = 0; n < JIT_SEGMENTS; n++) {
		j->seg[n].start = j->a.p + n * part;
		j->seg[n].end = j->seg[n].start + part;
	}
	j->a.end = j->seg[0].end;
	return 0;
}

static void arenas_free(struct jit_segment *s)
{
	while (s->arena) {
		struct jit_arena *next = s->arena->next;

		free(s->arena);
		s->arena = next;
	}
}

void jit_cache_fini(struct jit *j)
{
	for (unsigned n = 0; n < JIT_SEGMENTS; n++)
		arenas_free(&j->seg[n]);
	if (j->rw && j->rw != MAP_FAILED)
		munmap(j->rw, j->size);
	if (j->rx && j->rx != MAP_FAILED)
		munmap(j->rx, j->size);
	if (j->by_page && (void *)j->by_page != MAP_FAILED)
		munmap(j->by_page, j->npages * sizeof(*j->by_page));
	if (j->fd >= 0)
		close(j->fd);
}

void *jit_meta(struct jit *j, size_t size)
{
	struct jit_segment *s = &j->seg[j->segment];
	struct jit_arena *a = s->arena;
	void *p;

	size = align_up(size, 16);
	if (!a || a->used + size > a->size) {
		a = malloc(sizeof(*a) + ARENA_BYTES);
		if (!a)
			return NULL;
		a->used = 0;
		a->size = ARENA_BYTES;
		a->next = s->arena;
		s->arena = a;
	}
	p = a->data + a->used;
	a->used += size;
	return p;
}

static unsigned slot_of(uint64_t lin)
{
	return (unsigned)((lin * 0x9e3779b97f4a7c15ull) >> 40) & (JIT_HASH_SLOTS - 1);
}

struct jit_block *jit_find(struct jit *j, uint64_t lin, uint32_t key, uint64_t page, uint64_t page2)
{
	struct jit_block *b = j->hash[slot_of(lin)];

	/* page2 ~0: not looked up yet; the caller checks. */
	for (; b; b = b->hash_next)
		if (b->lin == lin && b->key == key && b->page == page &&
		    (page2 == ~0ull || b->page2 == page2))
			return b;
	return NULL;
}

void jit_insert(struct jit *j, struct jit_block *b)
{
	struct jit_block **h = &j->hash[slot_of(b->lin)];
	struct jit_segment *s = &j->seg[j->segment];

	b->hash_next = *h;
	*h = b;
	b->page_next = j->by_page[b->page];
	j->by_page[b->page] = b;
	if (b->page2 != b->page) {
		b->page2_next = j->by_page[b->page2];
		j->by_page[b->page2] = b;
	}
	b->segment = (uint8_t)j->segment;
	b->segment_next = s->blocks;
	s->blocks = b;
}

static void unlink_one(struct jit_link *l)
{
	struct jit_link **p = &l->to->in;

	while (*p != l)
		p = &(*p)->next_in;
	*p = l->next_in;
	l->to = NULL;
	a_set_rel(l->place, l->stub);
}

void jit_link_to(struct jit *j, struct jit_link *l, struct jit_block *b)
{
	if (l->to || l->from->dead || b->dead)
		return;
	l->to = b;
	l->next_in = b->in;
	b->in = l;
	a_set_rel(l->place, l->flags_live ? b->entry_live : b->entry_saved);
	j->stats.links++;
}

/* The next block of @page's list. */
static struct jit_block **next_on_page(struct jit_block *b, uint64_t page)
{
	return b->page == page ? &b->page_next : &b->page2_next;
}

static void take_off_page(struct jit *j, struct jit_block *b, uint64_t page)
{
	struct jit_block **p = &j->by_page[page];

	while (*p && *p != b)
		p = next_on_page(*p, page);
	if (*p)
		*p = *next_on_page(b, page);
}

/* Nothing leads to the block any more. Its code stays where it is: it may be
 * what is running. */
static void kill(struct jit *j, struct jit_block *b)
{
	struct jit_block **h = &j->hash[slot_of(b->lin)];
	struct x86_jump *slot =
		&j->cpu->jit.jump[JIT_KEY_CLASS(b->key)][b->rip & (X86_JUMP_SLOTS - 1)];

	while (*h && *h != b)
		h = &(*h)->hash_next;
	if (*h)
		*h = b->hash_next;
	take_off_page(j, b, b->page);
	if (b->page2 != b->page)
		take_off_page(j, b, b->page2);
	while (b->in)
		unlink_one(b->in);
	for (unsigned n = 0; n < 2; n++)
		if (b->link[n].to)
			unlink_one(&b->link[n]);
	if (slot->rip == b->rip)
		slot->rip = jit_no_jump(b->rip & (X86_JUMP_SLOTS - 1));
	b->dead = true;
}

void jit_invalidate(struct jit *j, uint64_t page, uint64_t chunks)
{
	struct jit_block *b = j->by_page[page], *next;

	for (; b; b = next) {
		uint64_t has = b->page == page ? b->chunks : b->chunks2;

		next = *next_on_page(b, page);
		if (has & chunks) {
			kill(j, b);
			j->stats.invalidations++;
		}
	}
}

static void evict(struct jit *j, unsigned n)
{
	struct jit_segment *s = &j->seg[n];

	for (struct jit_block *b = s->blocks; b; b = b->segment_next)
		if (!b->dead)
			kill(j, b);
	s->blocks = NULL;
	arenas_free(s);
}

void jit_next_segment(struct jit *j)
{
	j->segment = (j->segment + 1) % JIT_SEGMENTS;
	if (j->seg[j->segment].blocks)
		j->stats.evictions++;
	evict(j, j->segment);
	j->a.p = j->seg[j->segment].start;
	j->a.end = j->seg[j->segment].end;
	j->a.full = false;
	j->cpu->jit.link = 0; /* may have been in what is gone */
}

void jit_drop_all(struct jit *j)
{
	for (unsigned n = 0; n < JIT_SEGMENTS; n++)
		evict(j, n);
	jit_clear_jumps(j);
	j->segment = 0;
	j->a.p = j->seg[0].start;
	j->a.end = j->seg[0].end;
	j->a.full = false;
	j->cpu->jit.link = 0;
}

void jit_clear_jumps_of(struct jit *j, unsigned cls)
{
	for (unsigned n = 0; n < X86_JUMP_SLOTS; n++)
		j->cpu->jit.jump[cls][n].rip = jit_no_jump(n);
}

void jit_clear_jumps(struct jit *j)
{
	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++)
		jit_clear_jumps_of(j, cls);
}
