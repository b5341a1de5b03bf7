/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a vCPU is, and what an engine must do.
 *
 * struct cpus is the processor complex of one machine; each vCPU is a thread.
 * An engine only runs guest instructions: halting, waking, INIT/SIPI, pausing
 * and exclusive sections are done here, the same for every software engine.
 */
#ifndef BOTHY_CPU_CPU_H
#define BOTHY_CPU_CPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/mem/mem.h"

struct bus;
struct loop;
struct vtime;
struct vcpu;
struct cpus;
struct x86_cpu;
struct apic;

struct engine_desc {
	const char *name;  /* "interp", "jit", "kvm" */
	const char *title;
	/* Does it run on this host? NULL: on every one. -errno with the reason. */
	int (*usable)(struct err *err);
	/* Per VM and per vCPU; NULL where there is nothing to do. */
	int (*vm_init)(struct cpus *s, struct err *err);
	void (*vm_fini)(struct cpus *s);
	int (*vcpu_init)(struct vcpu *v, struct err *err);
	void (*vcpu_fini)(struct vcpu *v);
	/* Runs guest code on the calling thread until x86->halted, a request bit
	 * that x86_poll_events() does not consume (X86_REQ_EXIT, INIT, SIPI), or
	 * wait_sipi. */
	void (*run)(struct vcpu *v);
	/* The TLB of another engine's making, flushed from mmu.c; NULL: none. */
	void (*tlb_flushed)(struct x86_cpu *c);
	void (*print_stats)(struct cpus *s, int fd);
};

extern const struct engine_desc *const engines[]; /* NULL-terminated; engines.def, best first */

enum vcpu_state { VCPU_RUNNING, VCPU_HALTED, VCPU_WAIT_SIPI, VCPU_PAUSED, VCPU_STOPPED };

struct vcpu {
	struct cpus *cpus;
	struct x86_cpu *x86; /* page-aligned, from x86_cpu_new() */
	unsigned index;
	pthread_t thread;
	bool started;
	_Atomic int state; /* enum vcpu_state, for people and for exclusive sections */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic uint8_t sipi_vector;
	void *engine_priv;
};

struct cpu_model; /* cpuid.h */

struct cpus {
	unsigned count; /* 1..255; while they are being built, how many there are */
	unsigned total; /* how many there will be */
	struct vcpu *vcpu;
	const struct engine_desc *engine;
	void *engine_priv;
	const struct cpu_model *model;
	uint64_t tsc_hz;
	struct mem *mem;
	struct bus *bus;
	struct vtime *vtime;
	const struct log *log;
	/* The 8259 pair's INTR output and acknowledge (returns the vector). */
	bool (*pic_pending)(void *opaque);
	int (*pic_ack)(void *opaque);
	void *pic_opaque;
	/* A local APIC ended a level-triggered interrupt: for the IOAPICs. Any vCPU
	 * thread, without the device lock. */
	void (*eoi)(void *opaque, uint8_t vector);
	void *eoi_opaque;
	/* A CPU asked for the machine's end: a triple fault. Any vCPU thread. */
	void (*triple_fault)(void *opaque, unsigned vcpu);
	/* An unmasked x87 exception with CR0.NE clear asks for IRQ 13; NULL: the
	 * exception is ignored, as with IGNNE# asserted. Any vCPU thread. */
	void (*x87_error)(void *opaque, unsigned vcpu);
	void *x87_opaque;
	void *vm_opaque;
	uint64_t a20_mask; /* ~0, or ~(1 << 20) while the gate is closed */
	/* Exclusive sections and pausing: who is inside engine->run(). */
	pthread_mutex_t gate;
	pthread_cond_t gate_changed;
	unsigned inside;       /* vCPUs in engine->run() */
	unsigned exclusive;    /* threads that hold or want the complex to themselves */
	bool owned;            /* one of them has it */
	bool paused, stopping;
	bool engine_ready;
	struct mem_listener listener;
};

struct cpus_config {
	unsigned count;
	const char *model;         /* "host", "x86-64-v2", "x86-64-v3" */
	const struct engine_desc *engine;
	struct mem *mem;
	struct bus *bus;
	struct vtime *vtime;
	const struct log *log;
};

/* Builds the complex with every vCPU in its power-on state, threads not started. */
struct cpus *cpus_new(const struct cpus_config *cfg, struct err *err);
void cpus_free(struct cpus *s); /* stops first */

int must_check cpus_start(struct cpus *s, struct err *err); /* creates the threads, paused */
void cpus_resume(struct cpus *s);
void cpus_pause(struct cpus *s); /* returns when every vCPU is outside engine->run();
				  * not from a vCPU thread */
void cpus_pause_request(struct cpus *s); /* any thread, does not wait: every vCPU leaves
					  * engine->run() at its next instruction */
void cpus_stop(struct cpus *s);  /* pause and join */
void cpus_reset(struct cpus *s); /* paused: power-on state, all of them */

/* Sets request bits and makes the vCPU look at them soon: wakes it from HLT.
 * Any thread. */
void vcpu_request(struct vcpu *v, uint32_t bits);

/* An x86_cpu alone, without a complex (unit tests, the fuzzer); NULL on ENOMEM. */
struct x86_cpu *x86_cpu_new(struct mem *mem, struct bus *bus, struct vtime *vtime);
void x86_cpu_free(struct x86_cpu *c);

void cpus_triple_fault(struct x86_cpu *c);

#endif
