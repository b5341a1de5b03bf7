/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID. Sources: SDM vol. 2, CPUID; AMD APM vol. 3, appendix E; for
 * 0x40000000.. the Linux kernel's Documentation/virt/kvm/x86/cpuid.rst.
 *
 * Topology: one package with a core for every vCPU, one thread each; the APIC ID
 * is the vCPU's index.
 */
#include "src/cpu/x86/cpuid.h"

#include <string.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic.h"

#define MAX_BASIC 0xdu
#define MAX_EXT_INTEL 0x80000008u
#define MAX_EXT_AMD 0x80000021u

enum { EAX, EBX, ECX, EDX };

struct bit {
	uint8_t reg, bit, feature;
};

static void set_bits(const struct x86_cpu *c, const struct bit *b, size_t n, uint32_t out[4])
{
	for (size_t k = 0; k < n; k++)
		if (x86_has(c, (enum x86_feature)b[k].feature))
			out[b[k].reg] |= 1u << b[k].bit;
}
#define SET_BITS(c, table, out) set_bits(c, table, array_size(table), out)
#define B(reg, bit, f) { reg, bit, X86_F_##f }

static unsigned count_of(const struct x86_cpu *c)
{
	return c->cpus ? c->cpus->count : 1;
}

/* Bits that an APIC ID needs for @n cores. */
static unsigned id_bits(unsigned n)
{
	unsigned bits = 0;

	while (1u << bits < n)
		bits++;
	return bits;
}

/* Leaf 1 EDX, also the base of AMD's 80000001 EDX. FPU VME DE PSE TSC MSR PAE MCE
 * CX8 SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2. */
#define LEAF1_EDX 0x078bf9ffu
#define EDX_APIC 0x200u
#define EDX_HTT 0x10000000u
#define EDX_AMD_SHARED 0x0183f3ffu

static uint32_t leaf1_edx(struct x86_cpu *c)
{
	uint64_t base = 0x800;

	if (c->apic && apic_msr_read(c->apic, 0x1b, &base) != 0)
		base = 0x800;
	return LEAF1_EDX | (base & 0x800 ? EDX_APIC : 0) | (count_of(c) > 1 ? EDX_HTT : 0);
}

static void leaf_1(struct x86_cpu *c, uint32_t out[4])
{
	static const struct bit bits[] = {
		B(ECX, 0, SSE3),    B(ECX, 1, PCLMUL),	B(ECX, 3, MONITOR), B(ECX, 9, SSSE3),
		B(ECX, 12, FMA),    B(ECX, 13, CX16),	B(ECX, 17, PCID),   B(ECX, 19, SSE4_1),
		B(ECX, 20, SSE4_2), B(ECX, 21, X2APIC), B(ECX, 22, MOVBE),  B(ECX, 23, POPCNT),
		B(ECX, 24, TSC_DEADLINE), B(ECX, 25, AES), B(ECX, 26, XSAVE), B(ECX, 28, AVX),
		B(ECX, 29, F16C),   B(ECX, 30, RDRAND),
	};
	unsigned logical = 1u << id_bits(count_of(c));

	out[EAX] = c->signature;
	out[EBX] = 8u << 8 | (logical > 255 ? 255u : logical) << 16 | c->index << 24;
	SET_BITS(c, bits, out);
	out[ECX] |= 1u << 31; /* hypervisor present */
	if (c->cr4 & X86_CR4_OSXSAVE)
		out[ECX] |= 1u << 27;
	out[EDX] = leaf1_edx(c);
}

/* The caches that Intel's leaf 4 and AMD's 8000001D describe; the geometry is
 * ours, guests use it to pick block sizes. */
struct cache {
	uint8_t type, level, ways;
	uint16_t sets;
	bool shared; /* by every core, else one core's own */
};
static const struct cache caches[] = {
	{ 1, 1, 8, 64, false },	    /* data, 32 KiB */
	{ 2, 1, 8, 64, false },	    /* instructions, 32 KiB */
	{ 3, 2, 16, 2048, false },  /* 2 MiB */
	{ 3, 3, 16, 16384, true },  /* 16 MiB */
};

static void leaf_cache(const struct x86_cpu *c, uint32_t subleaf, uint32_t out[4])
{
	unsigned ids = 1u << id_bits(count_of(c));
	const struct cache *k;

	if (subleaf >= array_size(caches))
		return;
	k = &caches[subleaf];
	out[EAX] = k->type | (uint32_t)k->level << 5 | 1u << 8 | (k->shared ? (ids - 1) << 14 : 0);
	if (!c->amd)
		out[EAX] |= (ids > 64 ? 63 : ids - 1) << 26;
	out[EBX] = 63 | (uint32_t)(k->ways - 1) << 22;
	out[ECX] = k->sets - 1u;
}

static void leaf_7(const struct x86_cpu *c, uint32_t subleaf, uint32_t out[4])
{
	static const struct bit bits[] = {
		B(EBX, 0, FSGSBASE), B(EBX, 1, TSC_ADJUST), B(EBX, 3, BMI1), B(EBX, 5, AVX2),
		B(EBX, 7, SMEP),     B(EBX, 8, BMI2),	    B(EBX, 9, ERMS), B(EBX, 10, INVPCID),
		B(EBX, 18, RDSEED),  B(EBX, 19, ADX),	    B(EBX, 20, SMAP),
		B(EBX, 23, CLFLUSHOPT), B(EBX, 24, CLWB),   B(EBX, 29, SHA),
		B(ECX, 2, UMIP),     B(ECX, 9, VAES),	    B(ECX, 10, VPCLMUL),
		B(ECX, 22, RDPID),   B(EDX, 4, FSRM),
	};

	if (subleaf != 0)
		return;
	SET_BITS(c, bits, out);
	out[EBX] |= 1u << 13; /* FCS and FDS are saved as zero */
	if (!c->amd)
		out[EDX] |= 1u << 29; /* IA32_ARCH_CAPABILITIES */
}

static void leaf_b(const struct x86_cpu *c, uint32_t subleaf, uint32_t out[4])
{
	out[ECX] = subleaf & 0xff;
	out[EDX] = c->index;
	if (subleaf == 0) {
		out[EAX] = 0;
		out[EBX] = 1;
		out[ECX] |= 1u << 8; /* threads of a core */
	} else if (subleaf == 1) {
		out[EAX] = id_bits(count_of(c));
		out[EBX] = count_of(c);
		out[ECX] |= 2u << 8; /* cores of the package */
	}
}

#define XSAVE_LEGACY 576u /* with the header */
#define XSAVE_AVX 256u

static void leaf_d(const struct x86_cpu *c, uint32_t subleaf, uint32_t out[4])
{
	static const struct bit bits[] = {
		B(EAX, 0, XSAVEOPT), B(EAX, 1, XSAVEC), B(EAX, 2, XGETBV1), B(EAX, 3, XSAVES),
	};
	bool avx = x86_has(c, X86_F_AVX);
	uint32_t now = XSAVE_LEGACY + (c->xcr0 & 4 ? XSAVE_AVX : 0);

	if (!x86_has(c, X86_F_XSAVE))
		return;
	switch (subleaf) {
	case 0:
		out[EAX] = avx ? 7 : 3;
		out[EBX] = now;
		out[ECX] = XSAVE_LEGACY + (avx ? XSAVE_AVX : 0);
		break;
	case 1:
		SET_BITS(c, bits, out);
		out[EBX] = x86_has(c, X86_F_XSAVEC) ? now : 0;
		break;
	case 2:
		if (avx) {
			out[EAX] = XSAVE_AVX;
			out[EBX] = XSAVE_LEGACY;
		}
		break;
	}
}

static void leaf_kvm(const struct x86_cpu *c, uint32_t leaf, uint32_t out[4])
{
	switch (leaf) {
	case X86_KVM_BASE:
		out[EAX] = X86_KVM_BASE + 1;
		memcpy(&out[EBX], "KVMKVMKVM\0\0\0", 12);
		break;
	case X86_KVM_BASE + 1:
		out[EAX] = X86_KVM_FEATURES;
		break;
	}
}

static void leaf_ext1(struct x86_cpu *c, uint32_t out[4])
{
	static const struct bit bits[] = {
		B(ECX, 0, LAHF_LM), B(ECX, 5, LZCNT),	 B(ECX, 8, PREFETCHW), B(EDX, 11, BASE),
		B(EDX, 20, NX),	    B(EDX, 26, PDPE1GB), B(EDX, 27, RDTSCP),   B(EDX, 29, BASE),
	};

	SET_BITS(c, bits, out);
	if (!c->amd)
		return;
	out[EAX] = c->signature;
	out[ECX] |= 1u << 22; /* 8000001D and 8000001E */
	if (count_of(c) > 1)
		out[ECX] |= 1u << 1; /* cores, not threads */
	/* AMD repeats leaf 1; MMX extensions are a part of SSE. */
	out[EDX] |= (leaf1_edx(c) & EDX_AMD_SHARED) | 1u << 22;
}

static void leaf_ext_cache(const struct x86_cpu *c, uint32_t leaf, uint32_t out[4])
{
	if (leaf == 0x80000005u && c->amd) {
		out[EAX] = out[EBX] = 0xff40ff40u; /* TLBs: 64 entries, fully associative */
		out[ECX] = out[EDX] = 32u << 24 | 8u << 16 | 1u << 8 | 64;
	}
	if (leaf == 0x80000006u) {
		/* L2: 2 MiB, 16 ways (code 8); L3: 16 MiB in half-megabytes. */
		out[ECX] = 2048u << 16 | 8u << 12 | 1u << 8 | 64;
		if (c->amd) {
			out[EAX] = out[EBX] = 0x42004200u;
			out[EDX] = 32u << 18 | 8u << 12 | 1u << 8 | 64;
		}
	}
}

static void leaf_ext8(const struct x86_cpu *c, uint32_t out[4])
{
	out[EAX] = (c->mem ? c->mem->phys_bits : 40) | 48u << 8;
	if (!c->amd)
		return;
	out[EBX] = 1u << 2; /* FXSAVE always keeps the x87 error pointers */
	out[ECX] = (count_of(c) - 1) | id_bits(count_of(c)) << 12;
}

static void leaf_ext(struct x86_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	switch (leaf) {
	case 0x80000000u:
		out[EAX] = c->amd ? MAX_EXT_AMD : MAX_EXT_INTEL;
		if (c->amd) {
			memcpy(&out[EBX], c->vendor, 4);
			memcpy(&out[EDX], c->vendor + 4, 4);
			memcpy(&out[ECX], c->vendor + 8, 4);
		}
		break;
	case 0x80000001u: leaf_ext1(c, out); break;
	case 0x80000002u: case 0x80000003u: case 0x80000004u:
		memcpy(out, c->brand + 16 * (leaf - 0x80000002u), 16);
		break;
	case 0x80000005u: case 0x80000006u: leaf_ext_cache(c, leaf, out); break;
	case 0x80000007u: out[EDX] = 1u << 8; break; /* invariant TSC */
	case 0x80000008u: leaf_ext8(c, out); break;
	case 0x8000001du: leaf_cache(c, subleaf, out); break;
	case 0x8000001eu:
		out[EAX] = c->index;
		out[EBX] = c->index; /* core, one thread */
		break;
	case 0x80000021u:
		out[EAX] = 1u << 2 | 1u << 6; /* LFENCE serialises; null selectors clear the base */
		break;
	}
}

static void leaf_basic(struct x86_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	switch (leaf) {
	case 0:
		out[EAX] = MAX_BASIC;
		memcpy(&out[EBX], c->vendor, 4);
		memcpy(&out[EDX], c->vendor + 4, 4);
		memcpy(&out[ECX], c->vendor + 8, 4);
		break;
	case 1: leaf_1(c, out); break;
	case 2:
		if (!c->amd)
			out[EAX] = 0x00feff01u; /* see leaf 4 and the TLB leaf */
		break;
	case 4:
		if (!c->amd)
			leaf_cache(c, subleaf, out);
		break;
	case 6: out[EAX] = 1u << 2; break; /* the APIC timer never stops */
	case 7: leaf_7(c, subleaf, out); break;
	case 0xb: leaf_b(c, subleaf, out); break;
	case 0xd: leaf_d(c, subleaf, out); break;
	}
}

void x86_cpuid(struct x86_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof(out[0]));
	if (leaf >= 0x80000000u && leaf <= (c->amd ? MAX_EXT_AMD : MAX_EXT_INTEL))
		leaf_ext(c, leaf, subleaf, out);
	else if (leaf >> 8 == X86_KVM_BASE >> 8)
		leaf_kvm(c, leaf, out);
	else if (leaf <= MAX_BASIC)
		leaf_basic(c, leaf, subleaf, out);
	else if (!c->amd) /* past the end Intel answers with the last basic leaf */
		leaf_basic(c, MAX_BASIC, subleaf, out);
}
