/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtual-8086 mode: entry by IRET, addressing, IOPL, VME's virtual IF and
 * interrupt redirection, exceptions out of it. SDM vol. 3, chapter 20. */
#include "tests/asm/rt.h"

#define SEG 0x2000 /* our code's segment: linear 0x20000 */
#define SP0 0xf000
static u8 *const code = (u8 *)(SEG * 16);

/* Enters virtual-8086 mode at SEG:0 with @fl added to the flags. */
struct entry { u32 fl, ds, es; };
CASE static void enter(void *a)
{
	struct entry *e = a;
	asm volatile("pushl $0x4444; pushl $0x3333; pushl %1; pushl %2; pushl %3; pushl %4; pushl %5\n"
		     "pushl %6; pushl $0; mov $0x12345678, %%eax; mov $0x99, %%ebx; xor %%edx, %%edx; iretl"
		     :: "a"(0), "r"(e->ds), "r"(e->es), "i"(SEG), "i"(SP0),
			"r"(e->fl | FL_VM | 2), "i"(SEG)
		     : "memory", "ebx", "edx");
}

static int go(const void *bytes, unsigned n, u32 fl)
{
	struct entry e = { fl, 0x2100, 0x2200 };

	memcpy(code, bytes, n);
	return rt_try(enter, &e);
}
#define GO(fl, ...) go((const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }), fl)

static void basics(void)
{
	/* hlt is privileged: the frame shows everything. */
	check_exc("hlt", GO(0, 0xf4), GP, 0);
	check("frame.cs", rt_exc.cs, SEG);
	check("frame.ip", rt_exc.ip, 0);
	check("frame.vm", rt_exc.flags & FL_VM, FL_VM);
	check("frame.ss", rt_exc.ss, SEG);
	check("frame.sp", rt_exc.sp, SP0);
	check("frame.ds", rt_exc.v_ds, 0x2100);
	check("frame.es", rt_exc.v_es, 0x2200);
	check("frame.fs", rt_exc.v_fs, 0x3333);
	check("frame.gs", rt_exc.v_gs, 0x4444);
	/* mov [0x10],ax (DS); mov bx,es; mov es:[0x20],bx; push cs; pop ss; hlt */
	wr32((void *)0x21010, 0);
	check_exc("seg", GO(0, 0xa3, 0x10, 0, 0x8c, 0xc3, 0x26, 0x89, 0x1e, 0x20, 0, 0xf4), GP, 0);
	check("seg.ds", rd32((void *)0x21010), 0x5678);
	check("seg.es", rd32((void *)0x22020) & 0xffff, 0x2200);
	check("seg.bx", rt_exc.bx, 0x2200);
	/* Any selector loads; limits stay 64 KiB: a word at 0xffff is #GP. */
	check_exc("limit", GO(0, 0xa1, 0xff, 0xff, 0xf4), GP, 0);
	check_hw("limit.ip", rt_exc.ip, 0);
	/* 32-bit address beyond 64 KiB. */
	check_exc("limit32", GO(0, 0x67, 0xa1, 0, 0, 1, 0, 0xf4), GP, 0);
	check_hw("limit32.ip", rt_exc.ip, 0);
	check_exc("ud2", GO(0, 0x0f, 0x0b), UD, 0);
	check_exc("lldt", GO(0, 0x0f, 0x00, 0xd0), UD, 0);
	check_exc("arpl", GO(0, 0x63, 0xc0), UD, 0);
	check_exc("cr0", GO(0, 0x0f, 0x20, 0xc0), GP, 0);
	check_exc("clts", GO(0, 0x0f, 0x06), GP, 0);
	check_exc("div", GO(0, 0x31, 0xc9, 0xf7, 0xf1), DE, 0);
	/* smsw works, call far and return too: call 2000:0010; hlt; 10: mov bl,77; retf */
	check_exc("far", GO(0, 0x9a, 0x10, 0, 0, 0x20, 0xf4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			    0xb3, 0x77, 0xcb), GP, 0);
	check("far.bl", rt_exc.bx & 0xff, 0x77);
	check("far.ip", rt_exc.ip, 5);
}

static void iopl(void)
{
	static const struct { const char *lo, *hi; u8 op[2]; } ops[] = {
		{ "iopl0.cli", "iopl3.cli", { 0xfa, 0xf4 } }, { "iopl0.sti", "iopl3.sti", { 0xfb, 0xf4 } },
		{ "iopl0.pushf", "iopl3.pushf", { 0x9c, 0xf4 } }, { "iopl0.popf", "iopl3.popf", { 0x9d, 0xf4 } },
	};

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		check_exc(ops[i].lo, go(ops[i].op, 2, 0), GP, 0);
		check("iopl0.ip", rt_exc.ip, 0);
		*(u16 *)(code + SP0) = 2;
		check_exc(ops[i].hi, go(ops[i].op, 2, FL_IOPL), GP, 0);
		check("iopl3.ip", rt_exc.ip, 1);
	}
	check_exc("iopl0.int", GO(0, 0xcd, 0x80, 0xf4), GP, 0);
	check("iopl3.int", GO(FL_IOPL, 0xcd, 0x80, 0xf4), NONE);
	check("iopl3.int.ip", rt_exc.ip, 2);
	/* INT n from there wants DPL 3. */
	check_exc("iopl3.int-dpl0", GO(FL_IOPL, 0xcd, 0x85), GP, 0x85 * 8 + 2);
	check_exc("int3", GO(0, 0xcc), BP, 0);
	check_exc("iopl0.iret", GO(0, 0xcf), GP, 0);
	*(u16 *)(code + SP0) = 0x30;
	*(u16 *)(code + SP0 + 2) = SEG;
	*(u16 *)(code + SP0 + 4) = 0x3242;
	code[0x30] = 0xf4;
	check_exc("iopl3.iret", GO(FL_IOPL, 0xcf), GP, 0);
	check("iopl3.iret.ip", rt_exc.ip, 0x30);
	check("iopl3.iret.flags", rt_exc.flags & (FL_VM | FL_IOPL | FL_IF | FL_ZF), FL_VM | FL_IOPL | FL_IF | FL_ZF);
	/* I/O goes by the permission bitmap whatever IOPL says. */
	check_exc("io.denied", GO(FL_IOPL, 0xe6, 0x80, 0xf4), GP, 0);
	check("io.denied.ip", rt_exc.ip, 0);
	rt_tss.iomap = offsetof(struct rt_tss, io);
	rt_tss.io[0x80 / 8] = 0xfe;
	check_exc("io.allowed", GO(0, 0xe6, 0x80, 0xf4), GP, 0);
	check("io.allowed.ip", rt_exc.ip, 2);
	check_exc("io.word", GO(0, 0xe7, 0x80, 0xf4), GP, 0);
	check("io.word.ip", rt_exc.ip, 0);
	rt_tss.io[0x80 / 8] = 0;
}

/* The 32 bytes before the I/O map redirect INT n to the 8086 program's own
 * table where their bit is clear. */
static void vme(void)
{
	u16 *ivt = (u16 *)0;

	if (rt_is_tcg || !(cpuid(1, 0).d >> 1 & 1)) {
		check_skip("vme", rt_is_tcg ? "not under TCG" : "not offered");
		return;
	}
	wr_cr4(rd_cr4() | CR4_VME);
	/* cli, pushf: VIF is what they see. */
	check_exc("vme.cli", GO(FL_VIF, 0xfa, 0x9c, 0x58, 0xf4), GP, 0);
	check("vme.cli.ip", rt_exc.ip, 3);
	check("vme.cli.vif", rt_exc.flags & FL_VIF, 0);
	check("vme.cli.pushed", rt_exc.ax & (FL_IF | FL_IOPL), FL_IOPL);
	check_exc("vme.sti", GO(0, 0xfb, 0x9c, 0x58, 0xf4), GP, 0);
	check("vme.sti.vif", rt_exc.flags & FL_VIF, FL_VIF);
	check("vme.sti.pushed", rt_exc.ax & (FL_IF | FL_IOPL), FL_IF | FL_IOPL);
	check("vme.sti.if", rt_exc.flags & FL_IF, 0);
	check_exc("vme.sti-vip", GO(FL_VIP, 0xfb, 0xf4), GP, 0);
	check("vme.sti-vip.ip", rt_exc.ip, 0);
	/* Virtual interrupts of the 8086 program. */
	rt_tss.iomap = offsetof(struct rt_tss, io) + 32;
	memset(rt_tss.io, 0, 32);
	ivt[0x40 * 2] = 0x50;
	ivt[0x40 * 2 + 1] = SEG;
	memcpy(code + 0x50, (const u8[]){ 0x5b, 0x59, 0x58, 0xf4 }, 4); /* pop bx, cx, ax; hlt */
	check_exc("vme.int", GO(FL_VIF | FL_CF, 0xcd, 0x40), GP, 0);
	check("vme.int.ip", rt_exc.ip, 0x53);
	check("vme.int.return-ip", rt_exc.bx & 0xffff, 2);
	check("vme.int.return-cs", rt_exc.cx & 0xffff, SEG);
	check("vme.int.flags", rt_exc.ax & (FL_IF | FL_IOPL | FL_CF), FL_IF | FL_IOPL | FL_CF);
	check("vme.int.vif", rt_exc.flags & FL_VIF, 0);
	/* IOPL 3: the redirection holds too, with the real IF. */
	check_exc("vme.int-iopl3", GO(FL_IOPL, 0xcd, 0x40), GP, 0);
	check("vme.int-iopl3.ip", rt_exc.ip, 0x53);
	rt_tss.io[0x40 / 8] = 1 << (0x40 & 7);
	check_exc("vme.int-kept", GO(0, 0xcd, 0x40), GP, 0);
	check("vme.int-kept.ip", rt_exc.ip, 0);
	check_exc("vme.int-kept-iopl3", GO(FL_IOPL, 0xcd, 0x40), GP, 0x40 * 8 + 2);
	wr_cr4(rd_cr4() & ~CR4_VME);
	rt_tss.iomap = sizeof(rt_tss);
}

CASE static void user_vm(void *a)
{
	asm volatile("pushf; orl $0x20000, (%%esp); popf" ::: "memory");
}
static void flag(void)
{
	/* POPF never sets VM. */
	check("popf.vm", rt_try(user_vm, 0), NONE);
	check("popf.user-vm", rt_user(user_vm, 0), NONE);
}

void test_main(void)
{
	rt_tss.iomap = sizeof(rt_tss);
	basics();
	iopl();
	vme();
	flag();
}
