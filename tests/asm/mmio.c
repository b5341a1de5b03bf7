/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device memory through many instructions and addressing forms, string port I/O,
 * what the Multiboot loader left. */
#include "tests/asm/rt_apic.h"

#define TMICT ((volatile u32 *)(APIC_BASE + APIC_TMICT))
#define LVTT (APIC_BASE + APIC_LVTT)
#define HPET 0xfed00000ul

/* The LVT timer register (masked): a plain 32-bit register to write and read. */
static void forms(void)
{
	ulong base = LVTT - 0x40;
	u32 v;

	apic_on();
	asm volatile("movl $0x10051, 0x40(%0)" :: "r"(base) : "memory");
	check("mov.imm-disp", apic_rd(APIC_LVTT), 0x10051);
	asm volatile("movl %1, (%0,%2,8)" :: "r"(base), "r"(0x10052), "r"(8ul) : "memory");
	check("mov.sib", apic_rd(APIC_LVTT), 0x10052);
	asm volatile("mov %%fs:(%1), %0" : "=r"(v) : "r"(LVTT));
	check("mov.fs", v, 0x10052);
	asm volatile("mov (%k1), %0" : "=r"(v) : "r"(LVTT));
	check("mov.addr32", v, 0x10052);
	asm volatile("movabs 0xfee00320, %%eax" : "=a"(v));
	check("mov.moffs", v, 0x10052);
	asm volatile("xchg %0, (%1)" : "+r"(v) : "r"(LVTT) : "memory");
	check("xchg", v, 0x10052);
	asm volatile("push %%rbx; mov (%1), %%ebx; mov %%ebx, %0; pop %%rbx" : "=r"(v) : "r"(LVTT));
	check("mov.reg", v, 0x10052);
	asm volatile("orl $4, (%0)" :: "r"(LVTT) : "memory");
	check("or.rmw", apic_rd(APIC_LVTT), 0x10056);
	asm volatile("andl %1, (%0)" :: "r"(LVTT), "r"(0x1000f | 0xf0) : "memory");
	check("and.rmw", apic_rd(APIC_LVTT), 0x10056);
	asm volatile("xorl $0x6, (%0)" :: "r"(LVTT) : "memory");
	check("xor.rmw", apic_rd(APIC_LVTT), 0x10050);
	asm volatile("incl (%0)" :: "r"(LVTT) : "memory");
	check("inc.rmw", apic_rd(APIC_LVTT), 0x10051);
	asm volatile("lock orl $0x10, (%0)" :: "r"(LVTT) : "memory");
	check("lock-or", apic_rd(APIC_LVTT), 0x10051);
	asm volatile("addl $2, (%0)" :: "r"(LVTT) : "memory");
	check("add.rmw", apic_rd(APIC_LVTT), 0x10053);
	asm volatile("btsl $3, (%0)" :: "r"(LVTT) : "memory");
	check("bts", apic_rd(APIC_LVTT), 0x1005b);
	v = 0x10077;
	asm volatile("lock cmpxchgl %1, (%2)" : "+a"((u32){ 0x1005b }) : "r"(v), "r"(LVTT) : "memory");
	check("cmpxchg", apic_rd(APIC_LVTT), 0x10077);
	v = 1;
	asm volatile("lock xaddl %0, (%1)" : "+r"(v) : "r"(LVTT) : "memory");
	check("xadd.old", v, 0x10077);
	check("xadd", apic_rd(APIC_LVTT), 0x10078);
	asm volatile("cmpl $0x10078, (%1); sete %b0" : "=q"(v) : "r"(LVTT), "0"(0));
	check("cmp", (u8)v, 1);
	asm volatile("testl $0x8, (%1); setnz %b0" : "=q"(v) : "r"(LVTT), "0"(0));
	check("test", (u8)v, 1);
}

static void vectors(void)
{
	u64 cap = rd64((void *)HPET), got[2] = { 0, 0 };
	const void *s = (void *)HPET;
	void *d = got;
	ulong n = 2;

	asm volatile("movq (%1), %%xmm0; movq %%xmm0, %0" : "=m"(got[0]) : "r"(HPET));
	check("movq", got[0], cap);
	asm volatile("rep movsl" : "+S"(s), "+D"(d), "+c"(n) :: "memory");
	check("rep-movsl", got[0], cap);
	got[0] = 0;
	s = (void *)HPET;
	asm volatile("lodsq" : "+S"(s), "=a"(got[0]));
	check("lodsq", got[0], cap);
	d = (void *)LVTT, n = 1;
	asm volatile("rep stosl" : "+D"(d), "+c"(n) : "a"(0x10066) : "memory");
	check("rep-stosl", apic_rd(APIC_LVTT), 0x10066);
	got[0] = cap;
	s = (void *)HPET, d = got, n = 2;
	u8 zf;
	asm volatile("repe cmpsl; sete %3" : "+S"(s), "+D"(d), "+c"(n), "=q"(zf) :: "memory");
	check("repe-cmpsl", zf && !n, 1);
	asm volatile("fildll (%1); fistpll %0" : "=m"(got[1]) : "r"(HPET));
	check("x87", got[1], cap);
}

static void nobody(void)
{
	/* Nothing answers there: all ones, and writes vanish. */
	volatile u32 *hole = (u32 *)0xfef00000ul;

	*hole = 0x12345678;
	check("unmapped.read", *hole == 0xffffffff || *hole == 0, 1);
	check_true("unmapped.write-lost", *hole != 0x12345678);
	check("port.unmapped8", inb(0x2e8 + 0x4000), 0xff);
	check("port.unmapped16", inw(0x2e8 + 0x4000), 0xffff);
	check("port.unmapped32", inl(0x2e8 + 0x4000), 0xffffffff);
}

static void ports(void)
{
	static u8 buf[16];
	static const u8 text[] = "string port output\r\n";
	void *d = buf;
	const void *s = text;
	ulong n = 8;
	u32 addr;

	/* CMOS reads by INS: the index stays, the same cell eight times. */
	outb(0x70, 0x5d);
	outb(0x71, 0x3c);
	asm volatile("rep insb" : "+D"(d), "+c"(n) : "d"(0x71) : "memory");
	check("insb.count", (ulong)d - (ulong)buf, 8);
	check("insb.value", rd64(buf), 0x3c3c3c3c3c3c3c3cull);
	n = sizeof(text) - 1;
	asm volatile("rep outsb" : "+S"(s), "+c"(n) : "d"(0x3f8) : "memory");
	check("outsb.count", n, 0);
	check("outsb.end", (ulong)s, (ulong)text + sizeof(text) - 1);
	/* 32-bit ports: the PCI configuration address register. */
	outl(0xcf8, 0x80000000);
	check("outl", inl(0xcf8), 0x80000000);
	addr = inl(0xcfc);
	check_true("pci.host-bridge", (addr & 0xffff) != 0xffff && addr != 0);
	check("inw-half", inw(0xcfc), addr & 0xffff);
	check("inw-upper", inw(0xcfe), addr >> 16);
	check("inb-third", inb(0xcfe), addr >> 16 & 0xff);
	asm volatile("in $0x61, %%al" : "=a"(n));
}

static bool has(const char *text, const char *word)
{
	size_t n = 0;

	while (word[n])
		n++;
	for (; *text; text++)
		if (!memcmp(text, word, n))
			return true;
	return false;
}

static void multiboot(void)
{
	u32 *info = (u32 *)(ulong)rt_mb_info;
	u64 usable = 0;
	bool below_1m = false;

	check("multiboot.magic", rt_mb_magic, 0x2badb002);
	check("multiboot.has-memory", info[0] & 1, 1);
	check_true("multiboot.lower", info[1] > 500 && info[1] <= 640);
	check("multiboot.has-cmdline", info[0] >> 2 & 1, 1);
	check_true("multiboot.cmdline", has((char *)(ulong)info[4], "hello test"));
	check("multiboot.has-map", info[0] >> 6 & 1, 1);
	for (ulong at = info[12]; at < info[12] + info[11]; at += rd32((void *)at) + 4) {
		u64 base = rd64((void *)(at + 4)), len = rd64((void *)(at + 12));

		if (rd32((void *)(at + 20)) == 1) {
			usable += len;
			below_1m |= base == 0 && len >= 0x80000;
		}
	}
	check_true("multiboot.low-memory", below_1m);
	check_true("multiboot.usable", usable > 200ull << 20 && usable <= 256ull << 20);
	check_true("multiboot.upper", info[2] > 200u << 10 && info[2] < 256u << 10);
}

void test_main(void)
{
	forms();
	vectors();
	nobody();
	ports();
	multiboot();
}
