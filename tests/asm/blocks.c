/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What breaks engines that keep code by blocks: instructions and blocks over page
 * ends whose second page is absent or another, one frame at many addresses, more
 * code than fits into a cache, mode and mapping switches as a page's last
 * instruction.
 */
#include "tests/asm/rt.h"

#define VA 0x500000000000ul
#define RW (PG_P | PG_W | PG_U)
static u8 *first, *second[2]; /* frames of VA and of the page behind it */

CASE static void call(void *a)
{
	asm volatile("xor %%ecx, %%ecx; xor %%eax, %%eax; call *%0"
		     :: "r"(a) : "rax", "rcx", "rdx", "rdi", "memory");
}

CASE static u64 value(const void *a, u64 arg)
{
	u64 v;
	asm volatile("xor %%eax, %%eax; call *%1" : "=&a"(v), "+r"(a), "+D"(arg) :: "rcx", "rdx", "memory");
	return v;
}

static ulong call_arg;

CASE static void call_with(void *a)
{
	asm volatile("xor %%ecx, %%ecx; xor %%eax, %%eax; mov %1, %%rdi; call *%0"
		     :: "r"(a), "m"(call_arg) : "rax", "rcx", "rdx", "rdi", "memory");
}

static void map_second(unsigned which) { rt_map(VA + 4096, (ulong)second[which], RW); }

/*
 * An instruction over the page's end, at every place where it can be cut. In front
 * of it stands one that must have been done exactly once when it faults.
 */
static const struct {
	u8 len, imm_bytes; /* the immediate stands last */
	u8 bytes[16];
} cut[] = {
	{ 10, 8, { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8 } },       /* movabs rax, imm */
	{ 5, 4, { 0xb8, 1, 2, 3, 4 } },                            /* mov eax, imm */
	{ 8, 4, { 0x48, 0x8d, 0x04, 0x25, 1, 2, 3, 4 } },          /* lea rax, [disp] */
	{ 12, 4, { 0x67, 0x67, 0x67, 0x67, 0x67, 0x67, 0x67, 0xb8, 1, 2, 3, 4 } },
};

static void place(const u8 *bytes, unsigned len, unsigned head)
{
	u8 code[40];
	unsigned n = 0;

	code[n++] = 0xff; /* inc ecx */
	code[n++] = 0xc1;
	memcpy(code + n, bytes, len);
	n += len;
	code[n++] = 0xc3;
	memcpy(first + 4096 - head - 2, code, head + 2);
	for (unsigned k = 0; k < 2; k++)
		memcpy(second[k], code + head + 2, n - head - 2);
}

static void straddling(void)
{
	u32 bad_value = 0, bad_fault = 0, cases = 0;

	for (unsigned t = 0; t < sizeof(cut) / sizeof(cut[0]); t++) {
		unsigned len = cut[t].len, top = 8 * (cut[t].imm_bytes - 1u);
		u64 want = 0;

		memcpy(&want, cut[t].bytes + len - cut[t].imm_bytes, cut[t].imm_bytes);
		for (unsigned head = 1; head < len; head++) {
			const u8 *code = (const u8 *)VA + 4096 - head - 2;

			place(cut[t].bytes, len, head);
			second[1][len - 1 - head] = 0x21; /* the value's top byte */
			for (unsigned i = 0; i < 12; i++) {
				map_second(i & 1);
				bad_value += value(code, 0) !=
					     (i & 1 ? (want & ~(0xffull << top)) | 0x21ull << top : want);
				cases++;
				if (i % 3)
					continue;
				rt_map(VA + 4096, 0, 0);
				if (rt_try(call, (void *)code) != PF || rt_exc.cr2 != VA + 4096 ||
				    rt_exc.ip != (ulong)code + 2 || rt_exc.cx != 1 || rt_exc.error != 0x10)
					bad_fault++;
			}
		}
	}
	check("straddle.cases", cases, 12 * (9 + 4 + 7 + 11));
	check("straddle.value", bad_value, 0);
	check("straddle.fault", bad_fault, 0);
}

/* Straight code that reaches the page's end exactly. */
static void falling_through(void)
{
	static const u8 head[] = { 0xff, 0xc1, 0xff, 0xc1, 0x01, 0xc8 }; /* inc ecx x2; add eax, ecx */
	const u8 *code = (const u8 *)VA + 4096 - sizeof(head);
	u32 bad = 0;

	memcpy(first + 4096 - sizeof(head), head, sizeof(head));
	memcpy(second[0], (u8[]){ 0x83, 0xc0, 0x10, 0xc3 }, 4); /* add eax, 0x10; ret */
	memcpy(second[1], (u8[]){ 0x83, 0xc0, 0x20, 0xc3 }, 4);
	for (unsigned i = 0; i < 100; i++) {
		u64 v;

		map_second(i & 1);
		for (unsigned k = 0; k < 3; k++) {
			asm volatile("xor %%ecx, %%ecx; xor %%eax, %%eax; call *%1" : "=&a"(v) : "r"(code) : "rcx", "memory");
			bad += v != (i & 1 ? 0x22 : 0x12);
		}
		if (i % 10 == 9) {
			rt_map(VA + 4096, 0, 0);
			bad += rt_try(call, (void *)code) != PF || rt_exc.ip != VA + 4096 ||
			       rt_exc.cr2 != VA + 4096 || rt_exc.cx != 2 || rt_exc.ax != 2;
		}
		if (i % 10 == 4) { /* present, but not for fetching */
			rt_map(VA + 4096, (ulong)second[0], RW | PG_NX);
			bad += rt_try(call, (void *)code) != PF || rt_exc.error != 0x11 || rt_exc.cx != 2;
		}
	}
	check("fall-through", bad, 0);
}

/* A loop whose body lies on both pages, the second changing under it. */
static void looping_over(void)
{
	/* 1: add eax, edi; | dec edi; jnz 1b; ret */
	static const u8 head[] = { 0x01, 0xf8 }, tail[] = { 0xff, 0xcf, 0x75, 0xfa, 0xc3 };
	static const u8 tail2[] = { 0xff, 0xc0, 0xff, 0xcf, 0x75, 0xf8, 0xc3 }; /* inc eax too */
	u32 bad = 0;

	memcpy(first + 4094, head, 2);
	memcpy(second[0], tail, sizeof(tail));
	memcpy(second[1], tail2, sizeof(tail2));
	for (unsigned i = 0; i < 60; i++) {
		map_second(i & 1);
		bad += value((void *)(VA + 4094), 100) != 5050 + (i & 1 ? 100 : 0);
	}
	check("loop-over-pages", bad, 0);
}

/* One frame at many addresses, some of which share every index of a cache. */
#define NALIAS 24
static ulong alias_at(unsigned n)
{
	return VA + 0x10000000ul + (n < 8 ? n * 0x1000ul : n < 16 ? (n - 7) * 0x800000ul
							      : (n - 15) * 0x40000000ul + 0x5000);
}

static void aliases(void)
{
	/* lea rax, [rip]; add rax, imm8; ret */
	static const u8 code[] = { 0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x48, 0x83, 0xc0, 0, 0xc3 };
	u8 *frame = rt_page();
	u32 bad = 0;

	memcpy(frame + 0x100, code, sizeof(code));
	for (unsigned n = 0; n < NALIAS; n++)
		rt_map(alias_at(n), (ulong)frame, RW);
	for (unsigned round = 0; round < 40; round++) {
		/* Rewritten through another alias each time. */
		*(volatile u8 *)(alias_at(round % NALIAS) + 0x10a) = (u8)(round & 63);
		for (unsigned n = 0; n < NALIAS; n++)
			for (unsigned k = 0; k < 2; k++)
				bad += value((void *)(alias_at(n) + 0x100), 0) !=
				       alias_at(n) + 0x107 + (round & 63);
	}
	check("aliases", bad, 0);
	for (unsigned n = 0; n < NALIAS; n++)
		rt_map(alias_at(n), 0, 0);
}

/*
 * More code than a small cache holds: functions that jump to one another.
 *   dec edi; js out; add eax, imm32; jmp next; out: ret
 */
#define NFN 30000u
#define FN_BYTES 16u
static u32 fn_next(u32 n) { return (n * 7919u + 13u) % NFN; }
static u32 fn_add(u32 n) { return n * 2654435761u >> 7; }

static void write_fn(u8 *all, u32 n)
{
	u8 *p = all + n * FN_BYTES;
	u32 add = fn_add(n);
	int32_t rel = (int32_t)(fn_next(n) - n) * (int32_t)FN_BYTES - 14;

	memcpy(p, (u8[]){ 0xff, 0xcf, 0x78, 0x0b, 0x05, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0, 0x90, 0xc3 }, 16);
	memcpy(p + 5, &add, 4);
	memcpy(p + 10, &rel, 4);
}

static u32 sum_from(u32 n, u32 depth)
{
	u32 sum = 0;

	for (; depth; depth--, n = fn_next(n))
		sum += fn_add(n);
	return sum;
}

static void much_code(void)
{
	u8 *all = rt_pages(NFN * FN_BYTES / 4096 + 1);
	u32 bad = 0, seed = 1;

	for (u32 n = 0; n < NFN; n++)
		write_fn(all, n);
	for (unsigned pass = 0; pass < 5; pass++)
		for (u32 n = 0; n < NFN; n++)
			bad += (u32)value(all + n * FN_BYTES, 1) != fn_add(n);
	check("much-code.each", bad, 0);
	for (unsigned i = 0; i < 3000; i++) {
		u32 n, depth = 1 + i % 97;

		seed = seed * 1664525u + 1013904223u;
		n = seed % NFN;
		bad += (u32)value(all + n * FN_BYTES, depth) != sum_from(n, depth);
	}
	check("much-code.chains", bad, 0);
	bad += (u32)value(all, 10 * NFN) != sum_from(0, 10 * NFN);
	check("much-code.long", bad, 0);
}

/*
 * The last instruction of a page changes what the next one is.
 */
static void put_last(const u8 *bytes, unsigned len) { memcpy(first + 4096 - len, bytes, len); }

static void cr3_at_the_end(void)
{
	u64 *other = rt_page();
	ulong mine = rd_cr3();
	u32 bad = 0;

	memcpy(other, (u64 *)(mine & ~0xffful), 4096);
	map_second(0);
	other[VA >> 39 & 511] = 0;
	wr_cr3((ulong)other);
	rt_map(VA, (ulong)first, RW);
	map_second(1);
	put_last((u8[]){ 0x0f, 0x22, 0xdf }, 3); /* mov cr3, rdi */
	memcpy(second[0], (u8[]){ 0xb8, 1, 0, 0, 0, 0xc3 }, 6);
	memcpy(second[1], (u8[]){ 0xb8, 2, 0, 0, 0, 0xc3 }, 6);
	for (unsigned i = 0; i < 100; i++)
		bad += value((void *)(VA + 4093), i & 1 ? mine : (ulong)other) != (i & 1 ? 1 : 2);
	wr_cr3(mine);
	check("page-end.cr3", bad, 0);
}

/* mov [rsi], rdx; invlpg [rdi]: the page that follows is another from then on. */
static void invlpg_at_the_end(void)
{
	static const u8 code[] = { 0x48, 0x89, 0x16, 0x0f, 0x01, 0x3f };
	u32 bad = 0;

	map_second(0);
	put_last(code, sizeof(code));
	for (unsigned i = 0; i < 100; i++) {
		u64 v;

		asm volatile("call *%1" : "=a"(v)
			     : "r"(VA + 4096 - sizeof(code)), "S"(rt_pte(VA + 4096, 1)),
			       "D"(VA + 4096), "d"((ulong)second[i & 1] | RW) : "memory");
		bad += v != 1 + (i & 1);
	}
	check("page-end.invlpg", bad, 0);
}

/* From 64-bit code by a far return that ends the page into 32-bit code that begins
 * with bytes which mean something else in 64-bit code, and back. */
extern u8 end_low[], end_back[];
asm(".text\n.code32\nend_low: .byte 0x48, 0x40, 0x40\n" /* dec eax; inc eax; inc eax */
    "	ljmp $0x10, $end_back\n.code64\nend_back: movslq %eax, %rax; ret\n");

static void mode_at_the_end(void)
{
	u32 bad = 0;

	put_last((u8[]){ 0x48, 0xcb }, 2); /* lretq */
	for (unsigned i = 0; i < 100; i++) {
		u64 v;

		asm volatile("lea 1f(%%rip), %%rcx; push %%rcx; push %3; push %2; mov $41, %%eax; jmp *%1\n1:"
			     : "=&a"(v) : "r"(VA + 4094), "r"((ulong)end_low), "r"((ulong)SEL_KCS32)
			     : "rcx", "memory");
		bad += v != 42;
	}
	check("page-end.mode", bad, 0);
}

static volatile u32 steps;
static volatile ulong step_ip;
static void on_db(struct rt_regs *r)
{
	if (!steps++)
		step_ip = r->ip;
	r->flags &= ~FL_TF;
}

/* POPF sets TF: one instruction on the next page, then the trap. */
static void tf_at_the_end(void)
{
	u32 bad = 0;

	map_second(0);
	put_last((u8[]){ 0x9d }, 1);
	rt_handle(DB, on_db);
	for (unsigned i = 0; i < 20; i++) {
		u64 v;

		steps = 0;
		asm volatile("lea 1f(%%rip), %%rcx; push %%rcx; pushf; orl $0x100, (%%rsp); jmp *%1\n1:"
			     : "=&a"(v) : "r"(VA + 4095) : "rcx", "memory");
		bad += v != 1 || steps != 1 || step_ip != VA + 4096 + 5;
	}
	rt_handle(DB, NULL);
	check("page-end.tf", bad, 0);
}

/* STI and then a page that is not there: the fault's frame has IF set. */
static void sti_at_the_end(void)
{
	put_last((u8[]){ 0xfb }, 1);
	rt_map(VA + 4096, 0, 0);
	for (unsigned i = 0; i < 5; i++) {
		check_exc_at("page-end.sti", rt_try(call, (void *)(VA + 4095)), PF, 0x10, (void *)(VA + 4096));
		check("page-end.sti.if", rt_exc.flags & FL_IF, FL_IF);
		cli();
	}
}

/*
 * Behind a conditional jump that is not taken: the state where it faults, a store that
 * is not reached, and the jump taken after all.
 */
static void going_on(void)
{
	/* cmp rdi, -1; jae 1f; inc ecx; mov eax, [rdi]; ret; 1: mov eax, 9; ret */
	static const u8 fault[] = { 0x48, 0x83, 0xff, 0xff, 0x73, 0x05, 0xff, 0xc1, 0x8b, 0x07, 0xc3,
				    0xb8, 9, 0, 0, 0, 0xc3 };
	/* mov eax, [rdi]; cmp al, 1; jne 1f; mov [rdi + 8], eax; add eax, 100; 1: ret */
	static const u8 store[] = { 0x8b, 0x07, 0x3c, 0x01, 0x75, 0x06, 0x89, 0x47, 0x08,
				    0x83, 0xc0, 0x64, 0xc3 };
	u8 *at = (u8 *)VA + 0x100, *data = (u8 *)VA + 4096;
	u32 bad = 0;

	memcpy(first + 0x100, fault, sizeof(fault));
	rt_map((ulong)data, 0, 0);
	for (unsigned i = 0; i < 5; i++) {
		call_arg = (ulong)data;
		bad += rt_try(call_with, at) != PF || rt_exc.ip != (ulong)at + 8 ||
		       rt_exc.cx != 1 || (rt_exc.flags & (FL_CF | FL_ZF)) != FL_CF;
		bad += value(at, ~0ul) != 9;
	}
	check("going-on.fault", bad, 0);
	memcpy(first + 0x180, store, sizeof(store));
	at = (u8 *)VA + 0x180;
	rt_map((ulong)data, (ulong)second[0], PG_P | PG_U);
	bad = 0;
	for (unsigned i = 0; i < 20; i++) {
		*(u32 *)second[0] = 2 + i;
		bad += value(at, (ulong)data) != 2 + i;
	}
	check("going-on.read-only", bad, 0);
	*(u32 *)second[0] = 1;
	call_arg = (ulong)data;
	check_exc_at("going-on.refused", rt_try(call_with, at), PF, 3, at + 6);
	rt_map((ulong)data, (ulong)second[0], RW);
	check("going-on.stored", value(at, (ulong)data), 101);
	check("going-on.memory", *(u32 *)(second[0] + 8), 1);
}

/* LOOP and JRCXZ at a block's end: the flags pass, the count is the address size's. */
static void counting(void)
{
	static u64 number[64];
	u64 rcx, carry, sum = 0, turns = 0, zf;

	/* All ones plus one: the carry goes through every turn. */
	for (unsigned n = 0; n < 64; n++)
		number[n] = ~0ul;
	asm volatile("mov $64, %%ecx; mov %2, %%rsi; stc\n"
		     "1: adcq $0, (%%rsi); lea 8(%%rsi), %%rsi; loop 1b\n"
		     "setc %b1; movzbl %b1, %k1; mov %%rcx, %0"
		     : "=r"(rcx), "=&q"(carry) : "r"(number) : "rcx", "rsi", "memory", "cc");
	for (unsigned n = 0; n < 64; n++)
		sum |= number[n];
	check("counting.carry", carry, 1);
	check("counting.sum", sum, 0);
	check("counting.left", rcx, 0);
	asm volatile("movabs $0x700000064, %%rcx; xor %1, %1; 1: inc %1; addr32 loop 1b; mov %%rcx, %0"
		     : "=r"(rcx), "=&r"(turns) : : "rcx", "cc");
	check("counting.ecx", rcx, 0);
	check("counting.ecx-turns", turns, 100);
	asm volatile("mov $1000, %%ecx; xor %1, %1\n"
		     "1: inc %1; cmp $300, %1; loopne 1b; setz %b2; movzbl %b2, %k2; mov %%rcx, %0"
		     : "=r"(rcx), "=&r"(turns), "=&q"(zf) : : "rcx", "cc");
	check("counting.loopne", turns, 300);
	check("counting.loopne-left", rcx, 700);
	check("counting.loopne-zf", zf, 1);
	asm volatile("mov $200, %%ecx; xor %1, %1; 1: inc %1; cmp %1, %1; loope 1b; mov %%rcx, %0"
		     : "=r"(rcx), "=&r"(turns) : : "rcx", "cc");
	check("counting.loope", turns, 200);
	asm volatile("mov $150, %%ecx; xor %1, %1; stc\n"
		     "1: jrcxz 2f; lea 1(%1), %1; lea -1(%%rcx), %%rcx; jmp 1b\n"
		     "2: setc %b0; movzbl %b0, %k0"
		     : "=&q"(carry), "=&r"(turns) : : "rcx", "cc");
	check("counting.jrcxz", turns, 150);
	check("counting.jrcxz-carry", carry, 1);
	asm volatile("movabs $0x500000000, %%rcx; mov $1, %0; jecxz 1f; mov $2, %0; 1:"
		     : "=&r"(turns) : : "rcx");
	check("counting.jecxz", turns, 1);
}

void test_main(void)
{
	first = rt_page();
	second[0] = rt_page();
	second[1] = rt_page();
	rt_map(VA, (ulong)first, RW);
	straddling();
	falling_through();
	looping_over();
	aliases();
	much_code();
	cr3_at_the_end();
	invlpg_at_the_end();
	mode_at_the_end();
	tf_at_the_end();
	sti_at_the_end();
	going_on();
	counting();
}
