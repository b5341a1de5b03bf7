/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/host_features.h"

#define BIT(f) (1ull << (X86_F_##f % 64))
_Static_assert(X86_NFEATURES <= 64, "models list their features in one word");

/* What every 64-bit processor has, with an APIC of ours. */
#define LEVEL1 (BIT(BASE) | BIT(NX) | BIT(X2APIC) | BIT(TSC_DEADLINE) | BIT(TSC_ADJUST))
/* The levels of the x86-64 psABI, 3.1.1, and of what is the system's business that which
 * both vendors' processors of that level have: a machine is to run on, and move between,
 * hosts that have the level. (PCID came with AMD's Zen 3, SMAP and PREFETCHW with Intel's
 * Broadwell, ERMS with Zen 3.) */
#define LEVEL2                                                                                    \
	(LEVEL1 | BIT(RDTSCP) | BIT(CX16) | BIT(LAHF_LM) | BIT(POPCNT) | BIT(SSE3) |              \
	 BIT(SSSE3) | BIT(SSE4_1) | BIT(SSE4_2))
#define LEVEL3                                                                                    \
	(LEVEL2 | BIT(AVX) | BIT(AVX2) | BIT(BMI1) | BIT(BMI2) | BIT(F16C) | BIT(FMA) |          \
	 BIT(LZCNT) | BIT(MOVBE) | BIT(XSAVE) | BIT(PDPE1GB) | BIT(SMEP) | BIT(FSGSBASE))
/* Never offered: nothing watches memory for MWAIT. */
#define WITHHELD (BIT(NEVER) | BIT(MONITOR))

static const struct cpu_model models[] = {
	{ "host", "everything that this host's CPU and bothy can do together", true, { ~0ull } },
	{ "x86-64-v1", "x86-64-v1: what every 64-bit CPU has (2003 and later)", false, { LEVEL1 } },
	{ "x86-64-v2", "x86-64-v2: up to SSE4.2 (2009 and later)", false, { LEVEL2 } },
	{ "x86-64-v3", "x86-64-v3: with AVX2, BMI and FMA (2015 and later)", false, { LEVEL3 } },
};

const struct cpu_model *cpu_model_list(size_t *count)
{
	*count = array_size(models);
	return models;
}

const struct cpu_model *cpu_model_default(void)
{
	return &models[0];
}

const struct cpu_model *cpu_model_lookup(const char *name, struct err *err)
{
	char known[128] = "";

	if (!name)
		return cpu_model_default();
	for (size_t n = 0; n < array_size(models); n++) {
		size_t used = strlen(known);

		if (strcmp(models[n].name, name) == 0)
			return &models[n];
		snprintf(known + used, sizeof(known) - used, "%s%s", n ? ", " : "", models[n].name);
	}
	err_set(err, -ENOENT, "there is no CPU model \"%s\"; there are: %s", name, known);
	return NULL;
}

const char *x86_feature_name(unsigned f)
{
	static const char *const names[] = {
#define X86_FEATURE(name, text) text,
#include "src/cpu/x86/features.def"
#undef X86_FEATURE
	};

	return f < array_size(names) ? names[f] : NULL;
}

/* What makes no sense without another feature. */
static uint64_t prune(uint64_t f)
{
	static const struct { uint64_t need, drop; } rules[] = {
		{ BIT(XSAVE), BIT(AVX) | BIT(XSAVEOPT) | BIT(XSAVEC) | BIT(XGETBV1) | BIT(XSAVES) },
		{ BIT(XSAVEC), BIT(XSAVES) },
		{ BIT(AVX), BIT(AVX2) | BIT(FMA) | BIT(F16C) | BIT(VAES) | BIT(VPCLMUL) },
		{ BIT(AES), BIT(VAES) },
		{ BIT(PCLMUL), BIT(VPCLMUL) },
		{ BIT(PCID), BIT(INVPCID) },
	};

	for (size_t n = 0; n < array_size(rules); n++)
		if (!(f & rules[n].need))
			f &= ~rules[n].drop;
	return f;
}

int cpu_model_limit(const struct cpu_model *m, struct x86_cpu *c, uint64_t have,
		    struct err *err)
{
	uint64_t lacks = c->features[0] & ~have;
	char list[200] = "";

	if (!lacks)
		return 0;
	if (m->host) {
		c->features[0] = prune(c->features[0] & have);
		return 0;
	}
	for (unsigned n = 0; n < X86_NFEATURES; n++) {
		size_t len = strlen(list);

		if (lacks >> n & 1)
			snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
				 x86_feature_name(n));
	}
	return err_set(err, -ENOTSUP, "the CPU model %s needs what this engine cannot give on this "
		       "host: %s; take --cpu host or a smaller model", m->name, list);
}

void cpu_model_as_saved(const struct cpu_model *m, struct x86_cpu *c, uint64_t had)
{
	if (m->host)
		c->features[0] = prune(c->features[0] & had);
}

static void host_string(char *out, unsigned first_leaf, unsigned leaves)
{
	for (unsigned n = 0; n < leaves; n++) {
		uint32_t r[4];

		__cpuid(first_leaf + n, r[0], r[1], r[2], r[3]);
		memcpy(out + 16 * n, r, 16);
	}
	out[16 * leaves] = '\0';
}

void cpu_model_apply(const struct cpu_model *m, struct x86_cpu *c)
{
	uint32_t max, ext, sig, b, cx, d;
	uint64_t f = 0;

	for (unsigned n = 0; n < X86_NFEATURES; n++)
		if ((m->features[0] >> n & 1) && x86_host_has((enum x86_feature)n))
			f |= 1ull << n;
	c->features[0] = prune(f & ~WITHHELD) | BIT(BASE);

	__cpuid(0, max, b, cx, d);
	memcpy(c->vendor, &b, 4);
	memcpy(c->vendor + 4, &d, 4);
	memcpy(c->vendor + 8, &cx, 4);
	c->vendor[12] = '\0';
	c->amd = strcmp(c->vendor, "AuthenticAMD") == 0 || strcmp(c->vendor, "HygonGenuine") == 0;
	__cpuid(1, sig, b, cx, d);
	c->signature = sig;
	__cpuid(0x80000000u, ext, b, cx, d);
	memset(c->brand, 0, sizeof(c->brand));
	if (m->host && ext >= 0x80000004u)
		host_string(c->brand, 0x80000002u, 3);
	else
		snprintf(c->brand, sizeof(c->brand), "bothy %s processor", m->name);
}
