/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of one vCPU: xAPIC (MMIO page) and x2APIC (MSRs).
 * Source: Intel SDM vol. 3, chapter 11 "Advanced Programmable Interrupt
 * Controller".
 *
 * Threads: every function may be called from any thread, with or without the
 * device lock; each APIC has a mutex of its own, never held while another's is
 * taken nor while the device lock is. What a target vCPU must notice is told with
 * vcpu_request(). apic_pending() and apic_ack() are for the vCPU's own thread.
 */
#ifndef BOTHY_CPU_X86_APIC_H
#define BOTHY_CPU_X86_APIC_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/mem/mem.h"
#include "src/state/state.h"

struct apic;
struct cpus;
struct x86_cpu;

/* @id: the initial (x2)APIC ID. @s may be NULL (unit tests: no other CPUs, no PIC).
 * The timer runs on c->vtime. NULL when out of memory. */
struct apic *apic_new(struct x86_cpu *c, struct cpus *s, unsigned id);
void apic_free(struct apic *a); /* NULL is fine */

/* Power-on state, or with @init what INIT leaves: the ID and IA32_APIC_BASE (and so
 * the x2APIC mode) stay (SDM vol. 3, 11.4.7). */
void apic_reset(struct apic *a, bool init);

/* Is an interrupt there that the processor would take now, were RFLAGS.IF set: in
 * the IRR above the processor priority, or from the 8259 pair where ExtINT comes
 * through (LINT0 says so unmasked, or the APIC is disabled by IA32_APIC_BASE)? */
bool apic_pending(struct apic *a);

/* Takes it: returns its vector 0..255, now in service. The spurious vector when it
 * went away meanwhile. */
int apic_ack(struct apic *a);

/*
 * MSRs IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0), x2APIC (0x800..0x8ff).
 * -EINVAL: the caller raises #GP(0).
 */
int must_check apic_msr_read(struct apic *a, uint32_t msr, uint64_t *val);
int must_check apic_msr_write(struct apic *a, uint32_t msr, uint64_t val);

/* Is @gpa in the page of registers (enabled, not in x2APIC mode)? @a may be NULL. */
bool apic_claims(const struct apic *a, gpa_t gpa);
/* @off: 0..0xfff from the page's start; @size 1, 2, 4 or 8. */
uint64_t apic_mmio_read(struct apic *a, unsigned off, unsigned size);
void apic_mmio_write(struct apic *a, unsigned off, uint64_t val, unsigned size);

/* The task-priority register, all 8 bits; CR8 is its upper half. Lowering it sets
 * the vCPU's recheck flag where that lets an interrupt through. */
uint8_t apic_get_tpr(const struct apic *a);
void apic_set_tpr(struct apic *a, uint8_t tpr);
static inline uint8_t apic_get_cr8(const struct apic *a) { return apic_get_tpr(a) >> 4; }
static inline void apic_set_cr8(struct apic *a, uint8_t cr8)
{
	apic_set_tpr(a, (uint8_t)(cr8 << 4));
}

/* The guest's TSC was moved (IA32_TSC, IA32_TSC_ADJUST written): the TSC deadline is
 * looked at anew. */
void apic_tsc_changed(struct apic *a);

/* The APIC ID as software sees it: 8 bits in xAPIC mode, 32 in x2APIC mode. */
uint32_t apic_id(const struct apic *a);

/* A message-signalled interrupt (SDM vol. 3, 11.11): @addr in 0xfee00000..0xfeefffff,
 * others are dropped. For bus->msi; IOAPIC entries come this way too. */
void apic_msi(struct cpus *s, uint64_t addr, uint32_t data);

/* The 8259 pair's INTR output changed: wakes the processors that take ExtINT. */
void apic_pic_changed(struct cpus *s);

/* The LINT1 pin's NMI, as the board's NMI button pulls it, for every processor
 * whose LINT1 is programmed to NMI. */
void apic_nmi(struct cpus *s);

/*
 * The registers as the page shows them, for an engine whose APICs are elsewhere (KVM):
 * reg[n] stands at offset 16 * n, the ID as the mode has it. Taking them stops our
 * timer; putting them back lets it go on from what is left of the count.
 */
#define APIC_PAGE_REGS 64
void apic_page_get(struct apic *a, uint32_t reg[APIC_PAGE_REGS], uint64_t *deadline);
void apic_page_set(struct apic *a, const uint32_t reg[APIC_PAGE_REGS], uint64_t base,
		   uint64_t deadline);
/* Its timer, if it counts down (deadlines are not the page's). ONCE: has an interrupt to
 * come; OUT: had it; OVER: goes round. */
enum apic_page_timer { APIC_PAGE_NONE, APIC_PAGE_ONCE, APIC_PAGE_OUT, APIC_PAGE_OVER };
enum apic_page_timer apic_page_timer(const uint32_t reg[APIC_PAGE_REGS]);
uint32_t *apic_page_initial(uint32_t reg[APIC_PAGE_REGS]); /* count */
void apic_page_tick(uint32_t reg[APIC_PAGE_REGS]); /* its interrupt comes */

extern const struct state_desc apic_state; /* of a struct apic */

#endif
