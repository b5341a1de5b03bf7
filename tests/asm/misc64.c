/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MSRs, CPUID, control registers, UMIP, TSD, port I/O and its permission map,
 * alignment checks. */
#include "tests/asm/rt.h"

extern u8 rt_int_stack_top[];
static u32 msr;
static u64 msr_val;
CASE static void rd_msr(void *a) { msr_val = rdmsr(msr); }
CASE static void wr_msr(void *a) { wrmsr(msr, (ulong)a); }
CASE static void set_cr0(void *a) { wr_cr0((ulong)a); }
CASE static void set_cr3(void *a) { wr_cr3((ulong)a); }
CASE static void set_cr4(void *a) { wr_cr4((ulong)a); }
CASE static void do_rdtsc(void *a) { rdtsc(); }
CASE static void do_rdtscp(void *a) { asm volatile("rdtscp" : "=c"(*(u32 *)a) :: "rax", "rdx"); }
CASE static void do_rdpid(void *a) { ulong v; asm volatile("rdpid %0" : "=r"(v)); *(u64 *)a = v; }
CASE static void do_sgdt(void *a) { asm volatile("sgdt (%0)" :: "r"(a) : "memory"); }
CASE static void do_sidt(void *a) { asm volatile("sidt (%0)" :: "r"(a) : "memory"); }
CASE static void do_sldt(void *a) { asm volatile("sldt %%eax" ::: "rax"); }
CASE static void do_str(void *a) { asm volatile("str %%eax" ::: "rax"); }
CASE static void do_smsw(void *a) { asm volatile("smsw %%eax" ::: "rax"); }
CASE static void do_cpuid(void *a) { cpuid(0, 0); }
CASE static void in_al(void *a) { asm volatile("inb %%dx, %%al" :: "d"((ulong)a) : "rax"); }
CASE static void in_ax(void *a) { asm volatile("inw %%dx, %%ax" :: "d"((ulong)a) : "rax"); }
CASE static void in_eax(void *a) { asm volatile("inl %%dx, %%eax" :: "d"((ulong)a) : "rax"); }
CASE static void out_al(void *a) { asm volatile("outb %%al, %%dx" :: "d"((ulong)a), "a"(0)); }
CASE static void ud_monitor(void *a) { asm volatile("monitor" :: "a"(a), "c"(0), "d"(0)); }
CASE static void rd4(void *a) { asm volatile("mov (%0), %%eax" :: "r"(a) : "rax"); }
CASE static void wr8(void *a) { asm volatile("mov %%rax, (%0)" :: "r"(a) : "memory"); }
CASE static void sse_load(void *a) { asm volatile("movups (%0), %%xmm0" :: "r"(a)); }
CASE static void rd1(void *a) { asm volatile("mov (%0), %%al" :: "r"(a) : "rax"); }

static int read_msr(u32 m)
{
	msr = m;
	return rt_try(rd_msr, 0);
}
static int write_msr(u32 m, u64 v)
{
	msr = m;
	return rt_try(wr_msr, (void *)v);
}

static void msrs(void)
{
	static const struct { const char *name; u32 msr; u64 value; } keep[] = {
		{ "msr.lstar", MSR_LSTAR, 0xffffffff81000000 }, { "msr.star", MSR_STAR, 0x0023001000000000 },
		{ "msr.fmask", MSR_FMASK, 0x47700 }, { "msr.kgs", MSR_KGSBASE, 0xffff888000000000 },
		{ "msr.sysenter-cs", 0x174, 0x10 }, { "msr.sysenter-esp", 0x175, 0xffff800000001000 },
		{ "msr.sysenter-eip", 0x176, 0xffffffff81001000 }, { "msr.cstar", MSR_CSTAR, 0x1000 },
	};
	u64 efer = rdmsr(MSR_EFER);
	/* KVM's way out has 32 bits for these on AMD, where long mode does not use them. */
	bool narrow = rt_told("kvm") && cpuid(0, 0).b == 0x68747541;

	for (unsigned i = 0; i < sizeof(keep) / sizeof(keep[0]); i++) {
		bool sysenter = keep[i].msr >= 0x174 && keep[i].msr <= 0x176;
		u64 value = sysenter && narrow ? (u32)keep[i].value : keep[i].value;

		check(keep[i].name, write_msr(keep[i].msr, value), NONE);
		check(keep[i].name, rdmsr(keep[i].msr), value);
	}
	/* TCG reads unknown MSRs as zero. */
	check_exc_hw("msr.unknown-read", read_msr(0x12345678), GP, 0);
	check_exc_hw("msr.unknown-write", write_msr(0x12345678, 0), GP, 0);
	check_exc_hw("efer.reserved", write_msr(MSR_EFER, efer | 1ul << 40), GP, 0);
	check("efer.lma", efer & 0x500, 0x500);
	check("efer.lma-read-only", (write_msr(MSR_EFER, efer & ~0x400ul), rdmsr(MSR_EFER) & 0x400), 0x400);
	check_exc_hw("efer.lme-while-paging", write_msr(MSR_EFER, efer & ~0x100ul), GP, 0);
	wrmsr(MSR_EFER, efer);
	check("pat.reset", rdmsr(0x277), 0x0007040600070406);
	check_exc_hw("pat.reserved", write_msr(0x277, 0x0007040600070402), GP, 0);
	check("pat.write", write_msr(0x277, 0x0007010600070106), NONE);
	check("pat.read", rdmsr(0x277), 0x0007010600070106);
	wrmsr(0x277, 0x0007040600070406);
	check("apicbase", rdmsr(MSR_APICBASE) & ~0x600ull, 0xfee00900);
	u64 t0 = rdtsc();
	wrmsr(0x10, t0 + 0x100000000000);
	if (!rt_is_tcg) /* its TSC cannot be written */
		check_true("tsc.write", rdtsc() - t0 >= 0x100000000000 && rdtsc() - t0 < 0x110000000000);
	wrmsr(0x10, 0);
	if (!rt_is_tcg)
		check_true("tsc.zero", rdtsc() < 0x100000000000);
}

static void cpuids(void)
{
	struct cpuid z = cpuid(0, 0), one = cpuid(1, 0), ext = cpuid(0x80000000, 0);
	u32 f = rd_flags();

	check_true("cpuid.max", z.a >= 7 && z.a < 0x100);
	check_true("cpuid.vendor", z.b == 0x756e6547 || z.b == 0x68747541);
	check_true("cpuid.ext-max", ext.a >= 0x80000008);
	/* What long mode and Linux take for granted. */
	check("cpuid.fpu-tsc-msr-pae-cx8-apic", one.d & 0x371, 0x371);
	check("cpuid.sep-mtrr-pge-cmov-pat", one.d & 0x1b800, 0x1b800);
	check("cpuid.mmx-fxsr-sse-sse2", one.d & 0x7800000, 0x7800000);
	check("cpuid.lm-nx-syscall", cpuid(0x80000001, 0).d & 0x20100800, 0x20100800);
	check("cpuid.clflush", (one.b >> 8 & 0xff) * 8, 64);
	check_true("cpuid.phys-bits", (cpuid(0x80000008, 0).a & 0xff) >= 36 && (cpuid(0x80000008, 0).a & 0xff) <= 52);
	check_hw("cpuid.lin-bits", cpuid(0x80000008, 0).a >> 8 & 0xff, 48);
	check("cpuid.hypervisor", one.c >> 31, 1);
	check("flags.id", (wr_flags(f ^ FL_ID), (rd_flags() ^ f) & FL_ID), FL_ID);
	wr_flags(f);
	check("cpuid.user", rt_user(do_cpuid, 0), NONE);
	check("cpuid.avx-needs-xsave", !(one.c >> 28 & 1) || (one.c >> 26 & 1), 1);
	check("cpuid.avx2-needs-avx", !(cpuid(7, 0).b >> 5 & 1) || (one.c >> 28 & 1), 1);
	check("cpuid.apic-id", one.b >> 24, rd32((void *)0xfee00020) >> 24);
	check("cpuid.high-halves", ({ u64 a = ~0ul, c = ~0ul << 32, b, d;
		a = a << 32; asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)); (a | b | c | d) >> 32; }), 0);
}

static void controls(void)
{
	ulong cr0 = rd_cr0(), cr3 = rd_cr3(), cr4 = rd_cr4();

	if (rt_is_tcg) {
		check_skip("cr.refusals", "not under TCG");
	} else {
		check_exc("cr0.pg-without-pe", rt_try(set_cr0, (void *)(cr0 & ~CR0_PE)), GP, 0);
		check_exc("cr0.nw-without-cd", rt_try(set_cr0, (void *)(cr0 | 1ul << 29)), GP, 0);
		check_exc("cr0.high", rt_try(set_cr0, (void *)(cr0 | 1ul << 32)), GP, 0);
		check_exc("cr0.pg-off-in-64-bit", rt_try(set_cr0, (void *)(cr0 & ~CR0_PG)), GP, 0);
		check_exc("cr4.pae-off", rt_try(set_cr4, (void *)(cr4 & ~CR4_PAE)), GP, 0);
		check_exc("cr4.reserved", rt_try(set_cr4, (void *)(cr4 | 1ul << 31)), GP, 0);
		check_exc("cr3.reserved", rt_try(set_cr3, (void *)(cr3 | 1ul << 52)), GP, 0);
	}
	check("cr0.kept", rd_cr0(), cr0);
	check("cr4.kept", rd_cr4(), cr4);
	wr_cr4(cr4 | CR4_TSD);
	check("tsd.kernel", rt_try(do_rdtsc, 0), NONE);
	check_exc("tsd.user", rt_user(do_rdtsc, 0), GP, 0);
	wr_cr4(cr4);
	check("tsc.user", rt_user(do_rdtsc, 0), NONE);
	u64 a = rdtsc(), b = rdtsc();
	check_true("tsc.moves", b > a);
	if (cpuid(0x80000001, 0).d >> 27 & 1) {
		u64 aux = 0;

		wrmsr(MSR_TSC_AUX, 0x1234);
		check("rdtscp", rt_try(do_rdtscp, &aux), NONE);
		check("rdtscp.aux", (u32)aux, 0x1234);
		wr_cr4(cr4 | CR4_TSD);
		check_exc("tsd.rdtscp", rt_user(do_rdtscp, &aux), GP, 0);
		wr_cr4(cr4);
		if (cpuid(7, 0).c >> 22 & 1) {
			check("rdpid", (rt_user(do_rdpid, &aux), aux), 0x1234);
		}
	}
	if (!(cpuid(1, 0).c >> 3 & 1))
		check_exc("monitor.absent", rt_try(ud_monitor, &msr), UD, 0);
}

static void umip(void)
{
	static u8 buf[16];
	void (*const fns[])(void *) = { do_sgdt, do_sidt, do_sldt, do_str, do_smsw };
	static const char *const names[] = { "umip.sgdt", "umip.sidt", "umip.sldt", "umip.str", "umip.smsw" };

	for (unsigned i = 0; i < 5; i++)
		check(names[i], rt_user(fns[i], buf), NONE);
	do_sgdt(buf);
	check("sgdt.limit", *(u16 *)buf, rt_gdtr.limit);
	check("sgdt.base", *(u64 *)(buf + 2), rt_gdtr.base);
	if (!(cpuid(7, 0).c >> 2 & 1)) {
		check_skip("umip", "not offered");
		return;
	}
	wr_cr4(rd_cr4() | CR4_UMIP);
	for (unsigned i = 0; i < 5; i++) {
		check_exc(names[i], rt_user(fns[i], buf), GP, 0);
		check("umip.kernel", rt_try(fns[i], buf), NONE);
	}
	wr_cr4(rd_cr4() & ~CR4_UMIP);
}

static void io_map(void)
{
	rt_tss.iomap = offsetof(struct rt_tss, io);
	memset(rt_tss.io, 0xff, sizeof(rt_tss.io));
	check_exc("io.denied", rt_user(in_al, (void *)0x80), GP, 0);
	check("io.iopl3", rt_user_fl(in_al, (void *)0x80, FL_IOPL), NONE);
	rt_tss.io[0x80 / 8] = 0xfe;
	check("io.in", rt_user(in_al, (void *)0x80), NONE);
	check("io.out", rt_user(out_al, (void *)0x80), NONE);
	check_exc("io.next", rt_user(in_al, (void *)0x81), GP, 0);
	check_exc("io.word-half", rt_user(in_ax, (void *)0x80), GP, 0);
	rt_tss.io[0x80 / 8] = 0xf0;
	check("io.dword", rt_user(in_eax, (void *)0x80), NONE);
	check_exc("io.dword-last", rt_user(in_eax, (void *)0x81), GP, 0);
	rt_tss.io[0x80 / 8] = 0x7f;
	check("io.byte-end", rt_user(in_al, (void *)0x87), NONE);
	check_exc("io.word-over-byte", rt_user(in_ax, (void *)0x87), GP, 0);
	rt_tss.io[0x88 / 8] = 0xfe;
	check("io.word-over-byte-ok", rt_user(in_ax, (void *)0x87), NONE);
	/* The limit cuts the map: the second byte of the pair must be inside too. */
	rt_tss.iomap = sizeof(rt_tss) - 2;
	rt_tss.io[8192 - 1] = 0;
	check("io.limit-inside", rt_user(in_al, (void *)3), NONE);
	rt_tss.iomap = sizeof(rt_tss) - 1;
	rt_tss.io[8192] = 0;
	check_exc("io.limit-outside", rt_user(in_al, (void *)3), GP, 0);
	check("io.kernel", rt_try(in_al, (void *)0x80), NONE);
	rt_tss.iomap = sizeof(rt_tss);
}

/* #AC needs CR0.AM, EFLAGS.AC and ring 3. TCG has none of it. */
static void alignment(void)
{
	static u64 buf[4];
	void *odd = (u8 *)buf + 1;

	if (rt_is_tcg) {
		check_skip("ac", "not under TCG");
		return;
	}
	wr_cr0(rd_cr0() | CR0_AM);
	check_exc("ac.read", rt_user_fl(rd4, odd, FL_AC), AC, 0);
	check_exc("ac.write", rt_user_fl(wr8, (u8 *)buf + 4, FL_AC), AC, 0);
	check("ac.aligned", rt_user_fl(rd4, (u8 *)buf + 4, FL_AC), NONE);
	check("ac.byte", rt_user_fl(rd1, odd, FL_AC), NONE);
	check("ac.flag-clear", rt_user(rd4, odd), NONE);
	wr_flags(rd_flags() | FL_AC);
	check("ac.ring0", rt_try(rd4, odd), NONE);
	wr_flags(rd_flags() & ~(ulong)FL_AC);
	check("ac.frame-flag", (rt_user_fl(rd4, odd, FL_AC), rt_exc.flags & FL_AC), FL_AC);
	wr_cr0(rd_cr0() & ~CR0_AM);
	check("ac.am-clear", rt_user_fl(rd4, odd, FL_AC), NONE);
	check("ac.movups", rt_user_fl(sse_load, buf, FL_AC), NONE);
}

void test_main(void)
{
	msrs();
	cpuids();
	controls();
	umip();
	io_map();
	alignment();
}
