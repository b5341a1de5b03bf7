/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An instruction in the making: encode.c chooses, address.c aims. */
#ifndef BOTHY_TESTS_CPU_DIFF_ENCODE_PRIV_H
#define BOTHY_TESTS_CPU_DIFF_ENCODE_PRIV_H

#include "tests/cpu-diff/diff.h"

struct enc {
	const struct diff_enc *in;
	const struct x86_row *row;
	uint8_t b[48];
	unsigned n;
	bool p66, p67, rex_w, lock, vl;
	uint8_t rep;
	unsigned opsize, adsize;
	unsigned reg, vvvv; /* with their fourth bit */
	bool mem;
	unsigned rm; /* register, or ModRM.rm and REX.B of the address */
	unsigned x;  /* SIB.index with its fourth bit */
	unsigned mod, disp_bytes;
	bool has_sib;
	uint8_t sib;
	int64_t disp;
	bool rip_relative;   /* the displacement waits for the length */
	uint64_t rip_target; /* effective address meant */
	unsigned disp_at;    /* where in b[] the displacement stands */
	unsigned seg; /* override; X86_NSEGS: none */
};

/* Chooses a place for a memory operand of @size bytes and a way to name it. */
void enc_pick_address(struct enc *e, unsigned size);

#endif
