/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest bytes to struct x86_insn: prefixes, opcode, the operation table's row,
 * ModRM and SIB, displacement, immediates. SDM vol. 2, chapter 2 and appendix A.
 *
 * The tables in x86_index.inc come from ops.def at build time (index.h).
 */
#include "src/cpu/x86/index.h"
#include "src/cpu/x86/insn.h"

#include "src/cpu/x86/x86_index.inc"

#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

struct dec {
	const uint8_t *bytes;
	unsigned pos, limit; /* limit: at most 15 and what is there */
	bool m64;
	bool opsize66, adsize67, lock;
	uint8_t rep;  /* the last of F2 and F3, or 0 */
	uint8_t rex;  /* REX byte, or the like of it from VEX; 0 where absent */
	uint8_t seg;  /* override, or X86_NSEGS */
	uint8_t map;
	bool vex, vex_w, vex_l;
	uint8_t vvvv;
	uint8_t pp; /* enum x86_pp */
	int status; /* 0 or -1 once bytes ran out */
};

/* False where @n more bytes are not to be had; d->status says why. */
static inline bool have(struct dec *d, unsigned n)
{
	if (likely(d->pos + n <= d->limit))
		return true;
	d->status = d->pos + n > X86_MAX_INSN ? -1 : 0;
	return false;
}

/* Prefixes up to the opcode's first byte. REX counts only directly in front of
 * the opcode; the last segment override and the last of F2/F3 count. */
static bool read_prefixes(struct dec *d)
{
	for (;; d->pos++) {
		uint8_t b;

		if (!have(d, 1))
			return false;
		b = d->bytes[d->pos];
		switch (b) {
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			if (!d->m64) /* no effect in 64-bit mode, not even on FS and GS */
				d->seg = b >> 3 & 3;
			break;
		case 0x64: d->seg = X86_FS; break;
		case 0x65: d->seg = X86_GS; break;
		case 0x66: d->opsize66 = true; break;
		case 0x67: d->adsize67 = true; break;
		case 0xf0: d->lock = true; break;
		case 0xf2: case 0xf3: d->rep = b; break;
		default:
			if (d->m64 && (b & 0xf0) == 0x40) {
				d->rex = b;
				continue;
			}
			return true;
		}
		d->rex = 0;
	}
}

/* VEX after C4/C5, SDM vol. 2, 2.3.5. False: no map that exists, or a prefix
 * before it that makes it #UD. Both bytes are there. */
static bool read_vex(struct dec *d, uint8_t first)
{
	uint8_t b1 = d->bytes[d->pos], last = b1;
	bool clash = d->opsize66 || d->rep || d->lock || d->rex;

	d->vex = true;
	d->rex = 0x40 | (b1 & 0x80 ? 0 : REX_R);
	d->map = X86_MAP_0F;
	d->pos++;
	if (first == 0xc4) {
		d->rex |= (b1 & 0x40 ? 0 : REX_X) | (b1 & 0x20 ? 0 : REX_B);
		d->map = b1 & 0x1f;
		last = d->bytes[d->pos++];
		d->vex_w = last & 0x80;
	}
	d->vvvv = ~last >> 3 & 0xf;
	d->vex_l = last & 4;
	d->pp = (const uint8_t[]){ X86_PP_NONE, X86_PP_66, X86_PP_F3, X86_PP_F2 }[last & 3];
	if (!d->m64) { /* eight registers, 32-bit operands */
		d->rex = 0x40;
	} else if (d->vex_w) {
		d->rex |= REX_W;
	}
	return !clash && d->map >= X86_MAP_0F && d->map <= X86_MAP_0F3A;
}

/* The opcode with its escapes. 1: *op is it; 0: bytes ran out; -1: undefined. */
static int read_opcode(struct dec *d, unsigned mode, uint8_t *op)
{
	uint8_t b = d->bytes[d->pos++];

	d->map = X86_MAP_1;
	if ((b == 0xc4 || b == 0xc5) && !(mode & X86_MODE_REAL)) {
		if (!have(d, 1))
			return 0;
		/* Outside 64-bit mode LES and LDS, unless their ModRM would name a
		 * register. */
		if (d->m64 || d->bytes[d->pos] >= 0xc0) {
			if (!have(d, b == 0xc4 ? 3 : 2))
				return 0;
			if (!read_vex(d, b))
				return -1;
			*op = d->bytes[d->pos++];
			return 1;
		}
	}
	d->pp = d->rep == 0xf3   ? X86_PP_F3
		: d->rep == 0xf2 ? X86_PP_F2
		: d->opsize66    ? X86_PP_66
				 : X86_PP_NONE;
	if (b == 0x0f) {
		d->map = X86_MAP_0F;
		if (!have(d, 1))
			return 0;
		b = d->bytes[d->pos++];
		if (b == 0x38 || b == 0x3a) {
			d->map = b == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A;
			if (!have(d, 1))
				return 0;
			b = d->bytes[d->pos++];
		}
	}
	*op = b;
	return 1;
}

static const struct x86_match *find_row(const struct dec *d, const struct x86_slot *s,
					unsigned mode, uint8_t op, uint8_t modrm,
					const uint64_t *features)
{
	const struct x86_match *m = &x86_matches[s->first], *end = m + s->count;
	bool w = d->vex ? d->vex_w : d->rex & REX_W;
	uint8_t sel, ext, rm;

	sel = (modrm >= 0xc0 ? X86_SEL_REG : X86_SEL_MEM) | (d->vex_l ? X86_SEL_L1 : X86_SEL_L0) |
	      (w ? X86_SEL_W1 : X86_SEL_W0);
	if (s->modrm) {
		ext = modrm >> 3 & 7;
		rm = modrm & 7;
	} else {
		sel &= (uint8_t)~(X86_SEL_REG | X86_SEL_MEM);
		ext = X86_EXT_ANY;
		rm = (op & 7) | (d->rex & REX_B ? 8 : 0);
	}
	for (; m < end; m++) {
		if (!(m->pp >> (d->pp - 1) & 1) || (sel & ~m->sel) || !(m->modes >> mode & 1) ||
		    (m->ext != X86_EXT_ANY && m->ext != ext) ||
		    (m->rm != X86_EXT_ANY && m->rm != rm))
			continue;
		if (m->feature == X86_F_BASE || features[m->feature / 64] >> (m->feature % 64) & 1)
			return m;
	}
	return NULL;
}

static uint8_t operand_size(const struct dec *d, unsigned mode, uint8_t rule)
{
	switch (rule) {
	case X86_SIZE_B: return 1;
	case X86_SIZE_Y: return d->m64 && d->rex & REX_W ? 8 : 4;
	case X86_SIZE_M64: return d->m64 ? 8 : 4;
	case X86_SIZE_MAX32:
		if (d->m64 && d->rex & REX_W)
			return 4;
		break;
	case X86_SIZE_F64:
		if (d->m64)
			return 8;
		break;
	case X86_SIZE_D64:
		if (d->m64)
			return d->opsize66 && !(d->rex & REX_W) ? 2 : 8;
		break;
	default:
		if (d->m64 && d->rex & REX_W)
			return 8;
	}
	return ((mode & X86_MODE_SIZE) == X86_MODE_16) != d->opsize66 ? 2 : 4;
}

/* ModRM's memory operand with 16-bit addressing, SDM vol. 2, table 2-1. */
static bool read_mem16(struct dec *d, struct x86_insn *out)
{
	static const uint8_t base[8] = { X86_RBX, X86_RBX, X86_RBP, X86_RBP,
					 X86_RSI, X86_RDI, X86_RBP, X86_RBX };
	static const uint8_t index[8] = { X86_RSI, X86_RDI, X86_RSI, X86_RDI,
					  X86_REG_NONE, X86_REG_NONE, X86_REG_NONE, X86_REG_NONE };
	unsigned mod = out->modrm >> 6, rm = out->modrm & 7;

	out->mem_base = base[rm];
	out->mem_index = index[rm];
	if (mod == 0 && rm == 6) {
		out->mem_base = X86_REG_NONE;
		mod = 2;
	}
	if (!have(d, mod))
		return false;
	if (mod == 1)
		out->disp = (int8_t)d->bytes[d->pos];
	else if (mod == 2) /* a bare address is the same number, sign-extended */
		out->disp = (int16_t)ld_le16(d->bytes + d->pos);
	d->pos += mod;
	return true;
}

/* ... with 32- or 64-bit addressing, tables 2-2 and 2-3. */
static bool read_mem32(struct dec *d, struct x86_insn *out, bool vsib)
{
	unsigned mod = out->modrm >> 6, rm = out->modrm & 7;
	bool disp32 = mod == 2;

	if (rm == 4) {
		uint8_t sib;
		unsigned index;

		if (!have(d, 1))
			return false;
		sib = d->bytes[d->pos++];
		index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);
		if (index != 4 || vsib) {
			out->mem_index = (uint8_t)index;
			out->mem_scale = sib >> 6;
		}
		rm = sib & 7;
		if (rm == 5 && mod == 0)
			disp32 = true;
		else
			out->mem_base = (uint8_t)(rm | (d->rex & REX_B ? 8 : 0));
	} else if (rm == 5 && mod == 0) {
		disp32 = true;
		if (d->m64)
			out->mem_base = X86_REG_RIP;
	} else {
		out->mem_base = (uint8_t)(rm | (d->rex & REX_B ? 8 : 0));
	}
	if (mod == 1) {
		if (!have(d, 1))
			return false;
		out->disp = (int8_t)d->bytes[d->pos++];
	} else if (disp32) {
		if (!have(d, 4))
			return false;
		out->disp = (int32_t)ld_le32(d->bytes + d->pos);
		d->pos += 4;
	}
	return true;
}

static bool read_mem(struct dec *d, struct x86_insn *out, bool vsib)
{
	out->mem = true;
	if (!(out->adsize == 2 ? read_mem16(d, out) : read_mem32(d, out, vsib)))
		return false;
	if (d->seg == X86_NSEGS && (out->mem_base == X86_RSP || out->mem_base == X86_RBP))
		out->seg = X86_SS;
	return true;
}

static bool read_moffs(struct dec *d, struct x86_insn *out)
{
	if (!have(d, out->adsize))
		return false;
	out->mem = true;
	out->disp = out->adsize == 8   ? (int64_t)ld_le64(d->bytes + d->pos)
		    : out->adsize == 4 ? (int64_t)ld_le32(d->bytes + d->pos)
				       : (int64_t)ld_le16(d->bytes + d->pos);
	d->pos += out->adsize;
	return true;
}

static bool read_imm(struct dec *d, struct x86_insn *out, unsigned kind, uint64_t *imm)
{
	const uint8_t *p = d->bytes + d->pos;
	unsigned n;

	switch (kind) {
	case X86_O_Ob: case X86_O_Ov: return read_moffs(d, out);
	case X86_O_Ib: case X86_O_Ibs: case X86_O_Jb: case X86_O_L: n = 1; break;
	case X86_O_Iw: n = 2; break;
	case X86_O_Iq: n = out->opsize; break;
	case X86_O_Ap: n = (out->opsize == 2 ? 2 : 4) + 2; break;
	default: n = out->opsize == 2 ? 2 : 4; break;
	}
	if (!have(d, n))
		return false;
	d->pos += n;
	switch (kind) {
	case X86_O_Ib: *imm = *p; break;
	case X86_O_L: *imm = d->m64 ? *p : *p & 0x7f; break; /* eight registers */
	case X86_O_Ibs: case X86_O_Jb: *imm = (uint64_t)(int8_t)*p; break;
	case X86_O_Iw: *imm = ld_le16(p); break;
	case X86_O_Ap:
		*imm = n == 4 ? ld_le16(p) : ld_le32(p);
		out->imm2 = ld_le16(p + n - 2);
		break;
	case X86_O_Iq: *imm = n == 8 ? ld_le64(p) : n == 4 ? ld_le32(p) : ld_le16(p); break;
	case X86_O_Iv: *imm = n == 4 ? ld_le32(p) : ld_le16(p); break;
	default: *imm = n == 4 ? (uint64_t)(int32_t)ld_le32(p) : (uint64_t)(int16_t)ld_le16(p);
	}
	return true;
}

/* A register number as its kind wants it. */
static inline uint8_t reg_number(unsigned kind, unsigned low, unsigned high, bool rex)
{
	if (kind == X86_PR_G8 && !rex)
		return (uint8_t)(low < 4 ? low : low + X86_REG_HIGH8 - 4);
	if (kind == X86_PR_LOW || kind == X86_PR_S || kind == X86_PR_S_DST)
		return (uint8_t)low;
	return (uint8_t)(low | high);
}

/* Control registers 0, 2, 3, 4, 8; debug registers 0..7; six segment registers. */
static bool reg_exists(unsigned kind, unsigned n)
{
	switch (kind) {
	case X86_PR_S: return n < X86_NSEGS;
	case X86_PR_S_DST: return n < X86_NSEGS && n != X86_CS;
	case X86_PR_C: return n < 16 && 0x11du >> n & 1;
	case X86_PR_D: return n < 8;
	default: return true;
	}
}

static int undefined(const struct dec *d, struct x86_insn *out)
{
	out->row = &x86_rows[X86_OP_UD];
	out->fn = out->row->fn[0];
	out->len = (uint8_t)d->pos;
	out->mem = false;
	out->lock = false;
	out->rep = 0;
	return out->len;
}

/* A gather wants a SIB byte, 32- or 64-bit addresses, and three registers that
 * differ (SDM vol. 2, VPGATHERDD). */
static bool vsib_valid(const struct x86_insn *i)
{
	return (i->modrm & 7) == 4 && i->adsize != 2 && i->reg != i->mem_index &&
	       i->reg != i->vvvv && i->vvvv != i->mem_index;
}

/* Bytes ran out: d->status, but UD0 and UD1 do not wait for an operand that some
 * processors do not give them (AMD APM vol. 3, UD0). */
static int out_of_bytes(const struct dec *d, unsigned row, struct x86_insn *out)
{
	if (d->status == 0 && (row == X86_OP_UD0 || row == X86_OP_UD1))
		return undefined(d, out);
	return d->status;
}

/* Everything after the row is known. */
static int read_operands(struct dec *d, const struct x86_match *m, bool modrm, unsigned mode,
			 struct x86_insn *out)
{
	const struct x86_row *row = &x86_rows[m->row];
	const struct x86_plan *p = &x86_plans[m->row];
	uint64_t imm2 = 0;
	unsigned size;

	out->row = row;
	out->opsize = operand_size(d, mode, p->size);
	if (modrm) {
		out->reg = reg_number(p->reg, out->modrm >> 3 & 7, d->rex & REX_R ? 8 : 0, d->rex);
		if (out->modrm >= 0xc0)
			out->rm = reg_number(p->rm, out->modrm & 7, d->rex & REX_B ? 8 : 0, d->rex);
		else if (!read_mem(d, out, p->flags & X86_PLAN_VSIB))
			return out_of_bytes(d, m->row, out);
	} else if (p->flags & X86_PLAN_OPREG) {
		out->rm = reg_number(p->rm, out->opcode & 7, d->rex & REX_B ? 8 : 0, d->rex);
	}
	if (p->imm) {
		if (!read_imm(d, out, p->imm, &out->imm))
			return d->status;
		if (p->imm2) {
			if (!read_imm(d, out, p->imm2, &imm2))
				return d->status;
			out->imm2 = (uint16_t)imm2;
		}
	}
	if (unlikely(d->lock) && (p->flags & X86_PLAN_NOLOCK || !out->mem))
		return undefined(d, out);
	if (unlikely(d->vex) && ((!(p->flags & X86_PLAN_VVVV) && d->vvvv) ||
				 (p->flags & X86_PLAN_VSIB && !vsib_valid(out))))
		return undefined(d, out);
	if (unlikely(!reg_exists(p->reg, out->reg)))
		return undefined(d, out);
	size = (unsigned)__builtin_ctz(out->opsize);
	out->fn = out->mem ? row->fn_mem[size] : row->fn[size];
	if (row->attr & (X86_A_REP | X86_A_REPCC))
		out->rep = d->rep;
	out->len = (uint8_t)d->pos;
	return out->len;
}

int x86_decode(const uint8_t *bytes, size_t avail, unsigned mode, const uint64_t *features,
	       struct x86_insn *out)
{
	struct dec d = { .bytes = bytes, .seg = X86_NSEGS, .m64 = mode == X86_MODE_64,
			 .limit = avail < X86_MAX_INSN ? (unsigned)avail : X86_MAX_INSN };
	const struct x86_slot *slot;
	const struct x86_match *m;
	uint8_t op = 0;
	int r;

	*out = (struct x86_insn){ .mem_base = X86_REG_NONE, .mem_index = X86_REG_NONE,
				  .mode = (uint8_t)mode };
	if (!read_prefixes(&d))
		return d.status;
	r = read_opcode(&d, mode, &op);
	if (r == 0)
		return d.status;
	out->adsize = d.m64 ? (d.adsize67 ? 4 : 8)
		      : ((mode & X86_MODE_SIZE) == X86_MODE_16) != d.adsize67 ? 2
									       : 4;
	out->opsize = 4;
	out->seg = d.seg == X86_NSEGS ? X86_DS : d.seg;
	out->opcode = op;
	if (r < 0)
		return undefined(&d, out);
	out->lock = d.lock;
	out->rex = !d.vex && d.rex;
	out->rex_w = d.m64 && d.rex & REX_W;
	out->vl = d.vex_l;
	out->vvvv = d.m64 ? d.vvvv : d.vvvv & 7; /* unused it must be 1111b all the same */
	out->pp = d.pp;

	slot = &x86_slots[d.vex][d.map][op];
	if (!slot->count)
		return undefined(&d, out);
	if (slot->modrm) {
		if (!have(&d, 1))
			return out_of_bytes(&d, x86_matches[slot->first].row, out);
		out->modrm = d.bytes[d.pos++];
		if (slot->modrm == X86_MODRM_REG)
			out->modrm |= 0xc0;
	}
	m = find_row(&d, slot, mode, op, out->modrm, features);
	if (!m) {
		/* Undefined for the processor, too, only with its operand read. */
		if (slot->modrm && out->modrm < 0xc0 && !read_mem(&d, out, false))
			return d.status;
		return undefined(&d, out);
	}
	return read_operands(&d, m, slot->modrm, mode, out);
}
