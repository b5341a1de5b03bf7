/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/i8259.h"

#include <errno.h>
#include <stdatomic.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

#define CASCADE 2u
#define ICW4_AEOI 0x02u
#define ICW4_SFNM 0x10u /* special fully nested mode */

static bool is_first(const struct i8259 *c)
{
	return c == &c->pair->chip[0];
}

static bool is_level(const struct i8259 *c, unsigned n)
{
	return c->level_mode || c->elcr >> n & 1;
}

/* Inputs by priority: the bit of @set that comes first after the lowest, as a
 * distance 0..7; 8 if there is none. */
static unsigned first_of(const struct i8259 *c, uint8_t set)
{
	unsigned n = 0;

	while (n < 8 && !(set >> ((c->lowest + 1 + n) & 7) & 1))
		n++;
	return n;
}

/* The input that would interrupt now, -1 none. */
static int candidate(const struct i8259 *c)
{
	uint8_t serving = c->isr;
	unsigned want;

	if (c->init_step)
		return -1;
	/* Special mask mode: a masked input in service holds nobody back. */
	if (c->special_mask)
		serving &= (uint8_t)~c->imr;
	/* Special fully nested: the second chip may interrupt its own interrupt. */
	if (is_first(c) && c->icw4 & ICW4_SFNM)
		serving &= (uint8_t)~(1u << CASCADE);
	want = first_of(c, c->irr & (uint8_t)~c->imr);
	if (want >= first_of(c, serving))
		return -1;
	return (int)((c->lowest + 1 + want) & 7);
}

/* Carries the second chip's INT to the first and the first's to the processors. */
static void update(struct i8259_pair *p)
{
	struct i8259 *first = &p->chip[0], *second = &p->chip[1];

	second->output = candidate(second) >= 0;
	if (second->output)
		first->irr |= 1u << CASCADE;
	else
		first->irr &= (uint8_t)~(1u << CASCADE);
	first->output = candidate(first) >= 0;
	if (p->away)
		return;
	atomic_store(&p->intr_level, first->output);
	irq_set(&p->intr, first->output);
}

/* A level-triggered input is requested while it is high. An edge is remembered
 * until it is acknowledged, even if the line falls meanwhile. */
static void input_set(void *opaque, int n, int level)
{
	struct i8259_pair *p = opaque;
	struct i8259 *c = &p->chip[n >> 3 & 1];
	unsigned bit = n & 7;
	uint8_t mask = (uint8_t)(1u << bit);

	if (p->away) {
		c->lines = level ? c->lines | mask : c->lines & (uint8_t)~mask;
		p->away->pic_input(p->away->opaque, (unsigned)n, level);
		return;
	}
	if (is_level(c, bit))
		c->irr = level ? c->irr | mask : c->irr & (uint8_t)~mask;
	else if (level && !(c->lines & mask))
		c->irr |= mask;
	c->lines = level ? c->lines | mask : c->lines & (uint8_t)~mask;
	update(p);
}

struct irq_line i8259_input(struct i8259_pair *p, unsigned n)
{
	return (struct irq_line){ .set = input_set, .opaque = p, .n = (int)(n & 15) };
}

static void acknowledge(struct i8259 *c, unsigned n)
{
	if (!(c->icw4 & ICW4_AEOI))
		c->isr |= (uint8_t)(1u << n);
	else if (c->rotate_on_aeoi)
		c->lowest = (uint8_t)n;
	if (!is_level(c, n))
		c->irr &= (uint8_t)~(1u << n);
}

static uint8_t vector_of(const struct i8259 *c, unsigned n)
{
	return (uint8_t)((c->icw2 & 0xf8) | n);
}

bool i8259_pending(const struct i8259_pair *p)
{
	return atomic_load(&p->intr_level) != 0;
}

int i8259_ack(struct i8259_pair *p)
{
	struct i8259 *first = &p->chip[0], *second = &p->chip[1];
	int n, m, vector;

	bus_lock(p->env->bus);
	n = candidate(first);
	if (n < 0) {
		vector = vector_of(first, 7);
	} else if (n == CASCADE && !first->single) {
		m = candidate(second);
		if (m >= 0)
			acknowledge(second, (unsigned)m);
		acknowledge(first, CASCADE);
		vector = vector_of(second, m >= 0 ? (unsigned)m : 7);
	} else {
		acknowledge(first, (unsigned)n);
		vector = vector_of(first, (unsigned)n);
	}
	update(p);
	bus_unlock(p->env->bus);
	return vector;
}

/*
 * Registers.
 */
static void write_icw1(struct i8259 *c, uint8_t val)
{
	c->init_step = 2;
	c->expect_icw4 = val & 1;
	c->single = val & 2;
	c->level_mode = val & 8;
	c->imr = c->isr = c->irr = 0;
	c->lowest = 7;
	c->special_mask = c->read_isr = c->poll = c->rotate_on_aeoi = false;
	c->icw4 = 0;
	/* The edge detector starts anew; levels that stand are requested again. */
	for (unsigned n = 0; n < 8; n++)
		if (is_level(c, n))
			c->irr |= c->lines & (uint8_t)(1u << n);
}

static void end_of_interrupt(struct i8259 *c, int n, bool rotate)
{
	uint8_t serving = c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr;

	if (n < 0) {
		unsigned first = first_of(c, serving);

		if (first == 8)
			return;
		n = (int)((c->lowest + 1 + first) & 7);
	}
	c->isr &= (uint8_t)~(1u << n);
	if (rotate)
		c->lowest = (uint8_t)n;
}

static void write_ocw2(struct i8259 *c, uint8_t val)
{
	switch (val >> 5) {
	case 0: c->rotate_on_aeoi = false; break;
	case 4: c->rotate_on_aeoi = true; break;
	case 1: end_of_interrupt(c, -1, false); break;
	case 5: end_of_interrupt(c, -1, true); break;
	case 3: end_of_interrupt(c, val & 7, false); break;
	case 7: end_of_interrupt(c, val & 7, true); break;
	case 6: c->lowest = val & 7; break;
	default: break; /* 2: no operation */
	}
}

static void write_ocw3(struct i8259 *c, uint8_t val)
{
	if (val & 4)
		c->poll = true;
	if (val & 2)
		c->read_isr = val & 1;
	if (val & 0x40)
		c->special_mask = val & 0x20;
}

static void write_icw(struct i8259 *c, uint8_t val)
{
	switch (c->init_step) {
	case 2:
		c->icw2 = val & 0xf8;
		c->init_step = c->single ? (c->expect_icw4 ? 4 : 0) : 3;
		break;
	case 3:
		c->icw3 = val;
		c->init_step = c->expect_icw4 ? 4 : 0;
		break;
	default:
		c->icw4 = val;
		c->init_step = 0;
		break;
	}
}

static void chip_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct i8259 *c = dev;
	uint8_t v = (uint8_t)val;

	if (off == 1 && c->init_step)
		write_icw(c, v);
	else if (off == 1)
		c->imr = v;
	else if (v & 0x10)
		write_icw1(c, v);
	else if (v & 0x08)
		write_ocw3(c, v);
	else
		write_ocw2(c, v);
	update(c->pair);
}

static uint64_t chip_read(void *dev, uint64_t off, unsigned size)
{
	struct i8259 *c = dev;

	if (c->poll) {
		int n = candidate(c);

		c->poll = false;
		if (n < 0)
			return 0;
		acknowledge(c, (unsigned)n);
		update(c->pair);
		return 0x80u | (unsigned)n;
	}
	if (off == 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static void away_begin(const struct i8259_pair *p)
{
	if (p->away)
		p->away->fetch(p->away->opaque);
}

static void away_end(const struct i8259_pair *p)
{
	if (p->away)
		p->away->done(p->away->opaque);
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	const struct i8259 *c = dev;
	uint64_t v;

	away_begin(c->pair);
	v = chip_read(dev, off, size);
	away_end(c->pair); /* a poll acknowledges */
	return v;
}

static void port_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	const struct i8259 *c = dev;

	away_begin(c->pair);
	chip_write(dev, off, val, size);
	away_end(c->pair);
}

static uint64_t elcr_read(void *dev, uint64_t off, unsigned size)
{
	struct i8259_pair *p = dev;

	away_begin(p);
	return p->chip[off & 1].elcr;
}

/* The system timer, keyboard, cascade, RTC and FPU inputs are always edges. */
static void elcr_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct i8259_pair *p = dev;
	struct i8259 *c = &p->chip[off & 1];

	away_begin(p);
	c->elcr = (uint8_t)val & (off & 1 ? 0xde : 0xf8);
	c->irr = (uint8_t)((c->irr & ~c->elcr) | (c->lines & c->elcr));
	update(p);
	away_end(p);
}

/*
 * The chips in somebody else's hands.
 */
void i8259_get(const struct i8259_pair *p, struct irqchips_pic st[2])
{
	for (unsigned n = 0; n < 2; n++) {
		const struct i8259 *c = &p->chip[n];

		st[n] = (struct irqchips_pic){
			.irr = c->irr, .imr = c->imr, .isr = c->isr, .lines = c->lines,
			.elcr = c->elcr, .base = c->icw2, .icw_next = c->init_step,
			.lowest = c->lowest, .icw4_wanted = c->expect_icw4,
			.auto_eoi = c->icw4 & ICW4_AEOI,
			.rotate_on_auto_eoi = c->rotate_on_aeoi,
			.fully_nested = c->icw4 & ICW4_SFNM, .special_mask = c->special_mask,
			.read_isr = c->read_isr, .poll = c->poll,
		};
	}
}

void i8259_put(struct i8259_pair *p, const struct irqchips_pic st[2])
{
	for (unsigned n = 0; n < 2; n++) {
		const struct irqchips_pic *s = &st[n];
		struct i8259 *c = &p->chip[n];

		c->irr = s->irr;
		c->imr = s->imr;
		c->isr = s->isr;
		c->elcr = s->elcr;
		c->icw2 = s->base;
		c->init_step = s->icw_next == 1 || s->icw_next > 4 ? 0 : s->icw_next;
		c->lowest = s->lowest & 7;
		c->expect_icw4 = s->icw4_wanted;
		c->icw4 = (uint8_t)((c->icw4 & ~(ICW4_AEOI | ICW4_SFNM)) |
				    (s->auto_eoi ? ICW4_AEOI : 0) |
				    (s->fully_nested ? ICW4_SFNM : 0));
		c->rotate_on_aeoi = s->rotate_on_auto_eoi;
		c->special_mask = s->special_mask;
		c->read_isr = s->read_isr;
		c->poll = s->poll;
	}
	update(p);
}

void i8259_lend(struct i8259_pair *p, const struct irqchips_proxy *to)
{
	p->away = to;
	/* Not ours to pull while they are away. */
	if (to) {
		atomic_store(&p->intr_level, 0);
		irq_set(&p->intr, 0);
	} else {
		update(p);
	}
}

static const struct bus_ops port_ops = { port_read, port_write, 1, 1, false };
static const struct bus_ops elcr_ops = { elcr_read, elcr_write, 1, 1, false };

/*
 * Life.
 */
static void reset(void *dev)
{
	struct i8259_pair *p = dev;

	for (unsigned n = 0; n < 2; n++) {
		struct i8259 *c = &p->chip[n];
		uint8_t lines = c->lines;

		*c = (struct i8259){ .pair = p, .lines = lines, .lowest = 7 };
	}
	update(p);
}

int i8259_init(struct i8259_pair *p, const struct dev_env *env, const struct irq_line *intr,
	       struct err *err)
{
	static const uint16_t base[2] = { 0x20, 0xa0 };
	int r = 0;

	*p = (struct i8259_pair){ .env = env, .intr = *intr };
	reset(p);
	for (unsigned n = 0; n < 2 && r == 0; n++) {
		p->ports[n] = (struct bus_range){ base[n], 2, &port_ops, &p->chip[n], "i8259" };
		r = bus_add_pio(env->bus, &p->ports[n]);
	}
	p->ports[2] = (struct bus_range){ 0x4d0, 2, &elcr_ops, p, "elcr" };
	if (r == 0)
		r = bus_add_pio(env->bus, &p->ports[2]);
	if (r != 0) {
		i8259_fini(p);
		return err_set(err, r, "cannot place the 8259 interrupt controllers");
	}
	return 0;
}

void i8259_fini(struct i8259_pair *p)
{
	for (unsigned n = 0; n < array_size(p->ports); n++)
		bus_del_pio(p->env->bus, &p->ports[n]);
}

static int chip_post_load(void *obj, unsigned version, struct err *err)
{
	struct i8259 *c = obj;

	if (c->init_step == 1 || c->init_step > 4)
		return err_set(err, -EINVAL, "initialisation step %u", c->init_step);
	c->lowest &= 7;
	return 0;
}

static int pair_post_load(void *obj, unsigned version, struct err *err)
{
	struct i8259_pair *p = obj;

	p->chip[1].output = candidate(&p->chip[1]) >= 0;
	p->chip[0].output = candidate(&p->chip[0]) >= 0;
	atomic_store(&p->intr_level, p->chip[0].output);
	return 0;
}

static const struct state_field chip_fields[] = {
	STATE_U8(struct i8259, irr, 1),
	STATE_U8(struct i8259, imr, 1),
	STATE_U8(struct i8259, isr, 1),
	STATE_U8(struct i8259, lines, 1),
	STATE_U8(struct i8259, elcr, 1),
	STATE_U8(struct i8259, icw2, 1),
	STATE_U8(struct i8259, icw3, 1),
	STATE_U8(struct i8259, icw4, 1),
	STATE_U8(struct i8259, init_step, 1),
	STATE_BOOL(struct i8259, expect_icw4, 1),
	STATE_BOOL(struct i8259, single, 1),
	STATE_BOOL(struct i8259, level_mode, 1),
	STATE_BOOL(struct i8259, read_isr, 1),
	STATE_BOOL(struct i8259, poll, 1),
	STATE_BOOL(struct i8259, special_mask, 1),
	STATE_BOOL(struct i8259, rotate_on_aeoi, 1),
	STATE_U8(struct i8259, lowest, 1),
	STATE_END
};

static const struct state_desc chip_state = {
	.name = "i8259-chip", .version = 1, .fields = chip_fields, .post_load = chip_post_load,
};

static const struct state_field pair_fields[] = {
	STATE_STRUCT_ARRAY(struct i8259_pair, chip, 1, &chip_state),
	STATE_IRQ(struct i8259_pair, intr, 1),
	STATE_END
};

static const struct state_desc pair_state = {
	.name = "i8259", .version = 1, .fields = pair_fields, .post_load = pair_post_load,
};

const struct dev_desc i8259_desc = {
	.name = "i8259",
	.title = "pair of 8259A interrupt controllers",
	.reset = reset,
	.state = &pair_state,
};
