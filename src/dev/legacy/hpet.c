/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/hpet.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

/* The shortest time between two interrupts of a periodic timer that the host
 * serves; a guest that programs a faster rate gets this one. */
#define MIN_INTERVAL_NS 100000

#define NS_PER_TICK (HPET_PERIOD_FS / 1000000u)

#define REG_CAP 0x000u
#define REG_CONFIG 0x010u
#define REG_STATUS 0x020u
#define REG_COUNTER 0x0f0u
#define REG_TIMER0 0x100u /* 0x20 bytes each */

#define CONFIG_ENABLE 0x1u
#define CONFIG_LEGACY 0x2u

#define TN_LEVEL 0x0002u
#define TN_ENABLE 0x0004u
#define TN_PERIODIC 0x0008u
#define TN_PERIODIC_CAP 0x0010u
#define TN_SIZE_CAP 0x0020u
#define TN_SET 0x0040u
#define TN_32BIT 0x0100u
#define TN_ROUTE_SHIFT 9
#define TN_ROUTE 0x3e00u
#define TN_FSB 0x4000u
#define TN_FSB_CAP 0x8000u
#define TN_WRITABLE (TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_SET | TN_32BIT | TN_ROUTE | TN_FSB)
/* GSIs that timers may be routed to: 2, 8, 16..23. */
#define ROUTE_CAP 0x00ff0104ull
#define TN_CAPS (ROUTE_CAP << 32 | TN_PERIODIC_CAP | TN_SIZE_CAP | TN_FSB_CAP)

#define CAPABILITIES                                                              \
	((uint64_t)HPET_PERIOD_FS << 32 | 0x8086ull << 16 | 1u << 15 | 1u << 13 | \
	 (HPET_TIMERS - 1) << 8 | 1)

static int64_t now_ns(const struct hpet *h)
{
	return vtime_now_ns(h->env->vtime);
}

static uint64_t counter_at(const struct hpet *h, int64_t ns)
{
	if (!(h->config & CONFIG_ENABLE))
		return h->counter;
	return h->counter + (uint64_t)(ns - h->base_ns) / NS_PER_TICK;
}

static bool is_legacy(const struct hpet_timer *t)
{
	return t->index < 2 && t->hpet->config & CONFIG_LEGACY;
}

/*
 * Interrupt lines: 1..HPET_GSIS for GSIs, then the two of legacy mode; 0 none.
 */
static struct irq_line *line_of(struct hpet *h, unsigned n)
{
	if (n == 0 || n > HPET_GSIS + 2)
		return NULL;
	return n <= HPET_GSIS ? &h->gsi[n - 1] : &h->legacy[n - 1 - HPET_GSIS];
}

static unsigned route_of(const struct hpet_timer *t)
{
	unsigned gsi = (unsigned)(t->config & TN_ROUTE) >> TN_ROUTE_SHIFT;

	if (is_legacy(t))
		return 1 + HPET_GSIS + t->index;
	return ROUTE_CAP >> gsi & 1 ? 1 + gsi : 0;
}

/* Pulls the line that the timer is routed to while its status says so. */
static void drive(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	bool on = h->status >> t->index & 1 && t->config & TN_ENABLE && t->config & TN_LEVEL &&
		  !(t->config & TN_FSB) && h->config & CONFIG_ENABLE;
	unsigned want = on ? route_of(t) : 0;
	bool shared = false;

	if (want == t->pulled)
		return;
	/* Two timers on one line: it falls when neither pulls. */
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		shared |= &h->timer[n] != t && h->timer[n].pulled == t->pulled;
	if (t->pulled && !shared)
		irq_set(line_of(h, t->pulled), 0);
	t->pulled = (uint8_t)want;
	if (want)
		irq_set(line_of(h, want), 1);
}

static void fire(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;

	if (t->config & TN_LEVEL)
		h->status |= 1u << t->index;
	if (!(t->config & TN_ENABLE))
		return;
	if (t->config & TN_FSB)
		bus_msi(h->env->bus, t->fsb >> 32, (uint32_t)t->fsb);
	else if (t->config & TN_LEVEL)
		drive(t);
	else if (route_of(t))
		irq_pulse(line_of(h, route_of(t)));
}

/*
 * Time. A timer fires when the counter passes its comparator; one that has been
 * passed waits for the counter to come round again.
 */
static uint64_t width_mask(const struct hpet_timer *t)
{
	return t->config & TN_32BIT ? 0xffffffffu : UINT64_MAX;
}

static bool is_periodic(const struct hpet_timer *t)
{
	return t->config & TN_PERIODIC && t->period & width_mask(t);
}

static void arm(struct hpet_timer *t, int64_t not_before_ns)
{
	struct hpet *h = t->hpet;
	int64_t now = now_ns(h), left = 0, due;
	uint64_t ticks;

	/* Without an interrupt nobody sees it fire, save a level timer's status. */
	if (!(h->config & CONFIG_ENABLE) || !(t->config & (TN_ENABLE | TN_LEVEL))) {
		vtimer_cancel(&t->timer);
		return;
	}
	ticks = (t->comparator - counter_at(h, now)) & width_mask(t);
	if (ticks == 0)
		ticks = width_mask(t); /* fired just now */
	/* More than a century: never. */
	if (ticks > UINT64_MAX / 8 / NS_PER_TICK) {
		vtimer_cancel(&t->timer);
		return;
	}
	/* The counter stepped last at base + a multiple of the tick. */
	left = (now - h->base_ns) % NS_PER_TICK;
	due = now - left + (int64_t)(ticks * NS_PER_TICK);
	vtimer_arm(&t->timer, max_of(due, not_before_ns));
}

static void expired(void *opaque)
{
	struct hpet_timer *t = opaque;
	uint64_t mask = width_mask(t), period = t->period & mask;
	int64_t now = now_ns(t->hpet), not_before = 0;

	if (is_periodic(t)) {
		uint64_t behind = (counter_at(t->hpet, now) - t->comparator) & mask;

		/* Periods that were missed are skipped, in step. */
		t->comparator += (behind / period + 1) * period;
		t->comparator &= mask;
		if (period < MIN_INTERVAL_NS / NS_PER_TICK)
			not_before = now + MIN_INTERVAL_NS;
	}
	fire(t);
	arm(t, not_before);
}

static void arm_all(struct hpet *h)
{
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		arm(&h->timer[n], 0);
}

/*
 * Registers, 64 bits wide; accessed whole or by halves.
 */
static uint64_t reg_read(struct hpet *h, unsigned reg)
{
	struct hpet_timer *t;

	switch (reg) {
	case REG_CAP: return CAPABILITIES;
	case REG_CONFIG: return h->config;
	case REG_STATUS: return h->status;
	case REG_COUNTER: return counter_at(h, now_ns(h));
	default: break;
	}
	if (reg < REG_TIMER0 || (reg - REG_TIMER0) / 0x20 >= HPET_TIMERS)
		return 0;
	t = &h->timer[(reg - REG_TIMER0) / 0x20];
	switch (reg & 0x18) {
	case 0x00: return t->config | TN_CAPS;
	case 0x08: return t->comparator & width_mask(t);
	case 0x10: return t->fsb;
	default: return 0;
	}
}

static void write_config(struct hpet *h, uint64_t val)
{
	uint64_t old = h->config;
	int64_t now = now_ns(h);

	if (!(old & CONFIG_ENABLE) && val & CONFIG_ENABLE)
		h->base_ns = now;
	else if (old & CONFIG_ENABLE && !(val & CONFIG_ENABLE))
		h->counter = counter_at(h, now);
	h->config = val & (CONFIG_ENABLE | CONFIG_LEGACY);
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		drive(&h->timer[n]);
	/* In legacy mode the PIT and the RTC are cut off. */
	if ((old ^ h->config) & CONFIG_LEGACY)
		for (unsigned n = 0; n < 2; n++)
			irq_set(&h->legacy[n],
				h->config & CONFIG_LEGACY
					? h->timer[n].pulled == 1 + HPET_GSIS + n
					: h->legacy_in[n]);
	arm_all(h);
}

static void write_status(struct hpet *h, uint64_t val)
{
	h->status &= ~val;
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		drive(&h->timer[n]);
}

static void write_comparator(struct hpet_timer *t, uint64_t val, uint64_t mask)
{
	if (!(t->config & TN_PERIODIC) || t->config & TN_SET)
		t->comparator = (t->comparator & ~mask) | (val & mask);
	if (t->config & TN_PERIODIC)
		t->period = (t->period & ~mask) | (val & mask);
	if (t->config & TN_32BIT) {
		t->comparator &= 0xffffffff;
		t->period &= 0xffffffff;
	}
	/* Two halves make one write; the flag falls with the upper one. */
	if (mask >> 32 || t->config & TN_32BIT)
		t->config &= ~(uint64_t)TN_SET;
}

/* @mask: the bits of the register that are written. */
static void reg_write(struct hpet *h, unsigned reg, uint64_t val, uint64_t mask)
{
	struct hpet_timer *t;

	switch (reg) {
	case REG_CONFIG:
		if (mask & 0xffffffff)
			write_config(h, val);
		return;
	case REG_STATUS:
		write_status(h, val & mask);
		return;
	case REG_COUNTER:
		h->counter = (counter_at(h, now_ns(h)) & ~mask) | (val & mask);
		h->base_ns = now_ns(h);
		arm_all(h);
		return;
	default:
		break;
	}
	if (reg < REG_TIMER0 || (reg - REG_TIMER0) / 0x20 >= HPET_TIMERS)
		return;
	t = &h->timer[(reg - REG_TIMER0) / 0x20];
	switch (reg & 0x18) {
	case 0x00:
		t->config = ((t->config & ~mask) | (val & mask)) & TN_WRITABLE;
		if (!(t->config & TN_LEVEL))
			h->status &= ~(1ull << t->index);
		if (t->config & TN_32BIT)
			t->comparator &= 0xffffffff;
		drive(t);
		break;
	case 0x08:
		write_comparator(t, val, mask);
		break;
	case 0x10:
		t->fsb = (t->fsb & ~mask) | (val & mask);
		return;
	default:
		return;
	}
	arm(t, 0);
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t v = reg_read(dev, (unsigned)off & ~7u);

	return v >> (off & 7) * 8;
}

static void mmio_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	unsigned shift = (unsigned)(off & 7) * 8;

	if (size < 4 || off & 3 || (size == 8 && off & 7))
		return; /* specification 2.3.2: 32 or 64 bits, aligned */
	reg_write(dev, (unsigned)off & ~7u, val << shift, low_mask(size * 8) << shift);
}

static const struct bus_ops mmio_ops = { mmio_read, mmio_write, 4, 8, false };

/*
 * What the PIT and the RTC pull.
 */
static void legacy_in(void *opaque, int n, int level)
{
	struct hpet *h = opaque;

	h->legacy_in[n & 1] = (uint8_t)level;
	if (!(h->config & CONFIG_LEGACY))
		irq_set(&h->legacy[n & 1], level);
}

struct irq_line hpet_legacy_in(struct hpet *h, unsigned n)
{
	return (struct irq_line){ .set = legacy_in, .opaque = h, .n = (int)(n & 1) };
}

/*
 * Life.
 */
static void reset(void *dev)
{
	struct hpet *h = dev;

	h->config = h->status = h->counter = 0;
	h->base_ns = now_ns(h);
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		struct hpet_timer *t = &h->timer[n];

		vtimer_cancel(&t->timer);
		t->config = t->period = t->fsb = 0;
		t->comparator = UINT64_MAX;
		drive(t);
	}
	for (unsigned n = 0; n < 2; n++)
		irq_set(&h->legacy[n], h->legacy_in[n]);
}

int hpet_init(struct hpet *h, const struct dev_env *env, gpa_t base, const struct irq_line *gsi,
	      const struct irq_line *irq0, const struct irq_line *irq8, struct err *err)
{
	int r;

	*h = (struct hpet){ .env = env, .legacy = { *irq0, *irq8 } };
	for (unsigned n = 0; n < HPET_GSIS; n++)
		h->gsi[n] = gsi[n];
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		h->timer[n].hpet = h;
		h->timer[n].index = (uint8_t)n;
		vtimer_init(&h->timer[n].timer, env->vtime, expired, &h->timer[n]);
	}
	reset(h);
	h->mmio = (struct bus_range){ base, 0x400, &mmio_ops, h, "hpet" };
	r = bus_add_mmio(env->bus, &h->mmio);
	if (r != 0)
		return err_set(err, r, "cannot place the HPET at %#llx",
			       (unsigned long long)base);
	return 0;
}

void hpet_fini(struct hpet *h)
{
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		vtimer_cancel(&h->timer[n].timer);
	bus_del_mmio(h->env->bus, &h->mmio);
}

/*
 * State: the counter is saved as it stands.
 */
static void pre_save(void *obj)
{
	struct hpet *h = obj;
	int64_t now = now_ns(h);

	h->counter = counter_at(h, now);
	/* What of a tick has passed stays between base and now. */
	if (h->config & CONFIG_ENABLE)
		h->base_ns = now - (now - h->base_ns) % NS_PER_TICK;
	else
		h->base_ns = now;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct hpet *h = obj;

	h->config &= CONFIG_ENABLE | CONFIG_LEGACY;
	h->status &= low_mask(HPET_TIMERS);
	h->base_ns = now_ns(h);
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		struct hpet_timer *t = &h->timer[n];

		t->config &= TN_WRITABLE;
		if (t->pulled > HPET_GSIS + 2)
			return err_set(err, -EINVAL, "timer %u pulls line %u", n, t->pulled);
	}
	h->legacy_in[0] &= 1;
	h->legacy_in[1] &= 1;
	return 0;
}

static const struct state_field timer_fields[] = {
	STATE_TIMER(struct hpet_timer, timer, 1),
	STATE_U64(struct hpet_timer, config, 1),
	STATE_U64(struct hpet_timer, comparator, 1),
	STATE_U64(struct hpet_timer, period, 1),
	STATE_U64(struct hpet_timer, fsb, 1),
	STATE_U8(struct hpet_timer, pulled, 1),
	STATE_END
};

static const struct state_desc timer_state = {
	.name = "hpet-timer", .version = 1, .fields = timer_fields,
};

static const struct state_field fields[] = {
	STATE_STRUCT_ARRAY(struct hpet, timer, 1, &timer_state),
	STATE_U64(struct hpet, config, 1),
	STATE_U64(struct hpet, status, 1),
	STATE_U64(struct hpet, counter, 1),
	STATE_STRUCT_ARRAY(struct hpet, gsi, 1, &irq_line_state),
	STATE_STRUCT_ARRAY(struct hpet, legacy, 1, &irq_line_state),
	STATE_ARRAY(struct hpet, legacy_in, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "hpet", .version = 1, .fields = fields,
	.pre_save = pre_save, .post_load = post_load,
};

const struct dev_desc hpet_desc = {
	.name = "hpet",
	.title = "high-precision event timer",
	.reset = reset,
	.state = &state,
};
