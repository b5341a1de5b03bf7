/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The measured programs. Each does a fixed amount of work for its scale and
 * returns a number that depends on all of it: the same on every machine, or the
 * machine is wrong.
 */
#ifndef BOTHY_BENCH_PROGRAMS_BENCH_H
#define BOTHY_BENCH_PROGRAMS_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
	const char *name;
	const char *title;
	uint64_t (*run)(unsigned n);
	unsigned full, quick; /* n: what it counts is the program's own affair */
	bool (*offered)(void); /* NULL: everywhere */
	double instructions;   /* for one n; 0: not counted */
};

extern const struct bench int_benches[], fp_benches[], os_benches[]; /* end in name NULL */

/* A small generator, the same everywhere. */
static inline uint32_t rnd(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

/* Allocates or ends the program: a benchmark without memory says nothing. */
static inline void *need(size_t n)
{
	void *p = malloc(n);

	if (!p) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return p;
}

uint64_t mixed_work(unsigned n); /* the program "mixed" */

/* Keeps the compiler from seeing through @p. */
#define opaque(p) __asm__ volatile("" : "+r"(p) :: "memory")

#endif
