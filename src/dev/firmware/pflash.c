/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/firmware/pflash.h"

#include <errno.h>

#include "src/base/bits.h"

/* Commands. */
enum {
	CMD_PROGRAM_ALT = 0x10, CMD_ERASE = 0x20, CMD_PROGRAM = 0x40, CMD_CLEAR_STATUS = 0x50,
	CMD_LOCK = 0x60, CMD_READ_STATUS = 0x70, CMD_READ_ID = 0x90, CMD_QUERY = 0x98,
	CMD_SUSPEND = 0xb0, CMD_CONFIRM = 0xd0, CMD_BUFFER = 0xe8, CMD_READ_ARRAY = 0xff,
};
#define COMMIT 0x01 /* our own: a buffer is full and waits for its confirmation */

/* Status register. */
#define SR_READY 0x80u
#define SR_ERASE 0x20u   /* erasing (or clearing lock bits) failed */
#define SR_PROGRAM 0x10u /* programming (or setting a lock bit) failed */
#define SR_LOCKED 0x02u
#define SR_SEQUENCE (SR_ERASE | SR_PROGRAM)

#define MANUFACTURER 0x89u /* Intel */
#define DEVICE 0x18u

/*
 * The map.
 */
static void show(struct pflash *p, bool shown)
{
	int ret;

	if (p->shown == shown)
		return;
	ret = shown ? mem_map_set(p->env->mem, p->cfg.base, p->cfg.block->len, p->cfg.block, 0,
				  true, false)
		    : mem_map_clear(p->env->mem, p->cfg.base, p->cfg.block->len);
	/* Out of memory: as it was; the bus serves reads of the array, too, and a map
	 * that keeps showing the array hides the status from the guest. */
	if (ret < 0)
		log_error(p->env->log, "%s: out of memory for the guest's memory map",
			  p->cfg.name);
	else
		p->shown = shown;
}

static void sync_now(struct pflash *p)
{
	int ret = p->unsynced && p->cfg.sync ? p->cfg.sync(p->cfg.opaque) : 0;

	p->unsynced = false;
	if (ret < 0)
		log_error(p->env->log, "%s: what the guest wrote may be lost: %s", p->cfg.name,
			  strerror(-ret));
}

static void set_mode(struct pflash *p, enum pflash_mode mode)
{
	p->mode = (uint8_t)mode;
	p->command = 0;
	if (mode == PFLASH_ARRAY)
		sync_now(p);
	show(p, mode == PFLASH_ARRAY);
}

/*
 * Changing contents.
 */
static bool change(struct pflash *p, uint64_t off, const void *data, size_t len, uint8_t error)
{
	int ret = 0;

	if (p->cfg.read_only) {
		p->status |= error | SR_LOCKED;
		return false;
	}
	if (p->cfg.store) {
		ret = p->cfg.store(p->cfg.opaque, off, data, len);
		p->unsynced = true;
	}
	if (ret < 0) {
		log_guest(p->env->log, &p->limit, "%s: cannot be written: %s", p->cfg.name,
			  strerror(-ret));
		p->status |= error;
		return false;
	}
	return mem_block_write(p->env->mem, p->cfg.block, off, data, len) == 0;
}

/* Programming only clears bits. */
static void program(struct pflash *p, uint64_t off, uint8_t val)
{
	uint8_t v = p->cfg.block->host[off] & val;

	change(p, off, &v, 1, SR_PROGRAM);
}

static void erase(struct pflash *p, uint64_t off)
{
	uint8_t ones[PFLASH_SECTOR];

	memset(ones, 0xff, sizeof(ones));
	change(p, align_down(off, PFLASH_SECTOR), ones, sizeof(ones), SR_ERASE);
}

static void program_buffer(struct pflash *p)
{
	uint8_t out[PFLASH_BUFFER];

	if (p->buffer_bad) {
		p->status |= SR_SEQUENCE;
		return;
	}
	memcpy(out, p->cfg.block->host + p->buffer_at, sizeof(out));
	for (unsigned n = 0; n < PFLASH_BUFFER; n++)
		if (p->filled[n / 8] >> n % 8 & 1)
			out[n] &= p->buffer[n];
	change(p, p->buffer_at, out, sizeof(out), SR_PROGRAM);
}

static void fill_buffer(struct pflash *p, uint64_t off, uint8_t val)
{
	unsigned n = off % PFLASH_BUFFER;

	if (p->buffer_at == UINT32_MAX)
		p->buffer_at = (uint32_t)align_down(off, PFLASH_BUFFER);
	if (align_down(off, PFLASH_BUFFER) != p->buffer_at) {
		p->buffer_bad = true;
	} else {
		p->buffer[n] = val;
		p->filled[n / 8] |= (uint8_t)(1u << n % 8);
	}
	if (--p->expected == 0)
		p->command = COMMIT;
}

/*
 * Write cycles.
 */
static void first_cycle(struct pflash *p, uint8_t cmd)
{
	switch (cmd) {
	case CMD_PROGRAM_ALT: case CMD_PROGRAM: case CMD_ERASE: case CMD_LOCK: case CMD_BUFFER:
		set_mode(p, PFLASH_STATUS);
		p->command = cmd;
		/* For a buffer bit 7 says that there is one. */
		if (cmd == CMD_BUFFER)
			p->status |= SR_READY;
		break;
	case CMD_CLEAR_STATUS:
		/* Bit 7 too: by that firmware tells flash from RAM and ROM. */
		p->status = 0;
		set_mode(p, PFLASH_ARRAY);
		break;
	case CMD_READ_STATUS: set_mode(p, PFLASH_STATUS); break;
	case CMD_READ_ID: set_mode(p, PFLASH_ID); break;
	case CMD_QUERY: set_mode(p, PFLASH_CFI); break;
	case CMD_SUSPEND: case CMD_CONFIRM: break; /* nothing lasts long enough */
	default: set_mode(p, PFLASH_ARRAY); break;
	}
}

static void begin_buffer(struct pflash *p, uint8_t count)
{
	p->expected = (uint16_t)(count + 1u);
	p->buffer_at = UINT32_MAX;
	p->buffer_bad = false;
	memset(p->filled, 0, sizeof(p->filled));
}

static void finish(struct pflash *p, bool ok)
{
	if (!ok)
		p->status |= SR_SEQUENCE;
	p->status |= SR_READY;
	p->command = 0; /* reads go on returning the status */
}

static void next_cycle(struct pflash *p, uint64_t off, uint8_t val)
{
	switch (p->command) {
	case CMD_PROGRAM: case CMD_PROGRAM_ALT:
		program(p, off, val);
		finish(p, true);
		break;
	case CMD_ERASE:
		if (val == CMD_CONFIRM)
			erase(p, off);
		finish(p, val == CMD_CONFIRM);
		break;
	case CMD_LOCK:
		/* Set (01h) and clear (D0h): taken and without effect, as on chips that
		 * come without block locks. */
		if (val == CMD_READ_ARRAY)
			set_mode(p, PFLASH_ARRAY);
		else
			finish(p, val == 0x01 || val == CMD_CONFIRM);
		break;
	case CMD_BUFFER:
		if (p->expected)
			fill_buffer(p, off, val);
		else
			begin_buffer(p, val);
		break;
	case COMMIT:
		if (val == CMD_CONFIRM)
			program_buffer(p);
		finish(p, val == CMD_CONFIRM);
		break;
	}
}

static void range_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct pflash *p = dev;

	if (p->command)
		next_cycle(p, off, (uint8_t)val);
	else
		first_cycle(p, (uint8_t)val);
	if (!p->command)
		p->expected = 0;
}

/*
 * Reads, in whichever mode.
 */
static uint8_t log2_up(uint64_t v)
{
	uint8_t n = 0;

	while (1ull << n < v)
		n++;
	return n;
}

static uint8_t cfi_byte(const struct pflash *p, unsigned at)
{
	uint32_t sectors = (uint32_t)(p->cfg.block->len / PFLASH_SECTOR) - 1;

	switch (at) {
	case 0x10: return 'Q';
	case 0x11: return 'R';
	case 0x12: return 'Y';
	case 0x13: return 0x01; /* Intel's command set, extended */
	case 0x15: return 0x31; /* its table */
	case 0x1b: return 0x45; /* 4.5 to 5.5 V */
	case 0x1c: return 0x55;
	case 0x1f: return 0x07; /* time-outs, powers of two: byte, buffer, erase */
	case 0x20: return 0x07;
	case 0x21: return 0x0a;
	case 0x23: case 0x24: case 0x25: return 0x04; /* at most that many times as long */
	case 0x27: return log2_up(p->cfg.block->len);
	case 0x28: return 0x00; /* eight bits only */
	case 0x2a: return log2_up(PFLASH_BUFFER);
	case 0x2c: return 1; /* erase region: sectors less one, bytes / 256 */
	case 0x2d: return (uint8_t)sectors;
	case 0x2e: return (uint8_t)(sectors >> 8);
	case 0x2f: return (uint8_t)(PFLASH_SECTOR >> 8);
	case 0x30: return (uint8_t)(PFLASH_SECTOR >> 16);
	case 0x31: return 'P';
	case 0x32: return 'R';
	case 0x33: return 'I';
	case 0x34: return '1';
	default: return 0;
	}
}

static uint64_t range_read(void *dev, uint64_t off, unsigned size)
{
	struct pflash *p = dev;

	switch (p->mode) {
	case PFLASH_STATUS: return p->status;
	case PFLASH_ID: return (off & 0xff) == 0 ? MANUFACTURER : (off & 0xff) == 1 ? DEVICE : 0;
	case PFLASH_CFI: return cfi_byte(p, off & 0xff);
	default: return p->cfg.block->host[off];
	}
}

static const struct bus_ops range_ops = { range_read, range_write, 1, 1, false };

/*
 * Life.
 */
static void reset(void *dev)
{
	struct pflash *p = dev;

	p->status = SR_READY;
	p->expected = 0;
	p->buffer_at = 0;
	p->buffer_bad = false;
	memset(p->buffer, 0, sizeof(p->buffer));
	memset(p->filled, 0, sizeof(p->filled));
	set_mode(p, PFLASH_ARRAY);
}

int pflash_init(struct pflash *p, const struct dev_env *env, const struct pflash_config *cfg,
		struct err *err)
{
	int ret;

	*p = (struct pflash){ .env = env, .cfg = *cfg };
	if (cfg->block->len % PFLASH_SECTOR || cfg->block->len > 1u << 28)
		return err_set(err, -EINVAL, "%s: no flash chip has %llu bytes", cfg->name,
			       (unsigned long long)cfg->block->len);
	/* Behind everything: where firmware maps other things over it they win. */
	p->range = (struct bus_range){ cfg->base, cfg->block->len, &range_ops, p, cfg->name,
				       .priority = -1 };
	ret = bus_add_mmio(env->bus, &p->range);
	if (ret < 0)
		return err_set(err, ret, "%s: cannot be placed", cfg->name);
	reset(p);
	return 0;
}

void pflash_fini(struct pflash *p)
{
	if (!p->env)
		return;
	sync_now(p);
	bus_del_mmio(p->env->bus, &p->range);
	p->env = NULL;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct pflash *p = obj;
	bool buffer = p->command == CMD_BUFFER || p->command == COMMIT;

	if (p->mode > PFLASH_CFI || p->expected > PFLASH_BUFFER ||
	    (p->command && p->mode != PFLASH_STATUS) ||
	    (p->expected && p->command != CMD_BUFFER))
		return err_set(err, -EINVAL, "flash in mode %u waits for command %#x", p->mode,
			       p->command);
	switch (p->command) {
	case 0: case CMD_PROGRAM: case CMD_PROGRAM_ALT: case CMD_ERASE: case CMD_LOCK:
	case CMD_BUFFER: case COMMIT:
		break;
	default:
		return err_set(err, -EINVAL, "flash does not know command %#x", p->command);
	}
	if (buffer && p->buffer_at != UINT32_MAX &&
	    (p->buffer_at % PFLASH_BUFFER || p->buffer_at >= p->cfg.block->len))
		return err_set(err, -EINVAL, "flash writes a buffer to %#x", p->buffer_at);
	/* A confirmation needs somewhere to write to. */
	if (p->command == COMMIT && p->buffer_at == UINT32_MAX)
		return err_set(err, -EINVAL, "flash confirms a buffer that is not there");
	show(p, p->mode == PFLASH_ARRAY);
	return 0;
}

static const struct state_field fields[] = {
	STATE_U8(struct pflash, mode, 1),
	STATE_U8(struct pflash, command, 1),
	STATE_U8(struct pflash, status, 1),
	STATE_U16(struct pflash, expected, 1),
	STATE_U32(struct pflash, buffer_at, 1),
	STATE_BOOL(struct pflash, buffer_bad, 1),
	STATE_BYTES(struct pflash, buffer, 1),
	STATE_BYTES(struct pflash, filled, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "pflash", .version = 1, .fields = fields, .post_load = post_load,
};

const struct dev_desc pflash_desc = {
	.name = "pflash",
	.title = "flash memory with firmware or its variables",
	.reset = reset,
	.state = &state,
};
