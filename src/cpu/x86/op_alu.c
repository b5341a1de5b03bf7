/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NOT NEG, and MOV's relatives that
 * take the same operands. Names end in the operands (E: ModRM.rm, G: ModRM.reg,
 * I: immediate), then r or m for what ModRM.rm is, then the width.
 */
#include "src/cpu/x86/op_priv.h"

#define SIZE 1
#include "src/cpu/x86/op_alu.inc"
#undef SIZE
#define SIZE 2
#include "src/cpu/x86/op_alu.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_alu.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_alu.inc"
#undef SIZE
