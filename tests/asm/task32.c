/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hardware task switches with the 32-bit TSS: JMP, CALL, INT through a task gate,
 * IRET, nesting, busy bits, error codes. SDM vol. 3, chapter 7. */
#include "tests/asm/rt.h"

#define T1 SEL_SPARE
#define T2 (SEL_SPARE + 8)
#define GATE (SEL_SPARE + 16)
#define LDT1 (SEL_SPARE + 24)
#define BAD (SEL_SPARE + 32)
struct tss {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	u32 eax, ecx, edx, ebx, esp, ebp, esi, edi;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trap, iomap;
} __attribute__((packed));
static struct tss t1, t2;
static u8 stack1[4096], stack2[4096], stack_r3[4096];
extern char t_iret[], t_jmp_back[], t_record[], t_ud[], t_user[];
extern volatile u32 t_seen[8];

asm(".text\n"
    "t_record: mov %eax, t_seen; mov %ecx, t_seen+4; mov %esp, t_seen+8; pushf; pop t_seen+12\n"
    "	str %eax; mov %eax, t_seen+16; mov %cs, %eax; mov %eax, t_seen+20; mov %cr0, %eax\n"
    "	mov %eax, t_seen+24; ret\n"
    "t_iret: call t_record; inc %ebx; iret; jmp t_iret\n"
    "t_jmp_back: call t_record; ljmp $0x50, $0; jmp t_jmp_back\n"
    "t_ud: pop %edx; mov %edx, t_seen+28; addl $2, rt_tss+32; iret; jmp t_ud\n"
    "t_user: mov %cs, %edx; mov %esp, %esi; int $0x80\n"
    ".data\n.balign 4\nt_seen: .fill 8, 4, 0\n.text\n");

static u64 task_gate(u16 sel, u8 type) { return (u32)sel << 16 | (u64)type << 40; }
static u8 type(u16 sel) { return rt_gdt[sel / 8] >> 40 & 0xff; }
static void busy_off(u16 sel) { rt_gdt[sel / 8] &= ~(2ull << 40); }

static void setup(struct tss *t, const void *eip, u8 *stack)
{
	memset(t, 0, sizeof(*t));
	t->eip = (u32)eip;
	t->eflags = 2 | FL_CF;
	t->esp = (u32)stack + 4096;
	t->cs = SEL_KCS32;
	t->ss = t->ds = t->es = SEL_KDS;
	t->eax = 0x11111111;
	t->ecx = 0x22222222;
	t->iomap = sizeof(*t);
}

static u16 target;
CASE static void call_task(void *a)
{
	struct __attribute__((packed)) { u32 off; u16 sel; } p = { 0x12345678, target };
	asm volatile("lcall *(%0)" :: "r"(&p), "m"(p) : "memory");
}
CASE static void jmp_task(void *a)
{
	struct __attribute__((packed)) { u32 off; u16 sel; } p = { 0x12345678, target };
	asm volatile("ljmp *(%0)" :: "r"(&p), "m"(p) : "memory");
}
CASE static void int85(void *a) { asm volatile("int $0x85"); }
CASE static void iret_nt(void *a)
{
	asm volatile("pushf; orl $0x4000, (%%esp); popf; iret" ::: "memory");
}
CASE static void undefined(void *a) { asm volatile("ud2"); }

static void calls(void)
{
	u8 mine = type(SEL_TSS);

	check("tr.busy", mine, 0x8b);
	setup(&t1, t_iret, stack1);
	rt_gdt_set(T1, rt_desc((ulong)&t1, sizeof(t1) - 1, 0x89, 0));
	target = T1;
	check("call", rt_try(call_task, 0), NONE);
	check("call.eax", t_seen[0], 0x11111111);
	check("call.ecx", t_seen[1], 0x22222222);
	check("call.esp", t_seen[2], (u32)stack1 + 4096 - 4);
	check("call.flags", t_seen[3] & FL_NT, FL_NT);
	check_hw("call.flags-cf", t_seen[3] & FL_CF, FL_CF); /* TCG loses it */
	check("call.tr", t_seen[4] & 0xffff, T1);
	check("call.cs", t_seen[5], SEL_KCS32);
	check("call.ts", t_seen[6] & CR0_TS, CR0_TS);
	check("call.link", t1.link & 0xffff, SEL_TSS);
	check("back.busy", type(T1), 0x89);
	check("back.mine-busy", type(SEL_TSS), 0x8b);
	check("back.nt", rd_flags() & FL_NT, 0);
	check("back.ebx", t1.ebx, 1);
	check("back.saved-eip", t1.eip, (u32)t_iret + 5 + 1 + 1);
	check("back.saved-nt", t1.eflags & FL_NT, 0);
	asm volatile("clts");
	/* The second visit goes on after the IRET. */
	check("again", rt_try(call_task, 0), NONE);
	check("again.ebx", t1.ebx, 2);
	asm volatile("clts");
}

static void jumps(void)
{
	setup(&t2, t_jmp_back, stack2);
	rt_gdt_set(T2, rt_desc((ulong)&t2, sizeof(t2) - 1, 0x89, 0));
	target = T2;
	t2.link = 0x7777;
	check("jmp", rt_try(jmp_task, 0), NONE);
	check("jmp.tr", t_seen[4] & 0xffff, T2);
	check("jmp.nt", t_seen[3] & FL_NT, 0);
	check("jmp.link-untouched", t2.link, 0x7777);
	check("jmp.busy-after", type(T2), 0x89);
	check("jmp.mine-busy", type(SEL_TSS), 0x8b);
	asm volatile("clts");
}

static void gates(void)
{
	setup(&t1, t_iret, stack1);
	rt_gdt_set(GATE, task_gate(T1, 0x85));
	target = GATE;
	check("gate.call", rt_try(call_task, 0), NONE);
	check("gate.tr", t_seen[4] & 0xffff, T1);
	check_exc("gate.dpl", rt_user(call_task, 0), GP, GATE);
	rt_gdt_set(GATE, task_gate(T1, 0xe5));
	target = GATE | 3;
	setup(&t1, t_iret, stack1);
	check("gate.user", rt_user(call_task, 0), NONE);
	check("gate.user.cs", t_seen[5], SEL_KCS32);
	asm volatile("clts");
	setup(&t1, t_iret, stack1);
	*(volatile u64 *)(rt_idtr.base + 0x85 * 8) = task_gate(T1, 0x85);
	check("int", rt_try(int85, 0), NONE);
	check("int.nt", t_seen[3] & FL_NT, FL_NT);
	check("int.link", t1.link & 0xffff, SEL_TSS);
	asm volatile("clts");
	/* A fault without an error code pushes nothing on the new task's stack. */
	setup(&t1, t_ud, stack1);
	t1.esp -= 4;
	*(u32 *)(stack1 + 4092) = 0xabcd;
	*(volatile u64 *)(rt_idtr.base + UD * 8) = task_gate(T1, 0x85);
	check("ud.gate", rt_try(undefined, 0), NONE);
	check("ud.no-error-code", t_seen[7], 0xabcd);
	rt_idt_set(UD, (ulong)rt_stubs + UD * 16, SEL_KCS, 0x8e, 0);
	asm volatile("clts");
}

CASE static void bad_ds(void *a) { asm volatile("mov %0, %%ds" :: "r"(BAD)); }
extern char t_gp[];
asm(".text\nt_gp: pop %edx; mov %edx, t_seen+28; mov t_prev, %edx; movl $t_resume, 32(%edx); iret; jmp t_gp\n"
    "t_resume: int $0x80\n.data\nt_prev: .long 0\n.text\n");
extern volatile u32 t_prev;

static void error_code(void)
{
	setup(&t1, t_gp, stack1);
	t_prev = (u32)&rt_tss;
	rt_gdt_set(BAD, 0);
	*(volatile u64 *)(rt_idtr.base + GP * 8) = task_gate(T1, 0x85);
	check("gp.gate", rt_try(bad_ds, 0), NONE);
	check("gp.error-code", t_seen[7], BAD);
	check("gp.eip-changed", rt_exc.ip != 0, 1);
	rt_idt_set(GP, (ulong)rt_stubs + GP * 16, SEL_KCS, 0x8e, 0);
	asm volatile("clts");
}

static void refused(void)
{
	setup(&t1, t_iret, stack1);
	target = T1;
	rt_gdt_set(T1, rt_desc((ulong)&t1, sizeof(t1) - 1, 0x8b, 0));
	check_exc("busy.call", rt_try(call_task, 0), GP, T1);
	check_exc("busy.jmp", rt_try(jmp_task, 0), GP, T1);
	rt_gdt_set(T1, rt_desc((ulong)&t1, sizeof(t1) - 1, 0x09, 0));
	check_exc("np.call", rt_try(call_task, 0), NP, T1);
	rt_gdt_set(T1, rt_desc((ulong)&t1, 0x66, 0x89, 0));
	check_exc("limit.call", rt_try(call_task, 0), TS, T1);
	rt_gdt_set(T1, rt_desc((ulong)&t1, sizeof(t1) - 1, 0x89, 0));
	check_exc("dpl.user", rt_user(call_task, 0), GP, T1);
	rt_gdt_set(GATE, task_gate(SEL_KDS, 0x85));
	target = GATE;
	check_exc("gate.not-tss", rt_try(call_task, 0), GP, SEL_KDS);
	rt_gdt_set(GATE, task_gate(0, 0x85));
	check_exc("gate.null", rt_try(call_task, 0), GP, 0);
	rt_gdt_set(GATE, task_gate(T1, 0x05));
	check_exc("gate.not-present", rt_try(call_task, 0), NP, GATE);
	/* IRET with NT and a back link that is no busy TSS. */
	rt_tss.link = T1;
	check_exc("iret.not-busy", rt_try(iret_nt, 0), TS, T1);
	rt_tss.link = SEL_KDS;
	check_exc("iret.not-tss", rt_try(iret_nt, 0), TS, SEL_KDS);
	rt_tss.link = 0;
	wr_flags(rd_flags() & ~FL_NT);
}

CASE static void to_user(void *a)
{
	target = T1;
	jmp_task(0);
}
static void to_ring3(void)
{
	setup(&t1, t_user, stack_r3);
	t1.cs = SEL_UCS32;
	t1.ss = t1.ds = t1.es = SEL_UDS;
	t1.esp0 = (u32)stack1 + 4096;
	t1.ss0 = SEL_KDS;
	check("ring3", rt_try(to_user, 0), NONE);
	check("ring3.cs", rt_exc.dx, SEL_UCS32);
	check("ring3.esp", rt_exc.si, (u32)stack_r3 + 4096);
	/* We are still that task; go home. */
	busy_off(SEL_TSS);
	asm volatile("ltr %w0" :: "r"(SEL_TSS));
	busy_off(T1);
	asm volatile("clts");
}

/* Faults while the new task's segments load belong to the new task. */
static void in_new_task(void)
{
	setup(&t1, t_iret, stack1);
	t1.ds = BAD;
	target = T1;
	check_exc("new.ds", rt_try(jmp_task, 0), TS, BAD);
	busy_off(SEL_TSS);
	asm volatile("ltr %w0" :: "r"(SEL_TSS));
	busy_off(T1);
	asm volatile("clts");
}

void test_main(void)
{
	calls();
	jumps();
	gates();
	error_code();
	refused();
	to_ring3();
	in_new_task();
}
