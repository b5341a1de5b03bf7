/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host code of the stubs (host_stub.h describes them). */
#ifndef BOTHY_CPU_X86_HOST_EMIT_H
#define BOTHY_CPU_X86_HOST_EMIT_H

#include <stddef.h>

#include "src/cpu/x86/insn.h"

#define HOST_EMIT_MAX   128u /* bytes of one stub at most */
#define HOST_EMIT_MAGIC 0x626f746879786d21ull

/*
 * How an x87 stub gets its operands. WHOLE: the guest's whole state through FXRSTOR
 * and FXSAVE. The others: single registers, for a guest whose exceptions are all
 * masked and whose operands are not empty; ST0 is at [RDI], ST1 at [RSI], the
 * memory operand at [RDX].
 */
enum host_x87_shape {
	HOST_X87_WHOLE,
	HOST_X87_ST0,       /* ST0 in, ST0 out */
	HOST_X87_MAKE,      /* nothing in, ST0 out: loads and constants */
	HOST_X87_LOOK,      /* ST0 in, only status out */
	HOST_X87_POP,       /* ST0 in, the instruction pops it: stores */
	HOST_X87_PAIR0,     /* ST0 and ST1 in, ST0 out */
	HOST_X87_PAIR1,     /* ... ST1 out */
	HOST_X87_PAIR_POP,  /* ... ST1 out, the instruction pops */
	HOST_X87_PAIR_LOOK, /* ... status and RFLAGS out */
};

/* What distinguishes one stub from another. */
struct host_emit_what {
	const struct x86_row *row; /* NULL: x87 */
	uint8_t pp;                /* enum x86_pp of the bytes */
	uint8_t imm;               /* 0 where the row has none */
	uint8_t vl;                /* VEX.L, 0 where it is ignored */
	uint8_t w;                 /* REX.W or VEX.W where it matters */
	uint8_t x87_opcode, x87_modrm, x87_shape;
};

void host_emit_plan(const struct x86_insn *i, struct host_emit_what *w);

/* Constants at the start of the code memory; returns where stubs may begin. */
size_t host_emit_header(uint8_t *code);

/* Writes the stub at @code, which is @offset bytes from the header; its length. */
size_t host_emit(const struct host_emit_what *w, uint8_t *code, size_t offset);

#endif
