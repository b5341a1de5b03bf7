// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A case, grown one instruction at a time: after each the sequence so far is run
 * on the host, so that the next one's address and operands are chosen with the
 * true register values at hand, and a sequence ends in a fault only when that is
 * wanted.
 */
#include <string.h>

#include "tests/cpu-diff/gen_priv.h"

static bool has_target(unsigned row)
{
	for (unsigned k = 0; k < 4; k++)
		if (x86_rows[row].opnd[k] == X86_O_Jb || x86_rows[row].opnd[k] == X86_O_Jz ||
		    x86_rows[row].opnd[k] == X86_O_Ap)
			return true;
	return false;
}

struct diff_insn *gen_append(struct grow *w, int row)
{
	struct diff_case *d = w->d;
	struct diff_insn *i;

	if (d->n >= DIFF_MAX_INSNS - 1)
		return NULL;
	i = &d->insn[d->n];
	memset(i, 0, sizeof(*i));
	i->row = (int16_t)row;
	i->conditional = d->n < w->cond_until;
	d->n++;
	return i;
}

static bool usable(const struct grow *w, unsigned row)
{
	return diff_row_info(row)->rule != DIFF_SKIP &&
	       diff_row_offered(row, w->d->mode, w->g->features) &&
	       (w->g->real || row != X86_OP_INT_Ib);
}

static unsigned pick_row(struct grow *w)
{
	for (;;) {
		unsigned row = rng_below(w->r, (uint32_t)x86_nrows);

		if (usable(w, row))
			return row;
	}
}

/* Runs what is there; the state behind it becomes w->now. False: no sequence. */
static bool run_so_far(struct grow *w)
{
	if (diff_case_layout(w->d))
		return false;
	native_run(w->g->native, w->d, &w->g->result);
	return w->g->result.end == DIFF_EXIT || w->g->result.end == DIFF_FAULT;
}

static bool encode_one(struct grow *w, unsigned row, bool wild, bool mutate)
{
	struct diff_enc e = {
		.rng = w->r, .d = w->d, .features = w->g->features, .now = &w->now,
		.wild = wild, .mutate = mutate, .force_rm = -1, .force_w = -1,
	};
	struct diff_insn tmp, *i;
	unsigned target;

	gen_prepare(w, row, &e);
	e.rip_off = w->d->code_off;
	for (unsigned k = 0; k < w->d->n; k++)
		e.rip_off += w->d->insn[k].len;
	for (unsigned t = 0; diff_encode(&e, row, &tmp); t++)
		if (t == 6)
			return false;
	i = gen_append(w, (int)row);
	if (!i)
		return false;
	tmp.conditional = i->conditional;
	*i = tmp;
	if (i->fix != DIFF_FIX_NONE && has_target(row)) {
		target = w->d->n + (w->loop_to >= 0 ? 0 : rng_below(w->r, 3));
		i->target = (uint8_t)(w->loop_to >= 0 ? (unsigned)w->loop_to : target);
		if (w->loop_to < 0 && target > w->cond_until)
			w->cond_until = target;
	}
	if (w->want_target > w->cond_until)
		w->cond_until = w->want_target;
	return true;
}

/* Appends one instruction of @row (with what it needs before it). False: left as
 * it was. @fault_ok: may end the sequence by faulting. */
static bool grow_by(struct grow *w, unsigned row, bool wild, bool mutate, bool fault_ok)
{
	struct diff_case *d = w->d;
	unsigned n = d->n, cond = w->cond_until;

	w->want_target = 0;
	if (encode_one(w, row, wild, mutate) && run_so_far(w)) {
		if (w->g->result.end == DIFF_EXIT) {
			w->now = w->g->result.regs;
			return true;
		}
		if (fault_ok) {
			w->faulted = true;
			return true;
		}
	}
	d->n = (uint8_t)n;
	w->cond_until = cond;
	return false;
}

/* May nothing follow the last instruction? */
static bool open_end(const struct grow *w)
{
	return w->d->n && diff_leaves_open(w->d, &w->d->insn[w->d->n - 1]);
}

/* mov ecx, n; body; loop body: if the body leaves RCX alone. */
static void grow_loop(struct grow *w)
{
	unsigned start, count = 2 + rng_below(w->r, 3), body = 1 + rng_below(w->r, 3);

	if (w->d->n + 8 > DIFF_MAX_INSNS || w->cond_until > w->d->n)
		return;
	gen_mov(w, X86_RCX, count);
	start = w->d->n;
	if (!run_so_far(w) || w->g->result.end != DIFF_EXIT)
		return;
	w->now = w->g->result.regs;
	for (unsigned t = 0; t < 20 && w->d->n < start + body; t++) {
		unsigned row = pick_row(w), n = w->d->n;

		if (has_target(row) || (x86_rows[row].attr & X86_A_END) || diff_row_info(row)->last)
			continue;
		if (grow_by(w, row, false, false, false) &&
		    (w->now.gpr[X86_RCX] != count || open_end(w))) {
			w->d->n = (uint8_t)n;
			if (run_so_far(w))
				w->now = w->g->result.regs;
		}
	}
	w->loop_to = (int)start;
	grow_by(w, X86_OP_LOOP, false, false, false);
	w->loop_to = -1;
}

static void begin(struct grow *w, uint64_t seed)
{
	struct diff_case *d = w->d;
	unsigned p = rng_below(w->r, 100);

	memset(d, 0, offsetof(struct diff_case, mem));
	d->seed = seed;
	d->features = w->g->features;
	d->mode = X86_MODE_64;
	if (p < 12 && (w->g->modes >> X86_MODE_32 & 1))
		d->mode = X86_MODE_32;
	else if (p < 18 && (w->g->modes >> X86_MODE_16 & 1))
		d->mode = X86_MODE_16;
	if (w->row >= 0 && !diff_row_offered((unsigned)w->row, d->mode, w->g->features))
		d->mode = d->mode == X86_MODE_64 ? X86_MODE_32 : X86_MODE_64;
	d->high = d->mode == X86_MODE_64 && rng_pct(w->r, 50);
	d->code_off = (uint16_t)rng_below(w->r, 0x1800);
	if (rng_pct(w->r, 20))
		d->code_off = (uint16_t)(0x1000 - rng_below(w->r, 60)); /* across the page end */
	diff_random_regs(w->r, d);
	diff_random_mem(w->r, w->g->pool, d);
	memcpy(w->g->result.mem, d->mem, DIFF_MEM_LEN);
	d->init.sel[X86_CS] = diff_cs(d);
	w->now = d->init;
}

/* The last instructions run up to the end of the code pages: a fetch faults. */
static void push_to_end(struct grow *w)
{
	struct diff_case *d = w->d;
	unsigned len = 0;

	for (unsigned k = 0; k < d->n; k++)
		len += d->insn[k].len;
	d->no_exit = true;
	d->code_off = (uint16_t)(DIFF_CODE_LEN - len + rng_below(w->r, 6));
	if (d->code_off >= DIFF_CODE_LEN)
		d->code_off = DIFF_CODE_LEN - 1;
}

void diff_generate(struct diff_gen *g, uint64_t seed, int row, struct diff_case *d)
{
	struct diff_rng first = { seed }, rng = { rng64(&first) };
	struct grow w = { .g = g, .r = &rng, .d = d, .row = row, .loop_to = -1 };
	unsigned want, style;
	bool ended = false; /* what came cannot be built upon */

	begin(&w, seed);
	want = 1 + rng_below(&rng, 14);
	style = rng_below(&rng, 100);
	for (unsigned t = 0; t < 80 && d->n < want && !w.faulted && !ended; t++) {
		bool last = d->n + 1u >= want;
		unsigned pick = row >= 0 && (last || rng_pct(&rng, 30)) ? (unsigned)row
									 : pick_row(&w);
		bool fault_ok = diff_row_info(pick)->rule == DIFF_FAULTS
					? last || (row >= 0 && pick == (unsigned)row) || rng_pct(&rng, 20)
					: last ? rng_pct(&rng, 40) : rng_pct(&rng, 4);

		if (style < 4 && d->n < 8 && t % 8 == 7)
			grow_loop(&w);
		else if (diff_row_info(pick)->last)
			ended = (last || rng_pct(&rng, 20)) &&
				grow_by(&w, pick, false, false, rng_pct(&rng, 20));
		else
			ended = grow_by(&w, pick, style > 85 && (last || rng_pct(&rng, 30)),
					style > 92 && rng_pct(&rng, 40), fault_ok) &&
				open_end(&w);
	}
	for (unsigned k = 0; k < d->n; k++)
		if (d->insn[k].fix != DIFF_FIX_NONE && d->insn[k].target > d->n)
			d->insn[k].target = d->n;
	if (style == 50 && d->mode == X86_MODE_64)
		push_to_end(&w);
	if (diff_case_layout(d)) { /* a target out of reach: without the rest */
		d->n = 0;
		d->no_exit = false;
		if (diff_case_layout(d))
			d->code_off = 0;
	}
}
