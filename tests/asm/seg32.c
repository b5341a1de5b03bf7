/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segmentation in 32-bit protected mode: limits, types, null selectors,
 * expand-down, conforming code, privilege, LDT, LAR/LSL/VERR/VERW/ARPL.
 * SDM vol. 3, chapters 3 and 5. */
#include "tests/asm/rt.h"

#define S0 SEL_SPARE
#define S1 (SEL_SPARE + 8)
#define S2 (SEL_SPARE + 16)
#define BASE 0x200000
extern char q_limit[], q_null[], q_call[];

/* Loads a selector into a segment register; loads and stores through ES. */
CASE static void ld_ds(void *a) { asm volatile("mov %w0, %%ds" :: "r"(a)); }
CASE static void ld_es(void *a) { asm volatile("mov %w0, %%es" :: "r"(a)); }
CASE static void ld_ss(void *a) { asm volatile("mov %w0, %%ss" :: "r"(a)); }
CASE static void ld_gs(void *a) { asm volatile("mov %w0, %%gs" :: "r"(a)); }
CASE static void pop_es(void *a) { asm volatile("push %0; pop %%es" :: "r"(a)); }
static u32 sel, off, value;
CASE static void rd1(void *a)
{
	asm volatile("mov %w0, %%es; q_limit: movb %%es:(%1), %%al" :: "r"(sel), "r"(off) : "eax");
}
CASE static void rd4(void *a)
{
	asm volatile("mov %w1, %%es; mov %%es:(%2), %0" : "=r"(value) : "r"(sel), "r"(off));
}
CASE static void wr4(void *a)
{
	asm volatile("mov %w0, %%es; movl $0x55aa, %%es:(%1)" :: "r"(sel), "r"(off) : "memory");
}
/* With a bad SS the fault's own frame has no place: these run in ring 3. */
CASE static void ss_rd4(void *a)
{
	asm volatile("mov %%ss, %%ecx; mov %w0, %%ss; mov %%ss:(%1), %%eax; mov %%ecx, %%ss"
		     :: "r"(sel), "r"(off) : "eax", "ecx");
}
CASE static void ss_push(void *a)
{
	asm volatile("mov %%ss, %%ecx; mov %%esp, %%edx; mov %w0, %%ss; mov %1, %%esp; push %%eax\n"
		     "mov %%ecx, %%ss; mov %%edx, %%esp"
		     :: "r"(sel), "r"(off) : "eax", "ecx", "edx", "memory");
}
CASE static void cs_rd(void *a)
{
	asm volatile("push %0; push $1f; lret; 1: mov %%cs:(%1), %%eax; ud2" :: "r"(sel), "r"(off) : "eax");
}
CASE static void cs_wr(void *a) { asm volatile("movl $1, %%cs:(%0)" :: "r"(a)); }
CASE static void far_to(void *a)
{
	asm volatile("push %0; push $1f; q_call: lret; 1: mov %%cs, %%eax; int $0x81" :: "r"(a) : "eax");
}

static int acc(void (*fn)(void *), u32 s, u32 o)
{
	sel = s;
	off = o;
	return rt_try(fn, 0);
}

static int user_acc(void (*fn)(void *), u32 s, u32 o)
{
	sel = s | 3;
	off = o;
	return rt_user(fn, 0);
}

/* TCG checks neither limits nor types on data accesses. */
static void limits(void)
{
	if (rt_is_tcg) {
		check_skip("limit", "not under TCG");
		return;
	}
	wr32((void *)(BASE + 0xffc), 0x12345678);
	rt_gdt_set(S0, rt_desc(BASE, 0xfff, 0x93, 4)); /* byte granular, 4 KiB */
	check("limit.last-byte", acc(rd1, S0, 0xfff), NONE);
	check("limit.last-dword", acc(rd4, S0, 0xffc), NONE);
	check_exc_at("limit.byte", acc(rd1, S0, 0x1000), GP, 0, q_limit);
	check_exc("limit.dword", acc(rd4, S0, 0xffd), GP, 0);
	check_exc("limit.write", acc(wr4, S0, 0xffd), GP, 0);
	check_exc("limit.wrap", acc(rd4, S0, 0xfffffffd), GP, 0);
	rt_gdt_set(S0, rt_desc(BASE, 0, 0x93, 0xc)); /* page granular: 4 KiB too */
	check("limit.page-granular", acc(rd4, S0, 0xffc), NONE);
	check_exc("limit.page-granular-end", acc(rd4, S0, 0xffd), GP, 0);
	rt_gdt_set(S0, rt_desc(BASE, 0xfff, 0xf3, 4));
	check_exc("limit.ss", user_acc(ss_rd4, S0, 0xffd), SS, 0);
	check("limit.ss-ok", user_acc(ss_rd4, S0, 0xffc), NONE);
	check_exc("limit.push", user_acc(ss_push, S0, 0x1004), SS, 0);
	check("limit.push-ok", user_acc(ss_push, S0, 0x1000), NONE);
	check_exc("limit.push-zero", user_acc(ss_push, S0, 0), SS, 0);
	/* A 16-bit stack wraps at 64 KiB; ESP's upper half is left alone. */
	rt_gdt_set(S0, rt_desc(BASE, 0xffff, 0xf3, 0));
	check("limit.push16-wraps", user_acc(ss_push, S0, 0xabcd0000), NONE);
	wr32((void *)(BASE + 0xffc), 0x12345678);
	rt_gdt_set(S0, rt_desc(0xfffff000, 0xfffff, 0x93, 0xc));
	check("base.wraps", acc(rd4, S0, BASE + 0x1ffc), NONE);
	check("base.wraps.value", value, 0x12345678);
}

static void expand_down(void)
{
	if (rt_is_tcg) {
		check_skip("down", "not under TCG");
		return;
	}
	/* Expand-down: offsets above the limit are valid. */
	rt_gdt_set(S0, rt_desc(BASE, 0xfff, 0x97, 4));
	check_exc("down.at-limit", acc(rd1, S0, 0xfff), GP, 0);
	check("down.above", acc(rd1, S0, 0x1000), NONE);
	check_exc("down.straddle", acc(rd4, S0, 0xffe), GP, 0);
	check_exc("down.zero", acc(rd4, S0, 0), GP, 0);
	/* B clear: the upper bound is 0xffff. */
	rt_gdt_set(S0, rt_desc(BASE, 0xfff, 0x97, 0));
	check("down16.top", acc(rd1, S0, 0xffff), NONE);
	check_exc("down16.beyond", acc(rd1, S0, 0x10000), GP, 0);
	check_exc("down16.straddle", acc(rd4, S0, 0xfffe), GP, 0);
	rt_gdt_set(S0, rt_desc(BASE, 0, 0x97, 0xc));
	check_exc("down.page-granular", acc(rd1, S0, 0xfff), GP, 0);
	check("down.page-granular-ok", acc(rd1, S0, 0x1000), NONE);
	rt_gdt_set(S0, rt_desc(BASE, 0xfff, 0xf7, 4));
	check_exc("down.ss", user_acc(ss_rd4, S0, 0xffe), SS, 0);
	check("down.ss-ok", user_acc(ss_rd4, S0, 0x1000), NONE);
}

static void types(void)
{
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x91, 0xc)); /* read only */
	check("ro.read", acc(rd4, S0, BASE), NONE);
	check_exc_hw("ro.write", acc(wr4, S0, BASE), GP, 0);
	check_exc("ro.ss", rt_try(ld_ss, (void *)S0), GP, S0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x99, 0xc)); /* execute only */
	check_exc("xo.ds", rt_try(ld_ds, (void *)S0), GP, S0);
	check_exc_hw("xo.read-cs", acc(cs_rd, S0, BASE), GP, 0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x9b, 0xc)); /* execute and read */
	check("xr.read-cs", acc(cs_rd, S0, BASE), UD);
	check("xr.ds", acc(rd4, S0, BASE), NONE);
	check_exc_hw("xr.write", acc(wr4, S0, BASE), GP, 0);
	check_exc_hw("cs.write", rt_try(cs_wr, (void *)BASE), GP, 0);
	check_exc("xr.ss", rt_try(ld_ss, (void *)S0), GP, S0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x13, 0xc)); /* not present */
	check_exc("np.ds", rt_try(ld_ds, (void *)S0), NP, S0);
	check_exc("np.ss", rt_try(ld_ss, (void *)S0), SS, S0);
	check_exc("np.pop-es", rt_try(pop_es, (void *)S0), NP, S0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x82, 0)); /* an LDT */
	check_exc("system.ds", rt_try(ld_ds, (void *)S0), GP, S0);
	check_exc("system.ss", rt_try(ld_ss, (void *)S0), GP, S0);
	check_exc("beyond.ds", rt_try(ld_ds, (void *)0x200), GP, 0x200);
	check_exc("beyond.ldt", rt_try(ld_ds, (void *)(S0 | 4)), GP, S0 | 4);
	/* The accessed bit. */
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x92, 0xc));
	rt_try(ld_es, (void *)S0);
	check("accessed", rt_gdt[S0 / 8] >> 40 & 0xff, 0x93);
}

static void nulls(void)
{
	check("null.load-ds", rt_try(ld_gs, (void *)0), NONE);
	check("null.load-ds-rpl", rt_try(ld_gs, (void *)3), NONE);
	check_exc_hw("null.use", acc(rd1, 0, BASE), GP, 0);
	check_exc_hw("null.write", acc(wr4, 3, BASE), GP, 0);
	check_exc("null.ss", rt_try(ld_ss, (void *)0), GP, 0);
	check_exc("null.cs", rt_try(far_to, (void *)0), GP, 0);
}

static void rings(void)
{
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0xb3, 0xc)); /* DPL 1 data */
	check("dpl1.ds-ring0", rt_try(ld_ds, (void *)S0), NONE);
	check_exc("dpl1.rpl2", rt_try(ld_ds, (void *)(S0 | 2)), GP, S0);
	check_exc("dpl1.ss-ring0", rt_try(ld_ss, (void *)S0), GP, S0);
	check_exc("ss.rpl", rt_try(ld_ss, (void *)(SEL_KDS | 1)), GP, SEL_KDS);
	check_exc("user.kernel-ds", rt_user(ld_ds, (void *)SEL_KDS), GP, SEL_KDS);
	check_exc("user.kernel-ds-rpl3", rt_user(ld_ds, (void *)(SEL_KDS | 3)), GP, SEL_KDS);
	check("user.user-ds", rt_user(ld_ds, (void *)SEL_UDS), NONE);
	check("user.user-ds-rpl0", rt_user(ld_ds, (void *)(SEL_UDS & ~3)), NONE);
	check_exc("user.ss-kernel", rt_user(ld_ss, (void *)SEL_KDS), GP, SEL_KDS);
	/* Conforming code is readable from every ring, whatever its DPL. */
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x9f, 0xc));
	check("conforming.user-ds", rt_user(ld_ds, (void *)S0), NONE);
	check("conforming.jump", rt_user(far_to, (void *)(S0 | 3)), GP);
	check("conforming.jump.error", rt_exc.error, 0x81 * 8 + 2);
	check("conforming.jump.cpl", rt_exc.cs & 3, 3);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0xff, 0xc)); /* conforming, DPL 3 */
	check_exc("conforming.dpl3-from-0", rt_try(far_to, (void *)S0), GP, S0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x9b, 0xc));
	check_exc("code.user-to-dpl0", rt_user(far_to, (void *)(S0 | 3)), GP, S0);
	check_exc("code.return-inward", rt_user(far_to, (void *)SEL_KCS32), GP, SEL_KCS32);
	check("code.same", rt_try(far_to, (void *)S0), 0x81);
	check("code.same.cs", rt_exc.ax, S0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x1b, 0xc));
	check_exc_at("code.not-present", rt_try(far_to, (void *)S0), NP, S0, q_call);
	check_exc("code.data", rt_try(far_to, (void *)SEL_KDS), GP, SEL_KDS);
	/* The target lies beyond the limit of the new code segment. */
	rt_gdt_set(S0, rt_desc(0, 0xff, 0x9b, 4));
	check_exc_hw("code.limit", rt_try(far_to, (void *)S0), GP, 0);
}

CASE static void lldt(void *a) { asm volatile("lldt %w0" :: "r"(a)); }
static void ldt(void)
{
	static u64 table[4];

	table[1] = rt_desc(BASE, 0xfff, 0x93, 4);
	rt_gdt_set(S0, rt_desc((ulong)table, sizeof(table) - 1, 0x82, 0));
	check("lldt", rt_try(lldt, (void *)S0), NONE);
	check("ldt.read", acc(rd4, 8 | 4, 0xffc), NONE);
	check_exc_hw("ldt.limit", acc(rd4, 8 | 4, 0xffd), GP, 0);
	check_exc("ldt.empty", rt_try(ld_ds, (void *)(16 | 4)), GP, 16 | 4);
	check_exc("ldt.beyond", rt_try(ld_ds, (void *)(32 | 4)), GP, 32 | 4);
	check_exc("lldt.type", rt_try(lldt, (void *)SEL_KDS), GP, SEL_KDS);
	rt_gdt_set(S1, rt_desc(0, 7, 0x02, 0));
	check_exc("lldt.not-present", rt_try(lldt, (void *)S1), NP, S1);
	check_exc("lldt.in-ldt", rt_try(lldt, (void *)(S0 | 4)), GP, S0 | 4);
	check("lldt.null", rt_try(lldt, (void *)0), NONE);
	check_exc("ldt.gone", rt_try(ld_ds, (void *)(8 | 4)), GP, 8 | 4);
	check_exc("lldt.user", rt_user(lldt, (void *)0), GP, 0);
}

static u32 lar(u32 s, bool *ok)
{
	u32 v = 0xdeadbeef;
	u8 zf;
	asm volatile("lar %2, %0; setz %1" : "+r"(v), "=q"(zf) : "r"(s) : "cc");
	*ok = zf;
	return v;
}
static u32 lsl(u32 s, bool *ok)
{
	u32 v = 0xdeadbeef;
	u8 zf;
	asm volatile("lsl %2, %0; setz %1" : "+r"(v), "=q"(zf) : "r"(s) : "cc");
	*ok = zf;
	return v;
}
static bool verr(u32 s) { u8 zf; asm volatile("verr %w1; setz %0" : "=q"(zf) : "r"(s) : "cc"); return zf; }
static bool verw(u32 s) { u8 zf; asm volatile("verw %w1; setz %0" : "=q"(zf) : "r"(s) : "cc"); return zf; }

static void inspect(void)
{
	bool ok;
	u32 v;
	u8 zf;

	check("lar.code", lar(SEL_KCS32, &ok) & 0xf0ff00, 0xc09b00);
	check("lar.zf", ok, 1);
	check("lar.null", lar(0, &ok), 0xdeadbeef);
	check("lar.null-zf", ok, 0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x8e, 0)); /* interrupt gate: not LAR's */
	lar(S0, &ok);
	check("lar.gate", ok, 0);
	rt_gdt_set(S0, rt_desc(0, 0xfffff, 0x8c, 0));
	lar(S0, &ok);
	check("lar.call-gate", ok, 1);
	lsl(S0, &ok);
	check("lsl.call-gate", ok, 0);
	check("lsl.byte", (rt_gdt_set(S0, rt_desc(0, 0x1234, 0x93, 4)), lsl(S0, &ok)), 0x1234);
	check("lsl.page", (rt_gdt_set(S0, rt_desc(0, 0x1234, 0x93, 0xc)), lsl(S0, &ok)), 0x1234fff);
	check("verr.data", verr(SEL_KDS), 1);
	check("verw.data", verw(SEL_KDS), 1);
	check("verw.code", verw(SEL_KCS32), 0);
	check("verr.xo", (rt_gdt_set(S0, rt_desc(0, 1, 0x99, 4)), verr(S0)), 0);
	check("verw.ro", (rt_gdt_set(S0, rt_desc(0, 1, 0x91, 4)), verw(S0)), 0);
	check("verr.rpl", verr(SEL_KDS | 3), 0);
	check("verr.null", verr(0), 0);
	v = 0x10;
	asm volatile("arpl %w2, %w0; setz %1" : "+r"(v), "=q"(zf) : "r"(3) : "cc");
	check("arpl", v, 0x13);
	check("arpl.zf", zf, 1);
	asm volatile("arpl %w2, %w0; setz %1" : "+r"(v), "=q"(zf) : "r"(2) : "cc");
	check("arpl.not-lower", v, 0x13);
	check("arpl.zf-clear", zf, 0);
}

void test_main(void)
{
	limits();
	expand_down();
	types();
	nulls();
	rings();
	ldt();
	inspect();
}
