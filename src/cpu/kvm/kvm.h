/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine that runs guests on Linux's KVM; docs/kvm.md. */
#ifndef BOTHY_CPU_KVM_KVM_H
#define BOTHY_CPU_KVM_KVM_H

#include "src/cpu/cpu.h"

extern const struct engine_desc kvm_engine;

/* What the self-test found out about this host's KVM. */
enum kvm_verdict {
	KVM_GOOD,      /* hardware: use it */
	KVM_ABSENT,    /* no /dev/kvm */
	KVM_FORBIDDEN, /* no permission */
	KVM_OLD,       /* lacks what the engine needs */
	KVM_EMULATING, /* there is no hardware behind it: the translator is faster */
	KVM_WRONG,     /* a guest does not compute what it must */
};

struct kvm_report {
	enum kvm_verdict verdict;
	char technique[32]; /* "VT-x", "AMD-V", "paravirtual", "none" */
	char why[256];      /* one sentence; "" when good */
	char advice[256];   /* what to do about it, or "" */
	/* Of the self-test's guest; 0: not measured. */
	uint64_t ring0_ips;
	bool syscall_ok, paging_ok, cmpxchg16b_ok;
};

/* Runs the self-test, or takes its verdict from the user's cache when the kernel was
 * not started since. @fresh: always runs it. */
void kvm_probe(struct kvm_report *r, bool fresh);

const char *kvm_verdict_name(enum kvm_verdict v); /* "good", "absent" ... */

/*
 * Which pages the guest wrote: switched on, then asked for again and again. Only
 * while the engine is KVM. @fn gets the page's index in the backing store (mem.h);
 * KVM may name pages that were not written, never fewer.
 */
enum kvm_dirty { KVM_DIRTY_OFF, KVM_DIRTY_BITMAP, KVM_DIRTY_RING };
int must_check kvm_dirty_set(struct cpus *s, enum kvm_dirty how, struct err *err);
int must_check kvm_dirty_collect(struct cpus *s, void (*fn)(void *opaque, uint64_t page),
				 void *opaque, struct err *err);

#endif
