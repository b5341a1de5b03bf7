/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations' C functions, declared from the operation table, and the ways
 * in which a row names them (last column of ops.def):
 *
 *   X86_FN1(f)   f for every operand size
 *   X86_FN2(f)   f_4, f_8: rows whose size is 32 bits or, with REX.W, 64
 *   X86_FN3(f)   f_2, f_4, f_8
 *   X86_FN4(f)   f_1, f_2, f_4, f_8
 *   X86_FN*M(f)  the same for two functions: f_r... where ModRM.rm is a register
 *                and f_m... where it is memory
 */
#ifndef BOTHY_CPU_X86_OPS_H
#define BOTHY_CPU_X86_OPS_H

#include "src/cpu/x86/insn.h"

#define X86_FN1(f) void f(struct x86_cpu *c, const struct x86_insn *i);
#define X86_FN2(f) X86_FN1(f##_4) X86_FN1(f##_8)
#define X86_FN3(f) X86_FN1(f##_2) X86_FN2(f)
#define X86_FN4(f) X86_FN1(f##_1) X86_FN3(f)
#define X86_FN1M(f) X86_FN1(f##_r) X86_FN1(f##_m)
#define X86_FN2M(f) X86_FN2(f##_r) X86_FN2(f##_m)
#define X86_FN3M(f) X86_FN3(f##_r) X86_FN3(f##_m)
#define X86_FN4M(f) X86_FN4(f##_r) X86_FN4(f##_m)
#define X86_ROW(id, name, map, opcode, pp, ext, mod, vex, vl, vw, rm, o1, o2, o3, o4, mem_bytes, \
		feature, attr, fr, fw, fns)                                                      \
	fns
#include "src/cpu/x86/ops.def"
#undef X86_ROW
#undef X86_FN1
#undef X86_FN2
#undef X86_FN3
#undef X86_FN4
#undef X86_FN1M
#undef X86_FN2M
#undef X86_FN3M
#undef X86_FN4M

#endif
