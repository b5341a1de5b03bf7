/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counters are not stepped: each remembers when its count was loaded, and what
 * software reads is worked out from the time. Only channel 0 has a timer, for its
 * interrupt.
 */
#include "src/dev/legacy/i8254.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

/* The shortest time between two interrupts that the host serves; a guest that
 * programs a faster rate gets this one. */
#define MIN_INTERVAL_NS 100000

static int64_t now_ns(const struct i8254_channel *c)
{
	return vtime_now_ns(c->pit->env->vtime);
}

static uint64_t ticks_of(int64_t ns)
{
	return ns <= 0 ? 0 : (uint64_t)((unsigned __int128)ns * I8254_HZ / 1000000000);
}

/* Rounded up: at that many nanoseconds so many ticks have surely passed. */
static int64_t ns_of(uint64_t ticks)
{
	return (int64_t)(((unsigned __int128)ticks * 1000000000 + I8254_HZ - 1) / I8254_HZ);
}

static bool is_periodic(const struct i8254_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

/* Ticks since the count in use was loaded. */
static uint64_t elapsed(const struct i8254_channel *c)
{
	if (!c->gate && c->mode != 1 && c->mode != 5)
		return c->held;
	return ticks_of(now_ns(c) - c->start_ns);
}

/* A count written in modes 2 and 3 takes over when the period in progress ends. */
static void settle(struct i8254_channel *c)
{
	uint64_t ticks;

	if (!c->next_count || !is_periodic(c) || !c->loaded || !c->gate)
		return;
	ticks = elapsed(c);
	if (ticks < c->count)
		return;
	c->start_ns += ns_of(ticks / c->count * c->count);
	c->count = c->next_count;
	c->next_count = 0;
	c->null_count = false;
}

static bool output(const struct i8254_channel *c)
{
	uint64_t d;

	if (!c->loaded || ((c->mode == 1 || c->mode == 5) && !c->triggered))
		return c->mode != 0;
	d = elapsed(c);
	switch (c->mode) {
	case 0: case 1:
		return d >= c->count;
	case 2:
		return !c->gate || d % c->count != c->count - 1u;
	case 3:
		return !c->gate || d % c->count < (c->count + 1u) / 2;
	default:
		return d != c->count;
	}
}

static uint16_t to_bcd(uint32_t v)
{
	return (uint16_t)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static uint32_t from_bcd(uint16_t v)
{
	return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15);
}

/* What the counting element shows. */
static uint16_t count_now(const struct i8254_channel *c)
{
	uint64_t d = c->loaded ? elapsed(c) : 0;
	uint32_t wrap = c->bcd ? 10000 : 0x10000, v;

	if (c->mode == 2)
		v = c->count - (uint32_t)(d % c->count);
	else if (c->mode == 3) /* down by two; odd counts one less */
		v = (c->count & ~1u) -
		    (uint32_t)(2 * (d % c->count) % max_of(c->count & ~1u, 2u));
	else
		v = (c->count + wrap - (uint32_t)(d % wrap)) % wrap;
	v %= wrap;
	return c->bcd ? to_bcd(v) : (uint16_t)v;
}

/*
 * Channel 0's interrupt. The line follows the output; pulses of one clock (modes 2,
 * 4, 5) and the low half of mode 3's wave are drawn together to one instant, since
 * only the rising edge counts.
 */
static void arm(struct i8254_channel *c)
{
	int64_t now = now_ns(c), due;
	uint64_t d;

	if (!c->timer.vt)
		return;
	if (!c->loaded || !c->gate || ((c->mode == 1 || c->mode == 5) && !c->triggered)) {
		vtimer_cancel(&c->timer);
		return;
	}
	d = elapsed(c);
	if (is_periodic(c)) {
		due = c->start_ns + ns_of((d / c->count + 1) * c->count);
		if (due < now + MIN_INTERVAL_NS && c->count < ticks_of(MIN_INTERVAL_NS))
			due = now + MIN_INTERVAL_NS;
	} else if (d < c->count) {
		due = c->start_ns + ns_of(c->count);
	} else {
		vtimer_cancel(&c->timer);
		return;
	}
	vtimer_arm(&c->timer, due);
}

/* The output as it stands now, without an edge that software did not cause. */
static void drive(struct i8254_channel *c)
{
	if (c->timer.vt)
		irq_set(&c->pit->irq0, c->mode > 1 ? 1 : output(c));
}

static void expired(void *opaque)
{
	struct i8254_channel *c = opaque;

	irq_set(&c->pit->irq0, 0);
	irq_set(&c->pit->irq0, 1);
	settle(c);
	arm(c);
}

/*
 * Counts and gates.
 */
static void load(struct i8254_channel *c, uint32_t count)
{
	c->count = count;
	c->next_count = 0;
	c->start_ns = now_ns(c);
	c->held = 0;
	c->null_count = false;
	c->loaded = true;
}

/* For the end of the period that is running: start_ns moves to where that began. */
static void set_next(struct i8254_channel *c, uint32_t count)
{
	if (c->gate)
		c->start_ns += ns_of(elapsed(c) / c->count * c->count);
	c->next_count = count;
}

static void write_count(struct i8254_channel *c, uint16_t val)
{
	uint32_t count = c->bcd ? from_bcd(val) : val;

	if (!count)
		count = c->bcd ? 10000 : 0x10000;
	if ((c->mode == 2 || c->mode == 3) && count == 1)
		count = 2; /* "a count of one is illegal" */
	settle(c);
	c->null_count = true;
	if (c->mode == 1 || c->mode == 5)
		c->next_count = count; /* until the gate rises */
	else if (is_periodic(c) && c->loaded)
		set_next(c, count);
	else
		load(c, count);
	drive(c);
	arm(c);
}

static void set_gate(struct i8254_channel *c, bool gate)
{
	bool rises = gate && !c->gate, falls = !gate && c->gate;

	if (falls) {
		c->held = (uint32_t)min_of(elapsed(c), 0x20000u);
		if (is_periodic(c) && c->count)
			c->held %= c->count;
	}
	c->gate = gate;
	if (!rises)
		return;
	switch (c->mode) {
	case 0: case 4: /* goes on counting */
		c->start_ns = now_ns(c) - ns_of(c->held);
		break;
	case 2: case 3: /* starts over */
		if (c->loaded)
			load(c, c->next_count ? c->next_count : c->count);
		break;
	default: /* one shot */
		if (c->next_count || c->loaded)
			load(c, c->next_count ? c->next_count : c->count);
		c->triggered = c->loaded;
		break;
	}
}

/*
 * Registers.
 */
static void latch_count(struct i8254_channel *c)
{
	if (c->latched)
		return; /* the first latch holds until it is read */
	c->latch = count_now(c);
	c->latched = c->access;
}

static void latch_status(struct i8254_channel *c)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)(output(c) << 7 | c->null_count << 6 | c->access << 4 |
			      c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void write_control(struct i8254 *p, uint8_t val)
{
	struct i8254_channel *c;

	if (val >> 6 == 3) { /* read back */
		for (unsigned n = 0; n < 3; n++) {
			if (!(val >> (n + 1) & 1))
				continue;
			settle(&p->channel[n]);
			if (!(val & 0x20))
				latch_count(&p->channel[n]);
			if (!(val & 0x10))
				latch_status(&p->channel[n]);
		}
		return;
	}
	c = &p->channel[val >> 6];
	settle(c);
	if (!(val >> 4 & 3)) {
		latch_count(c);
		return;
	}
	c->access = val >> 4 & 3;
	c->mode = val >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4;
	c->bcd = val & 1;
	c->latched = 0;
	c->status_latched = c->write_high_next = c->read_high_next = false;
	c->null_count = true;
	c->loaded = c->triggered = false;
	c->next_count = 0;
	drive(c);
	arm(c);
}

static void write_channel(struct i8254_channel *c, uint8_t val)
{
	switch (c->access) {
	case 1:
		write_count(c, val);
		break;
	case 2:
		write_count(c, (uint16_t)(val << 8));
		break;
	default:
		if (c->write_high_next) {
			write_count(c, (uint16_t)(c->write_low | val << 8));
		} else {
			c->write_low = val;
			if (c->mode == 0) { /* the first byte stops the counting */
				c->loaded = false;
				drive(c);
				arm(c);
			}
		}
		c->write_high_next = !c->write_high_next;
		break;
	}
}

static uint8_t read_channel(struct i8254_channel *c)
{
	uint16_t v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	settle(c);
	v = c->latched ? c->latch : count_now(c);
	switch (c->latched ? c->latched : c->access) {
	case 1:
		c->latched = 0;
		return (uint8_t)v;
	case 2:
		c->latched = 0;
		return (uint8_t)(v >> 8);
	default:
		c->read_high_next = !c->read_high_next;
		if (c->read_high_next)
			return (uint8_t)v;
		c->latched = 0;
		return (uint8_t)(v >> 8);
	}
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	struct i8254 *p = dev;

	return off == 3 ? 0xff : read_channel(&p->channel[off & 3]);
}

static void ports_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct i8254 *p = dev;

	if (off == 3)
		write_control(p, (uint8_t)val);
	else
		write_channel(&p->channel[off & 3], (uint8_t)val);
}

static uint64_t port61_read(void *dev, uint64_t off, unsigned size)
{
	struct i8254 *p = dev;
	struct i8254_channel *c = &p->channel[2];
	/* The refresh request toggles every 15 microseconds or so. */
	bool refresh = now_ns(c) / 15085 & 1;

	settle(c);
	return c->gate | p->speaker << 1 | p->nmi_mask | refresh << 4 | output(c) << 5;
}

static void port61_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct i8254 *p = dev;

	settle(&p->channel[2]);
	set_gate(&p->channel[2], val & 1);
	p->speaker = val & 2;
	p->nmi_mask = val & 0x0c;
}

static const struct bus_ops ports_ops = { ports_read, ports_write, 1, 1, false };
static const struct bus_ops port61_ops = { port61_read, port61_write, 1, 1, false };

/*
 * Life.
 */
static void reset(void *dev)
{
	struct i8254 *p = dev;

	for (unsigned n = 0; n < 3; n++) {
		struct i8254_channel *c = &p->channel[n];

		if (c->timer.vt)
			vtimer_cancel(&c->timer);
		*c = (struct i8254_channel){
			.pit = p, .timer = c->timer, .count = 0x10000, .mode = 3, .access = 3,
			.gate = n != 2, .null_count = true,
		};
	}
	p->speaker = false;
	p->nmi_mask = 0;
	drive(&p->channel[0]);
}

int i8254_init(struct i8254 *p, const struct dev_env *env, const struct irq_line *irq0,
	       struct err *err)
{
	int r;

	*p = (struct i8254){ .env = env, .irq0 = *irq0 };
	vtimer_init(&p->channel[0].timer, env->vtime, expired, &p->channel[0]);
	reset(p);
	p->ports = (struct bus_range){ 0x40, 4, &ports_ops, p, "i8254" };
	p->port61 = (struct bus_range){ 0x61, 1, &port61_ops, p, "port61" };
	r = bus_add_pio(env->bus, &p->ports);
	if (r == 0)
		r = bus_add_pio(env->bus, &p->port61);
	if (r != 0) {
		i8254_fini(p);
		return err_set(err, r, "cannot place the 8254 timer");
	}
	return 0;
}

void i8254_fini(struct i8254 *p)
{
	vtimer_cancel(&p->channel[0].timer);
	bus_del_pio(p->env->bus, &p->ports);
	bus_del_pio(p->env->bus, &p->port61);
}

/*
 * State. Times are saved as ages.
 */
static void channel_pre_save(void *obj)
{
	struct i8254_channel *c = obj;

	c->age_ns = now_ns(c) - c->start_ns;
}

static int channel_post_load(void *obj, unsigned version, struct err *err)
{
	struct i8254_channel *c = obj;

	if (c->mode > 5 || c->access < 1 || c->access > 3 || c->latched > 3)
		return err_set(err, -EINVAL, "mode %u, access %u, latch %u", c->mode, c->access,
			       c->latched);
	if (c->count < 1 || c->count > 0x10000 || c->next_count > 0x10000)
		return err_set(err, -EINVAL, "count %u, next %u", c->count, c->next_count);
	if (c->age_ns < 0 || c->age_ns > INT64_MAX / 4)
		return err_set(err, -EINVAL, "the count started %lld ns ago",
			       (long long)c->age_ns);
	c->start_ns = now_ns(c) - c->age_ns;
	return 0;
}

static const struct state_field channel_fields[] = {
	STATE_TIMER(struct i8254_channel, timer, 1),
	STATE_U64(struct i8254_channel, age_ns, 1),
	STATE_U32(struct i8254_channel, count, 1),
	STATE_U32(struct i8254_channel, next_count, 1),
	STATE_U32(struct i8254_channel, held, 1),
	STATE_U16(struct i8254_channel, latch, 1),
	STATE_U8(struct i8254_channel, latched, 1),
	STATE_U8(struct i8254_channel, status, 1),
	STATE_BOOL(struct i8254_channel, status_latched, 1),
	STATE_U8(struct i8254_channel, mode, 1),
	STATE_U8(struct i8254_channel, access, 1),
	STATE_U8(struct i8254_channel, write_low, 1),
	STATE_BOOL(struct i8254_channel, write_high_next, 1),
	STATE_BOOL(struct i8254_channel, read_high_next, 1),
	STATE_BOOL(struct i8254_channel, bcd, 1),
	STATE_BOOL(struct i8254_channel, gate, 1),
	STATE_BOOL(struct i8254_channel, null_count, 1),
	STATE_BOOL(struct i8254_channel, loaded, 1),
	STATE_BOOL(struct i8254_channel, triggered, 1),
	STATE_END
};

static const struct state_desc channel_state = {
	.name = "i8254-channel", .version = 1, .fields = channel_fields,
	.pre_save = channel_pre_save, .post_load = channel_post_load,
};

static const struct state_field fields[] = {
	STATE_STRUCT_ARRAY(struct i8254, channel, 1, &channel_state),
	STATE_IRQ(struct i8254, irq0, 1),
	STATE_BOOL(struct i8254, speaker, 1),
	STATE_U8(struct i8254, nmi_mask, 1),
	STATE_END
};

static const struct state_desc state = { .name = "i8254", .version = 1, .fields = fields };

const struct dev_desc i8254_desc = {
	.name = "i8254",
	.title = "8254 programmable interval timer",
	.reset = reset,
	.state = &state,
};
