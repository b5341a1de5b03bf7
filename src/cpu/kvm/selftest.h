/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tiny guest that shows whether KVM does what a processor does, and how fast. */
#ifndef BOTHY_CPU_KVM_SELFTEST_H
#define BOTHY_CPU_KVM_SELFTEST_H

#include "src/cpu/kvm/kvm.h"

/* @sys_fd: /dev/kvm. Fills in what was measured, the verdict and why. Takes at most
 * about a second. */
void kvm_selftest(int sys_fd, struct kvm_report *r);

#endif
