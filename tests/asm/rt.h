/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime of the test guests: serial output, exceptions caught and
 * recorded, ring 3, pages. A guest is test_main() and what it calls; the
 * runtime prints one line per check and a closing "PASS n" or "FAIL n", then
 * switches the machine off.
 *
 * 32-bit guests run in flat protected mode without paging, 64-bit guests in long
 * mode with the first 4 GiB mapped to themselves by 2 MiB user pages.
 */
#ifndef BOTHY_TESTS_ASM_RT_H
#define BOTHY_TESTS_ASM_RT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned long ulong;

/* A function whose assembly labels must exist exactly once. */
#define CASE __attribute__((noinline, noclone, used))

/* Selectors. 64-bit guests run in KCS64, 32-bit guests in KCS32. */
#define SEL_KCS32 0x08
#define SEL_KCS64 0x10
#define SEL_KDS 0x18
#define SEL_UCS32 0x23
#define SEL_UDS 0x2b
#define SEL_UCS64 0x33
#define SEL_KCS16 0x40
#define SEL_KDS16 0x48
#define SEL_TSS 0x50   /* two slots */
#define SEL_SPARE 0x60 /* from here to 0x1f8 the tests' own */
#define GDT_SLOTS 64
#ifdef __x86_64__
#define SEL_KCS SEL_KCS64
#define SEL_UCS SEL_UCS64
#else
#define SEL_KCS SEL_KCS32
#define SEL_UCS SEL_UCS32
#endif

enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, CSO, TS, NP, SS, GP, PF, MF = 16, AC, MC, XM };
#define NONE (-1) /* rt_try(): nothing was raised */

#define FL_CF 0x1
#define FL_PF 0x4
#define FL_AF 0x10
#define FL_ZF 0x40
#define FL_SF 0x80
#define FL_TF 0x100
#define FL_IF 0x200
#define FL_DF 0x400
#define FL_OF 0x800
#define FL_IOPL 0x3000
#define FL_NT 0x4000
#define FL_RF 0x10000
#define FL_VM 0x20000
#define FL_AC 0x40000
#define FL_VIF 0x80000
#define FL_VIP 0x100000
#define FL_ID 0x200000

/* What the interrupt stubs leave on the stack. */
#ifdef __x86_64__
struct rt_regs {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
	u64 vector, error, ip, cs, flags, sp, ss;
};
#else
struct rt_regs {
	u32 gs, fs, es, ds;
	u32 di, si, bp, unused, bx, dx, cx, ax;
	u32 vector, error, ip, cs, flags;
	u32 sp, ss;                 /* only when the privilege changed */
	u32 v_es, v_ds, v_fs, v_gs; /* only from virtual-8086 mode */
};
#endif

/* The last exception that rt_try() or rt_user() caught. */
struct rt_exc {
	int vector; /* NONE if none was raised */
	ulong error, ip, cs, flags, sp, ss, cr2;
	ulong ax, bx, cx, dx, si, di;
	ulong v_ds, v_es, v_fs, v_gs; /* from virtual-8086 mode */
};
extern volatile struct rt_exc rt_exc;

/* Runs fn(arg); an exception ends it and is recorded. Returns the vector or
 * NONE. Whatever fn changed of segments or the stack is put back. */
int rt_try(void (*fn)(void *arg), void *arg);
/* The same in ring 3 on a stack of its own, with @eflags added to the flags.
 * fn may return, or execute INT 0x80. */
int rt_user_fl(void (*fn)(void *arg), void *arg, ulong eflags);
int rt_user(void (*fn)(void *arg), void *arg);
extern u8 rt_user_stack[];
#define RT_USER_STACK_TOP ((ulong)rt_user_stack + 16384)
/* A handler for a vector; NULL puts the default back (recording under rt_try,
 * else the test fails). It may change *r. */
typedef void (*rt_handler_fn)(struct rt_regs *r);
void rt_handle(unsigned vector, rt_handler_fn fn);
/* For entry points of a test's own: ends the running rt_try() with @vector. */
_Noreturn void rt_caught(int vector);
extern u8 rt_stubs[]; /* 16 bytes for each of 256 vectors */

/* Checks. Names are words with dots or dashes, unique within a guest. */
void check(const char *name, u64 got, u64 want);
void check_true(const char *name, bool ok);
/* As check, where TCG is known to differ from the manual: skipped there. */
void check_hw(const char *name, u64 got, u64 want);
void check_skip(const char *name, const char *why);
/* One name, vector and error code of the last rt_try/rt_user. */
void check_exc(const char *name, int got, int vector, ulong error);
/* As check_exc, and the saved instruction pointer. */
void check_exc_at(const char *name, int got, int vector, ulong error, const void *ip);
void check_exc_hw(const char *name, int got, int vector, ulong error);
void check_exc_at_hw(const char *name, int got, int vector, ulong error, const void *ip);
_Noreturn void rt_finish(void);
_Noreturn void rt_power_off(void);
extern bool rt_is_tcg;
extern bool rt_is_nested; /* in KVM, on an AMD-V that QEMU emulates */
bool rt_told(const char *word); /* it stands on the command line */
extern u32 rt_mb_magic, rt_mb_info;

void puts_(const char *s);
void put_hex(u64 v);
void put_dec(u64 v);
void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* Descriptors and tables. type: the descriptor's bits 40-47 (P DPL S type);
 * flags: bits 52-55 (G 8, D/B 4, L 2, AVL 1). */
extern u64 rt_gdt[GDT_SLOTS];
u64 rt_desc(u32 base, u32 limit, u8 type, u8 flags);
void rt_gdt_set(unsigned sel, u64 desc);
struct __attribute__((packed)) rt_dtr {
	u16 limit;
	ulong base;
};
extern struct rt_dtr rt_idtr, rt_gdtr;
/* type: P DPL S type, 0x8e interrupt gate, 0x8f trap gate, 0x85 task gate. */
void rt_idt_set(unsigned vector, ulong entry, u16 sel, u8 type, u8 ist);
#ifdef __x86_64__
struct __attribute__((packed)) rt_tss {
	u32 unused0;
	u64 rsp[3], unused1, ist[7], unused2;
	u16 unused3, iomap;
	u8 io[8193];
};
#else
struct rt_tss {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	u32 eax, ecx, edx, ebx, esp, ebp, esi, edi;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trap, iomap;
	u8 io[8193];
} __attribute__((packed));
#endif
extern struct rt_tss rt_tss;
extern u8 rt_stack[], rt_stack_top[];

/* Pages. */
#define PG_P 1ull
#define PG_W 2ull
#define PG_U 4ull
#define PG_PWT 8ull
#define PG_PCD 0x10ull
#define PG_A 0x20ull
#define PG_D 0x40ull
#define PG_PS 0x80ull
#define PG_G 0x100ull
#define PG_NX (1ull << 63)
void *rt_page(void);         /* a zeroed 4096-byte page, never freed */
void *rt_pages(unsigned n);  /* contiguous */
#ifdef __x86_64__
/* The page-table entry for @va at @level (1: 4 KiB, 2: 2 MiB, 3: 1 GiB, 4: the
 * PML4 entry) under CR3, tables added and large pages split as needed. */
u64 *rt_pte(u64 va, int level);
/* Maps one 4 KiB page at @va and drops the old translation. */
void rt_map(u64 va, u64 pa, u64 flags);
#endif

/* Time. */
void rt_udelay(u32 us); /* by the ACPI PM timer */
u32 rt_pm_timer(void);  /* 24 bits at 3,579,545 Hz */

/* Instructions. */
static inline void outb(u16 port, u8 v) { asm volatile("outb %0, %1" :: "a"(v), "Nd"(port)); }
static inline void outw(u16 port, u16 v) { asm volatile("outw %0, %1" :: "a"(v), "Nd"(port)); }
static inline void outl(u16 port, u32 v) { asm volatile("outl %0, %1" :: "a"(v), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 v; asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u16 inw(u16 port) { u16 v; asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u32 inl(u16 port) { u32 v; asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }

#define RT_CR(n)                                                                              \
	static inline ulong rd_cr##n(void)                                                    \
	{                                                                                     \
		ulong v;                                                                      \
		asm volatile("mov %%cr" #n ", %0" : "=r"(v) :: "memory");                     \
		return v;                                                                     \
	}                                                                                     \
	static inline void wr_cr##n(ulong v)                                                  \
	{                                                                                     \
		asm volatile("mov %0, %%cr" #n :: "r"(v) : "memory");                         \
	}
RT_CR(0)
RT_CR(2)
RT_CR(3)
RT_CR(4)
#define RT_DR(n)                                                                              \
	static inline ulong rd_dr##n(void)                                                    \
	{                                                                                     \
		ulong v;                                                                      \
		asm volatile("mov %%dr" #n ", %0" : "=r"(v));                                 \
		return v;                                                                     \
	}                                                                                     \
	static inline void wr_dr##n(ulong v) { asm volatile("mov %0, %%dr" #n :: "r"(v)); }
RT_DR(0)
RT_DR(1)
RT_DR(2)
RT_DR(3)
RT_DR(6)
RT_DR(7)

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" :: "a"((u32)v), "d"((u32)(v >> 32)), "c"(msr) : "memory");
}
static inline u64 rdtsc(void)
{
	u32 lo, hi;
	asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
struct cpuid { u32 a, b, c, d; };
static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
	struct cpuid r;
	asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
	return r;
}
static inline void invlpg(ulong va) { asm volatile("invlpg (%0)" :: "r"(va) : "memory"); }
static inline ulong rd_flags(void)
{
	ulong v;
	asm volatile("pushf; pop %0" : "=r"(v) :: "memory");
	return v;
}
static inline void wr_flags(ulong v) { asm volatile("push %0; popf" :: "r"(v) : "memory", "cc"); }
static inline void sti(void) { asm volatile("sti" ::: "memory"); }
static inline void cli(void) { asm volatile("cli" ::: "memory"); }
static inline void pause_(void) { asm volatile("pause" ::: "memory"); }
/* Reads with a MOV that names no register the compiler could elide. */
static inline u8 rd8(const volatile void *p) { return *(const volatile u8 *)p; }
static inline u32 rd32(const volatile void *p) { return *(const volatile u32 *)p; }
static inline void wr32(volatile void *p, u32 v) { *(volatile u32 *)p = v; }
static inline u64 rd64(const volatile void *p) { return *(const volatile u64 *)p; }

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_FMASK 0xc0000084
#define MSR_FSBASE 0xc0000100
#define MSR_GSBASE 0xc0000101
#define MSR_KGSBASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103
#define MSR_APICBASE 0x1b

#define CR0_PE 0x1ul
#define CR0_MP 0x2ul
#define CR0_EM 0x4ul
#define CR0_TS 0x8ul
#define CR0_NE 0x20ul
#define CR0_WP 0x10000ul
#define CR0_AM 0x40000ul
#define CR0_PG 0x80000000ul
#define CR4_VME 0x1ul
#define CR4_PVI 0x2ul
#define CR4_TSD 0x4ul
#define CR4_DE 0x8ul
#define CR4_PSE 0x10ul
#define CR4_PAE 0x20ul
#define CR4_PGE 0x80ul
#define CR4_PCE 0x100ul
#define CR4_OSFXSR 0x200ul
#define CR4_OSXMMEXCPT 0x400ul
#define CR4_UMIP 0x800ul
#define CR4_FSGSBASE 0x10000ul
#define CR4_PCIDE 0x20000ul
#define CR4_OSXSAVE 0x40000ul
#define CR4_SMEP 0x100000ul
#define CR4_SMAP 0x200000ul

void test_main(void);

#endif
