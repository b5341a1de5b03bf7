// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One random instruction of a row: prefixes, opcode, ModRM, address, immediate.
 *
 * Memory operands aim at a chosen place: the generator knows what every register
 * holds at this point, so the displacement makes up the difference. How many
 * immediate bytes follow is the decoder's word; where it is wrong the host and
 * the engine go different ways, which is what this program looks for.
 */
#include <errno.h>
#include <string.h>

#include "tests/cpu-diff/encode_priv.h"

int diff_decode(const struct diff_case *d, const uint64_t *features, const uint8_t *bytes,
		size_t avail, struct x86_insn *i)
{
	int len = x86_decode(bytes, avail, d->mode, features, i);

	return len > 0 ? len : -EINVAL;
}

static bool has_opnd(const struct x86_row *w, unsigned lo, unsigned hi)
{
	for (unsigned k = 0; k < 4; k++)
		if (w->opnd[k] >= lo && w->opnd[k] <= hi)
			return true;
	return false;
}

#define HAS(w, kind) has_opnd(w, X86_O_##kind, X86_O_##kind)

static bool is_rm_kind(unsigned o)
{
	return (o >= X86_O_Eb && o <= X86_O_Rw) || o == X86_O_Qq || o == X86_O_Nq ||
	       o == X86_O_Qd || o == X86_O_W || o == X86_O_U || o == X86_O_VM || o == X86_O_STi;
}

static bool has_modrm(const struct x86_row *w)
{
	if (w->ext != X86_EXT_ANY || w->mod != X86_MOD_ANY)
		return true;
	for (unsigned k = 0; k < 4; k++) {
		unsigned o = w->opnd[k];

		if (is_rm_kind(o) || (o >= X86_O_Gb && o <= X86_O_Gy) ||
		    (o >= X86_O_Sw && o <= X86_O_Dd) || o == X86_O_Pq || o == X86_O_V)
			return true;
	}
	return false;
}

/* Whether ModRM.rm may be memory for this row, by its operand kinds. */
static bool may_be_memory(const struct x86_row *w)
{
	if (w->mod == X86_MOD_REG || w->rm != X86_EXT_ANY)
		return false;
	if (w->mod == X86_MOD_MEM)
		return true;
	for (unsigned k = 0; k < 4; k++) {
		unsigned o = w->opnd[k];

		if ((o >= X86_O_Eb && o <= X86_O_M) || o == X86_O_Qq || o == X86_O_Qd ||
		    o == X86_O_W || o == X86_O_VM)
			return true;
	}
	return false;
}

static bool must_be_memory(const struct x86_row *w)
{
	return w->mod == X86_MOD_MEM || HAS(w, M) || HAS(w, VM);
}

/* Bytes that the memory operand covers: where it may end is what matters. */
static unsigned operand_bytes(const struct enc *e)
{
	const struct x86_row *w = e->row;

	if (w->mem_bytes)
		return w->mem_bytes;
	for (unsigned k = 0; k < 4; k++)
		switch (w->opnd[k]) {
		case X86_O_Eb: case X86_O_Ob: return 1;
		case X86_O_Ew: return 2;
		case X86_O_Ed: case X86_O_Qd: return 4;
		case X86_O_Eq: case X86_O_Qq: return 8;
		case X86_O_Ev: case X86_O_Ov: return e->opsize;
		case X86_O_Ey: case X86_O_Edq_r: return e->rex_w ? 8 : 4;
		case X86_O_W: return e->vl ? 32 : 16;
		}
	return 8;
}

/* 66, REX.W, VEX.L and the repeat prefixes. */
static void pick_sizes(struct enc *e)
{
	const struct x86_row *w = e->row;
	struct diff_rng *r = e->in->rng;
	bool m64 = e->in->d->mode == X86_MODE_64;
	unsigned def = e->in->d->mode == X86_MODE_16 ? 2 : 4;

	e->p66 = w->pp == X86_PP_66;
	if (w->pp == X86_PP_ANY || w->pp == X86_PP_F3 || w->pp == X86_PP_F2)
		e->p66 = w->vex == X86_LEGACY && rng_pct(r, 25);
	/* Processors differ on operand-size prefixes of near branches in 64-bit code
	 * (SDM and APM, vol. 2 and 3, "near branches"): not tried. */
	if (m64 && (w->attr & X86_A_F64))
		e->p66 = false;
	if (e->in->no_66)
		e->p66 = false;
	e->rex_w = w->vw == X86_W_1 || (w->vw == X86_W_ANY && rng_pct(r, 40));
	if (e->in->force_w >= 0)
		e->rex_w = e->in->force_w;
	if (w->vex == X86_LEGACY && !m64)
		e->rex_w = false;
	e->vl = w->vl == X86_L_256 || (w->vl == X86_L_ANY && rng_pct(r, 50));
	if (w->attr & X86_A_REP)
		e->rep = rng_pct(r, 50) ? 0 : rng_pct(r, 70) ? 0xf3 : 0xf2;
	else if (w->vex == X86_LEGACY && w->pp == X86_PP_F3)
		e->rep = 0xf3;
	else if (w->vex == X86_LEGACY && w->pp == X86_PP_F2)
		e->rep = 0xf2;
	e->opsize = e->p66 ? 6 - def : def;
	if (m64 && (e->rex_w || (w->attr & X86_A_F64) || ((w->attr & X86_A_D64) && !e->p66)))
		e->opsize = 8;
	if (w->attr & X86_A_BYTE)
		e->opsize = 1;
	e->adsize = m64 ? 8 : def;
	if (rng_pct(r, 8)) {
		e->p67 = true;
		e->adsize = m64 ? 4 : 6 - def;
	}
}

static unsigned pick_reg(struct enc *e, bool general)
{
	struct diff_rng *r = e->in->rng;
	unsigned n = e->in->d->mode == X86_MODE_64 ? 16 : 8;
	unsigned v = rng_below(r, n);

	/* Keep the stack pointer out of most destinations. */
	if (general && v == X86_RSP && e->opsize > 1 && rng_pct(r, 90))
		v = rng_below(r, n);
	return v;
}

static void pick_fields(struct enc *e)
{
	const struct x86_row *w = e->row;
	struct diff_rng *r = e->in->rng;
	bool vec = HAS(w, V) || HAS(w, Pq);

	e->reg = pick_reg(e, !vec);
	if (w->ext != X86_EXT_ANY)
		e->reg = w->ext | (rng_pct(r, 10) ? 8 : 0);
	if (HAS(w, Sw) && rng_pct(r, 90))
		e->reg = rng_below(r, 6);
	if (HAS(w, By) || HAS(w, H))
		e->vvvv = pick_reg(e, HAS(w, By));
	e->mem = may_be_memory(w) && (must_be_memory(w) || rng_pct(r, 55));
	if (e->in->force_rm >= 0)
		e->mem = false;
	if (e->in->has_target)
		e->mem = true;
	if (!e->mem)
		e->rm = w->rm != X86_EXT_ANY ? w->rm
		      : e->in->force_rm >= 0 ? (unsigned)e->in->force_rm
					     : pick_reg(e, true);
	e->lock = (w->attr & X86_A_LOCK) && e->mem && rng_pct(r, 25);
}

/* Puts the prefixes in any order; processors take any. */
static void put_legacy_prefixes(struct enc *e)
{
	static const uint8_t seg_prefix[X86_NSEGS] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	uint8_t p[6];
	unsigned n = 0;

	if (e->seg != X86_NSEGS)
		p[n++] = seg_prefix[e->seg];
	if (e->p66 && e->row->vex == X86_LEGACY)
		p[n++] = 0x66;
	if (e->p67)
		p[n++] = 0x67;
	if (e->lock)
		p[n++] = 0xf0;
	if (e->rep)
		p[n++] = e->rep;
	while (n) {
		unsigned k = rng_below(e->in->rng, n);

		e->b[e->n++] = p[k];
		p[k] = p[--n];
	}
}

static void put_rex(struct enc *e)
{
	uint8_t rex = (uint8_t)(e->rex_w << 3 | (e->reg >> 3 & 1) << 2 | (e->x >> 3 & 1) << 1 |
				(e->rm >> 3 & 1));

	if (e->in->d->mode == X86_MODE_64 && (rex || rng_pct(e->in->rng, 12)))
		e->b[e->n++] = 0x40 | rex;
}

static void put_vex(struct enc *e)
{
	static const uint8_t pp_of[] = {
		[X86_PP_ANY] = 0, [X86_PP_NONE] = 0, [X86_PP_66] = 1, [X86_PP_F3] = 2,
		[X86_PP_F2] = 3,
	};
	const struct x86_row *w = e->row;
	uint8_t tail = (uint8_t)((~e->vvvv & 15) << 3 | e->vl << 2 | pp_of[w->pp]);
	uint8_t rxb = (uint8_t)(~((e->reg >> 3 & 1) << 7 | (e->x >> 3 & 1) << 6 |
				  (e->rm >> 3 & 1) << 5) & 0xe0);

	if (w->map == X86_MAP_0F && !e->rex_w && (rxb & 0x60) == 0x60 && rng_pct(e->in->rng, 75)) {
		e->b[e->n++] = 0xc5;
		e->b[e->n++] = (rxb & 0x80) | tail;
		return;
	}
	e->b[e->n++] = 0xc4;
	e->b[e->n++] = rxb | (w->map == X86_MAP_0F ? 1 : w->map == X86_MAP_0F38 ? 2 : 3);
	e->b[e->n++] = (uint8_t)(e->rex_w << 7) | tail;
}

static void put_opcode(struct enc *e)
{
	const struct x86_row *w = e->row;
	uint8_t op = w->opcode;

	if (w->vex == X86_VEX) {
		put_vex(e);
		e->b[e->n++] = op;
		return;
	}
	if (!has_modrm(w) && (HAS(w, Zb) || HAS(w, Zv)))
		op = (op & 0xf8) | (e->rm & 7);
	put_rex(e);
	if (w->map != X86_MAP_1)
		e->b[e->n++] = 0x0f;
	if (w->map == X86_MAP_0F38)
		e->b[e->n++] = 0x38;
	else if (w->map == X86_MAP_0F3A)
		e->b[e->n++] = 0x3a;
	e->b[e->n++] = op;
}

static void put_bytes(struct enc *e, uint64_t v, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		e->b[e->n++] = (uint8_t)(v >> 8 * k);
}

static void put_modrm(struct enc *e)
{
	if (!e->mem) {
		e->b[e->n++] = 0xc0 | (e->reg & 7) << 3 | (e->rm & 7);
		return;
	}
	e->b[e->n++] = e->mod << 6 | (e->reg & 7) << 3 | (e->rm & 7);
	if (e->has_sib)
		e->b[e->n++] = e->sib;
	e->disp_at = e->n;
	put_bytes(e, (uint64_t)e->disp, e->disp_bytes);
}

/* Immediates like the operands' corners; the decoder says how much of it counts. */
static void put_tail(struct enc *e)
{
	const struct x86_row *w = e->row;
	uint64_t v = diff_value(e->in->rng, 8);

	if (HAS(w, Ob) || HAS(w, Ov)) {
		put_bytes(e, (uint64_t)e->disp, e->adsize);
		return;
	}
	if (HAS(w, Iw) && HAS(w, Ib)) /* ENTER: frame size, level */
		v = rng_below(e->in->rng, 64) | (uint64_t)rng_below(e->in->rng, 4) << 16;
	else if (HAS(w, Iw) && rng_pct(e->in->rng, 80)) /* RET n */
		v = rng_below(e->in->rng, 64);
	put_bytes(e, v, 8);
	put_bytes(e, 0x9090909090909090ull, 8);
}

static void set_fix(const struct enc *e, struct diff_insn *out)
{
	const struct x86_row *w = e->row;

	out->fix = DIFF_FIX_NONE;
	if (HAS(w, Ap) && rng_pct(e->in->rng, 85)) {
		unsigned n = e->opsize == 2 ? 2 : 4;

		out->fix = DIFF_FIX_ABS;
		out->fix_size = (uint8_t)n;
		out->fix_off = (uint8_t)(out->len - n - 2);
		st_le16(out->bytes + out->len - 2, diff_cs(e->in->d));
		return;
	}
	if (!HAS(w, Jb) && !HAS(w, Jz))
		return;
	out->fix = DIFF_FIX_REL;
	out->fix_size = HAS(w, Jb) ? 1 : e->opsize == 2 ? 2 : 4;
	out->fix_off = out->len - out->fix_size;
}

/* Prefixes nobody needs, repeated or without meaning here. */
static void add_odd_prefix(struct enc *e)
{
	static const uint8_t odd[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3,
				       0x40, 0x4f, 0xf0 };

	memmove(e->b + 1, e->b, e->n);
	e->disp_at++;
	e->b[0] = odd[rng_below(e->in->rng, sizeof(odd))];
	e->n++;
}

static void spoil(struct enc *e)
{
	struct diff_rng *r = e->in->rng;

	switch (rng_below(r, 5)) {
	case 0: e->lock = !e->lock; break;
	case 1: e->vvvv = rng_below(r, 16); break;
	case 2: e->vl = !e->vl; break;
	case 3: /* VEX.W: processors ignore it in more places than the manuals say */
		e->rex_w = e->row->vex == X86_LEGACY ? !e->rex_w : e->rex_w;
		break;
	default: e->p66 = !e->p66; break;
	}
	if (e->in->d->mode != X86_MODE_64 && e->row->vex == X86_LEGACY)
		e->rex_w = false;
}

/* Opcodes under which other prefixes or a ModRM byte reach instructions that the
 * host may have and the engine does not offer. */
static bool may_spoil(const struct x86_row *w)
{
	switch (w->map << 8 | w->opcode) {
	case X86_MAP_0F << 8 | 0x01: case X86_MAP_0F << 8 | 0x09: case X86_MAP_0F << 8 | 0x1e:
	case X86_MAP_0F << 8 | 0x20: case X86_MAP_0F << 8 | 0x22: /* LOCK: AMD's MOV CR8 */
	case X86_MAP_0F << 8 | 0x2b: case X86_MAP_0F << 8 | 0x78: case X86_MAP_0F << 8 | 0x79:
	case X86_MAP_0F << 8 | 0xae: case X86_MAP_0F << 8 | 0xc7: case X86_MAP_1 << 8 | 0x90:
		return false;
	}
	return !(w->attr & (X86_A_F64 | X86_A_END));
}

static bool acceptable(const struct enc *e, const struct x86_insn *i, unsigned want)
{
	unsigned got = i->row->id;

	if (got == X86_OP_INT_Ib && (uint8_t)i->imm == 0x80)
		return false; /* Linux's system call */
	if (got == want)
		return true;
	return e->in->mutate && (got == X86_OP_UD || diff_row_info(got)->rule != DIFF_SKIP);
}

int diff_encode(const struct diff_enc *in, unsigned row, struct diff_insn *out)
{
	struct enc e = { .in = in, .row = &x86_rows[row], .seg = X86_NSEGS };
	struct x86_insn i;
	int len;

	pick_sizes(&e);
	pick_fields(&e);
	if (e.mem || HAS(e.row, Ob) || HAS(e.row, Ov))
		enc_pick_address(&e, operand_bytes(&e));
	else if (has_opnd(e.row, X86_O_Xb, X86_O_Xv) && rng_pct(in->rng, 10))
		e.seg = rng_below(in->rng, X86_NSEGS);
	if (!has_modrm(e.row) && (HAS(e.row, Zb) || HAS(e.row, Zv)))
		e.rm = in->force_rm >= 0 ? (unsigned)in->force_rm : pick_reg(&e, true);
	if (in->mutate && may_spoil(e.row))
		spoil(&e);
	put_legacy_prefixes(&e);
	put_opcode(&e);
	if (has_modrm(e.row))
		put_modrm(&e);
	put_tail(&e);
	if (in->wild && may_spoil(e.row) && rng_pct(in->rng, 30))
		add_odd_prefix(&e);
	if (e.n > sizeof(e.b) - 1)
		return -EINVAL;
	len = diff_decode(in->d, in->features, e.b, X86_MAX_INSN, &i);
	if (len < 0 || !acceptable(&e, &i, row))
		return -EINVAL;
	if (e.rip_relative)
		st_le32(e.b + e.disp_at, (uint32_t)(e.rip_target - len -
						    diff_code_rip(in->d, in->rip_off)));
	memset(out, 0, sizeof(*out));
	memcpy(out->bytes, e.b, (size_t)len);
	out->len = (uint8_t)len;
	out->row = (int16_t)i.row->id;
	out->mem = i.mem;
	if (i.row->id == row)
		set_fix(&e, out);
	return 0;
}

bool diff_row_offered(unsigned row, unsigned mode, const uint64_t *features)
{
	const struct x86_row *w = &x86_rows[row];

	if (!(features[w->feature / 64] >> (w->feature % 64) & 1))
		return false;
	return mode == X86_MODE_64 ? !(w->attr & X86_A_NO64) : !(w->attr & X86_A_ONLY64);
}

bool diff_row_has_forms(unsigned row)
{
	return may_be_memory(&x86_rows[row]) && !must_be_memory(&x86_rows[row]);
}
