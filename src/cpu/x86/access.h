/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory as instructions see it: segment:offset → linear → TLB → bytes.
 * The inline part is a TLB hit within one page; everything else (misses, page
 * crossings, MMIO, watched pages) is in mmu.c. All may raise.
 */
#ifndef BOTHY_CPU_X86_ACCESS_H
#define BOTHY_CPU_X86_ACCESS_H

#include <string.h>

#include "src/cpu/x86/insn.h"
#include "src/cpu/x86/x86.h"

/* One unaligned host access the compiler neither splits nor drops: what x86
 * makes single-copy atomic when aligned stays so. */
#define X86_PK(bits) struct x86_pk##bits { uint##bits##_t v; } __attribute__((packed, may_alias))
X86_PK(8); X86_PK(16); X86_PK(32); X86_PK(64);
#undef X86_PK
#define x86_host_ld(bits, p) (((const volatile struct x86_pk##bits *)(p))->v)
#define x86_host_st(bits, p, x) (((volatile struct x86_pk##bits *)(p))->v = (x))

/* Slow paths (mmu.c). @lin is a checked linear address; @cls an x86_tlb_class. */
uint64_t x86_load_slow(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned size);
void x86_store_slow(struct x86_cpu *c, unsigned cls, uint64_t lin, uint64_t v, unsigned size);
void x86_wrote_slow(struct x86_cpu *c, void *host, unsigned size);
/* Any length up to 4096; both pages are checked before the first byte moves. */
void x86_load_buf(struct x86_cpu *c, unsigned cls, uint64_t lin, void *buf, unsigned len);
void x86_store_buf(struct x86_cpu *c, unsigned cls, uint64_t lin, const void *buf, unsigned len);
/* Raises unless [lin, lin+len) may be written / read (len <= 4096). */
void x86_probe(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned len, enum x86_access acc);

/* Host pointer for a read-modify-write of @size bytes at @lin, all checks done
 * for a write; NULL if it is not plain memory within one page (MMIO, crossing,
 * watched): then load + store through the slow path, and for LOCK inside
 * x86_exclusive_begin/end. Follow stores with x86_wrote(). */
void *x86_rmw_ptr_slow(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned size);

/* Stops every other vCPU at an instruction boundary, for locked accesses that no
 * host instruction can do atomically. Nothing between may raise: probe first. */
void x86_exclusive_begin(struct x86_cpu *c);
void x86_exclusive_end(struct x86_cpu *c);

/* Segmentation outside 64-bit mode, and its faults. (segment.c) */
uint64_t x86_lin_slow(struct x86_cpu *c, unsigned seg, uint64_t ea, unsigned size,
		      enum x86_access acc);
/* The same question without a fault; 32-bit and 16-bit code. */
bool x86_lin_allowed(const struct x86_cpu *c, unsigned seg, uint32_t ea, unsigned size,
		     enum x86_access acc);
_Noreturn void x86_raise_noncanonical(struct x86_cpu *c, unsigned seg); /* #SS(0) or #GP(0) */

/* Outside long mode linear addresses wrap at 4 GiB. */
static inline uint64_t x86_lin_wrap(const struct x86_cpu *c, uint64_t lin)
{
	return x86_long(c) ? lin : (uint32_t)lin;
}

/* Linear address of [seg:ea, +size), or the fault segmentation gives. @ea is
 * already truncated to the address size. */
static inline uint64_t x86_lin(struct x86_cpu *c, unsigned seg, uint64_t ea, unsigned size,
			       enum x86_access acc)
{
	if (likely(c->code64)) {
		uint64_t lin = seg >= X86_FS ? ea + c->seg[seg].base : ea;

		if (unlikely(!x86_canonical(lin) || !x86_canonical(lin + size - 1)))
			x86_raise_noncanonical(c, seg);
		return lin;
	}
	if (likely(c->seg_flat >> seg & 1) && likely((uint32_t)ea + size - 1 >= (uint32_t)ea))
		return (uint32_t)ea;
	return x86_lin_slow(c, seg, ea, size, acc);
}

/* Effective address of the instruction's memory operand, truncated. */
static inline uint64_t x86_ea(const struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t ea = (uint64_t)i->disp;

	if (i->mem_base < 16)
		ea += c->gpr[i->mem_base];
	else if (i->mem_base == X86_REG_RIP)
		ea += c->rip;
	if (i->mem_index < 16)
		ea += c->gpr[i->mem_index] << i->mem_scale;
	if (i->adsize == 4)
		ea = (uint32_t)ea;
	else if (i->adsize == 2)
		ea = (uint16_t)ea;
	return ea;
}

static inline void *x86_hit(const struct x86_tlb_entry *tlb, uint64_t lin, unsigned size,
			    enum x86_access acc)
{
	const struct x86_tlb_entry *e = &tlb[lin >> 12 & (X86_TLB_ENTRIES - 1)];
	uint64_t tag = acc == X86_ACC_W ? e->tag_w : acc == X86_ACC_R ? e->tag_r : e->tag_x;

	if (unlikely((lin & ~0xfffull) != tag || (lin & 0xfff) + size > 4096))
		return NULL;
	return (void *)(uintptr_t)(e->host + (lin & 0xfff));
}

/* After a store to RAM: is there cached code, or dirty logging? */
static inline void x86_wrote(struct x86_cpu *c, void *host, unsigned size)
{
	uint64_t page = mem_page_of(c->mem, host);

	if (unlikely(atomic_load_explicit(&c->mem->page_flags[page], memory_order_relaxed)))
		x86_wrote_slow(c, host, size);
}

/* Does the page at host address @host hold cached code? */
static inline bool x86_has_code(const struct x86_cpu *c, uint64_t host)
{
	uint64_t page = mem_page_of(c->mem, (void *)(uintptr_t)host);

	return atomic_load_explicit(&c->mem->page_flags[page], memory_order_relaxed) &
	       MEM_PAGE_CODE;
}

static inline void *x86_rmw_ptr(struct x86_cpu *c, unsigned cls, uint64_t lin, unsigned size)
{
	void *p = x86_hit(c->tlbs[cls], lin, size, X86_ACC_W);

	return likely(p) ? p : x86_rmw_ptr_slow(c, cls, lin, size);
}

#define X86_ACCESS(bits)                                                                       \
	static inline uint##bits##_t x86_lin_ld##bits(struct x86_cpu *c, uint64_t lin)         \
	{                                                                                      \
		void *p = x86_hit(c->tlb, lin, bits / 8, X86_ACC_R);                           \
		return likely(p) ? x86_host_ld(bits, p)                                        \
				 : (uint##bits##_t)x86_load_slow(c, c->tlb_class, lin, bits / 8); \
	}                                                                                      \
	static inline void x86_lin_st##bits(struct x86_cpu *c, uint64_t lin, uint##bits##_t v) \
	{                                                                                      \
		void *p = x86_hit(c->tlb, lin, bits / 8, X86_ACC_W);                           \
		if (unlikely(!p)) {                                                            \
			x86_store_slow(c, c->tlb_class, lin, v, bits / 8);                     \
			return;                                                                \
		}                                                                              \
		x86_host_st(bits, p, v);                                                       \
		x86_wrote(c, p, bits / 8);                                                     \
	}                                                                                      \
	static inline uint##bits##_t x86_ld##bits(struct x86_cpu *c, unsigned seg, uint64_t ea) \
	{                                                                                      \
		return x86_lin_ld##bits(c, x86_lin(c, seg, ea, bits / 8, X86_ACC_R));          \
	}                                                                                      \
	static inline void x86_st##bits(struct x86_cpu *c, unsigned seg, uint64_t ea,          \
					uint##bits##_t v)                                      \
	{                                                                                      \
		x86_lin_st##bits(c, x86_lin(c, seg, ea, bits / 8, X86_ACC_W), v);              \
	}
X86_ACCESS(8)
X86_ACCESS(16)
X86_ACCESS(32)
X86_ACCESS(64)
#undef X86_ACCESS

/* size 1, 2, 4 or 8 */
static inline uint64_t x86_ld(struct x86_cpu *c, unsigned seg, uint64_t ea, unsigned size)
{
	switch (size) {
	case 1: return x86_ld8(c, seg, ea);
	case 2: return x86_ld16(c, seg, ea);
	case 4: return x86_ld32(c, seg, ea);
	default: return x86_ld64(c, seg, ea);
	}
}

static inline void x86_st(struct x86_cpu *c, unsigned seg, uint64_t ea, uint64_t v, unsigned size)
{
	switch (size) {
	case 1: x86_st8(c, seg, ea, v); break;
	case 2: x86_st16(c, seg, ea, v); break;
	case 4: x86_st32(c, seg, ea, v); break;
	default: x86_st64(c, seg, ea, v); break;
	}
}

/* Implicit supervisor accesses by linear address: descriptor tables, TSS, IDT. */
uint64_t x86_sys_ld(struct x86_cpu *c, uint64_t lin, unsigned size);
void x86_sys_st(struct x86_cpu *c, uint64_t lin, uint64_t v, unsigned size);

/* General registers by size. 8-bit numbers 16..19 are AH CH DH BH. A 32-bit write
 * zero-extends; 8- and 16-bit writes merge. */
static inline uint8_t *x86_reg8p(struct x86_cpu *c, unsigned r)
{
	return r < 16 ? (uint8_t *)&c->gpr[r] : (uint8_t *)&c->gpr[r - 16] + 1;
}

static inline uint64_t x86_get(struct x86_cpu *c, unsigned r, unsigned size)
{
	switch (size) {
	case 1: return *x86_reg8p(c, r);
	case 2: return (uint16_t)c->gpr[r];
	case 4: return (uint32_t)c->gpr[r];
	default: return c->gpr[r];
	}
}

static inline void x86_set(struct x86_cpu *c, unsigned r, uint64_t v, unsigned size)
{
	switch (size) {
	case 1: *x86_reg8p(c, r) = v; break;
	case 2: memcpy(&c->gpr[r], &v, 2); break;
	case 4: c->gpr[r] = (uint32_t)v; break;
	default: c->gpr[r] = v; break;
	}
}

/*
 * The MMU (mmu.c).
 */
/* Translates for an access without doing it; raises #PF. Fills the TLB. */
void x86_tlb_fill(struct x86_cpu *c, unsigned cls, uint64_t lin, enum x86_access acc);
void x86_tlb_init(struct x86_cpu *c); /* all empty; once, of memory that is 0 */
void x86_tlb_flush_all(struct x86_cpu *c);                    /* global entries too */

/* After a write to a device: where that changed the memory map, the next instruction
 * sees it already. The request stays: what else hangs from it happens when the block is
 * left. */
static inline void x86_after_device_write(struct x86_cpu *c)
{
	if (likely(!(atomic_load_explicit(&c->request, memory_order_relaxed) & X86_REQ_FLUSH)))
		return;
	x86_tlb_flush_all(c);
	c->stop_block = true;
}
void x86_tlb_flush_nonglobal(struct x86_cpu *c); /* of the current address space */
/* For spaces.c: a copy of an entry into an empty slot; all that are not global go, and
 * the caller tells the engine. */
void x86_tlb_put(struct x86_cpu *c, unsigned cls, unsigned index, const struct x86_tlb_entry *t,
		 const struct x86_tlb_side *side);
void x86_tlb_drop(struct x86_cpu *c);
/* CR3 names another address space, by PCID (0 to 4095); @keep: what is known of it holds. */
void x86_space_switch(struct x86_cpu *c, unsigned from, unsigned to, bool keep);
/* Drops what is known of an address space that is not the current one; X86_SPACE_ALL: of all. */
void x86_space_forget(struct x86_cpu *c, unsigned pcid);
void x86_tlb_flush_page(struct x86_cpu *c, uint64_t lin);     /* INVLPG */
/* Code fetch: host pointer to the bytes at linear @lin (valid to the page's end),
 * raising #PF (with I/D) if it may not be fetched; NULL if it is not memory. */
const uint8_t *x86_fetch_ptr(struct x86_cpu *c, uint64_t lin);
/* One byte of code that lies in MMIO, after x86_fetch_ptr() gave NULL. */
uint8_t x86_fetch_mmio(struct x86_cpu *c, uint64_t lin);
/* For debuggers and tests: translates without side effects. -EFAULT if unmapped. */
int x86_translate_debug(struct x86_cpu *c, uint64_t lin, gpa_t *gpa);

#endif
