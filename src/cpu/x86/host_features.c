/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this host's CPU can do for a guest: CPUID and XGETBV (SDM vol. 1, 14.3). */
#include "src/cpu/x86/host_features.h"

#include <cpuid.h>

enum cpuid_word { W_1_ECX, W_7_EBX, W_7_ECX, W_NONE };

static uint32_t cpuid_word(enum cpuid_word w)
{
	uint32_t a = 0, b = 0, c = 0, d = 0;

	if (w == W_1_ECX)
		return __get_cpuid(1, &a, &b, &c, &d) ? c : 0;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return 0;
	return w == W_7_EBX ? b : c;
}

bool x86_host_has_xsave(void) { return cpuid_word(W_1_ECX) & bit_OSXSAVE; }

/* The operating system saves XMM and upper YMM state. */
static bool host_saves_ymm(void)
{
	uint32_t lo, hi;

	if (!x86_host_has_xsave())
		return false;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (lo & 6) == 6;
}

bool x86_host_has(enum x86_feature f)
{
	static const struct {
		enum x86_feature f;
		enum cpuid_word word;
		uint32_t mask;
		bool ymm;
	} needs[] = {
		{ X86_F_SSE3, W_1_ECX, bit_SSE3, false },
		{ X86_F_SSSE3, W_1_ECX, bit_SSSE3, false },
		{ X86_F_SSE4_1, W_1_ECX, bit_SSE4_1, false },
		{ X86_F_SSE4_2, W_1_ECX, bit_SSE4_2, false },
		{ X86_F_AES, W_1_ECX, bit_AES, false },
		{ X86_F_PCLMUL, W_1_ECX, bit_PCLMUL, false },
		{ X86_F_SHA, W_7_EBX, bit_SHA, false },
		{ X86_F_AVX, W_1_ECX, bit_AVX, true },
		{ X86_F_AVX2, W_7_EBX, bit_AVX2, true },
		{ X86_F_FMA, W_1_ECX, bit_FMA, true },
		{ X86_F_F16C, W_1_ECX, bit_F16C, true },
		{ X86_F_VAES, W_7_ECX, bit_VAES, true },
		{ X86_F_VPCLMUL, W_7_ECX, bit_VPCLMULQDQ, true },
	};

	for (size_t k = 0; k < sizeof(needs) / sizeof(needs[0]); k++)
		if (needs[k].f == f)
			return (cpuid_word(needs[k].word) & needs[k].mask) &&
			       (!needs[k].ymm || host_saves_ymm());
	return true;
}
