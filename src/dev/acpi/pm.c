/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/acpi/pm.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

enum {
	REG_PM1_STS = 0x00, REG_PM1_EN = 0x02, REG_PM1_CNT = 0x04, REG_TIMER = 0x08,
	REG_GPE0 = ACPI_PM_GPE0, REG_SMI_EN = 0x30, REG_SMI_STS = 0x34,
};

#define PM1_TIMER 0x0001u
#define PM1_GLOBAL 0x0020u
#define PM1_POWER_BUTTON 0x0100u
#define PM1_SLEEP_BUTTON 0x0200u
#define PM1_RTC 0x0400u
#define PM1_WAKE 0x8000u
#define PM1_STS_BITS 0x8731u
#define PM1_EN_BITS 0x0721u
#define CNT_SCI_EN 0x0001u
#define CNT_SLP_TYP(v) ((v) >> 10 & 7u)
#define CNT_SLP_EN 0x2000u
#define CNT_BITS 0x1c07u

#define SMI_EN_APMC 0x20u /* an SMI on writes to the APM command port */

#define TIMER_BITS 24u
#define GPE_BYTES (ACPI_PM_GPE0_LEN / 2)

/*
 * The timer: 24 bits of 3.579545 MHz; its status is set when the top bit changes.
 */
static uint64_t ticks_at(int64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * ACPI_PM_TIMER_HZ / 1000000000);
}

static int64_t ns_of(uint64_t ticks)
{
	return (int64_t)(((unsigned __int128)ticks * 1000000000 + ACPI_PM_TIMER_HZ - 1) /
			 ACPI_PM_TIMER_HZ);
}

static uint64_t half_turns(const struct acpi_pm *pm)
{
	return ticks_at(vtime_now_ns(pm->env->vtime)) >> (TIMER_BITS - 1);
}

/* Sets the timer's status if the top bit has changed since it was looked at. */
static void look_at_timer(struct acpi_pm *pm)
{
	uint32_t now = (uint32_t)half_turns(pm);

	if (now != pm->half_turns)
		pm->pm1_sts |= PM1_TIMER;
	pm->half_turns = now;
}

static void update(struct acpi_pm *pm)
{
	bool on = pm->pm1_sts & pm->pm1_en & PM1_EN_BITS;

	for (unsigned n = 0; n < GPE_BYTES; n++)
		on |= (pm->gpe_sts[n] & pm->gpe_en[n]) != 0;
	irq_set(&pm->sci, on && pm->pm1_cnt & CNT_SCI_EN);
	if (pm->pm1_en & PM1_TIMER && !(pm->pm1_sts & PM1_TIMER))
		vtimer_arm(&pm->timer, ns_of((half_turns(pm) + 1) << (TIMER_BITS - 1)));
	else
		vtimer_cancel(&pm->timer);
}

static void timer_turned(void *opaque)
{
	struct acpi_pm *pm = opaque;

	look_at_timer(pm);
	update(pm);
}

/*
 * Sleep.
 */
static void sleep_now(struct acpi_pm *pm, unsigned type)
{
	if (type == ACPI_PM_S5_TYPE && pm->env->power_off)
		pm->env->power_off(pm->env->power_opaque);
	else if (type == ACPI_PM_S3_TYPE && pm->s3_enabled && pm->suspend)
		pm->suspend(pm->suspend_opaque);
}

/*
 * Registers, byte by byte but for the timer, which must be read whole.
 */
static uint8_t read_byte(struct acpi_pm *pm, unsigned off)
{
	switch (off) {
	case REG_PM1_STS: case REG_PM1_STS + 1:
		look_at_timer(pm);
		return (uint8_t)(pm->pm1_sts >> (off & 1) * 8);
	case REG_PM1_EN: case REG_PM1_EN + 1:
		return (uint8_t)(pm->pm1_en >> (off & 1) * 8);
	case REG_PM1_CNT: case REG_PM1_CNT + 1:
		return (uint8_t)(pm->pm1_cnt >> (off & 1) * 8);
	case REG_GPE0 ... REG_GPE0 + GPE_BYTES - 1:
		return pm->gpe_sts[off - REG_GPE0];
	case REG_GPE0 + GPE_BYTES ... REG_GPE0 + ACPI_PM_GPE0_LEN - 1:
		return pm->gpe_en[off - REG_GPE0 - GPE_BYTES];
	case REG_SMI_EN ... REG_SMI_EN + 3:
		return (uint8_t)(pm->smi_en >> (off & 3) * 8);
	case REG_SMI_STS ... REG_SMI_STS + 3:
		return (uint8_t)(pm->smi_sts >> (off & 3) * 8);
	case ACPI_TCO_BASE ... ACPI_TCO_BASE + ACPI_TCO_SIZE - 1:
		return acpi_tco_read(&pm->tco, off - ACPI_TCO_BASE);
	default:
		return 0;
	}
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	struct acpi_pm *pm = dev;
	uint64_t v = 0;

	if (off >= REG_TIMER && off < REG_TIMER + 4)
		return (ticks_at(vtime_now_ns(pm->env->vtime)) & low_mask(TIMER_BITS)) >>
		       (off - REG_TIMER) * 8;
	for (unsigned n = 0; n < size; n++)
		v |= (uint64_t)read_byte(pm, (unsigned)off + n) << (n * 8);
	return v;
}

static uint32_t merge(uint32_t old, unsigned byte, uint8_t val)
{
	return (old & ~(0xffu << byte * 8)) | (uint32_t)val << byte * 8;
}

static void write_byte(struct acpi_pm *pm, unsigned off, uint8_t val)
{
	uint32_t locked = acpi_tco_locked(&pm->tco) ? ACPI_SMI_TCO : 0;

	switch (off) {
	case REG_PM1_STS: case REG_PM1_STS + 1:
		look_at_timer(pm);
		pm->pm1_sts &= (uint16_t)~(val << (off & 1) * 8);
		break;
	case REG_PM1_EN: case REG_PM1_EN + 1:
		pm->pm1_en = (uint16_t)merge(pm->pm1_en, off & 1, val) & PM1_EN_BITS;
		break;
	case REG_PM1_CNT: case REG_PM1_CNT + 1:
		val = (uint8_t)(off & 1 ? val & ~(CNT_SLP_EN >> 8) : val);
		pm->pm1_cnt = (uint16_t)merge(pm->pm1_cnt, off & 1, val) & CNT_BITS;
		break;
	case REG_GPE0 ... REG_GPE0 + GPE_BYTES - 1:
		pm->gpe_sts[off - REG_GPE0] &= (uint8_t)~val;
		break;
	case REG_GPE0 + GPE_BYTES ... REG_GPE0 + ACPI_PM_GPE0_LEN - 1:
		pm->gpe_en[off - REG_GPE0 - GPE_BYTES] = val;
		break;
	case REG_SMI_EN ... REG_SMI_EN + 3:
		pm->smi_en = (merge(pm->smi_en, off & 3, val) & ~locked) | (pm->smi_en & locked);
		break;
	case ACPI_TCO_BASE ... ACPI_TCO_BASE + ACPI_TCO_SIZE - 1:
		acpi_tco_write(&pm->tco, off - ACPI_TCO_BASE, val);
		break;
	case REG_SMI_STS ... REG_SMI_STS + 3:
		pm->smi_sts &= ~((uint32_t)val << (off & 3) * 8);
		break;
	default:
		break;
	}
}

static void ports_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct acpi_pm *pm = dev;
	bool sleep = false;

	for (unsigned n = 0; n < size; n++) {
		write_byte(pm, (unsigned)off + n, (uint8_t)(val >> n * 8));
		if (off + n == REG_PM1_CNT + 1)
			sleep = val >> n * 8 & CNT_SLP_EN >> 8;
	}
	update(pm);
	if (sleep)
		sleep_now(pm, CNT_SLP_TYP(pm->pm1_cnt));
}

static const struct bus_ops ports_ops = { ports_read, ports_write, 1, 4, false };

/*
 * Events.
 */
static void raise_pm1(struct acpi_pm *pm, uint16_t bit)
{
	pm->pm1_sts |= bit;
	update(pm);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	raise_pm1(pm, PM1_POWER_BUTTON);
}

void acpi_pm_sleep_button(struct acpi_pm *pm)
{
	raise_pm1(pm, PM1_SLEEP_BUTTON);
}

void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned gpe)
{
	pm->gpe_sts[gpe / 8 % GPE_BYTES] |= (uint8_t)(1u << (gpe & 7));
	update(pm);
}

void acpi_pm_set_acpi_mode(struct acpi_pm *pm, bool on)
{
	pm->pm1_cnt = (uint16_t)((pm->pm1_cnt & ~CNT_SCI_EN) | (on ? CNT_SCI_EN : 0));
	update(pm);
}

/*
 * Life.
 */
void acpi_pm_map(struct acpi_pm *pm, uint16_t base, bool enabled)
{
	if (enabled && pm->ports.mapped && pm->ports.start == base)
		return;
	bus_del_pio(pm->env->bus, &pm->ports);
	pm->ports.start = base;
	if (enabled && base && bus_add_pio(pm->env->bus, &pm->ports) != 0)
		log_warn(pm->env->log, "cannot map ACPI registers at port %#x", base);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	pm->pm1_sts = pm->pm1_en = pm->pm1_cnt = 0;
	memset(pm->gpe_sts, 0, sizeof(pm->gpe_sts));
	memset(pm->gpe_en, 0, sizeof(pm->gpe_en));
	/* There is no system management mode. Firmware takes this bit for a sign that
	 * an SMI handler was set up before, and does not try to. */
	pm->smi_en = SMI_EN_APMC;
	pm->smi_sts = 0;
	acpi_tco_reset(&pm->tco);
	pm->half_turns = (uint32_t)half_turns(pm);
	update(pm);
}

int acpi_pm_init(struct acpi_pm *pm, const struct dev_env *env, const struct irq_line *sci,
		 struct err *err)
{
	*pm = (struct acpi_pm){ .env = env, .sci = *sci };
	pm->ports = (struct bus_range){ 0, ACPI_PM_SIZE, &ports_ops, pm, "acpi-pm" };
	vtimer_init(&pm->timer, env->vtime, timer_turned, pm);
	acpi_tco_init(&pm->tco, env, &pm->smi_sts);
	acpi_pm_reset(pm);
	return 0;
}

void acpi_pm_fini(struct acpi_pm *pm)
{
	vtimer_cancel(&pm->timer);
	acpi_tco_fini(&pm->tco);
	bus_del_pio(pm->env->bus, &pm->ports);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct acpi_pm *pm = obj;

	pm->pm1_sts &= PM1_STS_BITS;
	pm->pm1_en &= PM1_EN_BITS;
	pm->pm1_cnt &= CNT_BITS;
	return 0;
}

static const struct state_field fields[] = {
	STATE_U16(struct acpi_pm, pm1_sts, 1),
	STATE_U16(struct acpi_pm, pm1_en, 1),
	STATE_U16(struct acpi_pm, pm1_cnt, 1),
	STATE_ARRAY(struct acpi_pm, gpe_sts, 1),
	STATE_ARRAY(struct acpi_pm, gpe_en, 1),
	STATE_U32(struct acpi_pm, smi_en, 1),
	STATE_U32(struct acpi_pm, smi_sts, 1),
	STATE_U32(struct acpi_pm, half_turns, 1),
	STATE_TIMER(struct acpi_pm, timer, 1),
	STATE_IRQ(struct acpi_pm, sci, 1),
	STATE_STRUCT(struct acpi_pm, tco, 2, &acpi_tco_state),
	STATE_END
};

const struct state_desc acpi_pm_state = {
	.name = "acpi-pm", .version = 2, .fields = fields, .post_load = post_load,
};
