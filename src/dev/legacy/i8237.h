/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ISA DMA: two 8237A controllers and the page registers. Source: Intel 8237A data sheet
 * (231466); ICH9 data sheet (316972), 5.5 and 13.2.
 *
 * Channels 0..3 move bytes, 5..7 words; 4 is the cascade. A device moves its data with
 * i8237_move() while its DREQ would be high; the transfer is done at once.
 */
#ifndef BOTHY_DEV_LEGACY_I8237_H
#define BOTHY_DEV_LEGACY_I8237_H

#include "src/dev/dev.h"

#define I8237_CHANNELS 8u

struct i8237_channel {
	uint16_t base_addr, base_count; /* as programmed */
	uint16_t addr, count;           /* now; count goes below 0 at the end */
	uint8_t mode, page;
	bool masked, terminal;          /* terminal: the count ran out (status) */
};

struct i8237_unit {
	uint8_t command, request;
	bool flip_flop; /* the high byte is next */
};

struct i8237 {
	struct i8237_unit unit[2];
	struct i8237_channel channel[I8237_CHANNELS];
	uint8_t scratch[16]; /* page registers of no channel: kept as written */
	const struct dev_env *env;
	struct bus_range ports[3]; /* 00h, C0h, 80h */
	/* Told when a channel may move again. */
	void (*ready[I8237_CHANNELS])(void *opaque);
	void *opaque[I8237_CHANNELS];
};

int must_check i8237_init(struct i8237 *d, const struct dev_env *env, struct err *err);
void i8237_fini(struct i8237 *d);

/* A device takes channel @n (not 4): ready() is called whenever software has programmed
 * the channel to go. */
void i8237_connect(struct i8237 *d, unsigned n, void (*ready)(void *opaque), void *opaque);

/*
 * Moves up to @len bytes between @buf and memory, as channel @n is programmed, and returns
 * their number: 0 while the channel is masked or off. *@end is set when the count ran out
 * (TC). A channel that verifies, or is programmed for the other direction, counts and moves
 * nothing.
 */
unsigned i8237_move(struct i8237 *d, unsigned n, uint8_t *buf, unsigned len, bool to_memory,
		    bool *end);

extern const struct dev_desc i8237_desc;

#endif
