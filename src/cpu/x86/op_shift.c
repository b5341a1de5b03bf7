/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ROL ROR RCL RCR SHL SHR SAR SHLD SHRD, BT BTS BTR BTC, BSF BSR and the counts.
 * The host masks counts as the guest's processor does.
 */
#include "src/cpu/x86/op_priv.h"

#define SIZE 1
#include "src/cpu/x86/op_shift.inc"
#undef SIZE
#define SIZE 2
#include "src/cpu/x86/op_shift.inc"
#include "src/cpu/x86/op_bits.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_shift.inc"
#include "src/cpu/x86/op_bits.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_shift.inc"
#include "src/cpu/x86/op_bits.inc"
#undef SIZE
