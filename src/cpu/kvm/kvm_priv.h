/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the KVM engine share. The interface is Linux's
 * Documentation/virt/kvm/api.rst, cited as "api" with the section.
 *
 * Who owns a vCPU's state: struct x86_cpu and the APIC (vcpu->loaded false), or
 * KVM. run() loads when it must, sync() takes it back. What a software engine
 * would not keep in KVM (most MSRs, with user-space interrupt controllers the
 * APIC) is always in struct x86_cpu: the guest's accesses come out of KVM.
 */
#ifndef BOTHY_CPU_KVM_KVM_PRIV_H
#define BOTHY_CPU_KVM_KVM_PRIV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/bus/bus.h"
#include "src/cpu/kvm/kvm.h"
#include "src/mem/mem.h"

struct x86_cpu;

#define KVM_CPUID_MAX 96

/* A stretch of guest memory as KVM was told of it. */
struct kvm_slot {
	uint64_t gpa, len; /* len 0: the number is free */
	uint8_t *host;
	uint32_t flags;
};

struct kvm_vm {
	struct cpus *cpus;
	int sys_fd, fd;
	size_t run_len;
	size_t xsave_len;
	struct mem_listener listener;
	pthread_mutex_t slots_lock;
	struct kvm_slot *slots;
	unsigned nslots, slots_max;
	enum cpus_irqchip irqchip;
	enum kvm_dirty dirty;
	uint32_t ring_entries; /* of each vCPU's dirty ring; 0: none */
	bool tsc_can_scale;
	pthread_mutex_t tsc_lock; /* one vCPU's TSC is set at a time */
	bool clock; /* KVM_SET_CLOCK works */
	bool block_irq; /* a single step can be without interrupts */
	bool sregs2;
	/* Split, kernel: local APICs, and with them the board's chips, are KVM's or ours.
	 * Changes under the device lock and irq_lock. */
	pthread_mutex_t irq_lock;
	_Atomic bool irqs_loaded;
	struct kvm_irq_routing *routes;
	struct irqchips_proxy chips;
	struct bus_helper helper;
	unsigned ring_page; /* of a vCPU's shared area: late writes; 0: none */
	bool any_length;    /* doorbells of any size */
};

struct kvm_vcpu {
	struct vcpu *v;
	struct kvm_vm *vm;
	int fd;
	struct kvm_run *run;
	struct kvm_dirty_gfn *ring; /* NULL: none */
	uint32_t ring_next;
	_Atomic bool in_run;
	bool cpuid_set;
	bool loaded;     /* KVM has the state */
	bool unfinished; /* an I/O or MMIO read's result is not yet in the registers */
	struct cpu_point debug_at[4]; /* what KVM has in the debug registers; len 0: nothing */
	bool debug_set;  /* KVM debugs the guest */
	/* Split, kernel: the TSC deadline waits for the guest's TSC. */
	uint64_t deadline;
	bool deadline_due;
	/* ... the timer, in one-shot mode: its initial count, which KVM was not told because
	 * it has run out; it counted when the vCPU's state was taken. */
	uint32_t initial_kept;
	bool counted;
	int64_t tsc_offset_loaded; /* what x86->tsc_offset was then */
	/* Counters for statistics. */
	uint64_t exits, steps, injected, kicks;
	/* Instructions stepped in software lately. */
	int64_t window_ns;
	unsigned window_steps;
};

/* kvm.c: enters KVM, which looks at what is due and comes out before the guest runs. Any
 * thread, with the vCPU standing still. */
void kvm_touch(struct kvm_vcpu *k);

/* A request that has no business failing: 0 or -errno, interrupted calls repeated. */
int kvm_ioctl(int fd, unsigned long request, void *arg);

/* regs.c, msrs.c: everything between struct x86_cpu and KVM. -errno with the reason. */
int must_check kvm_load(struct kvm_vcpu *k, struct err *err);
int must_check kvm_store(struct kvm_vcpu *k, struct err *err);
int must_check kvm_msrs_load(struct kvm_vcpu *k, struct err *err);
void kvm_msrs_store(struct kvm_vcpu *k);
/* One MSR. -errno; -EINVAL: KVM does not know it or the value. */
int kvm_msr_set(struct kvm_vcpu *k, uint32_t msr, uint64_t val);
int kvm_msr_get(struct kvm_vcpu *k, uint32_t msr, uint64_t *val);
/* Every access that is not on the list of what KVM keeps comes out. */
int must_check kvm_msr_filter(struct kvm_vm *vm, struct err *err);

/* lapic.c: interrupt controllers, where KVM has them. Loaded before the first vCPU runs,
 * stored when all stand still. */
int must_check kvm_irqs_init(struct kvm_vm *vm, struct err *err);
void kvm_irqs_fini(struct kvm_vm *vm);
int must_check kvm_irqs_load(struct kvm_vm *vm, struct err *err);
void kvm_irqs_store(struct cpus *s);
int must_check kvm_lapic_deadline(struct kvm_vcpu *k, struct err *err);
/* Before the vCPU's state is taken: a tick that KVM holds back gets among it. */
void kvm_lapic_tick(struct kvm_vcpu *k);
void kvm_msi(struct cpus *s, uint64_t addr, uint32_t data);

/* chips.c: the 8259s and the I/O APIC. Device lock and irq_lock held. */
int must_check kvm_chips_init(struct kvm_vm *vm, struct err *err);
int must_check kvm_chips_load(struct kvm_vm *vm, struct err *err);
void kvm_chips_store(struct kvm_vm *vm); /* device lock only */
unsigned kvm_chips_routes(struct kvm_irq_routing_entry *e); /* how many; at most 40 */

/* helper.c: doorbells, late writes. */
void kvm_helper_init(struct kvm_vm *vm);
void kvm_helper_fini(struct kvm_vm *vm);
/* Late writes come now. Any thread, with or without the device lock. */
void kvm_settle(struct kvm_vm *vm);

/* cpuid.c. KVM wants it once, before it runs. */
int must_check kvm_cpuid_load(struct kvm_vcpu *k, struct err *err);
/* Features of struct x86_cpu that KVM can give. */
int must_check kvm_features(int sys_fd, uint64_t *features, struct err *err);

/* debug.c: debugging from outside (guest_debug.h). Of a vCPU that is about to run: tells
 * KVM what to stop for. */
int must_check kvm_debug_load(struct kvm_vcpu *k, struct err *err);
/* Before KVM is entered, x86->debug not 0: what is done here. KVM_LEAVE: leave run(). */
enum kvm_next kvm_debug_turn(struct kvm_vcpu *k);
enum kvm_next kvm_debug_exit(struct kvm_vcpu *k); /* KVM_EXIT_DEBUG */

/* slots.c */
int must_check kvm_slots_init(struct kvm_vm *vm, struct err *err);
void kvm_slots_fini(struct kvm_vm *vm);

/* exits.c: handles one exit. */
enum kvm_next { KVM_GO_ON, KVM_LEAVE };
enum kvm_next kvm_handle_exit(struct kvm_vcpu *k);
/* One instruction in software: one that KVM cannot do. */
enum kvm_next kvm_step(struct kvm_vcpu *k);
/* The machine cannot go on in KVM: asks for the translator. */
void kvm_give_up(struct kvm_vcpu *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
