/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "src/base/bits.h"
#include "src/base/uuid.h"
#include "tests/unit/cmocka_all.h"

static void test_text(void **state)
{
	static const char good[] = "00112233-4455-6677-8899-aabbccddeeff";
	static const char *const bad[] = {
		"", "0", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeeff0",
		"00112233_4455-6677-8899-aabbccddeeff", "g0112233-4455-6677-8899-aabbccddeeff",
		"00112233445566778899aabbccddeeff", "{0112233-4455-6677-8899-aabbccddeeff}",
	};
	uint8_t u[16];
	char text[UUID_TEXT];
	struct err err;

	assert_int_equal(uuid_parse(good, u, NULL), 0);
	for (unsigned n = 0; n < 16; n++)
		assert_int_equal(u[n], n * 0x11);
	uuid_print(u, text);
	assert_string_equal(text, good);
	assert_int_equal(uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", u, NULL), 0);
	assert_int_equal(u[15], 0xff);
	for (size_t n = 0; n < array_size(bad); n++) {
		err.text[0] = '\0';
		assert_int_not_equal(uuid_parse(bad[n], u, &err), 0);
		assert_non_null(strstr(err.text, "UUID"));
	}
}

static void test_made(void **state)
{
	uint8_t a[16], b[16];

	assert_int_equal(uuid_random(a), 0);
	assert_int_equal(uuid_random(b), 0);
	assert_memory_not_equal(a, b, 16);
	assert_int_equal(a[6] >> 4, 4);
	assert_int_equal(a[8] >> 6, 2);
	uuid_of_text("/disk.img", a);
	uuid_of_text("/disk.img", b);
	assert_memory_equal(a, b, 16);
	assert_int_equal(a[6] >> 4, 8);
	assert_int_equal(a[8] >> 6, 2);
	uuid_of_text("/disk.imh", b);
	assert_memory_not_equal(a, b, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_text), cmocka_unit_test(test_made) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
