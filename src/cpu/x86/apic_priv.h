/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the local APIC share. */
#ifndef BOTHY_CPU_X86_APIC_PRIV_H
#define BOTHY_CPU_X86_APIC_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "src/base/vtime.h"
#include "src/cpu/x86/apic.h"

#define APIC_BASE_BSP 0x100ull
#define APIC_BASE_EXTD 0x400ull
#define APIC_BASE_EN 0x800ull
#define APIC_BASE_ADDR 0xfffffffffffff000ull
#define APIC_DEFAULT_BASE 0xfee00000ull

/* Register numbers: MMIO offset / 16, x2APIC MSR - 0x800. */
enum {
	APIC_ID = 0x02, APIC_VERSION = 0x03, APIC_TPR = 0x08, APIC_APR = 0x09, APIC_PPR = 0x0a,
	APIC_EOI = 0x0b, APIC_RRD = 0x0c, APIC_LDR = 0x0d, APIC_DFR = 0x0e, APIC_SVR = 0x0f,
	APIC_ISR = 0x10, APIC_TMR = 0x18, APIC_IRR = 0x20, APIC_ESR = 0x28, APIC_ICR = 0x30,
	APIC_ICR_HIGH = 0x31, APIC_LVT_TIMER = 0x32, APIC_LVT_THERMAL = 0x33,
	APIC_LVT_PERF = 0x34, APIC_LVT_LINT0 = 0x35, APIC_LVT_LINT1 = 0x36,
	APIC_LVT_ERROR = 0x37, APIC_TIMER_INITIAL = 0x38, APIC_TIMER_CURRENT = 0x39,
	APIC_DIVIDE = 0x3e, APIC_SELF_IPI = 0x3f,
};

#define APIC_LVTS 6u
#define APIC_LVT_MASKED 0x10000u
#define APIC_LVT_LEVEL 0x8000u
#define APIC_LVT_REMOTE_IRR 0x4000u
#define APIC_LVT_PERIODIC 0x20000u
#define APIC_LVT_DEADLINE 0x40000u
#define APIC_LVT_TIMER_MODE 0x60000u
#define APIC_SVR_ENABLE 0x100u

/* Delivery modes. */
enum { APIC_DM_FIXED, APIC_DM_LOWEST, APIC_DM_SMI, APIC_DM_RESERVED, APIC_DM_NMI,
       APIC_DM_INIT, APIC_DM_SIPI, APIC_DM_EXTINT };

#define APIC_ERR_SEND_ILLEGAL 0x20u
#define APIC_ERR_RECV_ILLEGAL 0x40u
#define APIC_ERR_REGISTER 0x80u

struct apic {
	pthread_mutex_t lock; /* all below but base and tpr, which are only written under it */
	struct x86_cpu *cpu;
	struct cpus *cpus; /* may be NULL */
	uint32_t id;
	_Atomic uint64_t base; /* IA32_APIC_BASE */
	_Atomic uint8_t tpr;
	uint32_t ldr, dfr; /* xAPIC mode; in x2APIC mode the LDR follows from the ID */
	uint32_t svr;
	uint32_t esr, esr_pending;
	uint64_t icr;
	uint32_t lvt[APIC_LVTS];
	uint32_t irr[8], isr[8], tmr[8];
	bool extint; /* an ExtINT message has come: the next acknowledge asks the 8259s */

	struct vtimer timer;
	uint32_t initial_count, divide;
	int64_t start_ns;      /* when initial_count was written */
	int64_t start_age_ns;  /* the same as saved: before now */
	uint64_t tsc_deadline; /* 0: not armed */
};

static inline bool apic_x2(const struct apic *a)
{
	return atomic_load_explicit(&a->base, memory_order_relaxed) & APIC_BASE_EXTD;
}

static inline bool apic_hw_enabled(const struct apic *a)
{
	return atomic_load_explicit(&a->base, memory_order_relaxed) & APIC_BASE_EN;
}

static inline uint32_t *apic_lvt(struct apic *a, unsigned reg) /* APIC_LVT_* */
{
	return &a->lvt[reg - APIC_LVT_TIMER];
}

/* The x2APIC LDR (SDM vol. 3, 11.12.10.2). */
static inline uint32_t apic_x2_ldr(const struct apic *a)
{
	return a->id >> 4 << 16 | 1u << (a->id & 15);
}

/* Request bits for the vCPU; its wake where it has a thread. */
void apic_request(struct apic *a, uint32_t bits);

/* Bits that software may set in LVT entries, from APIC_LVT_TIMER on. */
extern const uint32_t apic_lvt_mask[APIC_LVTS];

/* A register by its number, with every side effect; no lock held. */
void apic_write_reg(struct apic *a, unsigned reg, uint32_t val);

/* All with a->lock held. */
uint32_t apic_read_reg_locked(struct apic *a, unsigned reg);
void apic_reset_locked(struct apic *a); /* all but the MSR, the ID and the mode */
void apic_set_irr_locked(struct apic *a, uint8_t vector, bool level);
void apic_error_locked(struct apic *a, uint32_t bit);
/* Delivers what LVT entry @reg says, unless masked. */
void apic_local_locked(struct apic *a, unsigned reg);
uint8_t apic_ppr_locked(const struct apic *a);
/* Is there something the processor would take? Sets recheck: own thread. */
void apic_recheck_locked(struct apic *a);

/* apic_timer.c */
void apic_timer_init(struct apic *a);
void apic_timer_stop_locked(struct apic *a);
void apic_timer_write_initial_locked(struct apic *a, uint32_t count);
void apic_timer_write_divide_locked(struct apic *a, uint32_t val);
void apic_timer_write_lvt_locked(struct apic *a, uint32_t val);
void apic_timer_write_deadline_locked(struct apic *a, uint64_t tsc);
/* The timer as another APIC left it: @left of the initial count to go. */
void apic_timer_go_on_locked(struct apic *a, uint32_t count, uint32_t left, uint64_t deadline);
uint32_t apic_timer_current_locked(const struct apic *a);

/* apic_msg.c: a write of the ICR with its side effects; no lock held. */
void apic_send_ipi(struct apic *a, uint64_t icr, bool x2);

#endif
