/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Consistency check and repair: counts anew who refers to which cluster, and
 * compares with what the image's refcounts say. Memory follows the references
 * found (a sparse map), not what a header claims.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/check.h"
#include "src/block/qcow2/qcow2.h"

static void say(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct check *k, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	if (!k->c->report)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	k->c->report(k->c->opaque, line);
}

static void damage(struct check *k, const char *what, uint64_t off)
{
	k->c->errors++;
	say(k, "ERROR %s at offset %" PRIu64, what, off);
}

static uint32_t *slot(struct check *k, uint64_t cluster)
{
	uint64_t i = cluster / QC_MAP_CHUNK;

	if (i >= k->nchunks)
		return NULL;
	if (!k->chunks[i]) {
		k->chunks[i] = calloc(QC_MAP_CHUNK, sizeof(uint32_t));
		if (!k->chunks[i])
			return NULL;
	}
	return &k->chunks[i][cluster % QC_MAP_CHUNK];
}

uint32_t qc_check_refs(const struct check *k, uint64_t cluster)
{
	uint64_t i = cluster / QC_MAP_CHUNK;

	return i < k->nchunks && k->chunks[i] ? k->chunks[i][cluster % QC_MAP_CHUNK] : 0;
}

/* Counts a reference to [off, off+len). @first: whether nobody referred to it before. */
static int refer(struct check *k, const char *what, uint64_t off, uint64_t len, bool *first)
{
	uint64_t c = off >> k->q->cluster_bits;
	uint64_t end = len ? (off + len - 1) >> k->q->cluster_bits : c;

	if (first)
		*first = true;
	if (!len)
		return 0;
	if (end >= k->file_clusters) {
		damage(k, what, off);
		say(k, "      it reaches past the end of the file");
		if (first)
			*first = false;
		return 0;
	}
	for (; c <= end; c++) {
		uint32_t *s = slot(k, c);

		if (!s)
			return -ENOMEM;
		if (*s && first)
			*first = false;
		if (*s < UINT32_MAX)
			++*s;
		k->c->image_end = max_of(k->c->image_end, (c + 1) << k->q->cluster_bits);
	}
	return 0;
}

static int data_entry(struct check *k, const struct qc_entry *e, uint64_t pos, bool active)
{
	struct qcow2 *q = k->q;
	uint64_t off = e->e & QC_OFFSET_MASK;
	enum qc_kind kind;
	uint32_t len;

	for (unsigned s = 0; s < q->subs; s++) {
		if (qc_sub_kind(q, e, s, &kind)) {
			damage(k, "an L2 entry makes no sense", pos);
			return 0;
		}
	}
	if (e->e & QC_OFLAG_COMPRESSED) {
		qc_packed_span(q, e->e, &off, &len);
		if (active) {
			k->c->allocated_clusters++;
			k->c->compressed_clusters++;
			k->next_host = 0;
		}
		return refer(k, "a compressed cluster", off, len, NULL);
	}
	if (active && (off || q->data != q->file) && (kind != QC_UNALLOC || off)) {
		if (e->e & QC_OFFSET_MASK || e->e & QC_OFLAG_COPIED)
			k->c->allocated_clusters++;
		if (k->next_host && off != k->next_host)
			k->c->fragmented_clusters++;
		k->next_host = off + q->cluster_size;
	}
	if (!off || q->data != q->file)
		return 0;
	return refer(k, "a data cluster", off, q->cluster_size, NULL);
}

static int walk_l2(struct check *k, uint64_t table, bool active)
{
	struct qcow2 *q = k->q;
	const uint8_t *p;
	size_t avail;
	int rc = 0;

	for (uint64_t at = 0; at < q->cluster_size && !rc; at += avail) {
		rc = qc_meta_peek(q, table + at, &p, &avail);
		if (rc) {
			k->c->check_errors++;
			return rc == -ENOMEM ? rc : 0;
		}
		avail = min_of(avail, (size_t)(q->cluster_size - at));
		for (unsigned i = 0; i < avail && !rc; i += q->l2_entry_bytes) {
			struct qc_entry e = { ld_be64(p + i), q->ext_l2 ? ld_be64(p + i + 8) : 0 };

			if (e.e || e.bits)
				rc = data_entry(k, &e, table + at + i, active);
		}
	}
	return rc;
}

static int walk_l1(struct check *k, const char *what, uint64_t off, uint32_t size, bool active)
{
	struct qcow2 *q = k->q;
	bool first;
	int rc = refer(k, what, off, (uint64_t)size * 8, &first);

	if (rc)
		return rc;
	if (!first) {
		damage(k, "an L1 table shares its place with something else", off);
		return 0;
	}
	for (uint32_t i = 0; i < size && !rc; i++) {
		uint64_t e, table;

		rc = qc_meta_get64(q, off + (uint64_t)i * 8, &e);
		if (rc) {
			k->c->check_errors++;
			return rc == -ENOMEM ? rc : 0;
		}
		table = e & QC_OFFSET_MASK;
		if (!table)
			continue;
		if (e & QC_L1_RESERVED || table & (q->cluster_size - 1)) {
			damage(k, "an L1 entry makes no sense", off + (uint64_t)i * 8);
			continue;
		}
		rc = refer(k, "an L2 table", table, q->cluster_size, &first);
		/* In one L1 table no L2 table stands twice: also what bounds our time. */
		if (!rc && !first && active) {
			damage(k, "an L2 table shares its place with something else", table);
			continue;
		}
		if (!rc && table >> q->cluster_bits < k->file_clusters)
			rc = walk_l2(k, table, active);
	}
	return rc;
}

static int bitmap_ref(void *opaque, uint64_t off, uint64_t len)
{
	return refer(opaque, "a bitmap", off, len, NULL);
}

static int refcount_tables(struct check *k)
{
	struct qcow2 *q = k->q;
	bool first;
	int rc = refer(k, "the refcount table", q->rt_off, q->rt_size * 8, NULL);

	for (uint64_t i = 0; i < q->rt_size && !rc; i++) {
		uint64_t b;

		rc = qc_meta_get64(q, q->rt_off + i * 8, &b);
		if (rc || !b)
			continue;
		if (b & (q->cluster_size - 1)) {
			damage(k, "a refcount block is misplaced", b);
			k->rebuild = true;
			continue;
		}
		if (b >> q->cluster_bits >= k->file_clusters) {
			damage(k, "a refcount block is outside of the file", b);
			k->rebuild = true;
			continue;
		}
		rc = refer(k, "a refcount block", b, q->cluster_size, &first);
		if (!rc && !first) {
			damage(k, "a refcount block shares its place with something else", b);
			k->rebuild = true;
		}
	}
	return rc;
}

static int count_all(struct check *k)
{
	struct qcow2 *q = k->q;
	int rc = refer(k, "the header", 0, q->cluster_size, NULL);

	if (!rc)
		rc = walk_l1(k, "the L1 table", q->l1_off, q->l1_size, true);
	if (!rc && q->nsnaps)
		rc = refer(k, "the snapshot table", q->snap_off, q->snap_bytes, NULL);
	for (uint32_t i = 0; i < q->nsnaps && !rc; i++)
		rc = walk_l1(k, "a snapshot's L1 table", q->snaps[i].l1_off, q->snaps[i].l1_size,
			     false);
	if (!rc && q->crypto_len)
		rc = refer(k, "the encryption header", q->crypto_off, q->crypto_len, NULL);
	if (!rc) {
		rc = qc_bitmaps_refs(q, bitmap_ref, k);
		if (rc == -EINVAL) {
			damage(k, "the bitmap directory makes no sense", q->bitmaps.dir_off);
			rc = 0;
		}
	}
	if (!rc && !k->no_refcounts)
		rc = refcount_tables(k);
	return rc;
}

/* Compares one cluster. Mends it if that was asked for. */
static int compare(struct check *k, uint64_t c, unsigned fix)
{
	struct qcow2 *q = k->q;
	uint64_t have;
	uint32_t want = qc_check_refs(k, c);
	int rc = qc_ref_get(q, c, &have);
	bool leak = have > want;

	if (rc) {
		k->c->check_errors++;
		return rc == -ENOMEM ? rc : 0;
	}
	if (have == want)
		return 0;
	if (leak)
		k->c->leaks++;
	else
		k->c->errors++;
	say(k, "%s cluster %" PRIu64 ": refcount is %" PRIu64 ", references are %u",
	    leak ? "Leaked" : "ERROR", c, have, want);
	if (!(fix & (leak ? BLOCK_FIX_LEAKS : BLOCK_FIX_ERRORS)) || k->rebuild)
		return 0;
	/* Making a missing block could overwrite what it should have counted. */
	if (!leak && !qc_ref_has_block(q, c)) {
		k->rebuild = true;
		return 0;
	}
	rc = qc_ref_set(q, c, want);
	if (!rc && leak)
		k->c->leaks_fixed++;
	else if (!rc)
		k->c->errors_fixed++;
	return rc;
}

/* How many clusters from @c on have the counts they should: most do. */
static uint64_t agreeing(struct check *k, uint64_t c)
{
	uint64_t have[256], n = min_of((uint64_t)array_size(have), k->file_clusters - c), i = 0;
	int got = qc_ref_get_some(k->q, c, (unsigned)n, have);

	while (got > 0 && i < (unsigned)got && have[i] == qc_check_refs(k, c + i))
		i++;
	return i;
}

static int compare_all(struct check *k, unsigned fix)
{
	struct qcow2 *q = k->q;
	uint64_t same;
	int rc = 0;

	for (uint64_t c = 0; c < k->file_clusters && !rc; c++) {
		/* Neither counts nor references in a whole block's range: skip it. */
		if (!(c & low_mask(q->rb_bits)) && !qc_ref_has_block(q, c)) {
			uint64_t end = min_of(c + (1ULL << q->rb_bits), k->file_clusters), i = c;

			while (i < end && !qc_check_refs(k, i))
				i++;
			if (i == end) {
				c = end - 1;
				continue;
			}
		}
		same = agreeing(k, c);
		if (same)
			c += same - 1;
		else
			rc = compare(k, c, fix);
	}
	/* Counts past the end of the file. */
	for (uint64_t b = k->file_clusters >> q->rb_bits; b < q->rt_size && !rc; b++) {
		uint64_t c = max_of(b << q->rb_bits, k->file_clusters);
		bool any = false;

		if (!qc_ref_has_block(q, c))
			continue;
		rc = qc_ref_block_used(q, c, &any);
		for (; any && c < (b + 1) << q->rb_bits && !rc; c++)
			rc = compare(k, c, fix);
	}
	return rc;
}

static void end_check(struct check *k)
{
	for (uint64_t i = 0; k->chunks && i < k->nchunks; i++)
		free(k->chunks[i]);
	free(k->chunks);
	k->chunks = NULL;
}

static int begin_check(struct check *k, struct qcow2 *q, struct block_check *c)
{
	memset(k, 0, sizeof(*k));
	k->q = q;
	k->c = c;
	/* What we wrote ourselves may have made the file longer than when it was opened. */
	k->file_clusters = max_of(qc_clusters(q, q->file->len), q->used_end);
	k->nchunks = k->file_clusters / QC_MAP_CHUNK + 1;
	k->chunks = calloc(k->nchunks, sizeof(*k->chunks));
	return k->chunks ? 0 : -ENOMEM;
}

/* Everything is sound again: take the marks off. */
static int clear_marks(struct qcow2 *q)
{
	if (!(q->incompat & (QC_INCOMPAT_DIRTY | QC_INCOMPAT_CORRUPT)))
		return 0;
	q->incompat &= ~(QC_INCOMPAT_DIRTY | QC_INCOMPAT_CORRUPT);
	q->dirty_bit_set = false;
	q->touched = false; /* lazy refcounts set the mark again with the next change */
	return qc_header_update(q);
}

static int mend(struct check *k, unsigned fix)
{
	struct qcow2 *q = k->q;
	struct block_check *c = k->c;
	int rc = 0;

	if (k->rebuild && fix & BLOCK_FIX_ERRORS) {
		say(k, "Rebuilding the refcounts");
		rc = qc_rebuild(k);
		if (!rc) {
			c->errors_fixed = c->errors;
			c->leaks_fixed = c->leaks;
		}
	}
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_fix_copied(q, &c->hints);
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	q->free_hint = 0;
	return rc;
}

static int check_locked(struct qcow2 *q, unsigned fix, struct block_check *c)
{
	struct check k;
	int rc = begin_check(&k, q, c);
	uint64_t damage_before;

	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = count_all(&k);
	damage_before = c->errors;
	if (!rc)
		rc = compare_all(&k, fix);
	if (!rc && k.rebuild) {
		/* The new structure replaces the old: count again without it. */
		struct block_check quiet = { 0 };

		end_check(&k);
		rc = begin_check(&k, q, &quiet);
		k.no_refcounts = k.rebuild = true;
		if (!rc)
			rc = count_all(&k);
		k.c = c;
		damage_before = quiet.errors;
	}
	if (!rc && fix)
		rc = mend(&k, fix);
	if (!rc && fix & BLOCK_FIX_ERRORS && k.rebuild)
		c->errors_fixed = c->errors - min_of(damage_before, c->errors);
	if (!rc && fix && c->errors == c->errors_fixed && !c->check_errors)
		rc = clear_marks(q);
	if (!rc && fix)
		rc = qc_sync(q);
	end_check(&k);
	return rc;
}

int qc_check(struct block_node *n, unsigned fix, struct block_check *c, struct err *err)
{
	struct qcow2 *q = n->priv;
	struct range r;
	int rc;

	if (fix && !n->writable)
		return err_set(err, -EROFS, "'%s' is open read-only", n->path);
	c->total_clusters = qc_clusters(q, n->len);
	range_lock(&q->ranges, &r, 0, UINT64_MAX, true);
	pthread_mutex_lock(&q->lock);
	if (fix)
		n->dying = false;
	rc = check_locked(q, fix, c);
	pthread_mutex_unlock(&q->lock);
	range_unlock(&q->ranges, &r);
	return rc ? err_set(err, rc, "cannot check '%s': %s", n->path, strerror(-rc)) : 0;
}
