/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linear to guest-physical to host: the page walk, the software TLB, and every
 * access that is not a TLB hit within one page. SDM vol. 3, chapter 4.
 */
#include <errno.h>

#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/tape.h"
#include "src/cpu/x86/x86.h"

#define PTE_P 0x1ull
#define PTE_W 0x2ull
#define PTE_U 0x4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_G 0x100ull
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

/* What a walk found. */
struct walk {
	gpa_t gpa;       /* of the page's first byte (4 KiB granule) */
	uint64_t rights; /* PTE_W, PTE_U, PTE_G, PTE_NX combined over the levels */
	uint64_t dirty;  /* PTE_D of the leaf after the walk */
	uint32_t size_flag; /* 0, X86_TLBF_2M, X86_TLBF_1G */
};

/* One table format: how deep, how wide. */
struct format {
	unsigned levels, entry_bytes, index_bits;
};

static const struct format format_long = { 4, 8, 9 };
static const struct format format_pae = { 2, 8, 9 }; /* below the PDPTEs */
static const struct format format_legacy = { 2, 4, 10 };

/* An entry's place in RAM; tables outside RAM read as ones (reserved bits). */
static void *entry_ptr(struct x86_cpu *c, gpa_t gpa, unsigned bytes)
{
	return mem_ptr(c->mem, gpa, bytes, true);
}

static uint64_t entry_load(const void *p, unsigned bytes)
{
	return bytes == 8 ? x86_host_ld(64, p) : x86_host_ld(32, p);
}

/* Sets @bits in the entry that read as @old; false if it changed meanwhile. */
static bool entry_set(struct x86_cpu *c, void *p, uint64_t old, uint64_t bits, unsigned bytes)
{
	bool ok;

	if (bytes == 8) {
		ok = __atomic_compare_exchange_n((uint64_t *)p, &old, old | bits, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} else {
		uint32_t old32 = old;

		ok = __atomic_compare_exchange_n((uint32_t *)p, &old32, old32 | (uint32_t)bits,
						 false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	if (ok)
		x86_wrote(c, p, bytes);
	if (ok && unlikely(c->tape))
		x86_tape_page_entry(c, p, bytes);
	return ok;
}

/* Reserved bits of a present entry at @level (1 = leaf table), SDM vol. 3,
 * figures 4-4, 4-7 and 4-11. */
static uint64_t reserved_bits(const struct x86_cpu *c, const struct format *f, unsigned level,
			      uint64_t e)
{
	uint64_t r;

	if (f == &format_legacy) {
		/* 4 MiB pages: bits 20:13 are address bits 39:32, bit 21 reserved. */
		if (level == 2 && (e & PTE_PS) && (c->cr4 & X86_CR4_PSE))
			return 0x200000ull;
		return 0;
	}
	r = PTE_ADDR & ~low_mask(c->mem->phys_bits);
	if (!(c->efer & X86_EFER_NX))
		r |= PTE_NX;
	if (f == &format_pae)
		r |= 0x7ff0000000000000ull; /* 62:52 */
	if (e & PTE_PS) {
		if (level == 4 || (level == 3 && !x86_has(c, X86_F_PDPE1GB)))
			r |= PTE_PS;
		else if (level == 3)
			r |= 0x3fffe000ull;
		else if (level == 2)
			r |= 0x1fe000ull;
	}
	return r;
}

static bool is_leaf(const struct x86_cpu *c, const struct format *f, unsigned level, uint64_t e)
{
	if (level == 1)
		return true;
	if (!(e & PTE_PS) || level == 4)
		return false;
	return f != &format_legacy || (c->cr4 & X86_CR4_PSE);
}

/* Does the translation allow the access? SDM vol. 3, 4.6. */
static bool allowed(const struct x86_cpu *c, unsigned cls, uint64_t rights, enum x86_access acc)
{
	bool user_page = rights & PTE_U;

	if (!(c->cr0 & X86_CR0_PG))
		return true;
	if (acc == X86_ACC_X && (rights & PTE_NX))
		return false;
	if (cls >= X86_TLB_USER)
		return user_page && (acc != X86_ACC_W || (rights & PTE_W));
	if (acc == X86_ACC_X)
		return !(user_page && (c->cr4 & X86_CR4_SMEP));
	if (user_page && cls == X86_TLB_KERNEL && (c->cr4 & X86_CR4_SMAP))
		return false;
	return acc != X86_ACC_W || (rights & PTE_W) || !(c->cr0 & X86_CR0_WP);
}

static uint32_t fault_code(const struct x86_cpu *c, unsigned cls, enum x86_access acc)
{
	uint32_t code = cls >= X86_TLB_USER ? X86_PF_U : 0;
	bool nx = (c->efer & X86_EFER_NX) && (c->cr4 & X86_CR4_PAE);

	if (acc == X86_ACC_W)
		code |= X86_PF_W;
	if (acc == X86_ACC_X && (nx || (c->cr4 & X86_CR4_SMEP)))
		code |= X86_PF_I;
	return code;
}

/* Where the walk starts: the root table, or a fault code. */
static int walk_root(struct x86_cpu *c, uint64_t lin, const struct format **f, gpa_t *table)
{
	uint64_t pdpte;

	if (c->efer & X86_EFER_LMA) {
		*f = &format_long;
		*table = c->cr3 & PTE_ADDR & low_mask(c->mem->phys_bits);
		return 0;
	}
	if (!(c->cr4 & X86_CR4_PAE)) {
		*f = &format_legacy;
		*table = c->cr3 & 0xfffff000ull;
		return 0;
	}
	pdpte = c->pdpte[lin >> 30 & 3];
	if (!(pdpte & PTE_P))
		return -EFAULT;
	*f = &format_pae;
	*table = pdpte & PTE_ADDR;
	return 0;
}

/* The leaf's 4 KiB granule that holds @lin. */
static gpa_t leaf_gpa(const struct format *f, unsigned level, uint64_t e, uint64_t lin)
{
	unsigned shift = 12 + (level - 1) * f->index_bits;
	uint64_t base = e & PTE_ADDR & ~low_mask(shift);

	if (f == &format_legacy && level == 2)
		base = (e & 0xffc00000ull) | (e >> 13 & 0xff) << 32;
	else if (f == &format_legacy)
		base = e & 0xfffff000ull;
	return base | (lin & low_mask(shift) & ~0xfffull);
}

/*
 * Walks for one access. 0, or the page-fault error code in *@code with -EFAULT.
 * @set_ad: set accessed and dirty bits as the access would. Restarts when another
 * processor changed an entry under it.
 */
static int walk(struct x86_cpu *c, unsigned cls, uint64_t lin, enum x86_access acc, bool set_ad,
		struct walk *w, uint32_t *code)
{
	const struct format *f;
	gpa_t table;
	void *p[5];
	uint64_t e[5];
	unsigned level;

	*code = fault_code(c, cls, acc);
again:
	if (walk_root(c, lin, &f, &table) != 0)
		return -EFAULT;
	w->rights = PTE_W | PTE_U;
	for (level = f->levels;; level--) {
		unsigned shift = 12 + (level - 1) * f->index_bits;
		uint64_t index = lin >> shift & low_mask(f->index_bits);

		p[level] = entry_ptr(c, table + index * f->entry_bytes, f->entry_bytes);
		e[level] = p[level] ? entry_load(p[level], f->entry_bytes) : ~0ull;
		if (!(e[level] & PTE_P))
			return -EFAULT;
		if (e[level] & reserved_bits(c, f, level, e[level])) {
			*code |= X86_PF_P | X86_PF_RSVD;
			return -EFAULT;
		}
		w->rights &= e[level] | ~(PTE_W | PTE_U);
		if (f->entry_bytes == 8)
			w->rights |= e[level] & PTE_NX;
		if (is_leaf(c, f, level, e[level]))
			break;
		table = e[level] & PTE_ADDR;
		if (f == &format_legacy)
			table &= 0xfffff000ull;
	}
	w->rights |= (c->cr4 & X86_CR4_PGE) ? e[level] & PTE_G : 0;
	if (!allowed(c, cls, w->rights, acc)) {
		*code |= X86_PF_P;
		return -EFAULT;
	}
	w->gpa = leaf_gpa(f, level, e[level], lin);
	w->size_flag = level == 1 ? 0 : level == 2 ? X86_TLBF_2M : X86_TLBF_1G;
	w->dirty = e[level] & PTE_D;
	if (!set_ad)
		return 0;
	for (unsigned l = f->levels; l >= level; l--) {
		uint64_t want = PTE_A | (l == level && acc == X86_ACC_W ? PTE_D : 0);

		if ((e[l] & want) == want)
			continue;
		if (!p[l] || !entry_set(c, p[l], e[l], want, f->entry_bytes))
			goto again;
		e[l] |= want;
	}
	w->dirty = e[level] & PTE_D;
	return 0;
}

static gpa_t a20(const struct x86_cpu *c, gpa_t gpa)
{
	return c->cpus ? gpa & c->cpus->a20_mask : gpa;
}

static void tags_clear(struct x86_tlb_entry *t, unsigned index)
{
	t->tag_r = t->tag_w = t->tag_x = X86_TLB_NONE(index);
}

static void large_count(struct x86_tlb_set *s, const struct x86_tlb_side *side, int by)
{
	if (side->flags & X86_TLBF_2M)
		s->large[side->page >> 22 & 255] += by;
	if (side->flags & X86_TLBF_1G)
		s->huge += by;
}

static void entry_clear(struct x86_cpu *c, unsigned cls, unsigned index)
{
	struct x86_tlb_side *side = &c->tlb_side[cls][index];
	struct x86_tlb_set *s = &c->tlb_set[cls];
	bool global = side->flags & X86_TLBF_GLOBAL;
	uint16_t last;

	tags_clear(&c->tlbs[cls][index], index);
	if (!side->flags)
		return;
	last = s->list[global][--s->used[global]];
	s->list[global][side->pos] = last;
	c->tlb_side[cls][last].pos = side->pos;
	large_count(s, side, -1);
	side->flags = 0;
}

static void entry_add(struct x86_cpu *c, unsigned cls, unsigned index, struct x86_tlb_side side)
{
	struct x86_tlb_set *s = &c->tlb_set[cls];
	bool global = side.flags & X86_TLBF_GLOBAL;

	side.pos = (uint16_t)s->used[global];
	s->list[global][s->used[global]++] = (uint16_t)index;
	large_count(s, &side, 1);
	c->tlb_side[cls][index] = side;
}

void x86_tlb_init(struct x86_cpu *c)
{
	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++)
		tags_clear(&c->tlbs[cls][0], 0);
}

/* What the class may do in the page, and where each kind of access goes. */
static uint32_t entry_flags(const struct x86_cpu *c, unsigned cls, uint64_t page,
			    const struct walk *w, const struct mem_slot *s)
{
	uint32_t flags = w->size_flag | X86_TLBF_USED;

	if (w->rights & PTE_G)
		flags |= X86_TLBF_GLOBAL;
	if (allowed(c, cls, w->rights, X86_ACC_R))
		flags |= X86_TLBF_R;
	if (w->dirty && allowed(c, cls, w->rights, X86_ACC_W))
		flags |= X86_TLBF_W;
	if (allowed(c, cls, w->rights, X86_ACC_X))
		flags |= X86_TLBF_X;
	if (!s || !s->readable)
		flags |= X86_TLBF_MMIO_R;
	if (!s || !s->writable)
		flags |= X86_TLBF_MMIO_W;
	if (x86_debug_watches_page(c, page))
		flags |= X86_TLBF_WATCH;
	return flags;
}

/* Fills one entry from a finished walk. */
static void entry_fill(struct x86_cpu *c, unsigned cls, uint64_t lin, const struct walk *w)
{
	unsigned index = lin >> 12 & (X86_TLB_ENTRIES - 1);
	struct x86_tlb_entry *t = &c->tlbs[cls][index];
	struct mem_slot slot;
	const struct mem_slot *s = mem_slot_at(c->mem, w->gpa, &slot) ? &slot : NULL;
	uint64_t page = lin & ~0xfffull;
	uint32_t f;

	if (apic_claims(c->apic, w->gpa))
		s = NULL;
	entry_clear(c, cls, index);
	f = entry_flags(c, cls, page, w, s);
	entry_add(c, cls, index, (struct x86_tlb_side){ .page = page, .gpa = w->gpa, .flags = f });
	t->host = s ? (uint64_t)(uintptr_t)(s->host + (w->gpa - s->gpa)) : 0;
	if (cls == X86_TLB_USER_AC)
		return;
	if ((f & (X86_TLBF_R | X86_TLBF_MMIO_R | X86_TLBF_WATCH)) == X86_TLBF_R)
		t->tag_r = page;
	if ((f & (X86_TLBF_W | X86_TLBF_MMIO_W | X86_TLBF_WATCH)) == X86_TLBF_W &&
	    !(c->tag_code && x86_has_code(c, t->host)))
		t->tag_w = page;
	if ((f & (X86_TLBF_X | X86_TLBF_MMIO_R)) == X86_TLBF_X)
		t->tag_x = page;
}

void x86_tlb_fill(struct x86_cpu *c, unsigned cls, uint64_t lin, enum x86_access acc)
{
	struct walk w = { .rights = PTE_W | PTE_U, .dirty = PTE_D };
	uint32_t code;

	if (!(c->cr0 & X86_CR0_PG))
		w.gpa = lin & 0xfffff000ull;
	else if (walk(c, cls, lin, acc, true, &w, &code) != 0)
		x86_raise_pf(c, lin, code);
	w.gpa = a20(c, w.gpa);
	entry_fill(c, cls, lin, &w);
}

int x86_translate_debug(struct x86_cpu *c, uint64_t lin, gpa_t *gpa)
{
	struct walk w = { .gpa = lin & 0xfffff000ull };
	uint32_t code;

	if ((c->cr0 & X86_CR0_PG) &&
	    walk(c, X86_TLB_KERNEL_AC, lin, X86_ACC_R, false, &w, &code) != 0)
		return -EFAULT;
	*gpa = a20(c, w.gpa) + (lin & 0xfff);
	return 0;
}

/*
 * Flushing.
 */
static void flush_list(struct x86_cpu *c, unsigned cls, bool global)
{
	struct x86_tlb_set *s = &c->tlb_set[cls];

	while (s->used[global])
		entry_clear(c, cls, s->list[global][s->used[global] - 1]);
}

static void flushed(struct x86_cpu *c, enum cpu_flush what, uint64_t lin)
{
	c->tlb_epoch++;
	if (c->cpus && c->cpus->engine && c->cpus->engine->tlb_flushed)
		c->cpus->engine->tlb_flushed(c, what, lin);
}

void x86_tlb_flush_all(struct x86_cpu *c)
{
	for (unsigned n = 0; n < X86_SPACES; n++)
		c->space[n].count = 0;
	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++) {
		flush_list(c, cls, false);
		flush_list(c, cls, true);
	}
	flushed(c, CPU_FLUSH_ALL, 0);
}

void x86_tlb_put(struct x86_cpu *c, unsigned cls, unsigned index, const struct x86_tlb_entry *t,
		 const struct x86_tlb_side *side)
{
	entry_add(c, cls, index, *side);
	c->tlbs[cls][index] = *t;
}

void x86_tlb_drop(struct x86_cpu *c)
{
	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++)
		flush_list(c, cls, false);
}

void x86_tlb_flush_nonglobal(struct x86_cpu *c)
{
	x86_tlb_drop(c);
	flushed(c, CPU_FLUSH_NONGLOBAL, 0);
}

/* Drops the entries that are parts of the same page as @lin. */
static void flush_parts(struct x86_cpu *c, unsigned cls, bool global, uint64_t lin)
{
	struct x86_tlb_set *s = &c->tlb_set[cls];

	for (unsigned n = s->used[global]; n-- > 0;) {
		unsigned index = s->list[global][n];
		const struct x86_tlb_side *side = &c->tlb_side[cls][index];
		unsigned shift = side->flags & X86_TLBF_1G	  ? 30
				 : !(side->flags & X86_TLBF_2M)	  ? 12
				 : c->cr4 & X86_CR4_PAE		  ? 21
								  : 22;

		if (((side->page ^ lin) >> shift) == 0)
			entry_clear(c, cls, index);
	}
}

void x86_tlb_flush_page(struct x86_cpu *c, uint64_t lin)
{
	unsigned index = lin >> 12 & (X86_TLB_ENTRIES - 1);

	for (unsigned cls = 0; cls < X86_TLB_CLASSES; cls++) {
		const struct x86_tlb_set *s = &c->tlb_set[cls];

		if (s->huge || s->large[lin >> 22 & 255]) {
			flush_parts(c, cls, false, lin);
			flush_parts(c, cls, true, lin);
		} else if (c->tlb_side[cls][index].page == (lin & ~0xfffull)) {
			entry_clear(c, cls, index);
		}
	}
	flushed(c, CPU_FLUSH_PAGE, lin);
}

/*
 * Slow accesses.
 */
struct place { /* one page's part of an access, translated */
	void *host;  /* NULL: MMIO at gpa */
	gpa_t gpa;
	bool watched;
};

static struct place place_of(struct x86_cpu *c, unsigned cls, uint64_t lin, enum x86_access acc)
{
	unsigned index = lin >> 12 & (X86_TLB_ENTRIES - 1);
	const struct x86_tlb_side *side = &c->tlb_side[cls][index];
	bool write = acc == X86_ACC_W;
	struct place p = { 0 };

	if (side->page != (lin & ~0xfffull) ||
	    !(side->flags & (write ? X86_TLBF_W : X86_TLBF_R)))
		x86_tlb_fill(c, cls, lin, acc);
	p.watched = side->flags & X86_TLBF_WATCH;
	p.gpa = side->gpa | (lin & 0xfff);
	if (!(side->flags & (write ? X86_TLBF_MMIO_W : X86_TLBF_MMIO_R)))
		p.host = (void *)(uintptr_t)(c->tlbs[cls][index].host + (lin & 0xfff));
	return p;
}

static uint64_t mmio_read(struct x86_cpu *c, gpa_t gpa, unsigned size)
{
	uint64_t v;

	if (x86_follows(c))
		return x86_tape_take(c, X86_TAPE_MMIO_R, gpa << 8 | size);
	x86_tape_outside(c, true);
	if (apic_claims(c->apic, gpa))
		v = apic_mmio_read(c->apic, gpa & 0xfff, size);
	else
		v = c->bus ? bus_mmio_read(c->bus, gpa, size) : ~0ull;
	x86_tape_outside(c, false);
	x86_tape_put(c, X86_TAPE_MMIO_R, gpa << 8 | size, v);
	return v;
}

static void mmio_write(struct x86_cpu *c, gpa_t gpa, uint64_t v, unsigned size)
{
	if (x86_follows(c)) {
		x86_tape_same(c, X86_TAPE_MMIO_W, gpa << 8 | size, v);
		return;
	}
	x86_tape_put(c, X86_TAPE_MMIO_W, gpa << 8 | size, v);
	x86_tape_outside(c, true);
	if (apic_claims(c->apic, gpa))
		apic_mmio_write(c->apic, gpa & 0xfff, v, size);
	else if (c->bus)
		bus_mmio_write(c->bus, gpa, v, size);
	x86_tape_outside(c, false);
	x86_after_device_write(c);
}

/* Bytes of one page; MMIO in naturally aligned pieces of up to 8. */
static void place_load(struct x86_cpu *c, const struct place *p, uint8_t *buf, unsigned len)
{
	gpa_t gpa = p->gpa;

	if (p->host) {
		memcpy(buf, p->host, len);
		return;
	}
	while (len) {
		unsigned n = len >= 8 && !(gpa & 7) ? 8
			     : len >= 4 && !(gpa & 3) ? 4
			     : len >= 2 && !(gpa & 1) ? 2 : 1;
		uint64_t v = mmio_read(c, gpa, n);

		memcpy(buf, &v, n);
		buf += n;
		gpa += n;
		len -= n;
	}
}

static void place_store(struct x86_cpu *c, const struct place *p, const uint8_t *buf, unsigned len)
{
	gpa_t gpa = p->gpa;

	if (p->host) {
		memcpy(p->host, buf, len);
		x86_wrote(c, p->host, len);
		return;
	}
	while (len) {
		unsigned n = len >= 8 && !(gpa & 7) ? 8
			     : len >= 4 && !(gpa & 3) ? 4
			     : len >= 2 && !(gpa & 1) ? 2 : 1;
		uint64_t v = 0;

		memcpy(&v, buf, n);
		mmio_write(c, gpa, v, n);
		buf += n;
		gpa += n;
		len -= n;
	}
}

void x86_load_buf(struct x86_cpu *c, unsigned cls, uint64_t lin, void *buf, unsigned len)
{
	unsigned first = min_of(len, 4096 - (unsigned)(lin & 0xfff));
	struct place a, b = { 0 };

	/* Both pages are translated before the first byte moves; the second fill
	 * cannot push the first out (neighbours never share an index). */
	a = place_of(c, cls, lin, X86_ACC_R);
	if (first < len)
		b = place_of(c, cls, x86_lin_wrap(c, lin + first), X86_ACC_R);
	place_load(c, &a, buf, first);
	if (first < len)
		place_load(c, &b, (uint8_t *)buf + first, len - first);
	if (unlikely(a.watched || b.watched))
		x86_data_breakpoint(c, lin, len, false);
}

void x86_store_buf(struct x86_cpu *c, unsigned cls, uint64_t lin, const void *buf, unsigned len)
{
	unsigned first = min_of(len, 4096 - (unsigned)(lin & 0xfff));
	struct place a, b = { 0 };

	a = place_of(c, cls, lin, X86_ACC_W);
	if (first < len)
		b = place_of(c, cls, x86_lin_wrap(c, lin + first), X86_ACC_W);
	place_store(c, &a, buf, first);
	if (first < len)
		place_store(c, &b, (const uint8_t *)buf + first, len - first);
	if (unlikely(a.watched || b.watched))
		x86_data_breakpoint(c, lin, len, true);
}

/* Alignment comes before translation. */
static void check_alignment(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned size)
{
	if (unlikely(cls == X86_TLB_USER_AC && lin & (size - 1)))
		x86_raise_err(c, X86_EXC_AC, 0);
}

uint64_t x86_load_slow(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned size)
{
	uint64_t v = 0;

	check_alignment(c, cls, lin, size);
	if ((lin & 0xfff) + size <= 4096) {
		struct place p = place_of(c, cls, lin, X86_ACC_R);

		if (p.host)
			v = size == 8	? x86_host_ld(64, p.host)
			    : size == 4 ? x86_host_ld(32, p.host)
			    : size == 2 ? x86_host_ld(16, p.host)
					: x86_host_ld(8, p.host);
		else
			v = mmio_read(c, p.gpa, size);
		if (unlikely(p.watched))
			x86_data_breakpoint(c, lin, size, false);
		return v;
	}
	x86_load_buf(c, cls, lin, &v, size);
	return v;
}

void x86_store_slow(struct x86_cpu *c, unsigned cls, uint64_t lin, uint64_t v, unsigned size)
{
	struct place p;

	check_alignment(c, cls, lin, size);
	if ((lin & 0xfff) + size > 4096) {
		x86_store_buf(c, cls, lin, &v, size);
		return;
	}
	p = place_of(c, cls, lin, X86_ACC_W);
	if (!p.host) {
		mmio_write(c, p.gpa, v, size);
	} else {
		switch (size) {
		case 1: x86_host_st(8, p.host, v); break;
		case 2: x86_host_st(16, p.host, v); break;
		case 4: x86_host_st(32, p.host, v); break;
		default: x86_host_st(64, p.host, v); break;
		}
		x86_wrote(c, p.host, size);
	}
	if (unlikely(p.watched))
		x86_data_breakpoint(c, lin, size, true);
}

void x86_wrote_slow(struct x86_cpu *c, void *host, unsigned size)
{
	if (unlikely(c->tape) && !x86_tape_stored(c, host, size))
		return;
	c->stop_block = true;
	mem_written(c->mem, host, size);
}

void x86_probe(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned len, enum x86_access acc)
{
	unsigned first = 4096 - (unsigned)(lin & 0xfff);

	if (len == 0)
		return;
	place_of(c, cls, lin, acc);
	if (len > first)
		place_of(c, cls, x86_lin_wrap(c, lin + first), acc);
}

void *x86_rmw_ptr_slow(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned size)
{
	struct place p;

	check_alignment(c, cls, lin, size);
	x86_probe(c, cls, lin, size, X86_ACC_W);
	if ((lin & 0xfff) + size > 4096)
		return NULL;
	p = place_of(c, cls, lin, X86_ACC_W);
	return p.watched ? NULL : p.host;
}

uint64_t x86_sys_ld(struct x86_cpu *c, uint64_t lin, unsigned size)
{
	void *p = x86_hit(c->tlbs[X86_TLB_KERNEL], lin, size, X86_ACC_R);
	uint64_t v = 0;

	if (!p)
		return x86_load_slow(c, X86_TLB_KERNEL, lin, size);
	memcpy(&v, p, size);
	return v;
}

void x86_sys_st(struct x86_cpu *c, uint64_t lin, uint64_t v, unsigned size)
{
	x86_store_slow(c, X86_TLB_KERNEL, lin, v, size);
}

const uint8_t *x86_fetch_ptr(struct x86_cpu *c, uint64_t lin)
{
	unsigned cls = c->cpl == 3 ? X86_TLB_USER : X86_TLB_KERNEL;
	const struct x86_tlb_side *side = &c->tlb_side[cls][lin >> 12 & (X86_TLB_ENTRIES - 1)];
	const uint8_t *p = x86_hit(c->tlbs[cls], lin, 1, X86_ACC_X);

	if (likely(p))
		return p;
	if (side->page != (lin & ~0xfffull) || !(side->flags & X86_TLBF_X))
		x86_tlb_fill(c, cls, lin, X86_ACC_X);
	return x86_hit(c->tlbs[cls], lin, 1, X86_ACC_X);
}

uint8_t x86_fetch_mmio(struct x86_cpu *c, uint64_t lin)
{
	unsigned cls = c->cpl == 3 ? X86_TLB_USER : X86_TLB_KERNEL;
	const struct x86_tlb_side *side = &c->tlb_side[cls][lin >> 12 & (X86_TLB_ENTRIES - 1)];

	return mmio_read(c, side->gpa | (lin & 0xfff), 1);
}
