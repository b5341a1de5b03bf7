/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every exception that 64-bit code raises, with its error code and the saved
 * instruction pointer. SDM vol. 3, 6.15. */
#include "tests/asm/rt.h"

extern char l_div[], l_idiv[], l_ud2[], l_ud1[], l_bp[], l_icebp[], l_intn[], l_hlt[], l_jmp[],
	l_ret[], l_far[], l_ss[], l_gp[], l_pf[], l_cr8[], l_len[], l_lock[];

CASE static void div_zero(void *a)
{
	asm volatile("xor %%ecx, %%ecx; l_div: div %%ecx" ::: "rax", "rcx", "rdx");
}

CASE static void idiv_overflow(void *a)
{
	asm volatile("mov $1, %%rax; shl $63, %%rax; cqo; mov $-1, %%rcx; l_idiv: idiv %%rcx"
		     ::: "rax", "rcx", "rdx");
}

CASE static void div_byte(void *a)
{
	asm volatile("mov $0x0200, %%ax; mov $2, %%cl; div %%cl" ::: "rax", "rcx");
}

CASE static void idiv_byte_low(void *a) /* -128 fits, so no fault */
{
	asm volatile("mov $0xff80, %%ax; mov $1, %%cl; idiv %%cl" ::: "rax", "rcx");
}

CASE static void ud2(void *a) { asm volatile("l_ud2: ud2"); }
CASE static void ud1(void *a) { asm volatile("l_ud1: .byte 0x0f, 0xb9, 0xc0"); }
CASE static void bp(void *a) { asm volatile("int3; l_bp:"); }
CASE static void icebp(void *a) { asm volatile(".byte 0xf1; l_icebp:"); }
CASE static void gone_push_es(void *a) { asm volatile(".byte 0x06"); }
CASE static void gone_into(void *a) { asm volatile(".byte 0xce"); }
CASE static void gone_daa(void *a) { asm volatile(".byte 0x27"); }
CASE static void gone_aam(void *a) { asm volatile(".byte 0xd4, 0x0a"); }
CASE static void gone_pusha(void *a) { asm volatile(".byte 0x60"); }
CASE static void gone_far_call(void *a) { asm volatile(".byte 0x9a, 0, 0, 0, 0, 0, 0"); }
CASE static void gone_salc(void *a) { asm volatile(".byte 0xd6"); }
CASE static void gone_82(void *a) { asm volatile(".byte 0x82, 0xc0, 0"); }
CASE static void lock_mov(void *a) { asm volatile("l_lock: .byte 0xf0, 0x89, 0x00" :: "a"(&rt_exc)); }
CASE static void lock_add_reg(void *a) { asm volatile(".byte 0xf0, 0x01, 0xc0"); }
CASE static void lock_cmp(void *a) { asm volatile(".byte 0xf0, 0x39, 0x00" :: "a"(&rt_exc)); }
CASE static void mov_cs(void *a) { asm volatile(".byte 0x8e, 0xc8"); }
CASE static void mov_sreg6(void *a) { asm volatile(".byte 0x8e, 0xf0"); }
CASE static void mov_cr1(void *a) { asm volatile(".byte 0x0f, 0x20, 0xc8"); }
CASE static void mov_cr9(void *a) { asm volatile(".byte 0x44, 0x0f, 0x20, 0xc8"); }
CASE static void lea_reg(void *a) { asm volatile(".byte 0x8d, 0xc0"); }
CASE static void ff7(void *a) { asm volatile(".byte 0xff, 0xf8"); }
CASE static void too_long(void *a)
{
	asm volatile("l_len: .rept 15; .byte 0x66; .endr; nop");
}
CASE static void longest(void *a) { asm volatile(".rept 14; .byte 0x66; .endr; nop"); }

CASE static void int_no_gate(void *a) { asm volatile("l_intn: int $0xf0"); }
CASE static void user_int(void *a) { asm volatile("int $0x21"); }
CASE static void user_icebp(void *a) { asm volatile(".byte 0xf1"); }
CASE static void user_int3(void *a) { asm volatile("int3"); }
CASE static void user_hlt(void *a) { asm volatile("l_hlt: hlt"); }
CASE static void user_cli(void *a) { asm volatile("cli"); }
CASE static void user_in(void *a) { asm volatile("inb $0x60, %%al" ::: "rax"); }
CASE static void user_cr0(void *a) { asm volatile("mov %%cr0, %%rax" ::: "rax"); }
CASE static void user_dr0(void *a) { asm volatile("mov %%dr0, %%rax" ::: "rax"); }
CASE static void user_lidt(void *a) { asm volatile("lidt (%0)" :: "r"(&rt_idtr)); }
CASE static void user_rdmsr(void *a) { asm volatile("rdmsr" :: "c"(0x10) : "rax", "rdx"); }
CASE static void user_invlpg(void *a) { asm volatile("invlpg (%0)" :: "r"(&rt_idtr)); }
CASE static void user_clts(void *a) { asm volatile("clts"); }
CASE static void user_swapgs(void *a) { asm volatile("swapgs"); }
CASE static void user_sysret(void *a) { asm volatile("sysretq"); }
CASE static void user_wbinvd(void *a) { asm volatile("wbinvd"); }
CASE static void user_ltr(void *a) { asm volatile("ltr %w0" :: "r"(0)); }
CASE static void user_nothing(void *a) { asm volatile("nop"); }

#define BAD 0x0000800000000000ul
CASE static void gp_noncanonical(void *a)
{
	asm volatile("l_gp: mov (%0), %%al" :: "r"(BAD) : "rax");
}
CASE static void gp_cross_canonical(void *a)
{
	asm volatile("mov (%0), %%rax" :: "r"(BAD - 4) : "rax");
}
CASE static void ss_noncanonical(void *a)
{
	asm volatile("mov %0, %%rbp; l_ss: mov (%%rbp), %%al" :: "r"(BAD) : "rax", "rbp");
}
CASE static void ss_push(void *a)
{
	asm volatile("mov %0, %%rsp; push %%rax" :: "r"(BAD + 8));
}
CASE static void jmp_noncanonical(void *a) { asm volatile("l_jmp: jmp *%0" :: "r"(BAD)); }
CASE static void ret_noncanonical(void *a)
{
	asm volatile("push %0; l_ret: ret" :: "r"(BAD));
}
CASE static void jmp_unmapped(void *a)
{
	asm volatile("jmp *%0" :: "r"(0x7f0000000000ul));
}
CASE static void pf_read(void *a) { asm volatile("l_pf: mov (%0), %%al" :: "r"(a) : "rax"); }
CASE static void pf_write(void *a) { asm volatile("mov %%al, (%0)" :: "r"(a)); }
CASE static void pf_rmw(void *a) { asm volatile("addl $1, (%0)" :: "r"(a)); }
CASE static void pf_cross(void *a) { asm volatile("mov %%rax, (%0)" :: "r"(a)); }
CASE static void jmp_a(void *a) { asm volatile("jmp *%0" :: "r"(a)); }

static void divides(void)
{
	check_exc_at("de.div", rt_try(div_zero, 0), DE, 0, l_div);
	check_exc_at("de.idiv", rt_try(idiv_overflow, 0), DE, 0, l_idiv);
	check_exc("de.byte", rt_try(div_byte, 0), DE, 0);
	check("de.idiv-minus-128", rt_try(idiv_byte_low, 0), NONE);
}

static void undefined(void)
{
	static const struct { const char *name; void (*fn)(void *); } ud[] = {
		{ "ud.push-es", gone_push_es }, { "ud.into", gone_into }, { "ud.daa", gone_daa },
		{ "ud.aam", gone_aam }, { "ud.pusha", gone_pusha }, { "ud.far-call", gone_far_call },
		{ "ud.salc", gone_salc }, { "ud.82", gone_82 }, { "ud.lock-add-reg", lock_add_reg },
		{ "ud.lock-cmp", lock_cmp }, { "ud.mov-cs", mov_cs }, { "ud.mov-sreg6", mov_sreg6 },
		{ "ud.mov-cr1", mov_cr1 }, { "ud.mov-cr9", mov_cr9 }, { "ud.lea-reg", lea_reg },
		{ "ud.ff7", ff7 },
	};

	check_exc_at("ud.ud2", rt_try(ud2, 0), UD, 0, l_ud2);
	check_exc_at("ud.ud1", rt_try(ud1, 0), UD, 0, l_ud1);
	/* TCG takes LOCK on MOV, has no ICEBP, and doubles the vector in error codes. */
	check_exc_at_hw("ud.lock-mov", rt_try(lock_mov, 0), UD, 0, l_lock);
	for (unsigned i = 0; i < sizeof(ud) / sizeof(ud[0]); i++)
		check_exc(ud[i].name, rt_try(ud[i].fn, 0), UD, 0);
	check_exc_at("gp.too-long", rt_try(too_long, 0), GP, 0, l_len);
	check("len.fifteen", rt_try(longest, 0), NONE);
}

static void traps(void)
{
	check_exc_at("bp", rt_try(bp, 0), BP, 0, l_bp);
	check_exc_at_hw("db.icebp", rt_try(icebp, 0), DB, 0, l_icebp);
	check_exc("user.int3", rt_user(user_int3, 0), BP, 0);
	check_exc_hw("user.icebp", rt_user(user_icebp, 0), DB, 0);
	/* A gate that is not present: #NP with the vector, IDT bit set. */
	rt_idt_set(0xf0, (ulong)rt_stubs, SEL_KCS, 0x0e, 0);
	check_exc_at_hw("np.gate", rt_try(int_no_gate, 0), NP, 0xf0 << 3 | 2, l_intn);
	rt_idt_set(0xf0, (ulong)rt_stubs, SEL_KCS, 0x00, 0);
	check_exc_hw("gp.gate-type", rt_try(int_no_gate, 0), GP, 0xf0 << 3 | 2);
	rt_idt_set(0xf0, (ulong)rt_stubs, SEL_KCS, 0x82, 0);
	check_exc_hw("gp.gate-ldt-type", rt_try(int_no_gate, 0), GP, 0xf0 << 3 | 2);
	rt_idt_set(0xf0, (ulong)rt_stubs, 0, 0x8e, 0);
	check_exc("gp.gate-null-cs", rt_try(int_no_gate, 0), GP, 0);
	rt_idt_set(0xf0, (ulong)rt_stubs, SEL_KDS, 0x8e, 0);
	check_exc("gp.gate-data-cs", rt_try(int_no_gate, 0), GP, SEL_KDS);
	rt_idt_set(0xf0, (ulong)rt_stubs, SEL_KCS32, 0x8e, 0);
	check_exc("gp.gate-cs32", rt_try(int_no_gate, 0), GP, SEL_KCS32);
	rt_idt_set(0xf0, (ulong)rt_stubs, 0x1f8, 0x8e, 0);
	check_exc("gp.gate-empty-cs", rt_try(int_no_gate, 0), GP, 0x1f8);
	rt_idt_set(0xf0, (ulong)rt_stubs, 0x7ff8, 0x8e, 0);
	check_exc("gp.gate-cs-limit", rt_try(int_no_gate, 0), GP, 0x7ff8);
	rt_idt_set(0xf0, BAD, SEL_KCS, 0x8e, 0);
	check_exc_hw("gp.gate-noncanonical", rt_try(int_no_gate, 0), GP, 0);
}

static void privileged(void)
{
	static const struct { const char *name; void (*fn)(void *); } gp[] = {
		{ "user.cli", user_cli }, { "user.in", user_in }, { "user.cr0", user_cr0 },
		{ "user.dr0", user_dr0 }, { "user.lidt", user_lidt }, { "user.rdmsr", user_rdmsr },
		{ "user.invlpg", user_invlpg }, { "user.clts", user_clts },
		{ "user.swapgs", user_swapgs }, { "user.sysret", user_sysret },
		{ "user.wbinvd", user_wbinvd }, { "user.ltr", user_ltr },
	};

	check("user.nothing", rt_user(user_nothing, 0), NONE);
	check_exc_hw("user.int-dpl", rt_user(user_int, 0), GP, 0x21 << 3 | 2);
	check_exc_at("user.hlt", rt_user(user_hlt, 0), GP, 0, l_hlt);
	check("user.cs", rt_exc.cs, SEL_UCS64);
	check("user.ss", rt_exc.ss, SEL_UDS);
	for (unsigned i = 0; i < sizeof(gp) / sizeof(gp[0]); i++)
		check_exc(gp[i].name, rt_user(gp[i].fn, 0), GP, 0);
}

static void addresses(void)
{
	check_exc_at("gp.noncanonical", rt_try(gp_noncanonical, 0), GP, 0, l_gp);
	/* TCG checks the first byte's page only. */
	check_exc_hw("gp.cross-canonical", rt_try(gp_cross_canonical, 0), GP, 0);
	check_exc_at_hw("ss.noncanonical", rt_try(ss_noncanonical, 0), SS, 0, l_ss);
	check_exc_at_hw("gp.jmp-noncanonical", rt_try(jmp_noncanonical, 0), GP, 0, l_jmp);
	check_exc_at_hw("gp.ret-noncanonical", rt_try(ret_noncanonical, 0), GP, 0, l_ret);
	/* The stack fault is delivered on the IST stack: RSP is no address. */
	rt_idt_set(SS, (ulong)rt_stubs + SS * 16, SEL_KCS, 0x8e, 1);
	rt_idt_set(GP, (ulong)rt_stubs + GP * 16, SEL_KCS, 0x8e, 1);
	check_exc_hw("ss.push", rt_try(ss_push, 0), SS, 0);
	if (!rt_is_tcg)
		check("ss.push.rsp", rt_exc.sp, BAD + 8);
	rt_idt_set(SS, (ulong)rt_stubs + SS * 16, SEL_KCS, 0x8e, 0);
	rt_idt_set(GP, (ulong)rt_stubs + GP * 16, SEL_KCS, 0x8e, 0);
}

static void page_faults(void)
{
	ulong va = 0x7f0000000000ul, page = (ulong)rt_page();
	u64 code;

	check_exc_at("pf.read", rt_try(pf_read, (void *)(va + 5)), PF, 0, l_pf);
	check("pf.read.cr2", rt_exc.cr2, va + 5);
	check_exc("pf.write", rt_try(pf_write, (void *)va), PF, 2);
	/* TCG reports the read half. */
	check_exc_hw("pf.rmw", rt_try(pf_rmw, (void *)va), PF, 2);
	check_exc("pf.fetch", rt_try(jmp_unmapped, 0), PF, 0x10);
	check("pf.fetch.cr2", rt_exc.cr2, va);
	check("pf.fetch.ip", rt_exc.ip, va);
	check_exc("pf.user-read", rt_user(pf_read, (void *)va), PF, 4);
	check_exc("pf.user-write", rt_user(pf_write, (void *)va), PF, 6);
	check_exc("pf.user-fetch", rt_user(jmp_unmapped, 0), PF, 0x14);
	/* A store over two pages reports the page that faults and writes nothing. */
	rt_map(va, page, PG_P | PG_W | PG_U);
	check_exc("pf.cross", rt_try(pf_cross, (void *)(va + 0xffc)), PF, 2);
	check("pf.cross.cr2", rt_exc.cr2, va + 0x1000);
	check("pf.cross.first", rd32((void *)(page + 0xffc)), 0);
	/* An instruction over the page's end: CR2 is the second page. */
	code = page + 0xffe;
	*(u16 *)code = 0x05c7; /* mov $imm32, disp32(%rip) */
	check_exc("pf.fetch-cross", rt_try(jmp_a, (void *)(va + 0xffe)), PF, 0x10);
	check("pf.fetch-cross.cr2", rt_exc.cr2, va + 0x1000);
	check("pf.fetch-cross.ip", rt_exc.ip, va + 0xffe);
	rt_map(va, 0, 0);
}

void test_main(void)
{
	divides();
	undefined();
	traps();
	privileged();
	addresses();
	page_faults();
}
