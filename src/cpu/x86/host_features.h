/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this host's CPU can do for a guest. */
#ifndef BOTHY_CPU_X86_HOST_FEATURES_H
#define BOTHY_CPU_X86_HOST_FEATURES_H

#include <stdbool.h>

#include "src/cpu/x86/x86.h"

/*
 * Whether a guest may be offered @f on this host. Operations of the vector
 * extensions run on the host's own CPU (host_stub.h), so that the host must have
 * the extension and its operating system must save the registers; what is done
 * in plain C (or is system state of ours) is always there. Asks CPUID each time:
 * for building a CPU model, not for every instruction. SDM vol. 2, CPUID.
 */
bool x86_host_has(enum x86_feature f);

/* Are XSAVE and XRSTOR there for programs? (CPUID.1:ECX.OSXSAVE) */
bool x86_host_has_xsave(void);

#endif
