/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IRET from 64-bit mode to 64-bit, compatibility and ring 3 code, with every
 * check on the frame; far RET and far JMP beside it. SDM vol. 2, IRET. */
#include "tests/asm/rt.h"

struct frame { u64 ip, cs, flags, sp, ss; };
extern char i_iret[], i_land[], i_land32[], i_land32b[], i_user[];
static struct frame f;
static u64 landed;

asm(".text\n"
    "i_user: pushfq; pop %rbx; mov %ss, %ecx; mov %cs, %edx; mov %rsp, %rsi; int $0x80\n"
    "i_land: mov %ss, %ecx; mov %cs, %edx; mov %rsp, %rsi; mov $0x77, %edi; int $0x82\n"
    "i_land32: .code32\n mov %cs, %edx; mov %ss, %ecx; mov %esp, %esi; int $0x80; .code64\n");

CASE static void do_iretq(void *a)
{
	struct frame *p = a;
	asm volatile("push 32(%0); push 24(%0); push 16(%0); push 8(%0); push (%0)\n"
		     "i_iret: iretq" :: "r"(p) : "memory");
}
CASE static void do_iretl(void *a)
{
	struct frame *p = a;
	asm volatile("sub $20, %%rsp\n"
		     "mov 32(%0), %%eax; mov %%eax, 16(%%rsp); mov 24(%0), %%eax; mov %%eax, 12(%%rsp)\n"
		     "mov 16(%0), %%eax; mov %%eax, 8(%%rsp); mov 8(%0), %%eax; mov %%eax, 4(%%rsp)\n"
		     "mov (%0), %%eax; mov %%eax, (%%rsp); iretl" :: "r"(p) : "rax", "memory");
}
CASE static void do_lretq(void *a)
{
	struct frame *p = a;
	asm volatile("push 32(%0); push 24(%0); push 8(%0); push (%0); lretq" :: "r"(p) : "memory");
}
CASE static void do_ljmp(void *a) { asm volatile("ljmp *(%0)" :: "r"(a)); }

static struct frame *frame(const void *ip, u16 cs, u64 flags, u64 sp, u16 ss)
{
	f = (struct frame){ (ulong)ip, cs, flags | 2, sp, ss };
	return &f;
}

#define USP (RT_USER_STACK_TOP - 256)

static void good(void)
{
	int v = rt_try(do_iretq, frame(i_land, SEL_KCS64, 0, (ulong)rt_stack_top - 4096, SEL_KDS));

	check("same.vector", v, 0x82);
	check("same.cs", rt_exc.dx, SEL_KCS64);
	check("same.ss", rt_exc.cx, SEL_KDS);
	check("same.rsp", rt_exc.si, (ulong)rt_stack_top - 4096);
	/* Ring 0 in 64-bit mode may have a null SS. */
	v = rt_try(do_iretq, frame(i_land, SEL_KCS64, 0, (ulong)rt_stack_top - 4096, 0));
	check("null-ss.vector", v, 0x82);
	check("null-ss.ss", rt_exc.cx, 0);
	check("user.vector", rt_try(do_iretq, frame(i_user, SEL_UCS64, FL_CF | FL_IOPL, USP, SEL_UDS)), NONE);
	check("user.rsp", rt_exc.si, USP);
	check("user.flags", rt_exc.bx & (FL_CF | FL_IOPL), FL_CF | FL_IOPL);
	check("user.ss", rt_exc.cx, SEL_UDS);
	check("compat.vector", rt_try(do_iretq, frame(i_land32, SEL_UCS32, 0, USP, SEL_UDS)), NONE);
	check("compat.cs", rt_exc.dx, SEL_UCS32);
	check("compat.sp", rt_exc.si, USP);
	check("iretl.user", rt_try(do_iretl, frame(i_land32, SEL_UCS32, 0, USP, SEL_UDS)), NONE);
	check("iretl.cs", rt_exc.dx, SEL_UCS32);
	check("lretq.user", rt_try(do_lretq, frame(i_user, SEL_UCS64, 0, USP, SEL_UDS)), NONE);
	check("lretq.rsp", rt_exc.si, USP);
}

static void bad_cs(void)
{
	u64 sp = USP;

	check_exc_at("cs.null", rt_try(do_iretq, frame(i_land, 0, 0, sp, SEL_KDS)), GP, 0, i_iret);
	check_exc("cs.limit", rt_try(do_iretq, frame(i_land, 0x7f8, 0, sp, SEL_KDS)), GP, 0x7f8);
	check_exc("cs.data", rt_try(do_iretq, frame(i_land, SEL_KDS, 0, sp, SEL_KDS)), GP, SEL_KDS);
	check_exc("cs.dpl", rt_try(do_iretq, frame(i_land, SEL_KCS64 | 3, 0, sp, SEL_UDS)), GP, SEL_KCS64);
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0xfffff, 0x1b | 0x60, 0xa));
	check_exc("cs.not-present", rt_try(do_iretq, frame(i_land, SEL_SPARE | 3, 0, sp, SEL_UDS)), NP, SEL_SPARE);
	/* L and D both set is reserved; TCG does not mind. */
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0xfffff, 0x9b, 0xe));
	check_exc_hw("cs.l-and-d", rt_try(do_iretq, frame(i_land, SEL_SPARE, 0, sp, SEL_KDS)), GP, SEL_SPARE);
	check_exc_hw("ip.noncanonical", rt_try(do_iretq, frame((void *)0x800000000000ul, SEL_KCS64, 0, sp, SEL_KDS)), GP, 0);
	check_exc("cs.ldt", rt_try(do_iretq, frame(i_land, SEL_KCS64 | 4, 0, sp, SEL_KDS)), GP, SEL_KCS64 | 4);
}

static void bad_ss(void)
{
	u64 sp = USP;

	check_exc("ss.null-user64", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, sp, 0)), GP, 0);
	check_exc("ss.null-compat", rt_try(do_iretq, frame(i_land32, SEL_UCS32, 0, sp, 3)), GP, 0);
	check_exc("ss.rpl", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, sp, SEL_KDS)), GP, SEL_KDS);
	check_exc("ss.dpl", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, sp, SEL_KDS | 3)), GP, SEL_KDS);
	check_exc("ss.code", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, sp, SEL_UCS32)), GP, SEL_UCS32 & ~3);
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0xfffff, 0x73, 0xc));
	check_exc_hw("ss.not-present", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, sp, SEL_SPARE | 3)), SS, SEL_SPARE);
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0xfffff, 0xf1, 0xc));
	check_exc("ss.read-only", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, sp, SEL_SPARE | 3)), GP, SEL_SPARE);
	check_exc("ss.limit", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, sp, 0x7fb)), GP, 0x7f8);
	/* NT in long mode: #GP, there is no task to return to. */
	check_exc("nt", (wr_flags(rd_flags() | FL_NT), rt_try(do_iretq, frame(i_land, SEL_KCS64, 0, sp, SEL_KDS))), GP, 0);
	wr_flags(rd_flags() & ~FL_NT);
}

/* IRET to an outer ring drops data segments that the ring may not have. */
static void drops(void)
{
	u16 ds, es;

	asm volatile("mov %0, %%ds; mov %1, %%es" :: "r"(SEL_KDS), "r"(SEL_UDS));
	check("drops", rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, USP, SEL_UDS)), NONE);
	asm volatile("mov %0, %%fs; mov %1, %%gs" :: "r"(SEL_KDS), "r"(SEL_UDS));
	rt_try(do_iretq, frame(i_user, SEL_UCS64, 0, USP, SEL_UDS));
	asm volatile("mov %%fs, %w0; mov %%gs, %w1" : "=r"(ds), "=r"(es));
	check("drops.fs-kernel", ds, 0);
	check("drops.gs-user", es, SEL_UDS);
}

static void far_jumps(void)
{
	static struct __attribute__((packed)) { u32 ip; u16 cs; } p;

	p.ip = (u32)(ulong)i_land;
	p.cs = SEL_KCS64;
	check("ljmp.m16-32", rt_try(do_ljmp, &p), 0x82);
	p.cs = SEL_KCS64 | 3;
	check_exc("ljmp.rpl", rt_try(do_ljmp, &p), GP, SEL_KCS64);
	p.cs = SEL_UCS64;
	check_exc("ljmp.dpl", rt_try(do_ljmp, &p), GP, SEL_UCS64 & ~3);
	p.cs = 0;
	check_exc("ljmp.null", rt_try(do_ljmp, &p), GP, 0);
	p.cs = SEL_TSS; /* a TSS: no task switch in long mode */
	check_exc("ljmp.tss", rt_try(do_ljmp, &p), GP, SEL_TSS);
	p.cs = SEL_SPARE;
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0xfffff, 0x1b, 0xa));
	check_exc("ljmp.not-present", rt_try(do_ljmp, &p), NP, SEL_SPARE);
	/* Conforming code keeps the CPL. */
	rt_gdt_set(SEL_SPARE, rt_desc(0, 0xfffff, 0x9e, 0xa));
	check("ljmp.conforming", rt_try(do_ljmp, &p), 0x82);
	check_hw("ljmp.conforming.accessed", rt_gdt[SEL_SPARE / 8] >> 40 & 1, 1);
}

void test_main(void)
{
	(void)landed;
	good();
	bad_cs();
	bad_ss();
	drops();
	far_jumps();
}
