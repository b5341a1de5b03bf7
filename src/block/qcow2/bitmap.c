/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent dirty bitmaps: read, kept up to date while the image is written, and
 * stored on close. While an image is open for writing its enabled bitmaps carry
 * the in-use flag on storage; whoever finds that flag knows of a crash and must
 * not believe the bitmap.
 *
 * The directory and the bitmap tables are outside of the metadata cache: they
 * are touched when an image is opened and closed, not per request.
 */
#include "src/block/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/bitmap_priv.h"

void qcb_free(struct qc_bitmap *b)
{
	while (b) {
		struct qc_bitmap *next = b->next;

		for (uint64_t i = 0; b->chunks && i < b->nchunks; i++)
			free(b->chunks[i]);
		free(b->chunks);
		free(b->name);
		free(b);
		b = next;
	}
}

void qc_bitmaps_free(struct qcow2 *q)
{
	qcb_free(q->live_bitmaps);
	q->live_bitmaps = NULL;
}

/* One directory entry at @p; its length in *used. NULL: it makes no sense. */
static struct qc_bitmap *parse_entry(const struct qcow2 *q, const uint8_t *p, size_t left,
				     size_t *used)
{
	struct qc_bitmap *b;
	uint32_t extra;
	uint16_t name_len;

	if (left < DIR_ENTRY_BYTES)
		return NULL;
	name_len = ld_be16(p + 18);
	extra = ld_be32(p + 20);
	*used = align_up((uint64_t)DIR_ENTRY_BYTES + extra + name_len, 8);
	if (*used > left || name_len > NAME_MAX_BYTES || !name_len || p[17] < 9 || p[17] > 31 ||
	    p[16] != 1)
		return NULL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->table_off = ld_be64(p);
	b->table_size = ld_be32(p + 8);
	b->flags = ld_be32(p + 12);
	b->granularity_bits = p[17];
	b->extra_len = extra;
	b->name = strndup((const char *)p + DIR_ENTRY_BYTES + extra, name_len);
	if (!b->name || b->table_off & (q->cluster_size - 1) || !b->table_off ||
	    b->table_size > TABLE_MAX_ENTRIES) {
		free(b->name);
		free(b);
		return NULL;
	}
	return b;
}

int qcb_load(struct qcow2 *q, struct qc_bitmap **out)
{
	struct qc_bitmap *list = NULL, **tail = &list;
	size_t pos = 0, size = q->bitmaps.dir_size, used;
	uint8_t *dir;
	int rc;

	*out = NULL;
	if (!q->bitmaps.count || !(q->autoclear & QC_AUTOCLEAR_BITMAPS))
		return 0;
	if (size > DIR_MAX_BYTES || q->bitmaps.dir_off & (q->cluster_size - 1))
		return -EINVAL;
	dir = malloc(size + 1);
	if (!dir)
		return -ENOMEM;
	rc = block_pread(q->file, q->bitmaps.dir_off, dir, size);
	for (uint32_t i = 0; !rc && i < q->bitmaps.count; i++) {
		struct qc_bitmap *b = parse_entry(q, dir + pos, size - pos, &used);

		if (!b) {
			rc = -EINVAL;
			break;
		}
		b->dir_pos = q->bitmaps.dir_off + pos;
		pos += used;
		*tail = b;
		tail = &b->next;
	}
	free(dir);
	if (rc) {
		qcb_free(list);
		return rc;
	}
	*out = list;
	return 0;
}

static int write_flags(struct qcow2 *q, const struct qc_bitmap *b)
{
	uint8_t buf[4];

	st_be32(buf, b->flags);
	qc_wrote(q);
	return block_pwrite(q->file, b->dir_pos + 12, buf, sizeof(buf));
}

int qcb_make_chunks(const struct qcow2 *q, struct qc_bitmap *b)
{
	uint64_t bits = (q->node->len >> b->granularity_bits) + 1;

	b->nchunks = bits / (CHUNK_BYTES * 8) + 1;
	b->chunks = calloc(b->nchunks, sizeof(*b->chunks));
	return b->chunks ? 0 : -ENOMEM;
}

int qc_bitmaps_begin(struct qcow2 *q)
{
	bool any = false;
	int rc = qcb_load(q, &q->live_bitmaps);

	if (rc == -EINVAL) { /* nonsense: let nobody believe it, the disk itself is fine */
		q->autoclear &= ~QC_AUTOCLEAR_BITMAPS;
		return qc_header_update(q);
	}
	for (struct qc_bitmap *b = q->live_bitmaps; b && !rc; b = b->next) {
		if (!(b->flags & FLAG_AUTO) || b->flags & FLAG_IN_USE)
			continue;
		rc = qcb_make_chunks(q, b);
		if (rc)
			return rc;
		b->flags |= FLAG_IN_USE;
		b->live = any = true;
		rc = write_flags(q, b);
	}
	return !rc && any ? qc_sync(q) : rc;
}

int qcb_mark(struct qc_bitmap *b, uint64_t off, uint64_t len)
{
	uint64_t last = (off + len - 1) >> b->granularity_bits;

	for (uint64_t bit = off >> b->granularity_bits; bit <= last; bit++) {
		uint64_t chunk = bit / (CHUNK_BYTES * 8), in = bit % (CHUNK_BYTES * 8);

		if (chunk >= b->nchunks)
			return 0;
		if (!b->chunks[chunk]) {
			b->chunks[chunk] = calloc(1, CHUNK_BYTES);
			if (!b->chunks[chunk])
				return -ENOMEM;
		}
		b->chunks[chunk][in / 8] |= (uint8_t)(1u << in % 8);
	}
	return 0;
}

int qc_bitmaps_mark(struct qcow2 *q, uint64_t off, uint64_t len)
{
	int rc = 0;

	if (!len)
		return 0;
	for (struct qc_bitmap *b = q->live_bitmaps; b && !rc; b = b->next)
		if (b->live)
			rc = qcb_mark(b, off, len);
	return rc;
}

struct pending { /* table entries to write once what they point at is on storage */
	uint64_t pos, val;
};

/* The bitmap bytes [at, at+n) of @b, merged into the image. */
static int store_piece(struct qcow2 *q, struct qc_bitmap *b, const uint8_t *bits, uint64_t at,
		       size_t n, uint64_t *entry, bool *fresh)
{
	uint8_t old[CHUNK_BYTES];
	uint64_t host = *entry & QC_OFFSET_MASK;
	int rc = 0;

	*fresh = false;
	if (!host && *entry & TABLE_ALL_ONES)
		return 0;
	if (!host) {
		rc = qc_alloc(q, 1, true, &host, NULL);
		if (rc)
			return rc;
		qc_wrote(q);
		rc = block_zero(q->file, host, q->cluster_size, true);
		*entry = host;
		*fresh = true;
	}
	host += at & (q->cluster_size - 1);
	if (!rc)
		rc = block_pread(q->file, host, old, n);
	for (size_t i = 0; i < n; i++)
		old[i] |= bits[i];
	qc_wrote(q);
	return rc ? rc : block_pwrite(q->file, host, old, n);
}

static int store_one(struct qcow2 *q, struct qc_bitmap *b)
{
	size_t step = min_of((uint64_t)CHUNK_BYTES, q->cluster_size), np = 0;
	uint8_t *table = malloc((size_t)b->table_size * 8 + 1);
	struct pending *list = NULL;
	int rc = table ? 0 : -ENOMEM;

	if (!rc)
		rc = block_pread(q->file, b->table_off, table, (size_t)b->table_size * 8);
	for (uint64_t at = 0; !rc && at < b->nchunks * CHUNK_BYTES; at += step) {
		const uint8_t *c = b->chunks[at / CHUNK_BYTES];
		uint64_t idx = at >> q->cluster_bits, entry;
		bool fresh;

		if (!c || block_is_zero(c + at % CHUNK_BYTES, step) || idx >= b->table_size)
			continue;
		entry = ld_be64(table + idx * 8);
		rc = store_piece(q, b, c + at % CHUNK_BYTES, at, step, &entry, &fresh);
		if (!rc && fresh) {
			struct pending *bigger = realloc(list, (np + 1) * sizeof(*list));

			if (!bigger) {
				rc = -ENOMEM;
				break;
			}
			list = bigger;
			list[np++] = (struct pending){ b->table_off + idx * 8, entry };
			st_be64(table + idx * 8, entry);
		}
	}
	if (!rc && np)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	for (size_t i = 0; i < np && !rc; i++) {
		uint8_t buf[8];

		st_be64(buf, list[i].val);
		qc_wrote(q);
		rc = block_pwrite(q->file, list[i].pos, buf, 8);
	}
	free(list);
	free(table);
	return rc;
}

int qc_bitmaps_store(struct qcow2 *q)
{
	int rc = 0;

	for (struct qc_bitmap *b = q->live_bitmaps; b && !rc; b = b->next) {
		if (!b->live)
			continue;
		rc = store_one(q, b);
		if (!rc)
			rc = qc_sync(q);
		if (rc)
			break;
		b->flags &= ~FLAG_IN_USE;
		b->live = false;
		rc = write_flags(q, b);
	}
	return rc;
}

int qc_bitmaps_info(struct qcow2 *q, struct block_info *i)
{
	struct qc_bitmap *list;
	int rc = qcb_load(q, &list);

	if (rc || !list)
		return rc == -EINVAL ? 0 : rc;
	i->bitmaps = calloc(q->bitmaps.count, sizeof(*i->bitmaps));
	for (struct qc_bitmap *b = list; b && i->bitmaps; b = b->next) {
		struct block_bitmap_info *o = &i->bitmaps[i->nbitmaps++];

		strncpy(o->name, b->name, sizeof(o->name) - 1);
		o->granularity = 1u << b->granularity_bits;
		o->in_use = b->flags & FLAG_IN_USE;
		o->enabled = b->flags & FLAG_AUTO;
	}
	qcb_free(list);
	return i->bitmaps ? 0 : -ENOMEM;
}

static int table_refs(struct qcow2 *q, const struct qc_bitmap *b,
		      int (*fn)(void *opaque, uint64_t off, uint64_t len), void *opaque)
{
	uint8_t buf[CHUNK_BYTES];
	int rc = fn(opaque, b->table_off, (uint64_t)b->table_size * 8);

	for (uint64_t i = 0; i < b->table_size && !rc; i++) {
		uint64_t pos = b->table_off + i * 8, e;

		if (i % (CHUNK_BYTES / 8) == 0) {
			rc = block_pread(q->file, pos, buf, sizeof(buf));
			if (rc)
				break;
		}
		e = ld_be64(buf + i % (CHUNK_BYTES / 8) * 8) & QC_OFFSET_MASK;
		if (e)
			rc = fn(opaque, e, q->cluster_size);
	}
	return rc;
}

int qc_bitmaps_refs(struct qcow2 *q, int (*fn)(void *opaque, uint64_t off, uint64_t len),
		    void *opaque)
{
	struct qc_bitmap *list;
	int rc = qcb_load(q, &list);

	if (rc || !list)
		return rc;
	rc = fn(opaque, q->bitmaps.dir_off, q->bitmaps.dir_size);
	for (struct qc_bitmap *b = list; b && !rc; b = b->next)
		rc = table_refs(q, b, fn, opaque);
	qcb_free(list);
	return rc;
}
