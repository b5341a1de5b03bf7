/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sixteen conditions of Jcc, SETcc and CMOVcc: SDM vol. 1, appendix B. */
#ifndef BOTHY_CPU_X86_OP_COND_H
#define BOTHY_CPU_X86_OP_COND_H

#include <stdbool.h>
#include <stdint.h>

#include "src/cpu/x86/x86.h"

#define OP_CONDITIONS(X)                                                                          \
	X(o) X(no) X(b) X(nb) X(z) X(nz) X(be) X(nbe) X(s) X(ns) X(p) X(np) X(l) X(nl) X(le) X(nle)

static inline bool op_cond_o(uint64_t fl) { return fl & X86_FL_OF; }
static inline bool op_cond_b(uint64_t fl) { return fl & X86_FL_CF; }
static inline bool op_cond_z(uint64_t fl) { return fl & X86_FL_ZF; }
static inline bool op_cond_be(uint64_t fl) { return fl & (X86_FL_CF | X86_FL_ZF); }
static inline bool op_cond_s(uint64_t fl) { return fl & X86_FL_SF; }
static inline bool op_cond_p(uint64_t fl) { return fl & X86_FL_PF; }
static inline bool op_cond_l(uint64_t fl) { return (fl ^ fl >> 4) & X86_FL_SF; } /* SF != OF */
static inline bool op_cond_le(uint64_t fl) { return op_cond_z(fl) | op_cond_l(fl); }
static inline bool op_cond_no(uint64_t fl) { return !op_cond_o(fl); }
static inline bool op_cond_nb(uint64_t fl) { return !op_cond_b(fl); }
static inline bool op_cond_nz(uint64_t fl) { return !op_cond_z(fl); }
static inline bool op_cond_nbe(uint64_t fl) { return !op_cond_be(fl); }
static inline bool op_cond_ns(uint64_t fl) { return !op_cond_s(fl); }
static inline bool op_cond_np(uint64_t fl) { return !op_cond_p(fl); }
static inline bool op_cond_nl(uint64_t fl) { return !op_cond_l(fl); }
static inline bool op_cond_nle(uint64_t fl) { return !op_cond_le(fl); }

#endif
