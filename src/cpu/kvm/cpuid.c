/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID under KVM: the model's, as every engine shows it; and which of its features
 * KVM can give. KVM itself keeps what changes while the guest runs (OSXSAVE, APIC,
 * the size of the XSAVE area).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/kvm/kvm_priv.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/x86.h"

enum { EAX, EBX, ECX, EDX };

struct where {
	uint8_t feature, reg, bit;
	uint32_t leaf, sub;
};
#define W(f, leaf, sub, reg, bit) { X86_F_##f, reg, bit, leaf, sub }

/* Where KVM says that it can give a feature. */
static const struct where where[] = {
	W(SSE3, 1, 0, ECX, 0), W(PCLMUL, 1, 0, ECX, 1), W(SSSE3, 1, 0, ECX, 9),
	W(FMA, 1, 0, ECX, 12), W(CX16, 1, 0, ECX, 13), W(PCID, 1, 0, ECX, 17),
	W(SSE4_1, 1, 0, ECX, 19), W(SSE4_2, 1, 0, ECX, 20), W(MOVBE, 1, 0, ECX, 22),
	W(POPCNT, 1, 0, ECX, 23), W(AES, 1, 0, ECX, 25), W(XSAVE, 1, 0, ECX, 26),
	W(AVX, 1, 0, ECX, 28), W(F16C, 1, 0, ECX, 29), W(RDRAND, 1, 0, ECX, 30),
	W(FSGSBASE, 7, 0, EBX, 0), W(TSC_ADJUST, 7, 0, EBX, 1), W(BMI1, 7, 0, EBX, 3),
	W(AVX2, 7, 0, EBX, 5), W(SMEP, 7, 0, EBX, 7), W(BMI2, 7, 0, EBX, 8),
	W(ERMS, 7, 0, EBX, 9), W(INVPCID, 7, 0, EBX, 10), W(RDSEED, 7, 0, EBX, 18),
	W(ADX, 7, 0, EBX, 19), W(SMAP, 7, 0, EBX, 20), W(CLFLUSHOPT, 7, 0, EBX, 23),
	W(CLWB, 7, 0, EBX, 24), W(SHA, 7, 0, EBX, 29), W(UMIP, 7, 0, ECX, 2),
	W(VAES, 7, 0, ECX, 9), W(VPCLMUL, 7, 0, ECX, 10), W(RDPID, 7, 0, ECX, 22),
	W(FSRM, 7, 0, EDX, 4), W(XSAVEOPT, 0xd, 1, EAX, 0), W(XSAVEC, 0xd, 1, EAX, 1),
	W(XGETBV1, 0xd, 1, EAX, 2), W(XSAVES, 0xd, 1, EAX, 3),
	W(LAHF_LM, 0x80000001u, 0, ECX, 0), W(LZCNT, 0x80000001u, 0, ECX, 5),
	W(PREFETCHW, 0x80000001u, 0, ECX, 8), W(NX, 0x80000001u, 0, EDX, 20),
	W(PDPE1GB, 0x80000001u, 0, EDX, 26), W(RDTSCP, 0x80000001u, 0, EDX, 27),
};

int kvm_features(int sys_fd, uint64_t *features, struct err *err)
{
	const unsigned max = 256;
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + max * sizeof(c->entries[0]));
	int ret;

	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	c->nent = max;
	ret = kvm_ioctl(sys_fd, KVM_GET_SUPPORTED_CPUID, c);
	/* The APIC's, and what an APIC in user space does, do not depend on KVM. */
	*features = 1ull << X86_F_BASE | 1ull << X86_F_X2APIC | 1ull << X86_F_TSC_DEADLINE;
	for (unsigned n = 0; ret == 0 && n < c->nent; n++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[n];
		const uint32_t r[4] = { e->eax, e->ebx, e->ecx, e->edx };

		for (size_t i = 0; i < array_size(where); i++)
			if (where[i].leaf == e->function && where[i].sub == e->index &&
			    (r[where[i].reg] >> where[i].bit & 1))
				*features |= 1ull << where[i].feature;
	}
	free(c);
	return ret < 0 ? err_set(err, ret, "KVM does not say which CPU features it has: %s",
				 strerror(-ret)) : 0;
}

static void add(struct x86_cpu *x, struct kvm_cpuid2 *c, uint32_t leaf, uint32_t sub,
		uint32_t flags)
{
	struct kvm_cpuid_entry2 *e = &c->entries[c->nent];
	uint32_t r[4];

	if (c->nent == KVM_CPUID_MAX)
		return;
	x86_cpuid(x, leaf, sub, r);
	*e = (struct kvm_cpuid_entry2){ .function = leaf, .index = sub, .flags = flags,
					.eax = r[EAX], .ebx = r[EBX], .ecx = r[ECX],
					.edx = r[EDX] };
	c->nent++;
}

/* Leaves that look at ECX, and how many of their subleaves say anything. */
static unsigned subleaves(uint32_t leaf)
{
	switch (leaf) {
	case 4: case 0x8000001du: return 5;
	case 0xb: return 3;
	case 0xd: return 3;
	case 7: return 2;
	default: return 0;
	}
}

static void add_range(struct x86_cpu *x, struct kvm_cpuid2 *c, uint32_t first)
{
	uint32_t r[4], last;

	x86_cpuid(x, first, 0, r);
	last = min_of(r[EAX], first + 0x2f);
	for (uint32_t leaf = first; leaf <= last; leaf++) {
		unsigned n = subleaves(leaf);

		for (unsigned sub = 0; sub < n; sub++)
			add(x, c, leaf, sub, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
		if (!n)
			add(x, c, leaf, 0, 0);
	}
}

int kvm_cpuid_load(struct kvm_vcpu *k, struct err *err)
{
	struct kvm_cpuid2 *c;
	int ret;

	if (k->cpuid_set)
		return 0;
	c = calloc(1, sizeof(*c) + KVM_CPUID_MAX * sizeof(c->entries[0]));
	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	add_range(k->v->x86, c, 0);
	add_range(k->v->x86, c, X86_KVM_BASE);
	add_range(k->v->x86, c, 0x80000000u);
	ret = kvm_ioctl(k->fd, KVM_SET_CPUID2, c);
	free(c);
	k->cpuid_set = ret == 0;
	return ret < 0 ? err_set(err, ret, "KVM does not take the CPU model: %s", strerror(-ret))
		       : 0;
}
