// SPDX-License-Identifier: GPL-2.0-or-later
/* What each row of the operation table may and may not show (rows.def). */
#include <string.h>

#include "tests/cpu-diff/diff.h"

static const char *const ids[] = {
#define X86_ROW(id, ...) #id,
#include "src/cpu/x86/ops.def"
#undef X86_ROW
};

struct entry {
	uint16_t row;
	struct diff_row_info info;
};

static const struct entry table[] = {
#define DIFF_ROW(id, kind, why_) { X86_OP_##id, { DIFF_ROW_##kind, .why = why_ } },
#define DIFF_ROW_SKIP .rule = DIFF_SKIP
#define DIFF_ROW_FAULTS .rule = DIFF_FAULTS
#define DIFF_ROW_FAULTS_LOOSE .rule = DIFF_FAULTS, .loose_fault = true
#define DIFF_WEAK(id, why_) { X86_OP_##id, { .weak = true, .last = true, .why = why_ } },
#define DIFF_LOOSE(id, why_) { X86_OP_##id, { .loose_fault = true, .why = why_ } },
#define DIFF_FLAGS(id, flags_)                                                                 \
	{ X86_OP_##id, { .last = true, .undefined = flags_, .why = "leaves flags undefined" } },
#define DIFF_IMAGE(id, kind, why_)                                                             \
	{ X86_OP_##id,                                                                         \
	  { .loose_fault = true, .last = true, .image = DIFF_IMAGE_##kind, .why = why_ } },
#include "tests/cpu-diff/rows.def"
#undef DIFF_ROW
#undef DIFF_WEAK
#undef DIFF_LOOSE
#undef DIFF_FLAGS
#undef DIFF_IMAGE
};

const struct diff_row_info *diff_row_info(unsigned row)
{
	static const struct diff_row_info run = { .rule = DIFF_RUN };
	static const struct diff_row_info cpl0 = { .rule = DIFF_FAULTS, .why = "only at CPL 0" };

	for (size_t k = 0; k < array_size(table); k++)
		if (table[k].row == row)
			return &table[k].info;
	return x86_rows[row].attr & X86_A_CPL0 ? &cpl0 : &run;
}

const char *diff_row_id(unsigned row)
{
	return row < array_size(ids) ? ids[row] : "?";
}

int diff_row_by_id(const char *id)
{
	for (size_t k = 0; k < array_size(ids); k++)
		if (!strcasecmp(ids[k], id))
			return (int)k;
	return -1;
}
