/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log is a ring of 4 KiB sectors. An entry is a header with descriptors behind it,
 * then a sector of data for each descriptor that is not one of zeroes. Entries that follow
 * each other with numbers that do too are a sequence; each names the ring offset where
 * what is still needed begins. The sequence whose last entry has the greatest number counts.
 */
#include "src/block/vhdx_log.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

enum { SECTOR = 4096, HEADER = 64, DESC = 32, MAX_LOG = 16 << 20 };
enum { E_CHECKSUM = 4, E_LEN = 8, E_TAIL = 12, E_SEQUENCE = 16, E_DESCS = 24, E_GUID = 32,
       E_FLUSHED = 48, E_LAST = 56 };
#define MAX_FILE (1ULL << 47) /* twice what an image can hold */

struct entry { /* by the sector it begins in; sequence 0: none */
	uint64_t sequence;
	uint32_t sectors, tail;
};

struct log {
	const uint8_t *ring;
	uint8_t *flat; /* an entry with its end behind its beginning */
	struct entry *at;
	uint32_t sectors;
	const uint8_t *guid;
	uint64_t budget; /* bytes that may still be summed up: entries do not overlap */
};

uint32_t vhdx_crc32c(const uint8_t *p, size_t len, size_t at)
{
	static const uint8_t none[4];
	uint32_t c = crc32_iscsi((unsigned char *)p, (int)at, ~0u);

	c = crc32_iscsi((unsigned char *)none, 4, c);
	return ~crc32_iscsi((unsigned char *)p + at + 4, (int)(len - at - 4), c);
}

/* An entry in one piece. */
static const uint8_t *flat(struct log *l, uint32_t s, uint32_t sectors)
{
	uint32_t first = min_of(sectors, l->sectors - s);

	if (first == sectors)
		return l->ring + (size_t)s * SECTOR;
	memcpy(l->flat, l->ring + (size_t)s * SECTOR, (size_t)first * SECTOR);
	memcpy(l->flat + (size_t)first * SECTOR, l->ring, (size_t)(sectors - first) * SECTOR);
	return l->flat;
}

/* Sectors of header and descriptors. */
static uint64_t desc_sectors(uint64_t descs) { return (HEADER + descs * DESC + SECTOR - 1) / SECTOR; }

static bool is_zeroes(const uint8_t *d) { return !memcmp(d, "zero", 4); }

/* Are all descriptors what they should be, each with its data? */
static bool descs_ok(const uint8_t *e, uint32_t sectors)
{
	uint64_t n = ld_le32(e + E_DESCS), data = desc_sectors(n), last = ld_le64(e + E_LAST);
	uint64_t sequence = ld_le64(e + E_SEQUENCE);

	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *d = e + HEADER + i * DESC, *s = e + data * SECTOR;
		uint64_t off = ld_le64(d + 16), len = is_zeroes(d) ? ld_le64(d + 8) : SECTOR;

		if ((!is_zeroes(d) && memcmp(d, "desc", 4)) || ld_le64(d + 24) != sequence ||
		    (off | len) % SECTOR || off > last || len > last - off)
			return false;
		if (is_zeroes(d))
			continue;
		if (data++ >= sectors || memcmp(s, "data", 4) || ld_le32(s + 4) != sequence >> 32 ||
		    ld_le32(s + SECTOR - 4) != (uint32_t)sequence)
			return false;
	}
	return true;
}

/* What begins in sector @s. */
static void look(struct log *l, uint32_t s)
{
	const uint8_t *e = l->ring + (size_t)s * SECTOR;
	uint32_t len = ld_le32(e + E_LEN), tail = ld_le32(e + E_TAIL);

	if (memcmp(e, "loge", 4) || memcmp(e + E_GUID, l->guid, 16) || !len || len % SECTOR ||
	    tail % SECTOR || len / SECTOR > l->sectors || tail / SECTOR >= l->sectors ||
	    !ld_le64(e + E_SEQUENCE) || desc_sectors(ld_le32(e + E_DESCS)) > len / SECTOR ||
	    ld_le64(e + E_LAST) > MAX_FILE || len > l->budget)
		return;
	l->budget -= len;
	e = flat(l, s, len / SECTOR);
	if (vhdx_crc32c(e, len, E_CHECKSUM) != ld_le32(e + E_CHECKSUM) || !descs_ok(e, len / SECTOR))
		return;
	l->at[s] = (struct entry){ ld_le64(e + E_SEQUENCE), len / SECTOR, tail / SECTOR };
}

static uint32_t next_of(const struct log *l, uint32_t s)
{
	return (s + l->at[s].sectors) % l->sectors;
}

/* From where it says, without a gap, does one come to @head? */
static bool is_head(const struct log *l, uint32_t head)
{
	uint32_t s = l->at[head].tail, steps = 0;

	for (; s != head && steps++ < l->sectors; s = next_of(l, s)) {
		uint32_t next = l->at[s].sequence ? next_of(l, s) : s;

		if (!l->at[s].sequence || l->at[next].sequence != l->at[s].sequence + 1)
			return false;
	}
	return s == head;
}

static bool find_head(const struct log *l, uint32_t *head)
{
	uint64_t best = 0;

	for (uint32_t s = 0; s < l->sectors; s++)
		if (l->at[s].sequence > best && is_head(l, s)) {
			best = l->at[s].sequence;
			*head = s;
		}
	return best;
}

/* @end: where the file ends by now. Zeroes past it need no writing. */
static int redo_entry(struct block_node *file, const uint8_t *e, uint64_t *end)
{
	uint64_t n = ld_le32(e + E_DESCS), data = desc_sectors(n);
	uint8_t sector[SECTOR];
	int rc = 0;

	for (uint64_t i = 0; i < n && !rc; i++) {
		const uint8_t *d = e + HEADER + i * DESC;
		uint64_t off = ld_le64(d + 16);

		if (is_zeroes(d)) {
			uint64_t len = off < *end ? min_of(ld_le64(d + 8), *end - off) : 0;

			rc = block_zero(file, off, len, true);
			continue;
		}
		/* The signature and the number stand where the descriptor keeps the data's ends. */
		memcpy(sector, e + data++ * SECTOR, SECTOR);
		memcpy(sector, d + 8, 8);
		memcpy(sector + SECTOR - 4, d + 4, 4);
		rc = block_pwrite(file, off, sector, SECTOR);
		*end = max_of(*end, off + SECTOR);
	}
	return rc;
}

static int redo(struct block_node *file, struct log *l, uint32_t head, const char **what)
{
	const uint8_t *e = flat(l, head, l->at[head].sectors);
	uint64_t last = ld_le64(e + E_LAST), end = file->len;
	int rc = 0;

	if (file->len < ld_le64(e + E_FLUSHED)) {
		*what = "it ends before data that was safe in it once";
		return -EINVAL;
	}
	for (uint32_t s = l->at[head].tail; !rc; s = next_of(l, s)) {
		rc = redo_entry(file, flat(l, s, l->at[s].sectors), &end);
		if (s == head)
			break;
	}
	if (!rc && file->len < last)
		rc = block_resize(file, last, BLOCK_PREALLOC_OFF, NULL);
	return rc ? rc : block_flush(file);
}

int vhdx_log_replay(struct block_node *file, uint64_t off, uint64_t len, const uint8_t guid[16],
		    const char **what)
{
	uint8_t *ring = NULL;
	struct log l = { .guid = guid, .sectors = (uint32_t)(len / SECTOR), .budget = 2 * len };
	uint32_t head;
	int rc = -EINVAL;

	*what = "its log is misplaced";
	if (!len || len % SECTOR || len > MAX_LOG || off % SECTOR || off > file->len ||
	    len > file->len - off)
		return rc;
	ring = malloc(len);
	l.ring = ring;
	l.flat = malloc(len);
	l.at = calloc(l.sectors, sizeof(*l.at));
	rc = ring && l.flat && l.at ? block_pread(file, off, ring, len) : -ENOMEM;
	for (uint32_t s = 0; s < l.sectors && !rc; s++)
		look(&l, s);
	*what = "its log is damaged";
	if (!rc)
		rc = find_head(&l, &head) ? redo(file, &l, head, what) : -EINVAL;
	free(l.at);
	free(l.flat);
	free(ring);
	return rc;
}
