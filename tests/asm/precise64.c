/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State at an exception is exact: every register and flag, at every instruction of
 * a block, whether a single-step trap, a page fault or an interrupt stops it. And
 * code that was once allowed to run is checked again when paging changes. */
#include "tests/asm/rt_apic.h"

#define VA 0x500000000000ul
#define STEPS 128
struct snap { u64 ip, flags, regs[15]; };
static struct snap trace[STEPS];
static unsigned steps, faults, mismatches;
static u64 first_bad;
static ulong page;
static bool stepping_over;
extern char p_begin[], p_end[];

/* A block with loads, stores, flags in every state and flags nobody reads. */
asm(".text\n.balign 64\np_begin:\n"
    "	mov (%rdi), %rax\n	add $0x7fffffff, %eax\n	adc 8(%rdi), %rbx\n	lea 1(%rax,%rbx), %rcx\n"
    "	sub 16(%rdi), %rcx\n	mov %rcx, 24(%rdi)\n	sbb %rdx, %rdx\n	inc %rdx\n	mov 32(%rdi), %r8\n"
    "	shl $3, %r8\n	rcr $1, %r9\n	mov %r9, 40(%rdi)\n	xor %r10, %r10\n	add 48(%rdi), %r10\n"
    "	cmp %r10, %rax\n	setb 56(%rdi)\n	mov 64(%rdi), %r11\n	neg %r11\n	cmovs 72(%rdi), %r12\n"
    "	imul 80(%rdi), %r11\n	mov %r11, 88(%rdi)\n	bt $5, %r11\n	mov 96(%rdi), %r13\n	dec %r13\n"
    "	adc $5, %r13\n	push 104(%rdi)\n	pop 112(%rdi)\n	mulq 120(%rdi)\n	mov %rdx, 128(%rdi)\n"
    "	lock xadd %rax, 136(%rdi)\n	popcnt 144(%rdi), %rsi\n	test %rsi, %rsi\n	jz p_skip\n"
    "	incq 152(%rdi)\n	jnz p_skip\n	ud2\np_skip: xchg %r14, 160(%rdi)\n	sar $1, %r14\n"
    "	rolq $9, 168(%rdi)\n	mov 176(%rdi), %rbp\n	cmpxchg %rbp, 184(%rdi)\n	bsf 192(%rdi), %rcx\n"
    "	movsbq 200(%rdi), %rdx\n	andq $-16, 208(%rdi)\n	notq 216(%rdi)\n	mov 224(%rdi), %r8\n"
    "p_end: ret\n");

static void snapshot(struct snap *s, const struct rt_regs *r)
{
	s->ip = r->ip;
	s->flags = r->flags & 0xcd5;
	memcpy(s->regs, r, sizeof(s->regs));
}

static void fill(void)
{
	u64 v = 0x123456789abcdef;

	for (unsigned i = 0; i < 64; i++) {
		v = v * 6364136223846793005ull + 1442695040888963407ull;
		((volatile u64 *)page)[i] = v | 1;
	}
}

CASE static void block(void *flags)
{
	asm volatile("push %%rbp; push %%rax; xor %%eax, %%eax; mov $3, %%ebx; mov $5, %%ecx; mov $7, %%edx\n"
		     "mov $11, %%r8d; mov $13, %%r9d; mov $17, %%r10d; mov $19, %%r11d; mov $23, %%r12d\n"
		     "mov $29, %%r13d; mov $31, %%r14d; mov $37, %%r15d; mov $41, %%esi; mov $43, %%ebp\n"
		     "popf; call p_begin; pushf; andq $~0x100, (%%rsp); popf; pop %%rbp"
		     : "+a"(flags) : "D"(VA)
		     : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
		       "r15", "memory", "cc");
}

static bool in_block(const struct rt_regs *r)
{
	return r->ip >= (ulong)p_begin && r->ip <= (ulong)p_end;
}

static void on_step(struct rt_regs *r)
{
	wr_dr6(0xffff0ff0);
	if (in_block(r) && steps < STEPS)
		snapshot(&trace[steps++], r);
}

/* The trace has one entry per instruction: RIP finds it. */
static void compare(const struct rt_regs *r)
{
	struct snap now;

	snapshot(&now, r);
	for (unsigned i = 0; i < steps; i++) {
		if (trace[i].ip == now.ip) {
			if (memcmp(&trace[i], &now, sizeof(now))) {
				mismatches++;
				if (!first_bad)
					first_bad = now.ip - (ulong)p_begin;
			}
			return;
		}
	}
	mismatches++;
}

/* Not there: compare, let one instruction through, take it away again. */
static void on_pf(struct rt_regs *r)
{
	faults++;
	compare(r);
	rt_map(VA, page, PG_P | PG_W);
	stepping_over = true;
	r->flags |= FL_TF;
}
static void after_pf(struct rt_regs *r)
{
	wr_dr6(0xffff0ff0);
	r->flags &= ~(u64)FL_TF;
	if (stepping_over)
		rt_map(VA, 0, 0);
	stepping_over = false;
}

static void exact(void)
{
	u64 result[64];

	page = (ulong)rt_page();
	rt_map(VA, page, PG_P | PG_W);
	fill();
	rt_handle(DB, on_step);
	block((void *)(ulong)(FL_TF | 2));
	check_true("trace.length", steps > 40);
	memcpy(result, (void *)page, sizeof(result));
	fill();
	block((void *)2ul); /* free running, twice: a translator's warm path */
	check("free.memory", memcmp(result, (void *)page, sizeof(result)), 0);
	fill();
	block((void *)2ul);
	check("free.again", memcmp(result, (void *)page, sizeof(result)), 0);
	rt_handle(PF, on_pf);
	rt_handle(DB, after_pf);
	fill();
	rt_map(VA, 0, 0);
	block((void *)2ul);
	rt_handle(PF, NULL);
	rt_handle(DB, NULL);
	rt_map(VA, page, PG_P | PG_W);
	check("fault.count", faults, 29);
	check("fault.state", mismatches, 0);
	check("fault.first-bad", first_bad, 0);
	check("fault.memory", memcmp(result, (void *)page, sizeof(result)), 0);
}

static volatile u64 ticks;

/* Any address may be jumped to while an interrupt comes, those in the first page, too:
 * call each, again and again. */
static void called_low(void)
{
	u8 *low = rt_page();
	u64 start = ticks;

	for (unsigned n = 0; n < 16; n++)
		low[n] = 0xc3;
	rt_map(0, (ulong)low, PG_P | PG_W | PG_U);
	for (unsigned n = 0; n < 16; n++)
		for (unsigned i = 0; i < 3000000 && ticks < start + 300 * (n + 1); i++)
			asm volatile("call *%0" :: "r"((ulong)n) : "memory");
	check_true("interrupt.low-addresses", ticks > start);
}

static void on_tick(struct rt_regs *r)
{
	ticks++;
	if (in_block(r))
		compare(r);
	/* What a handler may touch: flags, x87, vectors (the block uses none). */
	asm volatile("stc; std; cld; sahf" ::: "cc");
	eoi();
}

static void interrupted(void)
{
	u64 result[64];
	unsigned bad = 0;

	memcpy(result, (void *)page, sizeof(result));
	rt_handle(0x71, on_tick);
	apic_on();
	apic_wr(APIC_TDCR, 0xb);
	apic_wr(APIC_LVTT, 0x20071);
	apic_wr(APIC_TMICT, 30000);
	mismatches = 0;
	sti();
	for (unsigned i = 0; i < 3000 || (ticks < 50 && i < 300000); i++) {
		fill();
		block((void *)(2ul | FL_IF));
		bad += memcmp(result, (void *)page, sizeof(result)) != 0;
	}
	called_low();
	cli();
	apic_wr(APIC_LVTT, 0x10000);
	apic_wr(APIC_TMICT, 0);
	check_true("interrupt.came", ticks >= 50);
	check("interrupt.memory", bad, 0);
	check("interrupt.state", mismatches, 0);
}

static void put(u8 *at, u32 imm) /* mov $imm, %eax; ret */
{
	at[0] = 0xb8;
	memcpy(at + 1, &imm, 4);
	at[5] = 0xc3;
}
CASE static void call(void *a) { asm volatile("call *%0" :: "r"(a) : "rax", "memory"); }
CASE static u32 value(ulong at)
{
	u32 v;
	asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory");
	return v;
}

/* Direct jumps from one page to another whose mapping changes. */
static void linked(void)
{
	u8 *a = rt_page(), *b = rt_page(), *c = rt_page();
	int32_t rel = 0x1000 - 5;
	u32 bad = 0;

	a[0] = 0xe9; /* jmp to the start of the next page */
	memcpy(a + 1, &rel, 4);
	put(b, 1);
	put(c, 2);
	rt_map(VA, (ulong)a, PG_P | PG_W | PG_U);
	for (unsigned i = 0; i < 200; i++) {
		rt_map(VA + 4096, (ulong)(i & 1 ? b : c), PG_P | PG_W | PG_U);
		bad += value(VA) != (i & 1 ? 1 : 2);
		bad += value(VA) != (i & 1 ? 1 : 2);
	}
	check("linked.remap", bad, 0);
	rt_map(VA + 4096, 0, 0);
	check_exc("linked.gone", rt_try(call, (void *)VA), PF, 0x10);
	check("linked.gone.cr2", rt_exc.cr2, VA + 4096);
	check("linked.gone.ip", rt_exc.ip, VA + 4096);
	/* An instruction over the boundary whose second half changes. */
	memcpy(a + 4094, (u8[]){ 0xb8, 0x11 }, 2);
	memcpy(b, (u8[]){ 0x22, 0x33, 0x44, 0xc3 }, 4);
	memcpy(c, (u8[]){ 0x55, 0x66, 0x77, 0xc3 }, 4);
	for (unsigned i = 0; i < 200; i++) {
		rt_map(VA + 4096, (ulong)(i & 1 ? b : c), PG_P | PG_W | PG_U);
		bad += value(VA + 4094) != (i & 1 ? 0x44332211 : 0x77665511);
	}
	check("linked.straddle", bad, 0);
	rt_map(VA + 4096, 0, 0);
	check_exc("linked.straddle-gone", rt_try(call, (void *)(VA + 4094)), PF, 0x10);
	check("linked.straddle-gone.cr2", rt_exc.cr2, VA + 4096);
}

static void rights(void)
{
	u8 *a = rt_page();

	put(a, 1);
	for (unsigned i = 0; i < 3; i++) {
		rt_map(VA, (ulong)a, PG_P | PG_W | PG_U);
		check("rights.runs", rt_user(call, (void *)VA), NONE);
		rt_map(VA, (ulong)a, PG_P | PG_W | PG_U | PG_NX);
		check_exc("rights.nx", rt_user(call, (void *)VA), PF, 0x15);
		rt_map(VA, (ulong)a, PG_P | PG_W);
		check_exc("rights.supervisor", rt_user(call, (void *)VA), PF, 0x15);
		check("rights.kernel", rt_try(call, (void *)VA), NONE);
		rt_map(VA, 0, 0);
		check_exc("rights.absent", rt_try(call, (void *)VA), PF, 0x10);
	}
}

/* The same address under two page tables. */
static void spaces(void)
{
	u64 *old = (u64 *)(rd_cr3() & ~0xffful), *other = rt_page();
	u8 *a = rt_page(), *b = rt_page();
	ulong first = rd_cr3();
	u32 bad = 0;

	put(a, 1);
	put(b, 2);
	memcpy(other, old, 4096);
	rt_map(VA, (ulong)a, PG_P | PG_W | PG_U);
	other[VA >> 39 & 511] = 0;
	wr_cr3((ulong)other);
	rt_map(VA, (ulong)b, PG_P | PG_W | PG_U);
	for (unsigned i = 0; i < 100; i++) {
		wr_cr3(first);
		bad += value(VA) != 1;
		wr_cr3((ulong)other);
		bad += value(VA) != 2;
	}
	wr_cr3(first);
	check("spaces", bad, 0);
}

/* The same bytes as 64-bit and as 32-bit code: 48 ff c0 is INC RAX, or DEC EAX
 * and INC EAX. */
extern char m_bytes[];
asm(".text\nm_bytes: .byte 0x48, 0xff, 0xc0\n int $0x80\n");
CASE static void as64(void *a) { asm volatile("mov $10, %%eax; jmp *%0" :: "r"(a) : "rax"); }
CASE static void as32(void *a)
{
	asm volatile("mov $10, %%eax; push %0; push %1; lretq" :: "r"((ulong)SEL_UCS32), "r"(a) : "rax");
}

static void modes(void)
{
	for (unsigned i = 0; i < 3; i++) {
		check("modes.64", rt_user(as64, m_bytes), NONE);
		check("modes.64.value", rt_exc.ax, 11);
		check("modes.32", rt_user(as32, m_bytes), NONE);
		check("modes.32.value", rt_exc.ax, 10);
	}
}

void test_main(void)
{
	exact();
	interrupted();
	linked();
	rights();
	spaces();
	modes();
}
