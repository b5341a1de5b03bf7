/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The emitters of general-purpose instructions, one per shape of row. */
#ifndef BOTHY_CPU_JIT_EMIT_OPS_H
#define BOTHY_CPU_JIT_EMIT_OPS_H

#include "src/cpu/jit/emit.h"

/* The LOCK prefix if the guest's instruction has it. */
void lock_prefix(struct tr *t);
/* A register that holds guest register @g for reading, @spare if it lives in
 * memory. */
unsigned g_source(struct tr *t, unsigned size, unsigned g, unsigned spare);

void e_alu_GE(struct tr *t);
void e_alu_EG(struct tr *t);
void e_alu_EI(struct tr *t);
void e_test_EG(struct tr *t);
void e_test_EI(struct tr *t);
void e_inc(struct tr *t);
void e_dec(struct tr *t);
void e_not(struct tr *t);
void e_neg(struct tr *t);
void e_mov_EG(struct tr *t);
void e_mov_GE(struct tr *t);
void e_mov_EI(struct tr *t);
void e_movzx_b(struct tr *t);
void e_movzx_w(struct tr *t);
void e_movsx_b(struct tr *t);
void e_movsx_w(struct tr *t);
void e_movsxd(struct tr *t);
void e_lea(struct tr *t);
/* Does it need no scratch register? */
bool e_lea_is_plain(const struct x86_insn *i);
void e_xchg(struct tr *t);
void e_xchg_a(struct tr *t);
void e_cmpxchg(struct tr *t);
void e_xadd(struct tr *t);
void e_bswap(struct tr *t);
void e_cbw(struct tr *t);
void e_cwd(struct tr *t);
void e_shift_I(struct tr *t);
void e_shift_1(struct tr *t);
void e_shift_C(struct tr *t);
void e_shld(struct tr *t);
void e_imul_GE(struct tr *t);
void e_imul_GEI(struct tr *t);
void e_mul(struct tr *t);
void e_div(struct tr *t);
void e_bt(struct tr *t);
void e_count(struct tr *t);
void e_vex_GEB(struct tr *t);
void e_vex_BE(struct tr *t);
void e_mulx(struct tr *t);
void e_adcx(struct tr *t);
void e_crc32(struct tr *t);
void e_movbe(struct tr *t);
void e_setcc(struct tr *t);
void e_cmov(struct tr *t);
void e_carry(struct tr *t);
void e_nop(struct tr *t);
void e_fence(struct tr *t);
void e_push(struct tr *t);
void e_push_I(struct tr *t);
void e_pop(struct tr *t);
void e_leave(struct tr *t);
void e_cli(struct tr *t);
void e_sti(struct tr *t);
void e_pushf(struct tr *t);
void e_swapgs(struct tr *t);
void e_mov_from_seg(struct tr *t);
void e_rdbase(struct tr *t);
void e_bt_string(struct tr *t);
void e_cmpxchg_wide(struct tr *t);
void e_high_two(struct tr *t);
void e_high_imm(struct tr *t);
void e_jmp(struct tr *t);
void e_jcc_row(struct tr *t);
void e_jcxz(struct tr *t);
void e_loop(struct tr *t);
void e_call(struct tr *t);
void e_ret(struct tr *t);
void e_jmp_E(struct tr *t);
void e_call_E(struct tr *t);

#endif
