/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host code of the stubs. Arguments by the System V ABI: RDI, RSI, RDX, RCX, R8,
 * R9 as host_stub.h names them. In the stub ModRM.reg is register 1 (EAX for a
 * general register), ModRM.rm 2 (EAX), VEX.vvvv 3, imm8[7:4] 4, implicit XMM0 0.
 * Every xmm register is the caller's, so nothing needs saving.
 */
#include "src/cpu/x86/host_emit.h"

#include <string.h>

#include "src/base/bits.h"

enum { HOST_REG = 1, HOST_RM = 2, HOST_VVVV = 3, HOST_IS4 = 4 };
enum {
	PTR_REG = 7 /* rdi */,
	PTR_RM = 6 /* rsi */,
	PTR_VVVV = 2 /* rdx */,
	PTR_EXTRA = 1 /* rcx */
};

/* Offsets in the header: the host's own MXCSR and x87 control word. */
#define MXCSR_CONST 0
#define FCW_CONST   4

struct code {
	uint8_t *p;
	size_t offset; /* of p from the header */
};

static void put(struct code *k, const void *bytes, size_t n)
{
	memcpy(k->p, bytes, n);
	k->p += n;
	k->offset += n;
}

#define BYTES(k, ...) \
	put(k, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void put32(struct code *k, uint32_t v) { put(k, &v, 4); }

size_t host_emit_header(uint8_t *code)
{
	st_le32(code + MXCSR_CONST, 0x1f80);
	st_le16(code + FCW_CONST, 0x37f);
	return 64;
}

static bool has(const struct x86_row *r, unsigned kind)
{
	return r->opnd[0] == kind || r->opnd[1] == kind || r->opnd[2] == kind || r->opnd[3] == kind;
}

static bool is_pcmpstr(const struct x86_row *r)
{
	return r->map == X86_MAP_0F3A && r->opcode >= 0x60 && r->opcode <= 0x63;
}

/* Of PCMPxSTRx: mask forms are 60 and 62, explicit lengths 60 and 61. */
static bool pcmpstr_mask(const struct x86_row *r) { return is_pcmpstr(r) && !(r->opcode & 1); }
static bool pcmpstr_explicit(const struct x86_row *r) { return is_pcmpstr(r) && r->opcode < 0x62; }

void host_emit_plan(const struct x86_insn *i, struct host_emit_what *w)
{
	const struct x86_row *r = i->row;
	bool gpr = has(r, X86_O_Ey) || has(r, X86_O_Gy) || pcmpstr_explicit(r);

	*w = (struct host_emit_what){ .row = r, .pp = i->pp };
	if (has(r, X86_O_Ib))
		w->imm = (uint8_t)i->imm;
	w->vl = r->vex == X86_VEX && !(r->attr & X86_A_LIG) ? i->vl : 0;
	/* 32-bit code has no 64-bit general registers whatever VEX.W says. */
	w->w = gpr ? i->rex_w : r->vw == X86_W_1;
}

/* vmovups/movups and friends between register @reg and [@ptr]. */
static void vec_mem(struct code *k, bool vex, unsigned vl, unsigned pp, uint8_t op, unsigned reg,
		    unsigned ptr)
{
	static const uint8_t legacy[] = { 0, 0x66, 0xf3, 0xf2 };
	uint8_t modrm = (uint8_t)(reg << 3 | ptr);

	if (vex) {
		BYTES(k, 0xc5, (uint8_t)(0xf8 | vl << 2 | pp), op, modrm);
		return;
	}
	if (pp)
		BYTES(k, legacy[pp]);
	BYTES(k, 0x0f, op, modrm);
}

static void load(struct code *k, const struct host_emit_what *w, unsigned bytes, unsigned reg,
		 unsigned ptr)
{
	bool vex = w->row->vex == X86_VEX;

	if (bytes == 4)
		vec_mem(k, vex, 0, 1, 0x6e, reg, ptr); /* movd */
	else if (bytes == 8)
		vec_mem(k, vex, 0, 2, 0x7e, reg, ptr); /* movq */
	else
		vec_mem(k, vex, bytes == 32, 0, 0x10, reg, ptr); /* movups */
}

static void store(struct code *k, const struct host_emit_what *w, unsigned reg, unsigned ptr)
{
	bool vex = w->row->vex == X86_VEX;

	/* VEX writes the whole register, legacy SSE its lower half. */
	vec_mem(k, vex, vex, 0, 0x11, reg, ptr);
}

/* Width of the rm operand: what memory has, else the vector. */
static unsigned rm_bytes(const struct host_emit_what *w)
{
	unsigned full = 16u << w->vl, n = w->row->mem_bytes;

	/* A destination's mem_bytes says what is stored. */
	if (!n || w->row->opnd[0] == X86_O_W)
		return full;
	return n < 4 ? 16 : n;
}

static void load_operands(struct code *k, const struct host_emit_what *w)
{
	const struct x86_row *r = w->row;
	unsigned full = 16u << w->vl;

	for (int n = 0; n < 4; n++) {
		bool written_only =
			n == 0 && r->vex == X86_VEX && !(r->attr & (X86_A_READ | X86_A_NOWRITE));

		if (written_only)
			continue;
		switch (r->opnd[n]) {
		case X86_O_V: load(k, w, full, HOST_REG, PTR_REG); break;
		case X86_O_W: load(k, w, rm_bytes(w), HOST_RM, PTR_RM); break;
		case X86_O_U: load(k, w, full, HOST_RM, PTR_RM); break;
		case X86_O_H: load(k, w, full, HOST_VVVV, PTR_VVVV); break;
		case X86_O_L: load(k, w, full, HOST_IS4, PTR_EXTRA); break;
		case X86_O_XMM0: load(k, w, full, 0, PTR_EXTRA); break;
		case X86_O_Pq: BYTES(k, 0x0f, 0x6f, HOST_REG << 3 | PTR_REG); break; /* movq mm */
		case X86_O_Qq:
		case X86_O_Nq: BYTES(k, 0x0f, 0x6f, HOST_RM << 3 | PTR_RM); break;
		case X86_O_Ey: BYTES(k, 0x49, 0x8b, 0x00); break; /* mov rax, [r8] */
		default: break;
		}
	}
	if (pcmpstr_explicit(r)) {
		BYTES(k, 0x49, 0x8b, 0x00);       /* mov rax, [r8] */
		BYTES(k, 0x49, 0x8b, 0x50, 0x08); /* mov rdx, [r8 + 8] */
	}
}

static void store_results(struct code *k, const struct host_emit_what *w)
{
	const struct x86_row *r = w->row;

	if (pcmpstr_mask(r))
		store(k, w, 0, PTR_EXTRA);
	else if (is_pcmpstr(r))
		BYTES(k, 0x49, 0x89, 0x48, 0x10); /* mov [r8 + 16], rcx */
	if (r->attr & X86_A_NOWRITE)
		return;
	switch (r->opnd[0]) {
	case X86_O_V: store(k, w, HOST_REG, PTR_REG); break;
	case X86_O_W:
	case X86_O_U: store(k, w, HOST_RM, PTR_RM); break;
	case X86_O_H: store(k, w, HOST_VVVV, PTR_VVVV); break;
	case X86_O_Pq: BYTES(k, 0x0f, 0x7f, HOST_REG << 3 | PTR_REG); break; /* movq mm */
	case X86_O_Nq: BYTES(k, 0x0f, 0x7f, HOST_RM << 3 | PTR_RM); break;
	case X86_O_Gd:
	case X86_O_Gy: BYTES(k, 0x49, 0x89, 0x00); break; /* mov [r8], rax */
	default: break;
	}
}

/* The guest's instruction on the stub's registers. */
static void emit_insn(struct code *k, const struct host_emit_what *w)
{
	static const uint8_t prefix[] = { 0, 0, 0x66, 0xf3, 0xf2 };
	const struct x86_row *r = w->row;
	uint8_t reg = r->ext, rm = 0, vvvv = 0, modrm, imm = w->imm;
	uint8_t pp = w->pp;
	bool has_imm = false;

	for (int n = 0; n < 4; n++) {
		unsigned o = r->opnd[n];

		if (o == X86_O_V || o == X86_O_Pq)
			reg = HOST_REG;
		else if (o == X86_O_W || o == X86_O_U || o == X86_O_Qq || o == X86_O_Nq)
			rm = HOST_RM;
		else if (o == X86_O_H)
			vvvv = HOST_VVVV;
		else if (o == X86_O_Gd || o == X86_O_Gy)
			reg = 0;
		else if (o == X86_O_L)
			imm = HOST_IS4 << 4;
		if (o == X86_O_Ib || o == X86_O_L)
			has_imm = true;
	}
	modrm = (uint8_t)(0xc0 | reg << 3 | rm);
	if (r->vex == X86_VEX) {
		BYTES(k, 0xc4, (uint8_t)(0xe0 | r->map),
		      (uint8_t)(w->w << 7 | (~vvvv & 0xf) << 3 | w->vl << 2 | (pp - X86_PP_NONE)));
	} else {
		if (pp > X86_PP_NONE)
			BYTES(k, prefix[pp]);
		if (w->w)
			BYTES(k, 0x48);
		BYTES(k, 0x0f);
		if (r->map == X86_MAP_0F38)
			BYTES(k, 0x38);
		else if (r->map == X86_MAP_0F3A)
			BYTES(k, 0x3a);
	}
	BYTES(k, r->opcode, modrm);
	if (has_imm)
		BYTES(k, imm);
}

static void load_host_mxcsr(struct code *k)
{
	BYTES(k, 0x0f, 0xae, 0x15); /* ldmxcsr [rip + disp32] */
	put32(k, (uint32_t)(MXCSR_CONST - (k->offset + 4)));
}

static void emit_vec(struct code *k, const struct host_emit_what *w)
{
	const struct x86_row *r = w->row;
	bool fp = r->attr & X86_A_FLOAT;
	uint8_t *lea = NULL, *skip = NULL;
	uint64_t magic = HOST_EMIT_MAGIC;

	load_operands(k, w);
	if (fp) {
		BYTES(k, 0x49, 0xbb); /* mov r11, magic */
		put(k, &magic, 8);
		BYTES(k, 0x4c, 0x8d, 0x15); /* lea r10, [rip + to the end of the instruction] */
		lea = k->p;
		put32(k, 0);
		BYTES(k, 0x41, 0x0f, 0xae, 0x11); /* ldmxcsr [r9] */
	}
	emit_insn(k, w);
	if (fp) {
		st_le32(lea, (uint32_t)(k->p - (lea + 4)));
		BYTES(k, 0x41, 0x0f, 0xae, 0x19); /* stmxcsr [r9] */
		load_host_mxcsr(k);
	}
	if (r->flags_write)
		BYTES(k, 0x9c, 0x41, 0x8f, 0x40, 0x18); /* pushf; pop [r8 + 24] */
	if (fp) {
		BYTES(k, 0x4d, 0x85, 0xdb, 0x74, 0); /* test r11, r11; jz over the stores */
		skip = k->p;
	}
	store_results(k, w);
	if (fp) {
		skip[-1] = (uint8_t)(k->p - skip);
		BYTES(k, 0x4c, 0x89, 0xd8); /* mov rax, r11 */
	}
	if (r->vex == X86_VEX)
		BYTES(k, 0xc5, 0xf8, 0x77); /* vzeroupper */
	if (has(r, X86_O_Pq) || has(r, X86_O_Qq) || has(r, X86_O_Nq))
		BYTES(k, 0x0f, 0x77); /* emms */
	BYTES(k, 0xc3);
}

static void emit_x87(struct code *k, const struct host_emit_what *w)
{
	/* FXRSTOR loads the guest's MXCSR too; nothing in between depends on it. */
	BYTES(k, 0x48, 0x0f, 0xae, 0x0f); /* fxrstor64 [rdi] */
	BYTES(k, 0x51, 0x9d);             /* push rcx; popf */
	BYTES(k, w->x87_opcode, w->x87_modrm);
	BYTES(k, 0x9c, 0x58);             /* pushf; pop rax */
	BYTES(k, 0x48, 0x0f, 0xae, 0x06); /* fxsave64 [rsi] */
	BYTES(k, 0xdb, 0xe3);             /* fninit */
	load_host_mxcsr(k);
	BYTES(k, 0xc3);
}

/*
 * One x87 instruction on single registers. ECX: the guest's FSW; [R8]: its FCW.
 * The host's status flags are sticky like the guest's: they are only cleared when
 * they have one that the guest has not. Returns FSW, and RFLAGS << 16 for
 * PAIR_LOOK. The host's x87 stack is empty before and after.
 */
static void emit_x87_single(struct code *k, const struct host_emit_what *w)
{
	unsigned shape = w->x87_shape;

	BYTES(k, 0xdf, 0xe0, 0xf7, 0xd1, 0x21, 0xc8); /* fnstsw ax; not ecx; and eax, ecx */
	BYTES(k, 0xa8, 0x3f, 0x74, 0x02, 0xdb, 0xe2); /* test al, 63; jz +2; fnclex */
	/* cmp word [r8], 37F; je +3; fldcw [r8] */
	BYTES(k, 0x66, 0x41, 0x81, 0x38, 0x7f, 0x03, 0x74, 0x03, 0x41, 0xd9, 0x28);
	if (shape >= HOST_X87_PAIR0)
		BYTES(k, 0xdb, 0x2e); /* fld tbyte [rsi] */
	if (shape != HOST_X87_MAKE)
		BYTES(k, 0xdb, 0x2f); /* fld tbyte [rdi] */
	BYTES(k, w->x87_opcode, w->x87_modrm);
	BYTES(k, 0xdf, 0xe0); /* fnstsw ax */
	switch (shape) {
	case HOST_X87_ST0:
	case HOST_X87_MAKE: BYTES(k, 0xdb, 0x3f); break; /* fstp tbyte [rdi] */
	case HOST_X87_LOOK: BYTES(k, 0xdd, 0xd8); break; /* fstp st(0) */
	case HOST_X87_POP: break;
	case HOST_X87_PAIR0: BYTES(k, 0xdb, 0x3f, 0xdd, 0xd8); break;
	case HOST_X87_PAIR1: BYTES(k, 0xdd, 0xd8, 0xdb, 0x3e); break; /* ... fstp tbyte [rsi] */
	case HOST_X87_PAIR_POP: BYTES(k, 0xdb, 0x3e); break;
	default: /* pushf; pop rcx; shl ecx, 16; movzx eax, ax; or eax, ecx */
		BYTES(k, 0x9c, 0x59, 0xc1, 0xe1, 0x10, 0x0f, 0xb7, 0xc0, 0x09, 0xc8);
		BYTES(k, 0xdd, 0xd8, 0xdd, 0xd8);
	}
	/* cmp word [r8], 37F; je over; fldcw [rip + disp32] */
	BYTES(k, 0x66, 0x41, 0x81, 0x38, 0x7f, 0x03, 0x74, 0x06, 0xd9, 0x2d);
	put32(k, (uint32_t)(FCW_CONST - (k->offset + 4)));
	BYTES(k, 0xc3);
}

size_t host_emit(const struct host_emit_what *w, uint8_t *code, size_t offset)
{
	struct code k = { .p = code, .offset = offset };

	if (w->row)
		emit_vec(&k, w);
	else if (w->x87_shape)
		emit_x87_single(&k, w);
	else
		emit_x87(&k, w);
	return (size_t)(k.p - code);
}
