/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 4-level paging: permissions, error codes, accessed and dirty bits, large
 * pages, reserved bits, WP, NX, SMEP, SMAP. SDM vol. 3, 4.5-4.8. */
#include "tests/asm/rt.h"

#define VA 0x500000000000ul /* PML4 slot 160: nothing else lives there */
static ulong page;          /* backs VA */
static volatile u64 *pte, *pde, *pdpte, *pml4e;

CASE static void rd(void *a) { asm volatile("mov (%0), %%al" :: "r"(a) : "rax"); }
CASE static void wr(void *a) { asm volatile("movb $7, (%0)" :: "r"(a)); }
CASE static void rmw(void *a) { asm volatile("lock incl (%0)" :: "r"(a)); }
CASE static void call(void *a) { asm volatile("call *%0" :: "r"(a)); }
CASE static void stac_rd(void *a)
{
	asm volatile("stac; mov (%0), %%al" :: "r"(a) : "rax");
}
CASE static void user_stac(void *a) { asm volatile("stac"); }
CASE static void sys_push(void *a) { asm volatile("mov %0, %%rsp; int $0x81" :: "r"(a)); }
CASE static void noop(void *a) { }

static void set(u64 flags)
{
	*pte = page | flags;
	invlpg(VA);
}

static void tables(void)
{
	page = (ulong)rt_page();
	rt_map(VA, page, PG_P | PG_W | PG_U);
	pte = rt_pte(VA, 1);
	pde = rt_pte(VA, 2);
	pdpte = rt_pte(VA, 3);
	pml4e = rt_pte(VA, 4);
	*(volatile u8 *)page = 0xc3; /* RET */
}

static void permissions(void)
{
	wr_cr0(rd_cr0() | CR0_WP);
	set(0);
	check_exc("np.read", rt_try(rd, (void *)VA), PF, 0);
	check_exc("np.write", rt_try(wr, (void *)VA), PF, 2);
	check_exc("np.user", rt_user(rd, (void *)VA), PF, 4);
	set(PG_P);
	check("ro.super-read", rt_try(rd, (void *)VA), NONE);
	check_exc("ro.super-write", rt_try(wr, (void *)VA), PF, 3);
	check_exc("ro.user-read-supervisor-page", rt_user(rd, (void *)VA), PF, 5);
	check_exc("ro.user-write", rt_user(wr, (void *)VA), PF, 7);
	wr_cr0(rd_cr0() & ~CR0_WP);
	check("ro.write-without-wp", rt_try(wr, (void *)VA), NONE);
	check("ro.write-without-wp.stored", rd8((void *)page), 7);
	set(PG_P | PG_U);
	check_exc("ro.user-write-without-wp", rt_user(wr, (void *)VA), PF, 7);
	wr_cr0(rd_cr0() | CR0_WP);
	check_exc("ro.user-page-super-write", rt_try(wr, (void *)VA), PF, 3);
	set(PG_P | PG_U);
	check("u.user-read", rt_user(rd, (void *)VA), NONE);
	check_exc("u.user-write", rt_user(wr, (void *)VA), PF, 7);
	check_exc("u.user-fetch-supervisor", (set(PG_P | PG_W), rt_user(call, (void *)VA)), PF, 0x15);
	set(PG_P | PG_W | PG_U);
	check("uw.user-write", rt_user(wr, (void *)VA), NONE);
	*(volatile u8 *)page = 0xc3;
	check("uw.user-fetch", rt_user(call, (void *)VA), NONE);
	check("uw.super-fetch", rt_try(call, (void *)VA), NONE);
}

/* A right withheld at any level is withheld. */
static void levels(void)
{
	volatile u64 *const e[] = { pte, pde, pdpte, pml4e };
	static const char *const names[4][4] = {
		{ "level1.w", "level1.u", "level1.p", "level1.nx" },
		{ "level2.w", "level2.u", "level2.p", "level2.nx" },
		{ "level3.w", "level3.u", "level3.p", "level3.nx" },
		{ "level4.w", "level4.u", "level4.p", "level4.nx" },
	};

	set(PG_P | PG_W | PG_U);
	for (unsigned l = 0; l < 4; l++) {
		u64 old = *e[l];

		*e[l] = old & ~PG_W;
		wr_cr3(rd_cr3());
		check_exc(names[l][0], rt_user(wr, (void *)VA), PF, 7);
		*e[l] = old & ~PG_U;
		wr_cr3(rd_cr3());
		check_exc(names[l][1], rt_user(rd, (void *)VA), PF, 5);
		*e[l] = old & ~PG_P;
		wr_cr3(rd_cr3());
		check_exc(names[l][2], rt_user(rd, (void *)VA), PF, 4);
		*e[l] = old | PG_NX;
		wr_cr3(rd_cr3());
		check_exc(names[l][3], rt_user(call, (void *)VA), PF, 0x15);
		*e[l] = old;
		wr_cr3(rd_cr3());
	}
}

static void accessed_dirty(void)
{
	*pml4e &= ~PG_A;
	*pdpte &= ~PG_A;
	*pde &= ~PG_A;
	set(PG_P | PG_W | PG_U);
	wr_cr3(rd_cr3());
	check("ad.clear", *pte & (PG_A | PG_D), 0);
	rt_try(rd, (void *)VA);
	check("ad.read.pte", *pte & (PG_A | PG_D), PG_A);
	check("ad.read.pde", *pde & PG_A, PG_A);
	check("ad.read.pdpte", *pdpte & PG_A, PG_A);
	check("ad.read.pml4e", *pml4e & PG_A, PG_A);
	rt_try(wr, (void *)VA);
	check("ad.write-after-read", *pte & (PG_A | PG_D), PG_A | PG_D);
	set(PG_P | PG_W | PG_U);
	rt_try(rmw, (void *)VA);
	check("ad.rmw", *pte & (PG_A | PG_D), PG_A | PG_D);
	/* A write that faults sets neither dirty nor, in our entry, the data. */
	set(PG_P | PG_U);
	rt_try(wr, (void *)VA);
	check("ad.write-denied.d", *pte & PG_D, 0);
	set(PG_P | PG_W | PG_U);
	*(volatile u8 *)page = 0xc3;
	rt_try(call, (void *)VA);
	check("ad.fetch", *pte & (PG_A | PG_D), PG_A);
	/* Not-present entries are left alone. */
	set(0x123400);
	rt_try(rd, (void *)VA);
	check("ad.np-untouched", *pte, page | 0x123400);
	set(PG_P | PG_W | PG_U);
}

static void nx(void)
{
	u64 efer = rdmsr(MSR_EFER);

	*(volatile u8 *)page = 0xc3;
	set(PG_P | PG_W | PG_U | PG_NX);
	check("nx.read", rt_try(rd, (void *)VA), NONE);
	check_exc("nx.fetch", rt_try(call, (void *)VA), PF, 0x11);
	check_exc("nx.user-fetch", rt_user(call, (void *)VA), PF, 0x15);
	/* With EFER.NXE clear bit 63 is reserved and I/D is not reported. */
	wrmsr(MSR_EFER, efer & ~0x800ull);
	invlpg(VA);
	check_exc_hw("nxe0.read", rt_try(rd, (void *)VA), PF, 9);
	check_exc_hw("nxe0.fetch-rsvd", rt_try(call, (void *)VA), PF, 9);
	set(PG_P | PG_W | PG_U);
	check("nxe0.fetch", rt_try(call, (void *)VA), NONE);
	set(0);
	check_exc("nxe0.np-fetch", rt_try(call, (void *)VA), PF, 0);
	wrmsr(MSR_EFER, efer);
	set(PG_P | PG_W | PG_U);
}

/* TCG leaves P clear with RSVD, which the manual rules out. */
static void reserved(void)
{
	unsigned bits = cpuid(0x80000008, 0).a & 0xff;
	u64 old;

	if (bits < 52) {
		set(PG_P | PG_W | PG_U | 1ull << 51);
		check_exc_hw("rsvd.pte", rt_try(rd, (void *)VA), PF, 9);
		check_exc_hw("rsvd.pte-write", rt_try(wr, (void *)VA), PF, 0xb);
		check_exc_hw("rsvd.pte-user", rt_user(rd, (void *)VA), PF, 0xd);
		set(PG_W | PG_U | 1ull << 51); /* not present: anything goes */
		check_exc("rsvd.np", rt_try(rd, (void *)VA), PF, 0);
	} else {
		check_skip("rsvd.pte", "52 physical address bits");
	}
	set(PG_P | PG_W | PG_U);
	old = *pml4e;
	*pml4e = old | PG_PS;
	wr_cr3(rd_cr3());
	check_exc_hw("rsvd.pml4e-ps", rt_try(rd, (void *)VA), PF, 9);
	*pml4e = old;
	old = *pde;
	*pde = 0x400000ull | 1 << 13 | PG_P | PG_W | PG_U | PG_PS;
	wr_cr3(rd_cr3());
	check_exc_hw("rsvd.2m-low", rt_try(rd, (void *)VA), PF, 9);
	*pde = old;
	wr_cr3(rd_cr3());
}

static void large(void)
{
	u64 old_pde = *pde, old_pdpte = *pdpte, big = 0x8000000; /* 128 MiB */

	wr32((void *)(big + 0x1ff000), 0x600df00d);
	*pde = big | PG_P | PG_W | PG_U | PG_PS;
	wr_cr3(rd_cr3());
	check("2m.read", rd32((void *)(VA + 0x1ff000)), 0x600df00d);
	check("2m.a", *pde & (PG_A | PG_D), PG_A);
	wr32((void *)(VA + 0x1ff004), 0x12345678);
	check("2m.write", rd32((void *)(big + 0x1ff004)), 0x12345678);
	check("2m.d", *pde & (PG_A | PG_D), PG_A | PG_D);
	*pde = big | PG_P | PG_U | PG_PS | 1 << 12; /* PAT: only memory type */
	wr_cr3(rd_cr3());
	check("2m.pat", rd32((void *)(VA + 0x1ff000)), 0x600df00d);
	check_exc("2m.ro", rt_user(wr, (void *)VA), PF, 7);
	*pde = old_pde;
	if (cpuid(0x80000001, 0).d >> 26 & 1) {
		*pdpte = PG_P | PG_W | PG_U | PG_PS;
		wr_cr3(rd_cr3());
		check("1g.read", rd32((void *)(VA + big + 0x1ff000)), 0x600df00d);
		wr32((void *)(VA + big + 0x1ff008), 1);
		check("1g.write", rd32((void *)(big + 0x1ff008)), 1);
		check("1g.ad", *pdpte & (PG_A | PG_D), PG_A | PG_D);
		*pdpte = 1 << 13 | PG_P | PG_W | PG_U | PG_PS;
		wr_cr3(rd_cr3());
		check_exc_hw("1g.rsvd", rt_try(rd, (void *)VA), PF, 9);
	} else {
		*pdpte |= PG_PS;
		wr_cr3(rd_cr3());
		check_exc_hw("1g.absent", rt_try(rd, (void *)VA), PF, 9);
	}
	*pdpte = old_pdpte;
	wr_cr3(rd_cr3());
}

/* INVLPG drops what was cached; a present entry made more permissive needs none. */
static void cached(void)
{
	ulong other = (ulong)rt_page();

	wr32((void *)page, 0x11111111);
	wr32((void *)other, 0x22222222);
	set(PG_P | PG_W | PG_U);
	check("cached.first", rd32((void *)VA), 0x11111111);
	*pte = other | PG_P | PG_W | PG_U;
	invlpg(VA + 0x123);
	check("cached.invlpg", rd32((void *)VA), 0x22222222);
	*pte = page | PG_P | PG_W | PG_U;
	wr_cr3(rd_cr3());
	check("cached.cr3", rd32((void *)VA), 0x11111111);
	*pte = other | PG_P | PG_W | PG_U | PG_G;
	wr_cr4(rd_cr4() ^ CR4_PGE);
	check("cached.cr4", rd32((void *)VA), 0x22222222);
	wr_cr4(rd_cr4() ^ CR4_PGE);
	*pte = 0;
	invlpg(VA);
	rt_try(rd, (void *)VA);
	*pte = page | PG_P | PG_W | PG_U;
	check("cached.not-present-is-not", rd32((void *)VA), 0x11111111);
	*pte = page | PG_P | PG_U;
	invlpg(VA);
	rt_try(rd, (void *)VA);
	*pte = page | PG_P | PG_W | PG_U; /* the fault drops it, then the retry works */
	if (rt_try(wr, (void *)VA) != NONE)
		check("cached.relaxed", rt_try(wr, (void *)VA), NONE);
	else
		check("cached.relaxed", 1, 1);
}

static void smep_smap(void)
{
	u32 b = cpuid(7, 0).b;
	u64 *root = (u64 *)(rd_cr3() & ~0xffful);
	u64 cr4 = rd_cr4(), low = root[0];

	*(volatile u8 *)page = 0xc3;
	set(PG_P | PG_W | PG_U);
	root[0] &= ~PG_U; /* our own code and data become supervisor's */
	wr_cr3(rd_cr3());
	if (b >> 7 & 1) {
		wr_cr4(cr4 | CR4_SMEP);
		check_exc("smep.fetch", rt_try(call, (void *)VA), PF, 0x11);
		check("smep.read", rt_try(rd, (void *)VA), NONE);
		set(PG_P | PG_W);
		check("smep.super-page", rt_try(call, (void *)VA), NONE);
		set(PG_P | PG_W | PG_U);
	}
	if (b >> 20 & 1) {
		wr_cr4(cr4 | CR4_SMAP);
		check_exc("smap.read", rt_try(rd, (void *)VA), PF, 1);
		check_exc("smap.write", rt_try(wr, (void *)VA), PF, 3);
		check("smap.stac", rt_try(stac_rd, (void *)VA), NONE);
		check("smap.fetch", rt_try(call, (void *)VA), NONE);
		check_exc("smap.after", rt_try(rd, (void *)VA), PF, 1);
		set(PG_P | PG_W);
		check("smap.super-page", rt_try(rd, (void *)VA), NONE);
		set(PG_P | PG_W | PG_U);
	}
	wr_cr4(cr4);
	root[0] = low;
	wr_cr3(rd_cr3());
	if (b >> 20 & 1)
		check_exc("smap.user-stac", rt_user(user_stac, 0), UD, 0);
	check("smep.none", rt_user(call, (void *)VA), NONE);
}

/* Delivery's own stores obey paging: a stack page that is not there makes #PF,
 * and on a fault while delivering #PF, #DF. Both land on the IST stack. */
static void delivery(void)
{
	set(PG_P | PG_W);
	rt_idt_set(PF, (ulong)rt_stubs + PF * 16, SEL_KCS, 0x8e, 1);
	check("delivery.fits", rt_try(sys_push, (void *)(VA + 0x1000)), 0x81);
	check("delivery.a-d", *pte & (PG_A | PG_D), PG_A | PG_D);
	check_exc("delivery.pf", rt_try(sys_push, (void *)(VA + 0x2000)), PF, 2);
	check("delivery.pf.cr2", rt_exc.cr2, VA + 0x2000 - 8);
	rt_idt_set(PF, (ulong)rt_stubs + PF * 16, SEL_KCS, 0x8e, 0);
	rt_idt_set(DF, (ulong)rt_stubs + DF * 16, SEL_KCS, 0x8e, 1);
	check_exc("delivery.df", rt_try(sys_push, (void *)(VA + 0x2000)), DF, 0);
	/* The frame crosses into an absent page half way. */
	check_exc("delivery.df-half", rt_try(sys_push, (void *)(VA + 0x10)), DF, 0);
	rt_idt_set(DF, (ulong)rt_stubs + DF * 16, SEL_KCS, 0x8e, 0);
}

void test_main(void)
{
	tables();
	permissions();
	levels();
	accessed_dirty();
	nx();
	reserved();
	large();
	cached();
	smep_smap();
	delivery();
	check("user.noop", rt_user(noop, 0), NONE);
}
