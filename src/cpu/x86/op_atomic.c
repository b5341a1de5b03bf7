/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B. */
#include "src/cpu/x86/op_priv.h"

#define SIZE 1
#include "src/cpu/x86/op_atomic.inc"
#undef SIZE
#define SIZE 2
#include "src/cpu/x86/op_atomic.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_atomic.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_atomic.inc"
#undef SIZE

static void set_zf(struct x86_cpu *c, bool zf)
{
	c->rflags = (c->rflags & ~X86_FL_ZF) | (zf ? X86_FL_ZF : 0);
}

/* The host does it locked whether the guest asked or not: nobody can tell. */
static bool cmpxchg8b(void *p, uint64_t *old, uint64_t new)
{
	uint32_t lo = (uint32_t)*old, hi = (uint32_t)(*old >> 32);
	bool equal;

	__asm__ volatile("lock cmpxchg8b (%[p])"
			 : "=@ccz"(equal), "+a"(lo), "+d"(hi)
			 : [p] "r"(p), "b"((uint32_t)new), "c"((uint32_t)(new >> 32))
			 : "memory");
	*old = (uint64_t)hi << 32 | lo;
	return equal;
}

void op_cmpxchg8b(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t old = (uint64_t)(uint32_t)c->gpr[X86_RDX] << 32 | (uint32_t)c->gpr[X86_RAX];
	uint64_t new = (uint64_t)(uint32_t)c->gpr[X86_RCX] << 32 | (uint32_t)c->gpr[X86_RBX];
	uint64_t lin = op_lin(c, i, 8, X86_ACC_W);
	void *p = x86_rmw_ptr(c, c->tlb_class, lin, 8);
	bool equal;

	if (likely(p)) {
		equal = cmpxchg8b(p, &old, new);
		x86_wrote(c, p, 8);
	} else {
		uint64_t was;

		x86_probe(c, c->tlb_class, lin, 8, X86_ACC_W);
		x86_exclusive_begin(c);
		was = x86_load_slow(c, c->tlb_class, lin, 8);
		equal = was == old;
		x86_store_slow(c, c->tlb_class, lin, equal ? new : was, 8);
		x86_exclusive_end(c);
		old = was;
	}
	if (!equal) {
		c->gpr[X86_RAX] = (uint32_t)old;
		c->gpr[X86_RDX] = (uint32_t)(old >> 32);
	}
	set_zf(c, equal);
}

static bool cmpxchg16b(void *p, uint64_t old[2], const uint64_t new[2])
{
	bool equal;

	__asm__ volatile("lock cmpxchg16b (%[p])"
			 : "=@ccz"(equal), "+a"(old[0]), "+d"(old[1])
			 : [p] "r"(p), "b"(new[0]), "c"(new[1])
			 : "memory");
	return equal;
}

void op_cmpxchg16b(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t old[2] = { c->gpr[X86_RAX], c->gpr[X86_RDX] };
	const uint64_t new[2] = { c->gpr[X86_RBX], c->gpr[X86_RCX] };
	uint64_t lin = op_lin(c, i, 16, X86_ACC_W);
	bool equal;
	void *p;

	if (lin & 15)
		x86_raise_gp0(c);
	p = x86_rmw_ptr(c, c->tlb_class, lin, 16);
	if (likely(p)) {
		equal = cmpxchg16b(p, old, new);
		x86_wrote(c, p, 16);
	} else {
		uint64_t was[2];

		x86_probe(c, c->tlb_class, lin, 16, X86_ACC_W);
		x86_exclusive_begin(c);
		x86_load_buf(c, c->tlb_class, lin, was, 16);
		equal = was[0] == old[0] && was[1] == old[1];
		x86_store_buf(c, c->tlb_class, lin, equal ? new : was, 16);
		x86_exclusive_end(c);
		memcpy(old, was, 16);
	}
	if (!equal) {
		c->gpr[X86_RAX] = old[0];
		c->gpr[X86_RDX] = old[1];
	}
	set_zf(c, equal);
}
