/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 32-bit paging (two levels, PSE, PSE-36) and PAE paging (PDPTEs, NX, reserved
 * bits) from 32-bit protected mode. SDM vol. 3, 4.3 and 4.4. */
#include "tests/asm/rt.h"

#define VA 0xc0000000u
static u32 *dir, *table;
static u32 page;

CASE static void rd(void *a) { asm volatile("mov (%0), %%al" :: "r"(a) : "eax"); }
CASE static void wr(void *a) { asm volatile("movb $7, (%0)" :: "r"(a)); }
CASE static void call(void *a) { asm volatile("call *%0" :: "r"(a)); }
CASE static void set_cr3(void *a) { wr_cr3((ulong)a); }
CASE static void set_cr4(void *a) { wr_cr4((ulong)a); }
CASE static void set_cr0(void *a) { wr_cr0((ulong)a); }

static void two_levels(void)
{
	dir = rt_page();
	table = rt_page();
	page = (u32)rt_page();
	for (u32 i = 0; i < 1024; i++)
		dir[i] = i << 22 | PG_PS | PG_P | PG_W | PG_U;
	dir[VA >> 22] = (u32)table | PG_P | PG_W | PG_U;
	table[0] = page | PG_P | PG_W | PG_U;
	*(volatile u8 *)page = 0xc3;
	wr_cr4(rd_cr4() | CR4_PSE);
	wr_cr3((u32)dir);
	wr_cr0(rd_cr0() | CR0_PG | CR0_WP);
}

static void set(u32 flags)
{
	*(volatile u32 *)table = page | flags;
	invlpg(VA);
}

static void plain(void)
{
	volatile u32 *pde = &dir[VA >> 22], *pte = table;
	u32 old = *pde;

	check("32.read", rt_try(rd, (void *)VA), NONE);
	check("32.a", *pte & (PG_A | PG_D), PG_A);
	check("32.pde-a", *pde & PG_A, PG_A);
	check("32.write", rt_try(wr, (void *)VA), NONE);
	check("32.d", *pte & (PG_A | PG_D), PG_A | PG_D);
	check("32.stored", rd8((void *)page), 7);
	check_exc("32.np", rt_try(rd, (void *)(VA + 4096)), PF, 0);
	check("32.cr2", rt_exc.cr2, VA + 4096);
	set(PG_P | PG_U);
	check_exc("32.ro", rt_try(wr, (void *)VA), PF, 3);
	check_exc("32.user-ro", rt_user(wr, (void *)VA), PF, 7);
	set(PG_P | PG_W);
	check_exc("32.user", rt_user(rd, (void *)VA), PF, 5);
	set(PG_P | PG_W | PG_U);
	*pde = old & ~PG_W;
	wr_cr3(rd_cr3());
	check_exc("32.pde-ro", rt_try(wr, (void *)VA), PF, 3);
	*pde = old & ~PG_U;
	wr_cr3(rd_cr3());
	check_exc("32.pde-super", rt_user(rd, (void *)VA), PF, 5);
	*pde = old;
	wr_cr3(rd_cr3());
	/* No NX here: fetches need only a present page, and I/D is not reported. */
	*(volatile u8 *)page = 0xc3;
	check("32.fetch", rt_try(call, (void *)VA), NONE);
	check_exc("32.fetch-np", rt_try(call, (void *)(VA + 4096)), PF, 0);
}

static void pse(void)
{
	volatile u32 *pde = &dir[(VA >> 22) + 1];
	u32 va = VA + 0x400000;

	*pde = 0x8000000 | PG_PS | PG_P | PG_W | PG_U; /* 128 MiB */
	invlpg(va);
	wr32((void *)(va + 0x3ffffc), 0x600df00d);
	check("pse.value", rd32((void *)0x83ffffc), 0x600df00d);
	check("pse.d", *pde & (PG_A | PG_D), PG_A | PG_D);
	*pde = 0x8000000 | PG_PS | PG_P | PG_U;
	invlpg(va);
	check_exc("pse.ro", rt_try(wr, (void *)va), PF, 3);
	/* Bit 21 is reserved in a 4 MiB entry. */
	*pde = 0x8200000 | PG_PS | PG_P | PG_W | PG_U;
	invlpg(va);
	check_exc_hw("pse.reserved", rt_try(rd, (void *)va), PF, 9);
	/* With CR4.PSE clear, bit 7 means nothing: it is a table. */
	wr32(table + 1, 0x8000000 | PG_P);
	*pde = 0;
	invlpg(va);
	*pde = (u32)table | PG_P | PG_W | PG_U;
	check("pse.table", rd32((void *)(va + 0x1000)), rd32((void *)0x8000000));
	*pde = 0;
	wr32(table + 1, 0);
	invlpg(va);
}

static u64 *pdpt, *pd3, *pt3;

static void pae_on(void)
{
	pdpt = rt_page();
	pd3 = 0;
	wr_cr0(rd_cr0() & ~CR0_PG);
	for (u32 i = 0; i < 4; i++) {
		u64 *pd = rt_page();

		for (u32 j = 0; j < 512; j++)
			pd[j] = (u64)(i << 30 | j << 21) | PG_PS | PG_P | PG_W | PG_U;
		pdpt[i] = (u32)pd | PG_P;
		pd3 = pd;
	}
	pt3 = rt_page();
	pd3[0] = (u32)pt3 | PG_P | PG_W | PG_U;
	pt3[0] = page | PG_P | PG_W | PG_U;
	wr_cr4(rd_cr4() | CR4_PAE);
	wr_cr3((u32)pdpt);
	wr_cr0(rd_cr0() | CR0_PG);
}

static void pset(u64 flags)
{
	*(volatile u64 *)pt3 = page | flags;
	invlpg(VA);
}

static void pae(void)
{
	u64 efer;
	u64 *other = rt_page();

	check("pae.read", rt_try(rd, (void *)VA), NONE);
	check("pae.ad", (rt_try(wr, (void *)VA), pt3[0] & (PG_A | PG_D)), PG_A | PG_D);
	check_exc("pae.np", rt_try(wr, (void *)(VA + 4096)), PF, 2);
	pset(PG_P | PG_U);
	check_exc("pae.ro", rt_user(wr, (void *)VA), PF, 7);
	*(volatile u8 *)page = 0xc3;
	efer = rdmsr(MSR_EFER);
	wrmsr(MSR_EFER, efer | 0x800);
	pset(PG_P | PG_W | PG_U | PG_NX);
	check("pae.nx-read", rt_try(rd, (void *)VA), NONE);
	check_exc("pae.nx", rt_try(call, (void *)VA), PF, 0x11);
	wrmsr(MSR_EFER, efer & ~0x800ull);
	invlpg(VA);
	check_exc_hw("pae.nx-reserved", rt_try(rd, (void *)VA), PF, 9);
	pset(PG_P | PG_W | PG_U | 1ull << 62);
	check_exc_hw("pae.high-reserved", rt_try(rd, (void *)VA), PF, 9);
	pset(PG_P | PG_W | PG_U);
	wr32((void *)(VA - 0x200000 + 0x100), 0); /* 2 MiB pages of our own map work */
	/* PDPTEs are loaded with CR3, not looked up: a change waits for MOV CR3. */
	pdpt[3] = 0;
	check_hw("pae.pdpte-cached", rt_try(rd, (void *)VA), NONE);
	wr_cr3((u32)pdpt);
	check_exc("pae.pdpte-np", rt_try(rd, (void *)VA), PF, 0);
	pdpt[3] = (u32)pd3 | PG_P | PG_W; /* bit 1 is reserved there: MOV CR3 faults */
	check_exc_hw("pae.pdpte-reserved", rt_try(set_cr3, pdpt), GP, 0);
	pdpt[3] = (u32)pd3 | PG_P;
	wr_cr3((u32)pdpt);
	check("pae.back", rt_try(rd, (void *)VA), NONE);
	/* The PDPT need only be 32-byte aligned. */
	memcpy((u8 *)other + 0xfe0, pdpt, 32);
	wr_cr3((u32)other + 0xfe0);
	check("pae.align-32", rt_try(rd, (void *)VA), NONE);
	wr_cr3((u32)pdpt);
}

static void controls(void)
{
	ulong cr0 = rd_cr0(), cr4 = rd_cr4();

	if (rt_is_tcg) { /* it does as told */
		check_skip("cr0.refusals", "not under TCG");
	} else {
		check_exc("cr0.pg-without-pe", rt_try(set_cr0, (void *)(cr0 & ~CR0_PE)), GP, 0);
		check_exc("cr4.reserved", rt_try(set_cr4, (void *)(cr4 | 1u << 31)), GP, 0);
		check_exc("cr0.nw-without-cd", rt_try(set_cr0, (void *)(cr0 | 1u << 29)), GP, 0);
	}
	wr_cr0(cr0 & ~0x10ul);
	check("cr0.et-fixed", rd_cr0() & 0x10, 0x10);
	check("cr0.kept", rd_cr0(), cr0);
	check("cr4.kept", rd_cr4(), cr4);
}

void test_main(void)
{
	two_levels();
	plain();
	pse();
	pae_on();
	pae();
	controls();
}
