/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debugging a guest from outside, in every engine: breakpoints, watchpoints and single
 * steps that the guest cannot see. They live outside its memory, and its own debug
 * registers, TF and #DB stay its own.
 *
 * The software engines end a block of code before an instruction with a breakpoint, and
 * look at the list only there. While watchpoints are set, and on a vCPU that steps, they
 * execute one instruction at a time. KVM has the processor's four debug registers.
 */
#ifndef BOTHY_CPU_GUEST_DEBUG_H
#define BOTHY_CPU_GUEST_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/err.h"

struct cpus;
struct engine_desc;
struct x86_cpu;

#define CPU_POINTS_MAX 256u
#define CPU_POINT_LEN_MAX 32u

enum cpu_point_kind { CPU_POINT_CODE, CPU_POINT_WRITE, CPU_POINT_READ, CPU_POINT_ACCESS };

/* By linear address, in whatever address space. */
struct cpu_point {
	uint64_t lin;
	uint32_t len; /* bytes: 1 for code, 1..CPU_POINT_LEN_MAX for data */
	enum cpu_point_kind kind;
};

enum cpu_stop_why { CPU_STOP_NONE, CPU_STOP_STEP, CPU_STOP_POINT };

/* Why a vCPU stopped. A breakpoint stops before its instruction, a watchpoint behind
 * the one that touched it. */
struct cpu_stop {
	enum cpu_stop_why why;
	bool told;
	struct cpu_point point; /* CPU_STOP_POINT */
	uint64_t lin;           /* linear address of the next instruction */
	bool stayed;            /* CPU_STOP_STEP: the step ended where it began (REP) */
};

/* What a vCPU does when the machine goes on: runs; executes one instruction (of a repeated
 * string instruction one iteration) or takes its exception, without interrupts unless
 * it is halted; does not run. */
enum cpu_go { CPU_GO, CPU_GO_STEP, CPU_GO_HOLD };

struct cpus_debug {
	struct cpu_point point[CPU_POINTS_MAX];
	unsigned count;
	unsigned last; /* the vCPU whose stop was told last: the others come before it */
};

/*
 * All of these while the vCPUs are paused and synchronised (cpus_sync()), device lock
 * held.
 */

/* Setting one that is there, and clearing one that is not, is no error. -ENOSPC: there are
 * as many as the engine can have; -EINVAL: bad length. With the reason. */
int must_check cpus_debug_set(struct cpus *s, struct cpu_point p, struct err *err);
void cpus_debug_clear(struct cpus *s, struct cpu_point p);
/* Nobody debugs any more: no points, no steps, no vCPU held. */
void cpus_debug_end(struct cpus *s);
/* From the next cpus_resume() on. @how: one for each vCPU. Stops that were not told are
 * forgotten: breakpoints and steps come again. The vCPU that stopped last runs when all
 * others have begun to, or they might never: it can be back at its breakpoint before
 * their threads are awake. */
void cpus_debug_go(struct cpus *s, const enum cpu_go *how);
/* Has a vCPU stopped that nobody was told of? */
bool cpus_debug_pending(const struct cpus *s);
/* Tells of one; false: none. Of a point that was cleared meanwhile nothing is told. Those
 * that stop again and again are told of in turn. */
bool cpus_debug_stopped(struct cpus *s, unsigned *vcpu, struct cpu_stop *stop);
/* Can @e have all points that are set? -ENOSPC with the reason. */
int must_check cpus_debug_fits(const struct cpus *s, const struct engine_desc *e, struct err *err);
/* The engine changed, or the processors were reset. */
void cpus_debug_again(struct cpus *s);

/*
 * For engines, on the vCPU's thread.
 */

/* At an instruction boundary, x86->debug not 0, before events are looked at: has the step
 * been done or a watchpoint been touched? True: that is noted, and run() must return. */
bool cpu_debug_done(struct x86_cpu *c);
/* ... when nothing but the next instruction is left to do: the same, and the breakpoints
 * at it. */
bool cpu_debug_at(struct x86_cpu *c);
/* An event was delivered at an instruction boundary: that is a step, too. */
void cpu_debug_event(struct x86_cpu *c);
/* Notes a stop. Always true. @p: NULL for a step. */
bool cpu_debug_stop(struct x86_cpu *c, const struct cpu_point *p);
/* Is there a breakpoint at linear address @lin; in any page at offset @off? */
bool cpu_debug_code(const struct x86_cpu *c, uint64_t lin);
bool cpu_debug_code_offset(const struct x86_cpu *c, unsigned off);
/* Does a watchpoint touch [lin, lin + len)? (mmu.c) */
bool cpu_debug_watches(const struct x86_cpu *c, uint64_t lin, uint64_t len);
/* Notes an access that a watchpoint may be meant for. */
void cpu_debug_access(struct x86_cpu *c, uint64_t lin, unsigned len, bool write);

/* The point in pieces as debug registers can have them: aligned, of 1, 2, 4 or 8 bytes.
 * Fills at most @max of @out (may be NULL) and returns how many there are. */
unsigned cpu_point_pieces(const struct cpu_point *p, struct cpu_point *out, unsigned max);

#endif
