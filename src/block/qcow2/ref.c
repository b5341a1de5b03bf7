/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refcounts, and finding and giving back host clusters. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/qcow2.h"

enum { DROPS_MAX = 65536, ODD_MAX = 16 << 20 };

/* Where the block with @cluster's count is; *block 0: there is none yet. */
static int block_of(struct qcow2 *q, uint64_t cluster, uint64_t *block)
{
	uint64_t idx = cluster >> q->rb_bits;
	int rc;

	*block = 0;
	if (idx >= q->rt_size)
		return 0;
	rc = qc_meta_get64(q, q->rt_off + idx * 8, block);
	if (rc)
		return rc;
	*block &= ~511ULL;
	return *block & (q->cluster_size - 1) ? qc_corrupt(q) : 0;
}

static uint64_t count_in(const uint8_t *p, unsigned order, unsigned bit)
{
	switch (order) {
	case 3: return p[0];
	case 4: return ld_be16(p);
	case 5: return ld_be32(p);
	case 6: return ld_be64(p);
	default: return p[0] >> bit & low_mask(1u << order);
	}
}

static void count_out(uint8_t *p, unsigned order, unsigned bit, uint64_t v)
{
	uint8_t mask = (uint8_t)low_mask(1u << min_of(order, 3u));

	switch (order) {
	case 3: p[0] = (uint8_t)v; break;
	case 4: st_be16(p, (uint16_t)v); break;
	case 5: st_be32(p, (uint32_t)v); break;
	case 6: st_be64(p, v); break;
	default: p[0] = (uint8_t)((p[0] & ~(mask << bit)) | v << bit); break;
	}
}

/* Byte of a block that @cluster's count starts in, and the bit in it below order 3. */
static uint64_t count_pos(const struct qcow2 *q, uint64_t cluster, unsigned *bit, size_t *bytes)
{
	uint64_t bits = (cluster & low_mask(q->rb_bits)) << q->refcount_order;

	*bit = bits & 7;
	*bytes = q->refcount_order > 3 ? 1u << (q->refcount_order - 3) : 1;
	return bits >> 3;
}

int qc_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *v)
{
	uint64_t block, pos;
	uint8_t buf[8];
	unsigned bit;
	size_t bytes;
	int rc = block_of(q, cluster, &block);

	*v = 0;
	if (rc || !block)
		return rc;
	pos = count_pos(q, cluster, &bit, &bytes);
	rc = qc_meta_read(q, block + pos, buf, bytes);
	if (!rc)
		*v = count_in(buf, q->refcount_order, bit);
	return rc;
}

int qc_ref_get_some(struct qcow2 *q, uint64_t cluster, unsigned n, uint64_t *v)
{
	uint64_t block, pos, in_block = (1ULL << q->rb_bits) - (cluster & low_mask(q->rb_bits));
	int rc = block_of(q, cluster, &block);
	const uint8_t *p;
	size_t bytes, avail;
	unsigned bit;

	n = (unsigned)min_of((uint64_t)n, in_block);
	if (rc)
		return rc;
	if (!block) {
		memset(v, 0, n * sizeof(*v));
		return (int)n;
	}
	pos = count_pos(q, cluster, &bit, &bytes);
	rc = qc_meta_peek(q, block + pos, &p, &avail);
	if (rc)
		return rc;
	n = (unsigned)min_of((uint64_t)n, (avail * 8 - bit) >> q->refcount_order);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = bit + (i << q->refcount_order);

		v[i] = count_in(p + (at >> 3), q->refcount_order, at & 7);
	}
	return (int)n;
}

static int put_in_block(struct qcow2 *q, uint64_t block, uint64_t cluster, uint64_t v)
{
	uint8_t buf[8];
	unsigned bit;
	size_t bytes;
	uint64_t pos = count_pos(q, cluster, &bit, &bytes);
	int rc = qc_meta_read(q, block + pos, buf, bytes);

	if (rc)
		return rc;
	count_out(buf, q->refcount_order, bit, v);
	return qc_meta_write(q, QC_REFBLOCK, block + pos, buf, bytes);
}

static bool overlaps(uint64_t off, uint64_t len, uint64_t off2, uint64_t len2)
{
	return off < off2 + len2 && off2 < off + len;
}

/* A cluster that counts as free must not be one of the image's own tables. */
static bool is_table(const struct qcow2 *q, uint64_t off, uint64_t len)
{
	if (overlaps(off, len, 0, q->cluster_size) ||
	    overlaps(off, len, q->l1_off, (uint64_t)q->l1_size * 8) ||
	    overlaps(off, len, q->rt_off, q->rt_size * 8))
		return true;
	for (uint32_t i = 0; i < q->nsnaps; i++)
		if (overlaps(off, len, q->snaps[i].l1_off, (uint64_t)q->snaps[i].l1_size * 8))
			return true;
	return false;
}

/* A cluster that becomes a table: whatever it held must read as zeroes. */
static int blank_cluster(struct qcow2 *q, uint64_t off)
{
	qc_meta_forget(q, off, q->cluster_size);
	qc_wrote(q);
	return block_zero(q->file, off, q->cluster_size, true);
}

/*
 * A longer refcount table, placed with the blocks that count it at the start of
 * the range the old table does not reach, where everything is free by
 * definition. The header then switches over in one write.
 */
static int grow_table(struct qcow2 *q, uint64_t need)
{
	uint64_t per = q->cluster_size / 8, old_off = q->rt_off;
	uint64_t old_clusters = q->rt_size / per, start = q->rt_size << q->rb_bits;
	uint64_t clusters = max_of(need / per + 1, old_clusters * 3 / 2), blocks = 1, total;
	int rc = 0;

	do {
		clusters = max_of(clusters, (q->rt_size + blocks) / per + 1);
		while (blocks << q->rb_bits < clusters + blocks)
			blocks++;
	} while (clusters * per < q->rt_size + blocks);
	if (clusters * q->cluster_size > QC_MAX_REFTABLE_BYTES)
		return -EFBIG;
	total = clusters + blocks;
	if (is_table(q, start << q->cluster_bits, total << q->cluster_bits))
		return qc_corrupt(q);
	for (uint64_t i = 0; i < total && !rc; i++)
		rc = blank_cluster(q, (start + i) << q->cluster_bits);
	for (uint64_t i = 0; i < total && !rc; i++)
		rc = put_in_block(q, (start + clusters + (i >> q->rb_bits)) << q->cluster_bits,
				  start + i, 1);
	for (uint64_t i = 0; i < q->rt_size && !rc; i++) {
		uint64_t v;

		rc = qc_meta_get64(q, old_off + i * 8, &v);
		if (!rc && v)
			rc = qc_meta_set64(q, QC_REFTABLE, (start << q->cluster_bits) + i * 8, v);
	}
	for (uint64_t i = 0; i < blocks && !rc; i++)
		rc = qc_meta_set64(q, QC_REFTABLE, (start << q->cluster_bits) + (q->rt_size + i) * 8,
				   (start + clusters + i) << q->cluster_bits);
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	if (rc) { /* it is nobody's, and its clusters may become anything */
		qc_meta_forget(q, start << q->cluster_bits, total << q->cluster_bits);
		return rc;
	}
	q->rt_off = start << q->cluster_bits;
	q->rt_size = clusters * per;
	q->used_end = max_of(q->used_end, start + total);
	rc = qc_header_update(q);
	if (!rc)
		rc = qc_sync(q);
	if (!rc && old_clusters)
		rc = qc_drop(q, old_off, old_clusters);
	return rc;
}

/* Makes the block that counts @cluster. The block stands in the first cluster of
 * the range that it counts, and counts itself. */
static int make_block(struct qcow2 *q, uint64_t cluster)
{
	uint64_t idx = cluster >> q->rb_bits, first = idx << q->rb_bits;
	uint64_t off = first << q->cluster_bits;
	int rc;

	if (idx >= q->rt_size) {
		rc = grow_table(q, idx + 1);
		if (rc)
			return rc;
		rc = block_of(q, cluster, &off);
		if (rc || off)
			return rc;
		off = first << q->cluster_bits;
	}
	if (is_table(q, off, q->cluster_size))
		return qc_corrupt(q);
	rc = blank_cluster(q, off);
	if (!rc)
		rc = put_in_block(q, off, first, 1);
	q->used_end = max_of(q->used_end, first + 1);
	return rc ? rc : qc_meta_set64(q, QC_REFTABLE, q->rt_off + idx * 8, off);
}

int qc_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t v)
{
	uint64_t block;
	int rc = block_of(q, cluster, &block);

	if (rc)
		return rc;
	if (v > q->refcount_max)
		return -ERANGE;
	if (!block) {
		/* A count that was never made is zero; only an allocation makes blocks,
		 * and an allocation does not pick the cluster its block took. */
		if (!v)
			return 0;
		rc = make_block(q, cluster);
		if (!rc)
			rc = block_of(q, cluster, &block);
		if (rc)
			return rc;
	}
	return put_in_block(q, block, cluster, v);
}

int qc_ref_inc(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t v;
		int rc = qc_ref_get(q, cluster + i, &v);

		if (!rc && v >= q->refcount_max)
			rc = -ERANGE; /* too many snapshots for this refcount width */
		if (!rc)
			rc = qc_ref_set(q, cluster + i, v + 1);
		if (rc)
			return rc;
	}
	return 0;
}

/* How many of @n counts, from @cluster on, are not zero before the first that is. */
static uint64_t used_run(const struct qcow2 *q, const uint8_t *p, uint64_t cluster, uint64_t n)
{
	uint64_t i = 0;
	size_t bytes;
	unsigned bit;

	if (q->refcount_order == 4) {
		while (i < n && (p[2 * i] | p[2 * i + 1]))
			i++;
		return i;
	}
	(void)count_pos(q, cluster, &bit, &bytes);
	while (i < n && count_in(p + ((bit + (i << q->refcount_order)) >> 3), q->refcount_order,
				 (bit + (i << q->refcount_order)) & 7))
		i++;
	return i;
}

/* The next free cluster at or after @from. Makes blocks as it goes, so that the
 * cluster it names is counted by a block. */
static int next_free(struct qcow2 *q, uint64_t from, uint64_t *out)
{
	uint64_t end = 1ULL << (56 - q->cluster_bits), block, odd = 0, pos, n, run;
	const uint8_t *p;
	size_t bytes, avail;
	unsigned bit;
	int rc;

	for (uint64_t c = from; c < end; c += run) {
		rc = block_of(q, c, &block);
		if (!rc && !block)
			rc = q->cache.held_only ? -EAGAIN : make_block(q, c);
		if (!rc && !block)
			rc = block_of(q, c, &block);
		pos = count_pos(q, c, &bit, &bytes);
		if (!rc)
			rc = qc_meta_peek(q, block + pos, &p, &avail);
		if (rc)
			return rc;
		n = ((avail << 3) - bit) >> q->refcount_order;
		n = min_of(n, (1ULL << q->rb_bits) - (c & low_mask(q->rb_bits)));
		run = used_run(q, p, c, n);
		if (run < n) {
			*out = c + run;
			return 0;
		}
		/* Counts far beyond the file's end are no honest image's. */
		if (c > q->used_end && (odd += run) > ODD_MAX)
			return qc_corrupt(q);
	}
	return -EFBIG;
}

/* The first range of clusters behind all that is used which has no block, as have @n - 1
 * behind it; the table reaches over them. */
static int unused_ranges(struct qcow2 *q, uint64_t n, uint64_t *first)
{
	uint64_t idx = (q->used_end + low_mask(q->rb_bits)) >> q->rb_bits, block;

	for (uint64_t free = 0; free < n;) {
		int rc = block_of(q, (idx + free) << q->rb_bits, &block);

		if (rc)
			return rc;
		free++;
		if (block) {
			idx += free;
			free = 0;
		}
	}
	*first = idx;
	return idx + n > q->rt_size ? grow_table(q, idx + n) : 0;
}

/* More in a row than there are between two blocks where those stand by themselves: here all
 * that count the row stand before it. */
static int alloc_long(struct qcow2 *q, uint64_t want, uint64_t *off)
{
	uint64_t blocks = 1, told = 0, first, start, total, size;
	int rc;

	while (blocks << q->rb_bits < blocks + want)
		blocks++;
	do {
		size = q->rt_size;
		rc = unused_ranges(q, blocks, &first);
	} while (!rc && q->rt_size != size); /* the longer table stands somewhere */
	total = blocks + want;
	start = first << q->rb_bits;
	if (!rc && is_table(q, start << q->cluster_bits, total << q->cluster_bits))
		return qc_corrupt(q);
	for (uint64_t i = 0; i < blocks && !rc; i++)
		rc = blank_cluster(q, (start + i) << q->cluster_bits);
	for (uint64_t i = 0; i < total && !rc; i++)
		rc = put_in_block(q, (start + (i >> q->rb_bits)) << q->cluster_bits, start + i, 1);
	for (; told < blocks && !rc; told += !rc)
		rc = qc_meta_set64(q, QC_REFTABLE, q->rt_off + (first + told) * 8,
				   (start + told) << q->cluster_bits);
	if (rc) {
		/* Blocks that the table does not have, in clusters that no other one counts:
		 * those may become anything. */
		told <<= q->rb_bits;
		if (told < blocks)
			qc_meta_forget(q, (start + told) << q->cluster_bits,
				       (blocks - told) << q->cluster_bits);
		return rc;
	}
	q->used_end = max_of(q->used_end, start + total);
	*off = (start + blocks) << q->cluster_bits;
	return 0;
}

int qc_alloc(struct qcow2 *q, uint64_t want, bool exact, uint64_t *off, uint64_t *got)
{
	uint64_t start, n, c, at = q->free_hint;
	bool first = true;
	int rc;

	if (exact && want >= 1ULL << q->rb_bits) {
		if (got)
			*got = want;
		return alloc_long(q, want, off);
	}
	for (;;) {
		rc = next_free(q, at, &start);
		if (rc)
			return rc;
		if (first && q->free_hint == at)
			q->free_hint = start; /* nothing free below: remember */
		first = false;
		for (n = 1, c = start; n < want; n++) {
			rc = next_free(q, start + n, &c);
			if (rc)
				return rc;
			if (c != start + n)
				break;
		}
		if (n == want || !exact)
			break;
		at = c;
	}
	if (is_table(q, start << q->cluster_bits, n << q->cluster_bits))
		return qc_corrupt(q);
	for (uint64_t i = 0; i < n && !rc; i++)
		rc = qc_ref_set(q, start + i, 1);
	if (rc)
		return rc;
	if (start == q->free_hint)
		q->free_hint = start + n;
	q->used_end = max_of(q->used_end, start + n);
	*off = start << q->cluster_bits;
	if (got)
		*got = n;
	return 0;
}

int qc_alloc_packed(struct qcow2 *q, uint32_t len, uint64_t *off)
{
	uint64_t mask = q->cluster_size - 1, at = q->packed_off, v, next;
	uint64_t room = at & mask ? q->cluster_size - (at & mask) : 0;
	int rc = 0;

	if (room) {
		rc = qc_ref_get(q, at >> q->cluster_bits, &v);
		if (rc)
			return rc;
		if (!v || v >= q->refcount_max)
			room = 0;
	}
	if (room && room < len) { /* it would run into the next cluster: only if that is free */
		rc = next_free(q, (at >> q->cluster_bits) + 1, &next);
		if (rc)
			return rc;
		if (next != (at >> q->cluster_bits) + 1)
			room = 0;
	}
	if (!room) {
		rc = qc_alloc(q, 1, true, &at, NULL);
	} else {
		rc = qc_ref_inc(q, at >> q->cluster_bits, 1);
		if (!rc && room < len)
			rc = qc_ref_set(q, (at >> q->cluster_bits) + 1, 1);
	}
	if (rc)
		return rc;
	if (at + len > 1ULL << (62 - (q->cluster_bits - 8)))
		return -EFBIG; /* an entry of a compressed cluster cannot say this offset */
	*off = at;
	/* On to the next sector: an entry counts its length in sectors. */
	q->packed_off = at + len;
	return 0;
}

void qc_unalloc(struct qcow2 *q, uint64_t off, uint64_t n)
{
	uint64_t c = off >> q->cluster_bits;

	for (uint64_t i = 0; i < n; i++)
		if (qc_ref_set(q, c + i, 0))
			return; /* leaked: harmless */
	q->free_hint = min_of(q->free_hint, c);
}

int qc_drop(struct qcow2 *q, uint64_t off, uint64_t n)
{
	uint64_t c = off >> q->cluster_bits;
	struct qc_drop *d = q->ndrops ? &q->drops[q->ndrops - 1] : NULL;

	if (!n)
		return 0;
	if (d && d->cluster + d->count == c) {
		d->count += n;
		return 0;
	}
	if (q->ndrops == DROPS_MAX) {
		int rc = qc_commit(q, false);

		if (rc)
			return rc;
	}
	if (q->ndrops == q->drops_cap) {
		size_t cap = q->drops_cap ? q->drops_cap * 2 : 64;

		d = realloc(q->drops, cap * sizeof(*d));
		if (!d)
			return -ENOMEM;
		q->drops = d;
		q->drops_cap = cap;
	}
	q->drops[q->ndrops++] = (struct qc_drop){ c, n };
	return 0;
}

void qc_packed_span(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint32_t *len)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t sectors = (entry >> x & low_mask(q->cluster_bits - 8)) + 1;

	*off = entry & low_mask(x);
	*len = (uint32_t)(sectors * 512 - (*off & 511));
}

int qc_drop_entry(struct qcow2 *q, uint64_t entry)
{
	uint64_t off;
	uint32_t len;

	if (entry & QC_OFLAG_COMPRESSED) {
		qc_packed_span(q, entry, &off, &len);
		return qc_drop(q, align_down(off, q->cluster_size),
			       ((off + len - 1) >> q->cluster_bits) - (off >> q->cluster_bits) + 1);
	}
	if (!(entry & QC_OFFSET_MASK) || q->data != q->file)
		return 0;
	return qc_drop(q, entry & QC_OFFSET_MASK, 1);
}

/* Gives the storage of clusters back to the host; only a saving, so errors pass. */
static void punch(struct qcow2 *q, uint64_t first, uint64_t n)
{
	if (n && block_discard(q->file, first << q->cluster_bits, n << q->cluster_bits))
		return;
}

static int drop_one(struct qcow2 *q, uint64_t c, bool *freed)
{
	uint64_t v;
	int rc = qc_ref_get(q, c, &v);

	*freed = false;
	if (rc)
		return rc;
	if (!v)
		return qc_corrupt(q);
	rc = qc_ref_set(q, c, v - 1);
	if (rc || v > 1)
		return rc;
	*freed = true;
	qc_meta_forget(q, c << q->cluster_bits, q->cluster_size);
	if (q->packed_off >> q->cluster_bits == c)
		q->packed_off = 0;
	q->free_hint = min_of(q->free_hint, c);
	return 0;
}

int qc_do_drops(struct qcow2 *q)
{
	struct qc_drop *list = q->drops;
	size_t n = q->ndrops;
	int rc = 0;

	/* Taken off first: lowering a count may itself come back here. */
	q->drops = NULL;
	q->ndrops = q->drops_cap = 0;
	for (size_t i = 0; i < n && !rc; i++) {
		uint64_t run = 0, c = list[i].cluster;

		for (uint64_t k = 0; k < list[i].count && !rc; k++, c++) {
			bool freed;

			rc = drop_one(q, c, &freed);
			if (!rc && freed) {
				run++;
				continue;
			}
			punch(q, c - run, run);
			run = 0;
		}
		punch(q, c - run, run);
	}
	free(list);
	return rc;
}

bool qc_ref_has_block(struct qcow2 *q, uint64_t cluster)
{
	uint64_t idx = cluster >> q->rb_bits, block;

	return idx < q->rt_size && !qc_meta_get64(q, q->rt_off + idx * 8, &block) && block &&
	       !(block & (q->cluster_size - 1)) &&
	       block >> q->cluster_bits < max_of(q->used_end, qc_clusters(q, q->file->len));
}

int qc_ref_block_used(struct qcow2 *q, uint64_t cluster, bool *any)
{
	uint64_t block;
	int rc = block_of(q, cluster, &block);

	*any = false;
	for (uint64_t at = 0; !rc && block && at < q->cluster_size && !*any;) {
		const uint8_t *p;
		size_t avail;

		rc = qc_meta_peek(q, block + at, &p, &avail);
		if (!rc)
			*any = !block_is_zero(p, avail);
		at += avail;
	}
	return rc;
}
