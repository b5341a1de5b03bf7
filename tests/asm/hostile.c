/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptor tables as an enemy would set them: double faults, tables in absent
 * pages, limits that cut entries. Each ends in a defined fault. SDM vol. 3, 6.15. */
#include "tests/asm/rt.h"

#define HOLE 0x500000000000ul
CASE static void ud(void *a) { asm volatile("ud2"); }
CASE static void int99(void *a) { asm volatile("int $0x99"); }
CASE static void load_ds(void *a) { asm volatile("mov %0, %%ds" :: "r"(a)); }
CASE static void lidt_(void *a) { asm volatile("lidt (%0)" :: "r"(a)); }
CASE static void lgdt_(void *a) { asm volatile("lgdt (%0)" :: "r"(a)); }
CASE static void ltr_(void *a) { asm volatile("ltr %w0" :: "r"(a)); }
CASE static void lldt_(void *a) { asm volatile("lldt %w0" :: "r"(a)); }
CASE static void pf(void *a) { asm volatile("mov %0, %%al" :: "m"(*(u8 *)HOLE) : "rax"); }

static void with_idt(ulong base, u16 limit)
{
	struct rt_dtr d = { limit, base };
	asm volatile("lidt %0" :: "m"(d));
}

static void double_faults(void)
{
	rt_idt_set(DF, (ulong)rt_stubs + DF * 16, SEL_KCS, 0x8e, 1);
	rt_idt_set(NP, (ulong)rt_stubs, SEL_KCS, 0x0e, 0);
	rt_idt_set(UD, (ulong)rt_stubs, SEL_KCS, 0x0e, 0);
	/* #UD is benign: its delivery fault #NP is itself cut off by #NP's own gate,
	 * contributory on contributory: double fault. */
	check_exc("df.np-np", rt_try(ud, 0), DF, 0);
	rt_idt_set(NP, (ulong)rt_stubs + NP * 16, SEL_KCS, 0x8e, 0);
	/* #UD benign, then #NP: delivered as #NP, with EXT set: a fault brought it. */
	check_exc_hw("np.of-ud", rt_try(ud, 0), NP, UD * 8 + 3);
	rt_idt_set(UD, (ulong)rt_stubs + UD * 16, SEL_KCS, 0x8e, 0);
	/* #PF whose gate is absent: #PF then contributory: double fault. */
	rt_idt_set(PF, (ulong)rt_stubs, SEL_KCS, 0x0e, 0);
	check_exc("df.pf-np", rt_try(pf, 0), DF, 0);
	rt_idt_set(PF, (ulong)rt_stubs + PF * 16, SEL_KCS, 0x8e, 0);
	/* #GP, and #GP again on its way. */
	rt_idt_set(GP, (ulong)rt_stubs, 0x7ff8, 0x8e, 0); /* its CS is beyond: #GP */
	check_exc("df.gp-gp", rt_try(load_ds, (void *)0x7f8), DF, 0);
	rt_idt_set(GP, (ulong)rt_stubs + GP * 16, SEL_KCS, 0x8e, 0);
}

static void idt_places(void)
{
	u8 *copy = rt_pages(2);

	/* The limit cuts vector 0x99's gate: #GP with the IDT bit. */
	with_idt(rt_idtr.base, 0x99 * 16 + 14);
	check_exc_hw("idt.cut", rt_try(int99, 0), GP, 0x99 * 8 + 2);
	with_idt(rt_idtr.base, 0x99 * 16 + 15);
	check("idt.whole", rt_try(int99, 0), 0x99);
	/* The gate's page is absent: a page fault in the course of INT n. */
	rt_map(HOLE, (ulong)copy, PG_P | PG_W);
	/* Vectors from 0x80 on lie in the second, absent, page. */
	memcpy(copy + 0x800, (void *)rt_idtr.base, 0x800);
	with_idt(HOLE + 0x800, 0xfff);
	check_exc("idt.absent-page", rt_try(int99, 0), PF, 0);
	check("idt.absent-page.cr2", rt_exc.cr2 >> 4, (HOLE + 0x800 + 0x99 * 16) >> 4);
	check_exc("idt.present-part", rt_try(ud, 0), UD, 0);
	with_idt(rt_idtr.base, rt_idtr.limit);
	/* IDT gates are read with supervisor rights, from ring 3 too. */
	rt_map(HOLE, (ulong)copy, PG_P);
	rt_map(HOLE + 4096, (ulong)copy + 4096, PG_P);
	memcpy(copy, (void *)rt_idtr.base, 4096);
	with_idt(HOLE, 0xfff);
	check_exc("idt.supervisor-page", rt_user(ud, 0), UD, 0);
	with_idt(rt_idtr.base, rt_idtr.limit);
}

static void gdt_places(void)
{
	u64 *copy = rt_page();
	struct rt_dtr d = { 0xfff, HOLE };

	memcpy(copy, rt_gdt, GDT_SLOTS * 8);
	rt_map(HOLE, (ulong)copy, PG_P | PG_W);
	rt_map(HOLE + 4096, 0, 0);
	asm volatile("lgdt %0" :: "m"(d));
	check("gdt.moved", rt_try(load_ds, (void *)SEL_KDS), NONE);
	/* A descriptor in a read-only page whose accessed bit must be set: #PF. */
	copy[12] = rt_desc(0, 0xfffff, 0x92, 0xc);
	rt_map(HOLE, (ulong)copy, PG_P);
	wr_cr0(rd_cr0() | CR0_WP);
	check_exc_hw("gdt.read-only", rt_try(load_ds, (void *)0x60), PF, 3);
	copy[12] |= 1ull << 40;
	check("gdt.read-only-accessed", rt_try(load_ds, (void *)0x60), NONE);
	asm volatile("lgdt %0" :: "m"(rt_gdtr));
	d.base = 0x800000000000ul;
	if (rt_is_tcg) { /* it loads them */
		check_skip("lgdt.noncanonical", "not under TCG");
	} else {
		check_exc("lgdt.noncanonical", rt_try(lgdt_, &d), GP, 0);
		check_exc("lidt.noncanonical", rt_try(lidt_, &d), GP, 0);
	}
	check_exc("gdt.limit", rt_try(load_ds, (void *)(GDT_SLOTS * 8)), GP, GDT_SLOTS * 8);
}

static void bad_task_registers(void)
{
	check_exc("ltr.null", rt_try(ltr_, 0), GP, 0);
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0x67, 0x89, 0));
	rt_gdt_set(SEL_SPARE + 8, 0x00008000); /* base bit 47, no sign above it */
	check("ltr.noncanonical", rt_try(ltr_, (void *)SEL_SPARE), GP);
	/* The second half lies beyond the GDT's limit. */
	rt_gdt_set(0x1f8, rt_desc(0, 0x67, 0x89, 0));
	check_exc("ltr.half", rt_try(ltr_, (void *)0x1f8), GP, 0x1f8);
}

static void task_registers(void)
{
	if (!rt_is_tcg) /* it loads null, bad bases and half descriptors */
		bad_task_registers();
	check_exc("ltr.busy", rt_try(ltr_, (void *)SEL_TSS), GP, SEL_TSS);
	check_exc("ltr.type", rt_try(ltr_, (void *)SEL_KDS), GP, SEL_KDS);
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0x67, 0x09, 0));
	rt_gdt_set(SEL_SPARE + 8, 0);
	check_exc("ltr.not-present", rt_try(ltr_, (void *)SEL_SPARE), NP, SEL_SPARE);
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0x67, 0x89, 0));
	/* Type bits in the upper half must be zero. */
	rt_gdt_set(SEL_SPARE + 8, 0x1f00ull << 32);
	check_exc("ltr.upper-type", rt_try(ltr_, (void *)SEL_SPARE), GP, SEL_SPARE);
	check("lldt.null", rt_try(lldt_, 0), NONE);
	check_exc("lldt.type", rt_try(lldt_, (void *)SEL_TSS), GP, SEL_TSS);
}

/* Ring 3's way in needs RSP0; a bad one is a double fault at worst. */
static void bad_rsp0(void)
{
	u64 rsp0 = rt_tss.rsp[0];

	rt_tss.rsp[0] = HOLE + 0x100000;
	check_exc("rsp0.absent", rt_user(ud, 0), DF, 0);
	rt_tss.rsp[0] = 0x800000000000ul;
	check_exc_hw("rsp0.noncanonical", rt_user(ud, 0), DF, 0);
	rt_tss.rsp[0] = rsp0;
	check_exc("rsp0.good", rt_user(ud, 0), UD, 0);
	/* RSP0 is aligned down to 16 before the frame. */
	rt_tss.rsp[0] = rsp0 - 5;
	check_exc("rsp0.odd", rt_user(ud, 0), UD, 0);
	rt_tss.rsp[0] = rsp0;
}

void test_main(void)
{
	double_faults();
	idt_places();
	gdt_places();
	task_registers();
	bad_rsp0();
}
