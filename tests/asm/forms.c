/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every base and index register, scale, address size and segment, in code made as
 * it runs: loads, stores, read-modify-writes, extending loads, exchanges and locked
 * operations on plain memory, over a page's end, and on a device's register.
 */
#include "tests/asm/rt_apic.h"

#define LVTT ((ulong)(APIC_BASE + APIC_LVTT))
#define FS_BASE 0x1230ul
#define FAR_DISP 0x12345678

enum op { LOAD, STORE, ADD, MOVZX, XCHG, XADD, CMP, OPS };
static u8 *code;
static u64 saved_rsp;
static volatile u64 result, result_flags;

struct form {
	enum op op;
	int base, index, scale; /* -1: none */
	int data;               /* data register */
	int disp;
	bool a32, fs;
};

static u8 *at;
static void b(u8 v) { *at++ = v; }
static void d(u32 v) { memcpy(at, &v, 4); at += 4; }
static void movi(int reg, u64 v)
{
	b(reg & 8 ? 0x49 : 0x48);
	b(0xb8 | (reg & 7));
	memcpy(at, &v, 8);
	at += 8;
}

/* MOV between a register and an absolute address below 2 GiB. */
static void mov_abs(bool store, int reg, volatile void *p)
{
	b(reg & 8 ? 0x4c : 0x48);
	b(store ? 0x89 : 0x8b);
	b((reg & 7) << 3 | 4);
	b(0x25);
	d((u32)(ulong)p);
}

static void modrm(const struct form *f)
{
	unsigned r = (f->data & 7) << 3;

	if (f->base < 0) {
		b(r | 4);
		b(f->scale << 6 | (f->index < 0 ? 4 : f->index & 7) << 3 | 5);
	} else {
		b(0x80 | r | 4);
		b(f->scale << 6 | (f->index < 0 ? 4 : f->index & 7) << 3 | (f->base & 7));
	}
	d(f->disp);
}

static void operation(const struct form *f)
{
	static const u8 opcode[OPS] = { 0x8b, 0x89, 0x01, 0xb6, 0x87, 0xc1, 0x39 };
	u8 rex = 0x40 | (f->data & 8 ? 4 : 0) | (f->index >= 0 && f->index & 8 ? 2 : 0) |
		 (f->base >= 0 && f->base & 8 ? 1 : 0);

	if (f->fs)
		b(0x64);
	if (f->a32)
		b(0x67);
	if (f->op == XADD)
		b(0xf0);
	b(rex);
	if (f->op == MOVZX || f->op == XADD)
		b(0x0f);
	b(opcode[f->op]);
	modrm(f);
}

/* Values so that base + index * scale + disp is @target. */
static void write_code(const struct form *f, ulong target, u64 data)
{
	u64 want = target - (u64)(int64_t)f->disp - (f->fs ? FS_BASE : 0), index = 0, base;

	if (f->index >= 0)
		index = f->base >= 0 ? 0x1122334455ull * (f->index + 1u) : want >> f->scale;
	base = want - (index << f->scale);
	if (f->index >= 0 && f->index == f->base)
		base = index = want / (1u + (1u << f->scale));
	at = code;
	for (int r = 0; r < 16; r++) { /* push what the caller wants back */
		if (r == 4)
			continue;
		if (r & 8)
			b(0x41);
		b(0x50 | (r & 7));
	}
	mov_abs(true, 4, &saved_rsp);
	movi(f->data, data);
	/* Upper halves that an address of 32 bits must not see. */
	if (f->index >= 0)
		movi(f->index, f->a32 ? (u32)index | 0xabcd00000000ull : index);
	if (f->base >= 0 && f->base != f->index)
		movi(f->base, f->a32 ? (u32)base | 0x7fff00000000ull : base);
	operation(f);
	mov_abs(true, f->data, &result);
	mov_abs(false, 4, &saved_rsp);
	b(0x9c); /* pushf; pop rax */
	b(0x58);
	mov_abs(true, 0, &result_flags);
	for (int r = 15; r >= 0; r--) {
		if (r == 4)
			continue;
		if (r & 8)
			b(0x41);
		b(0x58 | (r & 7));
	}
	b(0xc3);
}

CASE static void run(void) { asm volatile("call *%0" :: "r"(code) : "memory", "cc"); }

static u32 expect(enum op op, u32 old, u32 data, u32 *stored)
{
	*stored = op == STORE || op == XCHG ? data : op == ADD || op == XADD ? old + data : old;
	return op == LOAD || op == XCHG || op == XADD ? old : op == MOVZX ? old & 0xff : data;
}

static u32 bad, done;

static void try(const struct form *f, ulong target, bool device)
{
	volatile u32 *p = (volatile u32 *)target;

	write_code(f, target, 3);
	for (u32 i = 0; i < 4; i++) {
		u32 old = device ? 0x10040 + i : 0xf00d0000 + done, stored, got;

		*p = old;
		result = 0;
		run();
		got = expect(f->op, old, 3, &stored);
		if ((u32)result != got || *p != stored ||
		    (f->op == CMP && (result_flags & (FL_CF | FL_ZF)) != 0)) {
			if (!bad++) {
				puts_("first bad: op "), put_dec(f->op), puts_(" base "), put_dec(f->base);
				puts_(" index "), put_dec(f->index), puts_(" scale "), put_dec(f->scale);
				puts_(" got "), put_hex(result), puts_(" stored "), put_hex(*p), puts_("\n");
			}
		}
	}
	done++;
}

static int free_register(int base, int index, int wish)
{
	while (wish == base || wish == index || wish == 4)
		wish = (wish + 1) & 15;
	return wish;
}

static void all(ulong target, bool device, const char *name)
{
	bad = done = 0;
	for (int base = -1; base < 16; base++)
		for (int index = -1; index < 16; index++)
			for (int scale = 0; scale < (index < 0 ? 1 : 4); scale++) {
				unsigned k = (unsigned)(base + 17 * index + 289 * scale + 1000);
				struct form f = { .op = k % OPS, .base = base, .index = index,
						  .scale = scale, .disp = 0 };

				if (index == 4 || (index >= 0 && index == base))
					continue;
				f.data = free_register(base, index, (int)(k * 7 & 15));
				f.a32 = k / 3 & 1;
				f.fs = k / 5 & 1;
				/* Without registers the displacement is all there is. */
				if (base < 0 && index < 0) {
					f.disp = (int)(target - (f.fs ? FS_BASE : 0));
					f.a32 = true;
				} else if (base < 0) {
					f.disp = (int)((target - (f.fs ? FS_BASE : 0)) & 7);
				} else {
					f.disp = k & 1 ? FAR_DISP : -(int)(k & 0xff);
				}
				try(&f, target, device);
			}
	check(name, done, 977);
	if (device)
		check_hw(name, bad, 0); /* TCG's APIC takes whole 32-bit accesses only */
	else
		check(name, bad, 0);
}

/* Stack and jump operands from device memory: what the stack takes is what the
 * register has. */
static void implicit(void)
{
	u64 cap = rd64((void *)0xfed00000ul), v;
	ulong hpet = 0xfed00000ul;

	for (unsigned i = 0; i < 4; i++) {
		asm volatile("push (%1); pop %0" : "=r"(v) : "r"(hpet) : "memory");
		check("push-mem", v, cap);
		asm volatile("mov %%rsp, %%rbx; mov %1, %%rsp; pop %0; mov %%rbx, %%rsp"
			     : "=&r"(v) : "r"(hpet) : "rbx", "memory");
		check("pop-from-device", v, cap);
		asm volatile("mov %%rbp, %%rbx; mov %1, %%rbp; mov (%%rbp), %0; mov %%rbx, %%rbp"
			     : "=&r"(v) : "r"(hpet) : "rbx", "memory");
		check("rbp-device", v, cap);
		apic_wr(APIC_LVTT, 0x10055);
		asm volatile("mov %%rsp, %%rbx; lea 8(%1), %%rsp; push %2; mov %%rbx, %%rsp"
			     :: "a"(0), "r"(LVTT), "r"(0x10066ul) : "rbx", "memory");
		check_hw("push-to-device", apic_rd(APIC_LVTT), 0x10066);
		asm volatile("mov %1, %0; bswap %0; movbe %0, (%2)" : "=&r"(*(u32 *)&v) : "r"(0x10044), "r"(LVTT) : "memory");
		check("movbe-device", apic_rd(APIC_LVTT), 0x10044);
	}
}

void test_main(void)
{
	u8 *page = rt_pages(2);

	code = rt_page();
	apic_on();
	wrmsr(MSR_FSBASE, FS_BASE);
	all((ulong)page + 0x120, false, "memory");
	all((ulong)page + 4094, false, "page-crossing");
	all(LVTT, true, "device");
	if (cpuid(1, 0).c >> 22 & 1)
		implicit();
	else
		check_skip("implicit", "no MOVBE");
	wrmsr(MSR_FSBASE, 0);
}
