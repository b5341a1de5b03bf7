/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MOV, MOVZX, MOVSX, MOVSXD, CMOVcc, SETcc, LEA, MOVBE, MOVNTI, BSWAP, XCHG with
 * rAX, CBW and CWD with their wider kin, XLAT. */
#include "src/cpu/x86/op_cond.h"
#include "src/cpu/x86/op_priv.h"

#define SIZE 1
#include "src/cpu/x86/op_mov.inc"
#undef SIZE
#define SIZE 2
#include "src/cpu/x86/op_mov.inc"
#include "src/cpu/x86/op_mov_wide.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_mov.inc"
#include "src/cpu/x86/op_mov_wide.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_mov.inc"
#include "src/cpu/x86/op_mov_wide.inc"
#undef SIZE

#define SETCC(cc)                                                                                 \
	void op_set##cc##_r(struct x86_cpu *c, const struct x86_insn *i)                          \
	{                                                                                         \
		*op_reg8(c, i->rm) = op_cond_##cc(c->rflags);                                     \
	}                                                                                         \
	void op_set##cc##_m(struct x86_cpu *c, const struct x86_insn *i)                          \
	{                                                                                         \
		x86_st8(c, i->seg, x86_ea(c, i), op_cond_##cc(c->rflags));                        \
	}
OP_CONDITIONS(SETCC)

/* A store past the caches; the caches are the host's affair. */
void op_movnti_4(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_st32(c, i->seg, x86_ea(c, i), (uint32_t)c->gpr[i->reg]);
}

void op_movnti_8(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_st64(c, i->seg, x86_ea(c, i), c->gpr[i->reg]);
}

void op_xlat(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t ea = (c->gpr[X86_RBX] + (uint8_t)c->gpr[X86_RAX]) & op_addr_mask(i->adsize);

	*op_reg8(c, X86_RAX) = x86_ld8(c, i->seg, ea);
}
