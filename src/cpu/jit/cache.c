/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The code cache of one vCPU: memory with a writable and an executable view,
 * filled in segments that are evicted oldest first; the blocks in it, found by
 * address, by backing page, and by the jumps that lead to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/cpu/jit/jit_priv.h"

#define ARENA_BYTES (64u << 10)
/* Of 32 parts of a segment those for straight paths: what kernels and compilers come to. */
#define COLD_AT 15u

static void begin_segment(struct jit *j, unsigned n)
{
	j->segment = n;
	j->a.p = j->seg[n].start;
	j->a.end = j->seg[n].cold;
	j->cold.p = j->seg[n].cold;
	j->cold.end = j->seg[n].end;
	j->a.full = j->cold.full = false;
	j->cpu->jit.link = 0; /* may have been in what is gone */
}

static uint64_t segment_used(const struct jit *j, unsigned n)
{
	const struct jit_segment *s = &j->seg[n];

	if (n == j->segment)
		return (uint64_t)(j->a.p - s->start) + (uint64_t)(j->cold.p - s->cold);
	return s->blocks ? (uint64_t)(s->end - s->start) : 0;
}

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
	j->rewrites = mmap(NULL, j->npages * sizeof(*j->rewrites), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (j->rw == MAP_FAILED || j->rx == MAP_FAILED || j->by_page == MAP_FAILED ||
	    j->rewrites == MAP_FAILED)
		return err_set(err, -errno,
			       "cannot map the code cache (%zu KiB): %s; a policy that forbids "
			       "executable memory makes --engine interp the only choice",
			       size >> 10, strerror(errno));
	j->a = (struct asm_buf){ .p = j->rw, .end = j->rw + size, .rx = j->rx - j->rw };
	jit_emit_thunks(j);
	jit_trace_thunks(j, j->rw, j->a.p);
	part = (size_t)(j->rw + size - j->a.p) / JIT_SEGMENTS;
	for (unsigned n = 0; n < JIT_SEGMENTS; n++) {
		j->seg[n].start = j->a.p + n * part;
		j->seg[n].end = j->seg[n].start + part;
		j->seg[n].cold = j->seg[n].start + part / 32 * COLD_AT;
	}
	j->cold = j->a;
	begin_segment(j, 0);
	return 0;
}

/* Segments that were full when they were left count whole. */
uint64_t jit_cache_used(const struct jit *j)
{
	uint64_t used = (uint64_t)(j->seg[0].start - j->rw);

	for (unsigned n = 0; n < JIT_SEGMENTS; n++)
		used += segment_used(j, n);
	return used;
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
	if (j->rewrites && (void *)j->rewrites != MAP_FAILED)
		munmap(j->rewrites, j->npages * sizeof(*j->rewrites));
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

/* The page of memory counts, too: processes share addresses, not what stands there. */
static unsigned slot_of(uint64_t lin, uint64_t page)
{
	return (unsigned)(((lin ^ page << 32) * 0x9e3779b97f4a7c15ull) >> 40) &
	       (JIT_HASH_SLOTS - 1);
}

struct jit_block *jit_find(struct jit *j, uint64_t lin, uint32_t key, uint64_t page, uint64_t page2)
{
	struct jit_block *b = j->hash[slot_of(lin, page)];

	/* page2 ~0: not looked up yet; the caller checks. */
	for (; b; b = b->hash_next)
		if (b->lin == lin && b->key == key && b->page == page && b->def.kind == DEF_NONE &&
		    (page2 == ~0ull || b->page2 == page2))
			return b;
	return NULL;
}

static bool same_def(const struct fl_def *a, const struct fl_def *b)
{
	return a->kind == b->kind && a->size == b->size && a->a == b->a && a->imm == b->imm &&
	       (a->imm ? a->value == b->value : a->b == b->b);
}

struct jit_block *jit_find_twin(struct jit *j, const struct jit_block *b,
				const struct fl_def *def)
{
	struct jit_block *t = j->hash[slot_of(b->lin, b->page)];

	while (t && !(t->lin == b->lin && t->key == b->key && t->page == b->page &&
		      t->page2 == b->page2 && same_def(&t->def, def)))
		t = t->hash_next;
	return t;
}

/* The next block of @page's list, and what points to @b there. Lists of pages that many
 * processes share are long. */
static struct jit_block **next_on_page(struct jit_block *b, uint64_t page)
{
	return b->page == page ? &b->page_next : &b->page2_next;
}

static struct jit_block ***at_on_page(struct jit_block *b, uint64_t page)
{
	return b->page == page ? &b->page_at : &b->page2_at;
}

static void put_on_page(struct jit *j, struct jit_block *b, uint64_t page)
{
	struct jit_block **first = &j->by_page[page], **next = next_on_page(b, page);

	*next = *first;
	if (*next)
		*at_on_page(*next, page) = next;
	*at_on_page(b, page) = first;
	*first = b;
}

static void take_off_page(struct jit *j, struct jit_block *b, uint64_t page)
{
	struct jit_block *next = *next_on_page(b, page), **at = *at_on_page(b, page);

	*at = next;
	if (next)
		*at_on_page(next, page) = at;
}

void jit_insert(struct jit *j, struct jit_block *b)
{
	struct jit_block **h = &j->hash[slot_of(b->lin, b->page)];
	struct jit_segment *s = &j->seg[j->segment];

	b->hash_next = *h;
	*h = b;
	put_on_page(j, b, b->page);
	if (b->page2 != b->page)
		put_on_page(j, b, b->page2);
	b->segment = (uint8_t)j->segment;
	b->segment_next = s->blocks;
	s->blocks = b;
}

static void unlink_one(struct jit_link *l)
{
	*l->in_at = l->next_in;
	if (l->next_in)
		l->next_in->in_at = l->in_at;
	l->to = NULL;
	a_set_rel(l->place, l->stub);
}

void jit_link_to(struct jit *j, struct jit_link *l, struct jit_block *b)
{
	if (l->to || l->from->dead || b->dead)
		return;
	l->to = b;
	l->next_in = b->in;
	if (b->in)
		b->in->in_at = &l->next_in;
	l->in_at = &b->in;
	b->in = l;
	a_set_rel(l->place, l->flags_live ? b->entry_live : b->entry_saved);
	j->stats.links++;
}

/* Nothing leads to the block any more. Its code stays where it is: it may be
 * what is running. */
static void kill(struct jit *j, struct jit_block *b)
{
	struct jit_block **h = &j->hash[slot_of(b->lin, b->page)];
	unsigned n = jit_jump_slot(b->rip);
	struct x86_jump *slot = &j->cpu->jit.jump[JIT_KEY_CLASS(b->key)][n];

	while (*h && *h != b)
		h = &(*h)->hash_next;
	if (*h)
		*h = b->hash_next;
	take_off_page(j, b, b->page);
	if (b->page2 != b->page)
		take_off_page(j, b, b->page2);
	while (b->in)
		unlink_one(b->in);
	for (struct jit_link *l = b->links; l; l = l->next)
		if (l->to)
			unlink_one(l);
	if (slot->rip == b->rip)
		slot->rip = jit_no_jump(n);
	b->dead = true;
	j->deaths++;
}

bool jit_invalidate(struct jit *j, uint64_t page, uint64_t chunks)
{
	struct jit_block *b = j->by_page[page], *next;
	bool any = false;

	for (; b; b = next) {
		uint64_t has = b->page == page ? b->chunks : b->chunks2;

		next = *next_on_page(b, page);
		if (has & chunks && !b->checked) {
			kill(j, b);
			j->stats.invalidations++;
			any = true;
		}
	}
	return any;
}

void jit_limit_page(struct jit *j, uint64_t page, unsigned most)
{
	unsigned n = 0;

	for (struct jit_block *b = j->by_page[page]; b && n < most; b = *next_on_page(b, page))
		n++;
	while (n == most && j->by_page[page])
		kill(j, j->by_page[page]);
}

/* A block that is not running. Its room is used again if it was made last. */
void jit_discard(struct jit *j, struct jit_block *b)
{
	kill(j, b);
	j->stats.invalidations++;
	if (b->segment == j->segment && b->end == j->a.p && b->cold_end == j->cold.p) {
		j->a.p = b->start;
		j->cold.p = b->cold;
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
	unsigned n = (j->segment + 1) % JIT_SEGMENTS;

	if (j->seg[n].blocks)
		j->stats.evictions++;
	evict(j, n);
	begin_segment(j, n);
}

/* The code of a guest that idles is a fraction of this. */
#define IDLE_BYTES (2u << 20)

static void give_back(struct jit *j, unsigned n)
{
	struct jit_segment *s = &j->seg[n];
	off_t from = (off_t)align_up((uint64_t)(s->start - j->rw), MEM_PAGE_SIZE);
	off_t to = (off_t)align_down((uint64_t)(s->end - j->rw), MEM_PAGE_SIZE);

	evict(j, n);
	j->cpu->jit.link = 0; /* may have been in what is gone */
	/* Where that cannot be done the memory stays: no harm. */
	if (to > from)
		fallocate(j->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
	malloc_trim(0);
}

/* The oldest code goes, and its memory back to the host. What is still wanted is
 * translated again, into the newest segment. */
void jit_cache_trim(struct jit *j)
{
	for (unsigned k = 1; k < JIT_SEGMENTS; k++) {
		unsigned n = (j->segment + k) % JIT_SEGMENTS;

		if (j->seg[n].blocks) {
			give_back(j, n);
			return;
		}
	}
	if (segment_used(j, j->segment) > IDLE_BYTES)
		jit_next_segment(j); /* and next time the one that was the newest goes */
}

void jit_drop_all(struct jit *j)
{
	for (unsigned n = 0; n < JIT_SEGMENTS; n++)
		evict(j, n);
	jit_jumps_flush(j, CPU_FLUSH_ALL, 0);
	begin_segment(j, 0);
}

void jit_cut_at(struct jit *j, uint64_t lin)
{
	for (unsigned n = 0; n < JIT_SEGMENTS; n++)
		for (struct jit_block *b = j->seg[n].blocks; b; b = b->segment_next)
			if (!b->dead && lin - b->lin < b->bytes)
				kill(j, b);
}

/*
 * The jump caches: one per TLB class; each holds blocks of one key (another mode or
 * another set of flat segments at the same address is another block).
 */
void jit_jumps_init(struct jit *j)
{
	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++) {
		struct x86_jump *jump = j->cpu->jit.jump[cls];

		/* Of an engine before this one there may be something. */
		for (unsigned n = 0; n <= X86_JUMP_SLOTS; n++)
			if (jump[n].rip != jit_no_jump(n))
				jump[n].rip = jit_no_jump(n);
		/* All addresses look there while requests wait: a guest may jump to this one. */
		jump[0].entry = j->leave_slot0;
	}
}

/* May the list hold an entry that INVLPG of @lin drops? The marks are of every page and
 * every large page's region that has gone in since the list was empty. */
static bool jumps_near(const struct jit_jumps *s, bool global, uint64_t lin)
{
	unsigned page = lin >> 12 & (JIT_JUMP_MARKS - 1), region = lin >> 21 & (JIT_JUMP_MARKS - 1);

	return s->huge[global] || s->pages[global][page / 64] >> page % 64 & 1 ||
	       s->regions[global][region / 64] >> region % 64 & 1;
}

static void mark_jump(struct jit_jumps *s, uint64_t lin, uint8_t info)
{
	bool global = info & JIT_JUMP_GLOBAL;
	unsigned page = lin >> 12 & (JIT_JUMP_MARKS - 1), region = lin >> 21 & (JIT_JUMP_MARKS - 1);

	if ((info & JIT_JUMP_SHIFT) > 21)
		s->huge[global] = true;
	/* The second of two pages may be of another size. */
	if ((info & JIT_JUMP_SHIFT) == 21 || info & JIT_JUMP_STRADDLES)
		s->regions[global][region / 64] |= 1ull << region % 64;
	if ((info & JIT_JUMP_SHIFT) == 12 || info & JIT_JUMP_STRADDLES)
		s->pages[global][page / 64] |= 1ull << page % 64;
}

static bool jump_stays(uint8_t info, uint64_t rip, enum cpu_flush what, uint64_t lin)
{
	return what == CPU_FLUSH_PAGE && !(info & JIT_JUMP_STRADDLES) &&
	       (rip ^ lin) >> (info & JIT_JUMP_SHIFT) != 0;
}

/* Those of global pages (@global), or the others. */
static void flush_jumps_of(struct jit *j, unsigned cls, bool global, enum cpu_flush what,
			   uint64_t lin)
{
	struct x86_jump *jump = j->cpu->jit.jump[cls];
	struct jit_jumps *s = &j->jumps[cls];
	uint16_t *list = s->list[global];
	unsigned kept = 0;

	if (what == CPU_FLUSH_PAGE && !jumps_near(s, global, lin))
		return;
	for (unsigned k = 0; k < s->used[global]; k++) {
		unsigned n = list[k];

		if (jump_stays(s->info[n], jump[n].rip, what, lin)) {
			list[kept++] = (uint16_t)n;
		} else {
			jump[n].rip = jit_no_jump(n);
			s->info[n] = 0;
		}
	}
	s->used[global] = kept;
	if (!kept) {
		memset(s->pages[global], 0, sizeof(s->pages[global]));
		memset(s->regions[global], 0, sizeof(s->regions[global]));
		s->huge[global] = false;
	}
}

static void forget_spaces(struct jit *j, uint64_t pcid)
{
	for (unsigned n = 0; n < X86_SPACES; n++)
		if (pcid == X86_SPACE_ALL || j->space[n].pcid == pcid)
			j->space[n].count = 0;
}

void jit_jumps_flush(struct jit *j, enum cpu_flush what, uint64_t lin)
{
	if (what == CPU_FLUSH_SPACE || what == CPU_FLUSH_ALL)
		forget_spaces(j, what == CPU_FLUSH_SPACE ? lin : X86_SPACE_ALL);
	if (what == CPU_FLUSH_SPACE)
		return;
	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++) {
		flush_jumps_of(j, cls, false, what, lin);
		if (what != CPU_FLUSH_NONGLOBAL)
			flush_jumps_of(j, cls, true, what, lin);
	}
}

/* Lists the slot among those of its kind; it may be in the other list. */
static void list_slot(struct jit_jumps *s, unsigned n, uint8_t info)
{
	bool global = info & JIT_JUMP_GLOBAL;

	if (s->info[n] && !(s->info[n] & JIT_JUMP_GLOBAL) == global) {
		uint16_t *list = s->list[!global];
		unsigned k = 0;

		while (list[k] != n)
			k++;
		list[k] = list[--s->used[!global]];
		s->info[n] = 0;
	}
	if (!s->info[n])
		s->list[global][s->used[global]++] = (uint16_t)n;
	s->info[n] = info;
}

/* The block was just found through the TLB. */
void jit_jump_add(struct jit *j, const struct jit_block *b)
{
	struct x86_cpu *c = j->cpu;
	unsigned cls = JIT_KEY_CLASS(b->key), n = jit_jump_slot(b->rip);
	unsigned fetch = b->key & JIT_KEY_USER ? X86_TLB_USER : X86_TLB_KERNEL;
	uint32_t f = c->tlb_side[fetch][b->lin >> 12 & (X86_TLB_ENTRIES - 1)].flags;
	struct jit_jumps *s = &j->jumps[cls];
	uint8_t info = f & X86_TLBF_1G	      ? 30
		       : !(f & X86_TLBF_2M)   ? 12
		       : c->cr4 & X86_CR4_PAE ? 21
					      : 22;

	if (s->key != b->key) {
		flush_jumps_of(j, cls, false, CPU_FLUSH_ALL, 0);
		flush_jumps_of(j, cls, true, CPU_FLUSH_ALL, 0);
		s->key = b->key;
	}
	if (b->page != b->page2)
		info |= JIT_JUMP_STRADDLES;
	else if (f & X86_TLBF_GLOBAL)
		info |= JIT_JUMP_GLOBAL;
	list_slot(s, n, info);
	mark_jump(s, b->lin, info);
	if (info & JIT_JUMP_STRADDLES)
		mark_jump(s, b->lin + 4096, info);
	c->jit.jump[cls][n] =
		(struct x86_jump){ .rip = b->rip, .entry = jit_rx(j, b->entry_saved) };
}

/*
 * Address spaces that are not the current one: the jumps that were added last, as spaces.c
 * does it with translations.
 */
static struct jit_space *space_for(struct jit *j, unsigned pcid)
{
	struct jit_space *best = &j->space[0];

	for (unsigned n = 0; n < X86_SPACES; n++)
		if (j->space[n].count && j->space[n].pcid == pcid)
			return &j->space[n];
	for (unsigned n = 0; n < X86_SPACES; n++) {
		struct jit_space *s = &j->space[n];

		if (!s->count)
			return s;
		if (s->left < best->left)
			best = s;
	}
	return best;
}

static void put_jumps_aside(struct jit *j, unsigned pcid)
{
	struct jit_space *sp = space_for(j, pcid);
	unsigned room = JIT_SPACE_JUMPS;

	sp->pcid = (uint16_t)pcid;
	sp->left = ++j->space_clock;
	sp->deaths = j->deaths;
	sp->count = 0;
	for (unsigned cls = X86_TLB_CLASSES; cls-- > 0;) {
		const struct jit_jumps *s = &j->jumps[cls];
		unsigned take = min_of(s->used[0], cls == X86_TLB_KERNEL ? room : room / 2);

		sp->key[cls] = s->key;
		for (unsigned k = s->used[0] - take; k < s->used[0]; k++) {
			unsigned n = s->list[0][k];
			struct x86_jump jump = j->cpu->jit.jump[cls][n];

			/* What hangs from two pages may hang from a global one; and a block
			 * that died left its slot empty. */
			if (s->info[n] & JIT_JUMP_STRADDLES || jump.rip == jit_no_jump(n))
				continue;
			sp->jump[sp->count++] = (struct jit_space_jump){
				jump, (uint16_t)n, (uint8_t)cls, s->info[n],
			};
		}
		room -= take;
	}
}

static void fetch_jumps(struct jit *j, struct jit_space *sp)
{
	for (unsigned k = 0; k < sp->count; k++) {
		const struct jit_space_jump *e = &sp->jump[k];
		struct jit_jumps *s = &j->jumps[e->cls];

		if (s->info[e->slot] || s->key != sp->key[e->cls])
			continue;
		list_slot(s, e->slot, e->info);
		mark_jump(s, e->jump.rip, e->info);
		j->cpu->jit.jump[e->cls][e->slot] = e->jump;
	}
}

void jit_jumps_switch(struct jit *j, unsigned from, unsigned to, bool keep)
{
	struct jit_space *sp;

	if (from != to)
		put_jumps_aside(j, from);
	jit_jumps_flush(j, CPU_FLUSH_NONGLOBAL, 0);
	sp = space_for(j, to);
	if (sp->pcid == to && keep && sp->deaths == j->deaths)
		fetch_jumps(j, sp);
	if (sp->pcid == to)
		sp->count = 0;
}
