/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BMI1, BMI2, ADX, CRC32, RDRAND, RDSEED: offered only where the host has them,
 * so the host does them. */
#include "src/cpu/x86/op_priv.h"
#include "src/cpu/x86/tape.h"

#define SIZE 4
#include "src/cpu/x86/op_bmi.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_bmi.inc"
#undef SIZE

#define SIZE 2
#include "src/cpu/x86/op_host.inc"
#undef SIZE
#define SIZE 4
#include "src/cpu/x86/op_host.inc"
#undef SIZE
#define SIZE 8
#include "src/cpu/x86/op_host.inc"
#undef SIZE

static void crc32_b(struct x86_cpu *c, unsigned reg, uint8_t v)
{
	uint32_t crc = (uint32_t)c->gpr[reg];

	__asm__("crc32b %1, %0" : "+r"(crc) : "rm"(v));
	c->gpr[reg] = crc;
}

void op_crc32_b_r(struct x86_cpu *c, const struct x86_insn *i)
{
	crc32_b(c, i->reg, *op_reg8(c, i->rm));
}

void op_crc32_b_m(struct x86_cpu *c, const struct x86_insn *i)
{
	crc32_b(c, i->reg, x86_ld8(c, i->seg, x86_ea(c, i)));
}
