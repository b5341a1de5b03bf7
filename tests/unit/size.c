/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/size.h"
#include "tests/unit/cmocka_all.h"

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "512M", 512ull << 20 }, { "4G", 4ull << 30 }, { "1T", 1ull << 40 },
		{ "64k", 64 << 10 }, { "2048", 2048ull << 20 }, { "1.5G", 3ull << 29 },
		{ "0", 0 }, { "7B", 7 }, { "3MiB", 3 << 20 }, { "3MB", 3 << 20 },
		{ "0.25K", 256 },
	};
	static const char *const bad[] = { "", "M", "12Q", "-1", "1.2.3G", "1.G", "4GX", " 4G",
					   "0x10", "1.1234567G", "99999999999999999999",
					   "9999999T", "1e3" };
	struct err err;
	uint64_t v;

	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(parse_size(good[i].text, 1 << 20, &v, &err), 0);
		assert_true(v == good[i].bytes);
	}
	for (size_t i = 0; i < array_size(bad); i++) {
		err.text[0] = '\0';
		if (parse_size(bad[i], 1 << 20, &v, &err) >= 0)
			fail_msg("'%s' was taken", bad[i]);
		assert_true(err_is_set(&err));
	}
	parse_size("12Q", 1, &v, &err) < 0 ? (void)0 : fail();
	assert_non_null(strstr(err.text, "unknown unit 'Q'"));
}

static void numbers(void **state)
{
	struct err err;
	uint64_t v;

	assert_int_equal(parse_uint("18446744073709551615", &v, &err), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(parse_uint("18446744073709551616", &v, &err), -ERANGE);
	assert_int_equal(parse_uint("1x", &v, &err), -EINVAL);
	assert_int_equal(parse_uint("", &v, &err), -EINVAL);
	assert_int_equal(parse_uint("-3", &v, &err), -EINVAL);
}

static void shown(void **state)
{
	char buf[32];

	assert_string_equal(format_size(512ull << 20, buf, sizeof(buf)), "512 MiB");
	assert_string_equal(format_size(1536ull << 20, buf, sizeof(buf)), "1536 MiB");
	assert_string_equal(format_size(2ull << 40, buf, sizeof(buf)), "2 TiB");
	assert_string_equal(format_size(7, buf, sizeof(buf)), "7 bytes");
	assert_string_equal(format_size(0, buf, sizeof(buf)), "0 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(numbers),
		cmocka_unit_test(shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
