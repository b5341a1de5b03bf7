/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Call gates, trap and interrupt gates across rings, far CALL and RET between
 * rings, 16-bit gates, BOUND, INTO. SDM vol. 3, 5.8 and 6.12. */
#include "tests/asm/rt.h"

#define S0 SEL_SPARE
#define S1 (SEL_SPARE + 8)
#define KCODE1 (SEL_SPARE + 16) /* ring 1 code and stack */
#define KDATA1 (SEL_SPARE + 24)
extern char g_entry[], g_params[], g_ring1[], g_into[], g_bound[], g_trap[], g_simple[], g_user_far[];
extern volatile u32 g_cs, g_ss, g_esp, g_a, g_b, g_flags;
extern u8 rt_int_stack_top[];
static u8 ring1_stack[4096] __attribute__((aligned(16)));

asm(".text\n"
    "g_simple: mov %cs, %eax; mov %eax, g_cs; lret\n"
    "g_entry: mov %esp, g_esp; mov %cs, %eax; mov %eax, g_cs; mov %ss, %eax; mov %eax, g_ss\n"
    "	lret\n"
    /* Two parameters: 0 ret, 4 cs, 8 p2, 12 p1, 16 esp, 20 ss. */
    "g_params: mov 8(%esp), %eax; mov %eax, g_a; mov 12(%esp), %eax; mov %eax, g_b\n"
    "	mov %cs, %eax; mov %eax, g_cs; lret $8\n"
    /* A return outward leaves no ring-0 DS: take ring 3's. */
    "g_ring1: mov $0x2b, %eax; mov %eax, %ds; mov %cs, %eax; mov %eax, g_cs; mov %ss, %eax; mov %eax, g_ss; mov %esp, g_esp\n"
    "	int $0x80\n"
    "g_trap: pushf; pop g_flags; iret\n"
    ".data\ng_cs: .long 0\ng_ss: .long 0\ng_esp: .long 0\ng_a: .long 0\ng_b: .long 0\ng_flags: .long 0\n.text\n");

/* A call gate: @type P DPL 0 1100 (32-bit). */
static u64 gate(u32 off, u16 cs, u8 type, u8 params)
{
	return (off & 0xffff) | (u32)cs << 16 | (u64)(params | (u32)type << 8 | (off & 0xffff0000)) << 32;
}

static u16 target;
CASE static void call_gate(void *a)
{
	struct __attribute__((packed)) { u32 off; u16 sel; } p = { 0x12345678, target };
	asm volatile("lcall *(%0)" :: "r"(&p), "m"(p) : "eax", "memory");
}
CASE static void jmp_gate(void *a)
{
	struct __attribute__((packed)) { u32 off; u16 sel; } p = { 0x12345678, target };
	asm volatile("push %%cs; push $1f; ljmp *(%0); 1:" :: "r"(&p), "m"(p) : "eax", "memory");
}
CASE static void call_params(void *a)
{
	struct __attribute__((packed)) { u32 off; u16 sel; } p = { 0, target };
	asm volatile("push $0x1111; push $0x2222; lcall *(%0)" :: "r"(&p), "m"(p) : "eax", "memory");
}
CASE static void outward(void *a)
{
	asm volatile("pushl %0; pushl %1; pushl %2; pushl %3; lret"
		     :: "r"(KDATA1 | 1), "r"((ulong)ring1_stack + 4096), "r"(KCODE1 | 1), "r"(g_ring1));
}
CASE static void into(void *a) { asm volatile("mov $0x7f, %%al; add $1, %%al; into; g_into:" ::: "eax"); }
CASE static void into_not(void *a) { asm volatile("xor %%eax, %%eax; into" ::: "eax"); }
static const int limits[2] = { -5, 10 };
CASE static void bound(void *a)
{
	asm volatile("g_bound: bound %0, (%1)" :: "r"(a), "r"(limits));
}
CASE static void int84(void *a) { asm volatile("int $0x84"); }
CASE static void user_lret_in(void *a)
{
	asm volatile("pushl %0; pushl $1f; lret; 1:" :: "r"(SEL_KCS32 | 3));
}

static void call_gates(void)
{
	rt_gdt_set(S0, gate((u32)g_entry, SEL_KCS32, 0xec, 0));
	target = S0;
	check("call.ring0", rt_try(call_gate, 0), NONE);
	check("call.ring0.cs", g_cs, SEL_KCS32);
	target = S0 | 3;
	check("call.user", rt_user(call_gate, 0), NONE);
	check("call.user.cs", g_cs, SEL_KCS32);
	check("call.user.ss", g_ss, SEL_KDS);
	check("call.user.esp", g_esp, (u32)rt_int_stack_top - 16);
	rt_gdt_set(S1, gate((u32)g_params, SEL_KCS32, 0xec, 2));
	target = S1 | 3;
	check("call.params", rt_user(call_params, 0), NONE);
	check("call.params.first", g_b, 0x1111);
	check("call.params.second", g_a, 0x2222);
	rt_gdt_set(S1, gate((u32)g_simple, SEL_KCS32, 0x8c, 0));
	check_exc("call.gate-dpl", rt_user(call_gate, 0), GP, S1);
	rt_gdt_set(S1, gate((u32)g_simple, SEL_KCS32, 0x6c, 0));
	check_exc("call.not-present", rt_user(call_gate, 0), NP, S1);
	rt_gdt_set(S1, gate((u32)g_simple, 0, 0xec, 0));
	check_exc("call.null-cs", rt_user(call_gate, 0), GP, 0);
	rt_gdt_set(S1, gate((u32)g_simple, SEL_KDS, 0xec, 0));
	check_exc("call.data-cs", rt_user(call_gate, 0), GP, SEL_KDS);
	rt_gdt_set(S1, gate((u32)g_simple, SEL_UCS32, 0xec, 0));
	target = S1;
	check_exc("call.outward", rt_try(call_gate, 0), GP, SEL_UCS32 & ~3);
	target = S1 | 3;
	check("call.same-ring", rt_user(call_gate, 0), NONE);
	check("call.same-ring.cs", g_cs, SEL_UCS32);
	/* JMP through a gate must stay in its ring. */
	check("jmp.same-ring", rt_user(jmp_gate, 0), NONE);
	target = S0 | 3;
	check_exc("jmp.inward", rt_user(jmp_gate, 0), GP, SEL_KCS32);
	/* To conforming code: no stack switch, the CPL stays. */
	rt_gdt_set(KCODE1, rt_desc(0, 0xfffff, 0x9f, 0xc));
	rt_gdt_set(S1, gate((u32)g_simple, KCODE1, 0xec, 0));
	target = S1 | 3;
	check("call.conforming", rt_user(call_gate, 0), NONE);
	check_hw("call.conforming.cs", g_cs, KCODE1 | 3);
}

/* The stack that the TSS names is checked: #TS with its selector. */
static void bad_tss(void)
{
	u32 ss0 = rt_tss.ss0, ss1 = rt_tss.ss1;

	rt_gdt_set(KCODE1, rt_desc(0, 0xfffff, 0xbb, 0xc)); /* ring 1 */
	rt_gdt_set(KDATA1, rt_desc(0, 0xfffff, 0xb3, 0xc));
	rt_gdt_set(S1, gate((u32)g_ring1, KCODE1, 0xec, 0));
	target = S1 | 3;
	rt_tss.esp1 = (u32)ring1_stack + 4096;
	rt_tss.ss1 = KDATA1 | 1;
	check("ring1.call", rt_user(call_gate, 0), NONE);
	check("ring1.cs", g_cs, KCODE1 | 1);
	check("ring1.ss", g_ss, KDATA1 | 1);
	check("ring1.esp", g_esp, (u32)ring1_stack + 4096 - 16);
	rt_tss.ss1 = 0;
	check_exc("ts.null", rt_user(call_gate, 0), TS, 0);
	rt_tss.ss1 = SEL_KDS | 1;
	check_exc("ts.dpl", rt_user(call_gate, 0), TS, SEL_KDS);
	rt_tss.ss1 = KDATA1;
	check_exc("ts.rpl", rt_user(call_gate, 0), TS, KDATA1);
	rt_tss.ss1 = KCODE1 | 1;
	check_exc("ts.code", rt_user(call_gate, 0), TS, KCODE1);
	rt_tss.ss1 = 0x7f9;
	check_exc("ts.limit", rt_user(call_gate, 0), TS, 0x7f8);
	rt_gdt_set(KDATA1, rt_desc(0, 0xfffff, 0x33, 0xc));
	rt_tss.ss1 = KDATA1 | 1;
	check_exc_hw("ss.not-present", rt_user(call_gate, 0), SS, KDATA1);
	rt_gdt_set(KDATA1, rt_desc(0, 0xfffff, 0xb3, 0xc));
	rt_tss.ss1 = ss1;
	rt_tss.ss0 = ss0;
	check("outward", rt_try(outward, 0), NONE);
	check("outward.cs", g_cs, KCODE1 | 1);
	check("outward.esp", g_esp, (u32)ring1_stack + 4096);
	check_exc("inward.lret", rt_user(user_lret_in, 0), GP, SEL_KCS32);
}

static void interrupts(void)
{
	rt_idt_set(0x84, (ulong)g_trap, SEL_KCS32, 0xef, 0); /* trap gate: IF stays */
	rt_user_fl(int84, 0, FL_IF);
	check("trap-gate.if", g_flags & (FL_IF | FL_TF | FL_NT | FL_VM), FL_IF);
	rt_idt_set(0x84, (ulong)g_trap, SEL_KCS32, 0xee, 0);
	rt_user_fl(int84, 0, FL_IF);
	check("interrupt-gate.if", g_flags & FL_IF, 0);
	check_exc("into", rt_try(into, 0), OF, 0);
	check("into.ip", rt_exc.ip, (u32)g_into);
	check("into.no-overflow", rt_try(into_not, 0), NONE);
	check("bound.in", rt_try(bound, (void *)10), NONE);
	check("bound.low", rt_try(bound, (void *)-5), NONE);
	check_exc_at("bound.above", rt_try(bound, (void *)11), BR, 0, g_bound);
	check_exc("bound.below", rt_try(bound, (void *)-6), BR, 0);
	rt_idt_set(OF, (ulong)rt_stubs + OF * 16, SEL_KCS, 0x8e, 0);
	check_exc("into.user-dpl", rt_user(into, 0), GP, OF * 8 + 2);
	rt_idt_set(OF, (ulong)rt_stubs + OF * 16, SEL_KCS, 0xee, 0);
	check_exc("into.user", rt_user(into, 0), OF, 0);
	/* A vector beyond the IDT's limit. */
	struct rt_dtr small = { 0x84 * 8 + 6, rt_idtr.base };
	asm volatile("lidt %0" :: "m"(small));
	check_exc("idt.limit", rt_try(int84, 0), GP, 0x84 * 8 + 2);
	asm volatile("lidt %0" :: "m"(rt_idtr));
}


CASE static void iret_same(void *a)
{
	asm volatile("pushf; push %%cs; push $1f; iret; 1: mov %%esp, %0" : "=r"(*(u32 *)a));
}
CASE static void iret16(void *a)
{
	/* 16-bit operand: IP is truncated to 16 bits, here far out of our code. */
	asm volatile("pushfw; .byte 0x66; push %%cs; pushw $0x1234; .byte 0x66; iret" ::: "memory");
}
CASE static void iret_user(void *a)
{
	asm volatile("push %0; push %1; pushf; push %2; push $1f; iret; 1: mov %%esp, %%esi; int $0x80"
		     :: "r"(SEL_UDS), "r"(RT_USER_STACK_TOP - 128), "r"(SEL_UCS32));
}

static void iret_forms(void)
{
	u32 sp;

	check("iret.same", rt_try(iret_same, &sp), NONE);
	*(u8 *)0x1234 = 0x0f; /* UD2 waits where the truncated IP leads */
	*(u8 *)0x1235 = 0x0b;
	check_exc("iret16", rt_try(iret16, 0), UD, 0);
	check("iret16.ip", rt_exc.ip, 0x1234);
	check("iret.user", rt_try(iret_user, 0), NONE);
	check("iret.user.esp", rt_exc.si, RT_USER_STACK_TOP - 128);
}

void test_main(void)
{
	call_gates();
	bad_tss();
	interrupts();
	iret_forms();
}
