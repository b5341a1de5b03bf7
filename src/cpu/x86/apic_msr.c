/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's MSRs: IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC registers
 * (Intel SDM vol. 3, 11.12).
 */
#include <errno.h>

#include "src/cpu/x86/apic_priv.h"
#include "src/cpu/x86/x86.h"

static int x2_read(struct apic *a, unsigned reg, uint64_t *val)
{
	switch (reg) {
	case APIC_ID: case APIC_VERSION: case APIC_TPR: case APIC_PPR: case APIC_LDR:
	case APIC_SVR: case APIC_ISR ... APIC_ESR:
	case APIC_LVT_TIMER ... APIC_TIMER_CURRENT: case APIC_DIVIDE:
		break;
	case APIC_ICR:
		*val = a->icr;
		return 0;
	default:
		return -EINVAL;
	}
	pthread_mutex_lock(&a->lock);
	*val = apic_read_reg_locked(a, reg);
	pthread_mutex_unlock(&a->lock);
	return 0;
}

/* SDM 11.12.1.2 and table 11-6: reserved bits raise #GP. */
static int x2_write(struct apic *a, unsigned reg, uint64_t val)
{
	uint64_t allowed;

	switch (reg) {
	case APIC_ICR:
		if (val & 0xfff33000)
			return -EINVAL;
		apic_send_ipi(a, val, true);
		return 0;
	case APIC_SELF_IPI:
		if (val & ~0xffull)
			return -EINVAL;
		apic_send_ipi(a, val | 1u << 18, true);
		return 0;
	case APIC_TPR: allowed = 0xff; break;
	case APIC_EOI: case APIC_ESR: allowed = 0; break;
	case APIC_SVR: allowed = 0x1ff; break;
	case APIC_LVT_TIMER ... APIC_LVT_ERROR:
		/* Delivery status and remote IRR are read-only, not reserved. */
		allowed = apic_lvt_mask[reg - APIC_LVT_TIMER] | 0x1000 |
			  (apic_lvt_mask[reg - APIC_LVT_TIMER] & APIC_LVT_LEVEL ? APIC_LVT_REMOTE_IRR
									   : 0);
		break;
	case APIC_TIMER_INITIAL: allowed = 0xffffffff; break;
	case APIC_DIVIDE: allowed = 0xb; break;
	default: return -EINVAL;
	}
	if (val & ~allowed)
		return -EINVAL;
	apic_write_reg(a, reg, (uint32_t)val);
	return 0;
}

/* SDM 11.12.5.1: the state machine of the two enable bits. */
static int write_base(struct apic *a, uint64_t val)
{
	uint64_t old = atomic_load(&a->base);
	unsigned phys_bits = a->cpu->mem ? a->cpu->mem->phys_bits : 52;
	uint64_t allowed = (APIC_BASE_ADDR & low_mask(phys_bits)) | APIC_BASE_EN | APIC_BASE_BSP;
	bool en = val & APIC_BASE_EN, extd = val & APIC_BASE_EXTD;

	if (x86_has(a->cpu, X86_F_X2APIC))
		allowed |= APIC_BASE_EXTD;
	if (val & ~allowed)
		return -EINVAL;
	if (extd && (!en || !(old & APIC_BASE_EN)))
		return -EINVAL;
	if (en && !extd && (old & APIC_BASE_EXTD))
		return -EINVAL;
	pthread_mutex_lock(&a->lock);
	if (!en && (old & APIC_BASE_EN))
		apic_reset_locked(a);
	atomic_store(&a->base, (val & ~APIC_BASE_BSP) | (old & APIC_BASE_BSP));
	apic_recheck_locked(a);
	pthread_mutex_unlock(&a->lock);
	/* What is cached of the page of registers, where it was and where it is. */
	if (val != old)
		apic_request(a, X86_REQ_FLUSH);
	return 0;
}

int apic_msr_read(struct apic *a, uint32_t msr, uint64_t *val)
{
	if (msr == 0x1b) {
		*val = atomic_load(&a->base);
		return 0;
	}
	if (msr == 0x6e0) {
		pthread_mutex_lock(&a->lock);
		*val = a->tsc_deadline;
		pthread_mutex_unlock(&a->lock);
		return 0;
	}
	if (msr < 0x800 || msr > 0x8ff || !apic_x2(a))
		return -EINVAL;
	return x2_read(a, msr - 0x800, val);
}

int apic_msr_write(struct apic *a, uint32_t msr, uint64_t val)
{
	if (msr == 0x1b)
		return write_base(a, val);
	if (msr == 0x6e0) {
		pthread_mutex_lock(&a->lock);
		apic_timer_write_deadline_locked(a, val);
		pthread_mutex_unlock(&a->lock);
		return 0;
	}
	if (msr < 0x800 || msr > 0x8ff || !apic_x2(a))
		return -EINVAL;
	return x2_write(a, msr - 0x800, val);
}
