/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions that are undefined, and those that do nothing or little. */
#include "src/cpu/x86/ops.h"

void op_ud(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_raise_ud(c);
}
