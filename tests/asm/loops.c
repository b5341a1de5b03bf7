/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a translator carries along in loops and in rows of pushes and pops: the flags at a
 * fault of a loop's first access, whatever set them in the turn before; interrupts in
 * loops that do nothing but access memory; RSP wherever somebody looks at it.
 */
#include "tests/asm/rt_apic.h"

#define VA 0x500000000000ul
#define TURNS 520ul /* eight of them in the second page */
#define RWU (PG_P | PG_W | PG_U)

static ulong second;
static volatile unsigned faults;
static volatile u64 fault_flags, ticks, seen[4];

/* The end of a turn, and which flags it defines: with RCX the turns left, RDX 1, RDI the
 * next element, RSI the end. */
#define ALL 0x8d5
#define NO_AF 0x8c5
#define ENDS(X)                                                                                    \
	X(cmp_regs, ALL, "cmp %%rsi, %%rdi")                                                       \
	X(cmp_words, ALL, "cmp %%si, %%di")                                                        \
	X(cmp_imm, ALL, "lea -1(%%rcx), %%ecx; cmp $0, %%ecx")                                     \
	X(cmp_memory, ALL, "lea -1(%%rcx), %%ecx; cmp %%rcx, 8(%%r8)")                             \
	X(sub_imm, ALL, "sub $1, %%rcx")                                                           \
	X(sub_reg, ALL, "sub %%edx, %%ecx")                                                        \
	X(add_imm, ALL, "add $-1, %%ecx")                                                          \
	X(dec, ALL, "stc; dec %%rcx")                                                              \
	X(test, NO_AF, "lea -1(%%rcx), %%ecx; test %%ecx, %%ecx")                                  \
	X(test_imm, NO_AF, "lea -1(%%rcx), %%ecx; test $0x3ff, %%ecx")                             \
	X(and_, NO_AF, "lea -1(%%rcx), %%ecx; and %%ecx, %%ecx")                                   \
	X(or_, NO_AF, "lea -1(%%rcx), %%ecx; or %%ecx, %%ecx")                                     \
	X(cmp_loaded, ALL, "cmp %%rsi, %%rax; lea -1(%%rcx), %%ecx; cmp %%r8, %%rax")              \
	X(test_loaded, NO_AF, "test %%rax, %%rax")

/* All turns, and the flags after the turn whose next access is the second page's first.
 * R8 points to eight bytes before a zero. */
#define WITH_R8 register const volatile void *r8 asm("r8") = seen - 1
#define DEFINE(name, mask, end)                                                                    \
	CASE static ulong turns_##name(void)                                                       \
	{                                                                                          \
		ulong left = TURNS, at = VA, value;                                                \
		WITH_R8;                                                                           \
		asm volatile("1: mov (%%rdi), %%rax\n	add $8, %%rdi\n	" end "\n	jne 1b" \
			     : "+c"(left), "+D"(at), "=&a"(value)                                  \
			     : "d"(1ul), "S"(VA + TURNS * 8), "r"(r8)                              \
			     : "cc", "memory");                                                    \
		return at;                                                                         \
	}                                                                                          \
	CASE static u64 flags_##name(void)                                                         \
	{                                                                                          \
		ulong left = TURNS - 511, at = VA + 0xff8, flags;                                  \
		WITH_R8;                                                                           \
		asm volatile("mov (%%rdi), %%rax; add $8, %%rdi\n	" end "\n	pushf; pop %%rax"   \
			     : "+c"(left), "+D"(at), "=&a"(flags)                                  \
			     : "d"(1ul), "S"(VA + TURNS * 8), "r"(r8)                              \
			     : "cc", "memory");                                                    \
		return flags & (mask);                                                             \
	}
ENDS(DEFINE)

static const struct {
	const char *name;
	u64 mask;
	ulong (*turns)(void);
	u64 (*flags)(void);
} ends[] = {
#define ENTRY(name, mask, end) { "flags." #name, mask, turns_##name, flags_##name },
	ENDS(ENTRY)
};

static void on_pf(struct rt_regs *r)
{
	faults++;
	fault_flags = r->flags;
	rt_map(VA + 4096, second, RWU);
}

static void flags_kept(void)
{
	u64 *first = rt_page();

	second = (ulong)rt_page();
	for (unsigned n = 0; n < 512; n++)
		first[n] = 0x0101010101010101 * (n % 255 + 1);
	memcpy((void *)second, first, (TURNS - 512) * 8);
	((u64 *)second)[TURNS - 513] = (ulong)(seen - 1); /* what the last two look for: */
	rt_map(VA, (ulong)first, RWU);
	rt_handle(PF, on_pf);
	for (unsigned k = 0; k < sizeof(ends) / sizeof(ends[0]); k++) {
		bool zero = ends[k].turns == turns_test_loaded;
		u64 last = ((u64 *)second)[TURNS - 513];

		if (zero)
			((u64 *)second)[TURNS - 513] = 0;
		for (unsigned again = 0; again < 3; again++) {
			rt_map(VA + 4096, 0, 0);
			if (ends[k].turns() != VA + TURNS * 8)
				faults += 100;
		}
		check(ends[k].name, fault_flags & ends[k].mask, ends[k].flags());
		((u64 *)second)[TURNS - 513] = last;
	}
	check("flags.faults", faults, 3 * sizeof(ends) / sizeof(ends[0]));
	rt_handle(PF, NULL);
}

/* Loops that an interrupt must end. */
static void on_tick(struct rt_regs *r)
{
	ticks++;
	seen[0] = 1;
	eoi();
}

CASE static void one_access(volatile u64 *at)
{
	asm volatile("1: cmpq $0, (%0)\n	je 1b" :: "r"(at) : "cc", "memory");
}

CASE static void three_accesses(volatile u64 *at)
{
	asm volatile("1: mov (%0), %%rax\n	or 8(%0), %%rax\n	or 16(%0), %%rax\n	jz 1b"
		     :: "r"(at) : "rax", "cc", "memory");
}

CASE static void pushes(volatile u64 *at)
{
	asm volatile("1: push %%rax\n	push %%rcx\n	mov (%0), %%rdx\n	pop %%rcx\n"
		     "	pop %%rax\n	test %%rdx, %%rdx\n	jz 1b" :: "r"(at) : "rdx", "cc", "memory");
}

CASE static void calls(volatile u64 *at)
{
	asm volatile("1: call 2f\n	test %%rax, %%rax\n	jz 1b\n	jmp 3f\n"
		     "2: mov (%0), %%rax\n	ret\n3:" :: "r"(at) : "rax", "cc", "memory");
}

CASE static void vectors(volatile u64 *at)
{
	asm volatile("1: movdqu (%0), %%xmm0\n	movq %%xmm0, %%rax\n	test %%rax, %%rax\n	jz 1b"
		     :: "r"(at) : "rax", "cc", "memory");
}

static void interrupted(void)
{
	static void (*const loop[])(volatile u64 *) = { one_access, three_accesses, pushes, calls,
							vectors };

	rt_handle(0x71, on_tick);
	apic_on();
	apic_wr(APIC_TDCR, 0xb);
	apic_wr(APIC_LVTT, 0x71);
	ticks = 0;
	sti();
	for (unsigned turn = 0; turn < 20; turn++)
		for (unsigned k = 0; k < 5; k++) {
			seen[0] = 0;
			apic_wr(APIC_TMICT, 20000 + 777 * turn);
			loop[k](seen);
		}
	cli();
	check("interrupt.each", ticks, 100);
}

/*
 * RSP.
 */
static ulong bottom;

CASE static void far_return(void *unused)
{
	asm volatile("mov %%rsp, %0; movabs $0x123456789abcdef0, %%rax; push %%rax; push %%rcx; push %%rdx\n"
		     "	mov %%ecx, %%eax; pop %%rdx; pop %%rcx; ret" : "=m"(bottom) :: "rax", "memory");
}

/* 24 bytes below what it stands at in the end, 16 bytes into the lower page's end. */
CASE static void over_the_edge(void *unused)
{
	asm volatile("mov %%rsp, %%r8; lea 16(%0), %%rsp; push %%rax; push %%rcx; push %%rdx; push %%rbx\n"
		     "	pop %%rbx; pop %%rdx; pop %%rcx; pop %%rax; mov %%r8, %%rsp"
		     :: "r"(VA + 0x3000) : "r8", "memory");
}

CASE static u64 looked_at(void)
{
	u64 a, b, c, d;

	asm volatile("mov %%rsp, %%r9; push %%rax; mov %%rsp, %0; push %%rbx; lea 4(%%rsp), %1\n"
		     "push %%rsp; pop %2; push %%rcx; push %%rdx; mov %%rsp, %3; pop %%rdx; pop %%rcx\n"
		     "cmp %%rsp, %2; jne 1f; pop %%rbx; pop %%rax; cmp %%rsp, %%r9; je 2f\n"
		     "1: mov %%r9, %%rsp; xor %3, %3; 2: sub %%r9, %0; sub %%r9, %1; sub %%r9, %2; sub %%r9, %3"
		     : "=&r"(a), "=&r"(b), "=&r"(c), "=&r"(d)
		     :: "rax", "rbx", "rcx", "rdx", "r9", "cc", "memory");
	return (-a & 0xff) | (-b & 0xff) << 8 | (-c & 0xff) << 16 | (-d & 0xff) << 24;
}

static void stack(void)
{
	unsigned wrong = 0;

	for (unsigned n = 0; n < 5; n++) {
		wrong += rt_try(far_return, NULL) != GP;
		wrong += rt_exc.sp != bottom - 8;
	}
	check_hw("stack.far-return", wrong, 0);
	wrong = 0;
	rt_map(VA + 0x2000, (ulong)rt_page(), RWU);
	rt_map(VA + 0x3000, (ulong)rt_page(), RWU);
	for (unsigned n = 0; n < 5; n++)
		wrong += rt_user(over_the_edge, NULL) != NONE;
	rt_map(VA + 0x2000, 0, 0);
	for (unsigned n = 0; n < 5; n++) {
		wrong += rt_user(over_the_edge, NULL) != PF;
		wrong += rt_exc.sp != VA + 0x3000 || rt_exc.cr2 != VA + 0x2ff8;
	}
	check("stack.edge", wrong, 0);
	for (unsigned n = 0; n < 5; n++)
		wrong += looked_at() != 0x20100c08;
	check("stack.looked-at", wrong, 0);
}

void test_main(void)
{
	flags_kept();
	interrupted();
	stack();
}
