/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading, writing, verifying, and giving back blocks (SBC-3, clause 5). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/storage/scsi_disk_priv.h"

#define CHUNK (256u << 10) /* bytes of a step where a buffer of ours is needed */
#define UNMAP_HEADER 8u
#define UNMAP_RANGE 16u

static struct scsi_disk *disk_of(struct scsi_cmd *c)
{
	return container_of(c->lu, struct scsi_disk, lu);
}

/* Address and count, of which each size of command has its own places. */
static void extent(const struct scsi_cmd *c, uint64_t *lba, uint64_t *count)
{
	const uint8_t *p = c->cdb;

	switch (p[0] >> 5) {
	case 0:
		*lba = ld_be32(p) & 0x1fffff;
		*count = p[4] ? p[4] : 256;
		break;
	case 1:
	case 2:
		*lba = ld_be32(p + 2);
		*count = ld_be16(p + 7);
		break;
	case 4:
		*lba = ld_be64(p + 2);
		*count = ld_be32(p + 10);
		break;
	default:
		*lba = ld_be32(p + 2);
		*count = ld_be32(p + 6);
		break;
	}
}

/* False: the command has failed. */
static bool in_range(struct scsi_cmd *c, uint64_t lba, uint64_t count)
{
	uint64_t blocks = scsi_disk_blocks(disk_of(c));

	if (lba <= blocks && count <= blocks - lba)
		return true;
	scsi_fail(c, SCSI_LBA_RANGE);
	return false;
}

static bool can_write(struct scsi_cmd *c)
{
	if (blk_writable(disk_of(c)->blk))
		return true;
	scsi_fail(c, SCSI_READ_ONLY);
	return false;
}

static void fail_errno(struct scsi_cmd *c, int ret)
{
	switch (ret) {
	case -ECANCELED: scsi_end(c, SCSI_ABORTED); break;
	case -ENOMEDIUM: scsi_fail(c, SCSI_NO_MEDIUM); break;
	case -ENOMEM: scsi_fail(c, SCSI_NO_MEMORY); break;
	case -EINVAL: scsi_fail(c, SCSI_LBA_RANGE); break; /* the image has shrunk */
	case -ENOSPC:
	case -EDQUOT: scsi_fail(c, SCSI_SPACE); break;
	case -EROFS: scsi_fail(c, SCSI_READ_ONLY); break;
	default:
		if (c->b.op == BLK_READ)
			scsi_fail(c, SCSI_READ_ERROR);
		else
			scsi_fail(c, SCSI_WRITE_ERROR);
		break;
	}
}

static void submit(struct scsi_cmd *c, enum blk_op op, uint64_t off, uint64_t len, unsigned flags,
		   void (*done)(struct blk_req *b, int ret))
{
	c->b.op = op;
	c->b.off = off;
	c->b.len = len;
	c->b.flags = flags;
	c->b.done = done;
	blk_submit(disk_of(c)->blk, &c->b);
}

static void simple_done(struct blk_req *b, int ret)
{
	struct scsi_cmd *c = container_of(b, struct scsi_cmd, b);

	if (ret) {
		fail_errno(c, ret);
		return;
	}
	if (b->op == BLK_READ || b->op == BLK_WRITE)
		c->moved = b->len;
	scsi_ok(c);
}

/* FUA, or a write cache that is off: stable when answered. */
static unsigned write_flags(const struct scsi_cmd *c)
{
	const struct scsi_disk *d = container_of(c->lu, struct scsi_disk, lu);
	bool verify = (c->cdb[0] & 0x1f) == 0x0e, fua = c->cdb[0] >> 5 && c->cdb[1] & 8;

	return !d->write_cache || fua || verify ? BLK_REQ_FUA : 0;
}

/* All but the pieces beyond @len bytes; they are guest memory, used in place. */
static bool take_pieces(struct scsi_cmd *c, const struct iovec *iov, unsigned n, uint64_t have,
			uint64_t len)
{
	if (have < len) {
		c->overrun = true;
		scsi_fail(c, SCSI_INVALID_FIELD);
		return false;
	}
	c->b.iov = iov;
	c->b.niov = n;
	if (have == len)
		return true;
	c->bounce.iov_base = malloc((n + 1) * sizeof(*iov));
	if (!c->bounce.iov_base) {
		scsi_end(c, SCSI_BUSY);
		return false;
	}
	c->b.iov = c->bounce.iov_base;
	c->b.niov = iov_slice(iov, n, 0, len, c->bounce.iov_base, n);
	return true;
}

static bool done_at_once(struct scsi_cmd *c, uint64_t off, uint64_t len)
{
	int ret;

	c->b.op = BLK_READ;
	c->b.off = off;
	c->b.len = len;
	if (!blk_try(disk_of(c)->blk, &c->b, &ret))
		return false;
	simple_done(&c->b, ret);
	return true;
}

void scsi_disk_read(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint64_t lba, count;

	extent(c, &lba, &count);
	if (c->cdb[0] >> 5 && c->cdb[1] & 0xe0) /* no protection information */
		scsi_fail(c, SCSI_INVALID_FIELD);
	else if (in_range(c, lba, count) &&
		 take_pieces(c, c->in, c->in_num, c->in_len, count * d->logical) &&
		 !done_at_once(c, lba * d->logical, count * d->logical))
		submit(c, BLK_READ, lba * d->logical, count * d->logical, 0, simple_done);
}

void scsi_disk_write(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint64_t lba, count;

	extent(c, &lba, &count);
	if (c->cdb[0] >> 5 && c->cdb[1] & 0xe0)
		scsi_fail(c, SCSI_INVALID_FIELD);
	else if (can_write(c) && in_range(c, lba, count) &&
		 take_pieces(c, c->out, c->out_num, c->out_len, count * d->logical))
		submit(c, BLK_WRITE, lba * d->logical, count * d->logical, write_flags(c),
		       simple_done);
}

void scsi_disk_sync(struct scsi_disk *d, struct scsi_cmd *c)
{
	submit(c, BLK_FLUSH, 0, 0, 0, simple_done);
}

/*
 * VERIFY: with BYTCHK 1 the blocks are compared with what was sent.
 */
static void verify_step(struct scsi_cmd *c);

static bool same(struct scsi_cmd *c)
{
	const uint8_t *p = c->bounce.iov_base;
	struct iovec part[64];
	uint64_t done = 0;

	while (done < c->step) {
		unsigned n = iov_slice(c->out, c->out_num, c->moved + done, c->step - done, part,
				       array_size(part));

		for (unsigned i = 0; i < n; i++) {
			if (memcmp(p + done, part[i].iov_base, part[i].iov_len))
				return false;
			done += part[i].iov_len;
		}
	}
	return true;
}

static void verify_done(struct blk_req *b, int ret)
{
	struct scsi_cmd *c = container_of(b, struct scsi_cmd, b);

	if (ret) {
		fail_errno(c, ret);
		return;
	}
	if (!same(c)) {
		scsi_fail(c, SCSI_MISCOMPARE);
		return;
	}
	c->at += c->step;
	c->left -= c->step;
	c->moved += c->step;
	verify_step(c);
}

static void verify_step(struct scsi_cmd *c)
{
	if (!c->left) {
		scsi_ok(c);
		return;
	}
	c->step = c->bounce.iov_len = min_of(c->left, (uint64_t)CHUNK);
	c->b.iov = &c->bounce;
	c->b.niov = 1;
	submit(c, BLK_READ, c->at, c->step, 0, verify_done);
}

void scsi_disk_verify(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint64_t lba, count;
	unsigned check = c->cdb[1] >> 1 & 3;

	extent(c, &lba, &count);
	if (c->cdb[1] & 0xe0 || check > 1) {
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	if (!in_range(c, lba, count))
		return;
	if (!check) {
		scsi_ok(c);
		return;
	}
	if (c->out_len < count * d->logical) {
		c->overrun = true;
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	c->bounce.iov_base = malloc(CHUNK);
	if (!c->bounce.iov_base) {
		scsi_end(c, SCSI_BUSY);
		return;
	}
	c->at = lba * d->logical;
	c->left = count * d->logical;
	verify_step(c);
}

/*
 * WRITE SAME: one block, all over.
 */
static void same_step(struct scsi_cmd *c);

static void same_done(struct blk_req *b, int ret)
{
	struct scsi_cmd *c = container_of(b, struct scsi_cmd, b);

	if (ret) {
		fail_errno(c, ret);
		return;
	}
	c->at += c->step;
	c->left -= c->step;
	same_step(c);
}

static void same_step(struct scsi_cmd *c)
{
	if (!c->left) {
		scsi_ok(c);
		return;
	}
	c->step = c->bounce.iov_len = min_of(c->left, (uint64_t)CHUNK);
	c->b.iov = &c->bounce;
	c->b.niov = 1;
	submit(c, BLK_WRITE, c->at, c->step, write_flags(c), same_done);
}

static void fill(struct scsi_disk *d, struct scsi_cmd *c, uint64_t lba, uint64_t count)
{
	uint8_t *p = malloc(CHUNK);

	if (!p) {
		scsi_end(c, SCSI_BUSY);
		return;
	}
	iov_to_buf(c->out, c->out_num, 0, p, d->logical);
	for (uint32_t at = d->logical; at < CHUNK; at += d->logical)
		memcpy(p + at, p, d->logical);
	c->bounce.iov_base = p;
	c->at = lba * d->logical;
	c->left = count * d->logical;
	c->moved = d->logical;
	same_step(c);
}

void scsi_disk_write_same(struct scsi_disk *d, struct scsi_cmd *c)
{
	bool sixteen = c->cdb[0] == 0x93, no_data = sixteen && c->cdb[1] & 1;
	bool unmap = c->cdb[1] & 8;
	uint8_t block[32768];
	uint64_t lba, count;

	extent(c, &lba, &count);
	/* Anchoring, protection; a count of 0 would be the rest of the disk (WSNZ). */
	if (c->cdb[1] & 0xf0 || !count || (unmap && !d->discard)) {
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	if (!can_write(c) || !in_range(c, lba, count))
		return;
	if (!no_data && iov_to_buf(c->out, c->out_num, 0, block, d->logical) != d->logical) {
		c->overrun = true;
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	if (!no_data && !block_is_zero(block, d->logical)) {
		fill(d, c, lba, count);
		return;
	}
	submit(c, BLK_ZERO, lba * d->logical, count * d->logical,
	       write_flags(c) | (unmap ? BLK_REQ_UNMAP : 0), simple_done);
}

/*
 * UNMAP: a list of ranges, one after the other. c->bounce holds the list.
 */
static void unmap_step(struct scsi_cmd *c);

static void unmap_done(struct blk_req *b, int ret)
{
	struct scsi_cmd *c = container_of(b, struct scsi_cmd, b);

	if (ret)
		fail_errno(c, ret);
	else
		unmap_step(c);
}

static void unmap_step(struct scsi_cmd *c)
{
	struct scsi_disk *d = disk_of(c);
	const uint8_t *range = (const uint8_t *)c->bounce.iov_base + c->at;
	uint64_t lba, count;

	if (!c->left) {
		scsi_ok(c);
		return;
	}
	lba = ld_be64(range);
	count = ld_be32(range + 8);
	c->at += UNMAP_RANGE;
	c->left--;
	submit(c, BLK_DISCARD, lba * d->logical, count * d->logical, 0, unmap_done);
}

void scsi_disk_unmap(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint32_t len = ld_be16(c->cdb + 7), ranges;
	uint8_t *p;

	if (!d->discard || c->cdb[1] & 1) {
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	if (!can_write(c))
		return;
	if (!len) {
		scsi_ok(c);
		return;
	}
	p = c->bounce.iov_base = malloc(len);
	if (!p) {
		scsi_end(c, SCSI_BUSY);
		return;
	}
	if (!scsi_disk_parameters(c, p, len))
		return;
	ranges = len < UNMAP_HEADER ? 0 : ld_be16(p + 2) / UNMAP_RANGE;
	if (len < UNMAP_HEADER || UNMAP_HEADER + ranges * UNMAP_RANGE > len) {
		scsi_fail(c, SCSI_PARAMETER_LENGTH);
		return;
	}
	if (ranges > SCSI_DISK_UNMAP_RANGES) {
		scsi_fail(c, SCSI_INVALID_PARAMETER);
		return;
	}
	for (uint32_t i = 0; i < ranges; i++) {
		const uint8_t *r = p + UNMAP_HEADER + i * UNMAP_RANGE;

		if (!in_range(c, ld_be64(r), ld_be32(r + 8)))
			return;
	}
	c->at = UNMAP_HEADER;
	c->left = ranges;
	unmap_step(c);
}
