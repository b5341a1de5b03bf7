/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8254 programmable interval timer of a PC (ports 40h-43h) and the parts of
 * port 61h that belong to its channel 2 (gate, output, speaker).
 * Source: Intel 8254 data sheet (231164).
 */
#ifndef BOTHY_DEV_LEGACY_I8254_H
#define BOTHY_DEV_LEGACY_I8254_H

#include "src/dev/dev.h"

#define I8254_HZ 1193182u

struct i8254;

struct i8254_channel {
	struct i8254 *pit;
	struct vtimer timer;  /* the next change of the output, channel 0 */
	int64_t start_ns;     /* when the count in use was loaded (or the gate rose) */
	int64_t age_ns;       /* the same, as saved: before now */
	uint32_t count;       /* 1..0x10000 (10000 in BCD), modes 2 and 3 from 2 */
	uint32_t next_count;  /* modes 2, 3: takes over at the period's end; 0: none */
	uint32_t held;        /* what was left when the gate stopped counting */
	uint16_t latch;       /* latched count */
	uint8_t latched;      /* how the latch is read, as access; 0: not latched */
	uint8_t status;       /* latched status */
	bool status_latched;
	uint8_t mode;         /* 0..5 */
	uint8_t access;       /* 1 low, 2 high, 3 low then high */
	uint8_t write_low;    /* first byte of a two-byte write */
	bool write_high_next, read_high_next;
	bool bcd;
	bool gate;
	bool null_count;      /* a count was written, not loaded yet */
	bool loaded;          /* a count is in use (after a control word: not yet) */
	bool triggered;       /* modes 1, 5: the gate has risen */
};

struct i8254 {
	struct i8254_channel channel[3];
	struct irq_line irq0;
	const struct dev_env *env;
	struct bus_range ports, port61;
	bool speaker;   /* port 61h bit 1 */
	uint8_t nmi_mask; /* port 61h bits 2-3, kept */
};

/* @irq0: channel 0's output. Copied. */
int must_check i8254_init(struct i8254 *p, const struct dev_env *env,
			  const struct irq_line *irq0, struct err *err);
void i8254_fini(struct i8254 *p);

extern const struct dev_desc i8254_desc;

#endif
