/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the vector, MMX and x87 operations share: availability, memory operands. */
#ifndef BOTHY_CPU_X86_VEC_H
#define BOTHY_CPU_X86_VEC_H

#include "src/cpu/x86/access.h"
#include "src/cpu/x86/host_stub.h"

#define X86_MXCSR_MASK   0xffffu /* no misaligned-SSE mode */
#define X86_MXCSR_MASKS  0x1f80u
#define X86_FSW_ES       0x80u
#define X86_FSW_B        0x8000u
#define X86_FSW_TOP(fsw) ((fsw) >> 11 & 7u)

/* Slow halves of the checks. (fpu.c) */
_Noreturn void x86_vec_unavailable(struct x86_cpu *c, uint32_t attr);
_Noreturn void x86_simd_exception(struct x86_cpu *c);
bool x86_x87_pending(struct x86_cpu *c);
/* Sets FSW.TOP. fx.st is in stack order: the physical registers keep their
 * values, so they move. */
void x86_set_top(struct x86_cpu *c, unsigned top);
/* What x86_vec_ld() and x86_vec_st() do when the TLB does not help. */
void x86_vec_ld_slow(struct x86_cpu *c, uint64_t lin, void *to, unsigned bytes);
void x86_vec_st_slow(struct x86_cpu *c, uint64_t lin, const void *from, unsigned bytes);
/* Brings MMn to its fixed place in fx.st, TOP 0, every tag valid. */
void x86_mmx_enter(struct x86_cpu *c);
/* FNINIT's state. */
void x86_fninit(struct x86_cpu *c);
/* FXRSTOR's view of the image in c->fx: reserved bits as hardware keeps them,
 * FSW.ES and B from the pending exceptions. */
void x86_fx_normalise(struct x86_cpu *c);
/* ES and B after FCW or FSW changed. */
void x86_fsw_update(struct x86_cpu *c);
/* Lets SIGFPE reach this thread, for an instruction that may raise. */
void x86_simd_may_trap(void);

static inline bool x86_is_vex(const struct x86_insn *i) { return i->row->vex == X86_VEX; }

/* SDM vol. 2, 2.4 and tables 2-18 ff: #UD before #NM. */
static inline void x86_vec_check(struct x86_cpu *c, uint32_t attr)
{
	bool bad;

	if (attr & X86_A_AVX)
		bad = (c->xcr0 & 6) != 6 || !(c->cr4 & X86_CR4_OSXSAVE) || c->cr0 & X86_CR0_TS;
	else
		bad = !(c->cr4 & X86_CR4_OSFXSR) || c->cr0 & (X86_CR0_EM | X86_CR0_TS);
	if (unlikely(bad))
		x86_vec_unavailable(c, attr);
}

/* Exceptions that FSW.ES stands for. The host would fault on its next waiting
 * instruction, so that this and not the bit is what decides. */
static inline unsigned x86_x87_unmasked(const struct x86_cpu *c)
{
	return c->fx.fsw & ~c->fx.fcw & 0x3fu;
}

/* A waiting x87 instruction. False: an exception is pending that goes to IRQ 13
 * (CR0.NE clear); the instruction will run again later. */
static inline bool x86_x87_check(struct x86_cpu *c)
{
	if (unlikely(c->cr0 & (X86_CR0_EM | X86_CR0_TS)))
		x86_raise(c, X86_EXC_NM);
	return likely(!x86_x87_unmasked(c)) || x86_x87_pending(c);
}

static inline void x86_x87_check_nowait(struct x86_cpu *c)
{
	if (unlikely(c->cr0 & (X86_CR0_EM | X86_CR0_TS)))
		x86_raise(c, X86_EXC_NM);
}

static inline bool x86_mmx_check(struct x86_cpu *c)
{
	if (unlikely(c->cr0 & X86_CR0_EM))
		x86_raise_ud(c);
	if (unlikely(c->cr0 & X86_CR0_TS))
		x86_raise(c, X86_EXC_NM);
	return likely(!x86_x87_unmasked(c)) || x86_x87_pending(c);
}

/* Whole-operand copies; both pages of a crossing are checked first. */
static inline void x86_vec_ld(struct x86_cpu *c, uint64_t lin, void *to, unsigned bytes)
{
	void *p = x86_hit(c->tlb, lin, bytes, X86_ACC_R);

	if (unlikely(!p)) {
		x86_vec_ld_slow(c, lin, to, bytes);
		return;
	}
	switch (bytes) {
	case 1: memcpy(to, p, 1); break;
	case 2: memcpy(to, p, 2); break;
	case 4: memcpy(to, p, 4); break;
	case 8: memcpy(to, p, 8); break;
	case 16: memcpy(to, p, 16); break;
	case 32: memcpy(to, p, 32); break;
	default: memcpy(to, p, bytes);
	}
}

static inline void x86_vec_st(struct x86_cpu *c, uint64_t lin, const void *from, unsigned bytes)
{
	void *p = x86_hit(c->tlb, lin, bytes, X86_ACC_W);

	if (unlikely(!p)) {
		x86_vec_st_slow(c, lin, from, bytes);
		return;
	}
	switch (bytes) {
	case 1: memcpy(p, from, 1); break;
	case 2: memcpy(p, from, 2); break;
	case 4: memcpy(p, from, 4); break;
	case 8: memcpy(p, from, 8); break;
	case 16: memcpy(p, from, 16); break;
	case 32: memcpy(p, from, 32); break;
	default: memcpy(p, from, bytes);
	}
	x86_wrote(c, p, bytes);
}

/* Linear address of the memory operand, with the row's alignment demand. */
static inline uint64_t x86_vec_lin(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes,
				   enum x86_access acc)
{
	uint64_t lin = x86_lin(c, i->seg, x86_ea(c, i), bytes, acc);

	if (unlikely(lin & (bytes - 1)) && i->row->attr & (X86_A_ALIGN16 | X86_A_ALIGNVEC))
		x86_raise_gp0(c);
	return lin;
}

/* Width of a vector memory operand. */
static inline unsigned x86_vec_bytes(const struct x86_insn *i)
{
	return i->row->mem_bytes ? i->row->mem_bytes : 16u << i->vl;
}

static inline void x86_vec_load(struct x86_cpu *c, const struct x86_insn *i, void *to,
				unsigned bytes)
{
	x86_vec_ld(c, x86_vec_lin(c, i, bytes, X86_ACC_R), to, bytes);
}

static inline void x86_vec_store(struct x86_cpu *c, const struct x86_insn *i, const void *from,
				 unsigned bytes)
{
	x86_vec_st(c, x86_vec_lin(c, i, bytes, X86_ACC_W), from, bytes);
}

/* VEX.128 results clear the register's upper half. */
static inline void x86_vec_zero_upper(union x86_vec *v) { v->q[2] = v->q[3] = 0; }

/* The stub of an X86_A_HOST row, remembered in the instruction: any thread that
 * decodes or runs it finds the same one. */
static inline host_vec_fn x86_vec_stub(struct x86_cpu *c, const struct x86_insn *i)
{
	const void *fn = __atomic_load_n(&i->stub, __ATOMIC_ACQUIRE);

	if (unlikely(!fn)) {
		fn = (const void *)(uintptr_t)host_stub_vec(c->stubs, i);
		__atomic_store_n(&((struct x86_insn *)(uintptr_t)i)->stub, fn, __ATOMIC_RELEASE);
	}
	return (host_vec_fn)(uintptr_t)fn;
}

static inline uint8_t *x86_mm(struct x86_cpu *c, unsigned n) /* after x86_mmx_enter() */
{
	return c->fx.st[n & 7];
}

#endif
