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
#include <stdio.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/bus/irqchips.h"
#include "src/cpu/guest_debug.h"
#include "src/mem/mem.h"
#include "src/state/state.h"

struct bus;
struct loop;
struct vtime;
struct vcpu;
struct cpus;
struct x86_cpu;
struct apic;

/* All; what is not global of the current address space; one page of it; what was put aside
 * of another one. */
enum cpu_flush { CPU_FLUSH_ALL, CPU_FLUSH_NONGLOBAL, CPU_FLUSH_PAGE, CPU_FLUSH_SPACE };

/* What a person may ask of an engine; one that translates nothing refuses the two for
 * blocks and maps. */
struct engine_options {
	uint64_t cache_bytes;     /* translated code of all vCPUs; 0: the engine's choice */
	const char *trace_blocks; /* a new file: what was translated, as text; or NULL */
	bool perf_map;            /* names for perf(1) in /tmp/perf-PID.map */
	/* For tests: as on a host without AVX, or without XSAVE too. */
	bool without_avx, without_xsave;
};

/* One counter of an engine's; @name is static. */
struct engine_stat {
	const char *name; /* words with dashes */
	uint64_t value;
};
#define ENGINE_STATS_MAX 40u

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
	/* Translations were dropped (mmu.c): what hangs from them must go too. @lin:
	 * an address in the page, for CPU_FLUSH_PAGE. NULL: nothing hangs. */
	void (*tlb_flushed)(struct x86_cpu *c, enum cpu_flush what, uint64_t lin);
	/* The current address space changed, by PCID; what hung from the one that went may be
	 * put aside, and what was put aside of the one that comes holds if @keep. @lin of
	 * CPU_FLUSH_SPACE: a PCID, X86_SPACE_ALL. NULL: like CPU_FLUSH_NONGLOBAL. */
	void (*space_switched)(struct x86_cpu *c, unsigned from, unsigned to, bool keep);
	/* Fills at most ENGINE_STATS_MAX counters and returns how many; the same names in
	 * the same order for every vCPU. While it runs too: a count may be an instant old.
	 * NULL: it counts nothing. */
	unsigned (*stats)(const struct vcpu *v, struct engine_stat *st);
	bool translates; /* trace_blocks and perf_map mean something */
	/* The vCPU has had next to nothing to do for some seconds: gives back memory that it
	 * can do without, bit by bit. Its own thread, outside run(). NULL: nothing to give. */
	void (*idle)(struct vcpu *v);
	/* An engine that keeps state outside struct x86_cpu (and the APIC): outside run()
	 * makes those whole, and takes them again at the next run(). NULL: it keeps none. */
	void (*sync)(struct vcpu *v);
	/* The vCPU has a new request bit and is in run(), or about to be: makes it look
	 * soon. Any thread. NULL: the engine polls. */
	void (*kick)(struct vcpu *v);
	/* What it keeps of the whole machine (interrupt controllers), after every vCPU's
	 * sync(); device lock held. NULL: nothing. */
	void (*sync_vm)(struct cpus *s);
	/* The points of guest_debug.h changed: @p came or went; NULL: any of them. Paused.
	 * NULL: the engine looks at them by itself when it runs next. */
	void (*debug_changed)(struct vcpu *v, const struct cpu_point *p);
	unsigned debug_points; /* as many pieces (cpu_point_pieces()) it can have; 0: any number */
};

extern const struct engine_desc *const engines[]; /* NULL-terminated; engines.def, best first */

/* Where the interrupt controllers are, for engines that leave a choice (KVM): all in
 * this process; the local APICs in the kernel; the I/O APIC and the 8259s there too; or
 * what the engine thinks best on this host. */
enum cpus_irqchip { CPUS_IRQCHIP_USER, CPUS_IRQCHIP_SPLIT, CPUS_IRQCHIP_KERNEL,
		    CPUS_IRQCHIP_AUTO };

enum vcpu_state { VCPU_RUNNING, VCPU_HALTED, VCPU_WAIT_SIPI, VCPU_PAUSED, VCPU_STOPPED };

struct vcpu {
	struct cpus *cpus;
	struct x86_cpu *x86; /* page-aligned, from x86_cpu_new() */
	unsigned index;
	pthread_t thread;
	bool started;
	_Atomic int tid; /* the kernel's number of the thread; 0: it has not begun */
	_Atomic int state; /* enum vcpu_state, for people and for exclusive sections */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic uint8_t sipi_vector;
	int64_t poll_ns; /* how long it polls when it halts, before it sleeps */
	struct cpu_stop stop; /* guest_debug.h: its thread's while it runs */
	/* Under the gate's lock: the debugger lets others run; lets it run, and it has not
	 * begun to. */
	bool held, due;
	int64_t window_ns, window_cpu_ns; /* since when it is watched for idleness; its time then */
	bool idles; /* it has had next to nothing to do since, and the engine was not told */
	void *engine_priv;
};

struct cpu_model; /* cpuid.h */

struct cpus {
	unsigned count; /* 1..255; while they are being built, how many there are */
	unsigned total; /* how many there will be */
	struct vcpu *vcpu;
	const struct engine_desc *engine;
	void *engine_priv;
	struct engine_options options; /* its strings are the caller's and outlive this */
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
	/* The board's chips, for an engine that has such itself; get NULL: no board. */
	struct irqchips_board chips;
	/* A local APIC ended a level-triggered interrupt: for the IOAPICs. Any vCPU
	 * thread, without the device lock. */
	void (*eoi)(void *opaque, uint8_t vector);
	void *eoi_opaque;
	/* A CPU asked for the machine's end: a triple fault. Any vCPU thread. */
	void (*triple_fault)(void *opaque, unsigned vcpu);
	/* An engine found that what it does is wrong, and has said how: the machine must
	 * end. Any vCPU thread. */
	void (*engine_broken)(void *opaque, unsigned vcpu);
	/* An unmasked x87 exception with CR0.NE clear asks for IRQ 13; NULL: the
	 * exception is ignored, as with IGNNE# asserted. Any vCPU thread. */
	void (*x87_error)(void *opaque, unsigned vcpu);
	void *x87_opaque;
	void *vm_opaque;
	unsigned host_cpus; /* that this process may run on */
	uint64_t a20_mask; /* ~0, or ~(1 << 20) while the gate is closed */
	/* Exclusive sections and pausing: who is inside engine->run(). */
	pthread_mutex_t gate;
	pthread_cond_t gate_changed;
	unsigned inside;       /* vCPUs in engine->run() */
	unsigned midway;       /* ... that are not counted there from exclusive begin to end */
	unsigned exclusive;    /* threads that hold or want the complex to themselves */
	bool owned;            /* one of them has it */
	bool paused, stopping;
	bool engine_ready;
	bool engine_anyway;        /* do not ask whether the engine is any good here */
	bool dirty_ring;           /* log writes in rings rather than bitmaps, where there are any */
	const char *affinity;      /* placement.h; NULL: wherever this process may run */
	unsigned nice;             /* 0..19, added to this process's; more yields more */
	uint64_t saved_features;   /* of the machine that is to be restored; 0: none is */
	uint64_t engine_features;  /* what the engine can give of x86_cpu.features; 0: all */
	enum cpus_irqchip irqchip; /* wanted of an engine that offers it */
	/* The engine cannot go on with this machine: text says why. Any vCPU thread; asks
	 * for another engine, and every vCPU stops at its next instruction. */
	void (*engine_failed)(void *opaque, unsigned vcpu, const char *text);
	/* Messages go to APICs that the engine has; NULL: to ours. */
	void (*engine_msi)(struct cpus *s, uint64_t addr, uint32_t data);
	struct cpus_debug debug; /* changes while paused only */
	/* A vCPU stopped for a debugger: the machine must pause. Any vCPU thread. */
	void (*debug_stop)(void *opaque, unsigned vcpu);
	/* The engine sleeps in HLT and before SIPI by itself: its run() is always called. */
	bool engine_sleeps;
	struct mem_listener listener;
};

struct cpus_config {
	unsigned count;
	const char *model;         /* "host", "x86-64-v2", "x86-64-v3" */
	const struct engine_desc *engine;
	struct engine_options options;
	bool engine_anyway;
	bool dirty_ring;
	enum cpus_irqchip irqchip;
	uint64_t saved_features; /* see struct cpus */
	const char *affinity;    /* see struct cpus; the caller's, outlives it */
	unsigned nice;
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

/* Paused, device lock held: struct x86_cpu and the APIC of every vCPU and the board's
 * interrupt controllers are whole, whatever the engine. */
void cpus_sync(struct cpus *s);
/* Paused, device lock held: hands every vCPU to another engine. On failure the old one
 * goes on. */
int must_check cpus_set_engine(struct cpus *s, const struct engine_desc *e, struct err *err);

/* What of a struct vcpu is state: an SIPI's vector on its way. */
extern const struct state_desc vcpu_state;

/* Sets request bits and makes the vCPU look at them soon: wakes it from HLT.
 * Any thread. */
void vcpu_request(struct vcpu *v, uint32_t bits);

/* Counters of vCPU @index, as engine_desc's stats() gives them; any thread. */
unsigned cpus_stats(const struct cpus *s, unsigned index, struct engine_stat *st);
void cpus_print_stats(const struct cpus *s, FILE *out); /* of every vCPU, as a table */

/* An x86_cpu alone, without a complex (unit tests, the fuzzer); NULL on ENOMEM. */
struct x86_cpu *x86_cpu_new(struct mem *mem, struct bus *bus, struct vtime *vtime);
void x86_cpu_free(struct x86_cpu *c);

void cpus_triple_fault(struct x86_cpu *c);

#endif
