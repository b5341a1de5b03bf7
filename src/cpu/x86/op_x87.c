/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 instructions that compute, by the host's x87 under the guest's own control
 * word. Two ways:
 *
 * - On the guest's whole x87 state (FXRSTOR, the instruction, FXSAVE): whatever
 *   may fault, overflow or underflow the stack. Unmasked exceptions then do to
 *   registers, TOP and flags what hardware does; the host itself never faults
 *   because FSW's exceptions were looked at first and the stub ends with FNINIT.
 * - On single registers, with the stack kept here: the common case that every
 *   exception is masked and no operand is empty. Several times as fast.
 *
 * FIP, FDP and FOP are kept here, as the SDM (vol. 1, 8.1.8 and 8.1.9) describes
 * them with CPUID's FDP_EXCPTN_ONLY clear: every instruction of this file sets
 * FIP and FOP, those with a memory operand FDP. (AMD's do so too, but FXSAVE
 * and XSAVE there write them as zero while no unmasked exception is pending;
 * these here always write them.) FCS and FDS are zero, as CPUID says.
 */
#include "src/cpu/x86/host_emit.h"
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

#define CC_ALL 0x4700u
#define CC_C1  0x200u
#define CC_C2  0x400u

/*
 * The whole state.
 */
/* Runs the instruction from c->fx to @out; nothing of the guest changes yet. */
static inline uint64_t compute(struct x86_cpu *c, const struct x86_insn *i, struct x86_fx *out,
			       void *mem)
{
	uint64_t flags;

	/* Pending, but ignored (x86_x87_pending): the host may not see it. */
	if (unlikely(x86_x87_unmasked(c))) {
		struct x86_fx in = c->fx;

		in.fcw |= 0x3f;
		flags = host_stub_x87(c->stubs, i->opcode, i->modrm)(&in, out, mem,
								     c->rflags & X86_FL_ARITH);
		out->fsw |= X86_FSW_ES | X86_FSW_B;
		return flags;
	}
	return host_stub_x87(c->stubs, i->opcode, i->modrm)(&c->fx, out, mem,
							    c->rflags & X86_FL_ARITH);
}

static inline void set_pointers(struct x86_cpu *c, const struct x86_insn *i)
{
	c->fx.fop = (uint16_t)((i->opcode & 7) << 8 | i->modrm);
	c->fx.fip = c->start_rip;
}

static inline void commit(struct x86_cpu *c, const struct x86_insn *i, const struct x86_fx *out)
{
	c->fx.fsw = out->fsw;
	c->fx.ftw = out->ftw;
	memcpy(c->fx.st, out->st, sizeof(c->fx.st));
	set_pointers(c, i);
}

static noinline void whole(struct x86_cpu *c, const struct x86_insn *i, void *mem)
{
	struct x86_fx out;

	compute(c, i, &out, mem);
	commit(c, i, &out);
}

void op_x87(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_x87_check(c))
		whole(c, i, NULL);
}

/*
 * Single registers.
 */
static inline bool all_masked(const struct x86_cpu *c) { return (c->fx.fcw & 0x3f) == 0x3f; }

static inline bool filled(const struct x86_cpu *c, unsigned sti)
{
	return c->fx.ftw >> ((X86_FSW_TOP(c->fx.fsw) + sti) & 7) & 1;
}

static inline bool simple1(const struct x86_cpu *c) { return all_masked(c) && filled(c, 0); }

static inline bool simple2(const struct x86_cpu *c, unsigned sti)
{
	return all_masked(c) && filled(c, 0) && filled(c, sti);
}

static inline bool can_push(const struct x86_cpu *c) { return all_masked(c) && !filled(c, 7); }

static inline void pop(struct x86_cpu *c)
{
	unsigned top = X86_FSW_TOP(c->fx.fsw);
	uint8_t st0[16];

	memcpy(st0, c->fx.st[0], 16);
	memmove(c->fx.st[0], c->fx.st[1], 7 * 16);
	memcpy(c->fx.st[7], st0, 16);
	c->fx.ftw &= (uint8_t) ~(1u << top);
	c->fx.fsw = (uint16_t)((c->fx.fsw & ~0x3800) | ((top + 1) & 7) << 11);
}

static inline void push(struct x86_cpu *c, const uint8_t *value)
{
	unsigned top = (X86_FSW_TOP(c->fx.fsw) - 1) & 7;

	memmove(c->fx.st[1], c->fx.st[0], 7 * 16);
	memcpy(c->fx.st[0], value, 10);
	memset(c->fx.st[0] + 10, 0, 6);
	c->fx.ftw |= (uint8_t)(1u << top);
	c->fx.fsw = (uint16_t)((c->fx.fsw & ~0x3800) | top << 11);
}

/* Runs the stub; @opcode and @modrm are the host's instruction. */
static inline uint32_t single(struct x86_cpu *c, const struct x86_insn *i, unsigned shape,
			      uint8_t opcode, uint8_t modrm, void *st0, void *st1, void *mem)
{
	const void *fn = __atomic_load_n(&i->stub, __ATOMIC_ACQUIRE);

	if (unlikely(!fn)) {
		fn = (const void *)(uintptr_t)host_stub_x87_single(c->stubs, shape, opcode, modrm);
		__atomic_store_n(&((struct x86_insn *)(uintptr_t)i)->stub, fn, __ATOMIC_RELEASE);
	}
	return ((host_x87s_fn)(uintptr_t)fn)(st0, st1, mem, c->fx.fsw, &c->fx.fcw);
}

/* New flags are or'ed in; of the condition codes only @cc are the instruction's. */
static inline void merge(struct x86_cpu *c, const struct x86_insn *i, uint32_t fsw, uint32_t cc)
{
	c->fx.fsw = (uint16_t)((c->fx.fsw & ~cc) | (fsw & (cc | 0x3f)));
	set_pointers(c, i);
}

static inline unsigned sti_of(const struct x86_insn *i) { return i->modrm & 7; }
static inline unsigned ext_of(const struct x86_insn *i) { return i->modrm >> 3 & 7; }

/* FADD to FDIVR: D8 to ST(0), DC to ST(i), DE to ST(i) and pop. */
void op_x87_arith(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = sti_of(i);
	bool to_st0 = i->opcode == 0xd8;
	uint32_t fsw;

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple2(c, n))) {
		whole(c, i, NULL);
		return;
	}
	fsw = single(c, i, to_st0 ? HOST_X87_PAIR0 : HOST_X87_PAIR1, to_st0 ? 0xd8 : 0xdc,
		     (uint8_t)(0xc1 | ext_of(i) << 3), c->fx.st[0], c->fx.st[n], NULL);
	merge(c, i, fsw, CC_C1);
	if (i->opcode == 0xde)
		pop(c);
}

/* FCOM, FUCOM and their popping forms; FCOMPP is DE D9, FUCOMPP DA E9. */
void op_x87_com(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = sti_of(i), ext = ext_of(i);
	bool unordered = i->opcode == 0xdd || i->opcode == 0xda;
	bool pops2 = i->opcode == 0xda || (i->opcode == 0xde && ext == 3);
	uint32_t fsw;

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple2(c, n))) {
		whole(c, i, NULL);
		return;
	}
	fsw = single(c, i, HOST_X87_PAIR_LOOK, unordered ? 0xdd : 0xd8, unordered ? 0xe1 : 0xd1,
		     c->fx.st[0], c->fx.st[n], NULL);
	merge(c, i, fsw, CC_ALL);
	if (pops2 || (ext & 1) || i->opcode == 0xde)
		pop(c);
	if (pops2)
		pop(c);
}

/* FCOMI, FUCOMI (DB) and with pop (DF). */
void op_x87_comi(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = sti_of(i);
	uint64_t flags;
	uint32_t fsw;

	if (!x86_x87_check(c))
		return;
	if (likely(simple2(c, n))) {
		fsw = single(c, i, HOST_X87_PAIR_LOOK, 0xdb, (uint8_t)(0xc1 | ext_of(i) << 3),
			     c->fx.st[0], c->fx.st[n], NULL);
		merge(c, i, fsw, 0); /* C1: the SDM says 0, AMD's leave it alone */
		if (i->opcode == 0xdf)
			pop(c);
		flags = fsw >> 16;
	} else {
		struct x86_fx out;

		flags = compute(c, i, &out, NULL);
		commit(c, i, &out);
	}
	c->rflags = (c->rflags & ~X86_FL_ARITH) | (flags & X86_FL_ARITH);
}

/* One register in and out: FCHS ... FCOS. Only FSIN and FCOS write C2. */
void op_x87_unary(struct x86_cpu *c, const struct x86_insn *i)
{
	uint32_t fsw;

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple1(c))) {
		whole(c, i, NULL);
		return;
	}
	fsw = single(c, i, HOST_X87_ST0, i->opcode, i->modrm, c->fx.st[0], NULL, NULL);
	merge(c, i, fsw, i->modrm >= 0xfe ? CC_C1 | CC_C2 : CC_C1);
}

/* FTST, FXAM */
void op_x87_look(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple1(c)))
		whole(c, i, NULL);
	else
		merge(c, i,
		      single(c, i, HOST_X87_LOOK, i->opcode, i->modrm, c->fx.st[0], NULL, NULL),
		      CC_ALL);
}

/* FSCALE. FPREM and FPREM1 are done on the whole state: what they leave of the
 * condition codes depends on the operands. */
void op_fscale(struct x86_cpu *c, const struct x86_insn *i)
{
	uint32_t fsw;

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple2(c, 1))) {
		whole(c, i, NULL);
		return;
	}
	fsw = single(c, i, HOST_X87_PAIR0, i->opcode, i->modrm, c->fx.st[0], c->fx.st[1], NULL);
	merge(c, i, fsw, CC_C1);
}

/* FYL2X, FYL2XP1, FPATAN: to ST(1), and pop. */
void op_x87_pair_pop(struct x86_cpu *c, const struct x86_insn *i)
{
	uint32_t fsw;

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple2(c, 1))) {
		whole(c, i, NULL);
		return;
	}
	fsw = single(c, i, HOST_X87_PAIR_POP, i->opcode, i->modrm, c->fx.st[0], c->fx.st[1], NULL);
	merge(c, i, fsw, CC_C1);
	pop(c);
}

void op_x87_const(struct x86_cpu *c, const struct x86_insn *i)
{
	uint8_t value[16];

	if (!x86_x87_check(c))
		return;
	if (unlikely(!can_push(c))) {
		whole(c, i, NULL);
		return;
	}
	merge(c, i, single(c, i, HOST_X87_MAKE, i->opcode, i->modrm, value, NULL, NULL), CC_C1);
	push(c, value);
}

/*
 * Moves between registers: no host needed.
 */
static inline void moved(struct x86_cpu *c, const struct x86_insn *i)
{
	c->fx.fsw &= (uint16_t)~CC_C1;
	set_pointers(c, i);
}

void op_fxch(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = sti_of(i);
	uint8_t st0[16];

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple2(c, n))) {
		whole(c, i, NULL);
		return;
	}
	memcpy(st0, c->fx.st[0], 16);
	memmove(c->fx.st[0], c->fx.st[n], 16);
	memcpy(c->fx.st[n], st0, 16);
	moved(c, i);
}

void op_fld_i(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = sti_of(i);
	uint8_t value[16];

	if (!x86_x87_check(c))
		return;
	if (unlikely(!can_push(c) || !filled(c, n))) {
		whole(c, i, NULL);
		return;
	}
	memcpy(value, c->fx.st[n], 16);
	push(c, value);
	moved(c, i);
}

/* FST ST(i) is DD /2; every other opcode here pops. */
void op_fst_i(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned n = sti_of(i);

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple1(c))) {
		whole(c, i, NULL);
		return;
	}
	memmove(c->fx.st[n], c->fx.st[0], 16);
	c->fx.ftw |= (uint8_t)(1u << ((X86_FSW_TOP(c->fx.fsw) + n) & 7));
	if (i->opcode != 0xdd || ext_of(i) != 2)
		pop(c);
	moved(c, i);
}

/* FFREE, and FFREEP (DF) that also pops. */
void op_ffree(struct x86_cpu *c, const struct x86_insn *i)
{
	if (!x86_x87_check(c))
		return;
	c->fx.ftw &= (uint8_t) ~(1u << ((X86_FSW_TOP(c->fx.fsw) + sti_of(i)) & 7));
	if (i->opcode == 0xdf)
		pop(c);
	moved(c, i);
}

void op_fnop(struct x86_cpu *c, const struct x86_insn *i)
{
	if (x86_x87_check(c))
		set_pointers(c, i);
}

static inline void turn(struct x86_cpu *c, const struct x86_insn *i, int by)
{
	if (!x86_x87_check(c))
		return;
	x86_set_top(c, (X86_FSW_TOP(c->fx.fsw) + (unsigned)by) & 7);
	moved(c, i);
}

void op_fincstp(struct x86_cpu *c, const struct x86_insn *i) { turn(c, i, 1); }
void op_fdecstp(struct x86_cpu *c, const struct x86_insn *i) { turn(c, i, -1); }

/* FCMOVcc: the opcode's bit 0 negates (DB), ModRM.reg is B, E, BE, U. */
void op_x87_cmov(struct x86_cpu *c, const struct x86_insn *i)
{
	static const uint16_t any_of[4] = { X86_FL_CF, X86_FL_ZF, X86_FL_CF | X86_FL_ZF,
					    X86_FL_PF };
	unsigned n = sti_of(i);

	if (!x86_x87_check(c))
		return;
	if (unlikely(!simple2(c, n))) {
		whole(c, i, NULL);
		return;
	}
	if (((c->rflags & any_of[ext_of(i) & 3]) != 0) != (i->opcode & 1))
		memmove(c->fx.st[0], c->fx.st[n], 16);
	set_pointers(c, i); /* C1 only changes on underflow */
}

/*
 * Memory operands. The stub sees a copy.
 */
static inline uint64_t load_mem(struct x86_cpu *c, const struct x86_insn *i, void *mem)
{
	unsigned bytes = i->row->mem_bytes;
	uint64_t ea = x86_ea(c, i);

	x86_vec_ld(c, x86_lin(c, i->seg, ea, bytes, X86_ACC_R), mem, bytes);
	return ea;
}

/* As it is in the stub: through RDX. */
static inline uint8_t host_modrm(unsigned ext) { return (uint8_t)(ext << 3 | 2); }

void op_x87_arith_m(struct x86_cpu *c, const struct x86_insn *i)
{
	uint8_t mem[32];
	uint64_t ea;

	if (!x86_x87_check(c))
		return;
	ea = load_mem(c, i, mem);
	if (likely(simple1(c)))
		merge(c, i,
		      single(c, i, HOST_X87_ST0, i->opcode, host_modrm(ext_of(i)), c->fx.st[0],
			     NULL, mem),
		      CC_C1);
	else
		whole(c, i, mem);
	c->fx.fdp = ea;
}

/* FCOM, FICOM: the host does not pop, the guest does with /3. */
void op_x87_com_m(struct x86_cpu *c, const struct x86_insn *i)
{
	uint8_t mem[32];
	uint64_t ea;

	if (!x86_x87_check(c))
		return;
	ea = load_mem(c, i, mem);
	if (likely(simple1(c))) {
		merge(c, i,
		      single(c, i, HOST_X87_LOOK, i->opcode, host_modrm(2), c->fx.st[0], NULL, mem),
		      CC_ALL);
		if (ext_of(i) == 3)
			pop(c);
	} else {
		whole(c, i, mem);
	}
	c->fx.fdp = ea;
}

/* FLD m80, FSTP m80: no conversion, whatever the bits are. */
static inline bool is_m80(const struct x86_insn *i) { return i->opcode == 0xdb && ext_of(i) >= 5; }

/* FLD, FILD, FBLD */
void op_x87_load(struct x86_cpu *c, const struct x86_insn *i)
{
	uint8_t mem[32], value[16];
	uint64_t ea;

	if (!x86_x87_check(c))
		return;
	ea = load_mem(c, i, mem);
	if (is_m80(i) && can_push(c)) {
		push(c, mem);
		moved(c, i);
	} else if (likely(can_push(c))) {
		merge(c, i,
		      single(c, i, HOST_X87_MAKE, i->opcode, host_modrm(ext_of(i)), value, NULL,
			     mem),
		      CC_C1);
		push(c, value);
	} else {
		whole(c, i, mem);
	}
	c->fx.fdp = ea;
}

/* FST and FIST keep ST(0): /2, but FBSTP, FSTP m80, FISTTP do not. */
static inline bool store_pops(const struct x86_insn *i) { return ext_of(i) != 2; }

/*
 * FST(P), FIST(P), FISTTP, FBSTP. The store happens unless an exception that comes
 * before the result is unmasked: everything but inexact (SDM vol. 1, 8.4 and 8.5).
 */
void op_x87_store(struct x86_cpu *c, const struct x86_insn *i)
{
	unsigned bytes = i->row->mem_bytes;
	uint64_t ea, lin;
	uint8_t mem[32];

	if (!x86_x87_check(c))
		return;
	ea = x86_ea(c, i);
	lin = x86_lin(c, i->seg, ea, bytes, X86_ACC_W);
	if (is_m80(i) && simple1(c)) {
		x86_vec_st(c, lin, c->fx.st[0], bytes);
		pop(c);
		moved(c, i);
	} else if (likely(simple1(c))) {
		uint32_t fsw = single(c, i, store_pops(i) ? HOST_X87_POP : HOST_X87_LOOK, i->opcode,
				      host_modrm(ext_of(i)), c->fx.st[0], NULL, mem);

		x86_vec_st(c, lin, mem, bytes);
		merge(c, i, fsw, CC_C1);
		if (store_pops(i))
			pop(c);
	} else {
		struct x86_fx out;

		compute(c, i, &out, mem);
		if (!(out.fsw & ~c->fx.fcw & 0x1f) || x86_x87_unmasked(c))
			x86_vec_st(c, lin, mem, bytes);
		else /* not stored, but the place is checked */
			x86_probe(c, c->tlb_class, lin, bytes, X86_ACC_W);
		commit(c, i, &out);
	}
	c->fx.fdp = ea;
}
