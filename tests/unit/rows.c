/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operation table is sound: every column in range, every function there, and
 * every row reached by some bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "src/cpu/x86/insn.h"

static bool is_lower(const char *s)
{
	for (; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == ' '))
			return false;
	return true;
}

static void test_columns(void **state)
{
	assert_int_equal(x86_nrows, X86_NOPS);
	for (size_t n = 0; n < x86_nrows; n++) {
		const struct x86_row *r = &x86_rows[n];

		assert_int_equal(r->id, n);
		assert_non_null(r->name);
		if (!*r->name || !is_lower(r->name))
			fail_msg("row %zu: name \"%s\"", n, r->name);
		for (int k = 0; k < 4; k++) {
			if (!r->fn[k] || !r->fn_mem[k])
				fail_msg("row %zu (%s) has no function", n, r->name);
			assert_true(r->opnd[k] < X86_NOPNDS);
			assert_true(k == 0 || !r->opnd[k] || r->opnd[k - 1]); /* no gaps */
		}
		assert_true(r->map < X86_NMAPS);
		assert_true(r->pp <= X86_PP_F2);
		assert_true(r->ext <= 7 || r->ext == X86_EXT_ANY);
		assert_true(r->rm <= 7 || r->rm == X86_EXT_ANY);
		assert_true(r->feature < X86_NFEATURES);
		assert_true(r->mem_bytes == 0 || r->mem_bytes <= 64 || r->mem_bytes == 94 ||
			    r->mem_bytes == 108);
		assert_int_equal((r->flags_read | r->flags_write) & ~X86_FL_ARITH, 0);
		/* VEX cannot be combined with LOCK or a repeat prefix. */
		assert_false(r->vex == X86_VEX && (r->attr & (X86_A_LOCK | X86_A_REP)));
		assert_false((r->attr & X86_A_REPCC) && !(r->attr & X86_A_REP));
		assert_false((r->attr & X86_A_D64) && (r->attr & X86_A_F64));
	}
}

struct reach {
	bool seen[X86_NOPS];
	uint64_t features[(X86_NFEATURES + 63) / 64];
};

static void decode_all_modrm(struct reach *reach, uint8_t *bytes, unsigned len)
{
	static const uint8_t modes[] = { X86_MODE_64, X86_MODE_32 };

	for (unsigned modrm = 0; modrm < 256; modrm++) {
		bytes[len] = modrm;
		for (size_t m = 0; m < array_size(modes); m++) {
			struct x86_insn i;

			if (x86_decode(bytes, X86_MAX_INSN, modes[m], reach->features, &i) > 0)
				reach->seen[i.row->id] = true;
		}
	}
}

static void decode_legacy(struct reach *reach, const struct x86_row *r)
{
	static const uint8_t prefix[] = { 0, 0x66, 0xf3, 0xf2 };

	for (unsigned n = 0; n < 16; n++) {
		uint8_t bytes[32] = { 0 };
		unsigned len = 0;

		if (prefix[n & 3])
			bytes[len++] = prefix[n & 3];
		if (n >> 2) /* none, W, B */
			bytes[len++] = n >> 2 == 1 ? 0x48 : 0x41;
		if (r->map != X86_MAP_1)
			bytes[len++] = 0x0f;
		if (r->map >= X86_MAP_0F38)
			bytes[len++] = r->map == X86_MAP_0F38 ? 0x38 : 0x3a;
		bytes[len++] = r->opcode;
		decode_all_modrm(reach, bytes, len);
	}
}

static void decode_vex(struct reach *reach, const struct x86_row *r)
{
	for (unsigned n = 0; n < 32; n++) { /* pp, L, W, and vvvv unused or 0 */
		uint8_t bytes[32] = { 0xc4, 0xe0 | r->map,
				      (n & 7) | (n & 8) << 4 | (n & 16 ? 0x78 : 0x70), r->opcode };

		decode_all_modrm(reach, bytes, 4);
	}
}

static void test_every_row_is_reached(void **state)
{
	struct reach *reach = calloc(1, sizeof(*reach));

	assert_non_null(reach);
	memset(reach->features, 0xff, sizeof(reach->features));
	for (size_t n = 0; n < x86_nrows; n++) {
		const struct x86_row *r = &x86_rows[n];

		if (reach->seen[n] || r->feature == X86_F_NEVER)
			continue;
		if (r->vex == X86_VEX)
			decode_vex(reach, r);
		else
			decode_legacy(reach, r);
		if (!reach->seen[n])
			fail_msg("no bytes decode to row %zu (%s)", n, r->name);
	}
	free(reach);
}

/* Without its feature a row is never the result. */
static void test_features_are_obeyed(void **state)
{
	struct reach *reach = calloc(1, sizeof(*reach));

	assert_non_null(reach);
	for (size_t n = 0; n < x86_nrows; n++) {
		if (x86_rows[n].feature == X86_F_BASE || x86_rows[n].feature == X86_F_NEVER)
			continue;
		if (x86_rows[n].vex == X86_VEX)
			decode_vex(reach, &x86_rows[n]);
		else
			decode_legacy(reach, &x86_rows[n]);
	}
	for (size_t n = 0; n < x86_nrows; n++)
		if (reach->seen[n] && x86_rows[n].feature != X86_F_BASE && n != X86_OP_UD)
			fail_msg("row %zu (%s) without its feature", n, x86_rows[n].name);
	free(reach);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_every_row_is_reached),
		cmocka_unit_test(test_features_are_obeyed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
