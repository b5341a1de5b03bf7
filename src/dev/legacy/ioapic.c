/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/ioapic.h"

#include <errno.h>
#include <string.h>

#include "src/base/bits.h"

/* Redirection entries (82093AA data sheet, 3.2.4). */
#define ENTRY_VECTOR(e) ((uint8_t)(e))
#define ENTRY_MODE(e) ((e) >> 8 & 7)
#define ENTRY_LOGICAL (1ull << 11)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL (1ull << 15)
#define ENTRY_MASKED (1ull << 16)
/* Delivery status and remote IRR are read-only, as is what is reserved. */
#define ENTRY_WRITABLE 0xff0000000001afffull

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)
#define REG_SELECT 0x00u
#define REG_WINDOW 0x10u
#define REG_EOI 0x40u

#define MODE_LOWEST 1u

/* Sends what pin @n has pending, if the entry lets it. */
static void service(struct ioapic *io, unsigned n)
{
	uint64_t e = io->entry[n], addr;
	/* Only these two modes are ended by an EOI; others go once an assertion. */
	bool level = e & ENTRY_LEVEL && ENTRY_MODE(e) <= MODE_LOWEST;
	uint32_t data;

	if (!(io->irr >> n & 1) || e & ENTRY_MASKED)
		return;
	if (level && e & ENTRY_REMOTE_IRR)
		return; /* the last one has not been ended yet */
	if (level)
		io->entry[n] |= ENTRY_REMOTE_IRR;
	else
		io->irr &= ~(1u << n);
	/* The polarity bit is not looked at: lines carry assertion, not voltage. */
	addr = 0xfee00000u | (e >> 56) << 12 | (e & ENTRY_LOGICAL ? 1u << 2 : 0) |
	       (ENTRY_MODE(e) == MODE_LOWEST ? 1u << 3 : 0);
	data = ENTRY_VECTOR(e) | (uint32_t)ENTRY_MODE(e) << 8 | 1u << 14 |
	       (level ? 1u << 15 : 0);
	bus_msi(io->env->bus, addr, data);
}

static void pin_set(void *opaque, int pin, int level)
{
	struct ioapic *io = opaque;
	uint32_t mask = 1u << pin;

	if (io->away) {
		io->lines = level ? io->lines | mask : io->lines & ~mask;
		io->away->ioapic_pin(io->away->opaque, (unsigned)pin, level);
		return;
	}
	if (io->entry[pin] & ENTRY_LEVEL) {
		io->irr = level ? io->irr | mask : io->irr & ~mask;
	} else if (level && !(io->lines & mask)) {
		/* An edge while masked is lost, as on hardware. */
		if (!(io->entry[pin] & ENTRY_MASKED))
			io->irr |= mask;
	}
	io->lines = level ? io->lines | mask : io->lines & ~mask;
	service(io, (unsigned)pin);
}

struct irq_line ioapic_pin(struct ioapic *io, unsigned n)
{
	return (struct irq_line){ .set = pin_set, .opaque = io, .n = (int)(n % IOAPIC_PINS) };
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	bus_lock(io->env->bus);
	for (unsigned n = 0; n < IOAPIC_PINS; n++) {
		if (ENTRY_VECTOR(io->entry[n]) != vector ||
		    !(io->entry[n] & ENTRY_REMOTE_IRR))
			continue;
		io->entry[n] &= ~ENTRY_REMOTE_IRR;
		service(io, n); /* still asserted: once more */
	}
	bus_unlock(io->env->bus);
}

/*
 * Registers.
 */
static uint32_t index_read(const struct ioapic *io)
{
	unsigned n = (io->index - 0x10u) / 2;

	switch (io->index) {
	case 0: case 2: return (uint32_t)io->id << 24;
	case 1: return VERSION;
	default: break;
	}
	if (io->index < 0x10 || n >= IOAPIC_PINS)
		return 0;
	return (uint32_t)(io->entry[n] >> (io->index & 1 ? 32 : 0));
}

static void entry_write(struct ioapic *io, unsigned n, bool high, uint32_t val)
{
	uint64_t old = io->entry[n], e = old;
	uint32_t mask = 1u << n;

	if (high)
		e = (uint32_t)old | (uint64_t)val << 32;
	else
		e = (old & ~0xffffffffull) | val;
	e = (e & ENTRY_WRITABLE) | (old & ENTRY_REMOTE_IRR);
	if (!(e & ENTRY_LEVEL)) {
		/* Software ends a level interrupt of its own accord by making the
		 * entry an edge for a moment. */
		e &= ~ENTRY_REMOTE_IRR;
		if (old & ENTRY_LEVEL)
			io->irr &= ~mask;
	} else {
		io->irr = (io->irr & ~mask) | (io->lines & mask);
	}
	io->entry[n] = e;
	service(io, n);
}

static void index_write(struct ioapic *io, uint32_t val)
{
	unsigned n = (io->index - 0x10u) / 2;

	if (io->index == 0)
		io->id = val >> 24 & 0xf;
	else if (io->index >= 0x10 && n < IOAPIC_PINS)
		entry_write(io, n, io->index & 1, val);
}

static void away_begin(const struct ioapic *io)
{
	if (io->away)
		io->away->fetch(io->away->opaque);
}

static void away_end(const struct ioapic *io)
{
	if (io->away)
		io->away->done(io->away->opaque);
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
	struct ioapic *io = dev;

	away_begin(io);
	switch (off) {
	case REG_SELECT: return io->index;
	case REG_WINDOW: return index_read(io);
	default: return 0;
	}
}

static void mmio_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct ioapic *io = dev;

	away_begin(io);
	switch (off) {
	case REG_SELECT:
		io->index = (uint8_t)val;
		break;
	case REG_WINDOW:
		if (size == 4)
			index_write(io, (uint32_t)val);
		break;
	case REG_EOI:
		ioapic_eoi(io, (uint8_t)val);
		break;
	default:
		break;
	}
	away_end(io);
}

/*
 * The chip in somebody else's hands.
 */
void ioapic_get(const struct ioapic *io, struct irqchips_ioapic *st)
{
	*st = (struct irqchips_ioapic){
		.irr = io->irr, .lines = io->lines, .index = io->index, .id = io->id,
	};
	memcpy(st->entry, io->entry, sizeof(st->entry));
}

void ioapic_put(struct ioapic *io, const struct irqchips_ioapic *st)
{
	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		io->entry[n] = st->entry[n] & (ENTRY_WRITABLE | ENTRY_REMOTE_IRR);
	io->irr = st->irr & (uint32_t)low_mask(IOAPIC_PINS);
	io->index = st->index;
	io->id = st->id & 0xf;
}

void ioapic_lend(struct ioapic *io, const struct irqchips_proxy *to)
{
	io->away = to;
	for (unsigned n = 0; !to && n < IOAPIC_PINS; n++)
		service(io, n);
}

static const struct bus_ops mmio_ops = { mmio_read, mmio_write, 4, 4, false };

/*
 * Life.
 */
static void reset(void *dev)
{
	struct ioapic *io = dev;

	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		io->entry[n] = ENTRY_MASKED;
	io->irr = 0;
	io->index = 0;
	io->id = io->first_id;
}

int ioapic_init(struct ioapic *io, const struct dev_env *env, gpa_t base, uint8_t id,
		struct err *err)
{
	int r;

	*io = (struct ioapic){ .env = env, .base = base, .first_id = id & 0xf };
	reset(io);
	io->mmio = (struct bus_range){ base, 0x1000, &mmio_ops, io, "ioapic" };
	r = bus_add_mmio(env->bus, &io->mmio);
	if (r != 0)
		return err_set(err, r, "cannot place the I/O APIC at %#llx",
			       (unsigned long long)base);
	return 0;
}

void ioapic_fini(struct ioapic *io)
{
	bus_del_mmio(io->env->bus, &io->mmio);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct ioapic *io = obj;

	io->id &= 0xf;
	io->irr &= low_mask(IOAPIC_PINS);
	io->lines &= low_mask(IOAPIC_PINS);
	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		io->entry[n] &= ENTRY_WRITABLE | ENTRY_REMOTE_IRR;
	return 0;
}

static const struct state_field fields[] = {
	STATE_ARRAY(struct ioapic, entry, 1),
	STATE_U32(struct ioapic, lines, 1),
	STATE_U32(struct ioapic, irr, 1),
	STATE_U8(struct ioapic, index, 1),
	STATE_U8(struct ioapic, id, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "ioapic", .version = 1, .fields = fields, .post_load = post_load,
};

const struct dev_desc ioapic_desc = {
	.name = "ioapic",
	.title = "I/O APIC with 24 pins",
	.reset = reset,
	.state = &state,
};
