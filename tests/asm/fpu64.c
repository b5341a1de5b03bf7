/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When x87, SSE and AVX may run (CR0, CR4, XCR0), unmasked x87 and SIMD
 * exceptions, FXSAVE and XSAVE. SDM vol. 3, chapter 2 and 13; vol. 1, 8.6, 13. */
#include "tests/asm/rt.h"

extern char f_wait[], f_fadd[], f_div[];
static u8 area[4096] __attribute__((aligned(64)));
static const float one = 1, zero = 0;
static const double dzero = 0, done_ = 1;

CASE static void x87(void *a) { asm volatile("fld1; fstp %st(0)"); }
CASE static void mmx(void *a) { asm volatile("pxor %mm0, %mm0; emms"); }
CASE static void sse(void *a) { asm volatile("xorps %xmm0, %xmm0"); }
CASE static void sse2(void *a) { asm volatile("paddd %xmm0, %xmm0"); }
CASE static void avx(void *a) { asm volatile("vxorps %ymm0, %ymm0, %ymm0"); }
CASE static void avx128(void *a) { asm volatile("vxorps %xmm0, %xmm0, %xmm0"); }
CASE static void fwait(void *a) { asm volatile("fwait"); }
CASE static void ldmxcsr_bad(void *a) { asm volatile("ldmxcsr %0" :: "m"((u32){ 0x80001f80 })); }
CASE static void movaps_off(void *a) { asm volatile("movaps (%0), %%xmm0" :: "r"(area + 8)); }
CASE static void paddd_off(void *a) { asm volatile("paddd (%0), %%xmm0" :: "r"(area + 8)); }
CASE static void vpaddd_off(void *a) { asm volatile("vpaddd (%0), %%xmm0, %%xmm0" :: "r"(area + 8)); }
CASE static void vmovaps_off(void *a) { asm volatile("vmovaps (%0), %%ymm0" :: "r"(area + 16)); }
CASE static void fxsave(void *a) { asm volatile("fxsave64 (%0)" :: "r"(a) : "memory"); }
CASE static void fxrstor(void *a) { asm volatile("fxrstor64 (%0)" :: "r"(a)); }
CASE static void xsave(void *a) { asm volatile("xsave64 (%0)" :: "r"(a), "a"(7), "d"(0) : "memory"); }
CASE static void xrstor(void *a) { asm volatile("xrstor64 (%0)" :: "r"(a), "a"(7), "d"(0)); }
CASE static void xgetbv(void *a)
{
	asm volatile("xgetbv" :: "c"((u32)(ulong)a) : "rax", "rdx");
}
static void set_xcr0(u64 v)
{
	asm volatile("xsetbv" :: "c"(0), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
CASE static void xsetbv(void *a) { set_xcr0((ulong)a); }
CASE static void simd_div(void *a)
{
	asm volatile("movss %0, %%xmm0; f_div: divss %1, %%xmm0" :: "m"(one), "m"(zero));
}
CASE static void x87_div(void *a)
{
	asm volatile("fldl %0; fdivl %1; f_wait: fwait; fstp %%st(0)" :: "m"(done_), "m"(dzero));
}
CASE static void x87_div_fld(void *a)
{
	asm volatile("fldl %0; fdivl %1; fnop" :: "m"(done_), "m"(dzero));
}
CASE static void x87_noctl(void *a)
{
	asm volatile("fldl %0; fdivl %1; fnstsw %%ax; fnstcw %2; fnclex; fstp %%st(0)"
		     :: "m"(done_), "m"(dzero), "m"(*area) : "rax", "memory");
}

static void availability(void)
{
	ulong cr0 = rd_cr0(), cr4 = rd_cr4();

	check("on.x87", rt_try(x87, 0), NONE);
	check("on.sse", rt_try(sse, 0), NONE);
	wr_cr0(cr0 | CR0_TS);
	check_exc("ts.x87", rt_try(x87, 0), NM, 0);
	check_exc("ts.mmx", rt_try(mmx, 0), NM, 0);
	check_exc("ts.sse", rt_try(sse2, 0), NM, 0);
	check_exc("ts.fwait", rt_try(fwait, 0), NM, 0);
	check_exc("ts.fxsave", rt_try(fxsave, area), NM, 0);
	wr_cr0((cr0 | CR0_TS) & ~CR0_MP);
	check("ts.fwait-without-mp", rt_try(fwait, 0), NONE);
	asm volatile("clts");
	check("clts", rd_cr0() & CR0_TS, 0);
	wr_cr0((cr0 | CR0_EM) & ~CR0_MP);
	check_exc("em.x87", rt_try(x87, 0), NM, 0);
	check_exc("em.mmx", rt_try(mmx, 0), UD, 0);
	check_exc("em.sse", rt_try(sse, 0), UD, 0);
	wr_cr0(cr0);
	wr_cr4(cr4 & ~CR4_OSFXSR);
	check_exc("osfxsr.sse", rt_try(sse, 0), UD, 0);
	check_exc("osfxsr.sse2", rt_try(sse2, 0), UD, 0);
	check("osfxsr.x87", rt_try(x87, 0), NONE);
	check("osfxsr.mmx", rt_try(mmx, 0), NONE);
	wr_cr4(cr4);
}

static void avx_state(void)
{
	if (!(cpuid(1, 0).c >> 26 & 1)) {
		check_exc("xsave.absent", rt_try(xsave, area), UD, 0);
		return;
	}
	check("osxsave.cpuid-clear", cpuid(1, 0).c >> 27 & 1, 0);
	check_exc("osxsave.xgetbv", rt_try(xgetbv, 0), UD, 0);
	check_exc("osxsave.xsave", rt_try(xsave, area), UD, 0);
	check_exc("osxsave.avx", rt_try(avx, 0), UD, 0);
	wr_cr4(rd_cr4() | CR4_OSXSAVE);
	check("osxsave.cpuid", cpuid(1, 0).c >> 27 & 1, 1);
	check_exc("xcr0.1-avx", rt_try(avx, 0), UD, 0);
	check_exc("xcr0.clear-x87", rt_try(xsetbv, (void *)2), GP, 0);
	check_exc("xcr0.avx-without-sse", rt_try(xsetbv, (void *)5), GP, 0);
	check_exc("xcr0.reserved", rt_try(xsetbv, (void *)(1ul << 62 | 3)), GP, 0);
	check_exc("xcr0.user", rt_user(xsetbv, (void *)3), GP, 0);
	check_exc("xgetbv.index", rt_try(xgetbv, (void *)7), GP, 0);
	if (!(cpuid(1, 0).c >> 28 & 1))
		return;
	set_xcr0(3);
	check_exc("xcr0.3-avx", rt_try(avx, 0), UD, 0);
	check_exc("xcr0.3-avx128", rt_try(avx128, 0), UD, 0);
	set_xcr0(7);
	check("xcr0.7-avx", rt_try(avx, 0), NONE);
	wr_cr0(rd_cr0() | CR0_TS);
	check_exc("ts.avx", rt_try(avx, 0), NM, 0);
	asm volatile("clts");
	check("cpuid.d.size", cpuid(0xd, 0).b, 576 + 256);
	check("cpuid.d.avx-size", cpuid(0xd, 2).a, 256);
	check("cpuid.d.avx-offset", cpuid(0xd, 2).b, 576);
}

static void alignment(void)
{
	check_exc("align.movaps", rt_try(movaps_off, 0), GP, 0);
	check_exc("align.paddd", rt_try(paddd_off, 0), GP, 0);
	check_exc("align.fxsave", rt_try(fxsave, area + 8), GP, 0);
	if (rd_cr4() & CR4_OSXSAVE) {
		if (cpuid(1, 0).c >> 28 & 1) {
			check("align.vpaddd", rt_try(vpaddd_off, 0), NONE);
			check_exc_hw("align.vmovaps", rt_try(vmovaps_off, 0), GP, 0);
		}
		check_exc("align.xsave", rt_try(xsave, area + 16), GP, 0);
	}
}

static void exceptions(void)
{
	u32 mxcsr = 0x1f80 & ~0x200; /* divide by zero unmasked */
	u16 cw = 0x37f & ~4;

	asm volatile("ldmxcsr %0" :: "m"(mxcsr));
	check_exc_hw("xm.div", rt_try(simd_div, 0), XM, 0);
	if (!rt_is_tcg)
		check("xm.ip", rt_exc.ip, (ulong)f_div);
	asm volatile("stmxcsr %0" : "=m"(mxcsr));
	check("xm.flag", mxcsr & 0x3f, 4);
	wr_cr4(rd_cr4() & ~CR4_OSXMMEXCPT);
	check_exc_hw("xm.ud-without-cr4", rt_try(simd_div, 0), UD, 0);
	wr_cr4(rd_cr4() | CR4_OSXMMEXCPT);
	mxcsr = 0x1f80;
	asm volatile("ldmxcsr %0" :: "m"(mxcsr));
	check("xm.masked", rt_try(simd_div, 0), NONE);
	check_exc_hw("mxcsr.reserved", rt_try(ldmxcsr_bad, 0), GP, 0);
	asm volatile("fninit; fldcw %0" :: "m"(cw));
	check_exc_at("mf.fwait", rt_try(x87_div, 0), MF, 0, f_wait);
	asm volatile("fnclex; fninit; fldcw %0" :: "m"(cw));
	check_exc("mf.next", rt_try(x87_div_fld, 0), MF, 0);
	asm volatile("fnclex; fninit; fldcw %0" :: "m"(cw));
	check("mf.no-wait-forms", rt_try(x87_noctl, 0), NONE);
	/* CR0.NE clear: the legacy way through FERR#; the CPU raises no #MF. */
	asm volatile("fninit");
}

static void images(void)
{
	u16 cw = 0x27f;
	u32 mxcsr = 0x9fc0;
	u64 v[2] = { 0x1122334455667788, 0x99aabbccddeeff00 }, got[2];

	memset(area, 0xee, sizeof(area));
	asm volatile("fninit; fldcw %0; fld1; fldpi; ldmxcsr %1; movdqu %2, %%xmm9"
		     :: "m"(cw), "m"(mxcsr), "m"(v));
	fxsave(area);
	check("fx.cw", *(u16 *)area, 0x27f);
	check("fx.top", *(u16 *)(area + 2) >> 11 & 7, 6);
	check("fx.tag", area[4], 0xc0);
	check("fx.mxcsr", rd32(area + 24), 0x9fc0);
	check("fx.mask", rd32(area + 28) & 0xffbf, 0xffbf);
	check("fx.st0", rd64(area + 32), 0xc90fdaa22168c235);
	check("fx.st0-exp", *(u16 *)(area + 40), 0x4000);
	check("fx.st1", rd64(area + 48), 0x8000000000000000);
	check("fx.xmm9", rd64(area + 160 + 9 * 16 + 8), v[1]);
	check("fx.unused-left", rd64(area + 464), 0xeeeeeeeeeeeeeeee);
	asm volatile("fninit; pxor %xmm9, %xmm9");
	fxrstor(area);
	asm volatile("movdqu %%xmm9, %0; fnstcw %1; stmxcsr %2" : "=m"(got), "=m"(cw), "=m"(mxcsr));
	check("fxr.xmm9", got[0] == v[0] && got[1] == v[1], 1);
	check("fxr.cw", cw, 0x27f);
	check("fxr.mxcsr", mxcsr, 0x9fc0);
	wr32(area + 24, 0x10000);
	check_exc_hw("fxr.mxcsr-reserved", rt_try(fxrstor, area), GP, 0);
	mxcsr = 0x1f80;
	asm volatile("ldmxcsr %0; fninit" :: "m"(mxcsr));
}

static void xsave_images(void)
{
	static const u8 pattern[32] = "0123456789abcdefghijklmnopqrstuv";
	u8 got[32];

	if (!(rd_cr4() & CR4_OSXSAVE) || !(cpuid(1, 0).c >> 28 & 1)) {
		check_skip("xsave", "not offered");
		return;
	}
	memset(area, 0, sizeof(area));
	asm volatile("vmovdqu %0, %%ymm11" :: "m"(pattern));
	xsave(area);
	check("xsave.bv", rd64(area + 512) & 4, 4);
	check("xsave.ymm11-low", memcmp(area + 160 + 11 * 16, pattern, 16), 0);
	check("xsave.ymm11-high", memcmp(area + 576 + 11 * 16, pattern + 16, 16), 0);
	asm volatile("vzeroall");
	xrstor(area);
	asm volatile("vmovdqu %%ymm11, %0" : "=m"(got));
	check("xrstor.ymm11", memcmp(got, pattern, 32), 0);
	/* A component absent from XSTATE_BV goes to its initial state. */
	*(volatile u64 *)(area + 512) &= ~4ull;
	xrstor(area);
	asm volatile("vmovdqu %%ymm11, %0" : "=m"(got));
	check("xrstor.init-high", got[16] | got[31], 0);
	check("xrstor.low-kept", memcmp(got, pattern, 16), 0);
	*(volatile u64 *)(area + 512) |= 1ull << 40;
	check_exc("xrstor.bv-reserved", rt_try(xrstor, area), GP, 0);
	*(volatile u64 *)(area + 512) = 7;
	*(volatile u64 *)(area + 520 + 8) = 1; /* header bytes 16-63 must be zero */
	check_exc_hw("xrstor.header", rt_try(xrstor, area), GP, 0);
}

void test_main(void)
{
	availability();
	avx_state();
	alignment();
	exceptions();
	images();
	xsave_images();
}
