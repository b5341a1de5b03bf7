/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Playing back the log of a VHDX image that was not closed ([MS-VHDX] 2.3). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/memfile.h"
#include "src/block/vhdx_log.h"
#include "tests/unit/cmocka_all.h"

enum { S = 4096, LOG = 65536, LOG_OFF = 1 << 20, FILE_LEN = 4 << 20, DATA = 2 << 20 };

static const uint8_t guid[16] = "the log's own id";

struct rig {
	struct mem_host h;
	struct block_node *file;
};

static void rig_init(struct rig *g)
{
	struct mem_data d = { calloc(1, FILE_LEN), FILE_LEN, FILE_LEN };

	mem_host_init(&g->h, 64 << 20);
	assert_int_equal(mem_host_add(&g->h, "f", &d), 0);
	assert_int_equal(block_open_proto("f", BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, &g->h.host,
					  &g->file, NULL), 0);
}

static void rig_fini(struct rig *g)
{
	assert_int_equal(block_close(g->file), 0);
	mem_host_fini(&g->h);
}

static uint8_t *bytes(struct rig *g) { return g->h.files[0]->now.bytes; }

struct change { /* one of an entry */
	uint64_t off, zeroes; /* zeroes 0: a sector of @fill */
	uint8_t fill;
};

/* Puts an entry into the ring from sector @at on; returns where the next would begin. */
static uint32_t put(struct rig *g, uint32_t at, uint32_t tail, uint64_t seq, const uint8_t *id,
		    const struct change *c, unsigned n)
{
	uint8_t e[16 * S] = "loge";
	uint32_t data = 1, sectors;

	assert_true(64 + n * 32 <= S);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *d = e + 64 + i * 32, *s = e + (size_t)data * S;

		st_le64(d + 16, c[i].off);
		st_le64(d + 24, seq);
		if (c[i].zeroes) {
			memcpy(d, "zero", 4);
			st_le64(d + 8, c[i].zeroes);
			continue;
		}
		memcpy(d, "desc", 4);
		memset(d + 4, c[i].fill, 12);
		memset(s, c[i].fill, S);
		memcpy(s, "data", 4);
		st_le32(s + 4, (uint32_t)(seq >> 32));
		st_le32(s + S - 4, (uint32_t)seq);
		data++;
	}
	sectors = data;
	st_le32(e + 8, sectors * S);
	st_le32(e + 12, tail * S);
	st_le64(e + 16, seq);
	st_le32(e + 24, n);
	memcpy(e + 32, id, 16);
	st_le64(e + 48, FILE_LEN);
	st_le64(e + 56, FILE_LEN);
	st_le32(e + 4, vhdx_crc32c(e, (size_t)sectors * S, 4));
	for (uint32_t i = 0; i < sectors; i++)
		memcpy(bytes(g) + LOG_OFF + (at + i) % (LOG / S) * S, e + (size_t)i * S, S);
	return (at + sectors) % (LOG / S);
}

static int replay(struct rig *g)
{
	const char *what = "";
	int rc = vhdx_log_replay(g->file, LOG_OFF, LOG, guid, &what);

	assert_true(rc != -EINVAL || *what);
	return rc;
}

static bool filled(struct rig *g, uint64_t off, uint8_t with)
{
	for (unsigned i = 0; i < S; i++)
		if (bytes(g)[off + i] != with)
			return false;
	return true;
}

/* The sum's known value: CRC-32C of "123456789". */
static void test_sum(void **state)
{
	static const uint8_t text[] = "1234\0\0\0\0" "5678";
	static const uint8_t same[] = "1234wxyz" "5678";

	assert_int_equal(vhdx_crc32c(text, 12, 4), vhdx_crc32c(same, 12, 4));
	/* 32 bytes of zeroes: RFC 3720, B.4. */
	assert_int_equal(vhdx_crc32c((const uint8_t[32]){ 0 }, 32, 8), 0x8a9136aau);
}

static void test_one(void **state)
{
	const struct change c[] = { { DATA, 0, 0x11 }, { DATA + 3 * S, 2 * S, 0 }, { DATA + S, 0, 0x22 } };
	struct rig g;

	rig_init(&g);
	memset(bytes(&g) + DATA, 0x77, 8 * S);
	put(&g, 0, 0, 5, guid, c, 3);
	for (unsigned i = 0; i < 2; i++) { /* twice is as good as once */
		assert_int_equal(replay(&g), 0);
		assert_true(filled(&g, DATA, 0x11) && filled(&g, DATA + S, 0x22));
		assert_true(filled(&g, DATA + 2 * S, 0x77) && filled(&g, DATA + 3 * S, 0));
		assert_true(filled(&g, DATA + 4 * S, 0) && filled(&g, DATA + 5 * S, 0x77));
	}
	rig_fini(&g);
}

/* A sequence around the ring's end; what is before its tail is done already; older ones and
 * another log's do not count. */
static void test_sequences(void **state)
{
	static const uint8_t other[16] = "another log's id";
	const struct change old = { DATA, 0, 0xee }, a = { DATA + S, 0, 0xaa }, b = { DATA + S, 0, 0xbb },
			    c = { DATA + 2 * S, 0, 0xcc };
	uint32_t at, tail;
	struct rig g;

	rig_init(&g);
	put(&g, 3, 3, 4, guid, &old, 1);          /* a sequence that ended */
	put(&g, 6, 6, 100, other, &old, 1);       /* a later one, of another log */
	at = put(&g, 11, 11, 9, guid, &old, 1);   /* done, as the last entry's tail says */
	tail = at;
	at = put(&g, at, 11, 10, guid, &a, 1);
	at = put(&g, at, tail, 11, guid, &b, 1);  /* around the end */
	assert_true(at < 3);
	put(&g, at, tail, 12, guid, &c, 1);
	assert_int_equal(replay(&g), 0);
	assert_true(filled(&g, DATA, 0)); /* neither is done again */
	assert_true(filled(&g, DATA + S, 0xbb)); /* in order */
	assert_true(filled(&g, DATA + 2 * S, 0xcc));
	rig_fini(&g);

	/* An entry that is torn ends the sequence before it. */
	rig_init(&g);
	at = put(&g, 0, 0, 1, guid, &a, 1);
	tail = at;
	put(&g, at, 0, 2, guid, &c, 1);
	bytes(&g)[LOG_OFF + tail * S + S + 100] ^= 1;
	assert_int_equal(replay(&g), 0);
	assert_true(filled(&g, DATA + S, 0xaa) && filled(&g, DATA + 2 * S, 0));
	/* Nothing that is whole is left. */
	bytes(&g)[LOG_OFF + 9] ^= 1;
	assert_int_equal(replay(&g), -EINVAL);
	rig_fini(&g);
}

static void test_lengths(void **state)
{
	const struct change c = { DATA, 0, 0x11 };
	const char *what;
	struct rig g;

	/* Data that had reached the file once is gone. */
	rig_init(&g);
	put(&g, 0, 0, 1, guid, &c, 1);
	g.file->len = FILE_LEN - S;
	assert_int_equal(replay(&g), -EINVAL);
	assert_true(filled(&g, DATA, 0));
	g.file->len = FILE_LEN;
	/* Longer than the file is: it grows. */
	st_le64(bytes(&g) + LOG_OFF + 56, FILE_LEN + 16 * S);
	st_le32(bytes(&g) + LOG_OFF + 4, vhdx_crc32c(bytes(&g) + LOG_OFF, 2 * S, 4));
	assert_int_equal(replay(&g), 0);
	assert_int_equal(g.file->len, FILE_LEN + 16 * S);
	assert_int_equal(vhdx_log_replay(g.file, LOG_OFF, 0, guid, &what), -EINVAL);
	assert_int_equal(vhdx_log_replay(g.file, LOG_OFF, 1ULL << 40, guid, &what), -EINVAL);
	assert_int_equal(vhdx_log_replay(g.file, LOG_OFF + 1, LOG, guid, &what), -EINVAL);
	assert_int_equal(vhdx_log_replay(g.file, UINT64_MAX - S + 1, LOG, guid, &what), -EINVAL);
	rig_fini(&g);
}

/* Whatever stands in the ring, with sums that are right: no read or write outside, no end. */
static void test_hostile(void **state)
{
	uint64_t rng = 88172645463325252ULL, good = 0;
	struct rig g;

	for (unsigned round = 0; round < 4000; round++) {
		struct change c[4];
		uint32_t at = 0;

		rig_init(&g);
		for (unsigned i = 0; i < 4; i++) {
			uint32_t from = at;

			for (unsigned k = 0; k < 4; k++)
				c[k] = (struct change){ DATA + (uint64_t)(k + i) * S, k == 3 ? S : 0,
							(uint8_t)(i + 1) };
			at = put(&g, at, 0, i + 1, guid, c, i % 4 + 1);
			for (unsigned m = 0; m < round % 3; m++) {
				static const uint64_t odd[] = { 0, 1, S, UINT32_MAX, UINT64_MAX, 1ULL << 63,
								FILE_LEN, FILE_LEN - S, LOG, 0xfffff000 };
				uint8_t *e = bytes(&g) + LOG_OFF + (size_t)from * S;
				uint64_t len;

				rng ^= rng << 13;
				rng ^= rng >> 7;
				rng ^= rng << 17;
				st_le64(e + 8 + rng % 40 * 4, odd[rng >> 20 & 7] + (rng >> 40 & 3));
				len = ld_le32(e + 8);
				if (len >= S && len <= LOG - (size_t)from * S)
					st_le32(e + 4, vhdx_crc32c(e, len, 4));
			}
		}
		good += replay(&g) == 0;
		rig_fini(&g);
	}
	assert_true(good > 1500 && good < 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum), cmocka_unit_test(test_one),
		cmocka_unit_test(test_sequences), cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
