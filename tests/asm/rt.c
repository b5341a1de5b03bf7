/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/asm/rt.h"

#define COM1 0x3f8
#define PM1A_CNT 0x604
#define PM_TMR 0x608

volatile struct rt_exc rt_exc;
bool rt_is_tcg;
bool rt_is_nested;
struct rt_dtr rt_idtr, rt_gdtr;
struct rt_tss rt_tss;

static unsigned checks, failures;
static rt_handler_fn handlers[256];
static u8 idt[256 * sizeof(ulong) * 2] __attribute__((aligned(16)));
static ulong heap;
extern u8 rt_image_end[], rt_int_stack_top[], rt_df_stack_top[];
extern ulong rt_try_sp;

void *memset(void *p, int c, size_t n)
{
	for (u8 *b = p; n; n--)
		*b++ = c;
	return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
	u8 *a = d;

	for (const u8 *b = s; n; n--)
		*a++ = *b++;
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

static void put_char(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, c);
}

void puts_(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			put_char('\r');
		put_char(*s);
	}
}

void put_hex(u64 v)
{
	int shift = 60;

	puts_("0x");
	while (shift && !(v >> shift & 15))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[v >> shift & 15]);
}

void put_dec(u64 v)
{
	char buf[12];
	u32 n = v; /* no 64-bit division in 32-bit guests */
	int i = 11;

	buf[i] = 0;
	do {
		buf[--i] = '0' + n % 10;
		n /= 10;
	} while (n);
	puts_(buf + i);
}

void check(const char *name, u64 got, u64 want)
{
	checks++;
	if (got == want) {
		puts_("ok ");
		puts_(name);
		puts_("\n");
		return;
	}
	failures++;
	puts_("FAIL ");
	puts_(name);
	puts_(": got ");
	put_hex(got);
	puts_(" want ");
	put_hex(want);
	puts_("\n");
}

void check_true(const char *name, bool ok)
{
	check(name, ok, 1);
}

void check_skip(const char *name, const char *why)
{
	puts_("skip ");
	puts_(name);
	puts_(": ");
	puts_(why);
	puts_("\n");
}

void check_hw(const char *name, u64 got, u64 want)
{
	if (rt_is_tcg)
		check_skip(name, "not under TCG");
	else
		check(name, got, want);
}

/* vector, error code and cause in one number: 0xVV0000EEEE; NONE as 0xff. */
static u64 exc_word(int vector, ulong error)
{
	return (u64)(u8)vector << 32 | (u32)error;
}

void check_exc(const char *name, int got, int vector, ulong error)
{
	check(name, exc_word(got, got == NONE ? 0 : rt_exc.error), exc_word(vector, error));
}

void check_exc_hw(const char *name, int got, int vector, ulong error)
{
	check_hw(name, exc_word(got, got == NONE ? 0 : rt_exc.error), exc_word(vector, error));
}

void check_exc_at(const char *name, int got, int vector, ulong error, const void *ip)
{
	check_exc(name, got, vector, error);
	if (rt_exc.ip != (ulong)ip) {
		failures++;
		puts_("FAIL ");
		puts_(name);
		puts_(".ip: got ");
		put_hex(rt_exc.ip);
		puts_(" want ");
		put_hex((ulong)ip);
		puts_("\n");
	}
}

void check_exc_at_hw(const char *name, int got, int vector, ulong error, const void *ip)
{
	if (rt_is_tcg)
		check_skip(name, "not under TCG");
	else
		check_exc_at(name, got, vector, error, ip);
}

_Noreturn void rt_power_off(void)
{
	outw(PM1A_CNT, 0x2000); /* SLP_EN, SLP_TYP 0: S5 */
	rt_udelay(200000);
	outb(0xf4, failures ? 1 : 0); /* isa-debug-exit where there is one */
	struct rt_dtr none = { 0, 0 };
	for (;;)
		asm volatile("lidt %0; int3" :: "m"(none));
}

_Noreturn void rt_finish(void)
{
	puts_(failures ? "FAIL " : "PASS ");
	put_dec(failures ? failures : checks);
	puts_("\n");
	rt_power_off();
}

void rt_arm(void);
void rt_arm(void)
{
	memset((void *)&rt_exc, 0, sizeof(rt_exc));
	rt_exc.vector = NONE;
}

_Noreturn void rt_none(void);
_Noreturn void rt_none(void)
{
	rt_caught(NONE);
}

int rt_user(void (*fn)(void *arg), void *arg)
{
	return rt_user_fl(fn, arg, 0);
}

void rt_handle(unsigned vector, rt_handler_fn fn)
{
	handlers[vector] = fn;
}

static _Noreturn void unexpected(const struct rt_regs *r)
{
	puts_("FAIL unexpected-trap: got vector ");
	put_hex(r->vector);
	puts_(" error ");
	put_hex(r->error);
	puts_(" at ");
	put_hex(r->cs);
	puts_(":");
	put_hex(r->ip);
	puts_(" cr2 ");
	put_hex(rd_cr2());
	puts_(" want none\n");
	failures++;
	rt_finish();
}

void rt_trap(struct rt_regs *r);
void rt_trap(struct rt_regs *r)
{
	bool outer = false; /* SS:SP is in the frame */

	if (handlers[r->vector]) {
		handlers[r->vector](r);
		return;
	}
	if (!rt_try_sp)
		unexpected(r);
#ifdef __x86_64__
	outer = true;
#else
	outer = r->cs & 3 || r->flags & FL_VM;
	if (r->flags & FL_VM) {
		rt_exc.v_es = r->v_es;
		rt_exc.v_ds = r->v_ds;
		rt_exc.v_fs = r->v_fs;
		rt_exc.v_gs = r->v_gs;
	}
#endif
	rt_exc.vector = r->vector;
	rt_exc.error = r->error;
	rt_exc.ip = r->ip;
	rt_exc.cs = r->cs;
	rt_exc.flags = r->flags;
	rt_exc.sp = outer ? r->sp : (ulong)&r->sp;
	rt_exc.ss = outer ? r->ss : 0;
	rt_exc.cr2 = rd_cr2();
	rt_exc.ax = r->ax;
	rt_exc.bx = r->bx;
	rt_exc.cx = r->cx;
	rt_exc.dx = r->dx;
	rt_exc.si = r->si;
	rt_exc.di = r->di;
	if (r->vector == 0x80)
		rt_exc.vector = NONE;
	rt_caught(rt_exc.vector);
}

u64 rt_desc(u32 base, u32 limit, u8 type, u8 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)type << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}

void rt_gdt_set(unsigned sel, u64 desc)
{
	((volatile u64 *)rt_gdt)[sel / 8] = desc;
}

void rt_idt_set(unsigned vector, ulong entry, u16 sel, u8 type, u8 ist)
{
	volatile u32 *g = (volatile u32 *)(idt + vector * sizeof(ulong) * 2);

	g[0] = (entry & 0xffff) | (u32)sel << 16;
	g[1] = (entry & 0xffff0000) | (u32)type << 8 | ist;
#ifdef __x86_64__
	g[2] = entry >> 32;
	g[3] = 0;
#endif
}

static void tables_init(void)
{
	for (unsigned v = 0; v < 256; v++)
		rt_idt_set(v, (ulong)rt_stubs + v * 16, SEL_KCS, v == 0x80 || v == BP || v == OF ? 0xee : 0x8e, 0);
	rt_idtr = (struct rt_dtr){ sizeof(idt) - 1, (ulong)idt };
	asm volatile("lidt %0" :: "m"(rt_idtr));
	rt_gdtr = (struct rt_dtr){ GDT_SLOTS * 8 - 1, (ulong)rt_gdt };
	asm volatile("lgdt %0" :: "m"(rt_gdtr));
	rt_tss.iomap = sizeof(rt_tss);
#ifdef __x86_64__
	rt_tss.rsp[0] = (ulong)rt_int_stack_top;
	rt_tss.ist[0] = (ulong)rt_df_stack_top;
#else
	rt_tss.esp0 = (ulong)rt_int_stack_top;
	rt_tss.ss0 = SEL_KDS;
#endif
	rt_gdt_set(SEL_TSS, rt_desc((ulong)&rt_tss, sizeof(rt_tss) - 1, 0x89, 0));
	rt_gdt_set(SEL_TSS + 8, 0);
	asm volatile("ltr %w0" :: "r"(SEL_TSS));
}

/* The 8259 pair at 0x20 and 0x28, everything masked. */
static void pic_init(void)
{
	static const u8 words[2][4] = { { 0x11, 0x20, 4, 1 }, { 0x11, 0x28, 2, 1 } };

	for (unsigned i = 0; i < 2; i++) {
		u16 port = i ? 0xa0 : 0x20;

		outb(port, words[i][0]);
		for (unsigned w = 1; w < 4; w++)
			outb(port + 1, words[i][w]);
		outb(port + 1, 0xff);
	}
}

void *rt_pages(unsigned n)
{
	void *p = (void *)heap;

	heap += n * 4096ul;
	return memset(p, 0, n * 4096ul);
}

void *rt_page(void)
{
	return rt_pages(1);
}

#ifdef __x86_64__
u64 *rt_pte(u64 va, int level)
{
	u64 *table = (u64 *)(rd_cr3() & ~0xffful);

	for (int l = 4;; l--) {
		u64 *e = &table[va >> (12 + 9 * (l - 1)) & 511];

		if (l == level)
			return e;
		if (!(*e & PG_P)) {
			*e = (ulong)rt_page() | PG_P | PG_W | PG_U;
		} else if (l <= 3 && *e & PG_PS) {
			u64 *sub = rt_page(), step = 1ull << (12 + 9 * (l - 2));
			u64 keep = l == 2 ? *e & ~PG_PS : *e;

			for (unsigned i = 0; i < 512; i++)
				sub[i] = keep + i * step;
			*e = (ulong)sub | PG_P | PG_W | PG_U;
			wr_cr3(rd_cr3());
		}
		table = (u64 *)(*e & 0xffffffffff000ull);
	}
}

void rt_map(u64 va, u64 pa, u64 flags)
{
	*(volatile u64 *)rt_pte(va, 1) = pa | flags;
	invlpg(va);
}
#endif

u32 rt_pm_timer(void)
{
	return inl(PM_TMR) & 0xffffff;
}

void rt_udelay(u32 us)
{
	while (us) {
		u32 step = us > 1000000 ? 1000000 : us;
		u32 start = rt_pm_timer(), ticks = (step * 3665u) >> 10; /* 3.579545 a us */

		if (step > 100000)
			ticks = (step / 1000) * 3580;
		while (((rt_pm_timer() - start) & 0xffffff) < ticks)
			pause_();
		us -= step;
	}
}

bool rt_told(const char *word)
{
	const char *p = rt_mb_info && rd32((u8 *)(ulong)rt_mb_info) & 4
		? (const char *)(ulong)rd32((u8 *)(ulong)rt_mb_info + 16) : "";
	size_t len = 0;

	while (word[len])
		len++;
	for (; *p; p++)
		if (memcmp(p, word, len) == 0)
			return true;
	return false;
}

void rt_main(void);
void rt_main(void)
{
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 0x80);
	outb(COM1, 1);
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 3);
	outb(COM1 + 2, 7);
	outb(COM1 + 4, 3);
	heap = ((ulong)rt_image_end + 0x7fffff) & ~0x3ffffful;
	tables_init();
	pic_init();
	/* "TCGT"; or a KVM in there, whose guests are told. */
	rt_is_tcg = cpuid(0x40000000, 0).b == 0x54474354 || rt_told("tcg");
	rt_is_nested = rt_told("kvm") && rt_told("tcg");
	test_main();
	rt_finish();
}
