/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pair of 8259A interrupt controllers of a PC, the second cascaded on input 2
 * of the first, and the ELCR registers. Ports 20h-21h, A0h-A1h, 4D0h-4D1h.
 * Source: Intel 8259A data sheet (231468); ICH9 data sheet, 13.4 (ELCR).
 */
#ifndef BOTHY_DEV_LEGACY_I8259_H
#define BOTHY_DEV_LEGACY_I8259_H

#include "src/bus/irqchips.h"
#include "src/dev/dev.h"

struct i8259_pair;

struct i8259 {
	uint8_t irr, imr, isr;
	uint8_t lines;       /* input levels now */
	uint8_t elcr;        /* bit n: input n is level-triggered */
	uint8_t icw2, icw3, icw4;
	uint8_t init_step;   /* 0: ready; 2, 3, 4: the ICW that port 1 expects next */
	bool expect_icw4;
	bool single;         /* ICW1.SNGL */
	bool level_mode;     /* ICW1.LTIM: every input */
	bool read_isr;       /* OCW3: port 0 reads the ISR, else the IRR */
	bool poll;           /* OCW3: the next read of port 0 or 1 is a poll */
	bool special_mask;
	bool rotate_on_aeoi;
	uint8_t lowest;      /* input with the lowest priority; 7 after ICW1 */
	uint8_t output;      /* INT pin */
	struct i8259_pair *pair;
};

struct i8259_pair {
	struct i8259 chip[2];
	struct irq_line intr; /* to the processors */
	_Atomic int intr_level;
	const struct irqchips_proxy *away; /* who has the chips; NULL: they are here */
	const struct dev_env *env;
	struct bus_range ports[3]; /* first, second, ELCR */
};

/* @intr: the first chip's INT output; called under the device lock. Copied. */
int must_check i8259_init(struct i8259_pair *p, const struct dev_env *env,
			  const struct irq_line *intr, struct err *err);
void i8259_fini(struct i8259_pair *p);

/* Input @n, 0..15 (2 is the cascade and no input). */
struct irq_line i8259_input(struct i8259_pair *p, unsigned n);

/* Is INTR high? Any thread, no lock needed: for cpus->pic_pending. */
bool i8259_pending(const struct i8259_pair *p);
/* The processor's acknowledge: returns the vector; the spurious one of input 7 when
 * nothing is pending. Takes the device lock: for cpus->pic_ack. */
int i8259_ack(struct i8259_pair *p);

/* For an engine that has such chips itself (irqchips.h). Device lock held. */
void i8259_get(const struct i8259_pair *p, struct irqchips_pic st[2]);
void i8259_put(struct i8259_pair *p, const struct irqchips_pic st[2]);
void i8259_lend(struct i8259_pair *p, const struct irqchips_proxy *to);

extern const struct dev_desc i8259_desc;

#endif
