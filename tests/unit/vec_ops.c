/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector, MMX and x87 operations, each row of ops_vec.def and ops_x87.def: random
 * encodings of it run on the host's CPU and through decoder and C function, from
 * the same registers, control words and memory, with exceptions masked and
 * unmasked. All registers, flags, MXCSR, FCW, FSW, tags, memory and the kind of
 * fault must agree, and what the instructions that save and restore state write
 * and read. Paging is off: two pages of guest memory have the addresses of the two
 * that the host's instructions use.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/host_features.h"
#include "src/cpu/x86/host_stub.h"
#include "src/cpu/x86/vec.h"
#include "tests/unit/vec_values.h"

#define ROUNDS   150
#define PAGE     4096
#define BASE_REG X86_RBX /* points into the pages in every run */
/* The part of the pages that instructions may reach: across the page boundary. */
#define WIN_START (PAGE - 768)
#define WIN_BYTES 1536

/* What both sides start from and end with. Lies below 4 GiB so that code can
 * reach it without a register. */
struct image {
	struct x86_fx fx;
	union x86_vec ymm[16];
	uint64_t gpr[16];
	uint64_t flags;
	uint64_t fault; /* vector + 1, 0: none */
};

struct native {
	struct image in, out;
	uint32_t env[8]; /* FNSTENV's, for the pointers that AMD's FXSAVE hides */
	uint64_t host_mxcsr;
	uint64_t insn, resume; /* addresses in code */
	uint8_t code[2048];
};

struct fixture {
	struct x86_cpu *cpu;
	struct mem *mem;
	struct native *nat;
	uint8_t *data;  /* the host's pages */
	uint8_t *guest; /* the engine's */
	uint64_t seed;
	struct sigaction stub_handler;
	bool avx, amd;
};

/* The signal handler has no argument of ours to find its way by. */
static struct fixture *handling;

static uint64_t rnd(struct fixture *f) { return vec_rnd(&f->seed); }

/* A fault of the tested instruction: note which and go on behind it. */
static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;
	greg_t *rip = &uc->uc_mcontext.gregs[REG_RIP];
	struct native *n = handling->nat;

	if ((uint64_t)*rip != n->insn) {
		if (sig == SIGFPE) {
			handling->stub_handler.sa_sigaction(sig, info, ctx);
			return;
		}
		signal(sig, SIG_DFL);
		return;
	}
	n->out.fault = 1 + (sig == SIGFPE ? X86_EXC_XM : sig == SIGILL ? X86_EXC_UD : X86_EXC_GP);
	*rip = (greg_t)n->resume;
}

/*
 * Native code.
 */
static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

#define PUT(p, ...) \
	put(p, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* [absolute address]: ModRM rm 4, SIB 25, disp32 */
static uint8_t *put_abs(uint8_t *p, unsigned reg, const void *addr)
{
	uint32_t a = (uint32_t)(uintptr_t)addr;

	p = PUT(p, (uint8_t)(0x04 | (reg & 7) << 3), 0x25);
	return put(p, &a, 4);
}

static uint8_t *put_gpr(uint8_t *p, uint8_t op, unsigned reg, const void *addr)
{
	return put_abs(PUT(p, (uint8_t)(0x48 | (reg & 8) >> 1), op), reg, addr);
}

static uint8_t *put_vec(uint8_t *p, bool avx, uint8_t op, unsigned reg, const void *addr)
{
	if (avx) /* vmovups ymm */
		return put_abs(PUT(p, 0xc5, (uint8_t)(0x7c | (reg & 8 ? 0 : 0x80)), op), reg, addr);
	return put_abs(PUT(p, (uint8_t)(0x40 | (reg & 8) >> 1), 0x0f, op), reg, addr);
}

static void native_build(struct fixture *f, const uint8_t *insn, unsigned len)
{
	struct native *n = f->nat;
	uint8_t *p = n->code;

	p = PUT(p, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57);
	p = put_abs(PUT(p, 0x0f, 0xae), 3, &n->host_mxcsr);  /* stmxcsr */
	p = put_abs(PUT(p, 0x48, 0x0f, 0xae), 1, &n->in.fx); /* fxrstor64 */
	p = put_abs(PUT(p, 0x0f, 0xae), 2, &n->in.fx.mxcsr); /* ldmxcsr */
	for (unsigned r = 0; r < 16; r++)
		p = put_vec(p, f->avx, 0x10, r, &n->in.ymm[r]);
	p = PUT(p, 0xff);
	p = put_abs(p, 6, &n->in.flags); /* push [flags] */
	p = PUT(p, 0x9d);
	for (unsigned r = 0; r < 16; r++)
		if (r != X86_RSP)
			p = put_gpr(p, 0x8b, r, &n->in.gpr[r]);
	n->insn = (uintptr_t)p;
	p = put(p, insn, len);
	n->resume = (uintptr_t)p;
	for (unsigned r = 0; r < 16; r++)
		if (r != X86_RSP)
			p = put_gpr(p, 0x89, r, &n->out.gpr[r]);
	p = PUT(p, 0x9c, 0x8f);
	p = put_abs(p, 0, &n->out.flags); /* pushf; pop [flags] */
	for (unsigned r = 0; r < 16; r++)
		p = put_vec(p, f->avx, 0x11, r, &n->out.ymm[r]);
	p = put_abs(PUT(p, 0x48, 0x0f, 0xae), 0, &n->out.fx); /* fxsave64 */
	p = put_abs(PUT(p, 0xd9), 6, n->env);                 /* fnstenv */
	p = PUT(p, 0xdb, 0xe3);                               /* fninit */
	p = put_abs(PUT(p, 0x0f, 0xae), 2, &n->host_mxcsr);   /* ldmxcsr */
	if (f->avx)
		p = PUT(p, 0xc5, 0xf8, 0x77);
	PUT(p, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xfc, 0xc3);
}

static void native_run(struct fixture *f)
{
	struct native *n = f->nat;

	n->out = n->in;
	((void (*)(void))(uintptr_t)n->code)();
}

/*
 * Values.
 */
static uint64_t value64(struct fixture *f) { return vec_value64(&f->seed); }

static uint64_t value(struct fixture *f)
{
	uint64_t r = rnd(f);

	return (r & 3) == 0 ? value64(f) : (r & 3) == 1 ? r >> (r >> 8 & 63) : rnd(f);
}

static void random_image(struct fixture *f, struct image *in)
{
	uint64_t r = rnd(f);

	memset(in, 0, sizeof(*in));
	for (int n = 0; n < 8; n++)
		vec_value80(&f->seed, in->fx.st[n]);
	in->fx.fcw = 0x37f;
	if (r & 1)
		in->fx.fcw = (uint16_t)((rnd(f) & 0x0f00) | 0x7f);
	if ((r & 6) == 6)
		in->fx.fcw &= (uint16_t) ~(rnd(f) & 0x3f);
	/* Nothing pending: those flags only that are masked. */
	in->fx.fsw = (uint16_t)((rnd(f) & 0x7f40) | (rnd(f) & rnd(f) & in->fx.fcw & 0x3f));
	in->fx.ftw = (uint8_t)(rnd(f) | rnd(f));
	in->fx.fop = (uint16_t)(rnd(f) & 0x7ff);
	in->fx.fip = (uint32_t)rnd(f);
	in->fx.fdp = (uint32_t)rnd(f);
	in->fx.mxcsr = (uint32_t)(0x1f80 | (rnd(f) & 0xe07f));
	if ((r & 0x30) == 0x30)
		in->fx.mxcsr &= ~(uint32_t)(rnd(f) & 0x1f80);
	if ((r & 0x300) == 0)
		in->fx.mxcsr &= ~0x3fu;
	for (int n = 0; n < 16; n++)
		for (int k = 0; k < 4; k++)
			in->ymm[n].q[k] = (r >> 12 & 1) ? value64(f) : rnd(f);
	for (int n = 0; n < 16; n++)
		in->gpr[n] = value(f);
	in->flags = 0x202 | (rnd(f) & X86_FL_ARITH);
}

/*
 * Encodings.
 */
static bool operand_is(const struct x86_row *r, unsigned kind)
{
	for (int k = 0; k < 4; k++)
		if (r->opnd[k] == kind)
			return true;
	return false;
}

/* Not the privileged ones, nor what tells the host's XCR0. */
static bool wanted(const struct fixture *f, const struct x86_row *r)
{
	static const char *const no[] = { "xsaves", "xrstors", "xsetbv", "xgetbv" };

	if (r->id < X86_OP_fwait || r->id > X86_OP_vaeskeygenassist)
		return false;
	if (r->feature && !(f->cpu->features[r->feature / 64] >> (r->feature % 64) & 1))
		return false;
	for (size_t k = 0; k < array_size(no); k++)
		if (!strcmp(r->name, no[k]))
			return false;
	return true;
}

static bool is_image(const struct x86_row *r)
{
	return !strncmp(r->name, "fxsave", 6) || !strncmp(r->name, "fxrstor", 7) ||
	       !strncmp(r->name, "xsave", 5) || !strncmp(r->name, "xrstor", 6);
}

static unsigned pick_gpr(struct fixture *f)
{
	unsigned r;

	do
		r = rnd(f) & 15;
	while (r == X86_RSP || r == BASE_REG);
	return r;
}

struct enc {
	unsigned reg, rm, vvvv, is4;
	bool mem, w, l, modrm;
	unsigned index, scale;
};

static void pick_operands(struct fixture *f, const struct x86_row *r, struct enc *e)
{
	bool reg_gpr = false, rm_gpr = false, reg_mm = false, rm_mm = false, rm = false;

	*e = (struct enc){ .w = rnd(f) & 1,
			   .l = rnd(f) & 1,
			   .modrm = r->ext != X86_EXT_ANY || r->mod != X86_MOD_ANY };
	for (int k = 0; k < 4; k++) {
		unsigned o = r->opnd[k];

		reg_gpr |= o == X86_O_Gd || o == X86_O_Gy;
		rm_gpr |= o == X86_O_Ey || o == X86_O_Edq_r;
		reg_mm |= o == X86_O_Pq;
		rm_mm |= o == X86_O_Qq || o == X86_O_Nq;
		rm |= o == X86_O_W || o == X86_O_Ey || o == X86_O_Edq_r || o == X86_O_Qq ||
		      o == X86_O_M || o == X86_O_VM;
		e->modrm |= o != X86_O_NONE && o != X86_O_AX;
	}
	e->reg = r->ext != X86_EXT_ANY ? r->ext
		 : reg_gpr             ? pick_gpr(f)
				       : rnd(f) & (reg_mm ? 7 : 15);
	e->rm = r->rm != X86_EXT_ANY ? r->rm : rm_gpr ? pick_gpr(f) : rnd(f) & (rm_mm ? 7 : 15);
	e->vvvv = operand_is(r, X86_O_H) ? rnd(f) & 15 : 0;
	e->is4 = rnd(f) & 15;
	e->mem = rm && r->mod != X86_MOD_REG && (r->mod == X86_MOD_MEM || rnd(f) & 1);
	if (r->vw != X86_W_ANY)
		e->w = r->vw == X86_W_1;
	if (r->vl != X86_L_ANY)
		e->l = r->vl == X86_L_256;
	if (operand_is(r, X86_O_VM)) { /* all three different */
		do
			e->vvvv = rnd(f) & 15;
		while (e->vvvv == e->reg);
		do
			e->index = rnd(f) & 15;
		while (e->index == e->reg || e->index == e->vvvv);
		e->scale = rnd(f) & 3;
	}
	if (r->map == X86_MAP_1)
		e->w = false;
	if (e->mem)
		e->rm = BASE_REG;
}

static unsigned encode(struct fixture *f, const struct x86_row *r, struct enc *e, uint8_t *out)
{
	static const uint8_t prefix[] = { 0, 0, 0x66, 0xf3, 0xf2 };
	bool vsib = operand_is(r, X86_O_VM);
	uint8_t *p = out;

	if (r->vex == X86_LEGACY) {
		if (r->pp > X86_PP_NONE)
			*p++ = prefix[r->pp];
		if (r->map == X86_MAP_1 && rnd(f) % 4 == 0)
			*p++ = 0x66; /* chooses a layout, or does nothing */
		if (r->map != X86_MAP_1 && (e->w || (e->reg | e->rm) & 8))
			*p++ = (uint8_t)(0x40 | e->w << 3 | (e->reg & 8) >> 1 | (e->rm & 8) >> 3);
		if (r->map != X86_MAP_1)
			*p++ = 0x0f;
		if (r->map >= X86_MAP_0F38)
			*p++ = r->map == X86_MAP_0F38 ? 0x38 : 0x3a;
	} else {
		*p++ = 0xc4;
		*p++ = (uint8_t)((e->reg & 8 ? 0 : 0x80) | (e->index & 8 ? 0 : 0x40) |
				 (e->rm & 8 ? 0 : 0x20) | r->map);
		*p++ = (uint8_t)(e->w << 7 | (~e->vvvv & 15) << 3 | e->l << 2 |
				 (r->pp - X86_PP_NONE));
	}
	*p++ = r->opcode;
	if (e->modrm) {
		*p++ = (uint8_t)((e->mem ? 0x40 : 0xc0) | (e->reg & 7) << 3 |
				 (vsib ? 4 : e->rm & 7));
		if (vsib)
			*p++ = (uint8_t)(e->scale << 6 | (e->index & 7) << 3 | (e->rm & 7));
		if (e->mem)
			*p++ = (uint8_t)(rnd(f) % 16 || r->feature == X86_F_SHA ? rnd(f) & 0x60
										: rnd(f) & 0x7f);
	}
	if (operand_is(r, X86_O_Ib))
		*p++ = (uint8_t)rnd(f);
	else if (operand_is(r, X86_O_L))
		*p++ = (uint8_t)(e->is4 << 4 | (rnd(f) & 15));
	return (unsigned)(p - out);
}

/* A state image that restores more often than not. */
static void random_state_image(struct fixture *f, uint8_t *p)
{
	struct image im;
	uint64_t r = rnd(f);

	random_image(f, &im);
	memcpy(p, &im.fx, 160);
	st_le16(p, (uint16_t)rnd(f));
	st_le16(p + 2, (uint16_t)rnd(f));
	st_le32(p + 24, rnd(f) & (r & 7 ? 0xffff : 0x1ffff));
	memset(p + 512, 0, 64);
	st_le64(p + 512, rnd(f) & 7);
	if (r & 8)
		st_le64(p + 520, 1ull << 63 | (rnd(f) & 7));
	if ((r & 0xf0) == 0)
		p[512 + (r >> 8 & 63)] |=
			(uint8_t)(1u << (r >> 16 & 7)) & (r >> 8 & 63 ? 0xff : 0x10);
}

/* What an address is made of stays within the pages. */
static void tame(struct fixture *f, const struct x86_row *r, const struct enc *e, struct image *in)
{
	in->gpr[BASE_REG] = (uintptr_t)f->data + PAGE - (rnd(f) & 7) * 16;
	if (is_image(r)) {
		in->gpr[BASE_REG] = (uintptr_t)f->data + PAGE - 512;
		in->gpr[X86_RAX] = rnd(f) & 7;
		in->gpr[X86_RDX] = 0;
		for (unsigned off = 0; off < 0x80; off += 32) {
			if (rnd(f) & 1)
				random_state_image(f, f->data + PAGE - 512 + off);
			f->data[PAGE - 512 + off + 26] &= (uint8_t)~2; /* as LDMXCSR below */
		}
	}
	if (strstr(r->name, "maskmovq") || strstr(r->name, "maskmovdqu"))
		in->gpr[X86_RDI] = (uintptr_t)f->data + PAGE - 256 + (rnd(f) & 0x1ff);
	if (strstr(r->name, "pcmpestr") && rnd(f) & 1) {
		in->gpr[X86_RAX] = rnd(f) % 40 - 20;
		in->gpr[X86_RDX] = rnd(f) % 40 - 20;
	}
	if (operand_is(r, X86_O_VM)) /* odd opcodes have quadword indices */
		for (int k = 0; k < 8; k++) {
			int64_t x = (int64_t)(rnd(f) & 0x7f) - 0x40;

			if (!(r->opcode & 1))
				in->ymm[e->index].d[k] = (uint32_t)x;
			else if (k < 4)
				in->ymm[e->index].q[k] = (uint64_t)x;
		}
	/* AMD's MXCSR bit 17 is not offered. */
	if (strstr(r->name, "ldmxcsr"))
		for (int k = 0; k < WIN_BYTES; k++)
			f->data[WIN_START + k] &= (uint8_t)((rnd(f) & 3) ? 0 : ~2);
}

/*
 * Both.
 */
static void run_engine(struct fixture *f, const struct x86_insn *i, struct image *out)
{
	struct x86_cpu *c = f->cpu;
	const struct image *in = &f->nat->in;

	memcpy(c->gpr, in->gpr, sizeof(c->gpr));
	memcpy(&c->fx, &in->fx, sizeof(c->fx));
	memcpy(c->ymm, in->ymm, sizeof(c->ymm));
	c->rflags = in->flags;
	c->start_rip = f->nat->insn;
	c->rip = f->nat->resume;
	c->exc_vector = -1;
	/* Stale flags in the host's own FSW (inexact, zero divide, invalid) are not
	 * the guest's. */
	__asm__ volatile("fldl2e; fmul %st(0), %st; fldz; fdivrp; fstp %st(0); fldz; fldz; fdivrp; "
			 "fstp %st(0)");
	if (!_setjmp(c->fault_jmp))
		i->fn(c, i);
	memcpy(out->gpr, c->gpr, sizeof(c->gpr));
	memcpy(&out->fx, &c->fx, sizeof(c->fx));
	memcpy(out->ymm, c->ymm, sizeof(c->ymm));
	out->flags = c->rflags;
	out->fault = (uint64_t)(c->exc_vector + 1);
}

static void report(const struct x86_insn *i, const uint8_t *bytes, const struct fixture *f,
		   const char *what, int index, uint64_t native, uint64_t ours)
{
	char hex[64] = "", text[96] = "";

	for (unsigned k = 0; k < i->len; k++)
		sprintf(hex + 3 * k, "%02x ", bytes[k]);
	x86_format(i, 0, text, sizeof(text));
	fail_msg("%s (%s) mxcsr %04x fcw %04x fsw %04x ftw %02x: %s %d is %#llx on the host, %#llx "
		 "here",
		 text, hex, f->nat->in.fx.mxcsr, f->nat->in.fx.fcw, f->nat->in.fx.fsw,
		 f->nat->in.fx.ftw, what, index, (unsigned long long)native,
		 (unsigned long long)ours);
}

#define SAME(what, index, a, b)                                 \
	do {                                                    \
		if ((a) != (b))                                 \
			report(i, bytes, f, what, index, a, b); \
	} while (0)

static void compare(struct fixture *f, const struct x86_insn *i, const uint8_t *bytes,
		    const struct image *ours)
{
	const struct image *nat = &f->nat->out;
	unsigned vague = !f->amd && strstr(i->row->name, "comi") ? 0x200 : 0;

	SAME("fault", 0, nat->fault, ours->fault);
	SAME("MXCSR", 0, nat->fx.mxcsr, ours->fx.mxcsr);
	SAME("FCW", 0, nat->fx.fcw, ours->fx.fcw);
	/* FCOMI and C1: see op_x87_comi(). */
	SAME("FSW", 0, nat->fx.fsw & ~vague, ours->fx.fsw & ~vague);
	SAME("FTW", 0, nat->fx.ftw, ours->fx.ftw);
	/* Intel's write FOP, some FDP, only on an unmasked exception. The host's
	 * kernel zeroes all three whenever it switches away or delivers a signal. */
	if (f->amd && !nat->fault) {
		if (f->nat->env[4] >> 16 & 0x7ff)
			SAME("FOP", 0, f->nat->env[4] >> 16 & 0x7ff, ours->fx.fop);
		if (f->nat->env[3])
			SAME("FIP", 0, f->nat->env[3], (uint32_t)ours->fx.fip);
		if (f->nat->env[5])
			SAME("FDP", 0, f->nat->env[5], (uint32_t)ours->fx.fdp);
	}
	for (int n = 0; n < 8; n++) {
		SAME("ST mantissa", n, ld_le64(nat->fx.st[n]), ld_le64(ours->fx.st[n]));
		SAME("ST exponent", n, ld_le16(nat->fx.st[n] + 8), ld_le16(ours->fx.st[n] + 8));
	}
	for (int n = 0; n < 16; n++)
		for (int k = 0; k < (f->avx ? 4 : 2); k++)
			SAME("vector quadword", n * 4 + k, nat->ymm[n].q[k], ours->ymm[n].q[k]);
	for (int n = 0; n < 16; n++)
		if (n != X86_RSP)
			SAME("general register", n, nat->gpr[n], ours->gpr[n]);
	/* RF is the signal handler's. */
	SAME("RFLAGS", 0, nat->flags & ~X86_FL_RF, ours->flags & ~X86_FL_RF);
}

/* x87 pointers in memory that the host has zero, as above and as AMD's FXSAVE
 * writes them while no exception is pending. @ours: the window. */
static void forgive_pointers(struct fixture *f, const struct x86_insn *i, uint8_t *ours)
{
	static const uint8_t env32[] = { 12, 2, 14, 2, 18, 2, 20, 2, 22, 2, 0 };
	static const uint8_t env16[] = { 6, 2, 10, 2, 0 };
	static const uint8_t fx[] = { 6, 2, 8, 8, 16, 8, 28, 4, 0 };
	const uint8_t *field = is_image(i->row) ? fx : i->opsize == 2 ? env16 : env32;
	uint64_t off =
		f->nat->in.gpr[BASE_REG] + (uint64_t)i->disp - (uintptr_t)(f->data + WIN_START);
	const uint8_t *nat = f->data + WIN_START + off;

	if (!is_image(i->row) && strcmp(i->row->name, "fnstenv") && strcmp(i->row->name, "fnsave"))
		return;
	for (; *field; field += 2) {
		/* MXCSR_MASK (28): AMD's has bit 17. */
		if (field[0] == 28 ? ld_le32(nat + 28) == 0x2ffff
				   : !memcmp(nat + field[0], "\0\0\0\0\0\0\0\0", field[1]))
			memcpy(ours + off + field[0], nat + field[0], field[1]);
	}
}

static void run_both(struct fixture *f, const struct x86_row *r)
{
	uint8_t bytes[32] = { 0 }, *win = f->data + WIN_START, *guest = f->guest + WIN_START;
	struct x86_insn insn, *i = &insn;
	struct image ours;
	struct enc e;
	unsigned len;

	pick_operands(f, r, &e);
	len = encode(f, r, &e, bytes);
	assert_int_equal(x86_decode(bytes, 15, X86_MODE_64, f->cpu->features, i), len);
	if (i->row->id != r->id &&
	    (i->row->opcode != r->opcode || i->row->map != r->map || i->row->id == X86_OP_UD))
		report(i, bytes, f, r->name, 0, r->id, i->row->id);
	random_image(f, &f->nat->in);
	for (int n = 0; n < WIN_BYTES; n += 8)
		st_le64(win + n, value64(f));
	tame(f, r, &e, &f->nat->in);
	memcpy(guest, win, WIN_BYTES);
	native_build(f, bytes, len);
	run_engine(f, i, &ours);
	native_run(f);
	compare(f, i, bytes, &ours);
	forgive_pointers(f, i, guest);
	for (int n = 0; n < WIN_BYTES; n += 8)
		SAME("memory at", n, ld_le64(win + n), ld_le64(guest + n));
}

static struct x86_cpu *guest_cpu(struct fixture *f)
{
	struct mem_block *b;
	struct x86_cpu *c;
	struct err err = { 0 };

	f->mem = mem_new(1 << 20, &err);
	assert_non_null(f->mem);
	b = mem_block_new(f->mem, "ram", 2 * PAGE, false, &err);
	assert_non_null(b);
	assert_int_equal(mem_map_set(f->mem, (uintptr_t)f->data, 2 * PAGE, b, 0, true, true), 0);
	f->guest = b->host;
	c = x86_cpu_new(f->mem, NULL, NULL);
	assert_non_null(c);
	c->code64 = true;
	c->mode = X86_MODE_64;
	c->cr0 = X86_CR0_PE | X86_CR0_NE;
	c->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	c->xcr0 = 7;
	memset(c->features, 0, sizeof(c->features));
	for (unsigned n = 0; n < X86_NFEATURES; n++)
		if (x86_host_has(n) && n != X86_F_NEVER)
			c->features[n / 64] |= 1ull << (n % 64);
	return c;
}

static void test_against_host(void **state)
{
	struct fixture *f = *state;
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	unsigned rows = 0;

	handling = f;
	f->cpu = guest_cpu(f); /* here: the test library handles SIGFPE until now */
	sigaction(SIGFPE, &sa, &f->stub_handler);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	for (size_t n = 0; n < x86_nrows; n++) {
		if (!wanted(f, &x86_rows[n]))
			continue;
		rows++;
		for (int k = 0; k < ROUNDS; k++)
			run_both(f, &x86_rows[n]);
	}
	assert_true(rows > (f->avx ? 700 : 400));
}

static void *low_pages(size_t bytes, int prot)
{
	void *p = mmap(NULL, align_up(bytes, PAGE), prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		       -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint32_t a, b = 0, c, d;

	f->nat = low_pages(sizeof(*f->nat), PROT_READ | PROT_WRITE | PROT_EXEC);
	f->data = low_pages(2 * PAGE, PROT_READ | PROT_WRITE);
	f->seed = 0x2545f4914f6cdd1d;
	f->avx = x86_host_has(X86_F_AVX);
	__get_cpuid(0, &a, &b, &c, &d);
	f->amd = b == signature_AMD_ebx;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	x86_cpu_free(f->cpu);
	mem_free(f->mem);
	munmap(f->nat, align_up(sizeof(*f->nat), PAGE));
	munmap(f->data, 2 * PAGE);
	free(f);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_host),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
