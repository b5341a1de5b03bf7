/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Save, scramble, restore: every byte that a state table names is overwritten
 * between saving and restoring, and saving again must give the same bytes.
 */
#ifndef BOTHY_TESTS_UNIT_ROUNDTRIP_H
#define BOTHY_TESTS_UNIT_ROUNDTRIP_H

#include <stdlib.h>
#include <string.h>

#include "src/base/vtime.h"
#include "src/state/state.h"
#include "tests/unit/cmocka_all.h"

static inline void scramble(const struct state_desc *d, void *obj, uint32_t *seed)
{
	for (const struct state_field *f = d->fields; f->type != STATE_TYPE_END; f++) {
		uint8_t *p = (uint8_t *)obj + f->offset;
		struct vtimer *t = (struct vtimer *)(void *)p;

		*seed = *seed * 1103515245 + 12345;
		switch (f->type) {
		case STATE_TYPE_UINT:
		case STATE_TYPE_BYTES:
			for (size_t n = 0; n < f->size * f->count; n++)
				p[n] ^= (uint8_t)((*seed >> 16) + n) | 1;
			break;
		case STATE_TYPE_BOOL:
			*(bool *)p = !*(bool *)p;
			break;
		case STATE_TYPE_STRUCT:
			for (size_t n = 0; n < f->count; n++)
				scramble(f->sub, p + n * f->size, seed);
			break;
		case STATE_TYPE_TIMER:
			if (t->vt && vtimer_armed(t))
				vtimer_cancel(t);
			else if (t->vt)
				vtimer_arm(t, vtime_now_ns(t->vt) + 1 + (*seed >> 8));
			break;
		case STATE_TYPE_END:
			break;
		}
	}
}

static inline void check_roundtrip(const struct state_desc *d, void *obj)
{
	struct state_buf a = { 0 }, b = { 0 };
	struct err err = { "" };
	uint32_t seed = 42;

	assert_int_equal(state_save(&a, d, obj, 3), 0);
	scramble(d, obj, &seed);
	if (state_load(&a, d, obj, 3, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(a.pos, a.len);
	assert_int_equal(state_save(&b, d, obj, 3), 0);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	/* The wrong instance is refused. */
	a.pos = 0;
	assert_int_not_equal(state_load(&a, d, obj, 2, &err), 0);
	state_buf_fini(&a);
	state_buf_fini(&b);
}

/* Every truncation and many flipped bits: refused or accepted, never a crash. What
 * is accepted must survive being used; @poke does that, may be NULL. */
static inline void check_hostile(const struct state_desc *d, void *obj,
				 void (*poke)(void *obj), unsigned flips)
{
	struct state_buf good = { 0 };
	struct err err;
	uint32_t seed = 7;

	assert_int_equal(state_save(&good, d, obj, 0), 0);
	for (size_t len = 0; len < good.len; len += 1 + good.len / 300) {
		struct state_buf cut = { .data = malloc(len + 1), .len = len };

		memcpy(cut.data, good.data, len);
		err.text[0] = '\0';
		assert_int_not_equal(state_load(&cut, d, obj, 0, &err), 0);
		assert_true(err_is_set(&err));
		state_buf_fini(&cut);
	}
	for (unsigned n = 0; n < flips; n++) {
		struct state_buf bad = { .data = malloc(good.len), .len = good.len };

		memcpy(bad.data, good.data, good.len);
		for (unsigned k = 0; k < 1 + n % 3; k++) {
			seed = seed * 1103515245 + 12345;
			bad.data[(seed >> 8) % bad.len] ^= (uint8_t)(1u << (seed >> 5 & 7));
		}
		err.text[0] = '\0';
		if (state_load(&bad, d, obj, 0, &err) == 0 && poke)
			poke(obj);
		state_buf_fini(&bad);
	}
	assert_int_equal(state_load(&good, d, obj, 0, &err), 0);
	state_buf_fini(&good);
}

#endif
