/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new refcount structure from counted references. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/check.h"

struct layout {
	uint64_t start;           /* first cluster of the new structure */
	uint64_t blocks, table;   /* clusters of each; blocks first */
	uint64_t top;             /* block index past the highest needed */
	uint8_t *need;            /* by block index */
};

static bool any_refs(const struct check *k, uint64_t idx)
{
	uint64_t c = idx << k->q->rb_bits, end = (idx + 1) << k->q->rb_bits;

	for (; c < end && c < k->file_clusters; c++)
		if (qc_check_refs(k, c))
			return true;
	return false;
}

static bool grow_need(struct layout *l, uint64_t top)
{
	uint8_t *p;

	if (top <= l->top)
		return true;
	p = realloc(l->need, top);
	if (!p)
		return false;
	memset(p + l->top, 0, top - l->top);
	l->need = p;
	l->top = top;
	return true;
}

/* The structure counts itself, so its size depends on where it ends: iterate. */
static int plan(const struct check *k, struct layout *l)
{
	struct qcow2 *q = k->q;
	uint64_t before;

	memset(l, 0, sizeof(*l));
	l->start = max_of(k->file_clusters, qc_clusters(q, k->c->image_end));
	if (!grow_need(l, (l->start >> q->rb_bits) + 1))
		return -ENOMEM;
	for (uint64_t i = 0; i < l->top; i++)
		l->blocks += l->need[i] = any_refs(k, i);
	do {
		uint64_t end;

		before = l->blocks + l->table;
		l->table = qc_clusters(q, l->top * 8);
		end = l->start + l->blocks + l->table;
		if (!grow_need(l, ((end - 1) >> q->rb_bits) + 1))
			return -ENOMEM;
		for (uint64_t i = l->start >> q->rb_bits; i <= (end - 1) >> q->rb_bits; i++) {
			l->blocks += !l->need[i];
			l->need[i] = 1;
		}
		l->table = qc_clusters(q, l->top * 8);
	} while (before != l->blocks + l->table);
	return l->table * q->cluster_size > QC_MAX_REFTABLE_BYTES ? -EFBIG : 0;
}

static void put_count(const struct qcow2 *q, uint8_t *block, uint64_t i, uint64_t v)
{
	switch (q->refcount_order) {
	case 3: block[i] = (uint8_t)v; break;
	case 4: st_be16(block + i * 2, (uint16_t)v); break;
	case 5: st_be32(block + i * 4, (uint32_t)v); break;
	case 6: st_be64(block + i * 8, v); break;
	default:
		block[i << q->refcount_order >> 3] |=
			(uint8_t)(v << (i << q->refcount_order & 7));
	}
}

static int write_block(const struct check *k, const struct layout *l, uint64_t idx, uint64_t off,
		       uint8_t *buf)
{
	struct qcow2 *q = k->q;
	uint64_t base = idx << q->rb_bits, end = l->start + l->blocks + l->table;

	memset(buf, 0, q->cluster_size);
	for (uint64_t i = 0; i < 1ULL << q->rb_bits; i++) {
		uint64_t c = base + i, v = qc_check_refs(k, c);

		if (c >= l->start && c < end)
			v = 1;
		if (v > q->refcount_max)
			return -ERANGE;
		if (v)
			put_count(q, buf, i, v);
	}
	return block_pwrite(q->file, off, buf, q->cluster_size);
}

static int write_all(const struct check *k, const struct layout *l)
{
	struct qcow2 *q = k->q;
	uint64_t at = l->start;
	uint8_t *buf = malloc(q->cluster_size);
	uint8_t *table = calloc(l->table, q->cluster_size);
	int rc = buf && table ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < l->top && !rc; i++) {
		if (!l->need[i])
			continue;
		st_be64(table + i * 8, at << q->cluster_bits);
		rc = write_block(k, l, i, at++ << q->cluster_bits, buf);
	}
	if (!rc)
		rc = block_pwrite(q->file, (l->start + l->blocks) << q->cluster_bits, table,
				  l->table << q->cluster_bits);
	free(table);
	free(buf);
	return rc;
}

int qc_rebuild(struct check *k)
{
	struct qcow2 *q = k->q;
	size_t bytes = q->cache.max * q->cache.page_size;
	struct layout l;
	int rc = plan(k, &l);

	qc_wrote(q);
	if (!rc)
		rc = write_all(k, &l);
	if (!rc)
		rc = qc_sync(q);
	if (!rc) {
		/* Whatever the cache holds of the old structure must not be written. */
		qc_cache_fini(q);
		rc = qc_cache_init(q, bytes);
		q->rt_off = (l.start + l.blocks) << q->cluster_bits;
		q->rt_size = l.table << (q->cluster_bits - 3);
		q->used_end = max_of(q->used_end, l.start + l.blocks + l.table);
		q->packed_off = 0;
		if (!rc)
			rc = qc_header_update(q);
	}
	free(l.need);
	return rc ? rc : qc_sync(q);
}
