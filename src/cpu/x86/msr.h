/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model-specific registers and the time-stamp counter. */
#ifndef BOTHY_CPU_X86_MSR_H
#define BOTHY_CPU_X86_MSR_H

#include <stdint.h>

#include "src/cpu/x86/x86.h"

/* The host's TSC rate: from CPUID where it says so (15H, a hypervisor's
 * 40000010H), else measured for about 10 ms. Used as the guest's rate. */
uint64_t x86_host_tsc_hz(void);

/* The guest's TSC rate. */
uint64_t x86_tsc_hz(const struct x86_cpu *c);

/* Power-on values of what msr.c keeps. (reset.c calls it) */
void x86_msr_reset(struct x86_cpu *c);

/* MTRRs as firmware leaves them: write-back, uncached video memory and ROMs, and
 * uncached from @hole (the end of RAM below 4 GiB, rounded down to a power of two
 * fraction of 4 GiB) to 4 GiB. For boots without firmware; every CPU. */
void x86_mtrr_firmware(struct x86_cpu *c, uint64_t hole);

/* Paravirtual clock, pvclock.c: MSR writes that place the pages. */
void x86_pvclock_system_time(struct x86_cpu *c, uint64_t msr_val);
void x86_pvclock_wall_clock(struct x86_cpu *c, uint64_t msr_val);
/* Writes the page again: after a restore or a change of the TSC. */
void x86_pvclock_update(struct x86_cpu *c);

/* The TSC moves by @delta for good (IA32_TSC_ADJUST, a write to the TSC). */
void x86_tsc_adjust(struct x86_cpu *c, uint64_t delta);

/* int (*)(): 0 or -EINVAL, parts of x86_rdmsr/x86_wrmsr in msr_mtrr.c; 1: not
 * theirs. */
int x86_mtrr_read(const struct x86_cpu *c, uint32_t msr, uint64_t *val);
int x86_mtrr_write(struct x86_cpu *c, uint32_t msr, uint64_t val);

#endif
