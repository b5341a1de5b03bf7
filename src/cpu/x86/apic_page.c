/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC as a page of registers, for engines whose APICs are elsewhere. */
#include <string.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic_priv.h"
#include "src/cpu/x86/x86.h"

void apic_page_get(struct apic *a, uint32_t reg[APIC_PAGE_REGS], uint64_t *deadline)
{
	memset(reg, 0, APIC_PAGE_REGS * sizeof(reg[0]));
	pthread_mutex_lock(&a->lock);
	reg[APIC_ID] = apic_x2(a) ? a->id : a->id << 24;
	reg[APIC_VERSION] = apic_read_reg_locked(a, APIC_VERSION);
	reg[APIC_TPR] = atomic_load(&a->tpr);
	reg[APIC_LDR] = apic_x2(a) ? apic_x2_ldr(a) : a->ldr;
	reg[APIC_DFR] = a->dfr;
	reg[APIC_SVR] = a->svr;
	for (unsigned n = 0; n < 8; n++) {
		reg[APIC_ISR + n] = a->isr[n];
		reg[APIC_TMR + n] = a->tmr[n];
		reg[APIC_IRR + n] = a->irr[n];
	}
	reg[APIC_ESR] = a->esr;
	reg[APIC_ICR] = (uint32_t)a->icr;
	reg[APIC_ICR_HIGH] = (uint32_t)(a->icr >> 32);
	for (unsigned n = 0; n < APIC_LVTS; n++)
		reg[APIC_LVT_TIMER + n] = a->lvt[n];
	reg[APIC_TIMER_INITIAL] = a->initial_count;
	reg[APIC_TIMER_CURRENT] = apic_timer_current_locked(a);
	reg[APIC_DIVIDE] = a->divide;
	*deadline = a->tsc_deadline;
	if (a->timer.vt) {
		/* As long as its interrupt has not come it has not run out. */
		if (!reg[APIC_TIMER_CURRENT] && vtimer_armed(&a->timer))
			reg[APIC_TIMER_CURRENT] = 1;
		/* It counts elsewhere now. */
		vtimer_cancel(&a->timer);
	}
	pthread_mutex_unlock(&a->lock);
}

void apic_page_set(struct apic *a, const uint32_t reg[APIC_PAGE_REGS], uint64_t base,
		   uint64_t deadline)
{
	pthread_mutex_lock(&a->lock);
	atomic_store(&a->base, base);
	atomic_store(&a->tpr, (uint8_t)reg[APIC_TPR]);
	if (!apic_x2(a))
		a->ldr = reg[APIC_LDR] & 0xff000000;
	a->dfr = reg[APIC_DFR] | 0x0fffffff;
	a->svr = reg[APIC_SVR] & 0x1ff;
	for (unsigned n = 0; n < 8; n++) {
		a->isr[n] = reg[APIC_ISR + n];
		a->tmr[n] = reg[APIC_TMR + n];
		a->irr[n] = reg[APIC_IRR + n];
	}
	a->esr = reg[APIC_ESR];
	a->icr = reg[APIC_ICR] | (uint64_t)reg[APIC_ICR_HIGH] << 32;
	for (unsigned n = 0; n < APIC_LVTS; n++)
		a->lvt[n] = reg[APIC_LVT_TIMER + n] & apic_lvt_mask[n];
	a->divide = reg[APIC_DIVIDE] & 0xb;
	apic_timer_go_on_locked(a, reg[APIC_TIMER_INITIAL], reg[APIC_TIMER_CURRENT], deadline);
	apic_recheck_locked(a);
	pthread_mutex_unlock(&a->lock);
}

enum apic_page_timer apic_page_timer(const uint32_t reg[APIC_PAGE_REGS])
{
	uint32_t mode = reg[APIC_LVT_TIMER] & APIC_LVT_TIMER_MODE;

	if (!reg[APIC_TIMER_INITIAL] || (mode && mode != APIC_LVT_PERIODIC))
		return APIC_PAGE_NONE;
	if (mode)
		return APIC_PAGE_OVER;
	return reg[APIC_TIMER_CURRENT] ? APIC_PAGE_ONCE : APIC_PAGE_OUT;
}

uint32_t *apic_page_initial(uint32_t reg[APIC_PAGE_REGS])
{
	return &reg[APIC_TIMER_INITIAL];
}

void apic_page_tick(uint32_t reg[APIC_PAGE_REGS])
{
	uint32_t lvt = reg[APIC_LVT_TIMER], vector = lvt & 0xff;

	if (!(lvt & APIC_LVT_MASKED) && vector >= 16)
		reg[APIC_IRR + vector / 32] |= 1u << vector % 32;
}
