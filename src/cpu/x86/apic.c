/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC: registers, priorities, acknowledge and end of interrupt. Messages
 * between APICs are in apic_msg.c, the timer is in apic_timer.c.
 * SDM: Intel SDM vol. 3, chapter 11.
 */
#include "src/cpu/x86/apic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic_priv.h"
#include "src/cpu/x86/x86.h"

/* Version 14h, six LVT entries, no EOI-broadcast suppression. */
#define VERSION (0x14u | (APIC_LVTS - 1) << 16)

/* Bits that software may set in LVT entries, from APIC_LVT_TIMER on. */
const uint32_t apic_lvt_mask[APIC_LVTS] = {
	0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff,
};

void apic_request(struct apic *a, uint32_t bits)
{
	if (a->cpu->vcpu)
		vcpu_request(a->cpu->vcpu, bits);
	else
		atomic_fetch_or(&a->cpu->request, bits);
}

/*
 * Vectors.
 */
static int highest(const uint32_t reg[8])
{
	for (int n = 7; n >= 0; n--)
		if (reg[n])
			return n * 32 + 31 - __builtin_clz(reg[n]);
	return -1;
}

static void set_bit(uint32_t reg[8], unsigned vector)
{
	reg[vector >> 5 & 7] |= 1u << (vector & 31);
}

static void clear_bit(uint32_t reg[8], unsigned vector)
{
	reg[vector >> 5 & 7] &= ~(1u << (vector & 31));
}

static bool test_bit(const uint32_t reg[8], unsigned vector)
{
	return reg[vector >> 5 & 7] >> (vector & 31) & 1;
}

/* SDM 11.8.3.1. */
uint8_t apic_ppr_locked(const struct apic *a)
{
	uint8_t tpr = atomic_load_explicit(&a->tpr, memory_order_relaxed);
	int isr = highest(a->isr);

	return isr < 0 || tpr >> 4 >= isr >> 4 ? tpr : isr & 0xf0;
}

/* The vector that would be taken now, -1 none. */
static int deliverable_locked(const struct apic *a)
{
	int irr = highest(a->irr);

	return irr >= 0 && irr >> 4 > apic_ppr_locked(a) >> 4 ? irr : -1;
}

/* Do the 8259s reach this processor? With the APIC disabled LINT0 is the boot
 * processor's INTR pin (SDM 11.4.3). */
static bool takes_pic_locked(const struct apic *a)
{
	uint32_t lint0 = a->lvt[APIC_LVT_LINT0 - APIC_LVT_TIMER];

	if (!apic_hw_enabled(a))
		return a->id == 0;
	return !(lint0 & APIC_LVT_MASKED) && (lint0 >> 8 & 7) == APIC_DM_EXTINT;
}

static bool pic_pending(const struct apic *a)
{
	struct cpus *s = a->cpus;

	return s && s->pic_pending && s->pic_pending(s->pic_opaque);
}

static bool pending_locked(const struct apic *a)
{
	return (apic_hw_enabled(a) && deliverable_locked(a) >= 0) ||
	       ((a->extint || takes_pic_locked(a)) && pic_pending(a));
}

void apic_recheck_locked(struct apic *a)
{
	if (pending_locked(a))
		a->cpu->recheck = true;
}

bool apic_pending(struct apic *a)
{
	bool p;

	pthread_mutex_lock(&a->lock);
	p = pending_locked(a);
	pthread_mutex_unlock(&a->lock);
	return p;
}

int apic_ack(struct apic *a)
{
	int vector;

	pthread_mutex_lock(&a->lock);
	if ((a->extint || takes_pic_locked(a)) && pic_pending(a)) {
		a->extint = false;
		pthread_mutex_unlock(&a->lock);
		/* Takes the device lock: not under ours. */
		return a->cpus->pic_ack(a->cpus->pic_opaque) & 0xff;
	}
	vector = apic_hw_enabled(a) ? deliverable_locked(a) : -1;
	if (vector >= 0) {
		clear_bit(a->irr, vector);
		set_bit(a->isr, vector);
	} else {
		vector = a->svr & 0xff;
	}
	pthread_mutex_unlock(&a->lock);
	return vector;
}

void apic_error_locked(struct apic *a, uint32_t bit)
{
	a->esr_pending |= bit;
	apic_local_locked(a, APIC_LVT_ERROR);
}

void apic_set_irr_locked(struct apic *a, uint8_t vector, bool level)
{
	if (!apic_hw_enabled(a) || !(a->svr & APIC_SVR_ENABLE))
		return; /* SDM 11.4.7.2: software-disabled, only INIT, NMI, SMI and SIPI */
	if (vector < 16) {
		/* An illegal LVT_ERROR vector must not recurse without end. */
		a->esr_pending |= APIC_ERR_RECV_ILLEGAL;
		if ((*apic_lvt(a, APIC_LVT_ERROR) & 0xff) >= 16)
			apic_local_locked(a, APIC_LVT_ERROR);
		return;
	}
	set_bit(a->irr, vector);
	if (level)
		set_bit(a->tmr, vector);
	else
		clear_bit(a->tmr, vector);
	apic_request(a, X86_REQ_INTR);
}

void apic_local_locked(struct apic *a, unsigned reg)
{
	uint32_t lvt = *apic_lvt(a, reg);
	unsigned mode = reg == APIC_LVT_TIMER || reg == APIC_LVT_ERROR ? APIC_DM_FIXED
								      : lvt >> 8 & 7;

	if (lvt & APIC_LVT_MASKED)
		return;
	switch (mode) {
	case APIC_DM_FIXED:
		apic_set_irr_locked(a, (uint8_t)lvt, false);
		break;
	case APIC_DM_SMI:
		apic_request(a, X86_REQ_SMI);
		break;
	case APIC_DM_NMI:
		apic_request(a, X86_REQ_NMI);
		break;
	case APIC_DM_INIT:
		apic_request(a, X86_REQ_INIT);
		break;
	case APIC_DM_EXTINT:
		apic_request(a, X86_REQ_INTR);
		break;
	default:
		break;
	}
}

static void eoi(struct apic *a)
{
	struct cpus *s = a->cpus;
	bool level = false;
	int vector;

	pthread_mutex_lock(&a->lock);
	vector = highest(a->isr);
	if (vector >= 0) {
		clear_bit(a->isr, vector);
		level = test_bit(a->tmr, vector);
		apic_recheck_locked(a);
	}
	pthread_mutex_unlock(&a->lock);
	if (level && s && s->eoi)
		s->eoi(s->eoi_opaque, (uint8_t)vector);
}

uint8_t apic_get_tpr(const struct apic *a)
{
	return atomic_load_explicit(&a->tpr, memory_order_relaxed);
}

void apic_set_tpr(struct apic *a, uint8_t tpr)
{
	uint8_t old = atomic_exchange(&a->tpr, tpr);

	if (tpr >= old)
		return;
	pthread_mutex_lock(&a->lock);
	apic_recheck_locked(a);
	pthread_mutex_unlock(&a->lock);
}

uint32_t apic_id(const struct apic *a)
{
	return apic_x2(a) ? a->id : a->id & 0xff;
}

void apic_nmi(struct cpus *s)
{
	for (unsigned n = 0; n < s->count; n++) {
		struct apic *a = s->vcpu[n].x86->apic;
		uint32_t lint1;

		pthread_mutex_lock(&a->lock);
		lint1 = *apic_lvt(a, APIC_LVT_LINT1);
		if (!apic_hw_enabled(a) && n == 0)
			apic_request(a, X86_REQ_NMI); /* LINT1 is the NMI pin */
		else if ((lint1 >> 8 & 7) == APIC_DM_NMI)
			apic_local_locked(a, APIC_LVT_LINT1);
		pthread_mutex_unlock(&a->lock);
	}
}

void apic_pic_changed(struct cpus *s)
{
	if (!s->pic_pending || !s->pic_pending(s->pic_opaque))
		return;
	if (s->engine_msi) { /* the engine has the APICs and asks them */
		vcpu_request(&s->vcpu[0], X86_REQ_INTR);
		return;
	}
	for (unsigned n = 0; n < s->count; n++) {
		struct apic *a = s->vcpu[n].x86->apic;

		pthread_mutex_lock(&a->lock);
		if (a->extint || takes_pic_locked(a))
			apic_request(a, X86_REQ_INTR);
		pthread_mutex_unlock(&a->lock);
	}
}

/*
 * Registers. @reg is the MMIO offset / 16.
 */
uint32_t apic_read_reg_locked(struct apic *a, unsigned reg)
{
	switch (reg) {
	case APIC_ID: return apic_x2(a) ? a->id : a->id << 24;
	case APIC_VERSION: return VERSION;
	case APIC_TPR: return apic_get_tpr(a);
	case APIC_PPR: return apic_ppr_locked(a);
	case APIC_LDR: return apic_x2(a) ? apic_x2_ldr(a) : a->ldr;
	case APIC_DFR: return a->dfr;
	case APIC_SVR: return a->svr;
	case APIC_ISR ... APIC_ISR + 7: return a->isr[reg - APIC_ISR];
	case APIC_TMR ... APIC_TMR + 7: return a->tmr[reg - APIC_TMR];
	case APIC_IRR ... APIC_IRR + 7: return a->irr[reg - APIC_IRR];
	case APIC_ESR: return a->esr;
	case APIC_ICR: return (uint32_t)a->icr;
	case APIC_ICR_HIGH: return (uint32_t)(a->icr >> 32);
	case APIC_LVT_TIMER ... APIC_LVT_ERROR: return *apic_lvt(a, reg);
	case APIC_TIMER_INITIAL: return a->initial_count;
	case APIC_TIMER_CURRENT: return apic_timer_current_locked(a);
	case APIC_DIVIDE: return a->divide;
	case APIC_APR: case APIC_RRD: case APIC_EOI: return 0;
	default:
		apic_error_locked(a, APIC_ERR_REGISTER);
		return 0;
	}
}

static void write_svr_locked(struct apic *a, uint32_t val)
{
	a->svr = val & 0x1ff;
	if (!(a->svr & APIC_SVR_ENABLE)) /* SDM 11.4.7.2 */
		for (unsigned n = 0; n < APIC_LVTS; n++)
			a->lvt[n] |= APIC_LVT_MASKED;
}

static void write_lvt_locked(struct apic *a, unsigned reg, uint32_t val)
{
	val &= apic_lvt_mask[reg - APIC_LVT_TIMER];
	if (!(a->svr & APIC_SVR_ENABLE))
		val |= APIC_LVT_MASKED;
	if (reg == APIC_LVT_TIMER)
		apic_timer_write_lvt_locked(a, val);
	else
		*apic_lvt(a, reg) = val;
	if (reg == APIC_LVT_LINT0)
		apic_recheck_locked(a); /* the 8259s may come through now */
}

static void write_reg_locked(struct apic *a, unsigned reg, uint32_t val)
{
	switch (reg) {
	case APIC_LDR:
		a->ldr = val & 0xff000000;
		break;
	case APIC_DFR:
		a->dfr = val | 0x0fffffff;
		break;
	case APIC_SVR:
		write_svr_locked(a, val);
		break;
	case APIC_ESR: /* SDM 11.5.3: a write latches what has gathered */
		a->esr = a->esr_pending;
		a->esr_pending = 0;
		break;
	case APIC_ICR_HIGH:
		a->icr = (uint32_t)a->icr | (uint64_t)(val & 0xff000000) << 32;
		break;
	case APIC_LVT_TIMER ... APIC_LVT_ERROR:
		write_lvt_locked(a, reg, val);
		break;
	case APIC_TIMER_INITIAL:
		apic_timer_write_initial_locked(a, val);
		break;
	case APIC_DIVIDE:
		apic_timer_write_divide_locked(a, val);
		break;
	case APIC_ID: case APIC_VERSION: case APIC_APR: case APIC_PPR: case APIC_RRD:
	case APIC_ISR ... APIC_IRR + 7: case APIC_TIMER_CURRENT:
		break; /* read-only */
	default:
		apic_error_locked(a, APIC_ERR_REGISTER);
		break;
	}
}

void apic_write_reg(struct apic *a, unsigned reg, uint32_t val)
{
	switch (reg) {
	case APIC_TPR:
		apic_set_tpr(a, (uint8_t)val);
		return;
	case APIC_EOI:
		eoi(a);
		return;
	case APIC_ICR:
		apic_send_ipi(a, (a->icr & ~0xffffffffull) | val, false);
		return;
	default:
		pthread_mutex_lock(&a->lock);
		write_reg_locked(a, reg, val);
		pthread_mutex_unlock(&a->lock);
	}
}

bool apic_claims(const struct apic *a, gpa_t gpa)
{
	uint64_t base;

	if (!a)
		return false;
	base = atomic_load_explicit(&a->base, memory_order_relaxed);
	return (base & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EN &&
	       (gpa & APIC_BASE_ADDR) == (base & APIC_BASE_ADDR);
}

/* Registers are 32 bits wide, 16 bytes apart; what else one may do with them is
 * undefined (SDM 11.4.1). Narrow reads get their part, narrow writes are dropped. */
uint64_t apic_mmio_read(struct apic *a, unsigned off, unsigned size)
{
	unsigned in = off & 15;
	uint64_t v;

	if (in >= 4)
		return 0;
	pthread_mutex_lock(&a->lock);
	v = apic_read_reg_locked(a, off >> 4 & 0xff);
	pthread_mutex_unlock(&a->lock);
	return v >> (in * 8) & low_mask(size * 8);
}

void apic_mmio_write(struct apic *a, unsigned off, uint64_t val, unsigned size)
{
	if ((off & 15) == 0 && size >= 4)
		apic_write_reg(a, off >> 4 & 0xff, (uint32_t)val);
}

/*
 * Life.
 */

/* Registers as after power-on; the MSR, the ID and the mode are the caller's. */
void apic_reset_locked(struct apic *a)
{
	atomic_store(&a->tpr, 0);
	a->ldr = 0;
	a->dfr = 0xffffffff;
	a->svr = 0xff;
	a->esr = a->esr_pending = 0;
	a->icr = 0;
	a->extint = false;
	memset(a->irr, 0, sizeof(a->irr));
	memset(a->isr, 0, sizeof(a->isr));
	memset(a->tmr, 0, sizeof(a->tmr));
	for (unsigned n = 0; n < APIC_LVTS; n++)
		a->lvt[n] = APIC_LVT_MASKED;
	/* Virtual wire mode: the 8259s reach the boot processor through LINT0, as
	 * every PC's firmware leaves it; what is booted without firmware counts on
	 * it. */
	if (a->id == 0)
		*apic_lvt(a, APIC_LVT_LINT0) = APIC_DM_EXTINT << 8;
	apic_timer_stop_locked(a);
	a->divide = 0;
}

void apic_reset(struct apic *a, bool init)
{
	pthread_mutex_lock(&a->lock);
	apic_reset_locked(a);
	if (!init)
		atomic_store(&a->base, APIC_DEFAULT_BASE | APIC_BASE_EN |
					       (a->id == 0 ? APIC_BASE_BSP : 0));
	pthread_mutex_unlock(&a->lock);
}

struct apic *apic_new(struct x86_cpu *c, struct cpus *s, unsigned id)
{
	struct apic *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->cpu = c;
	a->cpus = s;
	a->id = id;
	pthread_mutex_init(&a->lock, NULL);
	apic_timer_init(a);
	apic_reset(a, false);
	return a;
}

void apic_free(struct apic *a)
{
	if (!a)
		return;
	if (a->timer.vt)
		vtimer_cancel(&a->timer);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

/*
 * State.
 */
static void pre_save(void *obj)
{
	struct apic *a = obj;

	a->start_age_ns = a->timer.vt ? vtime_now_ns(a->timer.vt) - a->start_ns : 0;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct apic *a = obj;
	uint64_t base = atomic_load(&a->base);

	if (a->start_age_ns < 0 || a->start_age_ns > INT64_MAX / 4)
		return err_set(err, -EINVAL, "the local APIC's timer started %lld ns ago",
			       (long long)a->start_age_ns);
	if (a->timer.vt)
		a->start_ns = vtime_now_ns(a->timer.vt) - a->start_age_ns;
	if (base & 0x2ff || (base & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EXTD)
		return err_set(err, -EINVAL, "the local APIC's base is %#llx",
			       (unsigned long long)base);
	/* Vectors below 16 are never requested (SDM 11.5.2). */
	if ((a->irr[0] | a->isr[0]) & 0xffff)
		return err_set(err, -EINVAL, "the local APIC holds vectors below 16");
	for (unsigned n = 0; n < APIC_LVTS; n++)
		a->lvt[n] &= apic_lvt_mask[n];
	a->divide &= 0xb;
	a->svr &= 0x1ff;
	return 0;
}

static const struct state_field fields[] = {
	STATE_U64(struct apic, base, 1),
	STATE_U8(struct apic, tpr, 1),
	STATE_U32(struct apic, ldr, 1),
	STATE_U32(struct apic, dfr, 1),
	STATE_U32(struct apic, svr, 1),
	STATE_U32(struct apic, esr, 1),
	STATE_U32(struct apic, esr_pending, 1),
	STATE_U64(struct apic, icr, 1),
	STATE_ARRAY(struct apic, lvt, 1),
	STATE_ARRAY(struct apic, irr, 1),
	STATE_ARRAY(struct apic, isr, 1),
	STATE_ARRAY(struct apic, tmr, 1),
	STATE_BOOL(struct apic, extint, 1),
	STATE_TIMER(struct apic, timer, 1),
	STATE_U32(struct apic, initial_count, 1),
	STATE_U32(struct apic, divide, 1),
	STATE_U64(struct apic, start_age_ns, 1),
	STATE_U64(struct apic, tsc_deadline, 1),
	STATE_END
};

const struct state_desc apic_state = {
	.name = "apic", .version = 1, .fields = fields,
	.pre_save = pre_save, .post_load = post_load,
};
