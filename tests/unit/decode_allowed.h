/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where our decoder and Zydis may differ, and why; used by decode.c. */
#ifndef BOTHY_TESTS_UNIT_DECODE_ALLOWED_H
#define BOTHY_TESTS_UNIT_DECODE_ALLOWED_H

#include <stdbool.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "src/cpu/x86/insn.h"

/* One mnemonic, two spellings. */
static const struct { const char *zydis, *ours; } decode_names[] = {
	{ "iret", "iretw" },
};

/* Instruction sets that are not offered: they decode to "ud". */
static inline bool decode_theirs_alone(const ZydisDecodedInstruction *z, unsigned mode)
{
	return false;
}

static inline bool decode_ours_alone(const struct x86_insn *i)
{
	return false;
}

/* Bytes that are another instruction on a processor without some extension. */
static inline bool decode_means_other(const ZydisDecodedInstruction *z, const struct x86_insn *i)
{
	return false;
}

static inline bool decode_operands_may_differ(const ZydisDecodedInstruction *z,
					      const struct x86_insn *i)
{
	return false;
}

static inline bool decode_source_segment_equal(const struct x86_insn *i,
					       const ZydisDecodedInstruction *z,
					       const ZydisDecodedOperand *zo)
{
	return true;
}

#endif
