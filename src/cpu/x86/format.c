/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A decoded instruction as text, Intel syntax: for traces and test messages. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "src/cpu/x86/insn.h"

struct text {
	char *buf;
	size_t size, len; /* len may pass size: what would have been written */
};

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *fmt, ...)
{
	size_t at = min_of(t->len, t->size);
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf ? t->buf + at : NULL, t->size - at, fmt, ap);
	va_end(ap);
	t->len += n > 0 ? (size_t)n : 0;
}

static const char *const seg_names[8] = { "es", "cs", "ss", "ds", "fs", "gs", "?", "?" };

static void put_reg(struct text *t, unsigned r, unsigned size)
{
	static const char *const low8[] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };
	static const char *const high8[] = { "ah", "ch", "dh", "bh" };
	static const char *const old[] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
	static const char *const tail[] = { [1] = "b", [2] = "w", [4] = "d", [8] = "" };

	if (size == 1 && r >= X86_REG_HIGH8)
		put(t, "%s", high8[r & 3]);
	else if (r >= 8)
		put(t, "r%u%s", r, tail[size]);
	else if (size == 1)
		put(t, "%s", low8[r]);
	else
		put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", old[r]);
}

static void put_number(struct text *t, uint64_t v, unsigned size)
{
	put(t, "0x%" PRIx64, v & low_mask(size * 8));
}

static void put_disp(struct text *t, const struct x86_insn *i, bool first)
{
	if (first)
		put_number(t, (uint64_t)i->disp, i->adsize);
	else if (i->disp < 0)
		put(t, "-0x%" PRIx64, -(uint64_t)i->disp);
	else if (i->disp > 0)
		put(t, "+0x%" PRIx64, i->disp);
}

/* @bytes: width of the operand, 0 where it has none (LEA). */
static void put_mem(struct text *t, const struct x86_insn *i, unsigned bytes)
{
	static const char *const width[] = { [1] = "byte ", [2] = "word ", [4] = "dword ",
					     [6] = "fword ", [8] = "qword ", [10] = "tbyte ",
					     [16] = "xmmword ", [32] = "ymmword " };
	bool some = false;

	if (bytes < array_size(width) && width[bytes])
		put(t, "%sptr ", width[bytes]);
	if (i->seg >= X86_FS || (i->mode != X86_MODE_64 &&
	     i->seg != (i->mem_base == X86_RSP || i->mem_base == X86_RBP ? X86_SS : X86_DS)))
		put(t, "%s:", seg_names[i->seg & 7]);
	put(t, "[");
	if (i->mem_base != X86_REG_NONE) {
		if (i->mem_base == X86_REG_RIP)
			put(t, i->adsize == 8 ? "rip" : "eip");
		else
			put_reg(t, i->mem_base, i->adsize);
		some = true;
	}
	if (i->mem_index != X86_REG_NONE) {
		put(t, some ? "+" : "");
		if (i->row->opnd[0] == X86_O_VM || i->row->opnd[1] == X86_O_VM)
			put(t, "%cmm%u", i->vl ? 'y' : 'x', i->mem_index);
		else
			put_reg(t, i->mem_index, i->adsize);
		if (i->mem_scale)
			put(t, "*%u", 1u << i->mem_scale);
		some = true;
	}
	put_disp(t, i, !some);
	put(t, "]");
}

/* Width in bytes of the operand kinds that name a general register or memory of
 * fixed or operand size; 0: another kind. */
static unsigned width_of(const struct x86_insn *i, unsigned kind)
{
	switch (kind) {
	case X86_O_Eb: case X86_O_Gb: case X86_O_Zb: case X86_O_AL: case X86_O_CL: case X86_O_Ob:
	case X86_O_Xb: case X86_O_Yb: case X86_O_Ib:
		return 1;
	case X86_O_Ew: case X86_O_Gw: case X86_O_Rw: case X86_O_AX: case X86_O_DX: case X86_O_Sw:
	case X86_O_Iw:
		return 2;
	case X86_O_Ed: case X86_O_Gd: case X86_O_EAX: case X86_O_Qd:
		return 4;
	case X86_O_Eq:
		return 8;
	case X86_O_Ey: case X86_O_Ry: case X86_O_Gy: case X86_O_By: case X86_O_Edq_r:
		return i->rex_w ? 8 : 4;
	default:
		return i->opsize;
	}
}

static void put_xmm(struct text *t, const struct x86_insn *i, unsigned r)
{
	put(t, "%cmm%u", i->vl ? 'y' : 'x', r);
}

/* String operands: no ModRM, a register as address. */
static void put_string(struct text *t, const struct x86_insn *i, unsigned seg, unsigned reg,
		       unsigned bytes)
{
	struct x86_insn m = *i;

	m.seg = (uint8_t)seg;
	m.mem_base = (uint8_t)reg;
	m.mem_index = X86_REG_NONE;
	m.disp = 0;
	put_mem(t, &m, bytes);
}

/* ModRM.rm where it is not a general register; memory is done by the caller. */
static void put_rm_other(struct text *t, const struct x86_insn *i, unsigned kind)
{
	if (kind == X86_O_STi)
		put(t, "st(%u)", i->rm);
	else if (kind == X86_O_Qq || kind == X86_O_Nq || kind == X86_O_Qd)
		put(t, "mm%u", i->rm);
	else
		put_xmm(t, i, i->rm);
}

static void put_imm(struct text *t, const struct x86_insn *i, uint64_t rip, unsigned kind,
		    bool second)
{
	uint64_t v = second ? i->imm2 : i->imm;

	switch (kind) {
	case X86_O_Jb: case X86_O_Jz: put_number(t, rip + i->len + v, i->opsize); break;
	case X86_O_Ap:
		put(t, "0x%x:", i->imm2);
		put_number(t, v, i->opsize);
		break;
	case X86_O_Ib: case X86_O_Iw: put_number(t, v, 8); break;
	case X86_O_L: put_xmm(t, i, (unsigned)v >> 4); break;
	default: put_number(t, v, i->opsize); break;
	}
}

static void put_fixed(struct text *t, const struct x86_insn *i, unsigned kind)
{
	switch (kind) {
	case X86_O_AL: case X86_O_AX: case X86_O_EAX: case X86_O_rAX:
		put_reg(t, X86_RAX, width_of(i, kind));
		break;
	case X86_O_CL: put(t, "cl"); break;
	case X86_O_DX: put(t, "dx"); break;
	case X86_O_1: put(t, "1"); break;
	case X86_O_ST0: put(t, "st(0)"); break;
	case X86_O_XMM0: put(t, "xmm0"); break;
	case X86_O_Xb: case X86_O_Xv:
		put_string(t, i, i->seg, X86_RSI, width_of(i, kind));
		break;
	case X86_O_Yb: case X86_O_Yv:
		put_string(t, i, X86_ES, X86_RDI, width_of(i, kind));
		break;
	default: put(t, "%s", seg_names[kind - X86_O_ES]); break;
	}
}

static void put_operand(struct text *t, const struct x86_insn *i, uint64_t rip, unsigned kind,
			bool second_imm)
{
	const struct x86_row *row = i->row;
	unsigned bytes = row->mem_bytes;

	switch (kind) {
	case X86_O_Eb: case X86_O_Ew: case X86_O_Ed: case X86_O_Eq: case X86_O_Ev: case X86_O_Ey:
	case X86_O_Edq_r:
		if (i->mem)
			put_mem(t, i, bytes ? bytes : width_of(i, kind));
		else
			put_reg(t, i->rm, width_of(i, kind));
		break;
	case X86_O_Rv: case X86_O_Ry: case X86_O_Rw: case X86_O_Zb: case X86_O_Zv:
		put_reg(t, i->rm, width_of(i, kind));
		break;
	case X86_O_M: case X86_O_VM: case X86_O_Ob: case X86_O_Ov:
		put_mem(t, i, kind == X86_O_Ob || kind == X86_O_Ov ? width_of(i, kind) : bytes);
		break;
	case X86_O_Gb: case X86_O_Gw: case X86_O_Gd: case X86_O_Gv: case X86_O_Gy:
		put_reg(t, i->reg, width_of(i, kind));
		break;
	case X86_O_By: put_reg(t, i->vvvv, width_of(i, kind)); break;
	case X86_O_Sw: put(t, "%s", seg_names[i->reg & 7]); break;
	case X86_O_Cd: put(t, "cr%u", i->reg); break;
	case X86_O_Dd: put(t, "dr%u", i->reg); break;
	case X86_O_Pq: put(t, "mm%u", i->reg); break;
	case X86_O_V: put_xmm(t, i, i->reg); break;
	case X86_O_H: put_xmm(t, i, i->vvvv); break;
	case X86_O_STi: case X86_O_Qq: case X86_O_Nq: case X86_O_Qd: case X86_O_W: case X86_O_U:
		if (i->mem)
			put_mem(t, i, bytes ? bytes : kind == X86_O_W ? (i->vl ? 32 : 16) : 8);
		else
			put_rm_other(t, i, kind);
		break;
	case X86_O_Ib: case X86_O_Iw: case X86_O_Iv: case X86_O_Iz: case X86_O_Ibs: case X86_O_Iq:
	case X86_O_Jb: case X86_O_Jz: case X86_O_Ap: case X86_O_L:
		put_imm(t, i, rip, kind, second_imm);
		break;
	default: put_fixed(t, i, kind); break;
	}
}

/* Mnemonics that tell the operand or address size. */
static const char *mnemonic(const struct x86_insn *i)
{
	static const struct { const char *name, *by_size[3]; } sized[] = {
		{ "cbw", { "cbw", "cwde", "cdqe" } },
		{ "cwd", { "cwd", "cdq", "cqo" } },
		{ "pusha", { "pusha", "pushad", "" } },
		{ "popa", { "popa", "popad", "" } },
		{ "pushf", { "pushf", "pushfd", "pushfq" } },
		{ "popf", { "popf", "popfd", "popfq" } },
		{ "iret", { "iret", "iretd", "iretq" } },
		{ "jcxz", { "jcxz", "jecxz", "jrcxz" } },
		{ "movs", { "movsw", "movsd", "movsq" } },
		{ "cmps", { "cmpsw", "cmpsd", "cmpsq" } },
		{ "stos", { "stosw", "stosd", "stosq" } },
		{ "lods", { "lodsw", "lodsd", "lodsq" } },
		{ "scas", { "scasw", "scasd", "scasq" } },
		{ "ins", { "insw", "insd", "" } },
		{ "outs", { "outsw", "outsd", "" } },
	};
	unsigned size = i->row->id == X86_OP_JCXZ ? i->adsize : i->opsize;

	for (size_t k = 0; k < array_size(sized); k++)
		if (!strcmp(i->row->name, sized[k].name))
			return sized[k].by_size[size == 2 ? 0 : size == 4 ? 1 : 2];
	return i->row->name;
}

static bool is_imm(unsigned kind)
{
	return (kind >= X86_O_Ib && kind <= X86_O_Ap) || kind == X86_O_L;
}

int x86_format(const struct x86_insn *i, uint64_t rip, char *buf, size_t size)
{
	struct text t = { .buf = size ? buf : NULL, .size = size };
	bool seen_imm = false;

	if (i->lock)
		put(&t, "lock ");
	if (i->rep)
		put(&t, "%s ", i->rep == 0xf2		       ? "repne"
			       : i->row->attr & X86_A_REPCC ? "repe"
							       : "rep");
	put(&t, "%s", mnemonic(i));
	for (int k = 0; k < 4 && i->row->opnd[k]; k++) {
		unsigned kind = i->row->opnd[k];

		put(&t, k ? ", " : " ");
		put_operand(&t, i, rip, kind, seen_imm);
		seen_imm |= is_imm(kind);
	}
	return (int)t.len;
}
