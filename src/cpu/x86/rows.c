/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operation table: ops.def as data. */
#include "src/cpu/x86/ops.h"

/* Both kinds of function by size, in parentheses so that a row's shorthands can
 * hand it on as one argument. */
#define ALL(f) f, f, f, f
#define BY2(f) f##_4, f##_4, f##_4, f##_8
#define BY3(f) f##_2, f##_2, f##_4, f##_8
#define BY4(f) f##_1, f##_2, f##_4, f##_8
#define X86_FN1(f) (ALL(f), ALL(f))
#define X86_FN2(f) (BY2(f), BY2(f))
#define X86_FN3(f) (BY3(f), BY3(f))
#define X86_FN4(f) (BY4(f), BY4(f))
#define X86_FN1M(f) (ALL(f##_r), ALL(f##_m))
#define X86_FN2M(f) (BY2(f##_r), BY2(f##_m))
#define X86_FN3M(f) (BY3(f##_r), BY3(f##_m))
#define X86_FN4M(f) (BY4(f##_r), BY4(f##_m))
#define FNS(r1, r2, r4, r8, m1, m2, m4, m8) .fn = { r1, r2, r4, r8 }, .fn_mem = { m1, m2, m4, m8 }

#define X86_ROW(id_, name_, map_, opcode_, pp_, ext_, mod_, vex_, vl_, vw_, rm_, o1, o2, o3, o4,  \
		mem_bytes_, feature_, attr_, fr_, fw_, fns)                                       \
	[X86_OP_##id_] = {                                                                        \
		.name = name_, .map = X86_MAP_##map_, .opcode = opcode_, .pp = X86_PP_##pp_,      \
		.ext = ext_, .mod = X86_MOD_##mod_, .vex = X86_##vex_, .vl = X86_L_##vl_,         \
		.vw = X86_W_##vw_, .rm = rm_,                                                     \
		.opnd = { X86_O_##o1, X86_O_##o2, X86_O_##o3, X86_O_##o4 },                       \
		.mem_bytes = mem_bytes_, .feature = X86_F_##feature_, .attr = attr_,              \
		.flags_read = fr_, .flags_write = fw_, .id = X86_OP_##id_, FNS fns,               \
	},

const struct x86_row x86_rows[] = {
#include "src/cpu/x86/ops.def"
};

const size_t x86_nrows = X86_NOPS;
