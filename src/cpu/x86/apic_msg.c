/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages to local APICs: interprocessor interrupts from the ICR, and
 * message-signalled interrupts from devices and I/O APICs (Intel SDM vol. 3, 11.6,
 * 11.11, 11.12.9).
 */
#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic_priv.h"
#include "src/cpu/x86/x86.h"

struct message {
	uint32_t dest;
	uint8_t vector, mode;
	bool logical, level, wide; /* wide: a 32-bit destination, from an x2APIC */
};

/* SDM 11.6.2. The two words that can change under us are read once each. */
static bool is_for(const struct apic *a, const struct message *m)
{
	uint32_t ldr, dfr;

	if (m->dest == (m->wide ? 0xffffffff : 0xff))
		return true;
	if (!m->logical)
		return m->dest == apic_id(a);
	if (apic_x2(a))
		return m->dest >> 16 == a->id >> 4 && (m->dest & 1u << (a->id & 15));
	ldr = __atomic_load_n(&a->ldr, __ATOMIC_RELAXED) >> 24;
	dfr = __atomic_load_n(&a->dfr, __ATOMIC_RELAXED) >> 28;
	if (dfr == 0xf)
		return (m->dest & ldr) != 0;
	if (dfr == 0)
		return (m->dest >> 4 & 0xf) == ldr >> 4 && (m->dest & ldr & 0xf);
	return false;
}

static void accept(struct apic *a, const struct message *m)
{
	if (m->mode == APIC_DM_FIXED || m->mode == APIC_DM_LOWEST ||
	    m->mode == APIC_DM_EXTINT) {
		pthread_mutex_lock(&a->lock);
		if (m->mode != APIC_DM_EXTINT) {
			apic_set_irr_locked(a, m->vector, m->level);
		} else if (apic_hw_enabled(a)) {
			a->extint = true;
			apic_request(a, X86_REQ_INTR);
		}
		pthread_mutex_unlock(&a->lock);
		return;
	}
	if (!apic_hw_enabled(a))
		return;
	switch (m->mode) {
	case APIC_DM_SMI:
		apic_request(a, X86_REQ_SMI);
		break;
	case APIC_DM_NMI:
		apic_request(a, X86_REQ_NMI);
		break;
	case APIC_DM_INIT:
		apic_request(a, X86_REQ_INIT);
		break;
	case APIC_DM_SIPI:
		if (!a->cpu->vcpu)
			break;
		atomic_store(&a->cpu->vcpu->sipi_vector, m->vector);
		apic_request(a, X86_REQ_SIPI);
		break;
	default:
		break;
	}
}

static uint8_t priority_of(struct apic *a)
{
	uint8_t ppr;

	pthread_mutex_lock(&a->lock);
	/* One that is switched off must not win the arbitration. */
	ppr = apic_hw_enabled(a) && a->svr & APIC_SVR_ENABLE ? apic_ppr_locked(a) : 0xff;
	pthread_mutex_unlock(&a->lock);
	return ppr;
}

/* Lowest priority wins; among equals the vector spreads the load. */
static void deliver_lowest(struct cpus *s, const struct message *m)
{
	struct apic *best = NULL;
	uint8_t best_priority = 0xff;

	for (unsigned n = 0; n < s->count; n++) {
		struct apic *a = s->vcpu[(n + m->vector) % s->count].x86->apic;
		uint8_t priority;

		if (!a || !is_for(a, m))
			continue;
		priority = priority_of(a);
		if (!best || priority < best_priority) {
			best = a;
			best_priority = priority;
		}
	}
	if (best)
		accept(best, m);
}

static void deliver(struct cpus *s, const struct message *m)
{
	if (m->mode == APIC_DM_LOWEST) {
		deliver_lowest(s, m);
		return;
	}
	for (unsigned n = 0; n < s->count; n++) {
		struct apic *a = s->vcpu[n].x86->apic;

		if (a && is_for(a, m))
			accept(a, m);
	}
}

static void deliver_shorthand(struct apic *self, unsigned shorthand, const struct message *m)
{
	struct cpus *s = self->cpus;

	if (shorthand == 1) {
		/* To itself only fixed interrupts may go (SDM 11.6.1). */
		if (m->mode == APIC_DM_FIXED)
			accept(self, m);
		return;
	}
	if (!s) {
		if (shorthand == 2)
			accept(self, m);
		return;
	}
	for (unsigned n = 0; n < s->count; n++) {
		struct apic *a = s->vcpu[n].x86->apic;

		if (a && (a != self || shorthand == 2))
			accept(a, m);
	}
}

void apic_send_ipi(struct apic *a, uint64_t icr, bool x2)
{
	unsigned shorthand = icr >> 18 & 3;
	struct message m = {
		.dest = (uint32_t)(x2 ? icr >> 32 : icr >> 56),
		.vector = (uint8_t)icr,
		.mode = icr >> 8 & 7,
		.logical = icr >> 11 & 1,
		.wide = x2,
	};

	/* Always sent at once: delivery status reads idle. */
	pthread_mutex_lock(&a->lock);
	a->icr = icr & (x2 ? 0xffffffff000ccfffull : 0xff000000000ccfffull);
	if ((m.mode == APIC_DM_FIXED || m.mode == APIC_DM_LOWEST) && m.vector < 16) {
		apic_error_locked(a, APIC_ERR_SEND_ILLEGAL);
		pthread_mutex_unlock(&a->lock);
		return;
	}
	pthread_mutex_unlock(&a->lock);
	/* INIT level de-assert only synchronises arbitration IDs of long ago. */
	if (m.mode == APIC_DM_INIT && (icr & 0xc000) == 0x8000)
		return;
	if (m.mode == APIC_DM_EXTINT || m.mode == APIC_DM_RESERVED)
		return;
	if (shorthand)
		deliver_shorthand(a, shorthand, &m);
	else if (a->cpus)
		deliver(a->cpus, &m);
	else if (is_for(a, &m))
		accept(a, &m);
}

void apic_msi(struct cpus *s, uint64_t addr, uint32_t data)
{
	struct message m = {
		.dest = addr >> 12 & 0xff,
		.vector = (uint8_t)data,
		.mode = data >> 8 & 7,
		.logical = addr >> 2 & 1,
		.level = data >> 15 & 1,
	};

	if (addr >> 20 != 0xfee)
		return;
	if (m.mode == APIC_DM_SIPI || m.mode == APIC_DM_RESERVED)
		return; /* SDM 11.11.2: not for messages */
	deliver(s, &m);
}
