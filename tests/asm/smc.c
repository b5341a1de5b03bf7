/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Self-modifying code: in the same block, in a loop, over page ends, through an
 * alias, by string instructions, by a new mapping, in a ring-3 page. */
#include "tests/asm/rt.h"

#define VA 0x500000000000ul
#define ALIAS 0x500000400000ul
typedef u32 (*fn)(void);
static u8 *code; /* two pages */

/* mov $imm, %eax; ret */
static void put(u8 *at, u32 imm)
{
	at[0] = 0xb8;
	memcpy(at + 1, &imm, 4);
	at[5] = 0xc3;
}

CASE static u32 run(volatile void *at)
{
	u32 v;
	asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "rcx", "rdx", "rsi", "rdi");
	return v;
}

CASE static u32 next_insn(void)
{
	u32 v;
	/* The store changes the very next instruction's immediate. */
	asm volatile("movl $2, 1f+1(%%rip); 1: mov $1, %%eax; movl $1, 1b+1(%%rip)" : "=a"(v) :: "memory");
	return v;
}

CASE static u32 own_later(void)
{
	u32 v;
	asm volatile("movb $0x90, 2f(%%rip); movb $0x90, 2f+1(%%rip); xor %%eax, %%eax; nop; nop\n"
		     "2: inc %%eax; mov %%eax, %0; movb $0xff, 2b(%%rip); movb $0xc0, 2b+1(%%rip)"
		     : "=r"(v) :: "rax", "memory");
	return v;
}

/* A loop that raises its own increment each turn: 1 + 2 + ... + 100. */
CASE static u32 loop_own(void)
{
	u32 v;
	asm volatile("xor %%eax, %%eax; mov $100, %%ecx; movb $1, 3f+2(%%rip)\n"
		     "3: add $1, %%eax; incb 3b+2(%%rip); loop 3b; movb $1, 3b+2(%%rip)"
		     : "=a"(v) :: "rcx", "memory");
	return v;
}

static void simple(void)
{
	u32 bad = 0;

	check("next-instruction", next_insn(), 2);
	check("next-instruction.again", next_insn(), 2);
	check("same-block", own_later(), 0);
	check("loop", loop_own(), 5050);
	check("loop.again", loop_own(), 5050);
	for (u32 i = 0; i < 2000; i++) {
		put(code, i);
		bad += run(code) != i;
	}
	check("rewrite-2000", bad, 0);
	/* One byte within the immediate. */
	put(code, 0);
	run(code);
	for (u32 i = 0; i < 256; i++) {
		code[2] = i;
		bad += run(code) != i << 8;
	}
	check("rewrite-byte", bad, 0);
	for (unsigned off = 4090; off < 4096; off++) {
		for (u32 i = 1; i < 20; i++) {
			put(code + off, i * 0x01010101u);
			bad += run(code + off) != i * 0x01010101u;
		}
	}
	check("cross-page", bad, 0);
	put(code + 4094, 5);
	run(code + 4094);
	code[4096] = 7; /* only the second page is written: bits 8-15 */
	check("cross-page.second", run(code + 4094), 0x705);
}

static void alias(void)
{
	u8 *a = (u8 *)VA, *b = (u8 *)ALIAS;
	u32 bad = 0;

	rt_map(VA, (ulong)code, PG_P | PG_W | PG_U);
	rt_map(ALIAS, (ulong)code, PG_P | PG_W | PG_U);
	for (u32 i = 0; i < 200; i++) {
		put(b, i);
		bad += run(a) != i;
		put(code, i + 7);
		bad += run(b) != i + 7;
		bad += run(a) != i + 7;
	}
	check("alias", bad, 0);
	/* The same virtual address, another page. */
	put(code, 1);
	put(code + 4096, 2);
	check("remap.first", run(a), 1);
	rt_map(VA, (ulong)code + 4096, PG_P | PG_W | PG_U);
	check("remap.second", run(a), 2);
	put(code + 4096, 3);
	check("remap.rewrite", run(a), 3);
	rt_map(VA, (ulong)code, PG_P | PG_W | PG_U);
	check("remap.back", run(a), 1);
}

static void by_string(void)
{
	static u8 image[64];
	u32 bad = 0;

	for (u32 i = 0; i < 100; i++) {
		const void *s = image;
		void *d = code;
		ulong n = 6;

		put(image, i);
		asm volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) :: "memory");
		bad += run(code) != i;
		s = image;
		d = code + 64;
		n = 2;
		asm volatile("rep movsl" : "+S"(s), "+D"(d), "+c"(n) :: "memory");
		bad += run(code + 64) != i;
	}
	check("rep-movs", bad, 0);
	put(code, 0x55555555);
	run(code);
	void *d = code + 1;
	ulong n = 4;
	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(0x42) : "memory");
	check("rep-stos", run(code), 0x42424242);
	put(code, 1);
	run(code);
	asm volatile("lock xaddl %0, (%1)" :: "r"(4), "r"(code + 1) : "memory");
	check("lock-xadd", run(code), 5);
	asm volatile("movq %0, %%xmm0; movdqu %%xmm0, (%1)"
		     :: "r"(0xc3000000aab8ul), "r"(code) : "memory");
	check("sse-store", run(code), 0xaa);
	/* The stack as the writer. */
	asm volatile("mov %%rsp, %%rbx; lea 8(%1), %%rsp; push %0; mov %%rbx, %%rsp"
		     :: "r"(0xc3000000bbb8ul), "r"(code) : "memory", "rbx");
	check("push", run(code), 0xbb);
	asm volatile("fildll (%0); fistpll (%1)" :: "r"(&(u64){ 0xc3000000ccb8ul }), "r"(code) : "memory");
	check("x87-store", run(code), 0xcc);
}

/* Opcodes that change often, and code that changes itself often: what a translator
 * finds worth a way of its own must still be noticed. */
static void often(void)
{
	static const u8 ops[] = { 0x05, 0x2d, 0x35, 0x0d };
	u32 bad = 0, two = 0, own = 0, loop = 0;

	for (u32 i = 0; i < 2000; i++) {
		u32 want = i & 3 ? (i & 3) == 1 ? 5 - i : (i & 3) == 2 ? 5 ^ i : 5 | i : 5 + i;

		put(code + 0x100, 5); /* mov eax, 5; op eax, i; ret */
		code[0x105] = ops[i & 3];
		memcpy(code + 0x106, &i, 4);
		code[0x10a] = 0xc3;
		bad += run(code + 0x100) != want;
		/* The immediate alone. */
		code[0x101] = 6;
		two += run(code + 0x100) == want;
	}
	check("often.opcode", bad, 0);
	/* OR with 5 and with 6 is the same where both low bits are set. */
	check("often.immediate", two, 500);
	for (u32 i = 0; i < 200; i++) {
		own += next_insn() != 2 || own_later() != 0;
		loop += loop_own() != 5050;
	}
	check("often.own", own, 0);
	check("often.loop", loop, 0);
}

/* An immediate that changes often, behind loads that share one check. */
static void often_behind_loads(void)
{
	/* push 0x11; push 0x22; pop rdx; pop rcx; mov eax, imm; ret */
	static const u8 pops[] = { 0x6a, 0x11, 0x6a, 0x22, 0x5a, 0x59, 0xb8, 0, 0, 0, 0, 0xc3 };
	/* mov edx, [rsp]; mov ecx, [rsp + 8]; mov eax, imm; ret */
	static const u8 loads[] = { 0x8b, 0x14, 0x24, 0x8b, 0x4c, 0x24, 0x08, 0xb8,
				    0, 0, 0, 0, 0xc3 };
	u32 bad = 0;

	for (u32 i = 0; i < 2000; i++) {
		memcpy(code + 0x200, pops, sizeof(pops));
		memcpy(code + 0x207, &i, 4);
		bad += run(code + 0x200) != i;
		memcpy(code + 0x240, loads, sizeof(loads));
		memcpy(code + 0x248, &i, 4);
		bad += run(code + 0x240) != i;
	}
	check("often.behind-loads", bad, 0);
}

/* Data beside code in one page: writing it must not disturb, nor lose, the code. */
static void neighbours(void)
{
	u32 sum = 0;

	/* xor eax,eax; mov ecx,1000; 1: inc dword [rip+data]; add eax,[rip+data]; loop */
	static const u8 image[] = { 0x31, 0xc0, 0xb9, 0xe8, 0x03, 0, 0, 0xff, 0x05, 0x33, 0, 0, 0,
				    0x03, 0x05, 0x2d, 0, 0, 0, 0xe2, 0xf2, 0xc3 };

	memcpy(code, image, sizeof(image));
	*(volatile u32 *)(code + 0x40) = 0;
	check("data-beside", run(code), 500500);
	check("data-beside.value", *(volatile u32 *)(code + 0x40), 1000);
	for (u32 i = 0; i < 100; i++) {
		put(code + 0x80, i);
		code[0xc0 + (i & 63)] = i;
		sum += run(code + 0x80);
	}
	check("data-beside.sum", sum, 4950);
}

CASE static void user_smc(void *a)
{
	u8 *p = a;
	for (u32 i = 0; i < 50; i++) {
		p[0] = 0xb8;
		*(volatile u32 *)(p + 1) = i;
		p[5] = 0xc3;
		if (run(p) != i)
			asm volatile("ud2");
	}
}

void test_main(void)
{
	code = rt_pages(2);
	simple();
	alias();
	by_string();
	often();
	often_behind_loads();
	neighbours();
	check("user", rt_user(user_smc, code), NONE);
}
