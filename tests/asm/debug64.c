/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single step and the debug registers. SDM vol. 3, chapter 18. */
#include "tests/asm/rt.h"

extern char s_1[], s_2[], s_3[], c_at[], c_next[], d_after[], d_rep[], d_repafter[], g_at[], io_after[],
	ss_1[], ss_2[], ss_3[], s_pop[], s_int[];
static volatile u64 hits, ips[16], dr6s[16], flags[16];
static volatile u64 set_rf, keep_tf = 1;
static volatile u64 data[2] __attribute__((aligned(16)));

#define DR7(n, rw, len) (2ul << (2 * (n)) | (ulong)((rw) | (len) << 2) << (16 + 4 * (n)))
#define DR6_BASE 0xffff0ff0ul

static void on_db(struct rt_regs *r)
{
	if (hits < 16) {
		ips[hits] = r->ip;
		dr6s[hits] = rd_dr6();
		flags[hits] = r->flags;
	}
	hits++;
	wr_dr6(DR6_BASE);
	if (set_rf)
		r->flags |= FL_RF;
	if (!keep_tf || hits > 200)
		r->flags &= ~(u64)FL_TF;
}

static void arm(void)
{
	hits = 0;
	set_rf = 1;
	keep_tf = 1;
	wr_dr6(DR6_BASE);
}

CASE static void step(void *a)
{
	asm volatile("pushf; orq $0x100, (%%rsp); popf\n"
		     "nop; s_1: nop; s_2: pushf; s_3: andq $~0x100, (%%rsp); popf; s_pop: nop" ::: "memory");
}
CASE static void step_rep(void *a)
{
	asm volatile("mov $3, %%ecx; mov %0, %%rdi; pushf; orq $0x100, (%%rsp); popf\n"
		     "d_rep: rep stosb; d_repafter: pushf; andq $~0x100, (%%rsp); popf; nop"
		     :: "r"(data) : "rax", "rcx", "rdi", "memory");
}
CASE static void step_ss(void *a)
{
	asm volatile("mov %%ss, %%eax; pushf; orq $0x100, (%%rsp); popf\n"
		     "mov %%eax, %%ss; ss_1: nop; ss_2: nop; ss_3: pushf; andq $~0x100, (%%rsp); popf; nop"
		     ::: "rax", "memory");
}
CASE static void step_int(void *a)
{
	asm volatile("pushf; orq $0x100, (%%rsp); popf; int $0x83; nop; s_int: pushf; andq $~0x100, (%%rsp); popf; nop" ::: "memory");
}
CASE static void code_bp(void *a) { asm volatile("nop; c_at: nop; c_next: nop"); }
CASE static void data_wr(void *a) { asm volatile("movl $1, (%0); d_after: nop" :: "r"(a) : "memory"); }
CASE static void data_rd(void *a) { asm volatile("mov (%0), %%al; nop" :: "r"(a) : "rax"); }
CASE static void data_movs(void *a)
{
	asm volatile("mov $4, %%ecx; mov %0, %%rdi; mov %0, %%rsi; rep movsb; nop"
		     :: "r"(a) : "rcx", "rsi", "rdi", "memory");
}
CASE static void data_push(void *a)
{
	asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %%rax; mov %%rbx, %%rsp" :: "r"(a) : "rbx", "memory");
}
CASE static void gd(void *a) { asm volatile("g_at: mov %%dr0, %%rax" ::: "rax"); }
CASE static void io(void *a) { asm volatile("outb %%al, $0x80; io_after: nop" :: "a"(0)); }
CASE static void dr4(void *a) { asm volatile("mov %%dr4, %%rax" ::: "rax"); }
CASE static void dr6_high(void *a) { asm volatile("mov %0, %%dr6" :: "r"(1ul << 32)); }
CASE static void dr7_high(void *a) { asm volatile("mov %0, %%dr7" :: "r"(1ul << 32)); }
CASE static void undefined(void *a) { asm volatile("ud2"); }
CASE static void user_step(void *a) { asm volatile("nop; nop"); }

static void on_83(struct rt_regs *r) { (void)r; }

static void stepping(void)
{
	arm();
	step(0);
	/* One trap after each instruction from the one that follows POPF to POPF. */
	check("step.first", ips[0], (ulong)s_1);
	check("step.second", ips[1], (ulong)s_2);
	check("step.third", ips[2], (ulong)s_3);
	check("step.count", hits, 5);
	check("step.last", ips[4], (ulong)s_pop);
	check("step.dr6", dr6s[0] & 0xe00f, 0x4000);
	/* The frame shows TF still set. */
	check("step.frame-tf", flags[0] & FL_TF, FL_TF);
	arm();
	step_rep(0);
	/* REP stops after each iteration, RIP on the REP until the last. */
	check("step.rep1", ips[0], (ulong)d_rep);
	check("step.rep2", ips[1], (ulong)d_rep);
	check("step.rep3", ips[2], (ulong)d_repafter);
	arm();
	step_ss(0);
	check_hw("step.movss", ips[0], (ulong)ss_2);
	arm();
	keep_tf = 1;
	step_int(0);
	/* INT n clears TF for its handler: the next trap is after the next instruction. */
	check("step.int", ips[0], (ulong)s_int);
	check("step.int.count", hits, 4);
	arm();
	keep_tf = 0;
	rt_user_fl(user_step, 0, FL_TF);
	check("step.user", hits, 1);
	check("step.user-dr6", dr6s[0] & 0xe00f, 0x4000);
}

static void code(void)
{
	arm();
	wr_dr0((ulong)c_at);
	wr_dr7(DR7(0, 0, 0));
	code_bp(0);
	check("code.count", hits, 1);
	check("code.ip", ips[0], (ulong)c_at);
	check("code.dr6", dr6s[0] & 0xe00f, 1);
	/* The one fault whose frame has RF clear: it is the handler's to set. */
	check("code.rf", flags[0] & FL_RF, 0);
	wr_dr1((ulong)c_at);
	wr_dr7(DR7(0, 0, 0) | DR7(1, 0, 0));
	arm();
	code_bp(0);
	check("code.two", dr6s[0] & 0xf, 3);
	wr_dr7(0x400);
	arm();
	code_bp(0);
	check("code.off", hits, 0);
	/* A local enable works too. */
	wr_dr7(1);
	code_bp(0);
	check("code.local", hits, 1);
	wr_dr7(0);
	/* Every other fault's frame has it set. */
	rt_try(undefined, 0);
	check_hw("fault.rf", rt_exc.flags & FL_RF, FL_RF);
}

static void watch(void)
{
	arm();
	wr_dr0((ulong)&data[0]);
	wr_dr7(DR7(0, 1, 3));
	data_wr((void *)&data[0]);
	check("data.write", hits, 1);
	check("data.trap-after", ips[0], (ulong)d_after);
	check("data.dr6", dr6s[0] & 0xe00f, 1);
	check("data.frame-rf", flags[0] & FL_RF, 0);
	arm();
	data_rd((void *)&data[0]);
	check("data.write-only", hits, 0);
	wr_dr7(DR7(0, 3, 3));
	data_rd((void *)&data[0]);
	check("data.read", hits, 1);
	arm();
	data_rd((char *)&data[0] + 4);
	check_hw("data.beyond", hits, 0);
	/* Overlap from below counts. */
	wr_dr0((ulong)&data[0] + 3);
	wr_dr7(DR7(0, 1, 0));
	arm();
	data_wr((void *)&data[0]);
	check("data.overlap", hits, 1);
	wr_dr0((ulong)&data[0]);
	wr_dr7(DR7(0, 1, 2)); /* 8 bytes */
	arm();
	data_wr((char *)&data[0] + 4);
	check("data.eight", hits, 1);
	arm();
	data_push((void *)(&data[0] + 1));
	check("data.push", hits, 1);
	arm();
	wr_dr7(DR7(0, 1, 0));
	data_movs((void *)&data[0]);
	check("data.movs", hits, 1);
	wr_dr0((ulong)&data[0]);
	wr_dr7(DR7(0, 3, 3) & ~2ul);
	arm();
	data_wr((void *)&data[0]);
	check("data.off", hits, 0);
	wr_dr7(0);
}

static void special(void)
{
	ulong cr4 = rd_cr4();

	arm();
	wr_dr7(0x2000);
	gd(0);
	check_hw("gd.count", hits, 1); /* TCG has no GD */
	check_hw("gd.ip", ips[0], (ulong)g_at);
	check_hw("gd.dr6", dr6s[0] & 0xe00f, 0x2000);
	check_hw("gd.cleared", rd_dr7(), 0x400);
	/* I/O breakpoints want CR4.DE; without it R/W 2 is undefined. */
	wr_cr4(cr4 | CR4_DE);
	arm();
	wr_dr0(0x80);
	wr_dr7(DR7(0, 2, 0));
	io(0);
	if (rt_told("kvm")) { /* an access to a port comes out before its trap, which KVM forgets */
		check_skip("io", "not under KVM");
	} else {
		check("io.count", hits, 1);
		check("io.ip", ips[0], (ulong)io_after);
		check("io.dr6", dr6s[0] & 0xe00f, 1);
	}
	wr_dr7(0);
	/* DR4 and DR5 alias DR6 and DR7 unless CR4.DE. */
	check_exc("dr4.de", rt_try(dr4, 0), UD, 0);
	wr_cr4(cr4);
	check("dr4.alias", rt_try(dr4, 0), NONE);
	check_exc("dr6.high", rt_try(dr6_high, 0), GP, 0);
	check_exc("dr7.high", rt_try(dr7_high, 0), GP, 0);
	wr_dr6(0xffff0ff0 | 0x4003);
	check("dr6.sticky", rd_dr6() & 0xe00f, 0x4003);
	wr_dr6(0);
	check("dr6.fixed", rd_dr6() & 0xffff1ff0, 0xffff0ff0);
	wr_dr7(0);
	check("dr7.fixed", rd_dr7(), 0x400);
}

void test_main(void)
{
	rt_handle(DB, on_db);
	rt_handle(0x83, on_83);
	stepping();
	code();
	watch();
	special();
}
