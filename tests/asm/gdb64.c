/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a debugger from outside looks at (debugger.py), and must not be noticed by. With
 * "debugger" on the command line one is there, who changes a register, a word and an
 * instruction and ends a loop. Checks of the guest's own debug registers and TF are the
 * same with it.
 */
#include "tests/asm/rt_apic.h"

extern char g_at[], g_next[], g_tf1[], g_tf2[], g_sti2[];
extern volatile u64 g_entered;
volatile u64 g_data[4] __attribute__((aligned(64)));
volatile u64 g_word, g_own, g_go, g_reg, g_flags, g_counts[2], g_stop;
static volatile u64 hits, ips[16], dr6s[16], ipis, ipi_ip;
static u64 step_end;
static bool debugged, plain;

#define DR7(n, rw, len) (2ul << (2 * (n)) | (ulong)((rw) | (len) << 2) << (16 + 4 * (n)))
#define DR6_BASE 0xffff0ff0ul
#define SELF_IPI 0x53

CASE static u64 g_branches(void *a)
{
	u64 v;
	asm volatile("xor %%eax, %%eax; mov $3, %%ecx\n"
		     "g_loop: inc %%eax; g_dec: dec %%ecx; g_jnz: jnz g_loop\n"
		     "g_call: call g_leaf; g_back: jmp g_end\n"
		     "g_leaf: add $0x10, %%eax; g_ret: ret\n"
		     "g_end: nop" : "=&a"(v) :: "rcx", "memory");
	return v;
}
CASE static void g_strings(void *a)
{
	asm volatile("mov $4, %%ecx; mov $0x5a, %%eax; g_rep: rep stosb; g_rep_after: nop"
		     : "+D"(a) :: "rax", "rcx", "memory");
}
CASE static void g_faults(void *a) { asm volatile("nop; g_fault: mov (%0), %%eax; nop" :: "r"(a) : "rax"); }
CASE static void g_shadow(void *a)
{
	asm volatile("cli; g_sti: sti; g_sti1: nop; g_sti2: nop; g_sti3: nop; g_cli: cli; g_cli1: nop" ::: "memory");
}
CASE static void g_mov_ss(void *a)
{
	asm volatile("mov %%ss, %%eax; g_ss: mov %%eax, %%ss; g_ss1: nop; g_ss2: nop" ::: "rax");
}
CASE static u64 g_pushes(void *a)
{
	u64 v;
	asm volatile("g_pushf: pushf; g_pop: pop %0; g_push: push %0; g_popf: popf; g_popf1: nop"
		     : "=r"(v) :: "memory");
	return v;
}
asm(".text\n"
    "g_entry: incq g_entered\n	mov $rt_int_stack_top, %rsp\n	mov $0x99, %edi\n"
    "	jmp rt_caught\n"
    ".data\n.balign 8\ng_entered: .quad 0\n.text\n");
extern char g_entry[];
CASE static void g_calls(void *a) { asm volatile("nop; g_syscall: syscall; nop" ::: "rcx", "r11", "memory"); }
CASE static void g_stores(void *a)
{
	asm volatile("movq $1, g_word; g_stored: nop; mov g_word, %%rax; g_loaded: nop\n"
		     "movl $7, g_data+8; g_stored2: nop" ::: "rax", "memory");
}
CASE static u64 g_sets(void *a)
{
	u64 v;
	asm volatile("mov $0x11, %%eax; g_set: nop; mov %%rax, %0" : "=r"(v) :: "rax");
	return v;
}
/* Its operand is changed once it has been run many times. */
CASE static u64 g_patched(void *a)
{
	u64 v;
	asm volatile("g_patch: mov $1, %%eax" : "=a"(v));
	return v;
}
CASE static void g_before(void *a) { asm volatile("g_repatch: nop"); }
CASE static void g_waits(void *a)
{
	asm volatile("g_wait: pause; cmpq $0, g_go; je g_wait" ::: "memory", "cc");
}

/*
 * The guest debugs itself.
 */
static void on_db(struct rt_regs *r)
{
	if (hits < 16) {
		ips[hits] = r->ip;
		dr6s[hits] = rd_dr6();
	}
	hits++;
	wr_dr6(DR6_BASE);
	r->flags |= FL_RF;
	if (r->ip == step_end)
		r->flags &= ~(u64)FL_TF;
}

CASE static void g_own_code(void *a) { asm volatile("nop; g_at: nop; g_next: nop"); }
CASE static void g_own_data(void *a) { asm volatile("movq $3, g_own; g_own_after: nop" ::: "memory"); }
CASE static void g_own_step(void *a)
{
	asm volatile("pushf; orq $0x100, (%%rsp); popf; g_tf0: nop; g_tf1: nop; g_tf2: nop; nop" ::: "memory");
}

extern char g_own_after[];
static void own_registers(void)
{
	if (rt_is_nested) { /* a breakpoint that is armed while the guest comes out stays for ever */
		check_skip("own", "QEMU's AMD-V");
		return;
	}
	rt_handle(DB, on_db);
	wr_dr6(DR6_BASE);
	wr_dr0((ulong)g_at);
	wr_dr1((ulong)&g_own);
	wr_dr7(DR7(0, 0, 0) | DR7(1, 1, 2) | 0x400);
	hits = 0;
	g_own_code(0);
	check("own.code.hits", hits, 1);
	check("own.code.ip", ips[0], (ulong)g_at);
	check("own.code.dr6", dr6s[0], DR6_BASE | 1);
	hits = 0;
	g_own_data(0);
	check("own.data.hits", hits, 1);
	check("own.data.ip", ips[0], (ulong)g_own_after);
	check("own.data.dr6", dr6s[0], DR6_BASE | 2);
	check("own.dr0", rd_dr0(), (ulong)g_at);
	check("own.dr1", rd_dr1(), (ulong)&g_own);
	check("own.dr7", rd_dr7(), DR7(0, 0, 0) | DR7(1, 1, 2) | 0x400);
	wr_dr7(0x400);
	rt_handle(DB, NULL);
}

static void own_step(void)
{
	rt_handle(DB, on_db);
	step_end = (u64)g_tf2;
	wr_dr6(DR6_BASE);
	hits = 0;
	g_own_step(0);
	check("own.step.hits", hits, 2);
	check("own.step.ip0", ips[0], (ulong)g_tf1);
	check("own.step.ip1", ips[1], (ulong)g_tf2);
	check("own.step.dr6", dr6s[0], DR6_BASE | 0x4000);
	rt_handle(DB, NULL);
}

static void on_ipi(struct rt_regs *r)
{
	ipis++;
	ipi_ip = r->ip;
	eoi();
}

/* An interrupt waits for STI: it comes behind its shadow. A debugger that steps keeps it
 * back until the processor runs. */
static void shadows(void)
{
	rt_handle(SELF_IPI, on_ipi);
	apic_on();
	cli();
	apic_icr(0, 0x44000 | SELF_IPI);
	g_shadow(0);
	if (!plain)
		check("sti.interrupts", ipis, 1);
	if (!debugged)
		check("sti.ip", ipi_ip, (ulong)g_sti2);
	g_mov_ss(0);
}

static void syscalls(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
	wrmsr(MSR_STAR, (u64)(SEL_UCS32) << 48 | (u64)SEL_KCS64 << 32);
	wrmsr(MSR_LSTAR, (ulong)g_entry);
	wrmsr(MSR_FMASK, FL_DF | FL_IF | FL_TF);
	check("syscall", rt_user(g_calls, 0), 0x99);
	check("syscall.entered", g_entered, 1);
}

/* Both count until told. */
CASE static void g_first(unsigned n) { asm volatile("g_one: lock incq g_counts; g_one1: nop" ::: "memory", "cc"); }
CASE static void g_second(unsigned n) { asm volatile("g_two: lock incq g_counts+8; g_two1: nop" ::: "memory", "cc"); }
static void second(unsigned n)
{
	while (!g_stop)
		g_second(n);
}

static void two(void)
{
	if (smp_start() < 2)
		return;
	smp_run(1, second);
	while (!(debugged ? g_stop : g_counts[1]))
		g_first(0);
	g_stop = 1;
	check_true("two.idle", smp_wait());
	check_true("two.counts", g_counts[0] && g_counts[1]);
}

void test_main(void)
{
	debugged = rt_told("debugger");
	plain = rt_told("plain"); /* without ring 3, interrupt windows, debug registers of its own */
	check("branches", g_branches(0), 0x13);
	g_strings((void *)g_data);
	check("strings", g_data[0], 0x5a5a5a5a);
	rt_pte(0x7000000, 1)[0] = 0;
	invlpg(0x7000000);
	check_exc("fault", rt_try(g_faults, (void *)0x7000000), PF, 0);
	shadows();
	g_flags = g_pushes(0);
	check("tf.hidden", g_flags & (FL_TF | FL_RF), 0);
	if (!plain)
		syscalls();
	g_stores(0);
	check("stores", g_word, 1);
	check("sets", g_sets(0), debugged ? 0x1234 : 0x11);
	for (unsigned n = 0; n < 1000; n++)
		g_reg += g_patched(0);
	check("patched.before", g_reg, 1000);
	g_before(0);
	check("patched", g_patched(0), debugged ? 2 : 1);
	if (!plain)
		own_registers();
	own_step();
	if (debugged)
		g_waits(0);
	check("waited", g_go, debugged);
	two();
}
