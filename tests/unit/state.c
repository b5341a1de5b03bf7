/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/state/state.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/roundtrip.h"

struct part {
	uint16_t a;
	bool b;
};

struct thing {
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	bool flag;
	uint16_t arr[5];
	uint8_t bytes[7];
	struct part one, many[3];
	struct vtimer timer;
	uint32_t added; /* since version 2 */
	uint32_t limit; /* below 100 */
};

static const struct state_field part_fields[] = {
	STATE_U16(struct part, a, 1), STATE_BOOL(struct part, b, 1), STATE_END
};
static const struct state_desc part_state = {
	.name = "part", .version = 1, .fields = part_fields,
};

static int thing_post_load(void *obj, unsigned version, struct err *err)
{
	struct thing *t = obj;

	if (t->limit >= 100)
		return err_set(err, -EINVAL, "limit is %u, the most is 99", t->limit);
	return 0;
}

#define OLD_FIELDS                                                                      \
	STATE_U8(struct thing, u8, 1), STATE_U16(struct thing, u16, 1),                 \
	STATE_U32(struct thing, u32, 1), STATE_U64(struct thing, u64, 1),               \
	STATE_BOOL(struct thing, flag, 1), STATE_ARRAY(struct thing, arr, 1),           \
	STATE_BYTES(struct thing, bytes, 1), STATE_STRUCT(struct thing, one, 1, &part_state), \
	STATE_STRUCT_ARRAY(struct thing, many, 1, &part_state),                         \
	STATE_TIMER(struct thing, timer, 1)

static const struct state_field fields_v1[] = { OLD_FIELDS, STATE_END };
static const struct state_field fields_v2[] = {
	OLD_FIELDS, STATE_U32(struct thing, added, 2), STATE_U32(struct thing, limit, 2), STATE_END
};
static const struct state_field fields_other[] = {
	STATE_U8(struct thing, u8, 1),
	{ "u16", STATE_TYPE_UINT, offsetof(struct thing, u16), 1, 1, 1, NULL }, STATE_END
};
static const struct state_field fields_few[] = { STATE_U8(struct thing, u8, 1), STATE_END };

static const struct state_desc v1 = { .name = "thing", .version = 1, .fields = fields_v1 };
static const struct state_desc v2 = {
	.name = "thing", .version = 2, .fields = fields_v2, .post_load = thing_post_load,
};
static const struct state_desc other = { .name = "thing", .version = 1, .fields = fields_other };
static const struct state_desc few = { .name = "thing", .version = 1, .fields = fields_few };

static void never(void *opaque) { fail(); }

static void thing_init(struct thing *t, struct vtime *vt)
{
	memset(t, 0, sizeof(*t));
	*t = (struct thing){
		.u8 = 1, .u16 = 0x203, .u32 = 0x4050607, .u64 = 0x8090a0b0c0d0e0f, .flag = true,
		.arr = { 1, 2, 3, 4, 5 }, .bytes = "abcdef", .one = { 9, true },
		.many = { { 1, false }, { 2, true }, { 3, false } }, .added = 77, .limit = 99,
	};
	vtimer_init(&t->timer, vt, never, t);
}

static void test_roundtrip(void **state)
{
	struct vtime *vt = vtime_new(NULL, true);
	struct thing t;

	thing_init(&t, vt);
	check_roundtrip(&v2, &t);
	assert_false(vtimer_armed(&t.timer));
	vtimer_arm(&t.timer, 1000);
	check_roundtrip(&v2, &t);
	assert_int_equal(t.timer.deadline_ns, 1000);
	assert_int_equal(t.many[1].a, 2);
	assert_int_equal(t.u64, 0x8090a0b0c0d0e0f);
	vtimer_cancel(&t.timer);
	vtime_free(vt);
}

/* A timer's deadline is relative: the clock of the restored machine differs. */
static void test_timer(void **state)
{
	struct vtime *vt = vtime_new(NULL, true);
	struct state_buf b = { 0 };
	struct thing t;

	thing_init(&t, vt);
	vtimer_arm(&t.timer, 1000);
	vtime_advance(vt, 400);
	assert_int_equal(state_save(&b, &v2, &t, 0), 0);
	vtime_advance(vt, 100000);
	assert_int_equal(state_load(&b, &v2, &t, 0, NULL), 0);
	assert_int_equal(t.timer.deadline_ns, 100400 + 600);
	vtimer_cancel(&t.timer);
	state_buf_fini(&b);
	vtime_free(vt);
}

static void test_versions(void **state)
{
	struct vtime *vt = vtime_new(NULL, true);
	struct state_buf b = { 0 };
	struct err err = { "" };
	struct thing t;

	/* An old stream into a new program: new fields keep their reset value. */
	thing_init(&t, vt);
	assert_int_equal(state_save(&b, &v1, &t, 0), 0);
	t.added = 5;
	t.u8 = 0;
	assert_int_equal(state_load(&b, &v2, &t, 0, &err), 0);
	assert_int_equal(t.added, 5);
	assert_int_equal(t.u8, 1);
	state_buf_fini(&b);
	/* A new stream into an old program. */
	assert_int_equal(state_save(&b, &v2, &t, 0), 0);
	assert_int_equal(state_load(&b, &v1, &t, 0, &err), -EINVAL);
	assert_non_null(strstr(err.text, "\"thing\" has version 2"));
	state_buf_fini(&b);
	vtime_free(vt);
}

static void refused(const struct state_desc *save, const struct state_desc *load,
		    const char *why)
{
	struct vtime *vt = vtime_new(NULL, true);
	struct state_buf b = { 0 };
	struct err err = { "" };
	struct thing t;

	thing_init(&t, vt);
	assert_int_equal(state_save(&b, save, &t, 0), 0);
	assert_int_equal(state_load(&b, load, &t, 0, &err), -EINVAL);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
	assert_int_equal(b.pos, 0);
	state_buf_fini(&b);
	vtime_free(vt);
}

static void test_refusals(void **state)
{
	static const struct state_desc renamed = {
		.name = "gadget", .version = 1, .fields = fields_v1,
	};

	refused(&v1, &renamed, "\"thing\" number 0 where \"gadget\"");
	refused(&other, &v1, "\"u16\": wrong size");
	refused(&few, &v1, "\"u16\": missing");
	refused(&v1, &few, "\"u16\": unknown");
}

static void test_post_load(void **state)
{
	struct vtime *vt = vtime_new(NULL, true);
	struct state_buf b = { 0 };
	struct err err = { "" };
	struct thing t;

	thing_init(&t, vt);
	t.limit = 100;
	assert_int_equal(state_save(&b, &v2, &t, 0), 0);
	assert_int_equal(state_load(&b, &v2, &t, 0, &err), -EINVAL);
	assert_string_equal(err.text, "saved state of \"thing\": limit is 100, the most is 99");
	state_buf_fini(&b);
	/* Nothing there at all. */
	assert_int_equal(state_load(&b, &v2, &t, 0, &err), -EINVAL);
	assert_non_null(strstr(err.text, "missing"));
	vtime_free(vt);
}

static void test_sequence(void **state)
{
	struct vtime *vt = vtime_new(NULL, true);
	struct state_buf b = { 0 };
	struct thing t, u;

	thing_init(&t, vt);
	thing_init(&u, vt);
	u.u8 = 200;
	assert_int_equal(state_save(&b, &v2, &t, 0), 0);
	assert_int_equal(state_save(&b, &v2, &u, 1), 0);
	assert_int_equal(state_load(&b, &v2, &u, 0, NULL), 0);
	assert_int_equal(u.u8, 1);
	assert_int_equal(state_load(&b, &v2, &u, 1, NULL), 0);
	assert_int_equal(u.u8, 200);
	state_buf_fini(&b);
	vtime_free(vt);
}

static void poke(void *obj)
{
	struct thing *t = obj;

	assert_true(t->limit < 100);
	assert_true(*(uint8_t *)&t->flag <= 1);
}

static void test_hostile(void **state)
{
	struct vtime *vt = vtime_new(NULL, true);
	struct thing t;

	thing_init(&t, vt);
	vtimer_arm(&t.timer, 1000);
	check_hostile(&v2, &t, poke, 20000);
	vtimer_cancel(&t.timer);
	vtime_free(vt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roundtrip), cmocka_unit_test(test_timer),
		cmocka_unit_test(test_versions), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_post_load), cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
