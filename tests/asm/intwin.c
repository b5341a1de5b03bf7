/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When an interrupt may come: STI and MOV SS shadows, POPF, HLT, CLI, TPR.
 * SDM vol. 3, 6.8. The interrupt is the local APIC's self-IPI, pending at once. */
#include "tests/asm/rt.h"

#define APIC 0xfee00000ul
static volatile u64 count, ip, ips[8], vectors[8];
extern char w_sti1[], w_sti2[], w_popf[], w_ss1[], w_ss2[], w_hlt[], w_iret[], w_cr8[];

static void on_irq(struct rt_regs *r)
{
	if (count < 8) {
		ips[count] = r->ip;
		vectors[count] = r->vector;
	}
	count++;
	ip = r->ip;
	wr32((void *)(APIC + 0xb0), 0);
}

static void self(unsigned vector)
{
	wr32((void *)(APIC + 0x300), 0x40000 | 0x4000 | vector);
	while (rd32((void *)(APIC + 0x300)) & 0x1000)
		;
	rt_udelay(50);
}

CASE static void sti_window(void)
{
	asm volatile("sti; nop; w_sti1: nop; nop; cli" ::: "memory");
}
CASE static void sti_cli(void) { asm volatile("sti; cli; nop; nop" ::: "memory"); }
CASE static void sti_sti(void)
{
	/* Only the first STI has a shadow: the second finds IF set already. */
	asm volatile("sti; sti; w_sti2: nop; nop; cli" ::: "memory");
}
CASE static void popf_window(void)
{
	asm volatile("pushf; pop %%rax; or $0x200, %%rax; push %%rax; popf\n"
		     "w_popf: nop; nop; cli" ::: "rax", "memory");
}
CASE static void ss_window(void)
{
	asm volatile("mov %%ss, %%eax; sti; mov %%eax, %%ss\n"
		     "w_ss1: nop; w_ss2: nop; nop; cli" ::: "rax", "memory");
}
CASE static void sti_hlt(void)
{
	asm volatile("sti; hlt; w_hlt: cli" ::: "memory");
}
CASE static void iret_window(void)
{
	asm volatile("mov %%rsp, %%rax; mov %%ss, %%ecx; push %%rcx; push %%rax; pushf\n"
		     "orq $0x200, (%%rsp); push %0; push $w_iret; iretq\n"
		     "w_iret: nop; nop; cli" :: "r"((ulong)SEL_KCS) : "rax", "rcx", "memory");
}
CASE static void cr8_window(void)
{
	asm volatile("xor %%eax, %%eax; mov %%rax, %%cr8; w_cr8: nop; nop" ::: "rax", "memory");
}

static void shadows(void)
{
	count = 0;
	self(0x40);
	check("if0.pending", count, 0);
	sti_window();
	check("sti.count", count, 1);
	check("sti.one-instruction", ip, (ulong)w_sti1);
	self(0x40);
	sti_cli();
	check("sti-cli.none", count, 1);
	sti_sti();
	check("sti-sti.count", count, 2);
	check("sti-sti.ip", ip, (ulong)w_sti2);
	self(0x40);
	popf_window();
	check("popf.count", count, 3);
	check("popf.no-shadow", ip, (ulong)w_popf);
	self(0x40);
	iret_window();
	check("iret.count", count, 4);
	check("iret.no-shadow", ip, (ulong)w_iret);
	/* STI's shadow runs into MOV SS, whose own shadow covers one more. */
	self(0x40);
	ss_window();
	check("movss.count", count, 5);
	check("movss.ip", ip == (ulong)w_ss1 || ip == (ulong)w_ss2, 1);
	check_hw("movss.one-instruction", ip, (ulong)w_ss2);
	self(0x40);
	sti_hlt();
	check("sti-hlt.count", count, 6);
	check("sti-hlt.after", ip, (ulong)w_hlt);
}

static void priorities(void)
{
	count = 0;
	self(0x40);
	self(0x90);
	self(0x60);
	self(0x60); /* the same vector twice is once */
	sti();
	asm volatile("nop; nop; nop");
	cli();
	check("priority.count", count, 3);
	/* A handler with IF clear is not interrupted: they come one by one. */
	check("priority.first", vectors[0], 0x90);
	check("priority.second", vectors[1], 0x60);
	check("priority.third", vectors[2], 0x40);
}

static void tpr(void)
{
	ulong v;

	count = 0;
	asm volatile("mov %0, %%cr8" :: "r"(9ul));
	check("cr8.tpr", rd32((void *)(APIC + 0x80)), 0x90);
	self(0x90);
	sti();
	asm volatile("nop; nop");
	check("tpr.blocks-equal", count, 0);
	cr8_window();
	check("tpr.opens", count, 1);
	check_true("tpr.at-once", ip == (ulong)w_cr8);
	wr32((void *)(APIC + 0x80), 0x4f);
	asm volatile("mov %%cr8, %0" : "=r"(v));
	check("tpr.cr8", v, 4);
	self(0x50);
	check("tpr.above", count, 2);
	/* KVM's APIC takes the TPR back from CR8 and loses its low half. */
	if (!rt_told("kvm-apic"))
		check("tpr.ppr", rd32((void *)(APIC + 0xa0)), 0x4f);
	cli();
	wr32((void *)(APIC + 0x80), 0);
}

CASE static void bad_cr8(void *a) { asm volatile("mov %0, %%cr8" :: "r"(0x10ul)); }
CASE static void user_cr8(void *a) { asm volatile("mov %0, %%cr8" :: "r"(0ul)); }
CASE static void popf_user(void *a)
{
	asm volatile("pushf; orq $0x3200, (%%rsp); popf" ::: "memory");
	asm volatile("pushf; pop %0" : "=r"(*(ulong *)a));
}
CASE static void sti_(void *a) { asm volatile("sti; cli"); }

static void flags(void)
{
	static ulong f;

	check_exc_hw("cr8.reserved", rt_try(bad_cr8, 0), GP, 0);
	check_exc("cr8.user", rt_user(user_cr8, 0), GP, 0);
	/* POPF in ring 3 leaves IF and IOPL as they are, without a fault. */
	rt_user(popf_user, &f);
	check("popf.user", f & (FL_IF | FL_IOPL), 0);
	rt_user_fl(popf_user, &f, FL_IOPL);
	check("popf.user-iopl3", f & (FL_IF | FL_IOPL), FL_IF | FL_IOPL);
	check_exc("sti.user", rt_user(sti_, 0), GP, 0);
	check("sti.user-iopl3", rt_user_fl(sti_, 0, FL_IOPL), NONE);
}

void test_main(void)
{
	for (unsigned v = 0x40; v <= 0x60; v += 0x10)
		rt_handle(v, on_irq);
	rt_handle(0x90, on_irq);
	wr32((void *)(APIC + 0xf0), 0x1ff);
	shadows();
	priorities();
	tpr();
	flags();
}
