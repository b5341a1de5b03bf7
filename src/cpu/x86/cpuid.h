/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models and what CPUID tells of them.
 *
 * A guest is offered what its model has, the host can compute and this project
 * implements. The vendor is the host's: vector arithmetic is the host's own, and
 * the vendors differ in corners that software may rely on.
 */
#ifndef BOTHY_CPU_X86_CPUID_H
#define BOTHY_CPU_X86_CPUID_H

#include <stddef.h>

#include "src/base/err.h"
#include "src/cpu/x86/x86.h"

struct cpu_model {
	const char *name;  /* as in --cpu NAME */
	const char *title; /* one line for people */
	bool host;         /* everything, with the host's brand string */
	uint64_t features[(X86_NFEATURES + 63) / 64];
};

/* NULL, with the names there are in @err, where there is no such model. A NULL
 * name is the default. */
const struct cpu_model *cpu_model_lookup(const char *name, struct err *err);
const struct cpu_model *cpu_model_default(void);
/* Every model, for listings; *count of them. */
const struct cpu_model *cpu_model_list(size_t *count);

/* Sets @c's features and identity. Before it runs. */
void cpu_model_apply(const struct cpu_model *m, struct x86_cpu *c);

/* Takes away what the engine cannot give: only bits of @have stay. -ENOTSUP where the
 * model promises them. */
int must_check cpu_model_limit(const struct cpu_model *m, struct x86_cpu *c, uint64_t have,
			       struct err *err);
/* The model "host" is whatever the host and the engine had: of a saved machine it becomes
 * what that had, @had. Other models say themselves what they are. */
void cpu_model_as_saved(const struct cpu_model *m, struct x86_cpu *c, uint64_t had);

/* For people: "avx2", or NULL past the last. */
const char *x86_feature_name(unsigned f);

/* CPUID.1:EAX, also in EDX after reset. */
static inline uint32_t x86_signature(const struct x86_cpu *c) { return c->signature; }

#define X86_KVM_BASE 0x40000000u
#define X86_KVM_CLOCKSOURCE 0x1u
#define X86_KVM_NOP_IO_DELAY 0x2u
#define X86_KVM_CLOCKSOURCE2 0x8u
#define X86_KVM_CLOCKSOURCE_STABLE 0x1000000u
/* The clock MSRs and nothing that would need a hypercall. */
#define X86_KVM_FEATURES                                                                          \
	(X86_KVM_CLOCKSOURCE | X86_KVM_NOP_IO_DELAY | X86_KVM_CLOCKSOURCE2 |                     \
	 X86_KVM_CLOCKSOURCE_STABLE)

#endif
