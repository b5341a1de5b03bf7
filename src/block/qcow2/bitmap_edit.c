/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent dirty bitmaps are added, removed, read and set anew. A new directory
 * is written beside the old one and takes its place with one write of the header,
 * so that after a cut either the one or the other is there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/dirty.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/bitmap_priv.h"

enum { MAX_BITMAPS = 1024 };

static struct qc_bitmap **find(struct qc_bitmap **list, const char *name)
{
	while (*list && strcmp((*list)->name, name))
		list = &(*list)->next;
	return list;
}

static size_t entry_bytes(const struct qc_bitmap *b)
{
	return align_up(DIR_ENTRY_BYTES + strlen(b->name), 8);
}

static void put_entry(uint8_t *p, const struct qc_bitmap *b)
{
	st_be64(p, b->table_off);
	st_be32(p + 8, b->table_size);
	st_be32(p + 12, b->flags);
	p[16] = 1; /* a dirty tracking bitmap */
	p[17] = b->granularity_bits;
	st_be16(p + 18, (uint16_t)strlen(b->name));
	st_be32(p + 20, 0);
	memcpy(p + DIR_ENTRY_BYTES, b->name, strlen(b->name));
}

/* New clusters with @len bytes of @data, or zeroes. */
static int put_new(struct qcow2 *q, const void *data, uint64_t len, uint64_t *off)
{
	uint64_t n = qc_clusters(q, len);
	int rc = qc_alloc(q, n, true, off, NULL);

	if (rc)
		return rc;
	qc_wrote(q);
	rc = block_zero(q->file, *off, n << q->cluster_bits, false);
	if (!rc && data)
		rc = block_pwrite(q->file, *off, data, len);
	if (rc)
		qc_unalloc(q, *off, n);
	return rc;
}

/* The directory anew from q->live_bitmaps. What is new in it is on storage before. */
static int write_dir(struct qcow2 *q, struct err *err)
{
	struct qc_bitmaps_ext old = q->bitmaps, dir = { 0 };
	uint64_t old_auto = q->autoclear;
	uint8_t *buf = NULL;
	int rc = 0;

	for (struct qc_bitmap *b = q->live_bitmaps; b; b = b->next) {
		if (b->extra_len)
			return err_set(err, -ENOTSUP, "bitmap '%s' of '%s' has properties that are not "
						      "known here", b->name, q->node->path);
		dir.dir_size += entry_bytes(b);
		dir.count++;
	}
	if (dir.dir_size > DIR_MAX_BYTES || dir.count > MAX_BITMAPS)
		return err_set(err, -ENOSPC, "'%s' has as many bitmaps as it can have", q->node->path);
	if (dir.count) {
		size_t at = 0;

		buf = calloc(1, dir.dir_size);
		if (!buf)
			return err_set(err, -ENOMEM, "out of memory");
		for (struct qc_bitmap *b = q->live_bitmaps; b; b = b->next) {
			put_entry(buf + at, b);
			at += entry_bytes(b);
		}
		rc = put_new(q, buf, dir.dir_size, &dir.dir_off);
		free(buf);
	}
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	if (rc)
		return err_set(err, rc, "cannot write '%s': %s", q->node->path, strerror(-rc));
	q->bitmaps = dir;
	q->autoclear &= ~QC_AUTOCLEAR_BITMAPS;
	if (dir.count)
		q->autoclear |= QC_AUTOCLEAR_BITMAPS;
	rc = qc_header_rewrite(q, err);
	if (!rc)
		rc = qc_sync(q);
	if (rc) {
		q->bitmaps = old;
		q->autoclear = old_auto;
		return rc; /* the new clusters are leaked: the header may have reached storage */
	}
	dir.dir_size = dir.dir_off;
	for (struct qc_bitmap *b = q->live_bitmaps; b; b = b->next) {
		b->dir_pos = dir.dir_size;
		dir.dir_size += entry_bytes(b);
	}
	if (old.count && old_auto & QC_AUTOCLEAR_BITMAPS)
		rc = qc_drop(q, old.dir_off, qc_clusters(q, old.dir_size));
	return rc ? err_set(err, rc, "cannot write '%s': %s", q->node->path, strerror(-rc)) : 0;
}

static struct qc_bitmap *make(struct qcow2 *q, const char *name, unsigned bits)
{
	uint64_t bytes = (((q->node->len >> bits) + 1) + 7) / 8;
	struct qc_bitmap *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->granularity_bits = (uint8_t)bits;
	b->flags = 3; /* in use, auto */
	b->live = true;
	b->table_size = (uint32_t)qc_clusters(q, bytes);
	b->name = strdup(name);
	if (!b->name || qcb_make_chunks(q, b)) {
		qcb_free(b);
		return NULL;
	}
	return b;
}

int qc_bitmap_add(struct block_node *n, const char *name, uint32_t granularity, struct err *err)
{
	unsigned bits = (unsigned)__builtin_ctz(granularity);
	struct qcow2 *q = n->priv;
	struct qc_bitmap *b, **at;
	int rc;

	if (!n->writable)
		return err_set(err, -EROFS, "'%s' is open read-only", n->path);
	if (q->version < 3)
		return err_set(err, -ENOTSUP, "'%s' is qcow2 version 2, which has no bitmaps", n->path);
	if (bits < 9 || bits > 31 ||
	    (n->len >> bits) / 8 / q->cluster_size >= TABLE_MAX_ENTRIES)
		return err_set(err, -EINVAL, "a granularity of %u bytes is too fine for this disk",
			       granularity);
	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	at = find(&q->live_bitmaps, name);
	if (!rc && *at)
		rc = err_set(err, -EEXIST, "'%s' has a bitmap '%s' already", n->path, name);
	b = rc ? NULL : make(q, name, bits);
	if (!rc && !b)
		rc = -ENOMEM;
	if (!rc)
		rc = put_new(q, NULL, (uint64_t)b->table_size * 8, &b->table_off);
	if (!rc) {
		*at = b; /* the list's end */
		rc = write_dir(q, err);
		if (rc)
			*at = NULL;
	}
	if (rc)
		qcb_free(b);
	pthread_mutex_unlock(&q->lock);
	if (rc && err && !err->text[0])
		err_set(err, rc, "cannot add a bitmap to '%s': %s", n->path, strerror(-rc));
	return rc;
}

/* Calls for each data cluster of the table; @clear: the entries become zero, and the clusters
 * are dropped once that is on storage. */
static int drop_data(struct qcow2 *q, const struct qc_bitmap *b, bool clear)
{
	size_t len = (size_t)b->table_size * 8;
	uint8_t *t = malloc(len + 1);
	int rc = t ? block_pread(q->file, b->table_off, t, len) : -ENOMEM;

	if (!rc && clear && len) {
		qc_wrote(q);
		rc = block_zero(q->file, b->table_off, len, false);
		if (!rc)
			rc = qc_sync(q);
	}
	for (size_t i = 0; i < len && !rc; i += 8) {
		uint64_t host = ld_be64(t + i) & QC_OFFSET_MASK;

		if (host)
			rc = qc_drop(q, host, 1);
	}
	free(t);
	return rc;
}

int qc_bitmap_remove(struct block_node *n, const char *name, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct qc_bitmap *b, **at;
	int rc;

	if (!n->writable)
		return err_set(err, -EROFS, "'%s' is open read-only", n->path);
	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	at = find(&q->live_bitmaps, name);
	b = *at;
	if (!rc && !b)
		rc = err_set(err, -ENOENT, "'%s' has no bitmap '%s'", n->path, name);
	if (!rc) {
		*at = b->next;
		rc = write_dir(q, err);
		if (rc)
			*at = b;
	}
	if (!rc) {
		b->next = NULL;
		rc = drop_data(q, b, false);
		if (!rc)
			rc = qc_drop(q, b->table_off, qc_clusters(q, (uint64_t)b->table_size * 8));
		qcb_free(b);
	}
	pthread_mutex_unlock(&q->lock);
	if (rc && err && !err->text[0])
		err_set(err, rc, "cannot remove a bitmap from '%s': %s", n->path, strerror(-rc));
	return rc;
}

/* Marks in @out what @bits (@len bytes, from bitmap byte @at on) has. */
static void collect(const struct qc_bitmap *b, const uint8_t *bits, uint64_t at, size_t len,
		    struct dirty *out)
{
	for (size_t i = 0; i < len; i++)
		for (unsigned k = 0; bits[i] && k < 8; k++)
			if (bits[i] >> k & 1)
				dirty_set(out, ((at + i) * 8 + k) << b->granularity_bits,
					  1ULL << b->granularity_bits);
}

static int read_stored(struct qcow2 *q, const struct qc_bitmap *b, struct dirty *out)
{
	uint64_t bytes = (((q->node->len >> b->granularity_bits) + 1) + 7) / 8;
	uint8_t *t = malloc((size_t)b->table_size * 8 + 1), *buf = malloc(q->cluster_size);
	int rc = t && buf ? block_pread(q->file, b->table_off, t, (size_t)b->table_size * 8) : -ENOMEM;

	for (uint64_t i = 0; i < b->table_size && i << q->cluster_bits < bytes && !rc; i++) {
		uint64_t e = ld_be64(t + i * 8), host = e & QC_OFFSET_MASK;
		uint64_t at = i << q->cluster_bits, n = min_of(q->cluster_size, bytes - at);

		if (host & (q->cluster_size - 1))
			rc = -EIO;
		else if (host)
			rc = block_pread(q->file, host, buf, n);
		else if (e & TABLE_ALL_ONES)
			memset(buf, 0xff, n);
		if (!rc && (host || e & TABLE_ALL_ONES))
			collect(b, buf, at, n, out);
	}
	free(t);
	free(buf);
	return rc;
}

int qc_bitmap_read(struct block_node *n, const char *name, struct dirty *out)
{
	struct qc_bitmap *list = NULL, *b;
	struct qcow2 *q = n->priv;
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	if (!q->touched)
		rc = qcb_load(q, &list);
	b = rc ? NULL : *find(q->touched ? &q->live_bitmaps : &list, name);
	if (!rc && !b)
		rc = -ENOENT;
	if (!rc && b->flags & 1 && !b->live)
		rc = -EUCLEAN;
	if (!rc && out)
		rc = read_stored(q, b, out);
	for (uint64_t i = 0; !rc && out && b->live && i < b->nchunks; i++)
		if (b->chunks[i])
			collect(b, b->chunks[i], i * CHUNK_BYTES, CHUNK_BYTES, out);
	qcb_free(list);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

int qc_bitmap_write(struct block_node *n, const char *name, struct dirty *with)
{
	uint64_t at = 0, len;
	struct qcow2 *q = n->priv;
	struct qc_bitmap *b;
	int rc;

	if (!n->writable)
		return -EROFS;
	pthread_mutex_lock(&q->lock);
	rc = qc_touch(q);
	b = rc ? NULL : *find(&q->live_bitmaps, name);
	if (!rc && !b)
		rc = -ENOENT;
	if (!rc && !b->live) /* disabled: nobody would store what is marked */
		rc = b->flags & 1 ? -EUCLEAN : -EINVAL;
	if (!rc)
		rc = drop_data(q, b, true);
	for (uint64_t i = 0; !rc && i < b->nchunks; i++) {
		free(b->chunks[i]);
		b->chunks[i] = NULL;
	}
	while (!rc && with && dirty_next(with, at, UINT64_MAX, &at, &len)) {
		rc = qcb_mark(b, at, len);
		at += len;
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}
