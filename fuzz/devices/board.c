/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole board under random accesses: each device's ports, memory and configuration
 * space, at all sizes, by themselves and through its index registers, with time, resets,
 * people and damaged snapshots in between. Beyond not crashing:
 *
 *   - time always goes on: no timer fires for ever at one moment;
 *   - whatever state a guest brings a device into can be saved and restored;
 *   - a reset brings every device back to where it was after the first one. (Not looked at
 *     in the runs, every second seed, that load damaged snapshots: those may set what no
 *     guest can.)
 */
#include "fuzz/devices/fuzz.h"

#include <stdio.h>

#include "fuzz/devices/machine.h"
#include "src/base/bits.h"
#include "src/dev/firmware/fw_cfg.h"
#include "src/dev/legacy/gsi.h"
#include "src/dev/storage/medium.h"

#define FLASH 0xfffe0000u /* variables, then code: 64 KiB each */
#define PICK(f, a) ((a)[rnd(f) % array_size(a)])

/* What does not move, and index registers. */
static const struct fz_window fixed[] = {
	{ "i8259", FZ_PIO, 0x20, 2, 0, 0, 0 },
	{ "i8259", FZ_PIO, 0xa0, 2, 0, 0, 0 },
	{ "i8259", FZ_PIO, 0x4d0, 2, 0, 0, 0 },
	{ "ioapic", FZ_MMIO, 0xfec00000, 0x1000, 0, 0, 0 },
	{ "ioapic", FZ_MMIO, 0xfec00000, 0x1000, 0x00, 0x10, 4 },
	{ "gsi", FZ_PIO, 0x4d0, 2, 0, 0, 0 },
	{ "gsi", FZ_MMIO, 0xfec00000, 0x1000, 0x00, 0x10, 4 },
	{ "i8237", FZ_PIO, 0x00, 16, 0, 0, 0 },
	{ "i8237", FZ_PIO, 0x80, 16, 0, 0, 0 },
	{ "i8237", FZ_PIO, 0xc0, 32, 0, 0, 0 },
	{ "hpet", FZ_MMIO, 0xfed00000, 0x400, 0, 0, 0 },
	{ "hpet", FZ_MMIO, 0xfed00000, 0x170, 0, 0, 0 },
	{ "i8254", FZ_PIO, 0x40, 4, 0, 0, 0 },
	{ "i8254", FZ_PIO, 0x61, 1, 0, 0, 0 },
	{ "mc146818", FZ_PIO, 0x70, 4, 0, 0, 0 },
	{ "mc146818", FZ_PIO, 0x70, 4, 0, 1, 1 },
	{ "mc146818", FZ_PIO, 0x70, 4, 2, 3, 1 },
	{ "i8042", FZ_PIO, 0x60, 1, 0, 0, 0 },
	{ "i8042", FZ_PIO, 0x64, 1, 0, 0, 0 },
	{ "i8042", FZ_PIO, 0x60, 5, 4, 0, 1 },
	{ "port92", FZ_PIO, 0x92, 1, 0, 0, 0 },
	{ "ferr", FZ_PIO, 0xf0, 2, 0, 0, 0 },
	{ "uart16550", FZ_PIO, 0x3f8, 8, 0, 0, 0 },
	{ "pvpanic", FZ_PIO, 0x505, 1, 0, 0, 0 },
	{ "q35", FZ_PIO, 0xcf8, 8, 0, 0, 0 },
	{ "q35", FZ_MMIO, 0xc0000, 0x40000, 0, 0, 0 },
	{ "ich9-lpc", FZ_PIO, 0xb2, 2, 0, 0, 0 },
	{ "ich9-lpc", FZ_PIO, 0xcf9, 1, 0, 0, 0 },
	{ "ich9-lpc", FZ_PIO, 0x600, 0x80, 0, 0, 0 },
	{ "ich9-lpc", FZ_MMIO, 0xfed1c000, 0x4000, 0, 0, 0 },
	{ "fw_cfg", FZ_PIO, 0x510, 12, 0, 0, 0 },
	{ "fw_cfg", FZ_PIO, 0x510, 12, 0, 1, 2 },
	{ "pflash", FZ_MMIO, FLASH, 0x20000, 0, 0, 0 },
	{ "pflash", FZ_MMIO, FLASH, 0x1000, 0, 0, 0 },
	{ "isa-serial", FZ_PIO, 0x2f8, 8, 0, 0, 0 },
	{ "debugcon", FZ_PIO, 0x402, 1, 0, 0, 0 },
	{ "isa-debug-exit", FZ_PIO, 0x501, 2, 0, 0, 0 },
	{ "isa-fdc", FZ_PIO, 0x3f0, 8, 0, 0, 0 },
	{ "floppy", FZ_PIO, 0x3f0, 8, 0, 0, 0 },
	{ "piix-ide", FZ_PIO, 0x1f0, 8, 0, 0, 0 },
	{ "piix-ide", FZ_PIO, 0x170, 8, 0, 0, 0 },
	{ "piix-ide", FZ_PIO, 0x3f6, 1, 0, 0, 0 },
	{ "VGA", FZ_PIO, 0x3b0, 0x30, 0, 0, 0 },
	{ "VGA", FZ_PIO, 0x3c0, 2, 0, 0, 1 },
	{ "VGA", FZ_PIO, 0x3c4, 2, 0, 1, 1 },
	{ "VGA", FZ_PIO, 0x3ce, 2, 0, 1, 1 },
	{ "VGA", FZ_PIO, 0x3d4, 2, 0, 1, 1 },
	{ "VGA", FZ_PIO, 0x3c8, 2, 0, 1, 1 },
	{ "VGA", FZ_PIO, 0x1ce, 3, 0, 0, 0 },
	{ "VGA", FZ_PIO, 0x1ce, 3, 0, 1, 2 },
	{ "VGA", FZ_MMIO, 0xa0000, 0x20000, 0, 0, 0 },
};

static uint64_t rnd(struct fz *f)
{
	return fuzz_next(&f->seed);
}

static uint64_t wild_value(struct fz *f)
{
	static const uint64_t some[] = { 0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x10000,
					 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, ~0ull,
					 0x5555555555555555ull, 1ull << 63 };

	switch (rnd(f) % 4) {
	case 0: return PICK(f, some);
	case 1: return rnd(f) % 64;
	case 2: return rnd(f) % FZ_RAM;
	default: return rnd(f);
	}
}

/* An offset in [0, len): often at the start or the end. */
static uint64_t wild_offset(struct fz *f, uint64_t len)
{
	switch (rnd(f) % 8) {
	case 0: return len - 1 - rnd(f) % min_of(len, 9ull);
	case 1: case 2: return rnd(f) % min_of(len, 0x100ull);
	default: return rnd(f) % len;
	}
}

static void access_plain(struct fz *f, const struct fz_window *w)
{
	unsigned size = 1u << rnd(f) % 4, times = 1;
	uint64_t off = wild_offset(f, w->len), at = w->base + off;
	bool write = rnd(f) & 1;

	if (rnd(f) % 4)
		at &= ~(uint64_t)(size - 1);
	if (w->space == FZ_CONFIG) {
		size = min_of(size, 4u);
		off = off % (rnd(f) % 4 ? 256 : w->len) & ~(uint64_t)(size - 1);
		if (write)
			fz_config_write(f, (unsigned)w->base, (unsigned)off, (uint32_t)wild_value(f),
					size);
		else
			fz_config_read(f, (unsigned)w->base, (unsigned)off, size);
		return;
	}
	if (rnd(f) % 32 == 0)
		times = 1 + rnd(f) % 600; /* as REP INS and OUTS do it */
	while (times--)
		if (write)
			fz_write(f, w->space, at, wild_value(f), size);
		else
			fz_read(f, w->space, at, size);
}

static void access_indexed(struct fz *f, const struct fz_window *w)
{
	uint64_t index = rnd(f) % 4 ? rnd(f) % 64 : wild_value(f);

	fz_write(f, w->space, w->base + w->index, index, w->width);
	if (rnd(f) & 1)
		fz_write(f, w->space, w->base + w->data, wild_value(f), w->width);
	else
		fz_read(f, w->space, w->base + w->data, w->width);
}

/*
 * What takes more than single accesses.
 */
static void step_fw_cfg(struct fz *f)
{
	uint8_t d[16];
	uint64_t at = rnd(f) % 8 ? rnd(f) % FZ_RAM : wild_value(f);

	st_be32(d, (uint32_t)(rnd(f) % 4 ? rnd(f) & 31 : rnd(f)) |
		   (uint32_t)(rnd(f) % 0x70) << 16);
	st_be32(d + 4, (uint32_t)wild_value(f));
	st_be64(d + 8, rnd(f) % 2 ? rnd(f) % FZ_RAM : wild_value(f));
	if (rnd(f) % 8 == 0)
		st_be64(d + 8, at); /* onto itself */
	if (mem_write(f->mem, at, d, sizeof(d)) < 0)
		at &= 0xffffff;
	fz_write(f, FZ_PIO, 0x514, __builtin_bswap32((uint32_t)(at >> 32)), 4);
	fz_write(f, FZ_PIO, 0x518, __builtin_bswap32((uint32_t)at), 4);
}

static void step_pflash(struct fz *f)
{
	static const uint8_t commands[] = { 0x10, 0x20, 0x28, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xb0,
					    0xcb, 0xd0, 0xe8, 0xf0, 0xff };
	uint64_t at = FLASH + rnd(f) % 0x20000;

	fz_write(f, FZ_MMIO, at, PICK(f, commands), 1u << rnd(f) % 3);
	fz_write(f, FZ_MMIO, rnd(f) & 1 ? at : FLASH + rnd(f) % 0x20000,
		 rnd(f) & 1 ? PICK(f, commands) : wild_value(f), 1u << rnd(f) % 3);
	for (unsigned n = rnd(f) % 4 ? 0 : rnd(f) % 300; n; n--)
		fz_write(f, FZ_MMIO, (at & ~0xffull) + rnd(f) % 300, rnd(f), 1u << rnd(f) % 3);
	if (rnd(f) % 4 == 0)
		fz_write(f, FZ_MMIO, at, 0xd0, 1);
}

static void step_hpet(struct fz *f)
{
	uint64_t t = 0xfed00100 + 0x20 * (rnd(f) % 3);

	fz_write(f, FZ_MMIO, 0xfed00010, rnd(f) & 3, 8);
	fz_write(f, FZ_MMIO, t, rnd(f) & 0x7f7e, 8);
	fz_write(f, FZ_MMIO, t + 8, rnd(f) % 4 ? rnd(f) % 100000 : wild_value(f), 8);
	if (rnd(f) & 1)
		fz_write(f, FZ_MMIO, t + 16, rnd(f) & 1 ? 0x0041fee0000000ull : rnd(f), 8);
	if (rnd(f) % 4 == 0)
		fz_write(f, FZ_MMIO, 0xfed000f0, rnd(f) % 4 ? wild_value(f) : ~0ull - rnd(f) % 1000, 8);
	fz_write(f, FZ_MMIO, 0xfed00010, 1 | (rnd(f) & 2), 8);
}

static void step_i8042(struct fz *f)
{
	static const uint8_t bytes[] = { 0x20, 0x60, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xc0, 0xd0,
					 0xd1, 0xd2, 0xd3, 0xd4, 0xe0, 0xf0, 0xfe, 0xed, 0xee, 0xf2, 0xf3,
					 0xf4, 0xf5, 0xf6, 0xff, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec };

	bus_lock(f->bus);
	if (rnd(f) & 1)
		(void)!input_key(f->input, (uint16_t)(rnd(f) % INPUT_KEYS), rnd(f) & 1,
				 (uint32_t)(rnd(f) % 3));
	else
		input_move(f->input, (int)rnd(f), (int)(rnd(f) % 2000) - 1000, (int)rnd(f) % 9,
			   (unsigned)rnd(f));
	bus_unlock(f->bus);
	fz_write(f, FZ_PIO, rnd(f) & 1 ? 0x64 : 0x60, PICK(f, bytes), 1);
	fz_write(f, FZ_PIO, 0x60, rnd(f) & 1 ? PICK(f, bytes) : rnd(f), 1);
	for (unsigned n = rnd(f) % 80; n; n--)
		fz_read(f, FZ_PIO, 0x60, 1);
}

static void step_serial(struct fz *f)
{
	static const uint8_t bytes[64];

	for (unsigned n = 0; n < f->chardevs; n++) {
		size_t room;

		bus_lock(f->bus);
		room = chardev_can_receive(&f->chardev[n]);
		if (room)
			chardev_receive(&f->chardev[n], bytes, 1 + rnd(f) % min_of(room, sizeof(bytes)));
		if (rnd(f) & 1)
			chardev_writable(&f->chardev[n]);
		bus_unlock(f->bus);
	}
}

static void step_vga(struct fz *f)
{
	static const uint16_t sizes[] = { 0, 1, 7, 8, 320, 640, 1024, 2048, 8191, 8192, 0xffff };
	static const uint8_t depths[] = { 0, 4, 8, 15, 16, 24, 32, 64 };

	if (rnd(f) % 3 == 0) {
		uint16_t regs[10] = { 0, PICK(f, sizes), PICK(f, sizes), PICK(f, depths),
				      (uint16_t)rnd(f) & 0xff, (uint16_t)rnd(f), PICK(f, sizes),
				      PICK(f, sizes), (uint16_t)wild_value(f), (uint16_t)wild_value(f) };

		for (unsigned n = 1; n < 10; n++) {
			unsigned reg = n < 4 || n > 4 ? n : 4;

			fz_write(f, FZ_PIO, 0x1ce, reg, 2);
			fz_write(f, FZ_PIO, 0x1cf, regs[reg], 2);
		}
		fz_write(f, FZ_PIO, 0x1ce, 4, 2);
		fz_write(f, FZ_PIO, 0x1cf, rnd(f) & 1 ? 0x41 : regs[4], 2);
	}
	if (rnd(f) % 8 == 0) {
		struct text_screen t = { 0 };
		struct surface *s = f->screens.first;

		bus_lock(f->bus);
		if (s->ops->refresh)
			s->ops->refresh(s->dev);
		if (s->ops->text && s->ops->text(s->dev, &t) == 0)
			text_screen_fini(&t);
		bus_unlock(f->bus);
	}
}

static int find_gsi(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	if (desc == &gsi_desc)
		*(struct gsi **)opaque = dev;
	return 0;
}

static void step_gsi(struct fz *f)
{
	struct gsi *g = NULL;

	bus_lock(f->bus);
	if (!f->gsi[0].set) {
		assert_int_equal(board_each(f->board, find_gsi, &g), 0);
		for (unsigned n = 0; n < GSI_LINES; n++)
			f->gsi[n] = gsi_line(g, n);
	}
	irq_set(&f->gsi[rnd(f) % GSI_LINES], (int)(rnd(f) & 1));
	if (rnd(f) % 4 == 0 && f->cpus->pic_pending(f->cpus->pic_opaque))
		f->cpus->pic_ack(f->cpus->pic_opaque);
	if (rnd(f) % 4 == 0)
		f->cpus->eoi(f->cpus->eoi_opaque, (uint8_t)rnd(f));
	bus_unlock(f->bus);
}

static void step_acpi(struct fz *f)
{
	bus_lock(f->bus);
	if (rnd(f) & 1)
		board_power_button(f->board);
	else
		board_sleep_button(f->board);
	bus_unlock(f->bus);
	fz_write(f, FZ_PIO, 0x604, wild_value(f), 2);
}

static const struct {
	const char *dev;
	void (*step)(struct fz *f);
} steps[] = {
	{ "fw_cfg", step_fw_cfg }, { "pflash", step_pflash }, { "hpet", step_hpet },
	{ "i8042", step_i8042 }, { "uart16550", step_serial }, { "isa-serial", step_serial },
	{ "virtio-serial", step_serial }, { "VGA", step_vga }, { "gsi", step_gsi },
	{ "i8259", step_gsi }, { "ioapic", step_gsi }, { "ich9-lpc", step_acpi },
};

/*
 * Around it.
 */
struct name_and_buf {
	const char *name;
	struct state_buf *buf;
	struct fz *f;
	bool flip;
};

/* Saves, restores, saves; or restores what was damaged. */
static int reload_one(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	struct name_and_buf *a = opaque;
	struct state_buf one = { 0 }, two = { 0 };
	struct err err = { "" };

	if (strcmp(desc->name, a->name))
		return 0;
	assert_int_equal(state_save(&one, desc->state, dev, instance), 0);
	if (a->flip) {
		for (unsigned k = 1 + rnd(a->f) % 3; k; k--)
			one.data[rnd(a->f) % one.len] ^= (uint8_t)(1u << rnd(a->f) % 8);
		if (state_load(&one, desc->state, dev, instance, &err) < 0 && desc->reset)
			desc->reset(dev);
	} else {
		if (state_load(&one, desc->state, dev, instance, &err) < 0)
			fail_msg("a state that the guest made is refused: %s", err.text);
		assert_int_equal(state_save(&two, desc->state, dev, instance), 0);
		assert_int_equal(one.len, two.len);
		assert_memory_equal(one.data, two.data, one.len);
	}
	state_buf_fini(&one);
	state_buf_fini(&two);
	return 0;
}

static void reload(struct fz *f, const char *name, bool flip)
{
	struct name_and_buf a = { name, NULL, f, flip };

	bus_lock(f->bus);
	assert_int_equal(board_each(f->board, reload_one, &a), 0);
	bus_unlock(f->bus);
}

static void around(struct fz *f, const char *name)
{
	switch (rnd(f) % 128) {
	case 0:
		fz_machine_reset(f);
		fz_machine_enable(f);
		break;
	case 1: case 2:
		fz_machine_enable(f);
		break;
	case 3:
		fz_machine_turn(f, true);
		reload(f, name, false);
		break;
	case 4:
		if (!f->flips)
			break;
		fz_machine_turn(f, true);
		reload(f, name, true);
		fz_machine_enable(f);
		break;
	case 5:
		fz_machine_pass(f, (int64_t)(rnd(f) % 20) * 1000000000);
		break;
	case 6: case 7: case 8:
		fz_machine_turn(f, false);
		break;
	case 9: case 10: case 11: case 12: case 13: case 14: case 15: case 16:
		fz_machine_pass(f, (int64_t)(rnd(f) % 5000000));
		break;
	default:
		break;
	}
	if (f->calls > array_size(f->call) / 2)
		fz_machine_turn(f, false);
}

/* What a reset leaves alone. */
static bool survives(const char *field)
{
	static const char *const kept[] = {
		/* Clocks go on, and a battery keeps CMOS memory. */
		"i8254.channel.age_ns", "ich9-lpc.pm.half_turns", "mc146818.cmos",
		"mc146818.offset_ns", "mc146818.held_ns", "mc146818.shown_s", "mc146818.update",
		"mc146818.periodic", "mc146818.periodic_age_ns", "mc146818.held",
		/* What the watchdog did stays to be read. */
		"ich9-lpc.pm.tco.sts2",
		/* Made anew when the guest asks for it. */
		"fw_cfg.pool",
	};

	for (size_t n = 0; n < array_size(kept); n++)
		if (!strcmp(kept[n], field))
			return true;
	/* Of a command under way; without one they mean nothing. */
	return strstr(field, ".channel.saved_");
}

/* One field of a stream (src/state/state.h): its name and where its bytes begin. */
static const uint8_t *get_field(const uint8_t *p, char name[256], uint32_t *len)
{
	memcpy(name, p + 1, *p);
	name[*p] = '\0';
	*len = ld_le32(p + 1 + *p);
	return p + 5 + *p;
}

/* Two streams of one layout; how many fields differ that should not. */
static unsigned compare_fields(const struct state_desc *d, const char *path, const uint8_t *was,
			       const uint8_t *now)
{
	unsigned differ = 0;

	for (const struct state_field *s = d->fields; s->type != STATE_TYPE_END; s++) {
		char name[256], whole[600];
		uint32_t len;
		const uint8_t *val = get_field(now, name, &len);

		was += val - now;
		snprintf(whole, sizeof(whole), "%s.%s", path, name);
		for (size_t n = 0, off = 0; s->type == STATE_TYPE_STRUCT && n < s->count; n++) {
			differ += compare_fields(s->sub, whole, was + off + 8, val + off + 8);
			off += 8 + ld_le32(val + off + 4);
		}
		if (s->type != STATE_TYPE_STRUCT && memcmp(was, val, len) && !survives(whole)) {
			size_t at = 0;

			while (was[at] == val[at])
				at++;
			fprintf(stderr, "a reset does not reset %s: byte %zu is %#x, was %#x\n",
				whole, at, val[at], was[at]);
			differ++;
		}
		was += len;
		now = val + len;
	}
	return differ;
}

struct comparison {
	struct fz *f;
	unsigned differ;
};

static int compare_one(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	struct comparison *c = opaque;
	struct state_buf now = { 0 }, *was = &c->f->fresh;
	size_t head = 1 + strlen(desc->state->name) + 12;

	assert_int_equal(state_save(&now, desc->state, dev, instance), 0);
	assert_true(was->pos + now.len <= was->len);
	c->differ += compare_fields(desc->state, desc->name, was->data + was->pos + head,
				    now.data + head);
	was->pos += now.len;
	state_buf_fini(&now);
	return 0;
}

/* After all that a reset gives a machine as new. */
static void compare_fresh(struct fz *f)
{
	struct comparison c = { f, 0 };

	fz_machine_turn(f, true);
	for (unsigned i = 0; i < GSI_LINES; i++)
		irq_set(&f->gsi[i], 0);
	fz_machine_reset(f);
	f->fresh.pos = 0;
	assert_int_equal(board_each(f->board, compare_one, &c), 0);
	if (c.differ)
		fail_msg("%u fields differ from a new machine's", c.differ);
}

void fuzz_board(const char *name, uint64_t seed, unsigned long rounds)
{
	struct fz *f = calloc(1, sizeof(*f));
	struct fz_window win[FZ_WINDOWS];
	void (*step)(struct fz *) = NULL;
	unsigned windows = 0;

	f->seed = seed;
	f->flips = seed >> 1 & 1;
	fz_machine_init(f);
	for (unsigned n = 0; n < array_size(fixed); n++)
		if (!strcmp(fixed[n].dev, name))
			win[windows++] = fixed[n];
	for (unsigned n = 0; n < f->windows; n++)
		if (!strcmp(f->window[n].dev, name))
			win[windows++] = f->window[n];
	for (unsigned n = 0; n < array_size(steps); n++)
		if (!strcmp(steps[n].dev, name))
			step = steps[n].step;
	if (!windows)
		fail_msg("%s has no registers here", name);
	for (unsigned long n = 0; n < rounds; n++) {
		const struct fz_window *w = &win[rnd(f) % windows];

		if (step && rnd(f) % 4 == 0)
			step(f);
		else if (w->width)
			access_indexed(f, w);
		else
			access_plain(f, w);
		around(f, name);
	}
	if (!f->flips)
		compare_fresh(f);
	fz_machine_fini(f);
	free(f);
}
