/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/i8237.h"

#include <assert.h>

#include "src/base/bits.h"

#define COMMAND_OFF 0x04u
#define MODE_TYPE(m) ((m) >> 2 & 3u)
#define TYPE_WRITE 1u /* to memory */
#define TYPE_READ 2u
#define MODE_AUTO 0x10u
#define MODE_DOWN 0x20u

/* Registers 8 to 15 of a controller. */
enum { REG_STATUS = 8, REG_REQUEST, REG_MASK, REG_MODE, REG_FLIP_FLOP, REG_CLEAR, REG_UNMASK,
       REG_MASKS };

/* Page registers 80h..8fh: which channel's. */
static const int8_t pages[16] = { -1, 2, 3, 1, -1, -1, -1, 0, -1, 6, 7, 5, -1, -1, -1, 4 };

static bool may_go(const struct i8237 *d, unsigned n)
{
	/* The lower four are cascaded through channel 4. */
	return !d->channel[n].masked && !(d->unit[n / 4].command & COMMAND_OFF) &&
	       (n >= 4 || (!d->channel[4].masked && !(d->unit[1].command & COMMAND_OFF)));
}

static void tell(struct i8237 *d)
{
	for (unsigned n = 0; n < I8237_CHANNELS; n++)
		if (d->ready[n] && may_go(d, n))
			d->ready[n](d->opaque[n]);
}

/*
 * Moving.
 */
static gpa_t address(const struct i8237 *d, unsigned n)
{
	const struct i8237_channel *c = &d->channel[n];

	if (n < 4)
		return (gpa_t)c->page << 16 | c->addr;
	return (gpa_t)(c->page & 0xfe) << 16 | (gpa_t)c->addr << 1;
}

/* The count ran out: start anew, or stand still. */
static void terminal(struct i8237_channel *c)
{
	c->terminal = true;
	if (c->mode & MODE_AUTO) {
		c->addr = c->base_addr;
		c->count = c->base_count;
	} else {
		c->masked = true;
	}
}

unsigned i8237_move(struct i8237 *d, unsigned n, uint8_t *buf, unsigned len, bool to_memory,
		    bool *end)
{
	struct i8237_channel *c = &d->channel[n];
	unsigned width = n < 4 ? 1 : 2, done = 0;
	bool moves = MODE_TYPE(c->mode) == (to_memory ? TYPE_WRITE : TYPE_READ);

	*end = false;
	while (done + width <= len && may_go(d, n) && !*end) {
		if (moves && to_memory) {
			/* Nothing stands at an address without memory. */
			(void)!mem_write(d->env->mem, address(d, n), buf + done, width);
		} else if (!to_memory) {
			memset(buf + done, 0xff, width);
			if (moves)
				(void)!mem_read(d->env->mem, address(d, n), buf + done, width);
		}
		c->addr = (uint16_t)(c->mode & MODE_DOWN ? c->addr - 1 : c->addr + 1);
		done += width;
		if (c->count-- == 0) {
			*end = true;
			terminal(c);
		}
	}
	return done;
}

void i8237_connect(struct i8237 *d, unsigned n, void (*ready)(void *opaque), void *opaque)
{
	assert(n < I8237_CHANNELS && n != 4);
	d->ready[n] = ready;
	d->opaque[n] = opaque;
}

/*
 * Registers.
 */
static void clear_unit(struct i8237 *d, unsigned u)
{
	d->unit[u] = (struct i8237_unit){ 0 };
	for (unsigned n = u * 4; n < u * 4 + 4; n++) {
		d->channel[n].masked = true;
		d->channel[n].terminal = false;
	}
}

static uint8_t read_status(struct i8237 *d, unsigned u)
{
	uint8_t v = 0;

	for (unsigned n = 0; n < 4; n++) {
		v |= (uint8_t)(d->channel[u * 4 + n].terminal << n);
		d->channel[u * 4 + n].terminal = false;
	}
	return v;
}

static uint8_t reg_read(struct i8237 *d, unsigned u, unsigned reg)
{
	const struct i8237_channel *c = &d->channel[u * 4 + (reg >> 1 & 3)];
	uint8_t v = 0;

	if (reg < 8) {
		uint16_t word = reg & 1 ? c->count : c->addr;

		v = (uint8_t)(d->unit[u].flip_flop ? word >> 8 : word);
		d->unit[u].flip_flop = !d->unit[u].flip_flop;
		return v;
	}
	if (reg == REG_STATUS)
		return read_status(d, u);
	if (reg == REG_MASKS) {
		for (unsigned n = 0; n < 4; n++)
			v |= (uint8_t)(d->channel[u * 4 + n].masked << n);
		return v | 0xf0;
	}
	return 0;
}

static void write_pair(struct i8237 *d, unsigned u, unsigned reg, uint8_t val)
{
	struct i8237_channel *c = &d->channel[u * 4 + (reg >> 1)];
	uint16_t *base = reg & 1 ? &c->base_count : &c->base_addr;

	if (d->unit[u].flip_flop)
		*base = (uint16_t)((*base & 0x00ff) | val << 8);
	else
		*base = (uint16_t)((*base & 0xff00) | val);
	d->unit[u].flip_flop = !d->unit[u].flip_flop;
	if (reg & 1)
		c->count = c->base_count;
	else
		c->addr = c->base_addr;
}

static void reg_write(struct i8237 *d, unsigned u, unsigned reg, uint8_t val)
{
	struct i8237_channel *c = &d->channel[u * 4 + (val & 3)];

	if (reg < 8) {
		write_pair(d, u, reg, val);
		return;
	}
	switch (reg) {
	case REG_STATUS:
		d->unit[u].command = val;
		break;
	case REG_REQUEST: /* software requests: between memory and memory only, which PCs lack */
		d->unit[u].request = val;
		break;
	case REG_MASK:
		c->masked = val & 4;
		break;
	case REG_MODE:
		c->mode = val & 0xfc;
		break;
	case REG_FLIP_FLOP:
		d->unit[u].flip_flop = false;
		break;
	case REG_CLEAR:
		clear_unit(d, u);
		break;
	case REG_UNMASK:
	case REG_MASKS:
		for (unsigned n = 0; n < 4; n++)
			d->channel[u * 4 + n].masked = reg == REG_MASKS && val >> n & 1;
		break;
	}
	tell(d);
}

static uint64_t low_read(void *dev, uint64_t off, unsigned size)
{
	return reg_read(dev, 0, (unsigned)off);
}

static void low_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	reg_write(dev, 0, (unsigned)off, (uint8_t)val);
}

static uint64_t high_read(void *dev, uint64_t off, unsigned size)
{
	return reg_read(dev, 1, (unsigned)off >> 1);
}

static void high_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	reg_write(dev, 1, (unsigned)off >> 1, (uint8_t)val);
}

static uint64_t page_read(void *dev, uint64_t off, unsigned size)
{
	struct i8237 *d = dev;

	return pages[off & 15] < 0 ? d->scratch[off & 15] : d->channel[pages[off & 15]].page;
}

static void page_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct i8237 *d = dev;

	if (pages[off & 15] < 0)
		d->scratch[off & 15] = (uint8_t)val;
	else
		d->channel[pages[off & 15]].page = (uint8_t)val;
}

static const struct bus_ops low_ops = { low_read, low_write, 1, 1, false };
static const struct bus_ops high_ops = { high_read, high_write, 1, 1, false };
static const struct bus_ops page_ops = { page_read, page_write, 1, 1, false };

/*
 * Life.
 */
static void reset(void *dev)
{
	struct i8237 *d = dev;

	memset(d->channel, 0, sizeof(d->channel));
	memset(d->scratch, 0, sizeof(d->scratch));
	clear_unit(d, 0);
	clear_unit(d, 1);
	/* Firmware opens the cascade; without firmware it must be open already. */
	d->channel[4].mode = 0xc0;
	d->channel[4].masked = false;
}

int i8237_init(struct i8237 *d, const struct dev_env *env, struct err *err)
{
	int ret = 0;

	memset(d, 0, sizeof(*d));
	d->env = env;
	d->ports[0] = (struct bus_range){ 0x00, 16, &low_ops, d, "dma1" };
	d->ports[1] = (struct bus_range){ 0xc0, 32, &high_ops, d, "dma2" };
	/* Ports that others have among these (92h is none) would come first. */
	d->ports[2] = (struct bus_range){ 0x80, 16, &page_ops, d, "dma-pages", .priority = -1 };
	reset(d);
	for (unsigned n = 0; n < 3 && ret == 0; n++)
		ret = bus_add_pio(env->bus, &d->ports[n]);
	if (ret < 0) {
		i8237_fini(d);
		return err_set(err, ret, "cannot place the DMA controllers' ports");
	}
	return 0;
}

void i8237_fini(struct i8237 *d)
{
	for (unsigned n = 0; n < 3; n++)
		bus_del_pio(d->env->bus, &d->ports[n]);
}

static const struct state_field channel_fields[] = {
	STATE_U16(struct i8237_channel, base_addr, 1),
	STATE_U16(struct i8237_channel, base_count, 1),
	STATE_U16(struct i8237_channel, addr, 1),
	STATE_U16(struct i8237_channel, count, 1),
	STATE_U8(struct i8237_channel, mode, 1),
	STATE_U8(struct i8237_channel, page, 1),
	STATE_BOOL(struct i8237_channel, masked, 1),
	STATE_BOOL(struct i8237_channel, terminal, 1),
	STATE_END
};

static const struct state_desc channel_state = {
	.name = "i8237-channel", .version = 1, .fields = channel_fields,
};

static const struct state_field unit_fields[] = {
	STATE_U8(struct i8237_unit, command, 1),
	STATE_U8(struct i8237_unit, request, 1),
	STATE_BOOL(struct i8237_unit, flip_flop, 1),
	STATE_END
};

static const struct state_desc unit_state = {
	.name = "i8237-unit", .version = 1, .fields = unit_fields,
};

static const struct state_field fields[] = {
	STATE_STRUCT_ARRAY(struct i8237, unit, 1, &unit_state),
	STATE_STRUCT_ARRAY(struct i8237, channel, 1, &channel_state),
	STATE_BYTES(struct i8237, scratch, 1),
	STATE_END
};

static const struct state_desc state = { .name = "i8237", .version = 1, .fields = fields };

const struct dev_desc i8237_desc = {
	.name = "i8237",
	.title = "ISA DMA controllers",
	.reset = reset,
	.state = &state,
};
