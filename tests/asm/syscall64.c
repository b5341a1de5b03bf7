/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, FS and GS bases in 64-bit mode.
 * SDM vol. 2, and vol. 3, 5.8.7-8. */
#include "tests/asm/rt.h"

extern char l_after[], l_after32[], entry64[], entry32[], entrysys[], code32[], code32_sysenter[],
	sysexit_user[], sysret_bad[], sysexit32_user[];
extern u8 rt_int_stack_top[];

/* Entry points record what they find and end the running case. */
asm(".text\n"
    "entry64:\n"
    "	mov %rcx, seen_rcx\n	mov %r11, seen_r11\n	mov %rsp, seen_rsp\n"
    "	mov $rt_int_stack_top, %rsp\n	pushfq\n	pop seen_flags\n"
    "	mov %cs, seen_cs\n	mov %ss, seen_ss\n"
    "	mov $0x99, %edi\n	jmp rt_caught\n"
    "entrysys:\n"
    "	mov %rsp, seen_rsp\n	pushfq\n	pop seen_flags\n"
    "	mov %cs, seen_cs\n	mov %ss, seen_ss\n"
    "	mov $0x98, %edi\n	jmp rt_caught\n"
    "code32: .code32\n	mov $0x11223344, %ebx\n	syscall\n"
    "l_after32: .code64\n"
    "code32_sysenter: .code32\n	mov %esp, %ecx\n	sysenter\n	.code64\n"
    "sysexit_user:	int $0x80\n"
    "sysexit32_user: .code32\n	mov %cs, %eax\n	int $0x80\n	.code64\n"
    ".data\n.balign 8\n"
    "seen_cs: .quad 0\nseen_ss: .quad 0\nseen_rcx: .quad 0\nseen_r11: .quad 0\n"
    "seen_flags: .quad 0\nseen_rsp: .quad 0\n.text\n");
extern volatile u64 seen_cs, seen_ss, seen_rcx, seen_r11, seen_flags, seen_rsp;

CASE static void do_syscall(void *a)
{
	asm volatile("std; stc; syscall; l_after: ud2" ::: "rcx", "r11", "memory");
}
CASE static void do_sysenter(void *a) { asm volatile("sysenter"); }
CASE static void to_code32(void *a)
{
	/* Ring 3, far return into the 32-bit segment. */
	asm volatile("push %0; push %1; lretq" :: "r"((ulong)SEL_UCS32), "r"(a));
}
CASE static void do_sysret64(void *a)
{
	asm volatile("mov $0x10246, %%r11; mov %0, %%rcx; sysretq"
		     :: "r"(a) : "rcx", "r11");
}
CASE static void do_sysret32(void *a)
{
	asm volatile("mov $0x202, %%r11; mov %0, %%rcx; sysretl" :: "r"(a) : "rcx", "r11");
}
CASE static void sysret_noncanonical(void *a)
{
	asm volatile("mov $0x202, %%r11; mov %0, %%rcx; sysret_bad: sysretq"
		     :: "r"(0x800000000000ul) : "rcx", "r11");
}
CASE static void do_sysexit64(void *a)
{
	asm volatile("mov %0, %%rdx; mov %1, %%rcx; rex.W sysexit"
		     :: "r"(a), "r"(RT_USER_STACK_TOP - 64) : "rcx", "rdx");
}
CASE static void do_sysexit32(void *a)
{
	asm volatile("mov %0, %%rdx; mov %1, %%rcx; sysexitl"
		     :: "r"(a), "r"(RT_USER_STACK_TOP - 64) : "rcx", "rdx");
}
CASE static void do_swapgs(void *a) { asm volatile("swapgs"); }
CASE static void rd_gs(void *a) { asm volatile("mov %%gs:0, %%rax; mov %%rax, (%0)" :: "r"(a) : "rax"); }
CASE static void wrmsr_lstar(void *a) { wrmsr(MSR_LSTAR, (ulong)a); }
CASE static void wrmsr_sysenter_eip(void *a) { wrmsr(0x176, (ulong)a); }
CASE static void wrmsr_gsbase(void *a) { wrmsr(MSR_GSBASE, (ulong)a); }
CASE static void wrgsbase(void *a) { asm volatile("wrgsbase %0" :: "r"(a)); }
CASE static void rdfsbase(void *a) { ulong v; asm volatile("rdfsbase %0" : "=r"(v)); *(ulong *)a = v; }

static void syscall_cases(void)
{
	u64 efer = rdmsr(MSR_EFER);

	wrmsr(MSR_STAR, (u64)SEL_UCS32 << 48 | (u64)SEL_KCS64 << 32 | 0xdead);
	wrmsr(MSR_LSTAR, (ulong)entry64);
	wrmsr(MSR_CSTAR, (ulong)entry32);
	wrmsr(MSR_FMASK, FL_DF | FL_IF | FL_TF);
	check("syscall.user", rt_user(do_syscall, 0), 0x99);
	check("syscall.rcx", seen_rcx, (ulong)l_after);
	check("syscall.r11", seen_r11 & (FL_CF | FL_DF | FL_IF), FL_CF | FL_DF);
	/* TCG drops the arithmetic flags and DF here. */
	check_hw("syscall.flags", seen_flags & (FL_CF | FL_DF | FL_IF | FL_RF), FL_CF);
	check("syscall.cs", seen_cs, SEL_KCS64);
	check("syscall.ss", seen_ss, SEL_KDS);
	check("syscall.rsp-kept", seen_rsp >> 12, (RT_USER_STACK_TOP - 16) >> 12);
	check("syscall.ring0", rt_try(do_syscall, 0), 0x99);
	check("syscall.ring0.cs", seen_cs, SEL_KCS64);
	wrmsr(MSR_FMASK, 0);
	rt_user(do_syscall, 0);
	check_hw("syscall.fmask-0", seen_flags & FL_DF, FL_DF);
	asm volatile("cld");
	wrmsr(MSR_EFER, efer & ~1ull);
	check_exc("syscall.sce-off", rt_user(do_syscall, 0), UD, 0);
	check_exc("sysret.sce-off", rt_try(do_sysret64, 0), UD, 0);
	wrmsr(MSR_EFER, efer);
	if (!rt_is_nested) /* which takes it, so that the machine is in no state to be saved */
		check_exc_hw("lstar.noncanonical", rt_try(wrmsr_lstar, (void *)0x800000000000ul), GP, 0);
	check_hw("lstar.kept", rdmsr(MSR_LSTAR), (ulong)entry64);
	check("fmask.width", (wrmsr(MSR_FMASK, 0xffffffff), rdmsr(MSR_FMASK)), 0xffffffff);
	wrmsr(MSR_FMASK, 0);
}

asm(".text\nentry32: mov %rcx, seen_rcx\n	mov $rt_int_stack_top, %rsp\n	mov %cs, seen_cs\n"
    "	mov $0x97, %edi\n	jmp rt_caught\n");

/* From compatibility mode: AMD goes to CSTAR, Intel raises #UD. */
static void compat(void)
{
	int v = rt_user(to_code32, code32);
	bool amd = cpuid(0, 0).b == 0x68747541;

	if (v == 0x97) {
		check("syscall.compat.rcx", seen_rcx, (ulong)l_after32);
		check("syscall.compat.cs", seen_cs, SEL_KCS64);
	} else {
		check("syscall.compat.intel", amd ? 0 : v, UD);
	}
}

static void sysret_cases(void)
{
	int v = rt_try(do_sysret64, sysexit_user);

	check("sysret64", v, NONE);
	check("sysret64.cs", rt_exc.cs, SEL_UCS64);
	check("sysret64.ss", rt_exc.ss, SEL_UDS);
	check("sysret64.ip", rt_exc.ip, (ulong)sysexit_user + 2);
	check_hw("sysret64.flags", rt_exc.flags & (FL_IF | FL_ZF | FL_RF | FL_VM), FL_IF | FL_ZF);
	check("sysret32", rt_try(do_sysret32, sysexit32_user), NONE);
	check("sysret32.cs", rt_exc.cs, SEL_UCS32);
	check("sysret32.ss", rt_exc.ss, SEL_UDS);
	check("sysret32.read-cs", rt_exc.ax, SEL_UCS32);
	v = rt_try(sysret_noncanonical, 0);
	/* Intel faults at the SYSRET in ring 0; AMD and TCG at the target in ring 3. */
	check("sysret.noncanonical", v == GP || (rt_is_tcg && v == PF), 1);
	check_hw("sysret.noncanonical.error", rt_exc.error, 0);
}

static void sysenter_cases(void)
{
	wrmsr(0x174, 0);
	wrmsr(0x175, (ulong)rt_int_stack_top);
	wrmsr(0x176, (ulong)entrysys);
	bool amd = cpuid(0, 0).b == 0x68747541;

	if (amd) {
		/* AMD: not in long mode at all. */
		check_exc("sysenter.amd", rt_user(do_sysenter, 0), UD, 0);
		/* KVM emulates an Intel's for whoever has neither. */
		if (!rt_told("kvm"))
			check_exc("sysexit.amd", rt_try(do_sysexit64, 0), UD, 0);
		return;
	}
	check_exc("sysenter.cs-0", rt_user(do_sysenter, 0), GP, 0);
	check_exc("sysexit.cs-0", rt_try(do_sysexit64, 0), GP, 0);
	wrmsr(0x174, SEL_KCS64 | 3); /* the low two bits do not count */
	check("sysenter.user", rt_user(do_sysenter, 0), 0x98);
	check("sysenter.cs", seen_cs, SEL_KCS64);
	check("sysenter.ss", seen_ss, SEL_KDS);
	check("sysenter.rsp", seen_rsp, (ulong)rt_int_stack_top);
	check("sysenter.flags", seen_flags & (FL_IF | FL_VM | FL_RF), 0);
	check("sysenter.compat", rt_user(to_code32, code32_sysenter), 0x98);
	check("sysexit64", rt_try(do_sysexit64, sysexit_user), NONE);
	check("sysexit64.cs", rt_exc.cs, (SEL_KCS64 + 32) | 3);
	check("sysexit64.ss", rt_exc.ss, (SEL_KCS64 + 40) | 3);
	check("sysexit64.rsp", rt_exc.sp, RT_USER_STACK_TOP - 64);
	check("sysexit32", rt_try(do_sysexit32, sysexit32_user), NONE);
	check("sysexit32.cs", rt_exc.cs, (SEL_KCS64 + 16) | 3);
	check("sysexit32.ss", rt_exc.ss, (SEL_KCS64 + 24) | 3);
	check_exc("sysexit.user", rt_user(do_sysexit64, sysexit_user), GP, 0);
	check_exc_hw("sysexit.noncanonical", rt_try(do_sysexit64, (void *)0x800000000000ul), GP, 0);
	/* TCG stores what it is given. */
	check_exc_hw("sysenter-eip.noncanonical",
		     rt_try(wrmsr_sysenter_eip, (void *)0x800000000000ul), GP, 0);
}

static void bases(void)
{
	u64 one = 0x1111, two = 0x2222, got = 0;

	wrmsr(MSR_GSBASE, (ulong)&one);
	wrmsr(MSR_KGSBASE, (ulong)&two);
	rd_gs(&got);
	check("gs.base", got, 0x1111);
	do_swapgs(0);
	rd_gs(&got);
	check("gs.swapped", got, 0x2222);
	check("gs.kernel", rdmsr(MSR_KGSBASE), (ulong)&one);
	do_swapgs(0);
	check_exc_hw("gs.msr-noncanonical", rt_try(wrmsr_gsbase, (void *)(1ul << 47)), GP, 0);
	/* Loading a selector replaces the base; a null selector is Intel's 0. */
	asm volatile("mov %0, %%gs" :: "r"(SEL_KDS));
	check("gs.selector", rdmsr(MSR_GSBASE), 0);
	check_exc("fsgsbase.off", rt_try(rdfsbase, &got), UD, 0);
	if (!(cpuid(7, 0).b & 1))
		return;
	wr_cr4(rd_cr4() | CR4_FSGSBASE);
	wrmsr(MSR_FSBASE, 0x123456789abc);
	rdfsbase(&got);
	check("rdfsbase", got, 0x123456789abc);
	check("wrgsbase.user", rt_user(wrgsbase, (void *)0x7777), NONE);
	check("wrgsbase.value", rdmsr(MSR_GSBASE), 0x7777);
	check_exc_hw("wrgsbase.noncanonical", rt_try(wrgsbase, (void *)(1ul << 47)), GP, 0);
	wr_cr4(rd_cr4() & ~CR4_FSGSBASE);
	wrmsr(MSR_GSBASE, 0);
}

void test_main(void)
{
	syscall_cases();
	compat();
	sysret_cases();
	sysenter_cases();
	bases();
}
