/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading sectors. Images hold the 2048 bytes of user data of mode 1 sectors; what
 * else READ CD may ask for is made here: sync, header, and the codes of ECMA-130,
 * clause 14 and annex A.
 */
#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/storage/mmc_priv.h"

/* READ CD, byte 9: MMC-6, 6.16. */
#define FORM_SYNC 0x80u
#define FORM_HEADER 0x20u
#define FORM_DATA 0x10u
#define FORM_CODES 0x08u

#define SYNC_LEN 12u
#define HEADER_LEN 4u
#define CODES_LEN 288u

static uint8_t to_bcd(uint32_t v)
{
	return (uint8_t)(v / 10 << 4 | v % 10);
}

/* GF(2^8) with x^8 + x^4 + x^3 + x^2 + 1, times alpha. */
static uint8_t times_alpha(uint8_t v)
{
	return (uint8_t)(v << 1 ^ (v & 0x80 ? 0x1d : 0));
}

static uint8_t gf_mul(uint8_t a, uint8_t b)
{
	uint8_t r = 0;

	for (; b; b >>= 1, a = times_alpha(a))
		if (b & 1)
			r ^= a;
	return r;
}

static uint8_t over_one_plus_alpha(uint8_t v)
{
	return gf_mul(v, 0xf4); /* 0xf4 * 0x03 == 1 */
}

/* Parity of one kind over bytes from 12 on: ECMA-130, annex A. */
static void parity(uint8_t *sector, unsigned vectors, unsigned len, unsigned step,
		   unsigned stride, uint8_t *out)
{
	const uint8_t *p = sector + SYNC_LEN;
	unsigned total = vectors * len;

	for (unsigned v = 0; v < vectors; v++) {
		unsigned at = (v >> 1) * step + (v & 1);
		uint8_t a = 0, b = 0;

		for (unsigned n = 0; n < len; n++) {
			uint8_t byte = p[at];

			at += stride;
			if (at >= total)
				at -= total;
			a = times_alpha(a ^ byte);
			b ^= byte;
		}
		a = over_one_plus_alpha(times_alpha(a) ^ b);
		out[v] = a;
		out[v + vectors] = a ^ b;
	}
}

static uint32_t edc(const uint8_t *p, unsigned len)
{
	uint32_t crc = 0;

	while (len--) {
		crc ^= *p++;
		for (unsigned n = 0; n < 8; n++)
			crc = crc >> 1 ^ (crc & 1 ? 0xd8018001u : 0);
	}
	return crc;
}

/* A whole sector around 2048 bytes of data. */
static void make_raw(uint8_t *raw, const uint8_t *data, uint32_t lba)
{
	uint32_t frames = lba + 150; /* two seconds of lead-in */

	memset(raw, 0xff, SYNC_LEN);
	raw[0] = raw[11] = 0;
	raw[12] = to_bcd(frames / 75 / 60 % 100);
	raw[13] = to_bcd(frames / 75 % 60);
	raw[14] = to_bcd(frames % 75);
	raw[15] = 1;
	memcpy(raw + 16, data, MMC_BLOCK);
	st_le32(raw + 2064, edc(raw, 2064));
	memset(raw + 2068, 0, 8);
	parity(raw, 86, 24, 2, 86, raw + 2076);
	parity(raw, 52, 43, 86, 88, raw + 2248);
}

static unsigned form_len(uint8_t form)
{
	return (form & FORM_SYNC ? SYNC_LEN : 0) + (form & FORM_HEADER ? HEADER_LEN : 0) +
	       (form & FORM_DATA ? MMC_BLOCK : 0) + (form & FORM_CODES ? CODES_LEN : 0);
}

/* What was asked for of one sector. */
static void take_form(uint8_t *out, const uint8_t *raw, uint8_t form)
{
	static const struct { uint8_t bit; uint16_t at, len; } part[] = {
		{ FORM_SYNC, 0, SYNC_LEN }, { FORM_HEADER, 12, HEADER_LEN },
		{ FORM_DATA, 16, MMC_BLOCK }, { FORM_CODES, 2064, CODES_LEN },
	};

	for (unsigned n = 0; n < array_size(part); n++) {
		if (!(form & part[n].bit))
			continue;
		memcpy(out, raw + part[n].at, part[n].len);
		out += part[n].len;
	}
}

/* The data of @count sectors stands at the buffer's beginning: spread it out, or draw it
 * together, in the order in which none is overwritten before its turn. */
static void spread(struct mmc_cmd *c, uint32_t count, unsigned each)
{
	uint8_t raw[MMC_RAW], *b = c->x->buf->data;

	for (uint32_t n = 0; n < count; n++) {
		uint32_t i = each > MMC_BLOCK ? count - 1 - n : n;

		make_raw(raw, b + (size_t)i * MMC_BLOCK, c->lba + i);
		take_form(b + (size_t)i * each, raw, c->form);
	}
}

static void read_done(struct xfer *x, int ret)
{
	struct mmc_cmd *c = x->owner;
	uint32_t each = x->block, count = x->buf_len / each;

	if (ret == -ENOMEDIUM || ret == -ECANCELED) {
		mmc_fail(c, SENSE_NOT_READY_EMPTY);
		return;
	}
	if (ret == -ENOMEM) {
		mmc_fail(c, SENSE_NO_MEMORY);
		return;
	}
	if (ret < 0) {
		mmc_fail(c, SENSE_READ_ERROR);
		return;
	}
	if (c->form != FORM_DATA)
		spread(c, count, each);
	c->lba += count;
	x->moved += x->buf_len;
	x->phase = XFER_DATA;
}

static void read_move(struct xfer *x, uint32_t len)
{
	struct mmc_cmd *c = x->owner;
	uint32_t count = len / x->block;

	/* Forms of less than the data need room for the data all the same. */
	if (x->block < MMC_BLOCK && count > 1) {
		count = max_of(1u, len / MMC_BLOCK);
		x->buf_len = count * x->block;
	}
	if (!medium_present(&c->mmc->medium)) {
		mmc_fail(c, SENSE_NOT_READY_OPEN);
		return;
	}
	if (!xfer_reserve(x, max_of(len, count * MMC_BLOCK))) {
		mmc_fail(c, SENSE_NO_MEMORY);
		return;
	}
	xfer_io(x, &c->mmc->drive, BLK_READ, 0, (uint64_t)c->lba * MMC_BLOCK,
		(uint64_t)count * MMC_BLOCK, read_done);
}

static void read_finish(struct xfer *x)
{
	struct mmc_cmd *c = x->owner;

	c->mmc->key = c->mmc->asc = c->mmc->ascq = 0;
	c->status = MMC_GOOD;
}

static void start_read(struct mmc *m, struct mmc_cmd *c, uint32_t lba, uint32_t count,
		       uint8_t form)
{
	static const struct xfer_ops ops = { read_move, read_finish };

	if (!mmc_need_medium(m, c))
		return;
	c->lba = lba;
	if ((uint64_t)lba + count > mmc_blocks(m)) {
		mmc_fail(c, SENSE_LBA_RANGE);
		return;
	}
	if (!count || !form) {
		mmc_ok(c);
		return;
	}
	c->form = form;
	c->x->ops = &ops;
	c->x->dir = XFER_IN;
	c->x->block = form_len(form);
	c->x->len = (uint64_t)count * c->x->block;
	c->x->phase = XFER_DATA;
	c->x->buf_len = 0;
}

void mmc_do_read(struct mmc *m, struct mmc_cmd *c)
{
	uint32_t count = c->cdb[0] == 0xa8 ? ld_be32(c->cdb + 6) : ld_be16(c->cdb + 7);

	start_read(m, c, ld_be32(c->cdb + 2), count, FORM_DATA);
}

static uint32_t from_msf(const uint8_t *p)
{
	return ((uint32_t)p[0] * 60 + p[1]) * 75 + p[2];
}

/* READ CD and READ CD MSF. */
void mmc_do_read_cd(struct mmc *m, struct mmc_cmd *c)
{
	uint8_t type = c->cdb[1] >> 2 & 7, form = c->cdb[9] & 0xf8;
	uint32_t lba = ld_be32(c->cdb + 2), count = ld_be32(c->cdb + 5) & 0xffffff;

	if (c->cdb[0] == 0xb9) {
		uint32_t from = from_msf(c->cdb + 3), to = from_msf(c->cdb + 6);

		if (from < 150 || to < from) {
			mmc_fail(c, SENSE_INVALID_FIELD);
			return;
		}
		lba = from - 150;
		count = to - from;
	}
	if (!mmc_need_medium(m, c))
		return;
	/* No C2 error flags, no sub-channel data behind an image of user data. A
	 * sub-header, which mode 1 sectors have none of, adds nothing. */
	if (c->cdb[9] & 6 || c->cdb[10] & 7) {
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	if (type != 0 && type != 2) {
		mmc_fail(c, SENSE_WRONG_TRACK_MODE);
		return;
	}
	start_read(m, c, lba, count, form & (FORM_SYNC | FORM_HEADER | FORM_DATA | FORM_CODES));
}
