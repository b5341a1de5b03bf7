/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/ctl/lines.h"
#include "tests/unit/cmocka_all.h"

struct seen {
	char text[256];
	unsigned count;
	size_t last_len;
	int ret;
};

static int take(void *opaque, char *line, size_t len)
{
	struct seen *s = opaque;

	s->count++;
	s->last_len = len;
	if (strlen(s->text) + len + 2 < sizeof(s->text)) {
		strncat(s->text, line, len);
		strcat(s->text, "|");
	}
	return s->ret;
}

static void cut(void **state)
{
	struct seen s = { "" };
	struct lines l;

	lines_init(&l);
	assert_int_equal(lines_feed(&l, "ab", 2, take, &s), 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(lines_feed(&l, "c\nd\r\n\ne", 7, take, &s), 0);
	assert_string_equal(s.text, "abc|d||");
	/* One byte at a time comes to the same. */
	for (const char *p = "f\ngh\n"; *p; p++)
		assert_int_equal(lines_feed(&l, p, 1, take, &s), 0);
	assert_string_equal(s.text, "abc|d||ef|gh|");
	lines_fini(&l);
}

static void too_long(void **state)
{
	char *big = malloc(LINES_MAX + 10);
	struct seen s = { "" };
	struct lines l;

	memset(big, 'x', LINES_MAX + 10);
	lines_init(&l);
	big[LINES_MAX - 1] = '\n';
	assert_int_equal(lines_feed(&l, big, LINES_MAX, take, &s), 0);
	assert_int_equal(s.last_len, LINES_MAX - 1);
	big[LINES_MAX - 1] = 'x';
	assert_int_equal(lines_feed(&l, big, LINES_MAX, take, &s), -E2BIG);
	assert_int_equal(s.count, 1);
	/* What waited is gone; the next line stands alone. */
	assert_int_equal(lines_feed(&l, "ok\n", 3, take, &s), 0);
	assert_int_equal(s.last_len, 2);
	lines_fini(&l);
	free(big);
}

static void stopped(void **state)
{
	struct seen s = { .ret = -EPIPE };
	struct lines l;

	lines_init(&l);
	assert_int_equal(lines_feed(&l, "a\nb\n", 4, take, &s), -EPIPE);
	assert_int_equal(s.count, 1);
	lines_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut),
		cmocka_unit_test(too_long),
		cmocka_unit_test(stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
