/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control registers with their consistency checks and side effects. SDM vol. 3,
 * 2.5 and 4.1; EFER is in msr.c.
 */
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/tape.h"
#include "src/cpu/x86/sys.h"

#define CR0_VALID                                                                                 \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE |           \
	 X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR3_NOFLUSH (1ull << 63)
#define CR3_PCID 0xfffu

static uint64_t phys_mask(const struct x86_cpu *c)
{
	return low_mask(c->mem->phys_bits);
}

static bool pae_paging(const struct x86_cpu *c, uint64_t cr0, uint64_t cr4)
{
	return (cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) && !x86_long(c);
}

/* Reads and checks into @out; #GP(0) for reserved bits in a present entry (SDM
 * vol. 3, 4.4.1). The registers are physical: no translation. */
static void read_pdptes(struct x86_cpu *c, uint64_t cr3, uint64_t out[4])
{
	const uint64_t reserved = ~phys_mask(c) | 0x1e6ull;
	const uint8_t *p = mem_ptr(c->mem, cr3 & 0xffffffe0ull, 32, false);

	for (unsigned n = 0; n < 4; n++) {
		out[n] = p ? ld_le64(p + 8 * n) : ~0ull;
		if ((out[n] & 1) && (out[n] & reserved))
			x86_raise_gp0(c);
	}
}

void x86_load_pdptes(struct x86_cpu *c, uint64_t cr3)
{
	uint64_t pdpte[4];

	read_pdptes(c, cr3, pdpte);
	memcpy(c->pdpte, pdpte, sizeof(pdpte));
}

/* Long mode comes and goes with paging while EFER.LME is set. */
static void check_long_mode(struct x86_cpu *c, uint64_t cr0)
{
	bool on = (cr0 & ~c->cr0) & X86_CR0_PG, off = (c->cr0 & ~cr0) & X86_CR0_PG;

	if (on && (c->efer & X86_EFER_LME)) {
		if (!(c->cr4 & X86_CR4_PAE) || (c->seg[X86_CS].attr & X86_SEG_L))
			x86_raise_gp0(c);
		c->efer |= X86_EFER_LMA;
	} else if (off) {
		if (c->code64 || (c->cr4 & X86_CR4_PCIDE))
			x86_raise_gp0(c);
		c->efer &= ~X86_EFER_LMA;
	}
}

void x86_write_cr0(struct x86_cpu *c, uint64_t v)
{
	uint64_t old = c->cr0, changed;

	if (v >> 32)
		x86_raise_gp0(c);
	v = (v & CR0_VALID) | X86_CR0_ET;
	if (((v & X86_CR0_PG) && !(v & X86_CR0_PE)) || ((v & X86_CR0_NW) && !(v & X86_CR0_CD)))
		x86_raise_gp0(c);
	changed = old ^ v;
	if (changed & X86_CR0_PG)
		check_long_mode(c, v);
	if (pae_paging(c, v, c->cr4) && (changed & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW))) {
		uint64_t pdpte[4];

		read_pdptes(c, c->cr3, pdpte);
		memcpy(c->pdpte, pdpte, sizeof(pdpte));
	}
	c->cr0 = v;
	if (changed & (X86_CR0_PG | X86_CR0_PE | X86_CR0_WP))
		x86_tlb_flush_all(c);
	if ((changed & X86_CR0_PE) && !(v & X86_CR0_PE))
		c->cpl = 0;
	x86_update_mode(c);
}

/* The one place where CR3 takes effect (SDM vol. 3, 4.10.4.1). @keep: the no-flush bit. */
static void switch_cr3(struct x86_cpu *c, uint64_t v, bool keep)
{
	unsigned from = c->cr3 & CR3_PCID;

	c->cr3 = v;
	if (c->cr4 & X86_CR4_PCIDE)
		x86_space_switch(c, from, v & CR3_PCID, keep);
	else
		x86_tlb_flush_nonglobal(c);
	c->stop_block = true;
}

void x86_write_cr3(struct x86_cpu *c, uint64_t v)
{
	bool keep = c->cr4 & X86_CR4_PCIDE && v & CR3_NOFLUSH;

	if (keep)
		v &= ~CR3_NOFLUSH;
	if (x86_long(c) && (v & ~phys_mask(c)))
		x86_raise_gp0(c);
	if (!x86_long(c))
		v = (uint32_t)v;
	if (pae_paging(c, c->cr0, c->cr4))
		x86_load_pdptes(c, v);
	switch_cr3(c, v, keep);
}

void x86_task_cr3(struct x86_cpu *c, uint64_t cr3)
{
	if (pae_paging(c, c->cr0, c->cr4))
		x86_load_pdptes(c, cr3);
	switch_cr3(c, cr3, false);
}

uint64_t x86_cr4_valid(const struct x86_cpu *c)
{
	static const struct { uint64_t bit; enum x86_feature feature; } by_feature[] = {
		{ X86_CR4_UMIP, X86_F_UMIP },	      { X86_CR4_FSGSBASE, X86_F_FSGSBASE },
		{ X86_CR4_PCIDE, X86_F_PCID },	      { X86_CR4_OSXSAVE, X86_F_XSAVE },
		{ X86_CR4_SMEP, X86_F_SMEP },	      { X86_CR4_SMAP, X86_F_SMAP },
	};
	uint64_t v = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE |
		     X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR |
		     X86_CR4_OSXMMEXCPT;

	for (size_t n = 0; n < array_size(by_feature); n++)
		if (x86_has(c, by_feature[n].feature))
			v |= by_feature[n].bit;
	return v;
}

void x86_write_cr4(struct x86_cpu *c, uint64_t v)
{
	const uint64_t flush = X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_PCIDE |
			       X86_CR4_SMEP | X86_CR4_SMAP;
	uint64_t changed = c->cr4 ^ v;

	if (v & ~x86_cr4_valid(c))
		x86_raise_gp0(c);
	if (x86_long(c) && !(v & X86_CR4_PAE))
		x86_raise_gp0(c);
	if ((changed & v & X86_CR4_PCIDE) && (!x86_long(c) || (c->cr3 & 0xfff)))
		x86_raise_gp0(c);
	if (pae_paging(c, c->cr0, v) &&
	    (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP)))
		x86_load_pdptes(c, c->cr3);
	c->cr4 = v;
	if (changed & flush)
		x86_tlb_flush_all(c);
	x86_update_mode(c);
}

void x86_write_cr8(struct x86_cpu *c, uint64_t v)
{
	if (v >> 4)
		x86_raise_gp0(c);
	if (c->apic && !x86_follows(c))
		apic_set_cr8(c->apic, (uint8_t)v);
	c->stop_block = true;
}

uint64_t x86_read_cr8(struct x86_cpu *c)
{
	uint64_t v;

	if (x86_follows(c))
		return x86_tape_take(c, X86_TAPE_CR8, 0);
	v = c->apic ? apic_get_cr8(c->apic) : 0;
	x86_tape_put(c, X86_TAPE_CR8, 0, v);
	return v;
}
