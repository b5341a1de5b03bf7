/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compatibility mode under long mode, 64-bit call gates, single step over SYSCALL,
 * traps held back by MOV SS, NMI blocking. SDM vol. 3, 2.2, 5.8.3.1, 6.7.1, 6.8.3. */
#include "tests/asm/rt_apic.h"

#define DATA SEL_SPARE              /* ring 3 data, based and limited */
#define DOWN (SEL_SPARE + 8)
#define GATE64 (SEL_SPARE + 16)     /* two slots */
#define CODE16 (SEL_SPARE + 32)
#define BASE 0x300000
extern char c_regs[], c_push[], c_limit[], c_wrap[], c_stack[], c_down[], c_fs[], c_16[], c_gs[],
	c_inc[], c_call_gate[], gate_entry[], c_bound[], c_r8[];
extern volatile u64 gate_seen[6];
static volatile u64 hits, ips[8], last;

/* Entered with a far return from 64-bit ring 3; EAX.. as the case left them. */
asm(".text\n.code32\n"
    "c_regs: mov $-1, %eax; inc %eax; dec %ecx; mov %cs, %edx; int $0x80\n"
    "c_inc: mov $0x7fffffff, %eax; .byte 0x40; pushf; pop %ebx; int $0x80\n" /* INC EAX, not REX */
    "c_push: mov %esp, %esi; push $0x11223344; sub %esp, %esi; pop %eax; pusha; add $32, %esp; int $0x80\n"
    "c_limit: mov $0x63, %ecx; mov %ecx, %es; movl %es:0xffc, %eax; movl %es:0xffd, %ebx; int $0x80\n"
    "c_down: mov $0x6b, %ecx; mov %ecx, %es; movl %es:0x1000, %eax; movl %es:0xffc, %ebx; int $0x80\n"
    "c_wrap: mov $0xfffffff0, %eax; lea c_data+0x10, %edx; mov (%eax,%edx), %eax; int $0x80\n"
    "c_gs: mov $0x63, %ecx; mov %ecx, %gs; movl %gs:0x20, %eax; int $0x80\n"
    "c_bound: mov $5, %eax; bound %eax, c_range; mov $11, %eax; bound %eax, c_range; int $0x80\n"
    "c_call_gate: lcall $0x73, $0\n int $0x80\n"
    ".code16\nc_16: mov $0x1234, %ax; push %ax; mov %sp, %bx; pop %cx; mov %cs, %dx; int $0x80\n.code64\n"
    "c_r8: mov %r8, %rax; int $0x80\n"
    "gate_entry: mov %cs, gate_seen; mov %ss, gate_seen+8; mov %rsp, gate_seen+16\n"
    "	mov (%rsp), %rax; mov %rax, gate_seen+24; mov 8(%rsp), %rax; mov %rax, gate_seen+32\n"
    "	mov 24(%rsp), %rax; mov %rax, gate_seen+40; lretq\n"
    ".data\n.balign 8\ngate_seen: .fill 6, 8, 0\nc_data: .long 0x5eed5eed\nc_range: .long 0, 10\n.text\n");

CASE static void compat(void *a)
{
	asm volatile("mov $-1, %%rcx; mov $-1, %%r8; push %0; push %1; lretq"
		     :: "r"((ulong)SEL_UCS32), "r"(a) : "rcx", "r8");
}
CASE static void compat16(void *a)
{
	asm volatile("push %0; push %1; lretq" :: "r"((ulong)CODE16 | 3), "r"((ulong)a & 0xffff));
}
CASE static void gate_far(void *a)
{
	static const struct __attribute__((packed)) { u32 off; u16 sel; } p = { 0, GATE64 | 3 };
	asm volatile("lcall *(%0)" :: "r"(&p) : "rax", "memory");
}

static void compatibility(void)
{
	wr32((void *)(BASE + 0xffc), 0x600dcafe);
	wr32((void *)(BASE + 0x1000), 0x0ddba11);
	wr32((void *)(BASE + 0x20), 0x2020);
	rt_gdt_set(DATA, rt_desc(BASE, 0xfff, 0xf3, 4));
	rt_gdt_set(DOWN, rt_desc(BASE, 0xfff, 0xf7, 4));
	check("regs", rt_user(compat, c_regs), NONE);
	check("regs.eax-32", rt_exc.ax, 0);
	check("regs.ecx-32", rt_exc.cx, 0xfffffffe);
	check("regs.cs", rt_exc.dx, SEL_UCS32);
	check("inc-is-no-rex", rt_user(compat, c_inc), NONE);
	check("inc.eax", rt_exc.ax, 0x80000000);
	check("inc.of", rt_exc.bx & (FL_OF | FL_SF), FL_OF | FL_SF);
	check("push", rt_user(compat, c_push), NONE);
	check("push.size", rt_exc.si, 4);
	check("push.value", rt_exc.ax, 0x11223344);
	if (rt_is_tcg) {
		check_skip("limit", "not under TCG");
	} else {
		check_exc("limit", rt_user(compat, c_limit), GP, 0);
		check("limit.inside", rt_exc.ax, 0x600dcafe);
		check_exc("down", rt_user(compat, c_down), GP, 0);
		check("down.inside", rt_exc.ax, 0x0ddba11);
	}
	check("wrap", rt_user(compat, c_wrap), NONE);
	check("wrap.value", rt_exc.ax, 0x5eed5eed);
	check("gs.base", rt_user(compat, c_gs), NONE);
	check("gs.value", rt_exc.ax, 0x2020);
	check_exc("bound", rt_user(compat, c_bound), BR, 0);
	/* R8 is out of reach, but keeps its value. */
	check("r8", rt_user(compat, c_r8), NONE);
	rt_gdt_set(CODE16, rt_desc((ulong)c_16 & ~0xfffful, 0xffff, 0xfb, 0));
	check("code16", rt_user(compat16, c_16), NONE);
	check("code16.ax", rt_exc.ax & 0xffff, 0x1234);
	check("code16.cx", rt_exc.cx & 0xffff, 0x1234);
	check("code16.cs", rt_exc.dx & 0xffff, CODE16 | 3);
}

static void gates(void)
{
	u64 off = (ulong)gate_entry;

	rt_gdt_set(GATE64, (off & 0xffff) | (u64)SEL_KCS64 << 16 | 0xecull << 40 | (off >> 16 & 0xffff) << 48);
	rt_gdt_set(GATE64 + 8, off >> 32);
	check("gate", rt_user(gate_far, 0), NONE);
	check("gate.cs", gate_seen[0], SEL_KCS64);
	check("gate.ss-null", gate_seen[1], 0); /* a switch inward leaves SS null */
	check("gate.frame-cs", gate_seen[4], SEL_UCS64);
	check("gate.frame-ss", gate_seen[5], SEL_UDS);
	check("gate.compat", rt_user(compat, c_call_gate), NONE);
	check("gate.compat.cs", gate_seen[0], SEL_KCS64);
	check("gate.compat.frame-cs", gate_seen[4], SEL_UCS32);
	/* The upper half's type bits must be zero; the target must be 64-bit code. */
	rt_gdt_set(GATE64 + 8, 0x0100ull << 32);
	check_exc("gate.upper-type", rt_user(gate_far, 0), GP, GATE64);
	rt_gdt_set(GATE64 + 8, 0);
	rt_gdt_set(GATE64, (off & 0xffff) | (u64)SEL_KCS32 << 16 | 0xecull << 40 | (off >> 16 & 0xffff) << 48);
	check_exc("gate.code32", rt_user(gate_far, 0), GP, SEL_KCS32);
	rt_gdt_set(GATE64, (off & 0xffff) | (u64)SEL_KCS64 << 16 | 0x8cull << 40 | (off >> 16 & 0xffff) << 48);
	check_exc("gate.dpl", rt_user(gate_far, 0), GP, GATE64);
}

extern char t_entry[], t_next[], t_ss1[], t_ss2[];
static volatile u64 dr6;
static void on_db(struct rt_regs *r)
{
	if (hits < 8)
		ips[hits] = r->ip;
	hits++;
	dr6 = rd_dr6();
	wr_dr6(0xffff0ff0);
	r->flags &= ~(u64)FL_TF;
}
asm(".text\nt_entry: nop\nt_next: nop\n	mov $rt_int_stack_top, %rsp\n	mov $0x99, %edi\n	jmp rt_caught\n");
CASE static void tf_syscall(void *a)
{
	asm volatile("pushf; orq $0x100, (%%rsp); popf; syscall" ::: "rcx", "r11", "memory");
}
static volatile u64 watched;
CASE static void ss_watch(void *a)
{
	/* The load of SS reads a watched word: the trap waits for the next one. */
	asm volatile("mov (%0), %%ss; t_ss1: nop; t_ss2: nop" :: "r"(a) : "memory");
}

static void stepping(void)
{
	rt_handle(DB, on_db);
	wrmsr(MSR_STAR, (u64)SEL_UCS32 << 48 | (u64)SEL_KCS64 << 32);
	wrmsr(MSR_LSTAR, (ulong)t_entry);
	wrmsr(MSR_FMASK, FL_TF);
	/* FMASK takes TF away: no trap in the kernel's entry. */
	hits = 0;
	check("syscall-tf.masked", rt_user(tf_syscall, 0), 0x99);
	check("syscall-tf.masked.hits", hits, 0);
	/* With TF kept, the trap comes after SYSCALL's first instruction or after
	 * SYSCALL itself; never more than once here, for the handler clears it. */
	wrmsr(MSR_FMASK, 0);
	hits = 0;
	check("syscall-tf.kept", rt_user(tf_syscall, 0), 0x99);
	check("syscall-tf.kept.hits", hits, 1);
	check("syscall-tf.kept.ip", ips[0] == (ulong)t_entry || ips[0] == (ulong)t_next, 1);
	wr_flags(rd_flags() & ~(ulong)FL_TF);
	watched = SEL_KDS;
	wr_dr0((ulong)&watched);
	if (!rt_is_nested) /* it would stay for ever if the guest came out meanwhile */
		wr_dr7(2 | 3 << 16 | 1 << 18); /* two bytes, read and write */
	hits = 0;
	ss_watch((void *)&watched);
	wr_dr7(0);
	check_hw("movss-watch.hits", hits, 1);
	check_hw("movss-watch.ip", hits ? ips[0] : 0, (ulong)t_ss2);
	rt_handle(DB, NULL);
}

static volatile u64 nmis, nested;
static void on_nmi(struct rt_regs *r)
{
	u64 before = nmis;

	nmis++;
	if (before)
		return;
	/* A second one, sent from here, waits for our IRET. */
	apic_icr(apic_rd(APIC_ID) >> 24, 0x4400);
	rt_udelay(2000);
	nested = nmis;
}
extern char n_iret[];
CASE static void iret_here(void)
{
	asm volatile("mov %%rsp, %%rax; mov %%ss, %%ecx; push %%rcx; push %%rax; pushf; push %0; push $n_iret; iretq\n"
		     "n_iret:" :: "r"((ulong)SEL_KCS) : "rax", "rcx", "memory");
}
static void on_nmi_iret(struct rt_regs *r)
{
	u64 before = nmis;

	nmis++;
	if (before)
		return;
	apic_icr(apic_rd(APIC_ID) >> 24, 0x4400);
	rt_udelay(2000);
	nested = nmis;
	iret_here(); /* any IRET opens the gate again */
	rt_udelay(2000);
	last = nmis;
}

static void non_maskable(void)
{
	apic_on();
	rt_handle(NMI, on_nmi);
	nmis = 0;
	apic_icr(apic_rd(APIC_ID) >> 24, 0x4400);
	for (unsigned i = 0; i < 1000 && nmis < 2; i++)
		rt_udelay(100);
	check("nmi.despite-cli", nmis, 2);
	check("nmi.blocked-inside", nested, 1);
	rt_handle(NMI, on_nmi_iret);
	nmis = 0;
	apic_icr(apic_rd(APIC_ID) >> 24, 0x4400);
	for (unsigned i = 0; i < 1000 && nmis < 2; i++)
		rt_udelay(100);
	check("nmi.iret.blocked", nested, 1);
	check("nmi.iret.opens", last, 2);
	rt_handle(NMI, NULL);
}

void test_main(void)
{
	compatibility();
	gates();
	stepping();
	non_maskable();
}
