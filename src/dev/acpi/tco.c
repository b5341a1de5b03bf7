/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/acpi/tco.h"

#include <errno.h>

#include "src/base/bits.h"

enum {
	REG_RLD = 0x00, REG_DAT_IN = 0x02, REG_DAT_OUT, REG_STS1, REG_STS2 = 0x06, REG_CNT1 = 0x08,
	REG_CNT2 = 0x0a, REG_MESSAGE = 0x0c, REG_WDCNT = 0x0e, REG_IRQ_GEN = 0x10, REG_TMR = 0x12,
};

#define STS1_SW_SMI 0x0002u
#define STS1_INT 0x0004u
#define STS1_TIMEOUT 0x0008u
#define STS1_BITS 0x138fu /* those that a write of 1 clears */
#define STS2_SECOND 0x0002u
#define STS2_BOOT 0x0004u
#define STS2_BITS 0x0017u
#define CNT1_BITS 0x1b00u /* NMI_NOW, NMI2SMI_EN, TCO_TMR_HLT, TCO_LOCK */
#define CNT1_HALT 0x0800u
#define CNT1_LOCK 0x1000u
#define CNT2_BITS 0x003eu
#define TMR_BITS 0x03ffu
#define TMR_DEFAULT 4u
#define IRQ_GEN_DEFAULT 0x03u

static bool runs(const struct acpi_tco *t)
{
	return t->loaded && !(t->cnt1 & CNT1_HALT);
}

/* Values below 2 make no timer (13.9.12): it counts two ticks then. */
static uint16_t period(const struct acpi_tco *t)
{
	return max_of(t->initial, 2);
}

static uint16_t ticks_left(const struct acpi_tco *t)
{
	int64_t ns;

	if (!vtimer_armed(&t->timer))
		return t->left;
	ns = t->timer.deadline_ns - vtime_now_ns(t->env->vtime);
	ns = (ns + ACPI_TCO_TICK_NS - 1) / ACPI_TCO_TICK_NS;
	return ns < 0 ? 0 : (uint16_t)min_of(ns, (int64_t)TMR_BITS);
}

static void start(struct acpi_tco *t, uint16_t ticks)
{
	t->left = ticks;
	if (runs(t))
		vtimer_arm(&t->timer, vtime_now_ns(t->env->vtime) + ticks * ACPI_TCO_TICK_NS);
	else
		vtimer_cancel(&t->timer);
}

static void reload(struct acpi_tco *t)
{
	t->loaded = true;
	t->once = false;
	start(t, period(t));
}

static bool may_reboot(const struct acpi_tco *t)
{
	return !t->gcs || !(*t->gcs & ICH9_GCS_NO_REBOOT);
}

/* Ran out. What follows the second time is the machine's owner's to choose; where nobody
 * does it is a reset. */
static void timeout(void *opaque)
{
	struct acpi_tco *t = opaque;
	bool second = t->once;

	t->sts1 |= STS1_TIMEOUT;
	*t->smi_sts |= ACPI_SMI_TCO;
	t->once = !second;
	if (second) {
		t->sts2 |= STS2_SECOND | STS2_BOOT;
		if (may_reboot(t)) {
			t->loaded = false; /* it has done its work */
			start(t, 0);
			if (t->env->watchdog)
				t->env->watchdog(t->env->power_opaque);
			else if (t->env->reset)
				t->env->reset(t->env->power_opaque);
			return;
		}
	}
	start(t, period(t));
}

/*
 * Registers.
 */
static uint8_t byte_of(uint16_t v, unsigned off)
{
	return (uint8_t)(v >> (off & 1) * 8);
}

static uint16_t merge(uint16_t old, unsigned off, uint8_t val)
{
	return (uint16_t)(off & 1 ? (old & 0x00ff) | val << 8 : (old & 0xff00) | val);
}

uint8_t acpi_tco_read(struct acpi_tco *t, unsigned off)
{
	switch (off) {
	case REG_RLD: case REG_RLD + 1: return byte_of(ticks_left(t), off);
	case REG_DAT_IN: return t->dat_in;
	case REG_DAT_OUT: return t->dat_out;
	case REG_STS1: case REG_STS1 + 1: return byte_of(t->sts1, off);
	case REG_STS2: case REG_STS2 + 1: return byte_of(t->sts2, off);
	case REG_CNT1: case REG_CNT1 + 1: return byte_of(t->cnt1, off);
	case REG_CNT2: case REG_CNT2 + 1: return byte_of(t->cnt2, off);
	case REG_MESSAGE: case REG_MESSAGE + 1: return t->message[off & 1];
	case REG_WDCNT: return t->wdcnt;
	case REG_IRQ_GEN: return t->irq_gen;
	case REG_TMR: case REG_TMR + 1: return byte_of(t->initial, off);
	default: return 0;
	}
}

static void write_cnt1(struct acpi_tco *t, unsigned off, uint8_t val)
{
	uint16_t old = t->cnt1, left = ticks_left(t);

	/* The lock opens with the next reset only. */
	t->cnt1 = (merge(old, off, val) & CNT1_BITS) | (old & CNT1_LOCK);
	if ((t->cnt1 ^ old) & CNT1_HALT)
		start(t, left);
}

void acpi_tco_write(struct acpi_tco *t, unsigned off, uint8_t val)
{
	switch (off) {
	case REG_RLD: /* whatever is written; the upper byte is its companion */
		reload(t);
		break;
	case REG_DAT_IN:
		t->dat_in = val;
		t->sts1 |= STS1_SW_SMI;
		*t->smi_sts |= ACPI_SMI_TCO;
		break;
	case REG_DAT_OUT:
		t->dat_out = val;
		t->sts1 |= STS1_INT;
		break;
	case REG_STS1: case REG_STS1 + 1:
		t->sts1 &= (uint16_t)~(val << (off & 1) * 8 & STS1_BITS);
		break;
	case REG_STS2: case REG_STS2 + 1:
		t->sts2 &= (uint16_t)~(val << (off & 1) * 8 & STS2_BITS);
		break;
	case REG_CNT1: case REG_CNT1 + 1:
		write_cnt1(t, off, val);
		break;
	case REG_CNT2: case REG_CNT2 + 1:
		t->cnt2 = merge(t->cnt2, off, val) & CNT2_BITS;
		break;
	case REG_MESSAGE: case REG_MESSAGE + 1:
		t->message[off & 1] = val;
		break;
	case REG_WDCNT:
		t->wdcnt = val;
		break;
	case REG_IRQ_GEN:
		t->irq_gen = val & 3;
		break;
	case REG_TMR: case REG_TMR + 1: /* from the next reload on */
		t->initial = merge(t->initial, off, val) & TMR_BITS;
		break;
	default:
		break;
	}
}

bool acpi_tco_locked(const struct acpi_tco *t)
{
	return t->cnt1 & CNT1_LOCK;
}

/*
 * Life.
 */
void acpi_tco_reset(struct acpi_tco *t)
{
	vtimer_cancel(&t->timer);
	t->dat_in = t->dat_out = t->wdcnt = 0;
	t->sts1 = t->cnt1 = t->cnt2 = 0;
	t->message[0] = t->message[1] = 0;
	t->irq_gen = IRQ_GEN_DEFAULT;
	t->initial = t->left = TMR_DEFAULT;
	t->loaded = t->once = false;
}

void acpi_tco_init(struct acpi_tco *t, const struct dev_env *env, uint32_t *smi_sts)
{
	*t = (struct acpi_tco){ .env = env, .smi_sts = smi_sts };
	vtimer_init(&t->timer, env->vtime, timeout, t);
	acpi_tco_reset(t);
}

void acpi_tco_fini(struct acpi_tco *t)
{
	vtimer_cancel(&t->timer);
}

static void pre_save(void *obj)
{
	struct acpi_tco *t = obj;

	t->left = ticks_left(t);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct acpi_tco *t = obj;

	t->sts1 &= STS1_BITS;
	t->sts2 &= STS2_BITS;
	t->cnt1 &= CNT1_BITS;
	t->cnt2 &= CNT2_BITS;
	t->initial &= TMR_BITS;
	t->left &= TMR_BITS;
	t->irq_gen &= 3;
	if (vtimer_armed(&t->timer) != runs(t))
		return err_set(err, -EINVAL, "the watchdog %s, but its timer %s",
			       runs(t) ? "runs" : "stands still",
			       vtimer_armed(&t->timer) ? "does not" : "is not set");
	return 0;
}

static const struct state_field fields[] = {
	STATE_U8(struct acpi_tco, dat_in, 1),
	STATE_U8(struct acpi_tco, dat_out, 1),
	STATE_U16(struct acpi_tco, sts1, 1),
	STATE_U16(struct acpi_tco, sts2, 1),
	STATE_U16(struct acpi_tco, cnt1, 1),
	STATE_U16(struct acpi_tco, cnt2, 1),
	STATE_ARRAY(struct acpi_tco, message, 1),
	STATE_U8(struct acpi_tco, wdcnt, 1),
	STATE_U8(struct acpi_tco, irq_gen, 1),
	STATE_U16(struct acpi_tco, initial, 1),
	STATE_U16(struct acpi_tco, left, 1),
	STATE_BOOL(struct acpi_tco, loaded, 1),
	STATE_BOOL(struct acpi_tco, once, 1),
	STATE_TIMER(struct acpi_tco, timer, 1),
	STATE_END
};

const struct state_desc acpi_tco_state = {
	.name = "acpi-tco", .version = 1, .fields = fields, .pre_save = pre_save,
	.post_load = post_load,
};
