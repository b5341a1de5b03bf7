/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random numbers of the kinds that floating-point hardware treats differently. */
#ifndef BOTHY_TESTS_UNIT_VEC_VALUES_H
#define BOTHY_TESTS_UNIT_VEC_VALUES_H

#include <stdint.h>

#include "src/base/bits.h"

static inline uint64_t vec_rnd(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * 0x2545f4914f6cdd1d;
}

static inline uint32_t vec_value32(uint64_t *seed)
{
	static const uint32_t corner[] = { 0,          0x80000000, 0x3f800000, 0xbf800000,
					   0x7f800000, 0xff800000, 0x7fc00000, 0x7fa00000,
					   0xffa00001, 1,          0x807fffff, 0x00800000,
					   0x7f7fffff, 0x4f000000, 0xcf000000, 0x4effffff,
					   0x3f000000, 0x33800000, 0x00800001, 0x5f000000,
					   0x42fe0000, 0x477ff000, 0x387fc000, 0x33000001 };
	uint64_t r = vec_rnd(seed);

	switch (r & 7) {
	case 0:
	case 1: return corner[(r >> 8) % array_size(corner)];
	case 2: return (uint32_t)(r >> 32) & 0x807fffff; /* denormal */
	case 3:
	case 4: return 0x3f800000 + (uint32_t)(r >> 40) - 0x800000; /* of ordinary size */
	default: return (uint32_t)(r >> 20);
	}
}

static inline uint64_t vec_value64(uint64_t *seed)
{
	static const uint64_t corner[] = { 0,
					   1ull << 63,
					   0x3ff0000000000000,
					   0x7ff0000000000000,
					   0xfff0000000000000,
					   0x7ff8000000000000,
					   0x7ff4000000000000,
					   0xfff0000000000001,
					   1,
					   0x800fffffffffffff,
					   0x0010000000000000,
					   0x7fefffffffffffff,
					   0x43e0000000000000,
					   0xc3e0000000000000,
					   0x41e0000000000000,
					   0xc1e0000000200000,
					   0x3fe0000000000000,
					   0x36a0000000000000,
					   0x47efffffe0000000,
					   0x47effffff0000000,
					   0x3810000000000000 };
	uint64_t r = vec_rnd(seed);

	switch (r & 15) {
	case 0:
	case 1:
	case 2: return corner[(r >> 8) % array_size(corner)];
	case 3: return vec_rnd(seed) & 0x800fffffffffffff;
	case 4:
	case 5:
	case 6: return 0x3ff0000000000000 + (vec_rnd(seed) >> 10) - (1ull << 53);
	case 7: return vec_rnd(seed);
	default: return vec_value32(seed) | (uint64_t)vec_value32(seed) << 32;
	}
}

static inline void vec_value80(uint64_t *seed, uint8_t *p)
{
	static const struct {
		uint16_t e;
		uint64_t m;
	} corner[] = {
		{ 0, 0 },
		{ 0x8000, 0 },
		{ 0x3fff, 1ull << 63 },
		{ 0xbfff, 1ull << 63 },
		{ 0x7fff, 1ull << 63 },
		{ 0xffff, 1ull << 63 },
		{ 0x7fff, 3ull << 62 },
		{ 0xffff, 0x8000000000000001 },
		{ 0x7fff, 0xa000000000000000 },
		{ 0, 1 },
		{ 0, 1ull << 63 },
		{ 0x8000, ~0ull >> 1 },
		{ 1, 1ull << 63 },
		{ 0x7ffe, ~0ull },
		{ 0xfffe, ~0ull },
		{ 0x403e, ~0ull },
		{ 0x3ffe, 1ull << 63 },
		{ 0x7fff, 0 },
		{ 0x3fff, 1 },
		{ 0x403e, 1ull << 63 },
		{ 0x401e, 1ull << 63 },
	};
	uint64_t r = vec_rnd(seed);
	uint16_t e;
	uint64_t m;

	if ((r & 3) == 0) {
		unsigned k = (r >> 8) % array_size(corner);

		e = corner[k].e;
		m = corner[k].m;
	} else {
		e = (uint16_t)((r >> 8 & 0x8000) |
			       ((r & 3) == 1 ? r >> 16 & 0x7fff : 0x3fdf + (r >> 16 & 0x5f)));
		m = vec_rnd(seed) | 1ull << 63;
		if ((r >> 40 & 3) == 0)
			m &= ~0ull << (r >> 44 & 63);
		m |= 1ull << 63;
	}
	memset(p, 0, 16);
	st_le64(p, m);
	st_le16(p + 8, e);
}

#endif
