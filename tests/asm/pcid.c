/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Process-context identifiers, INVPCID and global pages. SDM vol. 3, 4.10. */
#include "tests/asm/rt.h"

#define VA 0x500000000000ul
#define NOFLUSH (1ull << 63)
static ulong one, two, fresh;
static volatile u64 *pte;
static ulong root;
struct desc { u64 pcid, addr; } __attribute__((aligned(16)));

static void invpcid(ulong type, u64 pcid, u64 addr)
{
	struct desc d = { pcid, addr };
	asm volatile("invpcid %0, %1" :: "m"(d), "r"(type) : "memory");
}

CASE static void bad_type(void *a) { invpcid(4, 0, 0); }
CASE static void bad_pcid(void *a) { invpcid(1, 0x1000, 0); }
CASE static void bad_addr(void *a) { invpcid(0, 0, 0x800000000000ul); }
CASE static void user_invpcid(void *a) { invpcid(2, 0, 0); }
CASE static void set_cr4(void *a) { wr_cr4((ulong)a); }
CASE static void set_cr3(void *a) { wr_cr3((ulong)a); }
CASE static void no_invpcid(void *a) { invpcid(2, 0, 0); }

static u32 look(void) { return rd32((void *)VA); }
static void point(ulong page, u64 extra) { *pte = page | PG_P | PG_W | PG_U | extra; }

static void globals(void)
{
	wr_cr4(rd_cr4() | CR4_PGE);
	point(one, PG_G);
	invlpg(VA);
	check("global.first", look(), 1);
	point(two, PG_G);
	/* A global entry may be kept over MOV CR3; every CPU that has PGE keeps it. */
	wr_cr3(rd_cr3());
	check_true("global.cr3", look() == 1 || look() == 2);
	invlpg(VA);
	check("global.invlpg", look(), 2);
	point(one, PG_G);
	wr_cr4(rd_cr4() & ~CR4_PGE);
	check("global.pge-off", look(), 1);
	point(two, PG_G);
	wr_cr3(rd_cr3());
	check("global.bit-without-pge", look(), 2);
	wr_cr4(rd_cr4() | CR4_PGE);
	point(one, 0);
	invlpg(VA);
	look();
	point(two, 0);
	wr_cr3(rd_cr3());
	check("global.plain-entry", look(), 2);
}

static void pcids(void)
{
	ulong cr4 = rd_cr4();

	if (!(cpuid(1, 0).c >> 17 & 1)) {
		check_exc_hw("pcid.cr4-absent", rt_try(set_cr4, (void *)(cr4 | CR4_PCIDE)), GP, 0);
		check_skip("pcid", "not offered");
		return;
	}
	wr_cr3(root | 8); /* PCD: would be PCID 8 */
	check_exc("pcid.cr4-low-bits", rt_try(set_cr4, (void *)(cr4 | CR4_PCIDE)), GP, 0);
	wr_cr3(root);
	check("pcid.on", rt_try(set_cr4, (void *)(cr4 | CR4_PCIDE)), NONE);
	wr_cr3(root | 5);
	check("pcid.cr3", rd_cr3(), root | 5);
	point(one, 0);
	invlpg(VA);
	check("pcid.one", look(), 1);
	point(two, 0);
	wr_cr3(root | 5 | NOFLUSH);
	check("pcid.cr3-bit63-reads-0", rd_cr3(), root | 5);
	check_true("pcid.noflush", look() == 1 || look() == 2);
	wr_cr3(root | 5);
	check("pcid.flush", look(), 2);
	/* Another PCID's entries are not this one's. */
	wr_cr3(root | 6);
	point(one, 0);
	check("pcid.other", look(), 1);
	wr_cr3(root | 5);
	check("pcid.back", look(), 1);
	check_exc("pcid.cr3-bit62", rt_try(set_cr3, (void *)(root | 1ul << 62)), GP, 0);
	wr_cr3(root);
	wr_cr3(root | 5);
	/* CR4.PCIDE cannot be cleared into a mode without long mode only; clearing
	 * it here is allowed and flushes. */
	look();
	point(two, 0);
	wr_cr3(root);
	wr_cr4(rd_cr4() & ~CR4_PCIDE);
	check("pcid.off-flushes", look(), 2);
	wr_cr4(cr4);
}

static void invpcids(void)
{
	bool pcid = cpuid(1, 0).c >> 17 & 1;

	if (!(cpuid(7, 0).b >> 10 & 1)) {
		check_exc("invpcid.absent", rt_try(no_invpcid, 0), UD, 0);
		return;
	}
	check_exc("invpcid.type", rt_try(bad_type, 0), GP, 0);
	check_exc("invpcid.pcid", rt_try(bad_pcid, 0), GP, 0);
	if (pcid)
		wr_cr4(rd_cr4() | CR4_PCIDE);
	/* TCG does not look at the address. */
	check_exc_hw("invpcid.addr", rt_try(bad_addr, 0), GP, 0);
	check_exc("invpcid.user", rt_user(user_invpcid, 0), GP, 0);
	point(one, 0);
	invlpg(VA);
	check("invpcid.first", look(), 1);
	point(two, 0);
	invpcid(0, 0, VA);
	check("invpcid.address", look(), 2);
	point(one, 0);
	invpcid(1, 0, 0);
	check("invpcid.single", look(), 1);
	point(two, PG_G);
	invpcid(2, 0, 0);
	check("invpcid.all", look(), 2);
	point(one, PG_G);
	invpcid(3, 0, 0);
	check_true("invpcid.nonglobal-global", look() == 1 || look() == 2);
	invpcid(2, 0, 0);
	check("invpcid.all-global", look(), 1);
	point(two, 0);
	invpcid(2, 0, 0);
	look();
	point(one, 0);
	invpcid(3, 0, 0);
	check("invpcid.nonglobal", look(), 1);
	if (pcid)
		wr_cr4(rd_cr4() & ~CR4_PCIDE);
}

/*
 * What a processor may keep of an address space while another one is current, and what it
 * must not. A is left, something changes, A comes back with the no-flush bit.
 */
#define A (root | 5)
#define B (root | 6)
#define VA_CODE (VA + 0x3000)
#define VA_ALIAS (VA + 0x5000)
static volatile u64 *pte_code;

static void put_code(ulong at, u32 value) /* MOV EAX, value; RET */
{
	*(volatile u8 *)at = 0xb8;
	wr32((void *)(at + 1), value);
	*(volatile u8 *)(at + 5) = 0xc3;
}
/* Often enough to be translated; 0 if the answer changes. */
static u32 call(ulong at)
{
	u32 first = ((u32 (*)(void))at)(), same = 1;

	for (unsigned n = 0; n < 100; n++)
		same &= ((u32 (*)(void))at)() == first;
	return same ? first : 0;
}

/* What A knows is page one; B is current and the page table says two. */
static void leave_a(void)
{
	wr_cr3(A);
	point(one, 0);
	*pte_code = one | PG_P | PG_W;
	invlpg(VA);
	invlpg(VA_CODE);
	look();
	call(VA_CODE + 8);
	wr_cr3(B);
	look();
	point(two, 0);
	*pte_code = two | PG_P | PG_W;
}

static void back_in_a(const char *data, const char *code)
{
	wr_cr3(A | NOFLUSH);
	check(data, look(), 2);
	check(code, call(VA_CODE + 8), 2);
}

static void kept(void)
{
	ulong cr4 = rd_cr4();
	bool invpcid_there = cpuid(7, 0).b >> 10 & 1;
	u64 wrong = 0;

	if (!(cpuid(1, 0).c >> 17 & 1)) {
		check_skip("kept", "no PCIDs");
		return;
	}
	wr_cr3(root);
	wr_cr4(cr4 | CR4_PCIDE | CR4_PGE);
	leave_a();
	wr_cr3(A | NOFLUSH);
	check_true("kept.either", look() == 1 || look() == 2);
	invlpg(VA);
	invlpg(VA_CODE);
	back_in_a("kept.invlpg", "kept.invlpg-code");
	leave_a();
	wr_cr3(A);
	back_in_a("kept.flush", "kept.flush-code");
	leave_a();
	wr_cr4(rd_cr4() & ~CR4_PGE);
	wr_cr4(rd_cr4() | CR4_PGE);
	back_in_a("kept.pge", "kept.pge-code");
	/* Many spaces between. */
	leave_a();
	for (ulong n = 16; n < 60; n++) {
		wr_cr3(root | n);
		wrong += look() != 2 || call(VA_CODE + 8) != 2;
	}
	check("kept.many", wrong, 0);
	wr_cr3(A);
	back_in_a("kept.after-many", "kept.after-many-code");
	if (invpcid_there) {
		leave_a();
		invpcid(0, 5, VA);
		invpcid(0, 5, VA_CODE);
		back_in_a("kept.invpcid-address", "kept.invpcid-address-code");
		leave_a();
		invpcid(1, 5, 0);
		back_in_a("kept.invpcid-single", "kept.invpcid-single-code");
		leave_a();
		invpcid(2, 0, 0);
		back_in_a("kept.invpcid-all", "kept.invpcid-all-code");
		leave_a();
		invpcid(3, 0, 0);
		back_in_a("kept.invpcid-nonglobal", "kept.invpcid-nonglobal-code");
	}
	/* A page that is written in A, first executed in B, and written again by what A kept. */
	wr_cr3(A);
	point(fresh, 0);
	invlpg(VA);
	put_code(VA + 16, 7);
	wr_cr3(B);
	check("kept.written-in-a", call(VA_ALIAS + 16), 7);
	wr_cr3(A | NOFLUSH);
	put_code(VA + 16, 8);
	wr_cr3(B | NOFLUSH);
	check("kept.written-again", call(VA_ALIAS + 16), 8);
	wr_cr3(root);
	wr_cr4(cr4);
}

void test_main(void)
{
	root = rd_cr3() & ~0xffful;
	one = (ulong)rt_page();
	two = (ulong)rt_page();
	fresh = (ulong)rt_page(); /* nothing was ever executed there */
	wr32((void *)one, 1);
	wr32((void *)two, 2);
	rt_map(VA, one, PG_P | PG_W | PG_U);
	pte = rt_pte(VA, 1);
	put_code(one + 8, 1);
	put_code(two + 8, 2);
	rt_map(VA_CODE, one, PG_P | PG_W);
	rt_map(VA_ALIAS, fresh, PG_P | PG_W);
	pte_code = rt_pte(VA_CODE, 1);
	globals();
	pcids();
	invpcids();
	kept();
}
